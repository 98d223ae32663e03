/* rule_list_forms: what a line of a list may look like; rule_list_dns: what it
 * looks like where DNS servers read it. Parts of rule_list. Pure. */
#ifndef UKAI_POLICY_RULE_LIST_FORMS_H
#define UKAI_POLICY_RULE_LIST_FORMS_H

#include "rule_list.h"
#include "rules_words.h"

/* Lines that are told of together: so many, and where the first ones are. */
#define RULE_LIST_TOLD 3
struct rule_list_tally {
	uint32_t n, line[RULE_LIST_TOLD];
};

struct rule_list_state {
	const struct rule_list *l;
	uint32_t line;
	uint32_t wrong;
	/* A v2fly list: a bare name is meant with all below it. */
	bool v2fly;
	/* A filter of advertisements: what is about no whole name has forms
	 * without number, so none of them is wrong. web: it is for browsers,
	 * where bare words are parts of a URL. */
	bool adblock, web;
	/* A zone file, and within the parentheses of a record of it. */
	bool zone, record;
	bool stop; /* it is no list at all: enough was said */
	struct rule_list_tally foreign[RULES_FOREIGN_MAX];
	struct rule_list_tally masked, tails, elsewhere, defaults, exceptions,
	    regexps, parts, wildcards, addresses, records;
};

void rule_list_count(struct rule_list_state *l, struct rule_list_tally *t);

/* Always returns 0: the list is read to its end, and l->wrong says that it is
 * no good. */
int rule_list_wrong(struct rule_list_state *l, const struct conf_span *at,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The next word up to one of these characters, or the end; cut off *rest. */
struct conf_span rule_list_word(struct conf_span *rest, const char *ends);

/* Add a name; what public lists have among names, as well: addresses and
 * patterns. Returns 0; UK_ENOMEM. */
int rule_list_name(
    struct rule_list_state *l, enum rule_type t, const struct conf_span *v);

/* Of dnsmasq, smartdns, AdGuard Home, unbound, or a response policy zone? */
bool rule_list_is_dns(
    const struct rule_list_state *l, const struct conf_span *s);
/* Take such a line. Returns 0; UK_ENOMEM. */
int rule_list_dns(struct rule_list_state *l, const struct conf_span *s);

/* Take a line that is not empty. Returns 0; UK_ENOMEM. */
int rule_list_take(struct rule_list_state *l, const struct conf_span *s);

#endif
