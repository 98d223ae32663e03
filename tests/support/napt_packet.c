#include "napt_packet.h"

#include <assert.h>

#define FRAGMENT_NS (30 * NAPT_NS_PER_S)

enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17 };
enum {
	ECHO_REPLY = 0,
	UNREACHABLE = 3,
	ECHO = 8,
	EXCEEDED = 11,
	BAD_FIELD = 12
};
enum { IP_SRC = 12, IP_DST = 16 };
enum { ICMP_HEADER = 8 };

/* One IPv4 header and what follows it, checked once in view_parse(). */
struct view {
	uint8_t *ip;
	uint8_t *l4;
	size_t l4_len; /* present bytes; 0 in a later fragment */
	size_t total;
	uint8_t protocol;
	bool later; /* a fragment without the ports */
	bool fragment; /* any fragment */
};

/* One end of a packet: which address and port to rewrite, and to what. */
struct rewrite {
	bool source;
	uint32_t addr;
	uint16_t port;
};

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void
put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint16_t
fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static uint16_t
csum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	assert(len <= 65535);
	for (; len > 1; p += 2, len -= 2)
		sum += get16(p);
	if (len)
		sum += (uint32_t)p[0] << 8;
	return (uint16_t)~fold(sum);
}

/* RFC 1624 equation 3: HC' = ~(~HC + ~m + m'). */
static void
csum_update(uint8_t *field, uint16_t was, uint16_t is)
{
	uint32_t sum = (uint16_t)~get16(field);

	put16(field, (uint16_t)~fold(sum + (uint16_t)~was + is));
}

static size_t
l4_minimum(uint8_t protocol, bool quoted)
{
	return protocol == PROTO_TCP && !quoted ? 20 : 8;
}

/* A quoted packet is cut short: 8 bytes after its header are enough. */
static bool
view_parse(struct view *v, uint8_t *p, size_t len, bool quoted)
{
	size_t header, total;
	uint16_t frag;

	if (len < 20 || p[0] >> 4 != 4)
		return false;
	header = (size_t)(p[0] & 15) * 4;
	total = get16(p + 2);
	if (quoted && total > len)
		total = len;
	if (header < 20 || total < header || total > len)
		return false;
	frag = get16(p + 6);
	*v = (struct view){
	    .ip = p,
	    .l4 = p + header,
	    .total = total,
	    .protocol = p[9],
	    .later = (frag & 0x1fff) != 0,
	    .fragment = (frag & 0x3fff) != 0,
	};
	if (v->later)
		return true;
	v->l4_len = total - header;
	return v->l4_len >= l4_minimum(v->protocol, quoted);
}

/* Where the packet keeps the checksum that covers its ports; NULL where there
 * is none, or where a quoted packet was cut before it. */
static uint8_t *
l4_checksum(const struct view *v)
{
	if (v->protocol == PROTO_ICMP)
		return v->l4 + 2;
	if (v->protocol == PROTO_TCP)
		return v->l4_len >= 18 ? v->l4 + 16 : NULL;
	/* RFC 768: 0 says that the sender computed none. */
	return get16(v->l4 + 6) ? v->l4 + 6 : NULL;
}

static void
rewrite_address(const struct view *v, const struct rewrite *r, uint8_t *sum)
{
	uint8_t *field = v->ip + (r->source ? IP_SRC : IP_DST);

	for (int i = 0; i < 2; i++, field += 2) {
		uint16_t was = get16(field);
		uint16_t is = (uint16_t)(i ? r->addr : r->addr >> 16);

		put16(field, is);
		csum_update(v->ip + 10, was, is);
		/* ICMP has no pseudo-header. */
		if (sum && v->protocol != PROTO_ICMP)
			csum_update(sum, was, is);
	}
}

static void
rewrite(const struct view *v, const struct rewrite *r)
{
	uint8_t *sum = v->later ? NULL : l4_checksum(v);
	uint8_t *field;

	rewrite_address(v, r, sum);
	if (v->later)
		return;
	if (v->protocol == PROTO_ICMP)
		field = v->l4 + 4;
	else
		field = v->l4 + (r->source ? 0 : 2);
	if (sum)
		csum_update(sum, get16(field), r->port);
	put16(field, r->port);
	if (sum && v->protocol == PROTO_UDP && get16(sum) == 0)
		put16(sum, 0xffff);
}

static struct napt_fragment *
fragment_slot(struct napt *n, const struct view *v)
{
	uint32_t h = get32(v->ip + IP_SRC) ^ get32(v->ip + IP_DST);

	h ^= (uint32_t)get16(v->ip + 4) * 40503u + v->protocol;
	return &n->fragment[(h ^ h >> 16) % NAPT_FRAGMENTS];
}

static struct napt_fragment
fragment_key(const struct view *v, uint64_t now_ns)
{
	return (struct napt_fragment){
	    .seen_ns = now_ns,
	    .src = get32(v->ip + IP_SRC),
	    .dst = get32(v->ip + IP_DST),
	    .id = get16(v->ip + 4),
	    .protocol = v->protocol,
	    .valid = true,
	};
}

static enum napt_verdict
fragment_follow(struct napt *n, uint64_t now_ns, const struct view *v)
{
	const struct napt_fragment *f = fragment_slot(n, v);
	struct napt_fragment k = fragment_key(v, now_ns);

	if (!f->valid || f->src != k.src || f->dst != k.dst || f->id != k.id ||
	    f->protocol != k.protocol || now_ns - f->seen_ns > FRAGMENT_NS)
		return NAPT_DROP_FRAGMENT;
	rewrite(v, &(struct rewrite){.source = true, .addr = f->new_src});
	rewrite(v, &(struct rewrite){.source = false, .addr = f->new_dst});
	return NAPT_FORWARD;
}

static enum napt_verdict
verdict_of(enum napt_result r)
{
	static const enum napt_verdict of[] = {
	    [NAPT_OK] = NAPT_FORWARD,
	    [NAPT_NO_PORT] = NAPT_DROP_NO_PORT,
	    [NAPT_NO_MEMORY] = NAPT_DROP_NO_SESSION,
	    [NAPT_NO_FLOW] = NAPT_DROP_NO_FLOW,
	    [NAPT_FILTERED] = NAPT_DROP_FILTERED,
	};

	return of[r];
}

static uint8_t
tcp_flags(const struct view *v)
{
	return v->protocol == PROTO_TCP ? v->l4[13] : 0;
}

/* The flow of a packet whose LAN end is its source (outward), or whose LAN
 * end is not known yet (inward: the port is returned apart). False when the
 * protocol or the ICMP type is not one that we carry. */
static bool
flow_parse(
    const struct view *v, bool outward, struct napt_flow *f, uint16_t *port)
{
	size_t local = outward ? 0 : 2, remote = outward ? 2 : 0;

	*f = (struct napt_flow){
	    .lan_addr = get32(v->ip + (outward ? IP_SRC : IP_DST)),
	    .remote_addr = get32(v->ip + (outward ? IP_DST : IP_SRC)),
	};
	if (v->protocol == PROTO_ICMP) {
		f->space = NAPT_ICMP;
		*port = get16(v->l4 + 4);
		f->lan_port = *port;
		return v->l4[0] == (outward ? ECHO : ECHO_REPLY);
	}
	if (v->protocol != PROTO_TCP && v->protocol != PROTO_UDP)
		return false;
	f->space = v->protocol == PROTO_TCP ? NAPT_TCP : NAPT_UDP;
	*port = get16(v->l4 + local);
	f->lan_port = *port;
	f->remote_port = get16(v->l4 + remote);
	return true;
}

static bool
is_icmp_error(const struct view *v)
{
	return v->protocol == PROTO_ICMP &&
	       (v->l4[0] == UNREACHABLE || v->l4[0] == EXCEEDED ||
		   v->l4[0] == BAD_FIELD);
}

/* RFC 5508 section 4.2: an error goes where the flow it quotes belongs, and
 * neither starts nor refreshes it. */
static enum napt_verdict
translate_error(struct napt *n, const struct view *v, bool outward)
{
	struct view q;
	struct napt_flow f;
	struct rewrite outer = {.source = outward, .addr = n->shared};
	struct rewrite inner = {.source = !outward, .addr = n->shared};
	uint16_t port;

	if (v->fragment || csum(v->l4, v->l4_len) != 0 ||
	    !view_parse(
		&q, v->l4 + ICMP_HEADER, v->l4_len - ICMP_HEADER, true) ||
	    q.later)
		return NAPT_DROP_MALFORMED;
	/* The quoted packet ran the other way. */
	if (!flow_parse(&q, !outward, &f, &port))
		return NAPT_DROP_PROTOCOL;
	if (outward) {
		if (!napt_table_lookup_lan(n->table, &f, &inner.port))
			return NAPT_DROP_NO_FLOW;
	} else {
		if (get32(q.ip + IP_SRC) != n->shared ||
		    !napt_table_lookup_port(n->table, &f, port))
			return NAPT_DROP_NO_FLOW;
		outer.addr = inner.addr = f.lan_addr;
		inner.port = f.lan_port;
	}
	rewrite(&q, &inner);
	/* Of the outer packet only the address: its bytes 4 and 5 are not an
	 * identifier here. */
	rewrite_address(v, &outer, NULL);
	put16(v->l4 + 2, 0);
	put16(v->l4 + 2, csum(v->l4, v->l4_len));
	return NAPT_FORWARD;
}

static enum napt_verdict
translate_outward(struct napt *n, uint64_t now_ns, const struct view *v)
{
	struct rewrite r = {.source = true, .addr = n->shared};
	struct napt_flow f;
	enum napt_result res;
	uint16_t port;

	if (is_icmp_error(v))
		return translate_error(n, v, true);
	if (!flow_parse(v, true, &f, &port))
		return NAPT_DROP_PROTOCOL;
	res = napt_table_outward(n->table, now_ns, &f, tcp_flags(v), &r.port);
	if (res == NAPT_OK)
		rewrite(v, &r);
	return verdict_of(res);
}

static enum napt_verdict
translate_inward(struct napt *n, uint64_t now_ns, const struct view *v)
{
	struct rewrite r = {.source = false};
	struct napt_flow f;
	enum napt_result res;
	uint16_t port;

	if (is_icmp_error(v))
		return translate_error(n, v, false);
	if (!flow_parse(v, false, &f, &port))
		return NAPT_DROP_PROTOCOL;
	res = napt_table_inward(n->table, now_ns, &f, tcp_flags(v), port);
	r.addr = f.lan_addr;
	r.port = f.lan_port;
	if (res == NAPT_OK)
		rewrite(v, &r);
	return verdict_of(res);
}

static bool
from_lan(const struct napt *n, const struct view *v)
{
	return (get32(v->ip + IP_SRC) & n->lan_mask) == n->lan;
}

static bool
to_shared(const struct napt *n, const struct view *v)
{
	return get32(v->ip + IP_DST) == n->shared;
}

static enum napt_verdict
translate(struct napt *n, uint64_t now_ns, const struct view *v)
{
	enum napt_verdict verdict = NAPT_DROP_STRAY;

	if (from_lan(n, v)) {
		verdict = translate_outward(n, now_ns, v);
		if (verdict != NAPT_FORWARD)
			return verdict;
	}
	if (to_shared(n, v))
		verdict = translate_inward(n, now_ns, v);
	return verdict;
}

static enum napt_verdict
judge(struct napt *n, uint64_t now_ns, uint8_t *p, size_t len)
{
	struct view v;
	struct napt_fragment k;
	struct napt_fragment *slot;
	enum napt_verdict verdict;

	if (!view_parse(&v, p, len, false))
		return NAPT_DROP_MALFORMED;
	if (v.later)
		return fragment_follow(n, now_ns, &v);
	k = fragment_key(&v, now_ns);
	slot = fragment_slot(n, &v);
	verdict = translate(n, now_ns, &v);
	if (v.fragment && verdict == NAPT_FORWARD) {
		k.new_src = get32(v.ip + IP_SRC);
		k.new_dst = get32(v.ip + IP_DST);
		*slot = k;
	}
	return verdict;
}

enum napt_verdict
napt_packet(struct napt *n, uint64_t now_ns, uint8_t *p, size_t len)
{
	enum napt_verdict verdict = judge(n, now_ns, p, len);

	n->verdicts[verdict]++;
	return verdict;
}

const char *
napt_verdict_name(enum napt_verdict v)
{
	static const char *const name[NAPT_VERDICTS] = {
	    [NAPT_FORWARD] = "forward",
	    [NAPT_DROP_MALFORMED] = "drop_malformed",
	    [NAPT_DROP_STRAY] = "drop_stray",
	    [NAPT_DROP_PROTOCOL] = "drop_protocol",
	    [NAPT_DROP_NO_PORT] = "drop_no_port",
	    [NAPT_DROP_NO_SESSION] = "drop_no_session",
	    [NAPT_DROP_NO_FLOW] = "drop_no_flow",
	    [NAPT_DROP_FILTERED] = "drop_filtered",
	    [NAPT_DROP_FRAGMENT] = "drop_fragment",
	};

	return name[v];
}
