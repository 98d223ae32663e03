/* The three steps out and in, and what may happen between them, while others
 * have the device: it goes down, changes its key, renews a session, loses a
 * peer; other batches overtake. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/aead_engine.h"
#include "core/bytes.h"
#include "core/err.h"
#include "support/wg_lab.h"
#include "support/wg_now.h"
#include "support/wg_pair.h"
#include "wg/wg_state.h"

/* Both batches' memory is asked of calloc(). */
static bool out_of_memory;

/* A session to look after: how often it was freed, and whether with its keys
 * still in it. */
static const struct wg_session *watched;
static unsigned freed;
static bool freed_with_keys;

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *p);
extern void *__real_malloc(size_t size);
extern void *__real_calloc(size_t n, size_t size);
extern void __real_free(void *p);

void *
__wrap_malloc(size_t size)
{
	return out_of_memory ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return out_of_memory ? NULL : __real_calloc(n, size);
}

void
__wrap_free(void *p)
{
	static const struct wg_session zeros;

	if (p && p == watched) {
		freed++;
		freed_with_keys = memcmp(p, &zeros, sizeof(zeros)) != 0;
		watched = NULL;
	}
	__real_free(p);
}

static void
watch(const struct wg_session *s)
{
	watched = s;
	freed = 0;
	freed_with_keys = false;
}

static uint64_t
counter_of(const struct dgram *g)
{
	return load_le64(pbuf_data(&g->buf) + 8);
}

/* ---- a sends, b receives ---- */

static struct pair w;
static uint8_t rooms[WG_BATCH_MAX][PAIR_ROOM];
static struct pbuf packets[WG_BATCH_MAX];
static struct dgram dgrams[WG_BATCH_MAX];
static struct endpoint from; /* of dgrams */
static struct wg_tx *tx, *tx2;
static struct wg_rx *rx, *rx2;

static int
setup(void **state)
{
	(void)state;
	pair_open(&w);
	from = lab_at("192.0.2.1", 4000);
	tx = wg_tx_new();
	tx2 = wg_tx_new();
	rx = wg_rx_new();
	rx2 = wg_rx_new();
	return !tx || !tx2 || !rx || !rx2;
}

static int
teardown(void **state)
{
	(void)state;
	wg_tx_free(tx);
	wg_tx_free(tx2);
	wg_rx_free(rx);
	wg_rx_free(rx2);
	pair_close(&w);
	return 0;
}

/* Packets number 0.. for the peers that text names, one digit a packet: '?'
 * is no IP packet, '-' is for nobody. They lie in rooms from at on. */
static void
route(struct wg_tx *t, unsigned at, const char *text)
{
	unsigned n = 0;

	for (; text[n]; n++) {
		struct pbuf *p = &packets[at + n];
		unsigned peer = text[n] >= '0' && text[n] <= '9'
				    ? (unsigned)(text[n] - '0')
				    : 200;

		*p = pair_packet(rooms[at + n], &w.a, &w.b, peer, at + n);
		if (text[n] == '?')
			*pbuf_data(p) = 0;
	}
	wg_device_route(w.a.d, w.now, t, &packets[at], n);
}

static void
seal_and_send(struct wg_tx *t)
{
	wg_tx_seal(t, wg_now_engine());
	wg_device_sent(w.a.d, t);
	assert_int_equal(t->n, 0);
	assert_int_equal(t->nflights, 0);
}

/* Make dgrams[0..n) of sealed packets; memory stays where it is. Their number
 * is remembered, since tx forgets it. */
static unsigned
sealed(struct wg_tx *t, unsigned at)
{
	unsigned n;

	wg_tx_seal(t, wg_now_engine());
	n = t->n;
	for (unsigned i = 0; i < n; i++)
		dgrams[at + i] =
		    (struct dgram){.buf = t->dgram[i].buf, .ep = &from};
	wg_device_sent(w.a.d, t);
	return n;
}

static unsigned
arrive(const char *text)
{
	unsigned n;

	route(tx, 0, text);
	n = sealed(tx, 0);
	assert_int_equal(n, strlen(text));
	return n;
}

static void
sort(struct wg_rx *r, unsigned at, unsigned n)
{
	wg_device_sort(w.b.d, w.now, r, &dgrams[at], n);
}

/* Returns how many packets came out. */
static unsigned
accept(struct wg_rx *r)
{
	wg_device_accept(w.b.d, w.now, r);
	assert_int_equal(r->n, 0);
	assert_int_equal(r->nheld, 0);
	return r->npackets;
}

static unsigned
open_and_accept(struct wg_rx *r)
{
	wg_rx_open(r, wg_now_engine());
	return accept(r);
}

/* ---- out ---- */

/* How packets become flights: runs to one peer, whatever goes nowhere in
 * between. Peer 3 has no session, so its packets wait. */
static void
test_flights(void **state)
{
	static const struct {
		const char *packets;
		unsigned n, flights, rejected, queued;
	} rows[] = {
	    {"", 0, 0, 0, 0},
	    {"0", 1, 1, 0, 0},
	    {"000", 3, 1, 0, 0},
	    {"001", 3, 2, 0, 0},
	    {"0101", 4, 4, 0, 0},
	    {"0?0", 2, 1, 0, 0},
	    {"0-0", 2, 1, 1, 0},
	    {"--", 0, 0, 2, 0},
	    {"??", 0, 0, 0, 0},
	    {"0303", 2, 1, 0, 2},
	    {"33", 0, 0, 0, 2},
	    {"0310", 3, 3, 0, 1},
	};

	(void)state;
	wg_peer_end_sessions(w.a.peer[3]);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		unsigned queued = w.a.d->queued;

		route(tx, 0, rows[i].packets);
		assert_int_equal(tx->n, rows[i].n);
		assert_int_equal(tx->nflights, rows[i].flights);
		assert_int_equal(tx->nrejected, rows[i].rejected);
		assert_int_equal(w.a.d->queued - queued, rows[i].queued);
		seal_and_send(tx);
	}
	assert_int_equal(pair_dropped(&w.a, WG_DROP_NOT_IP), 3);
	assert_int_equal(pair_dropped(&w.a, WG_DROP_NO_PEER), 3);
}

/* Each datagram goes where its peer is. */
static void
test_destinations(void **state)
{
	(void)state;
	route(tx, 0, "01102");
	for (unsigned i = 0; i < tx->n; i++)
		assert_int_equal(
		    tx->dgram[i].ep->port, 1000 + (unsigned)("01102"[i] - '0'));
	assert_ptr_equal(tx->dgram[1].ep, tx->dgram[2].ep);
	assert_ptr_not_equal(tx->dgram[0].ep, tx->dgram[3].ep);
	seal_and_send(tx);
}

static void
expect_full_batch(unsigned peers)
{
	unsigned n;

	for (unsigned i = 0; i < WG_BATCH_MAX; i++)
		packets[i] = pair_packet(rooms[i], &w.a, &w.b, i % peers, i);
	wg_device_route(w.a.d, w.now, tx, packets, WG_BATCH_MAX);
	assert_int_equal(tx->nflights, peers == 1 ? 1 : WG_BATCH_MAX);
	n = sealed(tx, 0);
	assert_int_equal(n, WG_BATCH_MAX);
	sort(rx, 0, n);
	assert_int_equal(open_and_accept(rx), WG_BATCH_MAX);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pair_number(&rx->packet[i]), i);
}

static void
test_full_batch(void **state)
{
	(void)state;
	expect_full_batch(1);
	expect_full_batch(2);
	expect_full_batch(PAIR_PEERS);
	for (unsigned i = 0; i < WG_BATCH_MAX; i++)
		packets[i] = pair_packet(rooms[i], &w.a, &w.b, 200, i);
	wg_device_route(w.a.d, w.now, tx, packets, WG_BATCH_MAX);
	assert_int_equal(tx->nrejected, WG_BATCH_MAX);
	seal_and_send(tx);
	assert_int_equal(tx->nrejected, 0);
}

/* Counters are handed out with the device, so batches that are on their way
 * at the same time have different ones, whichever is done first. */
static void
test_two_batches_out(void **state)
{
	unsigned n;

	(void)state;
	route(tx, 0, "0001");
	route(tx2, 10, "0100");
	assert_int_equal(w.a.peer[0]->current->users, 3);
	n = sealed(tx2, 0);
	for (unsigned i = 0; i < n; i++)
		assert_true(
		    counter_of(&dgrams[i]) == (i == 1 ? 1 : 3 + i - (i > 1)));
	n += sealed(tx, n);
	assert_int_equal(w.a.peer[0]->current->users, 0);
	assert_int_equal(n, 8);
	sort(rx, 0, n);
	assert_int_equal(open_and_accept(rx), 8);
	assert_int_equal(pair_dropped_all(&w.b), 0);
}

/* A thousand packets to a peer arrive, or as many as get a counter. */
static unsigned
thousand(unsigned peer)
{
	unsigned n;

	for (unsigned i = 0; i < 1000; i++)
		packets[i] = pair_packet(rooms[i], &w.a, &w.b, peer, i);
	wg_device_route(w.a.d, w.now, tx, packets, 1000);
	n = sealed(tx, 0);
	sort(rx, 0, n);
	assert_int_equal(open_and_accept(rx), n);
	return n;
}

/* A sender that stands still with some of a session's counters stops the
 * session, and no other, before the receiver's window passes them by. */
static void
test_sender_stands_still(void **state)
{
	unsigned n, on_their_way = 3;

	(void)state;
	route(tx2, WG_BATCH_MAX - 3, "000");
	while ((n = thousand(0)) > 0)
		on_their_way += n;
	assert_true(on_their_way >= WG_REPLAY_WINDOW / 2);
	assert_true(on_their_way < WG_REPLAY_WINDOW / 2 + 1000);
	assert_true(pair_dropped(&w.a, WG_DROP_QUEUE_FULL) > 0);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(thousand(1), 1000); /* another session's */
	n = sealed(tx2, 0);
	sort(rx, 0, n);
	assert_int_equal(open_and_accept(rx), 3);
	assert_int_equal(arrive("000"), 3);
	assert_int_equal(pair_dropped_all(&w.b), 0);
}

/* A thread that has looked at its clock, then waited for the device, comes with
 * a time from before a session was made. The session is as good as new. */
static void
test_clock_behind(void **state)
{
	struct wg_own own = {.queued = NULL};
	struct uk_time before = w.now;
	unsigned n;

	(void)state;
	w.now.mono_ns += 50000;
	pair_connect(&w, 0);
	for (unsigned i = 0; i < 2; i++) { /* first by a thread that knows */
		n = arrive("00");
		sort(rx, 0, n);
		assert_int_equal(open_and_accept(rx), 2);
		w.now = before;
	}
	wg_peer_wish(w.a.peer[0], WG_WISH_KEEPALIVE);
	assert_int_equal(wg_device_next(w.a.d, before, &own), 1);
	assert_int_equal(pbuf_data(&own.dgram.buf)[0], WG_MSG_DATA);
	assert_int_equal(pair_dropped_all(&w.b), 0);
	wg_own_fini(&own);
}

/* P4: the last counter that may be sent is in the middle of a batch. What is
 * behind it waits for the next session. */
static void
test_counter_limit(void **state)
{
	(void)state;
	w.a.peer[0]->current->send_counter = WG_REJECT_AFTER_MESSAGES - 2;
	route(tx, 0, "0000");
	assert_int_equal(tx->n, 2);
	assert_int_equal(w.a.peer[0]->queued, 2);
	assert_true(w.a.peer[0]->wishes & WG_WISH_INITIATE);
	assert_true(counter_of(&tx->dgram[1]) == WG_REJECT_AFTER_MESSAGES - 1);
	seal_and_send(tx);
	route(tx, 0, "01");
	assert_int_equal(tx->n, 1);
	assert_int_equal(w.a.peer[0]->queued, 3);
	seal_and_send(tx);
}

/* Nor does the device send a keepalive or a queued packet with it. */
static void
test_counter_limit_of_own(void **state)
{
	struct wg_own own = {.queued = NULL};

	(void)state;
	w.a.peer[0]->current->send_counter = WG_REJECT_AFTER_MESSAGES;
	wg_peer_wish(w.a.peer[0], WG_WISH_KEEPALIVE);
	route(tx, 0, "0");
	assert_int_equal(tx->n, 0);
	seal_and_send(tx);
	assert_false(wg_device_is_flushing(w.a.d, w.now.mono_ns));
	assert_int_equal(wg_device_next(w.a.d, w.now, &own), 1);
	assert_int_equal(pbuf_data(&own.dgram.buf)[0], WG_MSG_INITIATION);
	while (wg_device_next(w.a.d, w.now, &own) != 0)
		assert_null(own.queued);
	assert_int_equal(w.a.peer[0]->queued, 1);
	assert_true(
	    w.a.peer[0]->current->send_counter == WG_REJECT_AFTER_MESSAGES);
	wg_own_fini(&own);
}

/* An engine that fails where the counter is in the set. */
struct faulty {
	struct aead_engine engine;
	uint64_t bad; /* bit n: counter n */
};

static void
faulty_seal(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	const struct faulty *f = (const struct faulty *)e;

	aead_seal(wg_now_engine(), op, n);
	for (unsigned i = 0; i < n; i++) {
		if (!(f->bad >> (op[i].counter & 63) & 1))
			continue;
		op[i].err = UK_ECRYPTO;
		memset(op[i].data, 0, op[i].len + AEAD_TAG_LEN);
	}
}

static void
faulty_forget(struct aead_engine *e)
{
	(void)e;
	aead_engine_forget(wg_now_engine());
}

static struct faulty
faulty_at(uint64_t bad)
{
	return (struct faulty){.engine = {.name = "faulty",
				   .seal = faulty_seal,
				   .forget = faulty_forget},
	    .bad = bad};
}

/* What cannot be sealed is not sent: it would go in the clear, or as zeros.
 * What is around it keeps its order and its address. */
static void
expect_failures(const char *text, uint64_t bad)
{
	uint64_t before = pair_dropped(&w.a, WG_DROP_CRYPTO);
	struct faulty f = faulty_at(bad);
	unsigned n = 0, failed = 0;

	for (unsigned i = 0; i < PAIR_PEERS; i++)
		pair_connect(&w, i);
	route(tx, 0, text);
	wg_tx_seal(tx, &f.engine);
	for (unsigned i = 0; text[i]; i++) {
		if (bad >> load_le64(rooms[i] + 8) & 1) {
			failed++;
			continue;
		}
		assert_ptr_equal(pbuf_data(&tx->dgram[n].buf), rooms[i]);
		assert_int_equal(
		    tx->dgram[n].ep->port, 1000 + (unsigned)(text[i] - '0'));
		dgrams[n] =
		    (struct dgram){.buf = tx->dgram[n].buf, .ep = &from};
		n++;
	}
	assert_int_equal(tx->n, n);
	assert_int_equal(tx->failed, failed);
	wg_device_sent(w.a.d, tx);
	assert_int_equal(tx->failed, 0);
	assert_true(pair_dropped(&w.a, WG_DROP_CRYPTO) == before + failed);
	sort(rx, 0, n);
	assert_int_equal(open_and_accept(rx), n);
}

static void
test_cipher_fails(void **state)
{
	(void)state;
	expect_failures("0000", 0);
	expect_failures("0000", 1);
	expect_failures("0000", 2);
	expect_failures("0000", 8);
	expect_failures("0000", 15);
	expect_failures("0000", 10);
	expect_failures("010012", 1);
	expect_failures("010012", 2);
	expect_failures("010012", 4);
	route(tx, 0, "00");
	seal_and_send(tx);
	assert_int_equal(pair_dropped(&w.a, WG_DROP_CRYPTO), 15);
}

/* The same for what the device seals by itself. */
static void
test_own_cipher_fails(void **state)
{
	struct wg_own own = {.queued = NULL};
	struct aead_engine *engine = w.a.d->engine;
	struct faulty f = faulty_at(1);

	(void)state;
	w.a.d->engine = &f.engine;
	wg_peer_wish(w.a.peer[0], WG_WISH_KEEPALIVE);
	assert_int_equal(wg_device_next(w.a.d, w.now, &own), UK_EAGAIN);
	assert_int_equal(wg_device_next(w.a.d, w.now, &own), 0);
	assert_int_equal(pair_dropped(&w.a, WG_DROP_CRYPTO), 1);
	w.a.d->engine = engine;
	wg_own_fini(&own);
}

static void
set_source(unsigned peer, const char *addr)
{
	struct endpoint *e = &w.a.peer[peer]->endpoint;

	e->src = lab_at(addr, 0).addr;
}

/* Sending finds that a source is not ours any more: that peer forgets it, and
 * no other. A source learned since is not the one that was refused; it is
 * only forgotten where there was one before, too. */
static void
test_source_forgotten(void **state)
{
	(void)state;
	set_source(0, "192.0.2.100");
	set_source(1, "192.0.2.101");
	route(tx, 0, "010");
	seal_and_send(tx); /* all is well */
	assert_int_equal(w.a.peer[0]->endpoint.src.family, FAMILY_V4);
	route(tx, 0, "0120");
	for (unsigned i = 0; i < tx->n; i++)
		if (tx->dgram[i].ep->port == 1000)
			tx->dgram[i].ep->src.family = FAMILY_NONE;
	set_source(2, "192.0.2.102");
	seal_and_send(tx);
	assert_int_equal(w.a.peer[0]->endpoint.src.family, FAMILY_NONE);
	assert_int_equal(w.a.peer[1]->endpoint.src.family, FAMILY_V4);
	assert_int_equal(w.a.peer[2]->endpoint.src.family, FAMILY_V4);
	route(tx, 0, "1");
	set_source(1, "192.0.2.201"); /* sent from the old one, all is well */
	seal_and_send(tx);
	assert_int_equal(w.a.peer[1]->endpoint.src.b[3], 201);
}

/* The same for messages of the device's own: an initiation, and data. */
static void
expect_own_source_forgotten(uint8_t type)
{
	struct wg_own own = {.queued = NULL};
	int did;

	set_source(0, "192.0.2.100");
	set_source(1, "192.0.2.101");
	for (unsigned round = 0; round < 2; round++) {
		do
			did = wg_device_next(w.a.d, w.now, &own);
		while (did == UK_EAGAIN);
		assert_int_equal(did, 1);
		assert_int_equal(pbuf_data(&own.dgram.buf)[0], type);
		if (own.dgram.ep->port == 1000)
			own.dgram.ep->src.family = FAMILY_NONE;
	}
	while (wg_device_next(w.a.d, w.now, &own) != 0)
		;
	wg_own_fini(&own);
	assert_int_equal(w.a.peer[0]->endpoint.src.family, FAMILY_NONE);
	assert_int_equal(w.a.peer[1]->endpoint.src.family, FAMILY_V4);
}

static void
test_own_source_forgotten(void **state)
{
	(void)state;
	wg_peer_wish(w.a.peer[0], WG_WISH_KEEPALIVE);
	wg_peer_wish(w.a.peer[1], WG_WISH_KEEPALIVE);
	expect_own_source_forgotten(WG_MSG_DATA);
	wg_peer_wish(w.a.peer[1], WG_WISH_INITIATE);
	wg_peer_wish(w.a.peer[0], WG_WISH_INITIATE);
	expect_own_source_forgotten(WG_MSG_INITIATION);
}

/* ---- in ---- */

static void
test_order(void **state)
{
	unsigned n = arrive("00120012");

	(void)state;
	sort(rx, 0, n);
	assert_int_equal(open_and_accept(rx), n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pair_number(&rx->packet[i]), i);
	assert_int_equal(pair_dropped_all(&w.b), 0);
}

/* P2, the window belongs to the last step: two threads may have the same
 * message at once. */
static void
test_same_datagram_twice(void **state)
{
	unsigned n = arrive("001");

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		memcpy(rooms[100 + i], rooms[i], PAIR_ROOM);
		dgrams[n + i] = dgrams[i];
		dgrams[n + i].buf.base = rooms[100 + i];
	}
	sort(rx, 0, n);
	sort(rx2, n, n);
	wg_rx_open(rx, wg_now_engine());
	wg_rx_open(rx2, wg_now_engine());
	assert_int_equal(accept(rx2), 3);
	assert_int_equal(accept(rx), 0);
	assert_int_equal(pair_dropped(&w.b, WG_DROP_REPLAY), 3);
	assert_int_equal(pair_dropped_all(&w.b), 3);
}

/* And in one batch. */
static void
test_same_datagram_in_one_batch(void **state)
{
	unsigned n = arrive("0");

	(void)state;
	memcpy(rooms[1], rooms[0], PAIR_ROOM);
	dgrams[1] = dgrams[0];
	dgrams[1].buf.base = rooms[1];
	sort(rx, 0, 2 * n);
	assert_int_equal(open_and_accept(rx), 1);
	assert_int_equal(pair_dropped(&w.b, WG_DROP_REPLAY), 1);
}

/* While a batch is opened another one drags the window past it. */
static void
test_overtaken(void **state)
{
	unsigned n = arrive("00");

	(void)state;
	sort(rx, 0, n);
	wg_rx_open(rx, wg_now_engine());
	w.a.peer[0]->current->send_counter = WG_REPLAY_WINDOW + 1;
	route(tx, 10, "0");
	sealed(tx, 2);
	sort(rx2, 2, 1);
	assert_int_equal(open_and_accept(rx2), 1);
	assert_int_equal(accept(rx), 1); /* 1 is in the window, 0 is not */
	assert_int_equal(pair_number(&rx->packet[0]), 1);
	assert_int_equal(pair_dropped(&w.b, WG_DROP_REPLAY), 1);
}

/* A forged one among others: not a word of it comes out. */
static void
test_forged(void **state)
{
	unsigned n = arrive("0011");

	(void)state;
	rooms[1][20] ^= 1;
	rooms[2][WG_SEAL_HEADROOM + PAIR_PACKET_LEN + 3] ^= 0x80;
	sort(rx, 0, n);
	assert_int_equal(open_and_accept(rx), 2);
	assert_int_equal(pair_number(&rx->packet[0]), 0);
	assert_int_equal(pair_number(&rx->packet[1]), 3);
	assert_int_equal(pair_dropped(&w.b, WG_DROP_AUTH), 2);
}

/* ---- in between ---- */

static void
end_removed(struct pair_side *s)
{
	wg_device_remove(s->d, s->peer[0]);
	s->peer[0] = NULL;
}

static void
end_removed_and_added(struct pair_side *s)
{
	end_removed(s);
	pair_add_peer(&w, s, 0);
}

static void
end_all_removed(struct pair_side *s)
{
	wg_device_remove_all(s->d);
}

static void
end_down(struct pair_side *s)
{
	wg_device_set_up(s->d, false);
}

static void
end_down_and_up(struct pair_side *s)
{
	wg_device_set_up(s->d, false);
	wg_device_set_up(s->d, true);
}

static void
end_key(struct pair_side *s)
{
	pair_set_key(s, 2);
}

static void
end_no_key(struct pair_side *s)
{
	static const struct wg_key zeros;

	wg_device_set_private_key(s->d, &zeros);
}

static void
end_renewed_twice(struct pair_side *s)
{
	(void)s;
	pair_connect(&w, 0);
	pair_connect(&w, 0);
}

/* Three lives without a new session: the keys are wiped. */
static void
end_forgotten(struct pair_side *s)
{
	wg_timers_session_derived(
	    &s->peer[0]->timers, &s->d->conf.times, w.now.mono_ns);
	wg_peer_rearm(s->peer[0]);
	wg_device_tick(
	    s->d, (struct uk_time){.mono_ns = w.now.mono_ns + LAB_S(541)});
	assert_null(s->peer[0]->current);
}

static const struct {
	const char *name;
	void (*end)(struct pair_side *s);
	bool all; /* the others' sessions, too */
} endings[] = {
    {"removed", end_removed, false},
    {"removed, added again", end_removed_and_added, false},
    {"all removed", end_all_removed, true},
    {"down", end_down, true},
    {"down and up", end_down_and_up, true},
    {"another key", end_key, true},
    {"no key", end_no_key, true},
    {"renewed twice", end_renewed_twice, false},
    {"forgotten", end_forgotten, false},
};

/* A session ends while a batch is on its way out: before or after the cipher.
 * The keys last until the batch is given back, and what was given a counter
 * is sealed under it and nothing else. */
static void
expect_end_before_sent(size_t row, bool before_cipher)
{
	struct wg_session *s;
	unsigned n;

	setup(NULL);
	route(tx, 0, "0100");
	s = w.a.peer[0]->current;
	assert_int_equal(s->users, 2);
	if (!before_cipher)
		wg_tx_seal(tx, wg_now_engine());
	endings[row].end(&w.a);
	assert_true(s->ended);
	assert_int_equal(s->users, 2);
	if (before_cipher)
		wg_tx_seal(tx, wg_now_engine());
	n = tx->n;
	assert_int_equal(n, 4);
	for (unsigned i = 0; i < n; i++)
		dgrams[i] =
		    (struct dgram){.buf = tx->dgram[i].buf, .ep = &from};
	wg_device_sent(w.a.d, tx);
	sort(rx, 0, n);
	assert_int_equal(
	    open_and_accept(rx), endings[row].end == end_renewed_twice ? 1 : 4);
	teardown(NULL);
}

static void
test_end_before_sent(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		expect_end_before_sent(i, true);
		expect_end_before_sent(i, false);
	}
}

/* The source that sending refused was a peer's that is gone, or whose next
 * session says nothing of it. */
static void
test_end_before_source(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		setup(NULL);
		set_source(0, "192.0.2.100");
		set_source(1, "192.0.2.101");
		route(tx, 0, "00");
		tx->dgram[0].ep->src.family = FAMILY_NONE;
		endings[i].end(&w.a);
		seal_and_send(tx);
		if (endings[i].end != end_all_removed)
			assert_int_equal(
			    w.a.peer[1]->endpoint.src.family, FAMILY_V4);
		teardown(NULL);
	}
}

/* P9: a session ends while a batch is on its way in. Nothing of it is
 * accepted, counted or followed, though it was authentic. */
static void
expect_end_before_accept(size_t row, bool before_cipher)
{
	uint64_t before;
	unsigned n, ended;

	setup(NULL);
	n = arrive("0010");
	ended = endings[row].all ? 4 : 3;
	sort(rx, 0, n);
	if (!before_cipher)
		wg_rx_open(rx, wg_now_engine());
	endings[row].end(&w.b);
	before = pair_dropped_all(&w.b);
	if (before_cipher)
		wg_rx_open(rx, wg_now_engine());
	assert_int_equal(accept(rx), 4 - ended);
	if (ended == 3)
		assert_int_equal(pair_number(&rx->packet[0]), 2);
	assert_int_equal(pair_dropped(&w.b, WG_DROP_INDEX), ended);
	assert_true(pair_dropped_all(&w.b) == before + ended);
	for (unsigned i = 0;
	     i < PAIR_PEERS && endings[row].end != end_all_removed; i++) {
		const struct wg_peer *p = w.b.peer[i];

		if (!p)
			continue;
		assert_int_equal(p->endpoint.port,
		    i == 1 && ended == 3 ? from.port : 1000 + i);
		assert_int_equal(p->rx_bytes,
		    i == 1 && ended == 3 ? PAIR_PACKET_LEN + 32 : 0);
	}
	teardown(NULL);
}

static void
test_end_before_accept(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		expect_end_before_accept(i, true);
		expect_end_before_accept(i, false);
	}
}

/* Two batches hold the session that ends; it goes with the last of them. */
static void
test_two_holders(void **state)
{
	unsigned n = arrive("00");

	(void)state;
	sort(rx, 0, 1);
	sort(rx2, 1, n - 1);
	assert_int_equal(w.b.peer[0]->current->users, 2);
	end_removed(&w.b);
	assert_int_equal(open_and_accept(rx2), 0);
	assert_int_equal(open_and_accept(rx), 0);
	assert_int_equal(pair_dropped(&w.b, WG_DROP_INDEX), 2);
}

/* P5: keys stay where operations point at them, and are wiped as soon as
 * none does. */
static void
test_wiped(void **state)
{
	unsigned n = arrive("0022");

	(void)state;
	watch(w.a.peer[1]->current);
	wg_device_remove(w.a.d, w.a.peer[1]);
	assert_int_equal(freed, 1);

	watch(w.a.peer[0]->current);
	route(tx, 10, "00");
	seal_and_send(tx);
	assert_int_equal(freed, 0);
	route(tx, 10, "00");
	route(tx2, 20, "0");
	wg_device_remove(w.a.d, w.a.peer[0]);
	seal_and_send(tx2);
	assert_int_equal(freed, 0);
	seal_and_send(tx);
	assert_int_equal(freed, 1);
	assert_false(freed_with_keys);

	watch(w.b.peer[0]->current);
	sort(rx, 0, 1);
	sort(rx2, 1, n - 1);
	end_down(&w.b);
	open_and_accept(rx);
	assert_int_equal(freed, 0);
	open_and_accept(rx2);
	assert_int_equal(freed, 1);
	assert_false(freed_with_keys);
}

/* A batch of the session that was current when it came, and is the previous
 * one when it is accepted. */
static void
test_renewed(void **state)
{
	unsigned n = arrive("0001");

	(void)state;
	sort(rx, 0, n);
	pair_connect(&w, 0);
	assert_int_equal(open_and_accept(rx), n);
	assert_int_equal(pair_dropped_all(&w.b), 0);
	n = arrive("00");
	sort(rx, 0, n);
	assert_int_equal(open_and_accept(rx), n);
}

/* The responder's new session is confirmed in the middle of a batch that holds
 * messages of the one before it. What is older than that ended with the
 * handshake. */
static void
test_confirmed_in_batch(void **state)
{
	struct wg_peer *p = w.b.peer[0];
	struct wg_session *fresh;
	unsigned n;

	(void)state;
	route(tx, 0, "00");
	pair_connect(&w, 0);
	route(tx2, 2, "00");
	n = sealed(tx, 0);
	n += sealed(tx2, n);
	sort(rx, 0, 1); /* of the session that is the previous one by now */
	pair_connect_unconfirmed(&w, 0);
	fresh = p->fresh;
	assert_non_null(fresh);
	assert_int_equal(open_and_accept(rx), 0);
	route(tx, 4, "0");
	assert_int_equal(sealed(tx, 4), 1);
	dgrams[1] = dgrams[2]; /* current, fresh, current */
	dgrams[2] = dgrams[4];
	sort(rx, 1, 3);
	assert_int_equal(rx->nheld, 3);
	assert_int_equal(open_and_accept(rx), 3);
	assert_ptr_equal(p->current, fresh);
	assert_null(p->fresh);
	assert_int_equal(wg_device_stats(w.b.d)->handshakes, 1);
	assert_int_equal(pair_dropped(&w.b, WG_DROP_INDEX), 1);
}

/* ---- what waits for a session ---- */

/* A packet is not routed past those that wait; several senders may each have
 * one of them at hand. */
static void
test_flushing(void **state)
{
	struct wg_own own[2] = {{.queued = NULL}, {.queued = NULL}};
	struct lab l;
	struct lab_msg m[8], out;
	struct pbuf in[8];

	(void)state;
	lab_init(&l);
	for (unsigned i = 0; i < 8; i++) {
		lab_packet(&l.a, &l.b, &m[i]);
		store_be32(pbuf_data(&m[i].buf) + 40, i);
		in[i] = m[i].buf;
	}
	wg_device_route(l.a.d, l.now, tx, in, 3);
	assert_int_equal(tx->n, 0);
	assert_false(wg_device_is_flushing(l.a.d, l.now.mono_ns));
	assert_true(lab_next(&l, &l.a, &out)); /* the initiation */
	lab_open(&l, &l.b, &out, &l.a.at, &out);
	assert_true(lab_next(&l, &l.b, &out)); /* its answer */
	lab_open(&l, &l.a, &out, &l.b.at, &out);
	assert_int_equal(wg_device_next(l.a.d, l.now, &own[0]), UK_EAGAIN);
	assert_true(wg_device_is_flushing(l.a.d, l.now.mono_ns));
	wg_device_route(l.a.d, l.now, tx, in + 3, 2);
	assert_int_equal(tx->n, 0); /* behind the others */
	wg_device_sent(l.a.d, tx);
	for (unsigned i = 0; i < 5; i++) {
		struct wg_own *o = &own[i % 2];

		assert_true(wg_device_is_flushing(l.a.d, l.now.mono_ns));
		assert_int_equal(wg_device_next(l.a.d, l.now, o), 1);
		out.buf =
		    pbuf_make(out.room, sizeof(out.room), 0, o->dgram.buf.len);
		memcpy(out.room, pbuf_data(&o->dgram.buf), out.buf.len);
		out.tos = o->dgram.tos;
		assert_true(lab_open(&l, &l.b, &out, &l.a.at, &out));
		assert_int_equal(load_be32(pbuf_data(&out.buf) + 40), i);
	}
	assert_false(wg_device_is_flushing(l.a.d, l.now.mono_ns));
	wg_device_route(l.a.d, l.now, tx, in + 5, 3);
	assert_int_equal(tx->n, 3);
	wg_device_sent(l.a.d, tx);
	wg_own_fini(&own[0]);
	wg_own_fini(&own[1]);
	lab_fini(&l);
}

static void
test_out_of_memory(void **state)
{
	(void)state;
	out_of_memory = true;
	assert_null(wg_tx_new());
	assert_null(wg_rx_new());
	route(tx, 0, "0");
	assert_int_equal(tx->n, 1); /* allocates nothing */
	wg_device_sent(w.a.d, tx);
	out_of_memory = false;
	wg_tx_free(NULL);
	wg_rx_free(NULL);
}

int
main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
	    WITH(test_flights),
	    WITH(test_destinations),
	    WITH(test_full_batch),
	    WITH(test_two_batches_out),
	    WITH(test_sender_stands_still),
	    WITH(test_clock_behind),
	    WITH(test_counter_limit),
	    WITH(test_counter_limit_of_own),
	    WITH(test_cipher_fails),
	    WITH(test_own_cipher_fails),
	    WITH(test_source_forgotten),
	    WITH(test_own_source_forgotten),
	    WITH(test_order),
	    WITH(test_same_datagram_twice),
	    WITH(test_same_datagram_in_one_batch),
	    WITH(test_overtaken),
	    WITH(test_forged),
	    cmocka_unit_test(test_end_before_sent),
	    cmocka_unit_test(test_end_before_source),
	    cmocka_unit_test(test_end_before_accept),
	    WITH(test_two_holders),
	    WITH(test_wiped),
	    WITH(test_renewed),
	    WITH(test_confirmed_in_batch),
	    WITH(test_flushing),
	    WITH(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
