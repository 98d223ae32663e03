/* br_rule: mapping rules as a border relay of the test line sees them, read
 * from RFC 7597 sections 5, 5.1, 5.2 and 6 for a second time: nothing here is
 * shared with the client's CE. Integers are in host order. */
#ifndef UKAI_TESTS_BR_RULE_H
#define UKAI_TESTS_BR_RULE_H

#include <stdbool.h>
#include <stdint.h>

#define BR_RULES_MAX 64

struct br_rule {
	uint64_t prefix6; /* high 64 bits of the Rule IPv6 prefix */
	uint32_t prefix4;
	uint8_t len6;
	uint8_t len4;
	uint8_t ea_len;
	uint8_t psid_offset;
	uint8_t psid_len;
	/* With EA length 0 the rule is one CE's, and so may be a PSID
	 * (RFC 7598 section 4.5). */
	uint16_t psid;
	bool draft03; /* interface id: that of draft-ietf-softwire-map-03 */
};

struct br_rules {
	unsigned n;
	struct br_rule rule[BR_RULES_MAX];
};

/* Add one rule: "V6PREFIX/N,V4PREFIX/R,EALEN,OFFSET,IID" with IID rfc7597 or
 * draft03; with EALEN 0 also ",PSIDLEN/PSID". Bits behind a prefix must be 0,
 * the End-user prefix at most 64 long. Returns NULL, or what is wrong. */
const char *br_rules_add(struct br_rules *r, const char *text);

/* The longest match of an outer address; of an IPv4 address. NULL: none. */
const struct br_rule *br_rule_by_ipv6(
    const struct br_rules *r, const uint8_t addr[16]);
const struct br_rule *br_rule_by_ipv4(const struct br_rules *r, uint32_t addr);

/* Does the CE share its address, so that its ports count? */
bool br_rule_shared(const struct br_rule *r);

/* Section 5.1: whose port it is. False: nobody's (A = 0 with an offset). */
bool br_rule_psid(const struct br_rule *r, uint16_t port, uint16_t *psid);

/* Bits of an IPv4 address that tell CEs apart: 32, or fewer when each has a
 * prefix. */
uint32_t br_rule_ipv4_mask(const struct br_rule *r);

/* Sections 5.2 and 6: the MAP address of the CE with this IPv4 address and
 * PSID. */
void br_rule_address(
    const struct br_rule *r, uint32_t ipv4, uint16_t psid, uint8_t out[16]);

/* Section 8.1: IPv4 address (its prefix, padded) and PSID out of the EA bits
 * of an outer address that matches the rule. */
void br_rule_extract(const struct br_rule *r, const uint8_t addr[16],
    uint32_t *ipv4, uint16_t *psid);

#endif
