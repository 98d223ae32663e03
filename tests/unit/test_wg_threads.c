/* Several threads carry batches through one pair of devices as lanes do: the
 * devices under a lock, the cipher without it. Meanwhile sessions are renewed,
 * peers come and go, devices go down. Each thread has a flow of its own: what
 * arrives of it is in order, none of it twice. Under the thread sanitizer this
 * shows that the step in the middle touches nothing that is shared. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/err.h"
#include "support/wg_lab.h"
#include "support/wg_pair.h"
#include "wg/wg_state.h"

#define THREADS 3
#define ROUNDS 1500
#define BATCH 8

static struct pair pair;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint at_work;

struct carrier {
	pthread_t thread;
	unsigned peer;
	struct aead_engine *engine;
	struct wg_tx *tx;
	struct wg_rx *rx;
	struct wg_own own;
	uint8_t room[BATCH][PAIR_ROOM];
	struct dgram in[BATCH];
	uint32_t sent, last; /* numbers, from 1 */
	unsigned arrived, disorder;
};

/* A batch of packets, made datagrams. Returns how many. */
static unsigned
carry_out(struct carrier *c)
{
	struct pbuf p[BATCH];
	unsigned n;

	for (unsigned i = 0; i < BATCH; i++)
		p[i] = pair_packet(
		    c->room[i], &pair.a, &pair.b, c->peer, ++c->sent);
	pthread_mutex_lock(&lock);
	wg_device_route(pair.a.d, pair.now, c->tx, p, BATCH);
	pthread_mutex_unlock(&lock);
	wg_tx_seal(c->tx, c->engine);
	n = c->tx->n;
	for (unsigned i = 0; i < n; i++)
		c->in[i] = c->tx->dgram[i];
	return n;
}

/* Their addresses are in tx, which is given back after. */
static void
carry_in(struct carrier *c, unsigned n)
{
	pthread_mutex_lock(&lock);
	wg_device_sort(pair.b.d, pair.now, c->rx, c->in, n);
	pthread_mutex_unlock(&lock);
	wg_rx_open(c->rx, c->engine);
	pthread_mutex_lock(&lock);
	wg_device_accept(pair.b.d, pair.now, c->rx);
	wg_device_sent(pair.a.d, c->tx);
	while (wg_device_next(pair.a.d, pair.now, &c->own) != 0)
		;
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < c->rx->npackets; i++) {
		uint32_t number = pair_number(&c->rx->packet[i]);

		c->disorder += number <= c->last;
		c->last = number;
		c->arrived++;
	}
}

static void *
carry(void *arg)
{
	struct carrier *c = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		carry_in(c, carry_out(c));
	atomic_fetch_sub(&at_work, 1);
	return NULL;
}

/* With the lock. */
static void
meddle(unsigned n)
{
	struct pair_side *s = n % 2 ? &pair.a : &pair.b;
	unsigned i = n / 2 % PAIR_PEERS;

	switch (n % 7) {
	case 0:
		wg_device_remove(s->d, s->peer[i]);
		pair_add_peer(&pair, s, i);
		break;
	case 1:
		wg_device_set_up(s->d, false);
		wg_device_set_up(s->d, true);
		for (unsigned k = 0; k < PAIR_PEERS; k++)
			pair_connect(&pair, k);
		break;
	case 2:
		lab_seed(n);
		wg_device_tick(s->d, pair.now);
		break;
	default:
		break;
	}
	pair_connect(&pair, i);
}

static void
begin(struct carrier *c, unsigned peer)
{
	c->peer = peer;
	c->engine = aead_engine_new(AEAD_BEST);
	c->tx = wg_tx_new();
	c->rx = wg_rx_new();
	assert_true(c->engine && c->tx && c->rx);
}

static void
end(struct carrier *c)
{
	pthread_join(c->thread, NULL);
	wg_own_fini(&c->own);
	wg_tx_free(c->tx);
	wg_rx_free(c->rx);
	aead_engine_free(c->engine);
}

static void
test_threads(void **state)
{
	static struct carrier carrier[THREADS];
	unsigned n = 0;

	(void)state;
	pair_open(&pair);
	atomic_store(&at_work, THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		begin(&carrier[i], i);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&carrier[i].thread, NULL, carry,
				     &carrier[i]),
		    0);
	while (atomic_load(&at_work) > 0) {
		pthread_mutex_lock(&lock);
		meddle(n++);
		pthread_mutex_unlock(&lock);
		sched_yield();
	}
	for (unsigned i = 0; i < THREADS; i++) {
		end(&carrier[i]);
		assert_int_equal(carrier[i].disorder, 0);
		assert_true(carrier[i].arrived > 0);
	}
	assert_int_equal(pair_dropped(&pair.b, WG_DROP_REPLAY), 0);
	assert_int_equal(pair_dropped(&pair.b, WG_DROP_AUTH), 0);
	pair_close(&pair);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
