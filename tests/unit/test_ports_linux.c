/* The sysctls are those of a network namespace of the test's own; without the
 * right to one, only what is pure is tested. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/kill_each.h"
#include "client/ports/linux.h"
#include "client/ports/timer.h"
#include "core/err.h"
#include "host/undo_reserved.h"

#define SYSCTL "/proc/sys/net/ipv4/ip_"

static void
test_claims(void **state)
{
	static const struct {
		const char *text;
		bool says;
		uint32_t n;
	} row[] = {
	    {"net.ipv4.ip_local_reserved_ports = 30000-32767\n", true, 2768},
	    {"# x\n-net/ipv4/ip_local_reserved_ports=8080", true, 1},
	    {"net.ipv4.ip_local_reserved_ports=1,2\n"
	     "net.ipv4.ip_local_reserved_ports=\n",
		true, 0},
	    {"#net.ipv4.ip_local_reserved_ports=1\n", false, 0},
	    {"net.ipv4.ip_local_reserved_ports_x=1\n", false, 0},
	    {"net.ipv4.ip_local_reserved_ports\n", false, 0},
	    {"net.ipv4.ip_local_reserved_ports=a\n", false, 0},
	    {"net.ipv4.ip_forward=1\n", false, 0},
	    {"", false, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct port_set s = {{0}};

		assert_int_equal(
		    ports_linux_claim(&s, row[i].text, strlen(row[i].text)),
		    row[i].says);
		assert_int_equal(port_set_count(&s), row[i].n);
	}
}

static void
test_times(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds; /* 0: refused */
	} row[] = {{"1s", 1}, {"10m", 600}, {"2h", 7200}, {"7d", 604800},
	    {"8d", 0}, {"604801s", 0}, {"0m", 0}, {"10", 0}, {"m", 0}, {"", 0},
	    {"-1s", 0}, {"1x", 0}, {"99999999999999999999s", 0}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		uint64_t v = 0;

		assert_int_equal(ports_timer_parse(&v, row[i].text),
		    row[i].seconds > 0 ? 0 : UK_EINVAL);
		assert_int_equal(v, row[i].seconds);
	}
}

static char folder[64], journal[96];
static bool have_netns;

static void
set(const char *name, const char *value)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), SYSCTL "%s", name);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(
	    write(fd, value, strlen(value)), (ssize_t)strlen(value));
	close(fd);
}

static void
assert_is(const char *name, const char *want)
{
	char path[96], text[8192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), SYSCTL "%s", name);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_true(n >= 0);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	assert_string_equal(text, want);
}

/* The plan of a small line: 5000-5063, and between others' ports. */
static void
make_plan(struct ports_plan *p)
{
	static const char keep[] = "5064-7000,7002-7999";

	memset(p, 0, sizeof(*p));
	p->low = 5000;
	p->high = 8063;
	assert_int_equal(port_set_parse(&p->keep, keep, strlen(keep)), 0);
}

static void
reset(void)
{
	set("local_port_range", "32768 60999");
	set("local_reserved_ports", "7001,30000-32767\n");
	unlink(journal);
}

static void
work(void *arg)
{
	struct undo *u;

	if (undo_open(&u, journal, NULL) < 0 ||
	    ports_linux_apply(u, arg, NULL) < 0)
		_exit(1);
	undo_close(u);
}

static void
revert(void *arg)
{
	struct undo *u;

	(void)arg;
	if (undo_open(&u, journal, NULL) < 0 || undo_all(u, NULL, NULL) < 0)
		_exit(1);
	undo_close(u);
}

static void
assert_before(void)
{
	assert_is("local_port_range", "32768\t60999");
	assert_is("local_reserved_ports", "7001,30000-32767");
	assert_int_not_equal(access(journal, F_OK), 0);
}

static void
test_apply(void **state)
{
	struct ports_linux *s = malloc(sizeof(*s));
	struct ports_plan p;
	struct undo *u;

	(void)state;
	if (!have_netns)
		skip();
	reset();
	make_plan(&p);
	work(&p);
	assert_is("local_port_range", "5000\t8063");
	assert_is("local_reserved_ports", "5064-7999,30000-32767");
	assert_int_equal(undo_open(&u, journal, NULL), 0);
	assert_int_equal(ports_linux_read(s, u, NULL), 0);
	assert_memory_equal(&s->before.ours, &p.keep, sizeof(p.keep));
	assert_int_equal(port_set_count(&s->before.kept), 2769);
	assert_int_equal(s->before.low, 5000);
	assert_true(s->applied);
	assert_int_equal(s->old_low, 32768);
	assert_int_equal(s->old_high, 60999);
	/* Somebody has taken both since: neither is ours to undo. */
	set("local_port_range", "5000 8000");
	set("local_reserved_ports", "5100-5200\n");
	assert_int_equal(ports_linux_read(s, u, NULL), 0);
	assert_false(s->applied);
	assert_int_equal(s->old_low, 5000);
	assert_int_equal(s->old_high, 8000);
	assert_int_equal(port_set_count(&s->before.ours), 0);
	assert_int_equal(port_set_count(&s->before.kept), 101);
	set("local_port_range", "5000 8063");
	set("local_reserved_ports", "5064-7999,30000-32767\n");
	undo_close(u);
	revert(NULL);
	assert_before();
	/* A range alone: there is nothing to keep out. */
	memset(&p.keep, 0, sizeof(p.keep));
	work(&p);
	assert_int_equal(undo_open(&u, journal, NULL), 0);
	assert_int_equal(ports_linux_read(s, u, NULL), 0);
	assert_true(s->applied);
	undo_close(u);
	revert(NULL);
	assert_before();
	free(s);
}

/* In a container ports for everybody may begin at 0; a range may not. */
static void
test_lowest(void **state)
{
	struct ports_linux *s = malloc(sizeof(*s));
	static const struct {
		const char *start;
		uint16_t low_min;
	} row[] = {{"0", 1}, {"1", 1}, {"2000", 2000}, {"1024", 1024}};

	(void)state;
	if (!have_netns)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		set("unprivileged_port_start", row[i].start);
		assert_int_equal(ports_linux_read(s, NULL, NULL), 0);
		assert_int_equal(s->limits.low_min, row[i].low_min);
	}
	free(s);
}

/* What somebody makes of the list after us, and what is left then. */
static void
test_others_since(void **state)
{
	static const struct {
		const char *list, *left;
		unsigned warnings;
	} row[] = {
	    {"5064-7999,30000-32767\n", "7001,30000-32767", 0},
	    /* Added to. */
	    {"22,5064-7999,8050,30000-32767\n", "22,7001,8050,30000-32767", 0},
	    /* Taken from, theirs and ours. */
	    {"5064-5999,6001-7999\n", "7001", 0},
	    /* Replaced by what has a few ports in common. */
	    {"5100-5200\n", "5100-5200", 1},
	    {"30000-32767\n", "30000-32767", 0},
	    {"\n", "", 0},
	};

	(void)state;
	if (!have_netns)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ports_plan p;
		struct undo *u;
		struct diag d;

		diag_init(&d, NULL);
		reset();
		make_plan(&p);
		work(&p);
		set("local_reserved_ports", row[i].list);
		assert_int_equal(undo_open(&u, journal, &d), 0);
		assert_int_equal(undo_all(u, NULL, &d), 0);
		undo_close(u);
		assert_is("local_reserved_ports", row[i].left);
		assert_is("local_port_range", "32768\t60999");
		assert_int_equal(d.warnings, row[i].warnings);
	}
}

/* Every other port: more than the kernel takes in one write. */
static void
test_list_too_long(void **state)
{
	struct ports_plan p;
	struct undo *u;
	struct diag d;

	(void)state;
	if (!have_netns)
		skip();
	reset();
	make_plan(&p);
	for (uint32_t i = 10000; i < 12000; i += 2)
		port_set_add(&p.keep, (uint16_t)i, (uint16_t)i);
	diag_init(&d, NULL);
	assert_int_equal(undo_open(&u, journal, &d), 0);
	assert_int_equal(ports_linux_apply(u, &p, &d), UK_ELIMIT);
	assert_int_equal(d.errors, 1);
	undo_close(u);
	assert_before();
	/* A range that the kernel refuses: the reservations go, too. */
	make_plan(&p);
	p.low = 1;
	assert_int_equal(undo_open(&u, journal, &d), 0);
	assert_true(ports_linux_apply(u, &p, &d) < 0);
	undo_close(u);
	assert_before();
}

static void
test_impossible_entries(void **state)
{
	static const char *const line[] = {"+ reservedports -",
	    "+ reservedports x", "+ reservedports 5-4", "+ reservedports 1 2"};
	struct ports_plan p;

	(void)state;
	if (!have_netns)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(line); i++) {
		char header[128] = "";
		struct undo *u;
		struct diag d;
		FILE *f;

		reset();
		make_plan(&p);
		work(&p);
		f = fopen(journal, "r");
		assert_non_null(fgets(header, sizeof(header), f));
		fclose(f);
		revert(NULL);
		f = fopen(journal, "w");
		fprintf(f, "%s%s\n", header, line[i]);
		fclose(f);
		chmod(journal, 0600);
		diag_init(&d, NULL);
		assert_int_equal(undo_open(&u, journal, &d), 0);
		assert_int_equal(undo_all(u, NULL, &d), UK_ESYS);
		assert_int_equal(d.errors, 1);
		undo_close(u);
		unlink(journal);
		assert_before();
	}
}

/* S2: killed between any two system calls, of the change or of the revert. */
static void
test_kill_anywhere(void **state)
{
	enum kill_each how = KILL_EACH_KILLED;
	unsigned n, half = 0;
	struct ports_plan p;

	(void)state;
	if (!have_netns)
		skip();
	make_plan(&p);
	for (n = 1; how == KILL_EACH_KILLED && n < 400; n++) {
		reset();
		how = kill_each(work, &p, n);
		if (how == KILL_EACH_NO_PTRACE)
			skip();
		half += access(journal, F_OK) == 0;
		revert(NULL);
		assert_before();
	}
	assert_int_equal(how, KILL_EACH_ENDED);
	assert_true(half > 10);
	how = KILL_EACH_KILLED;
	for (n = 1; how == KILL_EACH_KILLED && n < 400; n++) {
		reset();
		work(&p);
		how = kill_each(revert, NULL, n);
		revert(NULL);
		assert_before();
	}
	assert_int_equal(how, KILL_EACH_ENDED);
}

static int
make_folder(void **state)
{
	(void)state;
	have_netns = unshare(CLONE_NEWNET) == 0 &&
		     access(SYSCTL "local_reserved_ports", W_OK) == 0;
	snprintf(folder, sizeof(folder), "%s/ukai-ports.XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(journal, sizeof(journal), "%s/ports.undo", folder);
	return 0;
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
	    cmocka_unit_test(test_claims),
	    cmocka_unit_test(test_times),
	    cmocka_unit_test(test_apply),
	    cmocka_unit_test(test_lowest),
	    cmocka_unit_test(test_others_since),
	    cmocka_unit_test(test_list_too_long),
	    cmocka_unit_test(test_impossible_entries),
	    cmocka_unit_test(test_kill_anywhere),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
