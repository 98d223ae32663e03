/* Who may have what: names, keys, addresses, ports, tokens. The file behind
 * it: test_store.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "../../server/registry.h"

#define NOW 1800000000u
#define HOUR 3600u

static char folder[64];
static char path[96];
static struct diag diag;

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text, strlen(text)), 0);
	return a;
}

static bool
is_own(void *arg, const struct ip_addr *a)
{
	const struct ip_addr own = addr("203.0.113.11");

	(void)arg;
	return ip_addr_equal(a, &own);
}

static const char *
unroutable(void *arg, const struct ip_addr *a)
{
	(void)arg;
	return a->b[3] == 1 ? "is a router" : NULL;
}

static const char *
reserved(void *arg, uint8_t protocol, uint16_t port)
{
	(void)arg;
	if (protocol == IPPROTO_TCP && port == 22)
		return "ssh";
	return protocol == IPPROTO_UDP && port == 51820 ? "the relay's" : NULL;
}

static struct registry_conf
conf(const char *address)
{
	struct registry_conf c = {.is_own = is_own,
	    .unroutable = unroutable,
	    .reserved = reserved,
	    .global = addr("203.0.113.10"),
	    .public_key = {{9}}};

	assert_int_equal(
	    ip_ifaddr_parse(&c.address, address, strlen(address)), 0);
	return c;
}

static struct registry *
open_pool(const char *address)
{
	const struct registry_conf c = conf(address);
	struct registry *r = NULL;

	diag_init(&diag, NULL);
	assert_int_equal(registry_open(&r, path, &c, &diag), 0);
	return r;
}

static int
setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/ukai-registry.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/registry.db", folder);
	return 0;
}

static int
teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* The last error says so. */
static void
assert_said(const char *words)
{
	assert_true(diag.n > 0);
	if (strstr(diag.entry[diag.n - 1].text, words) == NULL)
		fail_msg("not \"%s\": %s", words, diag.entry[diag.n - 1].text);
	diag_init(&diag, NULL);
}

static int
try_invite(struct registry *r, const char *name, uint8_t secret[16])
{
	const struct registry_invitation i = {.name = name, .hours = 24};

	return registry_invite(r, &i, NOW, secret, &diag);
}

static void
invite(struct registry *r, const char *name, uint8_t secret[16])
{
	assert_int_equal(try_invite(r, name, secret), 0);
	assert_int_equal(registry_keep(r, &diag), 0);
}

static enum enrol_status
join(struct registry *r, const uint8_t secret[16], uint8_t key, uint64_t now)
{
	struct enrol_request q = {.public_key = {key}};
	const struct client *c;
	enum enrol_status s;

	memcpy(q.secret, secret, sizeof(q.secret));
	s = registry_join(r, &q, now, &c, &diag);
	assert_int_equal(registry_keep(r, &diag), 0);
	return s;
}

/* A client with this key. */
static void
add(struct registry *r, const char *name, uint8_t key)
{
	const struct wg_key k = {{key}};
	const struct registry_invitation i = {.name = name, .public_key = &k};

	assert_int_equal(registry_invite(r, &i, NOW, NULL, &diag), 0);
	assert_int_equal(registry_keep(r, &diag), 0);
}

static struct client_forward
ports(const char *text)
{
	struct client_forward f;

	assert_int_equal(client_forward_parse(&f, text, NULL, &diag), 0);
	return f;
}

static const char *
address_of(const struct registry *r, const char *name)
{
	static char text[IP_ADDR_TEXT_MAX];
	const struct client *c = registry_find(r, name);

	assert_non_null(c);
	return ip_addr_format(&c->network[0].addr, text);
}

/* ---- tokens ---- */

static void
test_token_works_once(void **state)
{
	struct registry *r = open_pool("10.66.0.1/24");
	uint8_t secret[16], forged[16] = {1};

	(void)state;
	invite(r, "pc", secret);
	assert_int_equal(join(r, forged, 1, NOW), ENROL_UNKNOWN);
	assert_int_equal(join(r, secret, 1, NOW + 1), ENROL_OK);
	assert_true(client_has_joined(registry_find(r, "pc")));
	/* An answer that was lost: the same key may ask again. */
	assert_int_equal(join(r, secret, 1, NOW + 2), ENROL_OK);
	assert_int_equal(join(r, secret, 2, NOW + 3), ENROL_USED);
	assert_int_equal(registry_find(r, "pc")->public_key.b[0], 1);
	registry_close(r);
	r = open_pool("10.66.0.1/24");
	assert_int_equal(join(r, secret, 2, NOW + 4), ENROL_USED);
	assert_int_equal(join(r, secret, 1, NOW + 4), ENROL_OK);
	registry_close(r);
}

static void
test_token_expires(void **state)
{
	struct registry *r = open_pool("10.66.0.1/24");
	uint8_t secret[16], second[16];

	(void)state;
	invite(r, "pc", secret);
	assert_int_equal(join(r, secret, 1, NOW + 24 * HOUR), ENROL_EXPIRED);
	assert_false(client_has_joined(registry_find(r, "pc")));
	/* A second one makes the first void. */
	invite(r, "pc", second);
	assert_int_equal(join(r, secret, 1, NOW), ENROL_UNKNOWN);
	assert_int_equal(join(r, second, 1, NOW + 24 * HOUR - 1), ENROL_OK);
	registry_close(r);
}

static void
test_token_of_the_revoked(void **state)
{
	struct registry *r = open_pool("10.66.0.1/24");
	uint8_t secret[16];

	(void)state;
	invite(r, "pc", secret);
	assert_int_equal(registry_revoke(r, "pc", &diag), 0);
	assert_int_equal(registry_keep(r, &diag), 0);
	assert_int_equal(join(r, secret, 1, NOW), ENROL_UNKNOWN);
	assert_null(registry_find(r, "pc"));
	assert_int_equal(registry_revoke(r, "pc", &diag), UK_ENOENT);
	assert_said("there is no client pc");
	registry_close(r);
}

static void
test_keys_are_ones_own(void **state)
{
	struct registry *r = open_pool("10.66.0.1/24");
	uint8_t secret[16];

	(void)state;
	add(r, "a", 1);
	invite(r, "b", secret);
	assert_int_equal(join(r, secret, 1, NOW), ENROL_FAILED);
	assert_said("the client a has that key");
	assert_int_equal(join(r, secret, 9, NOW), ENROL_FAILED);
	assert_said("the relay's own key");
	assert_int_equal(join(r, secret, 0, NOW), ENROL_FAILED);
	assert_said("no key");
	assert_int_equal(join(r, secret, 2, NOW), ENROL_OK);
	registry_close(r);
}

/* A configuration for stock WireGuard takes the key's place and the token's. */
static void
test_keys_that_are_added(void **state)
{
	static const uint8_t bad[] = {1, 9, 0};
	struct registry *r = open_pool("10.66.0.1/24");
	uint8_t secret[16];

	(void)state;
	add(r, "a", 1);
	for (size_t i = 0; i < sizeof(bad); i++) {
		const struct wg_key key = {{bad[i]}};
		const struct registry_invitation b = {
		    .name = "b", .public_key = &key};

		assert_int_equal(
		    registry_invite(r, &b, NOW, NULL, &diag), UK_EEXIST);
	}
	assert_null(registry_find(r, "b"));
	invite(r, "b", secret);
	add(r, "b", 2);
	assert_int_equal(join(r, secret, 2, NOW), ENROL_UNKNOWN);
	registry_close(r);
}

static void
test_invitations(void **state)
{
	static char policy[CLIENT_POLICY_MAX + 2], routes[CLIENT_ROUTES_MAX];
	const struct {
		struct registry_invitation what;
		const char *words; /* NULL: fine */
	} row[] = {
	    {{.hours = 0}, "1 to 8784 hours"},
	    {{.hours = REGISTRY_HOURS_MAX + 1}, "1 to 8784 hours"},
	    {{.hours = REGISTRY_HOURS_MAX}, NULL},
	    {{.hours = 1, .policy = policy}, "more than 49152 bytes"},
	    {{.hours = 1, .policy = policy + 1}, NULL},
	    {{.hours = 1, .policy = "\033[2J"}, "not plain text"},
	    {{.hours = 1, .policy = "\xff"}, "not plain text"},
	    {{.hours = 1, .routes = "default"}, "no IPv4 prefix"},
	    {{.hours = 1, .routes = "::/0"}, "no IPv4 prefix"},
	    {{.hours = 1, .routes = routes}, "more than 256 routes"},
	    {{.hours = 1, .routes = routes + 8}, NULL},
	    {{.hours = 1, .routes = "192.0.2.0/24, 10.0.0.0/8"}, NULL},
	};
	struct registry *r = open_pool("10.66.0.1/24");
	uint8_t secret[16];

	(void)state;
	memset(policy, 'x', sizeof(policy) - 1);
	for (size_t i = 0; i <= ENROL_ROUTES_MAX; i++)
		memcpy(routes + 8 * i, "1.0.0.1,", 8);
	routes[8 * (ENROL_ROUTES_MAX + 1) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct registry_invitation what = row[i].what;

		what.name = "pc";
		assert_int_equal(registry_invite(r, &what, NOW, secret, &diag),
		    row[i].words == NULL ? 0 : UK_EINVAL);
		if (row[i].words != NULL)
			assert_said(row[i].words);
		assert_int_equal(registry_keep(r, &diag), 0);
	}
	registry_close(r);
}

static void
test_names(void **state)
{
	static const char *const bad[] = {"", "PC", "a b", "a_b", "../x",
	    "a23456789012345678901234567890123"};
	struct registry *r = open_pool("10.66.0.1/24");
	uint8_t secret[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(try_invite(r, bad[i], secret), UK_EINVAL);
		assert_said("cannot be a client's name");
	}
	invite(r, "a2345678901234567890123456789012", secret);
	add(r, "b", 1);
	assert_int_equal(try_invite(r, "b", secret), UK_EEXIST);
	assert_said("b has joined already");
	registry_close(r);
}

/* ---- addresses ---- */

static void
test_pool(void **state)
{
	struct registry *r = open_pool("10.66.0.2/29");
	uint8_t secret[16];

	(void)state;
	/* .0 and .7 stand for the network, .2 is the relay's. */
	invite(r, "a", secret);
	assert_string_equal(address_of(r, "a"), "10.66.0.1");
	invite(r, "b", secret);
	assert_string_equal(address_of(r, "b"), "10.66.0.3");
	assert_int_equal(registry_revoke(r, "a", &diag), 0);
	assert_int_equal(registry_keep(r, &diag), 0);
	/* In turn: not the one that was just given back. */
	invite(r, "c", secret);
	assert_string_equal(address_of(r, "c"), "10.66.0.4");
	invite(r, "d", secret);
	invite(r, "e", secret);
	assert_string_equal(address_of(r, "e"), "10.66.0.6");
	invite(r, "f", secret);
	assert_string_equal(address_of(r, "f"), "10.66.0.1");
	assert_int_equal(try_invite(r, "g", secret), UK_ELIMIT);
	assert_said("the pool 10.66.0.0/29 is full");
	registry_close(r);
}

static void
test_another_pool(void **state)
{
	const struct registry_conf c = conf("10.67.0.1/24");
	struct registry *r = open_pool("10.66.0.1/24");
	uint8_t secret[16];

	(void)state;
	invite(r, "a", secret);
	registry_close(r);
	assert_int_equal(registry_open(&r, path, &c, &diag), UK_EINVAL);
	assert_said("write the address that it had before");
}

static int
set_way(struct registry *r, const char *name, enum client_way way,
    const char *address)
{
	struct ip_addr a = {.family = FAMILY_NONE};
	int err;

	if (address != NULL)
		a = addr(address);
	err = registry_set_way(r, name, way, &a, &diag);
	assert_int_equal(registry_keep(r, &diag), 0);
	return err;
}

static void
test_ways(void **state)
{
	struct registry *r = open_pool("10.66.0.1/24");

	(void)state;
	add(r, "a", 1);
	add(r, "b", 2);
	assert_int_equal(
	    set_way(r, "a", CLIENT_EXCLUSIVE, "203.0.113.12"), UK_EINVAL);
	assert_said("not an address of this host");
	assert_int_equal(set_way(r, "a", CLIENT_EXCLUSIVE, "203.0.113.11"), 0);
	assert_int_equal(
	    set_way(r, "b", CLIENT_EXCLUSIVE, "203.0.113.11"), UK_EBUSY);
	assert_said("203.0.113.11 is a's already");
	assert_int_equal(
	    set_way(r, "b", CLIENT_ROUTED, "203.0.113.11"), UK_EINVAL);
	assert_said("this host has 203.0.113.11 itself");
	assert_int_equal(
	    set_way(r, "b", CLIENT_ROUTED, "203.0.113.10"), UK_EINVAL);
	assert_said("the relay's own");
	assert_int_equal(
	    set_way(r, "b", CLIENT_ROUTED, "10.66.0.9"), UK_EINVAL);
	assert_int_equal(
	    set_way(r, "b", CLIENT_ROUTED, "127.0.0.1"), UK_EINVAL);
	assert_int_equal(set_way(r, "b", CLIENT_ROUTED, NULL), UK_EINVAL);
	diag_init(&diag, NULL);
	assert_int_equal(
	    set_way(r, "b", CLIENT_ROUTED, "203.0.113.1"), UK_EINVAL);
	assert_said("203.0.113.1 is a router");
	assert_int_equal(set_way(r, "b", CLIENT_ROUTED, "203.0.113.40"), 0);
	assert_int_equal(
	    set_way(r, "a", CLIENT_ROUTED, "203.0.113.40"), UK_EBUSY);
	assert_said("203.0.113.40 is b's already (routed)");
	assert_int_equal(
	    set_way(r, "a", CLIENT_SHARED, "203.0.113.10"), UK_EINVAL);
	diag_init(&diag, NULL);
	/* The relay's own, on a host with one address. */
	assert_int_equal(set_way(r, "a", CLIENT_EXCLUSIVE, NULL), 0);
	assert_int_equal(set_way(r, "a", CLIENT_SHARED, NULL), 0);
	assert_int_equal(set_way(r, "nobody", CLIENT_SHARED, NULL), UK_ENOENT);
	registry_close(r);
}

/* ---- forwards ---- */

static int
publish(struct registry *r, const char *name, const char *what)
{
	const struct client_forward f = ports(what);
	int err = registry_forward_add(r, name, &f, &diag);

	assert_int_equal(registry_keep(r, &diag), 0);
	return err;
}

static void
test_forwards(void **state)
{
	struct registry *r = open_pool("10.66.0.1/24");
	struct client_forward f = ports("tcp/8443");

	(void)state;
	add(r, "a", 1);
	add(r, "b", 2);
	assert_int_equal(publish(r, "a", "tcp/8440-8450"), 0);
	assert_int_equal(publish(r, "b", "udp/8443"), 0);
	assert_int_equal(publish(r, "b", "tcp/8443"), UK_EBUSY);
	assert_said("a has tcp/8440-8450 already");
	assert_int_equal(publish(r, "a", "tcp/8450-8460"), UK_EEXIST);
	assert_said("a has tcp/8440-8450 already");
	assert_int_equal(publish(r, "b", "tcp/8451"), 0);
	assert_int_equal(publish(r, "a", "tcp/20-30"), UK_EBUSY);
	assert_said("port 22 is ssh");
	assert_int_equal(publish(r, "a", "udp/51820"), UK_EBUSY);
	assert_said("the relay's");
	assert_int_equal(publish(r, "a", "tcp/51820"), 0);
	assert_int_equal(registry_forward_remove(r, "a", &f, &diag), UK_ENOENT);
	assert_said("a has no forward tcp/8443");
	f = ports("tcp/8440-8450");
	assert_int_equal(registry_forward_remove(r, "a", &f, &diag), 0);
	assert_int_equal(registry_keep(r, &diag), 0);
	assert_int_equal(publish(r, "b", "tcp/8443"), 0);
	assert_int_equal(registry_find(r, "a")->forwards, 1);
	registry_close(r);
}

static void
test_forwards_and_ways(void **state)
{
	struct registry *r = open_pool("10.66.0.1/24");

	(void)state;
	add(r, "a", 1);
	add(r, "b", 2);
	assert_int_equal(publish(r, "a", "tcp/8443"), 0);
	assert_int_equal(set_way(r, "b", CLIENT_EXCLUSIVE, NULL), UK_EBUSY);
	assert_said("tcp/8443 of 203.0.113.10 is published for a");
	assert_int_equal(
	    set_way(r, "a", CLIENT_ROUTED, "203.0.113.40"), UK_EBUSY);
	assert_said("has forwards");
	/* On an address of its own what the host needs is no matter. */
	assert_int_equal(set_way(r, "a", CLIENT_EXCLUSIVE, "203.0.113.11"), 0);
	assert_int_equal(publish(r, "a", "tcp/22"), 0);
	assert_int_equal(publish(r, "b", "tcp/8443"), 0);
	/* But not back on the relay's. */
	assert_int_equal(set_way(r, "a", CLIENT_SHARED, NULL), UK_EBUSY);
	diag_init(&diag, NULL);
	assert_int_equal(set_way(r, "b", CLIENT_EXCLUSIVE, NULL), 0);
	add(r, "c", 3);
	assert_int_equal(publish(r, "c", "tcp/9999"), UK_EBUSY);
	assert_said("all ports of 203.0.113.10 are b's (exclusive)");
	registry_close(r);
}

/* ---- changes ---- */

static void
test_undo(void **state)
{
	struct registry *r = open_pool("10.66.0.1/24");
	struct registry_change c;
	uint8_t secret[16];
	size_t n;

	(void)state;
	add(r, "a", 1);
	add(r, "b", 2);
	assert_int_equal(try_invite(r, "c", secret), 0);
	c = registry_changed(r);
	assert_null(c.before);
	assert_string_equal(c.after->name, "c");
	registry_end(r);
	assert_null(registry_find(r, "c"));
	assert_int_equal(registry_revoke(r, "a", &diag), 0);
	c = registry_changed(r);
	assert_string_equal(c.before->name, "a");
	assert_null(c.after);
	assert_null(registry_find(r, "a"));
	registry_end(r);
	assert_string_equal(registry_clients(r, &n)[0]->name, "a");
	assert_int_equal(n, 2);
	assert_null(registry_changed(r).before);
	registry_close(r);
	r = open_pool("10.66.0.1/24");
	assert_non_null(registry_find(r, "a"));
	assert_null(registry_find(r, "c"));
	registry_close(r);
}

/* Not kept: as if it had not been. */
static void
test_closed_before_kept(void **state)
{
	struct registry *r = open_pool("10.66.0.1/24");
	uint8_t secret[16];

	(void)state;
	assert_int_equal(try_invite(r, "a", secret), 0);
	registry_close(r);
	r = open_pool("10.66.0.1/24");
	assert_null(registry_find(r, "a"));
	registry_close(r);
}

/* ---- [Peer] sections ---- */

#define KEY_A "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define KEY_B "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

static void
test_import(void **state)
{
	static const char file[] =
	    "[Relay]\nPrivateKey = " KEY_A "\nAddress = 10.66.0.1/24\n"
	    "[Peer]\nPublicKey = " KEY_B "\nAllowedIPs = 10.66.0.8/30\n"
	    "[Peer]\nName = office\nPublicKey = "
	    "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\n"
	    "AllowedIPs = 10.66.0.3/32\n";
	struct registry *r = open_pool("10.66.0.1/24");
	struct server_conf c;
	size_t n;

	(void)state;
	assert_int_equal(server_conf_parse(&c, file, strlen(file), &diag), 0);
	assert_int_equal(registry_import(r, &c.peers, NOW, &n, &diag), 0);
	assert_int_equal(n, 2);
	assert_int_equal(diag.warnings, 0);
	assert_string_equal(address_of(r, "peer-1"), "10.66.0.8");
	assert_string_equal(address_of(r, "office"), "10.66.0.3");
	/* A network has no address that visitors could be led to. */
	assert_int_equal(publish(r, "peer-1", "tcp/80"), UK_EINVAL);
	assert_said("no single address");
	assert_int_equal(
	    set_way(r, "peer-1", CLIENT_EXCLUSIVE, NULL), UK_EINVAL);
	assert_said("no single address");
	/* Once: who was revoked since does not come back. */
	assert_int_equal(registry_revoke(r, "office", &diag), 0);
	assert_int_equal(registry_keep(r, &diag), 0);
	registry_close(r);
	r = open_pool("10.66.0.1/24");
	assert_int_equal(registry_import(r, &c.peers, NOW, &n, &diag), 0);
	assert_int_equal(n, 0);
	assert_int_equal(diag.warnings, 1);
	assert_null(registry_find(r, "office"));
	server_conf_fini(&c);
	registry_close(r);
}

/* All or none. */
static void
test_import_conflict(void **state)
{
	static const char file[] =
	    "[Relay]\nPrivateKey = " KEY_A "\nAddress = 10.66.0.1/24\n"
	    "[Peer]\nPublicKey = " KEY_B "\nAllowedIPs = 10.66.0.9/32\n"
	    "[Peer]\nPublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\n"
	    "AllowedIPs = 10.66.0.2/32\n";
	struct registry *r = open_pool("10.66.0.1/24");
	struct server_conf c;
	size_t n;

	(void)state;
	add(r, "a", 1);
	assert_string_equal(address_of(r, "a"), "10.66.0.2");
	assert_int_equal(server_conf_parse(&c, file, strlen(file), &diag), 0);
	assert_int_equal(
	    registry_import(r, &c.peers, NOW, &n, &diag), UK_EBUSY);
	assert_said("overlaps that of a");
	registry_clients(r, &n);
	assert_int_equal(n, 1);
	server_conf_fini(&c);
	registry_close(r);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_token_works_once),
	    TEST(test_token_expires),
	    TEST(test_token_of_the_revoked),
	    TEST(test_keys_are_ones_own),
	    TEST(test_keys_that_are_added),
	    TEST(test_invitations),
	    TEST(test_names),
	    TEST(test_pool),
	    TEST(test_another_pool),
	    TEST(test_ways),
	    TEST(test_forwards),
	    TEST(test_forwards_and_ways),
	    TEST(test_undo),
	    TEST(test_closed_before_kept),
	    TEST(test_import),
	    TEST(test_import_conflict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
