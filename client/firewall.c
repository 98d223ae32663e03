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

/* R1. Our own programs may talk to it: their packets come from lo, with a
 * local source. */
static void
guard_addresses(struct text *t, const struct firewall_conf *c)
{
	char addr[IP_ADDR_TEXT_MAX];

	text_add(t,
	    "chain guard {\n"
	    "type filter hook prerouting priority raw; policy accept;\n");
	for (size_t i = 0; i < c->n; i++)
		text_add(t,
		    "iifname != \"%s\" %s daddr %s fib saddr type != local "
		    "drop\n",
		    c->ifname,
		    c->address[i].addr.family == FAMILY_V6 ? "ip6" : "ip",
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

void
firewall_body(struct text *t, const struct firewall_conf *c)
{
	guard_addresses(t, c);
	text_add(t, "chain incoming {\n"
		    "type filter hook prerouting priority mangle; "
		    "policy accept;\n");
	if (c->mark != 0)
		text_add(t,
		    "meta l4proto udp ct mark 0x%x meta mark set ct mark\n",
		    (unsigned)c->mark);
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
