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
print(const json_t *status, const struct options *o)
{
	(void)o;
	status_print(status, clock_now().wall_ns / UK_NS_PER_S, stdout);
}

static const struct cmdline cmdline = {
    .command = "ukai-relay status",
    .usage = usage,
    .option = options_ask,
    .options = OPTIONS_ASK,
};

int
command_status(int argc, char **argv)
{
	struct options o;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	return ask_and_print(&o, "status", NULL, print);
}
