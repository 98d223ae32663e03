#include "lane.h"

#include "clock.h"
#include "core/err.h"
#include "core/ip.h"
#include "watch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What the device has waiting (handshakes, queued packets) done in one turn of
 * the loop before data gets its turn again. Less than one receive can bring:
 * of a flood of handshakes more must come than go, or they would never pile up
 * in the device, which tells by that that it is under load. */
#define OWN_BUDGET 8

/* Four queues of 500 (TUN's default) super-packets of 46 ordinary ones. */
#define STALE_MAX (4 * 500 * 46)

/* How often to look whether the device is free before sleeping: 10 us, about as
 * long as another lane has it for a batch. To be woken takes longer. */
#define SPINS 200

#define ICMP_HOST_UNREACHABLE 1
#define ICMPV6_ADDRESS_UNREACHABLE 3

struct lane {
	struct lane_shared *shared;
	struct tun *tun;
	struct udp *udp;
	uv_loop_t *loop;

	/* A lane with a thread. */
	uv_loop_t own_loop;
	uv_thread_t thread;
	bool threaded, running;
	atomic_bool stopping;

	struct watch *on_tun, *on_udp4, *on_udp6;
	struct watch *on_again; /* more is to be sent, or the thread to end */
	bool again; /* it was raised for the former */

	/* What the full UDP socket would not take yet. */
	struct dgram *unsent;
	unsigned unsent_count;

	struct lane_stats stats; /* under the lock */
	uint64_t not_sent; /* by sockets closed since, or for want of one */

	struct aead_engine *engine;
	struct wg_own own;
	struct wg_tx *tx;
	struct wg_rx *rx;
	struct pbuf packet[TUN_READ_MAX];
};

static_assert(TUN_READ_MAX <= WG_BATCH_MAX, "one read, one batch");
static_assert(UDP_RECV_MAX <= WG_BATCH_MAX, "one receive, one batch");

/* ---- the device, shared ---- */

static void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

void
lane_lock(struct lane_shared *s)
{
	for (unsigned i = 0; i < SPINS; i++) {
		if (uv_mutex_trylock(&s->lock) == 0)
			return;
		relax();
	}
	lane_lock_in_turn(s);
}

/* Who waits has the turn until it has the lock. */
void
lane_lock_in_turn(struct lane_shared *s)
{
	uv_mutex_lock(&s->turn);
	uv_mutex_lock(&s->lock);
	uv_mutex_unlock(&s->turn);
}

void
lane_unlock(struct lane_shared *s)
{
	uv_mutex_unlock(&s->lock);
}

/* With the lock: give this lane's last batch back to the device, unless some of
 * it still waits for room in a socket. */
static struct wg_device *
give_back(struct lane *l)
{
	struct wg_device *d = l->shared->device;

	if (l->tx->nflights > 0 && l->unsent_count == 0)
		wg_device_sent(d, l->tx);
	return d;
}

static struct wg_device *
take_device(struct lane *l)
{
	lane_lock(l->shared);
	return give_back(l);
}

static void
give_device(struct lane *l)
{
	lane_unlock(l->shared);
}

/* ---- out: tun -> device -> udp ----
 *
 * One batch, and the loop looks at all descriptors again: each direction waits
 * for one batch of the other, no longer, and a single packet costs no second
 * read that finds nothing. */

/* Wait for room in the socket that is full, and read no more packets until
 * then; both sockets go on receiving. FAMILY_NONE: none is full. */
static void
wait_for_room(struct lane *l, int family)
{
	watch_wait(l->on_tun, family == FAMILY_NONE, false);
	if (l->on_udp4)
		watch_wait(l->on_udp4, true, family == FAMILY_V4);
	if (l->on_udp6)
		watch_wait(l->on_udp6, true, family == FAMILY_V6);
}

/* Send, or remember what there is no room for. True: all went. */
static bool
transmit(struct lane *l, struct dgram *d, unsigned n)
{
	unsigned done = n;

	if (l->udp)
		done = udp_send(l->udp, d, n);
	else
		l->not_sent += n;
	l->unsent = d + done;
	l->unsent_count = n - done;
	if (done < n)
		wait_for_room(l, d[done].ep->addr.family);
	return done == n;
}

static void
publish_stats(struct lane *l)
{
	const struct tun_stats *tun = tun_stats(l->tun);
	uint64_t failed = l->udp ? udp_stats(l->udp)->send_failed : 0;

	l->stats = (struct lane_stats){.send_failed = l->not_sent + failed,
	    .tun_dropped = tun->write_dropped,
	    .tun_malformed = tun->read_malformed};
}

/* One of the device's own messages, if there is room for it. Returns as
 * wg_device_next; call: somebody else has something to do. */
static int
send_own(struct lane *l, struct uk_time now, bool *call)
{
	struct wg_device *d;
	int did = 0;

	lane_lock_in_turn(l->shared);
	d = give_back(l);
	if (l->unsent_count == 0)
		did = wg_device_next(d, now, &l->own);
	/* With the lock: another lane that finds the queue empty may send what
	 * is newer at once, and must not overtake. (It does if there is no room
	 * for this one, which is rare, and one packet.) */
	if (did == 1)
		transmit(l, &l->own.dgram, 1);
	*call = wg_device_deadline(d) < l->shared->armed_ns ||
		(l->threaded && wg_device_handshakes(d) > 0);
	if (did == 0)
		publish_stats(l);
	give_device(l);
	return did;
}

/* When the budget is used up, go on after the loop has served other events, and
 * not after each of them, so that a flood of handshakes does not stop data.
 * While a socket is full, udp_writable() goes on. */
static void
drain(struct lane *l, struct uk_time now)
{
	unsigned left = OWN_BUDGET;
	bool call = false;
	int did = 1;

	if (l->again)
		return;
	while (did != 0 && left-- > 0)
		did = send_own(l, now, &call);
	if (did != 0) {
		l->again = true;
		watch_raise(l->on_again);
	}
	if (call)
		l->shared->call(l->shared->arg);
}

static void
answer_unreachable(struct lane *l)
{
	const struct ip_addr packets_own = {.family = FAMILY_NONE};
	uint8_t icmp[1280];

	for (unsigned i = 0; i < l->tx->nrejected; i++) {
		const struct pbuf *p = &l->tx->rejected[i];
		size_t len = ip_icmp_unreachable(icmp, sizeof(icmp),
		    pbuf_data(p), p->len, &packets_own, ICMP_HOST_UNREACHABLE,
		    ICMPV6_ADDRESS_UNREACHABLE);
		struct pbuf answer = pbuf_make(icmp, sizeof(icmp), 0, len);

		if (len > 0)
			tun_write(l->tun, &answer, 1);
	}
}

static void
carry_out(struct lane *l, struct uk_time now, unsigned n)
{
	wg_device_route(take_device(l), now, l->tx, l->packet, n);
	give_device(l);
	wg_tx_seal(l->tx, l->engine);
	answer_unreachable(l);
	transmit(l, l->tx->dgram, l->tx->n);
}

/* May packets be read? Not while older ones are to be sent first. */
static bool
is_ready(struct lane *l, struct uk_time now, bool *up)
{
	struct wg_device *d = take_device(l);
	bool flushing = wg_device_is_flushing(d, now.mono_ns);

	*up = wg_device_is_up(d);
	give_device(l);
	return !flushing;
}

static void
tun_readable(void *arg)
{
	struct lane *l = arg;
	struct uk_time now = clock_now();
	bool ready, up;
	int n = 0;

	ready = is_ready(l, now, &up);
	/* Packets prove that the interface is up, seen or not. */
	if (!up && !l->threaded)
		l->shared->stirred(l->shared->arg);
	if (ready && l->unsent_count == 0)
		n = tun_read(l->tun, l->packet, TUN_READ_MAX);
	if (n < 0) {
		watch_wait(l->on_tun, false, false);
		l->shared->gone(l->shared->arg);
		return;
	}
	if (n > 0)
		carry_out(l, now, (unsigned)n);
	drain(l, now);
}

static void
udp_writable(void *arg)
{
	struct lane *l = arg;

	if (!transmit(l, l->unsent, l->unsent_count))
		return;
	wait_for_room(l, FAMILY_NONE);
	drain(l, clock_now());
}

/* ---- in: udp -> device -> tun ---- */

static void
carry_in(struct lane *l, struct uk_time now, struct dgram *in, unsigned n)
{
	struct wg_rx *rx = l->rx;

	wg_device_sort(take_device(l), now, rx, in, n);
	give_device(l);
	if (rx->n == 0)
		return;
	wg_rx_open(rx, l->engine);
	wg_device_accept(take_device(l), now, rx);
	give_device(l);
	if (rx->npackets > 0)
		tun_write(l->tun, rx->packet, rx->npackets);
}

static void
udp_readable(struct lane *l, int family)
{
	struct uk_time now = clock_now();
	struct dgram *in;
	unsigned n = udp_recv(l->udp, family, &in);

	if (n > 0)
		carry_in(l, now, in, n);
	drain(l, now);
}

static void
udp4_readable(void *arg)
{
	udp_readable(arg, FAMILY_V4);
}

static void
udp6_readable(void *arg)
{
	udp_readable(arg, FAMILY_V6);
}

void
lane_drain(struct lane *l)
{
	drain(l, clock_now());
}

/* ---- life ---- */

static void
called_again(void *arg)
{
	struct lane *l = arg;

	l->again = false;
	if (atomic_load(&l->stopping))
		uv_stop(l->loop);
	else
		drain(l, clock_now());
}

static void
run_thread(void *arg)
{
	struct lane *l = arg;

	/* For top -H and ps -L. */
	(void)pthread_setname_np(pthread_self(), "ukai-lane");
	uv_run(l->loop, UV_RUN_DEFAULT);
}

/* The loop's handles close. */
static void
settle_loop(struct lane *l)
{
	if (l->threaded)
		uv_run(l->loop, UV_RUN_DEFAULT);
}

int
lane_open(struct lane **out, struct lane_shared *shared, uv_loop_t *loop,
    struct tun *tun, enum aead_kind aead)
{
	struct lane *l = calloc(1, sizeof(*l));

	if (!l)
		return UK_ENOMEM;
	l->shared = shared;
	l->tun = tun;
	l->threaded = !loop;
	l->loop = loop ? loop : &l->own_loop;
	if (!loop && uv_loop_init(&l->own_loop) != 0) {
		free(l);
		return UK_ESYS;
	}
	l->own.no_handshakes = l->threaded;
	l->engine = aead_engine_new(aead);
	l->tx = wg_tx_new();
	l->rx = wg_rx_new();
	l->on_tun = watch_fd(l->loop, tun_fd(tun), tun_readable, NULL, l);
	l->on_again = watch_call(l->loop, called_again, l);
	if (!l->engine || !l->tx || !l->rx || !l->on_tun || !l->on_again) {
		int err = l->engine ? UK_ENOMEM : UK_ECRYPTO;

		lane_close(l);
		return err;
	}
	watch_wait(l->on_tun, true, false);
	*out = l;
	return 0;
}

void
lane_close(struct lane *l)
{
	if (!l)
		return;
	lane_stop(l);
	if (l->tx) {
		take_device(l);
		give_device(l);
	}
	watch_close(l->on_tun);
	watch_close(l->on_again);
	settle_loop(l);
	if (l->threaded)
		uv_loop_close(&l->own_loop);
	wg_own_fini(&l->own);
	wg_rx_free(l->rx);
	wg_tx_free(l->tx);
	aead_engine_free(l->engine);
	free(l);
}

/* False: there is a socket, and it cannot be watched. */
static bool
watch_udp(struct lane *l, int family, watch_fn *readable, struct watch **w)
{
	int fd = udp_fd(l->udp, family);

	*w = NULL;
	if (fd < 0)
		return true;
	*w = watch_fd(l->loop, fd, readable, udp_writable, l);
	if (*w)
		watch_wait(*w, true, false);
	return *w != NULL;
}

/* The lane on the loop reads all the time. Of the others not much more is read
 * than the kernel queues, or who sends fast could keep us here. */
void
lane_drop_stale(struct lane *l)
{
	int n = 1;

	UK_ASSERT(!l->running);
	for (int left = STALE_MAX; l->threaded && n > 0 && left > 0; left -= n)
		n = tun_read(l->tun, l->packet, TUN_READ_MAX);
}

int
lane_start(struct lane *l, struct udp *udp)
{
	UK_ASSERT(!l->udp);
	l->udp = udp;
	if (watch_udp(l, FAMILY_V4, udp4_readable, &l->on_udp4) &&
	    watch_udp(l, FAMILY_V6, udp6_readable, &l->on_udp6))
		return 0;
	lane_stop(l);
	return UK_ENOMEM;
}

int
lane_run(struct lane *l)
{
	UK_ASSERT(l->udp);
	if (!l->threaded || l->running)
		return 0;
	atomic_store(&l->stopping, false);
	if (uv_thread_create(&l->thread, run_thread, l) != 0)
		return UK_ESYS;
	l->running = true;
	return 0;
}

static void
stop_thread(struct lane *l)
{
	if (!l->running)
		return;
	atomic_store(&l->stopping, true);
	watch_raise(l->on_again);
	uv_thread_join(&l->thread);
	l->running = false;
}

/* Nothing is to be sent any more. */
static void
abandon(struct lane *l)
{
	l->not_sent += l->unsent_count;
	if (l->unsent_count > 0)
		wait_for_room(l, FAMILY_NONE);
	l->unsent_count = 0;
	take_device(l);
	publish_stats(l);
	give_device(l);
}

void
lane_stop(struct lane *l)
{
	if (!l->udp)
		return;
	stop_thread(l);
	abandon(l);
	watch_close(l->on_udp4);
	watch_close(l->on_udp6);
	l->on_udp4 = l->on_udp6 = NULL;
	l->not_sent += udp_stats(l->udp)->send_failed;
	udp_close(l->udp);
	l->udp = NULL;
}

struct udp *
lane_udp(const struct lane *l)
{
	return l->udp;
}

const char *
lane_cipher(const struct lane *l)
{
	return aead_engine_name(l->engine);
}

const struct lane_stats *
lane_stats(const struct lane *l)
{
	return &l->stats;
}
