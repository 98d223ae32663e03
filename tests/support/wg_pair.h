/* wg_pair: two devices, a and b, that have several peers in common and
 * sessions with all of them, made by hand: what happens to batches of data is
 * tested with it, and handshakes are not. */
#ifndef UKAI_TESTS_WG_PAIR_H
#define UKAI_TESTS_WG_PAIR_H

#include "wg/wg_device.h"
#include "wg/wg_session.h"

#define PAIR_PEERS 4
#define PAIR_PACKET_LEN 48
#define PAIR_ROOM (WG_SEAL_HEADROOM + PAIR_PACKET_LEN + WG_SEAL_TAILROOM)

struct pair_side {
	struct wg_device *d;
	struct wg_peer *peer[PAIR_PEERS];
	uint8_t inner; /* hosts are 10.inner.peer.1 */
};

/* Peer i of each side is at 192.0.2.inner:(1000 + i). */
struct pair {
	struct uk_time now;
	struct pair_side a, b;
	uint32_t sessions; /* made so far */
};

/* Randomness is lab_random(). Both are up. */
void pair_open(struct pair *p);
void pair_close(struct pair *p);

void pair_add_peer(struct pair *p, struct pair_side *s, unsigned i);
/* Two numbers, two private keys. */
void pair_set_key(struct pair_side *s, uint8_t n);
/* A new session with peer i, on both sides, that both may use at once. */
void pair_connect(struct pair *p, unsigned i);
/* The same, but b has yet to hear that a uses it. */
void pair_connect_unconfirmed(struct pair *p, unsigned i);

/* A packet from a host to another, behind whichever peers; number stands in
 * it. */
struct pbuf pair_packet(uint8_t room[PAIR_ROOM], const struct pair_side *from,
    const struct pair_side *to, unsigned peer, uint32_t number);
uint32_t pair_number(const struct pbuf *packet);

uint64_t pair_dropped(const struct pair_side *s, enum wg_drop why);
uint64_t pair_dropped_all(const struct pair_side *s);

#endif
