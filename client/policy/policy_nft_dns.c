#include "policy_nft.h"

#include <stdio.h>

#include "mark.h"
#include "policy_nft_parts.h"

#define DSTNAT -100

static void
redirect(struct text *t, const char *match, uint16_t port)
{
	text_add(t,
	    "%sudp dport 53 redirect to :%u\n"
	    "%stcp dport 53 redirect to :%u\n",
	    match, (unsigned)port, match, (unsigned)port);
}

/* Counted: another table may drop them behind this one. */
static void
redirect_lan(struct text *t, const char *match, uint16_t port)
{
	text_add(t,
	    "%sudp dport 53 counter name " POLICY_NFT_LAN_DNS
	    " redirect to :%u\n"
	    "%stcp dport 53 redirect to :%u\n",
	    match, (unsigned)port, match, (unsigned)port);
}

/* A resolver that takes the first answer of several, or gave up, has closed its
 * socket: its host's "port unreachable" would carry the answer, and so a name
 * that only the tunnel was asked about, to the server on the line. */
static void
no_errors_to_servers(struct text *t, const char *match)
{
	text_add(t,
	    "%smeta l4proto icmp @th,0,16 0x0303 "
	    "@th,136,8 17 @th,224,16 53 drop\n"
	    "%smeta l4proto ipv6-icmp @th,0,16 0x0104 "
	    "@th,112,8 17 @th,384,16 53 drop\n",
	    match, match);
}

static void
zone(struct text *t, const char *match, uint16_t port)
{
	text_add(t, "%sudp sport != 53 udp dport 53 ct zone set %u\n", match,
	    (unsigned)port);
	no_errors_to_servers(t, match);
}

/* For those whom this host is a gateway of, also by the address of a link. */
static void
for_lan(struct text *t, const struct policy_nft *p,
    void (*put)(struct text *t, const char *match, uint16_t port))
{
	char match[64];

	text_add(t, "iifname { \"lo\", \"%s\" } accept\n", p->ifname);
	if (policy_nft_has_prefix(p->network, p->networks, FAMILY_V4))
		put(t, "ip saddr @network4 ", p->dns_port);
	if (policy_nft_has_prefix(p->network, p->networks, FAMILY_V6))
		put(t, "ip6 saddr @network6 ", p->dns_port);
	for (size_t i = 0; i < p->links; i++) {
		if (!p->link[i].lan)
			continue;
		snprintf(match, sizeof(match), "iif %u ip6 saddr fe80::/10 ",
		    p->link[i].ifindex);
		put(t, match, p->dns_port);
	}
}

static void
lan_dns(struct text *t, const struct policy_nft *p)
{
	text_add(t, "counter " POLICY_NFT_LAN_DNS " {\n}\n"
		    "chain lan_dns_zone {\n"
		    "type filter hook prerouting priority raw; "
		    "policy accept;\n");
	for_lan(t, p, zone);
	text_add(t, "}\n");
	for (enum policy_nft_turn i = NFT_FIRST_TURN; i < NFT_TURNS; i++) {
		text_add(t,
		    "chain lan_dns%s {\n"
		    "type nat hook prerouting priority %d; policy accept;\n",
		    policy_nft_turn_name(i), DSTNAT + (int)i);
		for_lan(t, p, redirect_lan);
		text_add(t, "}\n");
	}
}

static void
link_dns(struct text *t, const struct policy_nft *p)
{
	char text[IP_ADDR_TEXT_MAX];

	text_add(t, "chain link_dns {\n");
	for (size_t i = 0; i < p->links; i++)
		text_add(t,
		    "oif %u meta l4proto { tcp, udp } dnat ip6 to [%s]:%u\n",
		    p->link[i].ifindex, ip_addr_format(&p->link[i].addr, text),
		    (unsigned)p->dns_port);
	text_add(t, "drop\n}\n");
}

/* Questions by UDP have a zone of connection tracking to themselves, named
 * after our port: a socket that asks again is ours from its first question on,
 * and when this table is gone, however that came, no entry is left that would
 * send it here. Our own questions, and what asks for the tunnel, have none. */
static void
own_dns_zone(struct text *t, const struct policy_nft *p)
{
	text_add(t, "chain own_dns_zone {\n"
		    "type filter hook output priority raw; policy accept;\n");
	no_errors_to_servers(t, "");
	text_add(t,
	    "meta mark 0x%08x accept\n"
	    "meta mark & 0x%08x == 0x%08x accept\n"
	    "meta mark & 0x%08x == 0x%08x accept\n"
	    "udp sport != 53 udp dport 53 ct zone set %u\n"
	    "udp sport %u ct zone set %u\n"
	    "}\n",
	    (unsigned)p->own_mark, (unsigned)p->tunnel_mask,
	    (unsigned)p->tunnel_mark, (unsigned)MARK_CLASS_MASK,
	    (unsigned)CLASS_DNS << MARK_CLASS_SHIFT, (unsigned)p->dns_port,
	    (unsigned)p->dns_port, (unsigned)p->dns_port);
}

static void
dns_only(struct text *t, const struct policy_nft *p)
{
	text_add(t,
	    "chain dns_only {\n"
	    "type filter hook input priority filter; policy accept;\n"
	    "ct direction original ct status & dnat == 0 "
	    "meta l4proto { tcp, udp } th dport %u drop\n"
	    "}\n",
	    (unsigned)p->dns_port);
}

static void
own_dns(struct text *t, const struct policy_nft *p, enum policy_nft_turn turn)
{
	text_add(t,
	    "chain own_dns%s {\n"
	    "type nat hook output priority %d; policy accept;\n"
	    "meta mark 0x%08x accept\n"
	    "meta mark & 0x%08x == 0x%08x accept\n",
	    policy_nft_turn_name(turn), DSTNAT + (int)turn,
	    (unsigned)p->own_mark, (unsigned)MARK_CLASS_MASK,
	    (unsigned)CLASS_DNS << MARK_CLASS_SHIFT);
	/* Who has asked for the tunnel asks through it. */
	policy_nft_tunnelled(t, p, true);
	/* What lies in no zone of ours had a mark before connection tracking,
	 * which somebody has taken away since (CONNMARK --restore-mark without
	 * a mask): our own question, which would come back to us for ever. */
	text_add(t, "accept\nudp sport != 53 udp dport 53 ct zone 0 drop\n"
		    "ip6 daddr fe80::/10 meta l4proto { tcp, udp } "
		    "th dport 53 goto link_dns\n");
	redirect(t, "", p->dns_port);
	text_add(t, "}\n");
}

void
policy_nft_dns(struct text *t, const struct policy_nft *p)
{
	if (p->dns_port == 0)
		return;
	link_dns(t, p);
	own_dns_zone(t, p);
	dns_only(t, p);
	own_dns(t, p, NFT_FIRST_TURN);
	own_dns(t, p, NFT_SECOND_TURN);
	if (p->networks > 0)
		lan_dns(t, p);
}
