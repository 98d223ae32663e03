/* Whose policies are in nftables: the tables are the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/policy_others.h"
#include "core/err.h"

static const struct table {
	const char *name; /* NULL ends them */
	bool owned, decides;
} * tables;
static int tables_err, open_err;

int
hostfw_open(struct hostfw **h, struct diag *d)
{
	(void)d;
	*h = NULL;
	return open_err;
}

void
hostfw_close(struct hostfw *h)
{
	(void)h;
}

int
hostfw_tables_each(struct hostfw *h,
    bool (*visit)(void *arg, const char *table, bool owned), void *arg)
{
	(void)h;
	for (const struct table *t = tables; tables_err == 0 && t->name; t++)
		if (!visit(arg, t->name, t->owned))
			break;
	return tables_err;
}

int
hostfw_sets_each(struct hostfw *h, const char *table,
    bool (*visit)(void *arg, const char *set), void *arg)
{
	const struct table *t = tables;

	(void)h;
	while (t->name != NULL && strcmp(t->name, table) != 0)
		t++;
	assert_non_null(t->name);
	if (visit(arg, "asked0") && t->decides && visit(arg, "live"))
		visit(arg, "n1_4");
	return 0;
}

#define LONG                                                                   \
	"ukai-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* The tunnel is a0. */
static const struct row {
	struct table t[4];
	int at_open, at_start;
	const char *says;
} rows[] = {
    {{{NULL, false, false}}, 0, 0, NULL},
    {{{"filter", false, true}, {"ukai", true, true}}, 0, 0, NULL},
    {{{"ukai-a0", true, true}, {"ukai-a0-guard", false, true}}, 0, 0, NULL},
    {{{"ukai-b1", true, false}, {"ukai-map0", true, false}}, 0, 0, NULL},
    {{{"ukai-b1", true, true}}, UK_EINVAL, UK_EINVAL, "ukai down b1"},
    {{{"ukai-b1", false, true}}, 0, 0, NULL},
    {{{"ukai-a", true, true}}, UK_EINVAL, UK_EINVAL, "the tunnel a has"},
    {{{"ukai-b1-guard", false, true}}, UK_EINVAL, 0, "ukai restore b1"},
    {{{"ukai-a00-guard", false, false}}, UK_EINVAL, 0, "the tunnel a00 was"},
    {{{"ukai-b1-guard", false, true}, {"ukai-b1", true, true}}, UK_EINVAL,
	UK_EINVAL, "ukai down b1"},
    {{{"ukai-b1-guard", true, false}}, 0, 0, NULL},
    {{{LONG, true, true}, {LONG "-guard", false, true}}, 0, 0, NULL},
};

static void
test_check(void **state)
{
	struct diag d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		tables = r->t;
		diag_init(&d, NULL);
		assert_int_equal(
		    policy_others_check(NULL, "ukai-a0", false, &d),
		    r->at_start);
		assert_int_equal(d.errors, r->at_start < 0);
		diag_init(&d, NULL);
		assert_int_equal(
		    policy_others_check(NULL, "ukai-a0", true, &d), r->at_open);
		assert_int_equal(d.errors, r->at_open < 0);
		if (r->says != NULL)
			assert_non_null(strstr(d.entry[0].text, r->says));
	}
	tables_err = UK_EPERM;
	diag_init(&d, NULL);
	assert_int_equal(
	    policy_others_check(NULL, "ukai-a0", true, &d), UK_EPERM);
	assert_int_equal(d.errors, 1);
	tables_err = 0;
}

static void
test_guarded(void **state)
{
	static const struct table none[] = {{"ukai-a0", true, true},
	    {"ukai-a0-guard", true, true}, {"ukai-a0-guard2", false, true},
	    {NULL, false, false}};
	static const struct table one[] = {{"ukai-a0-guard", false, true},
	    {"ukai-b0", true, true}, {NULL, false, false}};

	(void)state;
	tables = none;
	assert_false(policy_others_guarded("a0"));
	tables = one;
	assert_true(policy_others_guarded("a0"));
	assert_true(policy_others_guarded("A0"));
	assert_false(policy_others_guarded("b0"));
	open_err = UK_EPERM;
	assert_false(policy_others_guarded("a0"));
	open_err = 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_check),
	    cmocka_unit_test(test_guarded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
