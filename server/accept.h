/* accept: the relay's one TCP port (C3): takes connections over IPv6 and IPv4,
 * does the TLS handshake (T1, T4) and hands each on by the name of its protocol
 * (ALPN). Who is behind a connection is for its protocol to find out; until it
 * says so, see accept_settle(), the connection is a stranger's, and strangers
 * are bounded in time, number and rate (T2, A3):
 *
 *   one address, IPv4 /32 or IPv6 /64, never the port: a token bucket for new
 *   connections (wg/wg_limit.h) and max_per_source at a time; others: refused
 *   all of them: pace_per_s new ones, others wait in the kernel's backlog;
 *   max at a time, and then the oldest stranger makes room
 *
 * The oldest goes, and not the newcomer, since whoever can make one connection
 * from each of many addresses (a /48 of IPv6 has 65,536) would else shut others
 * out with max connections every request_ns, which is next to nothing. As it
 * is, whoever is let in has at least max / pace_per_s seconds, 1.28 s by
 * default, and needs two round trips. The pace is there for the clients who
 * have a tunnel: a handshake takes their thread some 0.3 ms.
 *
 * Memory: a fixed amount for each connection, whatever the far end says (C2).
 * Loop thread only. Nothing here calls a handler from inside a call of its. */
#ifndef UKAI_SERVER_ACCEPT_H
#define UKAI_SERVER_ACCEPT_H

#include <uv.h>

#include "core/diag.h"
#include "core/endpoint.h"
#include "core/text.h"
#include "io/tls_stream.h"

struct accept;
struct accept_conn;

/* ---- a protocol inside TLS. The connection is its session's from opened to
 * closed, and must not be touched afterwards. No handler may call
 * accept_close(). ---- */

struct accept_protocol {
	const char *alpn;
	void *arg;
	/* The handshake is over: a session for the connection; NULL: abort
	 * it. from is valid as long as the connection. */
	void *(*opened)(
	    void *arg, struct accept_conn *c, const struct endpoint *from);
	/* len >= 1 bytes of the stream, to be taken all at once; wiped
	 * afterwards. Not called after accept_finish(). */
	void (*received)(void *session, const uint8_t *bytes, size_t len);
	/* accept_write() took less than it was given, and what it took is sent.
	 * May be NULL. */
	void (*writable)(void *session);
	void (*closed)(void *session); /* whoever ended it */
};

/* Send; returns how much was taken. The rest is for later: writable(). */
size_t accept_write(struct accept_conn *c, const void *bytes, size_t len);
/* Send what was taken and then last, which is taken, too (NULL: nothing), say
 * that this is the end (close_notify), wait until the far end has it, and
 * close; drain_ns in all. The network's half of the far end may be closed. */
void accept_finish(struct accept_conn *c, struct text *last);
/* Close without a word, when the handler has returned. */
void accept_abort(struct accept_conn *c);
/* No stranger's any more: it may stay as long as it likes, counts no longer as
 * one of its address, and never makes room for others. */
void accept_settle(struct accept_conn *c);

/* ---- the port ---- */

struct accept_conf {
	uint16_t port; /* 0: any free one, the same for IPv6 and IPv4 */
	const struct tls_identity *identity; /* not used afterwards */
	const struct accept_protocol *protocol; /* outlives it; best first */
	size_t protocols; /* at most TLS_ALPN_NAMES */
	unsigned max, max_per_source; /* connections at a time */
	unsigned pace_per_s; /* new connections of all */
	uint64_t request_ns; /* from the connection to the end of the request */
	uint64_t drain_ns; /* from accept_finish() to the end */
};

/* Limits only: 256, 8, 200 a second, 10 s, 10 s. */
void accept_conf_default(struct accept_conf *c);

/* One of the families may be missing on the host, not both. Returns 0; with a
 * sentence in d: UK_EBUSY (port in use), UK_EPERM, UK_ESYS, UK_ENOMEM,
 * UK_ECRYPTO. */
int accept_open(struct accept **a, uv_loop_t *loop, const struct accept_conf *c,
    struct diag *d);
void accept_close(struct accept *a); /* connections, too; NULL: no-op */

uint16_t accept_port(const struct accept *a);

/* Why a connection was refused before a byte was read. */
enum accept_refusal {
	ACCEPT_RATE, /* too many a second from one address */
	ACCEPT_SOURCE, /* too many at a time from one address */
	ACCEPT_FULL, /* too many at a time, and none is a stranger's */
	ACCEPT_MEMORY,
	ACCEPT_REFUSALS
};

/* How one that was let in ended. */
enum accept_end {
	ACCEPT_FINISHED, /* as its protocol wanted */
	ACCEPT_HANDSHAKE, /* no TLS, none of our protocols, gone before */
	ACCEPT_TIMED_OUT,
	ACCEPT_EVICTED, /* the oldest stranger, when others came */
	ACCEPT_LOST, /* the far end left early, or broke TLS */
	ACCEPT_ABORTED, /* by its protocol: see accept_abort() */
	ACCEPT_ENDS
};

/* let_in is the sum of ended and open, until accept_close(). */
struct accept_stats {
	uint64_t let_in;
	uint64_t handshakes; /* that went well */
	uint64_t refused[ACCEPT_REFUSALS];
	uint64_t ended[ACCEPT_ENDS];
	uint64_t exhausted; /* times the host had no descriptor or memory */
	unsigned open; /* connections now */
	unsigned settled; /* of these, no strangers' */
};

const struct accept_stats *accept_stats(const struct accept *a);
/* "rate", "source", ...; "finished", "handshake", "timed_out", ... */
const char *accept_refusal_name(enum accept_refusal r);
const char *accept_end_name(enum accept_end e);

/* What limits hold for: an IPv4 address; the first 64 bits of an IPv6 one, the
 * rest zeros. */
struct ip_addr accept_source(const struct ip_addr *a);

#endif
