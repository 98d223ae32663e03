#include "ip.h"

#include <string.h>

#include "bytes.h"
#include "csum.h"
#include "err.h"

#define V4_HLEN 20
#define V6_HLEN 40
#define ICMP_HLEN 8
#define EXT_HEADERS_MAX 8

/* Extension headers of RFC 8200 4. */
enum {
	EXT_HOP_BY_HOP = 0,
	EXT_ROUTING = 43,
	EXT_FRAGMENT = 44,
	EXT_DESTINATION = 60
};

static int
parse_fixed4(struct ip_view *v, const uint8_t *pkt, size_t len)
{
	if (len < V4_HLEN)
		return UK_EPROTO;
	uint32_t hlen = (pkt[0] & 0xfu) * 4;
	uint32_t total = load_be16(pkt + 2);

	if (hlen < V4_HLEN || hlen > total || total > len)
		return UK_EPROTO;
	v->family = FAMILY_V4;
	v->tos = pkt[1];
	v->total = total;
	v->src = pkt + 12;
	v->dst = pkt + 16;
	return 0;
}

static int
parse_fixed6(struct ip_view *v, const uint8_t *pkt, size_t len)
{
	if (len < V6_HLEN)
		return UK_EPROTO;
	/* A jumbogram (RFC 2675) has payload length 0 here and is taken by
	 * it: no link of ours carries one. */
	uint32_t total = V6_HLEN + (uint32_t)load_be16(pkt + 4);

	if (total > len)
		return UK_EPROTO;
	v->family = FAMILY_V6;
	v->tos = (uint8_t)(load_be16(pkt) >> 4);
	v->total = total;
	v->src = pkt + 8;
	v->dst = pkt + 24;
	return 0;
}

int
ip_parse_fixed(struct ip_view *v, const uint8_t *pkt, size_t len)
{
	if (len == 0)
		return UK_EPROTO;
	switch (pkt[0] >> 4) {
	case 4:
		return parse_fixed4(v, pkt, len);
	case 6:
		return parse_fixed6(v, pkt, len);
	default:
		return UK_EPROTO;
	}
}

static bool
is_extension(uint8_t proto)
{
	return proto == EXT_HOP_BY_HOP || proto == EXT_ROUTING ||
	       proto == EXT_FRAGMENT || proto == EXT_DESTINATION;
}

/* The extension header at v->hlen, of type v->proto, if it is whole: step
 * over it. */
static bool
step_extension(struct ip_view *v, const uint8_t *pkt)
{
	const uint8_t *ext = pkt + v->hlen;
	uint32_t left = v->total - v->hlen;

	if (left < 8)
		return false;
	uint32_t ext_len = 8;
	if (v->proto == EXT_FRAGMENT) {
		uint16_t where = load_be16(ext + 2);

		/* Offset or M flag; neither is an atomic fragment, RFC 6946. */
		v->fragment = v->fragment || (where & 0xfff9) != 0;
		v->first = v->first && (where & 0xfff8) == 0;
	} else {
		ext_len += ext[1] * 8u;
	}
	if (left < ext_len)
		return false;
	v->proto = ext[0];
	v->hlen += ext_len;
	return true;
}

static void
walk_extensions(struct ip_view *v, const uint8_t *pkt)
{
	for (unsigned n = 0; n < EXT_HEADERS_MAX; n++) {
		/* What follows in a later fragment is data. Hop-by-hop options
		 * stand first or are not recognized (RFC 8200 4.1). */
		if (!v->first || !is_extension(v->proto) ||
		    (v->proto == EXT_HOP_BY_HOP && n > 0))
			return;
		if (!step_extension(v, pkt))
			return;
	}
}

int
ip_parse(struct ip_view *v, const uint8_t *pkt, size_t len)
{
	int err = ip_parse_fixed(v, pkt, len);

	if (err != 0)
		return err;
	v->fragment = false;
	v->first = true;
	if (v->family == FAMILY_V4) {
		uint16_t where = load_be16(pkt + 6);

		v->proto = pkt[9];
		v->hlen = (pkt[0] & 0xfu) * 4;
		v->fragment = (where & 0x3fff) != 0;
		v->first = (where & 0x1fff) == 0;
		return 0;
	}
	v->proto = pkt[6];
	v->hlen = V6_HLEN;
	walk_extensions(v, pkt);
	return 0;
}

enum { NOT_ECT = 0, ECT1 = 1, ECT0 = 2, CE = 3, ECN_DROP = 4 };

uint8_t
ip_ecn_encap(uint8_t inner_tos)
{
	return inner_tos & 3;
}

/* Set the ECN bits of a packet that passed ip_parse_fixed. */
static void
set_ecn(uint8_t *pkt, uint8_t ecn)
{
	if (pkt[0] >> 4 == 6) {
		pkt[1] = (uint8_t)((pkt[1] & 0xcf) | ecn << 4);
		return;
	}
	uint16_t old = load_be16(pkt);

	pkt[1] = (uint8_t)((pkt[1] & 0xfc) | ecn);
	store_be16(
	    pkt + 10, csum_update16(load_be16(pkt + 10), old, load_be16(pkt)));
}

int
ip_ecn_decap(uint8_t *pkt, uint8_t outer_tos)
{
	/* RFC 6040 4.2, figure 4: rows inner, columns outer. */
	static const uint8_t combined[4][4] = {
	    [NOT_ECT] = {NOT_ECT, NOT_ECT, NOT_ECT, ECN_DROP},
	    [ECT1] = {ECT1, ECT1, ECT1, CE},
	    [ECT0] = {ECT0, ECT1, ECT0, CE},
	    [CE] = {CE, CE, CE, CE},
	};
	bool v6 = pkt[0] >> 4 == 6;
	uint8_t inner = v6 ? pkt[1] >> 4 & 3 : pkt[1] & 3;
	uint8_t ecn = combined[inner][outer_tos & 3];

	if (ecn == ECN_DROP)
		return UK_EPROTO;
	if (ecn != inner)
		set_ecn(pkt, ecn);
	return 0;
}

/* RFC 1122 3.2.2: the source must be one host, the packet not a broadcast.
 * 0/8 and 127/8 never are on a wire, 240/4 holds the limited broadcast. */
static bool
answerable4(const struct ip_view *v, const uint8_t *pkt)
{
	uint8_t src = v->src[0];

	if (src == 0 || src == 127 || src >= 224 || v->dst[0] >= 224)
		return false;
	if (v->proto != IPPROTO_NUM_ICMP)
		return true;
	if (v->total == v->hlen)
		return false;
	/* Errors are 3, 4, 5, 11 and 12; what is beyond the known queries
	 * may be one. */
	uint8_t type = pkt[v->hlen];

	return type == 0 || (type >= 8 && type <= 10) ||
	       (type >= 13 && type <= 18);
}

/* RFC 4443 2.4 (e). */
static bool
answerable6(const struct ip_view *v, const uint8_t *pkt)
{
	static const uint8_t zero[15];

	/* Unspecified ::, and ::1, which never leaves a node. */
	if (memcmp(v->src, zero, sizeof(zero)) == 0 && v->src[15] <= 1)
		return false;
	if (v->src[0] == 0xff || v->dst[0] == 0xff)
		return false;
	/* A chain of headers that ends nowhere may hide an error. */
	if (is_extension(v->proto))
		return false;
	if (v->proto != IPPROTO_NUM_ICMPV6)
		return true;
	if (v->total == v->hlen)
		return false;
	return pkt[v->hlen] >= 128 && pkt[v->hlen] != 137; /* redirect */
}

static size_t
write_unreachable4(uint8_t *out, const uint8_t *pkt, const struct ip_view *v,
    const uint8_t *src, uint8_t code)
{
	/* RFC 1812 4.3.2.3: as much as fits 576 bytes. */
	size_t quote = uk_min_u64(v->total, 576 - V4_HLEN - ICMP_HLEN);
	size_t total = V4_HLEN + ICMP_HLEN + quote;
	uint8_t *icmp = out + V4_HLEN;

	memset(out, 0, V4_HLEN + ICMP_HLEN);
	out[0] = 0x45;
	out[1] = 0xc0; /* precedence 6, RFC 1812 4.3.2.5 */
	store_be16(out + 2, (uint16_t)total);
	store_be16(out + 6, 0x4000); /* DF: atomic, needs no ID (RFC 6864) */
	out[8] = 64;
	out[9] = IPPROTO_NUM_ICMP;
	memcpy(out + 12, src, 4);
	memcpy(out + 16, v->src, 4);
	store_be16(out + 10, (uint16_t)~csum_fold(csum_add(0, out, V4_HLEN)));
	icmp[0] = 3;
	icmp[1] = code;
	memcpy(icmp + ICMP_HLEN, pkt, quote);
	store_be16(icmp + 2,
	    (uint16_t)~csum_fold(csum_add(0, icmp, ICMP_HLEN + quote)));
	return total;
}

static size_t
write_unreachable6(uint8_t *out, const uint8_t *pkt, const struct ip_view *v,
    const uint8_t *src, uint8_t code)
{
	/* RFC 4443 2.4 (c): as much as fits the minimum MTU. */
	size_t quote = uk_min_u64(v->total, 1280 - V6_HLEN - ICMP_HLEN);
	size_t payload = ICMP_HLEN + quote;
	uint8_t *icmp = out + V6_HLEN;

	memset(out, 0, V6_HLEN + ICMP_HLEN);
	out[0] = 0x60;
	store_be16(out + 4, (uint16_t)payload);
	out[6] = IPPROTO_NUM_ICMPV6;
	out[7] = 64;
	memcpy(out + 8, src, 16);
	memcpy(out + 24, v->src, 16);
	icmp[0] = 1;
	icmp[1] = code;
	memcpy(icmp + ICMP_HLEN, pkt, quote);
	uint64_t sum = csum_pseudo(
	    out + 8, out + 24, 16, IPPROTO_NUM_ICMPV6, (uint32_t)payload);
	store_be16(
	    icmp + 2, (uint16_t)~csum_fold(csum_add(sum, icmp, payload)));
	return V6_HLEN + payload;
}

size_t
ip_icmp_unreachable(uint8_t *out, size_t cap, const uint8_t *pkt, size_t len,
    const struct ip_addr *src, uint8_t v4code, uint8_t v6code)
{
	struct ip_view v;

	UK_ASSERT(cap >= 1280);
	if (ip_parse(&v, pkt, len) != 0 || !v.first)
		return 0;
	const uint8_t *from = src->family == v.family ? src->b : v.dst;

	if (v.family == FAMILY_V4)
		return answerable4(&v, pkt)
			   ? write_unreachable4(out, pkt, &v, from, v4code)
			   : 0;
	return answerable6(&v, pkt)
		   ? write_unreachable6(out, pkt, &v, from, v6code)
		   : 0;
}
