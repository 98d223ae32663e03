#include "nat44_state.h"

/* What is made from outside leaves a part to what is made from inside. */
static uint32_t
share(const struct nat44_new *w, uint32_t max)
{
	return w->flags & NAT44_FORWARDED ? max - max / 8 : max;
}

/* Count the new session in the records of its host and its destination, which
 * holds them while room is made. */
static enum map_drop
hold(struct nat44 *n, struct nat44_new *w)
{
	uint64_t host = nat44_host_key(w->inside);
	uint64_t dest = nat44_dest_key(w->space, w->remote);

	w->host = nat44_pool_find(n, &n->hosts, host);
	if (w->host == NAT44_NONE) {
		w->host = nat44_pool_add(n, &n->hosts, host);
		if (w->host == NAT44_NONE)
			return MAP_DROP_HOST_LIMIT;
		nat44_host(n, w->host)->first = NAT44_NONE;
		nat44_host(n, w->host)->last = NAT44_NONE;
	}
	struct nat44_host *h = nat44_host(n, w->host);
	if (++h->node.count > share(w, n->conf.host_sessions_max) &&
	    !nat44_host_room(n, h))
		return MAP_DROP_HOST_LIMIT;
	if (!nat44_table_room(n, share(w, n->conf.sessions_max)))
		return MAP_DROP_TABLE_FULL;
	w->dest = nat44_pool_find(n, &n->dests, dest);
	if (w->dest == NAT44_NONE)
		w->dest = nat44_pool_add(n, &n->dests, dest);
	/* One for each session and the new one. */
	UK_ASSERT(w->dest != NAT44_NONE);
	nat44_dest(n, w->dest)->node.count++;
	return MAP_OK;
}

/* The mapping before its host. */
static void
let_go(struct nat44 *n, const struct nat44_new *w)
{
	if (w->mapping != NAT44_NONE)
		nat44_mapping_put(n, w->mapping);
	if (w->dest != NAT44_NONE)
		nat44_dest_put(n, w->dest);
	if (w->host != NAT44_NONE)
		nat44_host_put(n, w->host);
}

static enum map_drop
new_mapping(struct nat44 *n, struct nat44_new *w)
{
	uint16_t port;

	if (nat44_host(n, w->host)->mappings >= n->conf.host_ports_max &&
	    !nat44_host_mapping_room(n, w->host))
		return MAP_DROP_HOST_LIMIT;
	if (!nat44_port_mapping(n, &port))
		return MAP_DROP_NO_PORT;
	w->mapping = nat44_mapping_add(n, w->inside, w->host, port);
	/* As many as ports. */
	UK_ASSERT(w->mapping != NAT44_NONE);
	return MAP_OK;
}

static enum map_drop
own_port(struct nat44 *n, struct nat44_new *w)
{
	struct nat44_dest *d = nat44_dest(n, w->dest);

	return nat44_port_session(n, w->space, w->remote, d, &w->ext)
		   ? MAP_OK
		   : MAP_DROP_NO_PORT;
}

/* The port of the mapping where there is one (RFC 4787 REQ-1), toward 53, 123
 * and 443 too, unless somebody else has that port toward this remote. */
static enum map_drop
udp_port(struct nat44 *n, struct nat44_new *w)
{
	bool any = !nat44_well_known((uint16_t)w->remote);
	enum map_drop why;

	w->mapping = nat44_pool_find(n, &n->mappings, w->inside);
	if (w->mapping == NAT44_NONE) {
		why = any ? new_mapping(n, w) : own_port(n, w);
		if (why != MAP_OK || !any)
			return why;
	}
	struct nat44_mapping *m = nat44_mapping(n, w->mapping);
	m->node.count++;
	w->ext = m->ext;
	if (any || nat44_port_try(n, w->space, w->remote, w->ext))
		return MAP_OK;
	nat44_mapping_put(n, w->mapping);
	w->mapping = NAT44_NONE;
	return own_port(n, w);
}

static enum map_drop
finish(struct nat44 *n, const struct nat44_new *w, enum map_drop why,
    struct nat44_session **out)
{
	if (why == MAP_OK) {
		*out = nat44_session_add(n, w);
		return MAP_OK;
	}
	if (why == MAP_DROP_NO_PORT)
		n->stats.space[w->space].refused++;
	let_go(n, w);
	return why;
}

static struct nat44_new
new_session(uint8_t space, uint64_t inside, uint64_t remote)
{
	return (struct nat44_new){.space = space,
	    .inside = nat44_inside_key(space, inside),
	    .remote = nat44_remote_key(space, remote),
	    .dest = NAT44_NONE,
	    .host = NAT44_NONE,
	    .mapping = NAT44_NONE};
}

enum map_drop
nat44_open_outward(
    struct nat44 *n, const struct nat44_flow *f, struct nat44_session **out)
{
	struct nat44_new w = new_session(f->space, f->src, f->dst);

	if (f->space == NAT44_TCP && !nat44_tcp_opens(f->tcp_flags, true))
		return MAP_DROP_NO_SESSION;
	enum map_drop why = hold(n, &w);
	if (why == MAP_OK)
		why = f->space == NAT44_UDP ? udp_port(n, &w) : own_port(n, &w);
	return finish(n, &w, why, out);
}

/* Has the mapping's owner sent to this address, at whatever port? Sessions to
 * well-known ports are apart. */
static bool
asked(const struct nat44 *n, uint32_t mapping, uint16_t ext, uint64_t remote)
{
	static const uint16_t ports[] = {0, 53, 123, 443};

	for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
		uint64_t key = (remote & ~UINT64_C(0xffff)) | ports[i];
		const struct nat44_session *s =
		    nat44_alive(n, nat44_find_ext(n, NAT44_UDP, ext, key,
				       nat44_hash_ext(n, NAT44_UDP, ext, key)));

		if (s && s->mapping == mapping)
			return true;
	}
	return false;
}

/* Where a packet of no session leads: to a forward, or to an endpoint that has
 * asked this remote for something. MAP_DROP_FILTERED: it is for somebody. */
static enum map_drop
invited(const struct nat44 *n, const struct nat44_flow *f, uint64_t *inside,
    uint32_t *mapping)
{
	uint16_t ext = (uint16_t)f->dst;
	uint32_t i = map_ports_index(&n->conf.ports, ext);
	enum map_drop no = n->port_use[f->space][i] > 0 ? MAP_DROP_FILTERED
							: MAP_DROP_NO_SESSION;

	*mapping = NAT44_NONE;
	if (f->space == NAT44_TCP && n->forward_of[i] != 0) {
		const struct nat44_forward *w =
		    &n->conf.forward[n->forward_of[i] - 1];

		*inside = nat44_forward_inside(w);
		return nat44_tcp_opens(f->tcp_flags, false) ? MAP_OK : no;
	}
	if (f->space != NAT44_UDP || n->mapping_of[i] == NAT44_NONE)
		return no;
	const struct nat44_mapping *m = nat44_mapping(n, n->mapping_of[i]);
	*mapping = n->mapping_of[i];
	*inside = m->node.key & UINT64_C(0xffffffffffff);
	if (m->host != NAT44_NONE && !asked(n, *mapping, ext, f->src))
		return no;
	return MAP_OK;
}

enum map_drop
nat44_open_inward(
    struct nat44 *n, const struct nat44_flow *f, struct nat44_session **out)
{
	uint64_t inside;
	uint32_t mapping;
	enum map_drop why = invited(n, f, &inside, &mapping);

	if (why != MAP_OK)
		return why;
	struct nat44_new w = new_session(f->space, inside, f->src);
	struct nat44_session *s = nat44_find_inside(
	    n, w.inside, w.remote, nat44_hash(n, w.inside, w.remote));
	/* It speaks with this remote already, by another port. */
	if (nat44_alive(n, s))
		return MAP_DROP_FILTERED;
	/* Held before the old one goes, which may be the mapping's last. */
	w.ext = (uint16_t)f->dst;
	w.flags = NAT44_FORWARDED;
	w.mapping = mapping;
	if (mapping != NAT44_NONE)
		nat44_mapping(n, mapping)->node.count++;
	if (s)
		nat44_session_remove(n, s);
	return finish(n, &w, hold(n, &w), out);
}
