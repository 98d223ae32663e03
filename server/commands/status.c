#include "commands.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/ctl.h"
#include "io/service.h"
#include "options.h"
#include "server/paths.h"
#include "server/status.h"

#define ANSWER_TIMEOUT_MS 5000

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
	size_t n;

	if (o->interface != NULL) {
		snprintf(ifname, 16, "%s", o->interface);
		return EXIT_OK;
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

static int
print(const char *answer, bool json)
{
	json_t *status = json_loads(answer, JSON_DISABLE_EOF_CHECK, NULL);
	const char *error = json_string_value(json_object_get(status, "error"));
	int code = EXIT_OK;

	if (status == NULL || error != NULL) {
		fprintf(stderr, "ukai-relay: error: the relay answers: %s\n",
		    error != NULL ? error : "nothing that makes sense");
		code = EXIT_FAILED;
	} else if (json) {
		json_dumpf(status, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		status_print(status,
		    (int64_t)(clock_now().wall_ns / UK_NS_PER_S), stdout);
	}
	json_decref(status);
	return code;
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
	char ifname[16], path[PATHS_MAX], *answer = NULL;
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
		err =
		    ctl_ask(path, "status\n\n", ANSWER_TIMEOUT_MS, &answer, &d);
	diag_print(&d, "ukai-relay", stderr);
	if (err < 0)
		return exit_code(err);
	code = print(answer, o.json);
	free(answer);
	return code;
}
