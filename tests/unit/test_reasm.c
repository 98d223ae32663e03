#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The module under test is compiled in here, so that its allocations can be
 * counted and made to fail. */
static unsigned fail_at; /* fail this one of the next ones; 0: none */
static size_t live, calls;

static void *
failing_calloc(size_t n, size_t size)
{
	calls++;
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	live++;
	return calloc(n, size);
}

static void
counting_free(void *p)
{
	live -= p != NULL;
	free(p);
}

#define calloc failing_calloc
#define free counting_free
#include "client/mape/reasm.c"
#undef calloc
#undef free

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint16_t
slow_sum(const uint8_t *b, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		sum += i % 2 == 0 ? (uint32_t)b[i] << 8 : b[i];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

/* A fragment to make. Payload byte i of the datagram is pattern(seed, i), but
 * a first one of IPv6 begins as an IPv4 packet with UDP. */
struct piece {
	bool v6;
	uint32_t id, off, len;
	bool more;
	uint8_t proto; /* 0: UDP, or IPv4 in IPv6 */
	uint8_t tos;
	uint32_t options; /* of IPv4, bytes */
	uint8_t seed;
};

static uint8_t
pattern(uint8_t seed, bool v6, uint32_t i)
{
	if (v6 && i == 0)
		return 0x45;
	if (v6 && (i == 6 || i == 7))
		return 0;
	if (v6 && i == 9)
		return 17;
	return (uint8_t)(seed + i * 7 + (i >> 8));
}

static size_t
make_piece(uint8_t *b, const struct piece *p)
{
	uint32_t hlen = p->v6 ? 48 : 20 + p->options;

	memset(b, 0, hlen);
	if (p->v6) {
		store_be32(b, 0x60000000u | (uint32_t)p->tos << 20);
		store_be16(b + 4, (uint16_t)(8 + p->len));
		b[6] = 44;
		b[7] = 64;
		b[8] = 0x20;
		b[23] = 1;
		b[24] = 0x20;
		b[39] = 2;
		b[40] = p->proto == 0 ? 4 : p->proto;
		store_be16(b + 42, (uint16_t)(p->off | p->more));
		store_be32(b + 44, p->id);
	} else {
		b[0] = (uint8_t)(0x40 | hlen / 4);
		b[1] = p->tos;
		store_be16(b + 2, (uint16_t)(hlen + p->len));
		store_be16(b + 4, (uint16_t)p->id);
		store_be16(b + 6,
		    (uint16_t)(0x4000 | (p->more ? 0x2000 : 0) | p->off / 8));
		b[8] = 64;
		b[9] = p->proto == 0 ? 17 : p->proto;
		memcpy(b + 12, "\xc6\x33\x64\7\xc0\0\2\1", 8);
		memset(b + 20, 1, p->options);
		store_be16(b + 10, (uint16_t)~slow_sum(b, hlen));
	}
	for (uint32_t i = 0; i < p->len; i++)
		b[hlen + i] = pattern(p->seed, p->v6, p->off + i);
	return hlen + p->len;
}

static const uint8_t *whole;
static size_t whole_len;

static enum map_drop
input_at(struct reasm *r, uint64_t now_ns, uint32_t tag, const struct piece *p)
{
	static uint8_t b[70000];
	size_t len = make_piece(b, p);
	/* exactly long enough, so that a sanitizer sees a byte more */
	uint8_t *copy = malloc(len);

	memcpy(copy, b, len);
	enum map_drop why =
	    reasm_input(r, now_ns, tag, copy, len, &whole, &whole_len);
	free(copy);
	assert_true(why == MAP_OK || whole == NULL);
	return why;
}

static enum map_drop
input(struct reasm *r, const struct piece *p)
{
	return input_at(r, 0, 0, p);
}

/* What came out is the datagram that p is of, with n bytes of payload. */
static void
check_whole(const struct piece *p, uint32_t n)
{
	uint32_t hlen = p->v6 ? 40 : 20 + p->options;

	assert_non_null(whole);
	assert_int_equal(whole_len, hlen + n);
	if (p->v6) {
		assert_int_equal(load_be16(whole + 4), n);
		assert_int_equal(whole[6], p->proto == 0 ? 4 : p->proto);
		assert_int_equal(whole[23], 1);
		assert_int_equal(whole[39], 2);
	} else {
		assert_int_equal(load_be16(whole + 2), hlen + n);
		assert_int_equal(load_be16(whole + 4), p->id);
		assert_int_equal(load_be16(whole + 6), 0);
		assert_int_equal(slow_sum(whole, hlen), 0xffff);
		assert_memory_equal(whole + 12, "\xc6\x33\x64\7\xc0\0\2\1", 8);
	}
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(whole[hlen + i], pattern(p->seed, p->v6, i));
}

static struct reasm *
new_default(void)
{
	struct reasm_conf c;

	reasm_conf_default(&c);
	struct reasm *r = reasm_new(&c);
	assert_non_null(r);
	return r;
}

/* Fragments in order, verdict of each; the last one completes or not. */
#define STEPS 4
struct scenario {
	const char *name;
	struct {
		uint32_t off, len;
		bool more;
		enum map_drop want;
	} step[STEPS];
	uint32_t whole; /* bytes of payload; 0: not complete */
};

static const struct scenario scenario[] = {
    {"two", {{0, 64, true, MAP_OK}, {64, 9, false, MAP_OK}}, 73},
    {"turned", {{64, 9, false, MAP_OK}, {0, 64, true, MAP_OK}}, 73},
    {"gap", {{0, 64, true, MAP_OK}, {72, 9, false, MAP_OK}}, 0},
    {"filled",
	{{0, 64, true, MAP_OK}, {72, 9, false, MAP_OK}, {64, 8, true, MAP_OK}},
	81},
    {"repeated",
	{{0, 64, true, MAP_OK}, {0, 64, true, MAP_OK}, {64, 9, false, MAP_OK}},
	73},
    {"last repeated",
	{{64, 9, false, MAP_OK}, {64, 9, false, MAP_OK}, {0, 64, true, MAP_OK}},
	73},
    {"D11: overlap of 8 bytes, then what is still to come",
	{{0, 64, true, MAP_OK}, {56, 17, false, MAP_DROP_FRAGMENT_OVERLAP},
	    {64, 9, false, MAP_DROP_FRAGMENT_OVERLAP},
	    {0, 64, true, MAP_DROP_FRAGMENT_OVERLAP}},
	0},
    {"D11: overlap from in front",
	{{64, 64, true, MAP_OK}, {0, 72, true, MAP_DROP_FRAGMENT_OVERLAP}}, 0},
    {"D11: inside",
	{{0, 64, true, MAP_OK}, {8, 8, true, MAP_DROP_FRAGMENT_OVERLAP}}, 0},
    {"D11: around",
	{{64, 8, true, MAP_OK}, {56, 24, true, MAP_DROP_FRAGMENT_OVERLAP}}, 0},
    {"D11: same begin, shorter",
	{{0, 64, true, MAP_OK}, {0, 56, true, MAP_DROP_FRAGMENT_OVERLAP}}, 0},
    {"D11: same begin, longer",
	{{0, 56, true, MAP_OK}, {0, 64, true, MAP_DROP_FRAGMENT_OVERLAP}}, 0},
    {"D11: two as one",
	{{0, 64, true, MAP_OK}, {64, 64, true, MAP_OK},
	    {0, 128, true, MAP_DROP_FRAGMENT_OVERLAP}},
	0},
    {"D11: last twice, shorter",
	{{64, 12, false, MAP_OK}, {64, 11, false, MAP_DROP_FRAGMENT_OVERLAP}},
	0},
    {"D11: last twice, longer",
	{{64, 12, false, MAP_OK}, {64, 13, false, MAP_DROP_FRAGMENT_OVERLAP}},
	0},
    {"D11: last, then not last",
	{{64, 16, false, MAP_OK}, {64, 16, true, MAP_DROP_FRAGMENT_OVERLAP}},
	0},
    {"D11: not last, then last",
	{{64, 16, true, MAP_OK}, {64, 16, false, MAP_DROP_FRAGMENT_OVERLAP}},
	0},
    {"two ends",
	{{64, 8, false, MAP_OK}, {80, 8, false, MAP_DROP_FRAGMENT_MALFORMED}},
	0},
    {"an earlier end",
	{{80, 8, false, MAP_OK}, {64, 8, false, MAP_DROP_FRAGMENT_MALFORMED}},
	0},
    {"beyond the end",
	{{64, 8, false, MAP_OK}, {72, 8, true, MAP_DROP_FRAGMENT_MALFORMED},
	    {0, 64, true, MAP_DROP_FRAGMENT_MALFORMED}},
	0},
    {"end before what came",
	{{72, 8, true, MAP_OK}, {64, 8, false, MAP_DROP_FRAGMENT_MALFORMED}},
	0},
    {"D11: gap, then over the later one's begin",
	{{0, 64, true, MAP_OK}, {72, 8, true, MAP_OK},
	    {64, 16, true, MAP_DROP_FRAGMENT_OVERLAP}},
	0},
};

static void
test_scenarios(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(scenario); i++) {
		const struct scenario *s = &scenario[i / 2];
		struct reasm *r = new_default();
		struct piece p = {.v6 = i % 2, .id = 77, .seed = 3};

		for (unsigned k = 0; k < STEPS && s->step[k].len > 0; k++) {
			assert_null(whole);
			p.off = s->step[k].off;
			p.len = s->step[k].len;
			p.more = s->step[k].more;
			if (input(r, &p) != s->step[k].want)
				fail_msg("%s: step %u", s->name, k);
		}
		if (s->whole > 0)
			check_whole(&p, s->whole);
		else
			assert_null(whole);
		whole = NULL;
		assert_int_equal(
		    reasm_stats(r)->datagrams, s->whole > 0 ? 0 : 1);
		assert_int_equal(reasm_stats(r)->complete, s->whole > 0);
		reasm_free(r);
	}
}

/* D11: the same place with other bytes is no repetition. */
static void
test_other_bytes(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		/* across chunks, differing in one byte anywhere */
		for (uint32_t at = 600; at < 1200; at += 13) {
			struct reasm *r = new_default();
			struct piece p = {
			    .v6 = v6, .off = 480, .len = 800, .more = true};
			uint8_t b[900];

			assert_int_equal(input(r, &p), MAP_OK);
			size_t n = make_piece(b, &p);
			assert_int_equal(
			    reasm_input(r, 0, 0, b, n, &whole, &whole_len),
			    MAP_OK);
			b[n - 800 + at - 480] ^= 1;
			assert_int_equal(
			    reasm_input(r, 0, 0, b, n, &whole, &whole_len),
			    MAP_DROP_FRAGMENT_OVERLAP);
			reasm_free(r);
		}
	}
}

/* What is wrong by itself is not remembered. */
static void
test_alone(void **state)
{
	(void)state;
	static const struct {
		struct piece p;
		enum map_drop want;
	} row[] = {
	    /* no payload; not a multiple of 8 */
	    {{.off = 8, .len = 0}, MAP_DROP_FRAGMENT_MALFORMED},
	    {{.off = 8, .len = 0, .more = true}, MAP_DROP_FRAGMENT_MALFORMED},
	    {{.off = 8, .len = 9, .more = true}, MAP_DROP_FRAGMENT_MALFORMED},
	    {{.off = 8, .len = 15, .more = true}, MAP_DROP_FRAGMENT_MALFORMED},
	    {{.off = 8, .len = 16, .more = true}, MAP_OK},
	    {{.off = 8, .len = 9}, MAP_OK},
	    /* ping of death: the header counts */
	    {{.off = 65512, .len = 3}, MAP_OK},
	    {{.off = 65512, .len = 4}, MAP_DROP_FRAGMENT_MALFORMED},
	    {{.off = 65504, .len = 8, .more = true}, MAP_OK},
	    {{.off = 65512, .len = 8, .more = true},
		MAP_DROP_FRAGMENT_MALFORMED},
	    {{.off = 65528, .len = 1}, MAP_DROP_FRAGMENT_MALFORMED},
	    {{.off = 65528, .len = 1480}, MAP_DROP_FRAGMENT_MALFORMED},
	    {{.off = 65464, .len = 11, .options = 40}, MAP_OK},
	    {{.off = 65464, .len = 12, .options = 40},
		MAP_DROP_FRAGMENT_MALFORMED},
	    /* of IPv6 it does not */
	    {{.v6 = true, .off = 65528, .len = 7}, MAP_OK},
	    {{.v6 = true, .off = 65528, .len = 8}, MAP_DROP_FRAGMENT_MALFORMED},
	    {{.v6 = true, .off = 65520, .len = 8, .more = true}, MAP_OK},
	    {{.v6 = true, .off = 65528, .len = 8, .more = true},
		MAP_DROP_FRAGMENT_MALFORMED},
	    {{.v6 = true, .off = 8, .len = 0}, MAP_DROP_FRAGMENT_MALFORMED},
	    {{.v6 = true, .off = 8, .len = 9, .more = true},
		MAP_DROP_FRAGMENT_MALFORMED},
	    /* D11: the first one holds the ports, or whatever it is */
	    {{.len = 8, .more = true}, MAP_OK},
	    {{.len = 8, .more = true, .proto = 1}, MAP_OK},
	    {{.len = 8, .more = true, .proto = 6}, MAP_DROP_FRAGMENT_TINY},
	    {{.len = 16, .more = true, .proto = 6}, MAP_DROP_FRAGMENT_TINY},
	    {{.len = 24, .more = true, .proto = 6}, MAP_OK},
	    {{.len = 8, .more = true, .proto = 50}, MAP_OK},
	    {{.v6 = true, .len = 8, .more = true}, MAP_DROP_FRAGMENT_TINY},
	    {{.v6 = true, .len = 16, .more = true}, MAP_DROP_FRAGMENT_TINY},
	    {{.v6 = true, .len = 24, .more = true}, MAP_DROP_FRAGMENT_TINY},
	    {{.v6 = true, .len = 32, .more = true}, MAP_OK},
	    {{.v6 = true, .len = 8, .more = true, .proto = 58}, MAP_OK},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct reasm *r = new_default();

		assert_int_equal(input(r, &row[i].p), row[i].want);
		assert_int_equal(
		    reasm_stats(r)->datagrams, row[i].want == MAP_OK);
		assert_null(whole);
		reasm_free(r);
	}
}

/* D11: of a tunnel packet the ports inside count, behind its own header. */
static void
test_tiny_inner(void **state)
{
	(void)state;
	static const struct {
		uint8_t first; /* of the inner packet */
		uint8_t where; /* its fragment offset */
		uint8_t proto;
		uint32_t need;
	} row[] = {
	    {0x45, 0, 17, 28},
	    {0x45, 0, 6, 40},
	    {0x46, 0, 17, 32},
	    {0x4f, 0, 6, 80},
	    {0x4f, 0, 17, 68},
	    {0x45, 1, 6, 20},
	    {0x46, 1, 6, 24},
	    {0x4f, 1, 6, 60},
	    {0x45, 0, 50, 20},
	};
	uint8_t b[200];

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		for (uint32_t len = 8; len <= 96; len += 8) {
			struct reasm *r = new_default();
			struct piece p = {.v6 = true, .len = len, .more = true};
			size_t n = make_piece(b, &p);

			b[48] = row[i].first;
			b[55] = row[i].where;
			b[57] = row[i].proto;
			assert_int_equal(
			    reasm_input(r, 0, 0, b, n, &whole, &whole_len),
			    len < row[i].need ? MAP_DROP_FRAGMENT_TINY
					      : MAP_OK);
			reasm_free(r);
		}
	}
}

/* The largest packets, and one whose first header turns out too long. */
static void
test_largest(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct reasm *r = new_default();
		uint32_t end = v6 ? 65535 : 65515;
		struct piece p = {
		    .v6 = v6, .off = 0, .len = 65000, .more = true};

		assert_int_equal(input(r, &p), MAP_OK);
		p.off = 65000;
		p.len = end - 65000;
		p.more = false;
		assert_int_equal(input(r, &p), MAP_OK);
		check_whole(&p, end);
		reasm_free(r);
	}
	struct reasm *r = new_default();
	struct piece p = {.off = 65000, .len = 512};

	assert_int_equal(input(r, &p), MAP_OK);
	p = (struct piece){.len = 65000, .more = true, .options = 4};
	assert_int_equal(input(r, &p), MAP_DROP_FRAGMENT_MALFORMED);
	assert_int_equal(reasm_stats(r)->datagrams, 0);
	assert_int_equal(reasm_stats(r)->bytes, 0);
	reasm_free(r);
}

/* Header bytes: of the first fragment, with its options. */
static void
test_options(void **state)
{
	(void)state;
	struct reasm *r = new_default();
	struct piece p = {.off = 64, .len = 5};

	assert_int_equal(input(r, &p), MAP_OK);
	p = (struct piece){.len = 64, .more = true, .options = 40};
	assert_int_equal(input(r, &p), MAP_OK);
	check_whole(&p, 69);
	reasm_free(r);
}

/* RFC 6946: an atomic fragment is whole, and touches nothing. */
static void
test_atomic(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct reasm *r = new_default();
		struct piece p = {.v6 = v6, .len = 64, .more = true, .seed = 1};

		assert_int_equal(input(r, &p), MAP_OK);
		struct piece atomic = {.v6 = v6, .len = 41, .seed = 2};
		assert_int_equal(input(r, &atomic), MAP_OK);
		check_whole(&atomic, 41);
		p.off = 64;
		p.more = false;
		assert_int_equal(input(r, &p), MAP_OK);
		check_whole(&p, 128);
		reasm_free(r);
	}
}

/* What makes two fragments of one datagram: each part of the key alone. */
static void
test_key(void **state)
{
	(void)state;
	static const struct {
		bool v6;
		unsigned at; /* byte to change; 0: the tag */
		bool other; /* then it is another datagram */
	} row[] = {
	    {false, 0, true}, {false, 4, true}, {false, 5, true},
	    {false, 9, true}, {false, 12, true}, {false, 15, true},
	    {false, 16, true}, {false, 19, true}, {false, 1, false},
	    {false, 8, false}, {true, 0, true}, {true, 8, true},
	    {true, 23, true}, {true, 24, true}, {true, 39, true},
	    {true, 44, true}, {true, 47, true}, {true, 3, false},
	    {true, 7, false},
	    {true, 40, false}, /* RFC 8200 4.5: the first one's counts */
	};
	uint8_t b[200];

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct reasm *r = new_default();
		struct piece p = {.v6 = row[i].v6, .len = 64, .more = true};

		assert_int_equal(input(r, &p), MAP_OK);
		p.off = 64;
		p.more = false;
		size_t n = make_piece(b, &p);
		uint32_t tag = row[i].at == 0;
		if (!tag)
			b[row[i].at] ^= 4;
		assert_int_equal(
		    reasm_input(r, 0, tag, b, n, &whole, &whole_len), MAP_OK);
		assert_int_equal(whole == NULL, row[i].other);
		reasm_free(r);
	}
}

/* The id is used again: a new datagram, nothing of the old one in it. */
static void
test_id_again(void **state)
{
	(void)state;
	struct reasm *r = new_default();

	for (uint8_t seed = 0; seed < 3; seed++) {
		struct piece p = {.len = 640, .more = true, .seed = seed};

		assert_int_equal(input(r, &p), MAP_OK);
		assert_null(whole);
		p.off = 640;
		p.len = (uint32_t)(100 - seed);
		p.more = false;
		assert_int_equal(input(r, &p), MAP_OK);
		check_whole(&p, 740u - seed);
	}
	assert_int_equal(reasm_stats(r)->complete, 3);
	reasm_free(r);
}

/* RFC 3168 5.3. Codepoints of three fragments; -1: dropped. */
static void
test_ecn(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 128; i++) {
		uint8_t c[3] = {i & 3, i >> 2 & 3, i >> 4 & 3};
		bool ce = c[0] == 3 || c[1] == 3 || c[2] == 3;
		bool not = c[0] == 0 || c[1] == 0 || c[2] == 0;
		struct reasm *r = new_default();
		struct piece p = {.v6 = i >= 64, .len = 64};
		enum map_drop why = MAP_OK;

		for (unsigned k = 0; k < 3; k++) {
			p.off = 64 * k;
			p.more = k < 2;
			p.tos = 0xb8 | c[k];
			why = input(r, &p);
		}
		if (ce && not ) {
			assert_int_equal(why, MAP_DROP_FRAGMENT_MALFORMED);
		} else {
			check_whole(&p, 192);
			uint8_t tos =
			    p.v6 ? (uint8_t)(load_be16(whole) >> 4) : whole[1];
			assert_int_equal(tos, 0xb8 | (ce ? 3 : c[0]));
		}
		assert_int_equal(reasm_stats(r)->datagrams, 0);
		reasm_free(r);
	}
}

/* D7: no byte behind the packet is read; a packet that is not one. */
static void
test_truncated(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct piece p = {.v6 = v6, .len = 40, .more = true};
		uint8_t b[200];
		size_t n = make_piece(b, &p);

		for (size_t len = 0; len < n; len++) {
			struct reasm *r = new_default();
			uint8_t *copy = malloc(len == 0 ? 1 : len);

			memcpy(copy, b, len);
			assert_int_equal(
			    reasm_input(r, 0, 0, copy, len, &whole, &whole_len),
			    MAP_DROP_FRAGMENT_MALFORMED);
			/* With a length that agrees: anything but a crash. */
			if (len >= 6) {
				store_be16(copy + (v6 ? 4 : 2),
				    (uint16_t)(v6 && len >= 40 ? len - 40
							       : len));
				(void)reasm_input(
				    r, 0, 0, copy, len, &whole, &whole_len);
			}
			free(copy);
			reasm_free(r);
		}
	}
	struct reasm *r = new_default();
	uint8_t b[200];
	size_t n = make_piece(b, &(struct piece){.v6 = true, .len = 40});
	for (unsigned next = 0; next < 256; next++) {
		b[6] = (uint8_t)next;
		assert_int_equal(reasm_input(r, 0, 0, b, n, &whole, &whole_len),
		    next == 44 ? MAP_OK : MAP_DROP_FRAGMENT_MALFORMED);
	}
	reasm_free(r);
}

/* D11: bound in entries. The oldest goes, not the newest. */
static void
test_bound_entries(void **state)
{
	(void)state;
	struct reasm_conf c = {
	    .datagrams_max = 3, .bytes_max = 1 << 20, .age_ns = 100};
	struct reasm *r = reasm_new(&c);

	for (uint32_t id = 0; id < 4; id++) {
		struct piece p = {.id = id, .len = 64, .more = true};

		assert_int_equal(input(r, &p), MAP_OK);
		assert_int_equal(
		    reasm_stats(r)->datagrams, id < 3 ? id + 1 : 3);
	}
	assert_int_equal(reasm_stats(r)->evicted, 1);
	/* 1 to 3 are complete with this; 0 begins again, and 1 is gone. */
	for (uint32_t id = 3; id-- > 0;) {
		struct piece p = {.id = id + 1, .off = 64, .len = 4};

		assert_int_equal(input(r, &p), MAP_OK);
		check_whole(&p, 68);
	}
	struct piece p = {.id = 0, .off = 64, .len = 4};
	assert_int_equal(input(r, &p), MAP_OK);
	assert_null(whole);
	assert_int_equal(reasm_stats(r)->datagrams, 1);
	reasm_free(r);
}

/* D11: bound in bytes, memory of it is all there is. */
static void
test_bound_bytes(void **state)
{
	(void)state;
	struct reasm_conf c = {
	    .datagrams_max = 100, .bytes_max = 4 * 512 + 511, .age_ns = 100};
	struct reasm *r = reasm_new(&c);
	struct piece p = {.id = 1, .len = 1024, .more = true};

	assert_int_equal(input(r, &p), MAP_OK);
	assert_int_equal(reasm_stats(r)->bytes, 1024);
	p.id = 2;
	assert_int_equal(input(r, &p), MAP_OK);
	assert_int_equal(reasm_stats(r)->bytes, 2048);
	/* 8 bytes in a new place take a chunk: 1 goes. */
	p = (struct piece){.id = 2, .off = 1024, .len = 8, .more = true};
	assert_int_equal(input(r, &p), MAP_OK);
	assert_int_equal(reasm_stats(r)->evicted, 1);
	assert_int_equal(reasm_stats(r)->bytes, 1536);
	/* In a chunk that is there they take none. */
	p.off = 1032;
	assert_int_equal(input(r, &p), MAP_OK);
	assert_int_equal(reasm_stats(r)->bytes, 1536);
	/* 2 is the oldest: it needs two more, has to go itself. */
	p = (struct piece){.id = 3, .len = 512, .more = true};
	assert_int_equal(input(r, &p), MAP_OK);
	p = (struct piece){.id = 2, .off = 2048, .len = 8, .more = true};
	assert_int_equal(input(r, &p), MAP_DROP_FRAGMENT_LIMIT);
	assert_int_equal(reasm_stats(r)->datagrams, 1);
	assert_int_equal(reasm_stats(r)->bytes, 512);
	/* One that takes all there is may. */
	struct reasm *small = reasm_new(&c);
	p = (struct piece){.id = 4, .len = 2048, .more = true};
	assert_int_equal(input(small, &p), MAP_OK);
	reasm_free(small);
	/* One that is larger than all there is does not take others along. */
	p = (struct piece){.id = 4, .off = 512, .len = 2056, .more = true};
	assert_int_equal(input(r, &p), MAP_DROP_FRAGMENT_LIMIT);
	assert_int_equal(reasm_stats(r)->datagrams, 1);
	p = (struct piece){.id = 3, .off = 512, .len = 5};
	assert_int_equal(input(r, &p), MAP_OK);
	check_whole(&p, 517);
	assert_int_equal(reasm_stats(r)->bytes, 0);
	assert_int_equal(reasm_stats(r)->evicted, 3);
	reasm_free(r);
}

/* D11: bound in age, from the first fragment. */
static void
test_bound_age(void **state)
{
	(void)state;
	struct reasm_conf c = {
	    .datagrams_max = 8, .bytes_max = 1 << 20, .age_ns = 100};
	struct reasm *r = reasm_new(&c);
	struct piece a = {.id = 1, .len = 64, .more = true};
	struct piece b = {.id = 2, .len = 64, .more = true};

	assert_int_equal(reasm_deadline(r), UK_NEVER);
	assert_int_equal(reasm_expire(r, UK_NEVER - 1), 0);
	assert_int_equal(input_at(r, 1000, 0, &a), MAP_OK);
	assert_int_equal(input_at(r, 1050, 0, &b), MAP_OK);
	a.off = b.off = 128;
	assert_int_equal(input_at(r, 1090, 0, &a), MAP_OK);
	assert_int_equal(reasm_deadline(r), 1100);
	assert_int_equal(reasm_expire(r, 1099), 0);
	/* What is too old gets nothing any more, expired or not. */
	a.off = b.off = 64;
	struct piece last = {.id = 1, .off = 192, .len = 3};
	assert_int_equal(input_at(r, 1099, 0, &last), MAP_OK);
	assert_int_equal(input_at(r, 1100, 0, &a), MAP_OK);
	assert_null(whole);
	assert_int_equal(reasm_stats(r)->datagrams, 3);
	assert_int_equal(reasm_expire(r, 1100), 1);
	assert_int_equal(reasm_deadline(r), 1150);
	assert_int_equal(reasm_stats(r)->datagrams, 2);
	assert_int_equal(reasm_expire(r, 5000), 2);
	assert_int_equal(reasm_deadline(r), UK_NEVER);
	assert_int_equal(reasm_stats(r)->bytes, 0);
	reasm_free(r);
}

/* What was dropped is remembered as long, and counted once only. */
static void
test_dead_age(void **state)
{
	(void)state;
	struct reasm_conf c = {
	    .datagrams_max = 2, .bytes_max = 1 << 20, .age_ns = 100};
	struct reasm *r = reasm_new(&c);
	struct piece p = {.id = 1, .len = 64, .more = true};

	assert_int_equal(input_at(r, 0, 0, &p), MAP_OK);
	p.len = 72;
	assert_int_equal(input_at(r, 0, 0, &p), MAP_DROP_FRAGMENT_OVERLAP);
	assert_int_equal(reasm_stats(r)->bytes, 0);
	assert_int_equal(input_at(r, 99, 0, &p), MAP_DROP_FRAGMENT_OVERLAP);
	assert_int_equal(reasm_expire(r, 100), 0);
	assert_int_equal(reasm_stats(r)->datagrams, 0);
	assert_int_equal(input_at(r, 100, 0, &p), MAP_OK);
	reasm_free(r);
}

static void
test_memory(void **state)
{
	(void)state;
	struct reasm_conf c;

	reasm_conf_default(&c);
	assert_int_equal(c.datagrams_max, 64);
	assert_int_equal(c.bytes_max, 1 << 20);
	assert_int_equal(c.age_ns, 15 * UK_NS_PER_S);
	assert_int_equal(live, 0);
	struct reasm *r = reasm_new(&c);
	size_t all = live;
	assert_non_null(r);
	/* C2: a packet allocates nothing. */
	size_t before = calls;
	for (uint32_t id = 0; id < 200; id++)
		(void)input(
		    r, &(struct piece){.id = id, .len = 1480, .more = true});
	assert_int_equal(calls, before);
	reasm_free(r);
	assert_int_equal(live, 0);
	for (unsigned k = 1; k <= all; k++) {
		fail_at = k;
		assert_null(reasm_new(&c));
		assert_int_equal(live, 0);
	}
	fail_at = 0;
	reasm_free(NULL);
}

/* The naive twin: a byte map for each datagram and a list of what came. */
#define TWIN_LEN 2048
#define TWINS 6

struct twin {
	uint32_t id;
	bool v6;
	uint8_t there[TWIN_LEN];
	struct piece seen[300];
	unsigned n;
	uint32_t end;
	enum map_drop dead;
};

static enum map_drop
twin_input(struct twin *t, const struct piece *p, bool *complete)
{
	uint32_t got = 0;

	*complete = false;
	if (t->dead != MAP_OK)
		return t->dead;
	for (unsigned i = 0; i < t->n; i++) {
		const struct piece *s = &t->seen[i];

		if (s->off == p->off && s->len == p->len &&
		    s->more == p->more && s->seed == p->seed)
			return MAP_OK;
	}
	for (uint32_t i = p->off; i < p->off + p->len; i++) {
		if (t->there[i])
			t->dead = MAP_DROP_FRAGMENT_OVERLAP;
	}
	if (t->dead != MAP_OK)
		return t->dead;
	if (t->end != 0 && (!p->more || p->off + p->len > t->end))
		return t->dead = MAP_DROP_FRAGMENT_MALFORMED;
	for (uint32_t i = p->off + p->len; !p->more && i < TWIN_LEN; i++) {
		if (t->there[i])
			return t->dead = MAP_DROP_FRAGMENT_MALFORMED;
	}
	memset(t->there + p->off, 1, p->len);
	t->seen[t->n++] = *p;
	if (!p->more)
		t->end = p->off + p->len;
	for (uint32_t i = 0; i < TWIN_LEN; i++)
		got += t->there[i];
	*complete = t->end != 0 && got == t->end;
	return MAP_OK;
}

/* Fragments in random places: of every fourth datagram chaos, of the others
 * pieces that fit together, with repetitions. */
static struct piece
random_piece(const struct twin *t)
{
	struct piece p = {.id = t->id, .v6 = t->v6};

	if (t->id % 4 == 0) {
		p.off = (uint32_t)(rnd() % 24) * 8;
		p.len = 32 + (uint32_t)(rnd() % 8) * 8;
		p.more = rnd() % 8 != 0;
		p.seed = rnd() % 8 == 0;
		if (!p.more)
			p.len -= (uint32_t)(rnd() % 8);
		return p;
	}
	/* Sizes are the id's, so that all pieces of it agree. */
	uint32_t size = 160 + t->id % 40 * 8;
	uint32_t end = 500 + t->id * 37 % 1000;
	uint32_t count = (end + size - 1) / size;

	p.off = (uint32_t)(rnd() % count) * size;
	p.more = p.off + size < end;
	p.len = p.more ? size : end - p.off;
	return p;
}

static void
test_random(void **state)
{
	(void)state;
	struct reasm *r = new_default();
	static struct twin twin[TWINS];
	uint32_t next_id = 1;
	unsigned whole_ones = 0, dead = 0;

	memset(twin, 0, sizeof(twin));
	for (int i = 0; i < 30000; i++) {
		struct twin *t = &twin[rnd() % TWINS];
		bool complete;

		if (t->id == 0 || t->n == 290 ||
		    rnd() % (t->id % 4 == 0 ? 16 : 128) == 0) {
			memset(t, 0, sizeof(*t));
			t->id = next_id++;
			t->v6 = rnd() % 2;
		}
		struct piece p = random_piece(t);
		if (p.off == 0 && !p.more)
			continue;
		enum map_drop want = twin_input(t, &p, &complete);
		assert_int_equal(input(r, &p), want);
		assert_int_equal(whole != NULL, complete);
		dead += want != MAP_OK;
		if (!complete)
			continue;
		whole_ones++;
		p.seed = 0;
		for (unsigned k = 0; k < t->n; k++)
			p.seed |= t->seen[k].seed;
		if (p.seed == 0)
			check_whole(&p, t->end);
		t->id = 0;
	}
	assert_true(whole_ones > 1000);
	assert_true(dead > 500);
	assert_true(reasm_stats(r)->datagrams <= 64);
	reasm_free(r);
}

/* Large datagrams, in random order, every piece once and some twice. */
static void
test_random_order(void **state)
{
	(void)state;
	struct reasm *r = new_default();

	for (uint32_t id = 0; id < 60; id++) {
		struct piece p[200];
		uint32_t end = 3000 + (uint32_t)(rnd() % 62000), at = 0;
		unsigned n = 0;

		while (at < end) {
			uint32_t len = 32 + (uint32_t)(rnd() % 250) * 8;

			len = len > end - at || n == 199 ? end - at : len;
			p[n++] = (struct piece){.v6 = id % 2,
			    .id = id,
			    .off = at,
			    .len = len,
			    .seed = (uint8_t)id};
			at += len;
			p[n - 1].more = at < end;
		}
		for (unsigned i = n; i > 1; i--) {
			unsigned k = (unsigned)(rnd() % i);
			struct piece tmp = p[i - 1];

			p[i - 1] = p[k];
			p[k] = tmp;
		}
		for (unsigned i = 0; i < n; i++) {
			if (i > 0 && rnd() % 4 == 0)
				assert_int_equal(
				    input(r, &p[rnd() % i]), MAP_OK);
			assert_int_equal(input(r, &p[i]), MAP_OK);
			assert_int_equal(whole != NULL, i == n - 1);
		}
		check_whole(&p[0], end);
	}
	assert_int_equal(reasm_stats(r)->complete, 60);
	assert_int_equal(reasm_stats(r)->bytes, 0);
	reasm_free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_scenarios),
	    cmocka_unit_test(test_other_bytes),
	    cmocka_unit_test(test_alone),
	    cmocka_unit_test(test_tiny_inner),
	    cmocka_unit_test(test_largest),
	    cmocka_unit_test(test_options),
	    cmocka_unit_test(test_atomic),
	    cmocka_unit_test(test_key),
	    cmocka_unit_test(test_id_again),
	    cmocka_unit_test(test_ecn),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_bound_entries),
	    cmocka_unit_test(test_bound_bytes),
	    cmocka_unit_test(test_bound_age),
	    cmocka_unit_test(test_dead_age),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_random_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
