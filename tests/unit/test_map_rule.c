#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/map_rule.h"
#include "core/err.h"

#define GIVEN true
#define NO -1

struct row {
	const char *ipv6, *ipv4;
	unsigned ea_len, offset, psid_len;
	bool given;
	unsigned psid;
	int wrong; /* enum map_rule_field, or NO */
};

static struct map_rule
make(const struct row *w)
{
	struct map_rule r = {
	    .ea_len = (uint8_t)w->ea_len,
	    .psid_offset = (uint8_t)w->offset,
	    .psid_len = (uint8_t)w->psid_len,
	    .psid_given = w->given,
	    .psid = (uint16_t)w->psid,
	};

	assert_int_equal(ip_prefix_parse(&r.ipv6, w->ipv6, strlen(w->ipv6)), 0);
	assert_int_equal(ip_prefix_parse(&r.ipv4, w->ipv4, strlen(w->ipv4)), 0);
	return r;
}

#define V6 "2001:db8::/40"
#define V4 "192.0.2.0/24"

static const struct row row[] = {
    {V6, V4, 16, 6, 8, false, 0, NO}, /* RFC 7597 appendix A */
    {"240b:10::/31", "106.72.0.0/15", 25, 4, 8, false, 0, NO},
    /* A PSID that is not given is nothing. */
    {V6, V4, 16, 6, 8, false, 256, NO},
    /* EA bits. */
    {"2001:db8::/80", "0.0.0.0/0", 48, 0, 16, false, 0, NO},
    {"2001:db8::/81", "0.0.0.0/0", 48, 0, 16, false, 0, MAP_RULE_EA_LEN},
    {"2001:db8::/32", "10.0.0.0/8", 49, 0, 16, false, 0, MAP_RULE_EA_LEN},
    {"2001:db8::1/128", "192.0.2.1/32", 0, 0, 0, false, 0, NO},
    {"2001:db8::1/128", V4, 1, 0, 0, false, 0, MAP_RULE_EA_LEN},
    /* Offset and length. */
    {V6, V4, 9, 15, 1, false, 0, NO},
    {V6, V4, 10, 15, 2, false, 0, MAP_RULE_PSID_LEN},
    {V6, V4, 8, 16, 0, false, 0, MAP_RULE_PSID_OFFSET},
    {V6, V4, 8, 15, 0, false, 0, NO},
    {V6, V4, 24, 0, 16, false, 0, NO},
    {V6, V4, 25, 0, 17, false, 0, MAP_RULE_PSID_LEN},
    {V6, V4, 18, 6, 10, false, 0, NO},
    {V6, V4, 19, 6, 11, false, 0, MAP_RULE_PSID_LEN},
    /* What the EA bits leave. */
    {V6, V4, 16, 6, 7, false, 0, MAP_RULE_PSID_LEN},
    {V6, V4, 16, 6, 9, false, 0, MAP_RULE_PSID_LEN},
    {V6, V4, 16, 6, 0, false, 0, MAP_RULE_PSID_LEN},
    {V6, V4, 8, 6, 0, false, 0, NO},
    {V6, V4, 8, 6, 1, false, 0, MAP_RULE_PSID_LEN},
    {V6, V4, 7, 6, 0, false, 0, NO},
    {V6, V4, 7, 6, 1, false, 0, MAP_RULE_PSID_LEN},
    {V6, V4, 7, 6, 1, GIVEN, 0, MAP_RULE_PSID_LEN},
    /* A PSID from outside, with a whole address (RFC 7598 4.5). */
    {V6, V4, 8, 6, 8, GIVEN, 255, NO},
    {V6, V4, 8, 6, 8, GIVEN, 256, MAP_RULE_PSID},
    {V6, V4, 16, 6, 8, GIVEN, 52, NO},
    {V6, V4, 16, 6, 7, GIVEN, 52, MAP_RULE_PSID_LEN},
    {V6, "192.0.2.18/32", 0, 6, 8, GIVEN, 52, NO},
    {V6, "192.0.2.18/32", 0, 6, 8, false, 0, MAP_RULE_PSID_LEN},
    {V6, "192.0.2.18/32", 0, 6, 0, GIVEN, 0, MAP_RULE_PSID},
    {V6, "192.0.2.18/32", 0, 6, 0, false, 0, NO},
    {V6, "192.0.2.18/32", 0, 0, 16, GIVEN, 65535, NO},
    /* Families. */
    {V4, V4, 16, 6, 8, false, 0, MAP_RULE_IPV6},
    {V6, V6, 16, 6, 8, false, 0, MAP_RULE_IPV4},
};

static void
test_table(void **state)
{
	char why[MAP_RULE_WHY_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct map_rule r = make(&row[i]);
		enum map_rule_field field;
		int err = map_rule_fault(&r, &field, why);

		if ((err < 0) != (row[i].wrong != NO))
			fail_msg("row %zu: %s", i, why);
		assert_int_equal(map_rule_check(&r, why), err);
		assert_int_equal(why[0] != 0, err < 0);
		if (err == 0)
			continue;
		assert_int_equal(err, UK_EINVAL);
		if ((int)field != row[i].wrong)
			fail_msg("row %zu: field %d: %s", i, (int)field, why);
	}
}

static void
test_br(void **state)
{
	static const struct {
		const char *br;
		bool good;
	} br[] = {
	    {"2001:db8:ffff::1", true},
	    {"192.0.2.1", false},
	    {"::", false},
	    {"::1", false},
	    {"::2", true},
	    {"fe7f::1", true},
	    {"fe80::1", false},
	    {"fd00::1", true},
	    {"ff02::1", false},
	    {"fe00::", true},
	};
	struct map_rule r = make(&row[0]);
	enum map_rule_field field;
	char why[MAP_RULE_WHY_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(br); i++) {
		assert_int_equal(
		    ip_addr_parse(&r.br, br[i].br, strlen(br[i].br)), 0);
		assert_int_equal(map_rule_fault(&r, &field, why),
		    br[i].good ? 0 : UK_EINVAL);
		assert_true(br[i].good || field == MAP_RULE_BR);
	}
}

/* What no text gives. */
static void
test_structs(void **state)
{
	struct map_rule r = make(&row[0]);
	enum map_rule_field field;
	char why[MAP_RULE_WHY_MAX];

	(void)state;
	r.ipv6.bits = 129;
	r.ea_len = 0;
	assert_int_equal(map_rule_fault(&r, &field, why), UK_EINVAL);
	assert_int_equal(field, MAP_RULE_IPV6);
	r = make(&row[0]);
	r.ipv4.bits = 33;
	assert_int_equal(map_rule_fault(&r, &field, why), UK_EINVAL);
	assert_int_equal(field, MAP_RULE_IPV4);
	r = make(&row[0]);
	r.ipv4.addr.family = FAMILY_V6;
	assert_int_equal(map_rule_fault(&r, &field, why), UK_EINVAL);
	assert_int_equal(field, MAP_RULE_IPV4);
	r = make(&row[0]);
	r.ipv6.addr.family = FAMILY_NONE;
	assert_int_equal(map_rule_fault(&r, &field, why), UK_EINVAL);
	assert_int_equal(field, MAP_RULE_IPV6);
}

static void
test_bits(void **state)
{
	struct map_rule r = make(&row[1]);

	(void)state;
	assert_int_equal(map_rule_line_bits(&r), 56);
	assert_int_equal(map_rule_psid_bits(&r), 8);
	r.ea_len = 17;
	assert_int_equal(map_rule_psid_bits(&r), 0);
	r.ea_len = 3;
	assert_int_equal(map_rule_psid_bits(&r), 0);
	assert_int_equal(map_rule_line_bits(&r), 34);
}

static void
test_iid(void **state)
{
	static const char *const wrong[] = {
	    "", "rfc", "rfc75977", "draft", "draft-03", "draft03 "};
	enum map_iid iid = MAP_IID_RFC7597;

	(void)state;
	assert_int_equal(map_iid_parse(&iid, "draft03", 7), 0);
	assert_int_equal(iid, MAP_IID_DRAFT03);
	assert_int_equal(map_iid_parse(&iid, "RFC7597x", 7), 0);
	assert_int_equal(iid, MAP_IID_RFC7597);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(
		    map_iid_parse(&iid, wrong[i], strlen(wrong[i])), UK_EINVAL);
	assert_string_equal(map_iid_name(MAP_IID_RFC7597), "rfc7597");
	assert_string_equal(map_iid_name(MAP_IID_DRAFT03), "draft03");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_br),
	    cmocka_unit_test(test_structs),
	    cmocka_unit_test(test_bits),
	    cmocka_unit_test(test_iid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
