/* firewall: the client's nftables table, as text for host/hostfw.h. Pure.
 *
 * R1: packets to an address of the tunnel that come in elsewhere are dropped
 *     before anything looks at them (CVE-2019-14899).
 * MSS: TCP through the tunnel gets segments that fit it, both ways, also
 *     where this host forwards for others.
 * Mark: replies to our own datagrams get their mark back from the connection,
 *     so that a strict rp_filter, which then counts the mark
 *     (src_valid_mark), sees them come in where they went out.
 * Answers: a connection that comes in by the tunnel is marked as such; what
 *     answers it, from this host or from behind it, gets the mark, by which a
 *     rule (routes.h) takes it into the tunnel. Only the bits of answer_mask
 *     are touched, in packets and in connections.
 * Sources: a UDP server with a socket for all addresses leaves the source of
 *     its answer to the routes, which lead elsewhere: to conntrack that would
 *     be no answer. So who asked such a socket at an address of the tunnel is
 *     remembered, and the answer's source set right before conntrack sees it,
 *     unless the program has marked it. What the same visitor asks natively
 *     later is answered natively. */
#ifndef UKAI_FIREWALL_H
#define UKAI_FIREWALL_H

#include "core/endpoint.h"
#include "core/text.h"

struct firewall_conf {
	const char *ifname; /* client_name_ok() */
	uint32_t mtu;
	uint32_t mark; /* to restore; 0: none */
	uint32_t answer_mark, answer_mask; /* 0: answers are left alone */
	const struct ip_ifaddr *address; /* of the interface */
	size_t n;
	/* The kernel has nft's socket expression: see remember_visitors(). */
	bool sockets;
};

/* Visitors remembered for an address, so that strangers cannot make the kernel
 * keep more; about 100 bytes each. More are not: their connections by TCP and
 * ICMP work, and those to UDP servers that know their address. */
#define FIREWALL_ASKED_MAX 65535

/* Append the table's body. */
void firewall_body(struct text *t, const struct firewall_conf *c);

#define FIREWALL_TABLE_MAX 24

/* Append the command (hostfw_run()) that makes a second table, of the arp
 * family, with the name of the first: no host on a link is told that the
 * tunnel's addresses are here (R2). Nothing where it has none of IPv4. A
 * kernel may lack that family. */
void firewall_arp(
    struct text *t, const struct firewall_conf *c, const char *table);

/* "ukai-NAME", in the characters that hostfw_apply() takes: capitals become
 * small, others '_'. */
void firewall_table(char table[static FIREWALL_TABLE_MAX], const char *ifname);

#endif
