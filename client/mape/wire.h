/* wire: the WAN side of the MAP-E CE: outer IPv6 packets in and out of one
 * link, super-packets whole wherever the kernel lets them be (Linux 5.10).
 *
 * In: a packet socket, which sees what comes for our MAP address before any
 * firewall does, and a raw socket for protocol 4, which takes nothing but lets
 * the kernel believe that somebody listens: else it would answer each packet
 * with an ICMPv6 error (RFC 4443 3.4).
 * Out: packets go by a raw socket. Super-packets are written to our own TUN
 * device, where a BPF program at its ingress marks them as IPv4 in IPv6, so
 * that what cuts them does so inside, and redirects them to the link; no other
 * packet of that device is touched. Where the kernel or our rights do not
 * allow for the program, super-packets are split here.
 *
 * (Where the module ip6_tunnel is loaded, the kernel's own tunnels come before
 * the raw socket, and answer "port unreachable" to what is none of theirs: a
 * firewall has to drop protocol 4 to our MAP address, which costs us nothing.)
 *
 * Nothing of it outlives the process: the program goes with the TUN device.
 * Threads: owner only. Memory: heap, all of it in wire_open(). */
#ifndef UKAI_MAPE_WIRE_H
#define UKAI_MAPE_WIRE_H

#include "core/diag.h"
#include "io/tun.h"

struct wire;

struct wire_conf {
	unsigned ifindex; /* of the WAN link */
	uint8_t address[16]; /* our MAP address; on this host, by any link */
	struct tun *tun; /* borrowed until wire_close(); NULL: split */
	uint32_t mark; /* for routing, as SO_MARK; 0: none */
	bool no_offload; /* send no super-packets */
};

/* Returns 0; UK_EPERM (CAP_NET_RAW; with a mark CAP_NET_ADMIN), UK_ENOENT (no
 * such link), UK_ESYS, UK_ENOMEM, with a sentence in d. That super-packets
 * cannot go whole is a warning in d. */
int wire_open(struct wire **w, const struct wire_conf *c, struct diag *d);
void wire_close(struct wire *w); /* NULL: no-op */

int wire_fd(const struct wire *w); /* poll for reading */

/* Most packets that one wire_recv() gives. */
#define WIRE_RECV_MAX 32

/* Receive without waiting. *out points at packets that are valid until the
 * next call and may be changed in place: IPv6 to our MAP address by this link
 * with next header 4, 44, an extension header, or an ICMPv6 error; nothing
 * else was looked at. In front of each is room for TUN_ROOM bytes.
 * hdr is relative to the outer packet and agrees with it: NEEDS_CSUM only
 * stands on next header 4 with TCP or UDP right behind a whole IPv4 header
 * that is no fragment (csum_start 40 + its length), and gso_type is TCPV4 or
 * UDP_L4 as the inner protocol is; other checksums are finished. An inner
 * super-packet has whole transport headers.
 * Returns the number; 0: nothing there, or the link is down; UK_ENOENT: the
 * link is gone, if that is heard here; wire_gone() always knows. */
int wire_recv(struct wire *w, struct vnet_packet **out);

/* The link was removed: nothing will ever come or go. Cheap enough for once a
 * second. */
bool wire_gone(const struct wire *w);

/* Send n outer packets in order. A super-packet (gso_type) has next header 4
 * and hdr as wire_recv() gives it; of others unfinished checksums are finished
 * here. They and TUN_ROOM bytes in front may be changed. Each fits the link's
 * MTU, a super-packet's pieces do. What cannot be sent is dropped and
 * counted: no route by this link, a full queue. */
void wire_send(struct wire *w, struct vnet_packet *p, unsigned n);

struct wire_stats {
	bool offload; /* super-packets leave whole */
	uint64_t received, sent; /* packets, a super-packet is one */
	uint64_t received_super, sent_super; /* of these */
	uint64_t split; /* super-packets that were sent in pieces */
	uint64_t receive_dropped; /* by the kernel: we are too slow */
	uint64_t receive_malformed; /* hdr and packet do not agree */
	uint64_t send_failed; /* packets, pieces */
};
void wire_stats(struct wire *w, struct wire_stats *out);

/* ---- pure ---- */

/* Hold what a kernel said of an outer packet, which may have come from another
 * machine's kernel, against the packet: makes it what wire_recv() promises.
 * Returns 0; UK_EPROTO. */
int wire_agree(struct vnet_packet *p);

/* The pieces of an outer super-packet, or the one packet that it is, finished:
 * vnet_split() for what is IPv4 in IPv6.
 * Returns their number; UK_EPROTO; UK_EMSGSIZE as vnet_split(). */
int wire_split(const struct vnet_packet *p, const struct vnet_room *room,
    struct pbuf *out, unsigned cap);

#endif
