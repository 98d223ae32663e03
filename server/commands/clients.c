#include "commands.h"

#include <stdio.h>

#include "ask.h"
#include "io/clock.h"
#include "io/service.h"
#include "options.h"
#include "server/status.h"

static const char usage[] =
    "Usage: ukai-relay clients [--json] [--interface NAME]\n"
    "\n"
    "Every client, a line each, and those that are invited.\n"
    "\n"
    "  -j, --json             for programs, with more\n"
    "  -i, --interface NAME   which relay, when several run\n";

static const struct cmdline cmdline = {
    .command = "ukai-relay clients",
    .usage = usage,
    .option = options_ask,
    .options = OPTIONS_ASK,
};

int
command_clients(int argc, char **argv)
{
	json_t *status, *clients;
	struct options o;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	code = ask_relay(&status, o.interface, "status", NULL);
	if (code != EXIT_OK)
		return code;
	if (o.json) {
		clients = status_clients(status);
		ask_print(clients);
		json_decref(clients);
	} else {
		status_print_clients(
		    status, clock_now().wall_ns / UK_NS_PER_S, stdout);
	}
	json_decref(status);
	return EXIT_OK;
}
