#include "commands.h"

#include <stdio.h>

#include "ask.h"
#include "io/clock.h"
#include "io/service.h"
#include "options.h"
#include "server/status.h"

static const char usage[] =
    "Usage: ukai-relay status [--json] [--interface NAME]\n"
    "\n"
    "What the running relay does; exit 3 when there is none.\n"
    "\n"
    "  -j, --json             for programs\n"
    "  -i, --interface NAME   which relay, when several run\n";

static void
print(const json_t *status, bool json)
{
	if (json)
		ask_print(status);
	else
		status_print(status, clock_now().wall_ns / UK_NS_PER_S, stdout);
}

int
command_status(int argc, char **argv)
{
	static const struct option long_options[] = {
	    {"json", no_argument, NULL, 'j'},
	    {"interface", required_argument, NULL, 'i'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	json_t *status = NULL;
	struct options o;
	int code;

	if (options_parse(&o, argc, argv, "ji:h", long_options, usage, &code))
		return code;
	code = ask_relay(&status, o.interface, "status", NULL);
	if (code != EXIT_OK)
		return code;
	print(status, o.json);
	json_decref(status);
	return EXIT_OK;
}
