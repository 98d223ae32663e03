#include "napt_table.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#define PORTS 65536u
#define BUCKETS 65536u
#define NONE UINT32_MAX

/* Enough for every flow an office tries while its ports are out. A flow is
 * looked for in the slots of one set. */
#define REFUSED_SETS 1024u
#define REFUSED_SLOTS 8
#define REFUSED_AGAIN_NS (120 * NAPT_NS_PER_S)

enum state { OPENING, ESTABLISHED, CLOSED, UDP, ICMP, STATES };

enum { SYN_OUT = 1, SYN_IN = 2, FIN_OUT = 4, FIN_IN = 8 };

/* The owner of one external port; there is one of these for every port
 * number, so the external port is also the index. */
struct mapping {
	uint32_t lan_addr;
	uint16_t lan_port;
	bool in_set;
	uint32_t sessions; /* 0: the port is free */
	uint32_t hash_next;
};

/* Sessions of one state stand in one list in order of their last packet.
 * All of a list share a timeout, so its head is the next to expire. */
struct session {
	uint64_t touched_ns;
	uint32_t remote_addr;
	uint16_t remote_port;
	uint16_t port;
	uint8_t space;
	uint8_t state;
	uint8_t seen;
	uint32_t hash_next;
	uint32_t older;
	uint32_t newer;
};

/* Free ports, longest free first. */
struct port_queue {
	uint16_t port[PORTS];
	uint32_t head;
	uint32_t count;
};

struct refused {
	uint64_t last_ns;
	uint32_t lan_addr;
	uint16_t lan_port;
	uint8_t space;
	bool valid;
};

struct napt_table {
	uint64_t timeout_ns[STATES];
	unsigned ports;
	unsigned used_sessions;
	uint32_t free_session; /* chained through hash_next */
	struct napt_space_stats stats[NAPT_SPACES];
	struct port_queue queue[NAPT_SPACES];
	struct mapping map[NAPT_SPACES][PORTS];
	uint32_t lan_bucket[BUCKETS];
	uint32_t session_bucket[BUCKETS];
	struct refused refused[REFUSED_SETS][REFUSED_SLOTS];
	/* The last STATES entries are the heads of the lists. */
	struct session session[NAPT_SESSIONS_MAX + STATES];
};

static uint32_t
hash(uint32_t addr, uint32_t ports, uint32_t salt)
{
	uint64_t h = ((uint64_t)addr << 32 | ports) ^ salt;

	h *= UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	return (uint32_t)(h >> 40);
}

static uint32_t
lan_bucket(enum napt_space space, uint32_t addr, uint16_t port)
{
	return hash(addr, port, (uint32_t)space) % BUCKETS;
}

static uint32_t
session_bucket(enum napt_space space, uint16_t port, uint32_t remote_addr,
    uint16_t remote_port)
{
	return hash(remote_addr, (uint32_t)port << 16 | remote_port,
		   (uint32_t)space) %
	       BUCKETS;
}

/* UDP and ICMP are filtered by remote address alone: their sessions have no
 * remote port. */
static uint16_t
session_remote_port(const struct napt_flow *f)
{
	return f->space == NAPT_TCP ? f->remote_port : 0;
}

static void
queue_push(struct port_queue *q, uint16_t port)
{
	assert(q->count < PORTS);
	q->port[(q->head + q->count) % PORTS] = port;
	q->count++;
}

static uint16_t
queue_pop(struct port_queue *q)
{
	uint16_t port = q->port[q->head];

	assert(q->count > 0);
	q->head = (q->head + 1) % PORTS;
	q->count--;
	return port;
}

static uint32_t
list_head(enum state state)
{
	return NAPT_SESSIONS_MAX + (uint32_t)state;
}

static void
list_remove(struct napt_table *t, uint32_t i)
{
	const struct session *s = &t->session[i];

	t->session[s->older].newer = s->newer;
	t->session[s->newer].older = s->older;
}

static void
list_append(struct napt_table *t, uint32_t i)
{
	struct session *s = &t->session[i];
	uint32_t head = list_head((enum state)s->state);

	s->newer = head;
	s->older = t->session[head].older;
	t->session[s->older].newer = i;
	t->session[head].older = i;
}

/* RFC 7597 section 5.1: a port is A (a bits), PSID (k bits), j (m bits), and
 * A is not 0. */
static void
port_set_init(struct napt_table *t, const struct napt_table_config *cfg)
{
	unsigned m = 16 - cfg->psid_offset - cfg->psid_length;

	for (uint32_t a = 1; a < 1u << cfg->psid_offset; a++) {
		for (uint32_t j = 0; j < 1u << m; j++) {
			uint32_t p = a << (16 - cfg->psid_offset) |
				     (uint32_t)cfg->psid << m | j;

			for (int s = 0; s < NAPT_SPACES; s++) {
				t->map[s][p].in_set = true;
				queue_push(&t->queue[s], (uint16_t)p);
			}
			t->ports++;
		}
	}
}

static bool
config_valid(const struct napt_table_config *cfg)
{
	return cfg->psid_offset >= 1 && cfg->psid_offset <= 15 &&
	       cfg->psid_length <= 16 - cfg->psid_offset &&
	       cfg->psid < 1u << cfg->psid_length;
}

struct napt_table *
napt_table_new(const struct napt_table_config *cfg)
{
	struct napt_table *t;

	if (!config_valid(cfg))
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->timeout_ns[OPENING] = cfg->tcp_closed_ns;
	t->timeout_ns[ESTABLISHED] = cfg->tcp_idle_ns;
	t->timeout_ns[CLOSED] = cfg->tcp_closed_ns;
	t->timeout_ns[UDP] = cfg->udp_idle_ns;
	t->timeout_ns[ICMP] = cfg->icmp_idle_ns;
	for (uint32_t i = 0; i < BUCKETS; i++)
		t->lan_bucket[i] = t->session_bucket[i] = NONE;
	for (uint32_t i = 0; i < NAPT_SESSIONS_MAX; i++)
		t->session[i].hash_next = i + 1;
	t->session[NAPT_SESSIONS_MAX - 1].hash_next = NONE;
	for (int s = 0; s < STATES; s++) {
		uint32_t head = list_head((enum state)s);

		t->session[head].older = t->session[head].newer = head;
	}
	port_set_init(t, cfg);
	return t;
}

void
napt_table_free(struct napt_table *t)
{
	free(t);
}

unsigned
napt_table_ports(const struct napt_table *t)
{
	return t->ports;
}

bool
napt_table_owns(const struct napt_table *t, uint16_t port)
{
	return t->map[NAPT_TCP][port].in_set;
}

/* The chains of the LAN side hold (space, port) as one number. */
static uint32_t
mapping_find(const struct napt_table *t, const struct napt_flow *f)
{
	uint32_t i =
	    t->lan_bucket[lan_bucket(f->space, f->lan_addr, f->lan_port)];

	while (i != NONE) {
		const struct mapping *m = &t->map[i / PORTS][i % PORTS];

		if (i / PORTS == (uint32_t)f->space &&
		    m->lan_addr == f->lan_addr && m->lan_port == f->lan_port)
			break;
		i = m->hash_next;
	}
	return i;
}

/* A new mapping has no session yet: the caller gives it one at once. */
static uint16_t
mapping_add(struct napt_table *t, const struct napt_flow *f)
{
	struct napt_space_stats *st = &t->stats[f->space];
	uint16_t port = queue_pop(&t->queue[f->space]);
	struct mapping *m = &t->map[f->space][port];
	uint32_t *bucket =
	    &t->lan_bucket[lan_bucket(f->space, f->lan_addr, f->lan_port)];

	/* RFC 4787 REQ-3: one owner. */
	assert(m->in_set && m->sessions == 0);
	m->lan_addr = f->lan_addr;
	m->lan_port = f->lan_port;
	m->hash_next = *bucket;
	*bucket = (uint32_t)f->space * PORTS + port;
	st->mappings++;
	st->used++;
	if (st->used > st->peak)
		st->peak = st->used;
	return port;
}

static void
mapping_remove(struct napt_table *t, enum napt_space space, uint16_t port)
{
	struct mapping *m = &t->map[space][port];
	uint32_t self = (uint32_t)space * PORTS + port;
	uint32_t *link =
	    &t->lan_bucket[lan_bucket(space, m->lan_addr, m->lan_port)];

	while (*link != self)
		link = &t->map[*link / PORTS][*link % PORTS].hash_next;
	*link = m->hash_next;
	t->stats[space].used--;
	queue_push(&t->queue[space], port);
}

static uint32_t
session_find(
    const struct napt_table *t, const struct napt_flow *f, uint16_t port)
{
	uint16_t remote_port = session_remote_port(f);
	uint32_t i = t->session_bucket[session_bucket(
	    f->space, port, f->remote_addr, remote_port)];

	while (i != NONE) {
		const struct session *s = &t->session[i];

		if (s->space == f->space && s->port == port &&
		    s->remote_addr == f->remote_addr &&
		    s->remote_port == remote_port)
			break;
		i = s->hash_next;
	}
	return i;
}

static enum state
first_state(enum napt_space space)
{
	if (space == NAPT_TCP)
		return OPENING;
	return space == NAPT_UDP ? UDP : ICMP;
}

static uint32_t
session_add(struct napt_table *t, const struct napt_flow *f, uint16_t port)
{
	uint32_t i = t->free_session;
	struct session *s = &t->session[i];
	uint16_t remote_port = session_remote_port(f);
	uint32_t *bucket = &t->session_bucket[session_bucket(
	    f->space, port, f->remote_addr, remote_port)];

	assert(i != NONE);
	t->free_session = s->hash_next;
	*s = (struct session){
	    .remote_addr = f->remote_addr,
	    .remote_port = remote_port,
	    .port = port,
	    .space = (uint8_t)f->space,
	    .state = (uint8_t)first_state(f->space),
	    .hash_next = *bucket,
	};
	*bucket = i;
	list_append(t, i);
	t->map[f->space][port].sessions++;
	t->used_sessions++;
	return i;
}

static void
session_remove(struct napt_table *t, uint32_t i)
{
	struct session *s = &t->session[i];
	enum napt_space space = (enum napt_space)s->space;
	struct mapping *m = &t->map[space][s->port];
	uint32_t *link = &t->session_bucket[session_bucket(
	    space, s->port, s->remote_addr, s->remote_port)];

	while (*link != i)
		link = &t->session[*link].hash_next;
	*link = s->hash_next;
	list_remove(t, i);
	s->hash_next = t->free_session;
	t->free_session = i;
	t->used_sessions--;
	if (--m->sessions == 0)
		mapping_remove(t, space, s->port);
}

/* The step function of the table in the header. */
static enum state
tcp_step(struct session *s, bool outward, uint8_t flags)
{
	if (s->state == CLOSED) {
		if (!outward || (flags & (NAPT_SYN | NAPT_ACK)) != NAPT_SYN)
			return CLOSED;
		s->seen = 0;
	}
	if (flags & NAPT_RST)
		return CLOSED;
	if (flags & NAPT_SYN)
		s->seen |= outward ? SYN_OUT : SYN_IN;
	if (flags & NAPT_FIN)
		s->seen |= outward ? FIN_OUT : FIN_IN;
	if ((s->seen & (FIN_OUT | FIN_IN)) == (FIN_OUT | FIN_IN))
		return CLOSED;
	if ((s->seen & (SYN_OUT | SYN_IN)) == (SYN_OUT | SYN_IN))
		return ESTABLISHED;
	return OPENING;
}

static void
session_touch(struct napt_table *t, uint32_t i, uint64_t now_ns, bool outward,
    uint8_t tcp_flags)
{
	struct session *s = &t->session[i];
	enum state was = (enum state)s->state;
	enum state is = was;

	if (s->space == NAPT_TCP)
		is = tcp_step(s, outward, tcp_flags);
	/* The time after a close counts from the close: the last ACK of a
	 * connection does not prolong it. */
	if (was == CLOSED && is == CLOSED)
		return;
	list_remove(t, i);
	s->state = (uint8_t)is;
	s->touched_ns = now_ns;
	list_append(t, i);
}

static bool
refused_matches(const struct refused *r, const struct napt_flow *f)
{
	return r->valid && r->space == f->space && r->lan_addr == f->lan_addr &&
	       r->lan_port == f->lan_port;
}

static void
refuse(struct napt_table *t, uint64_t now_ns, const struct napt_flow *f)
{
	uint32_t h = lan_bucket(f->space, f->lan_addr, f->lan_port);
	struct refused *set = t->refused[h % REFUSED_SETS];
	struct refused *slot = &set[0];

	for (int i = 0; i < REFUSED_SLOTS; i++) {
		if (refused_matches(&set[i], f)) {
			slot = &set[i];
			break;
		}
		if (set[i].last_ns < slot->last_ns)
			slot = &set[i];
	}
	t->stats[f->space].refused_packets++;
	if (!refused_matches(slot, f) ||
	    now_ns - slot->last_ns >= REFUSED_AGAIN_NS)
		t->stats[f->space].refused_flows++;
	*slot = (struct refused){
	    .last_ns = now_ns,
	    .lan_addr = f->lan_addr,
	    .lan_port = f->lan_port,
	    .space = (uint8_t)f->space,
	    .valid = true,
	};
}

static bool
may_start(const struct napt_flow *f, uint8_t tcp_flags)
{
	return f->space != NAPT_TCP ||
	       (tcp_flags & (NAPT_SYN | NAPT_ACK | NAPT_RST)) == NAPT_SYN;
}

enum napt_result
napt_table_outward(struct napt_table *t, uint64_t now_ns,
    const struct napt_flow *f, uint8_t tcp_flags, uint16_t *port)
{
	uint32_t m = mapping_find(t, f);
	uint32_t s = NONE;

	if (m != NONE)
		s = session_find(t, f, (uint16_t)(m % PORTS));
	if (s == NONE) {
		if (!may_start(f, tcp_flags))
			return NAPT_NO_FLOW;
		if (t->free_session == NONE)
			return NAPT_NO_MEMORY;
		if (m == NONE && t->queue[f->space].count == 0) {
			refuse(t, now_ns, f);
			return NAPT_NO_PORT;
		}
		if (m == NONE)
			m = mapping_add(t, f);
		s = session_add(t, f, (uint16_t)(m % PORTS));
	}
	*port = t->session[s].port;
	session_touch(t, s, now_ns, true, tcp_flags);
	return NAPT_OK;
}

bool
napt_table_lookup_lan(
    const struct napt_table *t, const struct napt_flow *f, uint16_t *port)
{
	uint32_t m = mapping_find(t, f);

	if (m == NONE || session_find(t, f, (uint16_t)(m % PORTS)) == NONE)
		return false;
	*port = (uint16_t)(m % PORTS);
	return true;
}

bool
napt_table_lookup_port(
    const struct napt_table *t, struct napt_flow *f, uint16_t port)
{
	const struct mapping *m = &t->map[f->space][port];

	if (m->sessions == 0 || session_find(t, f, port) == NONE)
		return false;
	f->lan_addr = m->lan_addr;
	f->lan_port = m->lan_port;
	return true;
}

enum napt_result
napt_table_inward(struct napt_table *t, uint64_t now_ns, struct napt_flow *f,
    uint8_t tcp_flags, uint16_t port)
{
	const struct mapping *m = &t->map[f->space][port];
	uint32_t s;

	if (m->sessions == 0)
		return NAPT_NO_FLOW;
	s = session_find(t, f, port);
	if (s == NONE)
		return NAPT_FILTERED;
	f->lan_addr = m->lan_addr;
	f->lan_port = m->lan_port;
	session_touch(t, s, now_ns, false, tcp_flags);
	return NAPT_OK;
}

void
napt_table_expire(struct napt_table *t, uint64_t now_ns)
{
	for (int state = 0; state < STATES; state++) {
		uint32_t head = list_head((enum state)state);
		uint32_t i = t->session[head].newer;

		while (i != head && now_ns - t->session[i].touched_ns >=
					t->timeout_ns[state]) {
			session_remove(t, i);
			i = t->session[head].newer;
		}
	}
}

const struct napt_space_stats *
napt_table_stats(const struct napt_table *t, enum napt_space space)
{
	return &t->stats[space];
}

unsigned
napt_table_sessions(const struct napt_table *t)
{
	return t->used_sessions;
}
