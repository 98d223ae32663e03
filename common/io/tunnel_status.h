/* tunnel_status: what a running WireGuard interface tells about itself: a JSON
 * object with stable keys, and the text that people read, which is made from
 * that object. Each program adds keys of its own.
 *
 *   {"interface", "since", "mtu", "listen_port", "fwmark", "workers",
 *    "cipher", "public_key", "handshakes", "cookies_sent",
 *    "drops": {REASON: N, ...},
 *    "peers": [{"public_key", "preshared_key", "endpoint", "path", "session",
 *        "last_handshake", "received_bytes", "sent_bytes", "keepalive",
 *        "allowed_ips"}]}
 *
 * Times are Unix seconds, null: never. "preshared_key" is whether there is
 * one: no secret is in here. "path" is "udp6", "udp4", or null before the
 * first handshake; "fwmark" 0: none; "workers" is the number of threads that
 * carry data and "cipher" whose code they encrypt with. All is
 * linear in the number of peers. */
#ifndef UKAI_TUNNEL_STATUS_H
#define UKAI_TUNNEL_STATUS_H

#include <jansson.h>
#include <stdio.h>

#include "core/text.h"
#include "tunnel.h"

struct tunnel_status {
	const char *interface;
	uint64_t since_s;
	uint32_t mtu, mark;
	uint16_t port;
	struct tunnel_stats stats;
	struct wg_device_stats counted;
	const struct wg_device *device;
	/* Held for each peer by itself, so that many do not hold up traffic;
	 * NULL: nobody else has the device. */
	struct tunnel *tunnel;
	uint64_t now_ns; /* monotonic */
};

/* Good until the loop goes on: only there are peers added and removed. */
void tunnel_status_collect(
    struct tunnel_status *s, struct tunnel *t, uint64_t since_s);

/* ---- to JSON. What is given is taken; NULL, and all of it gone, when memory
 * was out or anything given was NULL: nothing is ever told in part. ---- */

json_t *tunnel_status_put(json_t *object, const char *key, json_t *value);
json_t *tunnel_status_push(json_t *list, json_t *value);
/* An interface's name, which may be any bytes: in what is no UTF-8, '?' takes
 * the place of all but ASCII. NULL: null. */
json_t *tunnel_status_ifname(const char *s);

/* What peers are called, an object from public key to name: add one. NULL:
 * not called anything. */
json_t *tunnel_status_name(
    json_t *names, const uint8_t public_key[32], const char *name);

/* Add the keys above to what o holds, and the key name_key to every peer: its
 * name, or null. */
json_t *tunnel_status_add(json_t *o, const struct tunnel_status *s,
    const char *name_key, json_t *names);

/* ---- over a control socket ---- */

/* Append o, which is taken, as an answer: one line, then an empty one. NULL:
 * an object with "error" alone. */
void tunnel_status_answer(json_t *o, struct text *out);
/* Ask "status". Returns 0 with *o to json_decref(); the errors of ctl_ask(),
 * UK_ENOENT also when the other end ended meanwhile; UK_EPROTO: what it
 * answers is no object, or an error. d says what is wrong. */
int tunnel_status_ask(json_t **o, const char *path, struct diag *d);

/* ---- for people. Anything may be missing in the object. ---- */

/* "ukai0: up since ...", then the program's own lines, then the rest: peers,
 * with their "name" or "host" where there is one, and drops. */
void tunnel_status_head(const json_t *o, FILE *to);
/* more: the program's own lines of a peer; NULL: none. */
typedef void tunnel_status_more(const json_t *peer, FILE *to);
void tunnel_status_rest(
    const json_t *o, uint64_t now_s, tunnel_status_more *more, FILE *to);
/* A line of such a text; depth 1: of the interface, 2: of a peer. */
void tunnel_status_line(FILE *to, int depth, const char *label, const char *fmt,
    ...) __attribute__((format(printf, 4, 5)));
/* An array of text in one line; nothing when it is empty. */
void tunnel_status_list(
    FILE *to, int depth, const char *label, const json_t *list);

const char *tunnel_status_text(
    const json_t *o, const char *key, const char *otherwise);
uint64_t tunnel_status_number(const json_t *o, const char *key);

#define TUNNEL_STATUS_TEXT_MAX 64
/* "1.5 MiB" */
const char *tunnel_status_bytes(
    uint64_t bytes, char text[static TUNNEL_STATUS_TEXT_MAX]);
/* "12 s", "3 min 5 s", "2 h 7 min", "4 d 1 h" */
const char *tunnel_status_age(
    uint64_t seconds, char text[static TUNNEL_STATUS_TEXT_MAX]);

#endif
