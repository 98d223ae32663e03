/* A policy's file, from the disk to what is looked up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/policy/compiled.h"
#include "client/policy/mark.h"
#include "core/err.h"
#include "failing_wrap.h"

static char dir[32], path[64];

static void
write_file(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int
setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/ukt-compiled-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/t.rules", dir);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	return unlink(path) | rmdir(dir);
}

static struct compiled *
load(const char *text, const struct compiled *before)
{
	struct compiled *c;
	struct diag d;

	write_file(text);
	diag_init(&d, path);
	assert_int_equal(compiled_load(&c, path, before, &d), 0);
	assert_int_equal(d.errors, 0);
	return c;
}

static void
test_has_names(void **state)
{
	static const struct {
		const char *text;
		bool has;
	} row[] = {
	    {"DEFAULT,native\n", false},
	    {"IP-CIDR,192.0.2.0/24,tunnel\nUID,7,block\n", false},
	    {"PROCESS-NAME,a.example,tunnel\nDST-PORT,53,native\n", false},
	    {"UID,7,native\nDOMAIN,a.example,tunnel\n", true},
	    {"DOMAIN-SUFFIX,a.example,native\n", true},
	    {"DOMAIN-KEYWORD,ample,block\n", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct compiled *c = load(row[i].text, NULL);

		assert_int_equal(compiled_has_names(c), row[i].has);
		assert_non_null(c->matcher);
		compiled_free(c);
	}
	compiled_free(NULL);
}

/* Of rules and of conditions, each once. */
static void
test_programs(void **state)
{
	struct compiled *c = load("PROCESS-NAME,rclone,tunnel\n"
				  "DST-PORT,22,tunnel,process=ssh\n"
				  "PROCESS-NAME,rclone,block,proto=udp\n"
				  "UID,7,native,process=rclone\n"
				  "PROCESS-NAME,ssh,native\n"
				  "PROCESS-NAME,Rclone,native\n"
				  "PROCESS-NAME,dup,tunnel!\n"
				  "PROCESS-NAME,dup,block,proto=udp\n",
	    NULL);
	static const struct program_name want[] = {{"rclone", false},
	    {"ssh", false}, {"Rclone", false}, {"dup", true}};
	size_t found = 0;

	(void)state;
	assert_int_equal(c->programs, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		for (size_t k = 0; k < c->programs; k++)
			found +=
			    strcmp(want[i].name, c->program[k].name) == 0 &&
			    want[i].closed == c->program[k].closed;
	assert_int_equal(found, ARRAY_LEN(want));
	compiled_free(c);
}

static void
test_programs_limit(void **state)
{
	static char text[32 * (CLASS_PROGRAM_MAX + 2)];
	struct compiled *c;
	struct diag d;
	size_t len = 0;

	(void)state;
	for (int i = 0; i < CLASS_PROGRAM_MAX; i++)
		len +=
		    (size_t)sprintf(text + len, "PROCESS-NAME,p%d,tunnel\n", i);
	c = load(text, NULL);
	assert_int_equal(c->programs, CLASS_PROGRAM_MAX);
	compiled_free(c);
	strcpy(text + len, "UID,7,native,process=q\n");
	write_file(text);
	diag_init(&d, path);
	assert_int_equal(compiled_load(&c, path, NULL, &d), UK_ELIMIT);
	assert_null(c);
	assert_int_equal(d.errors, 1);
	assert_non_null(strstr(d.entry[d.n - 1].text, "\"q\""));
}

/* Every mistake, where it is, and nothing to be used. */
static void
test_mistakes(void **state)
{
	struct compiled *c;
	struct diag d;

	(void)state;

	write_file("DOMAN,a.example,tunnel\n"
		   "IP-CIDR,192.0.2.0/33,native\n"
		   "DEFAULT,native\n");
	diag_init(&d, path);
	assert_int_equal(compiled_load(&c, path, NULL, &d), UK_EINVAL);
	assert_null(c);
	assert_int_equal(d.errors, 2);
	assert_int_equal(d.entry[0].line, 1);
	assert_int_equal(d.entry[1].line, 2);
	snprintf(path, sizeof(path), "%s/none.rules", dir);
	diag_init(&d, path);
	assert_int_equal(compiled_load(&c, path, NULL, &d), UK_ENOENT);
	assert_null(c);
	snprintf(path, sizeof(path), "%s/t.rules", dir);
}

/* Those of reading and those of looking at the whole, by line. */
static void
test_warnings_in_order(void **state)
{
	struct compiled *c;
	struct diag d;

	(void)state;
	write_file("IP-CIDR,192.0.2.0/24,native\n"
		   "IP-CIDR,192.0.2.7/32,tunnel\n"
		   "IP-CIDR,198.51.100.7/24,tunnel\n");
	diag_init(&d, path);
	assert_int_equal(compiled_load(&c, path, NULL, &d), 0);
	assert_int_equal(d.errors, 0);
	assert_true(d.warnings >= 2); /* shadowed; DEFAULT is missing */
	for (unsigned i = 1; i < d.n; i++)
		assert_true(d.entry[i - 1].line <= d.entry[i].line);
	compiled_free(c);
}

static unsigned
number_of(const struct compiled *c, size_t line)
{
	return c->slots->item[c->slots->of_rule[line - 1]].number;
}

/* Flows carry their rule's number over a reload. */
static void
test_numbers_stay(void **state)
{
	struct compiled *a = load("IP-CIDR,192.0.2.1/32,tunnel\n"
				  "IP-CIDR,192.0.2.2/32,block\n"
				  "DEFAULT,native\n",
	    NULL);
	struct compiled *b = load("IP-CIDR,192.0.2.3/32,tunnel!\n"
				  "IP-CIDR,192.0.2.2/32,block\n"
				  "DEFAULT,native\n",
	    a);

	(void)state;
	assert_int_equal(number_of(b, 2), number_of(a, 2));
	assert_int_equal(number_of(b, 3), number_of(a, 3));
	for (size_t line = 1; line <= 3; line++)
		assert_int_not_equal(number_of(b, 1), number_of(a, line));
	compiled_free(a);
	compiled_free(b);
}

static void
test_too_many_slots(void **state)
{
	size_t len = 0, cap = (SLOTS_MAX + 1) * 40;
	char *text = malloc(cap);
	struct compiled *c;
	struct diag d;

	(void)state;
	assert_non_null(text);
	for (unsigned i = 0; i <= SLOTS_MAX; i++)
		len += (size_t)snprintf(text + len, cap - len, "UID,%u,%s\n", i,
		    i % 2 == 0 ? "tunnel" : "native");
	write_file(text);
	diag_init(&d, path);
	assert_int_equal(compiled_load(&c, path, NULL, &d), UK_ELIMIT);
	assert_null(c);
	assert_int_equal(d.errors, 1);
	free(text);
}

/* ---- no memory ---- */

static void
test_no_memory(void **state)
{
	unsigned failures = 0;
	struct compiled *c;
	struct diag d;
	bool failed = true;

	(void)state;
	write_file("DOMAIN,a.example,tunnel!\n"
		   "DOMAIN-KEYWORD,exam,native\n"
		   "IP-CIDR,192.0.2.0/24,tunnel,process=ssh\n"
		   "PROCESS-NAME,rclone,tunnel\n"
		   "DEFAULT,native\n");
	for (unsigned i = 1; failed; i++) {
		int err;

		diag_init(&d, path);
		fail_at = i;
		err = compiled_load(&c, path, NULL, &d);
		failed = fail_at == 0;
		fail_at = 0;
		/* Memory that is given back need not get smaller. */
		assert_true(err == 0 ? c != NULL : c == NULL);
		assert_true(err == 0 || (failed && err == UK_ENOMEM));
		failures += err < 0;
		compiled_free(c);
	}
	assert_true(failures > 10);
}

#define T(fn) cmocka_unit_test(fn)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_has_names),
	    T(test_programs),
	    T(test_programs_limit),
	    T(test_mistakes),
	    T(test_warnings_in_order),
	    T(test_numbers_stay),
	    T(test_too_many_slots),
	    T(test_no_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
