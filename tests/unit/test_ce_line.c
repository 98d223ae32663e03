/* Which line [MapE] makes this host the CE of, by rules alone: the host's own
 * addresses are for the tests in namespaces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/ce_line.h"
#include "core/err.h"

#define V6PLUS "240b:10:3f6c:d400::/56"

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(&p, text, strlen(text)), 0);
	return p;
}

static struct ip_addr
address(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text, strlen(text)), 0);
	return a;
}

static int
find(struct ce_line *l, const struct mape_conf *c, struct diag *d)
{
	diag_init(d, NULL);
	return ce_line_find(l, c, d);
}

/* RFC 7597 5: FMRs are of one domain. Another operator's CE drops what does not
 * come from its own BR, so nothing may go there but by ours, and from there
 * nothing is heard (D1, D9). */
static void
test_domain(void **state)
{
	struct mape_conf c = {.mode = MAPE_SELF, .prefix = prefix(V6PLUS)};
	struct ip_addr br = address("2404:9200:225:100::64");
	struct ce_line l;
	struct diag d;

	(void)state;
	assert_int_equal(find(&l, &c, &d), 0);
	assert_true(ip_addr_equal(&l.rule.br, &br));
	assert_int_equal(l.domain.n, 0);
	ce_line_fini(&l);

	c.mesh = true;
	c.br = address("2001:db8::64"); /* of the same domain */
	assert_int_equal(find(&l, &c, &d), 0);
	assert_true(ip_addr_equal(&l.rule.br, &c.br));
	assert_int_equal(l.domain.n, 4);
	for (size_t i = 0; i < l.domain.n; i++)
		assert_string_equal(l.domain.item[i].operator_name, "v6plus");
	ce_line_fini(&l);
}

static void
test_refused(void **state)
{
	struct mape_forward forward = {.f = {.proto = 6, .port = 80}};
	struct mape_conf c = {
	    .mode = MAPE_SELF, .prefix = prefix("2001:db8::/56")};
	struct ce_line l;
	struct diag d;

	(void)state;
	assert_int_equal(find(&l, &c, &d), UK_ENOENT);
	assert_non_null(strstr(d.entry[0].text, "no rule is about it"));
	c.prefix = prefix(V6PLUS);
	c.forwards.item = &forward;
	c.forwards.n = 1;
	assert_int_equal(find(&l, &c, &d), UK_EINVAL);
	assert_non_null(strstr(d.entry[0].text, "port 80 is another line's"));
	forward.f.port = 65535;
	c.prefix = prefix("240b:10:3f6c:ff00::/56"); /* PSID 255 */
	assert_int_equal(find(&l, &c, &d), 0);
	assert_true(map_ports_has(&l.ce.ports, 65535));
	ce_line_fini(&l);
}

/* RFC 7596 5.1: another prefix is another line. What is merely seen is not
 * taken for it: a LAN may have anything. */
static void
test_other(void **state)
{
	struct mape_conf c = {.mode = MAPE_SELF, .prefix = prefix(V6PLUS)};
	struct map_line seen[2] = {{.reason = MAP_LINE_CE_HERE},
	    {.reason = MAP_LINE_SEEN,
		.ce = {.ipv6_prefix = prefix("240b:10:3f6c:d500::/56")}}};
	struct map_lines host = {.item = seen, .n = 2};
	struct ce_line l;
	struct diag d;

	(void)state;
	assert_int_equal(find(&l, &c, &d), 0);
	seen[0].ce = l.ce;
	assert_null(ce_line_other(&l, &host));
	seen[0].reason = MAP_LINE_WAY_OUT;
	assert_null(ce_line_other(&l, &host));
	seen[0].reason = MAP_LINE_CE_HERE;
	seen[1].reason = MAP_LINE_WAY_OUT;
	assert_ptr_equal(ce_line_other(&l, &host), &seen[1]);
	host.n = 0;
	assert_null(ce_line_other(&l, &host));
	ce_line_fini(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_domain),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
