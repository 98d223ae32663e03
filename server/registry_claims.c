#include "registry_claims.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/err.h"

/* ---- addresses in the pool ---- */

static uint32_t
pool_hosts(const struct registry *r)
{
	return UINT32_MAX >> r->pool.bits;
}

static struct ip_prefix
pool_address(const struct registry *r, uint32_t host)
{
	struct ip_prefix p = {.addr = r->pool.addr, .bits = 32};

	store_be32(p.addr.b, load_be32(r->pool.addr.b) + host);
	return p;
}

/* The hosts of the pool that a network covers. */
struct span {
	uint32_t first, last;
};

static struct span
span_of(const struct registry *r, const struct ip_prefix *p)
{
	uint32_t first = load_be32(p->addr.b) - load_be32(r->pool.addr.b);

	return (struct span){
	    first, first + (p->bits == 32 ? 0 : UINT32_MAX >> p->bits)};
}

static int
compare_spans(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

/* The first host from start on that no span covers; 0: none. The spans are in
 * order, and do not overlap. */
static uint32_t
first_gap(const struct span *s, size_t n, uint32_t start, uint32_t end)
{
	uint32_t host = start;

	for (size_t i = 0; i < n; i++) {
		if (s[i].last < host)
			continue;
		if (s[i].first > host)
			break;
		host = s[i].last + 1;
	}
	return host < end ? host : 0;
}

/* Addresses are given out in turn, so that one that was given back is not at
 * once somebody else's. */
int
claims_address(struct registry *r, struct ip_prefix *out, struct diag *d)
{
	const struct ip_prefix own = {r->conf.address.addr, 32};
	char text[IP_PREFIX_TEXT_MAX];
	struct span *s;
	uint32_t host;
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->item[i]->networks;
	s = calloc(n + 1, sizeof(*s));
	if (s == NULL)
		return UK_ENOMEM;
	s[0] = span_of(r, &own);
	n = 1;
	for (size_t i = 0; i < r->n; i++)
		for (size_t k = 0; k < r->item[i]->networks; k++)
			s[n++] = span_of(r, &r->item[i]->network[k]);
	qsort(s, n, sizeof(*s), compare_spans);
	host = first_gap(s, n, r->next_host, pool_hosts(r));
	if (host == 0)
		host = first_gap(s, n, 1, pool_hosts(r));
	free(s);
	if (host == 0) {
		diag_error(d,
		    "the pool %s is full: revoke a client, or give [Relay] "
		    "Address a wider prefix",
		    ip_prefix_format(&r->pool, text));
		return UK_ELIMIT;
	}
	r->next_host = host + 1;
	*out = pool_address(r, host);
	return 0;
}

int
claims_network(const struct registry *r, const struct client *c,
    const struct ip_prefix *p, struct diag *d)
{
	const struct ip_prefix own = {r->conf.address.addr, 32};
	char text[IP_PREFIX_TEXT_MAX], pool[IP_PREFIX_TEXT_MAX];

	ip_prefix_format(p, text);
	if (p->bits < r->pool.bits || !ip_prefix_contains(&r->pool, &p->addr)) {
		diag_error(d,
		    "the client %s has %s, which is not in the pool %s: give "
		    "[Relay] Address the prefix that it had",
		    c->name, text, ip_prefix_format(&r->pool, pool));
		return UK_EINVAL;
	}
	if (ip_prefix_overlap(p, &own)) {
		diag_error(d, "the client %s has the relay's own address in %s",
		    c->name, text);
		return UK_EBUSY;
	}
	for (size_t i = 0; i < r->n; i++)
		for (size_t k = 0; k < r->item[i]->networks; k++)
			if (r->item[i] != c &&
			    ip_prefix_overlap(p, &r->item[i]->network[k])) {
				diag_error(d, "%s of %s overlaps that of %s",
				    text, c->name, r->item[i]->name);
				return UK_EBUSY;
			}
	return 0;
}

/* Overlaps were refused when the clients came in, and the file is ours alone;
 * what may have changed since is relay.conf. */
int
claims_pool(struct registry *r, struct diag *d)
{
	const struct ip_prefix own = {r->conf.address.addr, 32};
	char text[IP_PREFIX_TEXT_MAX], pool[IP_PREFIX_TEXT_MAX];

	r->next_host = 1;
	for (size_t i = 0; i < r->n; i++)
		for (size_t k = 0; k < r->item[i]->networks; k++) {
			const struct ip_prefix *p = &r->item[i]->network[k];
			struct span s;

			if (p->bits < r->pool.bits ||
			    !ip_prefix_contains(&r->pool, &p->addr) ||
			    ip_prefix_overlap(p, &own)) {
				diag_error(d,
				    "the client %s has %s, which does not fit "
				    "[Relay] Address (the pool %s): write the "
				    "address that it had before",
				    r->item[i]->name, ip_prefix_format(p, text),
				    ip_prefix_format(&r->pool, pool));
				return UK_EINVAL;
			}
			s = span_of(r, p);
			if (s.last >= r->next_host)
				r->next_host = s.last + 1;
		}
	return 0;
}

/* ---- global addresses ---- */

/* Who else has the address, or a port of it? */
static int
check_nobody_has(const struct registry *r, const struct client *c,
    const struct ip_addr *a, struct diag *d)
{
	char text[IP_ADDR_TEXT_MAX], ports[CLIENT_FORWARD_TEXT_MAX];

	ip_addr_format(a, text);
	for (size_t i = 0; i < r->n; i++) {
		const struct client *o = r->item[i];

		if (strcmp(o->name, c->name) == 0 ||
		    !ip_addr_equal(registry_global(r, o), a))
			continue;
		if (o->way != CLIENT_SHARED) {
			diag_error(d, "%s is %s's already (%s)", text, o->name,
			    client_way_name(o->way));
			return UK_EBUSY;
		}
		if (o->forwards > 0) {
			diag_error(d,
			    "%s of %s is published for %s; `ukai-relay forward "
			    "remove` first",
			    client_forward_format(&o->forward[0], ports), text,
			    o->name);
			return UK_EBUSY;
		}
	}
	return 0;
}

/* What comes from outside goes to one address. */
int
claims_single(const struct client *c, struct diag *d)
{
	if (c->networks > 0 && c->network[0].bits == 32)
		return 0;
	diag_error(d,
	    "%s has no single address in the tunnel that visitors could be led "
	    "to; revoke it and invite it anew",
	    c->name);
	return UK_EINVAL;
}

static int
check_exclusive(const struct registry *r, const struct client *c,
    const struct ip_addr *a, struct diag *d)
{
	char text[IP_ADDR_TEXT_MAX];

	if (ip_addr_equal(a, &r->conf.global) || r->conf.is_own(r->conf.arg, a))
		return claims_single(c, d);
	diag_error(d,
	    "%s is not an address of this host: add it to the interface first "
	    "(see `ip address`), or take `routed` if it is routed to this host",
	    ip_addr_format(a, text));
	return UK_EINVAL;
}

static int
check_routed(const struct registry *r, const struct client *c,
    const struct ip_addr *a, struct diag *d)
{
	char text[IP_ADDR_TEXT_MAX];
	const char *why;

	ip_addr_format(a, text);
	if (ip_addr_equal(a, &r->conf.global)) {
		diag_error(d,
		    "%s is the relay's own: it cannot be routed to a client; "
		    "take `exclusive`",
		    text);
		return UK_EINVAL;
	}
	if (r->conf.is_own(r->conf.arg, a)) {
		diag_error(d,
		    "this host has %s itself, and a routed address is the "
		    "client's alone: remove it here (`ip address`), or take "
		    "`exclusive`",
		    text);
		return UK_EINVAL;
	}
	why = r->conf.unroutable(r->conf.arg, a);
	if (why != NULL) {
		diag_error(d, "%s %s", text, why);
		return UK_EINVAL;
	}
	if (c->forwards > 0) {
		diag_error(d,
		    "%s has forwards, and a routed client all ports itself: "
		    "`ukai-relay forward remove` them first",
		    c->name);
		return UK_EBUSY;
	}
	return 0;
}

int
claims_global(const struct registry *r, const struct client *c,
    enum client_way way, const struct ip_addr *a, struct diag *d)
{
	char text[IP_ADDR_TEXT_MAX];
	int err;

	if (a->family != FAMILY_V4 || !conf_wg_is_host_address(a) ||
	    ip_prefix_contains(&r->pool, a)) {
		diag_error(d, "%s cannot be a client's global address",
		    a->family != FAMILY_NONE ? ip_addr_format(a, text)
					     : "nothing");
		return UK_EINVAL;
	}
	err = way == CLIENT_EXCLUSIVE ? check_exclusive(r, c, a, d)
				      : check_routed(r, c, a, d);
	return err < 0 ? err : check_nobody_has(r, c, a, d);
}

/* ---- published ports ---- */

static int
check_port_owners(const struct registry *r, const struct client *c,
    const struct ip_addr *a, const struct client_forward *f, struct diag *d)
{
	char text[CLIENT_FORWARD_TEXT_MAX], addr[IP_ADDR_TEXT_MAX];

	for (size_t i = 0; i < r->n; i++) {
		const struct client *o = r->item[i];

		if (strcmp(o->name, c->name) == 0 ||
		    !ip_addr_equal(registry_global(r, o), a))
			continue;
		if (o->way != CLIENT_SHARED) {
			diag_error(d, "all ports of %s are %s's (%s)",
			    ip_addr_format(a, addr), o->name,
			    client_way_name(o->way));
			return UK_EBUSY;
		}
		for (size_t k = 0; k < o->forwards; k++)
			if (client_forwards_overlap(f, &o->forward[k])) {
				diag_error(d, "%s has %s already", o->name,
				    client_forward_format(
					&o->forward[k], text));
				return UK_EBUSY;
			}
	}
	return 0;
}

int
claims_forward(const struct registry *r, const struct client *c,
    const struct ip_addr *a, const struct client_forward *f, struct diag *d)
{
	/* The host's ports are those of its main address: what listens on all
	 * addresses gives way on one that is a client's alone. */
	if (ip_addr_equal(a, &r->conf.global))
		for (unsigned port = f->first; port <= f->last; port++) {
			const char *who = r->conf.reserved(
			    r->conf.arg, f->protocol, (uint16_t)port);

			if (who != NULL) {
				diag_error(d, "port %u is %s", port, who);
				return UK_EBUSY;
			}
		}
	return check_port_owners(r, c, a, f, d);
}
