#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"
#include "client/paths.h"

#define STOP_TIMEOUT_MS 15000
#define ASK_TIMEOUT_MS 2000

static const char usage[] =
    "Usage: ukai down [NAME]\n"
    "\n"
    "End the tunnel NAME, or the only one that is up, and wait until the host\n"
    "is restored.\n";

/* Somebody listens there, even if slowly. */
static bool
is_running(const char *name)
{
	struct client_paths paths;
	char *answer = NULL;
	int err;

	if (client_paths(&paths, name, NULL) < 0)
		return false;
	err = ctl_ask(paths.control, "status\n", ASK_TIMEOUT_MS, &answer, NULL);
	if (err == 0)
		free(answer);
	return err == 0 || err == UK_EAGAIN;
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
		return EXIT_NOT_RUNNING;
	}
	if (err < 0) {
		diag_print(&d, "ukai", stderr);
		return service_exit_code(err);
	}
	if (access(paths.journal, F_OK) == 0) {
		fprintf(stderr,
		    "ukai: error: %s has ended, but not all of the host is as "
		    "it was: ukai restore %s says why\n",
		    name, name);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

static void
print_choice(const struct client_names *l)
{
	fputs("ukai: error: several tunnels are up; name the one to end:",
	    stderr);
	for (size_t i = 0; i < l->n; i++)
		fprintf(stderr, " %s", l->name[i]);
	fputc('\n', stderr);
}

static int
stop_only_one(void)
{
	struct client_names l;
	struct diag d;
	size_t running = 0;
	int code, err;

	diag_init(&d, NULL);
	err = client_names_of_sockets(&l, &d);
	if (err < 0) {
		diag_print(&d, "ukai", stderr);
		return service_exit_code(err);
	}
	for (size_t i = 0; i < l.n; i++)
		if (is_running(l.name[i]))
			memmove(
			    l.name[running++], l.name[i], sizeof(l.name[i]));
	l.n = running;
	if (running == 1) {
		code = stop(l.name[0]);
	} else if (running == 0) {
		fputs("ukai: error: no tunnel is up\n", stderr);
		code = EXIT_NOT_RUNNING;
	} else {
		print_choice(&l);
		code = EXIT_USAGE;
	}
	client_names_fini(&l);
	return code;
}

int
command_down(int argc, char **argv)
{
	int code;

	if (!command_takes_name(argc, argv, usage, &code))
		return code;
	if (!command_is_root("down"))
		return EXIT_PERMISSION;
	return argc == 2 ? stop(argv[1]) : stop_only_one();
}
