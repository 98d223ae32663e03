/* client: one running client, put together from its parts in steps; what a
 * step did is undone in reverse order when a later one fails and at the end. */
#ifndef UKAI_CLIENT_H
#define UKAI_CLIENT_H

#include <uv.h>

#include "conf.h"
#include "paths.h"

struct client;

struct client_setup {
	uv_loop_t *loop; /* stopped when the client has to end */
	const char *name;
	const struct client_paths *paths;
	/* Checked. The secrets in it are wiped as soon as the device has
	 * them. */
	struct client_conf *conf;
};

/* Pointers in s must stay until client_close(). Before anything else, what a
 * killed run of that name has left is undone, and said. Returns 0 (d may have
 * warnings); UK_EBUSY: it is up, or the name is in use; UK_EINVAL: the
 * configuration cannot be had on this host; UK_EPERM, UK_ESYS, UK_ENOMEM. On
 * error the host is as it was. */
int client_open(
    struct client **c, const struct client_setup *s, struct diag *d);

/* It ended because somebody deleted its interface. */
bool client_lost_interface(const struct client *c);

/* Restore the host. Returns 0; UK_ESYS: some of it stayed (d says what) and is
 * kept in the journal for client_open() or `ukai restore`. NULL: no-op. */
int client_close(struct client *c, struct diag *d);

#endif
