/* ce: the path of packets through a MAP-E CE, between the hosts inside and the
 * line. Pure: packets and time in, packets out.
 *
 *   outward:  inner reassembly -> nat44 -> encapsulation -> outer fragments
 *   inward:   outer checks -> outer reassembly -> inner checks -> inner
 *             reassembly -> nat44
 *
 * Super-packets stay whole, and every packet stays where it is unless it is put
 * together or cut. What does not fit the line is told to its sender (ICMP) or,
 * without DF, cut outside (RFC 2473 7.2); ICMPv6 errors about outer packets
 * become ICMP errors for the inner packets' senders (section 8).
 * Memory: heap, all of it in ce_new(). Threads: owner only. */
#ifndef UKAI_MAPE_CE_H
#define UKAI_MAPE_CE_H

#include "core/vnet.h"
#include "ipip6.h"
#include "nat44.h"
#include "reasm.h"

/* As ICMP's sender, and as the default router, so to say: RFC 7335. */
#define CE_ROUTER_ADDRESS {192, 0, 0, 1}
#define CE_HOST_ADDRESS {192, 0, 0, 2}

struct ce;

struct ce_conf {
	struct ipip6_conf ipip6; /* its fmr outlives the ce */
	struct nat44_conf nat;   /* address, ports and random are set */
	uint32_t link_mtu; /* of the line, 1280 to 65535 */
	/* Who may use it besides CE_HOST_ADDRESS; outlives the ce. */
	const struct ip_prefix *network;
	size_t networks;
};

/* Most packets of one call. */
#define CE_BATCH 64
/* What is free in front of each packet that comes out: for a vnet header. */
#define CE_ROOM 64

/* Returns 0; UK_EINVAL as nat44_new(); UK_ENOMEM. */
int ce_new(struct ce **out, const struct ce_conf *c);
void ce_free(struct ce *c); /* NULL: no-op */

/* IPv4 packets from inside, with headroom for IPIP6_HLEN, or outer ones from
 * the line. n <= CE_BATCH. Packets are changed in place. What comes of them is
 * had by ce_to_line() and ce_to_inside(). */
void ce_outward(
    struct ce *c, uint64_t now_ns, struct vnet_packet *p, unsigned n);
void ce_inward(
    struct ce *c, uint64_t now_ns, struct vnet_packet *p, unsigned n);

/* What is to be sent on the line / delivered inside, until the next call. */
struct vnet_packet *ce_to_line(struct ce *c, unsigned *n);
struct vnet_packet *ce_to_inside(struct ce *c, unsigned *n);

/* The link's MTU is another one now; limits as in ce_conf. */
void ce_set_link_mtu(struct ce *c, uint32_t mtu);

/* Once a second. */
void ce_tick(struct ce *c, uint64_t now_ns);

struct ce_stats {
	uint64_t out_packets, out_bytes; /* inner, to the line */
	uint64_t in_packets, in_bytes;
	uint64_t direct; /* of those to the line: straight to another CE */
	uint64_t drop[MAP_DROPS]; /* of all parts */
	uint64_t too_big; /* ICMPv6 packet too big that was believed */
	uint32_t mtu; /* inner */
	struct nat44_stats nat;
	struct reasm_stats inner, outer;
};
void ce_stats(const struct ce *c, struct ce_stats *out);
/* As nat44_short(). */
void ce_short(const struct ce *c, uint32_t below,
    void (*visit)(void *arg, const struct nat44_shortage *s), void *arg);
/* As nat44_refused(). */
uint64_t ce_refused(const struct ce *c);

#endif
