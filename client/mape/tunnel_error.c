#include "tunnel_error.h"

#include <string.h>

#include "core/bytes.h"
#include "core/csum.h"
#include "core/ip.h"

#define V4_HLEN 20
#define ICMP_HLEN 8
#define FRAGMENT_HLEN 8
#define ERROR4_MAX 576 /* RFC 1812 4.3.2.3 */
#define V6_MTU_MIN 1280

enum { NEXT_IPV4 = 4, NEXT_FRAGMENT = 44 };

/* RFC 4443 3. */
enum { UNREACHABLE = 1, TOO_BIG = 2, TIME_EXCEEDED = 3, PARAMETER = 4 };

/* The tunnel packet that an error quotes. */
struct quoted {
	const uint8_t *pkt;
	uint32_t len; /* bytes that there are of it */
	uint32_t total; /* and that there were */
};

static bool
read_kind(const uint8_t *icmp, struct tunnel_error *e)
{
	e->type = icmp[0];
	e->code = icmp[1];
	e->mtu = 0;
	e->kind = TUNNEL_ERROR_UNREACHABLE;
	switch (e->type) {
	case TOO_BIG:
		e->kind = TUNNEL_ERROR_TOO_BIG;
		e->mtu = load_be32(icmp + 4);
		return true;
	case TIME_EXCEEDED:
		/* Code 1, reassembly: a fragment was lost, as any packet may
		 * be. RFC 2473 8.1 tells nobody. */
		return e->code == 0;
	default:
		return e->type == UNREACHABLE || e->type == PARAMETER;
	}
}

/* Behind the quoted outer headers: the inner packet. Of a later fragment there
 * is none, and what says nothing of a session is not listened to (N7). The
 * first one, which is as long, is reported as well. */
static bool
find_inner(const struct quoted *q, struct tunnel_error *e)
{
	uint32_t at = IPIP6_HLEN;
	uint8_t next = q->pkt[6];

	if (next == NEXT_FRAGMENT) {
		const uint8_t *ext = q->pkt + at;

		if (q->len < IPIP6_HLEN + FRAGMENT_HLEN)
			return false;
		if ((load_be16(ext + 2) & 0xfff8) != 0)
			return false;
		next = ext[0];
		at += FRAGMENT_HLEN;
	}
	if (next != NEXT_IPV4)
		return false;
	e->inner = q->pkt + at;
	e->inner_len = q->len - at;
	return true;
}

/* Is it what we would have sent there: to the CE that has the port, or, like
 * fragments, to the BR? */
static bool
our_destination(const struct ipip6_conf *c, const uint8_t dst[16],
    const struct ipip6_quote *inner)
{
	uint8_t want[16];

	if (memcmp(dst, c->br, 16) == 0)
		return true;
	ipip6_destination(c, inner->dst, true, inner->remote_port, want);
	return memcmp(dst, want, 16) == 0;
}

/* RFC 8201 4: nothing below the minimum is believed. And what would have
 * fitted was not too big (N7). */
static bool
believable_mtu(uint32_t mtu, uint32_t total)
{
	return mtu >= V6_MTU_MIN && mtu < total;
}

static enum map_drop
read_quote(
    const struct ipip6_conf *c, const struct quoted *q, struct tunnel_error *e)
{
	struct ipip6_quote inner;

	if (q->pkt[0] >> 4 != 6 || memcmp(q->pkt + 8, c->address, 16) != 0 ||
	    !find_inner(q, e))
		return MAP_DROP_ICMP;
	enum map_drop why = ipip6_quote(c, e->inner, e->inner_len, &inner);
	if (why != MAP_OK)
		return why;
	if (!our_destination(c, q->pkt + 24, &inner))
		return MAP_DROP_ICMP;
	if (e->kind == TUNNEL_ERROR_TOO_BIG &&
	    !believable_mtu(e->mtu, q->total))
		return MAP_DROP_ICMP;
	e->inner_len =
	    (uint32_t)uk_min_u64(e->inner_len, load_be16(e->inner + 2));
	memcpy(e->outer_dst, q->pkt + 24, 16);
	return MAP_OK;
}

enum map_drop
tunnel_error_parse(const struct ipip6_conf *c, const uint8_t *pkt, size_t len,
    struct tunnel_error *e)
{
	struct ip_view v;

	if (ip_parse_fixed(&v, pkt, len) != 0 || v.family != FAMILY_V6 ||
	    v.total < IPIP6_HLEN + ICMP_HLEN + IPIP6_HLEN)
		return MAP_DROP_OUTER_MALFORMED;
	const uint8_t *icmp = pkt + IPIP6_HLEN;
	uint32_t icmp_len = v.total - IPIP6_HLEN;
	uint64_t sum =
	    csum_pseudo(v.src, v.dst, 16, IPPROTO_NUM_ICMPV6, icmp_len);

	if (csum_fold(csum_add(sum, icmp, icmp_len)) != 0xffff)
		return MAP_DROP_CHECKSUM;
	if (!read_kind(icmp, e))
		return MAP_DROP_ICMP;
	struct quoted q = {.pkt = icmp + ICMP_HLEN};
	q.total = IPIP6_HLEN + load_be16(q.pkt + 4);
	q.len = (uint32_t)uk_min_u64(icmp_len - ICMP_HLEN, q.total);
	return read_quote(c, &q, e);
}

/* RFC 1122 3.2.2. 0/8 and 127/8 never are on a wire, 240/4 holds the limited
 * broadcast; of ICMP only queries, beyond which anything may be an error. */
static bool
answerable(const uint8_t *pkt, uint32_t hlen)
{
	uint8_t src = pkt[12];

	if (src == 0 || src == 127 || src >= 224 || pkt[16] >= 224)
		return false;
	if ((load_be16(pkt + 6) & 0x1fff) != 0)
		return false;
	if (pkt[9] != IPPROTO_NUM_ICMP)
		return true;
	uint8_t type = pkt[hlen];

	return type == 0 || (type >= 8 && type <= 10) ||
	       (type >= 13 && type <= 18);
}

static void
write_error(uint8_t *out, const uint8_t *pkt, uint32_t quote,
    const uint8_t src[4], uint8_t type, uint8_t code, uint16_t mtu)
{
	uint8_t *icmp = out + V4_HLEN;

	memset(out, 0, V4_HLEN + ICMP_HLEN);
	out[0] = 0x45;
	out[1] = 0xc0; /* precedence 6, RFC 1812 4.3.2.5 */
	store_be16(out + 2, (uint16_t)(V4_HLEN + ICMP_HLEN + quote));
	store_be16(out + 6, 0x4000); /* DF: atomic, needs no ID (RFC 6864) */
	out[8] = 64;
	out[9] = IPPROTO_NUM_ICMP;
	memcpy(out + 12, src, 4);
	memcpy(out + 16, pkt + 12, 4);
	store_be16(out + 10, (uint16_t)~csum_fold(csum_add(0, out, V4_HLEN)));
	icmp[0] = type;
	icmp[1] = code;
	if (type == 3 && code == 4)
		store_be16(icmp + 6, mtu); /* RFC 1191 4 */
	memcpy(icmp + ICMP_HLEN, pkt, quote);
	store_be16(icmp + 2,
	    (uint16_t)~csum_fold(csum_add(0, icmp, ICMP_HLEN + quote)));
}

size_t
icmp4_error(uint8_t *out, size_t cap, const uint8_t *pkt, size_t len,
    const uint8_t src[4], uint8_t type, uint8_t code, uint16_t mtu)
{
	UK_ASSERT(cap >= ERROR4_MAX);
	if (len < V4_HLEN || pkt[0] >> 4 != 4)
		return 0;
	/* A packet out of a quote may be cut, but had this length. */
	uint32_t hlen = (pkt[0] & 0xfu) * 4;
	uint32_t have = (uint32_t)uk_min_u64(len, load_be16(pkt + 2));

	if (hlen < V4_HLEN || hlen + 8 > have || !answerable(pkt, hlen))
		return 0;
	uint32_t quote =
	    (uint32_t)uk_min_u64(have, ERROR4_MAX - V4_HLEN - ICMP_HLEN);
	write_error(out, pkt, quote, src, type, code, mtu);
	return V4_HLEN + ICMP_HLEN + quote;
}
