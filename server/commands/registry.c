#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "core/err.h"
#include "io/service.h"
#include "io/tunnel_status.h"
#include "options.h"
#include "server/paths.h"
#include "server/store.h"

static const char usage[] =
    "Usage: ukai-relay registry backup FILE [--interface NAME]\n"
    "       ukai-relay registry restore FILE [--config FILE]\n"
    "\n"
    "backup: a copy of the registry, with everything that was confirmed, to a\n"
    "new file; the relay goes on meanwhile. It holds no private key of a\n"
    "client, but preshared keys: keep it private.\n"
    "restore: put such a copy in its place. The relay must not run; the\n"
    "registry that was there is kept beside as *.before-restore.\n"
    "\n"
    "  -c, --config FILE      configuration, default " PATHS_CONFIG "\n"
    "  -j, --json             for programs\n"
    "  -i, --interface NAME   which relay, when several run\n";

static int
copy(int from, int to)
{
	char buffer[65536];
	ssize_t n;

	while ((n = read(from, buffer, sizeof(buffer))) > 0)
		for (ssize_t done = 0, w; done < n; done += w) {
			w = write(to, buffer + done, (size_t)(n - done));
			if (w < 0)
				return -1;
		}
	return n < 0 ? -1 : fsync(to);
}

/* The relay may be confined to its own folders, and this process is not. */
static int
take(const char *made, const char *path)
{
	int from = open(made, O_RDONLY | O_CLOEXEC);
	int to = from < 0 ? -1
			  : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
				0600);
	int r = to >= 0 ? copy(from, to) : -1, error = errno;

	if (to >= 0)
		close(to);
	if (from >= 0)
		close(from);
	(void)unlink(made);
	if (r == 0)
		return EXIT_OK;
	if (to >= 0)
		(void)unlink(path);
	fprintf(stderr, "ukai-relay: error: cannot make %s: %s\n", path,
	    strerror(error));
	return EXIT_FAILED;
}

static int
backup(const struct options *o)
{
	const char *path = o->argument[1];
	json_t *answer;
	int code = ask_relay(&answer, o->interface, "backup", json_object());

	if (code != EXIT_OK)
		return code;
	code = take(tunnel_status_text(answer, "path", ""), path);
	json_decref(answer);
	if (code != EXIT_OK)
		return code;
	answer = ask_strings("path", path, NULL);
	if (o->json)
		ask_print(answer);
	else
		printf("the registry is in %s\n", path);
	json_decref(answer);
	return EXIT_OK;
}

static int
restore(const struct options *o)
{
	char path[PATHS_MAX];
	struct server_conf c;
	struct diag d;
	int code, err;

	diag_init(&d, NULL);
	code = options_load(&c, o, &d);
	if (code == EXIT_OK) {
		err = paths_registry(path, &c, &d);
		if (err == 0)
			err = store_restore(o->argument[1], path, &d);
		code = service_exit_code(err);
		server_conf_fini(&c);
	}
	diag_print(&d, "ukai-relay", stderr);
	if (code == EXIT_OK && o->json) {
		json_t *answer = ask_strings("path", path, NULL);

		ask_print(answer);
		json_decref(answer);
	} else if (code == EXIT_OK) {
		printf("%s holds what %s held\n", path, o->argument[1]);
	}
	return code;
}

static const struct cmdline_option options[] = {
    OPTIONS_CONFIG,
    OPTIONS_JSON,
    OPTIONS_INTERFACE,
};

static const struct cmdline cmdline = {
    .command = "ukai-relay registry",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 2,
    .most = 2,
    .words = "backup or restore, and a FILE",
};

int
command_registry(int argc, char **argv)
{
	struct options o;
	int code;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	if (strcmp(o.argument[0], "backup") == 0)
		return backup(&o);
	if (strcmp(o.argument[0], "restore") == 0)
		return restore(&o);
	return cmdline_refuse(&cmdline,
	    "unknown word \"%s\"; known: backup, restore", o.argument[0]);
}
