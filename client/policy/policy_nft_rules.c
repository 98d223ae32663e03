#include "policy_nft_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cidr_set.h"
#include "mark.h"

#define PORTS 65536u

/* Port numbers, a bit each. */
struct port_bits {
	uint64_t word[PORTS / 64];
	bool any;
};

/* What the entries of a slot's rules come to, by kind. */
struct entries {
	struct cidr_set dst, src;
	struct port_bits dport, sport;
	uint8_t protos;
	bool names;
	uint8_t class[CLASS_PROGRAM_MAX + 1];
	size_t classes;
	uint32_t *uid;
	size_t uids, uid_cap;
	bool failed; /* no memory */
};

struct emit {
	struct text *t; /* sets */
	struct text rules;
	const struct policy_nft *p;
	const struct policy_nft_known **known; /* in order of slots */
	struct entries e;
	bool guard;
	const struct slot *end; /* from here on nothing is decided */
};

static void
ports_add(struct port_bits *b, struct rule_ports r)
{
	for (uint32_t p = r.first; p <= r.last; p++)
		b->word[p / 64] |= UINT64_C(1) << (p % 64);
	b->any = true;
}

static bool
ports_has(const struct port_bits *b, uint32_t port)
{
	return port < PORTS && (b->word[port / 64] >> (port % 64) & 1) != 0;
}

/* As "th dport { 1-5, 80 } ". */
static void
ports_match(struct text *t, const char *field, const struct port_bits *b)
{
	const char *between = "";

	text_add(t, "th %s { ", field);
	for (uint32_t p = 0; p < PORTS; p++) {
		uint32_t first = p;

		if (!ports_has(b, p))
			continue;
		while (ports_has(b, p + 1))
			p++;
		text_add(t, "%s%u", between, (unsigned)first);
		if (p > first)
			text_add(t, "-%u", (unsigned)p);
		between = ", ";
	}
	text_add(t, " } ");
}

static void
protos_match(struct text *t, uint8_t protos)
{
	const char *between = "";

	if (protos == NFT_ANY_PROTO)
		return;
	text_add(t, "meta l4proto { ");
	if ((protos & RULE_TCP) != 0) {
		text_add(t, "tcp");
		between = ", ";
	}
	if ((protos & RULE_UDP) != 0) {
		text_add(t, "%sudp", between);
		between = ", ";
	}
	if ((protos & RULE_ICMP) != 0)
		text_add(t, "%sicmp, ipv6-icmp", between);
	text_add(t, " } ");
}

static unsigned
class_of(const struct policy_nft *p, uint32_t name)
{
	if (p->class_of == NULL)
		return CLASS_NONE;
	return p->class_of(p->class_arg, p->rules->names + name);
}

static bool
family_fits(uint8_t *family, const struct ip_prefix *p)
{
	if (p->addr.family == FAMILY_NONE)
		return true;
	if (*family != FAMILY_NONE && *family != p->addr.family)
		return false;
	*family = p->addr.family;
	return true;
}

static void
prefix_match(struct text *t, const char *field, const struct ip_prefix *p)
{
	char text[IP_PREFIX_TEXT_MAX];

	if (p->addr.family != FAMILY_NONE)
		text_add(t, "%s %s %s ",
		    p->addr.family == FAMILY_V4 ? "ip" : "ip6", field,
		    ip_prefix_format(p, text));
}

static void
condition_ports(
    struct text *t, const char *field, const struct rule_ports *r, uint8_t n)
{
	struct port_bits bits = {.any = false};

	for (uint8_t i = 0; i < n; i++)
		ports_add(&bits, r[i]);
	if (bits.any)
		ports_match(t, field, &bits);
}

/* Only sockets of this host have a class: where a packet came in by a link,
 * these bits are somebody else's. */
static void
class_match(struct text *t, const uint8_t *class, size_t n)
{
	text_add(
	    t, "meta iif 0 meta mark & 0x%08x { ", (unsigned)MARK_CLASS_MASK);
	for (size_t i = 0; i < n; i++)
		text_add(t, "%s0x%08x", i > 0 ? ", " : "",
		    (unsigned)class[i] << MARK_CLASS_SHIFT);
	text_add(t, " } ");
}

bool
policy_nft_conditions(struct text *t, const struct policy_nft *p,
    const struct rule *rule, uint8_t family, uint8_t protos)
{
	const struct rule_conditions *c =
	    &p->rules->condition[rule->conditions];
	uint8_t class = CLASS_NONE;

	if (!family_fits(&family, &c->src) || !family_fits(&family, &c->dst))
		return false;
	if (c->protos != 0)
		protos &= c->protos;
	if (c->dports > 0 || c->sports > 0)
		protos &= RULE_TCP | RULE_UDP;
	if (c->process != 0)
		class = (uint8_t)class_of(p, c->process);
	if (protos == 0 || (c->process != 0 && class == CLASS_NONE))
		return false;
	protos_match(t, protos);
	condition_ports(t, "dport", c->dport, c->dports);
	condition_ports(t, "sport", c->sport, c->sports);
	if (c->has_uid)
		text_add(t, "meta skuid %u ", (unsigned)c->uid);
	if (class != CLASS_NONE)
		class_match(t, &class, 1);
	prefix_match(t, "saddr", &c->src);
	prefix_match(t, "daddr", &c->dst);
	return true;
}

/* ---- sets ---- */

static void
set_begin(struct text *t, const char *name, uint8_t family, const char *flags)
{
	text_add(
	    t, "set %s {\ntype ipv%u_addr%s", name, (unsigned)family, flags);
}

/* A settled set's ranges of a family. */
static size_t
ranges(const struct cidr_set *s, uint8_t family)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->item[i].first.family == family;
	return n;
}

static void
range_text(struct text *t, const struct cidr_range *r)
{
	char text[IP_ADDR_TEXT_MAX];

	ip_addr_format(&r->first, text);
	text_append(t, text, strlen(text));
	if (ip_addr_equal(&r->first, &r->last))
		return;
	ip_addr_format(&r->last, text);
	text_append(t, "-", 1);
	text_append(t, text, strlen(text));
}

static void
range_set(
    struct text *t, const char *name, uint8_t family, const struct cidr_set *s)
{
	const char *between = "\n";

	set_begin(t, name, family, "; flags interval; elements = {");
	for (size_t i = 0; i < s->n; i++) {
		if (s->item[i].first.family != family)
			continue;
		text_append(t, between, strlen(between));
		range_text(t, &s->item[i]);
		between = ",\n";
	}
	text_add(t, " }\n}\n");
}

bool
policy_nft_prefix_set(struct text *t, const char *name, uint8_t family,
    const struct ip_prefix *p, size_t n)
{
	struct cidr_set s = {.n = 0};
	bool any;

	for (size_t i = 0; i < n; i++)
		if (p[i].addr.family == family && cidr_set_add(&s, &p[i]) < 0)
			t->failed = true;
	cidr_set_settle(&s);
	any = s.n > 0;
	if (any)
		range_set(t, name, family, &s);
	cidr_set_fini(&s);
	return any;
}

/* Names come from the DNS: nothing of them may end the comment. */
static void
comment(struct text *t, const char *name)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789.-_";
	char c[sizeof(((struct policy_nft_known *)NULL)->name)];
	size_t n = 0;

	while (n < sizeof(c) - 1 && name[n] != '\0') {
		c[n] = strchr(plain, name[n]) != NULL ? name[n] : '_';
		n++;
	}
	c[n] = '\0';
	if (n > 0)
		text_add(t, " comment \"%s\"", c);
}

static int
compare_known(const void *a, const void *b)
{
	const struct policy_nft_known *x =
	    *(const struct policy_nft_known *const *)a;
	const struct policy_nft_known *y =
	    *(const struct policy_nft_known *const *)b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	return memcmp(&x->addr, &y->addr, sizeof(x->addr));
}

static void
sort_known(struct emit *m)
{
	const struct policy_nft *p = m->p;

	m->known = calloc(p->knowns + 1, sizeof(*m->known));
	if (m->known == NULL) {
		m->e.failed = true;
		return;
	}
	for (size_t i = 0; i < p->knowns; i++)
		m->known[i] = &p->known[i];
	qsort(m->known, p->knowns, sizeof(*m->known), compare_known);
}

/* The first one that is not before the slot. */
static size_t
known_from(const struct emit *m, uint16_t slot)
{
	size_t low = 0, high = m->p->knowns;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->known[mid]->slot < slot)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void
names_set(struct emit *m, uint16_t slot, uint8_t family)
{
	const struct ip_addr *last = NULL;
	char name[POLICY_NFT_SET_MAX], text[IP_ADDR_TEXT_MAX];

	policy_nft_names_set(name, slot, family);
	set_begin(m->t, name, family, "");
	for (size_t i = m->known != NULL ? known_from(m, slot) : m->p->knowns;
	     i < m->p->knowns && m->known[i]->slot == slot; i++) {
		const struct ip_addr *a = &m->known[i]->addr;

		if (a->family != family ||
		    (last != NULL && ip_addr_equal(last, a)))
			continue;
		text_add(m->t, "%s%s",
		    last == NULL ? "; elements = {\n" : ",\n",
		    ip_addr_format(a, text));
		comment(m->t, m->known[i]->name);
		last = a;
	}
	text_add(m->t, "%s\n}\n", last != NULL ? " }" : "");
}

static void
names_sets(struct emit *m, const struct slot *slot)
{
	if (!m->e.names)
		return;
	names_set(m, slot->number, FAMILY_V4);
	names_set(m, slot->number, FAMILY_V6);
}

/* ---- entries ---- */

static void
entries_clear(struct entries *e)
{
	e->dst.n = e->src.n = 0;
	if (e->dport.any)
		e->dport = (struct port_bits){.any = false};
	if (e->sport.any)
		e->sport = (struct port_bits){.any = false};
	e->protos = 0;
	e->names = false;
	e->classes = e->uids = 0;
}

static void
add_class(struct entries *e, unsigned class)
{
	if (class == CLASS_NONE || class > CLASS_PROGRAM_MAX ||
	    memchr(e->class, (int)class, e->classes) != NULL)
		return;
	e->class[e->classes++] = (uint8_t) class;
}

static void
add_uid(struct entries *e, uint32_t uid)
{
	if (e->uids == e->uid_cap) {
		size_t cap = e->uid_cap * 2 + 16;
		uint32_t *grown = realloc(e->uid, cap * sizeof(*grown));

		if (grown == NULL) {
			e->failed = true;
			return;
		}
		e->uid = grown;
		e->uid_cap = cap;
	}
	e->uid[e->uids++] = uid;
}

static void
add_entry(struct emit *m, const struct rule_entry *x)
{
	struct entries *e = &m->e;

	switch (x->type) {
	case RULE_IP_CIDR:
		e->failed |= cidr_set_add(&e->dst, &x->prefix) < 0;
		break;
	case RULE_SRC_IP_CIDR:
		e->failed |= cidr_set_add(&e->src, &x->prefix) < 0;
		break;
	case RULE_DOMAIN:
	case RULE_DOMAIN_SUFFIX:
	case RULE_DOMAIN_KEYWORD:
		e->names = true;
		break;
	case RULE_DST_PORT:
		ports_add(&e->dport, x->ports);
		break;
	case RULE_SRC_PORT:
		ports_add(&e->sport, x->ports);
		break;
	case RULE_NETWORK:
		e->protos |= x->protos;
		break;
	case RULE_PROCESS_NAME:
		add_class(e, class_of(m->p, x->name));
		break;
	case RULE_UID:
		add_uid(e, x->uid);
		break;
	default:
		break;
	}
}

static void
gather(struct emit *m, const struct slot *slot)
{
	const struct rules *r = m->p->rules;

	entries_clear(&m->e);
	for (uint32_t i = slot->first; i < slot->first + slot->n; i++)
		for (uint32_t k = 0; k < r->rule[i].entries; k++)
			add_entry(m, &r->entry[r->rule[i].first + k]);
	cidr_set_settle(&m->e.dst);
	cidr_set_settle(&m->e.src);
}

/* ---- rules ---- */

/* Where flows go that the slot decides on. */
static void
decide(struct emit *m, const struct slot *slot)
{
	if (!m->guard)
		text_add(&m->rules, "goto s%u\n", (unsigned)slot->number);
	else if (policy_nft_refuses(m->p, slot))
		text_add(&m->rules, "goto refuse\n");
	else
		text_add(&m->rules, "accept\n");
}

static bool
begin(struct emit *m, const struct slot *slot, uint8_t family, uint8_t protos)
{
	return policy_nft_conditions(
	    &m->rules, m->p, policy_nft_rule(m->p, slot), family, protos);
}

static const char *
family_name(uint8_t family)
{
	return family == FAMILY_V4 ? "ip" : "ip6";
}

/* One range needs no set. what: "to" or "from". */
static void
address_rule(struct emit *m, const struct slot *slot, uint8_t family,
    const char *field, const char *what, const struct cidr_set *s)
{
	size_t n = ranges(s, family);
	char name[POLICY_NFT_SET_MAX];

	if (n == 0 || !begin(m, slot, family, NFT_ANY_PROTO))
		return;
	text_add(&m->rules, "%s %s ", family_name(family), field);
	if (n == 1) {
		/* v4 comes first. */
		range_text(
		    &m->rules, &s->item[family == FAMILY_V4 ? 0 : s->n - 1]);
	} else {
		snprintf(name, sizeof(name), "%s%u_%u", what,
		    (unsigned)slot->number, (unsigned)family);
		range_set(m->t, name, family, s);
		text_add(&m->rules, "@%s", name);
	}
	text_add(&m->rules, " ");
	decide(m, slot);
}

static void
names_rule(struct emit *m, const struct slot *slot, uint8_t family)
{
	char name[POLICY_NFT_SET_MAX];

	if (!m->e.names || !begin(m, slot, family, NFT_ANY_PROTO))
		return;
	policy_nft_names_set(name, slot->number, family);
	/* Lists of encrypted resolvers have names of this host's own one: plain
	 * DNS to it goes on. */
	if (policy_nft_rule(m->p, slot)->target == TARGET_BLOCK &&
	    m->p->dns_port != 0)
		text_add(&m->rules,
		    "meta l4proto . th dport != { tcp . 53, udp . 53 } ");
	text_add(&m->rules, "%s daddr @%s ", family_name(family), name);
	decide(m, slot);
}

static void
ports_rule(struct emit *m, const struct slot *slot, const char *field,
    const struct port_bits *b)
{
	if (!b->any || !begin(m, slot, FAMILY_NONE, RULE_TCP | RULE_UDP))
		return;
	ports_match(&m->rules, field, b);
	decide(m, slot);
}

static int
compare_uid(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void
uids_rule(struct emit *m, const struct slot *slot)
{
	struct entries *e = &m->e;

	if (e->uids == 0 || !begin(m, slot, FAMILY_NONE, NFT_ANY_PROTO))
		return;
	qsort(e->uid, e->uids, sizeof(*e->uid), compare_uid);
	text_add(&m->rules, "meta skuid { %u", (unsigned)e->uid[0]);
	for (size_t i = 1; i < e->uids; i++)
		if (e->uid[i] != e->uid[i - 1])
			text_add(&m->rules, ", %u", (unsigned)e->uid[i]);
	text_add(&m->rules, " } ");
	decide(m, slot);
}

static void
classes_rule(struct emit *m, const struct slot *slot)
{
	if (m->e.classes == 0 || !begin(m, slot, FAMILY_NONE, NFT_ANY_PROTO))
		return;
	class_match(&m->rules, m->e.class, m->e.classes);
	decide(m, slot);
}

void
policy_nft_names_set(
    char name[static POLICY_NFT_SET_MAX], uint16_t slot, uint8_t family)
{
	snprintf(name, POLICY_NFT_SET_MAX, "n%u_%u", (unsigned)slot,
	    (unsigned)family);
}

static const char *
proto_name(uint8_t proto)
{
	return proto == RULE_TCP ? "tcp" : "udp";
}

void
policy_nft_used_set(
    char name[static POLICY_NFT_SET_MAX], uint16_t slot, uint8_t proto)
{
	snprintf(name, POLICY_NFT_SET_MAX, "u%u_%s", (unsigned)slot,
	    proto_name(proto));
}

void
policy_nft_short_set(
    char name[static POLICY_NFT_SET_MAX], uint16_t slot, uint8_t proto)
{
	snprintf(name, POLICY_NFT_SET_MAX, "s%u_%s", (unsigned)slot,
	    proto_name(proto));
}

bool
policy_nft_spills(const struct policy_nft *p, const struct slot *slot)
{
	return (p->own_ce || p->ports > 0) &&
	       policy_nft_rule(p, slot)->type == RULE_PORTS_LEFT;
}

/* Fewer than N of P are left when P - N + 1 are used. */
uint32_t
policy_nft_ports_size(const struct policy_nft *p, const struct slot *slot)
{
	uint32_t n = policy_nft_rule(p, slot)->ports_left;

	return n > p->ports ? 0 : p->ports - n + 1;
}

bool
policy_nft_is_rival(const struct policy_nft *p, const struct slot *other,
    const struct slot *slot)
{
	return other < slot && policy_nft_rule(p, other)->ports_left <
				   policy_nft_rule(p, slot)->ports_left;
}

static bool
is_probed(const struct policy_nft *p, const struct slot *slot)
{
	const struct slot *end = p->slots->item + p->slots->n;

	for (const struct slot *s = slot + 1; s < end; s++)
		if (policy_nft_spills(p, s) && policy_nft_is_rival(p, slot, s))
			return true;
	return false;
}

static void
used_set(struct emit *m, const struct slot *slot, uint8_t proto)
{
	uint32_t size = policy_nft_ports_size(m->p, slot);
	char name[POLICY_NFT_SET_MAX];

	policy_nft_used_set(name, slot->number, proto);
	text_add(m->t,
	    "set %s {\ntypeof ip saddr . %s sport\nflags dynamic%s\n"
	    "size %u\n}\n",
	    name, proto_name(proto), is_probed(m->p, slot) ? ",timeout" : "",
	    (unsigned)(size > 0 ? size : 1));
}

static void
short_set(struct emit *m, const struct slot *slot, uint8_t proto)
{
	char name[POLICY_NFT_SET_MAX];

	policy_nft_short_set(name, slot->number, proto);
	text_add(m->t, "set %s {\ntypeof ip daddr . %s dport\n}\n", name,
	    proto_name(proto));
}

/* A flow comes to the rule only when a native one would take it: policy_nft.c,
 * spill. */
static void
ports_left_sets(struct emit *m, const struct slot *slot)
{
	if (m->guard || !policy_nft_spills(m->p, slot))
		return;
	if (m->p->own_ce) {
		short_set(m, slot, RULE_TCP);
		short_set(m, slot, RULE_UDP);
	} else {
		used_set(m, slot, RULE_TCP);
		used_set(m, slot, RULE_UDP);
	}
}

static void
slot_rules(struct emit *m, const struct slot *slot)
{
	const struct rule *rule = policy_nft_rule(m->p, slot);
	struct entries *e = &m->e;

	if (rule->type == RULE_PORTS_LEFT) {
		ports_left_sets(m, slot);
		return;
	}
	if (rule->type == RULE_DEFAULT) {
		if (slot < m->end)
			decide(m, slot);
		return;
	}
	gather(m, slot);
	if (slot >= m->end) {
		names_sets(m, slot);
		return;
	}
	if (e->protos != 0 && begin(m, slot, FAMILY_NONE, e->protos))
		decide(m, slot);
	ports_rule(m, slot, "dport", &e->dport);
	ports_rule(m, slot, "sport", &e->sport);
	classes_rule(m, slot);
	uids_rule(m, slot);
	address_rule(m, slot, FAMILY_V4, "daddr", "to", &e->dst);
	address_rule(m, slot, FAMILY_V6, "daddr", "to", &e->dst);
	address_rule(m, slot, FAMILY_V4, "saddr", "from", &e->src);
	address_rule(m, slot, FAMILY_V6, "saddr", "from", &e->src);
	names_sets(m, slot);
	names_rule(m, slot, FAMILY_V4);
	names_rule(m, slot, FAMILY_V6);
}

/* The guard has nothing to say behind the last slot that refuses. */
static const struct slot *
end_of(const struct policy_nft *p, bool guard)
{
	const struct slot *end = p->slots->item + p->slots->n;

	while (guard && end > p->slots->item && !policy_nft_refuses(p, end - 1))
		end--;
	return end;
}

void
policy_nft_rules(struct text *t, const struct policy_nft *p, bool guard)
{
	struct emit *m = calloc(1, sizeof(*m));

	if (m == NULL) {
		t->failed = true;
		return;
	}
	m->t = t;
	m->p = p;
	m->guard = guard;
	m->end = end_of(p, guard);
	sort_known(m);
	text_add(&m->rules, "chain rules {\n");
	for (size_t i = 0; i < p->slots->n; i++)
		slot_rules(m, &p->slots->item[i]);
	text_add(&m->rules, "}\n");
	if (m->rules.failed || m->e.failed)
		t->failed = true;
	else
		text_append(t, m->rules.s, m->rules.len);
	cidr_set_fini(&m->e.dst);
	cidr_set_fini(&m->e.src);
	free(m->e.uid);
	free(m->known);
	text_fini(&m->rules);
	free(m);
}
