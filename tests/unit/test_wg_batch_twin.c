/* Batches against their naive twin: the same packets and datagrams, one at a
 * time, through a second pair of devices with the same seeds. Several batches
 * are on their way at once, and between their steps anything happens: clocks
 * move, sessions are renewed, peers removed, devices go down. Whatever comes
 * out is equal, and so is what the devices are afterwards.
 *
 * Without a twin it must hold that no packet comes out twice or altered. */
#include <setjmp.h>
#include <stdarg.h>
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

#define STEPS 12000
#define JOBS 4
#define BATCH 12 /* packets of a job */
#define WIRES 48 /* datagrams on their way */
#define WIRE_MAX 160
#define NUMBERS (STEPS * BATCH)

/* ---- what happens: drawn once, done twice ---- */

enum what {
	OUT, /* begin a job: packets from the host */
	IN, /* begin a job: datagrams from the wire */
	CIPHER, /* second step of a job */
	FINISH, /* third step */
	OWN, /* what the device has of its own */
	PASS, /* time */
	CONNECT, /* a new session */
	READD, /* a peer is removed, and added anew */
	RESTART, /* down and up */
	REKEY, /* another private key */
	WHAT_COUNT,
};

struct step {
	enum what what;
	bool at_a;
	unsigned job, n;
	uint32_t number; /* of the first packet */
	uint8_t pick[BATCH]; /* peers, or wires */
	uint8_t flip[BATCH]; /* 1: one bit is wrong */
	uint8_t from[BATCH]; /* which endpoint */
	unsigned r; /* whatever else */
};

static uint64_t rng = 88172645463325252u;

static unsigned
rnd(unsigned below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (unsigned)((rng >> 11) % below);
}

/* ---- the wire ---- */

struct wire {
	uint8_t b[WIRE_MAX];
	uint32_t len;
	uint8_t tos;
	bool to_a;
};

static struct wire wires[WIRES];
static unsigned next_wire;

static void
launch(bool to_a, const struct dgram *g)
{
	struct wire *x = &wires[next_wire++ % WIRES];

	assert_true(g->buf.len <= WIRE_MAX);
	*x = (struct wire){.len = g->buf.len, .tos = g->tos, .to_a = to_a};
	memcpy(x->b, pbuf_data(&g->buf), g->buf.len);
}

/* ---- one of the two ways to do it ---- */

struct job {
	bool busy, ciphered, out, at_a;
	unsigned groups;
	struct wg_tx *tx[BATCH];
	struct wg_rx *rx[BATCH];
	struct dgram in[BATCH];
	struct endpoint ep[BATCH];
	uint8_t room[BATCH][WIRE_MAX];
};

struct model {
	struct pair pair;
	unsigned group; /* so many at a time */
	struct job job[JOBS];
	struct wg_own own[2];
	uint8_t trace[32768]; /* what came of the last step */
	size_t traced;
};

static struct model models[2] = {{.group = BATCH}, {.group = 1}};
static uint8_t seen[2][NUMBERS / 8 + 1]; /* packets that came out */

static void
trace(struct model *m, const void *b, size_t len)
{
	assert_true(len <= sizeof(m->trace) - m->traced);
	memcpy(m->trace + m->traced, b, len);
	m->traced += len;
}

static void
trace_number(struct model *m, uint64_t n)
{
	trace(m, &n, sizeof(n));
}

static void
trace_endpoint(struct model *m, const struct endpoint *e)
{
	trace(m, &e->addr, sizeof(e->addr));
	trace(m, &e->src, sizeof(e->src));
	trace_number(m, e->port);
}

static void
trace_dgram(struct model *m, const struct dgram *g)
{
	trace(m, pbuf_data(&g->buf), g->buf.len);
	trace_endpoint(m, g->ep);
	trace_number(m, g->tos);
}

static struct pair_side *
side(struct model *m, bool a)
{
	return a ? &m->pair.a : &m->pair.b;
}

/* Every 16th message cannot be sealed. */
static void
faulty_seal(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	(void)e;
	aead_seal(wg_now_engine(), op, n);
	for (unsigned i = 0; i < n; i++)
		if (op[i].counter % 16 == 5)
			op[i].err = UK_ECRYPTO;
}

static void
faulty_forget(struct aead_engine *e)
{
	(void)e;
}

static struct aead_engine faulty = {
    .name = "faulty", .seal = faulty_seal, .forget = faulty_forget};

static unsigned
group_len(const struct model *m, unsigned n, unsigned at)
{
	return n - at < m->group ? n - at : m->group;
}

static void
begin(struct job *j, bool out, bool at_a)
{
	j->busy = true;
	j->ciphered = false;
	j->out = out;
	j->at_a = at_a;
	j->groups = 0;
	memset(j->ep, 0, sizeof(j->ep));
}

static void
do_out(struct model *m, const struct step *s)
{
	struct job *j = &m->job[s->job];
	struct pair_side *from = side(m, s->at_a), *to = side(m, !s->at_a);
	struct pbuf p[BATCH];

	begin(j, true, s->at_a);
	for (unsigned i = 0; i < s->n; i++) {
		p[i] = pair_packet(
		    j->room[i], from, to, s->pick[i] % 5, s->number + i);
		*pbuf_data(&p[i]) ^= s->flip[i];
		pbuf_data(&p[i])[1] = s->from[i]; /* ECN */
	}
	for (unsigned i = 0; i < s->n; i += m->group) {
		wg_device_route(from->d, m->pair.now, j->tx[j->groups++], p + i,
		    group_len(m, s->n, i));
	}
}

static void
do_in(struct model *m, const struct step *s)
{
	struct job *j = &m->job[s->job];

	begin(j, false, s->at_a);
	for (unsigned i = 0; i < s->n; i++) {
		const struct wire *x = &wires[s->pick[i]];
		struct endpoint *ep = &j->ep[s->from[i]];

		*ep = lab_at("198.51.100.1", (uint16_t)(2000 + s->from[i]));
		if (s->from[i] == 1)
			ep->src = lab_at("192.0.2.77", 0).addr;
		memcpy(j->room[i], x->b, x->len);
		if (s->flip[i])
			j->room[i][s->r % x->len] ^= 1;
		j->in[i] = (struct dgram){
		    .buf = pbuf_make(j->room[i], WIRE_MAX, 0, x->len),
		    .ep = ep,
		    .tos = x->tos};
	}
	for (unsigned i = 0; i < s->n; i += m->group) {
		wg_device_sort(side(m, s->at_a)->d, m->pair.now,
		    j->rx[j->groups++], j->in + i, group_len(m, s->n, i));
	}
}

static void
do_cipher(struct job *j, unsigned r)
{
	if (j->ciphered)
		return;
	j->ciphered = true;
	for (unsigned i = 0; i < j->groups; i++) {
		if (j->out)
			wg_tx_seal(
			    j->tx[i], r % 4 == 0 ? &faulty : wg_now_engine());
		else
			wg_rx_open(j->rx[i], wg_now_engine());
	}
}

static void
finish_out(struct model *m, struct job *j, bool lost_source, bool launches)
{
	for (unsigned i = 0; i < j->groups; i++) {
		for (unsigned k = 0; k < j->tx[i]->n; k++) {
			trace_dgram(m, &j->tx[i]->dgram[k]);
			if (launches)
				launch(!j->at_a, &j->tx[i]->dgram[k]);
		}
	}
	for (unsigned i = 0; i < j->groups; i++) {
		struct wg_tx *tx = j->tx[i];

		for (unsigned k = 0; k < tx->nrejected; k++)
			trace(m, pbuf_data(&tx->rejected[k]), PAIR_PACKET_LEN);
		for (unsigned k = 0; k < tx->nflights && lost_source; k++)
			tx->flight[k].to.src.family = FAMILY_NONE;
		wg_device_sent(side(m, j->at_a)->d, tx);
	}
}

static void
expect_new(unsigned model, const struct pbuf *p)
{
	uint32_t n = pair_number(p);

	assert_true(n < NUMBERS);
	assert_false(seen[model][n / 8] >> (n % 8) & 1);
	seen[model][n / 8] |= (uint8_t)(1 << (n % 8));
}

static void
finish_in(struct model *m, struct job *j)
{
	for (unsigned i = 0; i < j->groups; i++) {
		struct wg_rx *rx = j->rx[i];

		wg_device_accept(side(m, j->at_a)->d, m->pair.now, rx);
		for (unsigned k = 0; k < rx->npackets; k++) {
			trace(m, pbuf_data(&rx->packet[k]), PAIR_PACKET_LEN);
			expect_new((unsigned)(m - models), &rx->packet[k]);
		}
	}
}

static void
do_own(struct model *m, const struct step *s)
{
	struct wg_own *own = &m->own[s->at_a];
	bool launches = m == &models[0];

	for (unsigned i = 0; i < s->r % 8; i++) {
		int did = wg_device_next(side(m, s->at_a)->d, m->pair.now, own);

		trace_number(m, (uint64_t)(did + 100));
		if (did != 1)
			continue;
		trace_dgram(m, &own->dgram);
		if (launches)
			launch(!s->at_a, &own->dgram);
		if (s->r % 16 == 11)
			own->to.src.family = FAMILY_NONE;
	}
}

static void
do_pass(struct model *m, unsigned r)
{
	uint64_t ns = LAB_MS(r % 8 == 0 ? 60000 : r % 2000);

	m->pair.now.mono_ns += ns;
	m->pair.now.wall_ns += ns;
	wg_device_tick(m->pair.a.d, m->pair.now);
	wg_device_tick(m->pair.b.d, m->pair.now);
}

static void
do_step(struct model *m, const struct step *s)
{
	struct job *j = &m->job[s->job];
	struct pair_side *at = side(m, s->at_a);

	switch (s->what) {
	case OUT:
		do_out(m, s);
		break;
	case IN:
		do_in(m, s);
		break;
	case CIPHER:
		do_cipher(j, s->r);
		break;
	case FINISH:
		do_cipher(j, s->r);
		if (j->out)
			finish_out(m, j, s->r % 8 == 3, m == &models[0]);
		else
			finish_in(m, j);
		j->busy = false;
		break;
	case OWN:
		do_own(m, s);
		break;
	case PASS:
		do_pass(m, s->r);
		break;
	case CONNECT:
		if (s->r % 3 == 0)
			pair_connect_unconfirmed(&m->pair, s->r % PAIR_PEERS);
		else
			pair_connect(&m->pair, s->r % PAIR_PEERS);
		break;
	case READD:
		wg_device_remove(at->d, at->peer[s->r % PAIR_PEERS]);
		pair_add_peer(&m->pair, at, s->r % PAIR_PEERS);
		break;
	case RESTART:
		wg_device_set_up(at->d, false);
		wg_device_set_up(at->d, true);
		break;
	case REKEY:
	case WHAT_COUNT:
		pair_set_key(at, (uint8_t)s->r);
	}
}

/* ---- both, and what they are ---- */

static void
trace_session(struct model *m, const struct wg_session *s)
{
	if (!s)
		return;
	trace(m, s->index.wire, 4);
	trace_number(m, s->send_counter);
	trace_number(m, s->replay.next);
	trace(m, s->replay.bits, 2 * sizeof(s->replay.bits[0]));
}

static void
trace_peer(struct model *m, const struct wg_peer *p)
{
	trace_endpoint(m, &p->endpoint);
	trace(m, p->timers.at_ns, sizeof(p->timers.at_ns));
	trace_number(m, p->rx_bytes);
	trace_number(m, p->tx_bytes);
	trace_number(m, p->queued);
	trace_number(m, p->wishes);
	trace_number(m, p->last_handshake_wall_ns);
	trace_session(m, p->current);
	trace_session(m, p->previous);
	trace_session(m, p->fresh);
}

static void
trace_side(struct model *m, const struct pair_side *s)
{
	trace(m, wg_device_stats(s->d), sizeof(struct wg_device_stats));
	trace_number(m, s->d->queued);
	trace_number(m, wg_device_deadline(s->d));
	trace_number(m, wg_device_is_flushing(s->d, m->pair.now.mono_ns));
	for (unsigned i = 0; i < PAIR_PEERS; i++)
		trace_peer(m, s->peer[i]);
}

/* What comes in one batch comes at one moment: for the keepalive that answers
 * it that is one event, while the twin has seen a second one after the first.
 * It is the only difference. */
static void
forget_second_keepalive(void)
{
	for (unsigned i = 0; i < PAIR_PEERS; i++) {
		models[1].pair.a.peer[i]->timers.another_keepalive =
		    models[0].pair.a.peer[i]->timers.another_keepalive;
		models[1].pair.b.peer[i]->timers.another_keepalive =
		    models[0].pair.b.peer[i]->timers.another_keepalive;
	}
}

static void
expect_equal(const struct step *s, unsigned n)
{
	for (unsigned i = 0; i < 2; i++) {
		struct model *m = &models[i];

		m->traced = 0;
		lab_seed(n);
		do_step(m, s);
		trace_side(m, &m->pair.a);
		trace_side(m, &m->pair.b);
	}
	if (models[0].traced != models[1].traced ||
	    memcmp(models[0].trace, models[1].trace, models[0].traced) != 0)
		fail_msg("step %u, of kind %d", n, s->what);
	forget_second_keepalive();
}

/* How often each happens, of 64. */
static const uint8_t weight[WHAT_COUNT] = {[OUT] = 12,
    [IN] = 14,
    [CIPHER] = 6,
    [FINISH] = 20,
    [OWN] = 6,
    [PASS] = 2,
    [CONNECT] = 5,
    [READD] = 1};

static enum what
draw_what(void)
{
	unsigned r = rnd(64);

	for (unsigned i = 0; i < WHAT_COUNT; i++) {
		if (r < weight[i])
			return (enum what)i;
		r -= weight[i];
	}
	UK_ASSERT(false);
}

/* The next datagram for this side from there on, which it may have had
 * already; -1: none was ever sent. */
static int
find_wire(bool to_a, unsigned at)
{
	for (unsigned i = 0; i < WIRES; i++, at++)
		if (wires[at % WIRES].len > 0 && wires[at % WIRES].to_a == to_a)
			return (int)(at % WIRES);
	return -1;
}

static void
draw_items(struct step *s)
{
	unsigned run = rnd(5), at = rnd(WIRES);

	for (unsigned i = 0; i < s->n; i++) {
		int wire = find_wire(s->at_a, at);

		at = rnd(5) == 0 ? rnd(WIRES) : (unsigned)wire + 1;
		if (rnd(3) == 0)
			run = rnd(5);
		s->pick[i] = (uint8_t)run;
		if (s->what == IN && wire < 0)
			s->n = i;
		else if (s->what == IN)
			s->pick[i] = (uint8_t)wire;
		s->flip[i] = rnd(40) == 0;
		s->from[i] = (uint8_t)(rnd(6) == 0 ? rnd(3) : 0);
	}
}

static struct step
draw_step(unsigned n)
{
	struct step s = {.what = draw_what(),
	    .at_a = rnd(2),
	    .job = rnd(JOBS),
	    .n = 1 + rnd(BATCH),
	    .number = n * BATCH,
	    .r = rnd(100000)};
	bool busy = models[0].job[s.job].busy;

	if (s.what == READD && rnd(6) == 0)
		s.what = rnd(2) ? RESTART : REKEY;
	if ((s.what == OUT || s.what == IN) && busy)
		s.what = FINISH;
	if ((s.what == CIPHER || s.what == FINISH) && !busy)
		s.what = rnd(2) ? IN : OUT;
	if (s.what == OUT || s.what == IN)
		draw_items(&s);
	return s;
}

static void
open_model(struct model *m)
{
	pair_open(&m->pair);
	for (unsigned i = 0; i < JOBS * BATCH; i++) {
		struct job *j = &m->job[i / BATCH];

		j->tx[i % BATCH] = wg_tx_new();
		j->rx[i % BATCH] = wg_rx_new();
		assert_true(j->tx[i % BATCH] && j->rx[i % BATCH]);
	}
}

static void
close_model(struct model *m)
{
	for (unsigned i = 0; i < JOBS * BATCH; i++) {
		wg_tx_free(m->job[i / BATCH].tx[i % BATCH]);
		wg_rx_free(m->job[i / BATCH].rx[i % BATCH]);
	}
	wg_own_fini(&m->own[0]);
	wg_own_fini(&m->own[1]);
	pair_close(&m->pair);
}

static unsigned
count_seen(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NUMBERS; i++)
		n += seen[0][i / 8] >> (i % 8) & 1;
	return n;
}

static void
test_twin(void **state)
{
	unsigned out = 0;

	(void)state;
	open_model(&models[0]);
	open_model(&models[1]);
	for (unsigned n = 0; n < STEPS; n++) {
		struct step s = draw_step(n);

		expect_equal(&s, n);
		out += s.what == OUT ? s.n : 0;
	}
	for (unsigned i = 0; i < JOBS; i++) {
		struct step s = {.what = FINISH, .job = i};

		if (models[0].job[i].busy)
			expect_equal(&s, STEPS);
	}
	assert_true(count_seen() > out / 5); /* it was not all in vain */
	close_model(&models[0]);
	close_model(&models[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
