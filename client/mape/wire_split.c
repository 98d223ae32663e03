#include <string.h>

#include "core/bytes.h"
#include "core/err.h"
#include "core/ip.h"
#include "ipip6.h"
#include "wire.h"

#define TCP_CSUM_OFFSET 16
#define UDP_CSUM_OFFSET 6

/* Bytes of the TCP or UDP header at l4, of which len are there; 0: it is not
 * whole. */
static uint32_t
transport_len(const uint8_t *l4, uint32_t len, bool tcp)
{
	uint32_t hlen;

	if (!tcp)
		return len < 8 || load_be16(l4 + 4) != len ? 0 : 8;
	if (len < 20)
		return 0;
	hlen = (l4[12] >> 4) * 4u;
	return hlen < 20 || hlen > len ? 0 : hlen;
}

/* Is the checksum that hdr leaves to us that of TCP or UDP right inside? Then
 * *proto is which, and hdr has the headers' length. (The kernel may count
 * payload too, and the link's header, and refuses its own number then.) */
static bool
inner_checksum(struct vnet_packet *p, uint8_t *proto)
{
	const uint8_t *pkt = pbuf_data(&p->b);
	struct ip_view v;
	uint32_t hlen;
	bool tcp;

	if (p->b.len < IPIP6_HLEN || pkt[0] >> 4 != 6 || pkt[6] != 4)
		return false;
	if (load_be16(pkt + 4) != p->b.len - IPIP6_HLEN)
		return false;
	if (ip_parse(&v, pkt + IPIP6_HLEN, p->b.len - IPIP6_HLEN) != 0)
		return false;
	if (v.family != FAMILY_V4 || v.fragment ||
	    v.total != p->b.len - IPIP6_HLEN)
		return false;
	if (v.proto != IPPROTO_NUM_TCP && v.proto != IPPROTO_NUM_UDP)
		return false;
	tcp = v.proto == IPPROTO_NUM_TCP;
	*proto = v.proto;
	hlen = transport_len(pkt + IPIP6_HLEN + v.hlen, v.total - v.hlen, tcp);
	p->hdr.hdr_len = (uint16_t)(IPIP6_HLEN + v.hlen + hlen);
	return hlen != 0 && p->hdr.csum_start == IPIP6_HLEN + v.hlen &&
	       p->hdr.csum_offset == (tcp ? TCP_CSUM_OFFSET : UDP_CSUM_OFFSET);
}

static int
agree_single(struct vnet_packet *p)
{
	struct vnet_hdr h = p->hdr;
	uint8_t proto;

	p->hdr = (struct vnet_hdr){0};
	if ((h.flags & VNET_F_NEEDS_CSUM) == 0)
		return 0;
	p->hdr.flags = VNET_F_NEEDS_CSUM;
	p->hdr.csum_start = h.csum_start;
	p->hdr.csum_offset = h.csum_offset;
	if (inner_checksum(p, &proto))
		return 0;
	p->hdr = (struct vnet_hdr){0};
	return vnet_complete_csum(&h, pbuf_data(&p->b), p->b.len);
}

int
wire_agree(struct vnet_packet *p)
{
	uint8_t type = p->hdr.gso_type & (uint8_t)~VNET_GSO_ECN;
	uint8_t proto;

	if (type == VNET_GSO_NONE)
		return agree_single(p);
	/* virtio 1.2, 5.1.6.2: GSO comes with NEEDS_CSUM. */
	if ((p->hdr.flags & VNET_F_NEEDS_CSUM) == 0 || p->hdr.gso_size == 0)
		return UK_EPROTO;
	p->hdr.flags = VNET_F_NEEDS_CSUM;
	if (!inner_checksum(p, &proto))
		return UK_EPROTO;
	if (type == VNET_GSO_TCPV4 && proto == IPPROTO_NUM_TCP)
		return 0;
	if (p->hdr.gso_type == VNET_GSO_UDP_L4 && proto == IPPROTO_NUM_UDP)
		return 0;
	return UK_EPROTO;
}

int
wire_split(const struct vnet_packet *p, const struct vnet_room *room,
    struct pbuf *out, unsigned cap)
{
	const uint8_t *pkt = pbuf_data(&p->b);
	struct vnet_hdr h = p->hdr;
	struct vnet_room inner = *room;
	int n;

	if (h.gso_type == VNET_GSO_NONE)
		return vnet_split(&h, pkt, p->b.len, room, out, cap);
	if (p->b.len < IPIP6_HLEN || h.csum_start < IPIP6_HLEN || pkt[6] != 4)
		return UK_EPROTO;
	h.csum_start = (uint16_t)(h.csum_start - IPIP6_HLEN);
	inner.headroom += IPIP6_HLEN;
	n = vnet_split(
	    &h, pkt + IPIP6_HLEN, p->b.len - IPIP6_HLEN, &inner, out, cap);
	for (int i = 0; i < n; i++) {
		uint32_t len = out[i].len;

		memcpy(pbuf_push(&out[i], IPIP6_HLEN), pkt, IPIP6_HLEN);
		store_be16(pbuf_data(&out[i]) + 4, (uint16_t)len);
	}
	return n;
}
