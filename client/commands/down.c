#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"
#include "client/paths.h"

#define STOP_TIMEOUT_MS 15000

static const char usage[] =
    "Usage: ukai down [NAME]\n"
    "\n"
    "End the tunnel NAME, or the only one that is up, and wait until the host\n"
    "is restored.\n";

static bool
has_left(const struct client_paths *paths)
{
	return access(paths->journal, F_OK) == 0 ||
	       access(paths->guard, F_OK) == 0;
}

static int
stop(const char *name)
{
	struct client_paths paths;
	char *answer = NULL;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = client_paths(&paths, name, &d);
	if (err == 0)
		err = ctl_ask(
		    paths.control, "stop\n", STOP_TIMEOUT_MS, &answer, &d);
	free(answer);
	if (err == UK_ENOENT) {
		fprintf(stderr, "ukai: error: %s is not running\n", name);
		if (!command_tell_guarded(name) && has_left(&paths))
			fprintf(stderr,
			    "ukai: but it has left something: ukai restore %s "
			    "undoes that\n",
			    name);
		return EXIT_NOT_RUNNING;
	}
	if (err < 0) {
		diag_print(&d, "ukai", stderr);
		return service_exit_code(err);
	}
	if (has_left(&paths)) {
		fprintf(stderr,
		    "ukai: error: %s has ended, but not all of the host is as "
		    "it was: ukai restore %s says why\n",
		    name, name);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

static int
stop_only_one(void)
{
	char name[CLIENT_NAME_MAX];
	int code = command_only_running(name, "end");

	return code == EXIT_OK ? stop(name) : code;
}

int
command_down(int argc, char **argv)
{
	static const struct cmdline cmdline = {
	    .command = "ukai down", .usage = usage, COMMAND_NAME};
	const char *name;
	int code;

	if (!command_take_name(&cmdline, NULL, &name, argc, argv, &code))
		return code;
	if (!command_is_root("down"))
		return EXIT_PERMISSION;
	return name != NULL ? stop(name) : stop_only_one();
}
