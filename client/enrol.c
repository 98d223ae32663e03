#include "enrol.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/sockaddr.h"
#include "io/tls_stream.h"

#define PLACES 2 /* IPv6, IPv4 */

/* One address of the relay. */
struct place {
	struct endpoint to;
	int fd; /* < 0: no connection under way */
	bool tried; /* failed, or was connected to */
	bool told; /* d knows why it failed */
};

struct asking {
	const struct token *token;
	const uint8_t *public_key;
	struct client_enrol_result *result;
	struct diag *d;
	uint64_t limit_ns;
	struct place place[PLACES];
};

/* The bytes of one connection. */
struct talk {
	int fd;
	struct tls_stream *tls;
	uint64_t limit_ns;
	uint8_t in[TLS_BUFFER_MAX];
	size_t at, len; /* of in: what TLS has not taken yet */
	int error; /* errno; 0: none */
};

static int
until_ms(uint64_t limit_ns)
{
	uint64_t now_ns = clock_now().mono_ns;

	if (now_ns >= limit_ns)
		return 0;
	return (int)((limit_ns - now_ns + UK_NS_PER_MS - 1) / UK_NS_PER_MS);
}

static const char *
name_of(const struct place *p, char text[static ENDPOINT_TEXT_MAX])
{
	return endpoint_format(&p->to, text);
}

/* ---- connecting ---- */

static void
failed(struct asking *a, struct place *p, int e)
{
	char text[ENDPOINT_TEXT_MAX];

	diag_error(a->d, "cannot reach the relay at %s (TCP): %s",
	    name_of(p, text), e == ETIMEDOUT ? "no answer" : strerror(e));
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	p->tried = true;
}

static void
start(struct asking *a, struct place *p)
{
	union sockaddr_any s;
	socklen_t len = sockaddr_store(&s, &p->to);

	p->fd = socket(s.sa.sa_family,
	    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	if (p->fd < 0 ||
	    (connect(p->fd, &s.sa, len) < 0 && errno != EINPROGRESS))
		failed(a, p, errno);
}

/* A connection under way has come to its end, good or bad. */
static bool
finish(struct asking *a, struct place *p)
{
	socklen_t len = sizeof(int);
	int e = 0;

	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
		e = errno;
	if (e == 0)
		return true;
	failed(a, p, e);
	return false;
}

/* Wait for one of the connections under way. NULL: none by then, or failed. */
static struct place *
wait_any(struct asking *a, uint64_t limit_ns)
{
	struct pollfd f[PLACES];
	int n;

	for (size_t i = 0; i < PLACES; i++)
		f[i] = (struct pollfd){.fd = a->place[i].fd, .events = POLLOUT};
	do
		n = poll(f, PLACES, until_ms(limit_ns));
	while (n < 0 && errno == EINTR);
	for (size_t i = 0; n > 0 && i < PLACES; i++)
		if (f[i].revents != 0 && finish(a, &a->place[i]))
			return &a->place[i];
	return NULL;
}

static struct place *
next_untried(struct asking *a)
{
	for (size_t i = 0; i < PLACES; i++)
		if (!a->place[i].tried && a->place[i].fd < 0)
			return &a->place[i];
	return NULL;
}

static bool
any_under_way(const struct asking *a)
{
	return a->place[0].fd >= 0 || a->place[1].fd >= 0;
}

/* The first place that lets us connect; it is tried then, and other attempts
 * are given up, but may be made again. NULL: none does. */
static struct place *
connect_any(struct asking *a)
{
	struct place *won = NULL, *next;

	while (won == NULL && clock_now().mono_ns < a->limit_ns) {
		uint64_t limit_ns = a->limit_ns;

		next = next_untried(a);
		if (next != NULL)
			start(a, next);
		if (next_untried(a) != NULL)
			limit_ns = uk_min_u64(limit_ns,
			    clock_now().mono_ns + CLIENT_ENROL_HEAD_START_NS);
		if (any_under_way(a))
			won = wait_any(a, limit_ns);
		else if (next_untried(a) == NULL)
			return NULL;
	}
	for (size_t i = 0; i < PLACES; i++) {
		struct place *p = &a->place[i];

		if (p->fd >= 0 && won == NULL)
			failed(a, p, ETIMEDOUT);
		if (p->fd >= 0 && p != won) {
			close(p->fd);
			p->fd = -1;
		}
	}
	if (won != NULL)
		won->tried = true;
	return won;
}

/* ---- talking ---- */

static bool
wait_for(struct talk *p, short events)
{
	struct pollfd f = {.fd = p->fd, .events = events};
	int n;

	do
		n = poll(&f, 1, until_ms(p->limit_ns));
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		p->error = n == 0 ? ETIMEDOUT : errno;
	return n > 0;
}

static bool
send_output(struct talk *p)
{
	const uint8_t *b;
	size_t len;

	while ((len = tls_stream_output(p->tls, &b)) > 0) {
		ssize_t n = send(p->fd, b, len, MSG_NOSIGNAL);

		if (n >= 0)
			tls_stream_output_sent(p->tls, (size_t)n);
		else if (errno == EAGAIN) {
			if (!wait_for(p, POLLOUT))
				return false;
		} else if (errno != EINTR) {
			p->error = errno;
			return false;
		}
	}
	return true;
}

static bool
take_input(struct talk *p)
{
	ssize_t n = 0;

	if (p->at == p->len) {
		do {
			if (!wait_for(p, POLLIN))
				return false;
			n = recv(p->fd, p->in, sizeof(p->in), 0);
		} while (n < 0 && (errno == EINTR || errno == EAGAIN));
		if (n <= 0) {
			/* A reset is an end without a word, too. */
			tls_stream_input_end(p->tls);
			return true;
		}
		p->at = 0;
		p->len = (size_t)n;
	}
	p->at += tls_stream_input(p->tls, p->in + p->at, p->len - p->at);
	return true;
}

/* What TLS wants before the same call can be made again. False: it is over. */
static bool
serve(struct talk *p, enum tls_result r)
{
	if (!send_output(p))
		return false;
	if (r == TLS_WANT_INPUT)
		return take_input(p);
	return r == TLS_WANT_OUTPUT;
}

static bool
shake_hands(struct talk *p)
{
	enum tls_result r;

	do
		r = tls_stream_handshake(p->tls);
	while (r != TLS_DONE && serve(p, r));
	/* Our last message waits, to go out with the request: alone, it would
	 * have that wait for a delayed acknowledgement (RFC 896). */
	return r == TLS_DONE;
}

static bool
send_request(struct talk *p, const uint8_t *b, size_t len)
{
	enum tls_result r = TLS_DONE;
	size_t done;

	while (len > 0) {
		done = 0;
		r = tls_stream_write(p->tls, b, len, &done);
		b += done;
		len -= done;
		if (r != TLS_DONE && !serve(p, r))
			return false;
	}
	return send_output(p);
}

/* To the end that the relay says; a connection that breaks off gives none.
 * Returns the length, cap + 1 when there is more; < 0: broken off. */
static ssize_t
read_answer(struct talk *p, uint8_t *b, size_t cap)
{
	enum tls_result r = TLS_DONE;
	size_t len = 0, done;

	while (len <= cap) {
		done = 0;
		r = tls_stream_read(p->tls, b + len, cap + 1 - len, &done);
		len += done;
		if (r == TLS_CLOSED)
			return (ssize_t)len;
		if (r != TLS_DONE && !serve(p, r))
			return -1;
	}
	return (ssize_t)len;
}

static const char *
why(const struct talk *p)
{
	if (p->error == ETIMEDOUT)
		return "it keeps silent";
	return p->error != 0 ? strerror(p->error) : tls_stream_error(p->tls);
}

static int
ask_over(struct talk *p, struct asking *a, const char *name, uint8_t *answer,
    size_t *len)
{
	uint8_t request[ENROL_REQUEST_LEN];
	struct enrol_request r;
	ssize_t n = -1;

	if (!shake_hands(p)) {
		diag_error(a->d, "cannot enrol at %s: %s", name, why(p));
		return UK_EAUTH;
	}
	memcpy(r.secret, a->token->secret, sizeof(r.secret));
	memcpy(r.public_key, a->public_key, sizeof(r.public_key));
	enrol_request_format(&r, request);
	a->result->asked = true;
	if (send_request(p, request, sizeof(request)))
		n = read_answer(p, answer, ENROL_ANSWER_MAX);
	sodium_memzero(request, sizeof(request));
	sodium_memzero(&r, sizeof(r));
	if (n < 0) {
		diag_error(
		    a->d, "the relay at %s gave no answer: %s", name, why(p));
		return UK_EAGAIN;
	}
	*len = (size_t)n;
	return 0;
}

/* Over a connection that is there; it is closed. */
static int
ask_place(struct asking *a, struct place *place, uint8_t *answer, size_t *len)
{
	char text[ENDPOINT_TEXT_MAX];
	struct talk *p = calloc(1, sizeof(*p));
	int err = UK_ENOMEM;

	if (p == NULL)
		goto close_fd;
	p->fd = place->fd;
	p->limit_ns = a->limit_ns;
	if (next_untried(a) != NULL)
		p->limit_ns = uk_min_u64(
		    a->limit_ns, clock_now().mono_ns + CLIENT_ENROL_FIRST_NS);
	p->tls = tls_stream_connect(a->token->pin, ENROL_ALPN);
	if (p->tls != NULL)
		err = ask_over(p, a, name_of(place, text), answer, len);
	tls_stream_free(p->tls);
	/* It had passed on a preshared key. */
	sodium_memzero(p, sizeof(*p));
	free(p);
close_fd:
	close(place->fd);
	place->fd = -1;
	if (err == UK_ENOMEM)
		diag_error(a->d, "out of memory");
	return err;
}

static void
prepare(struct asking *a)
{
	const struct ip_addr *addr[PLACES] = {&a->token->v6, &a->token->v4};

	a->limit_ns = clock_now().mono_ns + CLIENT_ENROL_LIMIT_NS;
	for (size_t i = 0; i < PLACES; i++)
		a->place[i] = (struct place){
		    .to = {.addr = *addr[i], .port = a->token->port},
		    .fd = -1,
		    .tried = addr[i]->family == FAMILY_NONE,
		};
}

/* The worst error is the last one of those that went furthest: nobody there,
 * not the relay, no answer. */
static int
ask_all(struct asking *a, uint8_t *answer, size_t *len)
{
	int err = UK_ENOENT, e;
	struct place *p;

	prepare(a);
	while ((p = connect_any(a)) != NULL) {
		e = ask_place(a, p, answer, len);
		a->result->via = p->to;
		if (e == 0 || e == UK_ENOMEM)
			return e;
		if (err != UK_EAGAIN)
			err = e;
	}
	if (err == UK_ENOENT)
		diag_error(a->d,
		    "is ukai-relay running there, and does the firewall of its "
		    "provider let TCP port %u in? `ukai-relay check` on the "
		    "relay says more",
		    a->token->port);
	return err;
}

int
client_enrol(struct enrol_answer *a, struct client_enrol_result *result,
    const struct token *t, const uint8_t public_key[static KEY_LEN],
    struct diag *d)
{
	uint8_t *answer = malloc(ENROL_ANSWER_MAX + 1);
	struct diag why_not;
	struct asking ask = {.token = t,
	    .public_key = public_key,
	    .result = result,
	    .d = &why_not};
	size_t len = 0;
	int err;

	*result = (struct client_enrol_result){.asked = false};
	*a = (struct enrol_answer){.status = ENROL_FAILED};
	if (answer == NULL) {
		diag_error(d, "out of memory");
		return UK_ENOMEM;
	}
	/* What failed before something else worked is nobody's business. */
	diag_init(&why_not, NULL);
	err = ask_all(&ask, answer, &len);
	for (unsigned i = 0; err < 0 && i < why_not.n; i++)
		diag_error(d, "%s", why_not.entry[i].text);
	if (err == 0) {
		err = enrol_answer_parse(a, (const char *)answer, len, d);
		if (err == UK_ENOMEM)
			diag_error(d, "out of memory");
	}
	sodium_memzero(answer, ENROL_ANSWER_MAX + 1);
	free(answer);
	return err;
}
