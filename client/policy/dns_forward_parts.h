/* dns_forward_parts: what the files of dns_forward share. Nobody else includes
 * this.
 *
 *   dns_forward.c          what becomes of a question
 *   dns_forward_answer.c   what becomes of its answer
 *   dns_forward_listen.c   those who ask: sockets, UDP, whom they mean
 *   dns_forward_clients.c  those who ask by TCP
 *   dns_forward_ask.c      those who are asked: UDP sockets, TCP exchanges
 *   dns_forward_ahead.c    questions of our own */
#ifndef UKAI_POLICY_DNS_FORWARD_PARTS_H
#define UKAI_POLICY_DNS_FORWARD_PARTS_H

#include "core/htab.h"
#include "dns_forward.h"
#include "dns_forward_judge.h"
#include "host/flows.h"
#include "io/watch.h"
#include "list.h"

#define DNS_PORT 53
#define DNS_HEADER 12
/* A question, or an update (RFC 2136), over UDP. */
#define DNS_QUERY_MAX 4096
/* Resolvers give up after 5 s: who asks by TCP has to hear it before that. */
#define DNS_ANSWER_WAIT (4500 * UK_NS_PER_MS)
#define DNS_CLIENTS_MAX 64
#define DNS_CLIENT_ASKS 4 /* of a TCP client; more wait in its stream */
#define DNS_CLIENT_IDLE (10 * UK_NS_PER_S)
/* While there are fewer, each question has a port of its own, so that both id
 * and port have to be guessed (RFC 5452 9.2); more than these and all TCP would
 * not fit into the 1024 descriptors that a process usually has. */
#define DNS_SOCKETS_MAX 256
#define DNS_TURN                                                               \
	64 /* messages that one socket gets before others have theirs */

enum {
	DNS_NOERROR = 0,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_REFUSED = 5,
};

enum {
	DNS_TYPE_A = 1,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_SVCB = 64,
	DNS_TYPE_IXFR = 251,
	DNS_TYPE_AXFR = 252,
};

/* Of messages with a header (RFC 1035 4.1.1). */
static inline unsigned
dns_opcode(const uint8_t *msg)
{
	return msg[2] >> 3 & 15;
}

static inline bool
dns_is_response(const uint8_t *msg)
{
	return msg[2] & 0x80;
}

union sockaddr_any;
struct dns_client;
struct dns_socket;
struct dns_exchange;

enum dns_from { DNS_FROM_UDP, DNS_FROM_TCP, DNS_FROM_AHEAD };

/* Who asks, and whom they meant. */
struct dns_origin {
	enum dns_from from;
	struct endpoint peer; /* UDP; with the address that was asked */
	struct dns_client *client; /* TCP */
	unsigned ahead; /* number of the name */
	struct endpoint server; /* addr.family FAMILY_NONE: not known */
};

/* A question on its way. */
struct dns_ask {
	struct list order; /* in dns_forward.asks */
	struct list held; /* in dns_forward.held: has its answer */
	struct list of_client, of_socket;
	struct htab_node node; /* UDP: in dns_forward.by_peer */
	struct dns_forward *f;
	struct dns_origin origin;
	uint64_t since_ns;
	struct endpoint server; /* who is asked */
	uint32_t mark;
	bool tunnel;
	unsigned tries; /* of servers in the tunnel that failed */
	bool opaque; /* no question, but NOTIFY, UPDATE: passes as it is */
	bool stream; /* a transfer (RFC 5936): answers until the end */
	bool strict; /* held: not without its addresses */
	struct dns_question q; /* not of an opaque one */
	uint16_t id; /* toward the server */
	struct dns_socket *socket;
	struct dns_exchange *exchange;
	uint8_t *answer; /* held */
	size_t answer_len;
	size_t query_len;
	uint8_t query[];
};

struct dns_listener {
	struct dns_forward *f;
	int fd; /* -1: the host lacks the family */
	struct watch *watch;
	uint8_t family;
};

#define DNS_AHEAD_MAX 500
#define DNS_RESOLV_SERVERS 3

struct dns_ahead_name {
	const char *name; /* in the rules */
	uint64_t next_ns;
	unsigned asks; /* in flight */
	unsigned failures;
	unsigned server; /* of the system's */
	uint32_t ttl_s; /* the least of this round */
};

struct dns_ahead {
	struct dns_ahead_name name[DNS_AHEAD_MAX];
	unsigned n;
	uint64_t pace_ns; /* not before */
};

struct dns_resolv {
	struct endpoint server[DNS_RESOLV_SERVERS];
	unsigned n;
	uint64_t stamp[4]; /* of the file that they stood in */
};

struct dns_forward {
	struct dns_forward_conf conf;
	struct dns_policy policy;
	struct flows *flows;
	uint16_t port;
	struct dns_listener udp[2], tcp[2];
	struct list clients;
	unsigned client_count;
	struct list asks; /* the oldest first */
	unsigned ask_count;
	struct list held;
	bool committing; /* dns_forward_committed() will be called */
	struct htab by_peer;
	struct list sockets;
	unsigned socket_count;
	unsigned tunnel_server; /* the one of them that is asked */
	struct watch *timer;
	uint64_t due_ns;
	struct dns_ahead ahead;
	struct dns_resolv resolv;
	struct dns_forward_stats stats;
	uint8_t in[DNS_MESSAGE_MAX], out[DNS_MESSAGE_MAX];
};

/* ---- dns_forward.c ---- */

uint64_t dns_now(void);
/* Have what is due done, at the latest then. */
void dns_wake(struct dns_forward *f, uint64_t at_ns);
/* Somebody sent this. */
void dns_ask_take(struct dns_forward *f, const struct dns_origin *o,
    const uint8_t *msg, size_t len);
/* Ask, about a name of our own. Returns 0; UK_ENOMEM, UK_ESYS, UK_EAGAIN: the
 * tunnel cannot. */
int dns_ask_own(struct dns_forward *f, const struct dns_origin *o,
    const uint8_t *msg, size_t len);
/* Tell its client, and it is gone: a message; a response without records. */
void dns_ask_end(struct dns_ask *a, const uint8_t *msg, size_t len);
void dns_ask_refuse(struct dns_ask *a, unsigned rcode);
/* There is no answer: SERVFAIL, or the end of its connection, and it is
 * gone. */
void dns_ask_failed(struct dns_ask *a);
/* Nobody is told. */
void dns_ask_free(struct dns_ask *a);

/* ---- dns_forward_answer.c ---- */

/* Its answer, with the server's id in it. For messages that are none nothing
 * happens. a may be gone afterwards. */
void dns_ask_answered(struct dns_ask *a, uint8_t *msg, size_t len);
/* Try what the kernel could not take before. */
void dns_commit_again(struct dns_forward *f);

/* ---- dns_forward_listen.c ---- */

int dns_listen_open(struct dns_forward *f, struct diag *d);
void dns_listen_close(struct dns_forward *f);
void dns_reply(struct dns_forward *f, const struct dns_origin *o,
    const uint8_t *msg, size_t len);
/* Whom a connection was meant for, before it was redirected. */
void dns_tcp_server(struct dns_forward *f, int fd,
    const union sockaddr_any *peer, struct endpoint *server);

/* ---- dns_forward_clients.c ---- */

void dns_clients_accept(void *listener);
void dns_client_reply(struct dns_client *c, const uint8_t *msg, size_t len);
/* No more of it: its connection is closed soon. */
void dns_client_fail(struct dns_client *c);
/* Has a client much that it did not take yet? */
bool dns_client_slow(const struct dns_client *c);
void dns_client_add(struct dns_client *c, struct dns_ask *a);
/* Its ask is gone: it may have more. */
void dns_client_left(struct dns_client *c);
/* Those that are dead or idle go. */
void dns_clients_reap(struct dns_forward *f, uint64_t now_ns);
void dns_clients_close(struct dns_forward *f);

/* ---- dns_forward_ask.c ---- */

/* Send it to a->server. Returns 0; UK_ENOMEM; UK_ESYS: cannot be reached. */
int dns_ask_udp(struct dns_ask *a);
int dns_ask_tcp(struct dns_ask *a);
/* Once more, for UDP. */
void dns_ask_again(struct dns_ask *a);
/* Its answer is not wanted any more. */
void dns_ask_leave(struct dns_ask *a);
/* Its client takes more again. */
void dns_ask_resume(struct dns_ask *a);

/* ---- dns_forward_ahead.c ---- */

/* Another policy: its names, from now on. */
void dns_ahead_follow(struct dns_forward *f);
/* An answer came that holds for so long; 0: none. */
void dns_ahead_done(struct dns_forward *f, unsigned number, uint32_t ttl_s);
/* Ask what is due. Returns when there will be something to do. */
uint64_t dns_ahead_step(struct dns_forward *f, uint64_t now_ns);
/* The servers of /etc/resolv.conf as it is now. */
const struct dns_resolv *dns_resolv_now(struct dns_forward *f);

#endif
