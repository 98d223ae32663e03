#include "matcher_index.h"

#include <string.h>

#include "line_ports.h"

/* What is known speaks against it before what is not known does. */
static enum matcher_why
both(enum matcher_why a, enum matcher_why b)
{
	if (a != MATCHER_HOLDS && a != MATCHER_UNKNOWN)
		return a;
	return b == MATCHER_HOLDS ? a : b;
}

static enum matcher_why
look_addr(
    const struct ip_prefix *p, const struct ip_addr *a, enum matcher_why no)
{
	if (a->family == FAMILY_NONE)
		return MATCHER_UNKNOWN;
	return ip_prefix_contains(p, a) ? MATCHER_HOLDS : no;
}

static enum matcher_why
look_ports(
    const struct rule_ports *p, size_t n, uint16_t port, enum matcher_why no)
{
	if (port == 0)
		return MATCHER_UNKNOWN;
	for (size_t i = 0; i < n; i++)
		if (port >= p[i].first && port <= p[i].last)
			return MATCHER_HOLDS;
	return no;
}

static enum matcher_why
look_proto(uint8_t protos, const struct flow *f)
{
	if (f->proto == 0)
		return MATCHER_UNKNOWN;
	return (protos & f->proto) != 0 ? MATCHER_HOLDS : MATCHER_NO_PROTO;
}

static enum matcher_why
look_uid(uint32_t uid, const struct flow *f)
{
	if (!f->has_uid)
		return MATCHER_UNKNOWN;
	return uid == f->uid ? MATCHER_HOLDS : MATCHER_NO_UID;
}

static enum matcher_why
look_process(const char *name, const struct flow *f)
{
	if (f->process == NULL)
		return MATCHER_UNKNOWN;
	return strcmp(name, f->process) == 0 ? MATCHER_HOLDS
					     : MATCHER_NO_PROCESS;
}

static enum matcher_why
look_ports_left(const struct rule *rule, const struct flow *f)
{
	if (f->proto == RULE_ICMP ||
	    (f->dst.family != FAMILY_NONE && !line_ports_needs(&f->dst)))
		return MATCHER_NO_PORT;
	if (!f->has_ports_left)
		return MATCHER_UNKNOWN;
	return f->ports_left < rule->ports_left ? MATCHER_HOLDS
						: MATCHER_NO_PORTS_LEFT;
}

static bool
name_holds(uint8_t type, const char *wanted, const char *name)
{
	size_t len = strlen(name), wanted_len = strlen(wanted);
	const char *end;

	if (type == RULE_DOMAIN_KEYWORD)
		return strstr(name, wanted) != NULL;
	if (wanted_len > len)
		return false;
	end = name + len - wanted_len;
	return strcmp(end, wanted) == 0 &&
	       (end == name || (type == RULE_DOMAIN_SUFFIX && end[-1] == '.'));
}

static enum matcher_why
look_names(uint8_t type, const char *wanted, const struct flow *f)
{
	if (f->names == 0)
		return MATCHER_UNKNOWN;
	for (size_t i = 0; i < f->names; i++)
		if (name_holds(type, wanted, f->name[i]))
			return MATCHER_HOLDS;
	return MATCHER_NO_NAME;
}

static enum matcher_why
look_entry(
    const struct rules *r, const struct rule_entry *e, const struct flow *f)
{
	switch (e->type) {
	case RULE_IP_CIDR:
		return look_addr(&e->prefix, &f->dst, MATCHER_NO_DST);
	case RULE_SRC_IP_CIDR:
		return look_addr(&e->prefix, &f->src, MATCHER_NO_SRC);
	case RULE_DST_PORT:
		return look_ports(&e->ports, 1, f->dport, MATCHER_NO_DPORT);
	case RULE_SRC_PORT:
		return look_ports(&e->ports, 1, f->sport, MATCHER_NO_SPORT);
	case RULE_NETWORK:
		return look_proto(e->protos, f);
	case RULE_PROCESS_NAME:
		return look_process(r->names + e->name, f);
	case RULE_UID:
		return look_uid(e->uid, f);
	default:
		return look_names(e->type, r->names + e->name, f);
	}
}

static enum matcher_why
look_written(const struct rules *r, const struct rule_conditions *c,
    const struct flow *f)
{
	enum matcher_why why = MATCHER_HOLDS;

	if (c->dst.addr.family != FAMILY_NONE)
		why = both(why, look_addr(&c->dst, &f->dst, MATCHER_NO_DST));
	if (c->src.addr.family != FAMILY_NONE)
		why = both(why, look_addr(&c->src, &f->src, MATCHER_NO_SRC));
	if (c->dports > 0)
		why = both(why, look_ports(c->dport, c->dports, f->dport,
				    MATCHER_NO_DPORT));
	if (c->sports > 0)
		why = both(why, look_ports(c->sport, c->sports, f->sport,
				    MATCHER_NO_SPORT));
	if (c->protos != 0)
		why = both(why, look_proto(c->protos, f));
	if (c->process != 0)
		why = both(why, look_process(r->names + c->process, f));
	if (c->has_uid)
		why = both(why, look_uid(c->uid, f));
	return why;
}

enum matcher_why
matcher_look_conditions(
    const struct rules *r, const struct rule *rule, const struct flow *f)
{
	enum matcher_why why = MATCHER_HOLDS;

	if (rule->type == RULE_PORTS_LEFT)
		why = look_ports_left(rule, f);
	if (rule->conditions != 0)
		why = both(
		    why, look_written(r, &r->condition[rule->conditions], f));
	return why;
}

/* One of them has to hold. */
static enum matcher_why
look_entries(
    const struct rules *r, const struct rule *rule, const struct flow *f)
{
	enum matcher_why why, worst = MATCHER_NO_SET;

	for (uint32_t i = 0; i < rule->entries; i++) {
		why = look_entry(r, &r->entry[rule->first + i], f);
		if (why == MATCHER_HOLDS)
			return why;
		if (why == MATCHER_UNKNOWN || rule->type != RULE_SET)
			worst = why;
	}
	return worst;
}

static bool
has_entries(const struct rule *rule)
{
	return rule->type != RULE_PORTS_LEFT && rule->type != RULE_DEFAULT;
}

enum matcher_why
matcher_look(const struct matcher *m, uint32_t rule, const struct flow *f)
{
	const struct rules *r = matcher_rules(m);
	const struct rule *at = &r->rule[rule];
	enum matcher_why why = MATCHER_HOLDS;

	if (has_entries(at))
		why = look_entries(r, at, f);
	why = both(why, matcher_look_conditions(r, at, f));
	if (at->type == RULE_PORTS_LEFT &&
	    (why == MATCHER_HOLDS || why == MATCHER_UNKNOWN) &&
	    !matcher_spills(m, rule, f))
		return MATCHER_NO_SPILL;
	return why;
}

enum matcher_why
matcher_look_entry(
    const struct matcher *m, uint32_t entry, const struct flow *f)
{
	const struct rules *r = matcher_rules(m);

	return look_entry(r, &r->entry[entry], f);
}
