#include "program.h"

#include <stdio.h>
#include <string.h>

#include "core/suggest.h"
#include "service.h"

#define VERBS_MAX 16

static const struct program_verb *
find(const struct program *p, const char *name)
{
	for (size_t i = 0; i < p->verbs; i++)
		if (strcmp(name, p->verb[i].name) == 0)
			return &p->verb[i];
	return NULL;
}

bool
program_has_verb(const struct program *p, const char *name)
{
	return find(p, name) != NULL;
}

static void
usage(const struct program *p, FILE *to)
{
	fprintf(to, "Usage: %s COMMAND [ARGUMENT...]\n\n", p->name);
	for (size_t i = 0; i < p->verbs; i++)
		fprintf(to, "  %-9s %s\n", p->verb[i].name, p->verb[i].help);
	fprintf(to, "\n%s COMMAND --help tells more; so does %s.\n", p->name,
	    p->manual);
}

static bool
asks_for_help(const char *arg)
{
	return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

static void
refuse(const struct program *p, const char *word)
{
	const char *name[VERBS_MAX], *near;

	UK_ASSERT(p->verbs <= VERBS_MAX);
	for (size_t i = 0; i < p->verbs; i++)
		name[i] = p->verb[i].name;
	near = suggest_word(word, strlen(word), name, p->verbs);
	fprintf(stderr, "%s: error: there is no command \"%s\"%s%s%s\n\n",
	    p->name, word, near != NULL ? "; did you mean " : "",
	    near != NULL ? near : "", near != NULL ? "?" : "");
	usage(p, stderr);
}

int
program_run(const struct program *p, int argc, char **argv)
{
	const struct program_verb *verb;

	if (argc < 2) {
		usage(p, stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("%s %s\n", p->name, p->version);
		return EXIT_OK;
	}
	if (asks_for_help(argv[1])) {
		usage(p, stdout);
		return EXIT_OK;
	}
	verb = find(p, argv[1]);
	if (verb)
		return verb->run(argc - 1, argv + 1);
	refuse(p, argv[1]);
	return EXIT_USAGE;
}
