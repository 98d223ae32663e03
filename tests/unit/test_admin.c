/* Requests on the control socket: what is no request, and that a change which
 * does not hold on the host is not confirmed. What a registry refuses:
 * test_registry.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "core/err.h"
#include "../../server/admin.h"

#define KEY "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

static char folder[] = "/tmp/ukai-admin.XXXXXX";
static char path[64];
static int settled; /* what the host says to a change */

static bool
is_own(void *arg, const struct ip_addr *a)
{
	(void)arg;
	return a->b[3] == 11;
}

static const char *
unroutable(void *arg, const struct ip_addr *a)
{
	(void)arg;
	(void)a;
	return NULL;
}

static const char *
reserved(void *arg, uint8_t protocol, uint16_t port)
{
	(void)arg;
	(void)protocol;
	return port == 22 ? "for ssh" : NULL;
}

static int
settle(void *arg, struct diag *d)
{
	struct registry *r = arg;

	if (settled < 0)
		diag_error(d, "the host does not want that");
	if (settled == 0)
		return registry_keep(r, d);
	registry_end(r);
	return settled;
}

static void
kept(void *arg, struct text *out)
{
	(void)arg;
	text_add(out, "22, 443");
}

static const struct welcome welcome = {.v6 = {FAMILY_V6, {0x20, 1}},
    .v4 = {FAMILY_V4, {203, 0, 113, 10}},
    .udp_port = 51820,
    .tls_port = 443,
    .mtu = 1420,
    .pool = {{FAMILY_V4, {10, 66}}, 24},
    .public_key = {{9}}};

static struct admin
open_admin(void)
{
	struct registry_conf c = {.address = {{FAMILY_V4, {10, 66, 0, 1}}, 24},
	    .global = welcome.v4,
	    .is_own = is_own,
	    .unroutable = unroutable,
	    .reserved = reserved};
	struct registry *r;
	struct diag d;

	diag_init(&d, NULL);
	settled = 0;
	(void)remove(path);
	assert_int_equal(registry_open(&r, path, &c, &d), 0);
	return (struct admin){.registry = r,
	    .registry_path = path,
	    .welcome = &welcome,
	    .arg = r,
	    .settle = settle,
	    .kept = kept};
}

/* NULL: no such verb. */
static json_t *
ask(const struct admin *a, const char *line)
{
	struct text out = {.s = NULL};
	json_t *o = NULL;

	if (admin_line(a, line, strlen(line), &out)) {
		o = json_loads(out.s, 0, NULL);
		assert_non_null(o);
		assert_non_null(strstr(out.s, "\n\n"));
	} else {
		assert_int_equal(out.len, 0);
	}
	text_fini(&out);
	return o;
}

/* The answer's value of a key, "" for none. */
static const char *
say(const struct admin *a, const char *line, const char *key)
{
	static char text[512];
	json_t *o = ask(a, line);
	const char *v = json_string_value(json_object_get(o, key));

	assert_non_null(o);
	snprintf(text, sizeof(text), "%s", v != NULL ? v : "");
	json_decref(o);
	return text;
}

static void
test_requests(void **state)
{
	static const struct {
		const char *line, *error;
	} row[] = {
	    {"invite", "not a JSON object"},
	    {"invite ", "not a JSON object"},
	    {"invite {", "not a JSON object"},
	    {"invite []", "not a JSON object"},
	    {"invite \"a\"", "not a JSON object"},
	    {"invite {}", "lacks \"name\""},
	    {"invite {\"name\":7}", "lacks \"name\""},
	    {"invite {\"name\":\"a\"}", "1 to 8784 hours"},
	    {"invite {\"name\":\"a\",\"hours\":\"24\"}", "1 to 8784 hours"},
	    {"invite {\"name\":\"a\",\"hours\":-1}", "1 to 8784 hours"},
	    {"invite {\"name\":\"a\",\"hours\":4294967320}", "1 to 8784"},
	    {"invite {\"name\":\"A\",\"hours\":24}", "cannot be a client's"},
	    {"invite {\"name\":\"a\",\"hours\":24,\"routes\":\"x\"}",
		"\"x\" is no IPv4 prefix"},
	    {"invite {\"name\":\"a\",\"hours\":24,\"routes\":\"2001:db8::/32\"}",
		"is no IPv4 prefix"},
	    {"invite {\"name\":\"a\",\"hours\":24,"
	     "\"routes\":\"198.51.100.1/24\"}",
		"is no IPv4 prefix"},
	    {"invite {\"name\":\"a\",\"hours\":24,\"policy\":\"a\\u0007\"}",
		"not plain text"},
	    {"add {\"name\":\"a\"}", "public_key is no WireGuard key"},
	    {"add {\"name\":\"a\",\"public_key\":\"AA==\"}", "no WireGuard"},
	    {"revoke {\"name\":\"nobody\"}", "there is no client nobody"},
	    {"address {\"name\":\"a\"}", "lacks \"way\""},
	    {"address {\"name\":\"a\",\"way\":\"open\"}", "neither shared"},
	    {"address {\"name\":\"a\",\"way\":\"routed\",\"global\":\"x\"}",
		"\"x\" is no IPv4 address"},
	    {"limit {\"name\":\"a\",\"rate_kbit\":0}", "no number from 1"},
	    {"limit {\"name\":\"a\",\"connections\":\"7\"}", "no number"},
	    {"forward-add {\"name\":\"a\"}", "lacks \"ports\""},
	    {"forward-add {\"name\":\"a\",\"ports\":\"tcp\"}", "tcp"},
	};
	struct admin a = open_admin();
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		if (strstr(say(&a, row[i].line, "error"), row[i].error) == NULL)
			fail_msg("%s: %s", row[i].line,
			    say(&a, row[i].line, "error"));
	assert_null(ask(&a, "invit {}"));
	assert_null(ask(&a, "invites {}"));
	assert_null(ask(&a, "status"));
	registry_clients(a.registry, &n);
	assert_int_equal(n, 0);
	registry_close(a.registry);
}

static void
test_verbs(void **state)
{
	struct admin a = open_admin();
	struct stat st;
	const char *s;

	(void)state;
	s = say(&a, "invite {\"name\":\"a\",\"hours\":24}", "token");
	assert_int_equal(strncmp(s, "ukai1-", 6), 0);
	assert_string_equal(say(&a,
				"add {\"name\":\"b\",\"public_key\":\"" KEY
				"\",\"routes\":\"198.51.100.0/24\"}",
				"address"),
	    "10.66.0.3/32");
	assert_string_equal(
	    say(&a, "forward-add {\"name\":\"b\",\"ports\":\"tcp/80\"}",
		"name"),
	    "b");
	assert_string_equal(say(&a,
				"forward-remove {\"name\":\"b\","
				"\"ports\":\"tcp/80\"}",
				"name"),
	    "b");
	assert_string_equal(
	    say(&a, "address {\"name\":\"b\",\"way\":\"exclusive\"}", "kept"),
	    "22, 443");
	assert_string_equal(say(&a,
				"address {\"name\":\"b\",\"way\":\"exclusive\","
				"\"global\":\"203.0.113.11\"}",
				"kept"),
	    "");
	assert_string_equal(
	    say(&a, "limit {\"name\":\"b\",\"rate_kbit\":1000}", "name"), "b");
	assert_int_equal(registry_find(a.registry, "b")->rate_kbit, 1000);
	assert_string_equal(say(&a, "limit {\"name\":\"b\"}", "name"), "b");
	assert_int_equal(registry_find(a.registry, "b")->rate_kbit, 0);
	assert_int_equal(stat(say(&a, "backup {}", "path"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_string_equal(say(&a, "revoke {\"name\":\"b\"}", "name"), "b");
	assert_null(registry_find(a.registry, "b"));
	registry_close(a.registry);
}

/* The host refuses: no answer but why, and the registry is as before. */
static void
test_unsettled(void **state)
{
	struct admin a = open_admin();

	(void)state;
	(void)say(&a, "add {\"name\":\"b\",\"public_key\":\"" KEY "\"}", "");
	settled = UK_ESYS;
	assert_string_equal(
	    say(&a, "invite {\"name\":\"a\",\"hours\":24}", "error"),
	    "the host does not want that");
	assert_null(registry_find(a.registry, "a"));
	assert_string_equal(say(&a, "revoke {\"name\":\"b\"}", "error"),
	    "the host does not want that");
	assert_non_null(registry_find(a.registry, "b"));
	assert_string_equal(
	    say(&a, "forward-add {\"name\":\"b\",\"ports\":\"udp/9\"}",
		"token"),
	    "");
	assert_int_equal(registry_find(a.registry, "b")->forwards, 0);
	registry_close(a.registry);
}

/* TlsPort = off: nowhere to join. */
static void
test_no_enrolment(void **state)
{
	struct admin a = open_admin();

	(void)state;
	a.no_tokens = "TlsPort = off";
	assert_non_null(
	    strstr(say(&a, "invite {\"name\":\"a\",\"hours\":24}", "error"),
		"TlsPort = off"));
	assert_null(registry_find(a.registry, "a"));
	registry_close(a.registry);
}

static int
make_folder(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/registry.db", folder);
	return 0;
}

static int
remove_folder(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_requests),
	    cmocka_unit_test(test_verbs),
	    cmocka_unit_test(test_unsettled),
	    cmocka_unit_test(test_no_enrolment),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
