/* How the kernel follows what is known of the relay. All around policy_live.c
 * is the test's own: peers, what failover says of them, sets, flows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/mark.h"
#include "client/policy/policy_state.h"
#include "core/err.h"
#include "host/sock_destroy.h"
#include "io/clock.h"
#include "io/tunnel.h"

#define PEERS 2
#define FLOWS 40000 /* more than are read at once */

static struct {
	struct policy p;
	struct failover peer[PEERS];
	enum failover_state state[PEERS];
	bool ask[PEERS];
	size_t peers; /* of the device */
	unsigned asked[PEERS], held, steps;
	bool v4, v6, busy;
	int refuse; /* of the kernel */
	unsigned tries, said;
	struct hostfw_change change[2];
	size_t changes;
	struct flow_entry flow[FLOWS];
	uint8_t family[FLOWS];
	size_t flows, deleted, stays; /* stays: 0: none */
	/* Sockets of this host by the number of their flow: the first end is
	 * theirs, or the other. */
	bool first_end[8], other_end[8];
	unsigned ended, opened;
} w;

/* ---- the tunnel ---- */

struct wg_device *
tunnel_hold(struct tunnel *t)
{
	(void)t;
	w.held++;
	return (struct wg_device *)&w;
}

void
tunnel_release(struct tunnel *t)
{
	(void)t;
	w.held--;
}

/* The device is linked in where tests/mutate builds this. */
struct wg_peer *__wrap_wg_device_next_peer(
    const struct wg_device *d, const struct wg_peer *after);
void __wrap_wg_peer_info(
    const struct wg_peer *p, uint64_t now_ns, struct wg_peer_info *out);
void __wrap_wg_peer_ask(struct wg_peer *p);

struct wg_peer *
__wrap_wg_device_next_peer(
    const struct wg_device *d, const struct wg_peer *after)
{
	size_t i = 0;

	(void)d;
	if (after != NULL)
		i = (const void *)after == &w.peer[0] ? 1 : PEERS;
	return i < w.peers ? (struct wg_peer *)&w.peer[i] : NULL;
}

void
__wrap_wg_peer_info(
    const struct wg_peer *p, uint64_t now_ns, struct wg_peer_info *out)
{
	(void)now_ns;
	assert_int_equal(w.held, 1);
	*out = (struct wg_peer_info){.handshakes = 1,
	    .rx_bytes = 2,
	    .tx_data = (const void *)p == &w.peer[0] ? 3 : 4};
}

void
__wrap_wg_peer_ask(struct wg_peer *p)
{
	assert_int_equal(w.held, 1);
	w.asked[(const void *)p == &w.peer[0] ? 0 : 1]++;
}

bool
failover_step(
    struct failover *f, uint64_t now_ns, const struct failover_peer *p)
{
	size_t i = (size_t)(f - w.peer);

	(void)now_ns;
	w.steps++;
	assert_int_equal(p->handshakes, 1);
	assert_int_equal(p->rx_bytes, 2);
	assert_int_equal(p->tx_data, 3 + i);
	f->state = w.state[i];
	return w.ask[i];
}

/* ---- the kernel ---- */

bool
policy_takes(const struct policy *p, uint8_t family)
{
	assert_ptr_equal(p, &w.p);
	return family == FAMILY_V4 ? w.v4 : w.v6;
}

int
policy_kernel_change(struct policy_kernel *k, const struct hostfw_change *c,
    size_t n, struct diag *d)
{
	(void)k;
	(void)d;
	if (w.busy)
		return UK_EAGAIN;
	w.tries++;
	assert_in_range(n, 1, 2);
	if (w.refuse == 0) {
		memcpy(w.change, c, n * sizeof(*c));
		w.changes = n;
	}
	return w.refuse;
}

int
flows_each(struct flows *f, uint8_t family, uint32_t mark, uint32_t mask,
    bool (*visit)(void *arg, const struct flow_entry *e), void *arg)
{
	(void)f;
	for (size_t i = 0; i < w.flows; i++)
		if (w.family[i] == family && (w.flow[i].mark & mask) == mark &&
		    !visit(arg, &w.flow[i]))
			break;
	return 0;
}

/* The flow's number is in its port. */
int
flows_delete(struct flows *f, const struct flow_tuple *original)
{
	size_t i = original->sport;

	(void)f;
	assert_true(w.opened > 0 || !w.flow[i].answered);
	assert_true(w.flow[i].mark != 0);
	if (w.stays != 0 && i == w.stays)
		return UK_ESYS;
	w.flow[i].mark = 0;
	w.deleted++;
	return 0;
}

int
sock_destroy_open(struct sock_destroy **s)
{
	*s = (struct sock_destroy *)&w;
	w.opened++;
	return 0;
}

void
sock_destroy_close(struct sock_destroy *s)
{
	assert_ptr_equal(s, &w);
}

int
sock_destroy_tcp(struct sock_destroy *s, const struct flow_tuple *t)
{
	size_t i = t->sport | t->dport;
	bool first = t->src.b[0] == 1;

	assert_ptr_equal(s, &w);
	assert_int_equal(t->src.b[0] + t->dst.b[0], 3);
	assert_int_equal(first ? t->dport : t->sport, 0);
	assert_true(w.flow[i].mark != 0);
	if (!(first ? w.first_end : w.other_end)[i])
		return UK_ENOENT;
	w.ended++;
	return 0;
}

struct uk_time
clock_now(void)
{
	return (struct uk_time){.mono_ns = UK_NS_PER_S};
}

void
log_msg(enum log_level level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
}

void
log_limited(struct log_limit *l, uint64_t now_ns, enum log_level level,
    const char *fmt, ...)
{
	(void)l;
	(void)now_ns;
	(void)level;
	(void)fmt;
	w.said++;
}

/* ---- */

static int
setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.p.s.loop = uv_default_loop();
	w.p.s.table = "ukai-t0";
	w.p.peer = w.peer;
	w.p.peers = w.peers = PEERS;
	w.v4 = w.v6 = true;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	uv_run(w.p.s.loop, UV_RUN_DEFAULT);
	return 0;
}

static void
expect_switched(bool live, size_t families, uint8_t first)
{
	assert_int_equal(w.p.live, live);
	assert_int_equal(w.changes, families);
	for (size_t i = 0; i < families; i++) {
		assert_string_equal(w.change[i].set, POLICY_NFT_LIVE);
		assert_int_equal(w.change[i].add, live);
		assert_int_equal(w.change[i].key_len, 1);
		assert_int_equal(w.change[i].key[0], i == 0 ? first : 10);
	}
	w.changes = 0;
}

/* One peer that answers is enough; the kernel hears of changes only. */
static void
test_any_peer(void **state)
{
	(void)state;
	policy_follow_peers(&w.p);
	assert_int_equal(w.tries, 0);
	w.state[1] = FAILOVER_LIVE;
	policy_follow_peers(&w.p);
	expect_switched(true, 2, 2);
	w.state[0] = FAILOVER_LIVE;
	policy_follow_peers(&w.p);
	w.state[1] = FAILOVER_DOWN;
	policy_follow_peers(&w.p);
	assert_int_equal(w.tries, 1);
	w.state[0] = FAILOVER_DOWN;
	policy_follow_peers(&w.p);
	expect_switched(false, 2, 2);
	assert_int_equal(w.tries, 2);
	assert_int_equal(w.steps, 2 * 5);
	assert_int_equal(w.held, 0);
}

static void
test_asks(void **state)
{
	(void)state;
	w.ask[1] = true;
	policy_follow_peers(&w.p);
	assert_int_equal(w.asked[0], 0);
	assert_int_equal(w.asked[1], 1);
	/* Somebody has removed one of them. */
	w.peers = 1;
	w.ask[0] = true;
	policy_follow_peers(&w.p);
	assert_int_equal(w.asked[0], 1);
	assert_int_equal(w.asked[1], 1);
}

/* What the tunnel does not take is never live (R8). */
static void
test_families_r8(void **state)
{
	(void)state;
	w.state[0] = FAILOVER_LIVE;
	w.v6 = false;
	policy_follow_peers(&w.p);
	expect_switched(true, 1, 2);
	w.p.live = false;
	w.v6 = true;
	w.v4 = false;
	policy_follow_peers(&w.p);
	expect_switched(true, 1, 10);
	w.p.live = false;
	w.v6 = false;
	policy_follow_peers(&w.p);
	expect_switched(true, 0, 0);
}

/* Not now: the next turn does it. Until then it is as the kernel has it. */
static void
test_later(void **state)
{
	(void)state;
	w.state[0] = FAILOVER_LIVE;
	w.busy = true;
	policy_follow_peers(&w.p);
	w.busy = false;
	assert_int_equal(w.tries, 0);
	assert_int_equal(w.said, 0);
	assert_false(w.p.live);
	w.refuse = UK_ESYS;
	policy_follow_peers(&w.p);
	assert_int_equal(w.tries, 1);
	assert_int_equal(w.said, 1);
	assert_false(w.p.live);
	w.refuse = 0;
	policy_follow_peers(&w.p);
	expect_switched(true, 2, 2);
}

static void
add_flow(uint8_t family, uint32_t mark, bool answered)
{
	struct flow_entry *e = &w.flow[w.flows];

	w.family[w.flows] = family;
	e->mark = mark;
	e->answered = answered;
	e->original.sport = (uint16_t)w.flows++;
	e->original.src.b[0] = 1;
	e->original.dst.b[0] = 2;
}

static void
follow_and_forget(void)
{
	policy_follow_peers(&w.p);
	uv_run(w.p.s.loop, UV_RUN_DEFAULT);
}

/* Who still waits for a first answer from the tunnel is decided on anew when it
 * is gone, and not when it comes back; nobody else is. */
static void
test_forgets(void **state)
{
	static const uint32_t stays[] = {
	    MARK_NATIVE, MARK_REFUSED, MARK_LOCAL, 0x05000000};
	static const uint8_t family[] = {FAMILY_V4, FAMILY_V6};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(family); i++) {
		add_flow(family[i], 0x01000007 | MARK_TUNNEL, false);
		add_flow(family[i], 0x01000007 | MARK_TUNNEL_ONLY, false);
		add_flow(family[i], 0x01000007 | MARK_TUNNEL, true);
		add_flow(family[i], 0x01000007 | MARK_TUNNEL_ONLY, true);
		for (size_t k = 0; k < ARRAY_LEN(stays); k++)
			add_flow(family[i], stays[k], false);
	}
	w.state[0] = FAILOVER_LIVE;
	follow_and_forget();
	assert_int_equal(w.deleted, 0);
	w.state[0] = FAILOVER_DOWN;
	w.refuse = UK_ESYS;
	follow_and_forget();
	assert_int_equal(w.deleted, 0);
	w.refuse = 0;
	follow_and_forget();
	assert_int_equal(w.deleted, 4);
	for (size_t i = 0; i < w.flows; i++)
		assert_int_equal(w.flow[i].mark == 0, i % 8 < 2);
}

/* More than are read at once; one that cannot be forgotten does not keep us. */
static void
test_forgets_many(void **state)
{
	(void)state;
	for (size_t i = 0; i < FLOWS; i++)
		add_flow(FAMILY_V4, MARK_TUNNEL, false);
	w.p.live = true;
	follow_and_forget();
	assert_int_equal(w.deleted, FLOWS);
	w.flows = 0;
	for (size_t i = 0; i < FLOWS; i++)
		add_flow(FAMILY_V6, MARK_TUNNEL_ONLY, false);
	w.stays = 7;
	w.p.live = true;
	follow_and_forget();
	assert_int_equal(w.flow[7].mark, MARK_TUNNEL_ONLY);
	assert_int_equal(w.deleted, 2 * FLOWS - 1);
}

/* The loop does not wait for it: there may be hundreds of thousands. What comes
 * to wait meanwhile has its turn, unless the relay is back. */
static void
test_forgets_aside(void **state)
{
	(void)state;
	add_flow(FAMILY_V4, MARK_TUNNEL, false);
	w.p.live = true;
	policy_follow_peers(&w.p);
	assert_true(w.p.forgetting);
	w.state[0] = FAILOVER_LIVE;
	policy_follow_peers(&w.p);
	w.state[0] = FAILOVER_DOWN;
	policy_follow_peers(&w.p);
	assert_true(w.p.to_forget);
	uv_run(w.p.s.loop, UV_RUN_DEFAULT);
	assert_int_equal(w.deleted, 1);
	assert_false(w.p.forgetting);
	add_flow(FAMILY_V4, MARK_TUNNEL, false);
	follow_and_forget();
	assert_int_equal(w.deleted, 2);
	assert_false(w.p.to_forget);
	add_flow(FAMILY_V4, MARK_TUNNEL, false);
	follow_and_forget();
	assert_int_equal(w.deleted, 2);
}

/* At the end nothing takes the tunnel any more, and what did, by whose decision
 * or from which end ever, has no socket and no entry that would send it by the
 * line with the tunnel's address (R8). */
static void
test_ends_r8(void **state)
{
	static const struct routes routes = {.answer_mark = 0x03000000};
	static const uint32_t mark[] = {0x03000007 | MARK_TUNNEL,
	    0x03000007 | MARK_TUNNEL_ONLY, 0x03000000, MARK_NATIVE,
	    MARK_REFUSED, 0x01000000 | MARK_TUNNEL};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(mark); i++)
		add_flow(i % 2 == 0 ? FAMILY_V4 : FAMILY_V6, mark[i], true);
	w.p.s.routes = &routes;
	w.p.live = true;
	w.first_end[0] = w.other_end[2] = true;
	w.first_end[3] = w.other_end[4] = w.first_end[5] = true;
	policy_end_flows(&w.p);
	expect_switched(false, 2, 2);
	assert_int_equal(w.opened, 1);
	assert_int_equal(w.ended, 2);
	assert_int_equal(w.deleted, 3);
	for (size_t i = 0; i < w.flows; i++)
		assert_int_equal(w.flow[i].mark == 0, i < 3);
	/* The relay was away: the kernel knows. */
	policy_end_flows(&w.p);
	assert_int_equal(w.tries, 1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_any_peer),
	    T(test_asks),
	    T(test_families_r8),
	    T(test_later),
	    T(test_forgets),
	    T(test_forgets_many),
	    T(test_forgets_aside),
	    T(test_ends_r8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
