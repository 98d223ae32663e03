#include "reasm.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/csum.h"
#include "core/ip.h"

#define V4_HLEN 20
#define V4_HLEN_MAX 60
#define V6_HLEN 40
#define FRAGMENT_HLEN 8
#define NEXT_IPV4 4
#define NEXT_FRAGMENT 44
#define PAYLOAD_MAX 65535
#define PACKET_MAX (V6_HLEN + PAYLOAD_MAX)

/* Payload is kept at its place in a datagram, in chunks out of a fixed pool,
 * so that nothing is allocated for a packet. 512: a whole datagram wastes half
 * of one in the mean, a fragment of 1480 bytes needs three or four. */
#define CHUNK 512
#define CHUNKS_EACH ((PAYLOAD_MAX + CHUNK) / CHUNK)

/* Places are multiples of 8 bytes; a bit for each. */
#define UNIT 8
#define WORDS ((PAYLOAD_MAX + 1) / UNIT / 64)

struct reasm_key {
	uint8_t src[16], dst[16];
	uint32_t id, tag;
	uint16_t family;
	uint16_t proto; /* IPv4 only (RFC 791 3.2, RFC 8200 4.5) */
};

_Static_assert(sizeof(struct reasm_key) == 44, "no padding: memcmp compares");

/* What a packet says. */
struct fragment {
	struct reasm_key key;
	const uint8_t *header; /* of the packet */
	uint32_t hlen; /* of what the whole packet will have of it */
	const uint8_t *payload;
	uint32_t off, end; /* place of the payload in the datagram's */
	bool more;
	uint8_t proto; /* what the payload is */
	uint8_t tos;
};

struct datagram {
	struct datagram *older, *younger; /* younger links free ones, too */
	struct reasm_key key;
	uint64_t born_ns;
	/* Dropped, but remembered until it is old: RFC 5722 section 4 drops
	 * the fragments that are still to come, too. Else MAP_OK. */
	enum map_drop dead;
	uint32_t got; /* bytes of payload */
	uint32_t end; /* of the payload; 0: the last one did not come yet */
	uint32_t reach; /* the furthest end of those that are not last */
	uint8_t ecn_seen; /* a bit for each codepoint */
	uint8_t proto, hlen;
	uint8_t header[V4_HLEN_MAX]; /* of the first one */
	uint32_t chunks;
	uint32_t chunk[CHUNKS_EACH]; /* number in the pool + 1; 0: none */
	uint64_t have[WORDS]; /* units that are there */
	uint64_t start[WORDS]; /* those where a fragment begins */
};

struct reasm {
	struct reasm_conf conf;
	struct reasm_stats stats;
	struct datagram *all;
	struct datagram *free;
	struct datagram *oldest, *youngest;
	uint8_t (*pool)[CHUNK];
	uint32_t *spare; /* stack of numbers in the pool */
	uint32_t pool_len, spares;
	uint8_t out[PACKET_MAX];
};

void
reasm_conf_default(struct reasm_conf *c)
{
	/* 15 s: what RFC 791 3.2 sets a timer to at first. */
	*c = (struct reasm_conf){
	    .datagrams_max = 64,
	    .bytes_max = 1 << 20,
	    .age_ns = 15 * UK_NS_PER_S,
	};
}

struct reasm *
reasm_new(const struct reasm_conf *c)
{
	UK_ASSERT(c->datagrams_max > 0 && c->bytes_max / CHUNK > 0);
	UK_ASSERT(c->bytes_max / CHUNK < UINT32_MAX);
	struct reasm *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->conf = *c;
	r->pool_len = (uint32_t)(c->bytes_max / CHUNK);
	r->all = calloc(c->datagrams_max, sizeof(*r->all));
	r->pool = calloc(r->pool_len, sizeof(*r->pool));
	r->spare = calloc(r->pool_len, sizeof(*r->spare));
	if (r->all == NULL || r->pool == NULL || r->spare == NULL) {
		reasm_free(r);
		return NULL;
	}
	for (unsigned i = c->datagrams_max; i-- > 0;) {
		r->all[i].younger = r->free;
		r->free = &r->all[i];
	}
	while (r->spares < r->pool_len) {
		r->spare[r->spares] = r->spares;
		r->spares++;
	}
	return r;
}

void
reasm_free(struct reasm *r)
{
	if (r == NULL)
		return;
	free(r->all);
	free(r->pool);
	free(r->spare);
	free(r);
}

const struct reasm_stats *
reasm_stats(const struct reasm *r)
{
	return &r->stats;
}

/* The bits of word w that stand for units [from, to). */
static uint64_t
mask_of(uint32_t from, uint32_t to, uint32_t w)
{
	uint64_t mask = UINT64_MAX;

	if (w == from / 64)
		mask &= UINT64_MAX << from % 64;
	if (w == to / 64)
		mask &= (UINT64_C(1) << to % 64) - 1;
	return mask;
}

/* How many of the units [from, to) are set. */
static uint32_t
bits_count(const uint64_t map[WORDS], uint32_t from, uint32_t to)
{
	uint32_t n = 0;

	for (uint32_t w = from / 64; w * 64 < to; w++)
		n += (uint32_t)__builtin_popcountll(
		    map[w] & mask_of(from, to, w));
	return n;
}

static void
bits_set(uint64_t map[WORDS], uint32_t from, uint32_t to)
{
	for (uint32_t w = from / 64; w * 64 < to; w++)
		map[w] |= mask_of(from, to, w);
}

static uint32_t
unit_from(const struct fragment *f)
{
	return f->off / UNIT;
}

static uint32_t
unit_to(const struct fragment *f)
{
	return (f->end + UNIT - 1) / UNIT;
}

/* Transport header that is as good as "the ports": without TCP's flags a filter
 * further in is blind (RFC 1858, RFC 3128). */
static uint32_t
transport_min(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_NUM_TCP:
		return 20;
	case IPPROTO_NUM_UDP:
	case IPPROTO_NUM_ICMP:
	case IPPROTO_NUM_ICMPV6:
		return 8;
	default:
		return 0;
	}
}

/* Does the beginning of a payload hold the ports? Of a tunnel packet those
 * inside, RFC 7112's "entire header chain"; a later fragment has none. */
static bool
holds_ports(uint8_t proto, const uint8_t *b, uint32_t n)
{
	if (proto != NEXT_IPV4)
		return n >= transport_min(proto);
	if (n < V4_HLEN)
		return false;
	uint32_t hlen = (b[0] & 0xfu) * 4;

	if ((load_be16(b + 6) & 0x1fff) != 0)
		return n >= hlen;
	return n >= hlen + transport_min(b[9]);
}

static void
read4(struct fragment *f, const uint8_t *pkt, const struct ip_view *v)
{
	uint16_t where = load_be16(pkt + 6);

	memcpy(f->key.src, v->src, 4);
	memcpy(f->key.dst, v->dst, 4);
	f->key.id = load_be16(pkt + 4);
	f->key.proto = f->proto = pkt[9];
	f->hlen = (pkt[0] & 0xfu) * 4;
	f->payload = pkt + f->hlen;
	f->off = (where & 0x1fffu) * UNIT;
	f->end = f->off + v->total - f->hlen;
	f->more = (where & 0x2000) != 0;
}

static bool
read6(struct fragment *f, const uint8_t *pkt, const struct ip_view *v)
{
	const uint8_t *ext = pkt + V6_HLEN;

	if (pkt[6] != NEXT_FRAGMENT || v->total < V6_HLEN + FRAGMENT_HLEN)
		return false;
	uint16_t where = load_be16(ext + 2);

	memcpy(f->key.src, v->src, 16);
	memcpy(f->key.dst, v->dst, 16);
	f->key.id = load_be32(ext + 4);
	f->proto = ext[0];
	f->hlen = V6_HLEN;
	f->payload = ext + FRAGMENT_HLEN;
	f->off = where & 0xfff8u;
	f->end = f->off + v->total - V6_HLEN - FRAGMENT_HLEN;
	f->more = (where & 1) != 0;
	return true;
}

/* What can be said against a fragment by itself. It goes alone; nothing is
 * remembered of it. */
static enum map_drop
read_fragment(struct fragment *f, uint32_t tag, const uint8_t *pkt, size_t len)
{
	struct ip_view v;

	memset(f, 0, sizeof(*f));
	if (ip_parse_fixed(&v, pkt, len) != 0)
		return MAP_DROP_FRAGMENT_MALFORMED;
	f->key.tag = tag;
	f->key.family = v.family;
	f->header = pkt;
	f->tos = v.tos;
	if (v.family == FAMILY_V4)
		read4(f, pkt, &v);
	else if (!read6(f, pkt, &v))
		return MAP_DROP_FRAGMENT_MALFORMED;
	/* Beyond the end of the largest packet: RFC 8200 4.5, and IPv4's "ping
	 * of death". An IPv4 header counts, one of IPv6 does not. */
	uint32_t max = PAYLOAD_MAX - (v.family == FAMILY_V4 ? f->hlen : 0);

	if (f->end == f->off || f->end > max)
		return MAP_DROP_FRAGMENT_MALFORMED;
	if (f->more && f->end % UNIT != 0)
		return MAP_DROP_FRAGMENT_MALFORMED;
	if (f->more && f->off == 0 &&
	    !holds_ports(f->proto, f->payload, f->end))
		return MAP_DROP_FRAGMENT_TINY;
	return MAP_OK;
}

/* Give its chunks back. */
static void
empty(struct reasm *r, struct datagram *d)
{
	for (uint32_t i = 0; i < CHUNKS_EACH; i++) {
		if (d->chunk[i] == 0)
			continue;
		r->spare[r->spares++] = d->chunk[i] - 1;
		d->chunk[i] = 0;
	}
	r->stats.bytes -= (size_t)d->chunks * CHUNK;
	d->chunks = 0;
}

static void
forget(struct reasm *r, struct datagram *d)
{
	empty(r, d);
	if (d->older != NULL)
		d->older->younger = d->younger;
	else
		r->oldest = d->younger;
	if (d->younger != NULL)
		d->younger->older = d->older;
	else
		r->youngest = d->older;
	d->younger = r->free;
	r->free = d;
	r->stats.datagrams--;
}

static void
evict(struct reasm *r, struct datagram *d)
{
	r->stats.evicted += d->dead == MAP_OK;
	forget(r, d);
}

static bool
is_old(const struct reasm *r, const struct datagram *d, uint64_t now_ns)
{
	return now_ns - d->born_ns >= r->conf.age_ns;
}

/* What is too old is not added to, and waits for reasm_expire() to count it.
 * There are few enough for a walk. */
static struct datagram *
find(const struct reasm *r, const struct reasm_key *key, uint64_t now_ns)
{
	for (struct datagram *d = r->youngest; d != NULL; d = d->older) {
		if (d->key.id == key->id && !is_old(r, d, now_ns) &&
		    memcmp(&d->key, key, sizeof(*key)) == 0)
			return d;
	}
	return NULL;
}

static struct datagram *
begin(struct reasm *r, const struct reasm_key *key, uint64_t now_ns)
{
	if (r->free == NULL)
		evict(r, r->oldest);
	struct datagram *d = r->free;

	r->free = d->younger;
	memset(d, 0, sizeof(*d));
	d->key = *key;
	d->born_ns = now_ns;
	d->older = r->youngest;
	if (d->older != NULL)
		d->older->younger = d;
	else
		r->oldest = d;
	r->youngest = d;
	r->stats.datagrams++;
	return d;
}

/* The part of [at, end) that is in one chunk. */
static uint32_t
piece(uint32_t at, uint32_t end)
{
	return (uint32_t)uk_min_u64(end - at, CHUNK - at % CHUNK);
}

static uint8_t *
place(const struct reasm *r, const struct datagram *d, uint32_t at)
{
	return r->pool[d->chunk[at / CHUNK] - 1] + at % CHUNK;
}

static bool
same_bytes(
    const struct reasm *r, const struct datagram *d, const struct fragment *f)
{
	uint32_t n;

	for (uint32_t at = f->off; at < f->end; at += n) {
		n = piece(at, f->end);
		if (memcmp(place(r, d, at), f->payload + (at - f->off), n) != 0)
			return false;
	}
	return true;
}

/* Is it one that we have, to the byte? Networks repeat packets; RFC 8200 4.5
 * allows to ignore that. */
static bool
is_repeat(
    const struct reasm *r, const struct datagram *d, const struct fragment *f)
{
	uint32_t from = unit_from(f), to = unit_to(f);
	bool last = d->end != 0 && f->end == d->end;

	if (f->more == last || bits_count(d->have, from, to) != to - from)
		return false;
	/* One fragment of ours: it begins there, no other begins inside, and
	 * behind it there is a gap, a beginning or the end. */
	if (bits_count(d->start, from, from + 1) != 1 ||
	    bits_count(d->start, from, to) != 1)
		return false;
	if (!last && bits_count(d->have, to, to + 1) == 1 &&
	    bits_count(d->start, to, to + 1) == 0)
		return false;
	return same_bytes(r, d, f);
}

/* Against the fragments that came before: one byte twice, or two ends (RFC
 * 5722; for IPv4 too, as the same attacks are). */
static enum map_drop
contradicts(const struct datagram *d, const struct fragment *f)
{
	if (bits_count(d->have, unit_from(f), unit_to(f)) != 0)
		return MAP_DROP_FRAGMENT_OVERLAP;
	if (d->end != 0 && (!f->more || f->end > d->end))
		return MAP_DROP_FRAGMENT_MALFORMED;
	if (!f->more && d->reach > f->end)
		return MAP_DROP_FRAGMENT_MALFORMED;
	return MAP_OK;
}

/* Chunks for all of a fragment, at the cost of the oldest datagrams. False: it
 * was the oldest itself, or alone is too large. Then it is gone. */
static bool
make_room(struct reasm *r, struct datagram *d, const struct fragment *f)
{
	uint32_t first = f->off / CHUNK, last = (f->end - 1) / CHUNK;
	uint32_t need = 0;

	for (uint32_t i = first; i <= last; i++)
		need += d->chunk[i] == 0;
	if (d->chunks + need > r->pool_len) {
		evict(r, d);
		return false;
	}
	while (r->spares < need) {
		struct datagram *victim = r->oldest;

		evict(r, victim);
		if (victim == d)
			return false;
	}
	for (uint32_t i = first; i <= last; i++) {
		if (d->chunk[i] == 0)
			d->chunk[i] = r->spare[--r->spares] + 1;
	}
	d->chunks += need;
	r->stats.bytes += (size_t)need * CHUNK;
	return true;
}

static void
store(const struct reasm *r, struct datagram *d, const struct fragment *f)
{
	uint32_t from = unit_from(f), n;

	for (uint32_t at = f->off; at < f->end; at += n) {
		n = piece(at, f->end);
		memcpy(place(r, d, at), f->payload + (at - f->off), n);
	}
	bits_set(d->have, from, unit_to(f));
	bits_set(d->start, from, from + 1);
	d->got += f->end - f->off;
	d->ecn_seen |= (uint8_t)(1u << (f->tos & 3));
	if (!f->more)
		d->end = f->end;
	else if (f->end > d->reach)
		d->reach = f->end;
	if (f->off == 0) {
		memcpy(d->header, f->header, f->hlen);
		d->hlen = (uint8_t)f->hlen;
		d->proto = f->proto;
	}
}

/* Make the header at h that of a whole packet. */
static void
write_header4(uint8_t *h, uint32_t hlen, uint32_t payload, bool ce)
{
	if (ce)
		h[1] |= 3;
	store_be16(h + 2, (uint16_t)(hlen + payload));
	/* DF goes as well: it was cut, so it may be. */
	store_be16(h + 6, 0);
	store_be16(h + 10, 0);
	store_be16(h + 10, (uint16_t)~csum_fold(csum_add(0, h, hlen)));
}

static void
write_header6(uint8_t *h, uint8_t proto, uint32_t payload, bool ce)
{
	if (ce)
		h[1] |= 3 << 4;
	store_be16(h + 4, (uint16_t)payload);
	h[6] = proto;
}

/* RFC 3168 5.3: congestion that one fragment met is the packet's; among
 * fragments that cannot have met any it is a contradiction. */
static bool
combine_ecn(uint8_t seen, bool *ce)
{
	enum { NOT_ECT = 1 << 0, CE = 1 << 3 };

	*ce = (seen & CE) != 0;
	return !*ce || (seen & NOT_ECT) == 0;
}

static enum map_drop
finish(
    struct reasm *r, struct datagram *d, const uint8_t **out, size_t *out_len)
{
	bool v4 = d->key.family == FAMILY_V4;
	uint32_t n;
	bool ce;

	/* With the header of the first one, whose options may be longer. */
	if ((v4 && d->hlen + d->end > PAYLOAD_MAX) ||
	    !combine_ecn(d->ecn_seen, &ce)) {
		forget(r, d);
		return MAP_DROP_FRAGMENT_MALFORMED;
	}
	memcpy(r->out, d->header, d->hlen);
	for (uint32_t at = 0; at < d->end; at += n) {
		n = piece(at, d->end);
		memcpy(r->out + d->hlen + at, place(r, d, at), n);
	}
	if (v4)
		write_header4(r->out, d->hlen, d->end, ce);
	else
		write_header6(r->out, d->proto, d->end, ce);
	*out = r->out;
	*out_len = d->hlen + d->end;
	forget(r, d);
	r->stats.complete++;
	return MAP_OK;
}

/* A fragment that is all of its packet: RFC 6946, what else has its id does not
 * matter. */
static void
finish_alone(struct reasm *r, const struct fragment *f, const uint8_t **out,
    size_t *out_len)
{
	memcpy(r->out, f->header, f->hlen);
	memcpy(r->out + f->hlen, f->payload, f->end);
	if (f->key.family == FAMILY_V4)
		write_header4(r->out, f->hlen, f->end, false);
	else
		write_header6(r->out, f->proto, f->end, false);
	*out = r->out;
	*out_len = f->hlen + f->end;
	r->stats.complete++;
}

enum map_drop
reasm_input(struct reasm *r, uint64_t now_ns, uint32_t tag, const uint8_t *pkt,
    size_t len, const uint8_t **out, size_t *out_len)
{
	struct fragment f;
	enum map_drop why = read_fragment(&f, tag, pkt, len);

	*out = NULL;
	*out_len = 0;
	if (why != MAP_OK)
		return why;
	if (f.off == 0 && !f.more) {
		finish_alone(r, &f, out, out_len);
		return MAP_OK;
	}
	struct datagram *d = find(r, &f.key, now_ns);

	if (d == NULL)
		d = begin(r, &f.key, now_ns);
	else if (d->dead != MAP_OK)
		return d->dead;
	else if (is_repeat(r, d, &f))
		return MAP_OK;
	why = contradicts(d, &f);
	if (why != MAP_OK) {
		empty(r, d);
		d->dead = why;
		return why;
	}
	if (!make_room(r, d, &f))
		return MAP_DROP_FRAGMENT_LIMIT;
	store(r, d, &f);
	/* No byte is there twice, so the count tells. */
	if (d->end == 0 || d->got != d->end)
		return MAP_OK;
	return finish(r, d, out, out_len);
}

unsigned
reasm_expire(struct reasm *r, uint64_t now_ns)
{
	unsigned n = 0;

	while (r->oldest != NULL && is_old(r, r->oldest, now_ns)) {
		n += r->oldest->dead == MAP_OK;
		forget(r, r->oldest);
	}
	return n;
}

uint64_t
reasm_deadline(const struct reasm *r)
{
	return r->oldest == NULL ? UK_NEVER
				 : r->oldest->born_ns + r->conf.age_ns;
}
