/* command_list: commands with their arguments, to be shown or run by somebody
 * else. Heap. */
#ifndef UKAI_PORTS_COMMAND_LIST_H
#define UKAI_PORTS_COMMAND_LIST_H

#include "core/base.h"

#define COMMAND_ARGS_MAX 12

struct command {
	unsigned n;
	char *arg[COMMAND_ARGS_MAX];
};

/* Zero-initialised means empty. */
struct command_list {
	struct command *item;
	size_t n, cap;
	bool failed; /* out of memory: something is missing */
};

/* One command: its arguments are separated by single blanks. */
void command_list_add(struct command_list *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void command_list_fini(struct command_list *c);

#endif
