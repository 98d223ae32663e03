/* ce_address: takes the CE's address on the line's link and keeps it: puts it
 * there (as /128, through the journal, never a source of the kernel's choice),
 * so that the kernel checks for a duplicate and answers solicitations for it;
 * announces it, because access routers keep an old MAC for minutes; and
 * watches for a second CE on the link. The order of things is in ce_claim.h.
 * On links without neighbour discovery (PPP, TUN) only the address is left of
 * that. An address that is there already is used, and stays.
 * Threads: the loop's. Needs CAP_NET_ADMIN and CAP_NET_RAW. */
#ifndef UKAI_MAPE_CE_ADDRESS_H
#define UKAI_MAPE_CE_ADDRESS_H

#include <uv.h>

#include "ce_claim.h"
#include "host/undo.h"

struct ce_address;

struct ce_address_conf {
	unsigned ifindex; /* the line's link */
	struct ip_addr address; /* v6 */
	struct netcfg *n; /* n and u: kept as long as the object */
	struct undo *u;
	/* The state is another one now: HELD, or WAITING again, or REFUSED,
	 * which is final (close, and open to try anew). why: the sentence for a
	 * refusal, else "". Called from the loop, never by ce_address_open();
	 * it may close the object. */
	void (*changed)(void *arg, enum ce_claim_state state, const char *why);
	void *arg;
};

/* Begin. The first `changed` comes in 0 to 2 s on a link that has a carrier.
 * Returns 0; UK_ENOENT: no such link; UK_EPERM, UK_ENOMEM, UK_ESYS and what
 * netcfg_addr_add_apart() says. Then nothing is left on the link. */
int ce_address_open(struct ce_address **c, uv_loop_t *loop,
    const struct ce_address_conf *conf, struct diag *d);
/* Takes the address off the link, if it was us who put it there. NULL:
 * no-op. */
void ce_address_close(struct ce_address *c);

struct ce_address_stats {
	enum ce_claim_state state;
	bool carrier;
	uint32_t mtu; /* of the link; 0: it is gone */
	bool neighbours; /* false: nothing is announced or watched here */
	bool ours; /* we put it there */
	uint64_t announced; /* advertisements sent */
	uint64_t rivals; /* messages of another device that has it too */
	uint8_t rival_mac[NDP_MAC_LEN]; /* of the last one */
	uint64_t rival_wall_ns; /* when; 0: none yet */
};
void ce_address_stats(const struct ce_address *c, struct ce_address_stats *s);

/* The word for status: "waiting", "held", "refused". */
const char *ce_claim_state_name(enum ce_claim_state state);

#endif
