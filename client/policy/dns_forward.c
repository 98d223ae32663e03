#include "dns_forward_parts.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/err.h"
#include "io/clock.h"

#define TICK (UK_NS_PER_S / 4)

uint64_t
dns_now(void)
{
	return clock_now().mono_ns;
}

void
dns_wake(struct dns_forward *f, uint64_t at_ns)
{
	uint64_t now_ns;

	if (at_ns >= f->due_ns)
		return;
	now_ns = dns_now();
	f->due_ns = at_ns;
	watch_after(f->timer, at_ns > now_ns ? at_ns - now_ns : 0);
}

/* ---- answers of our own ---- */

static void
refuse(struct dns_forward *f, const struct dns_origin *o, const uint8_t *query,
    size_t len, unsigned rcode)
{
	uint8_t out[1024]; /* header, question, and EDNS */
	int n = dns_refuse(out, sizeof(out), query, len, rcode);

	if (n > 0)
		dns_reply(f, o, out, (size_t)n);
}

/* Names by which browsers ask whether they may go around the system's
 * resolver; who has rules by name says no. */
static bool
is_canary(const char *name)
{
	static const char *const canary[] = {
	    "use-application-dns.net",
	    "mask.icloud.com",
	    "mask-h2.icloud.com",
	};

	for (size_t i = 0; i < ARRAY_LEN(canary); i++)
		if (strcmp(name, canary[i]) == 0)
			return true;
	return false;
}

static struct dns_verdict
judge_question(const struct dns_forward *f, const struct dns_question *q)
{
	const char *name = q->name;

	return dns_judge(&f->policy, &name, 1);
}

/* Where a resolver's own encrypted service is offered (RFC 9461, RFC 9462): to
 * Windows, iOS and others, which then leave plain DNS by themselves. We stand
 * in for that resolver and have none, so there is no such data (RFC 9462
 * 6.4). */
static bool
is_designation(const struct dns_question *q)
{
	return q->type == DNS_TYPE_SVCB && strncmp(q->name, "_dns.", 5) == 0;
}

/* Is the answer to a question known without asking? Returns its rcode; -1:
 * no. */
static int
answer_known(const struct dns_question *q, const struct dns_verdict *v)
{
	if (is_canary(q->name))
		return DNS_NXDOMAIN;
	if (is_designation(q))
		return DNS_NOERROR;
	if (dns_verdict_guards(v) && dns_type_evades(q->type))
		return DNS_NOERROR;
	return -1;
}

/* ---- the life of a question ---- */

static uint64_t
peer_hash(const struct dns_forward *f, const struct endpoint *peer, uint16_t id)
{
	uint8_t key[sizeof(peer->addr) + 4];

	memcpy(key, &peer->addr, sizeof(peer->addr));
	store_be16(key + sizeof(peer->addr), peer->port);
	store_be16(key + sizeof(peer->addr) + 2, id);
	return htab_hash(&f->by_peer, key, sizeof(key));
}

/* The same, asked before by the same client. */
static struct dns_ask *
ask_find(struct dns_forward *f, const struct dns_origin *o, const uint8_t *msg,
    size_t len)
{
	struct htab_node *n;

	if (o->from != DNS_FROM_UDP)
		return NULL;
	n = htab_first(&f->by_peer, peer_hash(f, &o->peer, load_be16(msg)));
	for (; n; n = htab_next(n)) {
		struct dns_ask *a = CONTAINER_OF(n, struct dns_ask, node);

		if (endpoint_same_remote(&a->origin.peer, &o->peer) &&
		    endpoint_same_remote(&a->origin.server, &o->server) &&
		    a->query_len == len && memcmp(a->query, msg, len) == 0)
			return a;
	}
	return NULL;
}

void
dns_ask_free(struct dns_ask *a)
{
	struct dns_forward *f = a->f;

	dns_ask_leave(a);
	list_remove(&a->order);
	list_remove(&a->held);
	list_remove(&a->of_client);
	if (a->origin.from == DNS_FROM_UDP)
		htab_remove(&f->by_peer, &a->node);
	f->ask_count--;
	if (a->origin.from == DNS_FROM_TCP)
		dns_client_left(a->origin.client);
	free(a->answer);
	free(a);
}

void
dns_ask_end(struct dns_ask *a, const uint8_t *msg, size_t len)
{
	if (a->origin.from != DNS_FROM_AHEAD)
		dns_reply(a->f, &a->origin, msg, len);
	dns_ask_free(a);
}

void
dns_ask_refuse(struct dns_ask *a, unsigned rcode)
{
	if (a->origin.from == DNS_FROM_AHEAD)
		dns_ahead_done(a->f, a->origin.ahead, 0);
	else
		refuse(a->f, &a->origin, a->query, a->query_len, rcode);
	dns_ask_free(a);
}

static const struct ip_addr *
tunnel_server(const struct dns_forward *f)
{
	size_t n = f->conf.tunnel_servers;

	for (size_t i = 0; i < n; i++) {
		const struct ip_addr *a =
		    &f->conf.tunnel_server[(f->tunnel_server + i) % n];

		if (a->family == FAMILY_V4 ? f->conf.tunnel_v4
					   : f->conf.tunnel_v6)
			return a;
	}
	return NULL;
}

/* Whom to ask. Returns 0; UK_EAGAIN: the tunnel cannot, and nobody else may
 * know of the name. */
static int
ask_route(struct dns_ask *a, const struct dns_verdict *v)
{
	struct dns_forward *f = a->f;
	const struct ip_addr *server = tunnel_server(f);

	if (!dns_verdict_tunnels(v) || !server)
		return 0;
	if (!f->conf.live(f->conf.arg))
		return v->target == TARGET_TUNNEL_ONLY ? UK_EAGAIN : 0;
	a->server = (struct endpoint){.addr = *server, .port = DNS_PORT};
	a->mark = f->conf.tunnel_mark;
	a->tunnel = true;
	f->stats.tunnel++;
	return 0;
}

static int
ask_send(struct dns_ask *a)
{
	return a->origin.from == DNS_FROM_TCP ? dns_ask_tcp(a) : dns_ask_udp(a);
}

/* The next one is asked from now on, if it is still this one's turn: many
 * questions fail at once. */
static void
tunnel_server_failed(const struct dns_ask *a)
{
	const struct ip_addr *now = tunnel_server(a->f);

	if (now && ip_addr_equal(now, &a->server.addr))
		a->f->tunnel_server++;
}

/* Ask another server in the tunnel: the client knows of one only. */
static bool
tunnel_server_next(struct dns_ask *a)
{
	const struct ip_addr *next;

	tunnel_server_failed(a);
	next = tunnel_server(a->f);
	if (++a->tries >= a->f->conf.tunnel_servers || !next)
		return false;
	dns_ask_leave(a);
	a->server.addr = *next;
	return ask_send(a) == 0;
}

/* By TCP some resolvers try their next server only so. */
static void
ask_hang_up(struct dns_ask *a)
{
	dns_client_fail(a->origin.client);
	dns_ask_free(a);
}

void
dns_ask_failed(struct dns_ask *a)
{
	while (a->tunnel && a->tries < a->f->conf.tunnel_servers)
		if (tunnel_server_next(a))
			return;
	if (a->origin.from == DNS_FROM_TCP)
		ask_hang_up(a);
	else
		dns_ask_refuse(a, DNS_SERVFAIL);
}

/* Without a word: its client asks again, or somebody else. */
static void
ask_drop(struct dns_ask *a)
{
	if (a->origin.from == DNS_FROM_AHEAD)
		dns_ahead_done(a->f, a->origin.ahead, 0);
	dns_ask_free(a);
}

static struct dns_ask *
ask_new(struct dns_forward *f, const struct dns_origin *o, const uint8_t *msg,
    size_t len)
{
	struct dns_ask *a;

	/* Dropping one may let its client bring another. */
	while (f->ask_count >= DNS_FORWARD_QUESTIONS) {
		f->stats.refused_full++;
		ask_drop(CONTAINER_OF(f->asks.next, struct dns_ask, order));
	}
	a = calloc(1, sizeof(*a) + len);
	if (!a)
		return NULL;
	a->f = f;
	a->origin = *o;
	a->server = o->server;
	a->mark = f->conf.mark;
	a->since_ns = dns_now();
	a->query_len = len;
	memcpy(a->query, msg, len);
	list_init(&a->held);
	list_init(&a->of_client);
	list_init(&a->of_socket);
	list_push(&f->asks, &a->order);
	f->ask_count++;
	if (o->from == DNS_FROM_UDP)
		htab_insert(&f->by_peer, &a->node,
		    peer_hash(f, &o->peer, load_be16(msg)));
	if (o->from == DNS_FROM_TCP)
		dns_client_add(o->client, a);
	dns_wake(f, a->since_ns + TICK);
	return a;
}

/* What is asked over HTTPS or TLS is not seen here. */
static void
note_encrypted(struct dns_forward *f, const struct dns_question *q,
    const struct dns_verdict *v)
{
	if (v->ruled || !dns_name_encrypted(q->name))
		return;
	f->stats.encrypted++;
	memcpy(f->stats.encrypted_name, q->name, strlen(q->name) + 1);
}

static void
question_take(struct dns_forward *f, const struct dns_origin *o,
    const struct dns_question *q, const uint8_t *msg, size_t len)
{
	struct dns_verdict v = judge_question(f, q);
	int rcode = answer_known(q, &v);
	struct dns_ask *a;

	if (rcode >= 0) {
		refuse(f, o, msg, len, (unsigned)rcode);
		return;
	}
	note_encrypted(f, q, &v);
	a = ask_new(f, o, msg, len);
	if (!a)
		return;
	a->q = *q;
	a->stream = o->from == DNS_FROM_TCP &&
		    (q->type == DNS_TYPE_AXFR || q->type == DNS_TYPE_IXFR);
	if (ask_route(a, &v) < 0) {
		f->stats.refused_down++;
		dns_ask_refuse(a, DNS_SERVFAIL);
		return;
	}
	if (ask_send(a) < 0)
		dns_ask_failed(a);
}

static void
opaque_take(struct dns_forward *f, const struct dns_origin *o,
    const uint8_t *msg, size_t len)
{
	struct dns_ask *a = ask_new(f, o, msg, len);

	if (!a)
		return;
	a->opaque = true;
	if (ask_send(a) < 0)
		ask_drop(a);
}

static bool
is_of_lan(const struct dns_origin *o)
{
	static const struct ip_prefix loopback = {{FAMILY_V4, {127}}, 8};
	static const struct ip_addr loopback6 = {FAMILY_V6, {[15] = 1}};
	const struct ip_addr *asked = &o->peer.src;

	return o->from == DNS_FROM_UDP &&
	       !ip_prefix_contains(&loopback, asked) &&
	       !ip_addr_equal(asked, &loopback6);
}

void
dns_ask_take(struct dns_forward *f, const struct dns_origin *o,
    const uint8_t *msg, size_t len)
{
	struct dns_question q;
	struct dns_ask *a;
	bool opaque = len >= DNS_HEADER && dns_opcode(msg) != 0;

	if (len < DNS_HEADER || dns_is_response(msg) ||
	    (!opaque && dns_question_parse(&q, msg, len) < 0)) {
		f->stats.malformed++;
		return;
	}
	f->stats.questions++;
	f->stats.lan += is_of_lan(o);
	if (o->server.addr.family == FAMILY_NONE) {
		refuse(f, o, msg, len, DNS_REFUSED);
		return;
	}
	a = ask_find(f, o, msg, len);
	if (a) {
		if (list_empty(&a->held))
			dns_ask_again(a);
		return;
	}
	if (opaque)
		opaque_take(f, o, msg, len);
	else
		question_take(f, o, &q, msg, len);
}

int
dns_ask_own(struct dns_forward *f, const struct dns_origin *o,
    const uint8_t *msg, size_t len)
{
	struct dns_ask *a = ask_new(f, o, msg, len);
	struct dns_verdict v;
	int r;

	if (!a)
		return UK_ENOMEM;
	r = dns_question_parse(&a->q, msg, len);
	UK_ASSERT(r == 0);
	v = judge_question(f, &a->q);
	r = ask_route(a, &v);
	if (r == 0)
		r = ask_send(a);
	if (r < 0)
		dns_ask_free(a);
	return r;
}

/* ---- time ---- */

static void
ask_expire(struct dns_ask *a)
{
	struct dns_forward *f = a->f;

	f->stats.timeouts++;
	if (a->tunnel)
		tunnel_server_failed(a);
	if (list_empty(&a->held) && a->origin.from == DNS_FROM_TCP)
		ask_hang_up(a);
	else if (list_empty(&a->held))
		ask_drop(a);
	else if (a->strict)
		dns_ask_refuse(a, DNS_SERVFAIL);
	else
		dns_ask_end(a, a->answer, a->answer_len);
}

static void
on_due(void *arg)
{
	struct dns_forward *f = arg;
	uint64_t now_ns = dns_now();

	f->due_ns = UK_NEVER;
	while (!list_empty(&f->asks)) {
		struct dns_ask *a =
		    CONTAINER_OF(f->asks.next, struct dns_ask, order);

		/* What the others' end lets in is younger than now_ns. */
		if (now_ns < a->since_ns + DNS_ANSWER_WAIT)
			break;
		ask_expire(a);
	}
	dns_commit_again(f);
	dns_clients_reap(f, now_ns);
	dns_wake(f, dns_ahead_step(f, now_ns));
	if (f->ask_count > 0 || f->client_count > 0)
		dns_wake(f, now_ns + TICK);
}

/* ---- all of it ---- */

static int
forward_init(struct dns_forward *f, struct diag *d)
{
	uint8_t key[16];

	f->due_ns = UK_NEVER;
	list_init(&f->asks);
	list_init(&f->held);
	list_init(&f->clients);
	list_init(&f->sockets);
	randombytes_buf(key, sizeof(key));
	if (htab_init(&f->by_peer, key) < 0)
		return UK_ENOMEM;
	f->timer = watch_timer(f->conf.loop, on_due, f);
	if (!f->timer)
		return UK_ENOMEM;
	return flows_open(&f->flows, d);
}

int
dns_forward_open(struct dns_forward **out, const struct dns_forward_conf *c,
    const struct dns_policy *p, struct diag *d)
{
	struct dns_forward *f = calloc(1, sizeof(*f));
	int r;

	*out = NULL;
	if (!f)
		return UK_ENOMEM;
	for (unsigned i = 0; i < ARRAY_LEN(f->udp); i++)
		f->udp[i].fd = f->tcp[i].fd = -1;
	f->conf = *c;
	f->policy = *p;
	r = forward_init(f, d);
	if (r == 0)
		r = dns_listen_open(f, d);
	if (r < 0) {
		dns_forward_close(f);
		return r;
	}
	dns_ahead_follow(f);
	*out = f;
	return 0;
}

void
dns_forward_close(struct dns_forward *f)
{
	if (!f)
		return;
	if (f->asks.next)
		while (!list_empty(&f->asks))
			dns_ask_free(
			    CONTAINER_OF(f->asks.next, struct dns_ask, order));
	dns_listen_close(f);
	flows_close(f->flows);
	watch_close(f->timer);
	htab_fini(&f->by_peer);
	free(f);
}

uint16_t
dns_forward_port(const struct dns_forward *f)
{
	return f->port;
}

void
dns_forward_follow(struct dns_forward *f, const struct dns_policy *p)
{
	f->policy = *p;
	dns_ahead_follow(f);
}

void
dns_forward_stats(const struct dns_forward *f, struct dns_forward_stats *out)
{
	*out = f->stats;
}
