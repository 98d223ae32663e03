#include "cmdline.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/suggest.h"
#include "service.h"

/* What getopt_long() returns for row i; beyond all letters. */
#define ROW(i) (256 + (int)(i))
#define HELP ROW(CMDLINE_OPTIONS_MAX)

int
cmdline_refuse(const struct cmdline *c, const char *fmt, ...)
{
	const char *end = strstr(c->usage, "\n\n");
	va_list ap;

	fprintf(stderr, "%s: error: ", c->command);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n\n%.*s\n%s --help tells more.\n",
	    (int)(end != NULL ? (size_t)(end - c->usage) : strlen(c->usage)),
	    c->usage, c->command);
	return EXIT_USAGE;
}

/* ---- what is wrong ---- */

/* "--name", without "=..." */
static void
refuse_unknown(const struct cmdline *c, const char *text)
{
	const char *name[CMDLINE_OPTIONS_MAX], *near = NULL;
	int len = (int)strcspn(text, "=");

	for (size_t i = 0; i < c->options; i++)
		name[i] = c->option[i].name;
	if (len > 2)
		near =
		    suggest_word(text + 2, (size_t)len - 2, name, c->options);
	cmdline_refuse(c, "there is no option %.*s%s%s%s", len, text,
	    near != NULL ? "; did you mean --" : "", near != NULL ? near : "",
	    near != NULL ? "?" : "");
}

/* After getopt_long() has returned '?': optopt is the letter, or what the row
 * would have returned, or 0. */
static void
refuse_option(const struct cmdline *c, const char *text)
{
	if (optopt >= ROW(0))
		cmdline_refuse(
		    c, "%.*s takes no argument", (int)strcspn(text, "="), text);
	else if (optopt != 0)
		cmdline_refuse(c, "there is no option -%c", optopt);
	else
		refuse_unknown(c, text);
}

static void
refuse_words(const struct cmdline *c, const struct cmdline_words *w)
{
	const char *words = c->words != NULL ? c->words : "no argument";

	if (w->n > 0 && w->n > c->most)
		cmdline_refuse(c, "takes %s; \"%s\" is one too many", words,
		    w->word[c->most]);
	else
		cmdline_refuse(c, "takes %s", words);
}

/* ---- the table ---- */

/* In getopt's forms; short_form has room for it. */
static void
write_forms(const struct cmdline *c, char *short_form,
    struct option long_form[static CMDLINE_OPTIONS_MAX + 2])
{
	*short_form++ = c->in_order ? '+' : ':';
	if (c->in_order)
		*short_form++ = ':';
	for (size_t i = 0; i < c->options; i++) {
		const struct cmdline_option *o = &c->option[i];
		bool has_text = o->kind != CMDLINE_IS_FLAG;

		long_form[i] = (struct option){o->name,
		    has_text ? required_argument : no_argument, NULL, ROW(i)};
		if (o->letter != '\0')
			*short_form++ = o->letter;
		if (o->letter != '\0' && has_text)
			*short_form++ = ':';
	}
	long_form[c->options] =
	    (struct option){"help", no_argument, NULL, HELP};
	long_form[c->options + 1] = (struct option){.name = NULL};
	memcpy(short_form, "h", 2);
}

/* What getopt_long() has returned; NULL: none of the table. */
static const struct cmdline_option *
find(const struct cmdline *c, int got)
{
	for (size_t i = 0; i < c->options; i++)
		if (got == ROW(i) || got == c->option[i].letter)
			return &c->option[i];
	return NULL;
}

/* given: bits of the rows that were there before. */
static bool
fill(const struct cmdline *c, const struct cmdline_option *o, void *to,
    unsigned *given)
{
	unsigned bit = 1u << (o - c->option);
	char *member = (char *)to + o->offset;

	if (o->kind == CMDLINE_IS_TAKEN)
		return o->take(to, optarg) >= 0;
	if (o->kind == CMDLINE_IS_FLAG)
		*(bool *)(void *)member = true;
	else if (*given & bit)
		return cmdline_refuse(c, "--%s is there twice", o->name) == 0;
	else
		*(const char **)(void *)member = optarg;
	*given |= bit;
	return true;
}

bool
cmdline_take(const struct cmdline *c, void *to, struct cmdline_words *w,
    int argc, char **argv, int *code)
{
	struct option long_form[CMDLINE_OPTIONS_MAX + 2];
	char short_form[2 * CMDLINE_OPTIONS_MAX + 4];
	const struct cmdline_option *o;
	unsigned given = 0;
	int got;

	UK_ASSERT(c->options <= CMDLINE_OPTIONS_MAX);
	write_forms(c, short_form, long_form);
	*code = EXIT_USAGE;
	opterr = 0;
	optind = 0; /* begin anew, whatever was parsed before */
	while ((got = getopt_long(argc, argv, short_form, long_form, NULL)) !=
	       -1) {
		o = find(c, got);
		if (got == 'h' || got == HELP) {
			fputs(c->usage, stdout);
			*code = EXIT_OK;
			return false;
		}
		if (got == ':')
			cmdline_refuse(
			    c, "%s lacks its argument", argv[optind - 1]);
		else if (o == NULL)
			refuse_option(c, argv[optind - 1]);
		if (o == NULL || !fill(c, o, to, &given))
			return false;
	}
	*w = (struct cmdline_words){argv + optind, argc - optind};
	if (w->n >= c->least && w->n <= c->most)
		return true;
	refuse_words(c, w);
	return false;
}
