#include "change.h"

#include <unistd.h>

#include "core/err.h"
#include "client/paths.h"

static const char journal_file[] = "ports.undo";
static const char timer_file[] = "ports.until";

int
ports_change_open(struct undo **u, bool make, struct diag *d)
{
	char path[CLIENT_PATH_MAX];
	int r = client_state_path(path, journal_file, d);

	*u = NULL;
	if (r < 0 || (!make && access(path, F_OK) != 0))
		return r;
	return undo_open(u, path, d);
}

int
ports_change_undo(struct undo *u, struct ports_reverted *r, struct diag *d)
{
	char path[CLIENT_PATH_MAX];
	unsigned before = undo_count(u);
	int err = undo_all(u, NULL, d);

	r->left = undo_count(u);
	r->undone = before - r->left;
	if (client_state_path(path, timer_file, NULL) == 0)
		ports_timer_cancel(path);
	return err;
}

int
ports_change_revert(struct ports_reverted *r, struct diag *d)
{
	struct undo *u;
	int err = ports_change_open(&u, false, d);

	*r = (struct ports_reverted){0};
	if (err < 0 || u == NULL)
		return err;
	err = ports_change_undo(u, r, d);
	undo_close(u);
	return err;
}

/* In the timer's process. What cannot be undone stays in the journal, and
 * `ukai ports show` tells of it. */
static int
due(void *arg)
{
	struct ports_reverted r;
	struct undo *u;
	int err = ports_change_open(&u, false, NULL);

	(void)arg;
	if (err < 0 || u == NULL)
		return err;
	if (!ports_timer_is_cancelled())
		err = ports_change_undo(u, &r, NULL);
	undo_close(u);
	return err;
}

/* The timer first: a kill after the change must not leave it for ever. */
int
ports_change_make(struct undo *u, const struct ports_plan *p, bool done,
    uint64_t for_s, struct diag *d)
{
	struct ports_reverted earlier = {0};
	char path[CLIENT_PATH_MAX];
	int r = client_state_path(path, timer_file, d);

	if (r == 0 && !done)
		r = ports_change_undo(u, &earlier, d);
	if (r < 0)
		return r;
	ports_timer_cancel(path);
	if (for_s > 0)
		r = ports_timer_start(path, for_s, due, NULL, d);
	if (r == 0 && !done)
		r = ports_linux_apply(u, p, d);
	if (r < 0) {
		ports_timer_cancel(path);
		if (earlier.undone > 0)
			diag_warn(d, "what an earlier apply had changed is "
				     "undone");
	}
	return r;
}

void
ports_change_timer(struct ports_timer *t)
{
	char path[CLIENT_PATH_MAX];

	*t = (struct ports_timer){.alive = false};
	if (client_state_path(path, timer_file, NULL) == 0)
		ports_timer_read(t, path);
}
