#include "rules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/err.h"
#include "host/os_err.h"

#include "rules_build.h"

#ifdef _WIN32
#define OPEN_FLAGS (O_RDONLY | O_BINARY)
#else
/* O_NONBLOCK: opening a FIFO must not wait for its other end. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK)
#endif

static int
check_kind(int fd, const char *path, size_t *size, struct diag *d)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return os_err_tell(errno, path, "look at it", d);
	if (!S_ISREG(st.st_mode)) {
		diag_error(d, "%s: %s", path,
		    S_ISDIR(st.st_mode) ? "a folder, not a file"
					: "not a regular file");
		return UK_EINVAL;
	}
	if (st.st_size < 0 || (uint64_t)st.st_size > RULES_FILE_MAX) {
		diag_error(
		    d, "%s: larger than %u MiB", path, RULES_FILE_MAX >> 20);
		return UK_EINVAL;
	}
	*size = (size_t)st.st_size;
	return 0;
}

/* It may change meanwhile: its end is where read() says. */
static int
read_all(int fd, const char *path, char *to, size_t room, size_t *len,
    struct diag *d)
{
	*len = 0;
	while (*len < room) {
		ssize_t n = read(fd, to + *len, room - *len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return os_err_tell(errno, path, "read it", d);
		if (n == 0)
			return 0;
		*len += (size_t)n;
	}
	diag_error(d, "%s: grew while it was read; try again", path);
	return UK_EINVAL;
}

static int
read_fd(int fd, const char *path, char **bytes, size_t *len, struct diag *d)
{
	size_t size = 0;
	int err = check_kind(fd, path, &size, d);

	if (err < 0)
		return err;
	/* One more, to see the end. */
	*bytes = malloc(size + 1);
	if (*bytes == NULL)
		return UK_ENOMEM;
	err = read_all(fd, path, *bytes, size + 1, len, d);
	if (err < 0) {
		free(*bytes);
		*bytes = NULL;
	}
	return err;
}

static int
read_file(
    void *arg, const char *path, char **bytes, size_t *len, struct diag *d)
{
	int fd = open(path, OPEN_FLAGS), err;

	(void)arg;
	if (fd < 0)
		return os_err_tell(errno, path, "open it", d);
	err = read_fd(fd, path, bytes, len, d);
	close(fd);
	return err;
}

int
rules_load(
    struct rules **out, const char *path, enum rules_os os, struct diag *d)
{
	static const struct rules_reader reader = {.read = read_file};
	char *text = NULL;
	size_t len = 0;
	int err;

	*out = NULL;
	d->file = path;
	err = read_file(NULL, path, &text, &len, d);
	if (err < 0)
		return err;
	return rules_parse_taken(out, path, text, len, &reader, os, d);
}
