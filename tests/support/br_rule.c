#include "br_rule.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"

static uint64_t
high_bits64(unsigned n)
{
	return n ? UINT64_MAX << (64 - n) : 0;
}

static uint32_t
high_bits32(unsigned n)
{
	return n ? UINT32_MAX << (32 - n) : 0;
}

static unsigned
suffix_len(const struct br_rule *r)
{
	unsigned rest = 32u - r->len4;

	return r->ea_len < rest ? r->ea_len : rest;
}

static const char *
parse_prefixes(struct br_rule *r, const char *six, const char *four)
{
	struct in6_addr a6;
	struct in_addr a4;

	if (inet_pton(AF_INET6, six, &a6) != 1)
		return "not an IPv6 prefix";
	if (inet_pton(AF_INET, four, &a4) != 1)
		return "not an IPv4 prefix";
	r->prefix6 = load_be64(a6.s6_addr);
	r->prefix4 = ntohl(a4.s_addr);
	if (r->len6 > 64 || load_be64(a6.s6_addr + 8) != 0 ||
	    (r->prefix6 & ~high_bits64(r->len6)) != 0)
		return "IPv6 prefix too long, or bits behind it";
	if (r->len4 > 32 || (r->prefix4 & ~high_bits32(r->len4)) != 0)
		return "IPv4 prefix too long, or bits behind it";
	return NULL;
}

static const char *
check_lengths(struct br_rule *r, bool psid_given)
{
	if (r->ea_len > 48 || r->len6 + r->ea_len > 64)
		return "EA bits do not fit";
	if (psid_given && r->ea_len != 0)
		return "a PSID in the rule needs EA length 0";
	if (!psid_given)
		r->psid_len = (uint8_t)(r->ea_len - suffix_len(r));
	if (r->psid_offset > 15 || r->psid_len > 16 ||
	    r->psid_offset + r->psid_len > 16)
		return "no such port set";
	if (r->psid >> r->psid_len != 0)
		return "PSID is longer than its length";
	return NULL;
}

const char *
br_rules_add(struct br_rules *rules, const char *text)
{
	struct br_rule r = {0};
	char six[64], four[32], iid[16];
	unsigned psid = 0;
	const char *wrong;
	int end = 0;
	int n = sscanf(text,
	    "%63[^/,]/%hhu,%31[^/,]/%hhu,%hhu,%hhu,%15[^,]%n,%hhu/%u%n", six,
	    &r.len6, four, &r.len4, &r.ea_len, &r.psid_offset, iid, &end,
	    &r.psid_len, &psid, &end);

	if ((n != 7 && n != 9) || text[end] != '\0' || psid > UINT16_MAX)
		return "not V6/N,V4/R,EALEN,OFFSET,IID[,PSIDLEN/PSID]";
	r.psid = (uint16_t)psid;
	r.draft03 = strcmp(iid, "draft03") == 0;
	if (!r.draft03 && strcmp(iid, "rfc7597") != 0)
		return "interface id: rfc7597 or draft03";
	wrong = parse_prefixes(&r, six, four);
	if (!wrong)
		wrong = check_lengths(&r, n == 9);
	if (!wrong && rules->n == BR_RULES_MAX)
		wrong = "too many rules";
	if (!wrong)
		rules->rule[rules->n++] = r;
	return wrong;
}

const struct br_rule *
br_rule_by_ipv6(const struct br_rules *rules, const uint8_t addr[16])
{
	const struct br_rule *best = NULL;
	uint64_t high = load_be64(addr);

	for (const struct br_rule *r = rules->rule; r < rules->rule + rules->n;
	     r++)
		if ((high & high_bits64(r->len6)) == r->prefix6 &&
		    (!best || r->len6 > best->len6))
			best = r;
	return best;
}

const struct br_rule *
br_rule_by_ipv4(const struct br_rules *rules, uint32_t addr)
{
	const struct br_rule *best = NULL;

	for (const struct br_rule *r = rules->rule; r < rules->rule + rules->n;
	     r++)
		if ((addr & high_bits32(r->len4)) == r->prefix4 &&
		    (!best || r->len4 > best->len4))
			best = r;
	return best;
}

bool
br_rule_shared(const struct br_rule *r)
{
	return r->psid_len > 0;
}

bool
br_rule_psid(const struct br_rule *r, uint16_t port, uint16_t *psid)
{
	unsigned m = 16u - r->psid_offset - r->psid_len;

	*psid = (uint16_t)((unsigned)port >> m & ((1u << r->psid_len) - 1));
	return r->psid_offset == 0 || port >> (16 - r->psid_offset) != 0;
}

uint32_t
br_rule_ipv4_mask(const struct br_rule *r)
{
	return high_bits32(r->len4 + suffix_len(r));
}

static uint64_t
ea_bits(const struct br_rule *r, uint32_t ipv4, uint16_t psid)
{
	uint64_t suffix = ipv4 & ~high_bits32(r->len4);

	if (r->ea_len == 0)
		return 0;
	suffix >>= 32u - r->len4 - suffix_len(r);
	return suffix << r->psid_len | psid;
}

void
br_rule_address(
    const struct br_rule *r, uint32_t ipv4, uint16_t psid, uint8_t out[16])
{
	uint64_t ea = ea_bits(r, ipv4, psid);
	unsigned below = 64u - r->len6 - r->ea_len;
	uint64_t iid = (uint64_t)(ipv4 & br_rule_ipv4_mask(r)) << 16 | psid;

	/* A shift by 64 needs an empty prefix and no EA bits: nothing then. */
	store_be64(out, r->prefix6 | (below < 64 ? ea << below : 0));
	store_be64(out + 8, r->draft03 ? iid << 8 : iid);
}

void
br_rule_extract(const struct br_rule *r, const uint8_t addr[16], uint32_t *ipv4,
    uint16_t *psid)
{
	uint64_t ea = 0;
	unsigned below = 64u - r->len6 - r->ea_len;
	uint32_t suffix;

	*psid = r->psid;
	*ipv4 = r->prefix4;
	if (r->ea_len == 0)
		return;
	ea = load_be64(addr) >> below & ((UINT64_C(1) << r->ea_len) - 1);
	suffix = (uint32_t)(ea >> r->psid_len);
	*psid = (uint16_t)(ea & ((1u << r->psid_len) - 1));
	if (suffix_len(r) > 0)
		*ipv4 |= suffix << (32u - r->len4 - suffix_len(r));
}
