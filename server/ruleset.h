/* ruleset: would a packet pass this host's firewall? Reads what nft and
 * iptables-save print, and follows a packet that is known in part through the
 * chains of a hook. Pure: text in, verdicts out. What it does not understand
 * it takes for a condition that may hold or not; a condition on who calls
 * (lists of addresses, rates) never counts as a reason to drop, for it is not
 * meant for everybody.
 * Memory: heap; a ruleset borrows nothing. Threads: built once, then read. */
#ifndef UKAI_SERVER_RULESET_H
#define UKAI_SERVER_RULESET_H

#include "core/endpoint.h"

struct ruleset;

/* What `nft -j list ruleset` prints. Returns 0; UK_EPROTO: not that; UK_ENOMEM.
 * On error *r is NULL. */
int ruleset_parse_nft(struct ruleset **r, const char *text, size_t len);
/* What iptables-save or ip6tables-save prints. Lines that are none of it are
 * passed over. Returns 0; UK_ENOMEM. */
int ruleset_parse_xt(
    struct ruleset **r, const char *text, size_t len, uint8_t family);
void ruleset_free(struct ruleset *r); /* NULL: no-op */

struct ruleset_packet {
	uint8_t family; /* FAMILY_V4 or FAMILY_V6 */
	bool forwarded; /* else to this host */
	uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	uint16_t port; /* destination's; 0: some */
	const char *in,
	    *out; /* interfaces; "": not known; out only if forwarded */
	bool established; /* of a connection that was let through before */
	bool translated; /* its destination: a published port's */
};

enum ruleset_outcome {
	RULESET_PASSES,
	RULESET_MAY_DROP, /* unless a rule with unknown conditions accepts */
	RULESET_DROPS,
};

/* A chain that a hook of the kernel calls. */
struct ruleset_chain {
	const char *family, *table, *name; /* "inet", "filter", "input" */
	const char *hook; /* "input", "forward", "prerouting" */
};

/* Every chain that the packet goes through and that does not let it pass. visit
 * returns false to stop. */
void ruleset_follow(const struct ruleset *r, const struct ruleset_packet *p,
    bool (*visit)(void *arg, const struct ruleset_chain *chain,
	enum ruleset_outcome outcome),
    void *arg);

/* family NULL: of any. */
bool ruleset_has_chain(const struct ruleset *r, const char *family,
    const char *table, const char *name);

#endif
