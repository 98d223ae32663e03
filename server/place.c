#include "place.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "io/clock.h"

/* Ports named to a person. */
#define KEPT_MAX 64

void
place_init(struct place *p, const struct server_conf *c)
{
	*p = (struct place){.conf = c};
	/* At the first look nothing is transient: rather too careful. */
	memset(&p->listeners.udp, 0xff, sizeof(p->listeners.udp));
}

/* ---- addresses ---- */

struct search {
	const struct ip_addr *wanted;
	bool is_own, is_network;
};

/* The first address of a network and the last stand for all of it (RFC 1122
 * section 3.2.1.3); links of two have neither (RFC 3021). */
static bool
look_at_address(
    void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	struct search *s = arg;
	uint32_t wanted, mask;

	(void)ifindex;
	s->is_own |= ip_addr_equal(a, s->wanted);
	if (a->family != FAMILY_V4 || s->wanted->family != FAMILY_V4 ||
	    bits > 30)
		return true;
	mask = UINT32_MAX >> bits;
	wanted = load_be32(s->wanted->b);
	if (((wanted ^ load_be32(a->b)) & ~mask) == 0)
		s->is_network |=
		    (wanted & mask) == 0 || (wanted & mask) == mask;
	return true;
}

static struct search
search_for(struct place *p, const struct ip_addr *a)
{
	struct search s = {.wanted = a};

	(void)netcfg_addr_each(p->netcfg, look_at_address, &s);
	return s;
}

bool
place_has(void *place, const struct ip_addr *a)
{
	return search_for(place, a).is_own;
}

/* The kernel writes an address as it lies in memory, in hexadecimal. */
static bool
is_gateway(const struct ip_addr *a)
{
	FILE *f = fopen("/proc/net/route", "re");
	unsigned gateway;
	char line[256];
	bool found = false;
	uint32_t wanted;

	if (f == NULL)
		return false;
	memcpy(&wanted, a->b, sizeof(wanted));
	while (!found && fgets(line, sizeof(line), f) != NULL)
		found = sscanf(line, "%*s %*x %8x", &gateway) == 1 &&
			gateway == wanted;
	fclose(f);
	return found;
}

const char *
place_unroutable(void *place, const struct ip_addr *a)
{
	if (search_for(place, a).is_network)
		return "stands for a network of this host";
	return is_gateway(a) ? "is a router that this host needs" : NULL;
}

/* ---- ports ---- */

static void
look(struct place *p)
{
	uint64_t now_ns = clock_now().mono_ns;
	struct port_set lasting;
	struct listeners l;

	if (p->at_ns != 0 && now_ns - p->at_ns < PLACE_HOLD)
		return;
	listeners_read(&l, NULL);
	p->services = (struct port_set){{0}};
	listeners_services(&l, &p->services);
	lasting = l.udp;
	port_set_and(&lasting, &p->listeners.udp);
	port_set_or(&p->services, &lasting);
	p->listeners = l;
	p->at_ns = now_ns;
}

const struct port_set *
place_services(struct place *p)
{
	look(p);
	return &p->services;
}

static bool
is_among(const struct server_port_ranges *l, uint16_t port)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->item[i].first <= port && port <= l->item[i].last)
			return true;
	return false;
}

/* What the rules keep from forwards, too: see nat.h. */
const char *
place_reserved(void *place, uint8_t protocol, uint16_t port)
{
	bool tcp = protocol == IPPROTO_TCP;
	struct place *p = place;

	if (!tcp && port == p->conf->listen_port)
		return "the relay's own, for WireGuard";
	if (tcp && port == p->conf->tls_port)
		return "the relay's own, for enrolment";
	if (tcp && port == 22)
		return "for ssh to this host";
	if (is_among(&p->conf->reserved_ports, port))
		return "among the ReservedPorts of relay.conf";
	look(p);
	if (!port_set_has(tcp ? &p->listeners.tcp : &p->listeners.udp, port) ||
	    !port_set_has(&p->services, port))
		return NULL;
	return "in use by a program on this host";
}

void
place_kept(struct place *p, struct text *out)
{
	const struct server_port_ranges *l = &p->conf->reserved_ports;
	struct port_set kept = *place_services(p);

	port_set_add(&kept, 22, 22);
	port_set_add(&kept, p->conf->listen_port, p->conf->listen_port);
	if (p->conf->tls_port != 0)
		port_set_add(&kept, p->conf->tls_port, p->conf->tls_port);
	for (size_t i = 0; i < l->n; i++)
		port_set_add(&kept, l->item[i].first, l->item[i].last);
	if (listeners_format(&kept, 1, KEPT_MAX, out) > KEPT_MAX)
		text_add(out, ", ...");
}
