/* What is shown of a line; and which line (map_line). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "client/mape/map_show.h"
#include "core/err.h"

#include "failing_json.h"
#include "map_vectors.h"

static struct map_rules builtin;

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	if (ip_prefix_parse(&p, text, strlen(text)) < 0)
		fail_msg("%s", text);
	return p;
}

static struct map_line
line_of(const struct map_rules *rules, const char *text)
{
	struct ip_prefix p = prefix(text);
	char why[MAP_RULE_WHY_MAX];
	struct map_line l;

	if (map_line_find(&l, rules, &p, why) < 0)
		fail_msg("%s: %s", text, why);
	return l;
}

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (s == NULL)
		fail_msg("no text: %s", key);
	return s;
}

/* ---- JSON ---- */

/* The keys of issue 5, and no others. */
static void
assert_keys(const json_t *o)
{
	static const char *const key[] = {"operator", "ipv6_prefix", "ipv4",
	    "psid", "psid_offset", "psid_len", "port_count", "port_ranges",
	    "ce_ipv6", "br_ipv6", "iid_style", "rule_source", "confidence"};

	assert_int_equal(json_object_size(o), ARRAY_LEN(key));
	for (size_t i = 0; i < ARRAY_LEN(key); i++)
		assert_non_null(json_object_get(o, key[i]));
}

static void
assert_range(const json_t *o, size_t i, const char *want)
{
	const json_t *r = json_array_get(json_object_get(o, "port_ranges"), i);
	char text[32];

	assert_int_equal(json_array_size(r), 2);
	snprintf(text, sizeof(text), "%d-%d",
	    (int)json_integer_value(json_array_get(r, 0)),
	    (int)json_integer_value(json_array_get(r, 1)));
	assert_string_equal(text, want);
}

/* The operators' rows of the public vectors, by the rules that are compiled
 * in. */
static void
test_vectors(void **state)
{
	static struct map_vectors v;
	unsigned n = 0;

	(void)state;
	map_vectors_load(&v);
	for (size_t i = 0; i < v.n; i++) {
		struct map_line l;
		json_t *o;

		if (strcmp(map_vectors_get(&v, i, "operator"), "example") == 0)
			continue;
		l = line_of(&builtin, map_vectors_get(&v, i, "input_ipv6"));
		o = map_show_json(&l);
		assert_keys(o);
		assert_string_equal(
		    text_of(o, "operator"), map_vectors_get(&v, i, "operator"));
		assert_string_equal(text_of(o, "ipv6_prefix"),
		    map_vectors_get(&v, i, "input_ipv6"));
		assert_string_equal(
		    text_of(o, "ipv4"), map_vectors_get(&v, i, "exp_ipv4"));
		assert_string_equal(text_of(o, "ce_ipv6"),
		    map_vectors_get(&v, i, "exp_ce_ipv6"));
		assert_string_equal(
		    text_of(o, "br_ipv6"), map_vectors_get(&v, i, "br_ipv6"));
		assert_string_equal(text_of(o, "iid_style"),
		    map_vectors_get(&v, i, "iid_style"));
		assert_int_equal(json_integer_value(json_object_get(o, "psid")),
		    atoi(map_vectors_get(&v, i, "exp_psid")));
		assert_range(o, 0, map_vectors_get(&v, i, "exp_first_range"));
		assert_range(o,
		    json_array_size(json_object_get(o, "port_ranges")) - 1,
		    map_vectors_get(&v, i, "exp_last_range"));
		json_decref(o);
		n++;
	}
	assert_int_equal(n, 6);
}

static void
test_json(void **state)
{
	struct map_line l = line_of(&builtin, "240b:10:3f6c:d4ab:1:2:3:4");
	json_t *o = map_show_json(&l), *want;

	(void)state;
	want = json_pack("{s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:s,s:s,s:s,s:s,s:s}",
	    "operator", "v6plus", "ipv6_prefix", "240b:10:3f6c:d400::/56",
	    "ipv4", "106.72.63.108", "psid", 212, "psid_offset", 4, "psid_len",
	    8, "port_count", 240, "ce_ipv6",
	    "240b:10:3f6c:d400:6a:483f:6c00:d400", "br_ipv6",
	    "2404:9200:225:100::64", "iid_style", "draft03", "rule_source",
	    "builtin: RULESRV; SITE; SGAWA; FLETH; JR", "confidence",
	    "official");
	assert_non_null(want);
	assert_keys(o);
	assert_int_equal(
	    json_array_size(json_object_get(o, "port_ranges")), 15);
	assert_range(o, 0, "7488-7503");
	assert_range(o, 14, "64832-64847");
	json_object_del(o, "port_ranges");
	assert_true(json_equal(o, want));
	json_decref(want);
	json_decref(o);
}

/* A line with several addresses; nobody said anything of it. */
static struct map_line
anonymous(void)
{
	static const struct map_rule r = {
	    .ipv6 = {{FAMILY_V6, {0x20, 0x01, 0x0d, 0xb8}}, 40},
	    .ipv4 = {{FAMILY_V4, {192, 0, 2}}, 24},
	    .ea_len = 4,
	    .psid_offset = 6,
	};
	struct ip_prefix p = prefix("2001:db8:10::/44");
	struct map_line l = {.rule = &r};
	char why[MAP_RULE_WHY_MAX];

	assert_int_equal(map_ce_make(&l.ce, &r, &p, why), 0);
	return l;
}

static void
test_nulls(void **state)
{
	static const char *const null[] = {
	    "operator", "psid", "br_ipv6", "rule_source", "confidence"};
	struct map_line l = anonymous();
	json_t *o = map_show_json(&l);

	(void)state;
	assert_keys(o);
	for (size_t i = 0; i < ARRAY_LEN(null); i++)
		assert_true(json_is_null(json_object_get(o, null[i])));
	assert_string_equal(text_of(o, "ipv4"), "192.0.2.16/28");
	assert_int_equal(
	    json_integer_value(json_object_get(o, "port_count")), 65536);
	assert_range(o, 0, "0-65535");
	json_decref(o);
}

static char *
print(const struct map_line *l)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	map_show_print(l, f);
	fclose(f);
	return text;
}

/* C5: what a server says does not drive the terminal. */
static void
test_foreign_text(void **state)
{
	struct map_line l = anonymous();
	struct map_rule r = *l.rule;
	char *text;
	json_t *o;

	(void)state;
	strcpy(r.operator_name, "a\x1b[31m\xc3\xa4\x7f\xff");
	strcpy(r.source, "\n\xe6");
	strcpy(r.confidence, "\r");
	l.rule = &r;
	o = map_show_json(&l);
	assert_string_equal(text_of(o, "operator"), "a?[31m\xc3\xa4??");
	assert_string_equal(text_of(o, "rule_source"), "??");
	assert_string_equal(text_of(o, "confidence"), "?");
	json_decref(o);
	text = print(&l);
	assert_memory_equal(text, "a?[31m\xc3\xa4?? line ", 16);
	assert_non_null(strstr(text, "  known from   ??\n"));
	assert_non_null(strstr(text, "  how sure     ?\n"));
	free(text);
}

static json_t *
make(const void *arg)
{
	return map_show_json(arg);
}

static void
test_allocation_failures(void **state)
{
	struct map_line l = line_of(&builtin, "240b:10:3f6c:d400::/56");

	(void)state;
	failing_json(make, &l);
}

/* ---- text ---- */

static unsigned
count(const char *text, char c)
{
	unsigned n = 0;

	for (; *text != 0; text++)
		n += *text == c;
	return n;
}

static void
test_text(void **state)
{
	static const char head[] =
	    "v6plus line 240b:10:3f6c:d400::/56\n"
	    "  IPv4         106.72.63.108, shared by 256 lines\n"
	    "  CE address   240b:10:3f6c:d400:6a:483f:6c00:d400 (draft03 form)\n"
	    "  BR           2404:9200:225:100::64\n"
	    "  rule         240b:10::/31 to 106.72.0.0/15, 25 EA bits\n"
	    "  known from   builtin: RULESRV; SITE; SGAWA; FLETH; JR\n"
	    "  how sure     official: the operator said so: its rule server, or DHCPv6\n"
	    "  PSID         212 (offset 4, length 8)\n"
	    "  ports        240 of 65536, in 15 ranges of 16\n"
	    "               7488-7503 11584-11599 ";
	struct map_line l = line_of(&builtin, "240b:10:3f6c:d400::/56");
	char *text = print(&l);

	(void)state;
	assert_memory_equal(text, head, strlen(head));
	free(text);
	l = anonymous();
	text = print(&l);
	assert_non_null(strstr(text, "MAP-E line 2001:db8:10::/44\n"));
	assert_non_null(strstr(text, "192.0.2.16/28, all of this line\n"));
	assert_non_null(strstr(text, "  BR           not known\n"));
	assert_non_null(strstr(text, "  ports        all 65536\n"));
	free(text);
}

/* As many ranges as somebody reads; all that operators use. */
static void
test_many_ranges(void **state)
{
	struct map_line l = line_of(&builtin, "2400:4050::/56");
	char *text = print(&l);

	(void)state;
	assert_non_null(strstr(text, " 64512-64527\n      0 "));
	assert_null(strstr(text, " more, "));
	free(text);
	l.ce.ports = (struct map_ports){7, 8, 3};
	text = print(&l);
	assert_non_null(strstr(text, " 33286-33287\n"
				     "               and 62 more, one every "
				     "512 ports\n"));
	free(text);
	l.ce.ports = (struct map_ports){8, 8, 3};
	text = print(&l);
	assert_non_null(strstr(text, "               259 515 "));
	free(text);
}

/* 240 and 1008 ports of 65536 look like few, a sixteenth like one. */
static void
test_strip(void **state)
{
	static const struct {
		struct map_ports p;
		unsigned some, all;
	} row[] = {
	    {{4, 8, 212}, 15, 0},
	    {{6, 6, 63}, 63, 0},
	    {{0, 4, 3}, 0, 64},
	    {{0, 0, 0}, 0, 1024},
	    {{0, 16, 65535}, 1, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		assert_non_null(f);
		map_show_strip(&row[i].p, f);
		fclose(f);
		assert_int_equal(count(text, '+'), row[i].some);
		assert_int_equal(count(text, '#'), row[i].all);
		assert_int_equal(
		    count(text, '.'), 1024 - row[i].some - row[i].all);
		assert_int_equal(count(text, '\n'), 16);
		free(text);
	}
}

/* ---- which line ---- */

static void
test_find(void **state)
{
	static const struct {
		const char *line;
		int err;
		const char *word;
	} row[] = {
	    {"240b:10::/56", 0, ""},
	    {"2001:db8::1", UK_ENOENT, ""},
	    {"fe80::1", UK_ENOENT, ""},
	    {"240b:14::/56", UK_ENOENT, ""},
	    {"240b:10::/55", UK_EINVAL, "/56"},
	    {"240b:10::/31", UK_EINVAL, "/56"},
	    {"240b:10::/30", UK_EINVAL, "/56"},
	    {"2400::/8", UK_EINVAL, "/56"},
	    {"::/0", UK_EINVAL, "/56"},
	};
	char why[MAP_RULE_WHY_MAX];
	struct map_line l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ip_prefix p = prefix(row[i].line);

		assert_int_equal(
		    map_line_find(&l, &builtin, &p, why), row[i].err);
		assert_non_null(strstr(why, row[i].word));
	}
}

static void
add(struct map_lines *l, const char *text, unsigned ifindex)
{
	struct ip_prefix p = prefix(text);

	assert_int_equal(map_lines_add(l, &builtin, &p.addr, ifindex), 0);
}

static void
test_lines(void **state)
{
	struct map_lines l = {0};

	(void)state;
	add(&l, "fe80::1", 2);
	add(&l, "fd00::1", 2);
	add(&l, "::1", 1);
	add(&l, "ff02::1", 2);
	add(&l, "192.0.2.1", 2);
	assert_int_equal(l.addresses, 0);
	add(&l, "2001:db8::1", 2);
	assert_int_equal(l.n, 0);
	add(&l, "240b:10:3f6c:d4ab::1", 2);
	add(&l, "240b:10:3f6c:d400::2", 3); /* the same line */
	add(&l, "2400:4050::1", 3);
	assert_int_equal(l.n, 2);
	assert_int_equal(l.addresses, 4);
	assert_int_equal(l.item[0].ifindex, 2);
	assert_int_equal(l.item[0].reason, MAP_LINE_SEEN);
	add(&l, "240b:10:3f6c:d400:6a:483f:6c00:d400", 4);
	assert_int_equal(l.n, 2);
	assert_int_equal(l.item[0].ifindex, 4);
	assert_int_equal(l.item[0].reason, MAP_LINE_CE_HERE);
	assert_int_equal(l.item[1].reason, MAP_LINE_SEEN);
	map_lines_fini(&l);
}

static void
test_many_lines(void **state)
{
	struct map_lines l = {0};
	struct ip_prefix p = prefix("240b:10::1");

	(void)state;
	for (unsigned i = 0; i <= MAP_LINES_MAX; i++) {
		p.addr.b[6] = (uint8_t)i;
		assert_int_equal(map_lines_add(&l, &builtin, &p.addr, 1), 0);
	}
	assert_int_equal(l.n, MAP_LINES_MAX);
	map_lines_fini(&l);
}

static int
setup(void **state)
{
	(void)state;
	return map_rules_builtin(&builtin);
}

static int
teardown(void **state)
{
	(void)state;
	map_rules_fini(&builtin);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_vectors),
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_nulls),
	    cmocka_unit_test(test_foreign_text),
	    cmocka_unit_test(test_allocation_failures),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_many_ranges),
	    cmocka_unit_test(test_strip),
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_many_lines),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
