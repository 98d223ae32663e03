/* tunnel: one running WireGuard interface: a TUN device, a wg_device and the
 * UDP sockets, driven by a libuv loop, with the UAPI socket beside it. What
 * `ukai device`, `ukai up` and `ukai-relay serve` have in common.
 *
 *   tun -> wg_device_seal -> udp       udp -> wg_device_open -> tun
 *
 * Everything is done in batches on the loop's thread. When the UDP socket is
 * full the TUN device is not read until it has room: nothing is queued here.
 */
#ifndef UKAI_TUNNEL_H
#define UKAI_TUNNEL_H

#include <uv.h>

#include "core/diag.h"
#include "wg/wg_device.h"

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

/* The device, to configure. Call tunnel_kick() after changes, so that what
 * they brought about is sent, and tunnel_abandon() before a peer is removed:
 * datagrams that wait for room in a socket point to their peers. */
struct wg_device *tunnel_device(struct tunnel *t);
void tunnel_kick(struct tunnel *t);
void tunnel_abandon(struct tunnel *t);

const char *tunnel_name(const struct tunnel *t);
unsigned tunnel_ifindex(const struct tunnel *t);
uint32_t tunnel_mtu(const struct tunnel *t);
/* The port, or that of last time while no socket is open; 0: never was. */
uint16_t tunnel_port(const struct tunnel *t);
uint32_t tunnel_mark(const struct tunnel *t);

/* Move to another port: on failure the old one stays. Returns 0; UK_EBUSY,
 * UK_EPERM, UK_ESYS, UK_ENOMEM. */
int tunnel_set_port(struct tunnel *t, uint16_t port, struct diag *d);
int tunnel_set_mark(struct tunnel *t, uint32_t mark);

struct tunnel_stats {
	uint64_t send_failed;   /* datagrams that the kernel would not send, or
	                           that had no socket */
	uint64_t tun_dropped;   /* packets that the interface would not take */
	uint64_t tun_malformed; /* packets from it that made no sense */
};
void tunnel_stats(const struct tunnel *t, struct tunnel_stats *out);

#endif
