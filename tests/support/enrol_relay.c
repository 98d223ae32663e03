#include "enrol_relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/diag.h"
#include "io/tls_stream.h"

struct enrol_relay {
	int fd[2]; /* IPv6, IPv4; -1: not there */
	int stop[2];
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	struct token token;
	enum relay_way way;
	const char *say;
	bool v6_silent;
	char *policy;
	bool joined;
	uint8_t key[KEY_LEN];
	struct tls_identity *identity;
	struct tls_server *server;
};

/* Send what waits, and read what comes. False: the connection is over. */
static bool
pump(struct tls_stream *t, int fd, enum tls_result r)
{
	const uint8_t *out;
	uint8_t in[4096];
	size_t len;
	ssize_t n;

	while ((len = tls_stream_output(t, &out)) > 0) {
		n = send(fd, out, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		tls_stream_output_sent(t, (size_t)n);
	}
	if (r == TLS_WANT_OUTPUT)
		return true;
	n = r == TLS_WANT_INPUT ? recv(fd, in, sizeof(in), 0) : 0;
	if (n <= 0)
		return false;
	return tls_stream_input(t, in, (size_t)n) == (size_t)n;
}

static bool
shake_hands(struct tls_stream *t, int fd)
{
	enum tls_result r;

	do
		r = tls_stream_handshake(t);
	while (r != TLS_DONE && pump(t, fd, r));
	return r == TLS_DONE;
}

static bool
read_request(struct tls_stream *t, int fd, uint8_t b[ENROL_REQUEST_LEN])
{
	size_t len = 0, done;

	while (len < ENROL_REQUEST_LEN) {
		enum tls_result r;

		done = 0;
		r = tls_stream_read(t, b + len, ENROL_REQUEST_LEN - len, &done);
		len += done;
		if (r != TLS_DONE && !pump(t, fd, r))
			return false;
	}
	return true;
}

static void
say(struct tls_stream *t, int fd, const char *s, size_t len, bool end)
{
	size_t done;

	while (len > 0) {
		enum tls_result r;

		done = 0;
		r = tls_stream_write(t, s, len, &done);
		s += done;
		len -= done;
		if (r != TLS_DONE && !pump(t, fd, r))
			return;
	}
	if (end)
		tls_stream_close(t);
	pump(t, fd, TLS_WANT_OUTPUT);
}

static void
compose(struct enrol_relay *r, const struct enrol_request *q, struct text *t)
{
	struct enrol_answer a = {.name = "pc", .keepalive_s = 25};
	char scope[16];

	if (memcmp(q->secret, r->token.secret, sizeof(q->secret)) != 0)
		a.status = ENROL_UNKNOWN;
	else if (r->joined && memcmp(q->public_key, r->key, KEY_LEN) != 0)
		a.status = ENROL_USED;
	if (a.status == ENROL_OK) {
		memcpy(r->key, q->public_key, KEY_LEN);
		r->joined = true;
	}
	ip_ifaddr_parse(&a.address, "10.66.0.2/32", 12);
	memset(a.public_key, 9, KEY_LEN);
	value_parse_endpoint(&a.endpoint[0], scope, "[2001:db8::1]:51820", 19);
	value_parse_endpoint(&a.endpoint[1], scope, "192.0.2.1:51820", 15);
	a.endpoints = 2;
	ip_prefix_parse(&a.route[0], "0.0.0.0/0", 9);
	a.routes = 1;
	a.policy = r->policy;
	UK_ASSERT(enrol_answer_format(&a, t) == 0);
}

static void
talk(struct enrol_relay *r, int fd, enum relay_way way)
{
	struct tls_stream *t = tls_stream_accept(r->server);
	uint8_t request[ENROL_REQUEST_LEN];
	struct enrol_request q;
	struct text answer = {.s = NULL};

	UK_ASSERT(t != NULL);
	if (!shake_hands(t, fd) || !read_request(t, fd, request) ||
	    enrol_request_parse(&q, request, sizeof(request)) < 0)
		goto free_stream;
	pthread_mutex_lock(&r->lock);
	if (way == RELAY_ANSWERS)
		compose(r, &q, &answer);
	else if (way != RELAY_HANGS_UP)
		text_append(&answer, r->say, strlen(r->say));
	pthread_mutex_unlock(&r->lock);
	if (way == RELAY_SAYS_HALF)
		say(t, fd, answer.s, answer.len / 2, false);
	else if (way != RELAY_HANGS_UP)
		say(t, fd, answer.s, answer.len, true);
	text_fini(&answer);
free_stream:
	tls_stream_free(t);
}

static void
serve(struct enrol_relay *r, int fd, bool v6)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	enum relay_way way;
	char b[16];

	pthread_mutex_lock(&r->lock);
	way = v6 && r->v6_silent ? RELAY_SILENT : r->way;
	pthread_mutex_unlock(&r->lock);
	if (way == RELAY_NO_TLS)
		(void)!send(fd, http, sizeof(http) - 1, MSG_NOSIGNAL);
	else if (way == RELAY_SILENT)
		while (recv(fd, b, sizeof(b), 0) > 0)
			;
	else
		talk(r, fd, way);
	close(fd);
}

static void *
run(void *arg)
{
	struct enrol_relay *r = arg;
	struct pollfd f[3] = {{r->fd[0], POLLIN, 0}, {r->fd[1], POLLIN, 0},
	    {r->stop[0], POLLIN, 0}};

	while (poll(f, 3, -1) > 0 && f[2].revents == 0)
		for (int i = 0; i < 2; i++)
			if (f[i].revents != 0)
				serve(r, accept(f[i].fd, NULL, NULL), i == 0);
	return NULL;
}

static int
listen_on(bool v6, uint16_t *port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6,
	    .sin6_addr = IN6ADDR_LOOPBACK_INIT,
	    .sin6_port = htons(*port)};
	struct sockaddr_in four = {.sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	    .sin_port = htons(*port)};
	struct sockaddr *a = v6 ? (void *)&six : (void *)&four;
	socklen_t len = v6 ? sizeof(six) : sizeof(four);
	int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, a, len) < 0 || listen(fd, 16) < 0 ||
	    getsockname(fd, a, &len) < 0) {
		close(fd);
		return -1;
	}
	*port = ntohs(v6 ? six.sin6_port : four.sin_port);
	return fd;
}

/* Both have one port, and the one that IPv6 got may be another program's. */
static bool
listen_on_both(struct enrol_relay *r, bool v6, bool v4)
{
	r->token.port = 0;
	r->fd[0] = v6 ? listen_on(true, &r->token.port) : -1;
	r->fd[1] = v4 ? listen_on(false, &r->token.port) : -1;
	UK_ASSERT(r->fd[0] >= 0 || !v6);
	if (r->fd[1] >= 0 || !v4)
		return true;
	UK_ASSERT(errno == EADDRINUSE && v6);
	close(r->fd[0]);
	return false;
}

struct enrol_relay *
enrol_relay_start(bool v6, bool v4)
{
	static const char *const names[] = {ENROL_ALPN, NULL};
	struct enrol_relay *r = calloc(1, sizeof(*r));
	struct token *t = &r->token;
	struct diag d;

	diag_init(&d, NULL);
	UK_ASSERT(tls_identity_new(&r->identity, &d) == 0);
	UK_ASSERT(tls_server_new(&r->server, r->identity, names, &d) == 0);
	while (!listen_on_both(r, v6, v4))
		continue;
	tls_identity_pin(r->identity, t->pin);
	ip_addr_parse(&t->v6, "::1", 3);
	ip_addr_parse(&t->v4, "127.0.0.1", 9);
	t->expires_s = 4000000000;
	memset(t->secret, 0x77, sizeof(t->secret));
	UK_ASSERT(pipe(r->stop) == 0);
	pthread_mutex_init(&r->lock, NULL);
	UK_ASSERT(pthread_create(&r->thread, NULL, run, r) == 0);
	return r;
}

void
enrol_relay_stop(struct enrol_relay *r)
{
	(void)!write(r->stop[1], "", 1);
	pthread_join(r->thread, NULL);
	pthread_mutex_destroy(&r->lock);
	for (int i = 0; i < 2; i++) {
		close(r->stop[i]);
		if (r->fd[i] >= 0)
			close(r->fd[i]);
	}
	tls_server_free(r->server);
	tls_identity_free(r->identity);
	free(r);
}

const struct token *
enrol_relay_token(const struct enrol_relay *r)
{
	return &r->token;
}

void
enrol_relay_set(struct enrol_relay *r, enum relay_way way, const char *words)
{
	pthread_mutex_lock(&r->lock);
	r->way = way;
	r->say = words;
	pthread_mutex_unlock(&r->lock);
}

void
enrol_relay_v6_silent(struct enrol_relay *r, bool silent)
{
	pthread_mutex_lock(&r->lock);
	r->v6_silent = silent;
	pthread_mutex_unlock(&r->lock);
}

void
enrol_relay_policy(struct enrol_relay *r, char *policy)
{
	pthread_mutex_lock(&r->lock);
	r->policy = policy;
	pthread_mutex_unlock(&r->lock);
}

void
enrol_relay_forget(struct enrol_relay *r)
{
	pthread_mutex_lock(&r->lock);
	r->joined = false;
	pthread_mutex_unlock(&r->lock);
}

bool
enrol_relay_joined(
    const struct enrol_relay *r, uint8_t public_key[static KEY_LEN])
{
	struct enrol_relay *own = (struct enrol_relay *)(uintptr_t)r;
	bool joined;

	pthread_mutex_lock(&own->lock);
	joined = r->joined;
	memcpy(public_key, r->key, KEY_LEN);
	pthread_mutex_unlock(&own->lock);
	return joined;
}
