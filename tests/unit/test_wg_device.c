/* Configuration of a device: identity, peers, up and down, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/err.h"
#include "core/x25519.h"
#include "support/wg_lab.h"
#include "wg/wg_state.h"

/* The linker leads the core's allocations through here. */
static unsigned fail_at; /* fail this one of the next ones; 0: none */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *
__wrap_malloc(size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_calloc(n, size);
}

static struct lab l;

static int
setup(void **state)
{
	(void)state;
	lab_init(&l);
	return 0;
}

static int
setup_connected(void **state)
{
	setup(state);
	lab_connect(&l);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	lab_fini(&l);
	return 0;
}

static void
test_names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WG_DROP_COUNT; i++) {
		const char *name = wg_drop_name(i);

		assert_non_null(name);
		assert_true(strlen(name) > 1);
		assert_int_equal(
		    strspn(name, "abcdefghijklmnopqrstuvwxyz-1"), strlen(name));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(name, wg_drop_name(j));
	}
}

/* ---- identity ---- */

static void
test_private_key(void **state)
{
	static const struct wg_key zero;
	struct wg_key key, clamped, public_key;

	(void)state;
	memset(&key, 0xff, sizeof(key));
	clamped = key;
	x25519_clamp(clamped.b);
	x25519_base(public_key.b, key.b);
	wg_device_set_private_key(l.a.d, &key);
	assert_memory_equal(wg_device_private_key(l.a.d), &clamped, 32);
	assert_memory_equal(wg_device_public_key(l.a.d), &public_key, 32);
	wg_device_set_private_key(l.a.d, &zero);
	assert_null(wg_device_private_key(l.a.d));
	assert_null(wg_device_public_key(l.a.d));
	assert_null(l.a.peer->current);
}

/* Without an identity nothing is read, and nothing is sent. */
static void
test_no_identity(void **state)
{
	static const struct wg_key zero;
	struct lab_msg packet, m, out;

	(void)state;
	lab_packet(&l.b, &l.a, &packet);
	assert_true(lab_seal(&l, &l.b, &packet, &m));
	wg_device_set_private_key(l.a.d, &zero);
	assert_false(lab_open(&l, &l.a, &m, &l.b.at, &out));
	assert_int_equal(lab_dropped_all(&l.a), 0);
	lab_packet(&l.a, &l.b, &packet);
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_false(lab_next(&l, &l.a, &m));
	lab_advance(&l, LAB_MS(20)); /* b takes no two at once */
	wg_device_set_private_key(l.a.d, &l.a.key); /* what waited goes */
	assert_int_equal(lab_settle(&l), 1);
}

/* The same key set again, as wg(8) does whenever it sets anything, disturbs
 * nothing; clamping makes two spellings one key. */
static void
test_same_key(void **state)
{
	struct wg_key again = l.a.key;

	(void)state;
	wg_device_set_private_key(l.a.d, &again);
	assert_true(lab_ping(&l, &l.a, &l.b));
	again.b[0] |= 7;
	again.b[31] |= 0x80;
	wg_device_set_private_key(l.a.d, &again);
	assert_true(lab_ping(&l, &l.b, &l.a));
}

static void
swap_key(struct lab_side *s, struct lab_side *other)
{
	lab_random(s->key.b, sizeof(s->key.b));
	x25519_clamp(s->key.b);
	x25519_base(s->public_key.b, s->key.b);
	wg_device_set_private_key(s->d, &s->key);
	wg_device_remove(other->d, other->peer);
	other->peer = wg_device_add(other->d, &s->public_key);
	assert_non_null(other->peer);
}

/* A new key ends all sessions, and the next packet shakes hands at once,
 * although the last handshake was a moment ago. */
static void
test_key_change(void **state)
{
	const struct ip_prefix a = lab_prefix("10.0.0.1/32");
	struct lab_msg packet, m, out;

	(void)state;
	lab_packet(&l.b, &l.a, &packet);
	assert_true(lab_seal(&l, &l.b, &packet, &m));
	swap_key(&l.a, &l.b);
	assert_int_equal(wg_peer_allow(l.b.d, l.b.peer, &a), 0);
	assert_null(l.a.peer->current);
	assert_false(lab_open(&l, &l.a, &m, &l.b.at, &out));
	assert_int_equal(lab_dropped(&l.a, WG_DROP_INDEX), 1);
	lab_connect(&l);
	assert_true(lab_ping(&l, &l.b, &l.a));
	swap_key(
	    &l.a, &l.b); /* while an initiation is under way, and traffic */
	lab_packet(&l.a, &l.b, &packet);
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_true(lab_next(&l, &l.a, &m));
	swap_key(&l.a, &l.b);
	assert_int_equal(wg_peer_allow(l.b.d, l.b.peer, &a), 0);
	assert_int_equal(lab_settle(&l), 1); /* the packet still waited */
}

/* A peer with persistent keepalive does not fall silent with a new key. */
static void
test_key_change_keepalive(void **state)
{
	struct lab_msg m, out;

	(void)state;
	wg_peer_set_keepalive(l.a.peer, 25);
	lab_settle(&l);
	swap_key(&l.a, &l.b);
	assert_true(lab_next(&l, &l.a, &m));
	assert_int_equal(pbuf_data(&m.buf)[0], WG_MSG_INITIATION);
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	lab_settle(&l);
	assert_non_null(l.a.peer->current);
}

/* A handshake that was under way with the old key is nothing to the new one,
 * nor are messages that waited to be read. */
static void
test_key_change_in_handshake(void **state)
{
	struct lab_msg m, out;

	(void)state;
	wg_peer_want_session(l.a.peer, false, l.now.mono_ns);
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	swap_key(&l.b, &l.a);
	assert_false(lab_next(&l, &l.b, &m));
	assert_int_equal(lab_dropped_all(&l.b), 0);
}

/* Our own key as a peer is refused, and goes when it becomes our own. */
static void
test_own_key(void **state)
{
	(void)state;
	assert_null(wg_device_add(l.a.d, &l.a.public_key));
	assert_non_null(wg_device_find(l.a.d, &l.b.public_key));
	wg_device_set_private_key(l.a.d, &l.b.key);
	assert_null(wg_device_find(l.a.d, &l.b.public_key));
	assert_int_equal(wg_device_peer_count(l.a.d), 0);
}

/* ---- up and down ---- */

static void
test_down_and_up(void **state)
{
	struct wg_peer_info info;
	struct lab_msg packet, m, out;

	(void)state;
	lab_packet(&l.b, &l.a, &packet);
	assert_true(lab_seal(&l, &l.b, &packet, &m));
	wg_peer_set_keepalive(l.a.peer, 25);
	wg_device_set_up(l.a.d, false);
	assert_false(wg_device_is_up(l.a.d));
	wg_peer_set_keepalive(l.a.peer, 0);
	wg_peer_set_keepalive(l.a.peer, 25);
	assert_false(lab_next(&l, &l.a, &out));
	assert_false(lab_open(&l, &l.a, &m, &l.b.at, &out));
	assert_int_equal(lab_dropped_all(&l.a), 0);
	lab_packet(&l.a, &l.b, &packet);
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_int_equal(l.a.peer->queued, 0);
	assert_true(wg_device_deadline(l.a.d) == UK_NEVER);
	assert_int_equal(l.a.d->indices.by_wire.count, 0);
	wg_peer_info(l.a.peer, l.now.mono_ns, &info);
	assert_false(info.session);
	assert_int_equal(info.keepalive_s, 25);
	assert_int_equal(info.allowed_count, 2);
	assert_true(endpoint_same_remote(&info.endpoint, &l.b.at));
	wg_device_set_up(l.a.d, true);
	wg_device_set_up(l.a.d, true);
	assert_true(lab_next(&l, &l.a, &m)); /* at once: keepalive is wanted */
	assert_int_equal(pbuf_data(&m.buf)[0], WG_MSG_INITIATION);
	assert_false(lab_next(&l, &l.a, &out));
	lab_advance(&l, LAB_MS(20));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	lab_settle(&l);
	assert_true(lab_ping(&l, &l.b, &l.a));
}

/* Down drops what waits: packets, and messages not looked at. */
static void
test_down_drops_queues(void **state)
{
	struct lab_msg packet, m, out;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	wg_device_set_up(l.a.d, false);
	wg_device_set_up(l.b.d, false);
	wg_device_set_up(l.a.d, true);
	wg_device_set_up(l.b.d, true);
	assert_int_equal(l.a.peer->queued, 0);
	assert_int_equal(l.a.d->queued, 0);
	assert_false(lab_next(&l, &l.a, &m));
	assert_false(lab_next(&l, &l.b, &m));
}

/* ---- peers ---- */

static void
test_peers(void **state)
{
	struct wg_peer *p[5], *at = NULL;
	struct wg_key key = {{0}};

	(void)state;
	assert_null(wg_device_add(l.a.d, &l.b.public_key));
	wg_device_remove_all(l.a.d);
	assert_int_equal(wg_device_peer_count(l.a.d), 0);
	assert_null(wg_device_next_peer(l.a.d, NULL));
	for (uint8_t i = 0; i < 5; i++) {
		key.b[0] = i;
		p[i] = wg_device_add(l.a.d, &key);
		assert_ptr_equal(wg_device_find(l.a.d, &key), p[i]);
	}
	wg_device_remove(l.a.d, p[2]);
	wg_device_remove(l.a.d, p[0]);
	wg_device_remove(l.a.d, p[4]);
	assert_ptr_equal(at = wg_device_next_peer(l.a.d, at), p[1]);
	assert_ptr_equal(at = wg_device_next_peer(l.a.d, at), p[3]);
	assert_null(wg_device_next_peer(l.a.d, at));
	key.b[0] = 4;
	assert_null(wg_device_find(l.a.d, &key));
	assert_int_equal(wg_device_peer_count(l.a.d), 2);
}

/* P9: a removed peer's sessions end at once, with all that waited for it. */
static void
test_remove_ends_sessions(void **state)
{
	struct lab_msg packet, m, out;
	struct wg_key psk = {{1}};

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	assert_true(lab_seal(&l, &l.a, &packet, &m));
	wg_peer_set_psk(l.b.peer, &psk);
	wg_peer_set_keepalive(l.b.peer, 1);
	wg_peer_enqueue(l.b.peer, &packet.buf);
	wg_device_remove(l.b.d, l.b.peer);
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_int_equal(lab_dropped(&l.b, WG_DROP_INDEX), 1);
	assert_int_equal(l.b.d->queued, 0);
	assert_int_equal(l.b.d->indices.by_wire.count, 0);
	assert_false(lab_next(&l, &l.b, &m));
	assert_true(wg_device_deadline(l.b.d) == UK_NEVER);
	lab_packet(&l.b, &l.a, &packet);
	assert_false(lab_seal(&l, &l.b, &packet, &m));
	assert_int_equal(lab_dropped(&l.b, WG_DROP_NO_PEER), 1);
	/* Added again it is a stranger: nothing of before holds. */
	l.b.peer = wg_device_add(l.b.d, &l.a.public_key);
	lab_packet(&l.a, &l.b, &packet);
	assert_true(lab_seal(&l, &l.a, &packet, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_int_equal(lab_dropped(&l.b, WG_DROP_INDEX), 2);
}

/* In the middle of everything: asked to send, handshake under way, message
 * waiting to be looked at. */
static void
test_remove_in_the_middle(void **state)
{
	struct lab_msg packet, m, out;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	assert_false(lab_seal(&l, &l.a, &packet, &m)); /* a wish waits */
	wg_device_remove(l.a.d, l.a.peer);
	assert_false(lab_next(&l, &l.a, &m));
	lab_restart(&l, &l.a, &l.b);
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	wg_device_remove(l.b.d, l.b.peer);
	assert_false(lab_next(&l, &l.b, &m));
	assert_int_equal(lab_dropped(&l.b, WG_DROP_UNKNOWN_PEER), 1);
	lab_restart(&l, &l.b, &l.a);
	lab_advance(&l, LAB_S(6));
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_true(lab_next(&l, &l.b, &m));
	assert_false(lab_open(&l, &l.a, &m, &l.b.at, &out));
	wg_device_remove(l.a.d, l.a.peer); /* the answer waits */
	assert_false(lab_next(&l, &l.a, &m));
	assert_int_equal(lab_dropped(&l.a, WG_DROP_INDEX), 1);
}

/* Setting the endpoint forgets the local address that went with the old. */
static void
test_set_endpoint(void **state)
{
	struct endpoint e = lab_at("192.0.2.77", 77);
	struct wg_peer_info info;

	(void)state;
	e.src = l.a.at.addr;
	e.src_ifindex = 3;
	wg_peer_set_endpoint(l.a.peer, &e);
	wg_peer_info(l.a.peer, l.now.mono_ns, &info);
	assert_true(endpoint_same_remote(&info.endpoint, &e));
	assert_int_equal(info.endpoint.src.family, FAMILY_NONE);
	assert_int_equal(info.endpoint.src_ifindex, 0);
}

static void
test_allowed(void **state)
{
	const struct ip_prefix p = lab_prefix("10.4.0.0/16");
	const struct lpm_node *cursor = NULL;
	struct ip_prefix got;
	unsigned n = 0;

	(void)state;
	assert_int_equal(wg_peer_allow(l.a.d, l.a.peer, &p), 0);
	while (wg_peer_next_allowed(l.a.peer, &cursor, &got))
		n++;
	assert_int_equal(n, 3);
	assert_memory_equal(&got, &p, sizeof(p));
	assert_int_equal(wg_peer_disallow(l.a.d, l.a.peer, &p), 0);
	assert_int_equal(wg_peer_disallow(l.a.d, l.a.peer, &p), UK_ENOENT);
	wg_peer_disallow_all(l.a.d, l.a.peer);
	cursor = NULL;
	assert_false(wg_peer_next_allowed(l.a.peer, &cursor, &got));
}

/* ---- memory ---- */

static struct wg_device *
try_device(void)
{
	const struct ip_prefix p = lab_prefix("10.0.0.2/32");
	struct wg_device_conf c;
	struct wg_device *d;
	struct wg_peer *peer;

	wg_device_conf_default(&c);
	c.random = lab_random;
	d = wg_device_new(&c);
	if (!d)
		return NULL;
	wg_device_set_private_key(d, &l.a.key);
	peer = wg_device_add(d, &l.b.public_key);
	if (!peer || wg_peer_allow(d, peer, &p) != 0) {
		wg_device_free(d);
		return NULL;
	}
	return d;
}

/* Each allocation of making a device fails in turn: no device, no leak. */
static void
test_new_without_memory(void **state)
{
	struct wg_device *d = NULL;
	unsigned n = 0;

	(void)state;
	while (!d) {
		fail_at = ++n;
		d = try_device();
		assert_true(n < 40);
		assert_true(d || fail_at == 0);
	}
	fail_at = 0;
	assert_true(n > 6);
	wg_device_free(d);
	wg_device_free(NULL);
}

static void
call_and_answer(void)
{
	struct lab_msg packet, m;

	lab_packet(&l.a, &l.b, &packet);
	lab_seal(&l, &l.a, &packet, &m);
	lab_settle(&l);
	lab_packet(&l.b, &l.a, &packet);
	lab_seal(&l, &l.b, &packet, &m);
	lab_settle(&l);
}

/* Each allocation of a handshake fails in turn: it is dropped and counted, and
 * the next attempt, with memory, works. */
static void
test_handshake_without_memory(void **state)
{
	unsigned n = 0;
	bool failed;

	do {
		setup(state);
		fail_at = ++n;
		call_and_answer();
		failed = fail_at == 0;
		fail_at = 0;
		assert_int_equal(
		    failed, lab_dropped(&l.a, WG_DROP_CRYPTO) +
				    lab_dropped(&l.b, WG_DROP_CRYPTO) +
				    lab_dropped(&l.a, WG_DROP_QUEUE_FULL) +
				    lab_dropped(&l.b, WG_DROP_QUEUE_FULL) >
				0);
		lab_advance(&l, LAB_S(200));
		call_and_answer();
		assert_true(lab_ping(&l, &l.a, &l.b));
		assert_true(lab_ping(&l, &l.b, &l.a));
		teardown(state);
		assert_true(n < 40);
	} while (failed);
	assert_true(n >= 4); /* a queued packet, two sessions, none */
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CONNECTED(f)                                                           \
	cmocka_unit_test_setup_teardown(f, setup_connected, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),
	    CONNECTED(test_private_key),
	    CONNECTED(test_no_identity),
	    CONNECTED(test_same_key),
	    CONNECTED(test_key_change),
	    CONNECTED(test_key_change_keepalive),
	    FRESH(test_key_change_in_handshake),
	    FRESH(test_own_key),
	    CONNECTED(test_down_and_up),
	    FRESH(test_down_drops_queues),
	    FRESH(test_peers),
	    CONNECTED(test_remove_ends_sessions),
	    FRESH(test_remove_in_the_middle),
	    CONNECTED(test_set_endpoint),
	    FRESH(test_allowed),
	    FRESH(test_new_without_memory),
	    cmocka_unit_test(test_handshake_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
