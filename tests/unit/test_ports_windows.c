#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ports/windows.h"
#include "core/err.h"

static uint32_t seed = 20261123;

static uint32_t
rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

static const char english[] = "\r\n"
			      "Protocol tcp Dynamic Port Range\r\n"
			      "---------------------------------\r\n"
			      "Start Port      : 50000\r\n"
			      "Number of Ports : 10000\r\n"
			      "\r\n"
			      "Protocol tcp Port Exclusion Ranges\r\n"
			      "\r\n"
			      "Start Port    End Port      \r\n"
			      "----------    --------      \r\n"
			      "      5357        5357      \r\n"
			      "     50100       50199      \r\n"
			      "     50300       50399     *\r\n"
			      "\r\n"
			      "* - Administered port exclusions.\r\n"
			      "\r\n";

/* Shift-JIS, as a Japanese console writes it. */
static const char japanese[] =
    "\r\n"
    "\x83\x76\x83\x8d\x83\x67\x83\x52\x83\x8b udp "
    "\x82\xcc\x93\xae\x93\x49\x83\x7c\x81\x5b\x83\x67\r\n"
    "---------------------------------\r\n"
    "\x8a\x4a\x8e\x6e\x83\x7c\x81\x5b\x83\x67     : 1025\r\n"
    "\x83\x7c\x81\x5b\x83\x67\x90\x94         : 64511\r\n"
    "\r\n";

static int
parse(struct ports_windows *w, const char *text, size_t len, unsigned *line)
{
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = ports_windows_parse_state(w, text, len, &d);
	assert_int_equal(d.errors, err == UK_EPROTO);
	if (line != NULL)
		*line = d.n > 0 ? d.entry[0].line : 0;
	return err;
}

static void
assert_set(const struct port_set *s, const char *want)
{
	struct text t = {.s = NULL};

	port_set_format(s, &t);
	assert_string_equal(t.len > 0 ? t.s : "", want);
	text_fini(&t);
}

static void
test_state(void **state)
{
	struct ports_windows w;
	char wide[2 * sizeof(english)];
	size_t n = 2;

	(void)state;
	ports_windows_default(&w);
	assert_int_equal(w.before[PORTS_UDP].low, 49152);
	assert_int_equal(w.before[PORTS_UDP].high, 65535);
	assert_int_equal(parse(&w, english, sizeof(english) - 1, NULL), 0);
	assert_int_equal(w.before[PORTS_TCP].low, 50000);
	assert_int_equal(w.before[PORTS_TCP].high, 59999);
	/* 100 ports without a star are winnat's. */
	assert_set(&w.before[PORTS_TCP].kept, "5357,50300-50399");
	assert_set(&w.before[PORTS_TCP].passing, "50100-50199");
	assert_int_equal(w.before[PORTS_UDP].low, 49152);
	assert_int_equal(parse(&w, japanese, sizeof(japanese) - 1, NULL), 0);
	assert_int_equal(w.before[PORTS_UDP].low, 1025);
	assert_int_equal(w.before[PORTS_UDP].high, 65535);
	assert_int_equal(w.before[PORTS_TCP].low, 50000);
	/* A later list replaces an earlier one. */
	assert_int_equal(parse(&w, "protocol TCP\n 7 9 *\n", 20, NULL), 0);
	assert_set(&w.before[PORTS_TCP].kept, "7-9");
	assert_set(&w.before[PORTS_TCP].passing, "");
	/* What PowerShell's > writes. */
	memcpy(wide, "\xff\xfe", 2);
	for (size_t i = 0; i < sizeof(english) - 1; i++) {
		wide[n++] = english[i];
		wide[n++] = 0;
	}
	ports_windows_default(&w);
	assert_int_equal(parse(&w, wide, n, NULL), 0);
	assert_set(&w.before[PORTS_TCP].kept, "5357,50300-50399");
}

static void
test_bad_state(void **state)
{
	static const struct {
		const char *text;
		unsigned line;
	} row[] = {
	    {"", 0},
	    {"hello\n", 1},
	    {"Start Port : 49152\nNumber of Ports : 1\n", 1},
	    {"tcp\nStart : 49152\n", 2},
	    {"tcp\nStart : 49152\nudp\n", 3},
	    {"tcp\nStart : 49152\nNumber : 0\n", 3},
	    {"tcp\nStart : 49152\nNumber : 16385\n", 3},
	    {"10 20\n", 1},
	    {"tcp\n20 10\n", 2},
	    {"tcp\n10\n", 2},
	    {"tcp\n10 20 30\n", 2},
	    {"tcp\n10 20 **\n", 2},
	    {"tcp\n10 65536\n", 2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ports_windows w, was;
		unsigned at;

		ports_windows_default(&w);
		was = w;
		assert_int_equal(
		    parse(&w, row[i].text, strlen(row[i].text), &at),
		    UK_EPROTO);
		assert_int_equal(at, row[i].line);
		assert_memory_equal(&w, &was, sizeof(w));
	}
}

static void
test_netstat(void **state)
{
	static const char text[] =
	    "\r\n"
	    "Active Connections\r\n"
	    "\r\n"
	    "  Proto  Local Address          Foreign Address        State\r\n"
	    "  TCP    0.0.0.0:135            0.0.0.0:0              "
	    "LISTENING\r\n"
	    "  TCP    192.168.0.2:49700      192.0.2.1:443          "
	    "ESTABLISHED\r\n"
	    "  TCP    [::]:5357              [::]:0                 "
	    "LISTENING\r\n"
	    "  UDP    [fe80::1%4]:1900       *:*\r\n"
	    "  UDP    0.0.0.0:70000          *:*\r\n"
	    "  TCPx   0.0.0.0:9              *:*\r\n";
	struct ports_windows w;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	ports_windows_default(&w);
	assert_int_equal(
	    ports_windows_parse_netstat(&w, text, sizeof(text) - 1, &d), 0);
	assert_set(&w.before[PORTS_TCP].used, "135,5357,49700");
	assert_set(&w.before[PORTS_UDP].used, "1900");
	assert_int_equal(
	    ports_windows_parse_netstat(&w, "nothing", 7, &d), UK_EPROTO);
	assert_int_equal(d.errors, 1);
}

static void
assert_command(const struct command_list *c, size_t i, const char *want)
{
	char text[256] = "";

	assert_true(i < c->n);
	for (unsigned k = 0; k < c->item[i].n; k++) {
		strcat(text, k > 0 ? " " : "");
		strcat(text, c->item[i].arg[k]);
	}
	assert_string_equal(text, want);
}

static void
make_commands(struct ports_windows *w, const struct map_ports *line,
    struct command_list *change, struct command_list *revert)
{
	struct ports_plan plan[PORTS_PROTOCOLS];

	for (int i = 0; i < PORTS_PROTOCOLS; i++) {
		ports_plan(
		    &plan[i], &w->before[i], line, &ports_limits_windows);
		assert_int_equal(plan[i].refusal, PORTS_PLANNED);
	}
	ports_windows_commands(change, revert, w, plan);
	assert_false(change->failed || revert->failed);
}

/* The exact words: NURO, PSID 52, TCP with a listener and winnat. */
static void
test_commands(void **state)
{
	static const struct map_ports nuro = {4, 8, 52};
	struct command_list change = {.n = 0}, revert = {.n = 0};
	struct ports_windows w;

	(void)state;
	ports_windows_default(&w);
	make_commands(&w, &nuro, &change, &revert);
	assert_int_equal(change.n, 2 * 14 + 2);
	assert_int_equal(revert.n, change.n);
	assert_command(&change, 0,
	    "netsh int ipv4 add excludedportrange protocol=tcp startport=4944 "
	    "numberofports=4080 store=persistent");
	assert_command(&change, 27,
	    "netsh int ipv4 add excludedportrange protocol=udp startport=58192 "
	    "numberofports=4080 store=persistent");
	assert_command(&change, 28,
	    "netsh int ipv4 set dynamicport tcp start=4928 num=57360 "
	    "store=persistent");
	assert_command(&revert, 0,
	    "netsh int ipv4 set dynamicport tcp start=49152 num=16384 "
	    "store=persistent");
	assert_command(&revert, 2,
	    "netsh int ipv4 delete excludedportrange protocol=tcp "
	    "startport=4944 numberofports=4080 store=persistent");
	command_list_fini(&change);
	command_list_fini(&revert);
	port_set_add(&w.before[PORTS_TCP].passing, 50000, 50099);
	port_set_add(&w.before[PORTS_TCP].used, 50123, 50123);
	make_commands(&w, &nuro, &change, &revert);
	assert_command(&change, 0, "net stop winnat");
	assert_command(&change, 12,
	    "netsh int ipv4 add excludedportrange protocol=tcp startport=50000 "
	    "numberofports=123 store=persistent");
	assert_command(&change, 13,
	    "netsh int ipv4 add excludedportrange protocol=tcp startport=50124 "
	    "numberofports=3956 store=persistent");
	/* When it finds the new range. */
	assert_command(&change, change.n - 1, "net start winnat");
	assert_int_equal(revert.n, 2 * 14 + 1 + 2);
	command_list_fini(&change);
	command_list_fini(&revert);
}

/* Windows as far as it matters here. */
struct twin {
	struct port_set excluded;
	uint16_t low, high;
	struct port_set starts; /* of exclusions that were added */
	uint16_t end[65536];
};

static unsigned
number(const char *arg, const char *key)
{
	size_t n = strlen(key);

	assert_int_equal(strncmp(arg, key, n), 0);
	return (unsigned)strtoul(arg + n, NULL, 10);
}

static void
twin_exclusion(
    struct twin *t, const struct command *c, const struct ports_before *b)
{
	unsigned low = number(c->arg[6], "startport=");
	unsigned n = number(c->arg[7], "numberofports=");
	struct port_set s = {{0}}, clash;

	assert_true(low + n - 1 <= 65535 && n > 0);
	port_set_add(&s, (uint16_t)low, (uint16_t)(low + n - 1));
	if (strcmp(c->arg[3], "delete") == 0) {
		assert_true(port_set_has(&t->starts, (uint16_t)low));
		assert_int_equal(t->end[low], low + n - 1);
		port_set_minus(&t->excluded, &s);
		return;
	}
	/* Fails where something is in use or excluded already. */
	clash = s;
	port_set_and(&clash, &t->excluded);
	assert_int_equal(port_set_count(&clash), 0);
	clash = s;
	port_set_and(&clash, &b->used);
	assert_int_equal(port_set_count(&clash), 0);
	port_set_or(&t->excluded, &s);
	port_set_add(&t->starts, (uint16_t)low, (uint16_t)low);
	t->end[low] = (uint16_t)(low + n - 1);
}

static void
twin_run(struct twin *t, const struct command_list *c, const char *protocol,
    const struct ports_before *b)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct command *cmd = &c->item[i];
		unsigned start, num;

		if (strcmp(cmd->arg[0], "net") == 0)
			continue;
		if (strcmp(cmd->arg[3], "set") != 0) {
			if (strcmp(cmd->arg[5] + strlen("protocol="),
				protocol) == 0)
				twin_exclusion(t, cmd, b);
			continue;
		}
		if (strcmp(cmd->arg[5], protocol) != 0)
			continue;
		start = number(cmd->arg[6], "start=");
		num = number(cmd->arg[7], "num=");
		assert_true(start >= 1025 && num >= 255);
		assert_true(start + num - 1 <= 65535);
		t->low = (uint16_t)start;
		t->high = (uint16_t)(start + num - 1);
	}
}

/* Every command succeeds on a Windows of the test's own, and the revert leaves
 * exactly what was. */
static void
test_twin(void **state)
{
	struct twin *t = malloc(sizeof(*t));

	(void)state;
	assert_non_null(t);
	for (int round = 0; round < 60; round++) {
		struct command_list change = {.n = 0}, revert = {.n = 0};
		struct map_ports line = {4, 8, (uint16_t)rnd(256)};
		struct ports_windows w;

		if (rnd(2) != 0)
			line = (struct map_ports){6, 6, (uint16_t)rnd(64)};
		ports_windows_default(&w);
		for (int i = 0; i < PORTS_PROTOCOLS; i++) {
			for (unsigned k = rnd(12); k > 0; k--) {
				uint16_t p = (uint16_t)(49152 + rnd(16000));

				port_set_add(&w.before[i].used, p, p);
				p = (uint16_t)(49152 + rnd(16000));
				port_set_add(&w.before[i].kept, p,
				    (uint16_t)(p + rnd(60)));
			}
			/* What is excluded is not in use. */
			port_set_minus(&w.before[i].used, &w.before[i].kept);
		}
		make_commands(&w, &line, &change, &revert);
		for (int i = 0; i < PORTS_PROTOCOLS; i++) {
			const struct ports_before *b = &w.before[i];

			memset(t, 0, sizeof(*t));
			t->excluded = b->kept;
			t->low = b->low;
			t->high = b->high;
			twin_run(t, &change, ports_protocol_name(i), b);
			for (uint32_t p = t->low; p <= t->high; p++)
				assert_true(
				    port_set_has(&t->excluded, (uint16_t)p) ||
				    port_set_has(&b->used, (uint16_t)p) ||
				    map_ports_has(&line, (uint16_t)p));
			twin_run(t, &revert, ports_protocol_name(i), b);
			assert_memory_equal(
			    &t->excluded, &b->kept, sizeof(b->kept));
			assert_int_equal(t->low, b->low);
			assert_int_equal(t->high, b->high);
		}
		command_list_fini(&change);
		command_list_fini(&revert);
	}
	free(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_state),
	    cmocka_unit_test(test_bad_state),
	    cmocka_unit_test(test_netstat),
	    cmocka_unit_test(test_commands),
	    cmocka_unit_test(test_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
