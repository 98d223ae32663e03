#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "client/policy/cidr_set.h"
#include "core/err.h"
#include "core/text.h"
#include "failing_wrap.h"

static uint32_t seed = 20261123;

static uint32_t
rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

static void
add(struct cidr_set *s, const char *list)
{
	while (*list != 0) {
		size_t len = strcspn(list, " ");
		struct ip_prefix p;

		assert_int_equal(ip_prefix_parse(&p, list, len), 0);
		assert_int_equal(cidr_set_add(s, &p), 0);
		list += len + (list[len] != 0);
	}
}

static bool
append(void *arg, const struct ip_prefix *p)
{
	char text[IP_PREFIX_TEXT_MAX];
	struct text *t = arg;

	text_add(t, "%s%s", t->len > 0 ? " " : "", ip_prefix_format(p, text));
	return true;
}

static void
assert_prefixes(const struct cidr_set *s, const char *want)
{
	struct text t = {.s = NULL};

	assert_true(cidr_set_prefixes(s, append, &t));
	assert_false(t.failed);
	assert_string_equal(t.len > 0 ? t.s : "", want);
	text_fini(&t);
}

static void
test_settle_table(void **state)
{
	static const struct {
		const char *in, *out;
		size_t ranges;
	} row[] = {
	    {"", "", 0},
	    {"192.0.2.1", "192.0.2.1/32", 1},
	    {"192.0.2.1 192.0.2.1", "192.0.2.1/32", 1},
	    {"192.0.2.0 192.0.2.1", "192.0.2.0/31", 1},
	    {"192.0.2.1 192.0.2.2", "192.0.2.1/32 192.0.2.2/32", 1},
	    {"192.0.2.1 192.0.2.3", "192.0.2.1/32 192.0.2.3/32", 2},
	    {"10.1.0.0/16 10.0.0.0/8", "10.0.0.0/8", 1},
	    {"128.0.0.0/1 0.0.0.0/1", "0.0.0.0/0", 1},
	    {"255.255.255.255 0.0.0.0", "0.0.0.0/32 255.255.255.255/32", 2},
	    {"0.0.0.0/0 255.255.255.255", "0.0.0.0/0", 1},
	    {"::/0 0.0.0.0/0", "0.0.0.0/0 ::/0", 2},
	    /* The last of one family and the first of the other. */
	    {":: 255.255.255.255", "255.255.255.255/32 ::/128", 2},
	    {"8000::/1 ::/1", "::/0", 1},
	    {"2001:db8::ffff 2001:db8::1:0",
		"2001:db8::ffff/128 2001:db8::1:0/128", 1},
	    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", 1},
	    {"10.0.0.255 10.0.1.0/24 10.0.2.0",
		"10.0.0.255/32 10.0.1.0/24 10.0.2.0/32", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct cidr_set s = {.item = NULL};

		add(&s, row[i].in);
		cidr_set_settle(&s);
		assert_int_equal(s.n, row[i].ranges);
		assert_prefixes(&s, row[i].out);
		cidr_set_fini(&s);
		assert_null(s.item);
	}
}

static void
test_subtract_table(void **state)
{
	static const struct {
		const char *from, *what, *out;
	} row[] = {
	    {"10.0.0.0/30", "", "10.0.0.0/30"},
	    {"", "10.0.0.0/30", ""},
	    {"10.0.0.0/30", "10.0.0.0/30", ""},
	    {"10.0.0.0/30", "0.0.0.0/0", ""},
	    {"10.0.0.0/30", "10.0.0.0", "10.0.0.1/32 10.0.0.2/31"},
	    {"10.0.0.0/30", "10.0.0.3", "10.0.0.0/31 10.0.0.2/32"},
	    {"10.0.0.0/29", "10.0.0.2 10.0.0.4",
		"10.0.0.0/31 10.0.0.3/32 10.0.0.5/32 10.0.0.6/31"},
	    {"10.0.0.0/31 10.0.0.4/31", "10.0.0.1 10.0.0.2/31 10.0.0.4",
		"10.0.0.0/32 10.0.0.5/32"},
	    {"10.0.0.1", "10.0.0.0 10.0.0.2", "10.0.0.1/32"},
	    {"0.0.0.0/0", "128.0.0.0/1", "0.0.0.0/1"},
	    {"0.0.0.0/0", "::/0", "0.0.0.0/0"},
	    {"::/0", "0.0.0.0/0", "::/0"},
	    {"::/0", "::/1 c000::/2", "8000::/2"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct cidr_set s = {.item = NULL}, b = {.item = NULL};

		add(&s, row[i].from);
		add(&b, row[i].what);
		cidr_set_settle(&s);
		cidr_set_settle(&b);
		assert_int_equal(cidr_set_subtract(&s, &b), 0);
		assert_prefixes(&s, row[i].out);
		cidr_set_fini(&s);
		cidr_set_fini(&b);
	}
}

static void
test_has_table(void **state)
{
	static const struct {
		const char *prefix;
		bool covered;
	} row[] = {
	    {"10.0.0.0/24", true},
	    {"10.0.0.0/23", false},
	    {"10.0.0.128/25", true},
	    {"9.255.255.255", false},
	    {"10.0.0.0", true},
	    {"10.0.0.255", true},
	    {"10.0.1.0", false},
	    {"10.0.3.0", true},
	    {"10.0.2.255", false},
	    {"0.0.0.0/0", false},
	    {"::", false},
	    {"2001:db8::/32", true},
	    {"2001:db8::/31", false},
	    {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", false},
	    {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true},
	    {"2001:db9::", false},
	};
	struct cidr_set s = {.item = NULL};

	(void)state;
	add(&s, "2001:db8::/32 10.0.3.0 10.0.0.0/24");
	cidr_set_settle(&s);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ip_prefix p;

		assert_int_equal(
		    ip_prefix_parse(&p, row[i].prefix, strlen(row[i].prefix)),
		    0);
		assert_int_equal(cidr_set_covers(&s, &p), row[i].covered);
	}
	cidr_set_fini(&s);
	assert_false(
	    cidr_set_covers(&s, &(struct ip_prefix){.addr.family = FAMILY_V4}));
}

static bool
stop_at_second(void *arg, const struct ip_prefix *p)
{
	unsigned *seen = arg;

	(void)p;
	return ++*seen < 2;
}

static void
test_visit_stops(void **state)
{
	struct cidr_set s = {.item = NULL};
	unsigned seen = 0;

	(void)state;
	add(&s, "10.0.0.1 10.0.0.2 10.0.0.4 10.0.0.6");
	cidr_set_settle(&s);
	assert_false(cidr_set_prefixes(&s, stop_at_second, &seen));
	assert_int_equal(seen, 2);
	cidr_set_fini(&s);
}

/* The twin: a byte for each of the addresses that end in a byte. */
#define UNIVERSE 256

struct naive {
	uint8_t in[UNIVERSE];
};

/* Where they stand: at both ends of both families, and in the middle. */
static const char *const base[] = {"0.0.0.0", "255.255.255.0", "192.0.2.0",
    "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00", "2001:db8::"};

static struct ip_prefix
prefix_at(const struct ip_addr *b, unsigned first, unsigned fixed)
{
	struct ip_prefix p = {.addr = *b};
	unsigned bytes = b->family == FAMILY_V4 ? 4 : 16;

	p.addr.b[bytes - 1] = (uint8_t)(first & (0xff00u >> fixed));
	p.bits = (uint8_t)(8 * bytes - 8 + fixed);
	return p;
}

static void
add_random(struct cidr_set *s, struct naive *n, const struct ip_addr *b)
{
	for (uint32_t k = rnd(12); k > 0; k--) {
		unsigned fixed = rnd(9), size = 256u >> fixed;
		unsigned first = rnd(UNIVERSE) & ~(size - 1);
		struct ip_prefix p = prefix_at(b, first, fixed);

		assert_int_equal(cidr_set_add(s, &p), 0);
		memset(n->in + first, 1, size);
	}
	cidr_set_settle(s);
}

/* Fewest: a whole block is one prefix, and any other made of its halves. */
static unsigned
naive_prefixes(const struct naive *n, unsigned first, unsigned size)
{
	unsigned set = 0;

	for (unsigned i = 0; i < size; i++)
		set += n->in[first + i];
	if (set == 0 || set == size)
		return set != 0;
	return naive_prefixes(n, first, size / 2) +
	       naive_prefixes(n, first + size / 2, size / 2);
}

struct taken {
	struct naive n;
	unsigned prefixes;
};

static bool
take(void *arg, const struct ip_prefix *p)
{
	struct taken *t = arg;
	unsigned bytes = p->addr.family == FAMILY_V4 ? 4 : 16;
	unsigned first = p->addr.b[bytes - 1];
	unsigned size = 1u << (8 * bytes - p->bits);

	assert_true(first + size <= UNIVERSE && first % size == 0);
	for (unsigned i = 0; i < size; i++)
		assert_int_equal(t->n.in[first + i]++, 0);
	t->prefixes++;
	return true;
}

static void
assert_same(
    const struct cidr_set *s, const struct naive *n, const struct ip_addr *b)
{
	struct taken t = {.prefixes = 0};
	unsigned fixed = rnd(9), first = rnd(UNIVERSE) & ~((256u >> fixed) - 1);
	struct ip_prefix p = prefix_at(b, first, fixed);
	bool covered = true;

	assert_true(cidr_set_prefixes(s, take, &t));
	assert_memory_equal(&t.n, n, sizeof(*n));
	assert_int_equal(t.prefixes, naive_prefixes(n, 0, UNIVERSE));
	for (unsigned i = 0; i < 256u >> fixed; i++)
		covered = covered && n->in[first + i] != 0;
	assert_int_equal(cidr_set_covers(s, &p), covered);
	for (unsigned i = 0; i < UNIVERSE; i++) {
		p = prefix_at(b, i, 8);
		assert_int_equal(cidr_set_covers(s, &p), n->in[i]);
	}
}

static void
test_twin(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 1500; round++) {
		const char *text = base[round % ARRAY_LEN(base)];
		struct cidr_set s = {.item = NULL}, b = {.item = NULL};
		struct naive ns = {{0}}, nb = {{0}};
		struct ip_addr at;

		assert_int_equal(ip_addr_parse(&at, text, strlen(text)), 0);
		add_random(&s, &ns, &at);
		add_random(&b, &nb, &at);
		assert_same(&s, &ns, &at);
		assert_int_equal(cidr_set_subtract(&s, &b), 0);
		for (unsigned i = 0; i < UNIVERSE; i++)
			ns.in[i] &= !nb.in[i];
		assert_same(&s, &ns, &at);
		cidr_set_fini(&s);
		cidr_set_fini(&b);
	}
}

/* As many as a public list has, in no order; how long that takes is measured
 * by hand. */
static void
test_many(void **state)
{
	struct cidr_set s = {.item = NULL};

	(void)state;
	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t at = i * 7919 % 100000;
		struct ip_prefix p = {
		    .addr = {.family = FAMILY_V4}, .bits = 24};

		p.addr.b[0] = (uint8_t)(at >> 15);
		p.addr.b[1] = (uint8_t)(at >> 7);
		p.addr.b[2] = (uint8_t)(at << 1);
		assert_int_equal(cidr_set_add(&s, &p), 0);
	}
	cidr_set_settle(&s);
	assert_int_equal(s.n, 100000);
	cidr_set_fini(&s);
}

static void
test_out_of_memory(void **state)
{
	struct cidr_set s = {.item = NULL}, b = {.item = NULL};
	struct ip_prefix p = {.addr = {.family = FAMILY_V4}, .bits = 32};

	(void)state;
	fail_at = 1;
	assert_int_equal(cidr_set_add(&s, &p), UK_ENOMEM);
	assert_int_equal(s.n, 0);
	add(&s, "10.0.0.0/24 10.1.0.0/24");
	add(&b, "10.0.0.7");
	cidr_set_settle(&s);
	fail_at = 1;
	assert_int_equal(cidr_set_subtract(&s, &b), UK_ENOMEM);
	assert_prefixes(&s, "10.0.0.0/24 10.1.0.0/24");
	cidr_set_fini(&s);
	cidr_set_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_settle_table),
	    cmocka_unit_test(test_subtract_table),
	    cmocka_unit_test(test_has_table),
	    cmocka_unit_test(test_visit_stops),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
