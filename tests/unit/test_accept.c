#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/log.h"
#include "server/accept.h"
#include "server/enrol_link.h"

/* The test's clock stands still but for what a test adds. */
static uint64_t clock_ns;

struct uk_time
clock_now(void)
{
	return (struct uk_time){.mono_ns = clock_ns};
}

/* The allocation that fails, counted from 1; 0: none. */
static unsigned fail_at, allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *
__wrap_malloc(size_t size)
{
	return ++allocations == fail_at ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return ++allocations == fail_at ? NULL : __real_calloc(n, size);
}

/* A connection's time is over when the test says so, however slow this host
 * is: a timer of HELD_NS is kept from starting. */
#define HELD_NS (77 * UK_NS_PER_S)

static struct watch *held[8];
static size_t n_held;

void __real_watch_after(struct watch *w, uint64_t after_ns);
void __wrap_watch_after(struct watch *w, uint64_t after_ns);

void
__wrap_watch_after(struct watch *w, uint64_t after_ns)
{
	for (size_t i = 0; i < n_held; i++)
		if (held[i] == w)
			held[i--] = held[--n_held];
	if (after_ns != HELD_NS) {
		__real_watch_after(w, after_ns);
		return;
	}
	assert_true(n_held < ARRAY_LEN(held));
	held[n_held++] = w;
	__real_watch_after(w, UK_NEVER);
}

/* Returns how many had one. */
static size_t
time_is_over(void)
{
	size_t n = n_held;

	while (n_held > 0)
		__real_watch_after(held[--n_held], 0);
	return n;
}

#define ECHO_ALPN "test-echo/1"
#define GOOD_SECRET 0x11
#define BIG_POLICY 200000

static struct tls_identity *identity;
static uint8_t pin[TLS_PIN_LEN];
static const uint8_t some_key[KEY_LEN] = {9, 8, 7};

/* The relay's side, and what its handlers saw. */
static struct fixture {
	uv_loop_t loop;
	struct accept *accept;
	struct enrol_link *link;
	struct accept_protocol protocol[2];
	struct accept_conf conf;
	struct diag d;
	unsigned asked;
	bool big; /* answers have a policy of BIG_POLICY bytes */
	struct endpoint asked_by;
	/* The echo protocol's. */
	struct accept_conn *echo;
	unsigned opened, closed, heard;
	bool refuse, settle;
} fx;

/* The registry: GOOD_SECRET joins, the values of enum enrol_status get that. */
static void
ask(void *arg, const struct enrol_request *r, const struct endpoint *from,
    struct enrol_answer *a)
{
	(void)arg;
	fx.asked++;
	fx.asked_by = *from;
	assert_memory_equal(r->public_key, some_key, KEY_LEN);
	assert_int_equal(a->status, ENROL_FAILED);
	if (r->secret[0] != GOOD_SECRET) {
		a->status = (enum enrol_status)r->secret[0];
		return;
	}
	a->status = ENROL_OK;
	strcpy(a->name, "office-pc-1");
	a->address = (struct ip_ifaddr){{FAMILY_V4, {10, 66, 0, 2}}, 32};
	memcpy(a->public_key, some_key, KEY_LEN);
	a->endpoint[0] = (struct endpoint){
	    .addr = {FAMILY_V4, {192, 0, 2, 1}}, .port = 51820};
	a->endpoints = 1;
	a->network[0] = (struct ip_prefix){{FAMILY_V4, {10, 66}}, 16};
	a->networks = 1;
	if (fx.big) {
		a->policy = malloc(BIG_POLICY + 1);
		assert_non_null(a->policy);
		memset(a->policy, 'x', BIG_POLICY);
		a->policy[BIG_POLICY] = '\0';
	}
}

static void *
echo_opened(void *arg, struct accept_conn *c, const struct endpoint *from)
{
	(void)arg;
	(void)from;
	if (fx.refuse)
		return NULL;
	fx.opened++;
	fx.echo = c;
	if (fx.settle)
		accept_settle(c);
	return c;
}

/* 'q': finish. 'a': abort. */
static void
echo_received(void *session, const uint8_t *bytes, size_t len)
{
	struct accept_conn *c = session;
	struct text last = {.s = NULL};

	fx.heard += (unsigned)len;
	assert_int_equal(accept_write(c, bytes, len), len);
	if (bytes[len - 1] == 'a')
		accept_abort(c);
	if (bytes[len - 1] == 'q' || bytes[len - 1] == 'a') {
		text_add(&last, "last");
		accept_finish(c, &last);
		assert_null(last.s);
	}
}

static unsigned writable_calls;

static void
echo_writable(void *session)
{
	assert_ptr_equal(session, fx.echo);
	writable_calls++;
}

static void
echo_closed(void *session)
{
	if (session == fx.echo)
		fx.echo = NULL;
	fx.closed++;
}

static int
setup(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof(fx));
	clock_ns = 1000 * UK_NS_PER_S;
	n_held = 0;
	writable_calls = 0;
	diag_init(&fx.d, NULL);
	if (uv_loop_init(&fx.loop) != 0 ||
	    enrol_link_new(&fx.link, ask, NULL) != 0)
		return -1;
	fx.protocol[0] = enrol_link_protocol(fx.link);
	fx.protocol[1] = (struct accept_protocol){.alpn = ECHO_ALPN,
	    .opened = echo_opened,
	    .received = echo_received,
	    .writable = echo_writable,
	    .closed = echo_closed};
	accept_conf_default(&fx.conf);
	fx.conf.identity = identity;
	fx.conf.protocol = fx.protocol;
	fx.conf.protocols = 2;
	return 0;
}

static int
open_accept(void)
{
	return accept_open(&fx.accept, &fx.loop, &fx.conf, &fx.d);
}

static int
teardown(void **state)
{
	int r;

	(void)state;
	accept_close(fx.accept);
	enrol_link_free(fx.link);
	uv_run(&fx.loop, UV_RUN_DEFAULT);
	r = uv_loop_close(&fx.loop); /* UV_EBUSY: a handle was left */
	r |= fx.opened != fx.closed;
	return r;
}

static void
turn(unsigned n)
{
	while (n-- > 0)
		uv_run(&fx.loop, UV_RUN_NOWAIT);
}

/* However slow this host is just now. */
#define TURN_UNTIL(cond)                                                       \
	for (uint64_t end = uv_hrtime() + 50 * UK_NS_PER_S;                    \
	     !(cond) && uv_hrtime() < end; usleep(200))                        \
	turn(1)

static void
later(unsigned ms)
{
	clock_ns += ms * UK_NS_PER_MS;
}

static uint64_t
ended(enum accept_end e)
{
	return accept_stats(fx.accept)->ended[e];
}

static uint64_t
refused(enum accept_refusal r)
{
	return accept_stats(fx.accept)->refused[r];
}

/* Whoever was let in is accounted for. */
static void
check_sum(void)
{
	const struct accept_stats *s = accept_stats(fx.accept);
	uint64_t sum = s->open;

	for (int e = 0; e < ACCEPT_ENDS; e++)
		sum += s->ended[e];
	assert_int_equal(sum, s->let_in);
}

/* ---- a far end ---- */

struct caller {
	int fd;
	struct tls_stream *tls;
	size_t say_max, hear_max; /* of the network's bytes */
	size_t said, heard;
	const uint8_t *say; /* the application's */
	size_t say_len, say_step; /* 0: all at once */
	char *answer;
	size_t len;
	bool up, silent; /* silent: takes nothing from the socket */
	enum tls_result over; /* TLS_CLOSED, TLS_FAILED */
	bool gone; /* the network's end, or a reset */
};

/* source: the address 127.1.*.* that it calls from; 0: IPv6. */
static int
dial(unsigned source)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(0x7f010000 + source)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6,
	    .sin6_port = htons(accept_port(fx.accept)),
	    .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(
	    source == 0 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int r;

	assert_true(fd >= 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (source == 0) {
		r = connect(fd, (struct sockaddr *)&a6, sizeof(a6));
	} else {
		assert_int_equal(
		    bind(fd, (struct sockaddr *)&a4, sizeof(a4)), 0);
		a4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		a4.sin_port = htons(accept_port(fx.accept));
		r = connect(fd, (struct sockaddr *)&a4, sizeof(a4));
	}
	assert_true(r == 0 || errno == EINPROGRESS);
	return fd;
}

static struct caller
call(unsigned source, const char *alpn)
{
	struct caller c = {.fd = dial(source),
	    .say_max = SIZE_MAX,
	    .hear_max = SIZE_MAX,
	    .over = TLS_DONE};

	c.tls = tls_stream_connect(pin, alpn);
	assert_non_null(c.tls);
	c.answer = malloc(ENROL_ANSWER_MAX);
	assert_non_null(c.answer);
	return c;
}

static void
hang_up(struct caller *c)
{
	tls_stream_free(c->tls);
	free(c->answer);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void
caller_application(struct caller *c)
{
	enum tls_result r = TLS_DONE;
	size_t n = c->say_step != 0 && c->say_step < c->say_len ? c->say_step
								: c->say_len;

	if (!c->up)
		r = tls_stream_handshake(c->tls);
	c->up = c->up || r == TLS_DONE;
	if (c->up && n > 0 &&
	    tls_stream_write(c->tls, c->say, n, &n) == TLS_DONE) {
		c->say += n;
		c->say_len -= n;
	}
	while (r == TLS_DONE && c->up) {
		r = tls_stream_read(
		    c->tls, c->answer + c->len, ENROL_ANSWER_MAX - c->len, &n);
		c->len += n;
	}
	if (r == TLS_CLOSED || r == TLS_FAILED)
		c->over = r;
}

static void
caller_network(struct caller *c)
{
	const uint8_t *out;
	uint8_t in[8192];
	size_t n = tls_stream_output(c->tls, &out);
	ssize_t r;

	if (n > c->say_max - c->said)
		n = c->say_max - c->said;
	r = n > 0 ? send(c->fd, out, n, MSG_NOSIGNAL) : 0;
	if (r > 0) {
		tls_stream_output_sent(c->tls, (size_t)r);
		c->said += (size_t)r;
	}
	n = c->hear_max - c->heard < sizeof(in) ? c->hear_max - c->heard
						: sizeof(in);
	if (c->silent || n == 0 || c->gone)
		return;
	r = recv(c->fd, in, n, MSG_PEEK);
	c->gone = r == 0 || (r < 0 && errno != EAGAIN);
	if (c->gone)
		tls_stream_input_end(c->tls);
	if (r <= 0)
		return;
	n = tls_stream_input(c->tls, in, (size_t)r);
	c->heard += n;
	assert_int_equal(recv(c->fd, in, n, 0), n);
}

/* Both ends go on, for so many turns or until it is over. */
static void
meet(struct caller *c, unsigned turns)
{
	while (turns-- > 0 && c->over == TLS_DONE) {
		caller_application(c);
		caller_network(c);
		turn(1);
	}
}

static const uint8_t *
request(uint8_t secret)
{
	static uint8_t bytes[ENROL_REQUEST_LEN];
	struct enrol_request r = {.secret = {secret}};

	memcpy(r.public_key, some_key, KEY_LEN);
	enrol_request_format(&r, bytes);
	return bytes;
}

static struct caller
enrol(unsigned source, uint8_t secret)
{
	struct caller c = call(source, ENROL_ALPN);

	c.say = request(secret);
	c.say_len = ENROL_REQUEST_LEN;
	meet(&c, 200);
	return c;
}

/* The whole answer came, with its end. */
static void
check_status(struct caller *c, enum enrol_status want)
{
	struct enrol_answer a;

	assert_int_equal(c->over, TLS_CLOSED);
	assert_int_equal(enrol_answer_parse(&a, c->answer, c->len, &fx.d), 0);
	assert_int_equal(a.status, want);
	if (want == ENROL_OK)
		assert_string_equal(a.name, "office-pc-1");
	enrol_answer_fini(&a);
}

static void
check_serves(unsigned source)
{
	struct caller c;

	later(1000);
	c = enrol(source, GOOD_SECRET);
	check_status(&c, ENROL_OK);
	hang_up(&c);
	turn(5);
	check_sum();
}

/* ---- enrolment ---- */

static void
test_enrolment(void **state)
{
	struct caller c;

	(void)state;
	assert_int_equal(open_accept(), 0);
	c = enrol(7, GOOD_SECRET);
	check_status(&c, ENROL_OK);
	assert_int_equal(fx.asked_by.addr.family, FAMILY_V4);
	assert_int_equal(fx.asked_by.addr.b[3], 7);
	assert_int_not_equal(fx.asked_by.port, 0);
	assert_int_equal(accept_stats(fx.accept)->open, 1);
	hang_up(&c);
	turn(5);
	c = enrol(0, GOOD_SECRET);
	check_status(&c, ENROL_OK);
	assert_int_equal(fx.asked_by.addr.family, FAMILY_V6);
	assert_int_equal(fx.asked_by.addr.b[15], 1);
	hang_up(&c);
	turn(5);
	assert_int_equal(ended(ACCEPT_FINISHED), 2);
	assert_int_equal(accept_stats(fx.accept)->handshakes, 2);
	assert_int_equal(accept_stats(fx.accept)->open, 0);
	assert_int_equal(enrol_link_stats(fx.link)->answered[ENROL_OK], 2);
	check_sum();
}

static void
test_every_status(void **state)
{
	(void)state;
	assert_int_equal(open_accept(), 0);
	for (uint8_t s = ENROL_USED; s <= ENROL_FAILED; s++) {
		struct caller c = enrol(s, s);

		check_status(&c, (enum enrol_status)s);
		hang_up(&c);
		assert_int_equal(enrol_link_stats(fx.link)->answered[s], 1);
	}
	assert_int_equal(enrol_link_stats(fx.link)->guessing, 0);
}

/* C1, C2: a version that is not ours, bits that must be zero, a useless key;
 * what follows a request does not count. */
static void
test_malformed(void **state)
{
	uint8_t bytes[ENROL_REQUEST_LEN + 20];
	static const size_t broken[] = {0, 1, 3};
	struct caller c;

	(void)state;
	assert_int_equal(open_accept(), 0);
	for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
		memcpy(bytes, request(GOOD_SECRET), ENROL_REQUEST_LEN);
		bytes[broken[i]]++;
		c = call(1, ENROL_ALPN);
		c.say = bytes;
		c.say_len = ENROL_REQUEST_LEN;
		meet(&c, 100);
		assert_int_equal(c.over, TLS_FAILED);
		assert_int_equal(c.len, 0);
		hang_up(&c);
	}
	assert_int_equal(enrol_link_stats(fx.link)->malformed, 3);
	assert_int_equal(ended(ACCEPT_ABORTED), 3);
	assert_int_equal(fx.asked, 0);
	memcpy(bytes, request(GOOD_SECRET), ENROL_REQUEST_LEN);
	later(1000);
	c = call(1, ENROL_ALPN);
	c.say = bytes;
	c.say_len = sizeof(bytes);
	meet(&c, 100);
	check_status(&c, ENROL_OK);
	hang_up(&c);
}

/* The answer is larger than any buffer on the way; and a reader that takes it
 * in small pieces is fast enough. */
static void
test_long_answer(void **state)
{
	struct caller c;

	(void)state;
	fx.big = true;
	assert_int_equal(open_accept(), 0);
	c = enrol(1, GOOD_SECRET);
	meet(&c, 2000);
	assert_true(c.len > BIG_POLICY);
	check_status(&c, ENROL_OK);
	hang_up(&c);
	turn(5);
	assert_int_equal(ended(ACCEPT_FINISHED), 1);
}

/* ---- what comes instead of an enrolment ---- */

/* Returns whether the relay ended it, and what it said before in text. */
static bool
say_raw(unsigned source, const void *bytes, size_t len, uint8_t *text,
    size_t *text_len)
{
	int fd = dial(source);
	ssize_t n = -1;

	turn(2);
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
	*text_len = 0;
	for (int i = 0; i < 20 && n < 0; i++) {
		turn(1);
		n = recv(fd, text, 64, 0);
		if (n < 0 && errno != EAGAIN)
			n = 0;
	}
	*text_len = n > 0 ? (size_t)n : 0;
	close(fd);
	turn(2);
	return n >= 0;
}

/* C1, T1: plain HTTP, other protocols' first words, noise. */
static void
test_garbage(void **state)
{
	static const char *const words[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	    "SSH-2.0-OpenSSH_9.2\r\n", "\x16\x03\x01\xff\xff\x01\xff\xff\xff",
	    "\x15\x03\x01", "\x16\x03\x01\x02"};
	uint8_t noise[600], text[64];
	unsigned source = 1;
	size_t len;
	uint64_t x = 88172645463325252u;

	(void)state;
	assert_int_equal(open_accept(), 0);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		say_raw(source++, words[i], strlen(words[i]), text, &len);
	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < sizeof(noise); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			noise[i] = (uint8_t)x;
		}
		noise[0] = round % 2 == 0 ? 0x16 : noise[0];
		later(50);
		assert_true(
		    say_raw(source++, noise, sizeof(noise), text, &len));
	}
	turn(5);
	assert_int_equal(accept_stats(fx.accept)->open, 0);
	assert_int_equal(ended(ACCEPT_HANDSHAKE), ARRAY_LEN(words) + 50);
	check_serves(200);
}

/* A far end that wants what we do not speak is told so. */
static void
test_wrong_alpn(void **state)
{
	struct caller c;

	(void)state;
	assert_int_equal(open_accept(), 0);
	c = call(1, "http/1.1");
	meet(&c, 100);
	assert_int_equal(c.over, TLS_FAILED);
	assert_true(c.heard > 0); /* the alert */
	assert_false(c.up);
	hang_up(&c);
	assert_int_equal(ended(ACCEPT_HANDSHAKE), 1);
	check_serves(1);
}

/* ---- T2: time ---- */

static void
test_silence(void **state)
{
	int fd;
	char b;

	(void)state;
	fx.conf.request_ns = HELD_NS;
	assert_int_equal(open_accept(), 0);
	fd = dial(1);
	turn(2);
	assert_int_equal(accept_stats(fx.accept)->let_in, 1);
	assert_int_equal(accept_stats(fx.accept)->open, 1);
	assert_int_equal(time_is_over(), 1);
	TURN_UNTIL(accept_stats(fx.accept)->open == 0);
	assert_int_equal(recv(fd, &b, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(ended(ACCEPT_TIMED_OUT), 1);
	close(fd);
}

/* TLS is up and no request comes: the time is one for both. */
static void
test_silence_inside(void **state)
{
	struct caller c;

	(void)state;
	fx.conf.request_ns = HELD_NS;
	assert_int_equal(open_accept(), 0);
	c = call(1, ENROL_ALPN);
	c.say = request(GOOD_SECRET);
	c.say_len = ENROL_REQUEST_LEN - 1;
	meet(&c, 50);
	assert_true(c.up);
	assert_int_equal(time_is_over(), 1);
	TURN_UNTIL(accept_stats(fx.accept)->open == 0);
	assert_int_equal(ended(ACCEPT_TIMED_OUT), 1);
	assert_int_equal(enrol_link_stats(fx.link)->incomplete, 1);
	hang_up(&c);
}

/* A byte at a time: well when it is done in time, ended when not, however
 * lively it is. */
static void
test_slow_loris(void **state)
{
	struct caller c;

	(void)state;
	assert_int_equal(open_accept(), 0);
	c = call(1, ENROL_ALPN);
	c.say = request(GOOD_SECRET);
	c.say_len = ENROL_REQUEST_LEN;
	c.say_step = 1;
	meet(&c, 500);
	check_status(&c, ENROL_OK);
	hang_up(&c);
	accept_close(fx.accept);
	fx.conf.request_ns = HELD_NS;
	assert_int_equal(open_accept(), 0);
	c = call(1, ENROL_ALPN);
	for (int i = 0; i < 20; i++) {
		c.say_max = c.said + 1;
		meet(&c, 1);
	}
	assert_int_equal(c.said, 20);
	assert_int_equal(time_is_over(), 1);
	TURN_UNTIL(accept_stats(fx.accept)->open == 0);
	assert_int_equal(ended(ACCEPT_TIMED_OUT), 1);
	hang_up(&c);
}

/* A far end that does not take its answer; the kernel's buffers may. */
static void
test_slow_reader(void **state)
{
	struct caller c;

	(void)state;
	fx.big = true;
	fx.conf.drain_ns = HELD_NS;
	assert_int_equal(open_accept(), 0);
	c = call(1, ENROL_ALPN);
	assert_int_equal(
	    setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)),
	    0);
	c.say = request(GOOD_SECRET);
	c.say_len = ENROL_REQUEST_LEN;
	while (!c.up)
		meet(&c, 1);
	c.silent = true;
	meet(&c, 20);
	assert_int_equal(fx.asked, 1);
	assert_int_equal(time_is_over(), 1);
	TURN_UNTIL(accept_stats(fx.accept)->open == 0);
	assert_int_equal(ended(ACCEPT_TIMED_OUT), 1);
	hang_up(&c);
}

/* ---- A3, T2: numbers ---- */

static void
test_source(void **state)
{
	struct ip_addr a = {FAMILY_V6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1}};
	struct ip_addr b = a, s, t;

	(void)state;
	b.b[15] = 1;
	s = accept_source(&a);
	t = accept_source(&b);
	assert_true(ip_addr_equal(&s, &t));
	b.b[7] = 2;
	t = accept_source(&b);
	assert_false(ip_addr_equal(&s, &t));
	a = (struct ip_addr){FAMILY_V4, {192, 0, 2, 1}};
	s = accept_source(&a);
	assert_true(ip_addr_equal(&s, &a));
}

/* A3: the bucket is an address's, whatever the port; others have their own. */
static void
test_rate(void **state)
{
	int fd[8];

	(void)state;
	assert_int_equal(open_accept(), 0);
	for (int i = 0; i < 7; i++)
		fd[i] = dial(1);
	turn(5);
	assert_int_equal(accept_stats(fx.accept)->let_in, 5);
	assert_int_equal(refused(ACCEPT_RATE), 2);
	fd[7] = dial(2);
	turn(5);
	assert_int_equal(accept_stats(fx.accept)->let_in, 6);
	for (int i = 0; i < 8; i++)
		close(fd[i]);
	later(60);
	fd[0] = dial(1);
	turn(5);
	assert_int_equal(accept_stats(fx.accept)->let_in, 7);
	close(fd[0]);
}

static void
test_max_per_source(void **state)
{
	int fd[12];

	(void)state;
	assert_int_equal(open_accept(), 0);
	for (int i = 0; i < 10; i++) {
		fd[i] = dial(1);
		later(60);
		turn(3);
	}
	assert_int_equal(accept_stats(fx.accept)->open, 8);
	assert_int_equal(refused(ACCEPT_SOURCE), 2);
	fd[10] = dial(2); /* has its own eight */
	turn(3);
	assert_int_equal(accept_stats(fx.accept)->open, 9);
	close(fd[0]); /* makes room for one */
	turn(3);
	later(60);
	fd[11] = dial(1);
	turn(3);
	assert_int_equal(accept_stats(fx.accept)->open, 9);
	assert_int_equal(refused(ACCEPT_SOURCE), 2);
	for (int i = 1; i < 12; i++)
		close(fd[i]);
	turn(3);
	assert_int_equal(accept_stats(fx.accept)->open, 0);
	check_sum();
}

static void
test_thousand_from_one(void **state)
{
	int first[5];

	(void)state;
	assert_int_equal(open_accept(), 0);
	for (int i = 0; i < 5; i++)
		first[i] = dial(1);
	turn(2);
	for (unsigned i = 0; i < 995; i++) {
		int fd = dial(1);

		later(i % 8); /* both limits have work */
		turn(1);
		close(fd);
	}
	turn(5);
	assert_true(accept_stats(fx.accept)->open <= 8);
	assert_true(refused(ACCEPT_RATE) > 100);
	assert_int_equal(accept_stats(fx.accept)->let_in +
			     refused(ACCEPT_RATE) + refused(ACCEPT_SOURCE),
	    1000);
	check_serves(2);
	for (int i = 0; i < 5; i++)
		close(first[i]);
}

static bool
is_reset(int fd)
{
	char b;

	return recv(fd, &b, 1, 0) < 0 && errno == ECONNRESET;
}

/* When all places are taken the oldest stranger goes, whether it is through
 * with its handshake or not. */
static void
test_eviction(void **state)
{
	struct caller inside;
	int fd[20];

	(void)state;
	fx.conf.max = 16;
	fx.conf.pace_per_s = 100000;
	assert_int_equal(open_accept(), 0);
	inside = call(100, ENROL_ALPN);
	meet(&inside, 20);
	assert_true(inside.up);
	for (unsigned i = 0; i < 20; i++) {
		fd[i] = dial(1 + i);
		turn(3);
		assert_true(accept_stats(fx.accept)->open <= 16);
	}
	assert_int_equal(ended(ACCEPT_EVICTED), 5);
	for (int i = 0; i < 20; i++)
		assert_int_equal(is_reset(fd[i]), i < 4);
	meet(&inside, 5);
	assert_true(inside.gone);
	hang_up(&inside);
	check_serves(200); /* while all places are taken */
	for (int i = 0; i < 20; i++)
		close(fd[i]);
}

/* Those who are known stay: with them everywhere a newcomer is refused. */
static void
test_settled(void **state)
{
	struct caller c[4];
	int fd;

	(void)state;
	fx.conf.max = 4;
	fx.conf.max_per_source = 1;
	fx.conf.request_ns = HELD_NS;
	fx.settle = true;
	assert_int_equal(open_accept(), 0);
	for (int i = 0; i < 4; i++) {
		c[i] = call(1, ECHO_ALPN); /* they count no more for it */
		meet(&c[i], 20);
		assert_true(c[i].up);
	}
	assert_int_equal(accept_stats(fx.accept)->settled, 4);
	fd = dial(2);
	turn(3);
	assert_int_equal(refused(ACCEPT_FULL), 1);
	assert_true(is_reset(fd));
	close(fd);
	assert_int_equal(time_is_over(), 0); /* nor does their time end */
	assert_int_equal(accept_stats(fx.accept)->open, 4);
	hang_up(&c[3]);
	turn(3);
	assert_int_equal(accept_stats(fx.accept)->settled, 3);
	check_serves(2);
	for (int i = 0; i < 3; i++)
		hang_up(&c[i]);
}

/* More than the pace wait in the backlog, none is lost; and IPv6 has its half
 * although IPv4 was first. */
static void
test_pace(void **state)
{
	struct caller c;
	int fd[64], n = 0;

	(void)state;
	fx.conf.pace_per_s = 100;
	assert_int_equal(open_accept(), 0);
	for (unsigned i = 0; i < 32; i++)
		fd[n++] = dial(1 + i);
	turn(5);
	assert_int_equal(accept_stats(fx.accept)->let_in, 32);
	for (unsigned i = 0; i < 8; i++)
		fd[n++] = dial(40 + i);
	c = call(0, ENROL_ALPN);
	meet(&c, 10);
	assert_false(c.up);
	assert_int_equal(accept_stats(fx.accept)->let_in, 32);
	later(21); /* two more */
	TURN_UNTIL(accept_stats(fx.accept)->let_in >= 34);
	turn(5);
	assert_int_equal(accept_stats(fx.accept)->let_in, 34);
	meet(&c, 20);
	assert_true(c.up);
	later(1000);
	TURN_UNTIL(accept_stats(fx.accept)->let_in == 41);
	assert_int_equal(accept_stats(fx.accept)->let_in, 41);
	while (n > 0)
		close(fd[--n]);
	hang_up(&c);
}

/* A3: whoever guesses gets no answer for a while, not even the right one;
 * others do. */
static void
test_guesses(void **state)
{
	const struct enrol_link_stats *s;
	struct caller c;

	(void)state;
	assert_int_equal(open_accept(), 0);
	s = enrol_link_stats(fx.link);
	for (int i = 0; i < 2 * ENROL_LINK_GUESSES; i++) {
		later(60); /* no guesses */
		c = enrol(3, ENROL_EXPIRED);
		check_status(&c, ENROL_EXPIRED);
		hang_up(&c);
	}
	fx.asked = 0;
	for (int i = 0; i < ENROL_LINK_GUESSES; i++) {
		later(60);
		c = enrol(1, ENROL_UNKNOWN);
		check_status(&c, ENROL_UNKNOWN);
		hang_up(&c);
	}
	assert_int_equal(s->guessing, 0);
	later(60);
	c = enrol(1, GOOD_SECRET);
	check_status(&c, ENROL_BUSY);
	hang_up(&c);
	assert_int_equal(s->guessing, 1);
	assert_int_equal(fx.asked, ENROL_LINK_GUESSES);
	check_serves(2);
	later(60000);
	check_serves(1);
	assert_int_equal(fx.asked, ENROL_LINK_GUESSES + 2);
}

/* With more guessers than places the first is forgotten, not the latest. */
static void
test_many_guessers(void **state)
{
	struct caller c;

	(void)state;
	assert_int_equal(open_accept(), 0);
	for (unsigned i = 0; i < 256 + ENROL_LINK_GUESSES; i++) {
		/* The first and the last guess often. */
		unsigned source = i < ENROL_LINK_GUESSES ? 999
				  : i < 256              ? 1000 + i
							 : 1256;

		later(60);
		c = enrol(source, ENROL_UNKNOWN);
		check_status(&c, ENROL_UNKNOWN);
		hang_up(&c);
	}
	later(60);
	c = enrol(1256, ENROL_UNKNOWN);
	check_status(&c, ENROL_BUSY);
	hang_up(&c);
	c = enrol(999, ENROL_UNKNOWN);
	check_status(&c, ENROL_BUSY);
	hang_up(&c);
	for (unsigned i = 0; i < 10; i++) {
		later(60);
		c = enrol(2000 + i, ENROL_UNKNOWN);
		hang_up(&c);
	}
	c = enrol(999, ENROL_UNKNOWN);
	check_status(&c, ENROL_UNKNOWN);
	hang_up(&c);
	c = enrol(1256, ENROL_UNKNOWN);
	check_status(&c, ENROL_BUSY);
	hang_up(&c);
}

/* ---- ends at every place ---- */

static void
reset(struct caller *c)
{
	struct linger none = {.l_onoff = 1};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	hang_up(c);
}

/* The far end leaves after so many bytes of the network, said or heard: by a
 * close, a reset, or an end of its half. Returns false when it came through
 * with all of it before. */
static bool
leave_early(unsigned source, size_t say_max, size_t hear_max)
{
	struct caller c = call(source, ENROL_ALPN);
	bool through;

	later(1); /* the pace */
	c.say_max = say_max;
	c.hear_max = hear_max;
	c.say = request(GOOD_SECRET);
	c.say_len = ENROL_REQUEST_LEN;
	meet(&c, 12);
	through = c.over == TLS_CLOSED;
	if (source % 3 == 1)
		reset(&c);
	if (source % 3 == 2) {
		shutdown(c.fd, SHUT_WR);
		turn(2);
	}
	if (source % 3 != 1)
		hang_up(&c);
	turn(3);
	assert_int_equal(accept_stats(fx.accept)->open, 0);
	return !through;
}

static void
test_early_close(void **state)
{
	unsigned source = 1;
	size_t at;

	(void)state;
	fx.conf.pace_per_s = 1000000;
	assert_int_equal(open_accept(), 0);
	for (at = 0; leave_early(source++, at, SIZE_MAX); at++)
		assert_true(at < 2000);
	assert_true(at > 300); /* hello, Finished, request */
	for (at = 0; leave_early(source++, SIZE_MAX, at); at += 9)
		assert_true(at < 6000);
	assert_true(at > 600);
	check_sum();
	assert_true(ended(ACCEPT_HANDSHAKE) > 200);
	assert_true(ended(ACCEPT_LOST) > 50);
	check_serves(1);
}

/* The far end's half is closed, by TCP or by close_notify, as soon as the
 * request is said: the answer goes out all the same. */
static void
test_half_close(void **state)
{
	(void)state;
	fx.big = true;
	assert_int_equal(open_accept(), 0);
	for (unsigned way = 0; way < 2; way++) {
		struct caller c = call(1, ENROL_ALPN);

		while (!c.up)
			meet(&c, 1);
		c.say = request(GOOD_SECRET);
		c.say_len = ENROL_REQUEST_LEN;
		caller_application(&c);
		if (way == 1)
			assert_int_equal(tls_stream_close(c.tls), TLS_DONE);
		caller_network(&c);
		shutdown(c.fd, SHUT_WR);
		meet(&c, 2000);
		check_status(&c, ENROL_OK);
		hang_up(&c);
		turn(5);
		assert_int_equal(ended(ACCEPT_FINISHED), way + 1);
	}
}

/* Half a request and then the end: nobody is asked, nothing answered. */
static void
test_half_request(void **state)
{
	(void)state;
	assert_int_equal(open_accept(), 0);
	for (unsigned way = 0; way < 2; way++) {
		struct caller c = call(1, ENROL_ALPN);

		c.say = request(GOOD_SECRET);
		c.say_len = ENROL_REQUEST_LEN - 1;
		meet(&c, 50);
		if (way == 1)
			assert_int_equal(tls_stream_close(c.tls), TLS_DONE);
		caller_network(&c);
		shutdown(c.fd, SHUT_WR);
		turn(5);
		assert_int_equal(ended(ACCEPT_LOST), way + 1);
		meet(&c, 5);
		assert_int_equal(c.len, 0);
		hang_up(&c);
	}
	assert_int_equal(fx.asked, 0);
	assert_int_equal(enrol_link_stats(fx.link)->incomplete, 2);
}

/* ---- another protocol ---- */

static struct caller
echo(unsigned source, const char *text)
{
	struct caller c = call(source, ECHO_ALPN);

	c.say = (const uint8_t *)text;
	c.say_len = strlen(text);
	meet(&c, 50);
	return c;
}

static void
test_echo(void **state)
{
	struct caller c;

	(void)state;
	assert_int_equal(open_accept(), 0);
	c = echo(1, "hello");
	assert_int_equal(c.len, 5);
	assert_memory_equal(c.answer, "hello", 5);
	assert_int_equal(c.over, TLS_DONE);
	c.say = (const uint8_t *)"q";
	c.say_len = 1;
	meet(&c, 50);
	assert_int_equal(c.over, TLS_CLOSED);
	assert_int_equal(c.len, 10);
	assert_memory_equal(c.answer, "helloqlast", 10);
	hang_up(&c);
	turn(5);
	assert_int_equal(ended(ACCEPT_FINISHED), 1);
	assert_int_equal(fx.asked, 0);
}

static void
test_abort(void **state)
{
	struct caller c;

	(void)state;
	assert_int_equal(open_accept(), 0);
	c = echo(1, "a");
	assert_int_equal(c.over, TLS_FAILED);
	assert_int_equal(fx.closed, 1);
	hang_up(&c);
	c = echo(1, "hello");
	accept_abort(fx.echo); /* from outside of its handler */
	accept_finish(fx.echo, NULL);
	accept_settle(fx.echo);
	assert_int_equal(fx.closed, 1);
	TURN_UNTIL(fx.closed == 2);
	assert_int_equal(fx.closed, 2);
	hang_up(&c);
	assert_int_equal(ended(ACCEPT_ABORTED), 2);
	fx.refuse = true;
	c = echo(1, "hello");
	assert_int_equal(c.over, TLS_FAILED);
	hang_up(&c);
	assert_int_equal(fx.opened, 2);
	assert_int_equal(ended(ACCEPT_ABORTED), 3);
}

/* Writing is bounded: more than TLS and the socket hold is not taken, and the
 * session hears when it may go on. */
static void
test_write(void **state)
{
	static const uint8_t zeros[4096];
	struct caller c;
	size_t n, all = 0;

	(void)state;
	assert_int_equal(open_accept(), 0);
	c = echo(1, "hello");
	c.silent = true;
	do {
		n = accept_write(fx.echo, zeros, sizeof(zeros));
		all += n;
	} while (n > 0);
	assert_true(all > 16384 && all <= TLS_BUFFER_MAX);
	assert_int_equal(writable_calls, 0);
	turn(3);
	assert_int_equal(writable_calls, 1);
	accept_finish(fx.echo, NULL);
	assert_int_equal(accept_write(fx.echo, zeros, 1), 0);
	c.silent = false;
	meet(&c, 100);
	assert_int_equal(c.over, TLS_CLOSED);
	assert_int_equal(c.len, 5 + all);
	hang_up(&c);
}

/* The end waits for a far end that takes nothing; what that one says meanwhile
 * does not keep the loop awake. */
static void
test_stuck(void **state)
{
	static const uint8_t zeros[4096];
	struct pollfd awake = {.events = POLLIN};
	struct caller c;
	unsigned idle = 0;

	(void)state;
	assert_int_equal(open_accept(), 0);
	c = echo(1, "hello");
	for (unsigned i = 0; i < 100000 && idle < 300; i++) {
		idle = accept_write(fx.echo, zeros, sizeof(zeros)) == 0
			   ? idle + 1
			   : 0;
		turn(1);
		usleep(idle > 0 ? 100 : 0);
	}
	assert_int_equal(idle, 300);
	accept_finish(fx.echo, NULL);
	turn(3);
	assert_int_equal(send(c.fd, "x", 1, MSG_NOSIGNAL), 1);
	turn(3);
	awake.fd = uv_backend_fd(&fx.loop);
	assert_int_equal(poll(&awake, 1, 0), 0);
	hang_up(&c);
	turn(3);
	assert_int_equal(ended(ACCEPT_LOST), 1);
}

/* ---- the host ---- */

/* Without descriptors the loop does not spin, and goes on when there are. */
static void
test_no_descriptors(void **state)
{
	struct rlimit old, none;
	struct caller c;
	int next;

	(void)state;
	assert_int_equal(open_accept(), 0);
	c = call(1, ENROL_ALPN);
	c.say = request(GOOD_SECRET);
	c.say_len = ENROL_REQUEST_LEN;
	next = dup(c.fd);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	turn(100);
	assert_int_equal(accept_stats(fx.accept)->exhausted, 1);
	assert_int_equal(accept_stats(fx.accept)->let_in, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	TURN_UNTIL(accept_stats(fx.accept)->let_in == 1);
	meet(&c, 100);
	check_status(&c, ENROL_OK);
	assert_int_equal(accept_stats(fx.accept)->exhausted, 1);
	hang_up(&c);
}

static int
occupy(int family, uint16_t *port)
{
	struct sockaddr_in6 a = {.sin6_family = (sa_family_t)family};
	socklen_t len =
	    family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(a);
	int fd = socket(family, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	if (family == AF_INET6)
		setsockopt(
		    fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin6_port);
	return fd;
}

static void
check_in_use(void)
{
	char want[64];

	diag_init(&fx.d, NULL);
	assert_int_equal(open_accept(), UK_EBUSY);
	assert_null(fx.accept);
	assert_int_equal(fx.d.errors, 1);
	snprintf(want, sizeof(want), "TCP port %u is in use", fx.conf.port);
	assert_non_null(strstr(fx.d.entry[0].text, want));
	assert_non_null(strstr(fx.d.entry[0].text, "TlsPort"));
}

/* Somebody has the port, for one family only: refused, with what to do. */
static void
test_port_in_use(void **state)
{
	int r = UK_EBUSY;

	(void)state;
	close(occupy(AF_INET, &fx.conf.port));
	for (int i = 0; i < 20 && r == UK_EBUSY; i++) {
		int fd = occupy(i % 2 ? AF_INET : AF_INET6, &fx.conf.port);

		check_in_use();
		close(fd);
		/* The other family's may be somebody else's: then again. */
		r = i > 0 ? open_accept() : r;
	}
	assert_int_equal(r, 0);
	assert_int_equal(accept_port(fx.accept), fx.conf.port);
	check_serves(1);
}

static void
test_not_permitted(void **state)
{
	int fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start",
	    O_RDONLY | O_CLOEXEC);
	char text[16] = "0";
	int r;

	(void)state;
	assert_true(fd < 0 || read(fd, text, sizeof(text) - 1) > 0);
	if (fd >= 0)
		close(fd);
	if (strtol(text, NULL, 10) < 1000 || geteuid() != 0)
		skip(); /* anybody may listen there, or nobody is root */
	fx.conf.port = 999;
	assert_int_equal(seteuid(65534), 0);
	r = open_accept();
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, UK_EPERM);
	assert_non_null(strstr(fx.d.entry[0].text, "TCP port 999"));
	assert_non_null(strstr(fx.d.entry[0].text, "CAP_NET_BIND_SERVICE"));
}

/* Closed in the middle of everything. */
static void
test_close(void **state)
{
	struct caller c[3];

	(void)state;
	assert_int_equal(open_accept(), 0);
	c[0] = call(1, ENROL_ALPN);
	c[1] = echo(2, "hello");
	c[2] = enrol(3, GOOD_SECRET); /* lingers */
	turn(3);
	assert_int_equal(accept_stats(fx.accept)->open, 3);
	accept_close(fx.accept);
	fx.accept = NULL;
	assert_int_equal(fx.closed, 1);
	for (int i = 0; i < 3; i++)
		hang_up(&c[i]);
}

static void
test_no_memory(void **state)
{
	struct caller c = {.answer = NULL};
	bool whole = false;

	(void)state;
	for (unsigned n = 1; !whole; n++) {
		int r;

		assert_true(n < 200);
		allocations = 0;
		fail_at = n;
		r = open_accept();
		assert_true(r == 0 || r == UK_ENOMEM || r == UK_ECRYPTO);
		if (r != 0)
			continue;
		fail_at = 0;
		c = call(1, ENROL_ALPN);
		c.say = request(GOOD_SECRET);
		c.say_len = ENROL_REQUEST_LEN;
		turn(1); /* the relay's side is let in by now or later */
		allocations = 0;
		fail_at = n;
		meet(&c, 20);
		whole = c.over == TLS_CLOSED && allocations < n;
		fail_at = 0;
		hang_up(&c);
		turn(3);
		assert_int_equal(accept_stats(fx.accept)->open, 0);
		check_sum();
		accept_close(fx.accept);
		fx.accept = NULL;
	}
	fail_at = 0;
}

static void
test_names(void **state)
{
	(void)state;
	for (int i = 0; i < ACCEPT_REFUSALS; i++)
		assert_non_null(accept_refusal_name((enum accept_refusal)i));
	for (int i = 0; i < ACCEPT_ENDS; i++)
		assert_non_null(accept_end_name((enum accept_end)i));
	accept_conf_default(&fx.conf);
	assert_int_equal(fx.conf.max, 256);
	/* The promise in the header: two round trips, with much to spare. */
	assert_true(fx.conf.max / fx.conf.pace_per_s >= 1);
}

static int
make_identity(void **state)
{
	(void)state;
	log_init("test_accept", LOG_SILENT);
	if (tls_identity_new(&identity, NULL) != 0)
		return -1;
	tls_identity_pin(identity, pin);
	return 0;
}

static int
free_identity(void **state)
{
	(void)state;
	tls_identity_free(identity);
	return 0;
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_enrolment),
	    T(test_every_status),
	    T(test_malformed),
	    T(test_long_answer),
	    T(test_garbage),
	    T(test_wrong_alpn),
	    T(test_silence),
	    T(test_silence_inside),
	    T(test_slow_loris),
	    T(test_slow_reader),
	    T(test_source),
	    T(test_rate),
	    T(test_max_per_source),
	    T(test_thousand_from_one),
	    T(test_eviction),
	    T(test_settled),
	    T(test_pace),
	    T(test_guesses),
	    T(test_many_guessers),
	    T(test_early_close),
	    T(test_half_close),
	    T(test_half_request),
	    T(test_echo),
	    T(test_abort),
	    T(test_write),
	    T(test_stuck),
	    T(test_no_descriptors),
	    T(test_port_in_use),
	    T(test_not_permitted),
	    T(test_close),
	    T(test_no_memory),
	    T(test_names),
	};
	return cmocka_run_group_tests(tests, make_identity, free_identity);
}
