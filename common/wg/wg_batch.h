/* wg_batch: what one thread carries through a device: a batch of packets on
 * their way out (tx) and one of datagrams on their way in (rx).
 *
 *   out:  wg_device_route(d, now, tx, packets, n)   with the device
 *         wg_tx_seal(tx, engine)                    without it
 *         ... tx->dgram[0 .. tx->n) are sent ...
 *         wg_device_sent(d, tx)                     with the device
 *
 *   in:   wg_device_sort(d, now, rx, dgrams, n)     with the device
 *         wg_rx_open(rx, engine)                    without it
 *         wg_device_accept(d, now, rx)              with the device
 *         ... rx->packet[0 .. rx->npackets) are written ...
 *
 * The step in the middle costs most and touches nothing but the batch and the
 * keys that it holds, so an owner who shares a device among threads locks it
 * for the short steps only. Counters are handed out by the first step and
 * checked against the replay window by the last.
 * Memory: a fixed size, whatever passes; only what is used is touched. */
#ifndef UKAI_WG_BATCH_H
#define UKAI_WG_BATCH_H

#include "core/dgram.h"
#include "wg_session.h"

#define WG_BATCH_MAX 2048

/* Messages of one session, one after the other. */
struct wg_flight {
	struct wg_session *session; /* held */
	uint64_t first; /* counter; the session's later ones are above it */
	struct endpoint to; /* a copy; sending may clear its source */
	bool had_source;
};

struct wg_tx {
	struct dgram dgram[WG_BATCH_MAX]; /* messages to send */
	unsigned n;
	/* Packets nobody takes, to be answered with ICMP unreachable: views
	 * into the caller's memory. */
	struct pbuf rejected[WG_BATCH_MAX];
	unsigned nrejected;

	/* The device's: */
	struct aead_op op[WG_BATCH_MAX]; /* for dgram[i], until sealed */
	struct wg_flight flight[WG_BATCH_MAX];
	unsigned nflights;
	unsigned failed; /* by the cipher */
	struct wg_tx *next; /* of those that hold flights */
};

struct wg_rx {
	struct pbuf packet[WG_BATCH_MAX]; /* for the host */
	unsigned npackets;

	/* The device's: */
	struct dgram *in; /* the caller's */
	struct aead_op op[WG_BATCH_MAX];
	struct wg_session *session[WG_BATCH_MAX]; /* of op[i] */
	uint16_t at[WG_BATCH_MAX]; /* op[i] is of in[at[i]] */
	unsigned n;
	struct wg_session *held[WG_BATCH_MAX];
	unsigned nheld;
};

/* Empty. NULL: out of memory. Free only what the device has taken back. */
struct wg_tx *wg_tx_new(void);
void wg_tx_free(struct wg_tx *tx);
struct wg_rx *wg_rx_new(void);
void wg_rx_free(struct wg_rx *rx);

/* Run the cipher. What fails is no longer in tx->dgram, and an error in
 * rx->op. */
void wg_tx_seal(struct wg_tx *tx, struct aead_engine *e);
void wg_rx_open(struct wg_rx *rx, struct aead_engine *e);

#endif
