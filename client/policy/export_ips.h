/* export_ips: the part of a policy that WireGuard apps know: which addresses
 * take the tunnel. Pure. */
#ifndef UKAI_POLICY_EXPORT_IPS_H
#define UKAI_POLICY_EXPORT_IPS_H

#include "cidr_set.h"
#include "core/text.h"
#include "rules.h"

/* The addresses that the rules without conditions send into the tunnel, first
 * match wins: IP-CIDR, the addresses of lists, DEFAULT. Every other rule is as
 * if it were not there, and told to d with its line: programs, names and ports
 * cannot be said by addresses. out: zero-initialised; settled. Returns 0;
 * UK_ENOMEM. */
int export_ips(struct cidr_set *out, const struct rules *r, struct diag *d);

/* "AllowedIPs = ..." and a newline; nothing for an empty set. */
void export_ips_text(struct text *t, const struct cidr_set *s);

#endif
