#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "io/service.h"
#include "io/tunnel_status.h"
#include "options.h"
#include "server/client.h"
#include "server/status.h"

static const char usage[] =
    "Usage: ukai-relay forward add NAME PROTOCOL/PORT[-LAST] [TARGET]\n"
    "       ukai-relay forward remove NAME PROTOCOL/PORT[-LAST]\n"
    "       ukai-relay forward list [NAME]\n"
    "\n"
    "Publish ports of a client on its address on the internet. PROTOCOL is tcp\n"
    "or udp; TARGET is the first port at the client, default PORT. Visitors\n"
    "keep their address.\n"
    "\n"
    "  ukai-relay forward add office-pc-1 tcp/8443 443\n"
    "  ukai-relay forward add office-pc-1 udp/5000-5010\n"
    "\n"
    "  -j, --json             for programs\n"
    "  -i, --interface NAME   which relay, when several run\n";

/* Mistakes that need no relay to be seen. */
static bool
is_use_right(const struct options *o)
{
	struct client_forward f;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = client_forward_parse(&f, o->argument[2], o->argument[3], &d);
	diag_print(&d, "ukai-relay", stderr);
	return err == 0;
}

static void
print_added(const json_t *answer, const struct options *o)
{
	(void)answer;
	printf("%s is published for %s\n", o->argument[2], o->argument[1]);
}

static void
print_removed(const json_t *answer, const struct options *o)
{
	(void)answer;
	printf("%s is not published any more\n", o->argument[2]);
}

static int
change(const struct options *o, const char *verb,
    void (*print)(const json_t *answer, const struct options *o))
{
	if (!is_use_right(o))
		return EXIT_USAGE;
	return ask_and_print(o, verb,
	    ask_strings("name", o->argument[1], "ports", o->argument[2],
		"target", o->argument[3], NULL),
	    print);
}

static int
list(const struct options *o)
{
	json_t *status;
	int code = ask_relay(&status, o->interface, "status", NULL);

	if (code != EXIT_OK)
		return code;
	if (o->argument[1] != NULL &&
	    !status_has_client(status, o->argument[1])) {
		fprintf(stderr,
		    "ukai-relay: error: there is no client %s; see "
		    "`ukai-relay clients`\n",
		    o->argument[1]);
		json_decref(status);
		return EXIT_FAILED;
	}
	if (o->json) {
		json_t *forwards = status_forwards(status, o->argument[1]);

		ask_print(forwards);
		json_decref(forwards);
	} else {
		status_print_forwards(status, o->argument[1], stdout);
	}
	json_decref(status);
	return EXIT_OK;
}

static const struct cmdline cmdline = {
    .command = "ukai-relay forward",
    .usage = usage,
    .option = options_ask,
    .options = OPTIONS_ASK,
    .least = 1,
    .most = 4,
    .words = "add, remove or list, and what it is about",
};

int
command_forward(int argc, char **argv)
{
	struct options o;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	if (strcmp(o.argument[0], "add") == 0 && o.arguments >= 3)
		return change(&o, "forward-add", print_added);
	if (strcmp(o.argument[0], "remove") == 0 && o.arguments == 3)
		return change(&o, "forward-remove", print_removed);
	if (strcmp(o.argument[0], "list") == 0 && o.arguments <= 2)
		return list(&o);
	return cmdline_refuse(
	    &cmdline, "takes add or remove, a NAME and ports, or list");
}
