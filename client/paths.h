/* paths: the names of running clients and the files that go with them.
 *
 *   UKAI_RUN_DIR    (/run/ukai)       NAME.sock     status and stop requests
 *                                     NAME.names    see policy/names_kept.h
 *   UKAI_STATE_DIR  (/var/lib/ukai)   NAME.journal  what is to be undone
 *                                     NAME.guard    likewise; a start leaves
 *                                                   that to its policy
 *                                     NAME.stamp    see stamp.h
 *                                     map-e.answer  see mape/provision.h
 *   UKAI_CONF_DIR   (/etc/ukai)       NAME.conf     what `ukai join` writes,
 *                                     NAME.rules    and its policy
 *                                     NAME.joining  see join.h
 *
 * The environment variables are for several hosts on one file system. A name
 * is the interface's and the configuration file's, as with wg-quick. */
#ifndef UKAI_CLIENT_PATHS_H
#define UKAI_CLIENT_PATHS_H

#include "core/base.h"
#include "core/diag.h"

#define CLIENT_NAME_MAX 16 /* with its zero: IF_NAMESIZE */
#define CLIENT_PATH_MAX 104 /* what a socket's address has room for */

/* 1..15 of the characters that wg-quick takes: letters, digits, "_=+.-", not
 * first '-' or '.'. Such a name is harmless in paths and in nft's syntax. */
bool client_name_ok(const char *name);

/* "/etc/ukai/ukai0.conf" -> "ukai0". Returns 0; UK_EINVAL after telling d. */
int client_name_of_file(
    char name[static CLIENT_NAME_MAX], const char *file, struct diag *d);

struct client_paths {
	char control[CLIENT_PATH_MAX];
	char journal[CLIENT_PATH_MAX];
	char guard[CLIENT_PATH_MAX]; /* journal of what stays when killed */
	char stamp[CLIENT_PATH_MAX];
	char names[CLIENT_PATH_MAX]; /* addresses of names, for the next start */
	char uapi[CLIENT_PATH_MAX];
	char conf_dir[CLIENT_PATH_MAX];
	char conf[CLIENT_PATH_MAX];
	char rules[CLIENT_PATH_MAX];
	char joining[CLIENT_PATH_MAX];
};

/* Returns 0; UK_EINVAL: a directory in the environment is relative or too
 * long. */
int client_paths(struct client_paths *p, const char *name, struct diag *d);

/* A file in the state directory that is not of one name. Returns 0; UK_EINVAL,
 * told to d. */
int client_state_path(
    char path[static CLIENT_PATH_MAX], const char *file, struct diag *d);

/* Make the run directory, and see that nobody else may write there. Returns
 * 0; UK_EPERM, UK_ESYS. */
int client_paths_make(struct diag *d);

/* Remove the sockets of a name where nobody answers: a killed process leaves
 * them. */
void client_paths_remove_dead(const struct client_paths *p);

struct client_names {
	char (*name)[CLIENT_NAME_MAX];
	size_t n;
};

/* The names that have a control socket / a journal of either kind, in order. No
 * directory: none. Returns 0; UK_EPERM, UK_ESYS, UK_ENOMEM. */
int client_names_of_sockets(struct client_names *l, struct diag *d);
int client_names_of_journals(struct client_names *l, struct diag *d);
void client_names_fini(struct client_names *l);

#endif
