#include "nat.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"

static int
compare_ranges(const void *a, const void *b)
{
	const struct server_port_range *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

static size_t
count_ports(const struct server_port_range *r, size_t n)
{
	size_t ports = 0;

	for (size_t i = 0; i < n; i++)
		ports += (size_t)r[i].last - r[i].first + 1;
	return ports;
}

int
nat_free_ports(struct server_port_ranges *free_ports,
    const struct server_port_ranges *r, uint16_t listen_port)
{
	const struct server_port_range ours[] = {
	    {22, 22}, {443, 443}, {listen_port, listen_port}};
	size_t n = r->n + ARRAY_LEN(ours), found = 0;
	struct server_port_range *taken = calloc(n, sizeof(*taken));
	/* Between and around n ranges are at most n + 1 gaps. */
	struct server_port_range *gap = calloc(n + 1, sizeof(*gap));
	uint32_t next = NAT_FIRST_PORT;

	if (taken == NULL || gap == NULL) {
		free(taken);
		free(gap);
		return UK_ENOMEM;
	}
	memcpy(taken, ours, sizeof(ours));
	if (r->n > 0)
		memcpy(taken + ARRAY_LEN(ours), r->item, r->n * sizeof(*taken));
	qsort(taken, n, sizeof(*taken), compare_ranges);
	for (size_t i = 0; i < n; i++) {
		if (taken[i].first > next)
			gap[found++] = (struct server_port_range){
			    (uint16_t)next, (uint16_t)(taken[i].first - 1)};
		if (taken[i].last >= next)
			next = (uint32_t)taken[i].last + 1;
	}
	if (next <= UINT16_MAX)
		gap[found++] =
		    (struct server_port_range){(uint16_t)next, UINT16_MAX};
	free(taken);
	*free_ports = (struct server_port_ranges){gap, found, n + 1};
	return 0;
}

/* R1: what claims to come from the pool, or asks for it, comes through the
 * tunnel or from this host itself (interface 1, the loopback). */
static void
add_borders(struct text *t, const struct nat_conf *c, const char *pool)
{
	text_add(t,
	    "chain borders {\n"
	    "type filter hook prerouting priority raw; policy accept;\n"
	    "iif != { 1, %u } ip daddr %s drop\n"
	    "iif != { 1, %u } ip saddr %s drop\n"
	    "iif %u meta nfproto != ipv4 drop\n"
	    "}\n",
	    c->tunnel, pool, c->tunnel, pool, c->tunnel);
}

/* N3. Before the destination translation of other software, which would turn
 * a packet for a published port of the host into one that is forwarded; and
 * at the input, for what such software redirects to the host. */
static void
add_host(struct text *t, const struct nat_conf *c, const char *pool)
{
	char own[IP_ADDR_TEXT_MAX];

	ip_addr_format(&c->address.addr, own);
	text_add(t,
	    "chain to_host {\n"
	    "ip saddr != %s drop\n"
	    "ct state established,related accept\n"
	    "ip daddr %s icmp type echo-request accept\n"
	    "drop\n"
	    "}\n"
	    "chain arriving {\n"
	    "type filter hook prerouting priority mangle; policy accept;\n"
	    "iif %u fib daddr type != unicast goto to_host\n"
	    "}\n"
	    "chain input {\n"
	    "type filter hook input priority filter; policy accept;\n"
	    "iif %u goto to_host\n"
	    "}\n",
	    pool, own, c->tunnel, c->tunnel);
}

/* Packets that conntrack does not follow (invalid, untracked) are dropped:
 * they would leave untranslated. 169.254.0.0/16 is where clouds keep the
 * host's credentials. */
static void
add_outward(struct text *t, const struct nat_conf *c, const char *pool)
{
	text_add(t,
	    "chain outward {\n"
	    "ip saddr != %s drop\n"
	    "ct state invalid,untracked drop\n"
	    "meta l4proto != { icmp, tcp, udp } drop\n"
	    "ip daddr 169.254.0.0/16 drop\n",
	    pool);
	if (c->client_to_client) /* N4 */
		text_add(t, "ip daddr %s oif %u accept\n", pool, c->tunnel);
	if (c->uplink != 0)
		text_add(t,
		    "oif != { %u, %u } ip daddr { 10.0.0.0/8, 100.64.0.0/10, "
		    "172.16.0.0/12, 192.168.0.0/16 } drop\n",
		    c->uplink, c->tunnel);
	text_add(t,
	    "ip daddr %s drop\n"
	    "oif %u drop\n"
	    "accept\n"
	    "}\n",
	    pool, c->tunnel);
}

/* N5: the host drops the rest before it is encrypted. */
static void
add_forward(struct text *t, const struct nat_conf *c, const char *pool)
{
	add_outward(t, c, pool);
	text_add(t,
	    "chain inward {\n"
	    "meta nfproto ipv4 ct state established,related accept\n"
	    "drop\n"
	    "}\n"
	    "chain forward {\n"
	    "type filter hook forward priority filter; policy accept;\n"
	    "iif %u goto outward\n"
	    "oif %u goto inward\n"
	    "}\n",
	    c->tunnel, c->tunnel);
}

/* "rt mtu" is the less of both directions' MTUs, and a smaller MSS stays. */
static void
add_clamp(struct text *t, const struct nat_conf *c)
{
	static const char clamp[] =
	    "tcp flags & (syn|rst) == syn tcp option maxseg size set rt mtu";

	text_add(t,
	    "chain clamp {\n"
	    "type filter hook forward priority mangle; policy accept;\n"
	    "iif %u %s\n"
	    "oif %u %s\n"
	    "}\n",
	    c->tunnel, clamp, c->tunnel, clamp);
}

/* N1, N2. One statement takes one range of ports: a flow gets the first with
 * the chance of its share in what is left, and so on, so that in the end
 * every free port is as likely as any other. A flow keeps what its first
 * packet got. */
static void
add_translation(
    struct text *t, const char *global, const struct server_port_ranges *ports)
{
	text_add(t,
	    "chain translate {\n"
	    "meta l4proto icmp snat ip to %s fully-random\n",
	    global);
	for (size_t i = 0; i < ports->n; i++) {
		size_t here = count_ports(&ports->item[i], 1);
		size_t left = count_ports(&ports->item[i], ports->n - i);

		text_add(t, "meta l4proto { tcp, udp } ");
		if (here < left)
			text_add(t, "numgen random mod %zu < %zu ", left, here);
		text_add(t, "snat ip to %s:%u-%u fully-random\n", global,
		    ports->item[i].first, ports->item[i].last);
	}
	text_add(t, "}\n");
}

/* Just before the usual priority: where other software masquerades all that
 * leaves, ours has decided already. */
static void
add_leaving(struct text *t, const struct nat_conf *c, const char *pool)
{
	text_add(t,
	    "chain leaving {\n"
	    "type nat hook postrouting priority srcnat - 1; policy accept;\n"
	    "iif %u oif != %u ip saddr %s goto translate\n"
	    "}\n",
	    c->tunnel, c->tunnel, pool);
}

int
nat_body(struct text *out, const struct nat_conf *c)
{
	char pool[IP_PREFIX_TEXT_MAX], global[IP_ADDR_TEXT_MAX];
	struct server_port_ranges ports;
	struct ip_prefix prefix;
	int err = nat_free_ports(&ports, c->reserved, c->listen_port);

	if (err < 0)
		return err;
	if (ports.n == 0) {
		free(ports.item);
		return UK_ELIMIT;
	}
	ip_ifaddr_prefix(&c->address, &prefix);
	ip_prefix_format(&prefix, pool);
	ip_addr_format(&c->global, global);
	add_borders(out, c, pool);
	add_host(out, c, pool);
	add_forward(out, c, pool);
	add_clamp(out, c);
	add_translation(out, global, &ports);
	add_leaving(out, c, pool);
	free(ports.item);
	return out->failed ? UK_ENOMEM : 0;
}

void
nat_table_name(char name[static NAT_TABLE_NAME_MAX], const char *ifname)
{
	snprintf(name, NAT_TABLE_NAME_MAX, "ukai-relay-%s", ifname);
	for (char *p = name; *p != '\0'; p++)
		if (!islower((unsigned char)*p) &&
		    !isdigit((unsigned char)*p) && *p != '-')
			*p = '_';
}
