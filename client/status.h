/* status: what a running client tells about itself: a JSON object with stable
 * keys, and the text that people read, which is made from that object. Pure.
 *
 *   {"name", "since", "mtu", "listen_port", "fwmark", "table", "public_key",
 *    "addresses": [], "dns": [], "dns_search": [],
 *    "peers": [{"public_key", "host", "endpoint", "path", "session",
 *        "last_handshake", "received_bytes", "sent_bytes", "keepalive",
 *        "allowed_ips"}],
 *    "handshakes", "cookies_sent", "drops": {REASON: N, ...},
 *    "send_failed", "tun_dropped", "tun_malformed"}
 *
 * Times are Unix seconds, null: never; "path" is "udp6", "udp4" or null;
 * "host" is the endpoint's name or null; "table" and "fwmark" 0: none. */
#ifndef UKAI_STATUS_H
#define UKAI_STATUS_H

#include <jansson.h>
#include <stdio.h>

#include "conf.h"
#include "io/tunnel.h"

struct status_peer {
	struct wg_peer_info info;
	const char *host; /* NULL: no name */
	const struct ip_prefix *allowed;
	size_t nallowed;
};

struct status {
	const char *name;
	uint64_t since_s;
	uint32_t mtu, mark, table;
	uint16_t port;
	const struct wg_key *public_key; /* NULL: none */
	const struct conf_wg_addresses *address;
	const struct conf_wg_dns_list *dns;
	const struct status_peer *peer;
	size_t npeers;
	const struct wg_device_stats *device;
	struct tunnel_stats tunnel;
};

/* NULL: out of memory. */
json_t *status_json(const struct status *s);

/* One tunnel as text. Anything may be missing in the object. */
void status_print(const json_t *tunnel, uint64_t now_s, FILE *to);

#define STATUS_TEXT_MAX 32
/* "1.5 MiB" */
const char *status_bytes(uint64_t bytes, char text[static STATUS_TEXT_MAX]);
/* "12 s", "3 min 5 s", "2 h 7 min", "4 d 1 h" */
const char *status_age(uint64_t seconds, char text[static STATUS_TEXT_MAX]);

#endif
