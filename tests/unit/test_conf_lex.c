#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/conf_lex.h"
#include "core/suggest.h"

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* All tokens as "LINE:COL[name]" and "LINE:COL key LINE:COL value;", errors
 * at their place as "LINE:COL!". The text is copied to an allocation of its
 * own size, so that a sanitizer sees a byte too far. */
static const char *
lex(const char *text, size_t len)
{
	static char out[1024];
	char *copy = malloc(len > 0 ? len : 1);
	struct conf_span k, v;
	struct conf_lex l;
	struct diag d;
	enum conf_token t;
	size_t at = 0;

	assert_non_null(copy);
	memcpy(copy, text, len);
	diag_init(&d, NULL);
	conf_lex_init(&l, copy, len);
	out[0] = 0;
	while ((t = conf_lex_next(&l, &k, &v, &d)) != CONF_END) {
		at += (size_t)snprintf(out + at, sizeof(out) - at,
		    t == CONF_SECTION ? "%u:%u[%.*s]" : "%u:%u %.*s", k.line,
		    k.column, (int)k.len, k.s);
		if (t == CONF_PAIR)
			at += (size_t)snprintf(out + at, sizeof(out) - at,
			    "=%u:%u %.*s;", v.line, v.column, (int)v.len, v.s);
	}
	for (unsigned i = 0; i < d.n; i++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%u:%u!",
		    d.entry[i].line, d.entry[i].column);
	free(copy);
	return out;
}

static const struct {
	const char *text, *tokens;
} cases[] = {
    {"", ""},
    {"\n\n", ""},
    {"# comment", ""},
    {"[A]", "1:2[A]"},
    {"\xef\xbb\xbf[A]\r\nK = v\r\n", "1:2[A]2:1 K=2:5 v;"},
    {"  [ A b ]\t", "1:5[A b]"},
    {"[A] # why", "1:2[A]"},
    {"K=v", "1:1 K=1:3 v;"},
    {"\t K \t= \t v w \t", "1:3 K=1:10 v w;"},
    {"K =", "1:1 K=1:4 ;"},
    {"K = # v", "1:1 K=1:4 ;"},
    {"K = a=b==", "1:1 K=1:5 a=b==;"},
    {"K = a#b", "1:1 K=1:5 a;"},
    {"\n\nK=v\nL=w", "3:1 K=3:3 v;4:1 L=4:3 w;"},
    {"word\nK=v", "2:1 K=2:3 v;1:1!"},
    {" = v", "1:2!"},
    {"[A\nK=v", "2:1 K=2:3 v;1:1!"},
    {"[A]x\n[]\n[ ]\n[", "1:1!2:2!3:3!4:1!"},
    {"]", "1:1!"},
    {"K=v\rL=w", "1:1 K=1:3 v\rL=w;"},
};

static void
test_tokens(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(
		    lex(cases[i].text, strlen(cases[i].text)), cases[i].tokens);
}

/* X3: a line that cannot be read may hold a key; it is not quoted. */
static void
test_bad_lines_are_not_quoted_X3(void **state)
{
	static const char text[] =
	    "PrivateKey SECRETSECRET\n[SECRET\n= SECRET\n";
	struct conf_span k, v;
	struct conf_lex l;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	conf_lex_init(&l, text, strlen(text));
	assert_int_equal(conf_lex_next(&l, &k, &v, &d), CONF_END);
	assert_int_equal(d.n, 3);
	for (unsigned i = 0; i < d.n; i++)
		assert_null(strstr(d.entry[i].text, "SECRET"));
}

static void
test_items(void **state)
{
	static const struct {
		const char *text, *items;
	} lists[] = {
	    {"", "1:"},
	    {"a", "1:a"},
	    {"a,b", "1:a3:b"},
	    {" a , b\t", "2:a6:b"},
	    {"a,,b", "1:a3:4:b"},
	    {"a,", "1:a3:"},
	    {",", "1:2:"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct conf_span rest = {
		    lists[i].text, strlen(lists[i].text), 1, 1};
		struct conf_span item;
		char out[64] = "";
		size_t at = 0;

		while (conf_span_item(&rest, &item))
			at += (size_t)snprintf(out + at, sizeof(out) - at,
			    "%u:%.*s", item.column, (int)item.len, item.s);
		assert_string_equal(out, lists[i].items);
		assert_false(conf_span_item(&rest, &item));
	}
}

static void
test_span_is(void **state)
{
	struct conf_span s = {"AllowedIPsX", 10, 1, 1};

	(void)state;
	assert_true(conf_span_is(&s, "AllowedIPs"));
	assert_true(conf_span_is(&s, "aLLOWEDipS"));
	assert_false(conf_span_is(&s, "AllowedIP"));
	assert_false(conf_span_is(&s, "AllowedIPsX"));
	assert_false(conf_span_is(&s, "AllowedIQs"));
	/* '@' and '`' differ by the case bit, but are no letters. */
	s = (struct conf_span){"@", 1, 1, 1};
	assert_false(conf_span_is(&s, "`"));
}

/* Twin: lines by hand, one byte at a time. Every '=' line with a key is a
 * pair at the place where the twin sees it; nothing else is. */
static void
test_twin(void **state)
{
	static const char alphabet[] = "ab =\n\n#[]\r\t";

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char text[40];
		size_t len = rnd() % sizeof(text), pairs = 0, start = 0;
		struct conf_span k, v;
		struct conf_lex l;
		enum conf_token t;

		for (size_t i = 0; i < len; i++)
			text[i] = alphabet[rnd() % (sizeof(alphabet) - 1)];
		conf_lex_init(&l, text, len);
		while ((t = conf_lex_next(&l, &k, &v, NULL)) != CONF_END)
			pairs += t == CONF_PAIR;
		for (size_t i = 0; i <= len; i++) {
			bool word = false, pair = false, other = false;

			if (i < len && text[i] != '\n')
				continue;
			for (; start < i && text[start] != '#'; start++) {
				char c = text[start];

				if (c == '=' && word && !other)
					pair = true;
				if (c == '=' && !word)
					other = true;
				if (c == '[' && !word)
					other = true;
				if (strchr(" \t\r", c) == NULL)
					word = true;
			}
			pairs -= pair;
			start = i + 1;
		}
		assert_int_equal(pairs, 0);
	}
}

static void
test_suggest(void **state)
{
	static const char *const words[] = {
	    "AllowedIPs", "Endpoint", "DNS", NULL, "MTU", "Address"};
	static const struct {
		const char *text, *word;
	} near[] = {
	    {"AlowedIPs", "AllowedIPs"},
	    {"allowed_ips", "AllowedIPs"},
	    {"AllowedIP", "AllowedIPs"},
	    {"Enpdoint", "Endpoint"},
	    {"Adress", "Address"},
	    {"DSN", "DNS"},
	    {"MUT", "MTU"},
	    {"MTX", "MTU"},
	    {"xyz", NULL},
	    {"", NULL},
	    {"Banana", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(near); i++) {
		const char *got = suggest_word(near[i].text,
		    strlen(near[i].text), words, ARRAY_LEN(words));

		if (near[i].word == NULL)
			assert_null(got);
		else
			assert_string_equal(got, near[i].word);
	}
	assert_int_equal(suggest_distance("", 0, "", 0), 0);
	assert_int_equal(suggest_distance("abc", 3, "", 0), 3);
	assert_int_equal(suggest_distance("abcd", 4, "ABDC", 4), 1);
	assert_int_equal(suggest_distance("kitten", 6, "sitting", 7), 3);
	assert_true(suggest_distance("123456789012345678901234567890123", 33,
			"1", 1) > SUGGEST_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tokens),
	    cmocka_unit_test(test_bad_lines_are_not_quoted_X3),
	    cmocka_unit_test(test_items),
	    cmocka_unit_test(test_span_is),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_suggest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
