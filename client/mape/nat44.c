#include "nat44_state.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/err.h"

/* Packets looked at before the first of them is translated, so that what their
 * look-ups need is on its way from memory meanwhile. */
#define AHEAD 32
/* Calls of nat44_expire() for the whole table. */
#define SWEEPS 8
#define SESSIONS_DEFAULT 131072

void
nat44_conf_default(struct nat44_conf *c, const struct map_ports *ports)
{
	uint32_t count = map_ports_count(ports);

	*c = (struct nat44_conf){.ports = *ports,
	    .sessions_max = SESSIONS_DEFAULT,
	    .host_sessions_max = SESSIONS_DEFAULT / 2,
	    .host_ports_max = count > 1 ? count - count / 4 : 1};
}

uint64_t
nat44_forward_inside(const struct nat44_forward *w)
{
	return (uint64_t)load_be32(w->inside) << 16 | w->inside_port;
}

static int
add_forward(struct nat44 *n, const struct nat44_forward *w, uint32_t number)
{
	uint64_t inside = nat44_forward_inside(w);
	uint8_t space = w->proto == 6 ? NAT44_TCP : NAT44_UDP;

	if ((w->proto != 6 && w->proto != 17) || w->port == 0 ||
	    w->inside_port == 0 || !map_ports_has(&n->conf.ports, w->port))
		return UK_EINVAL;
	uint32_t i = map_ports_index(&n->conf.ports, w->port);
	n->reserved[space]++;
	if (space == NAT44_TCP) {
		if (n->forward_of[i] != 0)
			return UK_EINVAL;
		n->forward_of[i] = number + 1;
		nat44_port_used(n, space, w->port, 1);
		return 0;
	}
	inside = nat44_inside_key(space, inside);
	if (n->mapping_of[i] != NAT44_NONE ||
	    nat44_pool_find(n, &n->mappings, inside) != NAT44_NONE)
		return UK_EINVAL;
	UK_ASSERT(
	    nat44_mapping_add(n, inside, NAT44_NONE, w->port) != NAT44_NONE);
	n->udp_forwards++;
	return 0;
}

static int
add_forwards(struct nat44 *n)
{
	int err = 0;

	for (unsigned i = 0; i < NAT44_SPACES; i++)
		n->reserved[i] = map_ports_has(&n->conf.ports, 0);
	for (uint32_t i = 0; i < n->conf.forwards && err == 0; i++)
		err = add_forward(n, &n->conf.forward[i], i);
	return err;
}

static int
init_tables(struct nat44 *n)
{
	uint32_t max = n->conf.sessions_max;
	uint32_t hosts = max < NAT44_HOSTS_MAX ? max + 1 : NAT44_HOSTS_MAX;

	n->session =
	    nat44_lines(&n->session_memory, (size_t)max * sizeof(*n->session));
	if (!n->session || nat44_index_init(&n->by_inside, max) != 0 ||
	    nat44_index_init(&n->by_ext, max) != 0 ||
	    nat44_pool_init(&n->dests, sizeof(struct nat44_dest), max + 1) !=
		0 ||
	    nat44_pool_init(&n->hosts, sizeof(struct nat44_host), hosts) != 0 ||
	    nat44_pool_init(
		&n->mappings, sizeof(struct nat44_mapping), n->port_count) != 0)
		return UK_ENOMEM;
	n->free = NAT44_NONE;
	return 0;
}

static int
init_ports(struct nat44 *n)
{
	n->mapping_of = calloc(n->port_count, sizeof(*n->mapping_of));
	n->forward_of = calloc(n->port_count, sizeof(*n->forward_of));
	if (!n->mapping_of || !n->forward_of)
		return UK_ENOMEM;
	memset(n->mapping_of, 0xff, n->port_count * sizeof(*n->mapping_of));
	for (unsigned i = 0; i < NAT44_SPACES; i++) {
		n->port_use[i] = calloc(n->port_count, sizeof(uint32_t));
		if (!n->port_use[i])
			return UK_ENOMEM;
	}
	return 0;
}

static int
copy_conf(struct nat44 *n, const struct nat44_conf *c)
{
	struct nat44_forward *copy = NULL;

	n->conf = *c;
	n->conf.forward = NULL;
	n->address = load_be32(c->address);
	n->port_count = map_ports_count(&c->ports);
	if (c->forwards > 0) {
		copy = calloc(c->forwards, sizeof(*copy));
		if (!copy)
			return UK_ENOMEM;
		memcpy(copy, c->forward, c->forwards * sizeof(*copy));
	}
	n->conf.forward = copy;
	return 0;
}

static bool
conf_is_sane(const struct nat44_conf *c)
{
	uint32_t count = map_ports_count(&c->ports);

	return count > 0 && c->forwards <= 2 * (size_t)count &&
	       c->sessions_max > 0 &&
	       c->sessions_max <= UINT32_C(1) << NAT44_NUMBER_BITS &&
	       c->host_sessions_max > 0 && c->host_ports_max > 0;
}

int
nat44_new(struct nat44 **out, const struct nat44_conf *c)
{
	int err;

	if (!conf_is_sane(c))
		return UK_EINVAL;
	struct nat44 *n = calloc(1, sizeof(*n));
	if (!n)
		return UK_ENOMEM;
	err = copy_conf(n, c);
	if (err == 0)
		err = init_tables(n);
	if (err == 0)
		err = init_ports(n);
	if (err == 0) {
		c->random(n->hash_key, sizeof(n->hash_key));
		n->hash_key[2] |= 1;
		n->hash_key[3] |= 1;
		c->random(n->id, sizeof(n->id));
		err = add_forwards(n);
	}
	if (err != 0) {
		nat44_free(n);
		return err;
	}
	*out = n;
	return 0;
}

void
nat44_free(struct nat44 *n)
{
	if (!n)
		return;
	for (unsigned i = 0; i < NAT44_SPACES; i++)
		free(n->port_use[i]);
	free(n->forward_of);
	free(n->mapping_of);
	nat44_pool_fini(&n->mappings);
	nat44_pool_fini(&n->hosts);
	nat44_pool_fini(&n->dests);
	nat44_index_fini(&n->by_ext);
	nat44_index_fini(&n->by_inside);
	free(n->session_memory);
	free((void *)(uintptr_t)n->conf.forward);
	free(n);
}

static enum map_drop
translate(struct nat44 *n, struct nat44_packet *p, const struct nat44_flow *f,
    bool out)
{
	enum map_drop why = f->verdict;
	bool turns = false;

	p->inside = !out;
	if (why != MAP_OK)
		return why;
	if (p->p[8] <= 1)
		return MAP_DROP_TTL;
	why = out ? nat44_translate_outward(n, f, &turns)
		  : nat44_translate_inward(n, f);
	if (why == MAP_OK && turns) {
		struct nat44_flow back;

		p->inside = true;
		nat44_look(n, p, false, &back);
		why = back.verdict != MAP_OK ? back.verdict
					     : nat44_translate_inward(n, &back);
	}
	if (why == MAP_OK)
		nat44_hop(p->p);
	return why;
}

static void
batch(struct nat44 *n, uint64_t now_ns, struct nat44_packet *p, unsigned count,
    bool out)
{
	const struct nat44_index *x = out ? &n->by_inside : &n->by_ext;
	struct nat44_flow f[AHEAD];

	n->now_ns = now_ns;
	for (unsigned at = 0; at < count; at += AHEAD, p += AHEAD) {
		unsigned m = count - at < AHEAD ? count - at : AHEAD;

		for (unsigned i = 0; i < m; i++)
			__builtin_prefetch(p[i].p, 1);
		for (unsigned i = 0; i < m; i++) {
			nat44_look(n, &p[i], out, &f[i]);
			nat44_index_prefetch(x, f[i].hash);
		}
		/* One alone gains nothing by it. */
		for (unsigned i = 0; i < m && m > 1; i++)
			nat44_session_prefetch(n, x, f[i].hash);
		for (unsigned i = 0; i < m; i++) {
			p[i].verdict = translate(n, &p[i], &f[i], out);
			n->stats.drop[p[i].verdict] += p[i].verdict != MAP_OK;
		}
	}
}

void
nat44_outward(
    struct nat44 *n, uint64_t now_ns, struct nat44_packet *p, unsigned count)
{
	batch(n, now_ns, p, count, true);
}

void
nat44_inward(
    struct nat44 *n, uint64_t now_ns, struct nat44_packet *p, unsigned count)
{
	batch(n, now_ns, p, count, false);
}

bool
nat44_restore(const struct nat44 *n, uint8_t *quoted, uint32_t len)
{
	uint32_t inside;

	return nat44_quote_inward(n, quoted, len, &inside);
}

void
nat44_expire(struct nat44 *n, uint64_t now_ns)
{
	enum nat44_stage stage = nat44_stage_of(n->count, n->conf.sessions_max);

	n->now_ns = now_ns;
	for (uint32_t left = (n->used + SWEEPS - 1) / SWEEPS; left > 0;
	     left--) {
		struct nat44_session *s = &n->session[n->hand];

		n->hand = (n->hand + 1) % n->used;
		if (s->inside != 0 && n->now_ns > nat44_session_end(s, stage))
			nat44_reclaim(n, s);
	}
}

void
nat44_stats(const struct nat44 *n, struct nat44_stats *out)
{
	*out = n->stats;
	out->ports = n->port_count;
	out->sessions = n->count;
	out->sessions_max = n->conf.sessions_max;
	out->hosts = n->hosts.count;
	for (uint32_t i = 0; i < n->dests.used; i++) {
		const struct nat44_dest *d = nat44_dest(n, i);
		struct nat44_space *s = &out->space[d->node.key >> 48 & 0xff];

		if (d->node.key == 0 || d->node.count <= s->busiest_sessions)
			continue;
		store_be32(s->busiest, (uint32_t)(d->node.key >> 16));
		s->busiest_port = (uint16_t)d->node.key;
		s->busiest_sessions = d->node.count;
	}
}

/* Ports that can be had toward a destination when none is taken. */
static uint32_t
ports_of(const struct nat44 *n, uint8_t space)
{
	return n->port_count - n->reserved[space];
}

static uint32_t
left_of(uint32_t all, uint32_t taken)
{
	return taken < all ? all - taken : 0;
}

static uint32_t
mappings_left(const struct nat44 *n)
{
	return left_of(
	    ports_of(n, NAT44_UDP), n->mappings.count - n->udp_forwards);
}

uint32_t
nat44_ports_left(
    const struct nat44 *n, uint8_t proto, const uint8_t dst[4], uint16_t port)
{
	uint8_t space = proto == 6    ? NAT44_TCP
			: proto == 17 ? NAT44_UDP
				      : NAT44_ICMP;
	uint64_t remote =
	    (uint64_t)load_be32(dst) << 16 | (space == NAT44_ICMP ? 0 : port);
	uint32_t i;

	if (space == NAT44_UDP && !nat44_well_known(port))
		return mappings_left(n);
	i = nat44_pool_find(n, &n->dests, nat44_dest_key(space, remote));
	return left_of(ports_of(n, space),
	    i == NAT44_NONE ? 0 : nat44_dest(n, i)->node.count);
}

uint64_t
nat44_refused(const struct nat44 *n)
{
	return n->stats.drop[MAP_DROP_NO_PORT];
}

struct shortages {
	uint32_t below;
	void (*visit)(void *arg, const struct nat44_shortage *s);
	void *arg;
};

static void
shortage(
    const struct shortages *w, uint8_t space, uint64_t remote, uint32_t left)
{
	struct nat44_shortage s = {.proto = nat44_proto(space),
	    .port = (uint16_t)remote,
	    .left = left};

	if (left >= w->below)
		return;
	store_be32(s.dst, (uint32_t)(remote >> 16));
	w->visit(w->arg, &s);
}

/* What holds for every destination. */
static void
shortage_of_all(const struct nat44 *n, const struct shortages *w)
{
	static const uint16_t well_known[] = {53, 123, 443};

	shortage(w, NAT44_TCP, 0, ports_of(n, NAT44_TCP));
	shortage(w, NAT44_ICMP, 0, ports_of(n, NAT44_ICMP));
	shortage(w, NAT44_UDP, 0, mappings_left(n));
	for (size_t i = 0; i < ARRAY_LEN(well_known); i++)
		shortage(w, NAT44_UDP, well_known[i], ports_of(n, NAT44_UDP));
}

void
nat44_short(const struct nat44 *n, uint32_t below,
    void (*visit)(void *arg, const struct nat44_shortage *s), void *arg)
{
	const struct shortages w = {below, visit, arg};
	uint32_t least = UINT32_MAX;

	shortage_of_all(n, &w);
	for (uint8_t space = 0; space < NAT44_SPACES; space++) {
		if (ports_of(n, space) >= below)
			least = (uint32_t)uk_min_u64(
			    least, ports_of(n, space) - below + 1);
	}
	/* Not as many sessions as one destination would need. */
	if (n->count < least)
		return;
	for (uint32_t i = 0; i < n->dests.used; i++) {
		const struct nat44_node *d = &nat44_dest(n, i)->node;
		uint8_t space = (uint8_t)(d->key >> 48);
		uint16_t port = (uint16_t)d->key;

		if (d->count < least || ports_of(n, space) < below ||
		    (space == NAT44_UDP && !nat44_well_known(port)))
			continue;
		shortage(&w, space, d->key & UINT64_C(0xffffffffffff),
		    left_of(ports_of(n, space), d->count));
	}
}
