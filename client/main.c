#include "commands/commands.h"
#include "io/service.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *verb;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
    {"device", command_device, "a bare WireGuard interface, for wg and ip"},
};

static void
usage(FILE *to)
{
	fputs("Usage: ukai COMMAND [ARGUMENT...]\n\n", to);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(to, "  %-9s %s\n", commands[i].verb, commands[i].help);
	fputs("\nukai COMMAND --help tells more; so does ukai(1).\n", to);
}

int
main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("ukai " UKAI_VERSION);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		usage(stdout);
		return EXIT_OK;
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].verb) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "ukai: error: there is no command \"%s\"\n\n", argv[1]);
	usage(stderr);
	return EXIT_USAGE;
}
