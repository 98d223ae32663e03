#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/drop.h"

/* Every reason has a name of its own that metrics can carry. */
static void
test_names(void **state)
{
	(void)state;
	assert_string_equal(map_drop_name(MAP_OK), "");
	for (int i = MAP_OK + 1; i < MAP_DROPS; i++) {
		const char *name = map_drop_name((enum map_drop)i);

		assert_non_null(name);
		assert_true(name[0] != '\0');
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz46-"),
		    strlen(name));
		for (int k = MAP_OK; k < i; k++)
			assert_string_not_equal(
			    name, map_drop_name((enum map_drop)k));
	}
}

static void
test_sample(void **state)
{
	(void)state;
	assert_string_equal(
	    map_drop_name(MAP_DROP_OUTER_MALFORMED), "outer-malformed");
	assert_string_equal(
	    map_drop_name(MAP_DROP_FRAGMENT_AGE), "fragment-age");
	assert_string_equal(map_drop_name(MAP_DROP_NO_PORT), "no-port");
	assert_string_equal(map_drop_name(MAP_DROP_TOO_BIG), "too-big");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_sample),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
