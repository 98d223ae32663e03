#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "client/policy/dns_message.h"
#include "core/bytes.h"
#include "core/err.h"

enum { A = 1, CNAME = 5, MX = 15, TXT = 16, AAAA = 28, RRSIG = 46, HTTPS = 65 };

/* A message by hand, so that it may be wrong. */
struct wire {
	uint8_t b[70000];
	size_t len;
};

static struct wire w;
static uint8_t out[DNS_MESSAGE_MAX];
static struct dns_question q;
static struct dns_answer a;

static void
put(const void *bytes, size_t len)
{
	memcpy(w.b + w.len, bytes, len);
	w.len += len;
}

static void
put16(unsigned v)
{
	uint8_t b[2];

	store_be16(b, (uint16_t)v);
	put(b, 2);
}

static void
put_name(const char *name)
{
	while (*name) {
		uint8_t n = (uint8_t)strcspn(name, ".");

		put(&n, 1);
		put(name, n);
		name += n + (name[n] == '.');
	}
	put("", 1);
}

static void
begin(unsigned flags, const char *name, unsigned type)
{
	w.len = 0;
	put16(0x1234);
	put16(flags);
	put16(1);
	put16(0);
	put16(0);
	put16(0);
	put_name(name);
	put16(type);
	put16(1);
}

static void
count(unsigned at, int more)
{
	store_be16(w.b + at, (uint16_t)(load_be16(w.b + at) + more));
}

static void
record_head(unsigned type, unsigned class, uint32_t ttl_s, size_t len)
{
	put16(type);
	put16(class);
	put16(ttl_s >> 16);
	put16(ttl_s & 0xffff);
	put16((unsigned)len);
}

static void
rr(const char *owner, unsigned type, uint32_t ttl_s, const void *data,
    size_t len)
{
	put_name(owner);
	record_head(type, 1, ttl_s, len);
	put(data, len);
	count(6, 1);
}

static void
rr_a(const char *owner, uint32_t ttl_s, uint8_t last)
{
	const uint8_t v4[] = {192, 0, 2, last};

	rr(owner, A, ttl_s, v4, sizeof(v4));
}

static void
rr_cname(const char *owner, uint32_t ttl_s, const char *to)
{
	size_t at;

	put_name(owner);
	record_head(CNAME, 1, ttl_s, 0);
	at = w.len;
	put_name(to);
	store_be16(w.b + at - 2, (uint16_t)(w.len - at));
	count(6, 1);
}

static void
opt(unsigned size)
{
	put("", 1);
	put16(41);
	put16(size);
	put16(0);
	put16(0x8000);
	put16(0);
	count(10, 1);
}

static void
ask(const char *name, unsigned type)
{
	begin(0x0100, name, type);
	assert_int_equal(dns_question_parse(&q, w.b, w.len), 0);
}

static int
parse(void)
{
	return dns_answer_parse(&a, &q, w.b, w.len);
}

static void
questions(void **state)
{
	(void)state;
	begin(0x0100, "WWW.Example.JP", AAAA);
	assert_int_equal(dns_question_parse(&q, w.b, w.len), 0);
	assert_int_equal(q.id, 0x1234);
	assert_int_equal(q.type, AAAA);
	assert_int_equal(q.class, 1);
	assert_int_equal(q.udp_size, 512);
	assert_string_equal(q.name, "www.example.jp");
	assert_true(q.plain);
	opt(1400);
	assert_int_equal(dns_question_parse(&q, w.b, w.len), 0);
	assert_int_equal(q.udp_size, 1400);
	begin(0x0100, "x", A);
	opt(100); /* RFC 6891 6.2.3: 512 at least */
	assert_int_equal(dns_question_parse(&q, w.b, w.len), 0);
	assert_int_equal(q.udp_size, 512);
	begin(0x0100, "", A);
	assert_int_equal(dns_question_parse(&q, w.b, w.len), 0);
	assert_string_equal(q.name, "");
}

static void
what_is_no_question(void **state)
{
	(void)state;
	begin(0x8100, "x", A); /* a response */
	assert_int_equal(dns_question_parse(&q, w.b, w.len), UK_EPROTO);
	begin(0x2100, "x", A); /* NOTIFY */
	assert_int_equal(dns_question_parse(&q, w.b, w.len), UK_EPROTO);
	begin(0x0100, "x", A);
	rr_a("x", 1, 1); /* with an answer */
	assert_int_equal(dns_question_parse(&q, w.b, w.len), UK_EPROTO);
	begin(0x0100, "x", A);
	put_name("y");
	put16(A);
	put16(1);
	count(4, 1); /* two */
	assert_int_equal(dns_question_parse(&q, w.b, w.len), UK_EPROTO);
	begin(0x0100, "x", A);
	count(4, -1);
	assert_int_equal(dns_question_parse(&q, w.b, w.len), UK_EPROTO);
	begin(0x0100, "www.example.jp", A);
	for (size_t n = 0; n < w.len; n++)
		assert_int_equal(dns_question_parse(&q, w.b, n), UK_EPROTO);
}

/* RFC 2181 11: any byte may be in a label; none of them makes another name. */
static void
names_that_are_not_plain(void **state)
{
	(void)state;
	begin(0x0100, "", A);
	w.len = 12;
	put("\13a.only.test\2b!", 16);
	put16(A);
	put16(1);
	assert_int_equal(dns_question_parse(&q, w.b, w.len), 0);
	assert_string_equal(q.name, "a?only?test.b!");
	assert_false(q.plain);
	w.len = 12;
	put("\3\0 \xff\0", 5);
	put16(A);
	put16(1);
	assert_int_equal(dns_question_parse(&q, w.b, w.len), 0);
	assert_string_equal(q.name, "???");
	assert_false(q.plain);
}

static void
addresses_and_times(void **state)
{
	(void)state;
	ask("x.jp", A);
	begin(0x8180, "X.jp", A);
	rr_a("x.JP", 70, 1);
	rr_a("other.jp", 5, 9); /* does not count */
	rr_a("x.jp", 60, 2);
	assert_int_equal(parse(), 0);
	assert_int_equal(a.rcode, 0);
	assert_false(a.truncated || a.endless);
	assert_int_equal(a.addresses, 2);
	assert_true(a.more);
	assert_int_equal(a.address[0].ttl_s, 70);
	assert_int_equal(a.address[1].addr.b[3], 2);
	assert_int_equal(a.address[1].ttl_s, 60);
	assert_int_equal(a.names, 1);
	assert_string_equal(a.name[0], "x.jp");
}

static void
chains(void **state)
{
	(void)state;
	ask("a.jp", A);
	begin(0x8380, "a.jp", A); /* truncated */
	rr_a("c.jp", 500, 7);
	rr_cname("b.jp", 300, "c.jp"); /* in no order */
	rr_cname("a.jp", 400, "b.jp");
	rr_cname("a.jp", 400, "B.jp"); /* the same again */
	assert_int_equal(parse(), 0);
	assert_true(a.truncated);
	assert_int_equal(a.names, 3);
	assert_string_equal(a.name[2], "c.jp");
	assert_int_equal(a.addresses, 1);
	assert_int_equal(a.address[0].ttl_s, 300);
	assert_false(a.more || a.endless);
	/* An address beside a CNAME is not where that leads to. */
	rr_a("a.jp", 500, 8);
	assert_int_equal(parse(), 0);
	assert_int_equal(a.addresses, 1);
	assert_true(a.more);
	/* Two ways: nobody knows which one a client takes. */
	rr_cname("a.jp", 400, "d.jp");
	assert_int_equal(parse(), UK_EPROTO);
	/* One of another class leads nowhere. */
	begin(0x8180, "a.jp", A);
	put_name("a.jp");
	record_head(CNAME, 3, 60, 6);
	put_name("b.jp");
	count(6, 1);
	rr_a("a.jp", 60, 1);
	assert_int_equal(parse(), 0);
	assert_int_equal(a.names, 1);
	assert_int_equal(a.addresses, 1);
}

/* Who asks for any class gets CNAMEs of the internet's. */
static void
chains_of_any_class(void **state)
{
	(void)state;
	begin(0x0100, "a.jp", A);
	store_be16(w.b + w.len - 2, 255);
	assert_int_equal(dns_question_parse(&q, w.b, w.len), 0);
	begin(0x8180, "a.jp", A);
	store_be16(w.b + w.len - 2, 255);
	rr_cname("a.jp", 400, "b.jp");
	rr_a("b.jp", 500, 7);
	assert_int_equal(parse(), 0);
	assert_int_equal(a.names, 2);
	assert_int_equal(a.addresses, 1);
}

static void
chain_of(unsigned n)
{
	char from[16], to[16];

	ask("n0.jp", A);
	begin(0x8180, "n0.jp", A);
	for (unsigned i = 0; i < n; i++) {
		snprintf(from, sizeof(from), "n%u.jp", i);
		snprintf(to, sizeof(to), "n%u.jp", i + 1);
		rr_cname(from, 60, to);
	}
	snprintf(to, sizeof(to), "n%u.jp", n);
	rr_a(to, 60, 1);
	assert_int_equal(parse(), 0);
}

static void
chains_without_end(void **state)
{
	(void)state;
	chain_of(BINDINGS_CHAIN_MAX - 1);
	assert_int_equal(a.names, BINDINGS_CHAIN_MAX);
	assert_int_equal(a.addresses, 1);
	assert_false(a.endless);
	chain_of(BINDINGS_CHAIN_MAX);
	assert_true(a.endless && a.more);
	assert_int_equal(a.addresses, 0);
	chain_of(40);
	assert_true(a.endless);
	assert_int_equal(a.addresses, 0);
	ask("a.jp", A); /* a circle */
	begin(0x8180, "a.jp", A);
	rr_cname("a.jp", 60, "b.jp");
	rr_cname("b.jp", 60, "a.jp");
	assert_int_equal(parse(), 0);
	assert_true(a.endless);
}

static void
answers_to_something_else(void **state)
{
	(void)state;
	ask("x.jp", A);
	begin(0x8180, "x.jp", A);
	assert_int_equal(parse(), 0);
	begin(0x8180, "y.jp", A);
	assert_int_equal(parse(), UK_EPROTO);
	begin(0x8180, "x.jp", AAAA);
	assert_int_equal(parse(), UK_EPROTO);
	begin(0x8180, "x.jp", A);
	w.b[w.len - 1] = 3; /* class CH */
	assert_int_equal(parse(), UK_EPROTO);
	begin(0x8180, "x.jp", A);
	w.b[0]++;
	assert_int_equal(parse(), UK_EPROTO);
	begin(0x0180, "x.jp", A); /* no response */
	assert_int_equal(parse(), UK_EPROTO);
	begin(0xa180, "x.jp", A); /* NOTIFY */
	assert_int_equal(parse(), UK_EPROTO);
	/* Without a question: only errors, and without records. */
	for (unsigned rcode = 0; rcode < 6; rcode++) {
		begin(0x8180 | rcode, "x.jp", A);
		count(4, -1);
		w.len = 12;
		assert_int_equal(
		    parse(), rcode == 0 || rcode == 3 ? UK_EPROTO : 0);
	}
	begin(0x8182, "x.jp", A);
	count(4, -1);
	w.len = 12;
	rr_a("x.jp", 1, 1);
	assert_int_equal(parse(), UK_EPROTO);
}

static void
addresses_of_another_class(void **state)
{
	(void)state;
	ask("x.jp", A);
	begin(0x8180, "x.jp", A);
	put_name("x.jp");
	record_head(A, 3, 60, 4);
	put("\1\2\3\4", 4);
	count(6, 1);
	/* ldns may take it or not; it is no address. */
	if (parse() == 0)
		assert_int_equal(a.addresses, 0);
}

static void
pointers(void **state)
{
	(void)state;
	ask("x.jp", A);
	begin(0x8180, "x.jp", A);
	put16(0xc000 | (unsigned)w.len); /* to itself */
	record_head(A, 1, 60, 4);
	put("\1\2\3\4", 4);
	count(6, 1);
	assert_int_equal(parse(), UK_EPROTO);
	begin(0x8180, "x.jp", A);
	put16(0xc000 | (unsigned)(w.len + 2)); /* there, and back */
	put16(0xc000 | (unsigned)(w.len - 2));
	put(w.b, 20);
	count(6, 1);
	assert_int_equal(parse(), UK_EPROTO);
	begin(0x8180, "x.jp", A);
	put16(0xffff); /* out of the message */
	record_head(A, 1, 60, 4);
	put("\1\2\3\4", 4);
	count(6, 1);
	assert_int_equal(parse(), UK_EPROTO);
	/* Forward, to a name that is whole: harmless, and means what it
	 * says. */
	begin(0x8180, "x.jp", A);
	put16(0xc000 | (unsigned)(w.len + 2 + 10 + 4));
	record_head(A, 1, 60, 4);
	put("\1\2\3\4", 4);
	put_name("x.jp");
	count(6, 1);
	if (parse() == 0)
		assert_int_equal(a.addresses, 1);
	begin(0x8180, "x.jp", A);
	put16(0xc00c);
	record_head(CNAME, 1, 60, 5);
	put("\2ab\xc0\x0e", 5); /* compressed in its data */
	count(6, 1);
	assert_int_equal(parse(), 0);
	assert_string_equal(a.name[1], "ab.jp");
}

static void
counts_that_lie(void **state)
{
	static const unsigned at[] = {6, 8, 10};

	(void)state;
	ask("x.jp", A);
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		begin(0x8180, "x.jp", A);
		rr_a("x.jp", 60, 1);
		count(at[i], 1);
		assert_int_equal(parse(), UK_EPROTO);
		count(at[i], 0xfff0);
		assert_int_equal(parse(), UK_EPROTO);
	}
}

static void
cut_at_every_byte(void **state)
{
	static struct wire whole;

	(void)state;
	ask("www.example.jp", A);
	begin(0x8180, "www.example.jp", A);
	rr_cname("www.example.jp", 60, "cdn.example.jp");
	rr_a("cdn.example.jp", 60, 1);
	rr("cdn.example.jp", TXT, 60, "\3abc", 4);
	opt(1232);
	whole = w;
	assert_int_equal(parse(), 0);
	for (size_t n = 0; n < whole.len; n++) {
		/* From the heap, so that a sanitizer sees its end. */
		uint8_t *cut = test_malloc(n + 1);

		memcpy(cut + 1, whole.b, n);
		assert_int_equal(
		    dns_answer_parse(&a, &q, cut + 1, n), UK_EPROTO);
		test_free(cut);
	}
}

static bool
keep_odd(void *arg, const struct ip_addr *addr)
{
	(void)arg;
	return addr->b[addr->family == FAMILY_V4 ? 3 : 15] % 2;
}

static void
many_records(void **state)
{
	int n;

	(void)state;
	ask("x.jp", A);
	begin(0x8180, "x.jp", A);
	for (unsigned i = 0; i < 1000; i++)
		rr_a("x.jp", 60, (uint8_t)i);
	assert_int_equal(parse(), 0);
	assert_int_equal(a.addresses, DNS_MESSAGE_ADDRESSES);
	assert_true(a.more);
	n = dns_answer_filter(out, 1232, w.b, w.len, keep_odd, NULL);
	assert_in_range(n, 12, 1232);
	assert_int_equal(dns_answer_parse(&a, &q, out, (size_t)n), 0);
	assert_true(a.truncated);
	assert_int_equal(a.addresses, 0);
	/* As many as there may be, and one more. */
	begin(0x8180, "", A);
	for (unsigned i = 0; i < DNS_MESSAGE_RECORDS; i++)
		rr("", A, 60, "\300\0\2\1", 4);
	assert_int_equal(w.len, 17 + DNS_MESSAGE_RECORDS * 15);
	ask("", A);
	begin(0x8180, "", A);
	for (unsigned i = 0; i < DNS_MESSAGE_RECORDS; i++)
		rr("", A, 60, "\300\0\2\1", 4);
	assert_int_equal(parse(), 0);
	rr("", A, 60, "\300\0\2\1", 4);
	assert_int_equal(parse(), UK_EPROTO);
}

static void
longest_message(void **state)
{
	static uint8_t filler[65535];

	(void)state;
	ask("x.jp", A);
	begin(0x8180, "x.jp", A);
	rr("x.jp", 65280, 60, filler, DNS_MESSAGE_MAX - w.len - 16);
	assert_int_equal(w.len, DNS_MESSAGE_MAX);
	assert_int_equal(parse(), 0);
	w.len++;
	assert_int_equal(parse(), UK_EPROTO);
}

static void
refusals(void **state)
{
	int n;

	(void)state;
	begin(0x0110, "WwW.jp", HTTPS); /* RD, CD */
	opt(4096);
	assert_int_equal(dns_question_parse(&q, w.b, w.len), 0);
	for (unsigned rcode = 0; rcode < 6; rcode++) {
		n = dns_refuse(out, sizeof(out), w.b, w.len, rcode);
		assert_in_range(n, 12, 100);
		assert_int_equal(load_be16(out + 2), 0x8190 | rcode);
		assert_memory_equal(out + 12, "\3WwW\2jp", 8);
		assert_int_equal(load_be16(out + 10), 1); /* EDNS */
		assert_int_equal(dns_answer_parse(&a, &q, out, (size_t)n), 0);
		assert_int_equal(a.rcode, rcode);
		assert_int_equal(a.addresses, 0);
	}
	assert_int_equal(dns_refuse(out, 20, w.b, w.len, 2), UK_EPROTO);
	begin(0x0100, "x", A);
	assert_in_range(dns_refuse(out, sizeof(out), w.b, w.len, 2), 12, 100);
	assert_int_equal(load_be16(out + 10), 0);
	begin(0x8100, "x", A);
	assert_int_equal(
	    dns_refuse(out, sizeof(out), w.b, w.len, 2), UK_EPROTO);
	assert_int_equal(dns_refuse(out, sizeof(out), w.b, 5, 2), UK_EPROTO);
}

/* A signature of this type's records by "x.jp". */
static void
rr_sig(unsigned covered)
{
	uint8_t sig[18 + 6 + 4] = {0};

	store_be16(sig, (uint16_t)covered);
	memcpy(sig + 18, "\1x\2jp", 6);
	rr("x.jp", RRSIG, 60, sig, sizeof(sig));
}

static unsigned
records_of(const uint8_t *msg)
{
	return load_be16(msg + 6);
}

static void
filters(void **state)
{
	static const uint8_t v6[2][16] = {{[15] = 1}, {[15] = 2}};
	int n;

	(void)state;
	ask("x.jp", A);
	begin(0x81a0, "x.jp", A); /* AD */
	rr_a("x.jp", 100000, 1);
	rr_a("x.jp", 60, 2);
	rr_sig(A);
	rr("x.jp", AAAA, 60, v6[0], 16);
	rr_sig(AAAA);
	rr("x.jp", TXT, 60, "\3abc", 4);
	opt(1232);
	n = dns_answer_filter(out, sizeof(out), w.b, w.len, keep_odd, NULL);
	assert_true(n > 0);
	assert_int_equal(dns_answer_parse(&a, &q, out, (size_t)n), 0);
	assert_int_equal(a.addresses, 2);
	assert_int_equal(a.address[0].addr.b[3], 1);
	assert_int_equal(a.address[0].ttl_s, BINDINGS_CEILING_S);
	assert_false(a.truncated);
	assert_int_equal(load_be16(out + 2), 0x8180);
	assert_int_equal(records_of(out), 4); /* of A no signature */
	assert_int_equal(load_be16(out + 10), 1);
	/* AAAA goes, and its signature; that of A stays. */
	begin(0x8180, "x.jp", A);
	rr_a("x.jp", 60, 1);
	rr_sig(A);
	rr("x.jp", AAAA, 60, v6[1], 16);
	rr_sig(AAAA);
	n = dns_answer_filter(out, sizeof(out), w.b, w.len, keep_odd, NULL);
	assert_int_equal(records_of(out), 2);
	/* One byte less than it needs: truncated. */
	assert_int_equal(
	    dns_answer_filter(out, (size_t)n, w.b, w.len, keep_odd, NULL), n);
	assert_int_equal(load_be16(out + 2) & 0x0200, 0);
	n = dns_answer_filter(out, (size_t)n - 1, w.b, w.len, keep_odd, NULL);
	assert_true(n > 0);
	assert_int_equal(load_be16(out + 2) & 0x0200, 0x0200);
	assert_int_equal(records_of(out), 0);
	assert_int_equal(
	    dns_answer_filter(out, 12, w.b, w.len, keep_odd, NULL), UK_EPROTO);
	assert_int_equal(
	    dns_answer_filter(out, sizeof(out), w.b, 20, keep_odd, NULL),
	    UK_EPROTO);
}

/* Addresses beside the answer are looked at, too. */
static void
filters_additional_records(void **state)
{
	int n;

	(void)state;
	ask("x.jp", MX);
	begin(0x8180, "x.jp", MX);
	rr("x.jp", MX, 60, "\0\1\xc0\x0c", 4);
	rr_a("x.jp", 60, 2);
	count(6, -1);
	count(10, 1);
	assert_int_equal(parse(), 0);
	assert_true(a.more && a.addresses == 0);
	n = dns_answer_filter(out, sizeof(out), w.b, w.len, keep_odd, NULL);
	assert_true(n > 0);
	assert_int_equal(records_of(out), 1);
	assert_int_equal(load_be16(out + 10), 0);
	assert_int_equal(dns_answer_parse(&a, &q, out, (size_t)n), 0);
	assert_false(a.more);
	/* The same in the section before it. */
	count(10, -1);
	count(8, 1);
	assert_int_equal(parse(), 0);
	assert_true(a.more && a.addresses == 0);
}

static void
queries(void **state)
{
	int n = dns_query(out, sizeof(out), 77, "www.xn--wgv71a.jp", AAAA);

	(void)state;
	assert_true(n > 0);
	assert_int_equal(dns_question_parse(&q, out, (size_t)n), 0);
	assert_int_equal(q.id, 77);
	assert_int_equal(q.type, AAAA);
	assert_string_equal(q.name, "www.xn--wgv71a.jp");
	assert_int_equal(q.udp_size, 1232);
	assert_int_equal(load_be16(out + 2), 0x0100);
	assert_int_equal(dns_query(out, 20, 77, "www.jp", A), UK_EPROTO);
	assert_int_equal(dns_query(out, 512, 77, "a..jp", A), UK_EPROTO);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(questions),
	    cmocka_unit_test(what_is_no_question),
	    cmocka_unit_test(names_that_are_not_plain),
	    cmocka_unit_test(addresses_and_times),
	    cmocka_unit_test(chains),
	    cmocka_unit_test(chains_of_any_class),
	    cmocka_unit_test(chains_without_end),
	    cmocka_unit_test(answers_to_something_else),
	    cmocka_unit_test(addresses_of_another_class),
	    cmocka_unit_test(pointers),
	    cmocka_unit_test(counts_that_lie),
	    cmocka_unit_test(cut_at_every_byte),
	    cmocka_unit_test(many_records),
	    cmocka_unit_test(longest_message),
	    cmocka_unit_test(refusals),
	    cmocka_unit_test(filters),
	    cmocka_unit_test(filters_additional_records),
	    cmocka_unit_test(queries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
