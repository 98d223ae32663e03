#include "commands.h"

#include <stdio.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/service.h"
#include "options.h"
#include "server/paths.h"
#include "server/status.h"

static const char usage[] =
    "Usage: ukai-relay status [--json] [--interface NAME]\n"
    "\n"
    "What the running relay does; exit 3 when there is none.\n"
    "\n"
    "  -j, --json             for programs\n"
    "  -i, --interface NAME   which relay, when several run\n";

/* The interface whose relay is meant. Returns an exit code. */
static int
choose(char ifname[16], const struct options *o)
{
	char found[2][16];
	struct diag d;
	size_t n;

	if (o->interface != NULL) {
		snprintf(ifname, 16, "%s", o->interface);
		return EXIT_OK;
	}
	diag_init(&d, NULL);
	if (paths_denied(PATHS_SOCKET, &d)) {
		diag_print(&d, "ukai-relay", stderr);
		return EXIT_PERMISSION;
	}
	n = paths_list(PATHS_SOCKET, found, ARRAY_LEN(found));
	if (n == 0) {
		fputs("ukai-relay: error: no relay is running\n", stderr);
		return EXIT_NOT_RUNNING;
	}
	if (n > 1) {
		fprintf(stderr,
		    "ukai-relay: error: %zu relays are running; choose one "
		    "with --interface NAME (such as %s)\n",
		    n, found[0]);
		return EXIT_USAGE;
	}
	snprintf(ifname, 16, "%s", found[0]);
	return EXIT_OK;
}

static int
exit_code(int err)
{
	if (err == UK_ENOENT)
		return EXIT_NOT_RUNNING;
	return err == UK_EPERM ? EXIT_PERMISSION : EXIT_FAILED;
}

static void
print(const json_t *status, bool json)
{
	if (json) {
		json_dumpf(status, stdout, JSON_INDENT(2));
		putchar('\n');
		return;
	}
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
	char ifname[16], path[PATHS_MAX];
	json_t *status = NULL;
	struct options o;
	struct diag d;
	int code, err;

	if (options_parse(&o, argc, argv, "ji:h", long_options, usage, &code))
		return code;
	code = choose(ifname, &o);
	if (code != EXIT_OK)
		return code;
	diag_init(&d, NULL);
	err = paths_make(path, PATHS_SOCKET, ifname, &d);
	if (err == 0)
		err = tunnel_status_ask(&status, path, &d);
	diag_print(&d, "ukai-relay", stderr);
	if (err < 0)
		return exit_code(err);
	print(status, o.json);
	json_decref(status);
	return EXIT_OK;
}
