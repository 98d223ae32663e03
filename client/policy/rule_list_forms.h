/* rule_list_forms: what a line of a list may look like. Part of rule_list.
 * Pure. */
#ifndef UKAI_POLICY_RULE_LIST_FORMS_H
#define UKAI_POLICY_RULE_LIST_FORMS_H

#include "rule_list.h"
#include "rules_words.h"

/* Lines that are told of together. */
struct rule_list_tally {
	uint32_t n, first;
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
	bool stop; /* it is no list at all: enough was said */
	struct rule_list_tally foreign[RULES_FOREIGN_MAX];
	struct rule_list_tally masked, tails, elsewhere, defaults, exceptions,
	    regexps, parts, wildcards, addresses;
};

void rule_list_count(struct rule_list_state *l, struct rule_list_tally *t);

/* Always returns 0: the list is read to its end, and l->wrong says that it is
 * no good. */
int rule_list_wrong(struct rule_list_state *l, const struct conf_span *at,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Take a line that is not empty. Returns 0; UK_ENOMEM. */
int rule_list_take(struct rule_list_state *l, const struct conf_span *s);

#endif
