#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "client/mape/hb46.h"
#include "core/err.h"
#include "core/text.h"
#include "failing_alloc.h"

/* Of the next allocations of rules this one fails; 0: none. */
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

/* ---- the TXT record ---- */

#define HTTPS "url=https://vne.example.jp/rule.cgi"
#define HTTP "url=http://vne.example.jp/rule.cgi"

static void
test_where(void **state)
{
	static const struct {
		const char *txt;
		bool ok, verify;
	} row[] = {
	    {"v=v6mig-1 " HTTPS " t=b", true, true},
	    {"v=v6mig-1 " HTTPS " t=a", true, false},
	    {"v=v6mig-1 " HTTP " t=a", true, false},
	    {"t=b  " HTTPS " x=y v=v6mig-1 ", true, true},
	    {"v=v6mig-1 url=HTTPS://[2001:db8::1]:8443?a=b t=b", true, true},
	    {"v=v6mig-1 " HTTP " t=b", false, false},
	    {"", false, false},
	    {"v=v6mig-1", false, false},
	    {"v=v6mig-1 " HTTPS, false, false},
	    {"v=v6mig-1 t=b", false, false},
	    {HTTPS " t=b", false, false},
	    {"v=v6mig-2 " HTTPS " t=b", false, false},
	    {"v=v6mig-10 " HTTPS " t=b", false, false},
	    {"v=v6mig- " HTTPS " t=b", false, false},
	    {"v=v6mig-1 " HTTPS " t=c", false, false},
	    {"v=v6mig-1 " HTTPS " t=", false, false},
	    {"v=v6mig-1 " HTTPS " t=ab", false, false},
	    {"v=v6mig-1 " HTTPS " t=a t=b", false, false},
	    {"v=v6mig-1 " HTTPS " " HTTPS " t=b", false, false},
	    {"v=v6mig-1 v=v6mig-1 " HTTPS " t=b", false, false},
	    {"v=v6mig-1 url=ftp://a/ t=a", false, false},
	    {"v=v6mig-1 url=file:///etc/passwd t=a", false, false},
	    {"v=v6mig-1 url=https:// t=b", false, false},
	    {"v=v6mig-1 url=https:///a t=b", false, false},
	    {"v=v6mig-1 url=https://?a t=b", false, false},
	    {"v=v6mig-1 url=https://me:pw@a/ t=b", false, false},
	    {"v=v6mig-1 url=https://a/me@b t=b", true, true},
	    {"v=v6mig-1 url=https://a/#b t=b", false, false},
	    {"v=v6mig-1 url=https://a/\tb t=b", false, false},
	    {"v=v6mig-1 url=https://a/\x80 t=b", false, false},
	    {"v=v6mig-1 url=https://a/\x7f t=b", false, false},
	};
	struct hb46_where w;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		size_t len = strlen(row[i].txt);
		int err = hb46_where_parse(&w, row[i].txt, len);

		if (err != (row[i].ok ? 0 : UK_EPROTO))
			fail_msg("%s: %d", row[i].txt, err);
		if (row[i].ok)
			assert_int_equal(w.verify, row[i].verify);
	}
	assert_int_equal(
	    hb46_where_parse(&w, row[0].txt, strlen(row[0].txt)), 0);
	assert_string_equal(w.url, "https://vne.example.jp/rule.cgi");
}

static void
test_where_length(void **state)
{
	char text[HB46_URL_MAX + 64];
	struct hb46_where w;

	(void)state;
	for (int len = HB46_URL_MAX - 2; len < HB46_URL_MAX + 2; len++) {
		int n = snprintf(text, sizeof(text),
		    "v=v6mig-1 t=b url=https://%0*d", len - 8, 1);

		assert_int_equal(hb46_where_parse(&w, text, (size_t)n),
		    len < HB46_URL_MAX ? 0 : UK_EPROTO);
	}
}

/* ---- the answer ---- */

static const char sample[] =
    "{'enabler_name':'A VNE','service_name':'Fast','isp_name':'ISP',"
    "'ttl':86400,'token':'640756','auth':'ok','order':['map_e','dslite'],"
    "'map_e':{'version':0,'mesh':1,'br':'2001:db8:1::1','rules':["
    "{'ipv6':'2001:db8:2000::/36','ipv4':'203.0.113.0/24','ea_length':16,"
    "'psid_offset':4},"
    "{'ipv6':'2001:db8:4000::/36','ipv4':'198.51.100.0/24','ea_length':18,"
    "'psid_offset':6}]},'dslite':{'aftr':'aftr.example.net'}}";

static int
parse(struct hb46 *h, const char *text, struct diag *d)
{
	size_t len = strlen(text);
	char *json = malloc(len);
	int err;

	for (size_t i = 0; i < len; i++)
		json[i] = text[i] == '\'' ? '"' : text[i];
	diag_init(d, NULL);
	err = hb46_parse(h, json, len, d);
	free(json);
	return err;
}

static void
test_sample(void **state)
{
	char text[IP_PREFIX_TEXT_MAX];
	const struct map_rule *r;
	struct hb46 h;
	struct diag d;

	(void)state;
	assert_int_equal(parse(&h, sample, &d), 0);
	assert_int_equal(d.n, 0);
	assert_string_equal(h.enabler, "A VNE");
	assert_string_equal(h.service, "Fast");
	assert_string_equal(h.token, "640756");
	assert_string_equal(h.other, "");
	assert_int_equal(h.ttl_s, 86400);
	assert_int_equal(h.rules.n, 2);
	r = &h.rules.item[0];
	assert_string_equal(
	    ip_prefix_format(&r->ipv6, text), "2001:db8:2000::/36");
	assert_string_equal(ip_prefix_format(&r->ipv4, text), "203.0.113.0/24");
	assert_string_equal(ip_addr_format(&r->br, text), "2001:db8:1::1");
	assert_int_equal(r->ea_len, 16);
	assert_int_equal(r->psid_len, 8);
	assert_int_equal(r->psid_offset, 4);
	assert_int_equal(r->iid, MAP_IID_DRAFT03);
	assert_true(r->fmr);
	assert_string_equal(r->operator_name, "A VNE");
	assert_string_equal(r->source, "asked: A VNE");
	assert_string_equal(r->confidence, "official");
	assert_int_equal(h.rules.item[1].psid_offset, 6);
	hb46_fini(&h);
	assert_null(h.rules.item);
}

/* The sample with one text in another's place. */
static const char *
edit(const char *from, const char *to)
{
	static char text[4096];
	const char *at = strstr(sample, from);

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - sample), sample, to,
	    at + strlen(from));
	return text;
}

struct row {
	const char *from, *to;
	int rules; /* < 0: an error */
};

/* One wrong rule, or anything else of MAP-E: none is taken. */
static void
test_map_e(void **state)
{
	static const struct row row[] = {
	    {"'map_e':{", "'map_x':{", -1},
	    {"'map_e':{", "'map_e':[],'x':{", -1},
	    {"'version':0,", "", 2},
	    {"'version':0,", "'version':2,", -1},
	    {"'version':0,", "'version':-1,", -1},
	    {"'version':0,", "'version':'0',", -1},
	    {"'mesh':1,", "'mesh':2,", -1},
	    {"'mesh':1,", "'mesh':null,", -1},
	    {"2001:db8:1::1", "192.0.2.1", -1},
	    {"2001:db8:1::1", "::", -1},
	    {"2001:db8:1::1", "br.example.net", -1},
	    {"'br':", "'bx':", -1},
	    {"'br':'2001:db8:1::1'", "'br':1", -1},
	    {"'rules':[", "'rules':[],'x':[", -1},
	    {"'rules':[", "'rules':{},'x':[", -1},
	    {"'rules':[", "'rulez':[", -1},
	    {"'rules':[", "'rules':[1,", -1},
	    {"2001:db8:2000::/36", "203.0.113.0/24", -1},
	    {"203.0.113.0/24", "2001:db8:2000::/36", -1},
	    {"2001:db8:2000::/36", "2001:db8:2000::/129", -1},
	    {"2001:db8:2000::/36", "2001:db8:4000::/36", -1},
	    {"2001:db8:2000::/36", "2001:db8:4000::/37", 2},
	    {"'ipv6':'2001:db8:2000::/36',", "", -1},
	    {"'ipv4':'203.0.113.0/24',", "", -1},
	    {"'ea_length':18", "'ea_length':17", 2},
	    {"'ea_length':18", "'ea_length':19", -1}, /* PSID over 10 bits */
	    {"'ea_length':18", "'ea_length':49", -1},
	    {"'ea_length':18", "'ea_length':-1", -1},
	    {"'ea_length':18", "'ea_length':8.0", -1},
	    {"'ea_length':18,", "", -1},
	    {"'psid_offset':4", "'psid_offset':8", 2},
	    {"'psid_offset':4", "'psid_offset':9", -1},
	    {"'psid_offset':4", "'psid_offset':16", -1},
	    {"'psid_offset':4", "'psid_offset':'4'", -1},
	    {"'ea_length':16,'psid_offset':4", "'ea_length':16", -1},
	};
	struct hb46 h;
	struct diag d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		int err = parse(&h, edit(row[i].from, row[i].to), &d);

		if (err != (row[i].rules < 0 ? UK_EPROTO : 0) ||
		    (err == 0 && h.rules.n != (size_t)row[i].rules))
			fail_msg("%s: %d, %zu", row[i].to, err, h.rules.n);
		assert_true((d.errors > 0) == (err < 0));
		if (err < 0)
			assert_null(h.rules.item);
		hb46_fini(&h);
	}
}

static void
test_modes(void **state)
{
	static const struct {
		const char *from, *to;
		enum map_iid iid;
		bool fmr;
	} row[] = {
	    {"'version':0,", "", MAP_IID_DRAFT03, true},
	    {"'version':0,", "'version':1,", MAP_IID_RFC7597, true},
	    {"'mesh':1,", "'mesh':0,", MAP_IID_DRAFT03, false},
	    {"'mesh':1,", "'mesh':false,", MAP_IID_DRAFT03, false},
	    {"'mesh':1,", "'mesh':true,", MAP_IID_DRAFT03, true},
	    {"'mesh':1,", "", MAP_IID_DRAFT03, false},
	};
	struct hb46 h;
	struct diag d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(
		    parse(&h, edit(row[i].from, row[i].to), &d), 0);
		for (size_t k = 0; k < h.rules.n; k++) {
			assert_int_equal(h.rules.item[k].iid, row[i].iid);
			assert_int_equal(h.rules.item[k].fmr, row[i].fmr);
		}
		hb46_fini(&h);
	}
}

static void
test_around(void **state)
{
	static const struct {
		const char *from, *to;
		int err;
		const char *other;
		uint32_t ttl_s;
		unsigned rules;
	} row[] = {
	    {"['map_e','dslite']", "[]", 0, "", 86400, 0},
	    {"['map_e','dslite']", "['dslite']", 0, "dslite", 86400, 0},
	    {"['map_e','dslite']", "['dslite','map_e']", 0, "dslite", 86400, 2},
	    {"['map_e','dslite']", "{}", UK_EPROTO, "", 0, 0},
	    {"['map_e','dslite']", "[1]", UK_EPROTO, "", 0, 0},
	    {"'order'", "'odor'", UK_EPROTO, "", 0, 0},
	    {"'ttl':86400,", "", 0, "", HB46_TTL_DEFAULT, 2},
	    {"86400", "0", 0, "", 0, 2}, {"86400", "604800", 0, "", 604800, 2},
	    {"86400", "604801", 0, "", 604800, 2},
	    {"86400", "-1", UK_EPROTO, "", 0, 0},
	    {"86400", "'86400'", UK_EPROTO, "", 0, 0},
	    {"86400", "99999999999", UK_EPROTO, "", 0, 0},
	    {"'640756'", "'6&x=y'", UK_EPROTO, "", 0, 0},
	    {"'640756'", "640756", UK_EPROTO, "", 0, 0},
	    {"'A VNE'", "7", UK_EPROTO, "", 0, 0},
	    {"{'enabler", "[{'enabler", UK_EPROTO, "", 0, 0},
	    {"'auth':'ok'", "'ttl':1", UK_EPROTO, "", 0, 0}, /* twice */
	};
	struct hb46 h;
	struct diag d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		int err = parse(&h, edit(row[i].from, row[i].to), &d);

		if (err != row[i].err)
			fail_msg("%s: %d", row[i].to, err);
		assert_string_equal(h.other, row[i].other);
		assert_int_equal(h.ttl_s, row[i].ttl_s);
		assert_int_equal(h.rules.n, row[i].rules);
		hb46_fini(&h);
	}
	assert_int_equal(parse(&h, "[]", &d), UK_EPROTO);
	assert_int_equal(parse(&h, "{", &d), UK_EPROTO);
	assert_int_equal(d.entry[0].line, 1);
}

/* C5, C6: names end on terminals. Whole characters, none that does things. */
static void
test_names(void **state)
{
	char name[512] = "'", want[256];
	struct hb46 h;
	struct diag d;

	(void)state;
	assert_int_equal(
	    parse(&h,
		edit("'A VNE'", "'a\\u001b[2J\\u007f\\u009b\\u202e\\ufeff"
				"\\u65e5\\ud83d\\ude00\\u00e9'"),
		&d),
	    0);
	assert_string_equal(h.enabler, "a?[2J????\u65e5\U0001F600\u00e9");
	hb46_fini(&h);
	for (int i = 0; i < 120; i++)
		strcat(name, "\u65e5");
	strcat(name, "'");
	assert_int_equal(parse(&h, edit("'A VNE'", name), &d), 0);
	assert_int_equal(strlen(h.enabler), 255);
	assert_int_equal(strlen(h.rules.item[0].operator_name), 30);
	strcpy(want, "asked: ");
	assert_memory_equal(h.rules.item[0].source, want, 7);
	assert_int_equal(strlen(h.rules.item[0].source), 7 + 87);
	hb46_fini(&h);
}

static void
test_token_length(void **state)
{
	char token[400];
	struct hb46 h;
	struct diag d;

	(void)state;
	for (int len = 254; len <= 257; len++) {
		snprintf(token, sizeof(token), "'%0*d'", len, 1);
		assert_int_equal(parse(&h, edit("'640756'", token), &d),
		    len < 256 ? 0 : UK_EPROTO);
		hb46_fini(&h);
	}
}

/* Of n rules that do not overlap. */
static struct text
many(unsigned n)
{
	struct text t = {0};

	text_add(&t, "{\"order\":[\"map_e\"],\"map_e\":{\"br\":\"2001:db8::1\","
		     "\"rules\":[");
	for (unsigned i = 0; i < n; i++)
		text_add(&t,
		    "%s{\"ipv6\":\"2400:%x::/32\",\"ipv4\":\"10.%u.%u.0/24\","
		    "\"ea_length\":8,\"psid_offset\":0}",
		    i > 0 ? "," : "", i, i / 256, i % 256);
	text_add(&t, "]}}");
	return t;
}

static void
test_limits(void **state)
{
	struct hb46 h;
	struct diag d;

	(void)state;
	for (unsigned n = HB46_RULES_MAX - 1; n <= HB46_RULES_MAX + 1; n++) {
		struct text t = many(n);

		diag_init(&d, NULL);
		assert_int_equal(hb46_parse(&h, t.s, t.len, &d),
		    n <= HB46_RULES_MAX ? 0 : UK_EPROTO);
		assert_int_equal(h.rules.n, n <= HB46_RULES_MAX ? n : 0);
		hb46_fini(&h);
		text_fini(&t);
	}
	for (size_t len = HB46_ANSWER_MAX - 1; len <= HB46_ANSWER_MAX + 1;
	     len++) {
		char *text = malloc(len);

		memset(text, ' ', len);
		memcpy(text, "{\"order\":[]}", 12);
		diag_init(&d, NULL);
		assert_int_equal(hb46_parse(&h, text, len, &d),
		    len <= HB46_ANSWER_MAX ? 0 : UK_EPROTO);
		free(text);
	}
}

/* The naive twin: any offset and any lengths, by what a port has room for. */
static void
test_twin(void **state)
{
	unsigned taken = 0;

	(void)state;
	srand(64);
	for (int i = 0; i < 3000; i++) {
		unsigned p6 = (unsigned)rand() % 129,
			 p4 = (unsigned)rand() % 33;
		unsigned ea = (unsigned)rand() % 49, a = (unsigned)rand() % 16;
		unsigned k = p4 + ea > 32 ? p4 + ea - 32 : 0;
		bool ok = p6 + ea <= 128 && a + k <= 16;
		char text[512];
		struct hb46 h;
		struct diag d;

		snprintf(text, sizeof(text),
		    "{'order':['map_e'],'map_e':{'br':'2001:db8::1','rules':"
		    "[{'ipv6':'2001:db8::/%u','ipv4':'192.0.2.0/%u',"
		    "'ea_length':%u,'psid_offset':%u}]}}",
		    p6, p4, ea, a);
		assert_int_equal(parse(&h, text, &d), ok ? 0 : UK_EPROTO);
		if (ok)
			assert_int_equal(h.rules.item[0].psid_len, k);
		taken += ok;
		hb46_fini(&h);
	}
	assert_in_range(taken, 200, 2800);
}

/* jansson's, in which it may see mistakes of form. */
static void
test_json_memory(void **state)
{
	struct hb46 h;
	struct diag d;
	int err = UK_ENOMEM;

	(void)state;
	json_set_alloc_funcs(failing_malloc, failing_free);
	for (unsigned n = 1; err != 0; n++) {
		assert_in_range(n, 1, 1000);
		alloc_fail_at = n;
		err = parse(&h, sample, &d);
		assert_true(err == 0 || err == UK_ENOMEM || err == UK_EPROTO);
		assert_true(err == 0 || h.rules.item == NULL);
		assert_int_equal(alloc_live, 0);
	}
	alloc_fail_at = 0;
	json_set_alloc_funcs(__real_malloc, free);
	hb46_fini(&h);
}

static void
test_rule_memory(void **state)
{
	struct text t = many(200);
	struct hb46 h;
	struct diag d;
	int err = UK_ENOMEM;
	unsigned n;

	(void)state;
	diag_init(&d, NULL);
	for (n = 1; err != 0; n++) {
		fail_at = n;
		err = hb46_parse(&h, t.s, t.len, &d);
		assert_true(err == 0 || err == UK_ENOMEM);
		assert_true(err == 0 || h.rules.item == NULL);
	}
	fail_at = 0;
	assert_in_range(n, 4, 20);
	hb46_fini(&h);
	text_fini(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_where),
	    cmocka_unit_test(test_where_length),
	    cmocka_unit_test(test_sample),
	    cmocka_unit_test(test_map_e),
	    cmocka_unit_test(test_modes),
	    cmocka_unit_test(test_around),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_token_length),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_twin),
	    cmocka_unit_test(test_json_memory),
	    cmocka_unit_test(test_rule_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
