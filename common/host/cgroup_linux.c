#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf.h"
#include "core/err.h"
#include "os_err.h"

#define DEPTH_MAX 32
/* More than once: processes fork while they are moved. */
#define ROUNDS 100

/* ---- text of /proc ---- */

int
cgroup_parse(const char *text, char path[static CGROUP_PATH_MAX])
{
	const char *line = text;
	size_t len;

	while (strncmp(line, "0::", 3) != 0) {
		line = strchr(line, '\n');
		if (line == NULL)
			return -ENOENT;
		line++;
	}
	line += 3;
	len = strcspn(line, "\n");
	/* "/../x": outside of our cgroup namespace. */
	if (line[0] != '/' || strncmp(line, "/..", 3) == 0)
		return -ENOENT;
	if (len >= CGROUP_PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(path, line, len);
	path[len] = '\0';
	return 0;
}

/* mountinfo writes blanks as "\040". */
static void
unescape(char *s)
{
	char *to = s;

	for (; *s != '\0'; s++, to++) {
		*to = *s;
		if (s[0] != '\\' || s[1] < '0' || s[1] > '3' || s[2] < '0' ||
		    s[2] > '7' || s[3] < '0' || s[3] > '7')
			continue;
		*to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
			     (s[3] - '0'));
		s += 3;
	}
	*to = '\0';
}

/* proc_pid_mountinfo(5): ID, parent, device, root, mount point, options. */
int
cgroup_parse_mount(const char *line, char path[static CGROUP_PATH_MAX])
{
	const char *type = strstr(line, " - "), *at = line;
	size_t len;

	if (type == NULL || strncmp(type, " - cgroup2 ", 11) != 0)
		return -ENOENT;
	for (int field = 0; field < 3; field++) {
		at += strcspn(at, " ");
		if (at >= type)
			return -ENOENT;
		at++;
	}
	if (strncmp(at, "/ /", 3) != 0)
		return -ENOENT;
	at += 2;
	len = strcspn(at, " ");
	if (len >= CGROUP_PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(path, at, len);
	path[len] = '\0';
	unescape(path);
	return 0;
}

int
cgroup_of(int pid, char path[static CGROUP_PATH_MAX])
{
	char file[32], text[2 * CGROUP_PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return -ESRCH;
	text[n] = '\0';
	return cgroup_parse(text, path);
}

/* ---- the root ---- */

static bool
writable(int root)
{
	return faccessat(root, "cgroup.procs", W_OK, AT_EACCESS) == 0;
}

/* -1: none. */
static int
open_mounted(bool *found)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char path[CGROUP_PATH_MAX], *line = NULL;
	size_t cap = 0;
	int root = -1;

	*found = false;
	if (f == NULL)
		return -1;
	while (root < 0 && getline(&line, &cap, f) > 0) {
		if (cgroup_parse_mount(line, path) < 0)
			continue;
		*found = true;
		root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (root >= 0 && !writable(root)) {
			close(root);
			root = -1;
		}
	}
	free(line);
	fclose(f);
	return root;
}

static int
mount_apart(void)
{
	int fs = fsopen("cgroup2", FSOPEN_CLOEXEC), mount = -1, root, e;

	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	e = errno;
	close(fs);
	if (mount < 0)
		return -e;
	root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	e = errno;
	close(mount);
	return root >= 0 ? root : -e;
}

int
cgroup_open(int *root, struct diag *d)
{
	bool found;
	int r;

	*root = open_mounted(&found);
	if (*root >= 0)
		return 0;
	r = mount_apart();
	if (r >= 0 && writable(r)) {
		*root = r;
		return 0;
	}
	if (r >= 0)
		close(r);
	if (found) {
		diag_error(d, "cgroup 2 is mounted here, but may not be "
			      "written: in a container, or in a service with "
			      "ProtectControlGroups=yes");
		return UK_EPERM;
	}
	if (r == -ENODEV || r == -ENOSYS) {
		diag_error(d, "this kernel has no cgroup 2 (Linux 5.2 with "
			      "CONFIG_CGROUPS is wanted)");
		return UK_ENOENT;
	}
	diag_error(d,
	    "cgroup 2 is not mounted, and cannot be by us (%s): `mount -t "
	    "cgroup2 none /sys/fs/cgroup/unified`, or boot with "
	    "systemd.unified_cgroup_hierarchy=1",
	    strerror(r < 0 ? -r : EROFS));
	return UK_ENOENT;
}

/* ---- folders ---- */

int
cgroup_join(
    char path[static CGROUP_PATH_MAX], const char *parent, const char *name)
{
	int n = snprintf(path, CGROUP_PATH_MAX, "%s/%s",
	    strcmp(parent, "/") == 0 ? "" : parent, name);

	return n < CGROUP_PATH_MAX ? 0 : -ENAMETOOLONG;
}

const char *
cgroup_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

/* As openat() wants it. */
static const char *
below(const char *path)
{
	return path[1] != '\0' ? path + 1 : ".";
}

static int
open_folder(int root, const char *path)
{
	int fd = openat(root, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 ? fd : -errno;
}

int
cgroup_make(int root, const char *path)
{
	return mkdirat(root, below(path), 0755) == 0 ? 0 : -errno;
}

int
cgroup_remove(int root, const char *path)
{
	return unlinkat(root, below(path), AT_REMOVEDIR) == 0 ? 0 : -errno;
}

static int
open_procs(int root, const char *path, int flags)
{
	int dir = open_folder(root, path), fd, e;

	if (dir < 0)
		return dir;
	fd = openat(dir, "cgroup.procs", flags | O_CLOEXEC);
	e = errno;
	close(dir);
	return fd >= 0 ? fd : -e;
}

int
cgroup_put(int root, const char *path, int pid)
{
	int fd = open_procs(root, path, O_WRONLY), r = 0;

	if (fd < 0)
		return fd;
	if (dprintf(fd, "%d\n", pid) < 0)
		r = -errno;
	close(fd);
	return r;
}

static int
each_process(
    int root, const char *path, void (*visit)(void *arg, int pid), void *arg)
{
	int fd = open_procs(root, path, O_RDONLY), pid;
	FILE *f;

	if (fd < 0)
		return fd;
	f = fdopen(fd, "r");
	if (f == NULL) {
		close(fd);
		return -ENOMEM;
	}
	while (fscanf(f, "%d", &pid) == 1)
		visit(arg, pid);
	fclose(f);
	return 0;
}

static void
count_one(void *arg, int pid)
{
	uint32_t *n = arg;

	(void)pid;
	++*n;
}

int
cgroup_count(int root, const char *path, uint32_t *processes)
{
	*processes = 0;
	return each_process(root, path, count_one, processes);
}

struct finder {
	const char *prefix;
	void (*visit)(void *arg, const char *path);
	void *arg;
};

/* dir is taken. */
static void
find(const struct finder *f, int dir, const char *path, unsigned depth)
{
	DIR *d = fdopendir(dir);
	char child[CGROUP_PATH_MAX];
	struct dirent *e;
	int fd;

	if (d == NULL) {
		close(dir);
		return;
	}
	while (depth < DEPTH_MAX && (e = readdir(d)) != NULL) {
		if (e->d_type != DT_DIR || strcmp(e->d_name, ".") == 0 ||
		    strcmp(e->d_name, "..") == 0 ||
		    cgroup_join(child, path, e->d_name) < 0)
			continue;
		fd = openat(dirfd(d), e->d_name,
		    O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0)
			find(f, fd, child, depth + 1);
		if (strncmp(e->d_name, f->prefix, strlen(f->prefix)) == 0)
			f->visit(f->arg, child);
	}
	closedir(d);
}

void
cgroup_find(int root, const char *prefix,
    void (*visit)(void *arg, const char *path), void *arg)
{
	const struct finder f = {prefix, visit, arg};
	int fd = open_folder(root, "/");

	if (fd >= 0)
		find(&f, fd, "/", 0);
}

/* ---- programs ---- */

static int
change(int root, const char *path, int prog,
    int (*how)(int cgroup, int prog, enum bpf_attach_type type))
{
	int dir = open_folder(root, path), r;

	if (dir < 0)
		return dir;
	r = how(dir, prog, BPF_CGROUP_INET_SOCK_CREATE);
	close(dir);
	return r;
}

int
cgroup_attach(int root, const char *path, int prog)
{
	return change(root, path, prog, bpf_cgroup_attach);
}

int
cgroup_detach(int root, const char *path, int prog)
{
	return change(root, path, prog, bpf_cgroup_detach);
}

int
cgroup_programs(int root, const char *path, uint32_t *id, uint32_t *n)
{
	int dir = open_folder(root, path), r;

	if (dir < 0)
		return dir;
	r = bpf_cgroup_query(dir, BPF_CGROUP_INET_SOCK_CREATE, id, n);
	close(dir);
	return r;
}

static void
detach_ours(int root, const char *path)
{
	uint32_t id[CGROUP_PROGRAMS_MAX], n = ARRAY_LEN(id);

	if (cgroup_programs(root, path, id, &n) < 0)
		return;
	for (uint32_t i = 0; i < n && i < ARRAY_LEN(id); i++) {
		int prog = bpf_prog_open(id[i], CGROUP_PROGRAM);

		if (prog < 0)
			continue;
		cgroup_detach(root, path, prog);
		close(prog);
	}
}

/* ---- back to where they came from ---- */

struct mover {
	int root;
	char to[CGROUP_PATH_MAX];
};

static void
move_one(void *arg, int pid)
{
	const struct mover *m = arg;

	/* Whoever has ended meanwhile is not there either; what is refused
	 * keeps the folder. */
	if (pid > 0)
		cgroup_put(m->root, m->to, pid);
}

int
cgroup_dissolve(int root, const char *path, struct diag *d)
{
	struct mover m = {.root = root};
	const char *name = cgroup_name(path);
	size_t len = (size_t)(name - path);
	int r = -EBUSY;

	UK_ASSERT(len > 0 && len < sizeof(m.to));
	memcpy(m.to, path, len > 1 ? len - 1 : 1);
	for (int i = 0; i < ROUNDS && r == -EBUSY; i++) {
		if (each_process(root, path, move_one, &m) == -ENOENT)
			return 0;
		r = cgroup_remove(root, path);
	}
	if (r == 0 || r == -ENOENT)
		return 0;
	detach_ours(root, path);
	diag_warn(d,
	    "the cgroup %s stays, without effect (%s): somebody has made "
	    "folders in it, or its processes cannot be moved back",
	    path, strerror(-r));
	return r;
}
