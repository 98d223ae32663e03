/* init: the configuration of a relay on a host that has none yet: what fits in
 * beside what is there, as the text of relay.conf, and files that are either
 * whole or not there. */
#ifndef UKAI_SERVER_INIT_H
#define UKAI_SERVER_INIT_H

#include "conf.h"
#include "core/text.h"
#include "host/listeners.h"
#include "host/netcfg.h"

/* ---- choosing; pure ---- */

/* Private networks (RFC 1918) that clients could live in, the best first:
 * 10.66.0.0/16 and the other /16s of 10/8, those of 172.16/12, the /24s of
 * 192.168/16. Zero-initialised: all free. */
#define INIT_POOLS (256 + 16 + 256)

struct init_pools {
	bool taken[INIT_POOLS];
};

/* The host has this address or route: pools that overlap with it are out. A
 * prefix shorter than /8 is a way to the internet and takes nothing. */
void init_pools_take(struct init_pools *p, const struct ip_prefix *prefix);
/* The relay's address in the first pool that is free; false: none is. */
bool init_pools_choose(const struct init_pools *p, struct ip_ifaddr *address);

/* 51820, or the next one that is not used. */
uint16_t init_udp_port(const struct port_set *used);
/* 443, or where that is used, 8443, or another that ends in 443. */
uint16_t init_tcp_port(const struct port_set *used);

/* What fits into packets of the uplink; 0: the default does. */
uint16_t init_mtu(uint32_t uplink_mtu);

struct init_conf {
	uint8_t private_key[KEY_LEN];
	/* As in the file; NULL: its default. */
	const char *address; /* never NULL */
	const char *interface, *global_address;
	const char *listen_port, *tls_port, *reserved_ports, *mtu;
};

/* The text of relay.conf, with a comment for each key. Returns 0; UK_ENOMEM. */
int init_format(const struct init_conf *c, struct text *out);

/* ---- looking ---- */

/* What this host has now. Returns 0; UK_ESYS, UK_ENOMEM, told to d. */
int init_look(struct netcfg *n, struct init_pools *p, struct diag *d);

/* ---- writing ---- */

struct init_folder {
	int fd; /* -1: not open */
	char path[256];
};

/* The folder of a file: made (0700) where it is missing, and locked against
 * others who do the same. Returns 0; UK_EBUSY: somebody does; UK_EPERM (also:
 * others may write to it), UK_ENOENT, UK_EINVAL, UK_ESYS, told to d. */
int init_folder_open(struct init_folder *f, const char *file, struct diag *d);
void init_folder_close(struct init_folder *f);

/* A TLS identity at path, unless there is one. *made: it is new. Returns 0; the
 * errors of tls_identity_new(), tls_identity_save() and tls_identity_load(). */
int init_identity(const char *path, bool *made, struct diag *d);

#endif
