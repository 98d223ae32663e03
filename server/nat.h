/* nat: the relay's rules for packets, as one nftables table: what clients may
 * send, what may come to them, and what address and port they get
 * (security.md N1 to N5, R1, D6). Pure: configuration and clients in, nft's
 * text out.
 *
 *   tunnel -> host:     ping of the relay's tunnel address, and its metrics
 *                       where they are there; nothing else
 *   tunnel -> internet: TCP, UDP and ICMP of clients' own addresses. Source:
 *                       the global address with a random port (shared), the
 *                       client's own (exclusive), or unchanged (routed)
 *   tunnel -> tunnel:   between members of a group, or all when clients may
 *                       reach each other; to what is published, with the
 *                       sender's global address as source (hairpin)
 *   internet -> tunnel: answers; what is published, with the visitor's address
 *                       as source
 *   host -> tunnel:     everything; what is published also by its global
 *                       address
 *   elsewhere -> pool:  dropped before anything else looks at it
 *
 * Published are: a client's forwards, at its exclusive address or else at the
 * relay's; with an exclusive address of its own, all TCP, UDP and ICMP to it;
 * where that is the relay's address, TCP and UDP to all ports but the reserved
 * ones (below), 22, the relay's and those the host listens on; a routed one, all
 * TCP, UDP and ICMP. Forwards come before other software's translations, the
 * relay's own address as an exclusive one after them.
 *
 * A port is never a source port of a client's flow while anybody answers on
 * it for others: a reserved one, one that the host listens on, one published
 * at that address for another client (CVE-2021-3773, N1). A flow changes what
 * becomes of packets to one port of one remote's; where nothing unsolicited is
 * ever accepted at the ports that flows get, there is nothing to take over.
 * That conntrack refuses two flows one tuple does the rest. So, while one
 * client has the relay's address and others share it, the others' flows get
 * ports from NAT_SHARED_FIRST up, and unsolicited packets to these ports do not
 * go to that client.
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
 * begins with our interface or our addresses, so that other software's traffic
 * passes as before.
 *
 * The table is made once, empty, by nat_body(); clients are elements of its
 * sets and maps, and nat_update() gives what is different from what the table
 * holds, so that flows, limits and counts of other clients go on, and a change
 * costs what it changes:
 *
 *   nat_new(&nat, &conf);
 *   nat_body(nat, &text);                  hostfw_apply(fw, table, text.s, d)
 *   nat_arp(nat, &text);                   hostfw_run(fw, text.s, d)
 *   err = nat_update(nat, &view, &text);   at start and after each change
 *   if (err == 0 && text.len > 0)
 *           err = hostfw_run(fw, text.s, d);
 *   nat_settle(nat, err == 0);
 */
#ifndef UKAI_SERVER_NAT_H
#define UKAI_SERVER_NAT_H

#include "client.h"
#include "conf.h"
#include "core/text.h"

/* Ports below are never given to a flow of a client that shares its address:
 * services of the host belong there. */
#define NAT_FIRST_PORT 1024
/* RFC 6335 section 6: ports from here on are assigned to nobody. */
#define NAT_SHARED_FIRST 49152
/* Where published ports leave more gaps than this, flows get the widest. */
#define NAT_GAPS_MAX 1024

/* A table's name with its zero: hostfw's limit. */
#define NAT_TABLE_NAME_MAX 33

struct nat_conf {
	const char *table; /* its name */
	unsigned tunnel; /* interface index */
	unsigned uplink; /* index of the interface to the internet; 0: none */
	struct ip_ifaddr address; /* the relay's; its prefix is the pool */
	struct ip_addr global; /* the relay's */
	uint16_t listen_port, tls_port; /* tls_port 0: none */
	uint16_t metrics_port; /* at address, for clients to read; 0: none */
	const struct server_port_ranges *reserved;
	const struct server_groups *groups;
	bool client_to_client;
};

/* What the rules are about at one moment. Clients without networks have no
 * rules. What the registry refuses (two clients with one network, one address
 * of their own or one published port) must not be there. */
struct nat_view {
	const struct client *const *client;
	size_t n;
	/* Ports that this host listens on now; NULL: none. */
	const struct server_port_ranges *in_use;
};

struct nat;

/* c and what it points to must outlive n. Returns 0; UK_ENOMEM. */
int nat_new(struct nat **n, const struct nat_conf *c);
void nat_free(struct nat *n); /* NULL: no-op */

/* Append the table's body. Without clients nothing passes. Returns 0;
 * UK_ENOMEM. */
int nat_body(const struct nat *n, struct text *out);

/* Append the commands that make a second table, of the arp family: no host on
 * a link is told that the relay's tunnel address, or anybody's in the pool, is
 * here (R2). It goes as the first one does. A kernel may lack that family. */
void nat_arp(const struct nat *n, struct text *out);

/* Append the commands that make the table hold v, in one transaction; none
 * when it holds that. nat_settle() must follow. Returns 0; UK_ELIMIT: no port
 * is left for clients that share an address; UK_ENOMEM. */
int nat_update(struct nat *n, const struct nat_view *v, struct text *out);
/* held: the commands of the last nat_update() hold now. Otherwise the table is
 * as before it. */
void nat_settle(struct nat *n, bool held);

/* The ports that shared flows may get at most, in order, neither overlapping
 * nor adjacent: from NAT_FIRST_PORT, without those of r, listen_port and
 * tls_port. free_ports->item is malloc'ed. Returns 0; UK_ENOMEM. */
int nat_free_ports(struct server_port_ranges *free_ports,
    const struct server_port_ranges *r, uint16_t listen_port,
    uint16_t tls_port);

/* hostfw's name for the table of an interface; bytes that a table's name may
 * not have become '_'. */
void nat_table_name(char name[static NAT_TABLE_NAME_MAX], const char *ifname);

#endif
