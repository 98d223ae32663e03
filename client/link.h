/* link: the interface's MTU and addresses. */
#ifndef UKAI_CLIENT_LINK_H
#define UKAI_CLIENT_LINK_H

#include "core/endpoint.h"
#include "host/netcfg.h"

/* Over a path of 1500 bytes; what lies behind a first link that takes more is
 * unknown, and every relay's interface takes this. "MTU =" may say more. */
#define LINK_MTU_MOST 1420
/* 40 (IPv6) + 8 (UDP) + 32 (WireGuard): enough for IPv4 as well. */
#define LINK_OVERHEAD 80

/* The inner MTU over a path (its MTU; 0: unknown). Not below what the inner
 * families need: 1280 (RFC 8200 section 5), 576 (RFC 1122 section 3.3.2); a
 * path that small gets fragments. Pure. */
uint32_t link_mtu(uint32_t path_mtu, bool inner_v6);

/* Give the interface its addresses and take it up. Returns 0 or the errors of
 * netcfg.h, told to d. */
int link_up(struct netcfg *n, unsigned ifindex, const char *ifname,
    const struct ip_ifaddr *address, size_t naddresses, struct diag *d);

/* Loosen the interface's own rp_filter (RFC 3704 section 2.4): the route to who
 * comes in by it may lead elsewhere. The kernel takes the greater of this and
 * that of "all", so a strict "all" (1) holds on the other interfaces, and here
 * 2. It goes with the interface; the host's settings stay. */
void link_loosen(const char *ifname);

#endif
