#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"
#include "client/policy/policy_others.h"

#define ASK_TIMEOUT_MS 2000

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

static void
print_choice(const struct client_names *l, const char *verb)
{
	fprintf(stderr,
	    "ukai: error: several tunnels are up; name the one to %s:", verb);
	for (size_t i = 0; i < l->n; i++)
		fprintf(stderr, " %s", l->name[i]);
	fputc('\n', stderr);
}

bool
command_tell_guarded(const char *name)
{
	struct client_names l;
	bool any = false;

	if (client_names_of_journals(&l, NULL) < 0)
		return false;
	for (size_t i = 0; i < l.n; i++) {
		const char *one = l.name[i];

		if ((name != NULL && strcmp(name, one) != 0) ||
		    !policy_others_guarded(one))
			continue;
		any = true;
		fprintf(stderr,
		    "ukai: %s is not up, and what its policy says must not "
		    "leave outside the tunnel is refused until it is: where "
		    "it was killed, start it again, or ukai restore %s ends "
		    "that\n",
		    one, one);
	}
	client_names_fini(&l);
	return any;
}

int
command_only_running(char name[static CLIENT_NAME_MAX], const char *verb)
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
		memcpy(name, l.name[0], CLIENT_NAME_MAX);
		code = EXIT_OK;
	} else if (running == 0) {
		fputs("ukai: error: no tunnel is up\n", stderr);
		command_tell_guarded(NULL);
		code = EXIT_NOT_RUNNING;
	} else {
		print_choice(&l, verb);
		code = EXIT_USAGE;
	}
	client_names_fini(&l);
	return code;
}
