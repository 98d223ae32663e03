#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "core/err.h"
#include "host/durable.h"
#include "host/os_err.h"
#include "io/tls_identity.h"

static const uint16_t tcp_port[] = {443, 8443, 9443, 10443, 11443, 12443, 13443,
    14443, 15443, 16443, 17443, 18443, 19443, 20443};

/* ---- choosing ---- */

static struct ip_prefix
pool(size_t i)
{
	if (i < 256)
		return (struct ip_prefix){
		    {FAMILY_V4, {10, (uint8_t)(66 + i)}}, 16};
	i -= 256;
	if (i < 16)
		return (struct ip_prefix){
		    {FAMILY_V4, {172, (uint8_t)(16 + i)}}, 16};
	i -= 16;
	return (struct ip_prefix){
	    {FAMILY_V4, {192, 168, (uint8_t)(66 + i)}}, 24};
}

void
init_pools_take(struct init_pools *p, const struct ip_prefix *prefix)
{
	if (prefix->addr.family != FAMILY_V4 || prefix->bits < 8)
		return;
	for (size_t i = 0; i < INIT_POOLS; i++) {
		struct ip_prefix candidate = pool(i);

		p->taken[i] |= ip_prefix_overlap(&candidate, prefix);
	}
}

bool
init_pools_choose(const struct init_pools *p, struct ip_ifaddr *address)
{
	for (size_t i = 0; i < INIT_POOLS; i++) {
		struct ip_prefix found = pool(i);

		if (p->taken[i])
			continue;
		*address = (struct ip_ifaddr){found.addr, found.bits};
		address->addr.b[3] = 1;
		return true;
	}
	return false;
}

uint16_t
init_udp_port(const struct port_set *used)
{
	for (unsigned port = SERVER_DEFAULT_PORT; port <= UINT16_MAX; port++)
		if (!port_set_has(used, (uint16_t)port))
			return (uint16_t)port;
	return SERVER_DEFAULT_PORT;
}

uint16_t
init_tcp_port(const struct port_set *used)
{
	for (size_t i = 0; i < ARRAY_LEN(tcp_port); i++)
		if (!port_set_has(used, tcp_port[i]))
			return tcp_port[i];
	return tcp_port[1];
}

/* 80: an IPv6 and a UDP header and WireGuard's 32 bytes; 1280: RFC 8200. */
uint16_t
init_mtu(uint32_t uplink_mtu)
{
	if (uplink_mtu == 0 || uplink_mtu >= SERVER_DEFAULT_MTU + 80)
		return 0;
	return uplink_mtu > 1360 ? (uint16_t)(uplink_mtu - 80) : 1280;
}

/* ---- the text ---- */

/* A key with what it means; without a value, as a comment that shows one. */
static void
add_key(struct text *t, const char *comment, const char *key, const char *value,
    const char *sample)
{
	text_add(t, "\n%s%s%s = %s\n", comment, value != NULL ? "" : "# ", key,
	    value != NULL ? value : sample);
}

static void
add_ports(struct text *t, const struct init_conf *c)
{
	add_key(t, "# UDP port for WireGuard.\n", "ListenPort", c->listen_port,
	    "51820");
	add_key(t, "# TCP port on which clients join, by TLS.\n", "TlsPort",
	    c->tls_port, "443");
	add_key(t,
	    "# Ports of other services of this host, which no client's "
	    "connection may\n"
	    "# come from. ListenPort, TlsPort and 22 are reserved in any case.\n",
	    "ReservedPorts", c->reserved_ports, "80, 8080-8089");
}

static void
add_network(struct text *t, const struct init_conf *c)
{
	add_key(t,
	    "# The relay's own address inside the tunnel. The prefix is the "
	    "pool that all\n"
	    "# clients' addresses come from.\n",
	    "Address", c->address, "");
	add_key(t, "# Name of the tunnel's device.\n", "Interface",
	    c->interface, SERVER_DEFAULT_INTERFACE);
	add_key(t,
	    "# The IPv4 address that clients appear from. Default: the one "
	    "that this host\n"
	    "# itself reaches the internet from.\n",
	    "GlobalAddress", c->global_address, "192.0.2.1");
	add_key(t,
	    "# Where clients reach this host, where a cloud translates its "
	    "address: one IPv4\n"
	    "# and one IPv6 address.\n",
	    "PublicAddress", NULL, "198.51.100.1");
}

/* The private key's text is wiped with the text, like the file's. */
int
init_format(const struct init_conf *c, struct text *out)
{
	char key[KEY_BASE64_LEN + 1];

	value_format_key_base64(key, c->private_key);
	text_add(out,
	    "# relay.conf: made by \"ukai-relay init\"; see relay.conf(5).\n"
	    "# Holds a key: keep it private. After a change: ukai-relay check "
	    "&&\n"
	    "# systemctl restart ukai-relay\n"
	    "\n"
	    "[Relay]\n"
	    "# With another key every client has to join again.\n"
	    "PrivateKey = %s\n",
	    key);
	sodium_memzero(key, sizeof(key));
	add_network(out, c);
	add_ports(out, c);
	add_key(
	    out, "# Packet size inside the tunnel.\n", "MTU", c->mtu, "1420");
	add_key(out, "# May clients reach each other?\n", "AllowClientToClient",
	    NULL, "false");
	add_key(out,
	    "# Threads that carry data, 1 to 16. Default: auto, one for each "
	    "CPU.\n",
	    "Workers", NULL, "auto");
	return out->failed ? UK_ENOMEM : 0;
}

/* ---- looking ---- */

static bool
take_address(void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	const struct ip_ifaddr ifaddr = {*a, bits};
	struct ip_prefix prefix;

	(void)ifindex;
	ip_ifaddr_prefix(&ifaddr, &prefix);
	init_pools_take(arg, &prefix);
	return true;
}

static bool
take_route(void *arg, const struct ip_prefix *prefix)
{
	init_pools_take(arg, prefix);
	return true;
}

int
init_look(struct netcfg *n, struct init_pools *p, struct diag *d)
{
	int err = netcfg_addr_each(n, take_address, p);

	if (err == 0)
		err = netcfg_route_each(n, FAMILY_V4, take_route, p);
	if (err < 0)
		diag_error(d,
		    "cannot list this host's addresses and routes: %s",
		    uk_strerror(err));
	return err;
}

/* ---- writing ---- */

static int
lock_folder(struct init_folder *f, struct diag *d)
{
	struct stat st;

	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->fd < 0)
		return os_err_tell(errno, f->path, "open it", d);
	if (fstat(f->fd, &st) != 0)
		return os_err_tell(errno, f->path, "look at it", d);
	if (st.st_mode & (S_IWGRP | S_IWOTH)) {
		diag_error(d,
		    "%s: others may write to it, and keys go there; run: chmod "
		    "700 %s",
		    f->path, f->path);
		return UK_EPERM;
	}
	if (flock(f->fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	diag_error(d, "another ukai-relay init is at work in %s", f->path);
	return UK_EBUSY;
}

int
init_folder_open(struct init_folder *f, const char *file, struct diag *d)
{
	const char *slash = strrchr(file, '/');
	int n, err;

	f->fd = -1;
	if (slash == NULL)
		n = snprintf(f->path, sizeof(f->path), ".");
	else
		n = snprintf(f->path, sizeof(f->path), "%.*s",
		    slash == file ? 1 : (int)(slash - file), file);
	if (n < 0 || (size_t)n >= sizeof(f->path)) {
		diag_error(d, "%s: the path is too long", file);
		return UK_EINVAL;
	}
	if (mkdir(f->path, 0700) != 0 && errno != EEXIST)
		return os_err_tell(errno, f->path, "make the folder", d);
	err = lock_folder(f, d);
	if (err < 0)
		init_folder_close(f);
	return err;
}

void
init_folder_close(struct init_folder *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

static int
make_identity(const char *path, struct diag *d)
{
	struct tls_identity *id = NULL;
	int err = tls_identity_new(&id, d);

	if (err == 0)
		err = tls_identity_save(id, path, d);
	tls_identity_free(id);
	return err;
}

int
init_identity(const char *path, bool *made, struct diag *d)
{
	struct tls_identity *id = NULL;
	struct stat st;
	int err;

	*made = false;
	durable_sweep(path);
	if (lstat(path, &st) != 0 && errno == ENOENT) {
		*made = true;
		return make_identity(path, d);
	}
	err = tls_identity_load(&id, path, d);
	tls_identity_free(id);
	return err;
}
