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

#include "client/policy/domain_name.h"
#include "client/policy/names_kept.h"
#include "core/err.h"
#include "failing_wrap.h"

/* Names with a 'b' are block's, those with a 't' are tunnel!'s, other ones
 * native. */
struct matcher {
	char none;
};

size_t
matcher_names(
    const struct matcher *m, const char *name, uint32_t *rule, size_t cap)
{
	(void)m;
	(void)cap;
	rule[0] = strchr(name, 't') != NULL ? 0 : strchr(name, 'b') ? 1 : 2;
	return 1;
}

static uint32_t of_rule[] = {0, 1, 2};
static struct slot item[] = {
    {.number = 1, .target = TARGET_TUNNEL_ONLY, .always = true},
    {.number = 2, .target = TARGET_BLOCK, .always = true},
    {.number = 3, .target = TARGET_NATIVE, .always = true}};
static const struct slots slots = {.item = item, .n = 3, .of_rule = of_rule};
static const struct matcher matcher;
static char path[64];

static struct bindings *
fresh(void)
{
	struct bindings *b;

	assert_int_equal(bindings_new(&b, &matcher, &slots), 0);
	return b;
}

static void
add(struct bindings *b, const char *name, const char *address)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, address, strlen(address)), 0);
	assert_int_equal(bindings_add(b, 1, &name, 1, &a, 60), 0);
}

static bool
has(const struct bindings *b, const char *name, const char *address)
{
	const char *names[8];
	struct ip_addr a;
	size_t n;

	assert_int_equal(ip_addr_parse(&a, address, strlen(address)), 0);
	n = bindings_names(b, &a, names, 8);
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static uint32_t
pairs(const struct bindings *b)
{
	struct bindings_stats st;

	bindings_stats(b, &st);
	return st.pairs;
}

/* R8: what tunnel! and block know is known to the next run, and nothing
 * else. */
static void
r8_the_next_run_knows(void **state)
{
	struct bindings *b = fresh(), *next = fresh();
	struct stat st;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	add(b, "t", "192.0.2.1");
	add(b, "tt", "192.0.2.1");
	add(b, "t", "2001:db8::1");
	add(b, "b", "192.0.2.2");
	add(b, "z", "192.0.2.3");
	assert_int_equal(names_kept_save(b, path, &d), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(names_kept_load(next, 5, path, &d), 0);
	assert_int_equal(d.n, 0);
	assert_true(has(next, "t", "192.0.2.1"));
	assert_true(has(next, "tt", "192.0.2.1"));
	assert_true(has(next, "t", "2001:db8::1"));
	assert_true(has(next, "b", "192.0.2.2"));
	assert_int_equal(pairs(next), 4);
	bindings_free(b);
	bindings_free(next);
}

/* Of block, until somebody else has the address, as before: what an earlier run
 * was answered is over. */
static void
others_get_what_block_had(void **state)
{
	static const char text[] = "b 192.0.2.1\nt 192.0.2.1\n";
	struct bindings *b = fresh();
	struct ip_addr a = {FAMILY_V4, {192, 0, 2, 1}};
	const char *name = "z";

	(void)state;
	assert_int_equal(names_kept_parse(b, 0, text, strlen(text)), 0);
	assert_int_equal(
	    bindings_add(b, BINDINGS_FLOOR_S * UK_NS_PER_S, &name, 1, &a, 60),
	    0);
	assert_false(has(b, "b", "192.0.2.1"));
	assert_true(has(b, "t", "192.0.2.1"));
	bindings_free(b);
}

static void
nothing_to_keep_is_no_file(void **state)
{
	struct bindings *b = fresh();
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	add(b, "t", "192.0.2.1");
	assert_int_equal(names_kept_save(b, path, &d), 0);
	bindings_free(b);
	b = fresh();
	add(b, "z", "192.0.2.1");
	assert_int_equal(names_kept_save(b, path, &d), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(names_kept_load(b, 5, path, &d), 0);
	assert_int_equal(pairs(b), 1);
	bindings_free(b);
}

static void
what_cannot_be_read_or_written(void **state)
{
	struct bindings *b = fresh();
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	add(b, "t", "192.0.2.1");
	assert_int_equal(names_kept_save(b, "/nonexistent/x", &d), UK_ENOENT);
	assert_int_equal(names_kept_load(b, 5, "/nonexistent/x", &d), 0);
	assert_int_equal(names_kept_load(b, 5, "/", &d), UK_EINVAL);
	bindings_free(b);
}

/* C4 */
static void
lines(void **state)
{
	static const struct {
		const char *text;
		uint32_t pairs;
	} row[] = {
	    {"", 0},
	    {"\n\n", 0},
	    {"t 192.0.2.1", 1},
	    {"t 192.0.2.1\n", 1},
	    {"t 192.0.2.1\nt 192.0.2.1\n", 1},
	    {"t 192.0.2.1\nb ::1\n", 2},
	    {" 192.0.2.1\n", 0},
	    {"192.0.2.1\n", 0},
	    {"t\n", 0},
	    {"t \n", 0},
	    {"t 192.0.2.1 \n", 0},
	    {"t 192.0.2.256\nt 192.0.2.1\n", 1},
	    {"t  192.0.2.1\n", 0},
	};
	char text[DOMAIN_NAME_MAX + 16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct bindings *b = fresh();

		assert_int_equal(
		    names_kept_parse(b, 1, row[i].text, strlen(row[i].text)),
		    0);
		assert_int_equal(pairs(b), row[i].pairs);
		bindings_free(b);
	}
	for (size_t len = DOMAIN_NAME_MAX - 1; len <= DOMAIN_NAME_MAX; len++) {
		struct bindings *b = fresh();

		memset(text, 't', len);
		memcpy(text + len, " ::1", 4);
		assert_int_equal(names_kept_parse(b, 1, text, len + 4), 0);
		assert_int_equal(pairs(b), len < DOMAIN_NAME_MAX);
		bindings_free(b);
	}
	struct bindings *b = fresh();
	assert_int_equal(names_kept_parse(b, 1, "t\0t ::1", 7), 0);
	assert_int_equal(pairs(b), 0);
	bindings_free(b);
}

static void
memory_fails(void **state)
{
	struct bindings *b = fresh();
	int err = UK_ENOMEM;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	add(b, "t", "192.0.2.1");
	for (unsigned n = 1; err < 0; n++) {
		fail_at = n;
		err = names_kept_save(b, path, &d);
		fail_at = 0;
		assert_true(err == 0 || err == UK_ENOMEM);
		assert_true(n < 20);
	}
	err = UK_ENOMEM;
	for (unsigned n = 1; err < 0; n++) {
		struct bindings *next = fresh();

		fail_at = n;
		err = names_kept_load(next, 1, path, &d);
		fail_at = 0;
		assert_true(err == UK_ENOMEM || pairs(next) == 1);
		bindings_free(next);
		assert_true(n < 20);
	}
	bindings_free(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(r8_the_next_run_knows),
	    cmocka_unit_test(others_get_what_block_had),
	    cmocka_unit_test(nothing_to_keep_is_no_file),
	    cmocka_unit_test(what_cannot_be_read_or_written),
	    cmocka_unit_test(lines),
	    cmocka_unit_test(memory_fails),
	};
	char dir[] = "/tmp/test_names_kept.XXXXXX";
	int failed;

	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/t0.names", dir);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(dir);
	return failed;
}
