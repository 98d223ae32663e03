#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/err.h"
#include "nat.h"
#include "nat_ports.h"
#include "nat_state.h"

/* Reasons for which a port of the relay's address is taken. */
enum {
	OWN = 1, /* reserved, or the host listens on it */
	PUBLISHED_SHARED = 2, /* for a client that shares the address */
	PUBLISHED_OWNER = 4, /* for the one that has it */
	SHARE = 8, /* for flows of those that share it */
};

/* Ports that a range has at least to be one element. */
#define RANGE_MIN 16
/* The kernel counts bytes per second in nanoseconds, in 64 bits. */
#define RATE_KBIT_MAX 100000000

struct collect {
	const struct nat *nat;
	struct nat_held *held;
	struct nat_ports *ports; /* of the relay's address */
	bool owner; /* a client has that address */
	bool shared; /* clients share it */
	int err;
};

static uint32_t
number(const struct ip_addr *a)
{
	return load_be32(a->b);
}

static void
add(struct collect *c, const struct nat_item *i)
{
	struct nat_items *l = &c->held->items;
	struct nat_item *to;

	if (c->err < 0)
		return;
	to = conf_grow(l->item, l->n, &l->cap, sizeof(*to));
	if (to == NULL) {
		c->err = UK_ENOMEM;
		return;
	}
	l->item = to;
	l->item[l->n++] = *i;
}

static bool
owns_relay_address(const struct collect *c, const struct client *client)
{
	return client->way == CLIENT_EXCLUSIVE &&
	       ip_addr_equal(&client->global, &c->nat->conf.global);
}

/* Is network i inside another one of the client, or the same again? Interval
 * sets want each address once. */
static bool
is_covered(const struct client *client, size_t i)
{
	const struct ip_prefix *p = &client->network[i];

	for (size_t k = 0; k < client->networks; k++) {
		const struct ip_prefix *other = &client->network[k];

		if (k != i && ip_prefix_contains(other, &p->addr) &&
		    (other->bits < p->bits ||
			(other->bits == p->bits && k < i)))
			return true;
	}
	return false;
}

/* One item for each network of the client. */
static void
add_networks(struct collect *c, const struct client *client,
    const struct nat_item *template)
{
	struct nat_item item = *template;

	for (size_t i = 0; i < client->networks; i++) {
		if (is_covered(client, i))
			continue;
		item.a = number(&client->network[i].addr);
		item.bits = client->network[i].bits;
		add(c, &item);
	}
}

/* And for the address that a routed client has. */
static void
add_addresses(struct collect *c, const struct client *client,
    const struct nat_item *template)
{
	struct nat_item item = *template;

	add_networks(c, client, template);
	if (client->way != CLIENT_ROUTED)
		return;
	item.a = number(&client->global);
	item.bits = 32;
	add(c, &item);
}

/* ---- addresses ---- */

static void
add_exclusive(struct collect *c, const struct client *client)
{
	bool owner = owns_relay_address(c, client);
	struct nat_item i = {.a = number(&client->global),
	    .b = number(&client->network[0].addr)};

	i.kind = owner ? NAT_OWNER : NAT_EXCLUSIVE;
	add(c, &i);
	i.kind = NAT_PAIR;
	add(c, &i);
	if (owner)
		add_networks(
		    c, client, &(struct nat_item){.kind = NAT_OWNER_SOURCE});
	else
		add_networks(c, client,
		    &(struct nat_item){.kind = NAT_SOURCE, .b = i.a});
}

static void
add_routed(struct collect *c, const struct client *client)
{
	uint32_t global = number(&client->global);

	add(c, &(struct nat_item){.kind = NAT_ROUTED, .a = global});
	add_networks(
	    c, client, &(struct nat_item){.kind = NAT_SOURCE, .b = global});
}

/* ---- forwards ---- */

/* A wide range whose ports stay as they are is one element. The others have an
 * element for each port: nft can translate to a port that a map names, but not
 * add to one, and removing one of 10,000 ranges took 160 ms where the same
 * ports one by one took 6. */
static void
add_forward(struct collect *c, const struct client_forward *f, uint32_t global,
    uint32_t client)
{
	struct nat_item at = {
	    .protocol = f->protocol, .a = global, .b = client};
	struct nat_item to = {.protocol = f->protocol, .a = client};

	if (f->target == f->first && f->last - f->first >= RANGE_MIN - 1) {
		at.kind = NAT_FORWARD_RANGE;
		to.kind = NAT_TARGET_RANGE;
		at.first = to.first = f->first;
		at.last = to.last = f->last;
		add(c, &at);
		add(c, &to);
		return;
	}
	at.kind = NAT_FORWARD;
	to.kind = NAT_TARGET;
	for (unsigned k = 0; k <= (unsigned)f->last - f->first; k++) {
		at.first = (uint16_t)(f->first + k);
		at.value = f->target + k;
		to.first = (uint16_t)at.value;
		add(c, &at);
		add(c, &to);
	}
}

/* A routed client's ports are its own already. */
static void
add_forwards(struct collect *c, const struct client *client)
{
	bool owner = owns_relay_address(c, client);
	uint32_t at =
	    number(client->way == CLIENT_EXCLUSIVE ? &client->global
						   : &c->nat->conf.global);

	if (client->way == CLIENT_ROUTED)
		return;
	for (size_t i = 0; i < client->forwards; i++) {
		const struct client_forward *f = &client->forward[i];

		add_forward(c, f, at, number(&client->network[0].addr));
		if (owner || client->way == CLIENT_SHARED)
			nat_ports_take(c->ports, f->first, f->last,
			    owner ? PUBLISHED_OWNER : PUBLISHED_SHARED);
	}
}

/* ---- groups and limits ---- */

static int
compare_name(const void *key, const void *member)
{
	return strcmp(key, ((const struct nat_member *)member)->name);
}

static void
add_groups(struct collect *c, const struct client *client)
{
	const struct nat *n = c->nat;
	const struct nat_member *end = n->member + n->members;
	const struct nat_member *m = bsearch(
	    client->name, n->member, n->members, sizeof(*m), compare_name);

	if (m == NULL)
		return;
	while (m > n->member && strcmp(m[-1].name, client->name) == 0)
		m--;
	for (; m < end && strcmp(m->name, client->name) == 0; m++)
		if (m == n->member || strcmp(m[-1].name, m->name) != 0 ||
		    m[-1].group != m->group)
			add_addresses(c, client,
			    &(struct nat_item){
				.kind = NAT_MEMBER, .group = m->group});
}

/* A client's limit and chain are called after its first address and what they
 * allow, so that another rate is another limit. */
static void
add_limits(struct collect *c, const struct client *client)
{
	uint32_t first = number(&client->network[0].addr);
	uint32_t rate = (uint32_t)uk_min_u64(client->rate_kbit, RATE_KBIT_MAX);
	struct nat_item i = {.b = first, .value = rate};

	if (rate > 0) {
		i.kind = NAT_LIMIT_UP;
		add_addresses(c, client, &i);
		i.kind = NAT_LIMIT_DOWN;
		add_addresses(c, client, &i);
		i.kind = NAT_LIMIT;
		add(c, &i);
		i.down = 1;
		add(c, &i);
	}
	i = (struct nat_item){.b = first, .value = client->connections};
	if (client->connections > 0) {
		i.kind = NAT_COUNTED;
		add_addresses(c, client, &i);
		i.kind = NAT_COUNT;
		add(c, &i);
	}
}

/* ---- ports of flows ---- */

static void
add_reserved(struct collect *c)
{
	struct server_port_ranges r;

	c->err = nat_ports_ranges(&r, c->ports, 0, OWN | SHARE, true);
	if (c->err < 0)
		return;
	for (size_t i = 0; i < r.n; i++)
		add(c, &(struct nat_item){.kind = NAT_RESERVED,
			   .first = r.item[i].first,
			   .last = r.item[i].last});
	nat_ports_free(&r);
}

/* N1, N2: the rules of a chain that gives flows one of these ports, each with
 * the same chance. A flow keeps what its first packet got. */
static void
add_translation(
    struct text *t, const char *global, const struct server_port_ranges *r)
{
	size_t at = 0;

	text_add(t, "meta l4proto icmp snat ip to %s fully-random\n", global);
	if (r->n > 0)
		text_add(t,
		    "meta l4proto { tcp, udp } snat ip addr . port to "
		    "numgen random mod %zu map { ",
		    nat_ports_count(r));
	for (size_t i = 0; i < r->n; i++) {
		const struct server_port_range *p = &r->item[i];
		size_t last = at + p->last - p->first;

		if (i > 0)
			text_add(t, ", ");
		text_add(t, "%zu", at);
		if (last > at)
			text_add(t, "-%zu", last);
		text_add(t, " : %s . %u-%u", global, p->first, p->last);
		at = last + 1;
	}
	if (r->n > 0)
		text_add(t, " } fully-random\n");
	text_add(t, "drop\n");
}

/* Returns as nat_update(). */
static int
make_translation(struct collect *c, struct text *t, unsigned first,
    uint8_t reasons, bool in_use)
{
	char global[IP_ADDR_TEXT_MAX];
	struct server_port_ranges r;
	int err = nat_ports_ranges(&r, c->ports, first, reasons, false);

	if (err < 0)
		return err;
	if (in_use && r.n == 0)
		err = UK_ELIMIT;
	nat_ports_widest(&r, NAT_GAPS_MAX);
	add_translation(t, ip_addr_format(&c->nat->conf.global, global), &r);
	nat_ports_free(&r);
	return err < 0 ? err : t->failed ? UK_ENOMEM : 0;
}

static void
add_ports(struct collect *c)
{
	const uint8_t published = PUBLISHED_SHARED | PUBLISHED_OWNER;
	bool both = c->owner && c->shared;

	if (both)
		nat_ports_take(c->ports, NAT_SHARED_FIRST, UINT16_MAX, SHARE);
	if (c->owner)
		add_reserved(c);
	if (c->err == 0)
		c->err = make_translation(c, &c->held->shared,
		    both ? NAT_SHARED_FIRST : NAT_FIRST_PORT, OWN | published,
		    c->shared);
	if (c->err == 0 && c->owner)
		c->err = make_translation(c, &c->held->owner, 1,
		    OWN | PUBLISHED_SHARED | SHARE, true);
}

/* ---- all of it ---- */

static void
add_client(struct collect *c, const struct client *client)
{
	if (client->networks == 0)
		return;
	c->owner |= owns_relay_address(c, client);
	c->shared |= client->way == CLIENT_SHARED;
	if (client->way == CLIENT_EXCLUSIVE)
		add_exclusive(c, client);
	else if (client->way == CLIENT_ROUTED)
		add_routed(c, client);
	add_forwards(c, client);
	add_groups(c, client);
	add_limits(c, client);
}

static int
compare_items(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct nat_item));
}

/* Two forwards may have one target. */
static void
sort_items(struct nat_items *l)
{
	size_t n = 0;

	if (l->n == 0)
		return;
	qsort(l->item, l->n, sizeof(*l->item), compare_items);
	for (size_t i = 0; i < l->n; i++)
		if (i == 0 || compare_items(&l->item[i], &l->item[n - 1]) != 0)
			l->item[n++] = l->item[i];
	l->n = n;
}

int
nat_collect(const struct nat *n, const struct nat_view *v, struct nat_held *h)
{
	struct nat_ports *ports = calloc(1, sizeof(*ports));
	struct collect c = {.nat = n, .held = h, .ports = ports};

	if (ports == NULL)
		return UK_ENOMEM;
	nat_ports_take_own(ports, n->conf.reserved, n->conf.listen_port,
	    n->conf.tls_port, OWN);
	if (v->in_use != NULL)
		nat_ports_take_all(ports, v->in_use, OWN);
	for (size_t i = 0; i < v->n; i++)
		add_client(&c, v->client[i]);
	if (c.err == 0)
		add_ports(&c);
	free(ports);
	sort_items(&h->items);
	return c.err;
}

void
nat_held_fini(struct nat_held *h)
{
	free(h->items.item);
	text_fini(&h->shared);
	text_fini(&h->owner);
	*h = (struct nat_held){.items = {NULL, 0, 0}};
}
