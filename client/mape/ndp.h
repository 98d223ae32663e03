/* ndp: the neighbour discovery messages that say whose an IPv6 address is:
 * neighbour solicitations and advertisements. RFC 4861 sections 4.3, 4.4, 7.1
 * and 7.2, for links with addresses of six bytes. Pure. */
#ifndef UKAI_MAPE_NDP_H
#define UKAI_MAPE_NDP_H

#include "core/base.h"

#define NDP_MAC_LEN 6

enum ndp_type { NDP_SOLICIT = 135, NDP_ADVERTISE = 136 };

struct ndp {
	enum ndp_type type;
	bool probe; /* solicitation of duplicate address detection: from :: */
	bool override; /* of an advertisement */
	uint8_t target[16];
	bool has_mac;
	uint8_t mac[NDP_MAC_LEN]; /* of the link-layer address option */
};

/* Read an IPv6 packet of len bytes; what follows its own length is ignored.
 * Everything that RFC 4861 7.1.1 and 7.1.2 demand of a valid message is
 * demanded; the ICMPv6 header follows the IPv6 header directly (RFC 6980: no
 * fragments). Returns 0; UK_EPROTO. */
int ndp_parse(struct ndp *m, const uint8_t *pkt, size_t len);

/* An advertisement that nobody asked for, to all nodes, with override: target
 * is at mac now (RFC 4861 7.2.6). */
#define NDP_ANNOUNCE_LEN 72
void ndp_announce(uint8_t pkt[static NDP_ANNOUNCE_LEN],
    const uint8_t target[16], const uint8_t mac[NDP_MAC_LEN]);

/* A solicitation as duplicate address detection sends it (RFC 4862 5.4.2). */
#define NDP_PROBE_LEN 64
void ndp_probe(uint8_t pkt[static NDP_PROBE_LEN], const uint8_t target[16]);

/* The Ethernet address of an IPv6 multicast group (RFC 2464 7). */
void ndp_group_mac(uint8_t mac[static NDP_MAC_LEN], const uint8_t group[16]);

#endif
