#include "commands.h"

#include <stdio.h>
#include <unistd.h>

#include "core/err.h"
#include "host/undo.h"
#include "io/service.h"
#include "client/paths.h"
#include "client/ports/change.h"

static const char usage[] =
    "Usage: ukai restore [NAME]\n"
    "\n"
    "Undo what a killed tunnel NAME, or any, has left changed on this host.\n"
    "Tunnels that are up are left alone. Without NAME also what `ukai ports\n"
    "apply` has changed.\n";

static int
undo(struct undo *u, const char *name, struct diag *d)
{
	unsigned before = undo_count(u), stayed;
	struct netcfg *n;
	int err = netcfg_open(&n, d);

	if (err < 0)
		return err;
	err = undo_all(u, n, d);
	netcfg_close(n);
	stayed = undo_count(u);
	printf("%s: %u of %u changes undone\n", name, before - stayed, before);
	return err;
}

/* Returns 0; UK_EBUSY: it is running; others told on stderr. */
static int
restore(const char *name)
{
	struct client_paths paths;
	struct undo *u;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = client_paths(&paths, name, &d);
	if (err == 0 && access(paths.journal, F_OK) == 0) {
		err = undo_open(&u, paths.journal, &d);
		if (err == UK_EBUSY)
			return err;
		if (err == 0) {
			err = undo(u, name, &d);
			undo_close(u);
		}
	}
	if (err == 0)
		client_paths_remove_dead(&paths);
	diag_print(&d, "ukai", stderr);
	return err;
}

static int
restore_journals(void)
{
	struct client_names l;
	struct diag d;
	int err, worst = 0;

	diag_init(&d, NULL);
	err = client_names_of_journals(&l, &d);
	if (err < 0) {
		diag_print(&d, "ukai", stderr);
		return err;
	}
	for (size_t i = 0; i < l.n; i++) {
		err = restore(l.name[i]);
		if (err == UK_EBUSY)
			printf("%s: is up, left alone\n", l.name[i]);
		else if (err < 0)
			worst = err;
	}
	client_names_fini(&l);
	return worst;
}

/* Sockets without a journal are leftovers of a run that changed nothing which
 * outlives it. */
static int
restore_any(void)
{
	int err = restore_journals();
	struct client_names l;
	struct client_paths paths;

	if (client_names_of_sockets(&l, NULL) < 0)
		return err;
	for (size_t i = 0; i < l.n; i++)
		if (client_paths(&paths, l.name[i], NULL) == 0)
			client_paths_remove_dead(&paths);
	client_names_fini(&l);
	return err;
}

/* What `ukai ports apply` has changed. */
static int
restore_ports(void)
{
	struct ports_reverted r;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = ports_change_revert(&r, &d);
	if (r.undone + r.left > 0)
		printf("ports: %u of %u changes undone\n", r.undone,
		    r.undone + r.left);
	diag_print(&d, "ukai", stderr);
	return err;
}

int
command_restore(int argc, char **argv)
{
	int code, err;

	if (!command_takes_name(argc, argv, usage, &code))
		return code;
	if (!command_is_root("restore"))
		return EXIT_PERMISSION;
	err = argc == 2 ? restore(argv[1]) : restore_any();
	if (argc < 2 && restore_ports() < 0 && err == 0)
		err = UK_ESYS;
	if (err == UK_EBUSY)
		fprintf(stderr,
		    "ukai: error: %s is up: ukai down %s ends it and restores "
		    "the host\n",
		    argv[1], argv[1]);
	return service_exit_code(err);
}
