/* rules_build: struct rules while it is read: arrays that double, so that a
 * list of a million lines costs no allocation a line. Memory: heap. */
#ifndef UKAI_POLICY_RULES_BUILD_H
#define UKAI_POLICY_RULES_BUILD_H

#include "rules.h"

struct rules_build {
	struct rules *r;
	size_t rule_cap, entry_cap, condition_cap, names_cap, file_cap;
	/* Equal conditions are kept once: index + 1, by their hash; 0: free. */
	uint32_t *condition_slot;
	size_t condition_slots;
};

/* r gets what stands at every index 0, and the text, which is malloc'ed and
 * taken in each case. Returns 0; UK_ENOMEM: nothing is left to free. */
int rules_build_init(
    struct rules_build *b, const char *name, char *text, size_t len);
/* What was built, in as little memory as it needs; b is empty afterwards. */
struct rules *rules_build_take(struct rules_build *b);
void rules_build_fini(struct rules_build *b); /* also after take */

/* These return 0; UK_ENOMEM: nothing is changed. */
int rules_build_rule(struct rules_build *b, const struct rule *rule);
int rules_build_entry(struct rules_build *b, const struct rule_entry *e);
/* s: zero-terminated, len bytes before that. */
int rules_build_name(
    struct rules_build *b, uint32_t *at, const char *s, size_t len);
/* process is its name, or NULL; c->process is not looked at. */
int rules_build_condition(struct rules_build *b, uint32_t *at,
    const struct rule_conditions *c, const char *process);
int rules_build_file(struct rules_build *b, uint32_t *at, const char *path);

/* rules_parse() of a text that is malloc'ed and taken in each case. */
int rules_parse_taken(struct rules **out, const char *name, char *text,
    size_t len, const struct rules_reader *reader, enum rules_os os,
    struct diag *d);

#endif
