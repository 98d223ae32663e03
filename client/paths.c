#include "paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/err.h"
#include "host/os_err.h"

static const char *
directory(const char *variable, const char *usual)
{
	const char *v = getenv(variable);

	return v != NULL && v[0] != '\0' ? v : usual;
}

static const char *
run_dir(void)
{
	return directory("UKAI_RUN_DIR", "/run/ukai");
}

static const char *
state_dir(void)
{
	return directory("UKAI_STATE_DIR", "/var/lib/ukai");
}

static const char *
conf_dir(void)
{
	return directory("UKAI_CONF_DIR", "/etc/ukai");
}

bool
client_name_ok(const char *name)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz"
				    "0123456789_=+.-";
	size_t len = strlen(name);

	return len >= 1 && len < CLIENT_NAME_MAX && name[0] != '-' &&
	       name[0] != '.' && strspn(name, chars) == len;
}

int
client_name_of_file(
    char name[static CLIENT_NAME_MAX], const char *file, struct diag *d)
{
	static const char suffix[] = ".conf";
	const char *slash = strrchr(file, '/');
	const char *base = slash != NULL ? slash + 1 : file;
	size_t len = strlen(base), cut = sizeof(suffix) - 1;
	char text[CLIENT_NAME_MAX] = "";

	if (len > cut && strcmp(base + len - cut, suffix) == 0)
		len -= cut;
	if (len < sizeof(text))
		memcpy(text, base, len);
	if (!client_name_ok(text)) {
		diag_error(d,
		    "\"%.*s\" cannot be an interface's name, and the interface "
		    "is named after its file: NAME.conf, NAME of 1 to 15 "
		    "letters, digits and _=+.-",
		    (int)len, base);
		return UK_EINVAL;
	}
	memcpy(name, text, sizeof(text));
	return 0;
}

static bool
put(char out[static CLIENT_PATH_MAX], const char *dir, const char *name,
    const char *suffix)
{
	int n = snprintf(out, CLIENT_PATH_MAX, "%s/%s%s", dir, name, suffix);

	return dir[0] == '/' && n > 0 && n < CLIENT_PATH_MAX;
}

static int
bad_state_dir(struct diag *d)
{
	diag_error(d, "UKAI_STATE_DIR is not an absolute path of at most 80 "
		      "characters");
	return UK_EINVAL;
}

int
client_state_path(
    char path[static CLIENT_PATH_MAX], const char *file, struct diag *d)
{
	return put(path, state_dir(), file, "") ? 0 : bad_state_dir(d);
}

int
client_paths(struct client_paths *p, const char *name, struct diag *d)
{
	if (!put(p->control, run_dir(), name, ".sock") ||
	    !put(p->names, run_dir(), name, ".names")) {
		diag_error(d, "UKAI_RUN_DIR is not an absolute path of at most "
			      "80 characters");
		return UK_EINVAL;
	}
	if (!put(p->journal, state_dir(), name, ".journal") ||
	    !put(p->guard, state_dir(), name, ".guard") ||
	    !put(p->stamp, state_dir(), name, ".stamp"))
		return bad_state_dir(d);
	if (!put(p->conf, conf_dir(), name, ".conf") ||
	    !put(p->rules, conf_dir(), name, ".rules") ||
	    !put(p->joining, conf_dir(), name, ".joining")) {
		diag_error(d, "UKAI_CONF_DIR is not an absolute path of at "
			      "most 80 characters");
		return UK_EINVAL;
	}
	snprintf(p->conf_dir, sizeof(p->conf_dir), "%s", conf_dir());
	put(p->uapi, "/var/run/wireguard", name, ".sock");
	return 0;
}

int
client_paths_make(struct diag *d)
{
	const char *dir = run_dir();
	struct stat st;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		diag_error(d, "cannot make %s: %s", dir, strerror(errno));
		return os_err(errno);
	}
	if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode) ||
	    st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
		diag_error(
		    d, "%s is not a directory that only we can write to", dir);
		return UK_EPERM;
	}
	return 0;
}

static void
remove_dead(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	close(fd);
}

void
client_paths_remove_dead(const struct client_paths *p)
{
	remove_dead(p->control);
	remove_dead(p->uapi);
}

/* The length of NAME in "NAME" suffix; 0: not of that form. */
static size_t
name_len(const char *file, const char *suffix)
{
	char name[CLIENT_NAME_MAX] = "";
	size_t len = strlen(file), cut = strlen(suffix);

	if (len <= cut || len - cut >= sizeof(name) ||
	    strcmp(file + len - cut, suffix) != 0)
		return 0;
	memcpy(name, file, len - cut);
	return client_name_ok(name) ? len - cut : 0;
}

static int
is_socket(const struct dirent *e)
{
	return name_len(e->d_name, ".sock") > 0;
}

static int
is_journal(const struct dirent *e)
{
	return name_len(e->d_name, ".journal") > 0 ||
	       name_len(e->d_name, ".guard") > 0;
}

static int
compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* In the order of names, not of files: "a.journal" is behind "a.b.guard". */
static void
sort(struct client_names *l)
{
	size_t n = 0;

	qsort(l->name, l->n, sizeof(*l->name), compare);
	for (size_t i = 0; i < l->n; i++)
		if (n == 0 || strcmp(l->name[n - 1], l->name[i]) != 0)
			memmove(l->name[n++], l->name[i], sizeof(*l->name));
	l->n = n;
}

static int
take_names(struct client_names *l, struct dirent *const *e, size_t n)
{
	l->name = calloc(n + 1, sizeof(*l->name));
	if (l->name == NULL)
		return UK_ENOMEM;
	for (l->n = 0; l->n < n; l->n++) {
		const char *file = e[l->n]->d_name;

		memcpy(
		    l->name[l->n], file, (size_t)(strrchr(file, '.') - file));
	}
	sort(l);
	return 0;
}

/* Names are what stands before the last dot; in order, each once. */
static int
list(struct client_names *l, const char *dir,
    int (*filter)(const struct dirent *), struct diag *d)
{
	struct dirent **e;
	int n = scandir(dir, &e, filter, NULL), err;

	*l = (struct client_names){.name = NULL};
	if (n < 0 && errno == ENOENT)
		return 0;
	if (n < 0) {
		diag_error(d, "cannot read %s: %s%s", dir, strerror(errno),
		    errno == EACCES ? "; run as root" : "");
		return os_err(errno);
	}
	err = take_names(l, e, (size_t)n);
	for (int i = 0; i < n; i++)
		free(e[i]);
	free(e);
	return err;
}

int
client_names_of_sockets(struct client_names *l, struct diag *d)
{
	return list(l, run_dir(), is_socket, d);
}

int
client_names_of_journals(struct client_names *l, struct diag *d)
{
	return list(l, state_dir(), is_journal, d);
}

void
client_names_fini(struct client_names *l)
{
	free(l->name);
	*l = (struct client_names){.name = NULL};
}
