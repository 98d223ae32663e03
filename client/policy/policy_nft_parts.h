/* policy_nft_parts: what the files of policy_nft share. Nobody else includes
 * this.
 *
 *   policy_nft.c         the two tables: where packets are seen, what becomes
 *                        of them
 *   policy_nft_dns.c     questions on their way to our forwarder
 *   policy_nft_rules.c   the rules */
#ifndef UKAI_POLICY_NFT_PARTS_H
#define UKAI_POLICY_NFT_PARTS_H

#include "policy_nft.h"

/* While a table takes the place of another, both have their chains in a hook,
 * the new one's first, and one moment makes the new ones hold and the old ones
 * empty: a packet between the two then passes through neither. So what decides,
 * redirects or gives a source stands twice, at the next priority again; whom
 * the first has seen the second lets pass. */
enum policy_nft_turn { NFT_FIRST_TURN, NFT_SECOND_TURN, NFT_TURNS };

/* Behind the name of a chain. */
static inline const char *
policy_nft_turn_name(enum policy_nft_turn turn)
{
	return turn == NFT_FIRST_TURN ? "" : "_again";
}

static inline bool
policy_nft_has_prefix(const struct ip_prefix *p, size_t n, uint8_t family)
{
	for (size_t i = 0; i < n; i++)
		if (p[i].addr.family == family)
			return true;
	return false;
}

/* Append: the connection is of this tunnel, by a decision of ours; soft: be it
 * tunnel or tunnel!, else tunnel! alone. */
void policy_nft_tunnelled(
    struct text *t, const struct policy_nft *p, bool soft);

/* Append the chains that bring plain DNS to the forwarder, if there is one. */
void policy_nft_dns(struct text *t, const struct policy_nft *p);

#endif
