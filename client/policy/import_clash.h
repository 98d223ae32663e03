/* import_clash: a configuration of Clash or mihomo as a policy, or a file of
 * its rule providers as a list for RULE-SET. What cannot be said as rules of
 * ours stands in the output as a comment, at its place. Pure. */
#ifndef UKAI_POLICY_IMPORT_CLASH_H
#define UKAI_POLICY_IMPORT_CLASH_H

#include "core/diag.h"
#include "core/text.h"

/* Appended to out; name is what its first line says it comes from. d has a
 * warning for each kind of what was left out or guessed, at the line of the
 * first. Returns 0: *taken is how many rules or entries were had; UK_EINVAL,
 * UK_EMSGSIZE, UK_ELIMIT, told to d; UK_ENOMEM. */
int import_clash(struct text *out, size_t *taken, const char *name,
    const char *text, size_t len, struct diag *d);

#endif
