#include "paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "core/value.h"

static const char *const suffix[] = {
    [PATHS_SOCKET] = ".relay",
    [PATHS_JOURNAL] = ".relay-journal",
    [PATHS_STAMPS] = ".relay-stamps",
};

const char *
paths_folder(enum paths_kind kind)
{
	const char *set =
	    getenv(kind == PATHS_SOCKET ? "UKAI_RUN_DIR" : "UKAI_STATE_DIR");

	if (set != NULL && set[0] != '\0')
		return set;
	return kind == PATHS_SOCKET ? "/run/ukai" : "/var/lib/ukai";
}

int
paths_make(char path[static PATHS_MAX], enum paths_kind kind,
    const char *ifname, struct diag *d)
{
	int n = snprintf(path, PATHS_MAX, "%s/%s%s", paths_folder(kind), ifname,
	    suffix[kind]);

	if (n > 0 && n < PATHS_MAX)
		return 0;
	diag_error(d, "the path %s/... is too long", paths_folder(kind));
	return UK_EINVAL;
}

int
paths_registry(
    char path[static PATHS_MAX], const struct server_conf *c, struct diag *d)
{
	int n = c->registry != NULL
		    ? snprintf(path, PATHS_MAX, "%s", c->registry)
		    : snprintf(path, PATHS_MAX, "%s/registry.db",
			  paths_folder(PATHS_STAMPS));

	if (n > 0 && n < PATHS_MAX)
		return 0;
	diag_error(d, "the path of the registry is too long");
	return UK_EINVAL;
}

/* The interface's name in a file's name; false: not such a file. */
static bool
take_name(char ifname[16], enum paths_kind kind, const char *file)
{
	size_t len = strlen(file), end = strlen(suffix[kind]);

	if (len <= end || strcmp(file + len - end, suffix[kind]) != 0 ||
	    !value_is_ifname(file, len - end))
		return false;
	snprintf(ifname, 16, "%.*s", (int)(len - end), file);
	return true;
}

bool
paths_denied(enum paths_kind kind, struct diag *d)
{
	if (access(paths_folder(kind), R_OK | X_OK) == 0 || errno != EACCES)
		return false;
	diag_error(d, "%s: permission denied; run as root", paths_folder(kind));
	return true;
}

size_t
paths_list(enum paths_kind kind, char (*ifname)[16], size_t cap)
{
	DIR *dir = opendir(paths_folder(kind));
	struct dirent *e;
	char name[16];
	size_t n = 0;

	if (dir == NULL)
		return 0;
	while ((e = readdir(dir)) != NULL) {
		if (!take_name(name, kind, e->d_name))
			continue;
		if (n < cap)
			memcpy(ifname[n], name, sizeof(name));
		n++;
	}
	closedir(dir);
	return n;
}
