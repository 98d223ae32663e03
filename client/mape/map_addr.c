#include "map_addr.h"

#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/err.h"

/* An IPv6 address as two halves. */
struct wide {
	uint64_t high, low;
};

static struct wide
wide_load(const uint8_t b[16])
{
	return (struct wide){load_be64(b), load_be64(b + 8)};
}

/* n bits from bit at on, bit 0 is the first; n <= 48, at + n <= 128. */
static uint64_t
bits_get(struct wide w, unsigned at, unsigned n)
{
	unsigned shift = 128 - at - n; /* bits behind them */
	uint64_t v;

	if (n == 0)
		return 0;
	if (shift >= 64)
		v = w.high >> (shift - 64);
	else if (shift == 0)
		v = w.low;
	else
		v = w.low >> shift | w.high << (64 - shift);
	return v & ((UINT64_C(1) << n) - 1);
}

/* The same bits are zero, and become v, which has no others. */
static void
bits_put(struct wide *w, unsigned at, unsigned n, uint64_t v)
{
	unsigned shift = 128 - at - n;

	if (n == 0)
		return;
	if (shift >= 64) {
		w->high |= v << (shift - 64);
		return;
	}
	w->low |= v << shift;
	if (shift > 0)
		w->high |= v >> (64 - shift);
}

/* RFC 7597 section 6; in the draft's form all is 8 bits to the left. */
static uint64_t
interface_id(enum map_iid iid, uint32_t ipv4, uint16_t psid)
{
	uint64_t id = (uint64_t)ipv4 << 16 | psid;

	return iid == MAP_IID_DRAFT03 ? id << 8 : id;
}

/* The MAP address is in the first subnet of the End-user prefix (5.2). Of one
 * that is longer than /64, the end overwrites the interface identifier's first
 * bits (6). */
static void
make_address(uint8_t out[16], const struct map_rule *r, uint64_t ea,
    uint32_t ipv4, uint16_t psid)
{
	struct wide w = wide_load(r->ipv6.addr.b);
	unsigned bits = map_rule_line_bits(r);
	uint64_t free_bits = UINT64_MAX;

	bits_put(&w, r->ipv6.bits, r->ea_len, ea);
	if (bits > 64)
		free_bits = bits < 128 ? UINT64_MAX >> (bits - 64) : 0;
	w.low |= interface_id(r->iid, ipv4, psid) & free_bits;
	store_be64(out, w.high);
	store_be64(out + 8, w.low);
}

/* Bits of the EA that belong to the IPv4 address (5.2). */
static unsigned
suffix_bits(const struct map_rule *r)
{
	return r->ea_len - map_rule_psid_bits(r);
}

static int
check_line(const struct map_rule *r, const struct ip_prefix *line,
    char why[static MAP_RULE_WHY_MAX])
{
	unsigned bits = map_rule_line_bits(r);
	char rule[IP_PREFIX_TEXT_MAX], text[IP_PREFIX_TEXT_MAX];

	ip_prefix_format(&r->ipv6, rule);
	ip_prefix_format(line, text);
	if (!ip_prefix_overlap(&r->ipv6, line)) {
		snprintf(why, MAP_RULE_WHY_MAX, "%s is not in %s", text, rule);
		return UK_EINVAL;
	}
	if (line->bits < bits) {
		snprintf(why, MAP_RULE_WHY_MAX,
		    "%s is too short: give a /%u or longer, or an address of "
		    "the line",
		    text, bits);
		return UK_EINVAL;
	}
	return 0;
}

int
map_ce_make(struct map_ce *ce, const struct map_rule *r,
    const struct ip_prefix *line_prefix, char why[static MAP_RULE_WHY_MAX])
{
	unsigned suffix = suffix_bits(r), psid_bits = r->ea_len - suffix;
	struct ip_ifaddr cut = {
	    line_prefix->addr, (uint8_t)map_rule_line_bits(r)};
	unsigned ipv4_bits = r->ipv4.bits + suffix;
	uint32_t ipv4 = load_be32(r->ipv4.addr.b);
	uint16_t psid = r->psid_given ? r->psid : 0;
	uint64_t ea;

	if (check_line(r, line_prefix, why) < 0)
		return UK_EINVAL;
	ea = bits_get(wide_load(line_prefix->addr.b), r->ipv6.bits, r->ea_len);
	ipv4 |= (uint32_t)(ea >> psid_bits << (32 - ipv4_bits));
	/* An explicit PSID is used, whatever the EA bits say (RFC 7598 4.5). */
	if (!r->psid_given)
		psid = (uint16_t)(ea & ((UINT64_C(1) << psid_bits) - 1));
	*ce = (struct map_ce){
	    .ipv4 = {.addr.family = FAMILY_V4, .bits = (uint8_t)ipv4_bits},
	    .ports = {r->psid_offset, r->psid_len, psid},
	    .address.family = FAMILY_V6,
	};
	store_be32(ce->ipv4.addr.b, ipv4);
	ip_ifaddr_prefix(&cut, &ce->ipv6_prefix);
	make_address(ce->address.b, r, ea, ipv4, psid);
	return 0;
}

int
map_ce_locate(const struct map_rule *r, const uint8_t ipv4[4], uint16_t port,
    uint8_t address[16])
{
	struct ip_addr a = {.family = FAMILY_V4};
	unsigned suffix = suffix_bits(r), psid_bits = r->ea_len - suffix;
	unsigned behind = 32 - r->ipv4.bits - suffix;
	uint32_t v = load_be32(ipv4);
	uint16_t psid;
	uint64_t ea;

	memcpy(a.b, ipv4, 4);
	if (!ip_prefix_contains(&r->ipv4, &a) || r->psid_given)
		return UK_ENOENT;
	if (!map_ports_psid(r->psid_offset, r->psid_len, port, &psid))
		return UK_ENOENT;
	/* A line's IPv4 prefix stands in its address with zeros behind. */
	v = (uint32_t)((uint64_t)v >> behind << behind);
	ea = (uint64_t)v >> behind & ((UINT64_C(1) << suffix) - 1);
	make_address(address, r, ea << psid_bits | psid, v, psid);
	return 0;
}
