/* policy_nft: a policy as text for nftables (host/hostfw.h): chains and sets of
 * the tunnel's own table, and the table that stays when we are killed. Pure.
 *
 * A flow is decided on once, by the first packet of its original direction
 * that conntrack has no decision for (mark.h), and keeps it for life. The
 * decision follows the rules in order, one slot (slots.h) after another; a
 * slot's addresses are in sets.
 *
 *   local things        to this host, multicast, broadcast in private
 *                       networks (R5), link-local, this host's own neighbour
 *                       discovery and DHCP, `local`: MARK_LOCAL
 *   tunnel              live and allowed: MARK_TUNNEL and the tunnel's mark;
 *                       else MARK_NATIVE
 *   tunnel!             live and allowed: MARK_TUNNEL_ONLY; else MARK_REFUSED
 *   native, block       MARK_NATIVE, MARK_REFUSED
 *
 * "Live": the set `live` has the packet's family. "Allowed": some peer takes
 * the destination. A flow that was established before and that nothing is
 * known of stays where it is, unless its rule says tunnel! or block. TCP that
 * is first seen without its SYN is such a flow. TCP that connection tracking
 * cannot place is dropped where its rule does not say native.
 *
 * What is refused gets a TCP reset, or ICMP administratively prohibited, at
 * once. What is decided for the tunnel and would leave by anything else is
 * refused as well. While the kernel fills the sets of a table that takes the
 * place of another nothing is decided: what is new is dropped. */
#ifndef UKAI_POLICY_NFT_H
#define UKAI_POLICY_NFT_H

#include "core/text.h"
#include "slots.h"

/* Of a name at an address, with its zero: hostfw_elements() keeps as much. */
#define POLICY_NFT_COMMENT_SIZE 101

struct policy_nft_known {
	uint16_t slot; /* number */
	struct ip_addr addr;
	/* One of its names, cut: the element's comment. */
	char name[POLICY_NFT_COMMENT_SIZE];
};

/* A link of this host with a link-local address, other than the tunnel's. */
struct policy_nft_link {
	unsigned ifindex;
	struct ip_addr addr;
	bool lan; /* has an address in `network` */
};

struct policy_nft {
	const struct rules *rules;
	const struct slots *slots;
	const char *ifname; /* of the tunnel */
	uint32_t own_mark; /* of the tunnels' own datagrams, exactly; not 0 */
	uint32_t tunnel_mark, tunnel_mask; /* routes.h: answer_mark */
	const struct ip_ifaddr *address; /* of the tunnel's interface: what
					    leaves by it gets these as source */
	size_t addresses;
	const struct ip_prefix *allowed; /* what peers take */
	size_t allowed_n;
	/* Stays local: LocalNetworks, and the gateways' own addresses. */
	const struct ip_prefix *local;
	size_t locals;
	/* The LAN that this host is a gateway of: flows from there are decided
	 * on as the host's own are; those of other forwarded packets are not
	 * touched. */
	const struct ip_prefix *network;
	size_t networks;
	uint16_t dns_port; /* of our forwarder: questions to any port 53 go
			      there; 0: there is none */
	/* Own questions to a server on a link are answered by the address that
	 * this host has there, as the loopback is another link; where it has
	 * none that is known, they are not sent. */
	const struct policy_nft_link *link;
	size_t links;
	/* PORTS-LEFT, budget of the line's ports for a protocol; 0: a rule of
	 * that type never holds. own_ce: `short` sets say toward which
	 * destinations ports run low, and no flow is counted here. */
	uint32_t ports;
	bool own_ce;
	/* What the sets hold from the first moment on, so that a reload has no
	 * gap: addresses of names, and whether the tunnel is live. */
	const struct policy_nft_known *known;
	size_t knowns;
	bool live_v4, live_v6;
	bool runs; /* `ukai run` has been asked for: there is a guard then */
	/* class of the socket for a program's name; CLASS_NONE: no such. */
	unsigned (*class_of)(void *arg, const char *program);
	void *class_arg;
};

/* Sets whose elements change while the table stands (hostfw_elements()). Keys
 * are addresses in network order, or as said. */
#define POLICY_NFT_LIVE "live" /* one byte: 2 (IPv4) or 10 (IPv6) */
#define POLICY_NFT_SET_MAX 24
/* The addresses that a slot's names have: "n17_4", "n17_6". Only of slots with
 * DOMAIN* entries. */
void policy_nft_names_set(
    char name[static POLICY_NFT_SET_MAX], uint16_t slot, uint8_t family);
/* Flows that use the line's ports, for PORTS-LEFT rule of slot n: elements are
 * added by packets, until the set is full; of flows that go native only, so
 * that a rule behind PORTS-LEFT that takes a flow elsewhere holds before it.
 * proto: RULE_TCP, RULE_UDP. "u17_tcp", "u17_udp", key: source address .
 * source port (8 bytes, each padded to 4). One that is zero may be there for a
 * second or two: it was asked whether there is room. */
void policy_nft_used_set(
    char name[static POLICY_NFT_SET_MAX], uint16_t slot, uint8_t proto);
/* With own_ce: destinations that fewer than the slot's number of ports are
 * left toward. "s17_tcp", "s17_udp"; key: address . port (8 bytes); zeros as
 * in ports_left.h. */
void policy_nft_short_set(
    char name[static POLICY_NFT_SET_MAX], uint16_t slot, uint8_t proto);
/* The counter of a slot's flows (hits) and that of all their packets. */
#define POLICY_NFT_HITS "h%u"
#define POLICY_NFT_BYTES "b%u"
/* And that of questions by UDP that were redirected from the LAN. */
#define POLICY_NFT_LAN_DNS "lan_dns"

/* Append to the body of the tunnel's table, which has an owner. */
void policy_nft_body(struct text *t, const struct policy_nft *p);

/* Does anything have to stay when we are killed: a tunnel!, a block, or what
 * `ukai run` runs? */
bool policy_nft_has_guard(const struct policy_nft *p);
/* Append the body of the table that stays: refuses what tunnel! and block
 * are about and what would leave by another interface than the tunnel's. It
 * decides by itself, with sets of the same names, about flows without a
 * decision; with marks of programs. While the other table is there it sees
 * decided flows only. Nothing about DNS, nothing that redirects. */
void policy_nft_guard_body(struct text *t, const struct policy_nft *p);

#endif
