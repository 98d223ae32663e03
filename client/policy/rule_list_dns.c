#include <string.h>

#include "core/conf_schema.h"

#include "rule_list_forms.h"
#include "rules_text.h"

static bool
is_one_of(const struct conf_span *word, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (conf_span_is(word, names[i]))
			return true;
	}
	return false;
}

static int
leave_out(struct rule_list_state *l, struct rule_list_tally *t)
{
	rule_list_count(l, t);
	return 0;
}

/* ---- dnsmasq, smartdns, AdGuard Home ---- */

/* "KEY=/NAME/..." or "KEY /NAME/...": cut the key off; false: it is none. */
static bool
cut_key(struct conf_span *rest, struct conf_span *key)
{
	static const char *const keys[] = {"server", "address", "local",
	    "ipset", "nftset", "nameserver", "domain-rules"};

	*key = rule_list_word(rest, "= \t");
	if (rules_text_begins(rest, "="))
		rules_text_skip(rest, 1);
	return is_one_of(key, keys, ARRAY_LEN(keys));
}

/* What the last slash is followed by. */
static struct conf_span
behind_slashes(const struct conf_span *s)
{
	struct conf_span rest = *s;

	while (rest.len > 0 && memchr(rest.s, '/', rest.len) != NULL) {
		rule_list_word(&rest, "/");
		rules_text_skip(&rest, 1);
	}
	return rest;
}

/* "/example.com/example.net/192.0.2.1" */
static int
take_slashes(struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span rest = *s;
	int err = 0;

	rules_text_skip(&rest, 1);
	while (
	    rest.len > 0 && memchr(rest.s, '/', rest.len) != NULL && err == 0) {
		struct conf_span name = rule_list_word(&rest, "/");

		rules_text_skip(&rest, 1);
		err = rule_list_name(l, RULE_DOMAIN_SUFFIX, &name);
	}
	return err;
}

/* A server "#" is the one of all other names, and "-" says that smartdns has
 * no rule for them. With address= "#" is no address at all. */
static int
take_keyed(struct rule_list_state *l, const struct conf_span *key,
    const struct conf_span *names)
{
	struct conf_span value = behind_slashes(names);

	if (!rules_text_begins(names, "/"))
		return rule_list_wrong(l, key,
		    "\"%.*s\": /NAME/ belongs behind that", CONF_WORD(key));
	if (conf_span_is(&value, "-") ||
	    (conf_span_is(&value, "#") && !conf_span_is(key, "address")))
		return leave_out(l, &l->exceptions);
	return take_slashes(l, names);
}

/* "[/example.com/]192.0.2.1" */
static int
take_upstream(struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span value = *s, names;

	rules_text_skip(&value, 1);
	names = rule_list_word(&value, "]");
	rules_text_skip(&value, value.len > 0);
	if (conf_span_is(&value, "#"))
		return leave_out(l, &l->exceptions);
	return take_slashes(l, &names);
}

/* ---- unbound ---- */

static bool
is_unbound(const struct conf_span *s)
{
	return rules_text_begins(s, "local-zone:") ||
	       rules_text_begins(s, "local-data:");
}

/* "local-zone: "example.com." always_nxdomain", which is about all below, and
 * "local-data: "example.com A 0.0.0.0"", about this name alone. */
static int
take_unbound(struct rule_list_state *l, const struct conf_span *s)
{
	static const char *const as_usual[] = {"transparent", "typetransparent",
	    "always_transparent", "nodefault"};
	bool zone = rules_text_begins(s, "local-zone:");
	struct conf_span rest = *s, name;

	rules_text_skip(&rest, strlen("local-zone:"));
	if (rest.len > 0 && strchr("\"'", *rest.s) != NULL)
		rules_text_skip(&rest, 1);
	name = rule_list_word(&rest, "\"' \t");
	if (rest.len > 0 && strchr("\"'", *rest.s) != NULL)
		rules_text_skip(&rest, 1);
	if (zone && is_one_of(&rest, as_usual, ARRAY_LEN(as_usual)))
		return leave_out(l, &l->exceptions);
	return rule_list_name(
	    l, zone ? RULE_DOMAIN_SUFFIX : RULE_DOMAIN, &name);
}

/* ---- response policy zones ---- */

static bool
is_number(const struct conf_span *w)
{
	for (size_t i = 0; i < w->len; i++) {
		if (w->s[i] < '0' || w->s[i] > '9')
			return false;
	}
	return w->len > 0;
}

/* The record's type, without TTL and class before it. RFC 1035 section 5.1. */
static struct conf_span
cut_type(struct conf_span *rest)
{
	struct conf_span word = rule_list_word(rest, " \t");

	while (rest->len > 0 && (is_number(&word) || conf_span_is(&word, "IN")))
		word = rule_list_word(rest, " \t");
	return word;
}

/* What such a zone has about itself. */
static bool
is_apex(const struct conf_span *owner, const struct conf_span *type)
{
	return conf_span_is(type, "SOA") || conf_span_is(type, "NS") ||
	       conf_span_is(owner, "@") || conf_span_is(owner, "$TTL") ||
	       conf_span_is(owner, "$ORIGIN");
}

/* Its triggers that are no names end like this. */
static bool
is_special(const struct conf_span *owner)
{
	static const char *const ends[] = {
	    ".rpz-ip", ".rpz-client-ip", ".rpz-nsip", ".rpz-nsdname"};

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		size_t n = strlen(ends[i]);

		if (owner->len > n &&
		    memcmp(owner->s + owner->len - n, ends[i], n) == 0)
			return true;
	}
	return false;
}

static int
take_record(struct rule_list_state *l, const struct conf_span *s)
{
	static const char *const types[] = {"CNAME", "A", "AAAA"};
	struct conf_span rest = *s, type = *s, owner;

	/* Behind a blank there is no name: that of the line before is meant. */
	owner = rule_list_word(&rest, " \t");
	type = cut_type(s->column > 1 ? &type : &rest);
	if (l->record || is_apex(&owner, &type)) {
		bool ends = memchr(s->s, ')', s->len) != NULL;

		l->record =
		    !ends && (l->record || memchr(s->s, '(', s->len) != NULL);
		return 0;
	}
	if (conf_span_is(&rest, "rpz-passthru."))
		return leave_out(l, &l->exceptions);
	if (s->column > 1 || is_special(&owner) ||
	    !is_one_of(&type, types, ARRAY_LEN(types)))
		return leave_out(l, &l->records);
	return rule_list_name(l, RULE_DOMAIN, &owner);
}

/* ---- lines ---- */

bool
rule_list_is_dns(const struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span rest = *s, key;

	if (l->zone || is_unbound(s) || rules_text_begins(s, "[/"))
		return true;
	/* Most lines are names alone. */
	return (memchr(s->s, '/', s->len) != NULL ||
		   memchr(s->s, '=', s->len) != NULL) &&
	       cut_key(&rest, &key);
}

int
rule_list_dns(struct rule_list_state *l, const struct conf_span *s)
{
	struct conf_span names = *s, key;

	if (l->zone)
		return take_record(l, s);
	if (is_unbound(s))
		return take_unbound(l, s);
	if (rules_text_begins(s, "[/"))
		return take_upstream(l, s);
	cut_key(&names, &key);
	return take_keyed(l, &key, &names);
}
