/* Which addresses are kept because flows use them. The kernel's flows are the
 * test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "client/policy/mark.h"
#include "client/policy/policy_state.h"
#include "core/err.h"
#include "io/clock.h"

#define FLOWS 100000 /* more than are remembered at once */

static struct {
	uint64_t now_s;
	int open_err;
	size_t flows, addresses;
	unsigned looks, open;
} w;

static uint32_t of_rule[] = {0};
static struct slot item[] = {
    {.number = 1, .target = TARGET_TUNNEL_ONLY, .always = true}};
static const struct slots slots = {.item = item, .n = 1, .of_rule = of_rule};

size_t
matcher_names(
    const struct matcher *m, const char *name, uint32_t *rule, size_t cap)
{
	(void)m;
	(void)name;
	(void)cap;
	rule[0] = 0;
	return 1;
}

struct uk_time
clock_now(void)
{
	return (struct uk_time){.mono_ns = w.now_s * UK_NS_PER_S};
}

int
flows_open(struct flows **f, struct diag *d)
{
	(void)d;
	*f = NULL;
	w.open += w.open_err == 0;
	return w.open_err;
}

void
flows_close(struct flows *f)
{
	(void)f;
	w.open--;
}

static struct ip_addr
numbered(uint8_t family, size_t n)
{
	struct ip_addr a = {.family = family, .b = {10, 0, 0, 0}};

	a.b[2] = (uint8_t)(n >> 8);
	a.b[3] = (uint8_t)n;
	return a;
}

int
flows_each(struct flows *f, uint8_t family, uint32_t mark, uint32_t mask,
    bool (*visit)(void *arg, const struct flow_entry *e), void *arg)
{
	(void)f;
	assert_int_equal(mark, MARK_TUNNEL_ONLY);
	assert_int_equal(mask, MARK_DECISION_MASK);
	w.looks++;
	for (size_t i = 0; i < w.flows; i++) {
		struct flow_entry e = {
		    .original.dst = numbered(family, i % w.addresses)};

		if (!visit(arg, &e))
			break;
	}
	return 0;
}

static void
start(struct policy *p, uv_loop_t *loop)
{
	memset(&w, 0, sizeof(w));
	w.addresses = 1;
	w.now_s = 1000;
	assert_int_equal(uv_loop_init(loop), 0);
	*p = (struct policy){.s.loop = loop, .dns = (struct dns_forward *)p};
	assert_int_equal(bindings_new(&p->bindings, NULL, &slots), 0);
}

static void
bind_one(struct policy *p, uint8_t family, size_t n)
{
	struct ip_addr a = numbered(family, n);
	const char *name = "a";

	assert_int_equal(
	    bindings_add(p->bindings, w.now_s * UK_NS_PER_S, &name, 1, &a, 60),
	    0);
}

static uint32_t
bound(const struct policy *p)
{
	struct bindings_stats st;

	bindings_stats(p->bindings, &st);
	return st.pairs;
}

static void
look_after(struct policy *p, uint64_t s)
{
	w.now_s += s;
	policy_follow_use(p);
	uv_run(p->s.loop, UV_RUN_DEFAULT);
	assert_int_equal(w.open, 0);
	assert_false(p->use.busy);
}

static void
end(struct policy *p)
{
	bindings_free(p->bindings);
	assert_int_equal(uv_loop_close(p->s.loop), 0);
}

static void
r8_flows_keep_their_address(void **state)
{
	struct policy p;
	uv_loop_t loop;

	(void)state;
	start(&p, &loop);
	w.flows = 1;
	bind_one(&p, FAMILY_V4, 0);
	bind_one(&p, FAMILY_V6, 0);
	bind_one(&p, FAMILY_V4, 1);
	for (unsigned i = 0; i < 20; i++) {
		look_after(&p, 40000);
		bindings_tick(p.bindings, w.now_s * UK_NS_PER_S, false);
	}
	assert_int_equal(bound(&p), 2);
	w.flows = 0;
	look_after(&p, BINDINGS_CEILING_S);
	bindings_tick(p.bindings, w.now_s * UK_NS_PER_S, false);
	assert_int_equal(bound(&p), 0);
	end(&p);
}

static void
not_all_the_time_nor_without_names(void **state)
{
	struct policy p;
	uv_loop_t loop;

	(void)state;
	start(&p, &loop);
	look_after(&p, 0);
	assert_int_equal(w.looks, 2);
	look_after(&p, 599);
	assert_int_equal(w.looks, 2);
	look_after(&p, 1);
	assert_int_equal(w.looks, 4);
	p.dns = NULL;
	look_after(&p, 600);
	assert_int_equal(w.looks, 4);
	p.dns = (struct dns_forward *)&p;
	w.open_err = UK_EPERM;
	look_after(&p, 600);
	assert_int_equal(w.looks, 4);
	end(&p);
}

/* Many flows to few addresses are few; of many addresses some are seen. */
static void
many_flows(void **state)
{
	static const size_t addresses[] = {1, 1000, 40000};
	struct policy p;
	uv_loop_t loop;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		start(&p, &loop);
		w.flows = FLOWS;
		w.addresses = addresses[i];
		bind_one(&p, FAMILY_V4, addresses[i] / 2);
		bind_one(&p, FAMILY_V4, 50000);
		look_after(&p, BINDINGS_CEILING_S / 2);
		bindings_tick(p.bindings,
		    (w.now_s + BINDINGS_CEILING_S - 1) * UK_NS_PER_S, false);
		assert_int_equal(bound(&p), 1);
		end(&p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(r8_flows_keep_their_address),
	    cmocka_unit_test(not_all_the_time_nor_without_names),
	    cmocka_unit_test(many_flows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
