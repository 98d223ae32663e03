#include "process.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/value.h"

#define COMM_LEN (PROCESS_COMM_MAX - 1)

enum process_match
process_match(const struct process *p, const char *name)
{
	bool cut = strlen(name) >= COMM_LEN;

	if (!cut && strcmp(p->comm, name) == 0)
		return PROCESS_BY_NAME;
	/* What begins like it may be called otherwise: who says the rest? */
	if (cut && strncmp(p->comm, name, COMM_LEN) == 0) {
		if (strcmp(p->exe, name) == 0)
			return PROCESS_BY_NAME;
		for (size_t i = 0; i < PROCESS_ARGS; i++)
			if (strcmp(p->arg[i], name) == 0)
				return PROCESS_BY_NAME;
	}
	return strcmp(p->exe, name) == 0 ? PROCESS_BY_FILE : PROCESS_NO;
}

/* Longer ones than a file can have are nobody's: "". */
static void
last_part(char name[static PROCESS_NAME_MAX], const char *path, size_t len)
{
	const char *slash = memrchr(path, '/', len);
	size_t from = slash != NULL ? (size_t)(slash - path) + 1 : 0;

	name[0] = '\0';
	if (len - from >= PROCESS_NAME_MAX)
		return;
	memcpy(name, path + from, len - from);
	name[len - from] = '\0';
}

void
process_exe(char name[static PROCESS_NAME_MAX], const char *path, size_t len)
{
	static const char deleted[] = " (deleted)";
	size_t cut = sizeof(deleted) - 1;

	if (len > cut && memcmp(path + len - cut, deleted, cut) == 0)
		len -= cut;
	last_part(name, path, len);
}

void
process_args(struct process *p, const char *text, size_t len)
{
	for (size_t i = 0; i < PROCESS_ARGS; i++) {
		size_t n = strnlen(text, len);

		last_part(p->arg[i], text, n);
		/* What is cut at the end of the text is no whole argument. */
		if (n == len) {
			p->arg[i][0] = '\0';
			continue;
		}
		text += n + 1;
		len -= n + 1;
	}
}

static ssize_t
read_proc(int pid, const char *file, char *text, size_t cap)
{
	char path[48];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, cap);
	close(fd);
	return n;
}

int
process_read(struct process *p, int pid)
{
	char text[PATH_MAX], path[32];
	ssize_t n = read_proc(pid, "comm", p->comm, sizeof(p->comm));

	memset(p->arg, 0, sizeof(p->arg));
	p->exe[0] = '\0';
	if (n <= 0)
		return -1;
	p->comm[n - 1] = '\0'; /* its newline */
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, text, sizeof(text));
	if (n > 0)
		process_exe(p->exe, text, (size_t)n);
	if (strlen(p->comm) < COMM_LEN)
		return 0;
	n = read_proc(pid, "cmdline", text, sizeof(text));
	if (n > 0)
		process_args(p, text, (size_t)n);
	return 0;
}

/* proc_pid_stat(5): the 22nd; the second is the name, in brackets, which may
 * have brackets and blanks in it. */
int
process_parse_start(uint64_t *start, const char *text)
{
	const char *at = strrchr(text, ')');

	if (at == NULL)
		return -1;
	for (int field = 2; field < 22; field++) {
		at = strchr(at + 1, ' ');
		if (at == NULL)
			return -1;
	}
	return value_parse_u64(
		   start, at + 1, strcspn(at + 1, " \n"), UINT64_MAX, false) < 0
		   ? -1
		   : 0;
}

int
process_start(uint64_t *start, int pid)
{
	char text[1024];
	ssize_t n = read_proc(pid, "stat", text, sizeof(text) - 1);

	if (n <= 0)
		return -1;
	text[n] = '\0';
	return process_parse_start(start, text);
}

bool
process_netns(struct process_netns *n, int pid)
{
	char path[32] = "/proc/self/ns/net";
	struct stat st;

	if (pid != 0)
		snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	if (stat(path, &st) < 0)
		return false;
	n->dev = st.st_dev;
	n->ino = st.st_ino;
	return true;
}

static int
each_number(const char *folder, void (*visit)(void *arg, int number), void *arg)
{
	DIR *dir = opendir(folder);
	struct dirent *e;

	if (dir == NULL)
		return -1;
	while ((e = readdir(dir)) != NULL)
		if (isdigit((unsigned char)e->d_name[0]))
			visit(arg, atoi(e->d_name));
	closedir(dir);
	return 0;
}

int
process_each(void (*visit)(void *arg, int pid), void *arg)
{
	return each_number("/proc", visit, arg);
}

struct children {
	int pid;
	void (*visit)(void *arg, int pid);
	void *arg;
};

static void
each_child_of_thread(void *arg, int thread)
{
	const struct children *c = arg;
	char path[64];
	FILE *f;
	int pid;

	snprintf(
	    path, sizeof(path), "/proc/%d/task/%d/children", c->pid, thread);
	f = fopen(path, "re");
	if (f == NULL)
		return;
	while (fscanf(f, "%d", &pid) == 1)
		c->visit(c->arg, pid);
	fclose(f);
}

void
process_each_child(int pid, void (*visit)(void *arg, int pid), void *arg)
{
	struct children c = {pid, visit, arg};
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	each_number(path, each_child_of_thread, &c);
}
