/* The pure parts; the kernel: tests/net/44-conntrack.sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../support/failing_alloc.h"

static void *failing_realloc(void *p, size_t size);

#define calloc failing_calloc
#define realloc failing_realloc
#define free failing_free
#include "../../server/conntrack.c"
#undef calloc
#undef realloc
#undef free

/* Of ours only: grows by copying. */
static void *
failing_realloc(void *p, size_t size)
{
	union alloc_head *h = p;
	void *q = failing_malloc(size);

	if (q != NULL && p != NULL) {
		memcpy(q, p, h[-1].size < size ? h[-1].size : size);
		failing_free(p);
	}
	return q;
}

#define IP(a, b, c, d)                                                         \
	((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 |      \
	    (uint32_t)(d))

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(&p, text, strlen(text)), 0);
	return p;
}

static struct conntrack_ranges
ranges(const char *const *text, size_t n)
{
	struct conntrack_ranges r = {.n = 0};
	struct ip_prefix p[16];

	for (size_t i = 0; i < n; i++)
		p[i] = prefix(text[i]);
	assert_int_equal(conntrack_ranges_add(&r, p, n), 0);
	return r;
}

static void
test_ranges_table(void **state)
{
	static const struct {
		const char *text[5];
		size_t n;
		struct conntrack_range want[3];
		size_t nwant;
	} row[] = {
	    {{0}, 0, {{0, 0}}, 0},
	    {{"0.0.0.0/0"}, 1, {{0, UINT32_MAX}}, 1},
	    {{"0.0.0.0/32"}, 1, {{0, 0}}, 1},
	    {{"255.255.255.255"}, 1, {{UINT32_MAX, UINT32_MAX}}, 1},
	    {{"255.255.255.255", "0.0.0.0"}, 2,
		{{0, 0}, {UINT32_MAX, UINT32_MAX}}, 2},
	    {{"255.255.255.255", "255.255.255.254"}, 2,
		{{UINT32_MAX - 1, UINT32_MAX}}, 1},
	    {{"2001:db8::/32"}, 1, {{0, 0}}, 0},
	    {{"10.0.0.0/24", "::/0", "10.0.2.0/24"}, 3,
		{{IP(10, 0, 0, 0), IP(10, 0, 0, 255)},
		    {IP(10, 0, 2, 0), IP(10, 0, 2, 255)}},
		2},
	    /* Adjacent, inside another, the same twice, out of order. */
	    {{"10.0.1.0/24", "10.0.0.0/24", "10.0.0.7", "10.0.0.0/24"}, 4,
		{{IP(10, 0, 0, 0), IP(10, 0, 1, 255)}}, 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct conntrack_ranges r = ranges(row[i].text, row[i].n);

		assert_int_equal(r.n, row[i].nwant);
		for (size_t k = 0; k < r.n; k++) {
			assert_int_equal(r.item[k].first, row[i].want[k].first);
			assert_int_equal(r.item[k].last, row[i].want[k].last);
		}
		conntrack_ranges_fini(&r);
		assert_null(r.item);
	}
	assert_int_equal(alloc_live, 0);
}

static void
test_ranges_have(void **state)
{
	static const char *const text[] = {"10.0.0.0/30", "10.0.1.8/32"};
	struct conntrack_ranges r = ranges(text, 2), none = {.n = 0};

	(void)state;
	assert_false(conntrack_ranges_have(&r, IP(9, 255, 255, 255)));
	assert_true(conntrack_ranges_have(&r, IP(10, 0, 0, 0)));
	assert_true(conntrack_ranges_have(&r, IP(10, 0, 0, 3)));
	assert_false(conntrack_ranges_have(&r, IP(10, 0, 0, 4)));
	assert_false(conntrack_ranges_have(&r, IP(10, 0, 1, 7)));
	assert_true(conntrack_ranges_have(&r, IP(10, 0, 1, 8)));
	assert_false(conntrack_ranges_have(&r, IP(10, 0, 1, 9)));
	assert_false(conntrack_ranges_have(&none, 0));
	conntrack_ranges_fini(&r);
}

/* Added in several steps, an address is in when it is in one prefix. */
static void
test_ranges_twin(void **state)
{
	(void)state;
	srand(2);
	for (int round = 0; round < 300; round++) {
		struct conntrack_ranges r = {.n = 0};
		struct ip_prefix p[12];
		size_t n = (size_t)(rand() % 12), cut = n / 2;

		for (size_t i = 0; i < n; i++) {
			uint8_t bits = (uint8_t)(24 + rand() % 9);
			uint32_t a = IP(10, 0, rand() % 4, rand() % 256);

			p[i] = (struct ip_prefix){
			    .addr = {.family = FAMILY_V4}, .bits = bits};
			store_be32(p[i].addr.b,
			    a & (uint32_t)(UINT64_C(0xffffffff00000000) >>
					   bits));
		}
		assert_int_equal(conntrack_ranges_add(&r, p, cut), 0);
		assert_int_equal(conntrack_ranges_add(&r, p + cut, n - cut), 0);
		for (unsigned x = 0; x < 4 * 256; x++) {
			struct ip_addr a = {.family = FAMILY_V4};
			bool in = false;

			store_be32(a.b, IP(10, 0, 0, 0) + x);
			for (size_t i = 0; i < n; i++)
				in |= ip_prefix_contains(&p[i], &a);
			assert_int_equal(
			    conntrack_ranges_have(&r, IP(10, 0, 0, 0) + x), in);
		}
		for (size_t k = 1; k < r.n; k++)
			assert_true(r.item[k].first > r.item[k - 1].last + 1);
		conntrack_ranges_fini(&r);
	}
	assert_int_equal(alloc_live, 0);
}

#define A IP(10, 66, 0, 2)
#define B IP(10, 66, 0, 3)
#define G IP(192, 0, 2, 1) /* the relay's */
#define X IP(198, 51, 100, 9) /* somebody outside */

static struct conntrack_use
look(const struct conntrack_table *t, const char *text)
{
	struct conntrack_use use = {.flows = 0};
	struct ip_prefix p = prefix(text);

	conntrack_table_look(t, &p, &use);
	return use;
}

static void
test_table(void **state)
{
	static const struct conntrack_flow flow[] = {
	    {A, X, G, 40000, IPPROTO_TCP},
	    {A, X + 1, G, 40000, IPPROTO_TCP}, /* the same port again */
	    {A, X, G, 40000, IPPROTO_UDP},
	    {A, X, G, 40001, IPPROTO_TCP},
	    {A, X, G, 0, IPPROTO_ICMP},
	    {A, X, A, 50000, IPPROTO_TCP}, /* not translated */
	    {X, A, X, 1234, IPPROTO_TCP}, /* to a forward of A */
	    {A, B, A, 1234, IPPROTO_TCP}, /* A to B */
	    {B, B, G, 2000, IPPROTO_TCP}, /* B to its own forward */
	    {G, X, G, 3000, IPPROTO_TCP}, /* the relay itself */
	    {X, G, X, 3001, IPPROTO_TCP},
	};
	static const char *const pool[] = {"10.66.0.0/16"};
	struct conntrack_ranges watched = ranges(pool, 1);
	struct conntrack_tally tally = {.n = 0};
	struct conntrack_table t;
	struct conntrack_use use;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flow); i++)
		assert_int_equal(
		    conntrack_tally_add(&tally, &watched, &flow[i]), 0);
	assert_int_equal(conntrack_table_make(&t, &tally), 0);
	assert_int_equal(t.n, 2);
	use = look(&t, "10.66.0.2");
	assert_int_equal(use.flows, 8);
	assert_int_equal(use.nat_ports, 3);
	use = look(&t, "10.66.0.3");
	assert_int_equal(use.flows, 2);
	assert_int_equal(use.nat_ports, 1);
	use = look(&t, "10.66.0.0/16");
	assert_int_equal(use.flows, 10);
	assert_int_equal(use.nat_ports, 4);
	assert_int_equal(look(&t, "0.0.0.0/0").flows, 10);
	assert_int_equal(look(&t, "10.66.0.1").flows, 0);
	assert_int_equal(look(&t, "10.66.0.4").flows, 0);
	assert_int_equal(look(&t, "::/0").flows, 0);
	conntrack_table_fini(&t);
	conntrack_tally_fini(&tally);
	assert_int_equal(conntrack_table_make(&t, &tally), 0);
	assert_int_equal(look(&t, "0.0.0.0/0").flows, 0);
	conntrack_table_fini(&t);
	conntrack_ranges_fini(&watched);
	assert_int_equal(alloc_live, 0);
}

/* Every flow is compared with every other. */
static void
twin(const struct conntrack_flow *f, size_t n, uint32_t a,
    struct conntrack_use *use)
{
	*use = (struct conntrack_use){.flows = 0};
	for (size_t i = 0; i < n; i++) {
		bool first = true;

		use->flows += f[i].from == a || f[i].to == a;
		if (f[i].from != a || f[i].answers_to == a ||
		    f[i].protocol == IPPROTO_ICMP)
			continue;
		for (size_t k = 0; k < i; k++)
			first = first &&
				!(f[k].from == a && f[k].answers_to != a &&
				    f[k].protocol == f[i].protocol &&
				    f[k].answers_port == f[i].answers_port);
		use->nat_ports += first;
	}
}

static void
test_table_twin(void **state)
{
	static const uint32_t address[] = {A, A + 1, A + 2, A + 3, G, X};
	static const uint8_t protocol[] = {
	    IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP};
	static const char *const pool[] = {"10.66.0.0/16"};
	struct conntrack_ranges watched = ranges(pool, 1);

	(void)state;
	srand(3);
	for (int round = 0; round < 200; round++) {
		struct conntrack_tally tally = {.n = 0};
		struct conntrack_flow f[150];
		struct conntrack_table t;

		for (size_t i = 0; i < ARRAY_LEN(f); i++) {
			f[i] =
			    (struct conntrack_flow){.from = address[rand() % 6],
				.to = address[rand() % 6],
				.answers_to = address[rand() % 6],
				.answers_port = (uint16_t)(rand() % 20),
				.protocol = protocol[rand() % 3]};
			assert_int_equal(
			    conntrack_tally_add(&tally, &watched, &f[i]), 0);
		}
		assert_int_equal(conntrack_table_make(&t, &tally), 0);
		for (uint32_t a = A - 1; a <= A + 4; a++) {
			struct conntrack_use want, got = {.flows = 0};
			struct ip_prefix p = {
			    .addr = {.family = FAMILY_V4}, .bits = 32};

			store_be32(p.addr.b, a);
			conntrack_table_look(&t, &p, &got);
			twin(f, ARRAY_LEN(f), a, &want);
			assert_int_equal(got.flows, want.flows);
			assert_int_equal(got.nat_ports, want.nat_ports);
		}
		conntrack_table_fini(&t);
		conntrack_tally_fini(&tally);
	}
	conntrack_ranges_fini(&watched);
	assert_int_equal(alloc_live, 0);
}

/* C2: what clients can make grow has an end. */
static void
test_tally_is_bounded(void **state)
{
	static const char *const all[] = {"0.0.0.0/0"};
	struct conntrack_ranges watched = ranges(all, 1);
	struct conntrack_tally t = {.n = CONNTRACK_TALLY_MAX};
	const struct conntrack_flow f = {A, X, G, 1, IPPROTO_TCP};

	(void)state;
	assert_int_equal(conntrack_tally_add(&t, &watched, &f), UK_ELIMIT);
	assert_int_equal(t.n, CONNTRACK_TALLY_MAX);
	conntrack_ranges_fini(&watched);
}

static void
test_no_memory(void **state)
{
	static const char *const all[] = {"0.0.0.0/0"};
	struct conntrack_ranges watched = ranges(all, 1);
	const struct conntrack_flow f = {A, X, G, 1, IPPROTO_TCP};
	struct conntrack_tally tally = {.n = 0};
	struct conntrack_table t;
	struct ip_prefix p = prefix("10.0.0.0/8");
	uv_loop_t loop;

	(void)state;
	alloc_fail_at = 1;
	assert_int_equal(conntrack_ranges_add(&watched, &p, 1), UK_ENOMEM);
	assert_int_equal(watched.n, 1); /* as before */
	alloc_fail_at = 1;
	assert_int_equal(conntrack_tally_add(&tally, &watched, &f), UK_ENOMEM);
	assert_int_equal(tally.n, 0);
	assert_int_equal(conntrack_tally_add(&tally, &watched, &f), 0);
	alloc_fail_at = 1;
	assert_int_equal(conntrack_table_make(&t, &tally), UK_ENOMEM);
	conntrack_tally_fini(&tally);
	conntrack_ranges_fini(&watched);
	uv_loop_init(&loop);
	alloc_fail_at = 1;
	assert_null(conntrack_new(&loop));
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(alloc_live, 0);
}

/* Its owner goes while threads are at work; whether the kernel lets them is
 * all the same. Nothing is known before a count. What is left behind the
 * sanitizer sees: here two threads count. The address is nobody's
 * (RFC 5737). */
static void
test_freed_meanwhile(void **state)
{
	struct ip_prefix p = prefix("192.0.2.77");
	struct conntrack_use use;
	struct conntrack *c;
	uv_loop_t loop;

	(void)state;
	log_init("test", LOG_SILENT);
	uv_loop_init(&loop);
	c = conntrack_new(&loop);
	assert_non_null(c);
	assert_false(conntrack_look(c, &p, 1, &use));
	assert_int_equal(conntrack_watch(c, &p, 1), 0);
	for (int i = 0; i < 100 && c->count == NULL; i++)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(conntrack_forget(c, &p, 1), 0);
	assert_true(conntrack_is_forgetting(c));
	assert_int_equal(conntrack_forget(c, &p, 1), 0);
	assert_int_equal(c->waiting.n, 1);
	conntrack_free(c);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ranges_table),
	    cmocka_unit_test(test_ranges_have),
	    cmocka_unit_test(test_ranges_twin),
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_table_twin),
	    cmocka_unit_test(test_tally_is_bounded),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_freed_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
