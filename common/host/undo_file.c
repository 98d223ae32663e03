#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"
#include "core/value.h"
#include "durable.h"
#include "os_err.h"
#include "undo_file.h"
#include "undo_kind.h"

/* resolv.conf and the like; the journal holds it up to six times as long. */
#define FILE_MAX (1u << 20)

/* file: path, what it was, mode, uid, gid, old content or link target, new
 * content, "inplace" or "replace" */
enum {
	FILE_PATH,
	FILE_WAS,
	FILE_MODE,
	FILE_UID,
	FILE_GID,
	FILE_OLD,
	FILE_NEW,
	FILE_HOW,
	FILE_FIELDS,
};

static const char *const was_word[] = {
    [WAS_ABSENT] = "absent", [WAS_LINK] = "link", [WAS_FILE] = "file"};

/* Where the content really is, and how it can be exchanged. */
struct target {
	char path[PATH_MAX];
	bool inplace; /* a mount point: rename(2) says EBUSY there */
};

static bool
is_mount_root(const char *path, int flags)
{
	struct statx sx;

	return statx(AT_FDCWD, path, flags, STATX_TYPE, &sx) == 0 &&
	       (sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
	       (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* A bind mount over a symbolic link lies over what the link points to: that
 * is to be changed, not the link, which other mount namespaces share. */
static int
target_find(const char *path, struct target *t)
{
	char real[PATH_MAX];

	if (path[0] != '/' || strlen(path) + sizeof(TEMP_SUFFIX) > PATH_MAX)
		return UK_EINVAL;
	t->inplace = is_mount_root(path, 0);
	if (t->inplace && realpath(path, real) != NULL)
		path = real;
	snprintf(t->path, sizeof(t->path), "%s", path);
	return 0;
}

static int
content_read(const char *path, struct undo_content *c)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = 1;
	int r = 0;

	if (fd < 0)
		return -errno;
	while (n > 0) {
		n = read(fd, c->own + c->len, FILE_MAX + 1 - c->len);
		if (n < 0)
			r = -errno;
		else
			c->len += (size_t)n;
	}
	close(fd);
	return r == 0 && c->len > FILE_MAX ? -EFBIG : r;
}

/* What is at path now. c->own is the caller's to
 * free. Returns 0 or a negative errno. */
static int
content_get(const char *path, struct undo_content *c)
{
	struct stat st;
	ssize_t n;
	int r;

	memset(c, 0, sizeof(*c));
	if (lstat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return -EINVAL;
	c->own = malloc(FILE_MAX + 2);
	if (c->own == NULL)
		return -ENOMEM;
	c->b = c->own;
	c->mode = st.st_mode & 07777;
	c->uid = st.st_uid;
	c->gid = st.st_gid;
	if (S_ISREG(st.st_mode)) {
		c->was = WAS_FILE;
		r = content_read(path, c);
	} else {
		c->was = WAS_LINK;
		n = readlink(path, c->own, PATH_MAX);
		r = n < 0 ? -errno : 0;
		c->len = n < 0 ? 0 : (size_t)n;
	}
	if (r < 0) {
		free(c->own);
		c->own = NULL;
		return r;
	}
	c->own[c->len] = '\0';
	return 0;
}

static int
temp_make_file(const char *temp, const struct undo_content *c)
{
	int fd = open(
	    temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = durable_write(fd, c->b, c->len);
	/* Owner before mode: chown clears set-id bits. */
	if (r == 0 &&
	    (fchown(fd, c->uid, c->gid) < 0 || fchmod(fd, c->mode) < 0))
		r = -errno;
	return durable_close(fd, r);
}

static int
temp_make_link(const char *temp, const struct undo_content *c)
{
	if (symlink(c->b, temp) < 0)
		return -errno;
	return lchown(temp, c->uid, c->gid) < 0 ? -errno : 0;
}

/* Readers see the old or the new, never a part. */
static int
put_replace(const char *path, const struct undo_content *c)
{
	char temp[PATH_MAX + sizeof(TEMP_SUFFIX)];
	int r;

	snprintf(temp, sizeof(temp), "%s" TEMP_SUFFIX, path);
	unlink(temp);
	r = c->was == WAS_LINK ? temp_make_link(temp, c)
			       : temp_make_file(temp, c);
	if (r == 0 && rename(temp, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temp);
		return r;
	}
	return durable_sync_parent(path);
}

/* Owner and mode stay as they are. A kill leaves a mixture of the old and the
 * new, which undo_file_is_ours() knows. */
static int
put_inplace(const char *path, const struct undo_content *c)
{
	int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = durable_write(fd, c->b, c->len);
	if (r == 0 && ftruncate(fd, (off_t)c->len) < 0)
		r = -errno;
	return durable_close(fd, r);
}

static int
content_put(const struct target *t, const struct undo_content *c)
{
	if (c->was == WAS_ABSENT) {
		if (unlink(t->path) < 0 && errno != ENOENT)
			return -errno;
		return durable_sync_parent(t->path);
	}
	return t->inplace ? put_inplace(t->path, c) : put_replace(t->path, c);
}

bool
undo_file_is_ours(const struct undo_content *now,
    const struct undo_content *old, const struct undo_content *new,
    bool inplace)
{
	size_t longer = old->len > new->len ? old->len : new->len;
	size_t shorter = old->len > new->len ? new->len : old->len;

	if (now->was != WAS_FILE)
		return false;
	if (now->len == new->len && memcmp(now->b, new->b, new->len) == 0)
		return true;
	if (!inplace || now->len < shorter || now->len > longer)
		return false;
	for (size_t i = 0; i < now->len; i++)
		if (!(i < old->len && now->b[i] == old->b[i]) &&
		    !(i < new->len && now->b[i] == new->b[i]))
			return false;
	return true;
}

static bool
same_content(const struct undo_content *a, const struct undo_content *b)
{
	return a->was == b->was && a->len == b->len &&
	       (a->len == 0 || memcmp(a->b, b->b, a->len) == 0);
}

static int
file_journal(struct undo *u, const char *path, const struct target *t,
    const struct undo_content *old, const struct undo_content *new,
    struct diag *d)
{
	char mode[16], uid[16], gid[16];
	struct undo_field f[FILE_FIELDS];

	snprintf(mode, sizeof(mode), "%u", old->mode);
	snprintf(uid, sizeof(uid), "%u", old->uid);
	snprintf(gid, sizeof(gid), "%u", old->gid);
	f[FILE_PATH] = undo_text_field(path);
	f[FILE_WAS] = undo_text_field(was_word[old->was]);
	f[FILE_MODE] = undo_text_field(mode);
	f[FILE_UID] = undo_text_field(uid);
	f[FILE_GID] = undo_text_field(gid);
	f[FILE_OLD] = (struct undo_field){old->b, old->len};
	f[FILE_NEW] = (struct undo_field){new->b, new->len};
	f[FILE_HOW] = undo_text_field(t->inplace ? "inplace" : "replace");
	return undo_add(u, undo_kind_file.name, f, FILE_FIELDS, d);
}

static int
file_change(struct undo *u, const char *path, const struct target *t,
    const struct undo_content *old, const struct undo_content *new,
    struct diag *d)
{
	int r = file_journal(u, path, t, old, new, d);

	if (r < 0)
		return r;
	r = content_put(t, new);
	if (r < 0) {
		diag_error(d, "cannot replace %s: %s", path, strerror(-r));
		undo_last(u, d);
		return os_err(-r);
	}
	return 0;
}

int
undo_file(struct undo *u, const char *path, const void *bytes, size_t len,
    struct diag *d)
{
	struct undo_content old, new = {.was = WAS_FILE, .mode = 0644};
	struct target t;
	int r = target_find(path, &t);

	if (r < 0 || len > FILE_MAX) {
		diag_error(d, "cannot replace %s: %s", path,
		    r < 0 ? "not an absolute path" : "too much text");
		return UK_EINVAL;
	}
	r = content_get(t.path, &old);
	if (r < 0) {
		diag_error(d, "cannot read %s: %s", path, strerror(-r));
		return os_err(-r);
	}
	new.b = bytes;
	new.len = len;
	if (old.was == WAS_FILE) {
		new.mode = old.mode;
		new.uid = old.uid;
		new.gid = old.gid;
	} else {
		new.uid = geteuid();
		new.gid = getegid();
	}
	r = same_content(&old, &new) ? 0
				     : file_change(u, path, &t, &old, &new, d);
	free(old.own);
	return r;
}

int
undo_file_restore(struct undo *u, const char *path, struct diag *d)
{
	return undo_matching(u, NULL, undo_kind_file.name, path, d);
}

static int
file_parse(const struct undo_line *l, struct undo_content *old,
    struct undo_content *new)
{
	const struct undo_field *f = l->field;
	uint64_t mode, uid, gid;
	int was = -1;

	for (int i = 0; i < (int)ARRAY_LEN(was_word); i++)
		if (strcmp(f[FILE_WAS].b, was_word[i]) == 0)
			was = i;
	if (was < 0 || undo_field_text(&f[FILE_PATH]) == NULL ||
	    (was == WAS_LINK && undo_field_text(&f[FILE_OLD]) == NULL))
		return UK_EPROTO;
	if (value_parse_u64(
		&mode, f[FILE_MODE].b, f[FILE_MODE].len, 07777, false) < 0 ||
	    value_parse_u64(
		&uid, f[FILE_UID].b, f[FILE_UID].len, UINT32_MAX, false) < 0 ||
	    value_parse_u64(
		&gid, f[FILE_GID].b, f[FILE_GID].len, UINT32_MAX, false) < 0)
		return UK_EPROTO;
	*old = (struct undo_content){.was = (enum undo_was)was,
	    .mode = (mode_t)mode,
	    .uid = (uid_t)uid,
	    .gid = (gid_t)gid,
	    .b = f[FILE_OLD].b,
	    .len = f[FILE_OLD].len};
	*new = (struct undo_content){
	    .was = WAS_FILE, .b = f[FILE_NEW].b, .len = f[FILE_NEW].len};
	return 0;
}

static int
left_alone(const char *path, const struct undo_where *w, struct diag *d)
{
	if (w->same_netns) {
		diag_warn(d,
		    "%s is left as it is: somebody changed it after us", path);
		return 0;
	}
	/* With the namespace often goes a view of the file of its own, as
	 * ip-netns(8) makes it. */
	diag_error(d,
	    "%s does not hold what we wrote in another network namespace "
	    "(%s): run `ukai restore` there",
	    path, w->netns);
	return UK_EBUSY;
}

static int
file_undo(const struct undo_line *l, const struct undo_where *w, struct diag *d)
{
	const char *path = l->field[FILE_PATH].b;
	bool inplace = strcmp(l->field[FILE_HOW].b, "inplace") == 0;
	char temp[PATH_MAX + sizeof(TEMP_SUFFIX)];
	struct undo_content old, new, now;
	struct target t;
	int r = 0;

	if (file_parse(l, &old, &new) < 0 || target_find(path, &t) < 0) {
		diag_error(d, "the journal names an impossible file");
		return UK_EPROTO;
	}
	snprintf(temp, sizeof(temp), "%s" TEMP_SUFFIX, t.path);
	if (!inplace)
		unlink(temp);
	r = content_get(t.path, &now);
	if (r == -EINVAL || r == -EFBIG)
		return left_alone(path, w, d);
	if (r == 0 && !same_content(&now, &old)) {
		if (!undo_file_is_ours(&now, &old, &new, inplace)) {
			free(now.own);
			return left_alone(path, w, d);
		}
		r = content_put(&t, &old);
	}
	free(now.own);
	if (r < 0)
		diag_error(
		    d, "cannot put %s back as it was: %s", path, strerror(-r));
	return r < 0 ? os_err(-r) : 0;
}

static void
file_describe(const struct undo_line *l, char *out, size_t cap)
{
	snprintf(out, cap, "%s", l->field[FILE_PATH].b);
}

const struct undo_kind undo_kind_file = {
    .name = "file",
    .stacked = true,
    .fields = FILE_FIELDS,
    .describe = file_describe,
    .undo = file_undo,
};
