/* The text from a status, read by a parser that forgives nothing; and HTTP
 * over loopback, with the loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/failing_alloc.h"

#define calloc failing_calloc
#define free failing_free
#include "../../server/metrics.c"
#undef calloc
#undef free

#define SAMPLE UKAI_SOURCE "/tests/support/relay_status.json"
#define NOW 1700000000

static json_t *
sample_status(void)
{
	json_t *o = json_load_file(SAMPLE, 0, NULL);

	assert_non_null(o);
	return o;
}

/* ---- the text format 0.0.4, strictly ---- */

#define FAMILIES 64
#define SAMPLES 512

struct parsed {
	char family[FAMILIES][128]; /* in their order */
	size_t families;
	bool counter[FAMILIES];
	char sample[SAMPLES][1024]; /* name and labels, as they stand */
	size_t samples;
};

static bool
is_name(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isalpha((unsigned char)s[i]) && s[i] != '_' &&
		    (i == 0 || !isdigit((unsigned char)s[i])))
			return false;
	return n > 0;
}

/* NAME="VALUE", ... up to the brace. Returns what follows it. */
static const char *
read_labels(const char *s)
{
	for (;;) {
		size_t n = strcspn(s, "=");

		assert_true(is_name(s, n));
		s += n;
		assert_memory_equal(s, "=\"", 2);
		for (s += 2; *s != '"'; s++) {
			assert_true((unsigned char)*s >= ' ');
			if (*s == '\\')
				assert_non_null(strchr("\\\"n", *++s));
		}
		s++;
		if (*s == '}')
			return s + 1;
		assert_int_equal(*s++, ',');
	}
}

static void
read_sample(struct parsed *p, const char *line, char *value)
{
	size_t n = strcspn(line, "{ ");
	const char *end = line + n;
	char *last = NULL;

	assert_true(p->families > 0);
	assert_true(is_name(line, n));
	assert_int_equal(strlen(p->family[p->families - 1]), n);
	assert_memory_equal(line, p->family[p->families - 1], n);
	if (*end == '{')
		end = read_labels(end + 1);
	assert_int_equal(*end, ' ');
	strcpy(value, end + 1);
	(void)strtod(value, &last);
	assert_true(last > value && *last == '\0');
	if (p->counter[p->families - 1])
		assert_true(value[0] != '-');
	assert_true(p->samples < SAMPLES);
	snprintf(p->sample[p->samples], sizeof(p->sample[0]), "%.*s",
	    (int)(end - line), line);
	for (size_t i = 0; i < p->samples; i++)
		assert_string_not_equal(p->sample[i], p->sample[p->samples]);
	p->samples++;
}

static const char *
next_line(const char *s, char *line, size_t cap)
{
	const char *end = strchr(s, '\n');

	assert_non_null(end); /* the last line, too, ends */
	assert_true((size_t)(end - s) < cap);
	memcpy(line, s, (size_t)(end - s));
	line[end - s] = '\0';
	return end + 1;
}

/* HELP, then TYPE, then samples: once for each family, none without. */
static struct parsed *
parse(const char *s)
{
	static struct parsed p;
	static char line[4096], type[4096], value[64];
	char name[128], kind[16], rest[2];

	p = (struct parsed){.families = 0};
	while (*s != '\0') {
		s = next_line(s, line, sizeof(line));
		assert_true(strlen(line) < sizeof(p.sample[0]));
		if (line[0] != '#') {
			read_sample(&p, line, value);
			continue;
		}
		s = next_line(s, type, sizeof(type));
		assert_int_equal(
		    sscanf(line, "# HELP %127s %1s", name, rest), 2);
		assert_null(strchr(line, '\\'));
		for (size_t i = 0; i < p.families; i++)
			assert_string_not_equal(p.family[i], name);
		assert_true(p.families < FAMILIES);
		strcpy(p.family[p.families], name);
		assert_int_equal(
		    sscanf(type, "# TYPE %127s %15s %1s", name, kind, rest), 2);
		assert_string_equal(p.family[p.families], name);
		p.counter[p.families] = strcmp(kind, "counter") == 0;
		assert_true(
		    p.counter[p.families] || strcmp(kind, "gauge") == 0);
		assert_int_equal(p.counter[p.families],
		    strlen(name) > 6 &&
			strcmp(name + strlen(name) - 6, "_total") == 0);
		p.families++;
		assert_int_not_equal(s[0], '#');
		assert_int_not_equal(s[0], '\0');
	}
	return &p;
}

static char *
text_of(const json_t *status)
{
	struct text t = {.s = NULL};

	metrics_text(&t, status, NOW);
	assert_false(t.failed);
	return t.s;
}

/* ---- the text ---- */

#define PC "client=\"office-pc-1\""
#define PC_KEY "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define KEY2 "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
#define PC_WG                                                                  \
	"{interface=\"ukai0\",public_key=\"" PC_KEY                            \
	"\",allowed_ips=\"10.66.0.2/32,10.66.4.0/24\","                        \
	"friendly_name=\"office-pc-1\"} "
#define WG2                                                                    \
	"{interface=\"ukai0\",public_key=\"" KEY2                              \
	"\",allowed_ips=\"\",friendly_name=\"\"} "

static void
test_text(void **state)
{
	static const char *const want[] = {
	    ",interface=\"ukai0\",address=\"10.66.0.1\","
	    "global_address=\"192.0.2.1\",uplink=\"eth0\",",
	    "\nukai_relay_start_time_seconds 1699990000\n",
	    "\nukai_relay_workers 2\n",
	    "\nukai_relay_clients 2\n",
	    "\nukai_relay_clients_connected 1\n",
	    "\nukai_relay_invitations 1\n",
	    "\nukai_relay_nat_ports 63000\n",
	    "\nukai_relay_handshakes_total 1234\n",
	    "\nukai_relay_cookies_sent_total 5\n",
	    "\nukai_relay_drops_total{reason=\"replayed\"} 12\n",
	    "\nukai_relay_drops_total{reason=\"not-authentic\"} 0\n",
	    "\nukai_relay_enrolments_total{result=\"enrolled\"} 7\n",
	    "\nukai_relay_enrolments_total{result=\"expired\"} 2\n",
	    "\nukai_relay_enrolment_events_total{event=\"rate\"} 2\n",
	    "\nukai_relay_client_info{" PC ",public_key=\"" PC_KEY "\","
	    "way=\"shared\",global_address=\"192.0.2.1\",path=\"udp6\"} 1\n",
	    "\nukai_relay_client_connected{" PC "} 1\n",
	    "\nukai_relay_client_connected{client=\"" KEY2 "\"} 0\n",
	    "\nukai_relay_client_joined_time_seconds{" PC "} 1699900000\n",
	    "\nukai_relay_flows{" PC "} 400\n",
	    "\nukai_relay_nat_ports_in_use{" PC "} 321\n",
	    "\nukai_relay_forwarded_ports{" PC ",protocol=\"tcp\"} 11\n",
	    "\nukai_relay_forwarded_ports{" PC ",protocol=\"udp\"} 2\n",
	    "\nwireguard_sent_bytes_total" PC_WG "2048\n",
	    "\nwireguard_received_bytes_total" PC_WG "9007199254740993\n",
	    "\nwireguard_sent_bytes_total" WG2 "0\n",
	    "\nwireguard_latest_handshake_seconds" PC_WG "1699999940\n",
	    "\nwireguard_latest_handshake_seconds" WG2 "0\n",
	    "\nwireguard_latest_handshake_delay_seconds" PC_WG "60\n",
	};
	json_t *status = sample_status();
	char *t = text_of(status);
	const struct parsed *p = parse(t);

	(void)state;
	assert_int_equal(p->families, 22);
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		if (strstr(t, want[i]) == NULL)
			fail_msg("missing: %s", want[i]);
	assert_null(strstr(t, "result=\"rate\""));
	assert_null(strstr(t, "event=\"expired\""));
	/* null is not 0. */
	assert_null(strstr(t, "nat_ports_in_use{client=\"" KEY2));
	assert_null(strstr(t, "ukai_relay_flows{client=\"" KEY2));
	assert_null(strstr(t, "joined_time_seconds{client=\"" KEY2));
	assert_null(strstr(t, "delay_seconds" WG2));
	free(t);
	json_decref(status);
}

/* C5: no name ends a label. */
static void
test_escaping(void **state)
{
	json_t *status = sample_status();
	json_t *peer = json_array_get(json_object_get(status, "peers"), 0);
	char *t;

	(void)state;
	json_object_set_new(peer, "name", json_string("a\"} 1\nukai_fake 2\\"));
	json_object_set_new(
	    json_object_get(status, "drops"), "x\"y", json_integer(7));
	t = text_of(status);
	(void)parse(t);
	assert_non_null(
	    strstr(t, "connected{client=\"a\\\"} 1\\nukai_fake 2\\\\\"} 1\n"));
	assert_non_null(strstr(t, "{reason=\"x\\\"y\"} 7\n"));
	free(t);
	json_decref(status);
}

/* What an older or broken status does not say makes no sample, and no family
 * without one. */
static void
test_text_of_anything(void **state)
{
	static const char *const row[] = {"{}", "[]", "3",
	    "{\"peers\":7,\"drops\":[],\"enrolment\":3,\"since\":\"x\"}",
	    ("{\"peers\":[7,{},{\"public_key\":\"k\",\"allowed_ips\":[1],"
	     "\"forwards\":[3,{\"protocol\":\"tcp\"}]}],"
	     "\"drops\":{\"a\":[]}}")};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		json_t *o = json_loads(row[i], JSON_DECODE_ANY, NULL);
		char *t = text_of(o);

		assert_non_null(o);
		assert_non_null(strstr(t, "ukai_relay_info{version="));
		assert_null(strstr(t, "start_time"));
		assert_null(strstr(t, "drops_total"));
		if (i < 4) /* the last one's two peers have no names */
			(void)parse(t);
		free(t);
		json_decref(o);
	}
}

/* A clock that was set back. */
static void
test_delay_is_never_negative(void **state)
{
	json_t *status = sample_status();
	json_t *peer = json_array_get(json_object_get(status, "peers"), 0);
	char *t;

	(void)state;
	json_object_set_new(peer, "last_handshake", json_integer(NOW + 5));
	t = text_of(status);
	assert_non_null(strstr(t, "delay_seconds" PC_WG "0\n"));
	free(t);
	json_decref(status);
}

static void
test_text_failed(void **state)
{
	json_t *status = sample_status();
	struct text t = {.failed = true};

	(void)state;
	metrics_text(&t, status, NOW);
	assert_true(t.failed);
	assert_null(t.s);
	json_decref(status);
}

/* ---- where ---- */

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(&a, text, strlen(text)), 0);
	return a;
}

/* C3: whoever may fetch it is on this host or in the tunnel. */
static void
test_check(void **state)
{
	static const struct {
		const char *listen, *tunnel;
		bool ok;
	} row[] = {
	    {"127.0.0.1", "10.66.0.1", true},
	    {"127.255.255.254", "10.66.0.1", true},
	    {"::1", "10.66.0.1", true},
	    {"10.66.0.1", "10.66.0.1", true},
	    {"10.66.0.2", "10.66.0.1", false},
	    {"0.0.0.0", "10.66.0.1", false},
	    {"::", "10.66.0.1", false},
	    {"::2", "10.66.0.1", false},
	    {"::ffff:127.0.0.1", "10.66.0.1", false},
	    {"128.0.0.1", "10.66.0.1", false},
	    {"192.0.2.1", "10.66.0.1", false},
	    {"192.0.2.1", NULL, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct endpoint e = {.addr = addr(row[i].listen), .port = 9586};
		struct ip_addr tunnel = {.family = FAMILY_NONE};
		struct diag d;

		if (row[i].tunnel != NULL)
			tunnel = addr(row[i].tunnel);
		diag_init(&d, NULL);
		assert_int_equal(
		    metrics_check(&e, &tunnel, &d), row[i].ok ? 0 : UK_EINVAL);
		assert_int_equal(d.errors, !row[i].ok);
		if (!row[i].ok)
			assert_non_null(
			    strstr(d.entry[0].text, "use 127.0.0.1:9586"));
	}
}

/* ---- HTTP ---- */

#define FETCHERS 100

struct http {
	uv_loop_t loop;
	struct metrics *m;
	struct watch *done;
	uint16_t port;
	unsigned asked; /* for the status */
	bool no_memory;
	size_t padding; /* of one name: a long answer */
	/* What the thread does, and found. */
	void (*client)(struct http *h);
	bool stop;
	bool busy; /* with a connection */
	unsigned rest; /* how often that ended, for the thread */
	int code[FETCHERS];
	char answer[65536];
	size_t len;
	bool ended; /* by the server, in time */
};

static json_t *
give_status(void *arg)
{
	struct http *h = arg;
	json_t *status = sample_status();
	char *name = calloc(1, h->padding + 1);

	h->asked++;
	memset(name, 'x', h->padding);
	if (h->padding > 0)
		json_object_set_new(status, "uplink", json_string(name));
	free(name);
	if (!h->no_memory)
		return status;
	json_decref(status);
	return NULL;
}

static int
open_http(void **state)
{
	static struct http h;
	const union MHD_DaemonInfo *info;
	struct metrics_conf c = {
	    .listen = {.addr = addr("127.0.0.1")},
	    .status = give_status,
	    .arg = &h,
	};
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	struct diag d;

	h = (struct http){.asked = 0};
	*state = &h;
	diag_init(&d, NULL);
	if (uv_loop_init(&h.loop) != 0 ||
	    metrics_open(&h.m, &h.loop, &c, &d) != 0)
		return -1;
	info = MHD_get_daemon_info(h.m->mhd, MHD_DAEMON_INFO_LISTEN_FD);
	if (getsockname(info->listen_fd, (struct sockaddr *)&a, &len) != 0)
		return -1;
	h.port = ntohs(a.sin_port);
	return 0;
}

static int
close_http(void **state)
{
	struct http *h = *state;

	metrics_close(h->m);
	uv_run(&h->loop, UV_RUN_DEFAULT);
	return uv_loop_close(&h->loop);
}

static void
stop_loop(void *arg)
{
	struct http *h = arg;

	h->stop = true;
}

static void
client_thread(void *arg)
{
	struct http *h = arg;

	h->client(h);
	watch_raise(h->done);
}

static bool
is_idle(const struct metrics *m)
{
	for (size_t i = 0; i < ARRAY_LEN(m->connection); i++)
		if (m->connection[i].mhd != NULL)
			return false;
	return m->answer == NULL && m->job == NULL;
}

static void
turn(struct http *h)
{
	bool busy;

	uv_run(&h->loop, UV_RUN_ONCE);
	busy = !is_idle(h->m);
	if (h->busy && !busy)
		__atomic_add_fetch(&h->rest, 1, __ATOMIC_RELEASE);
	h->busy = busy;
}

/* The client has a thread, the server the loop. */
static void
serve_while(struct http *h, void (*client)(struct http *h))
{
	uv_thread_t thread;

	h->client = client;
	h->stop = false;
	h->done = watch_call(&h->loop, stop_loop, h);
	assert_int_equal(uv_thread_create(&thread, client_thread, h), 0);
	while (!h->stop)
		turn(h);
	uv_thread_join(&thread);
	watch_close(h->done);
}

static int
dial(struct http *h)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	    .sin_port = htons(h->port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval patience = {.tv_sec = 60};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Until the server ends it; answer is cut where it is full. */
static void
read_all(struct http *h, int fd)
{
	ssize_t n;

	h->len = 0;
	do {
		n = recv(
		    fd, h->answer + h->len, sizeof(h->answer) - 1 - h->len, 0);
		h->len += n > 0 ? (size_t)n : 0;
	} while (n > 0 && h->len < sizeof(h->answer) - 1);
	h->answer[h->len] = '\0';
	h->ended = n == 0 || (n < 0 && errno == ECONNRESET);
}

static const char *request; /* of the next client */

static void
ask_once(struct http *h)
{
	int fd = dial(h);

	h->len = 0;
	if (fd < 0)
		return;
	(void)!send(fd, request, strlen(request), MSG_NOSIGNAL);
	read_all(h, fd);
	close(fd);
}

/* Send s; returns the status of the answer, 0: none. */
static int
fetch(struct http *h, const char *s)
{
	int code = 0;

	request = s;
	serve_while(h, ask_once);
	(void)sscanf(h->answer, "HTTP/1.1 %d", &code);
	return h->len > 0 ? code : 0;
}

static const char *
body(const struct http *h)
{
	const char *end = strstr(h->answer, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

static void
test_get(void **state)
{
	struct http *h = *state;
	char length[64];

	assert_int_equal(
	    fetch(h, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
	assert_true(h->ended); /* one request a connection */
	assert_int_equal(parse(body(h))->families, 22);
	assert_non_null(
	    strstr(h->answer, "\r\nContent-Type: text/plain; version=0.0.4; "));
	snprintf(length, sizeof(length), "\r\nContent-Length: %zu\r\n",
	    strlen(body(h)));
	assert_non_null(strstr(h->answer, length));
	assert_int_equal(fetch(h, "GET /metrics?a=b HTTP/1.0\r\n\r\n"), 200);
}

static void
test_head(void **state)
{
	struct http *h = *state;

	assert_int_equal(
	    fetch(h, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
	assert_string_equal(body(h), "");
	assert_non_null(strstr(h->answer, "\r\nContent-Length: "));
	assert_null(strstr(h->answer, "\r\nContent-Length: 0\r\n"));
}

static void
test_nothing_else(void **state)
{
	static const struct {
		const char *request;
		int code;
	} row[] = {
	    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404},
	    {"GET /metrics/ HTTP/1.1\r\nHost: a\r\n\r\n", 404},
	    {"GET /metricsx HTTP/1.1\r\nHost: a\r\n\r\n", 404},
	    {"GET /Metrics HTTP/1.1\r\nHost: a\r\n\r\n", 404},
	    {"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404},
	    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 404},
	    {"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
		405},
	    /* Not one byte of a body that is announced is waited for. */
	    {"POST /metrics HTTP/1.1\r\nHost: a\r\n"
	     "Content-Length: 9999999999\r\n\r\n",
		405},
	    {"PUT /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405},
	    {"DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405},
	    {"get /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405},
	};
	struct http *h = *state;

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(fetch(h, row[i].request), row[i].code);
		assert_true(h->ended);
		assert_string_equal(body(h), "");
		assert_int_equal(row[i].code == 405,
		    strstr(h->answer, "\r\nAllow: GET, HEAD\r\n") != NULL);
	}
	assert_int_equal(h->asked, 0);
	(void)fetch(h, "\x16\x03\x01 what is this\r\n\r\n");
	assert_true(h->ended);
	assert_int_equal(
	    fetch(h, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
}

/* Headers without end: cut off by CONNECTION_MEMORY. */
static void
test_long_headers(void **state)
{
	static char s[65536];
	struct http *h = *state;
	int code;

	strcpy(s, "GET /metrics HTTP/1.1\r\nHost: ");
	memset(s + strlen(s), 'a', sizeof(s) - 1 - strlen(s));
	code = fetch(h, s);
	assert_true(code == 0 || code >= 400);
	assert_true(h->ended);
	assert_int_equal(h->asked, 0);
}

static void
test_out_of_memory(void **state)
{
	struct http *h = *state;

	h->no_memory = true;
	assert_int_equal(
	    fetch(h, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 500);
	h->no_memory = false;
	alloc_fail_at = 1; /* of the job */
	assert_int_equal(
	    fetch(h, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 500);
	assert_int_equal(
	    fetch(h, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
}

/* A byte now and then: ended after its time all the same. */
static void
dribble(struct http *h)
{
	const char *s = "GET /metrics HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaa";
	const struct timeval soon = {.tv_usec = 50000};
	int fd = dial(h);
	ssize_t n = -1;
	char c;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	for (size_t i = 0; i < strlen(s) && n < 0; i++) {
		(void)!send(fd, s + i, 1, MSG_NOSIGNAL);
		n = recv(fd, &c, 1, 0);
		if (n < 0 && errno != EAGAIN)
			n = 0;
	}
	h->ended = n == 0;
	close(fd);
}

static void
test_slow_request(void **state)
{
	struct http *h = *state;
	uint64_t start_ns = clock_now().mono_ns, took_ns;

	h->m->conf.time_ns = 300 * UK_NS_PER_MS;
	serve_while(h, dribble);
	took_ns = clock_now().mono_ns - start_ns;
	assert_true(h->ended);
	assert_true(took_ns >= 250 * UK_NS_PER_MS);
	h->m->conf.time_ns = METRICS_TIME;
	assert_int_equal(
	    fetch(h, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
}

/* Between the stalls of a busy machine and the patience of whoever runs it. */
#define SOME_TIME (2 * UK_NS_PER_S)

/* Asks, and does not read until the server has ended it. */
static void
ask_and_wait(struct http *h)
{
	const char *s = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
	const int small = 65536;
	unsigned rest = __atomic_load_n(&h->rest, __ATOMIC_ACQUIRE);
	int fd = dial(h);
	size_t total = 0;
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	(void)!send(fd, s, strlen(s), MSG_NOSIGNAL);
	while (__atomic_load_n(&h->rest, __ATOMIC_ACQUIRE) == rest)
		usleep(1000);
	while ((n = recv(fd, h->answer, sizeof(h->answer), 0)) > 0)
		total += (size_t)n;
	h->ended = n == 0 || (n < 0 && errno == ECONNRESET);
	h->len = total;
	close(fd);
}

/* Nor does its answer stay in memory. */
static void
test_slow_reader(void **state)
{
	struct http *h = *state;
	int tries = 0;

	h->padding = 16 << 20;
	h->m->conf.time_ns = SOME_TIME;
	/* A stall may take all of the time. */
	do {
		serve_while(h, ask_and_wait);
		assert_true(h->ended);
		assert_true(h->len < h->padding);
	} while (h->len == 0 && ++tries < 10);
	assert_true(h->len > 0);
}

/* All are connected before the first asks. */
static void
ask_all(struct http *h)
{
	const char *s = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
	int fd[FETCHERS];

	for (size_t i = 0; i < FETCHERS; i++)
		fd[i] = dial(h);
	for (size_t i = 0; i < FETCHERS; i++)
		(void)!send(fd[i], s, strlen(s), MSG_NOSIGNAL);
	for (size_t i = 0; i < FETCHERS; i++) {
		read_all(h, fd[i]);
		(void)sscanf(h->answer, "HTTP/1.1 %d", &h->code[i]);
		h->len = 0;
		close(fd[i]);
	}
}

/* More than may be at a time; the status is made once a second for all. */
static void
test_many(void **state)
{
	struct http *h = *state;
	uint64_t start_ns = clock_now().mono_ns, took_ns;

	serve_while(h, ask_all);
	took_ns = clock_now().mono_ns - start_ns;
	for (size_t i = 0; i < FETCHERS; i++)
		assert_int_equal(h->code[i], 200);
	assert_in_range(h->asked, 1, 1 + took_ns / METRICS_EVERY);
}

/* Silent ones hold the others up no longer than their time. */
static void
ask_behind_silent(struct http *h)
{
	int fd[METRICS_CONNECTIONS_MAX];

	for (size_t i = 0; i < ARRAY_LEN(fd); i++)
		fd[i] = dial(h);
	ask_once(h);
	for (size_t i = 0; i < ARRAY_LEN(fd); i++)
		close(fd[i]);
}

static void
test_silent(void **state)
{
	struct http *h = *state;

	request = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
	h->m->conf.time_ns = SOME_TIME;
	serve_while(h, ask_behind_silent);
	assert_memory_equal(h->answer, "HTTP/1.1 200 ", 13);
}

/* Closed with a connection open, and one half asked. */
static void
leave_open(struct http *h)
{
	h->code[0] = dial(h);
	h->code[1] = dial(h);
	(void)!send(h->code[1], "GET /met", 8, MSG_NOSIGNAL);
	usleep(20000);
}

static void
test_close_with_connections(void **state)
{
	struct http *h = *state;
	char c;

	serve_while(h, leave_open);
	metrics_close(h->m);
	h->m = NULL;
	assert_true(recv(h->code[0], &c, 1, 0) <= 0);
	assert_true(recv(h->code[1], &c, 1, 0) <= 0);
	close(h->code[0]);
	close(h->code[1]);
}

/* Closed while a thread makes the text, and somebody waits for it. */
static void
test_close_while_asked(void **state)
{
	const char *s = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
	struct http *h = *state;
	int fd = dial(h);
	char c;

	h->padding = 8 << 20;
	assert_true(fd >= 0);
	assert_int_equal(send(fd, s, strlen(s), MSG_NOSIGNAL), strlen(s));
	while (h->m->job == NULL)
		uv_run(&h->loop, UV_RUN_ONCE);
	metrics_close(h->m);
	h->m = NULL;
	assert_true(recv(fd, &c, 1, 0) <= 0);
	close(fd);
	uv_run(&h->loop, UV_RUN_DEFAULT);
	assert_int_equal(alloc_live, 0);
}

static void
test_open_refused(void **state)
{
	struct http *h = *state;
	struct metrics_conf c = h->m->conf;
	struct metrics *m = NULL;
	struct diag d;

	diag_init(&d, NULL);
	c.listen.port = h->port;
	assert_int_equal(metrics_open(&m, &h->loop, &c, &d), UK_EBUSY);
	assert_non_null(strstr(d.entry[0].text, "cannot serve metrics on "));
	c.listen.addr = addr("192.0.2.1");
	assert_int_equal(metrics_open(&m, &h->loop, &c, &d), UK_EINVAL);
	c.tunnel = c.listen.addr; /* allowed, but not there */
	assert_true(metrics_open(&m, &h->loop, &c, &d) < 0);
	assert_int_equal(d.errors, 3);
	c.listen = (struct endpoint){.addr = addr("127.0.0.1")};
	alloc_fail_at = 1;
	assert_int_equal(metrics_open(&m, &h->loop, &c, &d), UK_ENOMEM);
	assert_int_equal(d.errors, 4);
	assert_int_equal(alloc_live, 1); /* h->m */
	assert_null(m);
}

int
main(void)
{
#define HTTP(t) cmocka_unit_test_setup_teardown(t, open_http, close_http)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_escaping),
	    cmocka_unit_test(test_text_of_anything),
	    cmocka_unit_test(test_delay_is_never_negative),
	    cmocka_unit_test(test_text_failed),
	    cmocka_unit_test(test_check),
	    HTTP(test_get),
	    HTTP(test_head),
	    HTTP(test_nothing_else),
	    HTTP(test_long_headers),
	    HTTP(test_out_of_memory),
	    HTTP(test_slow_request),
	    HTTP(test_slow_reader),
	    HTTP(test_many),
	    HTTP(test_silent),
	    HTTP(test_close_with_connections),
	    HTTP(test_close_while_asked),
	    HTTP(test_open_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
