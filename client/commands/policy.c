#include "policy.h"

#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "core/suggest.h"
#include "io/program.h"
#include "io/service.h"

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
	const char *names[ARRAY_LEN(verbs)];
	const char *near;

	if (argc < 2 || argv[1][0] == '-' || program_has_verb(&policy, argv[1]))
		return program_run(&policy, argc, argv);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		names[i] = verbs[i].name;
	near = suggest_word(argv[1], strlen(argv[1]), names, ARRAY_LEN(names));
	if (near == NULL)
		return program_run(&policy, argc, argv);
	fprintf(stderr,
	    "ukai policy: error: there is no command \"%s\"; did you mean "
	    "%s?\n",
	    argv[1], near);
	return EXIT_USAGE;
}
