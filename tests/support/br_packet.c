#include "br_packet.h"

#include <string.h>

#include "core/bytes.h"
#include "core/csum.h"
#include "core/ip.h"

enum { NEXT_IPV4 = 4, NEXT_FRAGMENT = 44, HOP_LIMIT = 64 };
enum { ICMP_LEN = 8, FRAGMENT_LEN = 8 };

/* An IPv4 packet whose lengths hold. */
struct inner {
	uint8_t *ip;
	uint32_t len;
	uint32_t hlen;
	uint32_t src;
	uint32_t dst;
	uint16_t frag; /* flags and offset, as in the header */
	uint8_t protocol;
	const uint8_t *l4;
	uint32_t l4_len;
};

static bool
is_fragment(const struct inner *i)
{
	return (i->frag & 0x3fff) != 0;
}

static void
inner_set(struct inner *i, uint8_t *p, uint32_t hlen, uint32_t total)
{
	*i = (struct inner){
	    .ip = p,
	    .len = total,
	    .hlen = hlen,
	    .src = load_be32(p + 12),
	    .dst = load_be32(p + 16),
	    .frag = load_be16(p + 6),
	    .protocol = p[9],
	    .l4 = p + hlen,
	    .l4_len = total - hlen,
	};
}

/* The header's length must be what there is: our CEs have no reason to pad. */
static enum br_verdict
inner_parse(struct inner *i, uint8_t *p, size_t len)
{
	uint32_t hlen;

	if (len < 20 || p[0] >> 4 != 4)
		return BR_DROP_MALFORMED;
	hlen = (p[0] & 15u) * 4;
	if (hlen < 20 || load_be16(p + 2) != len || hlen > len)
		return BR_DROP_MALFORMED;
	if (csum_fold(csum_add(0, p, hlen)) != 0xffff)
		return BR_DROP_CHECKSUM;
	inner_set(i, p, hlen, (uint32_t)len);
	return p[8] == 0 ? BR_DROP_TTL : BR_FORWARD;
}

/* The part of a packet that an ICMP error quotes: 8 bytes after its header are
 * enough (RFC 792), and it must show its ports. */
static bool
quote_parse(struct inner *q, const struct inner *i)
{
	const uint8_t *p = i->l4 + ICMP_LEN;
	uint32_t len = i->l4_len - ICMP_LEN;
	uint32_t hlen;

	if (len < 20 || p[0] >> 4 != 4)
		return false;
	hlen = (p[0] & 15u) * 4;
	if (hlen < 20 || len < hlen + 8)
		return false;
	inner_set(q, i->ip + i->hlen + ICMP_LEN, hlen, len);
	return (q->frag & 0x1fff) == 0;
}

static bool
icmp_is_query(uint8_t type)
{
	return type == 0 || type == 8 || type == 13 || type == 14;
}

static bool
icmp_is_error(uint8_t type)
{
	return type == 3 || type == 4 || type == 11 || type == 12;
}

/* The CE's port; source: the CE is the source. */
static enum br_verdict
plain_port(const struct inner *i, bool source, uint16_t *port)
{
	uint32_t least = i->protocol == IPPROTO_NUM_TCP ? 20 : 8;

	if (i->protocol != IPPROTO_NUM_TCP && i->protocol != IPPROTO_NUM_UDP)
		return BR_DROP_PROTOCOL;
	if (i->l4_len < least)
		return BR_DROP_MALFORMED;
	*port = load_be16(i->l4 + (source ? 0 : 2));
	return BR_FORWARD;
}

/* Section 8.2. The quoted packet ran the other way: what the CE complains
 * about was sent to it. */
static enum br_verdict
quoted_port(const struct inner *i, bool source, uint16_t *port)
{
	struct inner q;
	uint32_t ours = source ? i->src : i->dst;

	if (!quote_parse(&q, i) || (source ? q.dst : q.src) != ours)
		return BR_DROP_QUOTE;
	if (q.protocol == IPPROTO_NUM_ICMP) {
		*port = load_be16(q.l4 + 4);
		return icmp_is_query(q.l4[0]) ? BR_FORWARD : BR_DROP_QUOTE;
	}
	if (q.protocol != IPPROTO_NUM_TCP && q.protocol != IPPROTO_NUM_UDP)
		return BR_DROP_QUOTE;
	*port = load_be16(q.l4 + (source ? 2 : 0));
	return BR_FORWARD;
}

static enum br_verdict
ce_port(const struct inner *i, bool source, uint16_t *port)
{
	if (i->protocol != IPPROTO_NUM_ICMP)
		return plain_port(i, source, port);
	if (i->l4_len < ICMP_LEN)
		return BR_DROP_MALFORMED;
	*port = load_be16(i->l4 + 4);
	if (icmp_is_query(i->l4[0]))
		return BR_FORWARD;
	if (icmp_is_error(i->l4[0]))
		return quoted_port(i, source, port);
	return BR_DROP_ICMP_TYPE;
}

static bool
reserved(uint32_t a)
{
	return a >> 24 == 0 || a >> 24 == 10 || a >> 24 == 127 ||
	       a >> 22 == 0x64400000u >> 22 || a >> 16 == 0xa9fe ||
	       a >> 20 == 0xac100000u >> 20 || a >> 16 == 0xc0a8 ||
	       a >> 28 >= 0xe;
}

static enum br_verdict
reasm_verdict(enum br_reasm_result r)
{
	static const enum br_verdict of[] = {
	    [BR_REASM_DONE] = BR_FORWARD,
	    [BR_REASM_HELD] = BR_HELD,
	    [BR_REASM_BAD] = BR_DROP_FRAGMENT,
	    [BR_REASM_OVERLAP] = BR_DROP_OVERLAP,
	};

	return of[r];
}

/* who: what must be the same beside the inner header's own fields. */
static enum br_verdict
inner_reassemble(struct br_reasm *r, uint64_t now_ns, const uint8_t who[16],
    struct inner *i, bool *reassembled)
{
	struct br_piece piece = {
	    .data = i->l4,
	    .len = i->l4_len,
	    .offset = (i->frag & 0x1fffu) * 8,
	    .more = (i->frag & 0x2000) != 0,
	    .head = i->ip,
	    .head_len = i->hlen,
	};
	uint8_t *payload;
	uint32_t len, hlen;
	enum br_verdict v;

	memcpy(piece.key, who, 16);
	memcpy(piece.key + 16, i->ip + 12, 8);
	memcpy(piece.key + 24, i->ip + 4, 2);
	piece.key[26] = i->protocol;
	v = reasm_verdict(
	    br_reasm_add(r, now_ns, &piece, &payload, &len, &hlen));
	if (v != BR_FORWARD)
		return v;
	if (hlen + len > 65535)
		return BR_DROP_FRAGMENT;
	store_be16(payload - hlen + 2, (uint16_t)(hlen + len));
	store_be16(payload - hlen + 6, 0);
	store_be16(payload - hlen + 10, 0);
	store_be16(payload - hlen + 10,
	    (uint16_t)~csum_fold(csum_add(0, payload - hlen, hlen)));
	inner_set(i, payload - hlen, hlen, hlen + len);
	*reassembled = true;
	return BR_FORWARD;
}

/* --- from the line ---------------------------------------------------- */

static enum br_verdict
outer_reassemble(struct br *b, uint64_t now_ns, const uint8_t *pkt,
    uint32_t len, struct br_out *out)
{
	const uint8_t *f = pkt + BR_OUTER_LEN;
	struct br_piece piece = {.head = pkt, .head_len = 0};
	uint16_t offset;
	uint32_t hlen;

	if (len < FRAGMENT_LEN)
		return BR_DROP_OUTER_MALFORMED;
	if (f[0] != NEXT_IPV4)
		return BR_DROP_EXTENSION;
	offset = load_be16(f + 2);
	piece.data = f + FRAGMENT_LEN;
	piece.len = len - FRAGMENT_LEN;
	piece.offset = offset & 0xfff8u;
	piece.more = offset & 1;
	memcpy(piece.key, pkt + 8, 32);
	memcpy(piece.key + 32, f + 4, 4);
	out->reassembled = true;
	return reasm_verdict(br_reasm_add(
	    &b->outer, now_ns, &piece, &out->inner, &out->len, &hlen));
}

/* Down to the inner packet. */
static enum br_verdict
outer_parse(
    struct br *b, uint64_t now_ns, uint8_t *pkt, size_t len, struct br_out *out)
{
	uint32_t payload;

	if (len < BR_OUTER_LEN || pkt[0] >> 4 != 6 ||
	    memcmp(pkt + 24, b->address, 16) != 0)
		return BR_DROP_OUTER_MALFORMED;
	payload = load_be16(pkt + 4);
	if (payload == 0 || payload > len - BR_OUTER_LEN)
		return BR_DROP_OUTER_MALFORMED;
	if (pkt[7] == 0)
		return BR_DROP_HOP_LIMIT;
	if (!br_rule_by_ipv6(&b->rules, pkt + 8))
		return BR_DROP_NO_RULE;
	if (pkt[6] == NEXT_FRAGMENT)
		return outer_reassemble(b, now_ns, pkt, payload, out);
	out->inner = pkt + BR_OUTER_LEN;
	out->len = payload;
	return pkt[6] == NEXT_IPV4 ? BR_FORWARD : BR_DROP_EXTENSION;
}

/* Section 8.1. */
static enum br_verdict
check_source(
    const struct br_rule *r, const uint8_t outer[16], const struct inner *i)
{
	uint8_t expected[16];
	uint32_t ipv4;
	uint16_t psid, port, port_psid;
	enum br_verdict v;

	br_rule_extract(r, outer, &ipv4, &psid);
	if ((i->src & br_rule_ipv4_mask(r)) != ipv4)
		return BR_DROP_SOURCE_ADDRESS;
	v = ce_port(i, true, &port);
	if (v != BR_FORWARD)
		return v;
	if (br_rule_shared(r) &&
	    (!br_rule_psid(r, port, &port_psid) || port_psid != psid))
		return BR_DROP_SOURCE_PORT;
	br_rule_address(r, ipv4, psid, expected);
	if (memcmp(expected, outer, 16) != 0)
		return BR_DROP_INTERFACE_ID;
	return reserved(i->dst) ? BR_DROP_RESERVED_DESTINATION : BR_FORWARD;
}

static enum br_verdict
judge_up(
    struct br *b, uint64_t now_ns, uint8_t *pkt, size_t len, struct br_out *out)
{
	struct inner i;
	const struct br_rule *r;
	enum br_verdict v = outer_parse(b, now_ns, pkt, len, out);

	if (v != BR_FORWARD)
		return v;
	v = inner_parse(&i, out->inner, out->len);
	if (v == BR_FORWARD && is_fragment(&i))
		v = inner_reassemble(
		    &b->inner_up, now_ns, pkt + 8, &i, &out->reassembled);
	if (v != BR_FORWARD)
		return v;
	r = br_rule_by_ipv6(&b->rules, pkt + 8);
	v = check_source(r, pkt + 8, &i);
	if (v != BR_FORWARD)
		return v;
	out->inner = i.ip;
	out->len = i.len;
	return ip_ecn_decap(i.ip, (uint8_t)(load_be16(pkt) >> 4)) < 0
		   ? BR_DROP_ECN
		   : BR_FORWARD;
}

enum br_verdict
br_from_line(
    struct br *b, uint64_t now_ns, uint8_t *pkt, size_t len, struct br_out *out)
{
	enum br_verdict v;

	*out = (struct br_out){0};
	v = judge_up(b, now_ns, pkt, len, out);
	b->up[v]++;
	return v;
}

/* --- toward the line -------------------------------------------------- */

void
br_outer_header(uint8_t out[BR_OUTER_LEN], const uint8_t src[16],
    const uint8_t dst[16], uint8_t next, uint8_t tos, uint32_t len)
{
	store_be32(out, 6u << 28 | (uint32_t)tos << 20);
	store_be16(out + 4, (uint16_t)len);
	out[6] = next;
	out[7] = HOP_LIMIT;
	memcpy(out + 8, src, 16);
	memcpy(out + 24, dst, 16);
}

static enum br_verdict
judge_down(
    struct br *b, uint64_t now_ns, uint8_t *pkt, size_t len, struct br_out *out)
{
	static const uint8_t anyone[16];
	const struct br_rule *r;
	struct inner i;
	uint8_t ce[16];
	uint16_t port, psid;
	enum br_verdict v = inner_parse(&i, pkt, len);

	if (v == BR_FORWARD && is_fragment(&i))
		v = inner_reassemble(
		    &b->inner_down, now_ns, anyone, &i, &out->reassembled);
	if (v != BR_FORWARD)
		return v;
	if (reserved(i.src))
		return BR_DROP_RESERVED_SOURCE;
	r = br_rule_by_ipv4(&b->rules, i.dst);
	if (!r)
		return BR_DROP_DESTINATION;
	v = ce_port(&i, false, &port);
	if (v != BR_FORWARD)
		return v;
	psid = r->psid;
	if (br_rule_shared(r) && !br_rule_psid(r, port, &psid))
		return BR_DROP_DESTINATION_PORT;
	/* A rule of one CE: ports of others are no concern of it. */
	if (br_rule_shared(r) && r->ea_len == 0 && psid != r->psid)
		return BR_DROP_DESTINATION_PORT;
	br_rule_address(r, i.dst, psid, ce);
	out->inner = i.ip;
	out->len = i.len;
	br_outer_header(out->outer, b->address, ce, NEXT_IPV4, i.ip[1], i.len);
	return BR_FORWARD;
}

enum br_verdict
br_to_line(
    struct br *b, uint64_t now_ns, uint8_t *pkt, size_t len, struct br_out *out)
{
	enum br_verdict v;

	*out = (struct br_out){0};
	v = judge_down(b, now_ns, pkt, len, out);
	b->down[v]++;
	return v;
}

const char *
br_verdict_name(enum br_verdict v)
{
	static const char *const name[BR_VERDICTS] = {
	    [BR_FORWARD] = "forward",
	    [BR_HELD] = "held",
	    [BR_DROP_OUTER_MALFORMED] = "drop_outer_malformed",
	    [BR_DROP_EXTENSION] = "drop_extension",
	    [BR_DROP_HOP_LIMIT] = "drop_hop_limit",
	    [BR_DROP_NO_RULE] = "drop_no_rule",
	    [BR_DROP_FRAGMENT] = "drop_fragment",
	    [BR_DROP_OVERLAP] = "drop_overlap",
	    [BR_DROP_MALFORMED] = "drop_malformed",
	    [BR_DROP_CHECKSUM] = "drop_checksum",
	    [BR_DROP_PROTOCOL] = "drop_protocol",
	    [BR_DROP_ICMP_TYPE] = "drop_icmp_type",
	    [BR_DROP_QUOTE] = "drop_quote",
	    [BR_DROP_TTL] = "drop_ttl",
	    [BR_DROP_ECN] = "drop_ecn",
	    [BR_DROP_SOURCE_ADDRESS] = "drop_source_address",
	    [BR_DROP_SOURCE_PORT] = "drop_source_port",
	    [BR_DROP_INTERFACE_ID] = "drop_interface_id",
	    [BR_DROP_RESERVED_SOURCE] = "drop_reserved_source",
	    [BR_DROP_RESERVED_DESTINATION] = "drop_reserved_destination",
	    [BR_DROP_DESTINATION] = "drop_destination",
	    [BR_DROP_DESTINATION_PORT] = "drop_destination_port",
	};

	return name[v];
}
