#include "dns_forward_judge.h"

#include <string.h>

#include "dns_forward.h"

enum { TYPE_SVCB = 64, TYPE_HTTPS = 65, TYPE_ANY = 255 };

static bool
refuses(const struct rule *r)
{
	return r->target == TARGET_TUNNEL_ONLY || r->target == TARGET_BLOCK;
}

/* The rules of one name, in order, as far as they can decide. The earliest
 * unconditional rule of all names is the one that counts. */
static uint32_t
last_rule(const struct rules *r, const uint32_t *rule, size_t n, uint32_t last)
{
	for (size_t i = 0; i < n && rule[i] < last; i++)
		if (r->rule[rule[i]].conditions == 0)
			return rule[i];
	return last;
}

static size_t
rules_of(const struct dns_policy *p, const char *name,
    uint32_t rule[static BINDINGS_RULES_MAX])
{
	size_t n = matcher_names(p->matcher, name, rule, BINDINGS_RULES_MAX);

	return n < BINDINGS_RULES_MAX ? n : BINDINGS_RULES_MAX;
}

struct dns_verdict
dns_judge(const struct dns_policy *p, const char *const *name, size_t names)
{
	struct dns_verdict v = {.target = TARGET_NATIVE};
	uint32_t rule[BINDINGS_RULES_MAX], last = UINT32_MAX;

	for (size_t i = 0; i < names; i++) {
		size_t n = rules_of(p, name[i], rule);

		v.ruled = v.ruled || n > 0;
		last = last_rule(p->rules, rule, n, last);
	}
	if (last != UINT32_MAX)
		v.target = (enum rule_target)p->rules->rule[last].target;
	for (size_t i = 0; v.ruled && i < names; i++) {
		size_t n = rules_of(p, name[i], rule);

		for (size_t k = 0; k < n && rule[k] <= last; k++)
			v.strict =
			    v.strict || refuses(&p->rules->rule[rule[k]]);
	}
	return v;
}

bool
dns_verdict_guards(const struct dns_verdict *v)
{
	return v->target != TARGET_NATIVE;
}

bool
dns_verdict_tunnels(const struct dns_verdict *v)
{
	return v->target == TARGET_TUNNEL || v->target == TARGET_TUNNEL_ONLY;
}

bool
dns_type_evades(uint16_t type)
{
	return type == TYPE_SVCB || type == TYPE_HTTPS || type == TYPE_ANY;
}

bool
dns_name_encrypted(const char *name)
{
	/* And what is below them. */
	static const char *const known[] = {
	    "cloudflare-dns.com",
	    "dns.adguard-dns.com",
	    "dns.google",
	    "dns.nextdns.io",
	    "dns.quad9.net",
	    "dns10.quad9.net",
	    "dns11.quad9.net",
	    "doh.cleanbrowsing.org",
	    "doh.dns.sb",
	    "doh.opendns.com",
	    "doh.familyshield.opendns.com",
	    "one.one.one.one",
	    "public.dns.iij.jp",
	};
	size_t len = strlen(name);

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t n = strlen(known[i]);

		if (len >= n && strcmp(name + len - n, known[i]) == 0 &&
		    (len == n || name[len - n - 1] == '.'))
			return true;
	}
	return false;
}

struct net {
	uint8_t bits;
	uint8_t b[16];
};

static bool
in_nets(const struct net *net, size_t n, const struct ip_addr *a)
{
	for (size_t i = 0; i < n; i++) {
		struct ip_prefix p = {
		    .addr.family = a->family, .bits = net[i].bits};

		memcpy(p.addr.b, net[i].b, sizeof(p.addr.b));
		if (ip_prefix_contains(&p, a))
			return true;
	}
	return false;
}

static bool
private_v4(const struct ip_addr *a)
{
	static const struct net net[] = {
	    {8, {0}},
	    {8, {10}},
	    {10, {100, 64}},
	    {8, {127}},
	    {16, {169, 254}},
	    {12, {172, 16}},
	    {16, {192, 168}},
	    {4, {224}},
	    {4, {240}},
	};

	return in_nets(net, ARRAY_LEN(net), a);
}

bool
dns_address_private(const struct ip_addr *a)
{
	static const struct net net[] = {
	    {127, {0}}, /* :: and ::1 */
	    {7, {0xfc}},
	    {10, {0xfe, 0x80}},
	    {10, {0xfe, 0xc0}},
	    {8, {0xff}},
	};
	static const struct net with_v4[] = {
	    {96, {[10] = 0xff, [11] = 0xff}},
	    {96, {0x00, 0x64, 0xff, 0x9b}},
	};
	struct ip_addr inside = {.family = FAMILY_V4};

	if (a->family == FAMILY_V4)
		return private_v4(a);
	if (in_nets(net, ARRAY_LEN(net), a))
		return true;
	if (!in_nets(with_v4, ARRAY_LEN(with_v4), a))
		return false;
	memcpy(inside.b, a->b + 12, 4);
	return private_v4(&inside);
}
