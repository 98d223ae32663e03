/* conf_wg: the keys of a WireGuard configuration file, as wg(8) and
 * wg-quick(8) define them, for the conf_schema of each program. Pure.
 * Memory: heap; whoever holds one of these structs wipes it with its fini,
 * for it holds keys (X3). */
#ifndef UKAI_CONF_WG_H
#define UKAI_CONF_WG_H

#include "conf_schema.h"
#include "endpoint.h"
#include "value.h"

struct conf_wg_key {
	uint8_t b[KEY_LEN];
	unsigned line, column; /* of the value; 0: not given, b is zero */
};

struct conf_wg_addresses {
	struct ip_ifaddr *item;
	size_t n, cap;
};

/* A server, or where addr is FAMILY_NONE a search domain. */
struct conf_wg_dns {
	struct ip_addr addr;
	char *domain;
};

struct conf_wg_dns_list {
	struct conf_wg_dns *item;
	size_t n, cap;
};

enum conf_wg_table_kind {
	CONF_WG_TABLE_AUTO,
	CONF_WG_TABLE_OFF,
	CONF_WG_TABLE_NUMBER,
};

struct conf_wg_table {
	enum conf_wg_table_kind kind;
	uint32_t number;
};

struct conf_wg_interface {
	unsigned line; /* of [Interface] */
	struct conf_wg_key private_key;
	uint16_t listen_port; /* 0: the kernel chooses */
	uint16_t mtu;         /* 0: from the path */
	uint32_t fwmark;      /* 0: none */
	struct conf_wg_table table;
	struct conf_wg_addresses address;
	struct conf_wg_dns_list dns;
};

/* Where a peer is at first. Not given: addr.port is 0. */
struct conf_wg_endpoint {
	struct endpoint addr; /* addr.addr FAMILY_NONE: look host up; the port
	                         is right in any case */
	char scope[16]; /* interface of a link-local address, or "" */
	char *host;     /* DNS name; NULL: numeric or not given */
};

struct conf_wg_allowed {
	struct ip_prefix prefix;
	unsigned line, column;
};

struct conf_wg_allowed_list {
	struct conf_wg_allowed *item;
	size_t n, cap;
};

struct conf_wg_peer {
	unsigned line; /* of [Peer] */
	struct conf_wg_key public_key;
	struct conf_wg_key preshared_key; /* zero: none, as in WireGuard */
	struct conf_wg_endpoint endpoint;
	uint16_t keepalive_s; /* 0: off */
	struct conf_wg_allowed_list allowed;
};

/* Freed and wiped; zero afterwards. */
void conf_wg_interface_fini(struct conf_wg_interface *i);
void conf_wg_peer_fini(struct conf_wg_peer *p);

/* Tables for struct conf_wg_interface and struct conf_wg_peer. */
extern const struct conf_key conf_wg_interface_keys[];
extern const struct conf_key conf_wg_peer_keys[];

/* The values, for tables of one's own. The comment names the field. */
conf_value_fn conf_wg_parse_key;       /* struct conf_wg_key */
conf_value_fn conf_wg_parse_port;      /* uint16_t, 0 allowed */
conf_value_fn conf_wg_parse_fwmark;    /* uint32_t */
conf_value_fn conf_wg_parse_mtu;       /* uint16_t */
conf_value_fn conf_wg_parse_addresses; /* struct conf_wg_addresses */
conf_value_fn conf_wg_parse_allowed;   /* struct conf_wg_allowed_list */

/* One item of such a list. Returns 0; UK_EINVAL after telling d. */
int conf_wg_parse_prefix(struct ip_prefix *p, const struct conf_span *key,
    const struct conf_span *item, struct diag *d);
int conf_wg_parse_ifaddr(struct ip_ifaddr *a, const struct conf_span *key,
    const struct conf_span *item, struct diag *d);

/* Can a host have this address? Not unspecified, loopback, multicast or
 * reserved (RFC 6890). */
bool conf_wg_is_host_address(const struct ip_addr *a);

/* Report peers with the same public key, or with the one that belongs to own
 * (unless that was not given). peers: n structs, stride bytes apart, each
 * beginning with a struct conf_wg_peer. Returns 0, whether or not something
 * was reported; UK_ENOMEM. */
int conf_wg_check_public_keys(const struct conf_wg_key *own,
    const void *peers, size_t n, size_t stride, struct diag *d);

#endif
