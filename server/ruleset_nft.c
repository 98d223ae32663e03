#include "ruleset.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/err.h"
#include "ruleset_parts.h"

/* Keys and values are those of libnftables-json(5). */

/* What is known of a packet's field: a word or a number, or both. */
struct known {
	bool known, absent; /* absent: such packets do not have it */
	const char *word; /* NULL: none */
	bool numbered;
	json_int_t number;
	bool interface;
};

struct look {
	const json_t *root; /* of the named sets */
	const struct chain *chain;
	const struct ruleset_packet *p;
};

static struct known
known_word(const char *word)
{
	return (struct known){.known = true, .word = word};
}

static struct known
known_number(const char *word, json_int_t number)
{
	return (struct known){
	    .known = true, .word = word, .numbered = true, .number = number};
}

static struct known
known_interface(const char *name)
{
	return (struct known){.known = true, .word = name, .interface = true};
}

static struct known
known_protocol(const struct ruleset_packet *p)
{
	return known_number(
	    p->protocol == IPPROTO_UDP ? "udp" : "tcp", p->protocol);
}

static const struct known unknown = {.known = false};
static const struct known absent = {.known = true, .absent = true};

static bool
is(const char *text, const char *word)
{
	return text != NULL && strcmp(text, word) == 0;
}

static struct known
field_of_meta(const struct look *l, const json_t *meta)
{
	const char *key = json_string_value(json_object_get(meta, "key"));
	bool v4 = l->p->family == FAMILY_V4;

	if (is(key, "l4proto"))
		return known_protocol(l->p);
	if (is(key, "nfproto"))
		return known_word(v4 ? "ipv4" : "ipv6");
	if (is(key, "protocol"))
		return known_word(v4 ? "ip" : "ip6");
	if (is(key, "iifname") || is(key, "iif"))
		return known_interface(l->p->in);
	if (is(key, "oifname") || is(key, "oif"))
		return is(l->chain->id.hook, "prerouting") || !l->p->forwarded
			   ? absent
			   : known_interface(l->p->out);
	if (is(key, "pkttype"))
		return known_word("host");
	return unknown;
}

static struct known
field_of_payload(const struct look *l, const json_t *payload)
{
	const char *protocol =
	    json_string_value(json_object_get(payload, "protocol"));
	const char *field =
	    json_string_value(json_object_get(payload, "field"));
	const struct ruleset_packet *p = l->p;
	bool v4 = p->family == FAMILY_V4;

	if (is(protocol, "ip") || is(protocol, "ip6")) {
		if (is(protocol, "ip") != v4)
			return absent;
		return is(field, "protocol") || is(field, "nexthdr")
			   ? known_protocol(p)
			   : unknown;
	}
	if (is(protocol, "udp") != (p->protocol == IPPROTO_UDP) &&
	    !is(protocol, "th"))
		return absent;
	if (is(field, "dport") && p->port != 0)
		return known_number(NULL, p->port);
	return protocol == NULL || is(protocol, "udp") || is(protocol, "tcp") ||
		       is(protocol, "th")
		   ? unknown
		   : absent;
}

static struct known
field_of_ct(const struct look *l, const json_t *ct)
{
	const char *key = json_string_value(json_object_get(ct, "key"));

	if (is(key, "state"))
		return known_word(l->p->established ? "established" : "new");
	if (is(key, "status") && l->p->translated)
		return known_word("dnat");
	/* A new packet has nothing else yet. */
	return is(key, "status") && !l->p->established ? absent : unknown;
}

static struct known
field_of_fib(const struct look *l, const json_t *fib)
{
	const json_t *flag = json_array_get(json_object_get(fib, "flags"), 0);

	return !l->p->forwarded &&
		       is(json_string_value(json_object_get(fib, "result")),
			   "type") &&
		       is(json_string_value(flag), "daddr")
		   ? known_word("local")
		   : unknown;
}

static struct known
field(const struct look *l, const json_t *left)
{
	static const struct {
		const char *name;
		struct known (*of)(const struct look *l, const json_t *o);
	} kinds[] = {{"meta", field_of_meta}, {"payload", field_of_payload},
	    {"ct", field_of_ct}, {"fib", field_of_fib}};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const json_t *o = json_object_get(left, kinds[i].name);

		if (o != NULL)
			return kinds[i].of(l, o);
	}
	return unknown;
}

static enum answer compare(
    const struct look *l, const struct known *k, const json_t *right);

static enum answer
compare_range(const struct known *k, const json_t *range)
{
	if (!k->numbered)
		return ANSWER_MAYBE;
	return answer_of(
	    k->number >= json_integer_value(json_array_get(range, 0)) &&
	    k->number <= json_integer_value(json_array_get(range, 1)));
}

static enum answer
compare_any(const struct look *l, const struct known *k, const json_t *list)
{
	enum answer a = ANSWER_NO;

	for (size_t i = 0; i < json_array_size(list); i++)
		a = answer_most(a, compare(l, k, json_array_get(list, i)));
	return a;
}

/* The elements of "@name" in the chain's table. */
static const json_t *
elements(const struct look *l, const char *name)
{
	static const char *const kind[] = {"set", "map"};

	for (size_t i = 0; i < json_array_size(l->root); i++)
		for (size_t j = 0; j < ARRAY_LEN(kind); j++) {
			const json_t *o = json_object_get(
			    json_array_get(l->root, i), kind[j]);

			if (is(json_string_value(json_object_get(o, "name")),
				name) &&
			    is(json_string_value(json_object_get(o, "table")),
				l->chain->id.table) &&
			    is(json_string_value(json_object_get(o, "family")),
				l->chain->id.family))
				return json_object_get(o, "elem");
		}
	return NULL;
}

static enum answer
compare_word(const struct look *l, const struct known *k, const char *word)
{
	if (word[0] == '@')
		return compare_any(l, k, elements(l, word + 1));
	if (k->interface)
		return answer_interface(k->word, word, '*');
	return answer_of(is(k->word, word));
}

static enum answer
compare(const struct look *l, const struct known *k, const json_t *right)
{
	const json_t *o;

	if (k->absent)
		return ANSWER_NO;
	if (!k->known)
		return ANSWER_MAYBE;
	if (json_is_string(right))
		return compare_word(l, k, json_string_value(right));
	if (json_is_integer(right))
		return k->numbered
			   ? answer_of(k->number == json_integer_value(right))
			   : ANSWER_MAYBE;
	if (json_is_array(right))
		return compare_any(l, k, right);
	if ((o = json_object_get(right, "set")) != NULL)
		return json_is_array(o) ? compare_any(l, k, o)
					: compare(l, k, o);
	if ((o = json_object_get(right, "range")) != NULL)
		return compare_range(k, o);
	if ((o = json_object_get(right, "elem")) != NULL)
		return compare(l, k, json_object_get(o, "val"));
	return ANSWER_MAYBE;
}

static enum answer compare_key(
    const struct look *l, const json_t *key, const json_t *value);

static enum answer
compare_concat(const struct look *l, const json_t *key, const json_t *value)
{
	const json_t *part = json_object_get(value, "concat");
	enum answer a = ANSWER_YES;

	for (size_t i = 0; i < json_array_size(key); i++)
		a = answer_least(a, compare_key(l, json_array_get(key, i),
					json_array_get(part, i)));
	return a;
}

/* One key, which may be joined of several fields, with one value. */
static enum answer
compare_key(const struct look *l, const json_t *key, const json_t *value)
{
	const json_t *elem = json_object_get(value, "elem");
	const json_t *concat = json_object_get(key, "concat");
	struct known k;

	if (elem != NULL)
		return compare_key(l, key, json_object_get(elem, "val"));
	if (concat == NULL) {
		k = field(l, key);
		return compare(l, &k, value);
	}
	if (json_object_get(value, "concat") != NULL)
		return compare_concat(l, concat, value);
	return ANSWER_MAYBE;
}

/* The values of a set that is written here or has a name; NULL: it is one
 * value. */
static const json_t *
members(const struct look *l, const json_t *right)
{
	const json_t *set = json_object_get(right, "set");
	const char *name;

	if (set == NULL)
		set = right;
	if (json_is_array(set) && json_object_get(right, "set") != NULL)
		return set;
	name = json_string_value(set);
	return name != NULL && name[0] == '@' ? elements(l, name + 1) : NULL;
}

static enum answer
match_joined(const struct look *l, const json_t *left, const json_t *right)
{
	const json_t *list = members(l, right);
	enum answer a = ANSWER_NO;

	if (list == NULL)
		return compare_key(l, left, right);
	for (size_t i = 0; i < json_array_size(list); i++)
		a = answer_most(
		    a, compare_key(l, left, json_array_get(list, i)));
	return a;
}

static enum answer
match_order(const struct known *k, const char *op, const json_t *right)
{
	json_int_t n = json_integer_value(right);

	if (!k->numbered || !json_is_integer(right))
		return k->absent ? ANSWER_NO : ANSWER_MAYBE;
	if (op[0] == '<')
		return answer_of(op[1] == '=' ? k->number <= n : k->number < n);
	return answer_of(op[1] == '=' ? k->number >= n : k->number > n);
}

static enum answer
match(const struct look *l, const json_t *o)
{
	const char *op = json_string_value(json_object_get(o, "op"));
	const json_t *left = json_object_get(o, "left");
	const json_t *right = json_object_get(o, "right");
	struct known k;

	if (op == NULL)
		return ANSWER_MAYBE;
	if (json_object_get(left, "concat") != NULL) {
		enum answer a = match_joined(l, left, right);

		return is(op, "!=") ? answer_not(a) : a;
	}
	k = field(l, left);
	if (op[0] == '<' || op[0] == '>')
		return match_order(&k, op, right);
	/* A field that is not there fails either way. */
	if (is(op, "!=") && !k.absent)
		return answer_not(compare(l, &k, right));
	return compare(l, &k, right);
}

/* A verdict, as a statement or as a value of a map. */
static bool
take_verdict(struct step *s, const json_t *o)
{
	static const struct {
		const char *name;
		enum action action;
	} known[] = {
	    {"accept", ACTION_ACCEPT},
	    {"queue", ACTION_ACCEPT}, /* a program decides */
	    {"drop", ACTION_DROP},
	    {"reject", ACTION_DROP},
	    {"return", ACTION_RETURN},
	    {"continue", ACTION_NEXT},
	    {"jump", ACTION_JUMP},
	    {"goto", ACTION_GOTO},
	};
	const char *name = json_string_value(o);

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		const json_t *v = json_object_get(o, known[i].name);

		if (v == NULL && !is(name, known[i].name))
			continue;
		s->action = known[i].action;
		s->target = json_string_value(json_object_get(v, "target"));
		if (s->target == NULL &&
		    (s->action == ACTION_JUMP || s->action == ACTION_GOTO))
			s->action = ACTION_NEXT;
		return true;
	}
	return false;
}

/* "KEY vmap { VALUE : VERDICT, ... }": the first that surely is, else one that
 * may be. */
static void
take_map(struct step *s, const struct look *l, const json_t *o)
{
	const json_t *key = json_object_get(o, "key");
	const json_t *list = members(l, json_object_get(o, "data"));
	enum answer best = ANSWER_NO;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *pair = json_array_get(list, i);
		enum answer a = compare_key(l, key, json_array_get(pair, 0));

		if (a <= best || !take_verdict(s, json_array_get(pair, 1)))
			continue;
		best = a;
	}
	s->match = answer_least(s->match, best);
}

/* What iptables-nft made of an extension: only its name is told. */
static void
take_xt(struct step *s, const json_t *o)
{
	const char *name = json_string_value(json_object_get(o, "name"));

	if (is(json_string_value(json_object_get(o, "type")), "target"))
		s->action = is(name, "REJECT") ? ACTION_DROP : s->action;
	else if (!is(name, "comment"))
		s->match = answer_least(s->match, ANSWER_MAYBE);
}

static void
take_statement(struct step *s, const struct look *l, const json_t *o)
{
	const json_t *v;

	if ((v = json_object_get(o, "match")) != NULL)
		s->match = answer_least(s->match, match(l, v));
	else if ((v = json_object_get(o, "vmap")) != NULL)
		take_map(s, l, v);
	else if ((v = json_object_get(o, "xt")) != NULL)
		take_xt(s, v);
	else if (json_object_get(o, "limit") != NULL ||
		 json_object_get(o, "ct count") != NULL)
		s->match = answer_least(s->match, ANSWER_MAYBE);
	else
		(void)take_verdict(s, o);
}

static struct step
step(const struct ruleset *r, const struct chain *c, const void *rule,
    const struct ruleset_packet *p)
{
	const struct look l = {json_object_get(r->source, "nftables"), c, p};
	const json_t *list = rule;
	struct step s = {.match = ANSWER_YES};

	for (size_t i = 0; i < json_array_size(list); i++) {
		take_statement(&s, &l, json_array_get(list, i));
		if (s.match == ANSWER_NO)
			break;
	}
	return s;
}

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

static int
add_chain(struct ruleset *r, const json_t *o)
{
	struct chain *c = ruleset_add_chain(r);

	if (c == NULL)
		return UK_ENOMEM;
	c->id = (struct ruleset_chain){
	    .family = text_of(o, "family"),
	    .table = text_of(o, "table"),
	    .name = text_of(o, "name"),
	    .hook = text_of(o, "hook"),
	};
	c->base = is(text_of(o, "type"), "filter");
	c->drops = is(text_of(o, "policy"), "drop");
	return 0;
}

static int
add_rule(struct ruleset *r, const json_t *o)
{
	struct chain *c = ruleset_find(
	    r, text_of(o, "family"), text_of(o, "table"), text_of(o, "chain"));
	const json_t *list = json_object_get(o, "expr");

	return c == NULL || list == NULL ? 0 : ruleset_add_rule(c, list);
}

static void
free_source(void *source)
{
	json_decref(source);
}

static int
fill(struct ruleset *r)
{
	const json_t *list = json_object_get(r->source, "nftables");
	int err = 0;

	if (!json_is_array(list))
		return UK_EPROTO;
	/* Chains stand before all rules; each belongs to a table above it. */
	for (size_t i = 0; i < json_array_size(list) && err == 0; i++) {
		const json_t *entry = json_array_get(list, i), *o;

		if ((o = json_object_get(entry, "chain")) != NULL)
			err = add_chain(r, o);
		else if ((o = json_object_get(entry, "rule")) != NULL)
			err = add_rule(r, o);
	}
	return err;
}

int
ruleset_parse_nft(struct ruleset **r, const char *text, size_t len)
{
	json_t *root = json_loadb(text, len, 0, NULL);
	int err;

	*r = NULL;
	if (root == NULL)
		return UK_EPROTO;
	*r = calloc(1, sizeof(**r));
	if (*r == NULL) {
		json_decref(root);
		return UK_ENOMEM;
	}
	**r = (struct ruleset){
	    .source = root, .source_free = free_source, .step = step};
	err = fill(*r);
	if (err < 0) {
		ruleset_free(*r);
		*r = NULL;
	}
	return err;
}
