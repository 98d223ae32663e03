#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/mape/map_rules.h"
#include "client/mape/map_rules_jp.h"
#include "core/bytes.h"
#include "core/err.h"

static unsigned fail_at; /* fail this one of the next ones; 0: none */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *
__wrap_malloc(size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_calloc(n, size);
}

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

#define HEAD                                                                   \
	"operator,ipv6_rule_prefix,ipv4_prefix,ea_len,psid_offset,psid_len,"   \
	"br_address,iid_style,confidence,source\n"
#define ROW                                                                    \
	"v6plus,240b:10::/31,106.72.0.0/15,25,4,8,2404:9200:225:100::64,"      \
	"draft03,official,RULESRV; SITE\n"
#define SHORT "ipv6_rule_prefix,ipv4_prefix,ea_len\n"

static struct diag d;

static int
parse(struct map_rules *l, const char *text)
{
	diag_init(&d, "rules.csv");
	return map_rules_parse(l, text, strlen(text), &d);
}

/* ---- what is accepted ---- */

static void
assert_v6plus(const struct map_rule *r)
{
	char text[IP_PREFIX_TEXT_MAX];

	assert_string_equal(r->operator_name, "v6plus");
	assert_string_equal(ip_prefix_format(&r->ipv6, text), "240b:10::/31");
	assert_string_equal(ip_prefix_format(&r->ipv4, text), "106.72.0.0/15");
	assert_int_equal(r->ea_len, 25);
	assert_int_equal(r->psid_offset, 4);
	assert_int_equal(r->psid_len, 8);
	assert_false(r->psid_given);
	assert_int_equal(r->iid, MAP_IID_DRAFT03);
	assert_string_equal(
	    ip_addr_format(&r->br, text), "2404:9200:225:100::64");
	assert_false(r->fmr);
	assert_string_equal(r->confidence, "official");
	assert_string_equal(r->source, "RULESRV; SITE");
}

static void
test_spellings(void **state)
{
	static const char *const same[] = {
	    HEAD ROW,
	    /* No end of the last line; byte order mark; CRLF; comments. */
	    HEAD "v6plus,240b:10::/31,106.72.0.0/15,25,4,8,"
		 "2404:9200:225:100::64,draft03,official,RULESRV; SITE",
	    "\xef\xbb\xbf\r\n# \xe6\x97\xa5\r\n" HEAD "\r\n \t\r\n" ROW
	    "\r\n,,,,,,,,,\r\n  # the end",
	    "operator,ipv6_rule_prefix,ipv4_prefix,ea_len,psid_offset,psid_len,"
	    "br_address,iid_style,confidence,source\r\n"
	    "v6plus,240b:10::/31,106.72.0.0/15,25,4,8,2404:9200:225:100::64,"
	    "draft03,official,RULESRV; SITE\r\n",
	    /* Quotes and blanks. */
	    "\"operator\", ipv6_rule_prefix ,\"ipv4_prefix\" ,ea_len,"
	    "psid_offset,psid_len,br_address,iid_style,confidence,source\n"
	    " v6plus , \"240B:0010:0::/31\" ,106.72.0.0/15,\"25\",4,8,"
	    "2404:9200:0225:0100:0:0:0:64,DRAFT03,official, \"RULESRV; SITE\" ",
	    /* Another order. */
	    "source,ea_len,br_address,operator,confidence,iid_style,psid_len,"
	    "psid_offset,ipv4_prefix,ipv6_rule_prefix\n"
	    "RULESRV; SITE,25,2404:9200:225:100::64,v6plus,official,draft03,8,"
	    "4,106.72.0.0/15,240b:10::/31\n",
	};
	struct map_rules l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		if (parse(&l, same[i]) < 0)
			fail_msg("text %zu: %u: %s", i, d.entry[0].line,
			    d.entry[0].text);
		assert_int_equal(l.n, 1);
		assert_int_equal(d.errors + d.warnings, 0);
		assert_v6plus(l.item);
		map_rules_fini(&l);
	}
}

static void
test_defaults(void **state)
{
	struct map_rules l;

	(void)state;
	assert_int_equal(parse(&l, SHORT "2001:db8::/40,192.0.2.0/24,16\n"
					 "2001:db9::/40,198.51.100.0/24,8\n"),
	    0);
	assert_int_equal(l.n, 2);
	assert_int_equal(l.item[0].psid_offset, 6);
	assert_int_equal(l.item[0].psid_len, 8);
	assert_int_equal(l.item[0].iid, MAP_IID_RFC7597);
	assert_int_equal(l.item[0].br.family, FAMILY_NONE);
	assert_string_equal(l.item[0].operator_name, "");
	assert_string_equal(l.item[0].confidence, "");
	assert_string_equal(l.item[0].source, "");
	assert_int_equal(l.item[1].psid_len, 0);
	map_rules_fini(&l);
	/* The columns that rules-jp.csv has not. */
	assert_int_equal(
	    parse(&l, "ipv6_rule_prefix,ipv4_prefix,ea_len,psid_len,psid,fmr,"
		      "source\n"
		      "2001:db8:1::/56,192.0.2.1/32,0,8,52,1,\"a \"\"b\"\"\"\n"
		      "2001:db8:2::/56,192.0.2.1/32,0,8,53,0,\n"),
	    0);
	assert_true(l.item[0].psid_given && l.item[0].psid == 52);
	assert_true(l.item[0].fmr && !l.item[1].fmr);
	assert_string_equal(l.item[0].source, "a \"b\"");
	map_rules_fini(&l);
}

/* ---- what is refused, and where ---- */

struct wrong {
	const char *text;
	unsigned line, column, errors;
	const char *word; /* in the message */
};

#define A "2001:db8::/40,192.0.2.0/24,16\n"
#define PARAMS "ipv6_rule_prefix,ipv4_prefix,ea_len,psid_offset,psid_len\n"
#define GIVEN "ipv6_rule_prefix,ipv4_prefix,ea_len,psid_len,psid\n"

static const struct wrong wrong[] = {
    {"", 1, 1, 1, "no rule"},
    {"# nothing\n", 1, 1, 1, "no rule"},
    {SHORT, 1, 1, 1, "no rule"},
    {"\n" SHORT "# none\n", 3, 1, 1, "no rule"},
    /* The first line. */
    {ROW, 1, 1, 1, "name the columns"},
    {"a;b;c\n1;2;3\n", 1, 1, 1, "name the columns"},
    {"\n# x\nipv6_rule_prefix,ipv4_prefix\n" A, 3, 1, 1, "column ea_len"},
    {"operator\nx\n", 1, 1, 3, "column ipv6_rule_prefix"},
    {"ipv6_rule_prefix,ipv4_prefix,ea_len,colour\n"
     "2001:db8::/40,192.0.2.0/24,16,red\n",
	1, 37, 1, "unknown column \"colour\""},
    {"ipv6_rule_prefix,ipv4_prefix,ea_len,psid_ofset\n"
     "2001:db8::/40,192.0.2.0/24,16,6\n",
	1, 37, 1, "did you mean psid_offset?"},
    {"ipv6_rule_prefix,ipv4_prefix,ea_len,\n"
     "2001:db8::/40,192.0.2.0/24,16,\n",
	1, 37, 1, "unknown column \"\""},
    {"ipv6_rule_prefix,ipv4_prefix,ea_len,ea_len\n"
     "2001:db8::/40,192.0.2.0/24,16,16\n",
	1, 37, 1, "already"},
    {"ipv6_rule_prefix,\"ipv4_prefix,ea_len\n" A, 1, 18, 1, "not closed"},
    /* Form. */
    {SHORT "2001:db8::/40,192.0.2.0/24\n", 2, 1, 1, "2 fields"},
    {SHORT "2001:db8::/40,192.0.2.0/24,16,\n", 2, 1, 1, "4 fields"},
    {SHORT A "2001:db9::/40,\"198.51.100.0/24,16\n", 3, 15, 1, "not closed"},
    {SHORT "2001:db8::/40,\"192.0.2.0/24\"x,16\n", 2, 29, 1, "comma"},
    {SHORT "2001:db8::/40,19\"2.0.2.0/24,16\n", 2, 17, 1, "quote inside"},
    {SHORT "2001:db8::/40,192.0.2.0/24,1\x1b[6\n", 2, 29, 1, "printable"},
    {SHORT "2001:db8::/40,192.0.2.0/24,1\xc3\n", 2, 29, 1, "UTF-8"},
    {SHORT "2001:db8::/40,192.0.2.0/24,1\xc3\xa4\n", 2, 28, 1,
	"ea_len \"1\xc3\xa4\""},
    /* What Excel saves as CSV in Japan (Shift_JIS). */
    {"operator," SHORT "\x93\xfa,2001:db8::/40,192.0.2.0/24,16\n", 2, 1, 1,
	"CSV UTF-8"},
    {SHORT "2001:db8::/40,192.0.2.0/24,16\x7f\n", 2, 30, 1, "printable"},
    {SHORT "1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7\n", 2, 33, 1, "too many"},
    /* Values. */
    {SHORT ",192.0.2.0/24,16\n", 2, 1, 1, "ipv6_rule_prefix \"\""},
    {SHORT "2001:db8::,192.0.2.0/24,16\n", 2, 1, 1, "with its length"},
    {SHORT "2001:db8::1/40,192.0.2.0/24,16\n", 2, 1, 1, "zeros behind"},
    {SHORT "2001:db8::/129,192.0.2.0/24,16\n", 2, 1, 1, "IPv6 prefix"},
    {SHORT "192.0.2.0/24,192.0.2.0/24,16\n", 2, 1, 1, "with its length"},
    {SHORT "2001:db8::/40,192.0.2.0,16\n", 2, 15, 1, "with its length"},
    {SHORT "2001:db8::/40,219.104.138.0/20,20\n", 2, 15, 1, "zeros behind"},
    {SHORT "2001:db8::/40,2001:db8::/32,0\n", 2, 15, 1, "with its length"},
    {SHORT "2001:db8::/40,192.0.2.0/24,\n", 2, 28, 1, "ea_len \"\""},
    {SHORT "2001:db8::/40,192.0.2.0/24,-1\n", 2, 28, 1, "ea_len \"-1\""},
    {SHORT "2001:db8::/40,192.0.2.0/24,256\n", 2, 28, 1, "ea_len \"256\""},
    {SHORT "x,y,z\n", 2, 1, 3, "ipv6_rule_prefix \"x\""},
    {GIVEN "2001:db8::/40,192.0.2.1/32,0,8,65536\n", 2, 32, 1, "65535"},
    {"ipv6_rule_prefix,ipv4_prefix,ea_len,br_address\n"
     "2001:db8::/40,192.0.2.0/24,16,192.0.2.1\n",
	2, 31, 1, "IPv6 address"},
    {"ipv6_rule_prefix,ipv4_prefix,ea_len,br_address\n"
     "2001:db8::/40,192.0.2.0/24,16,fe80::1\n",
	2, 31, 1, "on the internet"},
    {"ipv6_rule_prefix,ipv4_prefix,ea_len,iid_style\n"
     "2001:db8::/40,192.0.2.0/24,16,draft\n",
	2, 31, 1, "draft03 or rfc7597"},
    {"ipv6_rule_prefix,ipv4_prefix,ea_len,fmr\n"
     "2001:db8::/40,192.0.2.0/24,16,2\n",
	2, 31, 1, "0 to 1"},
    {"ipv6_rule_prefix,ipv4_prefix,ea_len,operator\n"
     "2001:db8::/40,192.0.2.0/24,16,abcdefghijklmnopqrstuvwxyzabcdef\n",
	2, 31, 1, "longer than 31"},
    /* Contradictions. */
    {SHORT "2001:db8::/100,192.0.2.0/24,30\n", 2, 29, 1, "130 bits"},
    {SHORT "2001:db8::/40,192.0.2.0/24,49\n", 2, 28, 1, "at most 48"},
    {PARAMS "2001:db8::/40,192.0.2.0/24,16,16,0\n", 2, 31, 1, "at most 15"},
    {PARAMS "2001:db8::/40,192.0.2.0/24,16,9,8\n", 2, 33, 1, "16 bits"},
    {PARAMS "2001:db8::/40,192.0.2.0/24,16,6,7\n", 2, 33, 1, "leave 8"},
    {PARAMS "2001:db8::/40,192.0.2.0/24,4,6,2\n", 2, 32, 1, "a /28"},
    {PARAMS "2001:db8::/40,192.0.2.1/32,0,6,8\n", 2, 32, 1, "which PSID"},
    {SHORT "2001:db8::/40,192.0.2.0/24,24\n", 2, 28, 1, "16 bits"},
    {GIVEN "2001:db8::/40,192.0.2.1/32,0,8,256\n", 2, 32, 1, "too large"},
    {GIVEN "2001:db8::/40,192.0.2.1/32,0,0,0\n", 2, 32, 1, "psid_len is 0"},
    /* Rules that overlap: the later row, naming the earlier one. */
    {SHORT A "\n2001:db8:12::/48,198.51.100.0/24,8\n", 4, 1, 1,
	"2001:db8:12::/48 overlaps 2001:db8::/40 of line 2"},
    {SHORT "2001:db8:12::/48,198.51.100.0/24,8\n" A, 3, 1, 1,
	"2001:db8::/40 overlaps 2001:db8:12::/48 of line 2"},
    {SHORT A "2001:db9::/40,192.0.2.128/25,15\n", 3, 15, 1,
	"192.0.2.128/25 overlaps 192.0.2.0/24 of line 2"},
    {SHORT A "3fff::/40,198.51.100.0/24,8\n"
	     "2001:db8:12::/48,203.0.113.0/24,8\n",
	4, 1, 1, "overlaps 2001:db8::/40 of line 2"},
    {SHORT A A, 3, 1, 2, "2001:db8::/40 overlaps 2001:db8::/40 of line 2"},
    {GIVEN "2001:db8:1::/56,192.0.2.1/32,0,8,52\n"
	   "2001:db8:2::/56,192.0.2.1/32,0,8,53\n"
	   "2001:db8:3::/56,192.0.2.1/32,0,8,52\n",
	4, 17, 1, "192.0.2.1/32 overlaps 192.0.2.1/32 of line 2"},
    {GIVEN "2001:db8:1::/56,192.0.2.1/32,0,8,52\n"
	   "2001:db8:2::/56,192.0.2.1/32,0,7,53\n",
	3, 17, 1, "of line 2"},
    {GIVEN "2001:db8:1::/56,192.0.2.1/32,0,8,52\n"
	   "2001:db8:2::/56,192.0.2.0/24,8,0,\n",
	3, 17, 1, "192.0.2.0/24 overlaps 192.0.2.1/32 of line 2"},
};

static void
test_wrong(void **state)
{
	struct map_rules l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		const struct wrong *w = &wrong[i];

		assert_int_equal(parse(&l, w->text), UK_EINVAL);
		if (d.errors != w->errors || d.entry[0].line != w->line ||
		    d.entry[0].column != w->column ||
		    strstr(d.entry[0].text, w->word) == NULL)
			fail_msg("text %zu: %u errors, %u:%u: %s", i, d.errors,
			    d.entry[0].line, d.entry[0].column,
			    d.entry[0].text);
		assert_null(l.item);
		assert_int_equal(l.n, 0);
	}
}

/* Names as the office writes them. */
static void
test_japanese(void **state)
{
	struct map_rules l;

	(void)state;
	assert_int_equal(
	    parse(&l, "source,operator," SHORT "\"\u56de\u7dda,\",\u672c\u793e,"
		      "2001:db8::/40,192.0.2.0/24,16\n"),
	    0);
	assert_string_equal(l.item[0].operator_name, "\u672c\u793e");
	assert_string_equal(l.item[0].source, "\u56de\u7dda,");
	map_rules_fini(&l);
}

/* All mistakes of a file, each at its place; and nobody to tell. */
static void
test_all_told(void **state)
{
	static const char text[] =
	    SHORT "2001:db8::/40,192.0.2.0/24,49\n" A "2001:db9::/40,\"\n"
		  "2001:db8::/48,198.51.100.0/24,x\n"
		  "2001:db8::/48,198.51.100.0/24,8\n";
	static const unsigned line[] = {2, 4, 5, 6};
	struct map_rules l;

	(void)state;
	assert_int_equal(parse(&l, text), UK_EINVAL);
	assert_int_equal(d.errors, ARRAY_LEN(line));
	for (size_t i = 0; i < ARRAY_LEN(line); i++)
		assert_int_equal(d.entry[i].line, line[i]);
	assert_int_equal(
	    map_rules_parse(&l, text, strlen(text), NULL), UK_EINVAL);
	/* C4: what is behind the text does not count. */
	static const char quoted[] =
	    SHORT "2001:db8::/40,192.0.2.0/24,\"16\"\"";
	assert_int_equal(
	    map_rules_parse(&l, quoted, strlen(quoted) - 1, NULL), 0);
	map_rules_fini(&l);
	static const char empty[] = "ipv6_rule_prefix,ipv4_prefix,ea_len,fmr\n"
				    "2001:db8::/40,192.0.2.0/24,16,\"";
	assert_int_equal(
	    map_rules_parse(&l, empty, strlen(empty) - 1, NULL), 0);
	map_rules_fini(&l);
	diag_init(&d, NULL);
	assert_int_equal(map_rules_parse(&l, "\xef\xbb\xbf", 2, &d), UK_EINVAL);
	assert_non_null(strstr(d.entry[0].text, "UTF-8"));
}

/* A field of 127 bytes, and one more. */
static void
test_long_field(void **state)
{
	char text[400];
	struct map_rules l;
	size_t at;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		at = (size_t)snprintf(text, sizeof(text),
		    "ipv6_rule_prefix,ipv4_prefix,ea_len,source\n"
		    "2001:db8::/40,192.0.2.0/24,16,");
		memset(text + at, 'x', 127 + i);
		strcpy(text + at + 127 + i, "\n");
		assert_int_equal(parse(&l, text), UK_EINVAL);
		assert_int_equal(d.errors, 1);
		assert_non_null(strstr(d.entry[0].text,
		    i == 0 ? "longer than 79" : "a field is too long"));
	}
	strcpy(text + at + 79, "\n");
	assert_int_equal(parse(&l, text), 0);
	assert_int_equal(strlen(l.item[0].source), 79);
	map_rules_fini(&l);
}

/* ---- overlaps against a naive twin ---- */

#define TWIN 12

static struct map_rule
random_rule(void)
{
	struct ip_ifaddr v6 = {{.family = FAMILY_V6}, 0};
	struct ip_ifaddr v4 = {{.family = FAMILY_V4}, 0};
	struct map_rule r = {0};

	v6.bits = (uint8_t)(20 + rnd() % 12);
	v4.bits = (uint8_t)(8 + rnd() % 16);
	store_be32(v6.addr.b, 0x20000000u | (uint32_t)rnd() % 0x100000u << 8);
	store_be32(v4.addr.b, 10u << 24 | (uint32_t)rnd() % 256 << 16);
	ip_ifaddr_prefix(&v6, &r.ipv6);
	ip_ifaddr_prefix(&v4, &r.ipv4);
	return r;
}

static bool
twin_overlaps(const struct map_rule *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (ip_prefix_overlap(&r[i].ipv6, &r[k].ipv6) ||
			    ip_prefix_overlap(&r[i].ipv4, &r[k].ipv4))
				return true;
	return false;
}

static void
test_twin(void **state)
{
	unsigned good = 0, bad = 0;
	char text[TWIN * 80 + 80];

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct map_rule r[TWIN];
		size_t n = 1 + rnd() % TWIN;
		size_t at = (size_t)snprintf(text, sizeof(text), SHORT);
		struct map_rules l;

		for (size_t i = 0; i < n; i++) {
			char v6[IP_PREFIX_TEXT_MAX], v4[IP_PREFIX_TEXT_MAX];

			r[i] = random_rule();
			at += (size_t)snprintf(text + at, sizeof(text) - at,
			    "%s,%s,0\n", ip_prefix_format(&r[i].ipv6, v6),
			    ip_prefix_format(&r[i].ipv4, v4));
		}
		if (twin_overlaps(r, n)) {
			assert_int_equal(parse(&l, text), UK_EINVAL);
			bad++;
			continue;
		}
		assert_int_equal(parse(&l, text), 0);
		assert_int_equal(l.n, n);
		map_rules_fini(&l);
		good++;
	}
	assert_true(good > 200 && bad > 200);
}

/* ---- the rules that are compiled in ---- */

static unsigned
count(const struct map_rules *l, const char *operator_name)
{
	unsigned n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += strcmp(l->item[i].operator_name, operator_name) == 0;
	return n;
}

static void
test_builtin(void **state)
{
	struct map_rules l;
	struct diag own;

	(void)state;
	diag_init(&own, "rules-jp.csv");
	assert_int_equal(map_rules_parse(&l, (const char *)map_rules_jp,
			     map_rules_jp_len, &own),
	    0);
	assert_int_equal(own.errors + own.warnings, 0);
	map_rules_fini(&l);
	assert_int_equal(map_rules_builtin(&l), 0);
	assert_int_equal(l.n, 440);
	assert_int_equal(count(&l, "v6plus"), 4);
	assert_int_equal(count(&l, "biglobe"), 258);
	assert_int_equal(count(&l, "ocn"), 160);
	assert_int_equal(count(&l, "nuro"), 18);
	assert_string_equal(
	    l.item[0].source, "builtin: RULESRV; SITE; SGAWA; FLETH; JR");
	for (size_t i = 0; i < l.n; i++) {
		assert_int_equal(l.item[i].br.family, FAMILY_V6);
		assert_false(l.item[i].fmr);
	}
	map_rules_fini(&l);
}

/* The bytes in the program are those of the file. */
static void
test_embedded(void **state)
{
	FILE *f = fopen(UKAI_SOURCE "/client/mape/rules-jp.csv", "rb");
	char *text = malloc(map_rules_jp_len + 1);

	(void)state;
	assert_non_null(f);
	assert_non_null(text);
	assert_int_equal(
	    fread(text, 1, map_rules_jp_len + 1, f), map_rules_jp_len);
	assert_memory_equal(text, map_rules_jp, map_rules_jp_len);
	fclose(f);
	free(text);
}

/* ---- find, load, add ---- */

static const struct map_rule *
find(const struct map_rules *l, const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(&p, text, strlen(text)), 0);
	return map_rules_find(l, &p);
}

static void
test_find(void **state)
{
	struct map_rules l = {0};
	struct map_rule r = {0};

	(void)state;
	assert_null(find(&l, "2001:db8::1"));
	for (unsigned i = 0; i < 3; i++) {
		static const char *const v6[] = {
		    "2001:db8::/48", "2001:db8::/32", "2001:db8::/40"};

		assert_int_equal(
		    ip_prefix_parse(&r.ipv6, v6[i], strlen(v6[i])), 0);
		assert_int_equal(map_rules_add(&l, &r), 0);
	}
	assert_ptr_equal(find(&l, "2001:db8::1"), &l.item[0]);
	assert_ptr_equal(find(&l, "2001:db8::/48"), &l.item[0]);
	assert_ptr_equal(find(&l, "2001:db8::/47"), &l.item[2]);
	assert_ptr_equal(find(&l, "2001:db8:ff::"), &l.item[2]);
	assert_ptr_equal(find(&l, "2001:db8:100::/40"), &l.item[1]);
	assert_null(find(&l, "2001:db8::/31"));
	assert_null(find(&l, "2001:db9::"));
	assert_null(find(&l, "32.1.13.184"));
	map_rules_fini(&l);
	map_rules_fini(&l);
}

static void
test_load(void **state)
{
	char path[] = "/tmp/ukai-rules-XXXXXX";
	int fd = mkstemp(path);
	struct map_rules l;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0644), 0);
	assert_int_equal(
	    write(fd, HEAD ROW, strlen(HEAD ROW)), (ssize_t)strlen(HEAD ROW));
	diag_init(&d, NULL);
	assert_int_equal(map_rules_load(&l, path, &d), 0);
	/* Others may read it. */
	assert_int_equal(d.warnings, 0);
	assert_string_equal(l.item[0].source, "file: RULESRV; SITE");
	map_rules_fini(&l);
	assert_int_equal(ftruncate(fd, 3), 0);
	diag_init(&d, NULL);
	assert_int_equal(map_rules_load(&l, path, &d), UK_EINVAL);
	assert_string_equal(d.file, path);
	assert_int_equal(d.errors, 1);
	close(fd);
	unlink(path);
	diag_init(&d, NULL);
	assert_int_equal(map_rules_load(&l, path, &d), UK_ENOENT);
	assert_int_equal(d.errors, 1);
	assert_null(l.item);
}

static void
test_limit(void **state)
{
	struct map_rules l = {0};
	struct map_rule r = {0};

	(void)state;
	for (unsigned i = 0; i < MAP_RULES_MAX; i++)
		assert_int_equal(map_rules_add(&l, &r), 0);
	assert_int_equal(map_rules_add(&l, &r), UK_ELIMIT);
	assert_int_equal(l.n, MAP_RULES_MAX);
	map_rules_fini(&l);
}

static void
test_no_memory(void **state)
{
	struct map_rules l;
	unsigned failed = 0;
	int err = UK_ENOMEM;

	(void)state;
	for (unsigned n = 1; err < 0; n++) {
		fail_at = n;
		err = map_rules_builtin(&l);
		fail_at = 0;
		if (err == 0)
			break;
		assert_int_equal(err, UK_ENOMEM);
		assert_null(l.item);
		failed++;
	}
	map_rules_fini(&l);
	assert_true(failed > 10);
	fail_at = 1;
	assert_int_equal(parse(&l, HEAD ROW), UK_ENOMEM);
	assert_int_equal(d.errors, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_spellings),
	    cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_wrong),
	    cmocka_unit_test(test_japanese),
	    cmocka_unit_test(test_all_told),
	    cmocka_unit_test(test_long_field),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_builtin),
	    cmocka_unit_test(test_embedded),
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_load),
	    cmocka_unit_test(test_limit),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
