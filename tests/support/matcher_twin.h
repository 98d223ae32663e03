/* matcher_twin: what a policy means, as plainly as it can be said: every rule
 * in its turn, every entry in its turn. The peer of client/policy/matcher. */
#ifndef UKAI_TEST_MATCHER_TWIN_H
#define UKAI_TEST_MATCHER_TWIN_H

#include "client/policy/matcher.h"

struct match matcher_twin_find(const struct rules *r, const struct flow *f);

/* As matcher_names(). */
size_t matcher_twin_names(
    const struct rules *r, const char *name, uint32_t *rule, size_t cap);

#endif
