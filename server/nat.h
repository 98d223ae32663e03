/* nat: the relay's rules for packets, as the body of its nftables table: what
 * clients may send, what may come back, and what address and port they get
 * (security.md N1 to N5, R1, D6). Pure: configuration in, text out.
 *
 *   tunnel -> host:     ping of the relay's tunnel address; nothing else
 *   tunnel -> internet: TCP, UDP and ICMP of clients' own addresses, source
 *                       translated to the global address and a random port
 *   tunnel -> tunnel:   only when clients may reach each other
 *   internet -> tunnel: answers
 *   elsewhere -> pool:  dropped before anything else looks at it
 *
 * Private networks on other interfaces than the uplink (containers, other
 * VPNs, a provider's inner network) are the relay's own, not the internet.
 *
 * IPv6 inside the tunnel is not supported yet and dropped. So is everything
 * that is neither TCP, UDP nor ICMP: the translation could not tell two
 * clients' packets apart, and tunnels inside the tunnel (protocols 4, 41, 47)
 * would hide other people's packets (D6).
 *
 * Rules name the interface by its number: no name, and no quoting of one,
 * gets into the text. The policy of every chain is accept, and each rule
 * begins with our interface or our pool, so that other software's traffic
 * passes as before. */
#ifndef UKAI_SERVER_NAT_H
#define UKAI_SERVER_NAT_H

#include "conf.h"
#include "core/text.h"

/* Ports below are never given to a client's flow: services of the host
 * belong there. */
#define NAT_FIRST_PORT 1024

struct nat_conf {
	unsigned tunnel; /* interface index */
	unsigned uplink; /* index of the interface to the internet; 0: none */
	struct ip_ifaddr address; /* the relay's; its prefix is the pool */
	struct ip_addr global; /* what clients are translated to */
	uint16_t listen_port;
	const struct server_port_ranges *reserved;
	bool client_to_client;
};

/* The ports that clients' flows may get, in order, neither overlapping nor
 * adjacent: from NAT_FIRST_PORT, without those of r, listen_port, 22 and 443.
 * free_ports->item is malloc'ed. Returns 0; UK_ENOMEM. */
int nat_free_ports(struct server_port_ranges *free_ports,
    const struct server_port_ranges *r, uint16_t listen_port);

/* Append the table's body. Returns 0; UK_ELIMIT: every port is reserved;
 * UK_ENOMEM. */
int nat_body(struct text *out, const struct nat_conf *c);

/* hostfw's name for the table of an interface; bytes that a table's name may
 * not have become '_'. */
#define NAT_TABLE_NAME_MAX 33
void nat_table_name(char name[static NAT_TABLE_NAME_MAX], const char *ifname);

#endif
