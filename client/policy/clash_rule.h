/* clash_rule: one rule of Clash as rules of ours. Pure. Memory: heap. */
#ifndef UKAI_POLICY_CLASH_RULE_H
#define UKAI_POLICY_CLASH_RULE_H

#include "clash_yaml.h"
#include "core/text.h"
#include "rules_build.h"

struct clash_rule {
	const struct clash *c;
	struct rules_build scratch; /* where lines are tried */
	struct text line;

	/* Of the last one. */
	struct diag d; /* why its value is not taken */
	char type[32]; /* as it stands there, cut */
	size_t lines; /* how many of ours it has become */
	bool last; /* nothing behind it is reached */
	bool unknown; /* the file does not say what its target is */
	char target[64]; /* its name then, cut */
	bool fetch; /* its list has to be fetched */
};

/* r need not be initialised. Returns 0; UK_ENOMEM. */
int clash_rule_init(struct clash_rule *r, const struct clash *c);
void clash_rule_fini(struct clash_rule *r);

/* Append what "TYPE,VALUE,TARGET" means. Returns NULL; or why it is left out,
 * and nothing is appended: a text that stays, the same for all of one kind. */
const char *clash_rule_policy(
    struct clash_rule *r, const char *text, struct text *out);
/* The same for an entry of a list: "TYPE,VALUE", a prefix or a domain. */
const char *clash_rule_list(
    struct clash_rule *r, const char *text, struct text *out);

/* Text of others in a comment: what would end the line, or do something to a
 * terminal, becomes '?' (C6). */
void clash_rule_comment(struct text *out, const char *text);

#endif
