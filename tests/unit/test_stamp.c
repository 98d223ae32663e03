#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/stamp.h"
#include "core/err.h"

static const struct wg_key key = {{1, 2, 3, 4, 5}};
static const struct wg_key other = {{1, 2, 3, 4, 6}};
static const uint8_t stamp[WG_STAMP_LEN] = {
    0x40, 0, 0, 0, 0x6a, 0x12, 0xff, 0x80, 0x3b, 0x9a, 0xc9, 0};
static const uint8_t zero[WG_STAMP_LEN];

static void
test_format(void **state)
{
	char text[STAMP_TEXT_MAX];
	uint8_t back[WG_STAMP_LEN];
	size_t len = stamp_format(text, &key, stamp);

	(void)state;
	assert_string_equal(text,
	    "ukai-stamp 1 AQIDBAUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= "
	    "400000006a12ff803b9ac900\n");
	assert_int_equal(len, strlen(text));
	assert_int_equal(stamp_parse(back, &key, text, len), 0);
	assert_memory_equal(back, stamp, sizeof(back));
	/* P2: a new key begins anew. */
	assert_int_equal(stamp_parse(back, &other, text, len), UK_ENOENT);
}

/* Only what we write is taken: every other byte somewhere is refused, but for
 * another key's or another stamp's. */
static void
test_damaged(void **state)
{
	char text[STAMP_TEXT_MAX], bad[STAMP_TEXT_MAX];
	uint8_t back[WG_STAMP_LEN] = {9};
	size_t len = stamp_format(text, &key, stamp);

	(void)state;
	for (size_t n = 0; n < len; n++)
		assert_int_equal(stamp_parse(back, &key, text, n), UK_EPROTO);
	assert_int_equal(stamp_parse(back, &key, text, len + 1), UK_EPROTO);
	for (size_t i = 0; i < len; i++) {
		memcpy(bad, text, len);
		bad[i] = '\x7f';
		assert_int_equal(stamp_parse(back, &key, bad, len), UK_EPROTO);
	}
	assert_int_equal(back[0], 9);
}

/* P1: what was saved is there after a restart, and nobody else reads it. */
static void
test_file_P1(void **state)
{
	char dir[] = "/tmp/ukai-stamp-XXXXXX", path[64];
	uint8_t back[WG_STAMP_LEN];
	struct diag d;
	struct stat st;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/ukai0.stamp", dir);
	diag_init(&d, NULL);
	stamp_load(back, path, &key, &d);
	assert_memory_equal(back, zero, sizeof(back));
	assert_int_equal(d.n, 0);

	assert_int_equal(stamp_save(path, &key, stamp), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	stamp_load(back, path, &key, &d);
	assert_memory_equal(back, stamp, sizeof(back));
	stamp_load(back, path, &other, &d);
	assert_memory_equal(back, zero, sizeof(back));
	assert_int_equal(d.n, 0);

	f = fopen(path, "a");
	assert_non_null(f);
	fputs("x", f);
	fclose(f);
	stamp_load(back, path, &key, &d);
	assert_memory_equal(back, zero, sizeof(back));
	assert_int_equal(d.warnings, 1);
	assert_int_equal(d.errors, 0);

	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0); /* no temporary file either */
	assert_true(stamp_save(path, &key, stamp) < 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_format),
	    cmocka_unit_test(test_damaged),
	    cmocka_unit_test(test_file_P1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
