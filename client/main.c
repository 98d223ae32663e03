#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "io/program.h"

static const struct program_verb verbs[] = {
    {"join", command_join, "become a client of a relay, with its token"},
    {"up", command_up, "start the tunnel of a configuration file"},
    {"down", command_down, "end it and restore the host"},
    {"status", command_status, "what is up, and how it does"},
    {"restore", command_restore, "undo what a killed tunnel has left"},
    {"policy", command_policy, "check, explain, reload, convert a policy"},
    {"run", command_run, "run a program through the tunnel"},
    {"map-e", command_map_e, "which MAP-E line this is, and its ports"},
    {"ports", command_ports, "the system's ephemeral ports, and the line's"},
    {"device", command_device, "a bare WireGuard interface, for wg and ip"},
    {"genkey", command_genkey, "make a private key"},
    {"pubkey", command_pubkey, "the public key of a private key"},
};

static const struct program ukai = {
    .name = "ukai",
    .version = UKAI_VERSION,
    .manual = "ukai(1)",
    .verb = verbs,
    .verbs = ARRAY_LEN(verbs),
};

/* wg-quick(8) runs the program that this variable names, with the interface's
 * name as its only argument. */
static bool
run_by_wg_quick(int argc, char **argv)
{
	const char *program = getenv("WG_QUICK_USERSPACE_IMPLEMENTATION");

	return argc == 2 && program && strcmp(program, argv[0]) == 0 &&
	       argv[1][0] != '-' && !program_has_verb(&ukai, argv[1]);
}

int
main(int argc, char **argv)
{
	if (run_by_wg_quick(argc, argv))
		return command_device(argc, argv);
	return program_run(&ukai, argc, argv);
}
