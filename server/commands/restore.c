#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"
#include "host/undo.h"
#include "io/ctl.h"
#include "io/service.h"
#include "options.h"
#include "server/paths.h"

/* More relays than this on one host: name them by --interface. */
#define RELAYS_MAX 64

static const char usage[] =
    "Usage: ukai-relay restore [--interface NAME]\n"
    "\n"
    "Undo the changes to this host that a killed relay left behind. A running\n"
    "relay is left alone.\n"
    "\n"
    "  -i, --interface NAME   that relay only\n";

/* A killed process leaves its sockets. */
static void
remove_if_dead(const char *path, const char *question)
{
	char *answer = NULL;
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    ctl_ask(path, question, 2000, &answer, NULL) == UK_ENOENT)
		(void)unlink(path);
	free(answer);
}

static void
remove_dead_sockets(const char *ifname)
{
	char path[PATHS_MAX];

	if (paths_make(path, PATHS_SOCKET, ifname, NULL) == 0)
		remove_if_dead(path, "status\n\n");
	snprintf(path, sizeof(path), "/var/run/wireguard/%s.sock", ifname);
	remove_if_dead(path, "get=1\n\n");
}

static int
restore(const char *ifname, struct netcfg *n, struct diag *d)
{
	char path[PATHS_MAX];
	struct undo *u;
	unsigned count;
	int err = paths_make(path, PATHS_JOURNAL, ifname, d);

	if (err < 0)
		return err;
	err = undo_open(&u, path, d);
	if (err < 0)
		return err;
	count = undo_count(u);
	err = undo_all(u, n, d);
	printf("%s: undone: %u of %u changes\n", ifname, count - undo_count(u),
	    count);
	remove_dead_sockets(ifname); /* while the journal is locked */
	undo_close(u);
	return err;
}

static const struct cmdline_option options[] = {
    OPTIONS_INTERFACE,
};

static const struct cmdline cmdline = {
    .command = "ukai-relay restore",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
};

int
command_restore(int argc, char **argv)
{
	char ifname[RELAYS_MAX][16];
	struct netcfg *netcfg = NULL;
	struct options o;
	struct diag d;
	size_t n = 1;
	int code, err;

	if (!options_take(&o, &cmdline, argc, argv, &code))
		return code;
	diag_init(&d, NULL);
	if (paths_denied(PATHS_JOURNAL, &d)) {
		diag_print(&d, "ukai-relay", stderr);
		return EXIT_PERMISSION;
	}
	if (o.interface != NULL)
		snprintf(ifname[0], sizeof(ifname[0]), "%s", o.interface);
	else
		n = paths_list(PATHS_JOURNAL, ifname, RELAYS_MAX);
	if (n == 0)
		puts("nothing to undo");
	err = netcfg_open(&netcfg, &d);
	code = service_exit_code(err);
	for (size_t i = 0; i < n && i < RELAYS_MAX && netcfg != NULL; i++) {
		err = restore(ifname[i], netcfg, &d);
		if (err < 0)
			code = err == UK_EPERM ? EXIT_PERMISSION : EXIT_FAILED;
	}
	netcfg_close(netcfg);
	diag_print(&d, "ukai-relay", stderr);
	return code;
}
