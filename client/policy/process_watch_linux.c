#include "process_watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/filter.h>
#include <linux/netlink.h>

#include "core/err.h"
#include "io/watch.h"
#include "process.h"

#define LOOK_EVERY_NS (250 * UK_NS_PER_MS)
#define EVENTS_A_TURN 256
/* Whoever renames itself without end is looked at once in a while. */
#define RENAMED_EVERY_NS (250 * UK_NS_PER_MS)
#define RENAMED_BYTES (1 << 16)
/* A busy host starts hundreds of processes in the time that a reload takes. */
#define SOCKET_BYTES (1 << 20)
#define EVENT_AT (NLMSG_HDRLEN + sizeof(struct cn_msg))
#define IN_EVENT(field) (EVENT_AT + offsetof(struct proc_event, field))

/* Of each its own, so that no renaming costs us a start. */
enum { STARTED, RENAMED, SOCKETS };

struct process_watch {
	int fd[SOCKETS]; /* -1: we look ourselves */
	/* For those; the first one for looking, where there are none. */
	struct watch *watch[SOCKETS];
	struct watch *renamed; /* when to ask who it was */
	void (*found)(void *arg, int pid);
	void *arg;
};

/* ---- the connector ---- */

/* Most events are forks and ends of threads, and names of threads that are not
 * their process's: the kernel is to keep them. */
static int
filter(int fd, int which)
{
	const uint32_t wanted =
	    htonl(which == STARTED ? PROC_EVENT_EXEC : PROC_EVENT_COMM);
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, EVENT_AT),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(PROC_EVENT_NONE), 5, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wanted, 0, 5),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		IN_EVENT(event_data.comm.process_pid)),
	    BPF_STMT(BPF_MISC | BPF_TAX, 0),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		IN_EVENT(event_data.comm.process_tgid)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	    BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog p = {ARRAY_LEN(code), code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p));
}

static int
listen_to(int fd, int which)
{
	const struct sockaddr_nl a = {
	    .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC};
	const enum proc_cn_mcast_op op = PROC_CN_MCAST_LISTEN;
	const struct cn_msg m = {
	    .id = {CN_IDX_PROC, CN_VAL_PROC}, .len = sizeof(op)};
	const struct nlmsghdr h = {
	    .nlmsg_len = EVENT_AT + sizeof(op), .nlmsg_type = NLMSG_DONE};
	uint8_t text[EVENT_AT + sizeof(op)] = {0};
	int size = which == STARTED ? SOCKET_BYTES : RENAMED_BYTES;

	memcpy(text, &h, sizeof(h));
	memcpy(text + NLMSG_HDRLEN, &m, sizeof(m));
	memcpy(text + EVENT_AT, &op, sizeof(op));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (filter(fd, which) < 0 ||
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return send(fd, text, sizeof(text), 0) == (ssize_t)sizeof(text) ? 0
									: -1;
}

/* Only the kernel talks to us: others may send to a netlink socket, too. */
static ssize_t
receive(int fd, struct proc_event *e)
{
	uint8_t text[1024];
	struct sockaddr_nl from = {0};
	socklen_t len = sizeof(from);
	size_t left;
	ssize_t n = recvfrom(fd, text, sizeof(text), MSG_DONTWAIT,
	    (struct sockaddr *)&from, &len);

	memset(e, 0, sizeof(*e));
	e->what = PROC_EVENT_EXIT;
	if (n < 0 || from.nl_pid != 0 || (size_t)n <= EVENT_AT)
		return n;
	left = (size_t)n - EVENT_AT;
	memcpy(e, text + EVENT_AT, left < sizeof(*e) ? left : sizeof(*e));
	return n;
}

/* In another process namespace than the first the kernel says nothing at all,
 * not even that. Its answer is there when the request is sent. */
static bool
is_answered(int fd)
{
	struct proc_event e;

	for (int i = 0; i < EVENTS_A_TURN; i++) {
		if (receive(fd, &e) < 0 && errno != ENOBUFS)
			return false;
		if (e.what == PROC_EVENT_NONE)
			return e.event_data.ack.err == 0;
	}
	return false;
}

static int
open_connector(int which)
{
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    NETLINK_CONNECTOR);

	if (fd < 0)
		return -1;
	if (listen_to(fd, which) == 0 && is_answered(fd))
		return fd;
	close(fd);
	return -1;
}

static void
close_connectors(int fd[static SOCKETS])
{
	for (int i = 0; i < SOCKETS; i++) {
		if (fd[i] >= 0)
			close(fd[i]);
		fd[i] = -1;
	}
}

/* Both, or none. */
static void
open_connectors(int fd[static SOCKETS])
{
	for (int i = 0; i < SOCKETS; i++) {
		fd[i] = open_connector(i);
		if (fd[i] < 0) {
			close_connectors(fd);
			return;
		}
	}
}

/* The kernel's first thread, in no namespace but the initial ones. */
#define KTHREADD_NETNS "/proc/2/ns/net"

/* A thread of its own, so that this one need not come back. */
static void *
open_there(void *arg)
{
	int *fd = arg;
	int netns = open(KTHREADD_NETNS, O_RDONLY | O_CLOEXEC);

	if (netns >= 0 && setns(netns, CLONE_NEWNET) == 0)
		open_connectors(fd);
	if (netns >= 0)
		close(netns);
	return NULL;
}

static void
open_anywhere(int fd[static SOCKETS])
{
	pthread_t t;

	open_connectors(fd);
	if (fd[STARTED] < 0 && pthread_create(&t, NULL, open_there, fd) == 0)
		pthread_join(t, NULL);
}

static int
process_of(const struct proc_event *e)
{
	if (e->what == PROC_EVENT_EXEC)
		return e->event_data.exec.process_tgid;
	return e->what == PROC_EVENT_COMM ? e->event_data.comm.process_tgid : 0;
}

static void
on_started(void *arg)
{
	struct process_watch *w = arg;
	struct proc_event e;
	int pid;

	for (int i = 0; i < EVENTS_A_TURN; i++) {
		if (receive(w->fd[STARTED], &e) < 0) {
			if (errno == ENOBUFS)
				process_each(w->found, w->arg);
			return;
		}
		pid = process_of(&e);
		if (pid > 0)
			w->found(w->arg, pid);
	}
}

static void
on_renamed(void *arg)
{
	struct process_watch *w = arg;

	watch_wait(w->watch[RENAMED], false, false);
	watch_after(w->renamed, RENAMED_EVERY_NS);
}

/* Each process once. Returns false: there were more than we have heard of. */
static bool
gather_renamed(int fd, int pid[static EVENTS_A_TURN], size_t *n)
{
	struct proc_event e;
	size_t k;

	*n = 0;
	for (int i = 0; i < EVENTS_A_TURN; i++) {
		if (receive(fd, &e) < 0)
			return errno != ENOBUFS;
		for (k = 0; k < *n && pid[k] != process_of(&e); k++)
			;
		pid[k] = process_of(&e);
		*n += k == *n;
	}
	return true;
}

static void
look_at_renamed(void *arg)
{
	struct process_watch *w = arg;
	int pid[EVENTS_A_TURN];
	size_t n;

	if (!gather_renamed(w->fd[RENAMED], pid, &n))
		process_each(w->found, w->arg);
	else
		for (size_t i = 0; i < n; i++)
			if (pid[i] > 0)
				w->found(w->arg, pid[i]);
	watch_wait(w->watch[RENAMED], true, false);
}

/* ---- looking ---- */

static void
on_time(void *arg)
{
	struct process_watch *w = arg;

	process_each(w->found, w->arg);
	watch_after(w->watch[STARTED], LOOK_EVERY_NS);
}

static bool
watch_none(struct process_watch *w, uv_loop_t *loop)
{
	w->watch[STARTED] = watch_timer(loop, on_time, w);
	if (w->watch[STARTED] == NULL)
		return false;
	watch_after(w->watch[STARTED], LOOK_EVERY_NS);
	return true;
}

static bool
watch_them(struct process_watch *w, uv_loop_t *loop)
{
	static void (*const on_event[])(void *arg) = {on_started, on_renamed};

	open_anywhere(w->fd);
	if (w->fd[STARTED] < 0)
		return watch_none(w, loop);
	w->renamed = watch_timer(loop, look_at_renamed, w);
	for (int i = 0; i < SOCKETS; i++) {
		w->watch[i] = watch_fd(loop, w->fd[i], on_event[i], NULL, w);
		if (w->watch[i] == NULL)
			return false;
		watch_wait(w->watch[i], true, false);
	}
	return w->renamed != NULL;
}

int
process_watch_open(struct process_watch **out, uv_loop_t *loop,
    void (*found)(void *arg, int pid), void *arg)
{
	struct process_watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return UK_ENOMEM;
	w->found = found;
	w->arg = arg;
	w->fd[STARTED] = w->fd[RENAMED] = -1;
	if (!watch_them(w, loop)) {
		process_watch_close(w);
		return UK_ENOMEM;
	}
	/* Only now: nothing is missed in between. */
	if (process_each(found, arg) < 0) {
		process_watch_close(w);
		return UK_ESYS;
	}
	*out = w;
	return 0;
}

void
process_watch_close(struct process_watch *w)
{
	if (w == NULL)
		return;
	for (int i = 0; i < SOCKETS; i++)
		watch_close(w->watch[i]);
	watch_close(w->renamed);
	close_connectors(w->fd);
	free(w);
}

bool
process_watch_is_told(const struct process_watch *w)
{
	return w->fd[STARTED] >= 0;
}
