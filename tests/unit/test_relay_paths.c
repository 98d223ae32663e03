#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../server/paths.h"
#include "core/base.h"
#include "core/err.h"

static char folder[] = "/tmp/ukai-paths.XXXXXX";

static void
test_make(void **state)
{
	char path[PATHS_MAX], longer[PATHS_MAX];
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	unsetenv("UKAI_RUN_DIR");
	unsetenv("UKAI_STATE_DIR");
	assert_int_equal(paths_make(path, PATHS_SOCKET, "ukai0", &d), 0);
	assert_string_equal(path, "/run/ukai/ukai0.relay");
	assert_int_equal(paths_make(path, PATHS_STAMPS, "ukai0", &d), 0);
	assert_string_equal(path, "/var/lib/ukai/ukai0.relay-stamps");
	setenv("UKAI_STATE_DIR", "/x", 1);
	assert_int_equal(paths_make(path, PATHS_JOURNAL, "a", &d), 0);
	assert_string_equal(path, "/x/a.relay-journal");
	assert_int_equal(d.n, 0);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	setenv("UKAI_STATE_DIR", longer, 1);
	assert_int_equal(paths_make(path, PATHS_JOURNAL, "a", &d), UK_EINVAL);
	assert_int_equal(d.errors, 1);
}

static void
touch(const char *file)
{
	char path[PATHS_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
}

static void
test_list(void **state)
{
	static const char *const file[] = {"a.relay", "ukai0.relay",
	    "a.relay-journal", ".relay", "a.sock", "sixteen-bytes-16.relay",
	    "b b.relay", "relay"};
	char path[PATHS_MAX], name[2][16];

	(void)state;
	setenv("UKAI_RUN_DIR", "/nonexistent", 1);
	assert_int_equal(paths_list(PATHS_SOCKET, name, 2), 0);
	setenv("UKAI_RUN_DIR", folder, 1);
	for (size_t i = 0; i < ARRAY_LEN(file); i++)
		touch(file[i]);
	assert_int_equal(paths_list(PATHS_SOCKET, name, 2), 2);
	assert_true(strcmp(name[0], "a") == 0 || strcmp(name[1], "a") == 0);
	assert_true(
	    strcmp(name[0], "ukai0") == 0 || strcmp(name[1], "ukai0") == 0);
	/* More than there is room for: told, not written. */
	memset(name[1], 'z', sizeof(name[1]));
	assert_int_equal(paths_list(PATHS_SOCKET, name, 1), 2);
	assert_int_equal(name[1][0], 'z');
	for (size_t i = 0; i < ARRAY_LEN(file); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, file[i]);
		unlink(path);
	}
}

static int
make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_make),
	    cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
