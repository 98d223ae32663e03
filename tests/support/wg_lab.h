/* wg_lab: two WireGuard devices in one memory, messages that the test carries
 * from one to the other, and a clock that the test sets. Randomness has a
 * seed. What cannot go wrong is asserted here. */
#ifndef UKAI_TESTS_WG_LAB_H
#define UKAI_TESTS_WG_LAB_H

#include "wg/wg_device.h"
#include "wg/wg_session.h"

#define LAB_MAX 2048
#define LAB_MTU 1420
#define LAB_S(n) ((uint64_t)(n)*UK_NS_PER_S)
#define LAB_MS(n) ((uint64_t)(n)*UK_NS_PER_MS)

/* A datagram or a packet, with room for sealing around it. */
struct lab_msg {
	uint8_t room[LAB_MAX + 64];
	struct pbuf buf;
	struct endpoint to; /* of a datagram */
	uint8_t tos;
};

struct lab_side {
	struct wg_device *d;
	struct wg_peer *peer; /* the other side */
	struct wg_key key, public_key;
	struct endpoint at; /* where it is reached */
	uint8_t inner4, inner6; /* last byte of its tunnel addresses */
};

/* a knows where b is; b waits to be called. Tunnel addresses are 10.0.0.x and
 * fd00::x with x = 1 for a and 2 for b. Both are up. */
struct lab {
	struct uk_time now;
	struct lab_side a, b;
};

void lab_random(void *out, size_t len);
void lab_seed(uint64_t seed);

void lab_init(struct lab *l);
void lab_fini(struct lab *l);
/* A new device with the side's key and peer; a device it had is freed. */
void lab_restart(struct lab *l, struct lab_side *s, struct lab_side *other);
void lab_advance(struct lab *l, uint64_t ns);
/* The clock of a side passes all its deadlines up to now + ns, and stands
 * there. What is to be sent is thrown away. */
void lab_sleep(struct lab *l, struct lab_side *s, uint64_t ns);

struct endpoint lab_at(const char *addr, uint16_t port);
struct ip_prefix lab_prefix(const char *text);

/* An IPv4 packet of len bytes (at least 20) with right header sum; content
 * counts up from the last byte of the source. */
void lab_ip4(struct lab_msg *m, const char *src, const char *dst, size_t len);
void lab_ip6(struct lab_msg *m, const char *src, const char *dst, size_t len);
void lab_copy(struct lab_msg *to, const struct lab_msg *from);

/* Drain: one datagram that wants to be sent; false: none. */
bool lab_next(struct lab *l, struct lab_side *s, struct lab_msg *out);
/* Throw away all that wants to be sent; returns how many. */
unsigned lab_discard(struct lab *l, struct lab_side *s);
/* Seal a copy of a packet. True: out is a datagram; else it was queued,
 * rejected or dropped. */
bool lab_seal(struct lab *l, struct lab_side *s, const struct lab_msg *packet,
    struct lab_msg *out);
/* Give a copy of a datagram to a side. True: *out is a packet for the host. */
bool lab_open(struct lab *l, struct lab_side *s, const struct lab_msg *m,
    const struct endpoint *from, struct lab_msg *out);

/* The same for n packets or datagrams where they are. What comes out is in
 * tx->dgram and tx->rejected, or in rx->packet, until the next call. */
struct wg_tx *lab_seal_batch(struct lab *l, struct lab_side *s,
    const struct pbuf *p, unsigned n);
struct wg_rx *lab_open_batch(
    struct lab *l, struct lab_side *s, struct dgram *in, unsigned n);

/* Packet of 100 bytes from one side to the other. */
void lab_packet(
    const struct lab_side *from, const struct lab_side *to, struct lab_msg *m);
/* Carry everything between a and b until both are quiet. Returns how many
 * packets arrived. */
unsigned lab_settle(struct lab *l);
/* a calls b; the session is confirmed. */
void lab_connect(struct lab *l);
/* A packet gets through from one to the other without any handshake. */
bool lab_ping(struct lab *l, struct lab_side *from, struct lab_side *to);

uint64_t lab_dropped(const struct lab_side *s, enum wg_drop why);
uint64_t lab_dropped_all(const struct lab_side *s);

#endif
