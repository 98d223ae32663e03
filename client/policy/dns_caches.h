/* dns_caches: what programs were told before the policy stood, and would be
 * told again, by caches that are asked by a socket of their own rather than by
 * DNS: nscd, and systemd-resolved (nss-resolve). The policy does not see their
 * answers. */
#ifndef UKAI_POLICY_DNS_CACHES_H
#define UKAI_POLICY_DNS_CACHES_H

/* Ask those that run to forget. Does not wait, and does not fail: a cache that
 * cannot be reached is of no use to programs either. */
void dns_caches_flush(void);

#endif
