#include "commands.h"

#include <stdio.h>

#include "ask.h"
#include "io/service.h"
#include "options.h"

static const char usage[] =
    "Usage: ukai-relay revoke NAME [--interface NAME]\n"
    "\n"
    "A client, or one that was invited, is gone: its sessions and connections\n"
    "end at once, its token is void, its address and ports are free.\n"
    "\n"
    "  -j, --json             for programs\n"
    "  -i, --interface NAME   which relay, when several run\n";

static void
print(const json_t *answer, const struct options *o)
{
	(void)answer;
	printf("%s is revoked\n", o->argument[0]);
}

static const struct cmdline cmdline = {
    .command = "ukai-relay revoke",
    .usage = usage,
    .option = options_ask,
    .options = OPTIONS_ASK,
    .least = 1,
    .most = 1,
    .words = "a client's NAME",
};

int
command_revoke(int argc, char **argv)
{
	struct options o;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	return ask_and_print(
	    &o, "revoke", ask_strings("name", o.argument[0], NULL), print);
}
