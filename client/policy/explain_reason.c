#include "explain_reason.h"

#include <string.h>

/* Of several names as many are said. */
#define NAMES_SAID 3

static const char *
proto_name(unsigned bit)
{
	return bit == RULE_TCP ? "tcp" : bit == RULE_UDP ? "udp" : "icmp";
}

static bool
is_single(const struct rule *rule)
{
	return rule->entries == 1 && rule->type != RULE_SET;
}

/* ---- what is known, and speaks against it ---- */

static void
say_addr(struct text *t, const char *what, const struct ip_addr *a,
    const struct ip_prefix *p)
{
	char addr[IP_ADDR_TEXT_MAX], prefix[IP_PREFIX_TEXT_MAX];

	text_add(t, "%s%s is not in %s", what, ip_addr_format(a, addr),
	    ip_prefix_format(p, prefix));
}

static void
say_ports(struct text *t, const char *what, uint16_t port,
    const struct rule_ports *p, size_t n)
{
	bool one = n == 1 && p->first == p->last;

	text_add(t, "%s %u is not %s", what, port, one ? "" : "in ");
	for (size_t i = 0; i < n; i++) {
		text_add(t, "%s%u", i > 0 ? "/" : "", p[i].first);
		if (p[i].last != p[i].first)
			text_add(t, "-%u", p[i].last);
	}
}

static void
say_proto(struct text *t, const struct flow *f, uint8_t protos)
{
	const char *before = " is not ";

	text_add(t, "%s", proto_name(f->proto));
	for (unsigned bit = RULE_TCP; bit <= RULE_ICMP; bit <<= 1) {
		if ((protos & bit) == 0)
			continue;
		text_add(t, "%s%s", before, proto_name(bit));
		before = "/";
	}
}

static void
say_process(struct text *t, const struct flow *f, const char *wanted)
{
	text_add(t, "%s is not %s", f->process, wanted);
}

static void
say_uid(struct text *t, const struct flow *f, uint32_t wanted)
{
	text_add(t, "user %u is not %u", f->uid, wanted);
}

static void
say_name(struct text *t, const struct flow *f, const struct rule_entry *e,
    const char *wanted)
{
	size_t said = f->names < NAMES_SAID ? f->names : NAMES_SAID;

	for (size_t i = 0; i < said; i++)
		text_add(t, "%s%s", i > 0 ? ", " : "", f->name[i]);
	if (said < f->names)
		text_add(t, " and %zu more names", f->names - said);
	if (e->type == RULE_DOMAIN_KEYWORD)
		text_add(t, ": no \"%s\" in it", wanted);
	else if (e->type == RULE_DOMAIN_SUFFIX)
		text_add(t, " is not %s, nor below it", wanted);
	else
		text_add(t, " is not %s", wanted);
}

static void
say_entry(struct text *t, const struct rules *r, const struct rule_entry *e,
    const struct flow *f)
{
	switch (e->type) {
	case RULE_IP_CIDR:
		say_addr(t, "", &f->dst, &e->prefix);
		break;
	case RULE_SRC_IP_CIDR:
		say_addr(t, "the source ", &f->src, &e->prefix);
		break;
	case RULE_DST_PORT:
		say_ports(t, "port", f->dport, &e->ports, 1);
		break;
	case RULE_SRC_PORT:
		say_ports(t, "source port", f->sport, &e->ports, 1);
		break;
	case RULE_NETWORK:
		say_proto(t, f, e->protos);
		break;
	case RULE_PROCESS_NAME:
		say_process(t, f, r->names + e->name);
		break;
	case RULE_UID:
		say_uid(t, f, e->uid);
		break;
	default:
		say_name(t, f, e, r->names + e->name);
		break;
	}
}

static void
say_condition(struct text *t, const struct rules *r,
    const struct rule_conditions *c, const struct flow *f, enum matcher_why why)
{
	switch (why) {
	case MATCHER_NO_DST:
		say_addr(t, "", &f->dst, &c->dst);
		break;
	case MATCHER_NO_SRC:
		say_addr(t, "the source ", &f->src, &c->src);
		break;
	case MATCHER_NO_DPORT:
		say_ports(t, "port", f->dport, c->dport, c->dports);
		break;
	case MATCHER_NO_SPORT:
		say_ports(t, "source port", f->sport, c->sport, c->sports);
		break;
	case MATCHER_NO_PROTO:
		say_proto(t, f, c->protos);
		break;
	case MATCHER_NO_PROCESS:
		say_process(t, f, r->names + c->process);
		break;
	default:
		say_uid(t, f, c->uid);
		break;
	}
}

static void
say_no_set(struct text *t, const struct rules *r, const struct rule *rule)
{
	if (rule->entries == 0)
		text_add(t, "%s has no entries", r->file[rule->file]);
	else
		text_add(t, "it is none of the %u entries of %s", rule->entries,
		    r->file[rule->file]);
}

/* ---- what is not known ---- */

enum {
	LACKS_NAME = 1,
	LACKS_DST = 2,
	LACKS_SRC = 4,
	LACKS_DPORT = 8,
	LACKS_SPORT = 16,
	LACKS_PROTO = 32,
	LACKS_PROCESS = 64,
	LACKS_UID = 128,
	LACKS_PORTS_LEFT = 256,
};

static const char *
lack_text(unsigned lack)
{
	switch (lack) {
	case LACKS_NAME:
		return "no name is known for this address";
	case LACKS_DST:
		return "no address is known for this name";
	case LACKS_SRC:
		return "--src is not given";
	case LACKS_DPORT:
		return "no port is given";
	case LACKS_SPORT:
		return "--sport is not given";
	case LACKS_PROTO:
		return "--proto is not given";
	case LACKS_PROCESS:
		return "--process is not given";
	case LACKS_UID:
		return "--uid is not given";
	default:
		return "--ports-left is not given";
	}
}

static unsigned
lack_of_type(unsigned type)
{
	static const unsigned lack[RULE_TYPES] = {
	    [RULE_IP_CIDR] = LACKS_DST,
	    [RULE_SRC_IP_CIDR] = LACKS_SRC,
	    [RULE_DOMAIN] = LACKS_NAME,
	    [RULE_DOMAIN_SUFFIX] = LACKS_NAME,
	    [RULE_DOMAIN_KEYWORD] = LACKS_NAME,
	    [RULE_DST_PORT] = LACKS_DPORT,
	    [RULE_SRC_PORT] = LACKS_SPORT,
	    [RULE_NETWORK] = LACKS_PROTO,
	    [RULE_PROCESS_NAME] = LACKS_PROCESS,
	    [RULE_UID] = LACKS_UID,
	    [RULE_PORTS_LEFT] = LACKS_PORTS_LEFT,
	};

	return lack[type];
}

static unsigned
lacks_of_conditions(const struct rule_conditions *c)
{
	unsigned lacks = 0;

	lacks |= c->dst.addr.family != FAMILY_NONE ? LACKS_DST : 0;
	lacks |= c->src.addr.family != FAMILY_NONE ? LACKS_SRC : 0;
	lacks |= c->dports > 0 ? LACKS_DPORT : 0;
	lacks |= c->sports > 0 ? LACKS_SPORT : 0;
	lacks |= c->protos != 0 ? LACKS_PROTO : 0;
	lacks |= c->process != 0 ? LACKS_PROCESS : 0;
	lacks |= c->has_uid ? LACKS_UID : 0;
	return lacks;
}

static unsigned
lacks_of_flow(const struct flow *f)
{
	unsigned lacks = 0;

	lacks |= f->names == 0 ? LACKS_NAME : 0;
	lacks |= f->dst.family == FAMILY_NONE ? LACKS_DST : 0;
	lacks |= f->src.family == FAMILY_NONE ? LACKS_SRC : 0;
	lacks |= f->dport == 0 ? LACKS_DPORT : 0;
	lacks |= f->sport == 0 ? LACKS_SPORT : 0;
	lacks |= f->proto == 0 ? LACKS_PROTO : 0;
	lacks |= f->process == NULL ? LACKS_PROCESS : 0;
	lacks |= !f->has_uid ? LACKS_UID : 0;
	lacks |= !f->has_ports_left ? LACKS_PORTS_LEFT : 0;
	return lacks;
}

/* Does an entry hold already, so that only conditions ask for more? */
static bool
entry_holds(
    const struct matcher *m, const struct rule *rule, const struct flow *f)
{
	for (uint32_t i = 0; i < rule->entries; i++)
		if (matcher_look_entry(m, rule->first + i, f) == MATCHER_HOLDS)
			return true;
	return false;
}

static void
say_unknown(struct text *t, const struct rules *r, const struct matcher *m,
    const struct rule *rule, const struct flow *f)
{
	unsigned lacks = lacks_of_conditions(&r->condition[rule->conditions]);
	const char *before = "";

	if (rule->type == RULE_PORTS_LEFT)
		lacks |= LACKS_PORTS_LEFT;
	if (!entry_holds(m, rule, f))
		for (uint32_t i = 0; i < rule->entries; i++)
			lacks |= lack_of_type(r->entry[rule->first + i].type);
	lacks &= lacks_of_flow(f);
	for (unsigned lack = 1; lack <= LACKS_PORTS_LEFT; lack <<= 1) {
		if ((lacks & lack) == 0)
			continue;
		text_add(t, "%s%s", before, lack_text(lack));
		before = ", and ";
	}
}

void
explain_reason(struct text *t, const struct rules *r, const struct matcher *m,
    uint32_t rule, const struct flow *f)
{
	const struct rule *at = &r->rule[rule];
	enum matcher_why why = matcher_look(m, rule, f);

	if (why == MATCHER_UNKNOWN)
		say_unknown(t, r, m, at, f);
	else if (why == MATCHER_NO_SET)
		say_no_set(t, r, at);
	else if (why == MATCHER_NO_PORTS_LEFT)
		text_add(t, "%u ports are left, not fewer than %u",
		    f->ports_left, at->ports_left);
	else if (why == MATCHER_NO_PORT)
		text_add(t, "it takes none of the line's ports");
	else if (why == MATCHER_NO_SPILL)
		text_add(t, "a later line takes it off the line");
	else if (is_single(at) && matcher_look_entry(m, at->first, f) == why)
		say_entry(t, r, &r->entry[at->first], f);
	else
		say_condition(t, r, &r->condition[at->conditions], f, why);
}

/* ---- what would have to be known ---- */

struct guess {
	struct flow f;
	const char *name;
	struct text *with;
};

static void
give(struct guess *g, const char *option, const char *value)
{
	text_add(
	    g->with, "%s%s %s", g->with->len > 0 ? " " : "", option, value);
}

static void
give_number(struct guess *g, const char *option, uint32_t n)
{
	text_add(g->with, "%s%s %u", g->with->len > 0 ? " " : "", option, n);
}

static void
give_addr(struct guess *g, const char *option, struct ip_addr *to,
    const struct ip_addr *a)
{
	char text[IP_ADDR_TEXT_MAX];

	if (to->family != FAMILY_NONE)
		return;
	*to = *a;
	give(g, option, ip_addr_format(a, text));
}

static void
give_port(struct guess *g, const char *option, uint16_t *to,
    const struct rule_ports *p)
{
	if (*to != 0)
		return;
	*to = p->last;
	give_number(g, option, p->last);
}

static void
give_proto(struct guess *g, uint8_t protos)
{
	unsigned bit = RULE_TCP;

	if (g->f.proto != 0)
		return;
	while ((protos & bit) == 0)
		bit <<= 1;
	g->f.proto = (uint8_t)bit;
	give(g, "--proto", proto_name(bit));
}

static void
give_process(struct guess *g, const char *name)
{
	if (g->f.process != NULL)
		return;
	g->f.process = name;
	give(g, "--process", name);
}

static void
give_uid(struct guess *g, uint32_t uid)
{
	if (g->f.has_uid)
		return;
	g->f.has_uid = true;
	g->f.uid = uid;
	give_number(g, "--uid", uid);
}

static void
give_name(struct guess *g, const char *name)
{
	if (g->f.names > 0)
		return;
	g->name = name;
	g->f.name = &g->name;
	g->f.names = 1;
	give(g, "--name", name);
}

static void
give_entry(struct guess *g, const struct rules *r, const struct rule_entry *e)
{
	switch (e->type) {
	case RULE_IP_CIDR:
		give_addr(g, "--address", &g->f.dst, &e->prefix.addr);
		break;
	case RULE_SRC_IP_CIDR:
		give_addr(g, "--src", &g->f.src, &e->prefix.addr);
		break;
	case RULE_DST_PORT:
		give_port(g, "port", &g->f.dport, &e->ports);
		break;
	case RULE_SRC_PORT:
		give_port(g, "--sport", &g->f.sport, &e->ports);
		break;
	case RULE_NETWORK:
		give_proto(g, e->protos);
		break;
	case RULE_PROCESS_NAME:
		give_process(g, r->names + e->name);
		break;
	case RULE_UID:
		give_uid(g, e->uid);
		break;
	default:
		give_name(g, r->names + e->name);
		break;
	}
}

static void
give_conditions(
    struct guess *g, const struct rules *r, const struct rule_conditions *c)
{
	if (c->dst.addr.family != FAMILY_NONE)
		give_addr(g, "--address", &g->f.dst, &c->dst.addr);
	if (c->src.addr.family != FAMILY_NONE)
		give_addr(g, "--src", &g->f.src, &c->src.addr);
	if (c->dports > 0)
		give_port(g, "port", &g->f.dport, &c->dport[0]);
	if (c->sports > 0)
		give_port(g, "--sport", &g->f.sport, &c->sport[0]);
	if (c->protos != 0)
		give_proto(g, c->protos);
	if (c->process != 0)
		give_process(g, r->names + c->process);
	if (c->has_uid)
		give_uid(g, c->uid);
}

/* The first entry that it could be. */
static const struct rule_entry *
possible_entry(const struct rules *r, const struct matcher *m,
    const struct rule *rule, const struct flow *f)
{
	if (entry_holds(m, rule, f))
		return NULL;
	for (uint32_t i = rule->first; i < rule->first + rule->entries; i++)
		if (matcher_look_entry(m, i, f) == MATCHER_UNKNOWN)
			return &r->entry[i];
	return NULL;
}

bool
explain_would(struct text *with, const struct rules *r, const struct matcher *m,
    uint32_t rule, const struct flow *f)
{
	const struct rule *at = &r->rule[rule];
	struct guess g = {.f = *f, .with = with};
	const struct rule_entry *e;

	if (matcher_look(m, rule, f) != MATCHER_UNKNOWN)
		return false;
	e = possible_entry(r, m, at, f);
	if (e != NULL)
		give_entry(&g, r, e);
	if (at->type == RULE_PORTS_LEFT && !f->has_ports_left &&
	    at->ports_left > 0) {
		g.f.has_ports_left = true;
		g.f.ports_left = at->ports_left - 1;
		give_number(&g, "--ports-left", g.f.ports_left);
	}
	give_conditions(&g, r, &r->condition[at->conditions]);
	return matcher_find(m, &g.f).rule == rule;
}
