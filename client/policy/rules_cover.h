/* rules_cover: which rules take all that a later one could. A rule with
 * conditions counts for later ones with equal conditions only. Look-ups cost
 * about the same however many entries there are. Pure. Memory: heap. */
#ifndef UKAI_POLICY_RULES_COVER_H
#define UKAI_POLICY_RULES_COVER_H

#include "rules.h"

struct rules_cover;

/* Where a rule was found that takes all. */
struct rules_covered {
	uint32_t rule;
	uint32_t entry; /* of it; UINT32_MAX: of more than one, or none */
	bool equal; /* that entry is equal, not only wider */
};

/* Empty. Returns 0; UK_ENOMEM. */
int rules_cover_new(struct rules_cover **out, const struct rules *r);
void rules_cover_free(struct rules_cover *c); /* NULL: no-op */

/* A rule's entries hold from now on: rules in their order. */
void rules_cover_add(struct rules_cover *c, uint32_t rule);

/* Does some rule that was added take all flows that this entry holds for, under
 * this condition (of r->condition)? */
bool rules_cover_entry(const struct rules_cover *c, const struct rule_entry *e,
    uint32_t condition, struct rules_covered *by);

/* The same for all flows that a rule's conditions leave, whatever its entries
 * are. */
bool rules_cover_conditions(const struct rules_cover *c,
    const struct rule *rule, struct rules_covered *by);

#endif
