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

/* The part of all slots that are PORTS-LEFT rules whose flows are counted by
 * packets. */
bool policy_nft_counts_ports(
    const struct policy_nft *p, const struct slot *slot);
/* How many flows its set takes: one more, and the rule holds. 0: it holds
 * always. */
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
