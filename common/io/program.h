/* program: a command line of the form PROGRAM VERB [ARGUMENT...]: one table,
 * from which help, version and the choice of a verb follow. */
#ifndef UKAI_PROGRAM_H
#define UKAI_PROGRAM_H

#include "core/base.h"

struct program_verb {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the verb */
	const char *help;                  /* a line */
};

struct program {
	const char *name;
	const char *version;
	const char *manual; /* "ukai(1)" */
	const struct program_verb *verb;
	size_t verbs;
};

bool program_has_verb(const struct program *p, const char *name);

/* main() of the program: returns its exit code. */
int program_run(const struct program *p, int argc, char **argv);

#endif
