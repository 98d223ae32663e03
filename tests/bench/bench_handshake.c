/* ukai-bench-handshake: handshakes per core-second, and what the X25519
 * operations in them allow.
 *
 *	ukai-bench-handshake [ROUNDS]
 *
 * Operations, with DH(static, static) computed beforehand as the device does,
 * once a peer (the first handshake after a start costs one DH more):
 *
 *	responder  es, ee, se: three DH; e: one base point multiplication
 *	initiator  es, ee, se: three DH; e: one base point multiplication
 *
 * They are run alone through core/x25519 on keys of the same kind. Each round
 * times a batch of every kind, one after the other, in thread CPU time; rates
 * are medians over the rounds, and the ratio is the median of each round's.
 *
 *	noise   wg_noise and wg_cookie alone: mac1, Noise, macs of the answer
 *	device  a device with PEERS peers: a datagram goes in, look-ups, session
 *	        and timers are made, a datagram comes out; the initiator's last
 *	        one is the keepalive that confirms its session
 *
 * For tests/bench/run: handshake-ratio, the least of the device's ratio as
 * responder and that of both sides together.
 */
#include <sodium.h>

#include "core/err.h"
#include "core/x25519.h"
#include "measure.h"
#include "noise_end.h"
#include "wg/wg_device.h"

#define PEERS 1000
#define BATCH 10
#define ROUNDS 300
/* Between two handshakes of a peer: sessions have died of age. */
#define PAUSE_NS (300 * UK_NS_PER_S)

struct pair {
	struct noise_end hub, far;
	struct noise_message m; /* on its way between them */
	struct wg_peer *called; /* far, in the device that calls */
};

enum kind {
	OPERATIONS,
	NOISE_RESPONDER,
	NOISE_INITIATOR,
	DEVICE_RESPONDER,
	DEVICE_INITIATOR,
	KINDS
};

struct bench {
	struct noise_bench base;
	struct pair pair[PEERS];
	struct wg_device *responder, *initiator;
	double ns[KINDS]; /* of one batch */
};

/* ---- devices ---- */

static struct wg_device *
make_device(struct bench *t, bool calls)
{
	struct wg_device_conf c;
	struct wg_device *d;
	struct wg_peer *p;

	wg_device_conf_default(&c);
	d = wg_device_new(&c);
	UK_ASSERT(d);
	wg_device_set_private_key(d, &t->base.hub.private_key);
	for (unsigned i = 0; i < PEERS; i++) {
		p = wg_device_add(d, &t->pair[i].far.us.public_key);
		UK_ASSERT(p);
		wg_peer_set_psk(p, &t->pair[i].hub.them.psk);
		if (calls) {
			wg_peer_set_endpoint(p, &t->base.at);
			t->pair[i].called = p;
		}
	}
	wg_device_set_up(d, true);
	return d;
}

/* Give the device message m, if there is one, and take what it sends then. */
static void
exchange(struct bench *t, struct wg_device *d, struct noise_message *m)
{
	struct wg_own own = {.queued = NULL};
	struct endpoint from = t->base.at;
	struct dgram in = {.ep = &from};
	int did;

	if (m->len > 0) {
		in.buf = pbuf_make(m->b, sizeof(m->b), 0, m->len);
		wg_device_sort(d, t->base.now, t->base.rx, &in, 1);
		wg_device_accept(d, t->base.now, t->base.rx);
		m->len = 0;
	}
	while ((did = wg_device_next(d, t->base.now, &own)) != 0) {
		if (did == UK_EAGAIN)
			continue;
		UK_ASSERT(m->len == 0);
		m->len = own.dgram.buf.len;
		UK_ASSERT(m->len <= sizeof(m->b));
		memcpy(m->b, pbuf_data(&own.dgram.buf), m->len);
	}
	wg_own_fini(&own);
}

static void
expect(const struct noise_message *m, enum wg_msg_type type)
{
	UK_ASSERT(wg_msg_classify(m->b, m->len) == type);
}

/* ---- one batch of each kind ---- */

static void
run_operations(struct bench *t, const struct pair *p)
{
	struct wg_key e, out;
	double start;

	noise_key_draw(&e);
	start = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++) {
		x25519_base(out.b, e.b);
		UK_ASSERT(x25519(out.b, t->base.hub.private_key.b, out.b) == 0);
		UK_ASSERT(x25519(out.b, e.b, out.b) == 0);
		UK_ASSERT(x25519(out.b, e.b, p[i].far.us.public_key.b) == 0);
	}
	t->ns[OPERATIONS] = measure_now_ns() - start;
}

static void
run_noise(struct bench *t, struct pair *p)
{
	double at[4];

	at[0] = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++)
		noise_end_call(
		    t->base.b, &p[i].far, t->base.now.wall_ns, &p[i].m);
	at[1] = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++)
		noise_end_answer(t->base.b, &p[i].hub, &p[i].m);
	at[2] = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++)
		noise_end_finish(t->base.b, &p[i].far, &p[i].m);
	at[3] = measure_now_ns();
	t->ns[NOISE_RESPONDER] = at[2] - at[1];
	t->ns[NOISE_INITIATOR] = at[1] - at[0] + at[3] - at[2];
	for (unsigned i = 0; i < BATCH; i++)
		UK_ASSERT(memcmp(&p[i].hub.keys.send, &p[i].far.keys.receive,
			      WG_KEY_LEN) == 0);
}

static void
run_responder(struct bench *t, struct pair *p)
{
	double start;

	for (unsigned i = 0; i < BATCH; i++)
		noise_end_call(
		    t->base.b, &p[i].far, t->base.now.wall_ns, &p[i].m);
	start = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++)
		exchange(t, t->responder, &p[i].m);
	t->ns[DEVICE_RESPONDER] = measure_now_ns() - start;
	for (unsigned i = 0; i < BATCH; i++)
		expect(&p[i].m, WG_MSG_RESPONSE);
}

static void
run_initiator(struct bench *t, struct pair *p)
{
	double at[4];

	at[0] = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++) {
		p[i].m.len = 0;
		wg_peer_set_keepalive(p[i].called, 0);
		wg_peer_set_keepalive(p[i].called, 25); /* wants a session */
		exchange(t, t->initiator, &p[i].m);
	}
	at[1] = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++)
		noise_end_answer(t->base.b, &p[i].far, &p[i].m);
	at[2] = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++)
		exchange(t, t->initiator, &p[i].m);
	at[3] = measure_now_ns();
	t->ns[DEVICE_INITIATOR] = at[1] - at[0] + at[3] - at[2];
	for (unsigned i = 0; i < BATCH; i++)
		expect(&p[i].m, WG_MSG_DATA);
}

/* ---- the table ---- */

static double
rate(double *ns, size_t rounds)
{
	return BATCH * 1e9 / measure_median(ns, rounds);
}

/* What two kinds cost together, or one, against as many times the operations;
 * ns[k]: a batch of each round. Returns the ratio. */
static double
print_row(const char *what, double ns[KINDS][ROUNDS], size_t rounds,
    enum kind a, enum kind b)
{
	static double side[ROUNDS], operations[ROUNDS], work[ROUNDS];
	double ratio;

	for (size_t r = 0; r < rounds; r++) {
		side[r] = ns[a][r] + (a != b ? ns[b][r] : 0);
		operations[r] = ns[OPERATIONS][r] * (a != b ? 2 : 1);
	}
	ratio = measure_ratio(operations, side, work, rounds);
	printf("| %s | %.0f | %.0f | %.2f |\n", what, rate(side, rounds),
	    rate(operations, rounds), ratio);
	return ratio;
}

static void
print_table(double ns[KINDS][ROUNDS], size_t rounds)
{
	double responder, both;

	printf("| handshakes per core-second, %d peers | measured "
	       "| X25519 allows | ratio |\n| --- | ---: | ---: | ---: |\n",
	    PEERS);
	print_row(
	    "noise, responder", ns, rounds, NOISE_RESPONDER, NOISE_RESPONDER);
	print_row(
	    "noise, initiator", ns, rounds, NOISE_INITIATOR, NOISE_INITIATOR);
	print_row(
	    "noise, both sides", ns, rounds, NOISE_RESPONDER, NOISE_INITIATOR);
	responder = print_row("device, responder", ns, rounds, DEVICE_RESPONDER,
	    DEVICE_RESPONDER);
	print_row("device, initiator", ns, rounds, DEVICE_INITIATOR,
	    DEVICE_INITIATOR);
	both = print_row("device, both sides", ns, rounds, DEVICE_RESPONDER,
	    DEVICE_INITIATOR);
	measure_goal("handshake-ratio", responder < both ? responder : both);
}

static void
run_round(struct bench *t, unsigned round)
{
	struct pair *p = &t->pair[round * BATCH % PEERS];

	run_operations(t, p);
	run_noise(t, p);
	run_responder(t, p);
	run_initiator(t, p);
	t->base.now.mono_ns += PAUSE_NS;
	t->base.now.wall_ns += PAUSE_NS;
}

static void
set_up(struct bench *t)
{
	struct wg_identity far;

	noise_bench_init(&t->base);
	for (unsigned i = 0; i < PEERS; i++) {
		noise_identity_draw(&far);
		noise_end_pair(t->base.b, &t->pair[i].hub, &t->base.hub,
		    &t->pair[i].far, &far);
	}
	t->responder = make_device(t, false);
	t->initiator = make_device(t, true);
	/* Once around, so that every DH of static keys is computed. */
	for (unsigned r = 0; r < PEERS / BATCH; r++)
		run_round(t, r);
}

int
main(int argc, char **argv)
{
	static struct bench t;
	static double ns[KINDS][ROUNDS];
	unsigned rounds = measure_rounds(argc, argv, ROUNDS, ROUNDS);

	UK_ASSERT(sodium_init() >= 0);
	set_up(&t);
	for (unsigned r = 0; r < rounds; r++) {
		run_round(&t, r);
		for (unsigned k = 0; k < KINDS; k++)
			ns[k][r] = t.ns[k];
	}
	print_table(ns, rounds);
	wg_device_free(t.initiator);
	wg_device_free(t.responder);
	noise_bench_fini(&t.base);
	return 0;
}
