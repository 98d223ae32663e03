#include "commands.h"

#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"

#define ASK_TIMEOUT_MS 5000
/* A handshake, also over a bad line. */
#define LIVE_MS 2000
#define LOOK_EVERY_MS 100
/* As shells have it. */
#define EXIT_CANNOT_RUN 126
#define EXIT_NO_PROGRAM 127

static const char usage[] =
    "Usage: ukai run [-n NAME] [--fallback] [--user USER] -- PROGRAM [ARG...]\n"
    "\n"
    "Run PROGRAM, and what it starts, through the tunnel NAME, or the only one\n"
    "that is up, whatever its rules say. Nothing of it goes past the tunnel:\n"
    "while the tunnel cannot, its connections are refused.\n"
    "\n"
    "  -n, --name NAME   the tunnel\n"
    "  --fallback        while the tunnel cannot, take the line instead\n"
    "  --user USER       as this user, who may otherwise not run ukai\n";

struct options {
	const char *name, *user; /* NULL: none given */
	bool fallback;
	char **program; /* and its arguments, NULL after the last */
};

static const struct cmdline_option options[] = {
    CMDLINE_TEXT('n', "name", struct options, name),
    CMDLINE_FLAG(0, "fallback", struct options, fallback),
    CMDLINE_TEXT(0, "user", struct options, user),
};

static const struct cmdline cmdline = {
    .command = "ukai run",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = INT_MAX,
    .words = "a PROGRAM",
    .in_order = true,
};

static bool
parse(struct options *o, int argc, char **argv, int *code)
{
	struct cmdline_words w;

	*o = (struct options){.name = NULL};
	if (!cmdline_take(&cmdline, o, &w, argc, argv, code))
		return false;
	o->program = w.word;
	return o->name == NULL || command_is_name(&cmdline, o->name, code);
}

/* The tunnel's answer: {"error": null, or why not, "live"}. */
static int
judge(const char *answer, const char *name, bool *live)
{
	json_t *o = json_loads(answer, 0, NULL);
	const json_t *error = json_object_get(o, "error");
	int code = EXIT_OK;

	if (json_is_string(error)) {
		fprintf(stderr, "ukai: error: %s: %s\n", name,
		    json_string_value(error));
		code = EXIT_FAILED;
	} else if (!json_is_null(error)) {
		fprintf(stderr,
		    "ukai: error: %s gives no answer; it is of another "
		    "version, or about to end\n",
		    name);
		code = EXIT_FAILED;
	}
	*live = json_is_true(json_object_get(o, "live"));
	json_decref(o);
	return code;
}

/* Have the tunnel take this process. Returns an exit code. */
static int
enter(const char *name, bool fallback, bool *live)
{
	struct client_paths paths;
	char *answer = NULL;
	struct diag d;
	int err, code;

	diag_init(&d, NULL);
	err = client_paths(&paths, name, &d);
	if (err == 0)
		err = ctl_ask(paths.control,
		    fallback ? "run-fallback\n" : "run\n", ASK_TIMEOUT_MS,
		    &answer, &d);
	if (err == UK_ENOENT) {
		fprintf(stderr, "ukai: error: %s is not running\n", name);
		command_tell_guarded(name);
		return EXIT_NOT_RUNNING;
	}
	if (err < 0) {
		diag_print(&d, "ukai", stderr);
		return service_exit_code(err);
	}
	code = judge(answer, name, live);
	free(answer);
	return code;
}

/* Whether the relay answers is not known in a tunnel's first moment, and the
 * program's first connections would be refused for that. To enter again is no
 * change. */
static int
enter_live(const char *name, bool fallback)
{
	bool live = false;
	int code = enter(name, fallback, &live);

	for (int ms = 0; code == EXIT_OK && !live && ms < LIVE_MS;
	     ms += LOOK_EVERY_MS) {
		poll(NULL, 0, LOOK_EVERY_MS);
		code = enter(name, fallback, &live);
	}
	if (code == EXIT_OK && !live)
		fprintf(stderr,
		    "ukai: warning: the relay of %s does not answer: until it "
		    "does, connections %s\n",
		    name, fallback ? "take the line" : "are refused");
	return code;
}

/* On failure errno says why; some of it may have been done. */
static int
become(const struct passwd *pw)
{
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 ||
	    setuid(pw->pw_uid) < 0)
		return -1;
	if (setenv("HOME", pw->pw_dir, 1) < 0 ||
	    setenv("USER", pw->pw_name, 1) < 0 ||
	    setenv("LOGNAME", pw->pw_name, 1) < 0 ||
	    setenv("SHELL", pw->pw_shell, 1) < 0)
		return -1;
	return 0;
}

/* Returns only when it could not. */
static int
execute(char **program, const struct passwd *pw)
{
	int e;

	if (pw != NULL && become(pw) < 0) {
		fprintf(stderr, "ukai: error: cannot become %s: %s\n",
		    pw->pw_name, strerror(errno));
		return EXIT_FAILED;
	}
	execvp(program[0], program);
	e = errno;
	fprintf(stderr, "ukai: error: cannot run %s: %s\n", program[0],
	    strerror(e));
	return e == ENOENT ? EXIT_NO_PROGRAM : EXIT_CANNOT_RUN;
}

static int
run(const struct options *o)
{
	const struct passwd *pw = o->user != NULL ? getpwnam(o->user) : NULL;
	char only[CLIENT_NAME_MAX];
	const char *name = o->name;
	int code;

	if (o->user != NULL && pw == NULL) {
		fprintf(stderr, "ukai: error: there is no user %s\n", o->user);
		return EXIT_USAGE;
	}
	if (name == NULL) {
		code = command_only_running(only, "use with -n");
		if (code != EXIT_OK)
			return code;
		name = only;
	}
	code = enter_live(name, o->fallback);
	return code == EXIT_OK ? execute(o->program, pw) : code;
}

int
command_run(int argc, char **argv)
{
	struct options o;
	int code;

	if (!parse(&o, argc, argv, &code))
		return code;
	if (!command_is_root("run"))
		return EXIT_PERMISSION;
	return run(&o);
}
