#include "policy.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/paths.h"
#include "commands.h"
#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"

/* A list of a million lines, and a slow PC. */
#define RELOAD_TIMEOUT_MS 120000

static const char usage[] =
    "Usage: ukai policy reload [NAME]\n"
    "\n"
    "Have the tunnel NAME, or all that are up, read their policies again. A\n"
    "policy with a mistake changes nothing. Flows stay where they are.\n";

/* What became of one tunnel. */
enum outcome {
	RELOADED,
	NOT_RUNNING,
	NO_POLICY,
	BAD_FILE,
	FAILED,
	NO_PERMISSION,
	OUTCOMES
};

static const int exit_code[OUTCOMES] = {
    [RELOADED] = EXIT_OK,
    [NOT_RUNNING] = EXIT_NOT_RUNNING,
    [NO_POLICY] = EXIT_USAGE,
    [BAD_FILE] = EXIT_USAGE,
    [FAILED] = EXIT_FAILED,
    [NO_PERMISSION] = EXIT_PERMISSION,
};

static void
take_message(struct diag *d, const json_t *m)
{
	const char *level = json_string_value(json_object_get(m, "level"));
	const char *text = json_string_value(json_object_get(m, "text"));
	json_int_t line = json_integer_value(json_object_get(m, "line"));
	json_int_t column = json_integer_value(json_object_get(m, "column"));

	diag_add(d,
	    level != NULL && strcmp(level, "warning") == 0 ? DIAG_WARNING
							   : DIAG_ERROR,
	    (unsigned)line, (unsigned)column, "%s", text != NULL ? text : "");
}

static enum outcome
tell_answer(const json_t *o, const char *name)
{
	const char *error = json_string_value(json_object_get(o, "error"));
	const char *file = json_string_value(json_object_get(o, "file"));
	const json_t *messages = json_object_get(o, "messages");
	struct diag d;

	if (file == NULL) {
		fprintf(stderr,
		    "ukai: error: %s has no policy: its configuration names "
		    "none ([Ukai] Policy = FILE)\n",
		    name);
		return NO_POLICY;
	}
	diag_init(&d, file);
	for (size_t i = 0; i < json_array_size(messages); i++)
		take_message(&d, json_array_get(messages, i));
	diag_print(&d, "ukai", stderr);
	if (error == NULL) {
		printf("%s: in force\n", file);
		return RELOADED;
	}
	if (d.errors > 0) {
		fprintf(stderr,
		    "ukai: error: %s: the old rules stay in force\n", file);
		return BAD_FILE;
	}
	fprintf(stderr, "ukai: error: %s: %s: the old rules stay in force\n",
	    file, error);
	return FAILED;
}

static enum outcome
outcome_of(int err)
{
	if (err == UK_ENOENT)
		return NOT_RUNNING;
	return err == UK_EPERM ? NO_PERMISSION : FAILED;
}

/* Says all but that it is not running. */
static enum outcome
reload(const char *name)
{
	struct client_paths paths;
	char *answer = NULL;
	enum outcome got;
	struct diag d;
	json_t *o;
	int err;

	diag_init(&d, NULL);
	err = client_paths(&paths, name, &d);
	if (err == 0)
		err = ctl_ask(
		    paths.control, "reload\n", RELOAD_TIMEOUT_MS, &answer, &d);
	if (err < 0) {
		if (err != UK_ENOENT)
			diag_print(&d, "ukai", stderr);
		return outcome_of(err);
	}
	o = json_loads(answer, 0, NULL);
	free(answer);
	if (json_is_object(o)) {
		got = tell_answer(o, name);
	} else {
		fprintf(stderr,
		    "ukai: error: %s gives no answer; it is of another "
		    "version, or about to end\n",
		    name);
		got = FAILED;
	}
	json_decref(o);
	return got;
}

/* The gravest of them; that a tunnel has no policy is no mistake where another
 * one has. */
static enum outcome
reload_all(const struct client_names *l)
{
	enum outcome worst = NOT_RUNNING;
	bool any = false;

	for (size_t i = 0; i < l->n; i++) {
		enum outcome got = reload(l->name[i]);

		any = any || got == RELOADED;
		if (got > worst)
			worst = got;
	}
	return any && worst <= NO_POLICY ? RELOADED : worst;
}

static int
reload_running(void)
{
	struct client_names l;
	enum outcome got;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = client_names_of_sockets(&l, &d);
	if (err < 0) {
		diag_print(&d, "ukai", stderr);
		return service_exit_code(err);
	}
	got = reload_all(&l);
	client_names_fini(&l);
	if (got == NOT_RUNNING)
		fputs("ukai: error: no tunnel is up\n", stderr);
	return exit_code[got];
}

int
command_policy_reload(int argc, char **argv)
{
	static const struct cmdline cmdline = {
	    .command = "ukai policy reload", .usage = usage, COMMAND_NAME};
	enum outcome got;
	const char *name;
	int code;

	if (!command_take_name(&cmdline, NULL, &name, argc, argv, &code))
		return code;
	if (!command_is_root("policy reload"))
		return EXIT_PERMISSION;
	if (name == NULL)
		return reload_running();
	got = reload(name);
	if (got == NOT_RUNNING)
		fprintf(stderr, "ukai: error: %s is not running\n", name);
	return exit_code[got];
}
