#include "commands/commands.h"
#include "io/service.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *verb;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
    {"up", command_up, "start the tunnel of a configuration file"},
    {"down", command_down, "end it and restore the host"},
    {"status", command_status, "what is up, and how it does"},
    {"restore", command_restore, "undo what a killed tunnel has left"},
    {"device", command_device, "a bare WireGuard interface, for wg and ip"},
    {"genkey", command_genkey, "make a private key"},
    {"pubkey", command_pubkey, "the public key of a private key"},
};

static void
usage(FILE *to)
{
	fputs("Usage: ukai COMMAND [ARGUMENT...]\n\n", to);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(to, "  %-9s %s\n", commands[i].verb, commands[i].help);
	fputs("\nukai COMMAND --help tells more; so does ukai(1).\n", to);
}

/* wg-quick(8) runs the program that this variable names, with the interface's
 * name as its only argument. */
static bool
run_by_wg_quick(int argc, char **argv)
{
	const char *program = getenv("WG_QUICK_USERSPACE_IMPLEMENTATION");

	return argc == 2 && program && strcmp(program, argv[0]) == 0;
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
	if (run_by_wg_quick(argc, argv))
		return command_device(argc, argv);
	fprintf(stderr, "ukai: error: there is no command \"%s\"\n\n", argv[1]);
	usage(stderr);
	return EXIT_USAGE;
}
