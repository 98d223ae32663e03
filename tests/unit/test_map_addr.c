#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/map_addr.h"
#include "client/mape/map_rules.h"
#include "core/bytes.h"
#include "core/err.h"

#include "map_vectors.h"

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	if (ip_prefix_parse(&p, text, strlen(text)) < 0)
		fail_msg("%s", text);
	return p;
}

/* ---- the public vectors ---- */

static struct map_vectors vectors;

static unsigned
number(size_t row, const char *name)
{
	return (unsigned)atoi(map_vectors_get(&vectors, row, name));
}

static struct map_rule
vector_rule(size_t i)
{
	const char *psid = map_vectors_get(&vectors, i, "psid_provisioned");
	const char *iid = map_vectors_get(&vectors, i, "iid_style");
	struct map_rule r = {
	    .ipv6 = prefix(map_vectors_get(&vectors, i, "rule_ipv6")),
	    .ipv4 = prefix(map_vectors_get(&vectors, i, "rule_ipv4")),
	    .ea_len = (uint8_t)number(i, "ea_len"),
	    .psid_offset = (uint8_t)number(i, "psid_offset"),
	    .psid_len = (uint8_t)number(i, "psid_len"),
	    .psid_given = *psid != 0,
	    .psid = (uint16_t)atoi(psid),
	};
	char why[MAP_RULE_WHY_MAX];

	assert_int_equal(map_iid_parse(&r.iid, iid, strlen(iid)), 0);
	if (map_rule_check(&r, why) < 0)
		fail_msg("row %zu: %s", i, why);
	return r;
}

static void
assert_address(const uint8_t b[16], const char *want)
{
	struct ip_addr a = {.family = FAMILY_V6};
	char text[IP_ADDR_TEXT_MAX];

	memcpy(a.b, b, 16);
	assert_string_equal(ip_addr_format(&a, text), want);
}

static void
assert_vector_range(
    const struct map_ports *p, size_t i, uint32_t range, const char *name)
{
	char text[16];
	uint16_t low, high;

	if (*map_vectors_get(&vectors, i, name) == 0)
		return;
	map_ports_range(p, range, &low, &high);
	snprintf(text, sizeof(text), "%u-%u", low, high);
	assert_string_equal(text, map_vectors_get(&vectors, i, name));
}

static void
check_ports(const struct map_ports *p, size_t i)
{
	const char *psid = map_vectors_get(&vectors, i, "exp_psid");
	const char *seen = map_vectors_get(&vectors, i, "observed_port");

	assert_int_equal(p->psid_len > 0, *psid != 0);
	assert_int_equal(p->psid, atoi(psid));
	assert_int_equal(map_ports_count(p), number(i, "exp_port_count"));
	assert_vector_range(p, i, 0, "exp_first_range");
	assert_vector_range(p, i, 1, "exp_second_range");
	assert_vector_range(p, i, map_ports_ranges(p) - 1, "exp_last_range");
	assert_true(*seen == 0 || map_ports_has(p, (uint16_t)atoi(seen)));
}

/* The direction that a BR takes, and another CE with an FMR. */
static void
check_locate(
    const struct map_rule *r, const char *ipv4, unsigned port, const char *want)
{
	struct ip_addr a;
	uint8_t out[16];

	assert_int_equal(ip_addr_parse(&a, ipv4, strlen(ipv4)), 0);
	if (r->psid_given) {
		assert_int_equal(
		    map_ce_locate(r, a.b, (uint16_t)port, out), UK_ENOENT);
		return;
	}
	assert_int_equal(map_ce_locate(r, a.b, (uint16_t)port, out), 0);
	assert_address(out, want);
}

static void
test_vectors(void **state)
{
	char why[MAP_RULE_WHY_MAX], text[IP_ADDR_TEXT_MAX];
	struct map_ce ce;
	unsigned packets = 0;

	(void)state;
	map_vectors_load(&vectors);
	assert_int_equal(vectors.n, 13);
	for (size_t i = 0; i < vectors.n; i++) {
		struct map_rule r = vector_rule(i);
		struct ip_prefix line =
		    prefix(map_vectors_get(&vectors, i, "input_ipv6"));
		const char *kind = map_vectors_get(&vectors, i, "kind");
		const char *want = map_vectors_get(&vectors, i, "exp_ce_ipv6");
		const char *ipv4 = map_vectors_get(&vectors, i, "exp_ipv4");
		uint16_t low, high;

		assert_int_equal(map_ce_make(&ce, &r, &line, why), 0);
		assert_address(ce.address.b, want);
		assert_int_equal(ce.ipv4.bits, 32);
		assert_string_equal(ip_addr_format(&ce.ipv4.addr, text), ipv4);
		check_ports(&ce.ports, i);
		map_ports_range(&ce.ports, 0, &low, &high);
		check_locate(&r, ipv4, low, want);
		if (strcmp(kind, "packet-to-ce") == 0)
			check_locate(&r,
			    map_vectors_get(&vectors, i, "in4_dst"),
			    number(i, "in4_dport"),
			    map_vectors_get(&vectors, i, "exp_outer_dst"));
		if (strcmp(kind, "packet-to-br") == 0)
			check_locate(&r,
			    map_vectors_get(&vectors, i, "in4_src"),
			    number(i, "in4_sport"),
			    map_vectors_get(&vectors, i, "exp_outer_src"));
		packets += strncmp(kind, "packet", 6) == 0;
	}
	assert_int_equal(packets, 2);
}

/* ---- what counts of a prefix ---- */

static const struct map_rule v6plus = {
    .ipv6 = {{FAMILY_V6, {0x24, 0x0b, 0, 0x10}}, 31},
    .ipv4 = {{FAMILY_V4, {106, 72}}, 15},
    .ea_len = 25,
    .psid_offset = 4,
    .psid_len = 8,
    .iid = MAP_IID_DRAFT03,
};

static void
test_lengths(void **state)
{
	static const char *const same[] = {
	    "240b:10:3f6c:d400::/56",
	    "240B:0010:3F6C:D400:0:0:0:0/56",
	    "240b:10:3f6c:d400::/60",
	    "240b:10:3f6c:d4f0::/60",
	    "240b:10:3f6c:d400::/64",
	    "240b:10:3f6c:d4ff::/64",
	    "240b:10:3f6c:d4ab:1234:5678:9abc:def0",
	    "240b:10:3f6c:d400:6a:483f:6c00:d400",
	};
	char why[MAP_RULE_WHY_MAX], text[IP_PREFIX_TEXT_MAX];
	struct map_ce ce;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		struct ip_prefix p = prefix(same[i]);

		assert_int_equal(map_ce_make(&ce, &v6plus, &p, why), 0);
		assert_string_equal(ip_prefix_format(&ce.ipv6_prefix, text),
		    "240b:10:3f6c:d400::/56");
		assert_string_equal(
		    ip_prefix_format(&ce.ipv4, text), "106.72.63.108/32");
		assert_address(
		    ce.address.b, "240b:10:3f6c:d400:6a:483f:6c00:d400");
	}
}

static void
test_refused(void **state)
{
	static const struct {
		const char *line, *why;
	} row[] = {
	    {"240b:10:3f6c:d400::/55", "give a /56"},
	    {"240b:10::/32", "give a /56"},
	    {"240b::/16", "give a /56"},
	    {"::/0", "give a /56"},
	    {"240b:12::/56", "is not in 240b:10::/31"},
	    {"240b:f:ffff:ffff::", "is not in 240b:10::/31"},
	    {"106.72.0.1", "is not in 240b:10::/31"},
	};
	char why[MAP_RULE_WHY_MAX];
	struct map_ce ce;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ip_prefix p = prefix(row[i].line);

		assert_int_equal(map_ce_make(&ce, &v6plus, &p, why), UK_EINVAL);
		if (strstr(why, row[i].why) == NULL)
			fail_msg("%s: %s", row[i].line, why);
	}
}

/* ---- other shapes ---- */

struct shape {
	const char *ipv6, *ipv4;
	unsigned ea_len, offset, psid_len;
	enum map_iid iid;
	const char *line, *want_ipv4, *want_address;
};

static const struct shape shape[] = {
    /* An IPv4 prefix for each line, zeros behind it (RFC 7597 6). */
    {"2001:db8::/40", "192.0.0.0/8", 16, 6, 0, MAP_IID_RFC7597,
	"2001:db8:12:3400::/56", "192.18.52.0/24",
	"2001:db8:12:3400:0:c012:3400:0"},
    /* A whole address in the EA bits. */
    {"2001:db8::/32", "0.0.0.0/0", 32, 0, 0, MAP_IID_DRAFT03,
	"2001:db8:c000:201::/64", "192.0.2.1/32",
	"2001:db8:c000:201:c0:2:100:0"},
    /* Longer than /64: the prefix has the identifier's first bits (6). */
    {"2001:db8:ab::/48", "192.0.2.0/24", 24, 0, 16, MAP_IID_RFC7597,
	"2001:db8:ab:cdef:ff00::/72", "192.0.2.205/32",
	"2001:db8:ab:cdef:ff00:c000:2cd:efff"},
    {"2001:db8:0:1:2222::/80", "0.0.0.0/0", 48, 0, 16, MAP_IID_RFC7597,
	"2001:db8:0:1:2222:c000:201:1234", "192.0.2.1/32",
	"2001:db8:0:1:2222:c000:201:1234"},
    {"2001:db8:0:1:2222::/72", "192.0.2.0/24", 16, 0, 8, MAP_IID_DRAFT03,
	"2001:db8:0:1:2201:3400::/88", "192.0.2.1/32",
	"2001:db8:0:1:2201:3402:100:3400"},
    /* The EA bits cross the middle of the address. */
    {"2001:db8:0:1200::/60", "192.0.2.0/24", 16, 4, 8, MAP_IID_RFC7597,
	"2001:db8:0:1207:abc0::/76", "192.0.2.122/32",
	"2001:db8:0:1207:abc0:c000:27a:bc"},
};

static void
test_shapes(void **state)
{
	char why[MAP_RULE_WHY_MAX], text[IP_PREFIX_TEXT_MAX];
	struct map_ce ce;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(shape); i++) {
		const struct shape *s = &shape[i];
		struct map_rule r = {
		    .ipv6 = prefix(s->ipv6),
		    .ipv4 = prefix(s->ipv4),
		    .ea_len = (uint8_t)s->ea_len,
		    .psid_offset = (uint8_t)s->offset,
		    .psid_len = (uint8_t)s->psid_len,
		    .iid = s->iid,
		};
		struct ip_prefix line = prefix(s->line);
		uint8_t back[16];

		if (map_rule_check(&r, why) < 0 ||
		    map_ce_make(&ce, &r, &line, why) < 0)
			fail_msg("shape %zu: %s", i, why);
		assert_string_equal(
		    ip_prefix_format(&ce.ipv4, text), s->want_ipv4);
		assert_address(ce.address.b, s->want_address);
		assert_int_equal(map_ce_locate(&r, ce.ipv4.addr.b,
				     map_ports_nth(&ce.ports, 0), back),
		    0);
		assert_memory_equal(back, ce.address.b, 16);
	}
}

/* An explicit PSID is used, whatever the EA bits are (RFC 7598 4.5). */
static void
test_given_psid(void **state)
{
	struct map_rule r = v6plus;
	struct ip_prefix line = prefix("240b:10:3f6c:d400::/56");
	char why[MAP_RULE_WHY_MAX];
	struct map_ce ce;

	(void)state;
	r.psid_given = true;
	r.psid = 7;
	assert_int_equal(map_rule_check(&r, why), 0);
	assert_int_equal(map_ce_make(&ce, &r, &line, why), 0);
	assert_int_equal(ce.ports.psid, 7);
	assert_address(ce.address.b, "240b:10:3f6c:d400:6a:483f:6c00:700");
}

/* D1: nobody is at an address outside of the rule, nor at a port that no line
 * has. */
static void
test_locate_refused(void **state)
{
	static const uint8_t in[4] = {106, 73, 255, 255};
	static const uint8_t out[4] = {106, 74, 0, 0};
	uint8_t address[16];

	(void)state;
	assert_int_equal(map_ce_locate(&v6plus, in, 4096, address), 0);
	assert_int_equal(map_ce_locate(&v6plus, in, 65535, address), 0);
	assert_int_equal(map_ce_locate(&v6plus, in, 4095, address), UK_ENOENT);
	assert_int_equal(map_ce_locate(&v6plus, in, 0, address), UK_ENOENT);
	assert_int_equal(map_ce_locate(&v6plus, out, 4096, address), UK_ENOENT);
}

/* ---- a naive twin: addresses as text of zeros and ones ---- */

static void
to_text(char *text, const uint8_t *b, unsigned bits)
{
	for (unsigned i = 0; i < bits; i++)
		text[i] = b[i / 8] & 0x80 >> i % 8 ? '1' : '0';
	text[bits] = 0;
}

static uint64_t
value(const char *text, unsigned at, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = 2 * v + (text[at + i] == '1');
	return v;
}

/* What RFC 7597 5.2, figure 7, and section 6 draw. */
static void
twin(const struct map_rule *r, const struct ip_prefix *line, char ipv4[33],
    uint64_t *psid, char address[129])
{
	char line_text[129], id[65] = "";
	unsigned at = r->ipv6.bits;

	to_text(line_text, line->addr.b, 128);
	to_text(ipv4, r->ipv4.addr.b, 32);
	for (unsigned i = r->ipv4.bits; i < 32 && at < r->ipv6.bits + r->ea_len;
	     i++)
		ipv4[i] = line_text[at++];
	*psid = value(line_text, at, r->ipv6.bits + r->ea_len - at);
	if (r->psid_given)
		*psid = r->psid;
	memset(id, '0', 64);
	memcpy(id + (r->iid == MAP_IID_DRAFT03 ? 8 : 16), ipv4, 32);
	for (unsigned i = 0; i < 16; i++)
		if (*psid >> (15 - i) & 1)
			id[i + (r->iid == MAP_IID_DRAFT03 ? 40 : 48)] = '1';
	memset(address, '0', 64);
	memcpy(address + 64, id, 65);
	memcpy(address, line_text, r->ipv6.bits + r->ea_len);
}

static struct map_rule
random_rule(void)
{
	for (;;) {
		struct map_rule r = {
		    .ipv6 = {.addr.family = FAMILY_V6},
		    .ea_len = (uint8_t)(rnd() % 49),
		    .psid_offset = (uint8_t)(rnd() % 16),
		    .iid = (enum map_iid)(rnd() % 2),
		    .psid_given = rnd() % 8 == 0,
		};
		struct ip_ifaddr v6 = {
		    {.family = FAMILY_V6}, (uint8_t)(rnd() % 129)};
		struct ip_ifaddr v4 = {
		    {.family = FAMILY_V4}, (uint8_t)(rnd() % 33)};
		char why[MAP_RULE_WHY_MAX];

		store_be64(v6.addr.b, rnd());
		store_be64(v6.addr.b + 8, rnd());
		store_be32(v4.addr.b, (uint32_t)rnd());
		ip_ifaddr_prefix(&v6, &r.ipv6);
		ip_ifaddr_prefix(&v4, &r.ipv4);
		r.psid_len = (uint8_t)map_rule_psid_bits(&r);
		if (r.psid_given && r.psid_len == 0)
			r.psid_len = (uint8_t)(rnd() % 17);
		if (r.psid_given)
			r.psid = (uint16_t)(rnd() &
					    ((UINT64_C(1) << r.psid_len) - 1));
		if (map_rule_check(&r, why) == 0)
			return r;
	}
}

static struct ip_prefix
random_line(const struct map_rule *r)
{
	unsigned least = map_rule_line_bits(r);
	struct ip_ifaddr a = {
	    {.family = FAMILY_V6}, (uint8_t)(least + rnd() % (129 - least))};
	struct ip_prefix p;

	store_be64(a.addr.b, rnd());
	store_be64(a.addr.b + 8, rnd());
	for (unsigned i = 0; i < r->ipv6.bits; i++) {
		a.addr.b[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
		a.addr.b[i / 8] |=
		    (uint8_t)(r->ipv6.addr.b[i / 8] & 0x80 >> i % 8);
	}
	ip_ifaddr_prefix(&a, &p);
	return p;
}

static void
check_twin(const struct map_rule *r)
{
	char ipv4[33], address[129], text[129], why[MAP_RULE_WHY_MAX];
	struct ip_prefix line = random_line(r);
	struct map_ce ce;
	uint64_t psid;
	uint8_t back[16];
	uint16_t port;

	twin(r, &line, ipv4, &psid, address);
	if (map_ce_make(&ce, r, &line, why) < 0)
		fail_msg("%s", why);
	to_text(text, ce.address.b, 128);
	assert_string_equal(text, address);
	to_text(text, ce.ipv4.addr.b, 32);
	assert_string_equal(text, ipv4);
	assert_int_equal(ce.ports.psid, psid);
	assert_int_equal(ce.ipv6_prefix.bits, map_rule_line_bits(r));
	assert_true(ip_prefix_contains(&ce.ipv6_prefix, &line.addr));
	assert_true(ip_prefix_contains(&ce.ipv6_prefix, &ce.address));
	/* locate is the inverse of make, from any address and port of it. */
	port = map_ports_nth(
	    &ce.ports, (uint32_t)(rnd() % map_ports_count(&ce.ports)));
	for (unsigned i = ce.ipv4.bits; i < 32; i++)
		ce.ipv4.addr.b[i / 8] |= (uint8_t)(rnd() & 0x80 >> i % 8);
	assert_int_equal(map_ce_locate(r, ce.ipv4.addr.b, port, back),
	    r->psid_given ? UK_ENOENT : 0);
	if (!r->psid_given)
		assert_memory_equal(back, ce.address.b, 16);
}

static void
test_twin(void **state)
{
	unsigned given = 0, shared = 0, prefixes = 0, longer = 0;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct map_rule r = random_rule();

		check_twin(&r);
		given += r.psid_given;
		shared += r.psid_len > 0;
		prefixes += r.ipv4.bits + r.ea_len < 32;
		longer += map_rule_line_bits(&r) > 64;
	}
	assert_true(
	    given > 100 && shared > 1000 && prefixes > 1000 && longer > 1000);
}

/* ---- all of the operators' rules ---- */

/* Every PSID of an address: each has its own CE, and its ports lead to it and
 * to no other. */
static void
check_address(const struct map_rule *r, uint32_t ipv4)
{
	uint32_t psids = UINT32_C(1) << r->psid_len;
	char why[MAP_RULE_WHY_MAX];
	uint8_t b[4], address[16];

	store_be32(b, ipv4);
	for (uint32_t psid = 0; psid < psids; psid++) {
		struct map_ports p = {
		    r->psid_offset, r->psid_len, (uint16_t)psid};
		uint32_t count = map_ports_count(&p);
		struct ip_prefix line = {{FAMILY_V6, {0}}, 128};
		struct map_ce ce;

		assert_int_equal(
		    map_ce_locate(r, b,
			map_ports_nth(&p, (uint32_t)(rnd() % count)), address),
		    0);
		memcpy(line.addr.b, address, 16);
		assert_int_equal(map_ce_make(&ce, r, &line, why), 0);
		assert_memory_equal(ce.address.b, address, 16);
		assert_memory_equal(ce.ipv4.addr.b, b, 4);
		assert_int_equal(ce.ports.psid, psid);
	}
}

static void
test_operators(void **state)
{
	struct map_rules l;

	(void)state;
	assert_int_equal(map_rules_builtin(&l), 0);
	assert_int_equal(l.n, 440);
	for (size_t i = 0; i < l.n; i++) {
		const struct map_rule *r = &l.item[i];
		uint32_t first = load_be32(r->ipv4.addr.b);
		uint32_t last = first | UINT32_MAX >> r->ipv4.bits;

		assert_int_equal(map_rule_line_bits(r), 56);
		assert_int_equal(r->iid, MAP_IID_DRAFT03);
		check_address(r, first);
		check_address(r, last);
		check_address(r, first | ((uint32_t)rnd() & (last - first)));
	}
	map_rules_fini(&l);
}

/* Every port of an address, under one rule of each operator. */
static void
test_every_port(void **state)
{
	struct map_rules l;
	const char *seen = "";

	(void)state;
	assert_int_equal(map_rules_builtin(&l), 0);
	for (size_t i = 0; i < l.n; i++) {
		const struct map_rule *r = &l.item[i];
		unsigned owned = 0;

		if (strcmp(seen, r->operator_name) == 0)
			continue;
		seen = r->operator_name;
		for (uint32_t port = 0; port < 65536; port++) {
			struct ip_prefix line = {{FAMILY_V6, {0}}, 128};
			char why[MAP_RULE_WHY_MAX];
			struct map_ce ce;

			if (map_ce_locate(r, r->ipv4.addr.b, (uint16_t)port,
				line.addr.b) < 0)
				continue;
			owned++;
			if (map_ce_make(&ce, r, &line, why) < 0 ||
			    !map_ports_has(&ce.ports, (uint16_t)port))
				fail_msg("port %u", (unsigned)port);
		}
		assert_int_equal(owned, 65536 - (65536 >> r->psid_offset));
	}
	map_rules_fini(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_vectors),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_shapes),
	    cmocka_unit_test(test_given_psid),
	    cmocka_unit_test(test_locate_refused),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_operators),
	    cmocka_unit_test(test_every_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
