/* frag6: cuts an IPv6 packet that does not fit a link into fragments (RFC 8200
 * 4.5), as a tunnel's entry does with what it encapsulated (RFC 2473 7.2).
 * Pure. */
#ifndef UKAI_MAPE_FRAG6_H
#define UKAI_MAPE_FRAG6_H

#include "core/pbuf.h"

/* Of a packet of 65575 bytes and an MTU of 1280. */
#define FRAG6_MAX 54

/* pkt: fixed header and payload, without extension headers, len > mtu >= 1280.
 * Writes the fragments, each whole, one behind the other to room. Returns their
 * number; UK_EMSGSIZE: room or cap is too small. */
int frag6_split(const uint8_t *pkt, size_t len, uint32_t mtu, uint32_t id,
    uint8_t *room, size_t room_len, struct pbuf *out, unsigned cap);

#endif
