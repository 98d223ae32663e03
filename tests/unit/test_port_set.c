#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/port_set.h"

static uint32_t seed = 20261123;

static uint32_t
rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

static void
assert_text(const struct port_set *s, const char *want)
{
	struct text t = {.s = NULL};

	port_set_format(s, &t);
	assert_false(t.failed);
	assert_string_equal(t.len > 0 ? t.s : "", want);
	text_fini(&t);
}

static void
test_parse_table(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: refused */
	} row[] = {
	    {"", ""},
	    {"\n", ""},
	    {"8080\n", "8080"},
	    {"0", "0"},
	    {"65535", "65535"},
	    {"65536", NULL},
	    {"1-3,2-5,6", "1-6"},
	    {"5,3,1", "1,3,5"},
	    {" 1 , 2-3 ", "1-3"},
	    {"0-65535", "0-65535"},
	    {"63,64,127-128", "63-64,127-128"},
	    {"3-1", NULL},
	    {"1-", NULL},
	    {"-1", NULL},
	    {"1-2-3", NULL},
	    {"1 2", NULL},
	    {"1,", NULL},
	    {",1", NULL},
	    {"1,,2", NULL},
	    {"x", NULL},
	    {"0x10", NULL},
	    {"1\0002", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct port_set s = {{0}};
		size_t len = strlen(row[i].text);

		port_set_add(&s, 9, 9);
		if (i == ARRAY_LEN(row) - 1)
			len = 3;
		assert_int_equal(port_set_parse(&s, row[i].text, len),
		    row[i].want != NULL ? 0 : UK_EINVAL);
		assert_text(&s, row[i].want != NULL ? row[i].want : "9");
	}
}

/* A byte for each port. */
struct naive {
	uint8_t in[65536];
};

static void
assert_same(const struct port_set *s, const struct naive *n)
{
	struct naive *ranges = calloc(1, sizeof(*ranges));
	uint16_t low, high, a, b;
	uint32_t from = 0, count = 0, between = 0, last = 0;

	assert_non_null(ranges);
	a = (uint16_t)rnd(65536);
	b = (uint16_t)(a + rnd(65536u - a));
	for (uint32_t p = 0; p < 65536; p++) {
		assert_int_equal(port_set_has(s, (uint16_t)p), n->in[p]);
		count += n->in[p];
		between += n->in[p] != 0 && p >= a && p <= b;
	}
	assert_int_equal(port_set_count(s), count);
	assert_int_equal(port_set_count_in(s, a, b), between);
	while (port_set_next(s, &from, &low, &high)) {
		assert_true(low <= high && (last == 0 || low > last + 1));
		memset(ranges->in + low, 1, (size_t)high - low + 1);
		last = high;
	}
	assert_memory_equal(ranges, n, sizeof(*n));
	free(ranges);
}

static void
test_random(void **state)
{
	struct naive *n = calloc(2, sizeof(*n));
	struct port_set s[2] = {{{0}}, {{0}}};

	(void)state;
	for (int round = 0; round < 120; round++) {
		struct text t = {.s = NULL};
		struct port_set back;
		unsigned i = rnd(2), op = rnd(5);
		uint16_t low = (uint16_t)rnd(65536);
		uint16_t high =
		    (uint16_t)(low + rnd(rnd(2) != 0 ? 65536u - low
						     : (uint32_t)uk_min_u64(
							   65536u - low, 200)));

		if (op < 2) {
			port_set_add(&s[i], low, high);
			memset(n[i].in + low, 1, (size_t)high - low + 1);
		} else if (op == 2) {
			port_set_or(&s[i], &s[1 - i]);
		} else if (op == 3) {
			port_set_and(&s[i], &s[1 - i]);
		} else {
			port_set_minus(&s[i], &s[1 - i]);
		}
		for (uint32_t p = 0; p < 65536 && op >= 2; p++) {
			uint8_t x = n[1 - i].in[p];

			n[i].in[p] = op == 2   ? n[i].in[p] | x
				     : op == 3 ? n[i].in[p] & x
					       : n[i].in[p] & !x;
		}
		assert_same(&s[i], &n[i]);
		port_set_format(&s[i], &t);
		assert_int_equal(
		    port_set_parse(&back, t.len > 0 ? t.s : "", t.len), 0);
		assert_memory_equal(&back, &s[i], sizeof(back));
		text_fini(&t);
	}
	free(n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse_table),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
