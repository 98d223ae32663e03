/* firewall: the client's nftables table, as text for host/hostfw.h. Pure.
 *
 * R1: packets to an address of the tunnel that come in elsewhere are dropped
 *     before anything looks at them (CVE-2019-14899).
 * MSS: TCP through the tunnel gets segments that fit it, both ways, also
 *     where this host forwards for others.
 * Mark: replies to our own datagrams get their mark back from the connection,
 *     so that a strict rp_filter, which then counts the mark
 *     (src_valid_mark), sees them come in where they went out. */
#ifndef UKAI_FIREWALL_H
#define UKAI_FIREWALL_H

#include "core/endpoint.h"
#include "core/text.h"

struct firewall_conf {
	const char *ifname; /* client_name_ok() */
	uint32_t mtu;
	uint32_t mark; /* to restore; 0: none */
	const struct ip_ifaddr *address; /* of the interface */
	size_t n;
};

/* Append the table's body. */
void firewall_body(struct text *t, const struct firewall_conf *c);

#define FIREWALL_TABLE_MAX 24

/* "ukai-NAME", in the characters that hostfw_apply() takes: capitals become
 * small, others '_'. */
void firewall_table(char table[static FIREWALL_TABLE_MAX], const char *ifname);

#endif
