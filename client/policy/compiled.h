/* compiled: a policy's file, read and made ready to be looked up and to be
 * brought into the kernel. Memory: heap. Threads: built once, in whichever
 * thread, then only read. */
#ifndef UKAI_POLICY_COMPILED_H
#define UKAI_POLICY_COMPILED_H

#include "matcher.h"
#include "program_classes.h"
#include "slots.h"

struct compiled {
	struct rules *rules;
	struct matcher *matcher;
	struct slots *slots;
	/* Names of programs that the rules ask for, each once; borrowed. */
	struct program_name *program;
	size_t programs;
};

/* before: what it is to replace; NULL: nothing. Returns 0 (d may have
 * warnings, about path, which d borrows); UK_EINVAL with every mistake in d;
 * the errors of rules_load(); UK_ELIMIT, told to d. */
int compiled_load(struct compiled **out, const char *path,
    const struct compiled *before, struct diag *d);
/* A policy that decides nothing: for `ukai run` where there is none. Returns 0;
 * UK_ENOMEM. */
int compiled_none(struct compiled **out, struct diag *d);
void compiled_free(struct compiled *c); /* NULL: no-op */

/* Has it a rule by name? */
bool compiled_has_names(const struct compiled *c);

#endif
