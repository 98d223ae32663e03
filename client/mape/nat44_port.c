#include "nat44_state.h"

/* Ports are drawn at random (RFC 6056, N6) so often before all are tried. */
#define DRAWS 8
/* A search of all ports that found none is done again when the first of them
 * can be had, as it was then. After a second it may be another one: what ends
 * while it waits has more than that left. And not so often that searching is
 * all that is done: by the port, it takes a fortieth of this. */
#define RETRY_NS UK_NS_PER_S
#define PAUSE_NS 4000
/* Of a very large set not all are searched for the best one. */
#define ENOUGH 1024

/* What wants a port. */
struct want {
	uint64_t remote;
	uint8_t space;
	bool mapping; /* an endpoint-independent one, then there is no remote */
};

uint32_t
nat44_random(struct nat44 *n, uint32_t below)
{
	if (n->rnd_left == 0) {
		n->conf.random(n->rnd, sizeof(n->rnd));
		n->rnd_left = ARRAY_LEN(n->rnd);
	}
	return (uint32_t)((uint64_t)n->rnd[--n->rnd_left] * below >> 32);
}

static bool
is_over(const struct nat44 *n, uint64_t until)
{
	return until == 0 || until < n->now_ns;
}

static struct nat44_session *
holder(const struct nat44 *n, uint8_t space, uint16_t port, uint64_t remote)
{
	return nat44_find_ext(
	    n, space, port, remote, nat44_hash_ext(n, space, port, remote));
}

/* Sessions that keep a port from another one toward this remote: one to
 * exactly that, and, as it would get the answers, UDP's to all its ports. */
static void
holders(const struct nat44 *n, uint8_t space, uint16_t port, uint64_t remote,
    struct nat44_session *s[2])
{
	s[0] = holder(n, space, port, remote);
	s[1] = NULL;
	if (space == NAT44_UDP && (uint16_t)remote != 0)
		s[1] = holder(n, space, port, remote & ~UINT64_C(0xffff));
}

static uint64_t
later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Until when is this port held? 0: nothing does. UK_NEVER: it cannot be had. */
static uint64_t
held_until(const struct nat44 *n, const struct want *w, uint32_t i,
    enum nat44_stage stage)
{
	uint64_t until = 0;
	struct nat44_session *s[2];
	uint16_t port = map_ports_nth(&n->conf.ports, i);
	uint32_t m = n->mapping_of[i];

	/* Port 0 is in the set where that is the whole address. */
	if (port == 0)
		return UK_NEVER;
	if (w->space == NAT44_TCP && n->forward_of[i] != 0)
		return UK_NEVER;
	if (w->space == NAT44_UDP && m != NAT44_NONE) {
		const struct nat44_mapping *of = nat44_mapping(n, m);

		if (of->host == NAT44_NONE)
			return UK_NEVER;
		if (w->mapping)
			return nat44_end(of->last_ns, NAT44_UDP_LONG, stage);
	}
	if (w->mapping)
		return 0;
	holders(n, w->space, port, w->remote, s);
	for (unsigned k = 0; k < 2; k++) {
		if (s[k])
			until = later(until, nat44_session_end(s[k], stage));
	}
	return until;
}

/* Whatever holds it has to go. */
static uint16_t
take(struct nat44 *n, const struct want *w, uint32_t i)
{
	uint16_t port = map_ports_nth(&n->conf.ports, i);
	struct nat44_session *s[2];

	if (w->mapping) {
		if (n->mapping_of[i] != NAT44_NONE)
			nat44_mapping_reclaim(n, n->mapping_of[i]);
		return port;
	}
	holders(n, w->space, port, w->remote, s);
	for (unsigned k = 0; k < 2; k++) {
		if (s[k])
			nat44_reclaim(n, s[k]);
	}
	return port;
}

static uint32_t
gcd(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t r = a % b;

		a = b;
		b = r;
	}
	return a;
}

/* All ports in a random order of sorts: steps that have no factor in common
 * with their number meet each once, and prefer none behind a run of taken
 * ones. The one that is held least long, until *until. */
static uint32_t
search(struct nat44 *n, const struct want *w, uint64_t *until)
{
	uint32_t count = n->port_count;
	uint64_t at = nat44_random(n, count);
	uint32_t step = 1 + nat44_random(n, count);
	uint32_t best = 0;

	*until = UK_NEVER;
	while (gcd(count, step) != 1)
		step++;
	for (uint32_t k = 0; k < count; k++, at = (at + step) % count) {
		uint64_t t = held_until(n, w, (uint32_t)at, NAT44_FULL);

		if (t < *until) {
			*until = t;
			best = (uint32_t)at;
		}
		if (t == 0 || (k >= ENOUGH && is_over(n, *until)))
			break;
	}
	return best;
}

static uint64_t
retry_at(const struct nat44 *n, uint64_t until)
{
	uint64_t soon = n->now_ns + n->port_count * PAUSE_NS;
	uint64_t late = n->now_ns + RETRY_NS;

	return later(soon, until < late ? until + 1 : late);
}

static bool
pick(struct nat44 *n, const struct want *w, uint32_t taken, uint64_t *retry_ns,
    uint16_t *port)
{
	uint32_t all = n->port_count - n->reserved[w->space];
	enum nat44_stage stage = nat44_stage_of(taken, all);
	uint64_t until;

	if (all == 0 || n->now_ns < *retry_ns)
		return false;
	for (unsigned k = 0; k < DRAWS && stage != NAT44_FULL; k++) {
		uint32_t i = nat44_random(n, n->port_count);

		until = held_until(n, w, i, stage);
		if (is_over(n, until)) {
			*port = take(n, w, i);
			return true;
		}
	}
	uint32_t i = search(n, w, &until);
	if (!is_over(n, until)) {
		*retry_ns = retry_at(n, until);
		return false;
	}
	*port = take(n, w, i);
	return true;
}

bool
nat44_port_session(struct nat44 *n, uint8_t space, uint64_t remote,
    struct nat44_dest *d, uint16_t *port)
{
	struct want w = {.remote = remote, .space = space};

	/* It counts the one that is being made. */
	return pick(n, &w, d->node.count - 1, &d->retry_ns, port);
}

bool
nat44_port_mapping(struct nat44 *n, uint16_t *port)
{
	struct want w = {.space = NAT44_UDP, .mapping = true};
	uint32_t taken = n->mappings.count - n->udp_forwards;

	return pick(n, &w, taken, &n->mapping_retry_ns, port);
}

bool
nat44_port_try(struct nat44 *n, uint8_t space, uint64_t remote, uint16_t port)
{
	struct nat44_session *s = holder(n, space, port, remote);

	if (s && nat44_alive(n, s))
		return false;
	if (s)
		nat44_session_remove(n, s);
	return true;
}
