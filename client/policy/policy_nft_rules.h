/* policy_nft_rules: the rules themselves, as sets and as chain "rules", for
 * policy_nft.c only. */
#ifndef UKAI_POLICY_NFT_RULES_H
#define UKAI_POLICY_NFT_RULES_H

#include "policy_nft.h"

/* Append the sets, and chain "rules": it leads to chain "s17" of the slot that
 * decides; in the guard to "refuse", or accepts. */
void policy_nft_rules(struct text *t, const struct policy_nft *p, bool guard);

/* Append what a rule asks of a flow that is about this family (FAMILY_NONE:
 * either) and protocols (RULE_* bits, or NFT_ANY_PROTO). Returns false, and
 * nothing is appended, when no flow can be all of that. */
#define NFT_ANY_PROTO 0x0f
bool policy_nft_conditions(struct text *t, const struct policy_nft *p,
    const struct rule *rule, uint8_t family, uint8_t protos);

/* Append "{ type ipv4_addr; flags interval; elements = ... }" of the prefixes
 * of a family, and the name before. Returns whether there is any; else
 * nothing is appended. */
bool policy_nft_prefix_set(struct text *t, const char *name, uint8_t family,
    const struct ip_prefix *p, size_t n);

/* A PORTS-LEFT rule that can hold: it takes flows that a native rule behind it
 * would take. */
bool policy_nft_spills(const struct policy_nft *p, const struct slot *slot);
/* Of two such rules: the first one stands before the other and holds later, so
 * that it is asked (its set is probed) where the other holds. */
bool policy_nft_is_rival(const struct policy_nft *p, const struct slot *other,
    const struct slot *slot);
/* How many flows its set takes, where they are counted by packets: one more,
 * and the rule holds. 0: it holds always. */
uint32_t policy_nft_ports_size(
    const struct policy_nft *p, const struct slot *slot);

/* Of its first rule, from which the others do not differ. */
static inline const struct rule *
policy_nft_rule(const struct policy_nft *p, const struct slot *slot)
{
	return &p->rules->rule[slot->first];
}

static inline bool
policy_nft_refuses(const struct policy_nft *p, const struct slot *slot)
{
	uint8_t target = policy_nft_rule(p, slot)->target;

	return target == TARGET_TUNNEL_ONLY || target == TARGET_BLOCK;
}

#endif
