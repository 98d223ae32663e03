/* Against a resolver and a server of our own on the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/mape/provision.h"
#include "core/err.h"
#include "hb46_lab.h"

#define ANSWER(ttl)                                                            \
	"{\"enabler_name\":\"Lab\",\"ttl\":" #ttl ",\"token\":\"a1b2\","       \
	"\"order\":[\"map_e\"],\"map_e\":{\"br\":\"2001:db8::1\",\"rules\":["  \
	"{\"ipv6\":\"2001:db8:2000::/36\",\"ipv4\":\"203.0.113.0/24\","        \
	"\"ea_length\":16,\"psid_offset\":4}]}}"
#define NOW 1800000000
#define PARAMETERS                                                             \
	"vendorid=020000-ukai&product=ukai&version=1_2_30&"                    \
	"capability=map_e,hubspoke,mesh"

static struct hb46_lab *lab;
static char folder[] = "/tmp/ukai-provision.XXXXXX", path[64];
static const struct hb46_page good = {.status = 200, .body = ANSWER(3600)};

/* A record with this URL and t; "%u" in it is the server's port. */
static void
publish(const char *url, const char *t)
{
	static char txt[512];
	int n = snprintf(txt, sizeof(txt), "v=v6mig-1 url=");

	n += snprintf(
	    txt + n, sizeof(txt) - (size_t)n, "%s:%u/rule.cgi", url, lab->port);
	snprintf(txt + n, sizeof(txt) - (size_t)n, " t=%s", t);
	lab->txt = txt;
}

static void
serve(const struct hb46_page *page, unsigned pages)
{
	hb46_lab_reset(lab);
	lab->page = page;
	lab->pages = pages;
}

static struct provision_setup
setup(void)
{
	return (struct provision_setup){
	    .now_s = NOW,
	    .question = {.version = "1.2.30",
		.resolvers = lab->resolvers,
		.ca_file = lab->ca_file},
	};
}

static int
get(const struct provision_setup *s, struct provision *p, struct diag *d)
{
	diag_init(d, NULL);
	return provision_get(p, s, d);
}

/* Returns what comes of it without a file. */
static int
ask_only(void)
{
	struct provision_setup s = setup();
	struct provision p;
	struct diag d;
	int err = get(&s, &p, &d);

	assert_true((d.errors > 0) == (err < 0));
	assert_int_equal(p.answer.rules.n, err == 0);
	provision_fini(&p);
	return err;
}

/* ---- asking ---- */

static void
test_asked(void **state)
{
	struct provision_setup s = setup();
	struct provision p;
	struct diag d;

	(void)state;
	serve(&good, 1);
	publish("https://" HB46_LAB_NAME, "b");
	assert_int_equal(get(&s, &p, &d), 0);
	assert_int_equal(d.n, 0);
	assert_int_equal(p.answer.rules.n, 1);
	assert_string_equal(p.answer.enabler, "Lab");
	assert_int_equal(p.asked_s, NOW);
	assert_false(p.kept);
	assert_false(p.expired);
	assert_int_equal(lab->requests, 1);
	assert_string_equal(
	    lab->request[0], "GET /rule.cgi?" PARAMETERS " HTTP/1.1");
	provision_fini(&p);
}

/* t=b: the certificate is for that name, by somebody known; t=a: whatever. */
static void
test_certificate(void **state)
{
	static const struct {
		const char *url, *t;
		bool known;
		int err;
	} row[] = {
	    {"https://" HB46_LAB_NAME, "b", true, 0},
	    {"https://[::1]", "b", true, 0},
	    {"https://other.example.jp", "b", true, UK_EAUTH},
	    {"https://" HB46_LAB_NAME, "b", false, UK_EAUTH},
	    {"https://" HB46_LAB_NAME, "a", false, 0},
	    {"https://other.example.jp", "a", false, 0},
	    {"http://" HB46_LAB_NAME, "a", false, 0},
	    {"http://" HB46_LAB_NAME, "b", true, UK_EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct provision_setup s = setup();
		struct provision p;
		struct diag d;

		serve(&good, 1);
		publish(row[i].url, row[i].t);
		if (!row[i].known)
			s.question.ca_file = NULL;
		assert_int_equal(get(&s, &p, &d), row[i].err);
		assert_int_equal(lab->requests, row[i].err == 0);
		provision_fini(&p);
	}
}

/* HB46PP 3.3: by IPv6, whatever the URL or the environment would like. */
static void
test_ipv6_only(void **state)
{
	char proxy[64];

	(void)state;
	serve(&good, 1);
	publish("https://127.0.0.1", "a");
	assert_int_equal(ask_only(), UK_EPROTO);
	assert_int_equal(lab->questions, 1);
	publish("https://v4.example.jp", "a");
	assert_int_equal(ask_only(), UK_EAGAIN);
	assert_int_equal(lab->connections, 0);
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:1");
	setenv("https_proxy", proxy, 1);
	publish("https://" HB46_LAB_NAME, "b");
	assert_int_equal(ask_only(), 0);
	unsetenv("https_proxy");
}

static void
test_record(void **state)
{
	(void)state;
	serve(&good, 1);
	lab->txt = NULL;
	assert_int_equal(ask_only(), UK_ENOENT); /* NODATA */
	lab->rcode = 3;
	assert_int_equal(ask_only(), UK_ENOENT); /* NXDOMAIN */
	lab->rcode = 2;
	assert_int_equal(ask_only(), UK_EAGAIN); /* SERVFAIL */
	lab->rcode = 0;
	lab->txt = "v=v6mig-2 url=https://vne.example.jp/ t=b";
	assert_int_equal(ask_only(), UK_EPROTO);
	lab->txt = "x";
	assert_int_equal(ask_only(), UK_EPROTO);
	assert_int_equal(lab->connections, 0);
}

/* More than one string of a record. */
static void
test_long_record(void **state)
{
	char url[256];

	(void)state;
	serve(&good, 1);
	snprintf(url, sizeof(url), "https://%0*d.example.jp", 60, 1);
	publish(url, "a");
	assert_true(strlen(lab->txt) > 100);
	assert_int_equal(ask_only(), 0);
}

static void
test_status(void **state)
{
	static const struct {
		unsigned status;
		int err;
	} row[] = {{200, 0}, {301, UK_EPROTO}, {400, UK_EPROTO},
	    {403, UK_EPERM}, {404, UK_EPERM}, {429, UK_EAGAIN},
	    {500, UK_EAGAIN}, {503, UK_EAGAIN}};

	(void)state;
	publish("https://" HB46_LAB_NAME, "b");
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const struct hb46_page page = {.status = row[i].status,
		    .location = row[i].status == 301 ? "/x" : NULL,
		    .body = ANSWER(3600)};

		serve(&page, 1);
		assert_int_equal(ask_only(), row[i].err);
		assert_int_equal(lab->requests, 1);
	}
}

static void
test_body(void **state)
{
	static const struct {
		struct hb46_page page;
		int err;
	} row[] = {
	    {{.status = 200, .body = ""}, UK_EPROTO},
	    {{.status = 200, .body = "<html>"}, UK_EPROTO},
	    {{.status = 200, .body = "{}"}, UK_EPROTO},
	    {{.status = 200,
		 .body = ANSWER(1),
		 .more = HB46_ANSWER_MAX - sizeof(ANSWER(1)) + 1},
		0},
	    {{.status = 200,
		 .body = ANSWER(1),
		 .more = HB46_ANSWER_MAX - sizeof(ANSWER(1)) + 2},
		UK_EPROTO},
	    {{.status = 200, .body = ANSWER(1), .more = 3000000}, UK_EPROTO},
	};

	(void)state;
	publish("https://" HB46_LAB_NAME, "b");
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		serve(&row[i].page, 1);
		assert_int_equal(ask_only(), row[i].err);
	}
}

static void
test_redirects(void **state)
{
	struct hb46_page page[5] = {{.status = 307, .location = "/next?x=y"},
	    {.status = 307, .location = "//" HB46_LAB_NAME}};
	char location[128];

	(void)state;
	publish("https://" HB46_LAB_NAME, "b");
	page[1] = good;
	serve(page, 2);
	assert_int_equal(ask_only(), 0);
	assert_string_equal(
	    lab->request[1], "GET /next?x=y&" PARAMETERS " HTTP/1.1");
	/* Three, and not four. */
	page[1] = page[2] = page[0];
	page[3] = good;
	serve(page, 4);
	assert_int_equal(ask_only(), 0);
	assert_int_equal(lab->requests, 4);
	page[3] = page[0];
	page[4] = good;
	serve(page, 5);
	assert_int_equal(ask_only(), UK_EPROTO);
	assert_int_equal(lab->requests, 4);
	/* Another server's certificate counts as well; http does not do. */
	page[1] = good;
	page[0].location = location;
	snprintf(location, sizeof(location), "https://other.example.jp:%u/",
	    lab->port);
	serve(page, 2);
	assert_int_equal(ask_only(), UK_EAUTH);
	snprintf(location, sizeof(location), "http://" HB46_LAB_NAME ":%u/",
	    lab->port);
	serve(page, 2);
	assert_int_equal(ask_only(), UK_EPROTO);
	assert_int_equal(lab->requests, 1);
	publish("https://" HB46_LAB_NAME, "a");
	serve(page, 2);
	assert_int_equal(ask_only(), 0);
	page[0].location = NULL;
	serve(page, 2);
	assert_int_equal(ask_only(), UK_EPROTO);
}

/* Nobody answers: the resolver, then the server. */
static void
test_slow(void **state)
{
	static const struct hb46_page stall = {.stall = true};
	struct provision_setup s = setup();
	struct provision p;
	struct diag d;

	(void)state;
	s.question.timeout_ns = 150 * UK_NS_PER_MS;
	publish("https://" HB46_LAB_NAME, "b");
	serve(&good, 1);
	lab->silent = true;
	assert_int_equal(get(&s, &p, &d), UK_EAGAIN);
	assert_int_equal(lab->connections, 0);
	serve(&stall, 1);
	assert_int_equal(get(&s, &p, &d), UK_EAGAIN);
	lab->txt = "v=v6mig-1 url=https://[::1]:1/ t=a";
	assert_int_equal(ask_only(), UK_EAGAIN);
}

/* ---- the file ---- */

static void
spit(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void
slurp(char *text, size_t cap)
{
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	text[fread(text, 1, cap - 1, f)] = 0;
	fclose(f);
}

/* One answer in the file. */
static struct provision_setup
kept(void)
{
	struct provision_setup s = setup();
	struct provision p;
	struct diag d;

	s.path = path;
	unlink(path);
	publish("https://" HB46_LAB_NAME, "b");
	serve(&good, 1);
	assert_int_equal(get(&s, &p, &d), 0);
	assert_int_equal(d.n, 0);
	provision_fini(&p);
	serve(&good, 1);
	return s;
}

static void
test_kept(void **state)
{
	struct provision_setup s = kept();
	struct provision p;
	struct stat st;
	struct diag d;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	s.now_s = NOW + 3599;
	assert_int_equal(get(&s, &p, &d), 0);
	assert_true(p.kept);
	assert_false(p.expired);
	assert_int_equal(p.answer.rules.n, 1);
	assert_int_equal(p.asked_s, NOW);
	assert_int_equal(d.n, 0);
	assert_int_equal(lab->questions, 0);
	provision_fini(&p);
}

/* Too old, from before the clock was set, or unwanted: asked again, with the
 * token of the last answer. */
static void
test_asked_again(void **state)
{
	static const struct {
		uint64_t now_s;
		bool fresh;
	} row[] = {{NOW + 3600, false}, {NOW - 1, false}, {NOW, true}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct provision_setup s = kept();
		struct provision p;
		struct diag d;

		s.now_s = row[i].now_s;
		s.fresh = row[i].fresh;
		assert_int_equal(get(&s, &p, &d), 0);
		assert_false(p.kept);
		assert_int_equal(p.asked_s, row[i].now_s);
		assert_string_equal(lab->request[0],
		    "GET /rule.cgi?" PARAMETERS "&token=a1b2 HTTP/1.1");
		provision_fini(&p);
	}
}

/* A token is for who gave it. */
static void
test_token_of_another(void **state)
{
	struct provision_setup s = kept();
	struct provision p;
	struct diag d;

	(void)state;
	s.fresh = true;
	publish("https://[::1]", "b");
	assert_int_equal(get(&s, &p, &d), 0);
	assert_string_equal(
	    lab->request[0], "GET /rule.cgi?" PARAMETERS " HTTP/1.1");
	provision_fini(&p);
}

/* Old, but nobody answers: used, with a warning. Where somebody answers that
 * there is nothing, that holds. */
static void
test_expired(void **state)
{
	static const struct hb46_page busy = {.status = 503};
	static const struct hb46_page no = {.status = 403};
	struct provision_setup s = kept();
	struct provision p;
	struct diag d;

	(void)state;
	s.now_s = NOW + 3600;
	serve(&busy, 1);
	assert_int_equal(get(&s, &p, &d), 0);
	assert_true(p.kept);
	assert_true(p.expired);
	assert_int_equal(p.answer.rules.n, 1);
	assert_int_equal(d.errors, 0);
	assert_int_equal(d.warnings, 1);
	provision_fini(&p);
	serve(&no, 1);
	assert_int_equal(get(&s, &p, &d), UK_EPERM);
	assert_int_equal(p.answer.rules.n, 0);
	lab->rcode = 3;
	assert_int_equal(get(&s, &p, &d), UK_ENOENT);
}

/* Our address was of another /56 then. */
static void
test_other_line(void **state)
{
	static const struct hb46_page busy = {.status = 503};
	struct provision_setup s = kept();
	char text[4096], *from;
	struct provision p;
	struct diag d;

	(void)state;
	slurp(text, sizeof(text));
	from = strstr(text, "\"from\": \"::1\"");
	assert_non_null(from);
	memcpy(from, "\"from\":\"1::1\"", 13);
	spit(text);
	serve(&busy, 1);
	assert_int_equal(get(&s, &p, &d), UK_EAGAIN);
	serve(&good, 1);
	assert_int_equal(get(&s, &p, &d), 0);
	assert_false(p.kept);
	assert_int_equal(lab->requests, 1);
	provision_fini(&p);
	/* The same /56 is the same line. */
	slurp(text, sizeof(text));
	memcpy(strstr(text, "\"from\": \"::1\""), "\"from\":\"::ff\"", 13);
	spit(text);
	assert_int_equal(get(&s, &p, &d), 0);
	assert_true(p.kept);
	provision_fini(&p);
}

static void
test_broken_file(void **state)
{
	static const char *const broken[] = {"", "{", "[]", "{}", "x\n"};
	struct provision_setup s = kept();
	char text[4096], part[4096];
	struct provision p;
	struct diag d;
	size_t len;

	(void)state;
	slurp(text, sizeof(text));
	len = strlen(text);
	for (size_t i = 0; i < ARRAY_LEN(broken) + 12; i++) {
		size_t cut = (i - ARRAY_LEN(broken)) * len / 12;

		snprintf(part, sizeof(part), "%.*s", (int)cut, text);
		spit(i < ARRAY_LEN(broken) ? broken[i] : part);
		serve(&good, 1);
		assert_int_equal(get(&s, &p, &d), 0);
		assert_false(p.kept);
		assert_int_equal(d.errors, 0);
		assert_int_equal(d.warnings, 1);
		assert_int_equal(lab->requests, 1);
		provision_fini(&p);
	}
}

/* Each thing that the file says has to make sense. */
static void
test_wrong_file(void **state)
{
	static const struct {
		const char *from, *to;
	} row[] = {
	    {"\"asked\": 1", "\"asked\":-1"},
	    {"\"asked\": 1", "\"asket\": 1"},
	    {"\"from\": \"::1\"", "\"from\": \"::x\""},
	    {"\"from\": \"::1\"", "\"from\": null "},
	    {"\"to\": \"::1\"", "\"to\":\"1.1\" "},
	    {"\"url\": ", "\"urn\": "},
	    {"\"answer\": \"{", "\"answer\": \"["},
	    {"\"answer\": ", "\"answet\": "},
	};
	struct provision_setup s = kept();
	char text[4096], wrong[4096];
	struct provision p;
	struct diag d;

	(void)state;
	slurp(text, sizeof(text));
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const char *at = strstr(text, row[i].from);

		assert_non_null(at);
		snprintf(wrong, sizeof(wrong), "%.*s%s%s", (int)(at - text),
		    text, row[i].to, at + strlen(row[i].from));
		spit(wrong);
		assert_int_equal(get(&s, &p, &d), 0);
		assert_false(p.kept);
		assert_int_equal(d.warnings, 1);
		provision_fini(&p);
	}
}

/* The folder is made; where none can be, the answer still serves. */
static void
test_folder(void **state)
{
	struct provision_setup s = kept();
	char deep[128];
	struct provision p;
	struct diag d;

	(void)state;
	snprintf(deep, sizeof(deep), "%s/made/file", folder);
	s.path = deep;
	assert_int_equal(get(&s, &p, &d), 0);
	assert_int_equal(d.n, 0);
	provision_fini(&p);
	assert_int_equal(unlink(deep), 0);
	*strrchr(deep, '/') = 0;
	assert_int_equal(rmdir(deep), 0);
	snprintf(deep, sizeof(deep), "%s/none/none/file", folder);
	assert_int_equal(get(&s, &p, &d), 0);
	assert_int_equal(d.warnings, 1);
	assert_int_equal(d.errors, 0);
	provision_fini(&p);
}

static int
start(void **state)
{
	(void)state;
	lab = hb46_lab_start();
	if (lab == NULL || mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/answer", folder);
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	unlink(path);
	rmdir(folder);
	hb46_lab_stop(lab);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_asked),
	    cmocka_unit_test(test_certificate),
	    cmocka_unit_test(test_ipv6_only),
	    cmocka_unit_test(test_record),
	    cmocka_unit_test(test_long_record),
	    cmocka_unit_test(test_status),
	    cmocka_unit_test(test_body),
	    cmocka_unit_test(test_redirects),
	    cmocka_unit_test(test_slow),
	    cmocka_unit_test(test_kept),
	    cmocka_unit_test(test_asked_again),
	    cmocka_unit_test(test_token_of_another),
	    cmocka_unit_test(test_expired),
	    cmocka_unit_test(test_other_line),
	    cmocka_unit_test(test_broken_file),
	    cmocka_unit_test(test_wrong_file),
	    cmocka_unit_test(test_folder),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
