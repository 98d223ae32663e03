#include "policy.h"

#include "commands.h"
#include "io/program.h"

static const struct program_verb verbs[] = {
    {"check", command_policy_check,
	"all that is wrong or doubtful in a policy"},
    {"explain", command_policy_explain,
	"which line decides about a flow, and why"},
    {"reload", command_policy_reload, "have running tunnels read theirs again"},
    {"import", command_policy_import,
	"make one of another program's configuration"},
    {"export", command_policy_export, "its addresses, for WireGuard apps"},
};

static const struct program policy = {
    .name = "ukai policy",
    .version = UKAI_VERSION,
    .manual = "ukai.rules(5)",
    .verb = verbs,
    .verbs = ARRAY_LEN(verbs),
};

int
command_policy(int argc, char **argv)
{
	return program_run(&policy, argc, argv);
}
