#include "nat44_state.h"

/* Sessions looked at when room is wanted: bounds what a packet costs. */
#define SWEEP 256
/* The same of mappings: all, but where the set is most of an address. */
#define MAPPING_SWEEP 4096
/* How long a search that found nothing is not done again. */
#define RETRY_NS (100 * UK_NS_PER_MS)

uint64_t
nat44_hash_ext(
    const struct nat44 *n, uint8_t space, uint16_t ext, uint64_t remote)
{
	return nat44_hash(n, nat44_inside_key(space, ext), remote);
}

static struct nat44_session *
find(const struct nat44 *n, const struct nat44_index *x, uint64_t hash,
    uint64_t near, uint64_t remote, bool by_ext)
{
	uint32_t at = (uint32_t)hash & x->mask;
	uint32_t tag = (uint32_t)(hash >> (32 + NAT44_NUMBER_BITS)) | 1;
	uint32_t number_mask = (UINT32_C(1) << NAT44_NUMBER_BITS) - 1;

	for (uint32_t left = x->mask;; left--, at = (at + 1) & x->mask) {
		const struct nat44_bucket *b = &x->bucket[at];

		for (unsigned i = 0; i < NAT44_BUCKET_SLOTS; i++) {
			if (b->slot[i] >> NAT44_NUMBER_BITS != tag)
				continue;
			struct nat44_session *s =
			    &n->session[b->slot[i] & number_mask];
			if (s->remote != remote)
				continue;
			if (by_ext ? s->ext == (uint16_t)near &&
					 s->inside >> 48 == near >> 48
				   : s->inside == near)
				return s;
		}
		if (b->passed == 0 || left == 0)
			return NULL;
	}
}

struct nat44_session *
nat44_find_inside(
    const struct nat44 *n, uint64_t inside, uint64_t remote, uint64_t hash)
{
	return find(n, &n->by_inside, hash, inside, remote, false);
}

struct nat44_session *
nat44_find_ext(const struct nat44 *n, uint8_t space, uint16_t ext,
    uint64_t remote, uint64_t hash)
{
	return find(
	    n, &n->by_ext, hash, nat44_inside_key(space, ext), remote, true);
}

uint64_t
nat44_dest_key(uint8_t space, uint64_t remote)
{
	return UINT64_C(1) << 56 | (uint64_t)space << 48 | remote;
}

uint64_t
nat44_host_key(uint64_t inside)
{
	return UINT64_C(1) << 56 | (inside >> 16 & UINT32_MAX);
}

enum nat44_timer
nat44_timer_of(const struct nat44_session *s)
{
	uint16_t port = (uint16_t)s->remote;

	if (s->space == NAT44_ICMP)
		return NAT44_QUERY;
	if (s->space == NAT44_UDP && port != 53 && port != 123)
		return NAT44_UDP_LONG;
	if (s->space == NAT44_UDP)
		return s->flags & NAT44_SEEN_IN ? NAT44_ANSWERED
						: NAT44_UDP_SHORT;
	if ((s->flags & NAT44_FINS) == NAT44_FINS)
		return NAT44_ENDED;
	if (s->flags & NAT44_RST)
		return NAT44_RESET;
	return s->flags & NAT44_OPENED ? NAT44_ESTABLISHED : NAT44_OPENING;
}

uint64_t
nat44_end(uint64_t last_ns, enum nat44_timer timer, enum nat44_stage stage)
{
	return last_ns + nat44_idle_s[timer][stage] * UK_NS_PER_S;
}

uint64_t
nat44_session_end(const struct nat44_session *s, enum nat44_stage stage)
{
	return nat44_end(s->last_ns, nat44_timer_of(s), stage);
}

struct nat44_session *
nat44_alive(const struct nat44 *n, struct nat44_session *s)
{
	return s && n->now_ns <= nat44_session_end(s, NAT44_ROOMY) ? s : NULL;
}

enum nat44_stage
nat44_stage_of(uint32_t taken, uint32_t all)
{
	if (taken >= all)
		return NAT44_FULL;
	if (taken >= all - all / 8)
		return NAT44_SCARCE;
	return taken >= all - all / 4 ? NAT44_TIGHT : NAT44_ROOMY;
}

void
nat44_port_used(struct nat44 *n, uint8_t space, uint16_t port, int more)
{
	uint32_t i = map_ports_index(&n->conf.ports, port);
	uint32_t *use = &n->port_use[space][i];
	struct nat44_space *s = &n->stats.space[space];

	s->ports -= *use > 0;
	*use += (uint32_t)more;
	s->ports += *use > 0;
	if (s->ports > s->ports_peak)
		s->ports_peak = s->ports;
}

void
nat44_dest_put(struct nat44 *n, uint32_t number)
{
	if (--nat44_dest(n, number)->node.count == 0)
		nat44_pool_remove(n, &n->dests, number);
}

void
nat44_host_put(struct nat44 *n, uint32_t number)
{
	if (--nat44_host(n, number)->node.count == 0)
		nat44_pool_remove(n, &n->hosts, number);
}

static void
mapping_end(struct nat44 *n, uint32_t number)
{
	struct nat44_mapping *m = nat44_mapping(n, number);

	n->mapping_of[map_ports_index(&n->conf.ports, m->ext)] = NAT44_NONE;
	n->mapping_retry_ns = 0;
	nat44_host(n, m->host)->mappings--;
	nat44_port_used(n, NAT44_UDP, m->ext, -1);
	n->stats.space[NAT44_UDP].mappings--;
	nat44_pool_remove(n, &n->mappings, number);
}

void
nat44_mapping_put(struct nat44 *n, uint32_t number)
{
	struct nat44_mapping *m = nat44_mapping(n, number);

	if (--m->node.count == 0 && m->host != NAT44_NONE)
		mapping_end(n, number);
}

uint32_t
nat44_mapping_add(struct nat44 *n, uint64_t inside, uint32_t host, uint16_t ext)
{
	uint32_t i = nat44_pool_add(n, &n->mappings, inside);

	if (i == NAT44_NONE)
		return i;
	struct nat44_mapping *m = nat44_mapping(n, i);
	m->host = host;
	m->ext = ext;
	m->first = NAT44_NONE;
	m->last_ns = n->now_ns;
	if (host != NAT44_NONE)
		nat44_host(n, host)->mappings++;
	n->mapping_of[map_ports_index(&n->conf.ports, ext)] = i;
	nat44_port_used(n, NAT44_UDP, ext, 1);
	n->stats.space[NAT44_UDP].mappings++;
	return i;
}

static uint32_t
number_of(const struct nat44 *n, const struct nat44_session *s)
{
	return (uint32_t)(s - n->session);
}

static void
host_link(struct nat44 *n, struct nat44_session *s)
{
	struct nat44_host *h = nat44_host(n, s->host);
	uint32_t i = number_of(n, s);

	s->host_prev = NAT44_NONE;
	s->host_next = h->first;
	if (h->first != NAT44_NONE)
		n->session[h->first].host_prev = i;
	else
		h->last = i;
	h->first = i;
}

static void
host_unlink(struct nat44 *n, struct nat44_session *s)
{
	struct nat44_host *h = nat44_host(n, s->host);

	if (s->host_prev != NAT44_NONE)
		n->session[s->host_prev].host_next = s->host_next;
	else
		h->first = s->host_next;
	if (s->host_next != NAT44_NONE)
		n->session[s->host_next].host_prev = s->host_prev;
	else
		h->last = s->host_prev;
}

static void
map_link(struct nat44 *n, struct nat44_session *s)
{
	struct nat44_mapping *m = nat44_mapping(n, s->mapping);

	s->map_prev = NAT44_NONE;
	s->map_next = m->first;
	if (m->first != NAT44_NONE)
		n->session[m->first].map_prev = number_of(n, s);
	m->first = number_of(n, s);
}

static void
map_unlink(struct nat44 *n, struct nat44_session *s)
{
	if (s->map_prev != NAT44_NONE)
		n->session[s->map_prev].map_next = s->map_next;
	else
		nat44_mapping(n, s->mapping)->first = s->map_next;
	if (s->map_next != NAT44_NONE)
		n->session[s->map_next].map_prev = s->map_prev;
}

/* What the checksums change by when the packet goes out. */
static void
set_deltas(const struct nat44 *n, struct nat44_session *s)
{
	uint64_t new_addr = (uint64_t)n->address << 16;
	uint64_t old_addr = s->inside & UINT64_C(0xffffffff0000);
	uint32_t port = (uint32_t)s->ext + (uint16_t) ~(uint16_t)s->inside;

	/* Two 16-bit words less two: the complement of a folded sum. */
	s->addr_delta =
	    nat44_fold(nat44_words(new_addr) +
		       (uint16_t)~nat44_fold(nat44_words(old_addr)));
	s->l4_delta =
	    nat44_fold(s->space == NAT44_ICMP ? port : s->addr_delta + port);
}

struct nat44_session *
nat44_session_add(struct nat44 *n, const struct nat44_new *w)
{
	uint32_t i = n->free;

	if (i != NAT44_NONE)
		n->free = n->session[i].map_next;
	else
		i = n->used++;
	UK_ASSERT(i < n->conf.sessions_max);
	struct nat44_session *s = &n->session[i];
	*s = (struct nat44_session){.inside = w->inside,
	    .remote = w->remote,
	    .last_ns = n->now_ns,
	    .dest = w->dest,
	    .host = w->host,
	    .mapping = w->mapping,
	    .ext = w->ext,
	    .flags = w->flags,
	    .space = w->space};
	set_deltas(n, s);
	host_link(n, s);
	if (s->mapping != NAT44_NONE)
		map_link(n, s);
	nat44_index_add(&n->by_inside, nat44_hash(n, s->inside, s->remote), i);
	nat44_index_add(
	    &n->by_ext, nat44_hash_ext(n, s->space, s->ext, s->remote), i);
	nat44_port_used(n, s->space, s->ext, 1);
	n->stats.space[s->space].sessions++;
	n->stats.made++;
	n->count++;
	return s;
}

void
nat44_session_remove(struct nat44 *n, struct nat44_session *s)
{
	uint32_t i = number_of(n, s);

	nat44_index_remove(
	    &n->by_inside, nat44_hash(n, s->inside, s->remote), i);
	nat44_index_remove(
	    &n->by_ext, nat44_hash_ext(n, s->space, s->ext, s->remote), i);
	nat44_port_used(n, s->space, s->ext, -1);
	n->stats.space[s->space].sessions--;
	n->count--;
	/* What was searched in vain may be found now. */
	n->table_retry_ns = 0;
	nat44_dest(n, s->dest)->retry_ns = 0;
	nat44_host(n, s->host)->retry_ns = 0;
	host_unlink(n, s);
	/* The mapping before its host. */
	if (s->mapping != NAT44_NONE) {
		map_unlink(n, s);
		nat44_mapping_put(n, s->mapping);
	}
	nat44_dest_put(n, s->dest);
	nat44_host_put(n, s->host);
	s->inside = 0;
	s->map_next = n->free;
	n->free = i;
}

void
nat44_reclaim(struct nat44 *n, struct nat44_session *s)
{
	if (nat44_alive(n, s))
		n->stats.space[s->space].reclaimed++;
	nat44_session_remove(n, s);
}

/* The last one that goes takes the mapping along. */
void
nat44_mapping_reclaim(struct nat44 *n, uint32_t number)
{
	uint32_t at = nat44_mapping(n, number)->first;

	while (at != NAT44_NONE) {
		struct nat44_session *s = &n->session[at];

		at = s->map_next;
		nat44_reclaim(n, s);
	}
}

bool
nat44_table_room(struct nat44 *n, uint32_t max)
{
	uint32_t before = n->count;

	if (n->count < max)
		return true;
	if (n->now_ns < n->table_retry_ns)
		return false;
	for (unsigned i = 0; i < SWEEP; i++) {
		struct nat44_session *s = &n->session[n->hand];

		n->hand = (n->hand + 1) % n->used;
		if (s->inside != 0 &&
		    n->now_ns > nat44_session_end(s, NAT44_FULL))
			nat44_reclaim(n, s);
	}
	if (n->count == before)
		n->table_retry_ns = n->now_ns + RETRY_NS;
	return n->count < before;
}

/* UDP before others, and of those the one that is idle longest (N9). Sessions
 * in use go to the front, so that the next search begins at others. */
bool
nat44_host_room(struct nat44 *n, struct nat44_host *h)
{
	struct nat44_session *best = NULL;
	uint32_t at = h->last;

	if (n->now_ns < h->retry_ns)
		return false;
	for (unsigned i = 0; i < SWEEP && at != NAT44_NONE; i++) {
		struct nat44_session *s = &n->session[at];

		at = s->host_prev;
		if (n->now_ns <= nat44_session_end(s, NAT44_FULL)) {
			host_unlink(n, s);
			host_link(n, s);
			continue;
		}
		bool udp = s->space == NAT44_UDP;
		bool best_udp = best && best->space == NAT44_UDP;
		if (!best || udp > best_udp ||
		    (udp == best_udp && s->last_ns < best->last_ns))
			best = s;
	}
	if (best)
		nat44_reclaim(n, best);
	else
		h->retry_ns = n->now_ns + RETRY_NS;
	return best;
}

bool
nat44_host_mapping_room(struct nat44 *n, uint32_t host)
{
	struct nat44_host *h = nat44_host(n, host);
	uint32_t best = NAT44_NONE;
	uint64_t last_ns = UINT64_MAX;

	if (n->now_ns < h->retry_ns)
		return false;
	for (unsigned k = 0; k < MAPPING_SWEEP && k < n->mappings.used; k++) {
		uint32_t i = n->mapping_hand++ % n->mappings.used;
		const struct nat44_mapping *m = nat44_mapping(n, i);

		if (m->node.key == 0 || m->host != host ||
		    m->last_ns >= last_ns)
			continue;
		best = i;
		last_ns = m->last_ns;
	}
	if (best == NAT44_NONE ||
	    n->now_ns <= nat44_end(last_ns, NAT44_UDP_LONG, NAT44_FULL)) {
		h->retry_ns = n->now_ns + RETRY_NS;
		return false;
	}
	nat44_mapping_reclaim(n, best);
	return true;
}
