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

int
command_revoke(int argc, char **argv)
{
	static const struct options_form form = {
	    usage, OPTIONS_ASK, options_ask, 1, 1};
	struct options o;
	int code;

	if (options_take(&o, argc, argv, &form, &code))
		return code;
	return ask_and_print(
	    &o, "revoke", ask_strings("name", o.argument[0], NULL), print);
}
