/* vnet: split a super-packet from a TUN device into packets of segment size,
 * and join packets of one flow into a super-packet. Pure; the header is the
 * kernel's struct virtio_net_hdr (virtio 1.2, 5.1.6), 10 bytes in host order
 * with IFF_VNET_HDR. Neither direction allocates. */
#ifndef UKAI_VNET_H
#define UKAI_VNET_H

#include "pbuf.h"

#define VNET_HDR_LEN 10

enum vnet_gso {
	VNET_GSO_NONE = 0,
	VNET_GSO_TCPV4 = 1,
	VNET_GSO_TCPV6 = 4,
	VNET_GSO_UDP_L4 = 5,
};

#define VNET_GSO_ECN 0x80 /* or-ed to gso_type: first CWR stays first only */

#define VNET_F_NEEDS_CSUM 1
#define VNET_F_DATA_VALID 2

struct vnet_hdr {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

/* A packet, or a super-packet, with what is left to do about it. */
struct vnet_packet {
	struct pbuf b;
	struct vnet_hdr hdr; /* all zero: it is finished */
};

void vnet_hdr_load(struct vnet_hdr *h, const uint8_t b[VNET_HDR_LEN]);
void vnet_hdr_store(const struct vnet_hdr *h, uint8_t b[VNET_HDR_LEN]);

/* Finish the checksum that the kernel left to us (NEEDS_CSUM without GSO).
 * csum_start and csum_offset are checked. Returns 0; UK_EPROTO. */
int vnet_complete_csum(const struct vnet_hdr *h, uint8_t *pkt, size_t len);

/* Where split packets are written: packet i begins at
 * slab + i * stride + headroom; a packet, headroom and tailroom fit stride. */
struct vnet_room {
	uint8_t *slab;
	size_t slab_len;
	uint32_t headroom;
	uint32_t tailroom;
};

/* Split one packet as read from TUN (without its vnet header) into finished
 * packets with right lengths, IDs, sequence numbers, flags and checksums.
 * The stride is chosen from gso_size and rounded up to 16 bytes. A packet
 * without GSO is one packet, copied. TCP: FIN and PSH only on the last, CWR
 * only on the first. IPv4 IDs count up. A checksum that was left to us is
 * finished. room and pkt do not overlap; out: room for cap views.
 * Returns the number of packets; UK_EPROTO when header and packet do not
 * agree; UK_EMSGSIZE when slab or out is too small. */
int vnet_split(const struct vnet_hdr *h, const uint8_t *pkt, size_t len,
    const struct vnet_room *room, struct pbuf *out, unsigned cap);

/* Most packets of one vnet_join: what one read of the underlay gives. */
#define VNET_JOIN_MAX 2048
/* Most packets of a group: with its vnet header it fits one writev (1024). */
#define VNET_GROUP_MAX 1000
/* Of UDP: what a receiver with UDP_GRO counts on (UDP_GRO_CNT_MAX of Linux).
 * Of more than 128 the kernel drops the whole group. */
#define VNET_GROUP_MAX_UDP 64
/* Flows that are joined at the same time. */
#define VNET_OPEN_MAX 64

/* Packets that are handed to TUN as one super-packet: the first whole, of the
 * others only the payload. */
struct vnet_group {
	struct vnet_hdr hdr;
	unsigned first; /* index of its first packet; of the one after packet
			   i: next[i] of struct vnet_join */
	unsigned count; /* packets in the group, >= 1 */
	uint32_t tag; /* of the flow; 0 for what shows no ports */
	uint32_t hlen; /* IP and transport header bytes that the packets
			  after the first leave out; 0 when count is 1 */
};

/* One packet, as joining sees it. */
struct vnet_part {
	const uint8_t *pkt;
	const uint8_t *l4;
	uint32_t tag; /* of the flow */
	uint32_t len; /* of the packet */
	uint32_t hlen;
	uint32_t payload;
	uint8_t kind;
	bool v4;
	bool tcp;
};

/* A group that may still grow. */
struct vnet_open {
	struct vnet_part lead; /* its first packet */
	uint32_t total; /* bytes of the super-packet so far */
	uint16_t first, last, count;
	bool push; /* the last packet had PSH */
};

/* Joining of one batch. Caller's memory; only next is read by others. */
struct vnet_join {
	const struct pbuf *p;
	unsigned n;
	unsigned at; /* of p, what has been looked at */
	bool udp;
	unsigned nopen;
	struct vnet_open open[VNET_OPEN_MAX];
	uint16_t next[VNET_JOIN_MAX];
};

/* Begin with packets p[0..n), n <= VNET_JOIN_MAX, finished IP packets that
 * stay where they are until the last group was had. udp: the device takes
 * VNET_GSO_UDP_L4. */
void vnet_join_begin(
    struct vnet_join *j, const struct pbuf *p, unsigned n, bool udp);

/* The next group to write; false: there is none left. Every packet is in
 * exactly one group. Linear in n whatever the packets are.
 * Order: packets of one flow (addresses, protocol TCP or UDP, ports) stay in
 * the order they came in. A packet that shows no ports (fragments, other
 * protocols) stays in order with all between its two addresses. Flows may
 * change order among each other, and what stands between two packets of a flow
 * does not keep them from being joined, while not more than VNET_OPEN_MAX
 * flows alternate.
 * A group is a super-packet of at most 65535 bytes: same headers, TCP with
 * consecutive sequence numbers and equal ACK and window, equal payload sizes
 * but a smaller last, no flags but ACK and PSH (PSH ends the group), same TOS,
 * TTL, flow label, DF and options; UDP equal size but a smaller last. IPv4
 * without DF: consecutive IDs. No IP options, extension headers, fragments,
 * empty payloads, UDP without checksum. Every checksum that is joined has been
 * verified.
 * The header of a group's first packet in memory has been rewritten for the
 * super-packet (length, PSH, checksum as NEEDS_CSUM wants it) when count > 1.
 * A packet by itself: count 1, GSO_NONE, untouched. */
bool vnet_join_next(struct vnet_join *j, struct vnet_group *g);

#endif
