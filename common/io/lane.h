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
 * Order: a flow's packets leave in order while the kernel keeps the flow in one
 * queue, and arrive in order while the peer is on one lane. When it moves one
 * of them, at most a batch is overtaken. The receiver's replay window is never
 * outrun: see WG_DROP_QUEUE_FULL.
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
	uv_mutex_t lock; /* of the device, and of what is here */
	struct wg_device *device;
	uint64_t armed_ns; /* the deadline that somebody waits for */
	/* The device's deadline is sooner than armed_ns, or others' handshakes
	 * wait, which only the lane on the loop looks at. From any thread,
	 * without the lock. */
	void (*call)(void *arg);
	/* The interface is gone; from any thread, without the lock. */
	void (*gone)(void *arg);
	/* Packets come although the device is down; only from a lane on the
	 * loop of lane_open(). */
	void (*stirred)(void *arg);
	void *arg;
};

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
/* Without sockets by now. NULL: no-op. */
void lane_close(struct lane *l);

/* Receive and send with these sockets, which are the lane's from here on; when
 * this fails they are closed. Not under the lock. What the interface had for
 * the lane from before the device was up is dropped.
 * Returns 0; UK_ENOMEM; UK_ESYS (no thread). */
int lane_start(struct lane *l, struct udp *udp);
/* Close them; a thread ends. What was not sent is counted as that. Not under
 * the lock. No sockets: no-op. */
void lane_stop(struct lane *l);
struct udp *lane_udp(const struct lane *l); /* NULL: none */

/* Send what the device has of its own. On the lane's thread, without the lock;
 * for a lane on a loop. */
void lane_drain(struct lane *l);

/* "openssl", ... */
const char *lane_cipher(const struct lane *l);
/* Under the lock; what it was after the lane's last turn. */
const struct lane_stats *lane_stats(const struct lane *l);

#endif
