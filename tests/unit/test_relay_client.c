/* server/client: what the relay knows of one client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/failing_alloc.h"
#include "core/err.h"
#include "core/ip.h"

static char *
failing_strdup(const char *s)
{
	char *copy = failing_malloc(strlen(s) + 1);

	return copy != NULL ? strcpy(copy, s) : NULL;
}

#define calloc failing_calloc
#define free failing_free
#undef strdup
#define strdup failing_strdup
#include "../../server/client.c"
#undef calloc
#undef free
#undef strdup

enum { TCP = IPPROTO_NUM_TCP, UDP = IPPROTO_NUM_UDP };

static void
test_forward_table(void **state)
{
	static const struct {
		const char *ports, *target; /* target NULL: none */
		struct client_forward want; /* protocol 0: refused */
		const char *says;
	} row[] = {
	    {"tcp/1", NULL, {TCP, 1, 1, 1}, NULL},
	    {"tcp/8443", "443", {TCP, 8443, 8443, 443}, NULL},
	    {"udp/65535", NULL, {UDP, 65535, 65535, 65535}, NULL},
	    {"udp/5000-5010", NULL, {UDP, 5000, 5010, 5000}, NULL},
	    {"udp/5000-5000", "1", {UDP, 5000, 5000, 1}, NULL},
	    {"tcp/1-65535", NULL, {TCP, 1, 65535, 1}, NULL},
	    {"tcp/1-65535", "1", {TCP, 1, 65535, 1}, NULL},
	    {"udp/1-2", "65534", {UDP, 1, 2, 65534}, NULL},
	    {"udp/1-2", "65535", {0}, "beyond port 65535"},
	    {"tcp/1-65535", "2", {0}, "65535 ports from 2 on"},
	    {"tcp/0", NULL, {0}, "from 1 to 65535"},
	    {"tcp/65536", NULL, {0}, "from 1 to 65535"},
	    {"tcp/0-5", NULL, {0}, "from 1 to 65535"},
	    {"tcp/5-65536", NULL, {0}, "from 1 to 65535"},
	    {"tcp/10-9", NULL, {0}, "reversed: write 9-10"},
	    {"tcp/1-2-3", NULL, {0}, "neither a port"},
	    {"tcp/-", NULL, {0}, "neither a port"},
	    {"tcp/1-", NULL, {0}, "neither a port"},
	    {"tcp/-1", NULL, {0}, "neither a port"},
	    {"tcp/ 1", NULL, {0}, "neither a port"},
	    {"tcp/0x10", NULL, {0}, "neither a port"},
	    {"tcp/1,2", NULL, {0}, "neither a port"},
	    {"tcp/", NULL, {0}, "neither a port"},
	    {"tcp", NULL, {0}, "neither tcp/ nor udp/"},
	    {"TCP/1", NULL, {0}, "neither tcp/ nor udp/"},
	    {"sctp/1", NULL, {0}, "neither tcp/ nor udp/"},
	    {"8443", NULL, {0}, "neither tcp/ nor udp/"},
	    {"", NULL, {0}, "neither tcp/ nor udp/"},
	    {"tcp/1", "0", {0}, "\"0\" is not a port"},
	    {"tcp/1", "65536", {0}, "is not a port"},
	    {"tcp/1", "", {0}, "is not a port"},
	    {"tcp/1", "1-2", {0}, "is not a port"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct client_forward f = {99, 1, 2, 3};
		bool good = row[i].want.protocol != 0;
		struct diag d;

		diag_init(&d, NULL);
		assert_int_equal(
		    client_forward_parse(&f, row[i].ports, row[i].target, &d),
		    good ? 0 : UK_EINVAL);
		assert_int_equal(d.errors, good ? 0 : 1);
		if (!good)
			assert_non_null(strstr(d.entry[0].text, row[i].says));
		/* Left alone on error. */
		assert_int_equal(f.protocol, good ? row[i].want.protocol : 99);
		assert_int_equal(f.first, good ? row[i].want.first : 1);
		assert_int_equal(f.last, good ? row[i].want.last : 2);
		assert_int_equal(f.target, good ? row[i].want.target : 3);
	}
}

/* What is written is read again. */
static void
test_forward_text(void **state)
{
	char text[CLIENT_FORWARD_TEXT_MAX];
	struct client_forward f = {TCP, 8443, 8443, 443}, again;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	assert_string_equal(client_forward_format(&f, text), "tcp/8443");
	f = (struct client_forward){UDP, 10000, 65535, 10000};
	assert_string_equal(client_forward_format(&f, text), "udp/10000-65535");
	srand(1);
	for (int i = 0; i < 2000; i++) {
		f.protocol = rand() % 2 ? TCP : UDP;
		f.first = (uint16_t)(rand() % 65535 + 1);
		f.last = (uint16_t)(f.first + rand() % (65536 - f.first));
		f.target = f.first;
		client_forward_format(&f, text);
		assert_int_equal(
		    client_forward_parse(&again, text, NULL, &d), 0);
		assert_int_equal(again.protocol, f.protocol);
		assert_int_equal(again.first, f.first);
		assert_int_equal(again.last, f.last);
		assert_int_equal(again.target, f.target);
	}
}

/* A naive twin looks at every port. */
static void
test_overlap_twin(void **state)
{
	unsigned seen = 0;

	(void)state;
	srand(2);
	for (int i = 0; i < 5000; i++) {
		struct client_forward f[2];
		bool shared = false;

		for (int k = 0; k < 2; k++) {
			f[k].protocol = rand() % 4 ? TCP : UDP;
			f[k].first = (uint16_t)(rand() % 40 + 65480);
			f[k].last = (uint16_t)(f[k].first + rand() % 16);
		}
		for (uint32_t p = 0; p <= UINT16_MAX && i < 200; p++)
			shared |= p >= f[0].first && p <= f[0].last &&
				  p >= f[1].first && p <= f[1].last;
		for (uint32_t p = 65480; p <= UINT16_MAX; p++)
			shared |= p >= f[0].first && p <= f[0].last &&
				  p >= f[1].first && p <= f[1].last;
		shared = shared && f[0].protocol == f[1].protocol;
		assert_int_equal(client_forwards_overlap(&f[0], &f[1]), shared);
		assert_int_equal(client_forwards_overlap(&f[1], &f[0]), shared);
		seen += shared;
	}
	assert_true(seen > 500 && seen < 4500);
}

static void
test_ways(void **state)
{
	static const char *const no[] = {"", "Shared", "shared ", "nat", "0"};

	(void)state;
	for (int i = CLIENT_SHARED; i <= CLIENT_ROUTED; i++) {
		enum client_way w = CLIENT_SHARED;

		assert_int_equal(
		    client_way_parse(&w, client_way_name((enum client_way)i)),
		    0);
		assert_int_equal(w, i);
	}
	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		enum client_way w = CLIENT_ROUTED;

		assert_int_equal(client_way_parse(&w, no[i]), UK_EINVAL);
		assert_int_equal(w, CLIENT_ROUTED);
	}
}

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text, strlen(text)), 0);
	return a;
}

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(&p, text, strlen(text)), 0);
	return p;
}

/* Its texts and forwards are the allocator's above. */
static struct client
office(void)
{
	struct client c = {.id = 7,
	    .name = "office-pc-1",
	    .created_s = 1700000000,
	    .public_key = {{1, 2, 3}},
	    .preshared_key = {{0}},
	    .joined_s = 1700000001,
	    .keepalive_s = 25,
	    .networks = 2,
	    .way = CLIENT_EXCLUSIVE,
	    .forwards = 2};

	memset(c.preshared_key.b, 0xa5, sizeof(c.preshared_key.b));
	c.endpoint.addr = addr("2001:db8::7");
	c.endpoint.port = 51820;
	c.network[0] = prefix("10.66.0.2/32");
	c.network[1] = prefix("10.66.1.0/24");
	c.global = addr("203.0.113.11");
	c.forward = failing_calloc(2, sizeof(*c.forward));
	c.forward[0] = (struct client_forward){TCP, 8443, 8443, 443};
	c.forward[1] = (struct client_forward){UDP, 5000, 5010, 5000};
	c.routes = failing_strdup("0.0.0.0/0, 10.66.0.0/16");
	c.policy = failing_strdup("DEFAULT,native\n");
	return c;
}

static void
test_copy(void **state)
{
	struct client c = office(), to, none = {.id = 1}, zero = {0};

	(void)state;
	assert_int_equal(client_copy(&to, &c), 0);
	assert_ptr_not_equal(to.forward, c.forward);
	assert_ptr_not_equal(to.routes, c.routes);
	assert_ptr_not_equal(to.policy, c.policy);
	assert_string_equal(to.routes, c.routes);
	assert_string_equal(to.policy, c.policy);
	assert_memory_equal(to.forward, c.forward, 2 * sizeof(*to.forward));
	assert_string_equal(to.name, c.name);
	assert_memory_equal(&to.global, &c.global, sizeof(to.global));
	client_fini(&to);
	assert_memory_equal(&to, &zero, sizeof(to));
	/* Nothing to allocate. */
	assert_int_equal(client_copy(&to, &none), 0);
	assert_null(to.forward);
	assert_null(to.routes);
	assert_null(to.policy);
	client_fini(&to);
	client_fini(&to); /* zero: fine */
	for (unsigned n = 1; n <= 3; n++) {
		memset(&to, 0x55, sizeof(to));
		alloc_fail_at = n;
		assert_int_equal(client_copy(&to, &c), UK_ENOMEM);
		assert_memory_equal(&to, &zero, sizeof(to));
	}
	client_fini(&c);
	assert_int_equal(alloc_live, 0);
}

static void
test_has_joined(void **state)
{
	struct client c = {.name = "a"};

	(void)state;
	assert_false(client_has_joined(&c));
	c.public_key.b[31] = 1;
	assert_true(client_has_joined(&c));
}

/* One wrong thing at a time. C1, C6. */
static void
spoil(struct client *c, int n)
{
	static char zero_bits[] = "10.66.0.2/33", *too_long;
	size_t len = CLIENT_POLICY_MAX + 1;

	switch (n) {
	case 0:
		strcpy(c->name, "");
		break;
	case 1:
		strcpy(c->name, "Office");
		break;
	case 2:
		memset(c->name, 'a', sizeof(c->name));
		break;
	case 3:
		strcpy(c->name, "a/b");
		break;
	case 4:
		c->created_s = (uint64_t)INT64_MAX + 1;
		break;
	case 5:
		c->joined_s = UINT64_MAX;
		break;
	case 6:
		c->expires_s = (uint64_t)INT64_MAX + 1;
		break;
	case 7:
		c->endpoint.addr.family = FAMILY_NONE;
		break;
	case 8:
		c->endpoint.addr = addr("ff02::1");
		break;
	case 9:
		c->networks = CLIENT_NETWORKS_MAX + 1;
		break;
	case 10:
		c->network[1].addr.b[3] = 1; /* host bits */
		break;
	case 11:
		c->network[0].bits = 33;
		break;
	case 12:
		c->network[0] = prefix("2001:db8::/64");
		break;
	case 13:
		c->network[1] = c->network[0];
		break;
	case 14:
		c->way = (enum client_way)3;
		break;
	case 15:
		c->way = CLIENT_SHARED;
		break;
	case 16:
		c->global = (struct ip_addr){0};
		break;
	case 17:
		c->global = addr("2001:db8::1");
		break;
	case 18:
		c->global = addr("127.0.0.1");
		break;
	case 19:
		c->forwards = CLIENT_FORWARDS_MAX + 1;
		break;
	case 20:
		c->forward[0].protocol = IPPROTO_NUM_ICMP;
		break;
	case 21:
		c->forward[0].first = 0;
		break;
	case 22:
		c->forward[0].first = 8444;
		break;
	case 23:
		c->forward[0].target = 0;
		break;
	case 24:
		c->forward[1].target = 65526;
		break;
	case 25:
		c->forward[1] = (struct client_forward){TCP, 8000, 9000, 1};
		break;
	case 26:
		memcpy(c->routes, zero_bits, sizeof(zero_bits));
		break;
	case 27:
		memcpy(c->routes, "10.0.0.0/8,", 12);
		break;
	case 28:
		c->routes[0] = '\0';
		break;
	case 29:
		failing_free(c->routes);
		c->routes = failing_malloc(CLIENT_ROUTES_MAX + 2);
		while (strlen(c->routes) < CLIENT_ROUTES_MAX + 1)
			strcat(c->routes, strlen(c->routes) % 2 ? "," : "1");
		break;
	case 30:
		too_long = failing_malloc(len + 1);
		memset(too_long, 'x', len);
		failing_free(c->policy);
		c->policy = too_long;
		break;
	default:
		fail();
	}
}

static void
test_check(void **state)
{
	struct client c = office();
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	assert_int_equal(client_check(&c, &d), 0);
	/* Good ones at the edge. */
	c.created_s = INT64_MAX;
	c.forward[1].target = 65525;
	c.endpoint = (struct endpoint){0};
	memset(c.name, 'z', SERVER_NAME_MAX);
	failing_free(c.policy);
	c.policy = failing_malloc(CLIENT_POLICY_MAX + 1);
	memset(c.policy, 'x', CLIENT_POLICY_MAX);
	assert_int_equal(client_check(&c, &d), 0);
	client_fini(&c);
	c = (struct client){.name = "-"};
	assert_int_equal(client_check(&c, &d), 0);
	assert_int_equal(d.n, 0);
	for (int n = 0; n <= 30; n++) {
		c = office();
		spoil(&c, n);
		diag_init(&d, NULL);
		assert_int_equal(client_check(&c, &d), UK_EINVAL);
		assert_int_equal(d.errors, 1);
		client_fini(&c);
	}
	assert_int_equal(alloc_live, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forward_table),
	    cmocka_unit_test(test_forward_text),
	    cmocka_unit_test(test_overlap_twin),
	    cmocka_unit_test(test_ways),
	    cmocka_unit_test(test_copy),
	    cmocka_unit_test(test_has_joined),
	    cmocka_unit_test(test_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
