#include "store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "core/base.h"
#include "host/durable.h"
#include "host/os_err.h"

/* What SQLite keeps beside a database. */
static const char *const beside[] = {"-wal", "-shm", "-journal"};

#define KEPT ".before-restore"

int
store_file_name(char name[static PATH_MAX], const char *path,
    const char *suffix, struct diag *d)
{
	char folder[PATH_MAX], base[PATH_MAX];
	size_t len = strlen(path);
	int n = PATH_MAX;

	if (len < PATH_MAX) {
		memcpy(folder, path, len + 1);
		memcpy(base, path, len + 1);
		n = snprintf(name, PATH_MAX, "%s/%s%s", dirname(folder),
		    basename(base), suffix);
	}
	if (n > 0 && n < PATH_MAX)
		return 0;
	diag_error(d, "the path %s is too long", path);
	return UK_EINVAL;
}

static int
open_folder(const char *path, char folder[static PATH_MAX])
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	snprintf(folder, PATH_MAX, "%s", dirname(copy));
	return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Who may write the folder may put another file there. */
static int
check_folder(const char *path, struct diag *d)
{
	char folder[PATH_MAX];
	int fd = open_folder(path, folder);
	struct stat st;
	int r;

	if (fd < 0 && errno == ENOENT && mkdir(folder, 0700) == 0)
		fd = open_folder(path, folder);
	if (fd < 0)
		return os_err_tell(errno, folder, "open it", d);
	r = fstat(fd, &st);
	close(fd);
	if (r < 0)
		return os_err_tell(errno, folder, "look at it", d);
	if (st.st_uid != geteuid() && st.st_uid != 0) {
		diag_error(d, "%s belongs to another user; run: chown root %s",
		    folder, folder);
		return UK_EPERM;
	}
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		diag_error(d,
		    "other users may write %s, where the registry is; run: "
		    "chmod 700 %s",
		    folder, folder);
		return UK_EPERM;
	}
	return 0;
}

int
store_file_claim(const char *path, struct diag *d)
{
	char name[PATH_MAX];
	int fd, err = store_file_name(name, path, ".lock", d);

	if (err == 0)
		err = check_folder(path, d);
	if (err < 0)
		return err;
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return os_err_tell(errno, name, "open it", d);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	if (errno == EWOULDBLOCK) {
		diag_error(d,
		    "another process has the registry %s open: a relay that "
		    "runs? Then `systemctl stop ukai-relay` first",
		    path);
		err = UK_EBUSY;
	} else {
		err = os_err_tell(errno, name, "lock it", d);
	}
	close(fd);
	return err;
}

int
store_file_check(const char *path, struct diag *d)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT
			   ? 0
			   : os_err_tell(errno, path, "look at it", d);
	if (!S_ISREG(st.st_mode)) {
		diag_error(d, "%s is not a regular file", path);
		return UK_EPERM;
	}
	if (st.st_uid != geteuid()) {
		diag_error(d, "%s belongs to another user", path);
		return UK_EPERM;
	}
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		diag_error(d,
		    "%s holds keys and is open to other users; run: chmod 600 "
		    "%s",
		    path, path);
		return UK_EPERM;
	}
	return 1;
}

int
store_file_create(const char *path, struct diag *d)
{
	int fd = open(
	    path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return os_err_tell(errno, path, "make it", d);
	close(fd);
	return 0;
}

/* While a database is in use, SQLite has locks on bytes from 1 GiB on: the
 * lock-byte page of its file format. */
static bool
is_in_use(int fd)
{
	struct flock lock = {.l_type = F_WRLCK,
	    .l_whence = SEEK_SET,
	    .l_start = 1 << 30,
	    .l_len = 512};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int
copy_bytes(int from, int to)
{
	char b[65536];
	ssize_t n;
	int r = 0;

	do {
		n = read(from, b, sizeof(b));
		if (n < 0 && errno == EINTR)
			continue;
		r = n < 0 ? -errno : durable_write(to, b, (size_t)n);
	} while (n != 0 && r == 0);
	sodium_memzero(b, sizeof(b)); /* preshared keys were in it */
	return r;
}

/* from is the caller's to close. */
static int
copy_open(int from, const char *name, const char *to, struct diag *d)
{
	struct stat st;
	int fd, r;

	if (fstat(from, &st) < 0)
		return os_err_tell(errno, name, "look at it", d);
	if (!S_ISREG(st.st_mode)) {
		diag_error(d, "%s is not a regular file", name);
		return UK_EINVAL;
	}
	if (is_in_use(from)) {
		diag_error(d,
		    "%s is in use; copy it with `ukai-relay registry backup` "
		    "first",
		    name);
		return UK_EBUSY;
	}
	fd = open(
	    to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return os_err_tell(errno, to, "make it", d);
	r = durable_close(fd, copy_bytes(from, fd));
	return r < 0 ? os_err_tell(-r, to, "copy to it", d) : 0;
}

static int
copy_one(const char *from, const char *to, bool needed, struct diag *d)
{
	/* O_NONBLOCK: a FIFO must not keep us waiting. */
	int fd = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int err;

	if (fd < 0 && errno == ENOENT && !needed)
		return 0;
	if (fd < 0)
		return os_err_tell(errno, from, "open it", d);
	err = copy_open(fd, from, to, d);
	close(fd);
	return err;
}

int
store_file_copy(const char *from, const char *to, struct diag *d)
{
	char wal[PATH_MAX], to_wal[PATH_MAX];
	int err = store_file_name(wal, from, "-wal", d);

	if (err == 0)
		err = store_file_name(to_wal, to, "-wal", d);
	if (err == 0)
		err = copy_one(from, to, true, d);
	if (err == 0)
		err = copy_one(wal, to_wal, false, d);
	return err;
}

void
store_file_remove(const char *path)
{
	char name[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(beside); i++)
		if (store_file_name(name, path, beside[i], NULL) == 0)
			(void)unlink(name);
	(void)unlink(path);
}

static int
sync_folder(const char *path, struct diag *d)
{
	int r = durable_sync_parent(path);

	return r < 0 ? os_err_tell(-r, path, "sync its folder", d) : 0;
}

int
store_file_put(const char *path, struct diag *d)
{
	char new[PATH_MAX];
	int err = store_file_name(new, path, ".new", d);

	if (err < 0)
		return err;
	if (rename(new, path) < 0)
		return os_err_tell(errno, path, "replace it", d);
	return sync_folder(path, d);
}

struct names {
	char wal[PATH_MAX], kept[PATH_MAX], kept_wal[PATH_MAX];
};

static int
make_names(struct names *n, const char *path, struct diag *d)
{
	int err = store_file_name(n->wal, path, "-wal", d);

	if (err == 0)
		err = store_file_name(n->kept, path, KEPT, d);
	if (err == 0)
		err = store_file_name(n->kept_wal, path, KEPT "-wal", d);
	return err;
}

static int
unlink_if_there(const char *path, struct diag *d)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return os_err_tell(errno, path, "remove it", d);
	return 0;
}

static int
link_if_there(const char *path, const char *as, struct diag *d)
{
	if (link(path, as) < 0 && errno != ENOENT)
		return os_err_tell(errno, as, "make it", d);
	return 0;
}

/* A second name for each. At no moment is there a -wal beside a database that
 * it does not belong to. */
static int
keep(const struct names *n, const char *path, struct diag *d)
{
	int err = unlink_if_there(n->kept_wal, d);

	if (err == 0)
		err = unlink_if_there(n->kept, d);
	if (err == 0)
		err = link_if_there(path, n->kept, d);
	if (err == 0)
		err = link_if_there(n->wal, n->kept_wal, d);
	return err == 0 ? sync_folder(path, d) : err;
}

int
store_file_exchange(const char *path, struct diag *d)
{
	struct names n;
	int err = make_names(&n, path, d);

	if (err == 0)
		err = keep(&n, path, d);
	if (err == 0)
		err = unlink_if_there(n.wal, d);
	if (err < 0)
		return err;
	err = store_file_put(path, d);
	if (err < 0)
		(void)!link(n.kept_wal, n.wal);
	return err;
}

int
store_file_put_new(const char *from, const char *path, struct diag *d)
{
	int err = durable_rename_new(from, path);

	if (err < 0) {
		(void)unlink(from);
		return os_err_tell(-err, path, "make it", d);
	}
	err = sync_folder(path, d);
	if (err < 0)
		(void)unlink(path);
	return err;
}
