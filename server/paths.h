/* paths: where a relay keeps what it needs while it runs and afterwards. The
 * folders are the client's too; the endings tell whose a file is.
 * UKAI_RUN_DIR and UKAI_STATE_DIR in the environment change the folders, for
 * tests with several hosts on one file system. */
#ifndef UKAI_SERVER_PATHS_H
#define UKAI_SERVER_PATHS_H

#include "conf.h"
#include "core/diag.h"

#define PATHS_MAX 256
#define PATHS_CONFIG "/etc/ukai/relay.conf"

enum paths_kind {
	PATHS_SOCKET, /* of the running relay's control */
	PATHS_JOURNAL, /* of host changes to undo */
	PATHS_STAMPS,
};

/* Path for the relay of an interface. Returns 0; UK_EINVAL: too long, told
 * to d. */
int paths_make(char path[static PATHS_MAX], enum paths_kind kind,
    const char *ifname, struct diag *d);

/* Of the registry: as relay.conf says, or registry.db in the state folder. */
int paths_registry(
    char path[static PATHS_MAX], const struct server_conf *c, struct diag *d);

/* The folder of a kind. */
const char *paths_folder(enum paths_kind kind);

/* May we not read that folder? Then paths_list() finds nothing, which is not
 * the same as there being nothing. Says so to d. */
bool paths_denied(enum paths_kind kind, struct diag *d);

/* Names of the interfaces that have such a file, at most cap of them.
 * Returns how many there are. */
size_t paths_list(enum paths_kind kind, char (*ifname)[16], size_t cap);

#endif
