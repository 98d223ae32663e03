#include "commands/commands.h"
#include "io/program.h"

static const struct program_verb verbs[] = {
    {"init", command_init, "set up a relay on this host"},
    {"serve", command_serve, "run the relay"},
    {"check", command_check, "look for mistakes, change nothing"},
    {"status", command_status, "what the running relay does"},
    {"invite", command_invite, "let a PC or a phone join"},
    {"clients", command_clients, "who may, and who does"},
    {"revoke", command_revoke, "end a client"},
    {"address", command_address, "shared, exclusive or routed"},
    {"limit", command_limit, "how much a client may use"},
    {"forward", command_forward, "publish a client's ports"},
    {"registry", command_registry, "back the clients up, and restore them"},
    {"restore", command_restore, "undo what a killed relay left behind"},
};

static const struct program relay = {
    .name = "ukai-relay",
    .version = UKAI_VERSION,
    .manual = "ukai-relay(8)",
    .verb = verbs,
    .verbs = ARRAY_LEN(verbs),
};

int
main(int argc, char **argv)
{
	return program_run(&relay, argc, argv);
}
