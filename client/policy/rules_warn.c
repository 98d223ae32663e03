#include "rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "always_local.h"
#include "rules_cover.h"

/* Of another line, in a message. */
#define TEXT_SHOWN 80

struct check {
	const struct rules *r;
	struct rules_cover *cover; /* of the rules before */
	/* The largest PORTS-LEFT without conditions so far, and its rule. */
	uint32_t ports_left, ports_left_rule;
	struct diag *d;
};

__attribute__((format(printf, 3, 4))) static void
warn(const struct check *c, const struct rule *rule, const char *fmt, ...)
{
	const char *line = rule_text(c->r, rule);
	char text[DIAG_TEXT];
	unsigned column = 1;
	va_list ap;

	while (line > c->r->text && line[-1] != '\n') {
		line--;
		column++;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	diag_add(c->d, DIAG_WARNING, rule->line, column, "%s", text);
}

/* ---- conditions ---- */

static bool
ports_meet(const struct rule_ports *p, const struct rule_ports *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p->first <= list[i].last && list[i].first <= p->last)
			return true;
	}
	return n == 0;
}

static bool
prefixes_meet(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->addr.family == FAMILY_NONE || b->addr.family == FAMILY_NONE ||
	       ip_prefix_overlap(a, b);
}

static bool
families_meet(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->addr.family == FAMILY_NONE || b->addr.family == FAMILY_NONE ||
	       a->addr.family == b->addr.family;
}

static bool
same_name(const struct rules *r, uint32_t a, uint32_t b)
{
	return strcmp(r->names + a, r->names + b) == 0;
}

/* Why no flow can meet all of them; NULL: some can. */
static const char *
contradiction(const struct rule_conditions *k)
{
	if (k->protos == RULE_ICMP && k->dports + k->sports > 0)
		return "ICMP has no ports";
	if (!families_meet(&k->src, &k->dst))
		return "no flow goes from IPv4 to IPv6, or back";
	return NULL;
}

/* Why no flow can be what the entry says and meet the conditions. */
static const char *
contradicts_entry(const struct rules *r, const struct rule_entry *e,
    const struct rule_conditions *k)
{
	bool has_port = k->dports + k->sports > 0;

	switch ((enum rule_type)e->type) {
	case RULE_IP_CIDR:
		if (!prefixes_meet(&e->prefix, &k->dst))
			return "dst= is outside of it";
		return families_meet(&e->prefix, &k->src)
			   ? NULL
			   : "src= is of the other IP version";
	case RULE_SRC_IP_CIDR:
		if (!prefixes_meet(&e->prefix, &k->src))
			return "src= is outside of it";
		return families_meet(&e->prefix, &k->dst)
			   ? NULL
			   : "dst= is of the other IP version";
	case RULE_DST_PORT:
		if (!ports_meet(&e->ports, k->dport, k->dports))
			return "dport= has none of its ports";
		return k->protos == RULE_ICMP ? "ICMP has no ports" : NULL;
	case RULE_SRC_PORT:
		if (!ports_meet(&e->ports, k->sport, k->sports))
			return "sport= has none of its ports";
		return k->protos == RULE_ICMP ? "ICMP has no ports" : NULL;
	case RULE_NETWORK:
		if (k->protos != 0 && (e->protos & k->protos) == 0)
			return "proto= is another one";
		return e->protos == RULE_ICMP && has_port ? "ICMP has no ports"
							  : NULL;
	case RULE_PROCESS_NAME:
		return k->process == 0 || same_name(r, e->name, k->process)
			   ? NULL
			   : "process= is another one";
	case RULE_UID:
		return !k->has_uid || e->uid == k->uid ? NULL
						       : "uid= is another one";
	default:
		return NULL;
	}
}

/* Returns whether it said so: then nothing more need be said. */
static bool
warn_contradiction(const struct check *c, const struct rule *rule)
{
	const struct rule_conditions *k = &c->r->condition[rule->conditions];
	const char *why = contradiction(k);

	if (why == NULL && rule->entries == 1 && rule->type != RULE_SET)
		why = contradicts_entry(c->r, &c->r->entry[rule->first], k);
	if (why == NULL)
		return false;
	warn(c, rule, "can never hold: %s", why);
	return true;
}

/* ---- rules before ---- */

/* "line 3: IP-CIDR,10.0.0.0/8,native", with the entry of a list. */
static void
describe(const struct check *c, const struct rules_covered *by, char *text,
    size_t size)
{
	const struct rule *rule = &c->r->rule[by->rule];
	bool cut = rule->text_len > TEXT_SHOWN;
	char entry[DIAG_TEXT / 2] = "";

	if (rule->type == RULE_SET && by->entry != UINT32_MAX)
		snprintf(entry, sizeof(entry), " (%.80s:%u)",
		    c->r->file[rule->file],
		    (unsigned)c->r->entry[by->entry].line);
	snprintf(text, size, "line %u%s: %.*s%s", (unsigned)rule->line, entry,
	    cut ? TEXT_SHOWN : (int)rule->text_len, rule_text(c->r, rule),
	    cut ? "..." : "");
}

static void
warn_covered(const struct check *c, const struct rule *rule,
    const struct rules_covered *by)
{
	char text[DIAG_TEXT];

	describe(c, by, text, sizeof(text));
	warn(c, rule, "can never decide: %s %s",
	    by->equal ? "it stands already on" : "all of it is taken by", text);
}

/* One entry that is not taken is enough, so a list mostly costs one look. */
static bool
covers_list(const struct check *c, const struct rule *rule,
    struct rules_covered *by, bool *one)
{
	struct rules_covered first = {.rule = 0};

	*one = true;
	for (uint32_t i = 0; i < rule->entries; i++) {
		if (!rules_cover_entry(c->cover, &c->r->entry[rule->first + i],
			rule->conditions, by))
			return false;
		if (i == 0)
			first = *by;
		*one = *one && by->rule == first.rule;
	}
	*by = first;
	by->entry = UINT32_MAX;
	return true;
}

static void
warn_list(const struct check *c, const struct rule *rule)
{
	const char *file = c->r->file[rule->file];
	struct rules_covered by;
	char text[DIAG_TEXT];
	bool one;

	if (rule->entries == 0) {
		warn(c, rule, "can never hold: nothing in %.100s can be used",
		    file);
		return;
	}
	if (!covers_list(c, rule, &by, &one))
		return;
	describe(c, &by, text, sizeof(text));
	warn(c, rule,
	    "can never decide: all %u entries of %.60s are taken by %s%s",
	    (unsigned)rule->entries, file, one ? "" : "lines before, as ",
	    text);
}

static void
warn_ports_left(struct check *c, const struct rule *rule, uint32_t i)
{
	struct rules_covered by = {
	    .rule = c->ports_left_rule, .entry = UINT32_MAX};

	if (rule->ports_left <= c->ports_left)
		warn_covered(c, rule, &by);
	else if (rule->conditions == 0) {
		c->ports_left = rule->ports_left;
		c->ports_left_rule = i;
	}
}

/* Everything has an address of one of the two. */
static bool
covers_all(const struct check *c, struct rules_covered *by)
{
	struct rule_entry v4 = {
	    .type = RULE_IP_CIDR, .prefix = {.addr = {.family = FAMILY_V4}}};
	struct rule_entry v6 = v4;

	v6.prefix.addr.family = FAMILY_V6;
	return rules_cover_entry(c->cover, &v4, 0, by) &&
	       rules_cover_entry(c->cover, &v6, 0, by);
}

/* As always_local.h: a rule that says native loses nothing by it. */
static bool
warn_local(const struct check *c, const struct rule *rule)
{
	const struct ip_prefix *p = &c->r->condition[rule->conditions].dst;

	if (rule->type == RULE_IP_CIDR && rule->entries == 1 &&
	    always_local_prefix(&c->r->entry[rule->first].prefix))
		p = &c->r->entry[rule->first].prefix;
	if (rule->target == TARGET_NATIVE || !always_local_prefix(p))
		return false;
	warn(c, rule,
	    "can never decide: these addresses stay local, whatever the rules "
	    "say");
	return true;
}

static void
check_rule(struct check *c, uint32_t i)
{
	const struct rule *rule = &c->r->rule[i];
	struct rules_covered by;

	if (warn_contradiction(c, rule) || warn_local(c, rule))
		return;
	if (covers_all(c, &by) || rules_cover_conditions(c->cover, rule, &by)) {
		by.equal = false;
		warn_covered(c, rule, &by);
	} else if (rule->type == RULE_SET) {
		warn_list(c, rule);
	} else if (rule->type == RULE_PORTS_LEFT) {
		warn_ports_left(c, rule, i);
	} else if (rule->entries == 1 &&
		   rules_cover_entry(c->cover, &c->r->entry[rule->first],
		       rule->conditions, &by)) {
		warn_covered(c, rule, &by);
	}
}

void
rules_warn(const struct rules *r, struct diag *d)
{
	struct check c = {.r = r, .d = d};

	if (rules_cover_new(&c.cover, r) < 0) {
		diag_warn(d, "out of memory: not looked for rules that can "
			     "never decide");
		return;
	}
	/* DEFAULT is the last one. */
	for (uint32_t i = 0; i + 1 < r->n; i++) {
		check_rule(&c, i);
		if (i + 2 < r->n)
			rules_cover_add(c.cover, i);
	}
	rules_cover_free(c.cover);
}
