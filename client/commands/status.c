#include "commands.h"

#include <stdio.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/service.h"
#include "client/paths.h"
#include "client/status.h"

static const char usage[] =
    "Usage: ukai status [--json] [NAME]\n"
    "\n"
    "Show the tunnel NAME, or all that are up.\n"
    "\n"
    "  -j, --json   one object {\"tunnels\": [...]}; see ukai(1)\n";

/* Add what NAME says to the list. Returns 0; UK_ENOENT: it is not running;
 * others told on stderr. */
static int
ask(json_t *tunnels, const char *name)
{
	struct client_paths paths;
	json_t *o = NULL;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = client_paths(&paths, name, &d);
	if (err == 0)
		err = tunnel_status_ask(&o, paths.control, &d);
	if (err < 0 && err != UK_ENOENT)
		diag_print(&d, "ukai", stderr);
	if (err == 0)
		json_array_append_new(tunnels, o);
	return err;
}

static int
ask_all(json_t *tunnels)
{
	struct client_names l;
	struct diag d;
	int err, worst = 0;

	diag_init(&d, NULL);
	err = client_names_of_sockets(&l, &d);
	if (err < 0) {
		diag_print(&d, "ukai", stderr);
		return err;
	}
	for (size_t i = 0; i < l.n; i++) {
		err = ask(tunnels, l.name[i]);
		if (err < 0 && err != UK_ENOENT)
			worst = err;
	}
	client_names_fini(&l);
	return worst;
}

static void
print(const json_t *tunnels, bool json)
{
	uint64_t now_s = clock_now().wall_ns / UK_NS_PER_S;
	json_t *all;

	if (json) {
		all = json_pack("{s:O}", "tunnels", tunnels);
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(all);
		return;
	}
	for (size_t i = 0; i < json_array_size(tunnels); i++) {
		if (i > 0)
			putchar('\n');
		status_print(json_array_get(tunnels, i), now_s, stdout);
	}
}

static int
report(const char *name, bool json)
{
	json_t *tunnels = json_array();
	int err = name != NULL ? ask(tunnels, name) : ask_all(tunnels);
	int code = EXIT_OK;

	print(tunnels, json);
	if (err < 0 && err != UK_ENOENT)
		code = err == UK_EPERM ? EXIT_PERMISSION : EXIT_FAILED;
	else if (json_array_size(tunnels) == 0)
		code = EXIT_NOT_RUNNING;
	if (code == EXIT_NOT_RUNNING && name != NULL)
		fprintf(stderr, "ukai: %s is not running\n", name);
	else if (code == EXIT_NOT_RUNNING)
		fputs("ukai: no tunnel is up\n", stderr);
	if (code == EXIT_NOT_RUNNING)
		command_tell_guarded(name);
	json_decref(tunnels);
	return code;
}

struct options {
	bool json;
};

static const struct cmdline_option options[] = {
    CMDLINE_FLAG('j', "json", struct options, json),
};

static const struct cmdline cmdline = {
    .command = "ukai status",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    COMMAND_NAME,
};

int
command_status(int argc, char **argv)
{
	struct options o = {.json = false};
	const char *name;
	int code;

	if (!command_take_name(&cmdline, &o, &name, argc, argv, &code))
		return code;
	if (!command_is_root("status"))
		return EXIT_PERMISSION;
	return report(name, o.json);
}
