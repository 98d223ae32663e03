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

void vnet_hdr_load(struct vnet_hdr *h, const uint8_t b[VNET_HDR_LEN]);
void vnet_hdr_store(const struct vnet_hdr *h, uint8_t b[VNET_HDR_LEN]);

/* Finish the checksum that the kernel left to us (NEEDS_CSUM without GSO).
 * csum_start and csum_offset are checked. Returns 0; UK_EPROTO. */
int vnet_complete_csum(
    const struct vnet_hdr *h, uint8_t *pkt, size_t len);

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

/* A group of packets that are handed to TUN as one super-packet: the first
 * whole, of the others only the payload. */
struct vnet_group {
	struct vnet_hdr hdr;
	unsigned first;  /* index in the array given to vnet_join: 0 */
	unsigned count;  /* packets in the group, >= 1 */
	uint32_t hlen;   /* IP and transport header bytes that the packets
	                    after the first leave out; 0 when count is 1 */
};

/* Find the run of packets p[0..n) that starts at p[0] and may go up as one
 * super-packet of at most 65535 bytes: same flow and headers, TCP with
 * consecutive sequence numbers and equal ACK and window, equal payload sizes
 * but a smaller last, no flags but ACK and PSH (PSH ends the group), same
 * TOS, TTL and DF and options; UDP (udp true: the device takes VNET_GSO_UDP_L4)
 * equal size but a smaller last. IPv4 without DF: consecutive IDs. No IP
 * options, extension headers, fragments, empty payloads. Every checksum that
 * is joined has been verified. Packets are finished IP packets.
 * On return the header of p[0] in memory has been rewritten for the
 * super-packet (length, checksum as NEEDS_CSUM wants it) when count > 1.
 * Always gives at least one packet: count 1, GSO_NONE, packet untouched. */
void vnet_join(
    struct vnet_group *g, const struct pbuf *p, unsigned n, bool udp);

#endif
