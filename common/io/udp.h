/* udp: the underlay's UDP sockets, IPv4 and IPv6 on one port, for batches of
 * datagrams: recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT, sticky source
 * addresses by IP_PKTINFO and IPV6_PKTINFO, ECN by control messages. Where
 * the kernel lacks an offload, or it was switched off, the same calls work
 * with one datagram a message. One object serves one thread; several may share
 * a port, one for each thread, and say which of them gets what.
 * Memory: one slab for receiving, made at open. */
#ifndef UKAI_UDP_H
#define UKAI_UDP_H

#include "core/dgram.h"
#include "core/diag.h"

struct udp;

struct udp_conf {
	uint16_t port;   /* 0: any free one, the same for v4 and v6 */
	uint32_t mark;   /* SO_MARK; 0: none */
	bool no_offload; /* neither GSO nor GRO */
	bool shared;     /* udp_join() will follow */
};

/* Most datagrams that one udp_recv gives. */
#define UDP_RECV_MAX 2048

struct udp_stats {
	uint64_t send_failed; /* datagrams given up: no route, refused, ... */
	uint64_t truncated;   /* received, longer than any buffer: dropped */
};

/* Open both families; one of them may be missing on the host (then its fd is
 * -1), not both. Returns 0; UK_EBUSY (port in use), UK_EPERM (mark), UK_ESYS,
 * UK_ENOMEM, with a sentence in d. */
int udp_open(struct udp **u, const struct udp_conf *c, struct diag *d);
/* Another pair of sockets on first's port, for another thread. c is as it was
 * for the first; its port is not looked at. Errors as udp_open. */
int udp_join(struct udp **u, const struct udp *first, const struct udp_conf *c,
    struct diag *d);
/* n objects share the port by now, this one and those that joined it, in their
 * order: WireGuard data goes to the one whose number is the lane of its
 * receiver index (wg_lane_of), all else to the first. Without this each sender
 * has one of the sockets by chance. Returns 0; UK_ESYS: the kernel is older
 * than 4.6, and chance it is. */
int udp_spread(struct udp *u, unsigned n);
void udp_close(struct udp *u); /* NULL: no-op */

uint16_t udp_port(const struct udp *u);
/* Descriptor to poll; -1 where the family is missing. FAMILY_V4, FAMILY_V6 */
int udp_fd(const struct udp *u, int family);
/* Returns 0; UK_EPERM; UK_ESYS. */
int udp_set_mark(struct udp *u, uint32_t mark);

/* Receive what is there, without waiting, from one family's socket. *out
 * points at views into the slab, valid until the next call; each may be
 * changed in place. from->src is the local address it came to. Returns the
 * number of datagrams, 0 when nothing is there; ICMP errors that sit on the
 * socket are swallowed. */
unsigned udp_recv(struct udp *u, int family, struct dgram **out);

/* Send n datagrams in order. Runs with one ep (same pointer), one tos and one
 * length (the last of a run may be shorter) go out as one message. A datagram
 * that cannot be sent is counted and skipped; EINVAL or ENETUNREACH/
 * EADDRNOTAVAIL with a source set: clears ep->src and sends again once;
 * EIO because of GSO: that family goes on without GSO from then on; EINVAL or
 * EMSGSIZE (a segment exceeds the path's MTU): this run goes without GSO.
 * The source address is pinned, the interface it came in by is not: routing
 * decides.
 * Returns how many are done with: less than n only when the socket is full;
 * the caller keeps the rest and calls again when the descriptor of
 * d[returned].ep's family is writable. */
unsigned udp_send(struct udp *u, struct dgram *d, unsigned n);

const struct udp_stats *udp_stats(const struct udp *u);

#endif
