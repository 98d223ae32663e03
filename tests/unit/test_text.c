#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The module under test is compiled in here, so that its allocations can be
 * made to fail and what it frees can be looked at. */
static unsigned fail_at; /* fail this one of the next ones; 0: none */
static bool freed_secret;

static void *
failing_malloc(size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return malloc(size);
}

static void inspecting_free(void *p);

#define malloc failing_malloc
#define free inspecting_free
#include "core/text.c"
#undef malloc
#undef free

/* What is freed has the size of the text's memory before it was replaced. */
static size_t freed_size;

static void
inspecting_free(void *p)
{
	for (size_t i = 0; p && i + 6 <= freed_size; i++)
		if (memcmp((const char *)p + i, "SECRET", 6) == 0)
			freed_secret = true;
	free(p);
}

static void
test_add_and_append(void **state)
{
	struct text t = {.s = NULL};

	(void)state;
	text_add(&t, "%s=%d\n", "one", 1);
	text_append(&t, "ab\0c", 4);
	text_append(&t, "", 0);
	text_add(&t, "%s", "");
	assert_false(t.failed);
	assert_int_equal(t.len, 10);
	assert_memory_equal(t.s, "one=1\nab\0c", 11);
	text_clear(&t);
	assert_int_equal(t.len, 0);
	text_add(&t, "x");
	assert_string_equal(t.s, "x");
	text_fini(&t);
	assert_null(t.s);
	text_fini(&t);
}

/* The naive twin is an array that is large enough. */
static void
test_growth(void **state)
{
	static char twin[200000];
	struct text t = {.s = NULL};
	size_t len = 0;

	(void)state;
	for (unsigned i = 0; len + 64 < sizeof(twin); i++) {
		int n = snprintf(twin + len, 64, "%u:%.*s;", i, (int)(i % 50),
		    "012345678901"
		    "23456789012345678901234567890123456789");

		text_add(&t, "%.*s", n, twin + len);
		len += (size_t)n;
		assert_int_equal(t.len, len);
	}
	assert_false(t.failed);
	assert_memory_equal(t.s, twin, len + 1);
	text_fini(&t);
}

/* A text one byte short of its memory's end, exactly at it, and over it. */
static void
test_bounds(void **state)
{
	char piece[600];

	(void)state;
	memset(piece, 'x', sizeof(piece));
	for (size_t n = 250; n < 260; n++) {
		struct text t = {.s = NULL};

		text_append(&t, piece, n);
		text_append(&t, piece, n);
		assert_int_equal(t.len, 2 * n);
		assert_int_equal(strlen(t.s), 2 * n);
		text_fini(&t);
	}
}

static void
test_out_of_memory_is_sticky(void **state)
{
	struct text t = {.s = NULL};

	(void)state;
	text_add(&t, "kept");
	fail_at = 1;
	text_append(&t, "                                ", 32);
	text_add(&t, "%300d", 1);
	assert_true(t.failed);
	assert_int_equal(fail_at, 0);
	text_add(&t, "not any more");
	text_append(&t, "nor this", 8);
	assert_int_equal(t.len, 36);
	text_fini(&t);
	fail_at = 1;
	text_append(&t, "x", 1);
	assert_true(t.failed);
	assert_null(t.s);
	text_fini(&t);
	text_append(&t, "y", SIZE_MAX / 2);
	assert_true(t.failed);
	text_fini(&t);
}

/* Memory that held a key is wiped before it is given back: when the text
 * grows, when it ends, and when it was cleared in between. */
static void
test_wipes(void **state)
{
	char piece[1000];
	struct text t = {.s = NULL};

	(void)state;
	memset(piece, ' ', sizeof(piece));
	freed_secret = false;
	text_add(&t, "SECRET");
	freed_size = t.cap;
	text_append(&t, piece, sizeof(piece));
	freed_size = t.cap;
	text_fini(&t);
	assert_false(freed_secret);

	text_add(&t, "a longer start, then a SECRET");
	text_clear(&t);
	freed_size = t.cap;
	text_append(&t, piece, sizeof(piece));
	freed_size = t.cap;
	text_fini(&t);
	assert_false(freed_secret);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_add_and_append),
	    cmocka_unit_test(test_growth),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_out_of_memory_is_sticky),
	    cmocka_unit_test(test_wipes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
