#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/mape/map_source.h"
#include "core/err.h"
#include "hb46_lab.h"

/* Of the next allocations this one fails; 0: none. */
static unsigned fail_at;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *
__wrap_malloc(size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_malloc(size);
}

static struct hb46_lab *lab;
static char rules_file[] = "/tmp/ukai-rules.XXXXXX";
static char dhcp_file[] = "/tmp/ukai-dhcp.XXXXXX";

static const char csv[] = "ipv6_rule_prefix,ipv4_prefix,ea_len\n"
			  "2001:db8:1000::/36,192.0.2.0/24,16\n";
/* 2001:db8::/32 and 198.51.100.0/24, 24 EA bits, offset 4; BR
 * 2001:db8:ffff::1. */
static const char dhcp[] = "005e 002c  0059 0014 00 14 18 c6336400 20\n"
			   "20010db8 00:5d:00:04:04:00:00:00\n"
			   "005a 0010 20010db8ffff00000000000000000001\n";
static const char asked[] =
    "{\"enabler_name\":\"Lab\",\"order\":[\"map_e\"],\"map_e\":{\"br\":"
    "\"2001:db8:aaaa::1\",\"rules\":[{\"ipv6\":\"2001:db8:1000::/36\","
    "\"ipv4\":\"203.0.113.0/24\",\"ea_length\":16,\"psid_offset\":4},"
    "{\"ipv6\":\"240b:10::/32\",\"ipv4\":\"106.72.0.0/16\",\"ea_length\":24,"
    "\"psid_offset\":4}]}}";

static void
spit(const char *path, const char *bytes, size_t len)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	fclose(f);
}

static struct provision_setup
question(const struct hb46_page *page)
{
	static char txt[128];

	hb46_lab_reset(lab);
	snprintf(
	    txt, sizeof(txt), "v=v6mig-1 url=https://[::1]:%u/ t=a", lab->port);
	lab->txt = txt;
	lab->page = page;
	lab->pages = 1;
	return (struct provision_setup){
	    .question = {.version = "1", .resolvers = lab->resolvers}};
}

/* Who says what the line of an address is; "": nobody. */
static const char *
who(const struct map_rules *l, const char *address)
{
	const struct map_rule *r;
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(&p, address, strlen(address)), 0);
	r = map_rules_find(l, &p);
	return r != NULL ? r->source : "";
}

/* The compiled-in rules, and the file's, say whose they are behind that. */
static void
assert_who(const struct map_rules *l, const char *address, const char *want)
{
	size_t len = strlen(want);
	const char *source = who(l, address);

	if (strncmp(source, want, len) != 0 || (len == 0 && source[0] != 0))
		fail_msg("%s: %s, not %s", address, source, want);
}

static void
load(struct map_rules *l, const struct map_source *s, unsigned warnings)
{
	struct diag d;

	diag_init(&d, NULL);
	assert_int_equal(map_source_load(l, s, &d), 0);
	assert_int_equal(d.errors, 0);
	if (d.warnings != warnings)
		diag_print(&d, "test", stderr);
	assert_int_equal(d.warnings, warnings);
}

#define FILES "2001:db8:1234:5678::" /* in all three lists */
#define WIDE "2001:db8:f000::" /* in DHCPv6's only */
#define KNOWN "240b:10:3f6c:d400::" /* asked, and compiled in */
#define OTHER "240b:11:3f6c:d400::" /* compiled in only */

static void
test_precedence(void **state)
{
	static const struct hb46_page page = {.status = 200, .body = asked};
	struct provision_setup ask = question(&page);
	static const struct {
		bool rules, dhcp, ask;
		const char *files, *wide, *known, *other;
	} row[] = {
	    {false, false, false, "", "", "builtin", "builtin"},
	    {true, false, false, "file", "", "", ""},
	    {false, true, false, "dhcp", "dhcp", "builtin", "builtin"},
	    {false, false, true, "asked: Lab", "", "asked: Lab", "builtin"},
	    {true, true, false, "file", "dhcp", "", ""},
	    {true, false, true, "file", "", "asked: Lab", ""},
	    {false, true, true, "dhcp", "dhcp", "asked: Lab", "builtin"},
	    {true, true, true, "file", "dhcp", "asked: Lab", ""},
	};

	(void)state;
	spit(dhcp_file, dhcp, sizeof(dhcp) - 1);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const struct map_source s = {
		    .rules = row[i].rules ? rules_file : NULL,
		    .dhcp = row[i].dhcp ? dhcp_file : NULL,
		    .ask = row[i].ask ? &ask : NULL};
		struct map_rules l;

		load(&l, &s, 0);
		assert_who(&l, FILES, row[i].files);
		assert_who(&l, WIDE, row[i].wide);
		assert_who(&l, KNOWN, row[i].known);
		assert_who(&l, OTHER, row[i].other);
		map_rules_fini(&l);
	}
}

static void
test_dhcp(void **state)
{
	struct map_source s = {.dhcp = dhcp_file, .iid = MAP_IID_DRAFT03};
	char bytes[48];
	struct map_rules l;
	struct diag d;

	(void)state;
	spit(dhcp_file, dhcp, sizeof(dhcp) - 1);
	load(&l, &s, 0);
	assert_int_equal(l.item[0].iid, MAP_IID_DRAFT03);
	assert_int_equal(l.item[0].psid_offset, 4);
	map_rules_fini(&l);
	spit(dhcp_file, "005", 3);
	diag_init(&d, NULL);
	assert_int_equal(map_source_load(&l, &s, &d), UK_EPROTO);
	/* Bytes; one that makes no sense: as if it were not there, but told. */
	memcpy(bytes, "\0\x5e\0\0\0\x60\0\0", 8);
	spit(dhcp_file, bytes, 8);
	load(&l, &s, 3);
	assert_who(&l, KNOWN, "builtin");
	map_rules_fini(&l);
	s.dhcp = "/nowhere/at/all";
	assert_int_equal(map_source_load(&l, &s, &d), UK_ENOENT);
	s.dhcp = "/tmp";
	assert_true(map_source_load(&l, &s, &d) < 0);
}

static void
test_dhcp_size(void **state)
{
	const struct map_source s = {.dhcp = dhcp_file};
	size_t len = MAP_SOURCE_DHCP_MAX;
	char *text = calloc(1, len + 1);
	struct map_rules l;
	struct diag d;

	(void)state;
	memset(text, ' ', len + 1);
	spit(dhcp_file, text, len);
	load(&l, &s, 1);
	map_rules_fini(&l);
	spit(dhcp_file, text, len + 1);
	diag_init(&d, NULL);
	assert_int_equal(map_source_load(&l, &s, &d), UK_EMSGSIZE);
	assert_int_equal(d.errors, 1);
	free(text);
}

/* A line that says nothing, or something else: the other sources are left. */
static void
test_asked_in_vain(void **state)
{
	static const struct hb46_page no = {.status = 404};
	static const struct hb46_page dslite = {
	    .status = 200, .body = "{\"order\":[\"dslite\"]}"};
	struct provision_setup ask = question(&no);
	const struct map_source s = {.ask = &ask};
	struct map_rules l;

	(void)state;
	load(&l, &s, 2);
	assert_who(&l, KNOWN, "builtin");
	map_rules_fini(&l);
	ask = question(&dslite);
	load(&l, &s, 1);
	assert_who(&l, KNOWN, "builtin");
	map_rules_fini(&l);
}

static void
test_memory(void **state)
{
	const struct map_source s = {.rules = rules_file, .dhcp = dhcp_file};
	struct map_rules l;
	int err = UK_ENOMEM;
	unsigned n;

	(void)state;
	spit(dhcp_file, dhcp, sizeof(dhcp) - 1);
	for (n = 1; err != 0; n++) {
		fail_at = n;
		err = map_source_load(&l, &s, NULL);
		if (err != 0 && err != UK_ENOMEM)
			fail_msg("%u: %d", n, err);
		assert_true(err == 0 || l.item == NULL);
		assert_in_range(n, 1, 100);
	}
	fail_at = 0;
	assert_in_range(n, 5, 100);
	assert_int_equal(l.n, 2);
	map_rules_fini(&l);
}

static int
start(void **state)
{
	(void)state;
	lab = hb46_lab_start();
	close(mkstemp(rules_file));
	close(mkstemp(dhcp_file));
	spit(rules_file, csv, sizeof(csv) - 1);
	return lab != NULL ? 0 : -1;
}

static int
stop(void **state)
{
	(void)state;
	unlink(rules_file);
	unlink(dhcp_file);
	hb46_lab_stop(lab);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_precedence),
	    cmocka_unit_test(test_dhcp),
	    cmocka_unit_test(test_dhcp_size),
	    cmocka_unit_test(test_asked_in_vain),
	    cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
