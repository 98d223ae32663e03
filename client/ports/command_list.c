#include "command_list.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
reserve(struct command_list *c)
{
	size_t cap = c->cap != 0 ? 2 * c->cap : 64;
	struct command *item;

	if (c->n < c->cap)
		return true;
	item = realloc(c->item, cap * sizeof(*item));
	if (item == NULL)
		return false;
	c->item = item;
	c->cap = cap;
	return true;
}

/* arg[0] owns the memory of all. */
void
command_list_add(struct command_list *c, const char *fmt, ...)
{
	struct command cmd = {.n = 0};
	char *text, *save, *word;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0 || !reserve(c)) {
		if (len >= 0)
			free(text);
		c->failed = true;
		return;
	}
	for (word = strtok_r(text, " ", &save); word != NULL;
	     word = strtok_r(NULL, " ", &save)) {
		UK_ASSERT(cmd.n < COMMAND_ARGS_MAX);
		cmd.arg[cmd.n++] = word;
	}
	UK_ASSERT(cmd.n > 0 && cmd.arg[0] == text);
	c->item[c->n++] = cmd;
}

void
command_list_fini(struct command_list *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->item[i].arg[0]);
	free(c->item);
	*c = (struct command_list){.item = NULL};
}
