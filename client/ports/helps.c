#include "helps.h"

#include <stdarg.h>
#include <stdio.h>

static void say(struct ports_help *h, bool helps, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
say(struct ports_help *h, bool helps, const char *fmt, ...)
{
	va_list ap;

	h->helps = helps;
	va_start(ap, fmt);
	vsnprintf(h->why, sizeof(h->why), fmt, ap);
	va_end(ap);
}

/* RFC 1918, RFC 6598, and 192.0.0.0/29 of RFC 6333, with which a host has a
 * translator next to it. */
static bool
is_private(const uint8_t a[4])
{
	return a[0] == 10 || (a[0] == 172 && (a[1] & 0xf0) == 16) ||
	       (a[0] == 192 && a[1] == 168) ||
	       (a[0] == 100 && (a[1] & 0xc0) == 64) ||
	       (a[0] == 192 && a[1] == 0 && a[2] == 0 && a[3] < 8);
}

static void
say_gateway(struct ports_help *h, const char *source, bool keeps_ports)
{
	if (keeps_ports)
		say(h, true,
		    "This host sends as %s, and the gateway in front keeps "
		    "source ports where it can, as you say: with the line's "
		    "ports it rewrites less, as long as no other host behind "
		    "it takes the same ones. The line gets no more ports by "
		    "it.",
		    source);
	else
		say(h, false,
		    "This host sends as %s, so a gateway in front translates, "
		    "and gives every flow one of the line's ports whatever "
		    "this host chose: nothing is gained, and this host would "
		    "have fewer ports.",
		    source);
}

void
ports_help(struct ports_help *h, const struct ports_path *path,
    const struct ip_addr *line)
{
	char source[IP_ADDR_TEXT_MAX];

	if (path->by_own_ce) {
		say(h, false,
		    "ukai's own CE is up on this host ([MapE] Mode = self), "
		    "and translates into the line's ports itself.");
		return;
	}
	if (path->by_tunnel) {
		say(h, false,
		    "This host's IPv4 goes through a tunnel of ukai, which "
		    "uses one flow of the line however many ports programs "
		    "take.");
		return;
	}
	if (!path->known && !path->keeps_ports) {
		say(h, false,
		    "A PC behind a home gateway is taken for granted (--source "
		    "says otherwise): the gateway gives every flow one of the "
		    "line's ports whatever the PC chose, so nothing is gained, "
		    "and the PC would have fewer ports.");
		return;
	}
	if (path->known && path->source.family != FAMILY_V4) {
		say(h, false,
		    "This host has no way to the IPv4 internet: there is "
		    "nothing to align.");
		return;
	}
	if (!path->known) {
		say_gateway(h, "a private address", true);
		return;
	}
	ip_addr_format(&path->source, source);
	if (ip_addr_equal(&path->source, line))
		say(h, true,
		    "This host sends with the line's own address %s. Unless it "
		    "also translates its ports into the set (SNAT), all but "
		    "the line's ports are dropped by the border relay.",
		    source);
	else if (is_private(path->source.b))
		say_gateway(h, source, path->keeps_ports);
	else
		say(h, false,
		    "This host sends as %s, which is not the line's address: "
		    "its traffic does not go by MAP-E.",
		    source);
}
