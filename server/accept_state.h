/* accept_state: what accept.c, which lets connections in, and accept_conn.c,
 * which carries them, share. For these two only. */
#ifndef UKAI_SERVER_ACCEPT_STATE_H
#define UKAI_SERVER_ACCEPT_STATE_H

#include "accept.h"
#include "io/log.h"
#include "io/watch.h"
#include "wg/wg_limit.h"

#define ACCEPT_READ_BYTES 16384

enum { ACCEPT_V6, ACCEPT_V4, ACCEPT_FAMILIES };

enum accept_state {
	CONN_HANDSHAKE,
	CONN_OPEN,
	CONN_FINISHING, /* the rest goes out, and close_notify */
	CONN_LINGERING, /* all is sent; waits until the far end has it */
};

struct accept_conn {
	struct accept_conn *older, *newer;
	struct accept *accept;
	struct endpoint from;
	struct ip_addr source;
	enum accept_state state;
	bool settled, aborted;
	bool heard_all; /* the network's end of stream */
	bool said_all; /* close_notify is made */
	bool wants_room; /* accept_write() took less */
	int fd;
	struct watch *watch, *timer;
	struct tls_stream *tls;
	const struct accept_protocol *protocol;
	void *session; /* NULL: none, or not any more */
	struct text last;
	size_t last_at; /* of it, what TLS has taken */
	size_t lingered; /* bytes thrown away */
	size_t in_at, in_len; /* of in, what TLS has not taken */
	uint8_t in[ACCEPT_READ_BYTES];
};

struct accept {
	struct accept_conf conf;
	uv_loop_t *loop;
	struct tls_server *tls;
	uint16_t port;
	int fd[ACCEPT_FAMILIES]; /* -1: not on this host */
	struct watch *watch[ACCEPT_FAMILIES];
	unsigned turn; /* which of the families is asked next */
	struct watch *retry; /* runs while nothing is accepted */
	struct wg_limit limit;
	uint64_t pace_full_ns; /* when all of PACE_BURST are back */
	struct accept_conn *oldest, *newest;
	struct accept_stats stats;
	struct log_limit refused_log, failed_log, exhausted_log;
};

/* The socket is its from here on; on an error it is still the caller's. NULL:
 * no memory. Nothing happens before accept_conn_start(). */
struct accept_conn *accept_conn_new(
    struct accept *a, int fd, const struct endpoint *from);
/* As the newest of a's. */
void accept_conn_start(struct accept_conn *c);
/* Counts it under why. c is gone afterwards. */
void accept_conn_end(struct accept_conn *c, enum accept_end why);
/* All of a's, uncounted. */
void accept_conn_end_all(struct accept *a);

/* reset: the kernel forgets the connection at once, and a flood leaves nothing
 * that waits for far ends (FIN_WAIT2, TIME_WAIT). */
void accept_close_socket(int fd, bool reset);

#endif
