/* uapi: the WireGuard configuration protocol: lines of text from wg(8) and
 * its like to a device, and back. A machine: lines in, text out; what needs
 * I/O (ports, marks, interface names, clocks) is asked of the host.
 * https://www.wireguard.com/xplatform/#configuration-protocol */
#ifndef UKAI_UAPI_H
#define UKAI_UAPI_H

#include "core/text.h"
#include "wg_device.h"

/* What a device needs of the program around it. Errors are UK_E*. */
struct uapi_host {
	void *arg;
	uint16_t (*port)(void *arg); /* of the UDP sockets; 0: none */
	int (*set_port)(void *arg, uint16_t port);
	uint32_t (*mark)(void *arg);
	int (*set_mark)(void *arg, uint32_t mark);
	unsigned (*scope)(void *arg, const char *name); /* index; 0: unknown */
};

enum uapi_state { UAPI_IDLE, UAPI_GET, UAPI_SET };

/* One connection. Zero-initialise, then set device and host. */
struct uapi_session {
	struct wg_device *device;
	const struct uapi_host *host;
	enum uapi_state state;
	int error;            /* of this request so far; 0 */
	bool in_peer;         /* a public_key line has come */
	bool existed;         /* and the peer was found or made since */
	bool ignore;          /* this peer's lines are for nobody */
	struct wg_key key;    /* of the peer */
};

/* One line without its newline. Answers are appended to out. Returns false
 * to end the connection: the first line is no request. */
bool uapi_line(struct uapi_session *s, const char *line, size_t len,
    struct text *out);

#endif
