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

int
command_revoke(int argc, char **argv)
{
	static const struct option long_options[] = {
	    {"json", no_argument, NULL, 'j'},
	    {"interface", required_argument, NULL, 'i'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	static const struct options_form form = {
	    usage, "ji:h", long_options, 1, 1};
	json_t *answer;
	struct options o;
	int code;

	if (options_take(&o, argc, argv, &form, &code))
		return code;
	code = ask_relay(&answer, o.interface, "revoke",
	    ask_strings("name", o.argument[0], NULL));
	if (code != EXIT_OK)
		return code;
	if (o.json)
		ask_print(answer);
	else
		printf("%s is revoked\n", o.argument[0]);
	json_decref(answer);
	return EXIT_OK;
}
