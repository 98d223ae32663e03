/* wg_index: the 32-bit numbers by which messages name a handshake or session
 * of ours. Random (a counter would tell how many there are, P7), unique, the
 * only look-up key of messages 2, 3 and 4. Entries live in their owners. */
#ifndef UKAI_WG_INDEX_H
#define UKAI_WG_INDEX_H

#include "core/htab.h"

struct wg_peer;
struct wg_session;

/* Fills out with len unpredictable bytes. */
typedef void wg_random(void *out, size_t len);

struct wg_index {
	struct htab_node node;
	uint8_t wire[4]; /* as it stands in messages */
	bool used;       /* is in the table */
	struct wg_peer *peer;
	struct wg_session *session; /* NULL: of a handshake */
};

struct wg_index_table {
	struct htab by_wire;
	wg_random *random;
};

/* Returns 0; UK_ENOMEM. */
int wg_index_table_init(struct wg_index_table *t, wg_random *random);
void wg_index_table_fini(struct wg_index_table *t);

/* Several threads may share the receiving of a device, each with a socket of
 * its own, and whoever spreads the datagrams knows nothing but their bytes. So
 * the index says the lane: its last byte modulo the number of lanes. The rest
 * stays random, and a peer's sessions stay on one lane, which keeps its packets
 * in order. */
#define WG_LANES_MAX 16
static inline unsigned
wg_lane_of(const uint8_t wire[4], unsigned lanes)
{
	return wire[3] % lanes;
}

/* Draw an unused number of this lane out of so many. */
void wg_index_draw(const struct wg_index_table *t, unsigned lane,
    unsigned lanes, uint8_t wire[4]);
/* Enter i under a number that is not in use. */
void wg_index_add(
    struct wg_index_table *t, struct wg_index *i, const uint8_t wire[4]);
void wg_index_remove(struct wg_index_table *t, struct wg_index *i); /* or not */
/* NULL: nobody has this number. */
struct wg_index *wg_index_find(
    const struct wg_index_table *t, const uint8_t wire[4]);

#endif
