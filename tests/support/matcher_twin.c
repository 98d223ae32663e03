#include "matcher_twin.h"

#include <string.h>

static bool
in_prefix(const struct ip_addr *a, const struct ip_prefix *p)
{
	if (a->family != p->addr.family)
		return false;
	for (unsigned i = 0; i < p->bits; i++)
		if (((a->b[i / 8] ^ p->addr.b[i / 8]) & (0x80u >> i % 8)) != 0)
			return false;
	return true;
}

static bool
in_ports(uint16_t port, const struct rule_ports *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (port != 0 && p[i].first <= port && port <= p[i].last)
			return true;
	return false;
}

static bool
name_matches(unsigned type, const char *wanted, const char *name)
{
	if (type == RULE_DOMAIN_KEYWORD)
		return strstr(name, wanted) != NULL;
	if (strcmp(name, wanted) == 0)
		return true;
	if (type == RULE_DOMAIN)
		return false;
	for (const char *dot = strchr(name, '.'); dot != NULL;
	     dot = strchr(dot + 1, '.'))
		if (strcmp(dot + 1, wanted) == 0)
			return true;
	return false;
}

static bool
any_name(const struct flow *f, unsigned type, const char *wanted)
{
	for (size_t i = 0; i < f->names; i++)
		if (name_matches(type, wanted, f->name[i]))
			return true;
	return false;
}

static bool
is_process(const struct flow *f, const char *name)
{
	return f->process != NULL && strcmp(f->process, name) == 0;
}

static bool
entry_holds(
    const struct rules *r, const struct rule_entry *e, const struct flow *f)
{
	if (e->type == RULE_IP_CIDR)
		return in_prefix(&f->dst, &e->prefix);
	if (e->type == RULE_SRC_IP_CIDR)
		return in_prefix(&f->src, &e->prefix);
	if (e->type == RULE_DST_PORT)
		return in_ports(f->dport, &e->ports, 1);
	if (e->type == RULE_SRC_PORT)
		return in_ports(f->sport, &e->ports, 1);
	if (e->type == RULE_NETWORK)
		return (e->protos & f->proto) != 0;
	if (e->type == RULE_UID)
		return f->has_uid && f->uid == e->uid;
	if (e->type == RULE_PROCESS_NAME)
		return is_process(f, r->names + e->name);
	return any_name(f, e->type, r->names + e->name);
}

static bool
conditions_hold(const struct rules *r, const struct rule_conditions *c,
    const struct flow *f)
{
	if (c->protos != 0 && (c->protos & f->proto) == 0)
		return false;
	if (c->dports != 0 && !in_ports(f->dport, c->dport, c->dports))
		return false;
	if (c->sports != 0 && !in_ports(f->sport, c->sport, c->sports))
		return false;
	if (c->has_uid && !(f->has_uid && f->uid == c->uid))
		return false;
	if (c->src.addr.family != 0 && !in_prefix(&f->src, &c->src))
		return false;
	if (c->dst.addr.family != 0 && !in_prefix(&f->dst, &c->dst))
		return false;
	return c->process == 0 || is_process(f, r->names + c->process);
}

static bool
takes_port(const struct flow *f)
{
	static const struct ip_prefix no[] = {
	    {{FAMILY_V4, {0}}, 8},
	    {{FAMILY_V4, {10}}, 8},
	    {{FAMILY_V4, {100, 64}}, 10},
	    {{FAMILY_V4, {127}}, 8},
	    {{FAMILY_V4, {169, 254}}, 16},
	    {{FAMILY_V4, {172, 16}}, 12},
	    {{FAMILY_V4, {192, 168}}, 16},
	    {{FAMILY_V4, {224}}, 3},
	    {{FAMILY_V6, {0}}, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		if (in_prefix(&f->dst, &no[i]))
			return false;
	return f->proto != RULE_ICMP;
}

/* Which entry of the rule; MATCHER_NO_ENTRY where it needs none. */
static bool
rule_holds(const struct rules *r, const struct rule *rule, const struct flow *f,
    uint32_t *entry)
{
	*entry = MATCHER_NO_ENTRY;
	if (!conditions_hold(r, &r->condition[rule->conditions], f))
		return false;
	if (rule->type == RULE_DEFAULT)
		return true;
	if (rule->type == RULE_PORTS_LEFT)
		return f->has_ports_left && f->ports_left < rule->ports_left &&
		       takes_port(f);
	for (uint32_t i = 0; i < rule->entries; i++) {
		*entry = rule->first + i;
		if (entry_holds(r, &r->entry[*entry], f))
			return true;
	}
	return false;
}

struct match
matcher_twin_find(const struct rules *r, const struct flow *f)
{
	struct match m = {0, MATCHER_NO_ENTRY};
	uint32_t none;

	while (r->rule[m.rule].type == RULE_PORTS_LEFT ||
	       !rule_holds(r, &r->rule[m.rule], f, &m.entry))
		m.rule++;
	if (r->rule[m.rule].target != TARGET_NATIVE)
		return m;
	for (uint32_t i = 0; i < m.rule; i++)
		if (r->rule[i].type == RULE_PORTS_LEFT &&
		    rule_holds(r, &r->rule[i], f, &none))
			return (struct match){i, MATCHER_NO_ENTRY};
	return m;
}

static bool
rule_names(const struct rules *r, const struct rule *rule, const char *name)
{
	for (uint32_t i = 0; i < rule->entries; i++) {
		const struct rule_entry *e = &r->entry[rule->first + i];

		if (e->type >= RULE_DOMAIN && e->type <= RULE_DOMAIN_KEYWORD &&
		    name_matches(e->type, r->names + e->name, name))
			return true;
	}
	return false;
}

size_t
matcher_twin_names(
    const struct rules *r, const char *name, uint32_t *rule, size_t cap)
{
	size_t n = 0;

	for (uint32_t i = 0; i < r->n; i++)
		if (rule_names(r, &r->rule[i], name) && n++ < cap)
			rule[n - 1] = i;
	return n;
}
