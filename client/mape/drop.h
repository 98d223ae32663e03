/* drop: why the CE drops a packet. Each reason has a counter, which `ukai
 * status` shows under its name. In brackets the requirement of the project's
 * security list, or the RFC's section. */
#ifndef UKAI_MAPE_DROP_H
#define UKAI_MAPE_DROP_H

#include "core/base.h"

enum map_drop {
	MAP_OK, /* not dropped */

	/* Decapsulation, in the order of its checks. */
	MAP_DROP_OUTER_MALFORMED, /* not a whole IPv6 packet [D7] */
	MAP_DROP_OUTER_HEADER, /* an extension header we do not know [D7] */
	MAP_DROP_OUTER_DESTINATION, /* not to our MAP address [D1] */
	MAP_DROP_OUTER_SOURCE, /* neither the BR nor an FMR's CE [D1] */
	MAP_DROP_OUTER_ECN, /* CE on what cannot say so (RFC 6040 4.2) */
	MAP_DROP_INNER_MALFORMED, /* not a whole IPv4 packet [D7] */
	MAP_DROP_NESTED, /* a tunnel inside [D5] */
	MAP_DROP_INNER_SOURCE, /* ours, private, loopback, ... [D3] */
	MAP_DROP_INNER_DESTINATION, /* not our IPv4 address [D2] */
	MAP_DROP_SPOOFED, /* outer source is not inner source's CE [D1] */
	MAP_DROP_PORT, /* destination port not in our set [D2] */

	/* Reassembly [D11]. */
	MAP_DROP_FRAGMENT_MALFORMED, /* size, place or end make no sense */
	MAP_DROP_FRAGMENT_OVERLAP,
	MAP_DROP_FRAGMENT_TINY, /* first one does not hold the ports */
	MAP_DROP_FRAGMENT_LIMIT, /* no room; the oldest datagram goes */
	MAP_DROP_FRAGMENT_AGE, /* the rest did not come in time */

	/* NAPT44. */
	MAP_DROP_STRAY, /* from inside, by an address that may not use it */
	MAP_DROP_PROTOCOL, /* not TCP, UDP or ICMP [RFC 7597 8.1] */
	MAP_DROP_NO_SESSION, /* inward, and nobody asked [D4] */
	MAP_DROP_FILTERED, /* inward, and this remote was not asked [N6] */
	MAP_DROP_ICMP, /* an error about no live flow, or not for us [N7] */
	MAP_DROP_CHECKSUM, /* of an ICMP message */
	MAP_DROP_NO_PORT, /* the set is full for this destination */
	MAP_DROP_TABLE_FULL,
	MAP_DROP_HOST_LIMIT, /* this host has its share [N9] */
	MAP_DROP_TTL, /* used up [D8] */
	MAP_DROP_TOO_BIG, /* DF, and does not fit the line */

	MAP_DROPS
};

/* "outer-malformed", "no-port", ...: for status and metrics. "" for MAP_OK. */
const char *map_drop_name(enum map_drop why);

#endif
