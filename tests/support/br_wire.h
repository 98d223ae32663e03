/* br_wire: the devices of the border relay of the test line, made for
 * super-packets (virtio headers) in both directions.
 *
 *   line       an AF_PACKET socket on the link: IPv6 packets to one address,
 *              whole as the link carries them, encapsulated or not
 *   internet   a TUN device; the namespace's IPv4 goes on from there
 *
 * Toward the line a super-packet must carry the kernel's mark of an IPv4
 * packet in IPv6 (SKB_GSO_IPXIP6), which no socket can give. So the inner
 * packet is written to a second TUN device, NAME-out, where a BPF program at
 * ingress makes room for the outer header, which it finds in a map; the
 * namespace then forwards the packet, IPv6 by now. Needs Linux 6.6
 * (BPF_TCX_INGRESS); without it super-packets are cut up and sent one by one on
 * a raw socket. */
#ifndef UKAI_TESTS_BR_WIRE_H
#define UKAI_TESTS_BR_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/vnet.h"

#define BR_WIRE_PACKET_MAX (40 + 65535)

struct br_wire_options {
	const char *tun;
	const char *link;
	uint8_t address[16]; /* what is received */
	bool offload; /* false: never the second device */
	uint32_t mtu; /* of the link */
};

struct br_wire {
	int line_fd;
	int tun_fd;
	int raw_fd;
	int out_fd; /* second device, or -1 */
	int program_fd;
	int attach_fd;
	int map_fd;
	uint8_t *header; /* where the program finds it */
	uint32_t mtu;
	uint32_t fragment_id;
	uint64_t send_errors;
	uint64_t line_super_in;
	uint64_t line_super_out;
	uint64_t line_cut; /* super-packets that were cut up */
};

/* Returns 0; -1 with errno, and what failed in *what. */
int br_wire_open(
    struct br_wire *w, const struct br_wire_options *o, const char **what);
void br_wire_close(struct br_wire *w);

/* One packet; buf has room for BR_WIRE_PACKET_MAX. Returns its length; 0 when
 * there is none now; -1: the device is gone. */
ssize_t br_wire_from_line(struct br_wire *w, struct vnet_hdr *h, uint8_t *buf);
ssize_t br_wire_from_internet(
    struct br_wire *w, struct vnet_hdr *h, uint8_t *buf);

void br_wire_to_internet(struct br_wire *w, const struct vnet_hdr *h,
    const uint8_t *pkt, size_t len);

/* outer: the 40 bytes before pkt. Cut into outer fragments (RFC 2473 section
 * 7.2) when it is longer than the link's MTU and not a super-packet. */
void br_wire_to_line(struct br_wire *w, const struct vnet_hdr *h,
    const uint8_t outer[40], uint8_t *pkt, size_t len);

/* Packets that the kernel dropped because we were slow, since last asked. */
unsigned br_wire_overruns(struct br_wire *w);

#endif
