#include "firewall.h"

#include <string.h>

/* Headers before TCP's data without options: RFC 9293 section 3.7.1. */
#define HEADERS_V4 40
#define HEADERS_V6 60

void
firewall_table(char table[static FIREWALL_TABLE_MAX], const char *ifname)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	static const char prefix[] = "ukai-";
	size_t at = sizeof(prefix) - 1;

	memcpy(table, prefix, at);
	for (; *ifname != '\0' && at + 1 < FIREWALL_TABLE_MAX; ifname++) {
		char c = *ifname;

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		table[at++] = strchr(plain, c) != NULL ? c : '_';
	}
	table[at] = '\0';
}

static const char *
family_of(const struct ip_ifaddr *a)
{
	return a->addr.family == FAMILY_V6 ? "ip6" : "ip";
}

/* R1. Our own programs may talk to it: their packets come from lo. So does
 * what the firewall answers them in the name of others, when it refuses. */
static void
guard_addresses(struct text *t, const struct firewall_conf *c)
{
	char addr[IP_ADDR_TEXT_MAX];

	text_add(t,
	    "chain guard {\n"
	    "type filter hook prerouting priority raw; policy accept;\n");
	for (size_t i = 0; i < c->n; i++)
		text_add(t, "iifname != { \"lo\", \"%s\" } %s daddr %s drop\n",
		    c->ifname, family_of(&c->address[i]),
		    ip_addr_format(&c->address[i].addr, addr));
	text_add(t, "}\n");
}

static void
clamp_incoming(struct text *t, const struct firewall_conf *c,
    const char *family, uint32_t headers)
{
	text_add(t,
	    "iifname \"%s\" meta nfproto %s tcp flags & (syn | rst) == syn "
	    "tcp option maxseg size > %u tcp option maxseg size set %u\n",
	    c->ifname, family, (unsigned)(c->mtu - headers),
	    (unsigned)(c->mtu - headers));
}

/* A connection has been marked as long as conntrack knows it. Nothing that
 * comes in later by the tunnel turns an established connection of the line
 * into one of the tunnel; only from one tunnel to another it may move, for
 * their marks change hands at a restart. */
static void
mark_incoming(struct text *t, const struct firewall_conf *c)
{
	unsigned mark = c->answer_mark, mask = c->answer_mask;

	text_add(t,
	    "iifname \"%s\" ct direction original ct state new "
	    "ct mark set ct mark & 0x%x | 0x%x\n"
	    "iifname \"%s\" ct direction original "
	    "ct mark & 0x%x != { 0x0, 0x%x } ct mark set ct mark & 0x%x | "
	    "0x%x\n"
	    "iifname != \"%s\" ct direction reply ct mark & 0x%x == 0x%x "
	    "meta mark set meta mark & 0x%x | 0x%x\n",
	    c->ifname, ~mask, mark, c->ifname, mask, mark, ~mask, mark,
	    c->ifname, mask, mark, ~mask, mark);
}

/* Conntrack's own time for a UDP flow that has been answered. One map from
 * visitors to addresses would do, but libnftables 1.0.6 aborts at updates of
 * one for IPv6. */
static void
add_asked_sets(struct text *t, const struct firewall_conf *c)
{
	for (size_t i = 0; i < c->n; i++)
		text_add(t,
		    "set asked%zu {\n"
		    "typeof %s saddr . udp sport . udp dport\n"
		    "flags dynamic,timeout; size %u; timeout 2m;\n"
		    "}\n",
		    i, family_of(&c->address[i]), FIREWALL_ASKED_MAX);
}

/* Behind other tables' filters: what they drop is not remembered. Nor is what
 * no socket for all addresses takes: else one datagram with a made up source
 * would move a flow of the line, which a connected socket has, into the
 * tunnel. A kernel that cannot look at sockets takes that risk. */
static void
remember_visitors(struct text *t, const struct firewall_conf *c)
{
	char addr[IP_ADDR_TEXT_MAX];

	text_add(t, "chain asked {\n"
		    "type filter hook input priority security; "
		    "policy accept;\n");
	for (size_t i = 0; i < c->n; i++) {
		const char *ip = family_of(&c->address[i]);

		text_add(t,
		    "iifname \"%s\" ct direction original meta l4proto udp "
		    "%s daddr %s %supdate @asked%zu "
		    "{ %s saddr . udp sport . udp dport }\n"
		    "iifname != \"%s\" ct direction original "
		    "meta l4proto udp delete @asked%zu "
		    "{ %s saddr . udp sport . udp dport }\n",
		    c->ifname, ip, ip_addr_format(&c->address[i].addr, addr),
		    c->sockets ? "socket wildcard 1 " : "", i, ip, c->ifname, i,
		    ip);
	}
	text_add(t, "}\n");
}

/* Before conntrack. Datagrams of tunnels, of ours and of others, have a mark,
 * and go where that leads. */
static void
correct_sources(struct text *t, const struct firewall_conf *c)
{
	char addr[IP_ADDR_TEXT_MAX];

	text_add(t, "chain sources {\n"
		    "type filter hook output priority raw; policy accept;\n");
	for (size_t i = 0; i < c->n; i++) {
		const char *ip = family_of(&c->address[i]);

		text_add(t,
		    "meta mark 0 meta l4proto udp "
		    "%s daddr . udp dport . udp sport @asked%zu "
		    "%s saddr set %s\n",
		    ip, i, ip, ip_addr_format(&c->address[i].addr, addr));
	}
	text_add(t, "}\n");
}

/* The answers of this host itself. "type route": the kernel looks for a route
 * again. A server that sends on and on is remembered as long as it does. */
static void
mark_own_answers(struct text *t, const struct firewall_conf *c)
{
	unsigned mark = c->answer_mark, mask = c->answer_mask;
	char addr[IP_ADDR_TEXT_MAX];

	text_add(t,
	    "chain answers {\n"
	    "type route hook output priority mangle; policy accept;\n"
	    "ct direction original accept\n"
	    "ct mark & 0x%x == 0x%x meta mark set meta mark & 0x%x | 0x%x\n",
	    mask, mark, ~mask, mark);
	for (size_t i = 0; i < c->n; i++) {
		const char *ip = family_of(&c->address[i]);

		text_add(t,
		    "meta l4proto udp ct mark & 0x%x == 0x%x %s saddr %s "
		    "update @asked%zu { %s daddr . udp dport . udp sport }\n",
		    mask, mark, ip, ip_addr_format(&c->address[i].addr, addr),
		    i, ip);
	}
	text_add(t, "}\n");
}

static void
return_answers(struct text *t, const struct firewall_conf *c)
{
	if (c->answer_mark == 0)
		return;
	add_asked_sets(t, c);
	remember_visitors(t, c);
	correct_sources(t, c);
	mark_own_answers(t, c);
}

void
firewall_body(struct text *t, const struct firewall_conf *c)
{
	guard_addresses(t, c);
	return_answers(t, c);
	text_add(t, "chain incoming {\n"
		    "type filter hook prerouting priority mangle; "
		    "policy accept;\n");
	if (c->mark != 0)
		text_add(t,
		    "meta l4proto udp ct mark 0x%x meta mark set ct mark\n",
		    (unsigned)c->mark);
	if (c->answer_mark != 0)
		mark_incoming(t, c);
	clamp_incoming(t, c, "ipv4", HEADERS_V4);
	clamp_incoming(t, c, "ipv6", HEADERS_V6);
	text_add(t, "}\n"
		    "chain outgoing {\n"
		    "type filter hook postrouting priority mangle; "
		    "policy accept;\n");
	if (c->mark != 0)
		text_add(t,
		    "meta l4proto udp meta mark 0x%x ct mark set meta mark\n",
		    (unsigned)c->mark);
	text_add(t,
	    "oifname \"%s\" tcp flags & (syn | rst) == syn "
	    "tcp option maxseg size set rt mtu\n"
	    "}\n",
	    c->ifname);
}

static bool
has_v4(const struct firewall_conf *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->address[i].addr.family == FAMILY_V4)
			return true;
	return false;
}

void
firewall_arp(struct text *t, const struct firewall_conf *c, const char *table)
{
	char addr[IP_ADDR_TEXT_MAX];

	if (!has_v4(c))
		return;
	text_add(t,
	    "table arp %s {\n"
	    "flags owner\n"
	    "chain asked {\n"
	    "type filter hook input priority filter; policy accept;\n",
	    table);
	for (size_t i = 0; i < c->n; i++) {
		const struct ip_addr *a = &c->address[i].addr;

		if (a->family == FAMILY_V4)
			text_add(t,
			    "iifname != \"%s\" arp operation request "
			    "arp daddr ip %s drop\n",
			    c->ifname, ip_addr_format(a, addr));
	}
	text_add(t, "}\n}\n");
}
