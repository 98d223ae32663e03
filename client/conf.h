/* client_conf: the client's configuration file: wg-quick's [Interface] and
 * [Peer], and our own [Ukai] and [MapE]. Memory: heap, wiped by
 * client_conf_fini() (X3). Threads: built once, then only read. */
#ifndef UKAI_CLIENT_CONF_H
#define UKAI_CLIENT_CONF_H

#include "core/conf_wg.h"
#include "mape/mape_conf.h"

#define CLIENT_POLICY_MAX 256 /* with its zero */

struct client_peers {
	struct conf_wg_peer *item;
	size_t n, cap;
};

struct client_networks {
	struct ip_prefix *item;
	size_t n, cap;
};

/* [Ukai] Routes. */
struct client_routes {
	struct conf_wg_allowed_list list;
	bool given; /* else the routes are the peers' AllowedIPs */
	unsigned off_line, off_column; /* of the word "off"; 0: not there */
};

struct client_conf {
	struct conf_wg_interface interface;
	struct client_peers peers;
	/* [Ukai] LocalNetworks: what stays on the line although a peer's
	 * AllowedIPs cover it. Only what the user named (R5). */
	struct client_networks local_networks;
	/* What takes the tunnel. Each prefix is in AllowedIPs; no prefix:
	 * nothing but answers. */
	struct client_routes routes;
	/* [Ukai] Policy: says what takes the tunnel, besides Routes; "": there
	 * is none, and without Routes AllowedIPs do. An absolute path. */
	char policy[CLIENT_POLICY_MAX];
	unsigned policy_line, policy_column;
	struct client_networks networks; /* whose gateway this host is, for
					    the policy */
	/* What names that take the tunnel may have as addresses, although they
	 * are private. */
	struct client_networks allow_private;
	uint32_t ports; /* that the line has for a protocol; 0: found out */
	struct mape_conf mape;
};

/* Pure. c need not be initialised. d must not be NULL. Returns 0 (d may have
 * warnings); UK_EINVAL with every mistake in d, in the file's order;
 * UK_ENOMEM. On error c is empty. */
int client_conf_parse(
    struct client_conf *c, const char *text, size_t len, struct diag *d);

/* Read the file, then parse; d's entries are about path, which d borrows.
 * Besides the above: the errors of conf_file_read(). */
int client_conf_load(struct client_conf *c, const char *path, struct diag *d);

/* Zero afterwards; a zero struct is fine. */
void client_conf_fini(struct client_conf *c);

#endif
