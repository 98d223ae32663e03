/* cmdline: the options and words that a verb takes, as a table, by
 * getopt_long(3); and one form of telling what is wrong with them. -h and
 * --help are in every table by themselves. */
#ifndef UKAI_CMDLINE_H
#define UKAI_CMDLINE_H

#include "core/base.h"

#define CMDLINE_OPTIONS_MAX 16

/* An option fills a member of the verb's own struct, with a text once only; or
 * calls take(), which returns < 0 once it has said what is wrong. */
struct cmdline_option {
	char letter; /* 0: none */
	const char *name;
	enum { CMDLINE_IS_FLAG, CMDLINE_IS_TEXT, CMDLINE_IS_TAKEN } kind;
	size_t offset; /* of a bool, or of a const char * */
	int (*take)(void *to, const char *text);
};

#define CMDLINE_FLAG(letter, name, type, member)                               \
	{letter, name, CMDLINE_IS_FLAG, offsetof(type, member), NULL}
#define CMDLINE_TEXT(letter, name, type, member)                               \
	{letter, name, CMDLINE_IS_TEXT, offsetof(type, member), NULL}
#define CMDLINE_TAKE(letter, name, take)                                       \
	{letter, name, CMDLINE_IS_TAKEN, 0, take}

struct cmdline {
	const char *command; /* "ukai policy check" */
	const char *usage; /* begins with "Usage: ", lines, an empty line */
	const struct cmdline_option *option;
	size_t options;
	/* What is no option; with two numbers and what it is, "a FILE". */
	int least, most;
	const char *words;
	bool in_order; /* options end at the first word */
};

/* What is no option; of argv. */
struct cmdline_words {
	char **word;
	int n;
};

/* Fill *to, whose defaults are there already, and *w. Returns true; false when
 * the command ends here, with *code: help is printed, or what is wrong. */
bool cmdline_take(const struct cmdline *c, void *to, struct cmdline_words *w,
    int argc, char **argv, int *code);

/* Tell what is wrong with a command line, how it is used, and where more is
 * told. Returns EXIT_USAGE. */
int cmdline_refuse(const struct cmdline *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
