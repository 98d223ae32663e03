#include "map_rule.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/err.h"

__attribute__((format(printf, 2, 3))) static int
fault(char why[static MAP_RULE_WHY_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, MAP_RULE_WHY_MAX, fmt, ap);
	va_end(ap);
	return UK_EINVAL;
}

unsigned
map_rule_line_bits(const struct map_rule *r)
{
	return (unsigned)r->ipv6.bits + r->ea_len;
}

unsigned
map_rule_psid_bits(const struct map_rule *r)
{
	unsigned bits = (unsigned)r->ipv4.bits + r->ea_len;

	return bits > 32 ? bits - 32 : 0;
}

static int
check_prefixes(const struct map_rule *r, enum map_rule_field *field,
    char why[static MAP_RULE_WHY_MAX])
{
	*field = MAP_RULE_IPV6;
	if (r->ipv6.addr.family != FAMILY_V6 || r->ipv6.bits > 128)
		return fault(why, "the rule's IPv6 prefix is not one");
	*field = MAP_RULE_IPV4;
	if (r->ipv4.addr.family != FAMILY_V4 || r->ipv4.bits > 32)
		return fault(why, "the rule's IPv4 prefix is not one");
	*field = MAP_RULE_EA_LEN;
	if (r->ea_len > MAP_EA_LEN_MAX)
		return fault(why, "ea_len is %u, and can be at most %d",
		    r->ea_len, MAP_EA_LEN_MAX);
	if (map_rule_line_bits(r) > 128)
		return fault(why,
		    "ea_len is %u: behind a /%u that is %u bits, more than an "
		    "IPv6 address has",
		    r->ea_len, r->ipv6.bits, map_rule_line_bits(r));
	return 0;
}

static int
check_ports(const struct map_rule *r, enum map_rule_field *field,
    char why[static MAP_RULE_WHY_MAX])
{
	*field = MAP_RULE_PSID_OFFSET;
	if (r->psid_offset > 15)
		return fault(why, "psid_offset is %u, and can be at most 15",
		    r->psid_offset);
	*field = MAP_RULE_PSID_LEN;
	if (r->psid_offset + r->psid_len > 16)
		return fault(why,
		    "psid_len is %u: behind an offset of %u that is more than "
		    "the 16 bits of a port",
		    r->psid_len, r->psid_offset);
	*field = MAP_RULE_PSID;
	if (r->psid_given && r->psid >> r->psid_len != 0)
		return fault(why, "psid is %u, too large for %u bits", r->psid,
		    r->psid_len);
	return 0;
}

/* What the EA bits leave for the PSID has to be what is said to be (RFC 7597
 * 5.2), or the PSID comes from outside, with a whole address (RFC 7598 4.5). */
static int
check_psid(const struct map_rule *r, enum map_rule_field *field,
    char why[static MAP_RULE_WHY_MAX])
{
	unsigned left = map_rule_psid_bits(r);
	unsigned whole = (unsigned)r->ipv4.bits + r->ea_len;

	*field = MAP_RULE_PSID_LEN;
	if (whole > 32 && r->psid_len != left)
		return fault(why,
		    "psid_len is %u, but an IPv4 /%u and %u EA bits leave %u",
		    r->psid_len, r->ipv4.bits, r->ea_len, left);
	if (whole < 32 && r->psid_len > 0)
		return fault(why,
		    "psid_len is %u, but an IPv4 /%u and %u EA bits make a /%u "
		    "for each line: nothing is shared",
		    r->psid_len, r->ipv4.bits, r->ea_len, whole);
	if (whole == 32 && r->psid_len > 0 && !r->psid_given)
		return fault(why,
		    "psid_len is %u, but an IPv4 /%u and %u EA bits make a "
		    "whole address, and nothing says which PSID",
		    r->psid_len, r->ipv4.bits, r->ea_len);
	*field = MAP_RULE_PSID;
	if (r->psid_given && r->psid_len == 0)
		return fault(why, "psid is given, but psid_len is 0");
	return 0;
}

bool
map_rule_br_ok(const struct ip_addr *a)
{
	static const struct ip_addr none = {.family = FAMILY_V6};
	static const struct ip_addr loopback = {FAMILY_V6, {[15] = 1}};

	return a->family == FAMILY_V6 && a->b[0] != 0xff &&
	       (a->b[0] != 0xfe || a->b[1] < 0x80) &&
	       !ip_addr_equal(a, &none) && !ip_addr_equal(a, &loopback);
}

static int
check_br(const struct map_rule *r, enum map_rule_field *field,
    char why[static MAP_RULE_WHY_MAX])
{
	*field = MAP_RULE_BR;
	if (r->br.family == FAMILY_NONE)
		return 0;
	if (r->br.family != FAMILY_V6)
		return fault(why, "the BR's address is not an IPv6 address");
	if (!map_rule_br_ok(&r->br))
		return fault(why, "the BR's address is not one of a host "
				  "on the internet");
	return 0;
}

int
map_rule_fault(const struct map_rule *r, enum map_rule_field *field,
    char why[static MAP_RULE_WHY_MAX])
{
	why[0] = 0;
	if (check_prefixes(r, field, why) < 0 ||
	    check_ports(r, field, why) < 0 || check_psid(r, field, why) < 0 ||
	    check_br(r, field, why) < 0)
		return UK_EINVAL;
	return 0;
}

int
map_rule_check(const struct map_rule *r, char why[static MAP_RULE_WHY_MAX])
{
	enum map_rule_field field;

	return map_rule_fault(r, &field, why);
}

static const char *const iid_name[] = {
    [MAP_IID_RFC7597] = "rfc7597",
    [MAP_IID_DRAFT03] = "draft03",
};

const char *
map_iid_name(enum map_iid iid)
{
	return iid_name[iid];
}

int
map_iid_parse(enum map_iid *iid, const char *text, size_t len)
{
	for (unsigned i = 0; i < ARRAY_LEN(iid_name); i++) {
		if (len == strlen(iid_name[i]) &&
		    strncasecmp(text, iid_name[i], len) == 0) {
			*iid = (enum map_iid)i;
			return 0;
		}
	}
	return UK_EINVAL;
}
