/* client: what the relay knows of one client, as plain data: the registry
 * keeps it in memory, the store in a file, nat makes rules of it. Pure.
 * Memory: a client owns its forwards, routes and policy; client_fini(). */
#ifndef UKAI_SERVER_CLIENT_H
#define UKAI_SERVER_CLIENT_H

#include "conf.h"
#include "wg/wg_msg.h"

/* How a client gets to the IPv4 internet. */
enum client_way {
	CLIENT_SHARED,    /* behind the relay's address, as others are */
	CLIENT_EXCLUSIVE, /* has an address of this host 1:1 */
	CLIENT_ROUTED,    /* holds an address itself, without translation */
};

/* A published port, or a range of them. */
struct client_forward {
	uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	uint16_t first, last; /* at the global address */
	uint16_t target; /* at the client; the ports after first follow it */
};

/* Networks inside the pool that are the client's. */
#define CLIENT_NETWORKS_MAX 8
/* Forwards of one client. */
#define CLIENT_FORWARDS_MAX 256
/* Bytes, without the zero at the end. */
#define CLIENT_POLICY_MAX 49152
#define CLIENT_ROUTES_MAX 4096
#define CLIENT_SECRET_HASH_LEN 32

struct client {
	int64_t id; /* the store's; 0: not stored yet */
	char name[SERVER_NAME_MAX + 1]; /* C6 */
	uint64_t created_s; /* Unix time */

	/* Zeros until it has joined. */
	struct wg_key public_key;
	struct wg_key preshared_key; /* zeros: none */
	uint64_t joined_s;
	/* From relay.conf: how to reach it first. port 0: not known. */
	struct endpoint endpoint;
	uint16_t keepalive_s; /* that the relay sends; 0: none */

	/* The first one's address is where forwards go. */
	struct ip_prefix network[CLIENT_NETWORKS_MAX];
	size_t networks;

	enum client_way way;
	struct ip_addr global; /* FAMILY_NONE when shared */
	struct client_forward *forward;
	size_t forwards;

	/* 0: no limit. */
	uint32_t rate_kbit; /* a second, in each direction */
	uint32_t connections; /* at a time, in both directions together */

	/* The token that it joins with: SHA-256 of the secret. expires_s 0:
	 * there is none. A token that was used stays until it expires, so that
	 * the same key may ask for the same answer again. */
	uint8_t secret_hash[CLIENT_SECRET_HASH_LEN];
	uint64_t expires_s;
	/* What it is told when it joins. routes: prefixes that take the
	 * tunnel, with commas; policy: NULL: none. */
	char *routes, *policy;
};

/* Free, wipe; zero afterwards. A zero struct is fine. */
void client_fini(struct client *c);
/* Deep. Returns 0; UK_ENOMEM: to is empty. */
int client_copy(struct client *to, const struct client *from);

bool client_has_joined(const struct client *c);

/* Where its packets come from: its networks, and its global address when
 * routed. Returns how many. */
#define CLIENT_ADDRESSES_MAX (CLIENT_NETWORKS_MAX + 1)
size_t client_addresses(
    const struct client *c, struct ip_prefix to[static CLIENT_ADDRESSES_MAX]);

/* Could the relay have made it: name, key, networks, address, forwards, routes,
 * texts? Each for itself; who else has them is the registry's question. What
 * a file says (C1) is asked here, and so is what goes into one. Returns 0;
 * UK_EINVAL with a sentence in d that names it. */
int client_check(const struct client *c, struct diag *d);

/* "shared", "exclusive", "routed". */
const char *client_way_name(enum client_way w);
int client_way_parse(enum client_way *w, const char *text); /* UK_EINVAL */

/* "tcp/8443" or "udp/5000-5010", and the port at the client, "443"; NULL: the
 * same. Returns 0; UK_EINVAL with a sentence in d: protocol, port from 1 to
 * 65535, reversed range, target's range beyond 65535. */
int client_forward_parse(struct client_forward *f, const char *ports,
    const char *target, struct diag *d);
#define CLIENT_FORWARD_TEXT_MAX 32
/* "tcp/8443", "udp/5000-5010" */
const char *client_forward_format(
    const struct client_forward *f, char text[static CLIENT_FORWARD_TEXT_MAX]);
/* Do both take a port of the same protocol? */
bool client_forwards_overlap(
    const struct client_forward *a, const struct client_forward *b);

#endif
