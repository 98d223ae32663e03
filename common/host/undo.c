#include "undo.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"
#include "durable.h"
#include "os_err.h"
#include "undo_kind.h"

/* A journal of several files is far below this; more is not ours. */
#define JOURNAL_MAX (32u << 20)

static const struct undo_kind *const kinds[] = {
    &undo_kind_sysctl,
    &undo_kind_rule,
    &undo_kind_rule_iif,
    &undo_kind_neigh,
    &undo_kind_addr,
    &undo_kind_file,
    &undo_kind_reserved,
    &undo_kind_cgroup,
    &undo_kind_cgroup_program,
    &undo_kind_table,
};

struct entry {
	struct undo_line l; /* kind NULL: a damaged line */
	struct undo_origin from;
	off_t off; /* of its line in the file */
	off_t end;
	unsigned line;
	char *own; /* memory of l's fields when not in undo.text */
};

struct undo {
	int fd;
	char *path;
	char *text; /* the journal as it was at open */
	struct undo_origin here;
	struct entry *entry;
	size_t n, cap;
	unsigned lines;
	off_t end; /* bytes of the file that are whole lines */
};

const char *
undo_field_text(const struct undo_field *f)
{
	return memchr(f->b, '\0', f->len) == NULL ? f->b : NULL;
}

struct undo_field
undo_text_field(const char *text)
{
	return (struct undo_field){text, strlen(text)};
}

/* NULL: damaged, or of a kind that a newer ukai has. */
static const struct undo_kind *
entry_kind(const struct entry *e)
{
	if (e->l.kind == NULL)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i]->name, e->l.kind) == 0 &&
		    kinds[i]->fields == e->l.n)
			return kinds[i];
	return NULL;
}

static int
sys_error(const struct undo *u, struct diag *d, const char *what)
{
	int e = errno;

	diag_error(
	    d, "cannot %s the undo journal %s: %s", what, u->path, strerror(e));
	return os_err(e) == UK_EPERM ? UK_EPERM : UK_ESYS;
}

/* Room for one more entry. */
static int
entry_reserve(struct undo *u)
{
	size_t cap = u->cap != 0 ? 2 * u->cap : 16;
	struct entry *p;

	if (u->n < u->cap)
		return 0;
	p = realloc(u->entry, cap * sizeof(*p));
	if (p == NULL)
		return UK_ENOMEM;
	u->entry = p;
	u->cap = cap;
	return 0;
}

static void
make_parent(const char *path)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	mkdir(dirname(copy), 0700); /* what is wrong with it, open() says */
}

/* Root restores files from it: nobody else may have written it. */
static bool
trusted(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_uid == geteuid() &&
	       (st->st_mode & 022) == 0 && st->st_nlink <= 1;
}

/* Open and lock. An owner that has just ended may have removed the file
 * between our open and our lock: then once more. */
static int
open_locked(struct undo *u, struct diag *d)
{
	struct stat st, now;

	for (int tries = 0; tries < 16; tries++) {
		u->fd = open(
		    u->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (u->fd < 0 || fstat(u->fd, &st) < 0)
			return sys_error(u, d, "open");
		if (!trusted(&st)) {
			diag_error(d,
			    "the undo journal %s can be written by others; "
			    "nothing in it is undone",
			    u->path);
			return UK_EPERM;
		}
		if (flock(u->fd, LOCK_EX | LOCK_NB) < 0) {
			if (errno != EWOULDBLOCK)
				return sys_error(u, d, "lock");
			diag_error(d,
			    "the undo journal %s is in use by what made it; "
			    "end that first (`ukai down`, or stop the relay)",
			    u->path);
			return UK_EBUSY;
		}
		if (stat(u->path, &now) == 0 && now.st_ino == st.st_ino &&
		    now.st_dev == st.st_dev)
			return 0;
		close(u->fd);
		u->fd = -1;
	}
	diag_error(d, "the undo journal %s keeps being replaced", u->path);
	return UK_ESYS;
}

static int
read_all(struct undo *u, size_t *len, struct diag *d)
{
	struct stat st;
	size_t done = 0;

	if (fstat(u->fd, &st) < 0)
		return sys_error(u, d, "read");
	if (st.st_size > (off_t)JOURNAL_MAX) {
		diag_error(d, "the undo journal %s is too long", u->path);
		return UK_EPROTO;
	}
	u->text = malloc((size_t)st.st_size + 1);
	if (u->text == NULL)
		return UK_ENOMEM;
	while (done < (size_t)st.st_size) {
		ssize_t n = pread(u->fd, u->text + done,
		    (size_t)st.st_size - done, (off_t)done);

		if (n < 0)
			return sys_error(u, d, "read");
		if (n == 0)
			break;
		done += (size_t)n;
	}
	*len = done;
	return 0;
}

static int
load(struct undo *u, struct diag *d)
{
	struct undo_reader r = {0};
	enum undo_read got;
	int err = read_all(u, &r.len, d);

	if (err < 0)
		return err;
	r.text = u->text;
	for (;;) {
		struct entry e = {0};

		got = undo_read_next(&r, &e.l);
		if (got == UNDO_READ_END)
			break;
		if (got == UNDO_READ_VERSION) {
			diag_error(d,
			    "the undo journal %s was written by another "
			    "version of ukai; run `ukai restore` of that one",
			    u->path);
			return UK_EPROTO;
		}
		if (got == UNDO_READ_DAMAGED)
			e.l = (struct undo_line){.pending = true};
		e.from = r.origin;
		e.line = r.line;
		e.off = (off_t)r.line_off;
		e.end = (off_t)r.off;
		err = entry_reserve(u);
		if (err < 0)
			return err;
		u->entry[u->n++] = e;
	}
	u->lines = r.line;
	u->end = (off_t)r.off;
	return 0;
}

static void
undo_free(struct undo *u)
{
	for (size_t i = 0; i < u->n; i++)
		free(u->entry[i].own);
	free(u->entry);
	free(u->text);
	free(u->path);
	if (u->fd >= 0)
		close(u->fd);
	free(u);
}

/* Forget the entries at the end that are done with, and an unfinished line. */
static void
trim(struct undo *u)
{
	while (u->n > 0 && !u->entry[u->n - 1].l.pending)
		free(u->entry[--u->n].own);
	u->end = u->n > 0 ? u->entry[u->n - 1].end : 0;
	u->lines = u->n > 0 ? u->entry[u->n - 1].line : 0;
	/* When this fails the marks are there still, and do as well. */
	if (ftruncate(u->fd, u->end) < 0)
		return;
}

int
undo_open(struct undo **out, const char *path, struct diag *d)
{
	struct undo *u = calloc(1, sizeof(*u));
	int r = UK_ENOMEM;

	if (u == NULL)
		return UK_ENOMEM;
	u->fd = -1;
	u->path = strdup(path);
	if (u->path == NULL)
		goto free_u;
	r = undo_origin_now(&u->here, d);
	if (r < 0)
		goto free_u;
	make_parent(path);
	r = open_locked(u, d);
	if (r < 0)
		goto free_u;
	r = load(u, d);
	if (r < 0)
		goto free_u;
	trim(u);
	r = durable_sync_parent(path);
	if (r < 0) {
		errno = -r;
		r = sys_error(u, d, "sync");
		goto free_u;
	}
	*out = u;
	return 0;

free_u:
	undo_free(u);
	return r;
}

void
undo_close(struct undo *u)
{
	if (u == NULL)
		return;
	trim(u);
	if (u->n == 0)
		unlink(u->path); /* locked still: it is ours */
	undo_free(u);
}

unsigned
undo_count(const struct undo *u)
{
	unsigned n = 0;

	for (size_t i = 0; i < u->n; i++)
		n += u->entry[i].l.pending;
	return n;
}

/* Append bytes and sync; on failure the file is as it was. */
static int
append(struct undo *u, const char *b, size_t len, struct diag *d)
{
	size_t done = 0;
	int r;

	while (done < len) {
		ssize_t n =
		    pwrite(u->fd, b + done, len - done, u->end + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto truncate_file;
		done += (size_t)n;
	}
	if (fdatasync(u->fd) < 0)
		goto truncate_file;
	return 0;

truncate_file:
	r = sys_error(u, d, "write");
	if (ftruncate(u->fd, u->end) < 0)
		diag_warn(d, "%s ends in half a line now", u->path);
	return r;
}

static bool
same_origin(const struct undo_origin *a, const struct undo_origin *b)
{
	return a->netns == b->netns && strcmp(a->boot, b->boot) == 0;
}

int
undo_add(struct undo *u, const char *kind, const struct undo_field *f,
    unsigned n, struct diag *d)
{
	struct undo_line l = {.pending = true, .kind = kind, .n = n};
	struct entry e = {.from = u->here};
	size_t header = 0, len;
	char *text;
	int r;

	UK_ASSERT(n <= UNDO_FIELDS_MAX);
	memcpy(l.field, f, n * sizeof(*f));
	r = entry_reserve(u);
	if (r < 0)
		return r;
	text = malloc(UNDO_HEADER_MAX + undo_line_size(&l));
	if (text == NULL)
		return UK_ENOMEM;
	if (u->n == 0 || !same_origin(&u->entry[u->n - 1].from, &u->here))
		header = undo_origin_format(text, &u->here);
	len = undo_line_format(text + header, undo_line_size(&l), &l);
	r = append(u, text, header + len, d);
	if (r < 0) {
		free(text);
		return r;
	}
	e.own = text;
	e.off = u->end + (off_t)header;
	e.end = e.off + (off_t)len;
	e.line = u->lines + (header != 0) + 1;
	r = undo_line_parse(&e.l, text + header, len - 1);
	UK_ASSERT(r == 0);
	u->entry[u->n++] = e;
	u->end = e.end;
	u->lines = e.line;
	return 0;
}

/* Undo one entry of ours or of a dead owner. Returns 0 when it is done with;
 * negative: it stays, and d says why. */
static int
entry_undo(
    struct undo *u, const struct entry *e, struct netcfg *n, struct diag *d)
{
	const struct undo_kind *k = entry_kind(e);
	bool same_boot = strcmp(e->from.boot, u->here.boot) == 0;
	char what[UNDO_DESCRIBE_MAX], netns[UNDO_DESCRIBE_MAX];
	struct undo_where w = {.n = n, .netns = netns};

	if (k == NULL) {
		diag_error(d,
		    "line %u of %s cannot be read (damaged, or of a newer "
		    "ukai): undo by hand what it names, then delete it",
		    e->line, u->path);
		return UK_EPROTO;
	}
	if (k->ends_at_boot && !same_boot)
		return 0;
	/* After a boot the same namespace has another inode, and what is kept
	 * at all is the same everywhere. */
	w.same_netns = !same_boot || e->from.netns == u->here.netns;
	undo_netns_text(e->from.netns, netns, sizeof(netns));
	if (!w.same_netns && k->in_netns != NULL && k->in_netns(&e->l)) {
		k->describe(&e->l, what, sizeof(what));
		diag_error(d,
		    "%s was changed in another network namespace (%s): run "
		    "`ukai restore` there; if it is gone, so is the change: "
		    "delete line %u of %s",
		    what, netns, e->line, u->path);
		return UK_EBUSY;
	}
	return k->undo(&e->l, &w, d);
}

/* Not synced: undoing twice does no harm. */
static int
entry_mark(struct undo *u, struct entry *e)
{
	e->l.pending = false;
	return pwrite(u->fd, "-", 1, e->off) == 1 ? 0 : -1;
}

/* Is there a newer entry, not undone, about the same thing? */
static bool
entry_waits(const struct undo *u, const struct entry *e)
{
	const struct undo_kind *k = entry_kind(e);

	if (k == NULL || !k->stacked)
		return false;
	for (const struct entry *x = e + 1; x < u->entry + u->n; x++)
		if (x->l.pending && entry_kind(x) == k &&
		    strcmp(x->l.field[0].b, e->l.field[0].b) == 0)
			return true;
	return false;
}

static int
entry_finish(struct undo *u, struct entry *e, struct netcfg *n, struct diag *d)
{
	if (entry_waits(u, e) || entry_undo(u, e, n, d) < 0)
		return UK_ESYS;
	if (entry_mark(u, e) < 0)
		return sys_error(u, d, "write");
	return 0;
}

void
undo_last(struct undo *u, struct diag *d)
{
	UK_ASSERT(u->n > 0);
	entry_finish(u, &u->entry[u->n - 1], NULL, d);
	trim(u);
}

void
undo_drop_last(struct undo *u)
{
	UK_ASSERT(u->n > 0);
	entry_mark(u, &u->entry[u->n - 1]);
	trim(u);
}

int
undo_matching(struct undo *u, struct netcfg *n, const char *kind,
    const char *key, struct diag *d)
{
	int r = 0;

	for (size_t i = u->n; i-- > 0;) {
		struct entry *e = &u->entry[i];
		const struct undo_kind *k = entry_kind(e);

		if (e->l.pending && k != NULL && strcmp(k->name, kind) == 0 &&
		    strcmp(e->l.field[0].b, key) == 0 &&
		    entry_finish(u, e, n, d) < 0)
			r = UK_ESYS;
	}
	trim(u);
	return r;
}

void
undo_pending(const struct undo *u, const char *kind,
    void (*visit)(void *arg, const struct undo_line *l), void *arg)
{
	for (size_t i = 0; i < u->n; i++) {
		const struct entry *e = &u->entry[i];
		const struct undo_kind *k = entry_kind(e);

		if (e->l.pending && k != NULL && strcmp(k->name, kind) == 0 &&
		    same_origin(&e->from, &u->here))
			visit(arg, &e->l);
	}
}

int
undo_all(struct undo *u, struct netcfg *n, struct diag *d)
{
	int r = 0;

	for (size_t i = u->n; i-- > 0;)
		if (u->entry[i].l.pending &&
		    entry_finish(u, &u->entry[i], n, d) < 0)
			r = UK_ESYS;
	trim(u);
	return r;
}
