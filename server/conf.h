/* server_conf: the relay's configuration file, relay.conf: one [Relay],
 * [Group] sections, and [Peer] sections as in WireGuard. Memory: heap, wiped
 * by server_conf_fini() (X3). Threads: built once, then only read. */
#ifndef UKAI_SERVER_CONF_H
#define UKAI_SERVER_CONF_H

#include "core/conf_wg.h"

#define SERVER_DEFAULT_PORT 51820
#define SERVER_DEFAULT_TLS_PORT 443
#define SERVER_PATH_MAX 1024
/* Name of TlsKey's file where it is not given. */
#define SERVER_TLS_KEY "relay-tls.key"
#define SERVER_DEFAULT_MTU 1420
#define SERVER_DEFAULT_INTERFACE "ukai0"

#define SERVER_NAME_MAX 32

struct server_name {
	char s[SERVER_NAME_MAX + 1]; /* [a-z0-9-] (C6); "": not given */
	unsigned line, column;
};

struct server_peer {
	struct conf_wg_peer wg; /* stands first */
	struct server_name name;
};

struct server_peers {
	struct server_peer *item;
	size_t n, cap;
};

struct server_names {
	struct server_name *item;
	size_t n, cap;
};

/* Clients that may reach each other (N4). Nobody need exist whom it names. */
struct server_group {
	unsigned line; /* of [Group] */
	struct server_name name;
	struct server_names members; /* a client may stand there twice */
};

struct server_groups {
	struct server_group *item;
	size_t n, cap;
};

struct server_port_range {
	uint16_t first, last;
};

struct server_port_ranges {
	struct server_port_range *item;
	size_t n, cap;
};

/* IPv4, with host bits. The prefix is the pool that clients live in. */
struct server_address {
	struct ip_ifaddr ifaddr;
	unsigned line, column;
};

struct server_conf {
	unsigned line; /* of [Relay] */
	struct conf_wg_key private_key;
	struct server_address address;
	char interface[16];
	uint16_t listen_port;
	uint16_t tls_port; /* 0: no enrolment */
	/* Absolute. tls_key: NULL after server_conf_parse() where it is not
	 * given, and never NULL after server_conf_load(). registry: NULL: the
	 * state folder's. */
	char *tls_key, *registry;
	struct endpoint metrics; /* port 0: none */
	uint16_t mtu;
	uint32_t fwmark; /* 0: none */
	/* What clients are translated to; FAMILY_NONE: found from the route to
	 * the internet at start. */
	struct ip_addr global_address;
	/* Where clients reach this host, where that is no address of its own
	 * (1:1 NAT of a cloud); FAMILY_NONE: the host's own. */
	struct ip_addr public_v4, public_v6;
	/* No client's flow is translated to these, besides listen_port,
	 * tls_port and 22 (N1). As written: neither sorted nor merged. */
	struct server_port_ranges reserved_ports;
	bool allow_client_to_client; /* N4 */
	uint8_t workers; /* threads for the data path; 0: one for each CPU */
	struct server_groups groups;
	struct server_peers peers;
};

/* Pure. c need not be initialised. d must not be NULL. Returns 0 (d may have
 * warnings); UK_EINVAL with every mistake in d, in the file's order;
 * UK_ENOMEM. On error c is empty. */
int server_conf_parse(
    struct server_conf *c, const char *text, size_t len, struct diag *d);

/* Read the file, then parse, then put tls_key beside the file where it names
 * none; d's entries are about path, which d borrows. Besides the above: the
 * errors of conf_file_read(); UK_ESYS: the file's folder has no path. */
int server_conf_load(struct server_conf *c, const char *path, struct diag *d);

/* Zero afterwards; a zero struct is fine. */
void server_conf_fini(struct server_conf *c);

/* Is this a client's name? [a-z0-9-]{1,32} (C6). */
bool server_is_name(const char *text, size_t len);

#endif
