/* tunnel: one running WireGuard interface: a TUN device, a wg_device and the
 * UDP sockets, driven by a libuv loop, with the UAPI socket beside it. What
 * `ukai device`, `ukai up` and `ukai-relay serve` have in common.
 *
 * The data path is one or more lanes (lane.h): the first on the loop's thread,
 * the others on threads of their own. Everything here is for the loop's
 * thread.
 */
#ifndef UKAI_TUNNEL_H
#define UKAI_TUNNEL_H

#include <uv.h>

#include "lane.h"

struct tunnel;

enum tunnel_end {
	TUNNEL_GONE,     /* the interface was deleted */
	TUNNEL_UNLINKED, /* the UAPI socket was deleted: a request to stop */
};

struct tunnel_conf {
	struct wg_device_conf wg;
	const char *name;  /* of the interface */
	int tun_fd;        /* >= 0: use this TUN device instead of making one */
	int uapi_fd;       /* >= 0: use this listening UAPI socket */
	uint32_t mtu;
	uint16_t port;     /* of the UDP sockets; 0: any */
	uint32_t mark;     /* of their packets */
	bool no_offload;   /* neither GSO, GRO nor vnet headers */
	enum aead_kind aead; /* implementation of the cipher */
	unsigned workers;  /* threads for the data path, 1 to WG_LANES_MAX; a
	                      device in tun_fd has one */
	void (*ended)(void *arg, enum tunnel_end why);
	void *arg;
};

void tunnel_conf_default(struct tunnel_conf *c);

/* Make the interface (down, without addresses), its UAPI socket
 * /var/run/wireguard/NAME.sock and the device. When this returns 0 the
 * interface may be moved to another network namespace at once; the UDP
 * sockets stay in this one. Opens the UDP sockets at once when a port is
 * asked for, else when the interface comes up.
 * Errors as tun_open, ctl_open, udp_open. */
int tunnel_open(struct tunnel **t, uv_loop_t *loop,
    const struct tunnel_conf *c, struct diag *d);
/* The interface and the socket go; sessions are wiped. NULL: no-op. */
void tunnel_close(struct tunnel *t);

/* Lock the device, to read or configure it, until tunnel_release(), which
 * unlocks it and sends what the changes produced. No data passes meanwhile: be
 * quick. Calls may nest. On the loop's thread. */
struct wg_device *tunnel_hold(struct tunnel *t);
void tunnel_release(struct tunnel *t);

const char *tunnel_name(const struct tunnel *t);
unsigned tunnel_ifindex(const struct tunnel *t);
uint32_t tunnel_mtu(const struct tunnel *t);
/* The port, or that of last time while no socket is open; 0: never was. */
uint16_t tunnel_port(const struct tunnel *t);
uint32_t tunnel_mark(const struct tunnel *t);

/* Move to another port: on failure the old one stays, or when memory or threads
 * are out, none, and the old one is tried again every second. Returns 0;
 * UK_EBUSY, UK_EPERM, UK_ESYS, UK_ENOMEM. */
int tunnel_set_port(struct tunnel *t, uint16_t port, struct diag *d);
int tunnel_set_mark(struct tunnel *t, uint32_t mark);

struct tunnel_stats {
	struct lane_stats lanes; /* of all of them */
	unsigned workers;
	const char *cipher; /* what does the work: "openssl", ... */
};
void tunnel_stats(struct tunnel *t, struct tunnel_stats *out);

#endif
