#include "accept_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "io/clock.h"

/* At most so often in one turn is one connection's socket read. */
#define READS 4
/* What the far end may still send while it is to hear our last word. */
#define LINGER_BYTES 65536

/* ---- one connection's end ---- */

static void
conn_unlink(struct accept_conn *c)
{
	struct accept *a = c->accept;

	*(c->older != NULL ? &c->older->newer : &a->oldest) = c->newer;
	*(c->newer != NULL ? &c->newer->older : &a->newest) = c->older;
}

void
accept_close_socket(int fd, bool reset)
{
	static const struct linger none = {.l_onoff = 1, .l_linger = 0};

	if (reset)
		(void)setsockopt(
		    fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(fd);
}

static void
conn_free(struct accept_conn *c, bool reset)
{
	if (c->session != NULL)
		c->protocol->closed(c->session);
	watch_close(c->watch);
	watch_close(c->timer);
	tls_stream_free(c->tls);
	text_fini(&c->last);
	accept_close_socket(c->fd, reset);
	free(c);
}

void
accept_conn_end(struct accept_conn *c, enum accept_end why)
{
	struct accept *a = c->accept;

	conn_unlink(c);
	a->stats.open--;
	if (c->settled)
		a->stats.settled--;
	a->stats.ended[why]++;
	/* Who spoke no TLS of ours is told so by an alert. */
	conn_free(c, why != ACCEPT_FINISHED && why != ACCEPT_HANDSHAKE);
}

/* The far end is gone, or what it said made no sense. */
static void
conn_fail(struct accept_conn *c, const char *why)
{
	struct accept *a = c->accept;
	char text[ENDPOINT_TEXT_MAX];

	if (c->state == CONN_OPEN || c->state == CONN_FINISHING) {
		accept_conn_end(c, ACCEPT_LOST);
		return;
	}
	log_limited(&a->failed_log, clock_now().mono_ns, LOG_DEBUG,
	    "TLS handshake with %s failed: %s", endpoint_format(&c->from, text),
	    why);
	accept_conn_end(c, ACCEPT_HANDSHAKE);
}

static void
conn_is_due(void *arg)
{
	struct accept_conn *c = arg;

	accept_conn_end(c, c->aborted ? ACCEPT_ABORTED : ACCEPT_TIMED_OUT);
}

/* ---- its steps: each until TLS wants something ---- */

static const struct accept_protocol *
protocol_of(const struct accept *a, const char *alpn)
{
	for (size_t i = 0; alpn != NULL && i < a->conf.protocols; i++)
		if (strcmp(a->conf.protocol[i].alpn, alpn) == 0)
			return &a->conf.protocol[i];
	return NULL;
}

static enum tls_result
shake_hands(struct accept_conn *c)
{
	enum tls_result r = tls_stream_handshake(c->tls);

	if (r != TLS_DONE)
		return r;
	c->accept->stats.handshakes++;
	c->state = CONN_OPEN;
	c->protocol = protocol_of(c->accept, tls_stream_alpn(c->tls));
	if (c->protocol != NULL)
		c->session = c->protocol->opened(c->protocol->arg, c, &c->from);
	if (c->session == NULL)
		accept_abort(c);
	return TLS_DONE;
}

static enum tls_result
receive(struct accept_conn *c)
{
	uint8_t plain[ACCEPT_READ_BYTES];
	size_t n = 0;
	enum tls_result r = tls_stream_read(c->tls, plain, sizeof(plain), &n);

	if (r == TLS_DONE)
		c->protocol->received(c->session, plain, n);
	sodium_memzero(plain, n);
	return r;
}

static enum tls_result
say_last(struct accept_conn *c)
{
	enum tls_result r = TLS_DONE;
	size_t n;

	while (r == TLS_DONE && c->last_at < c->last.len) {
		n = 0;
		r = tls_stream_write(c->tls, c->last.s + c->last_at,
		    c->last.len - c->last_at, &n);
		c->last_at += n;
	}
	if (r == TLS_DONE && !c->said_all) {
		r = tls_stream_close(c->tls);
		c->said_all = r == TLS_DONE;
	}
	return c->said_all ? TLS_WANT_OUTPUT : r;
}

static enum tls_result
conn_step(struct accept_conn *c)
{
	static enum tls_result (*const step[])(struct accept_conn *) = {
	    [CONN_HANDSHAKE] = shake_hands,
	    [CONN_OPEN] = receive,
	    [CONN_FINISHING] = say_last,
	};
	enum tls_result r = TLS_DONE;

	while (r == TLS_DONE && !c->aborted)
		r = step[c->state](c);
	return r;
}

/* ---- between TLS and the socket ---- */

static bool
has_output(struct accept_conn *c)
{
	const uint8_t *bytes;

	return tls_stream_output(c->tls, &bytes) > 0;
}

/* Send what the socket takes. False: nobody is there any more. */
static bool
flush(struct accept_conn *c)
{
	const uint8_t *bytes;
	size_t len;
	ssize_t n;

	while ((len = tls_stream_output(c->tls, &bytes)) > 0) {
		n = send(c->fd, bytes, len, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		tls_stream_output_sent(c->tls, (size_t)n);
	}
	return true;
}

/* Read some from the socket. Returns 1; 0: nothing is there; -1: nothing will
 * be any more. The end of the stream is TLS's to judge. */
static int
hear(struct accept_conn *c)
{
	ssize_t n;

	if (c->heard_all)
		return -1;
	n = recv(c->fd, c->in, sizeof(c->in), 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	c->in_at = 0;
	c->in_len = (size_t)n;
	c->heard_all = n == 0;
	if (c->heard_all)
		tls_stream_input_end(c->tls);
	return 1;
}

/* Give TLS what it wants. Returns as hear(). */
static int
supply(struct accept_conn *c, unsigned *reads)
{
	size_t n;
	int r = 1;

	if (c->in_at == c->in_len) {
		if (*reads == 0)
			return 0;
		--*reads;
		r = hear(c);
	}
	if (r <= 0 || c->heard_all)
		return r;
	n = tls_stream_input(c->tls, c->in + c->in_at, c->in_len - c->in_at);
	c->in_at += n;
	return n > 0 ? 1 : -1;
}

/* What is unread when a socket is closed makes the kernel reset the connection,
 * and our answer may be lost by that: read it, and wait for the far end. */
static void
linger(struct accept_conn *c)
{
	ssize_t n = recv(c->fd, c->in, sizeof(c->in), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->lingered += (size_t)n;
	if (n <= 0 || c->lingered > LINGER_BYTES)
		accept_conn_end(c, n < 0 ? ACCEPT_LOST : ACCEPT_FINISHED);
}

static void
start_linger(struct accept_conn *c)
{
	c->state = CONN_LINGERING;
	(void)shutdown(c->fd, SHUT_WR);
	watch_wait(c->watch, true, false);
}

/* Nothing more can be done before the network moves. */
static void
conn_wait(struct accept_conn *c)
{
	if (c->state == CONN_OPEN && c->wants_room && !has_output(c)) {
		c->wants_room = false;
		c->protocol->writable(c->session);
	}
	watch_wait(c->watch,
	    c->state != CONN_FINISHING && c->in_at == c->in_len &&
		!c->heard_all,
	    c->state == CONN_FINISHING || has_output(c));
}

/* Returns false when the connection went on to wait, or is no more. */
static bool
conn_turn(struct accept_conn *c, unsigned *reads)
{
	enum tls_result r = conn_step(c);
	int had;

	if (c->aborted) {
		accept_conn_end(c, ACCEPT_ABORTED);
		return false;
	}
	if (!flush(c) || r == TLS_CLOSED) {
		conn_fail(c, "it went away");
		return false;
	}
	if (r == TLS_FAILED) {
		conn_fail(c, tls_stream_error(c->tls));
		return false;
	}
	if (r == TLS_WANT_OUTPUT && has_output(c)) {
		conn_wait(c);
		return false;
	}
	if (c->said_all) {
		start_linger(c);
		return false;
	}
	if (r == TLS_WANT_OUTPUT)
		return true;
	had = supply(c, reads);
	if (had < 0)
		conn_fail(c, "it went away");
	else if (had == 0)
		conn_wait(c);
	return had > 0;
}

static void
conn_go_on(void *arg)
{
	struct accept_conn *c = arg;
	unsigned reads = READS;

	if (c->state == CONN_LINGERING) {
		linger(c);
		return;
	}
	while (conn_turn(c, &reads))
		;
}

/* ---- what a session may ask of its connection ---- */

size_t
accept_write(struct accept_conn *c, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	enum tls_result r = TLS_DONE;
	size_t at = 0, n;

	if (c->aborted || c->state != CONN_OPEN)
		return 0;
	while (r == TLS_DONE && at < len) {
		n = 0;
		r = tls_stream_write(c->tls, p + at, len - at, &n);
		at += n;
	}
	c->wants_room = at < len && c->protocol->writable != NULL;
	watch_wait(c->watch, c->in_at == c->in_len && !c->heard_all, true);
	return at;
}

void
accept_finish(struct accept_conn *c, struct text *last)
{
	if (c->aborted) {
		if (last != NULL)
			text_fini(last);
		return;
	}
	UK_ASSERT(c->state == CONN_OPEN);
	c->state = CONN_FINISHING;
	if (last != NULL) {
		c->last = *last;
		*last = (struct text){.s = NULL};
	}
	watch_after(c->timer, c->accept->conf.drain_ns);
	watch_wait(c->watch, false, true);
}

/* By the timer, so that a session is never closed inside a call of its own. */
void
accept_abort(struct accept_conn *c)
{
	c->aborted = true;
	watch_after(c->timer, 0);
}

void
accept_settle(struct accept_conn *c)
{
	if (c->settled || c->aborted || c->state != CONN_OPEN)
		return;
	c->settled = true;
	c->accept->stats.settled++;
	watch_after(c->timer, UK_NEVER);
}

struct accept_conn *
accept_conn_new(struct accept *a, int fd, const struct endpoint *from)
{
	struct accept_conn *c = malloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	memset(c, 0, offsetof(struct accept_conn, in));
	c->accept = a;
	c->fd = fd;
	c->from = *from;
	c->source = accept_source(&from->addr);
	c->tls = tls_stream_accept(a->tls);
	if (c->tls == NULL)
		goto free_conn;
	c->timer = watch_timer(a->loop, conn_is_due, c);
	if (c->timer == NULL)
		goto free_tls;
	c->watch = watch_fd(a->loop, fd, conn_go_on, conn_go_on, c);
	if (c->watch == NULL)
		goto close_timer;
	return c;
close_timer:
	watch_close(c->timer);
free_tls:
	tls_stream_free(c->tls);
free_conn:
	free(c);
	return NULL;
}

void
accept_conn_start(struct accept_conn *c)
{
	struct accept *a = c->accept;

	c->older = a->newest;
	*(a->newest != NULL ? &a->newest->newer : &a->oldest) = c;
	a->newest = c;
	a->stats.open++;
	a->stats.let_in++;
	watch_after(c->timer, a->conf.request_ns);
	watch_wait(c->watch, true, false);
}

void
accept_conn_end_all(struct accept *a)
{
	struct accept_conn *c, *newer;

	for (c = a->oldest; c != NULL; c = newer) {
		newer = c->newer;
		conn_free(c, true);
	}
	a->oldest = NULL;
	a->newest = NULL;
}
