/* slots: what is counted and what has sets of its own in the kernel: a rule,
 * or, where a policy has more than SLOTS_MANY, a run of rules that follow each
 * other and differ in nothing but their entries: same target, same conditions,
 * types that go into the same sets. A slot keeps its number as long as its text
 * stays, over reloads, since connections carry it (mark.h). Pure. Memory:
 * heap. Threads: built once, then only read. */
#ifndef UKAI_POLICY_SLOTS_H
#define UKAI_POLICY_SLOTS_H

#include "rules.h"

#define SLOTS_MANY 1000
#define SLOTS_MAX 60000 /* numbers: 1 to this */
#define SLOT_RUN_SOFT 0xfffd /* `ukai run --fallback` */
#define SLOT_RUN 0xfffe

struct slot {
	uint32_t first, n; /* rules */
	uint16_t number;
	uint8_t target; /* enum rule_target */
	bool always; /* without conditions */
	uint64_t hash[2]; /* of the text of its rules */
};

struct slots {
	struct slot *item; /* in order of the rules */
	size_t n;
	uint32_t *of_rule; /* index into item, for each rule */
	/* Index into item plus one, for each number up to the highest; 0: no
	 * such slot. */
	uint32_t *of_number;
	uint16_t highest;
	uint16_t last; /* number that was given last, also to one now gone */
};

/* before: the slots of the policy that this one replaces; NULL: none. A slot
 * that is there keeps its number, others get numbers that before does not
 * have. Returns 0; UK_ELIMIT: more than SLOTS_MAX (or no number is free);
 * UK_ENOMEM. */
int slots_new(
    struct slots **out, const struct rules *r, const struct slots *before);
void slots_free(struct slots *s); /* NULL: no-op */

/* NULL: no such number. */
const struct slot *slots_numbered(const struct slots *s, uint16_t number);

#endif
