#include "commands/commands.h"
#include "io/program.h"

static const struct program_verb verbs[] = {
    {"serve", command_serve, "run the relay"},
    {"check", command_check, "look for mistakes, change nothing"},
    {"status", command_status, "what the running relay does"},
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
