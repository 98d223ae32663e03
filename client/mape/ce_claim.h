/* ce_claim: how a host comes to hold the CE's address on a link, and keeps it:
 * what to do next, from what the kernel says about link and address and from
 * what neighbours say. Pure; ce_address does it.
 *
 *   WAITING   the address is added, and being checked for a duplicate (RFC 4862
 *             5.4); without a carrier as long as that takes, with one for
 *             CE_CLAIM_CHECK at most
 *     the kernel has checked it   -> HELD, and announce
 *     duplicate, or no end to it  -> REFUSED
 *   HELD      ours; announced again when the link comes up or changes its MAC
 *     the address is gone         -> WAITING, and add it again
 *     the link is gone, duplicate -> REFUSED
 *   REFUSED   final
 *
 * Threads: owner only. */
#ifndef UKAI_MAPE_CE_CLAIM_H
#define UKAI_MAPE_CE_CLAIM_H

#include "host/netcfg.h"
#include "ndp.h"

/* With a carrier. The kernel takes 1 to 2 s. */
#define CE_CLAIM_CHECK (10 * UK_NS_PER_S)
/* MAX_NEIGHBOR_ADVERTISEMENT and RetransTimer (RFC 4861 10, 7.2.6). */
#define CE_CLAIM_ANNOUNCEMENTS 3
#define CE_CLAIM_ANNOUNCE_EVERY UK_NS_PER_S
/* Two who defend an address would go on for ever: at most one answer in this
 * time, however many messages there are. */
#define CE_CLAIM_ANSWER_EVERY (5 * UK_NS_PER_S)
/* How often to look while WAITING, and while HELD. */
#define CE_CLAIM_LOOK_SOON (100 * UK_NS_PER_MS)
#define CE_CLAIM_LOOK UK_NS_PER_S

enum ce_claim_state { CE_CLAIM_WAITING, CE_CLAIM_HELD, CE_CLAIM_REFUSED };

enum ce_claim_refusal {
	CE_CLAIM_NOT_REFUSED,
	CE_CLAIM_DUPLICATE, /* somebody else has the address */
	CE_CLAIM_TIMEOUT, /* the kernel does not come to an end */
	CE_CLAIM_LINK_GONE,
};

enum ce_claim_do {
	CE_CLAIM_NOTHING,
	CE_CLAIM_ADD, /* the address, to the link */
	CE_CLAIM_ANNOUNCE, /* ndp_announce(), once */
};

enum ce_claim_heard {
	CE_CLAIM_NO_RIVAL,
	CE_CLAIM_RIVAL,
	CE_CLAIM_ANSWER, /* a rival: ndp_announce(), once */
};

/* What the kernel says. */
struct ce_claim_seen {
	bool link_there; /* false: the rest says nothing */
	struct netcfg_link link;
	enum netcfg_addr_state addr;
};

struct ce_claim {
	enum ce_claim_state state;
	enum ce_claim_refusal why;
	uint8_t address[16];
	struct netcfg_link link; /* when last seen */
	uint64_t check_until; /* UK_NEVER: no carrier, or not checking */
	unsigned announcements; /* left to send */
	uint64_t announce_ns; /* the next one */
	uint64_t answer_ns; /* not before */

	uint64_t rivals; /* messages that said it is another's */
	uint8_t rival_mac[NDP_MAC_LEN]; /* of the last one */
};

/* link: as it is before the address is put there. */
void ce_claim_init(struct ce_claim *c, const uint8_t address[16],
    const struct netcfg_link *link);

/* To be called at once, and at each deadline; do what it says. */
enum ce_claim_do ce_claim_look(
    struct ce_claim *c, uint64_t now_ns, const struct ce_claim_seen *seen);
/* When to look next; UK_NEVER: no more. */
uint64_t ce_claim_deadline(const struct ce_claim *c, uint64_t now_ns);

/* A message from the link, in a frame from that MAC. One about another address
 * or from ourselves is none of a rival; nor is a question of where the address
 * is. Rivals are counted while WAITING as well, and answered while HELD. */
enum ce_claim_heard ce_claim_hear(struct ce_claim *c, uint64_t now_ns,
    const struct ndp *m, const uint8_t from[NDP_MAC_LEN]);

#endif
