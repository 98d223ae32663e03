#include "resolve.h"

#include <ares.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/err.h"
#include "io/watch.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define STUB "/run/systemd/resolve/stub-resolv.conf"
#define UPLINKS "/run/systemd/resolve/resolv.conf"
/* Two servers are thus given up on after 6 s. */
#define TIMEOUT_MS 1500
#define TRIES 2

/* One of c-ares' sockets. */
struct sock {
	struct sock *next;
	struct resolve *r;
	struct watch *watch;
	ares_socket_t fd;
};

struct resolve {
	uv_loop_t *loop;
	ares_channel channel;
	struct watch *timer;
	struct sock *socks;
	uint32_t mark;
};

struct question {
	resolve_fn *found;
	void *arg;
};

/* c-ares wants to be called when the first of its questions times out. */
static void
arm(struct resolve *r)
{
	struct timeval tv, *next = ares_timeout(r->channel, NULL, &tv);
	uint64_t ns = UK_NEVER;

	if (next != NULL)
		ns = (uint64_t)next->tv_sec * UK_NS_PER_S +
		     (uint64_t)next->tv_usec * 1000;
	watch_after(r->timer, ns);
}

static void
process(struct resolve *r, ares_socket_t readable, ares_socket_t writable)
{
	ares_process_fd(r->channel, readable, writable);
	arm(r);
}

static void
on_timer(void *arg)
{
	process(arg, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void
on_readable(void *arg)
{
	struct sock *s = arg;

	process(s->r, s->fd, ARES_SOCKET_BAD);
}

static void
on_writable(void *arg)
{
	struct sock *s = arg;

	process(s->r, ARES_SOCKET_BAD, s->fd);
}

static void
sock_remove(struct sock **at)
{
	struct sock *s = *at;

	*at = s->next;
	watch_close(s->watch);
	free(s);
}

/* c-ares has opened a socket, wants something else of it, or closes it. What
 * there is no memory for times out. */
static void
on_sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct resolve *r = arg;
	struct sock **at = &r->socks, *s;

	while (*at != NULL && (*at)->fd != fd)
		at = &(*at)->next;
	if (!readable && !writable) {
		if (*at != NULL)
			sock_remove(at);
		return;
	}
	s = *at;
	if (s == NULL) {
		s = calloc(1, sizeof(*s));
		if (s == NULL)
			return;
		s->r = r;
		s->fd = fd;
		s->watch = watch_fd(r->loop, fd, on_readable, on_writable, s);
		*at = s;
	}
	if (s->watch != NULL)
		watch_wait(s->watch, readable, writable);
}

/* Before connect(): that chooses the route. A socket that cannot be marked
 * still serves until the tunnel takes everything. */
static int
on_sock_config(ares_socket_t fd, int type, void *arg)
{
	const struct resolve *r = arg;

	(void)type;
	if (r->mark != 0)
		setsockopt(fd, SOL_SOCKET, SO_MARK, &r->mark, sizeof(r->mark));
	return 0;
}

/* systemd-resolved sends its own questions, which do not carry our mark: ask
 * the servers that it asks. */
const char *
resolve_conf_path(void)
{
	char real[PATH_MAX];

	if (realpath(RESOLV_CONF, real) != NULL && strcmp(real, STUB) == 0 &&
	    realpath(UPLINKS, real) != NULL)
		return UPLINKS;
	return RESOLV_CONF;
}

static int
open_channel(struct resolve *r)
{
	static char files_then_dns[] = "fb";
	char *path = strdup(resolve_conf_path());
	struct ares_options o = {.timeout = TIMEOUT_MS,
	    .tries = TRIES,
	    .lookups = files_then_dns,
	    .sock_state_cb = on_sock_state,
	    .sock_state_cb_data = r,
	    .resolvconf_path = path};
	int status;

	if (path == NULL)
		return ARES_ENOMEM;
	status = ares_init_options(&r->channel, &o,
	    ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
		ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF);
	free(path);
	if (status == ARES_SUCCESS)
		ares_set_socket_configure_callback(
		    r->channel, on_sock_config, r);
	return status;
}

int
resolve_open(
    struct resolve **out, uv_loop_t *loop, uint32_t mark, struct diag *d)
{
	struct resolve *r = calloc(1, sizeof(*r));
	int status;

	if (r == NULL)
		return UK_ENOMEM;
	r->loop = loop;
	r->mark = mark;
	r->timer = watch_timer(loop, on_timer, r);
	if (r->timer == NULL)
		goto free_r;
	status = open_channel(r);
	if (status != ARES_SUCCESS) {
		diag_error(
		    d, "cannot use the resolver: %s", ares_strerror(status));
		goto close_timer;
	}
	*out = r;
	return 0;

close_timer:
	watch_close(r->timer);
free_r:
	free(r);
	return UK_ESYS;
}

void
resolve_close(struct resolve *r)
{
	if (r == NULL)
		return;
	ares_destroy(r->channel);
	while (r->socks != NULL)
		sock_remove(&r->socks);
	watch_close(r->timer);
	free(r);
}

static bool
take(struct ip_addr *a, const struct ares_addrinfo_node *n)
{
	const struct sockaddr_in *v4 = (const void *)n->ai_addr;
	const struct sockaddr_in6 *v6 = (const void *)n->ai_addr;

	*a = (struct ip_addr){.family = FAMILY_NONE};
	if (n->ai_family == AF_INET) {
		a->family = FAMILY_V4;
		memcpy(a->b, &v4->sin_addr, 4);
	} else if (n->ai_family == AF_INET6) {
		a->family = FAMILY_V6;
		memcpy(a->b, &v6->sin6_addr, 16);
	}
	return a->family != FAMILY_NONE;
}

static size_t
take_family(struct ip_addr *to, size_t n, const struct ares_addrinfo *from,
    uint8_t family)
{
	for (const struct ares_addrinfo_node *i = from->nodes;
	     i != NULL && n < RESOLVE_MAX; i = i->ai_next)
		if (take(&to[n], i) && to[n].family == family)
			n++;
	return n;
}

static void
on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct question *q = arg;
	struct ip_addr a[RESOLVE_MAX];
	size_t n = 0;

	(void)timeouts;
	if (status == ARES_SUCCESS && info != NULL) {
		n = take_family(a, n, info, FAMILY_V6);
		n = take_family(a, n, info, FAMILY_V4);
	}
	if (info != NULL)
		ares_freeaddrinfo(info);
	if (status != ARES_EDESTRUCTION)
		q->found(q->arg, a, n,
		    status == ARES_SUCCESS ? "it has no address"
					   : ares_strerror(status));
	free(q);
}

void
resolve_ask(struct resolve *r, const char *host, resolve_fn *found, void *arg)
{
	/* c-ares' own order opens sockets without our mark. */
	const struct ares_addrinfo_hints hints = {
	    .ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT};
	struct question *q = malloc(sizeof(*q));

	if (q == NULL) {
		found(arg, NULL, 0, "out of memory");
		return;
	}
	*q = (struct question){found, arg};
	ares_getaddrinfo(r->channel, host, NULL, &hints, on_answer, q);
	arm(r);
}
