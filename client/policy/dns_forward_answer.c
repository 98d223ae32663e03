#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "dns_forward_parts.h"

/* A client may use an address until its TTL ends, counted from when it got the
 * answer; that is later than when we did. */
#define GRACE_S 30

struct answer {
	struct dns_answer a;
	const char *name[BINDINGS_CHAIN_MAX];
	struct dns_verdict v;
	bool cut; /* it is not passed as it came */
	bool unkept; /* the bindings did not take an address */
};

static bool
is_allowed_private(const struct dns_forward *f, const struct ip_addr *a)
{
	for (size_t i = 0; i < f->conf.allow_privates; i++)
		if (ip_prefix_contains(&f->conf.allow_private[i], a))
			return true;
	return false;
}

/* x->v.ruled: what is kept for no longer must not be told for longer. */
static void
address_bind(
    struct dns_forward *f, struct answer *x, const struct dns_address *e)
{
	uint32_t ttl_s = e->ttl_s;

	if (ttl_s > BINDINGS_CEILING_S) {
		x->cut = x->cut || x->v.ruled;
		ttl_s = BINDINGS_CEILING_S;
	}
	if (bindings_add(f->conf.bindings, dns_now(), x->name, x->a.names,
		&e->addr, ttl_s + GRACE_S) < 0)
		x->unkept = true;
}

/* Take out what the client must not see. */
static void
addresses_sift(struct dns_forward *f, struct answer *x)
{
	bool private = false, v6 = false;
	size_t kept = 0;

	for (size_t i = 0; i < x->a.addresses; i++) {
		struct dns_address *e = &x->a.address[i];

		if (dns_address_private(&e->addr) &&
		    !is_allowed_private(f, &e->addr)) {
			private = true;
			continue;
		}
		if (e->addr.family == FAMILY_V6 && !f->conf.tunnel_v6 &&
		    dns_verdict_tunnels(&x->v)) {
			v6 = true;
			/* When we are killed, nobody hides it any more. */
			address_bind(f, x, e);
			continue;
		}
		x->a.address[kept++] = *e;
	}
	x->cut = x->a.more || kept < x->a.addresses;
	x->a.addresses = kept;
	f->stats.refused_private += private;
	f->stats.refused_v6 += v6;
}

static void
addresses_bind(struct dns_forward *f, struct answer *x)
{
	for (size_t i = 0; i < x->a.addresses; i++)
		address_bind(f, x, &x->a.address[i]);
}

static bool
is_kept(void *arg, const struct ip_addr *a)
{
	const struct answer *x = arg;

	for (size_t i = 0; i < x->a.addresses; i++)
		if (ip_addr_equal(&x->a.address[i].addr, a))
			return true;
	return false;
}

/* Everything that was held may go. */
static void
held_release(struct dns_forward *f, bool ok)
{
	while (!list_empty(&f->held)) {
		struct dns_ask *a =
		    CONTAINER_OF(f->held.next, struct dns_ask, held);

		list_remove(&a->held);
		if (!ok && a->strict) {
			f->stats.refused_full++;
			dns_ask_refuse(a, DNS_SERVFAIL);
		} else {
			dns_ask_end(a, a->answer, a->answer_len);
		}
	}
}

/* Has the kernel all addresses? Then so it has those of what was held. */
static bool
commit(struct dns_forward *f)
{
	if (!f->committing && !bindings_changed(f->conf.bindings))
		return true;
	f->committing = !f->conf.commit(f->conf.arg);
	if (!f->committing)
		held_release(f, true);
	return !f->committing;
}

static void
ask_hold(struct dns_ask *a, const uint8_t *msg, size_t len, bool strict)
{
	if (a->origin.from == DNS_FROM_AHEAD) {
		dns_ask_free(a);
		return;
	}
	a->answer = malloc(len);
	if (!a->answer) {
		dns_ask_free(a);
		return;
	}
	memcpy(a->answer, msg, len);
	a->answer_len = len;
	dns_ask_leave(a); /* and with it goes what msg is in */
	a->strict = strict;
	list_push(&a->f->held, &a->held);
	a->f->stats.held++;
}

static uint32_t
least_ttl(const struct dns_answer *a)
{
	uint32_t ttl_s = BINDINGS_CEILING_S;

	for (size_t i = 0; i < a->addresses; i++)
		if (a->address[i].ttl_s < ttl_s)
			ttl_s = a->address[i].ttl_s;
	return ttl_s > BINDINGS_FLOOR_S ? ttl_s : BINDINGS_FLOOR_S;
}

static void
answer_give(struct dns_ask *a, struct answer *x, const uint8_t *msg, size_t len)
{
	struct dns_forward *f = a->f;
	bool tcp = a->origin.from == DNS_FROM_TCP;

	if (x->cut) {
		int n = dns_answer_filter(f->out,
		    tcp ? sizeof(f->out) : a->q.udp_size, msg, len, is_kept, x);

		if (n < 0) {
			dns_ask_refuse(a, DNS_SERVFAIL);
			return;
		}
		msg = f->out;
		len = (size_t)n;
	}
	if (a->origin.from == DNS_FROM_AHEAD)
		dns_ahead_done(f, a->origin.ahead, least_ttl(&x->a));
	if (x->v.ruled && !commit(f))
		ask_hold(a, msg, len, x->v.strict);
	else
		dns_ask_end(a, msg, len);
}

static void
answer_take(struct dns_ask *a, struct answer *x, const uint8_t *msg, size_t len)
{
	struct dns_forward *f = a->f;

	for (size_t i = 0; i < x->a.names; i++)
		x->name[i] = x->a.name[i];
	x->v = dns_judge(&f->policy, x->name, x->a.names);
	/* No resolver follows so many: it hides where they lead to. */
	if (x->a.endless) {
		dns_ask_refuse(a, DNS_SERVFAIL);
		return;
	}
	if (dns_verdict_guards(&x->v)) {
		if (dns_type_evades(a->q.type)) {
			dns_ask_refuse(a, DNS_NOERROR);
			return;
		}
		addresses_sift(f, x);
	}
	addresses_bind(f, x);
	if (x->unkept && x->v.strict) {
		f->stats.refused_full++;
		dns_ask_refuse(a, DNS_SERVFAIL);
		return;
	}
	answer_give(a, x, msg, len);
}

/* Does it matter that we cannot read an answer? */
static bool
must_be_read(const struct dns_question *q)
{
	return q->type == DNS_TYPE_A || q->type == DNS_TYPE_AAAA ||
	       q->type == DNS_TYPE_CNAME || dns_type_evades(q->type);
}

static void
stream_pass(struct dns_ask *a, const uint8_t *msg, size_t len)
{
	a->since_ns = dns_now();
	list_remove(&a->order);
	list_push(&a->f->asks, &a->order);
	dns_reply(a->f, &a->origin, msg, len);
}

/* Nobody but us could ask for the rest of an answer to our own question. */
static bool
wants_rest(const struct dns_ask *a, const struct answer *x)
{
	return a->origin.from == DNS_FROM_AHEAD && x->a.truncated &&
	       !a->exchange;
}

static void
ask_rest(struct dns_ask *a)
{
	dns_ask_leave(a);
	if (dns_ask_tcp(a) < 0)
		dns_ask_failed(a);
}

void
dns_ask_answered(struct dns_ask *a, uint8_t *msg, size_t len)
{
	struct answer x = {.cut = false};
	struct dns_forward *f = a->f;

	if (len < DNS_HEADER || load_be16(msg) != a->id ||
	    !dns_is_response(msg) || dns_opcode(msg) != dns_opcode(a->query)) {
		f->stats.malformed++;
		return;
	}
	memcpy(msg, a->query, 2); /* the client's id */
	if (a->stream) {
		stream_pass(a, msg, len);
		return;
	}
	if (a->opaque) {
		dns_ask_end(a, msg, len);
		return;
	}
	if (dns_answer_parse(&x.a, &a->q, msg, len) == 0) {
		f->stats.answers++;
		if (wants_rest(a, &x))
			ask_rest(a);
		else
			answer_take(a, &x, msg, len);
		return;
	}
	f->stats.malformed++;
	if (!must_be_read(&a->q))
		dns_ask_end(a, msg, len);
	else if (a->origin.from == DNS_FROM_TCP)
		dns_ask_failed(a);
}

void
dns_forward_committed(struct dns_forward *f, bool ok)
{
	f->committing = false;
	/* What came meanwhile is not in the kernel yet. */
	if (ok && !commit(f))
		return;
	held_release(f, ok);
}

void
dns_commit_again(struct dns_forward *f)
{
	if (!list_empty(&f->held))
		(void)commit(f);
}
