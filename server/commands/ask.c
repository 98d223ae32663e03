#include "ask.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/err.h"
#include "io/ctl.h"
#include "io/service.h"
#include "io/tunnel_status.h"
#include "server/paths.h"

/* A change is on the relay's disk before it answers. */
#define TIMEOUT_MS 30000

/* The interface whose relay is meant. Returns an exit code. */
static int
choose(char ifname[16], const char *interface)
{
	char found[2][16];
	struct diag d;
	size_t n;

	if (interface != NULL) {
		snprintf(ifname, 16, "%s", interface);
		return EXIT_OK;
	}
	diag_init(&d, NULL);
	if (paths_denied(PATHS_SOCKET, &d)) {
		diag_print(&d, "ukai-relay", stderr);
		return EXIT_PERMISSION;
	}
	n = paths_list(PATHS_SOCKET, found, ARRAY_LEN(found));
	if (n == 0) {
		fputs("ukai-relay: error: no relay is running; `systemctl "
		      "start ukai-relay`, or `ukai-relay serve`\n",
		    stderr);
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

/* VERB ARGS and the newlines. NULL: out of memory. args is taken. */
static char *
make_request(const char *verb, json_t *args)
{
	char *text = args != NULL ? json_dumps(args, JSON_COMPACT) : NULL;
	size_t len = strlen(verb) + (text != NULL ? strlen(text) : 0) + 4;
	char *request = malloc(len);

	if (request != NULL && (text != NULL || args == NULL))
		snprintf(request, len, "%s%s%s\n\n", verb,
		    text != NULL ? " " : "", text != NULL ? text : "");
	if (text != NULL)
		sodium_memzero(text, strlen(text));
	free(text);
	json_decref(args);
	return request;
}

/* What the relay says beside or instead of an answer. */
static int
look_at(json_t *o)
{
	const char *error = tunnel_status_text(o, "error", NULL);
	const char *warning = tunnel_status_text(o, "warning", NULL);

	if (!json_is_object(o))
		error = "the relay's answer makes no sense";
	if (warning != NULL)
		fprintf(stderr, "ukai-relay: warning: %s\n", warning);
	if (error != NULL)
		fprintf(stderr, "ukai-relay: error: %s\n", error);
	return error != NULL ? EXIT_FAILED : EXIT_OK;
}

int
ask_relay(json_t **out, const char *interface, const char *verb, json_t *args)
{
	char ifname[16], path[PATHS_MAX], *answer = NULL;
	char *request = make_request(verb, args);
	struct diag d;
	int code = request != NULL ? choose(ifname, interface) : EXIT_FAILED;
	int err;

	if (code != EXIT_OK) {
		free(request);
		return code;
	}
	diag_init(&d, NULL);
	err = paths_make(path, PATHS_SOCKET, ifname, &d);
	if (err == 0 && strlen(request) > CTL_LINE_MAX) {
		diag_error(&d,
		    "the request takes more than %d bytes: the policy must be "
		    "shorter",
		    CTL_LINE_MAX);
		err = UK_EMSGSIZE;
	}
	if (err == 0)
		err = ctl_ask(path, request, TIMEOUT_MS, &answer, &d);
	free(request);
	diag_print(&d, "ukai-relay", stderr);
	if (err < 0)
		return exit_code(err);
	*out = json_loads(answer, 0, NULL);
	free(answer);
	code = look_at(*out);
	if (code != EXIT_OK)
		json_decref(*out);
	return code;
}

int
ask_and_print(const struct options *o, const char *verb, json_t *args,
    void (*print)(const json_t *answer, const struct options *o))
{
	json_t *answer;
	int code = ask_relay(&answer, o->interface, verb, args);

	if (code != EXIT_OK)
		return code;
	if (o->json)
		ask_print(answer);
	else
		print(answer, o);
	json_decref(answer);
	return EXIT_OK;
}

void
ask_print(const json_t *answer)
{
	json_dumpf(answer, stdout, JSON_INDENT(2));
	putchar('\n');
}

json_t *
ask_strings(const char *key, ...)
{
	json_t *o = json_object();
	va_list ap;

	va_start(ap, key);
	for (; key != NULL; key = va_arg(ap, const char *)) {
		const char *value = va_arg(ap, const char *);

		if (value != NULL)
			o = tunnel_status_put(o, key, json_string(value));
	}
	va_end(ap);
	return o;
}
