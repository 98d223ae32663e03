#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "dns_forward_parts.h"
#include "io/sockaddr.h"

/* What a client does not take: four answers, and what a transfer is ahead. */
#define UNSENT_MAX ((DNS_CLIENT_ASKS + 4) * (2 + DNS_MESSAGE_MAX))
#define UNSENT_SLOW (2 * (2 + DNS_MESSAGE_MAX))
#define ACCEPT_TURN 16

struct dns_client {
	struct list list; /* in dns_forward.clients */
	struct list asks; /* by of_client */
	struct dns_forward *f;
	struct watch *watch;
	int fd;
	unsigned ask_count;
	bool dead; /* closed with the next dns_clients_reap() */
	bool ended; /* it sends no more */
	bool busy; /* in client_work() */
	uint64_t active_ns;
	struct endpoint server;
	uint8_t *out; /* not sent yet: [out_done, out_len) */
	size_t out_done, out_len, out_cap;
	size_t in_len;
	uint8_t in[2 + DNS_MESSAGE_MAX];
};

static void
client_wait(struct dns_client *c)
{
	bool more = c->in_len < sizeof(c->in) && !c->ended &&
		    c->ask_count < DNS_CLIENT_ASKS;

	watch_wait(
	    c->watch, more && !c->dead, c->out_done < c->out_len && !c->dead);
}

void
dns_client_fail(struct dns_client *c)
{
	c->dead = true;
	client_wait(c);
	dns_wake(c->f, 0);
}

/* Take the questions that have come in whole. */
static void
client_work(struct dns_client *c)
{
	struct dns_origin o = {
	    .from = DNS_FROM_TCP, .client = c, .server = c->server};
	size_t at = 0;

	if (c->busy || c->dead)
		return;
	c->busy = true;
	while (c->ask_count < DNS_CLIENT_ASKS && c->in_len - at >= 2) {
		size_t len = load_be16(c->in + at);

		if (c->in_len - at - 2 < len)
			break;
		dns_ask_take(c->f, &o, c->in + at + 2, len);
		at += 2 + len;
	}
	c->busy = false;
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
	client_wait(c);
	if (c->ended && c->ask_count == 0 && c->out_done == c->out_len)
		dns_client_fail(c);
}

static void
on_client_readable(void *arg)
{
	struct dns_client *c = arg;
	ssize_t n = recv(
	    c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			dns_client_fail(c);
		return;
	}
	c->active_ns = dns_now();
	c->in_len += (size_t)n;
	c->ended = n == 0;
	client_work(c);
}

static void
client_drained(struct dns_client *c)
{
	struct list *l = c->asks.next;

	c->out_done = c->out_len = 0;
	while (l != &c->asks) {
		struct dns_ask *a = CONTAINER_OF(l, struct dns_ask, of_client);

		l = l->next;
		dns_ask_resume(a);
	}
	client_work(c);
}

static void
client_send(struct dns_client *c)
{
	ssize_t n = send(c->fd, c->out + c->out_done, c->out_len - c->out_done,
	    MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		dns_client_fail(c);
		return;
	}
	if (n > 0) {
		c->out_done += (size_t)n;
		c->active_ns = dns_now();
	}
	client_wait(c);
}

static void
on_client_writable(void *arg)
{
	struct dns_client *c = arg;

	client_send(c);
	if (!c->dead && c->out_done == c->out_len)
		client_drained(c);
}

/* Room for more behind what is not sent. */
static bool
client_room(struct dns_client *c, size_t more)
{
	size_t left = c->out_len - c->out_done;
	uint8_t *out;

	if (left > 0)
		memmove(c->out, c->out + c->out_done, left);
	c->out_done = 0;
	c->out_len = left;
	if (left + more <= c->out_cap)
		return true;
	if (left + more > UNSENT_MAX)
		return false;
	out = realloc(c->out, left + more);
	if (!out)
		return false;
	c->out = out;
	c->out_cap = left + more;
	return true;
}

void
dns_client_reply(struct dns_client *c, const uint8_t *msg, size_t len)
{
	if (c->dead || len > DNS_MESSAGE_MAX)
		return;
	if (!client_room(c, 2 + len)) {
		dns_client_fail(c);
		return;
	}
	store_be16(c->out + c->out_len, (uint16_t)len);
	memcpy(c->out + c->out_len + 2, msg, len);
	c->out_len += 2 + len;
	client_send(c);
}

bool
dns_client_slow(const struct dns_client *c)
{
	return c->out_len - c->out_done > UNSENT_SLOW;
}

void
dns_client_add(struct dns_client *c, struct dns_ask *a)
{
	list_push(&c->asks, &a->of_client);
	c->ask_count++;
}

void
dns_client_left(struct dns_client *c)
{
	c->ask_count--;
	client_work(c);
}

static void
client_close(struct dns_client *c)
{
	c->dead = true;
	while (!list_empty(&c->asks))
		dns_ask_free(
		    CONTAINER_OF(c->asks.next, struct dns_ask, of_client));
	list_remove(&c->list);
	c->f->client_count--;
	watch_close(c->watch);
	close(c->fd);
	free(c->out);
	free(c);
}

void
dns_clients_reap(struct dns_forward *f, uint64_t now_ns)
{
	struct list *l = f->clients.next;

	while (l != &f->clients) {
		struct dns_client *c = CONTAINER_OF(l, struct dns_client, list);
		bool waits = c->ask_count > 0 && c->out_done == c->out_len;

		l = l->next;
		if (c->dead ||
		    (!waits && now_ns > c->active_ns + DNS_CLIENT_IDLE))
			client_close(c);
	}
}

/* The one that has been quiet for longest, of those that wait for nothing, goes
 * for another one. */
static bool
clients_room(struct dns_forward *f)
{
	struct dns_client *oldest = NULL;

	if (f->client_count < DNS_CLIENTS_MAX)
		return true;
	for (struct list *l = f->clients.next; l != &f->clients; l = l->next) {
		struct dns_client *c = CONTAINER_OF(l, struct dns_client, list);

		if (c->ask_count == 0 && !c->busy &&
		    (!oldest || c->active_ns < oldest->active_ns))
			oldest = c;
	}
	if (oldest)
		client_close(oldest);
	return oldest != NULL;
}

static struct dns_client *
client_new(struct dns_forward *f, int fd, const union sockaddr_any *peer)
{
	struct dns_client *c;

	if (!clients_room(f)) {
		f->stats.refused_full++;
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->watch = watch_fd(
	    f->conf.loop, fd, on_client_readable, on_client_writable, c);
	if (!c->watch) {
		free(c);
		return NULL;
	}
	c->f = f;
	c->fd = fd;
	c->active_ns = dns_now();
	list_init(&c->asks);
	list_push(&f->clients, &c->list);
	f->client_count++;
	dns_tcp_server(f, fd, peer, &c->server);
	client_wait(c);
	dns_wake(f, c->active_ns + DNS_CLIENT_IDLE);
	return c;
}

void
dns_clients_accept(void *arg)
{
	struct dns_listener *l = arg;

	for (unsigned i = 0; i < ACCEPT_TURN; i++) {
		union sockaddr_any peer = {0};
		socklen_t len = sizeof(peer);
		int fd = accept4(
		    l->fd, &peer.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (!client_new(l->f, fd, &peer))
			close(fd);
	}
}

void
dns_clients_close(struct dns_forward *f)
{
	while (!list_empty(&f->clients))
		client_close(
		    CONTAINER_OF(f->clients.next, struct dns_client, list));
}
