/* The client's small pure functions: names, MTU, choice of an address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/endpoints.h"
#include "client/link.h"
#include "client/paths.h"
#include "core/err.h"

static void
test_names_of_files(void **state)
{
	static const struct {
		const char *file, *name; /* NULL: refused */
	} row[] = {
	    {"/etc/ukai/ukai0.conf", "ukai0"},
	    {"wg0.conf", "wg0"},
	    {"./a/wg0", "wg0"},
	    {"/x/Office_1=2+3.b-c.conf", NULL}, /* 16 */
	    {"/x/ffice_1=2+3.b-c.conf", "ffice_1=2+3.b-c"},
	    {"/x/.conf", NULL},
	    {"/x/..conf", NULL},
	    {"/x/...conf", NULL},
	    {"/x/-f.conf", NULL},
	    {"/x/", NULL},
	    {"", NULL},
	    {"a b.conf", NULL},
	    {"a\"; drop.conf", NULL},
	    {"a*.conf", NULL},
	    {"a:b.conf", NULL},
	    {"a\n.conf", NULL},
	};
	char name[CLIENT_NAME_MAX];
	struct diag d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		int want = row[i].name != NULL ? 0 : UK_EINVAL;

		diag_init(&d, NULL);
		assert_int_equal(
		    client_name_of_file(name, row[i].file, &d), want);
		assert_int_equal(d.errors, want == 0 ? 0 : 1);
		if (want == 0)
			assert_string_equal(name, row[i].name);
	}
}

static void
test_paths(void **state)
{
	struct client_paths p;
	char longest[120];
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	unsetenv("UKAI_RUN_DIR");
	unsetenv("UKAI_STATE_DIR");
	unsetenv("UKAI_CONF_DIR");
	assert_int_equal(client_paths(&p, "ukai0", &d), 0);
	assert_string_equal(p.conf_dir, "/etc/ukai");
	assert_string_equal(p.conf, "/etc/ukai/ukai0.conf");
	assert_string_equal(p.rules, "/etc/ukai/ukai0.rules");
	assert_string_equal(p.joining, "/etc/ukai/ukai0.joining");
	assert_string_equal(p.control, "/run/ukai/ukai0.sock");
	assert_string_equal(p.journal, "/var/lib/ukai/ukai0.journal");
	assert_string_equal(p.guard, "/var/lib/ukai/ukai0.guard");
	assert_string_equal(p.stamp, "/var/lib/ukai/ukai0.stamp");
	assert_string_equal(p.uapi, "/var/run/wireguard/ukai0.sock");
	setenv("UKAI_RUN_DIR", "/a", 1);
	setenv("UKAI_STATE_DIR", "/b", 1);
	assert_int_equal(client_paths(&p, "ukai0", &d), 0);
	assert_string_equal(p.control, "/a/ukai0.sock");
	assert_string_equal(p.journal, "/b/ukai0.journal");
	assert_int_equal(d.n, 0);
	setenv("UKAI_RUN_DIR", "run", 1);
	assert_int_equal(client_paths(&p, "ukai0", &d), UK_EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	setenv("UKAI_RUN_DIR", longest, 1);
	assert_int_equal(client_paths(&p, "ukai0", &d), UK_EINVAL);
	unsetenv("UKAI_RUN_DIR");
	setenv("UKAI_STATE_DIR", longest, 1);
	assert_int_equal(client_paths(&p, "ukai0", &d), UK_EINVAL);
	unsetenv("UKAI_STATE_DIR");
	setenv("UKAI_CONF_DIR", "etc", 1);
	assert_int_equal(client_paths(&p, "ukai0", &d), UK_EINVAL);
	assert_int_equal(d.errors, 4);
	unsetenv("UKAI_CONF_DIR");
}

/* A name is told once, though it has two journals, and other names' files stand
 * between these. */
static void
test_names_of_journals(void **state)
{
	static const char *const file[] = {"a.guard", "a.h.guard",
	    "a.h.journal", "a.journal", "b.journal", "c.guard", "-d.guard",
	    "d.stamp", ".guard", "guard", "e.guards", "sixteen-letters1.guard",
	    "fifteen-letters.guard"};
	static const char *const want[] = {
	    "a", "a.h", "b", "c", "fifteen-letters"};
	char dir[] = "/tmp/ukt-small-XXXXXX", path[64];
	struct client_names l;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	assert_non_null(mkdtemp(dir));
	setenv("UKAI_STATE_DIR", dir, 1);
	for (size_t i = 0; i < ARRAY_LEN(file); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, file[i]);
		assert_int_equal(close(creat(path, 0600)), 0);
	}
	assert_int_equal(client_names_of_journals(&l, &d), 0);
	assert_int_equal(l.n, ARRAY_LEN(want));
	for (size_t i = 0; i < l.n; i++)
		assert_string_equal(l.name[i], want[i]);
	client_names_fini(&l);
	for (size_t i = 0; i < ARRAY_LEN(file); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, file[i]);
		unlink(path);
	}
	assert_int_equal(client_names_of_journals(&l, &d), 0);
	assert_int_equal(l.n, 0);
	client_names_fini(&l);
	rmdir(dir);
	assert_int_equal(client_names_of_journals(&l, &d), 0);
	assert_int_equal(l.n, 0);
	assert_int_equal(d.n, 0);
	unsetenv("UKAI_STATE_DIR");
}

static void
test_mtu(void **state)
{
	static const struct {
		uint32_t path;
		bool v6;
		uint32_t mtu;
	} row[] = {
	    {0, true, 1420},
	    {1500, true, 1420},
	    {1501, true, 1420},
	    {9000, false, 1420},
	    {65536, true, 1420},
	    {1499, true, 1419},
	    {1460, false, 1380},
	    {1360, true, 1280},
	    {1359, true, 1280},
	    {1359, false, 1279},
	    {656, false, 576},
	    {655, false, 576},
	    {80, true, 1280},
	    {1, false, 576},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_int_equal(link_mtu(row[i].path, row[i].v6), row[i].mtu);
}

/* Design decision 2: IPv6 first, then what is next in the list. */
static void
test_choice(void **state)
{
	const struct ip_addr a[] = {{FAMILY_V6, {0x20, 1}},
	    {FAMILY_V6, {0x20, 2}}, {FAMILY_V4, {192, 0, 2, 1}}};
	const struct ip_addr none = {FAMILY_NONE, {0}};
	const struct ip_addr foreign = {FAMILY_V4, {192, 0, 2, 2}};

	(void)state;
	assert_ptr_equal(endpoints_choose(a, 3, &none), &a[0]);
	assert_ptr_equal(endpoints_choose(a, 3, &foreign), &a[0]);
	assert_ptr_equal(endpoints_choose(a, 3, &a[0]), &a[1]);
	assert_ptr_equal(endpoints_choose(a, 3, &a[1]), &a[2]);
	assert_ptr_equal(endpoints_choose(a, 3, &a[2]), &a[0]);
	assert_ptr_equal(endpoints_choose(a, 1, &a[0]), &a[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names_of_files),
	    cmocka_unit_test(test_paths),
	    cmocka_unit_test(test_names_of_journals),
	    cmocka_unit_test(test_mtu),
	    cmocka_unit_test(test_choice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
