#include <stdio.h>
#include <string.h>

#include "commands/commands.h"
#include "core/base.h"
#include "io/service.h"

static const struct {
	const char *verb;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
    {"serve", command_serve, "run the relay"},
    {"check", command_check, "look for mistakes, change nothing"},
    {"status", command_status, "what the running relay does"},
    {"restore", command_restore, "undo what a killed relay left behind"},
};

static void
usage(FILE *to)
{
	fputs("Usage: ukai-relay COMMAND [ARGUMENT...]\n\n", to);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(to, "  %-9s %s\n", commands[i].verb, commands[i].help);
	fputs("\nukai-relay COMMAND --help tells more; so does "
	      "ukai-relay(8).\n",
	    to);
}

int
main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("ukai-relay " UKAI_VERSION);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		usage(stdout);
		return EXIT_OK;
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].verb) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "ukai-relay: error: there is no command \"%s\"\n\n",
	    argv[1]);
	usage(stderr);
	return EXIT_USAGE;
}
