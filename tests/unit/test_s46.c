#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "client/mape/s46.h"
#include "core/bytes.h"
#include "core/err.h"

/* Of the next allocations this one fails; 0: none. */
static unsigned fail_at;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *
__wrap_malloc(size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_malloc(size);
}

/* ---- options from a notation: hexadecimal, and [CODE ...] around ---- */

struct bytes {
	uint8_t b[4096];
	size_t len;
};

static const char *
put(struct bytes *to, const char *s)
{
	while (*s != 0 && *s != ']') {
		size_t at = to->len;
		char *end;

		if (*s == '[') {
			store_be16(
			    to->b + at, (uint16_t)strtoul(s + 1, &end, 10));
			to->len += 4;
			s = put(to, end);
			assert_int_equal(*s++, ']');
			store_be16(
			    to->b + at + 2, (uint16_t)(to->len - at - 4));
		} else if (*s == ' ') {
			s++;
		} else {
			char digits[3] = {s[0], s[1], 0};

			to->b[to->len++] = (uint8_t)strtoul(digits, &end, 16);
			assert_ptr_equal(end, digits + 2);
			s += 2;
		}
	}
	return s;
}

/* Exactly as long as they are, for the sanitizer. */
static int
parse(struct s46 *s, const uint8_t *b, size_t len, struct diag *d)
{
	uint8_t *exact = __real_malloc(len + (len == 0));
	int err;

	memcpy(exact, b, len);
	diag_init(d, NULL);
	err = s46_parse(s, exact, len, MAP_IID_RFC7597, d);
	free(exact);
	return err;
}

#define BR "[90 20010db8000000000000000000000001]"
/* 2001:db8::/40, 192.0.2.0/24, 16 EA bits: a PSID of 8. */
#define RULE_HEAD "00 10 18 c0000200 28 20010db800"
#define RULE "[89 " RULE_HEAD "]"
#define OTHER_RULE "[89 00 10 18 c6336400 28 20010db900]"
/* The address is whole by 8 EA bits. */
#define WHOLE_HEAD "00 08 18 c0000200 28 20010db800"

struct row {
	const char *options;
	unsigned rules, ignored, others;
};

static void
check(const struct row *r)
{
	struct bytes o = {.len = 0};
	struct s46 s;
	struct diag d;

	put(&o, r->options);
	assert_int_equal(parse(&s, o.b, o.len, &d), 0);
	if (s.rules.n != r->rules || s.ignored != r->ignored ||
	    s.others != r->others)
		fail_msg("%s: %zu rules, %u ignored, %u others", r->options,
		    s.rules.n, s.ignored, s.others);
	assert_int_equal(d.warnings, s.ignored);
	assert_int_equal(d.errors, 0);
	s46_fini(&s);
	assert_null(s.rules.item);
}

/* RFC 7598 section 5: what a container needs, and what may not be in it. */
static void
test_containers(void **state)
{
	static const struct row row[] = {
	    {"", 0, 0, 0},
	    {"[94 " RULE BR "]", 1, 0, 0},
	    {"[94 " BR RULE "]", 1, 0, 0},
	    {"[94 " RULE OTHER_RULE BR "]", 2, 0, 0},
	    {"[94 " RULE BR "][94 " BR OTHER_RULE "]", 2, 0, 0},
	    {"[1 0001][94 " RULE BR "][23 ]", 1, 0, 0},
	    {"[94 " RULE "[17 00]" BR "]", 1, 0, 0},
	    {"[94 ]", 0, 1, 0},
	    {"[94 " BR "]", 0, 1, 0},
	    {"[94 " RULE "]", 0, 1, 0},
	    {"[94 " RULE BR "[91 00]]", 0, 1, 0},
	    {"[94 " RULE BR "[92 c0000201 00]]", 0, 1, 0},
	    {"[94 " RULE BR "[93 04080000]]", 1, 0, 0},
	    {"[94 " RULE "[90 20010db80000000000000000000001]]", 0, 1, 0},
	    {"[94 " RULE "[90 20010db800000000000000000000000102]]", 0, 1, 0},
	    {"[94 " RULE BR "[90 00]]", 0, 1, 0},
	    {"[94 " RULE BR "00]", 0, 1, 0},
	    {"[94 " RULE BR "005a0001]", 0, 1, 0},
	    {"[95 " RULE BR "]", 0, 0, 1},
	    {"[96 ]", 0, 0, 1},
	    {"[96 00]", 0, 1, 0},
	    {RULE, 0, 1, 0},
	    {BR, 0, 0, 1}, /* RFC 8539 */
	    {"[90 00]", 0, 1, 0},
	    {"[91 00][92 c0000201 00][93 04080000]", 0, 3, 0},
	    {"[94 " RULE BR "]005e", 1, 1, 0},
	    {"[94 " RULE BR "]005e0001", 1, 1, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		check(&row[i]);
}

/* A border relay that is nobody's address, and the nearest that are some. */
static void
test_relay_addresses(void **state)
{
	static const struct {
		const char *address;
		unsigned rules;
	} row[] = {
	    {"00000000000000000000000000000000", 0},
	    {"00000000000000000000000000000001", 0},
	    {"00000000000000000000000000000002", 1},
	    {"fe800000000000000000000000000001", 0},
	    {"fe7f0000000000000000000000000001", 1},
	    {"ff020000000000000000000000000001", 0},
	    {"fd000000000000000000000000000001", 1},
	};
	char text[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		snprintf(
		    text, sizeof(text), "[94 " RULE "[90 %s]]", row[i].address);
		check(&(struct row){text, row[i].rules, !row[i].rules, 0});
	}
	/* The first counts. */
	check(&(struct row){"[94 " RULE BR "[90 "
			    "00000000000000000000000000000000]]",
	    1, 0, 0});
}

/* RFC 7598 4.1, 4.5: each is the only rule of a container. */
static void
test_rules(void **state)
{
	static const struct row row[] = {
	    {"", 0, 1, 0},
	    {"00 10 18 c0000200", 0, 1, 0},
	    {"00 10 18 c0000200 28 20010db8", 0, 1, 0},
	    {"00 10 18 c0000200 29 20010db800", 0, 1, 0},
	    {"00 10 18 c0000200 29 20010db80080", 1, 0, 0},
	    {"00 30 18 c0000200 28 20010db800", 0, 1, 0}, /* PSID of 40 bits */
	    {"00 30 00 00000000 28 20010db800", 0, 1, 0}, /* ... of 16, a = 6 */
	    {"00 2a 00 00000000 28 20010db800", 1, 0, 0},
	    {"00 2b 00 00000000 28 20010db800", 0, 1, 0},
	    {"00 31 00 00000000 28 20010db800 [93 00000000]", 0, 1, 0},
	    {"00 30 00 00000000 28 20010db800 [93 00000000]", 1, 0, 0},
	    {"00 00 20 c0000201 28 20010db800", 1, 0, 0},
	    {"00 00 21 c0000201 28 20010db800", 0, 1, 0},
	    {"00 00 20 c0000201 80 20010db8000000000000000000000000", 1, 0, 0},
	    {"00 00 20 c0000201 81 20010db8000000000000000000000000 00", 0, 1,
		0},
	    {"00 01 1f c0000200 80 20010db8000000000000000000000000", 0, 1, 0},
	    {"00 00 20 c0000201 00", 1, 0, 0},
	    {RULE_HEAD "00", 0, 1, 0},
	    {RULE_HEAD "[17 ]", 1, 0, 0},
	    {RULE_HEAD "[93 040000]", 0, 1, 0},
	    {RULE_HEAD "[93 0400000000]", 0, 1, 0},
	    {RULE_HEAD "[93 04000000][93 04000000]", 0, 1, 0},
	    {RULE_HEAD "[93 0400ffff]", 1, 0, 0},
	    {RULE_HEAD "[93 0f000000]", 0, 1, 0}, /* 15 + 8 bits */
	    {RULE_HEAD "[93 10000000]", 0, 1, 0},
	    {RULE_HEAD "[93 04083400]", 1, 0, 0},
	    {RULE_HEAD "[93 04073400]", 0, 1, 0}, /* not as the EA bits */
	    {WHOLE_HEAD "[93 00100001]", 1, 0, 0},
	    {WHOLE_HEAD "[93 00110001]", 0, 1, 0},
	    {WHOLE_HEAD "[93 060a0000]", 1, 0, 0},
	    {WHOLE_HEAD "[93 060b0000]", 0, 1, 0},
	    {WHOLE_HEAD "[93 0f000000]", 1, 0, 0},
	    {WHOLE_HEAD "[93 10000000]", 0, 1, 0},
	    /* Less than an address: the port parameters do not count. */
	    {"00 07 18 c0000200 28 20010db800 [93 04083400]", 1, 1, 0},
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		snprintf(
		    text, sizeof(text), "[94 [89 %s]" BR "]", row[i].options);
		check(&(struct row){
		    text, row[i].rules, row[i].ignored, row[i].others});
	}
	/* One that makes no sense does not take the others with it. */
	check(&(struct row){"[94 [89 00]" RULE BR "]", 1, 1, 0});
	/* Of two about one IPv6 prefix the second does not count. */
	check(&(struct row){"[94 " RULE RULE BR "]", 1, 1, 0});
	check(&(struct row){"[94 " RULE BR "]"
			    "[94 [89 00 10 18 c6336400 28 20010db800]" BR "]",
	    1, 1, 0});
	check(&(struct row){"[94 " RULE
			    "[89 00 0f 18 c6336400 29 20010db80000]" BR "]",
	    2, 0, 0});
}

static struct map_rule
only_rule(const char *rule)
{
	struct bytes o = {.len = 0};
	struct map_rule r;
	char text[512];
	struct s46 s;
	struct diag d;

	snprintf(text, sizeof(text), "[94 [89 %s]" BR "]", rule);
	put(&o, text);
	assert_int_equal(parse(&s, o.b, o.len, &d), 0);
	assert_int_equal(s.rules.n, 1);
	r = s.rules.item[0];
	s46_fini(&s);
	return r;
}

static void
test_values(void **state)
{
	struct map_rule r = only_rule("ff 10 18 c00002ff 29 20010db800ff");
	char text[IP_PREFIX_TEXT_MAX];

	(void)state;
	assert_string_equal(
	    ip_prefix_format(&r.ipv6, text), "2001:db8:80::/41");
	assert_string_equal(ip_prefix_format(&r.ipv4, text), "192.0.2.0/24");
	assert_string_equal(ip_addr_format(&r.br, text), "2001:db8::1");
	assert_int_equal(r.ea_len, 16);
	assert_int_equal(r.psid_len, 8);
	assert_int_equal(r.psid_offset, MAP_PSID_OFFSET_DEFAULT);
	assert_int_equal(r.iid, MAP_IID_RFC7597);
	assert_true(r.fmr);
	assert_false(r.psid_given);
	assert_string_equal(r.source, "dhcp");
	assert_string_equal(r.confidence, "official");
	assert_string_equal(r.operator_name, "");
	assert_false(only_rule("fe 10 18 c0000200 28 20010db800").fmr);
}

/* RFC 7598 4.5: the PSID is left-aligned; of length 0 it is none. */
static void
test_port_parameters(void **state)
{
	struct map_rule r = only_rule(RULE_HEAD "[93 0400ffff]");

	(void)state;
	assert_false(r.psid_given);
	assert_int_equal(r.psid_offset, 4);
	assert_int_equal(r.psid_len, 8);
	assert_int_equal(r.psid, 0);
	r = only_rule(WHOLE_HEAD "[93 040834ff]");
	assert_true(r.psid_given);
	assert_int_equal(r.psid_offset, 4);
	assert_int_equal(r.psid_len, 8);
	assert_int_equal(r.psid, 0x34);
	r = only_rule(WHOLE_HEAD "[93 0010abcd]");
	assert_int_equal(r.psid, 0xabcd);
	assert_int_equal(r.psid_len, 16);
	r = only_rule(WHOLE_HEAD "[93 0f018000]");
	assert_int_equal(r.psid, 1);
	r = only_rule(RULE_HEAD "[93 04083400]");
	assert_true(r.psid_given);
	assert_int_equal(r.psid, 0x34);
	r = only_rule("00 07 18 c0000200 28 20010db800 [93 04083400]");
	assert_false(r.psid_given);
	assert_int_equal(r.psid_offset, MAP_PSID_OFFSET_DEFAULT);
	assert_int_equal(r.psid_len, 0);
}

/* Cut anywhere, nothing of the container is taken, and it is said so. */
static void
test_truncated(void **state)
{
	struct bytes o = {.len = 0};
	struct s46 s;
	struct diag d;

	(void)state;
	put(&o, "[94 [89 " RULE_HEAD "[93 04000000]]" RULE BR "]");
	for (size_t len = 1; len < o.len; len++) {
		assert_int_equal(parse(&s, o.b, len, &d), 0);
		assert_int_equal(s.rules.n, 0);
		assert_int_equal(s.ignored, 1);
		assert_int_equal(d.warnings, 1);
		s46_fini(&s);
		/* The same inside of a container whose length is right. */
		store_be16(o.b + 2, (uint16_t)(len > 4 ? len - 4 : 0));
		if (len >= 4) {
			assert_int_equal(parse(&s, o.b, len, &d), 0);
			assert_int_equal(s.rules.n, 0);
			assert_int_equal(s.ignored, 1);
			s46_fini(&s);
		}
		store_be16(o.b + 2, (uint16_t)(o.len - 4));
	}
}

/* The naive twin: which rules does a list of numbers make? */
struct twin {
	unsigned fmr, ea, p4, p6, offset, k, psid, ports;
};

static bool
twin_ok(const struct twin *t)
{
	unsigned whole = t->p4 + t->ea;
	unsigned k = whole > 32 ? whole - 32 : 0;
	unsigned offset = t->ports ? t->offset : 6;

	if (t->ea > 48 || t->p4 > 32 || t->p6 > 128 || t->p6 + t->ea > 128)
		return false;
	if (t->ports && (t->offset > 15 || t->offset + t->k > 16))
		return false;
	if (t->ports && t->k > 0 && whole < 32)
		offset = 6;
	else if (t->ports && t->k > 0 && k > 0 && k != t->k)
		return false;
	else if (t->ports && t->k > 0)
		k = t->k;
	return offset + k <= 16;
}

static void
test_twin(void **state)
{
	unsigned taken = 0;

	(void)state;
	srand(46);
	for (int i = 0; i < 20000; i++) {
		struct twin t = {(unsigned)rand() % 2, (unsigned)rand() % 51,
		    (unsigned)rand() % 34, (unsigned)rand() % 131,
		    (unsigned)rand() % 17, (unsigned)rand() % 18,
		    (unsigned)rand() % 65536, (unsigned)rand() % 2};
		char text[512], ports[32] = "";
		struct bytes o = {.len = 0};
		struct s46 s;
		struct diag d;

		snprintf(ports, sizeof(ports), "[93 %02x%02x%04x]", t.offset,
		    t.k, t.psid);
		snprintf(text, sizeof(text),
		    "[94 [89 %02x%02x%02x c0000200 %02x %.*s %s]" BR "]", t.fmr,
		    t.ea, t.p4, t.p6, (int)((t.p6 + 7) / 8 * 2),
		    "20010db8000000000000000000000000000000",
		    t.ports ? ports : "");
		put(&o, text);
		assert_int_equal(parse(&s, o.b, o.len, &d), 0);
		if (s.rules.n != twin_ok(&t))
			fail_msg("%s: %zu", text, s.rules.n);
		taken += twin_ok(&t);
		s46_fini(&s);
	}
	assert_in_range(taken, 500, 19500);
}

static void
test_memory(void **state)
{
	struct bytes o = {.len = 0};
	struct s46 s;
	struct diag d;
	char text[512] = "[94 " BR;
	unsigned n = 0;

	(void)state;
	for (unsigned i = 1; i < 10; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
		    "[89 00 10 18 c0000200 28 20010db8%02u]", i);
	strcat(text, "]");
	put(&o, text);
	do {
		fail_at = ++n;
		if (parse(&s, o.b, o.len, &d) == 0)
			break;
		assert_int_equal(fail_at, 0);
		assert_null(s.rules.item);
		assert_int_equal(s.ignored, 0);
	} while (n < 100);
	assert_in_range(n, 2, 99);
	fail_at = 0;
	assert_int_equal(s.rules.n, 9);
	s46_fini(&s);
}

static void
test_decode(void **state)
{
	static const struct {
		const char *text, *bytes;
		size_t text_len, len;
		int err;
	} row[] = {
	    {"", "", 0, 0, 0},
	    {"00:5e", "\0\x5e", 5, 2, 0},
	    {" 0 0 5\tE\r\n", "\0\x5e", 10, 2, 0},
	    {"005eABcd", "\0\x5e\xab\xcd", 8, 4, 0},
	    {"005", "", 3, 0, UK_EPROTO},
	    {"0x005e", "\0\x5e", 6, 2, 0},
	    {" 0X00 5e", "\0\x5e", 8, 2, 0},
	    {"0x05e", "", 5, 0, UK_EPROTO},
	    {"0x", "0x", 2, 2, 0},
	    {"005e0x", "005e0x", 6, 6, 0},
	    {"\0\x5e\0\0", "\0\x5e\0\0", 4, 4, 0},
	    {"00 5g", "00 5g", 5, 5, 0},
	    {"00\0", "00\0", 3, 3, 0},
	};
	uint8_t b[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		size_t len = row[i].text_len;

		memcpy(b, row[i].text, len);
		assert_int_equal(s46_decode(b, &len), row[i].err);
		if (row[i].err < 0)
			continue;
		assert_int_equal(len, row[i].len);
		assert_memory_equal(b, row[i].bytes, len);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_containers),
	    cmocka_unit_test(test_relay_addresses),
	    cmocka_unit_test(test_rules),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_port_parameters),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_decode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
