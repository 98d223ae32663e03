/* explain_reason: why a rule before the one that decides does not hold, and
 * what would change that. Pure. */
#ifndef UKAI_POLICY_EXPLAIN_REASON_H
#define UKAI_POLICY_EXPLAIN_REASON_H

#include "core/text.h"
#include "matcher.h"

/* "192.168.1.7 is not in 10.0.0.0/8". The rule does not hold for the flow. */
void explain_reason(struct text *t, const struct rules *r,
    const struct matcher *m, uint32_t rule, const struct flow *f);

/* Would the rule decide if what it asks for, and is not known of the flow, were
 * as it says? Then what to give, for example: "--process duplicati --uid 0". */
bool explain_would(struct text *with, const struct rules *r,
    const struct matcher *m, uint32_t rule, const struct flow *f);

#endif
