/* dns: the resolver while the tunnel is up, for the "DNS =" line of a
 * wg-quick configuration. Two ways: systemd-resolved where /etc/resolv.conf
 * is its stub (per link, gone with the link), else /etc/resolv.conf is
 * replaced through the undo journal. Linux. */
#ifndef UKAI_DNS_H
#define UKAI_DNS_H

#include "core/endpoint.h"
#include "host/undo.h"

struct dns;

/* Use these servers, for all names, and these search domains. n == 0: leaves
 * the resolver as it is, as wg-quick does, and *out NULL. Blocks, at most some
 * seconds. u is kept until dns_clear(). Returns 0; UK_EINVAL (a search domain that is
 * none), UK_EMSGSIZE, UK_EPERM, UK_ESYS, UK_ENOMEM. */
int dns_set(struct dns **out, struct undo *u, const char *ifname,
    const struct ip_addr *servers, size_t n, const char *const *search,
    size_t nsearch, struct diag *d);

/* Back to what was before; call before the link goes. NULL: no-op. Returns 0;
 * UK_ESYS: some of it stayed, and stays in the journal. */
int dns_clear(struct dns *dns, struct diag *d);

/* Is it a domain name that may stand in resolv.conf: 1..253 bytes of letters,
 * digits, '-', '_' and single dots between them? One dot may end it. Pure. */
bool dns_is_domain(const char *text);

/* The text of the resolv.conf(5) that dns_set writes. Pure. Returns its
 * length without the zero; UK_EMSGSIZE; UK_EINVAL: a search domain is none. */
int dns_resolv_conf(char *out, size_t cap, const char *ifname,
    const struct ip_addr *servers, size_t n, const char *const *search,
    size_t nsearch);

#endif
