/* ukai-bench-lanes: how the relay's data path grows with its threads. The lanes
 * are the real ones (io/lane.c, with their loops, threads and lock); below
 * them, instead of the network, this file's udp_* and tun_* copy prepared
 * datagrams and packets of two clients out of memory and count what comes back.
 * So one core per thread is all that it takes.
 *
 * What is measured is routing, sorting, the cipher, the replay window and the
 * lock. What real sockets and devices do is not: no system call, no splitting
 * and joining of super-packets, no checksum, no layout of GSO messages.
 *
 * Prints a Markdown table: packets per second with one and with two workers,
 * medians of interleaved rounds, and the median of each round's ratio. One and
 * two take turns in being first. Time is on the wall: a worker that waits for
 * the lock takes no CPU time, and just that is looked for. So another busy
 * process, or a processor that the hypervisor takes away, lowers the ratio.
 *
 *	ukai-bench-lanes [ROUNDS]
 *
 * For tests/bench/run: lanes-receive-ratio, lanes-send-ratio.
 */
#include "io/clock.h"
#include "io/lane.h"
#include "measure.h"
#include "noise_end.h"
#include "support/wg_lab.h"
#include "wg/wg_state.h"

#include <sodium.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CLIENTS 2
#define WORKERS_MAX 2
#define ROUNDS 15
#define ROUNDS_MAX 101
#define ROUND_MS 300
/* What one GRO message, or one super-packet from TUN, holds. */
#define BATCH 45
#define PACKET_LEN 1420
/* No padding: the packet is as long as the MTU. */
#define SEALED_LEN (PACKET_LEN + WG_DATA_OVERHEAD)
#define STRIDE 1536
/* Datagrams prepared for each client, sent over and over. */
#define PREPARED (BATCH * 200)

enum way { RECEIVE, SEND, WAYS };

_Static_assert(WORKERS_MAX == 2, "the table has a column for 1 and for 2");

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
		lane_lock(u->shared);
		wg_replay_init(&c->session->replay);
		lane_unlock(u->shared);
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

	noise_key_draw(&s->key);
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
	noise_key_draw(&key);
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
	uv_mutex_init(&shared.turn);
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
		UK_ASSERT(lane_start(lane[i], &udp[i]) == 0 &&
			  lane_run(lane[i]) == 0);
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
	uv_mutex_destroy(&shared.turn);
	uv_mutex_destroy(&shared.lock);
	teardown();
	return (double)packets * 1e9 / (double)took;
}

/* Returns the ratio. */
static double
print_row(
    const char *name, double rate[WORKERS_MAX][ROUNDS_MAX], unsigned rounds)
{
	static double work[ROUNDS_MAX];
	double ratio = measure_ratio(rate[1], rate[0], work, rounds);

	printf("| %s | %.0f | %.0f | %.2f |\n", name,
	    measure_median(rate[0], rounds), measure_median(rate[1], rounds),
	    ratio);
	return ratio;
}

int
main(int argc, char **argv)
{
	static double rate[WAYS][WORKERS_MAX][ROUNDS_MAX];
	unsigned rounds = measure_rounds(argc, argv, ROUNDS, ROUNDS_MAX);
	double receive, send;

	UK_ASSERT(sodium_init() >= 0);
	for (unsigned r = 0; r < rounds; r++)
		for (unsigned i = 0; i < WORKERS_MAX; i++) {
			unsigned w = r % 2 ? WORKERS_MAX - 1 - i : i;

			for (enum way way = 0; way < WAYS; way++)
				rate[way][w][r] = measure(way, w + 1);
		}
	printf("| path | 1 worker, packets/s | 2 workers | ratio |\n"
	       "| --- | ---: | ---: | ---: |\n");
	receive = print_row("receive", rate[RECEIVE], rounds);
	send = print_row("send", rate[SEND], rounds);
	measure_goal("lanes-receive-ratio", receive);
	measure_goal("lanes-send-ratio", send);
	return 0;
}
