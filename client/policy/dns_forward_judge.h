/* dns_forward_judge: what a policy makes of a name, and of the answer about
 * it. Pure. */
#ifndef UKAI_POLICY_DNS_FORWARD_JUDGE_H
#define UKAI_POLICY_DNS_FORWARD_JUDGE_H

#include "dns_message.h"

struct dns_policy;

struct dns_verdict {
	bool ruled; /* some rule is about one of the names */
	/* Of the first rule without conditions; TARGET_NATIVE: there is none.
	 */
	enum rule_target target;
	/* That rule, or one with conditions before it, says tunnel! or block:
	 * without its addresses in the kernel, an answer would leak. */
	bool strict;
};

/* Several names: of one answer. */
struct dns_verdict dns_judge(
    const struct dns_policy *p, const char *const *name, size_t names);

/* Do answers about it have to be looked at: tunnel, tunnel!, block? */
bool dns_verdict_guards(const struct dns_verdict *v);
/* tunnel or tunnel! */
bool dns_verdict_tunnels(const struct dns_verdict *v);

/* An address that no name of the internet should have: private, shared,
 * loopback, link-local, multicast, unspecified; also one of IPv4 inside an
 * address of IPv6 (mapped, or NAT64's well-known prefix, RFC 6052). */
bool dns_address_private(const struct ip_addr *a);

/* Types that carry, or point to, addresses besides A and AAAA: HTTPS, SVCB
 * (RFC 9460) and ANY. */
bool dns_type_evades(uint16_t type);

/* Is it a name of a public resolver that browsers and systems ask over HTTPS or
 * TLS, many of them without being told to, where they find that the host's own
 * server is the same provider's? They look it up by plain DNS first. */
bool dns_name_encrypted(const char *name);

#endif
