#include "undo_cgroup.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "bpf.h"
#include "cgroup.h"
#include "core/err.h"
#include "core/value.h"
#include "os_err.h"
#include "undo_kind.h"

#define PIN_FOLDER "/sys/fs/bpf"

/* ---- folders: NAME, what they are for ---- */

/* Nothing but a folder of ours, and nothing that leads elsewhere. */
static bool
name_ok(const char *name)
{
	return name != NULL && strncmp(name, "ukai-", 5) == 0 &&
	       name[5] != '\0' && strlen(name) <= NAME_MAX &&
	       strchr(name, '/') == NULL;
}

int
undo_cgroup(struct undo *u, const char *name, const char *note, struct diag *d)
{
	const struct undo_field f[] = {
	    undo_text_field(name), undo_text_field(note)};

	UK_ASSERT(name_ok(name));
	return undo_add(u, undo_kind_cgroup.name, f, 2, d);
}

struct name_visitor {
	void (*visit)(void *arg, const char *name, const char *note);
	void *arg;
};

static void
visit_name(void *arg, const struct undo_line *l)
{
	const struct name_visitor *v = arg;
	const char *name = undo_field_text(&l->field[0]);
	const char *note = undo_field_text(&l->field[1]);

	if (name_ok(name) && note != NULL)
		v->visit(v->arg, name, note);
}

void
undo_cgroup_each(const struct undo *u,
    void (*visit)(void *arg, const char *name, const char *note), void *arg)
{
	struct name_visitor v = {visit, arg};

	undo_pending(u, undo_kind_cgroup.name, visit_name, &v);
}

int
undo_cgroup_dissolve(struct undo *u, const char *name, struct diag *d)
{
	return undo_matching(u, NULL, undo_kind_cgroup.name, name, d);
}

static void
cgroup_describe(const struct undo_line *l, char *out, size_t cap)
{
	snprintf(out, cap, "cgroups named %s", l->field[0].b);
}

struct dissolver {
	int root;
	const char *name;
	struct diag *d;
};

static void
dissolve_one(void *arg, const char *path)
{
	const struct dissolver *s = arg;

	if (strcmp(cgroup_name(path), s->name) == 0)
		cgroup_dissolve(s->root, path, s->d);
}

static int
cgroup_undo(
    const struct undo_line *l, const struct undo_where *w, struct diag *d)
{
	struct dissolver s = {.name = undo_field_text(&l->field[0]), .d = d};
	int r;

	(void)w;
	if (!name_ok(s.name)) {
		diag_error(d, "the journal names an impossible cgroup");
		return UK_EPROTO;
	}
	r = cgroup_open(&s.root, d);
	if (r < 0)
		return r;
	cgroup_find(s.root, s.name, dissolve_one, &s);
	close(s.root);
	return 0;
}

const struct undo_kind undo_kind_cgroup = {
    .name = "cgroup",
    .fields = 2,
    .ends_at_boot = true,
    .describe = cgroup_describe,
    .undo = cgroup_undo,
};

/* ---- programs: number, path of the cgroup ---- */

static const char *
pin_path(uint32_t id, char path[static PATH_MAX])
{
	snprintf(path, PATH_MAX, PIN_FOLDER "/" CGROUP_PROGRAM "_%" PRIu32, id);
	return path;
}

/* Where there is no such file system, its number is enough for root. */
static void
pin(int prog, uint32_t id)
{
	char path[PATH_MAX];
	struct statfs fs;

	if (statfs(PIN_FOLDER, &fs) == 0 &&
	    (uint32_t)fs.f_type == (uint32_t)BPF_FS_MAGIC)
		(void)bpf_pin(prog, pin_path(id, path));
}

int
undo_cgroup_attach(struct undo *u, int root, const char *path, int prog,
    uint32_t *id, struct diag *d)
{
	char text[16], pinned[PATH_MAX];
	struct undo_field f[2];
	int r = bpf_prog_id(prog, id);

	if (r < 0)
		return os_err_tell(-r, path, "ask for our BPF program", d);
	snprintf(text, sizeof(text), "%" PRIu32, *id);
	f[0] = undo_text_field(text);
	f[1] = undo_text_field(path);
	r = undo_add(u, undo_kind_cgroup_program.name, f, 2, d);
	if (r < 0)
		return r;
	pin(prog, *id);
	r = cgroup_attach(root, path, prog);
	if (r == 0)
		return 0;
	unlink(pin_path(*id, pinned));
	undo_drop_last(u);
	diag_error(d,
	    "cgroup %s: cannot attach a BPF program at socket creation: %s%s",
	    path, strerror(-r),
	    r == -EPERM ? " (or somebody's program there tolerates no other)"
			: "");
	return os_err(-r) == UK_EPERM ? UK_EPERM : UK_ESYS;
}

static bool
parse_id(const struct undo_line *l, uint32_t *id)
{
	const char *text = undo_field_text(&l->field[0]);
	uint64_t v;

	if (text == NULL ||
	    value_parse_u64(&v, text, strlen(text), UINT32_MAX, false) < 0)
		return false;
	*id = (uint32_t)v;
	return true;
}

struct id_visitor {
	void (*visit)(void *arg, uint32_t id);
	void *arg;
};

static void
visit_id(void *arg, const struct undo_line *l)
{
	const struct id_visitor *v = arg;
	uint32_t id;

	if (parse_id(l, &id))
		v->visit(v->arg, id);
}

void
undo_cgroup_attached_each(
    const struct undo *u, void (*visit)(void *arg, uint32_t id), void *arg)
{
	struct id_visitor v = {visit, arg};

	undo_pending(u, undo_kind_cgroup_program.name, visit_id, &v);
}

int
undo_cgroup_detach(struct undo *u, uint32_t id, struct diag *d)
{
	char text[16];

	snprintf(text, sizeof(text), "%" PRIu32, id);
	return undo_matching(u, NULL, undo_kind_cgroup_program.name, text, d);
}

static void
program_describe(const struct undo_line *l, char *out, size_t cap)
{
	snprintf(out, cap, "BPF program %s at cgroup %s", l->field[0].b,
	    l->field[1].b);
}

static bool
is_there(int root, const char *path, uint32_t id)
{
	uint32_t ids[CGROUP_PROGRAMS_MAX], n = ARRAY_LEN(ids);

	if (cgroup_programs(root, path, ids, &n) < 0)
		return false;
	for (uint32_t i = 0; i < n && i < ARRAY_LEN(ids); i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* By its name in the bpf file system, or by its number. */
static int
open_program(uint32_t id)
{
	char path[PATH_MAX];
	uint32_t pinned;
	int prog = bpf_pinned(pin_path(id, path));

	if (prog >= 0 && bpf_prog_id(prog, &pinned) == 0 && pinned == id)
		return prog;
	if (prog >= 0)
		close(prog);
	return bpf_prog_open(id, CGROUP_PROGRAM);
}

static int
detach(int root, const char *path, uint32_t id, struct diag *d)
{
	int prog, r;

	if (!is_there(root, path, id))
		return 0;
	prog = open_program(id);
	r = prog < 0 ? prog : cgroup_detach(root, path, prog);
	if (prog >= 0)
		close(prog);
	if (r == 0 || r == -ENOENT)
		return 0;
	diag_error(d,
	    "cannot detach the BPF program %" PRIu32 " from the cgroup %s: "
	    "%s%s",
	    id, path, strerror(-r),
	    r == -EPERM ? "; run `ukai restore` as root, outside of services "
			  "and containers"
			: "");
	return UK_ESYS;
}

static int
program_undo(
    const struct undo_line *l, const struct undo_where *w, struct diag *d)
{
	const char *path = undo_field_text(&l->field[1]);
	char pinned[PATH_MAX];
	uint32_t id;
	int root, r;

	(void)w;
	if (!parse_id(l, &id) || path == NULL || path[0] != '/' ||
	    strstr(path, "..") != NULL) {
		diag_error(d, "the journal names an impossible BPF program");
		return UK_EPROTO;
	}
	r = cgroup_open(&root, d);
	if (r < 0)
		return r;
	r = detach(root, path, id, d);
	close(root);
	if (r == 0)
		unlink(pin_path(id, pinned));
	return r;
}

const struct undo_kind undo_kind_cgroup_program = {
    .name = "cgroupbpf",
    .fields = 2,
    .ends_at_boot = true,
    .describe = program_describe,
    .undo = program_undo,
};
