/* bench_lanes: how the relay's data path grows with its threads. The lanes are
 * the real ones (io/lane.c, with their loops, threads and lock); below them,
 * instead of the network, this file's udp_* and tun_* copy prepared datagrams
 * and packets of two clients out of memory and count what comes back. So one
 * core per thread is all that it takes. Prints a Markdown table: packets per
 * second with one and with two workers, medians of interleaved rounds.
 *
 *	bench_lanes [ROUNDS]
 */
#include "core/bytes.h"
#include "core/x25519.h"
#include "io/clock.h"
#include "io/lane.h"
#include "support/wg_lab.h"
#include "support/wg_now.h"
#include "wg/wg_state.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CLIENTS 2
#define WORKERS_MAX 2
#define ROUNDS_MAX 101
#define ROUND_MS 300
/* What one GRO message, or one super-packet from TUN, holds. */
#define BATCH 45
#define PACKET_LEN 1420
#define SEALED_LEN                                                             \
	(PACKET_LEN + WG_DATA_OVERHEAD) /* no padding past the MTU             \
					 */
#define STRIDE 1536
/* Datagrams prepared for each client, sent over and over. */
#define PREPARED (BATCH * 200)

enum way { RECEIVE, SEND };

struct udp {
	struct lane_shared *shared;
	int fd; /* readable for ever, or never */
	unsigned client, next; /* whose turn, and which datagram's */
	unsigned clients, of[CLIENTS];
	uint8_t slab[BATCH][STRIDE];
	struct dgram view[BATCH];
	struct udp_stats stats;
	uint64_t packets; /* sent */
};

struct tun {
	int fd;
	unsigned client;
	unsigned clients, of[CLIENTS];
	uint8_t slab[BATCH][STRIDE];
	struct tun_stats stats;
	uint64_t packets; /* written */
};

static struct client {
	struct lab_side side;
	struct wg_session *session; /* the relay's */
	uint8_t (*sealed)[STRIDE];
	struct lab_msg packet; /* to it, from the host */
} client[CLIENTS];

static struct lab lab; /* a: the client at hand; b: the relay */

/* ---- instead of the network ---- */

unsigned
udp_recv(struct udp *u, int family, struct dgram **out)
{
	struct client *c = &client[u->of[u->client]];

	if (family != FAMILY_V6)
		return 0;
	if (u->next == 0) { /* the counters begin again */
		uv_mutex_lock(&u->shared->lock);
		wg_replay_init(&c->session->replay);
		uv_mutex_unlock(&u->shared->lock);
	}
	for (unsigned i = 0; i < BATCH; i++) {
		memcpy(u->slab[i], c->sealed[u->next + i], SEALED_LEN);
		u->view[i] = (struct dgram){.ep = &c->side.at,
		    .buf = pbuf_make(u->slab[i], STRIDE, 0, SEALED_LEN)};
	}
	u->client = (u->client + 1) % u->clients;
	if (u->client == 0)
		u->next = (u->next + BATCH) % PREPARED;
	*out = u->view;
	return BATCH;
}

unsigned
udp_send(struct udp *u, struct dgram *d, unsigned n)
{
	(void)d;
	u->packets += n;
	return n;
}

int
tun_read(struct tun *t, struct pbuf *out, unsigned cap)
{
	const struct client *c = &client[t->of[t->client]];

	UK_ASSERT(cap >= BATCH);
	for (unsigned i = 0; i < BATCH; i++) {
		out[i] =
		    pbuf_make(t->slab[i], STRIDE, WG_SEAL_HEADROOM, PACKET_LEN);
		memcpy(
		    pbuf_data(&out[i]), pbuf_data(&c->packet.buf), PACKET_LEN);
	}
	t->client = (t->client + 1) % t->clients;
	return BATCH;
}

void
tun_write(struct tun *t, const struct pbuf *p, unsigned n)
{
	(void)p;
	t->packets += n;
}

int
udp_fd(const struct udp *u, int family)
{
	return family == FAMILY_V6 ? u->fd : -1;
}

const struct udp_stats *
udp_stats(const struct udp *u)
{
	return &u->stats;
}

void
udp_close(struct udp *u)
{
	close(u->fd);
}

int
tun_fd(const struct tun *t)
{
	return t->fd;
}

const struct tun_stats *
tun_stats(const struct tun *t)
{
	return &t->stats;
}

/* ---- the relay and its clients ---- */

static struct wg_device *
new_device(unsigned lanes, const struct wg_key *key)
{
	struct wg_device_conf c;
	struct wg_device *d;

	wg_device_conf_default(&c);
	c.lanes = lanes;
	d = wg_device_new(&c);
	UK_ASSERT(d);
	wg_device_set_private_key(d, key);
	wg_device_set_mtu(d, PACKET_LEN);
	wg_device_set_up(d, true);
	return d;
}

static void
draw_key(struct wg_key *key)
{
	lab_random(key->b, sizeof(key->b));
	x25519_clamp(key->b);
}

static void
prepare_datagrams(struct client *c)
{
	struct lab_msg m;

	c->sealed = calloc(PREPARED, STRIDE);
	UK_ASSERT(c->sealed);
	lab_ip4(&m, c->side.inner4 == 2 ? "10.0.0.2" : "10.0.0.3", "192.0.2.9",
	    PACKET_LEN);
	for (unsigned i = 0; i < PREPARED; i++) {
		struct lab_msg sealed;

		UK_ASSERT(lab_seal(&lab, &lab.a, &m, &sealed));
		UK_ASSERT(sealed.buf.len == SEALED_LEN);
		memcpy(c->sealed[i], pbuf_data(&sealed.buf), SEALED_LEN);
	}
}

/* A session between the client and the relay, and what it is to send. */
static void
join(struct client *c, unsigned i)
{
	const struct ip_prefix all = lab_prefix("0.0.0.0/0");
	struct ip_prefix own = lab_prefix("10.0.0.0/32");
	struct lab_side *s = &c->side;

	draw_key(&s->key);
	s->at = lab_at("2001:db8::1", (uint16_t)(1000 + i));
	s->inner4 = own.addr.b[3] = (uint8_t)(2 + i);
	s->d = new_device(1, &s->key);
	s->peer = wg_device_add(s->d, wg_device_public_key(lab.b.d));
	wg_peer_set_endpoint(s->peer, &lab.b.at);
	UK_ASSERT(wg_peer_allow(s->d, s->peer, &all) == 0);
	lab.b.peer = wg_device_add(lab.b.d, wg_device_public_key(s->d));
	UK_ASSERT(wg_peer_allow(lab.b.d, lab.b.peer, &own) == 0);
	lab.a = *s;
	lab_ip4(
	    &c->packet, "192.0.2.9", i ? "10.0.0.3" : "10.0.0.2", PACKET_LEN);
	lab_connect(&lab);
	c->session = lab.b.peer->current;
	UK_ASSERT(c->session);
	prepare_datagrams(c);
}

static void
setup(unsigned lanes)
{
	struct wg_key key;

	lab_seed(7);
	lab = (struct lab){.now = clock_now(),
	    .b = {.at = lab_at("2001:db8::9", 51820), .inner4 = 1}};
	draw_key(&key);
	lab.b.d = new_device(lanes, &key);
	for (unsigned i = 0; i < CLIENTS; i++)
		join(&client[i], i);
}

static void
teardown(void)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		free(client[i].sealed);
		wg_device_free(client[i].side.d);
	}
	wg_device_free(lab.b.d);
}

/* ---- one round ---- */

static void
nothing(void *arg)
{
	(void)arg;
}

static void
stop(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void
run_for(uv_loop_t *loop, uint64_t ms)
{
	uv_timer_t timer;

	uv_timer_init(loop, &timer);
	uv_timer_start(&timer, stop, ms, 0);
	uv_run(loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(loop, UV_RUN_NOWAIT);
}

/* The clients whose sessions are on this lane. */
static unsigned
clients_of(unsigned lane, unsigned lanes, unsigned of[CLIENTS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < CLIENTS; i++)
		if (wg_lane_of(client[i].session->index.wire, lanes) == lane)
			of[n++] = i;
	UK_ASSERT(n == CLIENTS / lanes);
	return n;
}

static double
measure(enum way way, unsigned lanes)
{
	static struct udp udp[WORKERS_MAX];
	static struct tun tun[WORKERS_MAX];
	struct lane_shared shared = {.armed_ns = UK_NEVER,
	    .call = nothing,
	    .gone = nothing,
	    .stirred = nothing};
	struct lane *lane[WORKERS_MAX];
	uint64_t packets = 0, began, took;
	uv_loop_t loop;

	setup(lanes);
	shared.device = lab.b.d;
	uv_mutex_init(&shared.lock);
	uv_loop_init(&loop);
	for (unsigned i = 0; i < lanes; i++) {
		udp[i] = (struct udp){.shared = &shared,
		    .fd = eventfd(way == RECEIVE, EFD_NONBLOCK)};
		tun[i] = (struct tun){.fd = eventfd(way == SEND, EFD_NONBLOCK)};
		udp[i].clients = clients_of(i, lanes, udp[i].of);
		tun[i].clients = clients_of(i, lanes, tun[i].of);
		UK_ASSERT(lane_open(&lane[i], &shared, i ? NULL : &loop,
			      &tun[i], AEAD_BEST) == 0);
	}
	began = clock_now().mono_ns;
	for (unsigned i = 0; i < lanes; i++)
		UK_ASSERT(lane_start(lane[i], &udp[i]) == 0);
	run_for(&loop, ROUND_MS);
	for (unsigned i = 0; i < lanes; i++)
		lane_stop(lane[i]);
	took = clock_now().mono_ns - began;
	for (unsigned i = 0; i < lanes; i++) {
		packets += udp[i].packets + tun[i].packets;
		lane_close(lane[i]);
		close(tun[i].fd);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	uv_mutex_destroy(&shared.lock);
	teardown();
	return (double)packets * 1e9 / (double)took;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), compare);
	return v[n / 2];
}

int
main(int argc, char **argv)
{
	static double rate[2][WORKERS_MAX][ROUNDS_MAX];
	static const char *const name[] = {"receive", "send"};
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 7;

	if (rounds == 0 || rounds > ROUNDS_MAX || WORKERS_MAX != 2) {
		fprintf(stderr, "usage: bench_lanes [1..%d]\n", ROUNDS_MAX);
		return 2;
	}
	for (unsigned r = 0; r < rounds; r++)
		for (unsigned w = 0; w < WORKERS_MAX; w++) {
			rate[RECEIVE][w][r] = measure(RECEIVE, w + 1);
			rate[SEND][w][r] = measure(SEND, w + 1);
		}
	printf("| path | 1 worker, packets/s | 2 workers | ratio |\n"
	       "| --- | ---: | ---: | ---: |\n");
	for (unsigned way = RECEIVE; way <= SEND; way++) {
		double one = median(rate[way][0], rounds);
		double two = median(rate[way][1], rounds);

		printf("| %s | %.0f | %.0f | %.2f |\n", name[way], one, two,
		    two / one);
	}
	return 0;
}
