#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "client/mape/plain_text.h"

/* ---- C5: which characters are taken ---- */

static void
test_characters(void **state)
{
	static const struct {
		const char *s;
		size_t len, n;
	} row[] = {
	    {"", 0, 0}, {"a", 0, 0}, {"a", 1, 1}, {"ab", 2, 1}, {" ", 1, 1},
	    {"~", 1, 1}, {"\0", 1, 0}, {"\t", 1, 0}, {"\n", 1, 0},
	    {"\x1b", 1, 0}, {"\x1f", 1, 0}, {"\x7f", 1, 0},
	    /* U+0080, U+009F, U+00A0 */
	    {"\xc2\x80", 2, 0}, {"\xc2\x9f", 2, 0}, {"\xc2\xa0", 2, 2},
	    {"\xc2\xa0", 1, 0}, {"\xc2", 1, 0}, {"\xc2z", 2, 0},
	    {"\xc1\xbf", 2, 0}, {"\xdf\xbf", 2, 2},
	    {"\xd8\x9c", 2, 0}, /* U+061C: direction */
	    {"\xe0\x9f\xbf", 3, 0}, /* too long for what it is */
	    {"\xe0\xa0\x80", 3, 3}, {"\xe1\xbf\xbf", 3, 3},
	    {"\xe2\x80\x80", 3, 0}, /* U+2000 */
	    {"\xe2\x80\xae", 3, 0}, /* U+202E: direction */
	    {"\xe2\x81\xbf", 3, 0}, {"\xe2\x82\x80", 3, 3},
	    {"\xe6\x97\xa5", 3, 3}, {"\xe6\x97\xa5", 2, 0}, {"\xe6\x97z", 3, 0},
	    {"\xed\x9f\xbf", 3, 3}, {"\xed\xa0\x80", 3, 0}, /* a surrogate */
	    {"\xed\xbf\xbf", 3, 0}, {"\xee\x80\x80", 3, 3},
	    {"\xef\xbb\xbf", 3, 0}, /* U+FEFF */
	    {"\xf0\x8f\xbf\xbf", 4, 0}, {"\xf0\x90\x80\x80", 4, 4},
	    {"\xf4\x8f\xbf\xbf", 4, 4}, {"\xf4\x90\x80\x80", 4, 0},
	    {"\xf5\x80\x80\x80", 4, 0}, {"\x80", 1, 0}, {"\xff", 1, 0},
	    {"\x93\xfa", 2, 0}, /* Shift_JIS */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		size_t n = plain_text_char(row[i].s, row[i].len);

		if (n != row[i].n)
			fail_msg("row %zu: %zu", i, n);
	}
}

/* ---- all code points, against an encoder ---- */

static size_t
encode(char s[4], uint32_t c)
{
	uint32_t tail = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};

	s[0] = (char)(lead[tail] | c >> 6 * tail);
	for (uint32_t i = 1; i <= tail; i++)
		s[i] = (char)(0x80 | (c >> 6 * (tail - i) & 0x3f));
	return tail + 1;
}

static bool
wanted(uint32_t c)
{
	if (c < ' ' || (c > '~' && c <= 0x9f))
		return false;
	if (c == 0x61c || c == 0xfeff || (c >> 7 == 0x2000 >> 7))
		return false;
	return c < 0xd800 || c > 0xdfff;
}

static void
test_all(void **state)
{
	char s[4];

	(void)state;
	for (uint32_t c = 0; c <= 0x10ffff; c++) {
		size_t n = encode(s, c);

		if (plain_text_char(s, n) != (wanted(c) ? n : 0))
			fail_msg("U+%04X", (unsigned)c);
	}
}

/* ---- copies ---- */

static void
test_copy(void **state)
{
	static const struct {
		const char *from;
		size_t room;
		const char *to;
	} row[] = {
	    {"", 1, ""},
	    {"abc", 4, "abc"},
	    {"abc", 3, "ab"},
	    {"abc", 1, ""},
	    {"a\x1b[2J", 16, "a?[2J"},
	    {"\xe6\x97\xa5\xe6\x9c\xac", 7, "\xe6\x97\xa5\xe6\x9c\xac"},
	    {"\xe6\x97\xa5\xe6\x9c\xac", 6, "\xe6\x97\xa5"},
	    {"\xe2\x80\xae.", 3, "?."}, /* one for each character */
	    {"\xe2\x80.", 4, "??."}, /* and for each byte of none */
	    {"\xff\xc3\xa4", 4, "?\xc3\xa4"},
	};
	char to[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		memset(to, 'x', sizeof(to));
		plain_text_copy(to, row[i].room, row[i].from);
		assert_string_equal(to, row[i].to);
		for (size_t k = row[i].room; k < sizeof(to); k++)
			assert_int_equal(to[k], 'x');
	}
}

/* Whatever bytes: what comes out is taken as it stands. */
static void
test_random(void **state)
{
	char from[24], to[24];

	(void)state;
	srand(5);
	for (unsigned round = 0; round < 20000; round++) {
		for (size_t i = 0; i < sizeof(from); i++)
			from[i] = (char)(rand() >> 3 | (rand() & 0x80));
		from[sizeof(from) - 1] = 0;
		plain_text_copy(to, sizeof(to), from);
		for (size_t i = 0, n; to[i] != 0; i += n) {
			n = plain_text_char(to + i, strlen(to + i));
			assert_true(n > 0);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_characters),
	    cmocka_unit_test(test_all),
	    cmocka_unit_test(test_copy),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
