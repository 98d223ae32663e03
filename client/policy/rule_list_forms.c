#include "rule_list_forms.h"

#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"

#include "rules_text.h"
#include "rules_value.h"

static bool
has(const struct conf_span *s, char c)
{
	return s->len > 0 && memchr(s->s, c, s->len) != NULL;
}

struct conf_span
rule_list_word(struct conf_span *rest, const char *ends)
{
	struct conf_span word = *rest;

	word.len = 0;
	while (
	    word.len < rest->len &&
	    (rest->s[word.len] == 0 || strchr(ends, rest->s[word.len]) == NULL))
		word.len++;
	rules_text_skip(rest, word.len);
	return word;
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Digits and dots, or hexadecimal and colons, with a length or without. */
static bool
is_address(const struct conf_span *s)
{
	const char *set =
	    has(s, ':') ? "0123456789abcdefABCDEF:./" : "0123456789./";

	for (size_t i = 0; i < s->len; i++) {
		if (s->s[i] == 0 || strchr(set, s->s[i]) == NULL)
			return false;
	}
	return s->len > 0;
}

/* ---- entries ---- */

static int
add(struct rule_list_state *l, enum rule_type t, const struct conf_span *v)
{
	struct rule_entry e = {.type = (uint8_t)t, .line = l->line};
	struct rules_note n;
	int err;

	n.why[0] = 0;
	n.masked = n.elsewhere = false;
	if (v->len == 0)
		return rule_list_wrong(l, v, "a value is missing");
	err = rules_value(l->l->b, &e, l->l->os, v, &n);
	if (err == UK_ENOMEM)
		return err;
	if (err < 0 && n.elsewhere)
		rule_list_count(l, &l->elsewhere);
	else if (err < 0)
		return rule_list_wrong(l, v, "%s", n.why);
	if (n.masked)
		rule_list_count(l, &l->masked);
	return err < 0 ? 0 : rules_build_entry(l->l->b, &e);
}

/* "*.example.com", "+.example.com" and ".example.com" are about all below. */
static size_t
wild_len(const struct conf_span *v)
{
	if (rules_text_begins(v, "*.") || rules_text_begins(v, "+."))
		return v->len > 2 ? 2 : 0;
	return rules_text_begins(v, ".") && v->len > 1 ? 1 : 0;
}

static bool
is_pattern(const struct conf_span *v)
{
	return (has(v, '*') || has(v, '?')) && !has(v, '/');
}

int
rule_list_name(
    struct rule_list_state *l, enum rule_type t, const struct conf_span *v)
{
	struct conf_span name = *v;
	struct ip_ifaddr a;

	if (t != RULE_DOMAIN_KEYWORD && is_address(v) &&
	    ip_ifaddr_parse(&a, v->s, v->len) == 0) {
		rule_list_count(l, &l->addresses);
		return add(l, RULE_IP_CIDR, v);
	}
	if (t != RULE_DOMAIN_KEYWORD && wild_len(v) > 0) {
		rules_text_skip(&name, wild_len(v));
		t = RULE_DOMAIN_SUFFIX;
	}
	if (!is_pattern(&name))
		return add(l, t, &name);
	rule_list_count(l, &l->wildcards);
	return 0;
}

/* ---- TYPE,VALUE ---- */

static int
wrong_type(struct rule_list_state *l, const struct conf_span *w)
{
	const char *near = rules_word_near_type(w);
	int foreign = rules_word_foreign(w);

	if (foreign >= 0) {
		rule_list_count(l, &l->foreign[foreign]);
		return 0;
	}
	return rule_list_wrong(l, w, "unknown type \"%.*s\"%s%s%s",
	    CONF_WORD(w), RULES_NEAR(near));
}

/* What is behind the value. Mihomo's "src" makes the address the source's:
 * returns whether it is there. */
static bool
look_at_tail(
    struct rule_list_state *l, enum rule_type t, struct conf_span *rest)
{
	bool source = false, ignored = false;
	struct conf_span item;

	while (conf_span_item(rest, &item)) {
		if (t == RULE_IP_CIDR && conf_span_is(&item, "src"))
			source = true;
		else if (item.len > 0 && !rules_word_option(&item))
			ignored = true;
	}
	if (ignored)
		rule_list_count(l, &l->tails);
	return source;
}

/* Mihomo has several of them, with "/" between. */
static int
add_ports(
    struct rule_list_state *l, enum rule_type t, const struct conf_span *v)
{
	struct conf_span rest = *v;
	int err;

	do {
		struct conf_span one = rule_list_word(&rest, "/");

		rules_text_trim(&one);
		err = add(l, t, &one);
		rules_text_skip(&rest, rest.len > 0);
	} while (err == 0 && rest.len > 0);
	return err;
}

static int
add_typed(
    struct rule_list_state *l, enum rule_type t, const struct conf_span *v)
{
	if (t == RULE_DST_PORT || t == RULE_SRC_PORT)
		return add_ports(l, t, v);
	if (t == RULE_DOMAIN || t == RULE_DOMAIN_SUFFIX ||
	    t == RULE_DOMAIN_KEYWORD)
		return rule_list_name(l, t, v);
	return add(l, t, v);
}

/* RFC 8805 section 2: "192.0.2.0/24,JP,JP-13,Tokyo,". */
static bool
is_geofeed(const struct conf_span *s)
{
	struct conf_span rest = *s, country;

	conf_span_item(&rest, &country);
	return conf_span_item(&rest, &country) && country.len == 2 &&
	       is_letter(country.s[0]) && is_letter(country.s[1]);
}

/* "192.0.2.0/24," or several, with commas between. */
static int
take_addresses(struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span rest = *s, item;
	int err = 0;

	if (is_geofeed(s)) {
		conf_span_item(&rest, &item);
		return add(l, RULE_IP_CIDR, &item);
	}
	while (err == 0 && conf_span_item(&rest, &item)) {
		if (item.len > 0)
			err = add(l, RULE_IP_CIDR, &item);
	}
	return err;
}

static int
take_classical(struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span rest = *s, type, value;
	enum rule_type t;

	conf_span_item(&rest, &type);
	if (is_address(&type))
		return take_addresses(l, s);
	if (!rules_word_type(&t, &type))
		return wrong_type(l, &type);
	if (t == RULE_SET)
		return rule_list_wrong(l, &type,
		    "a list cannot name lists; write a RULE-SET for each into "
		    "the policy");
	if (t == RULE_PORTS_LEFT)
		return rule_list_wrong(
		    l, &type, "PORTS-LEFT belongs into the policy");
	if (t == RULE_DEFAULT) {
		rule_list_count(l, &l->defaults);
		return 0;
	}
	conf_span_item(&rest, &value);
	if (look_at_tail(l, t, &rest))
		t = RULE_SRC_IP_CIDR;
	return add_typed(l, t, &value);
}

/* ---- hosts(5) ---- */

/* These names are there in every such file, and are about the host itself. */
static bool
is_host_itself(const struct conf_span *name)
{
	static const char *const names[] = {"localhost",
	    "localhost.localdomain", "local", "broadcasthost", "ip6-localhost",
	    "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes",
	    "ip6-allrouters", "ip6-allhosts", "0.0.0.0"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (conf_span_is(name, names[i]))
			return true;
	}
	return false;
}

/* Lists have names at addresses that lead nowhere; with any other one it would
 * be a file for another purpose. */
static bool
leads_nowhere(const struct conf_span *word)
{
	static const char *const words[] = {
	    "0.0.0.0", "127.0.0.1", "::", "::1", "0"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (conf_span_is(word, words[i]))
			return true;
	}
	return false;
}

static int
wrong_words(struct rule_list_state *l, const struct conf_span *s,
    const struct conf_span *first)
{
	if (is_address(first))
		return rule_list_wrong(l, s,
		    "\"%.*s\": one address or prefix a line, as 192.0.2.0/24; "
		    "before names, as in a hosts file, only 0.0.0.0 and "
		    "127.0.0.1",
		    CONF_WORD(s));
	return rule_list_wrong(l, s,
	    "\"%.*s\" is neither a name, nor an address, nor TYPE,VALUE",
	    CONF_WORD(s));
}

static int
take_hosts(struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span rest = *s, word = rule_list_word(&rest, " \t");
	bool nowhere = leads_nowhere(&word);
	int err = 0;

	while (rest.len > 0 && err == 0) {
		struct conf_span name = rule_list_word(&rest, " \t");

		if (is_host_itself(&name))
			continue;
		if (!nowhere)
			return wrong_words(l, s, &word);
		err = rule_list_name(l, RULE_DOMAIN, &name);
	}
	return err;
}

/* ---- adblock ---- */

/* "||example.com^", and as gfwlist has it, "||example.com". A rule with other
 * options than these is about some of what a page loads. */
static int
take_adblock(struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span rest = *s, name;
	bool closed;

	rules_text_skip(&rest, 2);
	name = rule_list_word(&rest, "^$/|:");
	closed = rules_text_begins(&rest, "^");
	rules_text_skip(&rest, closed);
	if (conf_span_is(&rest, "|") || conf_span_is(&rest, "$important") ||
	    conf_span_is(&rest, "$all"))
		rest.len = 0;
	/* Without its end, "||ads." is the beginning of names. */
	if (rest.len > 0 || name.len == 0 || (!closed && !has(&name, '.')) ||
	    (!closed && name.s[name.len - 1] == '.')) {
		rule_list_count(l, &l->parts);
		return 0;
	}
	if (is_address(&name))
		return add(l, RULE_IP_CIDR, &name);
	return rule_list_name(l, RULE_DOMAIN_SUFFIX, &name);
}

/* ---- v2fly ---- */

static const struct {
	const char *with;
	enum rule_type type;
} v2fly[] = {
    {"domain:", RULE_DOMAIN_SUFFIX},
    {"full:", RULE_DOMAIN},
    {"keyword:", RULE_DOMAIN_KEYWORD},
};

static int
take_v2fly(
    struct rule_list_state *l, const struct conf_span *s, enum rule_type t)
{
	struct conf_span rest = *s, name = rule_list_word(&rest, " \t:");

	/* Releases write "x:@cn", sources "x @cn". */
	if (rules_text_begins(&rest, ":@"))
		rules_text_skip(&rest, 1);
	if (rest.len > 0 && rest.s[0] != '@' && rest.s[0] != '&')
		return rule_list_wrong(l, &rest,
		    "\"%.*s\" is no attribute, as @cn", CONF_WORD(&rest));
	return rule_list_name(l, t, &name);
}

/* ---- firewalls ---- */

/* RouterOS: "add list=x address=192.0.2.0/24", maybe behind more words. */
static const char *
find_address(const struct conf_span *s, size_t *len)
{
	static const char address[] = "address=";
	struct conf_span rest = *s;

	while (rest.len > 0) {
		struct conf_span word = rule_list_word(&rest, " \t}");

		rules_text_skip(&rest, rules_text_begins(&rest, "}"));
		if (!rules_text_begins(&word, address))
			continue;
		*len = word.len - strlen(address);
		return word.s + strlen(address);
	}
	return NULL;
}

static bool
has_word(const struct conf_span *s, const char *word)
{
	struct conf_span rest = *s;

	while (rest.len > 0) {
		struct conf_span one = rule_list_word(&rest, " \t");

		if (conf_span_is(&one, word))
			return true;
	}
	return false;
}

static int take_plain(struct rule_list_state *l, const struct conf_span *s);

static int
take_firewall(struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span rest = *s, value = *s;
	const char *at = find_address(s, &value.len);

	if (at != NULL) {
		value.column += (unsigned)(at - value.s);
		value.s = at;
		return take_plain(l, &value);
	}
	/* "/ip firewall address-list" alone; ipset: "create NAME". */
	if (!rules_text_begins(s, "add "))
		return 0;
	/* ipset: "add NAME 192.0.2.0/24", maybe "nomatch" */
	rule_list_word(&rest, " \t");
	rule_list_word(&rest, " \t");
	value = rule_list_word(&rest, " \t");
	if (has_word(&rest, "nomatch")) {
		rule_list_count(l, &l->exceptions);
		return 0;
	}
	return add(l, RULE_IP_CIDR, &value);
}

static bool
is_firewall(const struct conf_span *s)
{
	return rules_text_begins(s, "add ") || rules_text_begins(s, ":do {") ||
	       rules_text_begins(s, "create ") ||
	       rules_text_begins(s, "/ip firewall ") ||
	       rules_text_begins(s, "/ipv6 firewall ");
}

/* ---- bare words ---- */

/* "192.0.2.0-192.0.2.9", which is an error, and not one of a name. */
static bool
is_range(const struct conf_span *s)
{
	for (size_t i = 0; i < s->len; i++) {
		if (s->s[i] != '-' && s->s[i] != '.' &&
		    (s->s[i] < '0' || s->s[i] > '9'))
			return false;
	}
	return has(s, '-') && has(s, '.');
}

static int
take_plain(struct rule_list_state *l, const struct conf_span *s)
{
	if (is_address(s) || is_range(s))
		return add(l, RULE_IP_CIDR, s);
	if (!l->web || wild_len(s) > 0)
		return rule_list_name(l, RULE_DOMAIN, s);
	rule_list_count(l, &l->parts);
	return 0;
}

static int
wrong_key(struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span rest = *s, key = rule_list_word(&rest, "=");

	return rule_list_wrong(l, s,
	    "\"%.*s\" is none of server=, address=, local=, ipset=, nftset= "
	    "(dnsmasq)",
	    CONF_WORD(&key));
}

static int
take_words(struct rule_list_state *l, const struct conf_span *s)
{
	if (has(s, ','))
		return take_classical(l, s);
	if (is_firewall(s))
		return take_firewall(l, s);
	if (has(s, '='))
		return wrong_key(l, s);
	if (l->v2fly && !is_address(s) && (!has(s, ' ') || has(s, '@')))
		return take_v2fly(l, s, RULE_DOMAIN_SUFFIX);
	if (has(s, ' ') || has(s, '\t'))
		return take_hosts(l, s);
	return take_plain(l, s);
}

/* ---- lines ---- */

/* A whole configuration of other software: more of it would be as wrong. */
static int
refuse(struct rule_list_state *l, const struct conf_span *s, const char *what)
{
	if (!l->adblock)
		l->stop = true;
	return rule_list_wrong(l, s, "\"%.*s\": %s", CONF_WORD(s), what);
}

static int
take_section(struct rule_list_state *l, const struct conf_span *s)
{
	return refuse(l, s,
	    "a section of a whole configuration; of that only the rules can be "
	    "a list, without sections");
}

int
rule_list_take(struct rule_list_state *l, const struct conf_span *s)
{
	if (rule_list_is_dns(l, s))
		return rule_list_dns(l, s);
	for (size_t i = 0; i < ARRAY_LEN(v2fly); i++) {
		struct conf_span rest = *s;

		if (!rules_text_begins(s, v2fly[i].with))
			continue;
		rules_text_skip(&rest, strlen(v2fly[i].with));
		return take_v2fly(l, &rest, v2fly[i].type);
	}
	if (rules_text_begins(s, "payload:"))
		return refuse(l, s,
		    "\"payload:\" stands alone, and each entry on a line of its "
		    "own below, behind \"- \"");
	if (rules_text_begins(s, "include:"))
		return rule_list_wrong(l, s,
		    "a list cannot name lists; write a RULE-SET for each into "
		    "the policy");
	if (rules_text_begins(s, "regexp:")) {
		rule_list_count(l, &l->regexps);
		return 0;
	}
	if (rules_text_begins(s, "@@")) {
		rule_list_count(l, &l->exceptions);
		return 0;
	}
	if (rules_text_begins(s, "||"))
		return take_adblock(l, s);
	if (rules_text_begins(s, "["))
		return take_section(l, s);
	if (s->len > 1 && s->s[s->len - 1] == ':' && !is_address(s))
		return refuse(l, s,
		    "a key of YAML; of that a list has \"payload:\" only; "
		    "ukai policy import reads a whole configuration of Clash");
	return take_words(l, s);
}
