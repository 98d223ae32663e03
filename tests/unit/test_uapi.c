#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/err.h"
#include "core/value.h"
#include "core/x25519.h"
#include "support/wg_lab.h"
#include "wg/uapi.h"

/* The linker leads the core's allocations through here. */
static unsigned fail_at; /* fail this one of the next ones; 0: none */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *
__wrap_malloc(size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_calloc(n, size);
}

/* ---- a host ---- */

static uint16_t the_port;
static uint32_t the_mark;
static int port_error, mark_error;

static uint16_t
host_port(void *arg)
{
	(void)arg;
	return the_port;
}

static int
host_set_port(void *arg, uint16_t port)
{
	(void)arg;
	if (port_error == 0)
		the_port = port;
	return port_error;
}

static uint32_t
host_mark(void *arg)
{
	(void)arg;
	return the_mark;
}

static int
host_set_mark(void *arg, uint32_t mark)
{
	(void)arg;
	if (mark_error == 0)
		the_mark = mark;
	return mark_error;
}

static unsigned
host_scope(void *arg, const char *name)
{
	(void)arg;
	return strcmp(name, "eth0") == 0 ? 3 : 0;
}

static const struct uapi_host host = {
    .port = host_port,
    .set_port = host_set_port,
    .mark = host_mark,
    .set_mark = host_set_mark,
    .scope = host_scope,
};

static struct wg_device *d;
static struct uapi_session s, s2;
static struct text out;

static int
setup(void **state)
{
	struct wg_device_conf c;

	(void)state;
	wg_device_conf_default(&c);
	d = wg_device_new(&c);
	s = s2 = (struct uapi_session){.device = d, .host = &host};
	the_port = 0;
	the_mark = 0;
	port_error = mark_error = 0;
	return d ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	wg_device_free(d);
	text_fini(&out);
	return 0;
}

/* Feed text line by line; true: the connection goes on. */
static bool
feed(struct uapi_session *to, const char *text)
{
	bool on = true;

	while (*text && on) {
		size_t len = strcspn(text, "\n");

		on = uapi_line(to, text, len, &out);
		text += len + (text[len] == '\n');
	}
	return on;
}

static const char *
ask(const char *text)
{
	text_clear(&out);
	assert_true(feed(&s, text));
	return out.len > 0 ? out.s : "";
}

#define K1 "1111111111111111111111111111111111111111111111111111111111111111"
#define K2 "2222222222222222222222222222222222222222222222222222222222222222"
#define K3 "abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd"
#define ZERO "0000000000000000000000000000000000000000000000000000000000000000"
#define PEER_TAIL                                                              \
	"last_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"              \
	"tx_bytes=0\nrx_bytes=0\n"

static struct wg_peer *
find(const char *hex)
{
	struct wg_key k;

	assert_int_equal(value_parse_key_hex(k.b, hex, strlen(hex)), 0);
	return wg_device_find(d, &k);
}

static void
test_get_empty(void **state)
{
	(void)state;
	assert_string_equal(ask("get=1\n\n"), "errno=0\n\n");
	assert_string_equal(ask("set=1\n\n"), "errno=0\n\n");
}

/* Everything that can be set comes back, in its place and form. */
static void
test_set_and_get(void **state)
{
	(void)state;
	assert_string_equal(
	    ask("set=1\nprivate_key=" K3 "\nlisten_port=51820\nfwmark=51820\n"
		"replace_peers=true\n"
		"public_key=" K1 "\nprotocol_version=1\npreshared_key=" K2 "\n"
		"endpoint=[2001:db8::1]:51821\n"
		"persistent_keepalive_interval=25\nreplace_allowed_ips=true\n"
		"allowed_ip=10.1.2.3/8\nallowed_ip=fd00::1/64\n"
		"allowed_ip=192.0.2.7/32\n"
		"public_key=" K2 "\nendpoint=192.0.2.1:1\n\n"),
	    "errno=0\n\n");
	assert_string_equal(ask("get=1\n\n"),
	    /* clamped: ab -> a8, top of cd -> 4d */
	    "private_key=a8cdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd"
	    "efabcdefab4d\n"
	    "listen_port=51820\nfwmark=51820\n"
	    "public_key=" K1 "\npreshared_key=" K2 "\n"
	    "endpoint=[2001:db8::1]:51821\n" PEER_TAIL
	    "persistent_keepalive_interval=25\n"
	    "allowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\n"
	    "allowed_ip=192.0.2.7/32\nprotocol_version=1\n"
	    "public_key=" K2 "\npreshared_key=" ZERO "\n"
	    "endpoint=192.0.2.1:1\n" PEER_TAIL
	    "persistent_keepalive_interval=0\nprotocol_version=1\n"
	    "errno=0\n\n");
}

/* What get says, set understands, and it makes the same device. */
static void
test_scope(void **state)
{
	(void)state;
	assert_string_equal(
	    ask("set=1\npublic_key=" K1 "\nendpoint=[fe80::1%eth0]:5\n\n"),
	    "errno=0\n\n");
	assert_non_null(strstr(ask("get=1\n\n"), "endpoint=[fe80::1%3]:5\n"));
	assert_string_equal(
	    ask("set=1\npublic_key=" K1 "\nendpoint=[fe80::1%3]:6\n\n"),
	    "errno=0\n\n");
	assert_string_equal(
	    ask("set=1\npublic_key=" K1 "\nendpoint=[fe80::1%eth9]:5\n\n"),
	    "errno=-22\n\n");
}

/* Lines, and the number that they are answered with. */
static const struct {
	const char *lines;
	int number;
} answers[] = {
    {"nonsense", 71},
    {"", 0},
    {"=", 22},
    {"unknown=1", 22},
    {"Private_key=" K1, 22},
    {"private_key", 71},
    {"private_key=", 22},
    {"private_key=" K1 "1", 22},
    {"private_key=g" K1, 22},
    {"listen_port=65535", 0},
    {"listen_port=65536", 22},
    {"listen_port=-1", 22},
    {"listen_port=1 ", 22},
    {"listen_port=", 22},
    {"fwmark=4294967295", 0},
    {"fwmark=4294967296", 22},
    {"fwmark=0x1", 22},
    {"replace_peers=false", 22},
    {"replace_peers=", 22},
    {"protocol_version=1", 0},
    {"protocol_version=2", 22},
    {"endpoint=1.2.3.4:5", 22}, /* of no peer */
    {"allowed_ip=10.0.0.0/8", 22},
    {"public_key=", 22},
    {"public_key=" K1 "\npublic_key=" K2 "0", 22},
    {"public_key=" K1 "\nlisten_port=1", 22},
    {"public_key=" K1 "\nprivate_key=" K2, 22},
    {"public_key=" K1 "\nfwmark=1", 22},
    {"public_key=" K1 "\nreplace_peers=true", 22},
    {"public_key=" K1 "\nremove=yes", 22},
    {"public_key=" K1 "\nupdate_only=false", 22},
    {"public_key=" K1 "\nupdate_only=true", 0},
    {"public_key=" K1 "\nreplace_allowed_ips=1", 22},
    {"public_key=" K1 "\nprotocol_version=0", 22},
    {"public_key=" K1 "\npreshared_key=00", 22},
    {"public_key=" K1 "\npreshared_key=" ZERO, 0},
    {"public_key=" K1 "\nendpoint=1.2.3.4", 22},
    {"public_key=" K1 "\nendpoint=1.2.3.4:0", 22},
    {"public_key=" K1 "\nendpoint=1.2.3.4:65536", 22},
    {"public_key=" K1 "\nendpoint=example.com:5", 22},
    {"public_key=" K1 "\nendpoint=2001:db8::1:5", 22},
    {"public_key=" K1 "\npersistent_keepalive_interval=65535", 0},
    {"public_key=" K1 "\npersistent_keepalive_interval=65536", 22},
    {"public_key=" K1 "\npersistent_keepalive_interval=off", 22},
    {"public_key=" K1 "\nallowed_ip=10.0.0.0/33", 22},
    {"public_key=" K1 "\nallowed_ip=::/129", 22},
    {"public_key=" K1 "\nallowed_ip=10.0.0/8", 22},
    {"public_key=" K1 "\nallowed_ip=-", 22},
    {"public_key=" K1 "\nallowed_ip=", 22},
    {"public_key=" K1 "\nallowed_ip=-10.0.0.0/8", 0},
    {"public_key=" K1 "\nrx_bytes=1", 22},
};

static void
test_errors(void **state)
{
	char text[512], want[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		snprintf(text, sizeof(text), "set=1\n%s%s\n", answers[i].lines,
		    answers[i].lines[0] ? "\n" : "");
		snprintf(
		    want, sizeof(want), "errno=%d\n\n", -answers[i].number);
		if (strcmp(ask(text), want) != 0)
			fail_msg("%s: %s", text, out.s);
	}
}

/* A bad line stops there; what stood before holds, what follows is passed
 * over, and the next request begins afresh. */
static void
test_error_in_the_middle(void **state)
{
	(void)state;
	assert_string_equal(ask("set=1\nlisten_port=5\npublic_key=" K1
				"\nbad=1\nallowed_ip=10.0.0.0/8\n"
				"public_key=" K2 "\nnot even a line\n\n"),
	    "errno=-22\n\n");
	assert_int_equal(the_port, 5);
	assert_null(find(K2));
	assert_string_equal(ask("set=1\npublic_key=" K2 "\n\n"), "errno=0\n\n");
	assert_non_null(find(K2));
}

static void
test_host_errors(void **state)
{
	(void)state;
	port_error = UK_EBUSY;
	assert_string_equal(ask("set=1\nlisten_port=5\n\n"), "errno=-98\n\n");
	port_error = UK_EPERM;
	assert_string_equal(ask("set=1\nlisten_port=5\n\n"), "errno=-1\n\n");
	mark_error = UK_ESYS;
	assert_string_equal(ask("set=1\nfwmark=5\n\n"), "errno=-5\n\n");
}

/* A failed get has its number without the sign. */
static void
test_get_with_lines(void **state)
{
	(void)state;
	assert_string_equal(ask("get=1\nx=1\n\n"), "errno=22\n\n");
	assert_string_equal(ask("get=1\n\n"), "errno=0\n\n");
}

static void
test_first_line(void **state)
{
	static const char *const bad[] = {
	    "\n", "get=2\n", "get=1 \n", "GET=1\n", "set\n", "set=\n", "x\n"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		s = (struct uapi_session){.device = d, .host = &host};
		text_clear(&out);
		assert_false(feed(&s, bad[i]));
		assert_int_equal(out.len, 0);
	}
}

/* Several requests on one connection; sections do not leak into the next. */
static void
test_many_requests(void **state)
{
	(void)state;
	assert_string_equal(ask("set=1\npublic_key=" K1 "\n\n"
				"set=1\nlisten_port=7\n\n"
				"set=1\nallowed_ip=10.0.0.0/8\n\n"),
	    "errno=0\n\nerrno=0\n\nerrno=-22\n\n");
	assert_int_equal(the_port, 7);
}

/* ---- peers ---- */

static void
test_remove_and_update(void **state)
{
	(void)state;
	ask("set=1\npublic_key=" K1 "\nremove=true\n\n"); /* of nobody */
	assert_string_equal(out.s, "errno=0\n\n");
	assert_null(find(K1));
	ask("set=1\npublic_key=" K1 "\nupdate_only=true\n"
	    "allowed_ip=10.0.0.0/8\n\n");
	assert_string_equal(out.s, "errno=0\n\n");
	assert_null(find(K1));
	ask("set=1\npublic_key=" K1 "\npublic_key=" K2 "\n\n");
	assert_non_null(find(K1));
	assert_non_null(find(K2));
	ask("set=1\npublic_key=" K1 "\nupdate_only=true\n"
	    "allowed_ip=10.0.0.0/8\n\n");
	assert_non_null(strstr(ask("get=1\n\n"), "allowed_ip=10.0.0.0/8\n"));
	ask("set=1\npublic_key=" K1 "\nremove=true\n"
	    "allowed_ip=10.0.0.0/8\npublic_key=" K2 "\n"
	    "allowed_ip=10.2.0.0/16\n\n");
	assert_string_equal(out.s, "errno=0\n\n");
	assert_null(find(K1));
	assert_null(strstr(ask("get=1\n\n"), "10.0.0.0/8"));
	assert_non_null(strstr(out.s, "10.2.0.0/16"));
	ask("set=1\nreplace_peers=true\npublic_key=" K3 "\n\n");
	assert_null(find(K2));
	assert_int_equal(wg_device_peer_count(d), 1);
}

/* Our own key: its lines are read and lead to nothing. */
static void
test_own_key(void **state)
{
	char text[300], hex[KEY_HEX_LEN + 1];

	(void)state;
	ask("set=1\nprivate_key=" K1 "\n\n");
	value_format_key_hex(hex, wg_device_public_key(d)->b);
	snprintf(text, sizeof(text),
	    "set=1\npublic_key=%s\nendpoint=1.2.3.4:5\n"
	    "allowed_ip=10.0.0.0/8\npublic_key=" K2 "\n\n",
	    hex);
	assert_string_equal(ask(text), "errno=0\n\n");
	assert_int_equal(wg_device_peer_count(d), 1);
	assert_non_null(find(K2));
	snprintf(text, sizeof(text),
	    "set=1\npublic_key=%s\nendpoint=nonsense\n\n", hex);
	assert_string_equal(ask(text), "errno=-22\n\n");
	ask("set=1\nprivate_key=" ZERO "\n\n");
	assert_null(strstr(ask("get=1\n\n"), "private_key"));
}

static void
test_allowed_ips(void **state)
{
	(void)state;
	ask("set=1\npublic_key=" K1 "\nallowed_ip=10.0.0.0/8\n"
	    "allowed_ip=10.1.0.0/16\nallowed_ip=::/0\n"
	    "public_key=" K2 "\nallowed_ip=10.1.0.0/16\n\n");
	assert_string_equal(out.s, "errno=0\n\n");
	assert_non_null(strstr(ask("get=1\n\n"),
	    "allowed_ip=10.0.0.0/8\nallowed_ip=::/0\nprotocol_version"));
	assert_non_null(strstr(out.s, "allowed_ip=10.1.0.0/16\n"));
	ask("set=1\npublic_key=" K1 "\nallowed_ip=-10.0.0.0/8\n"
	    "allowed_ip=-10.1.0.0/16\n\n"); /* the second is K2's: stays */
	assert_string_equal(out.s, "errno=0\n\n");
	assert_null(strstr(ask("get=1\n\n"), "10.0.0.0/8"));
	assert_non_null(strstr(out.s, "allowed_ip=10.1.0.0/16\n"));
	ask("set=1\npublic_key=" K1 "\nreplace_allowed_ips=true\n"
	    "allowed_ip=10.3.0.0/16\n\n");
	assert_null(strstr(ask("get=1\n\n"), "::/0"));
}

/* P6: a peer goes away on another connection between two of our lines: it
 * stays away, the rest of its lines are for nobody, the next peer's count. */
static void
test_removed_between_lines(void **state)
{
	(void)state;
	text_clear(&out);
	feed(&s, "set=1\npublic_key=" K1 "\nallowed_ip=10.0.0.0/8\n");
	assert_non_null(find(K1));
	feed(&s2, "set=1\npublic_key=" K1 "\nremove=true\n\n");
	feed(&s, "endpoint=1.2.3.4:5\nallowed_ip=10.1.0.0/16\n");
	assert_null(find(K1));
	feed(&s, "public_key=" K2 "\nallowed_ip=10.2.0.0/16\n\n");
	assert_null(find(K1));
	assert_non_null(find(K2));
	assert_string_equal(out.s, "errno=0\n\nerrno=0\n\n");
	feed(&s, "set=1\npublic_key=" K2 "\nupdate_only=true\n");
	feed(&s2, "set=1\nreplace_peers=true\n\n");
	text_clear(&out);
	feed(&s, "\n");
	assert_string_equal(out.s, "errno=0\n\n");
	assert_null(find(K2));
	feed(&s, "set=1\npublic_key=" K2 "\n\n");
	assert_non_null(find(K2));
}

/* P6: a dump is made at once; what is done to peers afterwards does not
 * reach into it. */
static void
test_dump_is_a_snapshot(void **state)
{
	char copy[2000];

	(void)state;
	ask("set=1\npublic_key=" K1 "\npublic_key=" K2 "\n\n");
	ask("get=1\n\n");
	assert_true(out.len < sizeof(copy));
	memcpy(copy, out.s, out.len + 1);
	wg_device_remove_all(d);
	assert_string_equal(out.s, copy);
	assert_string_equal(ask("get=1\n\n"), "errno=0\n\n");
}

/* A large configuration: 65 536 allowed IPs of one peer. */
static void
test_large(void **state)
{
	struct wg_peer_info info;
	char line[64];
	size_t lines = 0;

	(void)state;
	text_clear(&out);
	feed(&s, "set=1\npublic_key=" K1 "\n");
	for (unsigned i = 0; i < 65536; i++) {
		int n = snprintf(line, sizeof(line), "allowed_ip=10.0.%u.%u/32",
		    i >> 8, i & 255);

		assert_true(uapi_line(&s, line, (size_t)n, &out));
	}
	feed(&s, "\n");
	assert_string_equal(out.s, "errno=0\n\n");
	wg_peer_info(find(K1), 0, &info);
	assert_int_equal(info.allowed_count, 65536);
	ask("get=1\n\n");
	for (const char *at = out.s; (at = strchr(at, '\n')); at++)
		lines++;
	assert_int_equal(lines, 65536 + 8 + 2);
}

/* Bytes that no text has: zeros, high bits, very long lines. */
static void
test_odd_bytes(void **state)
{
	static char line[70000];

	(void)state;
	text_clear(&out);
	memset(line, 'a', sizeof(line));
	feed(&s, "set=1\n");
	assert_true(uapi_line(&s, line, sizeof(line), &out));
	feed(&s, "\n");
	assert_string_equal(out.s, "errno=-71\n\n");
	text_clear(&out);
	feed(&s, "set=1\n");
	assert_true(uapi_line(&s, "listen_port=1\0", 14, &out));
	assert_true(uapi_line(&s, "\xff\xfe=\x80", 4, &out));
	feed(&s, "\n");
	assert_string_equal(out.s, "errno=-22\n\n");
	assert_int_equal(the_port, 0);
}

/* Out of memory is an answer, 12, and no half peer. */
static void
test_without_memory(void **state)
{
	bool failed;
	unsigned n = 0;

	do {
		fail_at = 0;
		setup(state);
		text_clear(&out);
		text_add(&out, "%1000s", ""); /* the text has its memory */
		text_clear(&out);
		fail_at = ++n;
		feed(&s, "set=1\npublic_key=" K1 "\nallowed_ip=10.0.0.0/8\n"
			 "allowed_ip=10.128.0.0/9\n\n");
		failed = fail_at == 0;
		fail_at = 0;
		assert_string_equal(
		    out.s, failed ? "errno=-12\n\n" : "errno=0\n\n");
		ask("get=1\n\n");
		assert_non_null(strstr(out.s, "errno=0\n\n"));
		wg_device_free(d);
		assert_true(n < 20);
	} while (failed);
	assert_true(n > 3);
	setup(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_get_empty),
	    TEST(test_set_and_get),
	    TEST(test_scope),
	    TEST(test_errors),
	    TEST(test_error_in_the_middle),
	    TEST(test_host_errors),
	    TEST(test_get_with_lines),
	    TEST(test_first_line),
	    TEST(test_many_requests),
	    TEST(test_remove_and_update),
	    TEST(test_own_key),
	    TEST(test_allowed_ips),
	    TEST(test_removed_between_lines),
	    TEST(test_dump_is_a_snapshot),
	    TEST(test_large),
	    TEST(test_odd_bytes),
	    cmocka_unit_test_teardown(test_without_memory, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
