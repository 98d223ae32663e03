#include "conf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "os_err.h"

#ifdef _WIN32
#define OPEN_FLAGS (O_RDONLY | O_BINARY)
#define MODE_OTHERS 0 /* access lists, which the installer sets */
#else
/* O_NONBLOCK: opening a FIFO must not wait for its other end. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK)
#define MODE_OTHERS (S_IRWXG | S_IRWXO)
#endif

static int
too_large(const char *path, struct diag *d)
{
	diag_error(d, "%s: larger than %zu MiB", path, CONF_FILE_MAX >> 20);
	return UK_EMSGSIZE;
}

static int
check_kind(int fd, const char *path, size_t *size, struct diag *d)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return os_err_tell(errno, path, "look at it", d);
	if (!S_ISREG(st.st_mode)) {
		diag_error(d, "%s: not a regular file", path);
		return UK_EINVAL;
	}
	if (st.st_size < 0 || (uint64_t)st.st_size > CONF_FILE_MAX)
		return too_large(path, d);
	if (st.st_mode & MODE_OTHERS)
		diag_warn(d,
		    "%s holds keys and is open to other users; run: chmod 600 "
		    "%s",
		    path, path);
	*size = (size_t)st.st_size;
	return 0;
}

/* Not stdio: its buffer would keep a copy of the keys. The file may change
 * while it is read, so its end is where read() says. */
static int
read_all(
    int fd, struct conf_file *f, size_t room, const char *path, struct diag *d)
{
	while (f->len < room) {
		ssize_t n = read(fd, f->text + f->len, room - f->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return os_err_tell(errno, path, "read it", d);
		if (n == 0)
			return 0;
		f->len += (size_t)n;
	}
	diag_error(d, "%s: grew while it was read; try again", path);
	return UK_EAGAIN;
}

static int
read_fd(int fd, struct conf_file *f, const char *path, struct diag *d)
{
	size_t size = 0;
	int err = check_kind(fd, path, &size, d);

	if (err < 0)
		return err;
	/* One more, to see the end. */
	f->text = malloc(size + 1);
	if (f->text == NULL) {
		diag_error(d, "%s: out of memory", path);
		return UK_ENOMEM;
	}
	err = read_all(fd, f, size + 1, path, d);
	if (err < 0)
		conf_file_fini(f);
	return err;
}

int
conf_file_read(struct conf_file *f, const char *path, struct diag *d)
{
	int fd, err;

	*f = (struct conf_file){.text = NULL};
	fd = open(path, OPEN_FLAGS);
	if (fd < 0)
		return os_err_tell(errno, path, "open it", d);
	err = read_fd(fd, f, path, d);
	close(fd);
	return err;
}

void
conf_file_fini(struct conf_file *f)
{
	if (f->text != NULL)
		sodium_memzero(f->text, f->len);
	free(f->text);
	*f = (struct conf_file){.text = NULL};
}
