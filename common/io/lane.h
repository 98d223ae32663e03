/* lane: the data path on one thread: a queue of the TUN device, a pair of UDP
 * sockets, and between them batches on their way through the device that all
 * lanes share.
 *
 *   tun_read -> wg_device_route -> wg_tx_seal -> udp_send -> wg_device_sent
 *   udp_recv -> wg_device_sort -> wg_rx_open -> wg_device_accept -> tun_write
 *
 * The device is touched under the lock and the cipher runs without it, so that
 * lanes work side by side. Each also sends what the device has of its own
 * (initiations, keepalives, queued packets), whoever brought it about; others'
 * handshakes are for the lane on the loop.
 *
 * Order: with one lane, a flow's packets keep it. With several they do while
 * the kernel keeps the flow with one of them, see tun_join(). The data of one
 * never runs so far ahead of another's that a receiver's replay window passes
 * it by: see WG_DROP_QUEUE_FULL.
 *
 * When a socket is full the lane does not read its TUN queue until it has
 * room: nothing is queued here but the batch that did not fit. */
#ifndef UKAI_LANE_H
#define UKAI_LANE_H

#include <uv.h>

#include "tun.h"
#include "udp.h"
#include "wg/wg_device.h"

/* What lanes have in common. */
struct lane_shared {
	/* Of the device, and of what is here; taken by lane_lock(). */
	uv_mutex_t lock;
	uv_mutex_t turn; /* to wait for the lock */
	struct wg_device *device;
	uint64_t armed_ns; /* the deadline that somebody waits for */
	/* Called when the device's deadline became earlier than armed_ns, or
	 * when others' handshakes wait, which only the lane on the loop looks
	 * at. On any thread, without the lock. */
	void (*call)(void *arg);
	/* Called when the interface is gone. On any thread, without the
	 * lock. */
	void (*gone)(void *arg);
	/* Called when a packet comes although the device is down. Only by the
	 * lane on the loop that lane_open() was given. */
	void (*stirred)(void *arg);
	void *arg;
};

/* Takes the lock at once if it is free, past those who wait: whom the kernel
 * would have to wake first. */
void lane_lock(struct lane_shared *s);
/* Not past anybody who waits: for whoever comes again and again, and for long.
 * Handshakes take 0.2 ms each, and would keep others out for many of them. */
void lane_lock_in_turn(struct lane_shared *s);
void lane_unlock(struct lane_shared *s);

struct lane;

struct lane_stats {
	uint64_t send_failed;   /* datagrams that the kernel would not send, or
	                           that had no socket */
	uint64_t tun_dropped;   /* packets that the interface would not take */
	uint64_t tun_malformed; /* packets from it that made no sense */
};

/* A lane that runs on this loop; loop NULL: on a thread of its own, while it
 * has sockets. tun is the caller's, and outlives the lane.
 * Returns 0; UK_ECRYPTO (no such cipher here); UK_ENOMEM; UK_ESYS. */
int lane_open(struct lane **l, struct lane_shared *shared, uv_loop_t *loop,
    struct tun *tun, enum aead_kind aead);
/* Call lane_stop() first. NULL: no-op. */
void lane_close(struct lane *l);

/* Take sockets, which are the lane's from here on; when this fails they are
 * closed. Not under the lock. Returns 0; UK_ENOMEM. */
int lane_start(struct lane *l, struct udp *udp);
/* With sockets: a lane with a thread of its own begins to carry, when the
 * device is up; one on a loop does already. Runs already: no-op.
 * Returns 0; UK_ESYS (no thread). */
int lane_run(struct lane *l);
/* A thread ends, sockets are closed. What was not sent is counted as that. Not
 * under the lock. No sockets: no-op. */
void lane_stop(struct lane *l);
/* Throw away what the interface has for a thread that has not run for long, and
 * that nobody would want by now. */
void lane_drop_stale(struct lane *l);
struct udp *lane_udp(const struct lane *l); /* NULL: none */

/* Send what the device has of its own. On the lane's thread, without the lock;
 * for a lane on a loop. */
void lane_drain(struct lane *l);

/* "openssl", ... */
const char *lane_cipher(const struct lane *l);
/* Under the lock; what it was after the lane's last turn. */
const struct lane_stats *lane_stats(const struct lane *l);

#endif
