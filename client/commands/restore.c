#include "commands.h"

#include <stdio.h>
#include <unistd.h>

#include "core/err.h"
#include "host/undo.h"
#include "io/service.h"
#include "client/paths.h"
#include "client/ports/change.h"

static const char usage[] =
    "Usage: ukai restore [--keep-guard] [NAME]\n"
    "\n"
    "Undo what a killed tunnel NAME, or any, has left changed on this host.\n"
    "Tunnels that are up are left alone. Without NAME also what `ukai ports\n"
    "apply` has changed.\n"
    "\n"
    "  --keep-guard   go on refusing what a policy says must not leave outside\n"
    "                 the tunnel, until the tunnel is up again; for services\n";

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

static int
undo_journal(const char *path, const char *name, struct diag *d)
{
	struct undo *u;
	int err;

	if (access(path, F_OK) != 0)
		return 0;
	err = undo_open(&u, path, d);
	if (err < 0)
		return err;
	err = undo(u, name, d);
	undo_close(u);
	return err;
}

/* What cannot be undone in one of them is no reason to leave the other. */
static int
undo_journals(const struct client_paths *paths, const char *name,
    bool keep_guard, struct diag *d)
{
	int err = undo_journal(paths->journal, name, d), guard = 0;

	if (err != UK_EBUSY && !keep_guard)
		guard = undo_journal(paths->guard, name, d);
	return err < 0 ? err : guard;
}

/* Returns 0; UK_EBUSY: it is running; others told on stderr. */
static int
restore(const char *name, bool keep_guard)
{
	struct client_paths paths;
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = client_paths(&paths, name, &d);
	if (err == 0)
		err = undo_journals(&paths, name, keep_guard, &d);
	if (err == UK_EBUSY)
		return err;
	if (err == 0)
		client_paths_remove_dead(&paths);
	diag_print(&d, "ukai", stderr);
	return err;
}

static int
restore_journals(bool keep_guard)
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
		err = restore(l.name[i], keep_guard);
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
restore_any(bool keep_guard)
{
	int err = restore_journals(keep_guard);
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

struct options {
	bool keep_guard;
};

static const struct cmdline_option options[] = {
    CMDLINE_FLAG(0, "keep-guard", struct options, keep_guard),
};

static const struct cmdline cmdline = {
    .command = "ukai restore",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    COMMAND_NAME,
};

int
command_restore(int argc, char **argv)
{
	struct options o = {.keep_guard = false};
	const char *name;
	int code, err;

	if (!command_take_name(&cmdline, &o, &name, argc, argv, &code))
		return code;
	if (!command_is_root("restore"))
		return EXIT_PERMISSION;
	err = name != NULL ? restore(name, o.keep_guard)
			   : restore_any(o.keep_guard);
	if (name == NULL && restore_ports() < 0 && err == 0)
		err = UK_ESYS;
	if (err == UK_EBUSY)
		fprintf(stderr,
		    "ukai: error: %s is up: ukai down %s ends it and restores "
		    "the host\n",
		    name, name);
	return service_exit_code(err);
}
