/* dgram: one UDP payload with its far end: the unit that transports and the
 * WireGuard device hand to each other, always in arrays. Header only. */
#ifndef UKAI_DGRAM_H
#define UKAI_DGRAM_H

#include "endpoint.h"
#include "pbuf.h"

struct dgram {
	struct pbuf buf;
	/* To (sending) or from (receiving). Shared by datagrams of one call
	 * and valid as long as they are. Sending clears ep->src when the
	 * kernel says that this source is no longer ours. */
	struct endpoint *ep;
	uint8_t tos; /* outer TOS or traffic class: DSCP and ECN */
};

#endif
