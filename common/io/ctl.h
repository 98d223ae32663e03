/* ctl: a Unix stream socket on which local programs send lines of text and
 * get text back: the WireGuard UAPI and our own status and stop requests.
 * Mode 0600, its directory made 0755; only root and the user that runs us may
 * talk (SO_PEERCRED, C7). A slow or stalled client blocks nobody; input lines
 * are limited to CTL_LINE_MAX, a longer one ends its connection. More than
 * CTL_CLIENTS_MAX connections wait in the backlog until one ends, or is
 * closed because it has been silent for 5 s.
 * Loop thread only. SIGPIPE is ignored from ctl_open on, for the process. */
#ifndef UKAI_CTL_H
#define UKAI_CTL_H

#include <uv.h>

#include "core/base.h"
#include "core/diag.h"
#include "core/text.h"

#define CTL_LINE_MAX 65536
#define CTL_CLIENTS_MAX 64

struct ctl;

struct ctl_handler {
	void *arg;
	/* State for one connection; NULL: refuse it. Must not call
	 * ctl_close, and close must not; line and deleted may. */
	void *(*open)(void *arg);
	/* One line without its newline; empty ones too. Answers are appended
	 * to out and sent in order; a failed text closes the connection.
	 * Returns false to close the connection after out is sent. */
	bool (*line)(
	    void *session, const char *line, size_t len, struct text *out);
	void (*close)(void *session);
	/* The socket file was deleted or replaced: somebody wants us gone. */
	void (*deleted)(void *arg);
};

struct ctl_conf {
	const char *path; /* of the socket */
	int fd; /* >= 0: a listening socket to use; path is then only watched
	           if not NULL; owned by ctl afterwards */
	struct ctl_handler handler;
};

/* Returns 0; UK_EBUSY: somebody answers on that path, or it is no socket;
 * UK_EINVAL (path too long), UK_EPERM, UK_ESYS, UK_ENOMEM. A leftover that
 * nobody answers on is replaced. After a failure, too, handles may finish in
 * the loop's next turn. */
int ctl_open(struct ctl **c, uv_loop_t *loop, const struct ctl_conf *conf,
    struct diag *d);
/* An answer that comes later: append to what is sent to the connection that
 * open() gave this session, which must not have been closed. The line's own
 * call has answered nothing; lines that come meanwhile are handled as ever.
 * text NULL: there is no memory for it; the connection is closed. */
void ctl_tell(struct ctl *c, const void *session, const char *text, size_t len);

/* The process that made this session's connection, as this one knows it: its
 * own number for itself may be another. 0: it is in a process namespace that is
 * not seen from here. Valid as for ctl_tell(). */
int ctl_pid(const struct ctl *c, const void *session);

/* Closes all connections and removes the socket if it is still ours. Answers
 * that wait are sent as far as that goes at once. Called from handler.line,
 * that connection is closed, and its session with it, when the handler has
 * returned and what it answered is sent. The handles finish in the loop's
 * next turn; memory is freed then. NULL: no-op. */
void ctl_close(struct ctl *c);

/* The client's side, blocking, bounded by timeout_ms: connect, send the text,
 * read until an empty line or the end. *answer is malloc'ed. Returns 0;
 * UK_ENOENT (nobody there), UK_EPERM, UK_EAGAIN (timeout), UK_ESYS. */
int ctl_ask(const char *path, const char *text, int timeout_ms, char **answer,
    struct diag *d);

#endif
