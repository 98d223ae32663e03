#include "rules_cover.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"

#define NOTHING UINT32_MAX

/* Keywords are found by their first two bytes; a chain of them is looked at no
 * further than this, so that no list makes it slow. */
#define KEYWORDS_LOOKED_AT 16

struct slot {
	uint32_t rule; /* + 1; 0: free */
	uint32_t entry;
	uint32_t hash;
};

/* For each port the rule that takes it, and a port behind it to go on from for
 * one that none does; 0: this one is free. Those jumps get longer. */
struct port_map {
	uint32_t rule[UINT16_MAX + 2];
	uint32_t jump[UINT16_MAX + 2];
};

struct keyword {
	uint32_t rule, entry, next; /* next: index + 1 */
};

struct rules_cover {
	const struct rules *r;
	struct slot *slot;
	size_t mask;
	bool *asked; /* by condition: has a rule before it? */
	/* Lengths of prefixes that there are: [source][IPv6][bits]. */
	bool length[2][2][129];
	struct port_map *ports; /* destination, source */
	uint8_t protos; /* taken by rules without conditions */
	uint32_t protos_rule;
	struct keyword *keyword;
	size_t keywords, keyword_cap;
	uint32_t *pair; /* by two bytes: index in keyword + 1 */
};

/* ---- equal entries ---- */

static uint32_t
hash_bytes(uint32_t h, const void *bytes, size_t len)
{
	const unsigned char *b = bytes;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * UINT32_C(0x01000193);
	return h;
}

static bool
has_name(const struct rule_entry *e)
{
	return (e->type >= RULE_DOMAIN && e->type <= RULE_DOMAIN_KEYWORD) ||
	       e->type == RULE_PROCESS_NAME;
}

/* What is compared of an entry: name is its own, or a part of it. */
struct key {
	const struct rule_entry *e;
	const char *name;
	uint32_t condition;
};

static const void *
value_of(const struct rule_entry *e, size_t *len)
{
	switch ((enum rule_type)e->type) {
	case RULE_IP_CIDR:
	case RULE_SRC_IP_CIDR:
		*len = sizeof(e->prefix);
		return &e->prefix;
	case RULE_DST_PORT:
	case RULE_SRC_PORT:
		*len = sizeof(e->ports);
		return &e->ports;
	case RULE_UID:
		*len = sizeof(e->uid);
		return &e->uid;
	default:
		*len = sizeof(e->protos);
		return &e->protos;
	}
}

static uint32_t
hash_key(const struct key *k)
{
	uint32_t h = hash_bytes(UINT32_C(0x811c9dc5), &k->e->type, 1);
	size_t len = 0;
	const void *value;

	h = hash_bytes(h, &k->condition, sizeof(k->condition));
	if (has_name(k->e)) {
		h = hash_bytes(h, k->name, strlen(k->name));
	} else {
		value = value_of(k->e, &len);
		h = hash_bytes(h, value, len);
	}
	return (h ^ h >> 15) * UINT32_C(0x2c1b3c6d);
}

static bool
same(const struct rules_cover *c, const struct slot *s, const struct key *k)
{
	const struct rule_entry *e = &c->r->entry[s->entry];
	size_t len = 0;
	const void *value;

	if (e->type != k->e->type ||
	    c->r->rule[s->rule - 1].conditions != k->condition)
		return false;
	if (has_name(e))
		return strcmp(c->r->names + e->name, k->name) == 0;
	value = value_of(e, &len);
	return memcmp(value, value_of(k->e, &len), len) == 0;
}

/* The slot that has this key, or the free one where it belongs. */
static struct slot *
find(const struct rules_cover *c, const struct key *k, uint32_t hash)
{
	size_t i = hash & c->mask;

	while (c->slot[i].rule != 0 &&
	       (c->slot[i].hash != hash || !same(c, &c->slot[i], k)))
		i = (i + 1) & c->mask;
	return &c->slot[i];
}

static bool
look_up(
    const struct rules_cover *c, const struct key *k, struct rules_covered *by)
{
	const struct slot *s = find(c, k, hash_key(k));

	if (s->rule == 0)
		return false;
	*by = (struct rules_covered){.rule = s->rule - 1, .entry = s->entry};
	return true;
}

/* ---- ports ---- */

static unsigned
next_free(struct port_map *m, unsigned port)
{
	unsigned found = port;

	while (m->jump[found] != 0)
		found = m->jump[found];
	while (port != found) {
		unsigned next = m->jump[port];

		m->jump[port] = found;
		port = next;
	}
	return found;
}

/* Without memory for it, less is found. */
static void
take_ports(struct rules_cover *c, uint8_t type, const struct rule_ports *p,
    uint32_t rule)
{
	struct port_map *m = c->ports;

	if (m == NULL)
		m = c->ports = calloc(2, sizeof(*m));
	if (m == NULL)
		return;
	m += type == RULE_SRC_PORT;
	for (unsigned i = next_free(m, p->first); i <= p->last;
	     i = next_free(m, i)) {
		m->rule[i] = rule;
		m->jump[i] = i + 1;
	}
}

static bool
covers_ports(const struct rules_cover *c, uint8_t type,
    const struct rule_ports *p, struct rules_covered *by)
{
	struct port_map *m = c->ports;

	if (m == NULL)
		return false;
	m += type == RULE_SRC_PORT;
	if (next_free(m, p->first) <= p->last)
		return false;
	*by =
	    (struct rules_covered){.rule = m->rule[p->last], .entry = NOTHING};
	return true;
}

/* ---- prefixes ---- */

static bool
covers_prefix(const struct rules_cover *c, const struct rule_entry *e,
    uint32_t condition, struct rules_covered *by)
{
	const bool *length = c->length[e->type == RULE_SRC_IP_CIDR]
				      [e->prefix.addr.family == FAMILY_V6];
	struct ip_ifaddr wide = {.addr = e->prefix.addr};
	struct rule_entry wider = {.type = e->type};
	struct key k = {.e = &wider, .condition = condition};

	for (unsigned bits = 0; bits <= e->prefix.bits; bits++) {
		if (!length[bits])
			continue;
		wide.bits = (uint8_t)bits;
		ip_ifaddr_prefix(&wide, &wider.prefix);
		if (look_up(c, &k, by)) {
			by->equal = bits == e->prefix.bits;
			return true;
		}
	}
	return false;
}

/* ---- names ---- */

static unsigned
pair_of(const char *s)
{
	return (unsigned)(unsigned char)s[0] << 8 | (unsigned char)s[1];
}

static bool
covers_by_keyword_at(const struct rules_cover *c, const char *at,
    uint32_t condition, struct rules_covered *by)
{
	uint32_t i = c->pair[pair_of(at)];

	for (unsigned n = 0; i != 0 && n < KEYWORDS_LOOKED_AT; n++) {
		const struct keyword *w = &c->keyword[i - 1];
		const char *word = c->r->names + c->r->entry[w->entry].name;

		if (c->r->rule[w->rule].conditions == condition &&
		    strncmp(at, word, strlen(word)) == 0) {
			*by = (struct rules_covered){
			    .rule = w->rule, .entry = w->entry};
			return true;
		}
		i = w->next;
	}
	return false;
}

static bool
covers_name(const struct rules_cover *c, const struct rule_entry *e,
    uint32_t condition, struct rules_covered *by)
{
	const char *name = c->r->names + e->name;
	struct rule_entry below = {.type = RULE_DOMAIN_SUFFIX};
	struct key equal = {.e = e, .name = name, .condition = condition};
	struct key suffix = {.e = &below, .name = name, .condition = condition};

	if (look_up(c, &equal, by)) {
		by->equal = true;
		return true;
	}
	while (e->type != RULE_DOMAIN_KEYWORD && suffix.name != NULL) {
		if (look_up(c, &suffix, by))
			return true;
		suffix.name = strchr(suffix.name, '.');
		if (suffix.name != NULL)
			suffix.name++;
	}
	for (const char *at = name; c->keywords > 0 && *at != 0; at++) {
		if (covers_by_keyword_at(c, at, condition, by))
			return true;
	}
	return false;
}

/* ---- building ---- */

static int
add_keyword(struct rules_cover *c, uint32_t rule, uint32_t entry)
{
	const char *word = c->r->names + c->r->entry[entry].name;
	uint32_t *head;
	size_t cap = c->keyword_cap > 0 ? c->keyword_cap * 2 : 64;
	struct keyword *p;

	/* One byte is in nearly every name: not worth a look at each byte. */
	if (word[1] == 0)
		return 0;
	if (c->pair == NULL)
		c->pair = calloc(UINT16_MAX + 1, sizeof(*c->pair));
	if (c->pair == NULL)
		return UK_ENOMEM;
	head = &c->pair[pair_of(word)];
	if (c->keywords == c->keyword_cap) {
		p = realloc(c->keyword, cap * sizeof(*p));
		if (p == NULL)
			return UK_ENOMEM;
		c->keyword = p;
		c->keyword_cap = cap;
	}
	c->keyword[c->keywords++] = (struct keyword){rule, entry, *head};
	*head = (uint32_t)c->keywords;
	return 0;
}

static void
add_entry(struct rules_cover *c, uint32_t rule, uint32_t entry)
{
	const struct rule_entry *e = &c->r->entry[entry];
	uint32_t condition = c->r->rule[rule].conditions;
	struct key k = {.e = e, .condition = condition};
	struct slot *s;
	uint32_t hash;

	if (has_name(e))
		k.name = c->r->names + e->name;
	hash = hash_key(&k);
	s = find(c, &k, hash);
	if (s->rule == 0)
		*s = (struct slot){rule + 1, entry, hash};
	if (e->type == RULE_IP_CIDR || e->type == RULE_SRC_IP_CIDR)
		c->length[e->type == RULE_SRC_IP_CIDR]
			 [e->prefix.addr.family == FAMILY_V6][e->prefix.bits] =
		    true;
	/* Without memory for it, less is found. */
	if (e->type == RULE_DOMAIN_KEYWORD)
		(void)add_keyword(c, rule, entry);
	if (condition != 0)
		return;
	if (e->type == RULE_DST_PORT || e->type == RULE_SRC_PORT)
		take_ports(c, e->type, &e->ports, rule);
	if (e->type == RULE_NETWORK) {
		c->protos |= e->protos;
		c->protos_rule = rule;
	}
}

void
rules_cover_add(struct rules_cover *c, uint32_t rule)
{
	const struct rule *u = &c->r->rule[rule];

	c->asked[u->conditions] = true;
	for (uint32_t i = 0; i < u->entries; i++)
		add_entry(c, rule, u->first + i);
}

int
rules_cover_new(struct rules_cover **out, const struct rules *r)
{
	struct rules_cover *c = calloc(1, sizeof(*c));
	size_t slots = 64;

	*out = c;
	if (c == NULL)
		return UK_ENOMEM;
	/* At most half of them are taken. */
	while (slots < r->entries * 2)
		slots *= 2;
	c->r = r;
	c->mask = slots - 1;
	c->slot = calloc(slots, sizeof(*c->slot));
	c->asked = calloc(r->conditions, sizeof(*c->asked));
	if (c->slot == NULL || c->asked == NULL) {
		rules_cover_free(c);
		*out = NULL;
		return UK_ENOMEM;
	}
	return 0;
}

void
rules_cover_free(struct rules_cover *c)
{
	if (c == NULL)
		return;
	free(c->slot);
	free(c->asked);
	free(c->ports);
	free(c->pair);
	free(c->keyword);
	free(c);
}

/* ---- what is asked ---- */

static bool
covers(const struct rules_cover *c, const struct rule_entry *e,
    uint32_t condition, struct rules_covered *by)
{
	struct key k = {.e = e, .condition = condition};

	if (!c->asked[condition])
		return false;
	switch ((enum rule_type)e->type) {
	case RULE_IP_CIDR:
	case RULE_SRC_IP_CIDR:
		return covers_prefix(c, e, condition, by);
	case RULE_DOMAIN:
	case RULE_DOMAIN_SUFFIX:
	case RULE_DOMAIN_KEYWORD:
		return covers_name(c, e, condition, by);
	case RULE_PROCESS_NAME:
		k.name = c->r->names + e->name;
		break;
	default:
		break;
	}
	if (look_up(c, &k, by)) {
		by->equal = true;
		return true;
	}
	if (condition != 0)
		return false;
	if (e->type == RULE_DST_PORT || e->type == RULE_SRC_PORT)
		return covers_ports(c, e->type, &e->ports, by);
	if (e->type != RULE_NETWORK || (e->protos & ~c->protos) != 0)
		return false;
	*by = (struct rules_covered){.rule = c->protos_rule, .entry = NOTHING};
	return true;
}

bool
rules_cover_entry(const struct rules_cover *c, const struct rule_entry *e,
    uint32_t condition, struct rules_covered *by)
{
	return covers(c, e, 0, by) ||
	       (condition != 0 && covers(c, e, condition, by));
}

static bool
covers_all_ports(const struct rules_cover *c, enum rule_type t,
    const struct rule_ports *p, size_t n, struct rules_covered *by)
{
	for (size_t i = 0; i < n; i++) {
		if (!covers_ports(c, (uint8_t)t, &p[i], by))
			return false;
	}
	return n > 0;
}

/* Each condition as the entry that says the same. */
bool
rules_cover_conditions(const struct rules_cover *c, const struct rule *rule,
    struct rules_covered *by)
{
	const struct rule_conditions *k = &c->r->condition[rule->conditions];
	struct rule_entry dst = {.type = RULE_IP_CIDR, .prefix = k->dst};
	struct rule_entry src = {.type = RULE_SRC_IP_CIDR, .prefix = k->src};
	struct rule_entry uid = {.type = RULE_UID, .uid = k->uid};
	struct rule_entry process = {
	    .type = RULE_PROCESS_NAME, .name = k->process};
	struct rule_entry protos = {.type = RULE_NETWORK, .protos = k->protos};

	return (k->dst.addr.family != FAMILY_NONE && covers(c, &dst, 0, by)) ||
	       (k->src.addr.family != FAMILY_NONE && covers(c, &src, 0, by)) ||
	       (k->has_uid && covers(c, &uid, 0, by)) ||
	       (k->process != 0 && covers(c, &process, 0, by)) ||
	       (k->protos != 0 && covers(c, &protos, 0, by)) ||
	       covers_all_ports(c, RULE_DST_PORT, k->dport, k->dports, by) ||
	       covers_all_ports(c, RULE_SRC_PORT, k->sport, k->sports, by);
}
