#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "client/ports/helps.h"
#include "client/ports/plan.h"

static uint32_t seed = 20261123;

static uint32_t
rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

static const struct ports_limits limits_linux = {
    .low_min = 1024, .span_min = 1, .used_can_be_kept = true};

static struct map_ports
line(unsigned offset, unsigned psid_len, unsigned psid)
{
	return (struct map_ports){
	    (uint8_t)offset, (uint8_t)psid_len, (uint16_t)psid};
}

static void
before(struct ports_before *b, uint16_t low, uint16_t high)
{
	memset(b, 0, sizeof(*b));
	b->low = low;
	b->high = high;
}

static void
put(struct port_set *s, const char *list)
{
	assert_int_equal(port_set_parse(s, list, strlen(list)), 0);
}

/* README section 11: what the default ranges hold, for every PSID. */
static void
test_default_ranges(void **state)
{
	struct ports_before windows, linux_default;

	(void)state;
	before(&windows, 49152, 65535);
	before(&linux_default, 32768, 60999);
	for (unsigned psid = 0; psid < 256; psid++) {
		struct map_ports nuro = line(4, 8, psid);
		struct map_ports ocn = line(6, 6, psid % 64);
		uint32_t n = ports_drawable(&linux_default, &nuro);

		assert_int_equal(ports_drawable(&windows, &nuro), 64);
		assert_int_equal(ports_drawable(&windows, &ocn), 256);
		assert_true(n >= 96 && n <= 112);
		n = ports_drawable(&linux_default, &ocn);
		assert_true(n >= 432 && n <= 448);
	}
}

/* The whole set, where nothing stands in the way. */
static void
test_whole_sets(void **state)
{
	static const struct {
		struct map_ports line;
		bool windows;
		enum ports_refusal refusal;
		uint16_t low, high;
		uint32_t own, gaps;
	} row[] = {
	    {{4, 8, 0}, true, PORTS_PLANNED, 4096, 61455, 240, 14},
	    {{4, 8, 255}, true, PORTS_PLANNED, 8176, 65535, 240, 14},
	    {{6, 6, 1}, true, PORTS_PLANNED, 1040, 64543, 1008, 62},
	    /* Begins at 1024, one below what Windows allows. */
	    {{6, 6, 0}, true, PORTS_PLANNED, 1025, 64527, 1007, 62},
	    {{6, 6, 0}, false, PORTS_PLANNED, 1024, 64527, 1008, 62},
	    {{0, 6, 63}, true, PORTS_PLANNED, 64512, 65535, 1024, 0},
	    /* 256 ports are enough for Windows, 128 are not. */
	    {{0, 8, 9}, true, PORTS_PLANNED, 2304, 2559, 256, 0},
	    {{0, 9, 40}, true, PORTS_NONE_FREE, 0, 0, 0, 0},
	    {{0, 9, 40}, false, PORTS_PLANNED, 5120, 5247, 128, 0},
	    /* What is left of the only range. */
	    {{0, 5, 0}, true, PORTS_PLANNED, 1025, 2047, 1023, 0},
	    {{0, 6, 0}, true, PORTS_NONE_FREE, 0, 0, 0, 0},
	    {{4, 10, 7}, true, PORTS_TOO_FEW, 0, 0, 60, 0},
	    {{4, 10, 7}, false, PORTS_TOO_FEW, 0, 0, 60, 0},
	    {{0, 10, 900}, false, PORTS_PLANNED, 57600, 57663, 64, 0},
	    {{0, 11, 900}, false, PORTS_TOO_FEW, 0, 0, 32, 0},
	    {{4, 0, 0}, false, PORTS_WHOLE, 0, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ports_before b;
		struct ports_plan p;
		uint32_t gaps = 0, from = 0;
		uint16_t low, high;

		before(&b, 49152, 65535);
		ports_plan(&p, &b, &row[i].line,
		    row[i].windows ? &ports_limits_windows : &limits_linux);
		assert_int_equal(p.refusal, row[i].refusal);
		assert_int_equal(p.own_after, row[i].own);
		if (p.refusal != PORTS_PLANNED)
			continue;
		assert_int_equal(p.low, row[i].low);
		assert_int_equal(p.high, row[i].high);
		while (port_set_next(&p.keep, &from, &low, &high))
			gaps++;
		assert_int_equal(gaps, row[i].gaps);
	}
}

/* NURO, PSID 100: 5696-5711, 9792-9807, ... */
static void
test_listener_on_windows(void **state)
{
	struct map_ports nuro = line(4, 8, 100);
	struct ports_before b;
	struct ports_plan p;

	(void)state;
	/* Below and drawn already: nothing changes, but it is split around. */
	before(&b, 49152, 65535);
	put(&b.used, "135,5040,49664");
	ports_plan(&p, &b, &nuro, &ports_limits_windows);
	assert_int_equal(p.low, 5696);
	assert_int_equal(p.own_after, 240);
	assert_false(port_set_has(&p.keep, 49664));
	assert_true(port_set_has(&p.keep, 49663));
	assert_int_equal(port_set_count(&p.listeners), 0);
	/* It is drawn still, and said to be. */
	assert_int_equal(port_set_count(&p.others), 1);
	assert_true(port_set_has(&p.others, 49664));
	/* Between the first and the second range: the first is left out. */
	put(&b.used, "7680");
	ports_plan(&p, &b, &nuro, &ports_limits_windows);
	assert_int_equal(p.refusal, PORTS_PLANNED);
	assert_int_equal(p.low, 9792);
	assert_int_equal(p.own_after, 224);
	assert_true(port_set_has(&p.listeners, 7680));
	/* In a range of the line: what is beside it is used. */
	put(&b.used, "5700,9800");
	ports_plan(&p, &b, &nuro, &ports_limits_windows);
	assert_int_equal(p.low, 9801);
	assert_int_equal(p.own_after, 208 + 7);
	/* Excluded already, so that nobody draws it. */
	put(&b.kept, "9800-9810");
	put(&b.used, "9807");
	ports_plan(&p, &b, &nuro, &ports_limits_windows);
	assert_int_equal(p.low, 5696);
	assert_int_equal(p.own_after, 232);
	assert_int_equal(p.own_kept, 8);
	/* Everywhere: three ranges at a time are 48 ports. */
	memset(&b.kept, 0, sizeof(b.kept));
	put(&b.used, "16000,28000,40000,48000");
	b.low = 60000;
	ports_plan(&p, &b, &nuro, &ports_limits_windows);
	assert_int_equal(p.refusal, PORTS_PLANNED);
	put(&b.used, "16000,28000,40000,48000,60000");
	b.low = 61000;
	ports_plan(&p, &b, &nuro, &ports_limits_windows);
	assert_int_equal(p.refusal, PORTS_STRANDS);
	assert_true(p.own_after < PORTS_LEFT_MIN);
	assert_true(port_set_has(&p.listeners, 40000));
}

/* What is given up for the change is not drawn now, and is afterwards. */
static void
test_passing(void **state)
{
	struct map_ports nuro = line(4, 8, 100);
	struct ports_before b;
	struct ports_plan p;

	(void)state;
	before(&b, 49152, 65535);
	put(&b.passing, "50700-50799");
	ports_plan(&p, &b, &nuro, &ports_limits_windows);
	assert_int_equal(p.own_before, 48);
	assert_int_equal(p.own_after, 240);
	assert_true(port_set_has(&p.keep, 50799));
	/* So who listens there must not find it drawn. */
	put(&b.used, "50799");
	ports_plan(&p, &b, &nuro, &ports_limits_windows);
	assert_int_equal(p.high, 50767);
}

/* Linux can keep a port in use: it is the listener's, and no more. */
static void
test_listener_on_linux(void **state)
{
	struct map_ports nuro = line(4, 8, 100), small = line(0, 10, 900);
	struct ports_before b;
	struct ports_plan p;

	(void)state;
	before(&b, 32768, 60999);
	put(&b.used, "22,5700,7680,9807");
	ports_plan(&p, &b, &nuro, &limits_linux);
	assert_int_equal(p.refusal, PORTS_PLANNED);
	assert_int_equal(p.low, 5696);
	assert_int_equal(p.own_after, 238);
	assert_true(port_set_has(&p.keep, 5700));
	assert_true(port_set_has(&p.keep, 7680));
	assert_false(port_set_has(&p.keep, 5701));
	assert_int_equal(port_set_count(&p.listeners), 2);
	/* Drawn today: it takes that chance already. */
	put(&b.used, "34368");
	ports_plan(&p, &b, &nuro, &limits_linux);
	assert_int_equal(p.own_after, 240);
	/* 64 ports, and one is a listener's. */
	before(&b, 32768, 50000);
	ports_plan(&p, &b, &small, &limits_linux);
	assert_int_equal(p.refusal, PORTS_PLANNED);
	put(&b.used, "57600");
	ports_plan(&p, &b, &small, &limits_linux);
	assert_int_equal(p.refusal, PORTS_STRANDS);
}

static void
test_done(void **state)
{
	struct map_ports nuro = line(4, 8, 100);
	struct ports_before b;
	struct ports_plan p;

	(void)state;
	before(&b, 32768, 60999);
	put(&b.kept, "30000-32767");
	put(&b.used, "5700");
	ports_plan(&p, &b, &nuro, &limits_linux);
	assert_false(ports_plan_is_done(&p, &b));
	b.low = p.low;
	b.high = p.high;
	assert_false(ports_plan_is_done(&p, &b));
	b.ours = p.keep;
	ports_plan(&p, &b, &nuro, &limits_linux);
	assert_true(ports_plan_is_done(&p, &b));
	assert_int_equal(p.own_before, p.own_after);
	/* Another line's is not. */
	nuro.psid = 101;
	ports_plan(&p, &b, &nuro, &limits_linux);
	assert_false(ports_plan_is_done(&p, &b));
}

static void
random_set(struct port_set *s, unsigned ranges, uint32_t longest)
{
	for (unsigned i = rnd(ranges + 1); i > 0; i--) {
		uint16_t low = (uint16_t)rnd(65536);
		uint32_t len = rnd((uint32_t)uk_min_u64(65536u - low, longest));

		port_set_add(s, low, (uint16_t)(low + len));
	}
}

/* What must hold of any plan, port by port. */
static void
assert_sound(const struct ports_plan *p, const struct ports_before *b,
    const struct map_ports *l, const struct ports_limits *lim)
{
	uint32_t own = 0;

	assert_true(p->low >= lim->low_min && p->low <= p->high);
	assert_true((uint32_t)p->high - p->low + 1 >= lim->span_min);
	for (uint32_t i = 0; i < 65536; i++) {
		uint16_t port = (uint16_t)i;
		bool in = port >= p->low && port <= p->high;
		bool kept = port_set_has(&b->kept, port);
		bool keep = port_set_has(&p->keep, port);
		bool used = port_set_has(&b->used, port);
		bool drawn_now = port >= b->low && port <= b->high && !kept;
		bool drawn = in && !kept && !keep;

		/* Nothing beside the range, nothing twice, nothing in use
		 * where that cannot be. */
		assert_false(keep && (!in || kept));
		assert_false(keep && used && !lim->used_can_be_kept);
		/* Nobody is stranded. */
		assert_false(used && drawn && !drawn_now);
		if (drawn && !map_ports_has(l, port))
			assert_true(used && !lim->used_can_be_kept);
		own += drawn && map_ports_has(l, port);
	}
	assert_int_equal(own, p->own_after);
	assert_true(own >= PORTS_LEFT_MIN);
}

/* The best range by trying every one that begins with a port of the line and
 * has nothing in use, to its last port of the line. */
static uint32_t
naive_best(const struct ports_before *b, const struct map_ports *l)
{
	uint32_t best = 0;

	for (uint32_t first = 1025; first < 65536; first++) {
		uint32_t own = 0, last = first;

		if (!map_ports_has(l, (uint16_t)first) ||
		    (first > 1025 && map_ports_has(l, (uint16_t)(first - 1)) &&
			!port_set_has(&b->used, (uint16_t)(first - 1))))
			continue;
		for (uint32_t p = first; p < 65536; p++) {
			bool kept = port_set_has(&b->kept, (uint16_t)p);
			bool now = p >= b->low && p <= b->high;

			if (port_set_has(&b->used, (uint16_t)p) && !kept &&
			    !now)
				break;
			own += map_ports_has(l, (uint16_t)p) && !kept;
			last = map_ports_has(l, (uint16_t)p) ? p : last;
		}
		if (last - first + 1 >= 255 && own > best)
			best = own;
	}
	return best;
}

static void
test_random(void **state)
{
	unsigned planned = 0, stranding = 0;

	(void)state;
	for (int round = 0; round < 300; round++) {
		bool windows = rnd(2) != 0;
		const struct ports_limits *lim =
		    windows ? &ports_limits_windows : &limits_linux;
		unsigned offset = rnd(8), k = 4 + rnd(6);
		struct map_ports l = line(offset, k, rnd(1u << k));
		struct ports_before b;
		struct ports_plan p;

		before(&b, (uint16_t)(1024 + rnd(60000)), 0);
		b.high = (uint16_t)(b.low + rnd(65536u - b.low));
		random_set(&b.kept, 5, 3000);
		random_set(&b.used, 9, 3);
		ports_plan(&p, &b, &l, lim);
		if (p.refusal == PORTS_PLANNED)
			assert_sound(&p, &b, &l, lim);
		planned += p.refusal == PORTS_PLANNED;
		stranding += p.refusal == PORTS_STRANDS;
		if (windows && offset <= 4 && rnd(4) == 0)
			assert_int_equal(p.refusal == PORTS_PLANNED,
			    naive_best(&b, &l) >= PORTS_LEFT_MIN);
		if (windows && offset <= 4 && p.refusal == PORTS_PLANNED &&
		    rnd(4) == 0)
			assert_int_equal(naive_best(&b, &l), p.own_after);
	}
	assert_true(planned > 100);
	assert_true(stranding > 5);
}

/* README section 11: where it helps. */
static void
test_helps(void **state)
{
	static const struct {
		struct ports_path path;
		bool helps;
		const char *word;
	} row[] = {
	    {{{FAMILY_V4, {106, 72, 1, 2}}, true, false, false, false}, true,
		"own address"},
	    {{{FAMILY_V4, {106, 72, 1, 3}}, true, false, false, false}, false,
		"not the line's"},
	    {{{FAMILY_V4, {106, 72, 1, 3}}, true, false, false, true}, false,
		"not the line's"},
	    {{{FAMILY_V4, {192, 168, 1, 2}}, true, false, false, false}, false,
		"gateway"},
	    {{{FAMILY_V4, {192, 168, 1, 2}}, true, false, false, true}, true,
		"no more ports"},
	    {{{FAMILY_V4, {10, 0, 0, 2}}, true, false, false, false}, false,
		"gateway"},
	    {{{FAMILY_V4, {172, 31, 0, 2}}, true, false, false, false}, false,
		"gateway"},
	    {{{FAMILY_V4, {172, 32, 0, 2}}, true, false, false, false}, false,
		"not the line's"},
	    {{{FAMILY_V4, {100, 127, 0, 2}}, true, false, false, false}, false,
		"gateway"},
	    {{{FAMILY_V4, {100, 128, 0, 2}}, true, false, false, false}, false,
		"not the line's"},
	    {{{FAMILY_V4, {192, 0, 0, 2}}, true, true, false, false}, false,
		"ukai's own CE"},
	    {{{FAMILY_V4, {106, 72, 1, 2}}, true, true, false, true}, false,
		"ukai's own CE"},
	    {{{FAMILY_V4, {10, 0, 0, 2}}, true, false, true, true}, false,
		"tunnel"},
	    {{{FAMILY_NONE, {0}}, true, false, false, true}, false, "no way"},
	    {{{FAMILY_NONE, {0}}, false, false, false, false}, false,
		"--source"},
	    {{{FAMILY_NONE, {0}}, false, false, false, true}, true, "keeps"},
	};
	static const struct ip_addr ours = {FAMILY_V4, {106, 72, 1, 2}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ports_help h;

		ports_help(&h, &row[i].path, &ours);
		assert_int_equal(h.helps, row[i].helps);
		assert_non_null(strstr(h.why, row[i].word));
		/* Whole sentences. */
		assert_int_equal(h.why[strlen(h.why) - 1], '.');
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_default_ranges),
	    cmocka_unit_test(test_whole_sets),
	    cmocka_unit_test(test_listener_on_windows),
	    cmocka_unit_test(test_passing),
	    cmocka_unit_test(test_listener_on_linux),
	    cmocka_unit_test(test_done),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_helps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
