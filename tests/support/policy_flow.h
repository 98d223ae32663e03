/* policy_flow: real flows, sent from this network namespace or from another
 * one, and by which of two links they left this one. Every flow is a new one:
 * source ports, and identifiers of ICMP, are not used twice.
 * Memory: caller's. */
#ifndef UKAI_TEST_POLICY_FLOW_H
#define UKAI_TEST_POLICY_FLOW_H

#include "client/policy/rules.h"

struct policy_line {
	int link[2]; /* packet sockets: the line's, the tunnel's */
	int here, lan; /* network namespaces */
	struct ip_addr lan_src[2]; /* v4, v6 */
};

/* lan: a namespace's file; NULL: none. Aborts with a word when it cannot. */
void policy_line_open(struct policy_line *l, const char *line,
    const char *tunnel, const char *lan);

struct policy_try {
	bool from_lan;
	uint8_t proto; /* RULE_* */
	struct ip_addr dst;
	uint16_t dport, sport; /* sport: chosen by the caller, never again */
	uint32_t uid, mark;
};

enum policy_seen { SEEN_LINE = 1, SEEN_TUNNEL = 2 };

struct policy_went {
	unsigned seen; /* SEEN_*, or 0 */
	struct ip_addr src; /* of the packet seen */
	int error; /* what the program got: errno; 0: nothing */
	int fd; /* of the flow: close() it */
};

void policy_flow_send(
    struct policy_line *l, const struct policy_try *t, struct policy_went *w);
/* Once more, in the same flow. */
void policy_flow_again(
    struct policy_line *l, const struct policy_try *t, struct policy_went *w);

#endif
