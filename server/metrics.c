#include "metrics.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "core/bytes.h"
#include "core/err.h"
#include "host/os_err.h"
#include "io/clock.h"
#include "io/sockaddr.h"
#include "io/watch.h"
#include "metrics_text.h"

/* A request of Prometheus has some 300 bytes of headers. */
#define CONNECTION_MEMORY 8192

struct connection {
	struct MHD_Connection *mhd; /* NULL: free */
	uint64_t until_ns;
	bool waiting; /* for the text; suspended */
};

/* What a thread makes a text of. */
struct job {
	uv_work_t work;
	struct metrics *owner; /* NULL: gone meanwhile */
	json_t *status;
	uint64_t now_s;
	struct text text;
};

struct metrics {
	struct metrics_conf conf;
	struct MHD_Daemon *mhd;
	struct watch *epoll, *timer;
	uv_loop_t *loop;
	struct job *job; /* NULL: none runs */
	/* The last answer, which more than one connection may be sending; NULL
	 * though answered: memory was out. */
	struct MHD_Response *answer;
	bool answered;
	uint64_t answer_ns; /* when it was made */
	struct connection connection[METRICS_CONNECTIONS_MAX];
	bool ended; /* one of them, in the last run */
};

/* ---- where ---- */

int
metrics_check(
    const struct endpoint *listen, const struct ip_addr *tunnel, struct diag *d)
{
	static const struct ip_addr loopback6 = {
	    .family = FAMILY_V6, .b = {[15] = 1}};
	char text[ENDPOINT_TEXT_MAX], own[IP_ADDR_TEXT_MAX];

	if ((listen->addr.family == FAMILY_V4 && listen->addr.b[0] == 127) ||
	    ip_addr_equal(&listen->addr, &loopback6) ||
	    (tunnel->family != FAMILY_NONE &&
		ip_addr_equal(&listen->addr, tunnel)))
		return 0;
	diag_error(d,
	    "Metrics = %s: they would be told to others than this host and its "
	    "clients; use 127.0.0.1:%u%s%s",
	    endpoint_format(listen, text), listen->port,
	    tunnel->family != FAMILY_NONE ? ", or the tunnel address " : "",
	    tunnel->family != FAMILY_NONE ? ip_addr_format(tunnel, own) : "");
	return UK_EINVAL;
}

static int
listen_on(int *out, const struct endpoint *e, struct diag *d)
{
	char text[ENDPOINT_TEXT_MAX];
	union sockaddr_any a;
	socklen_t len = sockaddr_store(&a, e);
	int fd = socket(
	    a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1, err;

	/* A restart finds the last one's connections in TIME_WAIT. */
	if (fd >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, &a.sa, len) == 0 && listen(fd, SOMAXCONN) == 0) {
		*out = fd;
		return 0;
	}
	err = errno == EADDRINUSE ? UK_EBUSY : os_err(errno);
	diag_error(d, "cannot serve metrics on %s: %s",
	    endpoint_format(e, text), strerror(errno));
	if (fd >= 0)
		close(fd);
	return err;
}

/* ---- answers ---- */

static enum MHD_Result
answer_with(struct MHD_Connection *c, unsigned code, struct MHD_Response *r)
{
	return r != NULL ? MHD_queue_response(c, code, r) : MHD_NO;
}

/* Without a body. */
static enum MHD_Result
answer_empty(struct MHD_Connection *c, unsigned code, const char *allow)
{
	struct MHD_Response *r =
	    MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result;

	if (r == NULL)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	if (allow != NULL)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, allow);
	result = answer_with(c, code, r);
	MHD_destroy_response(r);
	return result;
}

/* Takes the text. NULL: out of memory. */
static struct MHD_Response *
make_answer(struct text *t)
{
	struct MHD_Response *r = NULL;

	if (t->len > 0 && !t->failed)
		r = MHD_create_response_from_buffer(
		    t->len, t->s, MHD_RESPMEM_MUST_FREE);
	if (r == NULL)
		return NULL;
	*t = (struct text){.s = NULL};
	MHD_add_response_header(
	    r, MHD_HTTP_HEADER_CONTENT_TYPE, METRICS_TEXT_TYPE);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	return r;
}

static struct connection *
find_connection(struct metrics *m, const struct MHD_Connection *c)
{
	for (size_t i = 0; i < ARRAY_LEN(m->connection); i++)
		if (m->connection[i].mhd == c)
			return &m->connection[i];
	return NULL;
}

static void
resume_all(struct metrics *m)
{
	for (size_t i = 0; i < ARRAY_LEN(m->connection); i++) {
		struct connection *k = &m->connection[i];

		if (k->mhd != NULL && k->waiting)
			MHD_resume_connection(k->mhd);
		k->waiting = false;
	}
}

static void
job_work(uv_work_t *w)
{
	struct job *j = w->data;

	metrics_text(&j->text, j->status, j->now_s);
}

/* The text is made. Connections that wait for it are asked again what they
 * want, in the next run. */
static void
job_done(uv_work_t *w, int status)
{
	struct job *j = w->data;
	struct metrics *m = j->owner;

	(void)status;
	if (m != NULL) {
		m->job = NULL;
		m->answer = make_answer(&j->text);
		m->answered = true;
		m->answer_ns = clock_now().mono_ns;
		resume_all(m);
		watch_after(m->timer, 1);
	}
	text_fini(&j->text);
	json_decref(j->status);
	free(j);
}

/* For thousands of clients it takes a tenth of a second: not on this thread.
 * NULL: out of memory. */
static struct job *
start_job(struct metrics *m, uv_loop_t *loop)
{
	struct job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return NULL;
	j->status = m->conf.status(m->conf.arg);
	if (j->status == NULL) {
		free(j);
		return NULL;
	}
	j->owner = m;
	j->work.data = j;
	j->now_s = clock_now().wall_ns / UK_NS_PER_S;
	(void)uv_queue_work(loop, &j->work, job_work, job_done);
	return j;
}

static void
drop_answer(struct metrics *m)
{
	if (m->answer != NULL)
		MHD_destroy_response(m->answer);
	m->answer = NULL;
	m->answered = false;
}

static bool
is_fresh(const struct metrics *m, uint64_t now_ns)
{
	return m->answered && now_ns - m->answer_ns < METRICS_EVERY;
}

static enum MHD_Result
answer_metrics(struct metrics *m, struct MHD_Connection *c)
{
	struct connection *k = find_connection(m, c);

	if (is_fresh(m, clock_now().mono_ns) && m->answer != NULL)
		return answer_with(c, MHD_HTTP_OK, m->answer);
	if (!is_fresh(m, clock_now().mono_ns)) {
		drop_answer(m);
		if (m->job == NULL)
			m->job = start_job(m, m->loop);
	}
	if (m->job == NULL || k == NULL)
		return answer_empty(c, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL);
	k->waiting = true;
	MHD_suspend_connection(c);
	return MHD_YES;
}

/* Answered, or put off, at its first call, with the headers: no body is ever
 * read. */
static enum MHD_Result
on_request(void *arg, struct MHD_Connection *c, const char *url,
    const char *method, const char *version, const char *upload,
    size_t *upload_len, void **state)
{
	(void)version;
	(void)upload;
	(void)upload_len;
	(void)state;
	if (strcmp(url, "/metrics") != 0)
		return answer_empty(c, MHD_HTTP_NOT_FOUND, NULL);
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 &&
	    strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer_empty(
		    c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET, HEAD");
	return answer_metrics(arg, c);
}

/* ---- the loop ---- */

/* libmicrohttpd's own timeout is one of silence, which a byte now and then
 * would put off for ever: connections have an end that we set. */
static void
on_connection(void *arg, struct MHD_Connection *c, void **state,
    enum MHD_ConnectionNotificationCode why)
{
	struct metrics *m = arg;
	bool starts = why == MHD_CONNECTION_NOTIFY_STARTED;
	struct connection *k = find_connection(m, starts ? NULL : c);

	(void)state;
	m->ended |= !starts;
	if (k != NULL)
		*k = (struct connection){.mhd = starts ? c : NULL,
		    .until_ns = clock_now().mono_ns + m->conf.time_ns};
}

/* libmicrohttpd sees the end of the stream, and closes it. */
static uint64_t
end_overdue(struct metrics *m, uint64_t now_ns)
{
	uint64_t next_ns = UK_NEVER;

	for (size_t i = 0; i < ARRAY_LEN(m->connection); i++) {
		struct connection *k = &m->connection[i];
		const union MHD_ConnectionInfo *info;

		if (k->mhd == NULL)
			continue;
		if (now_ns >= k->until_ns) {
			info = MHD_get_connection_info(
			    k->mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
			if (info != NULL)
				shutdown(info->connect_fd, SHUT_RDWR);
			k->until_ns = now_ns + m->conf.time_ns;
		}
		next_ns = uk_min_u64(next_ns, k->until_ns);
	}
	return next_ns;
}

static void
run(void *arg)
{
	struct metrics *m = arg;
	uint64_t now_ns, next_ns, ms;
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	m->ended = false;
	MHD_run(m->mhd);
	now_ns = clock_now().mono_ns;
	next_ns = end_overdue(m, now_ns);
	if (!is_fresh(m, now_ns))
		drop_answer(m);
	if (m->answered)
		next_ns = uk_min_u64(next_ns, m->answer_ns + METRICS_EVERY);
	/* It had stopped listening if there were too many, and looks whether to
	 * go on before it lets go of those that have ended: so once more. */
	if (m->ended)
		next_ns = now_ns;
	if (MHD_get_timeout(m->mhd, &timeout_ms) == MHD_YES) {
		ms = uk_min_u64(timeout_ms, METRICS_TIME / UK_NS_PER_MS);
		next_ns = uk_min_u64(next_ns, now_ns + ms * UK_NS_PER_MS);
	}
	watch_after(
	    m->timer, next_ns == UK_NEVER ? UK_NEVER : next_ns - now_ns);
}

static int
start(struct metrics *m, uv_loop_t *loop, int fd, struct diag *d)
{
	const union MHD_DaemonInfo *info;

	m->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0,
	    NULL, NULL, on_request, m, MHD_OPTION_LISTEN_SOCKET, fd,
	    MHD_OPTION_NOTIFY_CONNECTION, on_connection, m,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)METRICS_CONNECTIONS_MAX,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
	    MHD_OPTION_END);
	/* Whether fd is closed then its manual does not say: it stays. */
	if (m->mhd == NULL) {
		diag_error(d, "cannot serve metrics: libmicrohttpd: %s",
		    strerror(errno));
		return UK_ESYS;
	}
	info = MHD_get_daemon_info(m->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	if (info != NULL)
		m->epoll = watch_fd(loop, info->epoll_fd, run, NULL, m);
	m->timer = watch_timer(loop, run, m);
	if (m->epoll == NULL || m->timer == NULL) {
		diag_error(d, "out of memory for serving metrics");
		return UK_ENOMEM;
	}
	watch_wait(m->epoll, true, false);
	return 0;
}

int
metrics_open(struct metrics **out, uv_loop_t *loop,
    const struct metrics_conf *c, struct diag *d)
{
	int err = metrics_check(&c->listen, &c->tunnel, d);
	struct metrics *m;
	int fd = -1;

	if (err == 0)
		err = listen_on(&fd, &c->listen, d);
	if (err < 0)
		return err;
	m = calloc(1, sizeof(*m));
	if (m == NULL) {
		close(fd);
		diag_error(d, "out of memory for serving metrics");
		return UK_ENOMEM;
	}
	m->conf = *c;
	m->loop = loop;
	if (m->conf.time_ns == 0)
		m->conf.time_ns = METRICS_TIME;
	err = start(m, loop, fd, d);
	if (err < 0) {
		metrics_close(m);
		return err;
	}
	*out = m;
	return 0;
}

void
metrics_close(struct metrics *m)
{
	if (m == NULL)
		return;
	if (m->job != NULL)
		m->job->owner = NULL;
	resume_all(m);
	watch_close(m->epoll);
	watch_close(m->timer);
	if (m->mhd != NULL)
		MHD_stop_daemon(m->mhd);
	drop_answer(m);
	free(m);
}
