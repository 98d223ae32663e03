#include "ctl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "core/base.h"
#include "core/err.h"

/* Somebody whose connection waits for us must never be refused: `wg` removes
 * a socket that refuses. The kernel cuts this to net.core.somaxconn. */
#define BACKLOG 4096
/* Answers are written when so much has come together; what one more line adds
 * is its own. */
#define FLUSH_BYTES 65536
/* With all places taken, who has been silent for so long makes room. */
#define STALLED_NS (5 * UK_NS_PER_S)
#define ACCEPT_RETRY_MS 500
/* ctl_ask: the largest answer believed, some 600,000 lines. */
#define ANSWER_MAX (64u << 20)

struct client {
	struct client *next; /* in ctl->clients */
	struct ctl *ctl;
	uv_pipe_t pipe;
	void *session;
	uint64_t heard_ns; /* last sign of life */

	bool writing; /* req and sent are in use; reading is stopped */
	bool handling; /* inside handler.line */
	bool last; /* close once out is written */
	bool closing;
	int pid;
	uv_write_t req;
	struct text sent;
	struct text out;

	size_t used; /* bytes of in */
	char in[CTL_LINE_MAX + 1];
};

struct ctl {
	struct ctl_handler handler;
	uv_pipe_t listener;
	uv_fs_event_t watch;
	uv_timer_t retry; /* runs while pending cannot be taken */
	bool pending; /* libuv holds an accepted connection for us */
	unsigned handles; /* open, or closing; the last one frees us */
	bool closing;
	bool gone_told;
	struct client *clients;
	unsigned n_clients;

	char *path; /* NULL: not watched */
	dev_t dev;
	ino_t ino;
};

static void
ctl_release(struct ctl *c)
{
	if (--c->handles > 0)
		return;
	free(c->path);
	free(c);
}

static void accept_pending(struct ctl *c);

static void
on_client_closed(uv_handle_t *h)
{
	struct client *cl = h->data;
	struct ctl *c = cl->ctl;

	text_fini(&cl->sent);
	text_fini(&cl->out);
	sodium_memzero(cl->in, cl->used);
	free(cl);
	accept_pending(c);
	ctl_release(c);
}

static void
client_close(struct client *cl)
{
	struct ctl *c = cl->ctl;
	struct client **p = &c->clients;

	if (cl->closing)
		return;
	cl->closing = true;
	while (*p != cl)
		p = &(*p)->next;
	*p = cl->next;
	c->n_clients--;
	if (cl->session != NULL)
		c->handler.close(cl->session);
	uv_close((uv_handle_t *)&cl->pipe, on_client_closed);
}

static void on_written(uv_write_t *req, int status);

/* Send what is in out; reading waits until it is gone, so that a client that
 * does not read costs one answer's memory and no more. */
static void
client_flush(struct client *cl)
{
	uv_buf_t buf;

	if (cl->out.failed) {
		client_close(cl);
		return;
	}
	cl->sent = cl->out;
	cl->out = (struct text){.s = NULL};
	cl->writing = true;
	uv_read_stop((uv_stream_t *)&cl->pipe);
	buf = uv_buf_init(cl->sent.s, (unsigned)cl->sent.len);
	cl->req.data = cl;
	if (cl->sent.len > UINT32_MAX ||
	    uv_write(&cl->req, (uv_stream_t *)&cl->pipe, &buf, 1, on_written) !=
		0)
		client_close(cl);
}

/* Give the handler one line; nl is its newline in cl->in. */
static void
client_line(struct client *cl, const char *line, const char *nl)
{
	struct ctl_handler *h = &cl->ctl->handler;

	cl->handling = true;
	if (!h->line(cl->session, line, (size_t)(nl - line), &cl->out))
		cl->last = true;
	cl->handling = false;
}

/* Handle the whole lines in the buffer, as long as answers find a way out. */
static void
client_lines(struct client *cl)
{
	size_t at = 0;
	char *nl;

	while (!cl->last && cl->out.len < FLUSH_BYTES && !cl->out.failed) {
		nl = memchr(cl->in + at, '\n', cl->used - at);
		if (nl == NULL)
			break;
		client_line(cl, cl->in + at, nl);
		at = (size_t)(nl + 1 - cl->in);
	}
	memmove(cl->in, cl->in + at, cl->used - at);
	/* Lines may hold keys (X3). */
	sodium_memzero(cl->in + cl->used - at, at);
	cl->used -= at;
}

static void
on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct client *cl = h->data;

	(void)suggested;
	*buf = uv_buf_init(
	    cl->in + cl->used, (unsigned)(sizeof(cl->in) - cl->used));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

/* The program ends, perhaps because this client asked for it: give what was
 * answered a chance, without waiting. */
static void
client_say_last(struct client *cl)
{
	uv_buf_t buf;

	if (!cl->writing && cl->out.len > 0 && !cl->out.failed) {
		buf = uv_buf_init(cl->out.s, (unsigned)cl->out.len);
		(void)uv_try_write((uv_stream_t *)&cl->pipe, &buf, 1);
	}
	client_close(cl);
}

/* Handle what has come and decide what is waited for next. */
static void
client_go_on(struct client *cl)
{
	client_lines(cl);
	if (cl->ctl->closing)
		client_say_last(cl);
	else if (cl->out.len > 0 || cl->out.failed)
		client_flush(cl);
	else if (cl->last || cl->used == sizeof(cl->in))
		client_close(cl); /* done, or a line over the limit */
	else if (uv_read_start((uv_stream_t *)&cl->pipe, on_alloc, on_read) !=
		 0)
		client_close(cl);
}

static void
on_written(uv_write_t *req, int status)
{
	struct client *cl = req->data;

	cl->writing = false;
	text_fini(&cl->sent);
	if (cl->closing)
		return;
	if (status != 0) {
		client_close(cl);
		return;
	}
	cl->heard_ns = clock_now().mono_ns;
	client_go_on(cl);
}

static void
on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct client *cl = s->data;

	(void)buf;
	if (n == 0)
		return;
	if (n < 0) {
		/* While an answer is on its way we do not read, so there is
		 * none; a line without an end is not a line. */
		client_close(cl);
		return;
	}
	cl->used += (size_t)n;
	cl->heard_ns = clock_now().mono_ns;
	uv_read_stop(s);
	client_go_on(cl);
}

/* Root, or the user that we are (C7). */
static bool
may_talk(struct client *cl)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	uv_os_fd_t fd;

	if (uv_fileno((uv_handle_t *)&cl->pipe, &fd) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		return false;
	cl->pid = cred.pid;
	return cred.uid == 0 || cred.uid == geteuid();
}

/* Whoever has been silent longest makes room, but nobody who has just come:
 * a burst of clients waits its turn, and stalled ones cannot lock others out.
 * Returns true when there is a place. */
static bool
make_place(struct ctl *c)
{
	struct client *oldest = c->clients;

	if (c->n_clients < CTL_CLIENTS_MAX)
		return true;
	for (struct client *cl = c->clients; cl != NULL; cl = cl->next)
		if (cl->heard_ns < oldest->heard_ns)
			oldest = cl;
	if (clock_now().mono_ns - oldest->heard_ns < STALLED_NS)
		return false;
	client_close(oldest);
	return true;
}

static struct client *
client_new(struct ctl *c)
{
	struct client *cl = malloc(sizeof(*cl));

	if (cl == NULL)
		return NULL;
	memset(cl, 0, offsetof(struct client, in));
	cl->ctl = c;
	if (uv_pipe_init(c->listener.loop, &cl->pipe, 0) != 0) {
		free(cl);
		return NULL;
	}
	cl->pipe.data = cl;
	cl->heard_ns = clock_now().mono_ns;
	cl->next = c->clients;
	c->clients = cl;
	c->n_clients++;
	c->handles++;
	return cl;
}

static void
on_retry(uv_timer_t *t)
{
	accept_pending(t->data);
}

/* Take the connection that libuv holds, or try again soon; until then it
 * holds back the others, which wait in the backlog. */
static void
accept_pending(struct ctl *c)
{
	struct client *cl = NULL;

	if (!c->pending || c->closing)
		return;
	if (make_place(c))
		cl = client_new(c);
	if (cl == NULL) {
		uv_timer_start(&c->retry, on_retry, ACCEPT_RETRY_MS, 0);
		return;
	}
	c->pending = false;
	if (uv_accept((uv_stream_t *)&c->listener, (uv_stream_t *)&cl->pipe) ==
		0 &&
	    may_talk(cl))
		cl->session = c->handler.open(c->handler.arg);
	if (cl->session == NULL)
		client_close(cl);
	else
		client_go_on(cl);
}

static void
on_connection(uv_stream_t *s, int status)
{
	struct ctl *c = s->data;

	if (status != 0)
		return;
	c->pending = true;
	accept_pending(c);
}

static bool
still_ours(const struct ctl *c)
{
	struct stat st;

	return lstat(c->path, &st) == 0 && st.st_dev == c->dev &&
	       st.st_ino == c->ino;
}

static void
on_dir_event(uv_fs_event_t *w, const char *name, int events, int status)
{
	struct ctl *c = w->data;

	/* Names are not looked at: an overrun of the queue has none. */
	(void)name;
	(void)events;
	(void)status;
	if (c->closing || c->gone_told || still_ours(c))
		return;
	c->gone_told = true;
	if (c->handler.deleted != NULL)
		c->handler.deleted(c->handler.arg);
}

/* dir is a copy of path without its last part, or ".". */
static int
dir_of(const char *path, char *dir, size_t cap)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 1 : (size_t)(slash - path);

	if (len == 0)
		len = 1; /* "/" */
	if (len >= cap)
		return UK_EINVAL;
	memcpy(dir, slash == NULL ? "." : path, len);
	dir[len] = '\0';
	return 0;
}

static int
sys_error(struct diag *d, const char *what, const char *path, int err)
{
	diag_error(d, "cannot %s %s: %s", what, path, strerror(err));
	return err == EACCES || err == EPERM || err == EROFS ? UK_EPERM
							     : UK_ESYS;
}

static int
set_address(struct sockaddr_un *a, const char *path, struct diag *d)
{
	size_t len = strlen(path);

	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len >= sizeof(a->sun_path)) {
		diag_error(d,
		    "the socket's path is too long (%zu bytes, at "
		    "most %zu): %s",
		    len, sizeof(a->sun_path) - 1, path);
		return UK_EINVAL;
	}
	memcpy(a->sun_path, path, len);
	return 0;
}

/* Start to connect; never waits. Returns the descriptor; UK_ENOENT: nobody
 * is there; UK_EAGAIN: somebody is, and busy; UK_EPERM; UK_ESYS. */
static int
try_connect(const struct sockaddr_un *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return UK_ESYS;
	if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0)
		return fd;
	err = errno;
	close(fd);
	errno = err;
	if (err == ENOENT || err == ECONNREFUSED || err == ENOTDIR)
		return UK_ENOENT;
	if (err == EAGAIN)
		return UK_EAGAIN;
	return err == EACCES || err == EPERM ? UK_EPERM : UK_ESYS;
}

/* May path be ours? Returns 0; UK_EBUSY, UK_EPERM, UK_ESYS. */
static int
check_path(const char *path, const struct sockaddr_un *a, struct diag *d)
{
	struct stat st;
	int r;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : sys_error(d, "use", path, errno);
	if (!S_ISSOCK(st.st_mode)) {
		diag_error(d, "%s exists and is not a socket; remove it", path);
		return UK_EBUSY;
	}
	r = try_connect(a);
	if (r == UK_ENOENT)
		return 0;
	if (r >= 0)
		close(r);
	if (r >= 0 || r == UK_EAGAIN) {
		diag_error(d,
		    "%s is in use: the program that made it is still "
		    "running",
		    path);
		return UK_EBUSY;
	}
	return sys_error(d, "use", path, errno);
}

static int
make_dir(const char *dir, struct diag *d)
{
	if (mkdir(dir, 0755) != 0)
		return errno == EEXIST ? 0 : sys_error(d, "make", dir, errno);
	/* Whatever the umask took away. */
	if (chmod(dir, 0755) != 0)
		return sys_error(d, "make", dir, errno);
	return 0;
}

/* Bind and listen under another name and then move it to its place: there is
 * no moment in which the socket exists and refuses, and a leftover is
 * replaced in one step. `wg` does not take the other name for an interface,
 * since it does not end in ".sock". */
static int
listen_at(int fd, const char *dir, const char *path, struct diag *d)
{
	char temp[sizeof(((struct sockaddr_un *)0)->sun_path) + 16];
	struct sockaddr_un a;
	mode_t old;
	int r;

	snprintf(temp, sizeof(temp), "%s/.%ld", dir, (long)getpid());
	r = set_address(&a, temp, d);
	if (r != 0)
		return r;
	(void)unlink(temp); /* of a dead process with our number */
	old = umask(0177);
	r = bind(fd, (struct sockaddr *)&a, sizeof(a));
	umask(old);
	if (r != 0)
		return sys_error(d, "make the socket", path, errno);
	if (listen(fd, BACKLOG) == 0 && rename(temp, path) == 0)
		return 0;
	r = sys_error(d, "make the socket", path, errno);
	(void)unlink(temp);
	return r;
}

/* Returns the descriptor or an error. */
static int
make_socket(const char *path, const char *dir, struct diag *d)
{
	struct sockaddr_un a;
	int r = set_address(&a, path, d);
	int fd;

	if (r != 0)
		return r;
	r = make_dir(dir, d);
	if (r != 0)
		return r;
	r = check_path(path, &a, d);
	if (r != 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return sys_error(d, "make the socket", path, errno);
	r = listen_at(fd, dir, path, d);
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static void
on_closed(uv_handle_t *h)
{
	ctl_release(h->data);
}

/* Remember which file is ours, and watch its directory. */
static int
start_watch(struct ctl *c, const char *dir, struct diag *d)
{
	struct stat st;
	int r;

	if (lstat(c->path, &st) != 0)
		return sys_error(d, "find", c->path, errno);
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	r = uv_fs_event_start(&c->watch, on_dir_event, dir, 0);
	if (r == 0)
		return 0;
	diag_error(d,
	    "cannot watch %s by inotify: %s (fs.inotify.max_user_instances "
	    "may be too small)",
	    dir, uv_strerror(r));
	return UK_ESYS;
}

/* The listener takes fd over, also when this fails. */
static int
start(struct ctl *c, int fd, const char *dir, struct diag *d)
{
	int r = uv_pipe_open(&c->listener, fd);

	if (r != 0) {
		close(fd);
		diag_error(d, "control socket: %s", uv_strerror(r));
		return UK_ESYS;
	}
	if (c->path != NULL) {
		r = start_watch(c, dir, d);
		if (r != 0)
			return r;
	}
	r = uv_listen((uv_stream_t *)&c->listener, BACKLOG, on_connection);
	if (r == 0)
		return 0;
	diag_error(d, "control socket: cannot listen: %s", uv_strerror(r));
	return UK_ESYS;
}

static struct ctl *
ctl_new(uv_loop_t *loop, const struct ctl_conf *conf)
{
	struct ctl *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->handler = conf->handler;
	c->path = conf->path == NULL ? NULL : strdup(conf->path);
	if (conf->path != NULL && c->path == NULL)
		goto free_ctl;
	if (uv_pipe_init(loop, &c->listener, 0) != 0)
		goto free_path;
	/* These only set fields. */
	uv_fs_event_init(loop, &c->watch);
	uv_timer_init(loop, &c->retry);
	c->retry.data = c;
	c->listener.data = c;
	c->watch.data = c;
	c->handles = 3;
	return c;
free_path:
	free(c->path);
free_ctl:
	free(c);
	return NULL;
}

int
ctl_open(struct ctl **out, uv_loop_t *loop, const struct ctl_conf *conf,
    struct diag *d)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)] = "";
	int fd = conf->fd;
	struct ctl *c;
	int r;

	UK_ASSERT(conf->path != NULL || conf->fd >= 0);
	/* Writing to a client that has left is an error to handle. libuv's
	 * writes raise the signal. */
	signal(SIGPIPE, SIG_IGN);
	r = conf->path == NULL ? 0 : dir_of(conf->path, dir, sizeof(dir));
	if (r != 0) {
		diag_error(d, "the socket's path is too long: %s", conf->path);
		goto close_fd;
	}
	if (fd < 0)
		fd = make_socket(conf->path, dir, d);
	if (fd < 0)
		return fd;
	c = ctl_new(loop, conf);
	if (c == NULL) {
		r = UK_ENOMEM;
		goto close_fd;
	}
	r = start(c, fd, dir, d);
	if (r == 0)
		*out = c;
	else
		ctl_close(c);
	return r;
close_fd:
	if (fd >= 0)
		close(fd);
	return r;
}

static struct client *
client_of(const struct ctl *c, const void *session)
{
	struct client *cl = c->clients;

	while (cl != NULL && cl->session != session)
		cl = cl->next;
	UK_ASSERT(cl != NULL);
	return cl;
}

int
ctl_pid(const struct ctl *c, const void *session)
{
	return client_of(c, session)->pid;
}

void
ctl_tell(struct ctl *c, const void *session, const char *text, size_t len)
{
	struct client *cl = client_of(c, session);

	if (text != NULL)
		text_append(&cl->out, text, len);
	else
		cl->out.failed = true;
	cl->heard_ns = clock_now().mono_ns;
	if (!cl->writing && !cl->handling)
		client_flush(cl);
}

void
ctl_close(struct ctl *c)
{
	struct client *next;

	if (c == NULL)
		return;
	c->closing = true;
	/* First the name and then the listener: who finds the one meets the
	 * other. */
	if (c->path != NULL && still_ours(c))
		(void)unlink(c->path);
	for (struct client *cl = c->clients; cl != NULL; cl = next) {
		next = cl->next;
		if (cl->handling)
			cl->last = true; /* closed when its handler returns */
		else
			client_say_last(cl);
	}
	uv_close((uv_handle_t *)&c->listener, on_closed);
	uv_close((uv_handle_t *)&c->watch, on_closed);
	uv_close((uv_handle_t *)&c->retry, on_closed);
}

static int
ms_left(uint64_t deadline_ns)
{
	uint64_t now = clock_now().mono_ns;

	if (now >= deadline_ns)
		return 0;
	return (int)((deadline_ns - now + UK_NS_PER_MS - 1) / UK_NS_PER_MS);
}

/* A full backlog says EAGAIN; there is nothing to poll for then. */
static int
connect_until(const struct sockaddr_un *a, uint64_t deadline_ns)
{
	int r = try_connect(a);

	while (r == UK_EAGAIN && ms_left(deadline_ns) > 0) {
		poll(NULL, 0, 10);
		r = try_connect(a);
	}
	return r;
}

/* Is there an empty line in t, of which the last `added` bytes are new? */
static bool
has_empty_line(const struct text *t, size_t added)
{
	size_t from = t->len - added;

	if (t->len > 0 && t->s[0] == '\n')
		return true;
	from = from == 0 ? 0 : from - 1;
	return memmem(t->s + from, t->len - from, "\n\n", 2) != NULL;
}

/* Read some. Returns 1: there is an end or an empty line; 0: go on; error. */
static int
ask_read(int fd, struct text *t)
{
	char buf[16384];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return n == 0 || errno == ECONNRESET ? 1 : UK_ESYS;
	if (t->len + (size_t)n > ANSWER_MAX) {
		errno = EMSGSIZE;
		return UK_ESYS;
	}
	text_append(t, buf, (size_t)n);
	if (t->failed)
		return UK_ENOMEM;
	return has_empty_line(t, (size_t)n) ? 1 : 0;
}

/* Returns bytes sent; all of them when nobody listens any more: an answer may
 * be there all the same. */
static size_t
ask_send(int fd, const char *text, size_t len)
{
	ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

	if (n >= 0)
		return (size_t)n;
	return errno == EAGAIN || errno == EINTR ? 0 : len;
}

static int
ask_exchange(int fd, const char *text, uint64_t deadline_ns, struct text *t)
{
	size_t left = strlen(text);
	int r = 0;

	while (r == 0) {
		struct pollfd p = {.fd = fd,
		    .events = (short)(left > 0 ? POLLIN | POLLOUT : POLLIN)};
		int n = poll(&p, 1, ms_left(deadline_ns));
		size_t sent;

		if (n == 0)
			return UK_EAGAIN;
		if (n < 0 && errno != EINTR)
			return UK_ESYS;
		if (n > 0 && (p.revents & POLLOUT)) {
			sent = ask_send(fd, text, left);
			text += sent;
			left -= sent;
		}
		if (n > 0 && (p.revents & (POLLIN | POLLHUP | POLLERR)))
			r = ask_read(fd, t);
	}
	return r > 0 ? 0 : r;
}

static int
ask_error(const char *path, int r, int err, struct diag *d)
{
	switch (r) {
	case UK_ENOENT:
		diag_error(d, "nobody answers on %s: is it running?", path);
		break;
	case UK_EPERM:
		diag_error(d, "not permitted to use %s: run as root", path);
		break;
	case UK_EAGAIN:
		diag_error(d, "no answer on %s in time", path);
		break;
	case UK_ESYS:
		diag_error(d, "cannot use %s: %s", path, strerror(err));
		break;
	default:
		break;
	}
	return r;
}

int
ctl_ask(const char *path, const char *text, int timeout_ms, char **answer,
    struct diag *d)
{
	uint64_t deadline_ns =
	    clock_now().mono_ns + (uint64_t)timeout_ms * UK_NS_PER_MS;
	struct text t = {.s = NULL};
	struct sockaddr_un a;
	int r = set_address(&a, path, d);
	int fd;

	if (r != 0)
		return r;
	fd = connect_until(&a, deadline_ns);
	if (fd < 0)
		return ask_error(path, fd, errno, d);
	text_append(&t, "", 0); /* an empty answer is a string too */
	r = t.failed ? UK_ENOMEM : ask_exchange(fd, text, deadline_ns, &t);
	if (r != 0)
		ask_error(path, r, errno, d);
	close(fd);
	if (r != 0)
		text_fini(&t);
	else
		*answer = t.s;
	return r;
}
