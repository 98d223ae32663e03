#include "durable.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <unistd.h>

#include "os_err.h"

int
durable_write(int fd, const void *bytes, size_t len)
{
	const char *b = bytes;

	while (len > 0) {
		ssize_t n = write(fd, b, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		b += n;
		len -= (size_t)n;
	}
	return 0;
}

int
durable_close(int fd, int err)
{
	if (err == 0 && fsync(fd) < 0)
		err = -errno;
	/* Network file systems tell here that the disk was full. */
	if (close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}

int
durable_rename_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	/* Some network file systems cannot, but link. */
	if (errno != EINVAL || link(from, to) < 0)
		return -errno;
	(void)unlink(from);
	return 0;
}

int
durable_sync_parent(const char *path)
{
	char copy[PATH_MAX];
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : durable_close(fd, 0);
}

static int
new_name(char name[static PATH_MAX], const char *path)
{
	return snprintf(name, PATH_MAX, "%s.new", path) < PATH_MAX
		   ? 0
		   : -ENAMETOOLONG;
}

void
durable_sweep(const char *path)
{
	char new[PATH_MAX];

	if (new_name(new, path) == 0)
		(void)unlink(new);
}

static int
write_new(const char *new, const void *bytes, size_t len)
{
	int fd;

	if (unlink(new) < 0 && errno != ENOENT) /* of a killed predecessor */
		return -errno;
	fd = open(
	    new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	return durable_close(fd, durable_write(fd, bytes, len));
}

static int
put(const char *path, const void *bytes, size_t len, bool replace)
{
	char new[PATH_MAX];
	int err = new_name(new, path);

	if (err < 0)
		return err;
	err = write_new(new, bytes, len);
	if (err == 0 && !replace)
		err = durable_rename_new(new, path);
	else if (err == 0 && rename(new, path) < 0)
		err = -errno;
	if (err < 0) {
		(void)unlink(new);
		return err;
	}
	err = durable_sync_parent(path);
	if (err < 0 && !replace)
		(void)unlink(path);
	return err;
}

int
durable_replace(const char *path, const void *bytes, size_t len, struct diag *d)
{
	int err = put(path, bytes, len, true);

	return err < 0 ? os_err_tell(-err, path, "write it", d) : 0;
}

int
durable_create(const char *path, const void *bytes, size_t len, struct diag *d)
{
	int err = put(path, bytes, len, false);

	if (err == -EEXIST) {
		diag_error(d, "%s is there already and stays as it is", path);
		return UK_EEXIST;
	}
	return err < 0 ? os_err_tell(-err, path, "write it", d) : 0;
}
