#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/err.h"
#include "dns_forward_parts.h"
#include "io/sockaddr.h"

/* ---- UDP: sockets that know one server each ---- */

struct dns_socket {
	struct list list; /* in dns_forward.sockets */
	struct list asks; /* by of_socket */
	struct dns_forward *f;
	struct watch *watch;
	struct endpoint server;
	uint32_t mark;
	int fd;
	bool busy; /* in a function of its own: stays, even without asks */
};

/* A descriptor connected, or about to be, to a server. Returns -1. */
static int
server_socket(const struct endpoint *server, uint32_t mark, int type)
{
	bool v6 = server->addr.family == FAMILY_V6;
	union sockaddr_any a;
	socklen_t len = sockaddr_store(&a, server);
	const int on = 1;
	int fd = socket(
	    v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	/* RECVERR: ICMP's soft errors are told, too. */
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ||
	    setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
		v6 ? IPV6_RECVERR : IP_RECVERR, &on, sizeof(on)) < 0 ||
	    (connect(fd, &a.sa, len) < 0 && errno != EINPROGRESS)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void
socket_free(struct dns_socket *s)
{
	list_remove(&s->list);
	s->f->socket_count--;
	watch_close(s->watch);
	close(s->fd);
	free(s);
}

static struct dns_ask *
socket_find(const struct dns_socket *s, uint16_t id)
{
	for (struct list *l = s->asks.next; l != &s->asks; l = l->next) {
		struct dns_ask *a = CONTAINER_OF(l, struct dns_ask, of_socket);

		if (a->id == id)
			return a;
	}
	return NULL;
}

static void
socket_failed(struct dns_socket *s)
{
	while (!list_empty(&s->asks))
		dns_ask_failed(
		    CONTAINER_OF(s->asks.next, struct dns_ask, of_socket));
}

/* Returns false: nothing is there. */
static bool
socket_receive(struct dns_socket *s)
{
	struct dns_forward *f = s->f;
	ssize_t n = recv(s->fd, f->in, sizeof(f->in), MSG_DONTWAIT);
	struct dns_ask *a;

	if (n < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			socket_failed(s);
		return false;
	}
	a = n >= DNS_HEADER ? socket_find(s, load_be16(f->in)) : NULL;
	if (a)
		dns_ask_answered(a, f->in, (size_t)n);
	else
		f->stats.malformed++;
	return true;
}

static void
on_answer(void *arg)
{
	struct dns_socket *s = arg;

	s->busy = true;
	for (unsigned i = 0; i < DNS_TURN && !list_empty(&s->asks); i++)
		if (!socket_receive(s))
			break;
	s->busy = false;
	if (list_empty(&s->asks))
		socket_free(s);
}

static struct dns_socket *
socket_new(struct dns_forward *f, const struct endpoint *server, uint32_t mark)
{
	struct dns_socket *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->f = f;
	s->server = *server;
	s->mark = mark;
	s->fd = server_socket(server, mark, SOCK_DGRAM);
	if (s->fd < 0)
		goto free_socket;
	s->watch = watch_fd(f->conf.loop, s->fd, on_answer, NULL, s);
	if (!s->watch)
		goto close_fd;
	watch_wait(s->watch, true, false);
	list_init(&s->asks);
	list_push(&f->sockets, &s->list);
	f->socket_count++;
	return s;

close_fd:
	close(s->fd);
free_socket:
	free(s);
	return NULL;
}

/* One that asks there already; the next time another one. */
static struct dns_socket *
socket_shared(
    struct dns_forward *f, const struct endpoint *server, uint32_t mark)
{
	for (struct list *l = f->sockets.next; l != &f->sockets; l = l->next) {
		struct dns_socket *s = CONTAINER_OF(l, struct dns_socket, list);

		if (s->mark != mark ||
		    !endpoint_same_remote(&s->server, server))
			continue;
		list_remove(l);
		list_push(&f->sockets, l);
		return s;
	}
	return NULL;
}

/* The socket of the oldest question goes, with all that it asks: by no fault of
 * its server, so nobody else is asked. */
static void
socket_evict(struct dns_forward *f)
{
	for (struct list *l = f->asks.next; l != &f->asks; l = l->next) {
		struct dns_ask *a = CONTAINER_OF(l, struct dns_ask, order);

		if (!a->socket || a->socket->busy)
			continue;
		struct dns_socket *s = a->socket;

		f->stats.refused_full++;
		s->busy = true;
		while (!list_empty(&s->asks))
			dns_ask_refuse(CONTAINER_OF(s->asks.next,
					   struct dns_ask, of_socket),
			    DNS_SERVFAIL);
		socket_free(s);
		return;
	}
}

static struct dns_socket *
socket_get(struct dns_forward *f, const struct endpoint *server, uint32_t mark)
{
	struct dns_socket *s;

	if (f->socket_count >= DNS_SOCKETS_MAX) {
		s = socket_shared(f, server, mark);
		if (s)
			return s;
		socket_evict(f);
	}
	return socket_new(f, server, mark);
}

/* An id that nobody can guess, and that no other question of the socket has. */
static uint16_t
id_new(const struct dns_socket *s)
{
	uint16_t id;

	do
		id = (uint16_t)randombytes_random();
	while (s && socket_find(s, id));
	return id;
}

static int
ask_put(struct dns_ask *a)
{
	uint8_t id[2];
	struct iovec io[] = {
	    {.iov_base = id, .iov_len = 2},
	    {.iov_base = a->query + 2, .iov_len = a->query_len - 2},
	};
	struct msghdr m = {.msg_iov = io, .msg_iovlen = ARRAY_LEN(io)};

	store_be16(id, a->id);
	if (sendmsg(a->socket->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	    errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS)
		return UK_ESYS;
	return 0;
}

int
dns_ask_udp(struct dns_ask *a)
{
	struct dns_socket *s = socket_get(a->f, &a->server, a->mark);

	if (!s)
		return UK_ESYS;
	a->id = id_new(s);
	a->socket = s;
	list_push(&s->asks, &a->of_socket);
	return ask_put(a);
}

void
dns_ask_again(struct dns_ask *a)
{
	if (a->socket && ask_put(a) < 0)
		dns_ask_failed(a);
}

/* ---- TCP: a connection for each question ---- */

struct dns_exchange {
	struct dns_ask *ask;
	struct watch *watch;
	int fd;
	size_t out_done; /* of length, id and query */
	size_t in_len;
	uint8_t in[2 + DNS_MESSAGE_MAX];
};

static void
exchange_free(struct dns_exchange *e)
{
	watch_close(e->watch);
	close(e->fd);
	free(e);
}

static void
on_exchange_writable(void *arg)
{
	struct dns_exchange *e = arg;
	struct dns_ask *a = e->ask;
	uint8_t head[4]; /* length, and an id of ours */
	struct iovec io[2];
	struct msghdr m = {.msg_iov = io, .msg_iovlen = 2};
	size_t done = e->out_done, in_head = done < 4 ? done : 4;
	ssize_t n;

	store_be16(head, (uint16_t)a->query_len);
	store_be16(head + 2, a->id);
	io[0] = (struct iovec){head + in_head, 4 - in_head};
	io[1] = (struct iovec){a->query + 2 + (done - in_head),
	    a->query_len - 2 - (done - in_head)};
	n = sendmsg(e->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			dns_ask_failed(a);
		return;
	}
	e->out_done += (size_t)n;
	watch_wait(e->watch, true, e->out_done < 2 + a->query_len);
}

/* Returns whether the exchange goes on. */
static bool
exchange_take(struct dns_exchange *e)
{
	struct dns_ask *a = e->ask;
	bool stream = a->stream;
	size_t len = load_be16(e->in);

	if (len < DNS_HEADER || load_be16(e->in + 2) != a->id) {
		a->f->stats.malformed++;
		dns_ask_failed(a);
		return false;
	}
	dns_ask_answered(a, e->in + 2, len);
	if (!stream)
		return false;
	memmove(e->in, e->in + 2 + len, e->in_len - 2 - len);
	e->in_len -= 2 + len;
	return true;
}

static void
exchange_ended(struct dns_exchange *e)
{
	if (e->ask->stream)
		dns_ask_free(e->ask);
	else
		dns_ask_failed(e->ask);
}

static void
on_exchange_readable(void *arg)
{
	struct dns_exchange *e = arg;
	ssize_t n = recv(
	    e->fd, e->in + e->in_len, sizeof(e->in) - e->in_len, MSG_DONTWAIT);

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			exchange_ended(e);
		return;
	}
	e->in_len += (size_t)n;
	while (e->in_len >= 2 && e->in_len - 2 >= load_be16(e->in))
		if (!exchange_take(e))
			return;
	if (e->ask->stream && dns_client_slow(e->ask->origin.client))
		watch_wait(e->watch, false, false);
}

int
dns_ask_tcp(struct dns_ask *a)
{
	struct dns_exchange *e = calloc(1, sizeof(*e));

	if (!e)
		return UK_ENOMEM;
	e->ask = a;
	e->fd = server_socket(&a->server, a->mark, SOCK_STREAM);
	if (e->fd < 0)
		goto free_exchange;
	e->watch = watch_fd(a->f->conf.loop, e->fd, on_exchange_readable,
	    on_exchange_writable, e);
	if (!e->watch)
		goto close_fd;
	watch_wait(e->watch, true, true);
	a->id = id_new(NULL);
	a->exchange = e;
	return 0;

close_fd:
	close(e->fd);
free_exchange:
	free(e);
	return UK_ESYS;
}

void
dns_ask_resume(struct dns_ask *a)
{
	struct dns_exchange *e = a->exchange;

	if (e)
		watch_wait(e->watch, true, e->out_done < 2 + a->query_len);
}

void
dns_ask_leave(struct dns_ask *a)
{
	struct dns_socket *s = a->socket;

	list_remove(&a->of_socket);
	a->socket = NULL;
	if (s && list_empty(&s->asks) && !s->busy)
		socket_free(s);
	if (a->exchange)
		exchange_free(a->exchange);
	a->exchange = NULL;
}
