#include "accept_state.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/sockaddr.h"
#include "io/watch.h"
#include "wg/wg_limit.h"

/* What waits here waits at most 128 / 200 s at the default pace. */
#define BACKLOG 128
/* Connections taken in one turn of the loop: others have their turn, too. */
#define BATCH 16
/* New connections that need not wait for the pace. */
#define PACE_BURST 32
#define EXHAUSTED_PAUSE_NS (200 * UK_NS_PER_MS)
/* How often another free port is tried when IPv6 has IPv4's choice in use. */
#define PORT_TRIES 100

/* ---- letting in ---- */

struct ip_addr
accept_source(const struct ip_addr *a)
{
	struct ip_addr source = *a;

	if (a->family == FAMILY_V6)
		memset(source.b + 8, 0, 8);
	return source;
}

static unsigned
strangers_from(const struct accept *a, const struct ip_addr *source)
{
	unsigned n = 0;

	for (struct accept_conn *c = a->oldest; c != NULL; c = c->newer)
		n += !c->settled && ip_addr_equal(&c->source, source);
	return n;
}

static bool
make_room(struct accept *a)
{
	struct accept_conn *c = a->oldest;

	if (a->stats.open < a->conf.max)
		return true;
	while (c != NULL && c->settled)
		c = c->newer;
	if (c == NULL)
		return false;
	accept_conn_end(c, ACCEPT_EVICTED);
	return true;
}

/* How long until the next one may be let in; 0: now. As in wg_limit.c the
 * bucket is kept as the time at which it will be full. */
static uint64_t
pace_wait_ns(const struct accept *a, uint64_t now_ns)
{
	uint64_t cost_ns = UK_NS_PER_S / a->conf.pace_per_s;
	uint64_t until = now_ns + (PACE_BURST - 1) * cost_ns;

	return a->pace_full_ns > until ? a->pace_full_ns - until : 0;
}

static void
pace_take(struct accept *a, uint64_t now_ns)
{
	if (a->pace_full_ns < now_ns)
		a->pace_full_ns = now_ns;
	a->pace_full_ns += UK_NS_PER_S / a->conf.pace_per_s;
}

/* Returns ACCEPT_REFUSALS when it is let in; else fd is the caller's. */
static enum accept_refusal
let_in(struct accept *a, int fd, const struct endpoint *from, uint64_t now_ns)
{
	struct ip_addr source = accept_source(&from->addr);
	struct accept_conn *c;

	if (!wg_limit_allow(&a->limit, &from->addr, now_ns))
		return ACCEPT_RATE;
	if (strangers_from(a, &source) >= a->conf.max_per_source)
		return ACCEPT_SOURCE;
	if (!make_room(a))
		return ACCEPT_FULL;
	c = accept_conn_new(a, fd, from);
	if (c == NULL)
		return ACCEPT_MEMORY;
	accept_conn_start(c);
	pace_take(a, now_ns);
	return ACCEPT_REFUSALS;
}

static void
receive_connection(
    struct accept *a, int fd, const struct endpoint *from, uint64_t now_ns)
{
	static const int one = 1;
	enum accept_refusal why = let_in(a, fd, from, now_ns);
	char text[ENDPOINT_TEXT_MAX];

	if (why == ACCEPT_REFUSALS) {
		(void)setsockopt(
		    fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		return;
	}
	a->stats.refused[why]++;
	accept_close_socket(fd, true);
	log_limited(&a->refused_log, now_ns, LOG_INFO,
	    "a TCP connection from %s is refused: limit \"%s\"",
	    endpoint_format(from, text), accept_refusal_name(why));
}

/* Is it about that one connection only, which is gone by now (accept(2))? */
static bool
concerns_one(int err)
{
	static const int errors[] = {ECONNABORTED, EINTR, EPERM, EPROTO,
	    ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP,
	    ENETUNREACH};

	for (size_t i = 0; i < ARRAY_LEN(errors); i++)
		if (errors[i] == err)
			return true;
	return false;
}

/* Returns 1: one was there; 0: none; an errno, negative: cannot take any. */
static int
take_one(struct accept *a, int fd, uint64_t now_ns)
{
	union sockaddr_any s;
	socklen_t len = sizeof(s);
	struct endpoint from;
	int conn;

	if (fd < 0)
		return 0;
	conn = accept4(fd, &s.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (conn < 0 && errno == EAGAIN)
		return 0;
	if (conn < 0)
		return concerns_one(errno) ? 1 : -errno;
	sockaddr_load(&from, &s);
	receive_connection(a, conn, &from, now_ns);
	return 1;
}

static void
listen_for(struct accept *a, bool more)
{
	for (int f = 0; f < ACCEPT_FAMILIES; f++)
		if (a->watch[f] != NULL)
			watch_wait(a->watch[f], more, false);
}

static void
pause_for(struct accept *a, uint64_t ns)
{
	listen_for(a, false);
	watch_after(a->retry, ns);
}

static void
retry_is_due(void *arg)
{
	listen_for(arg, true);
}

/* Without a descriptor the connection stays in the backlog, and the socket
 * readable: asked again at once, the loop would do nothing else. */
static void
exhausted(struct accept *a, int err, uint64_t now_ns)
{
	a->stats.exhausted++;
	log_limited(&a->exhausted_log, now_ns, LOG_WARN,
	    "cannot take TCP connections on port %u: %s", a->port,
	    strerror(err));
	pause_for(a, EXHAUSTED_PAUSE_NS);
}

/* The families take turns, so that a flood in one leaves the other its half of
 * the pace. */
static void
take_some(void *arg)
{
	struct accept *a = arg;
	unsigned none = 0;

	for (unsigned i = 0; i < BATCH && none < ACCEPT_FAMILIES; i++) {
		uint64_t now_ns = clock_now().mono_ns;
		uint64_t wait_ns = pace_wait_ns(a, now_ns);
		int r;

		if (wait_ns > 0) {
			pause_for(a, wait_ns);
			return;
		}
		r = take_one(a, a->fd[a->turn], now_ns);
		a->turn = (a->turn + 1) % ACCEPT_FAMILIES;
		if (r < 0) {
			exhausted(a, -r, now_ns);
			return;
		}
		none = r == 0 ? none + 1 : 0;
	}
}

/* ---- opening and closing ---- */

void
accept_conf_default(struct accept_conf *c)
{
	*c = (struct accept_conf){
	    .max = 256,
	    .max_per_source = 8,
	    .pace_per_s = 200,
	    .request_ns = 10 * UK_NS_PER_S,
	    .drain_ns = 10 * UK_NS_PER_S,
	};
}

/* Returns a socket that listens on *port, and the port in *port; -1 and
 * errno. */
static int
listen_on(int family, uint16_t *port)
{
	static const int one = 1;
	union sockaddr_any a = {.sa.sa_family = (sa_family_t)family};
	socklen_t len = family == AF_INET6 ? sizeof(a.v6) : sizeof(a.v4);
	int fd = socket(
	    family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	int saved;

	if (fd < 0)
		return -1;
	if (family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) != 0)
		goto close_fd;
	/* Connections of the relay that ran before may still be closing. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0)
		goto close_fd;
	/* sin_port and sin6_port are at the same place. */
	a.v4.sin_port = htons(*port);
	if (bind(fd, &a.sa, len) != 0 || listen(fd, BACKLOG) != 0 ||
	    getsockname(fd, &a.sa, &len) != 0)
		goto close_fd;
	*port = ntohs(a.v4.sin_port);
	return fd;
close_fd:
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static void
close_listeners(struct accept *a)
{
	for (int f = 0; f < ACCEPT_FAMILIES; f++) {
		if (a->fd[f] >= 0)
			close(a->fd[f]);
		a->fd[f] = -1;
	}
}

/* Returns 0, or an errno with nothing open. */
static int
listen_on_both(struct accept *a)
{
	static const int family[ACCEPT_FAMILIES] = {
	    [ACCEPT_V6] = AF_INET6, [ACCEPT_V4] = AF_INET};
	int err = 0;

	a->port = a->conf.port;
	for (int f = 0; f < ACCEPT_FAMILIES; f++) {
		a->fd[f] = listen_on(family[f], &a->port);
		if (a->fd[f] >= 0)
			continue;
		err = errno;
		if (!sockaddr_family_missing(err)) {
			close_listeners(a);
			return err;
		}
	}
	return a->fd[ACCEPT_V6] >= 0 || a->fd[ACCEPT_V4] >= 0 ? 0 : err;
}

static int
listen_failed(const struct accept *a, int err, struct diag *d)
{
	unsigned port = a->conf.port;

	if (err == EADDRINUSE) {
		diag_error(d,
		    "TCP port %u is in use, by a web server perhaps: choose "
		    "another TlsPort, 8443 for example",
		    port);
		return UK_EBUSY;
	}
	if (err == EACCES || err == EPERM) {
		diag_error(d,
		    "not permitted to listen on TCP port %u: that takes root, "
		    "or the capability CAP_NET_BIND_SERVICE",
		    port);
		return UK_EPERM;
	}
	diag_error(d, "cannot listen on TCP port %u: %s", port, strerror(err));
	return UK_ESYS;
}

static int
open_listeners(struct accept *a, struct diag *d)
{
	unsigned tries = a->conf.port == 0 ? PORT_TRIES : 1;
	int err;

	do
		err = listen_on_both(a);
	while (err == EADDRINUSE && --tries > 0);
	return err == 0 ? 0 : listen_failed(a, err, d);
}

static int
open_tls(struct accept *a, struct diag *d)
{
	const char *alpn[TLS_ALPN_NAMES + 1] = {NULL};

	UK_ASSERT(a->conf.protocols <= TLS_ALPN_NAMES);
	for (size_t i = 0; i < a->conf.protocols; i++)
		alpn[i] = a->conf.protocol[i].alpn;
	return tls_server_new(&a->tls, a->conf.identity, alpn, d);
}

static int
open_watches(struct accept *a, struct diag *d)
{
	bool failed;

	a->retry = watch_timer(a->loop, retry_is_due, a);
	failed = a->retry == NULL;
	for (int f = 0; f < ACCEPT_FAMILIES && !failed; f++) {
		if (a->fd[f] < 0)
			continue;
		a->watch[f] = watch_fd(a->loop, a->fd[f], take_some, NULL, a);
		failed = a->watch[f] == NULL;
	}
	if (failed) {
		diag_error(d, "out of memory for TCP port %u", a->port);
		return UK_ENOMEM;
	}
	listen_for(a, true);
	return 0;
}

int
accept_open(struct accept **out, uv_loop_t *loop, const struct accept_conf *c,
    struct diag *d)
{
	struct accept *a = calloc(1, sizeof(*a));
	uint8_t key[16];
	int err;

	if (a == NULL)
		return UK_ENOMEM;
	a->conf = *c;
	a->loop = loop;
	a->fd[ACCEPT_V6] = -1;
	a->fd[ACCEPT_V4] = -1;
	randombytes_buf(key, sizeof(key));
	wg_limit_init(&a->limit, key);
	err = open_tls(a, d);
	if (err == 0)
		err = open_listeners(a, d);
	if (err == 0)
		err = open_watches(a, d);
	if (err == 0)
		*out = a;
	else
		accept_close(a);
	return err;
}

void
accept_close(struct accept *a)
{
	if (a == NULL)
		return;
	accept_conn_end_all(a);
	for (int f = 0; f < ACCEPT_FAMILIES; f++)
		watch_close(a->watch[f]);
	watch_close(a->retry);
	close_listeners(a);
	tls_server_free(a->tls);
	free(a);
}

uint16_t
accept_port(const struct accept *a)
{
	return a->port;
}

const struct accept_stats *
accept_stats(const struct accept *a)
{
	return &a->stats;
}

const char *
accept_refusal_name(enum accept_refusal r)
{
	static const char *const name[ACCEPT_REFUSALS] = {
	    [ACCEPT_RATE] = "rate",
	    [ACCEPT_SOURCE] = "source",
	    [ACCEPT_FULL] = "full",
	    [ACCEPT_MEMORY] = "memory",
	};

	return name[r];
}

const char *
accept_end_name(enum accept_end e)
{
	static const char *const name[ACCEPT_ENDS] = {
	    [ACCEPT_FINISHED] = "finished",
	    [ACCEPT_HANDSHAKE] = "handshake",
	    [ACCEPT_TIMED_OUT] = "timed_out",
	    [ACCEPT_EVICTED] = "evicted",
	    [ACCEPT_LOST] = "lost",
	    [ACCEPT_ABORTED] = "aborted",
	};

	return name[e];
}
