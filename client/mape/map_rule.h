/* map_rule: one MAP-E mapping rule: what the lines that share a block of IPv4
 * addresses have in common. RFC 7597 section 5. Pure. */
#ifndef UKAI_MAPE_MAP_RULE_H
#define UKAI_MAPE_MAP_RULE_H

#include "core/endpoint.h"

/* How a MAP address's last 64 bits hold IPv4 address and PSID. */
enum map_iid {
	MAP_IID_RFC7597, /* 0000:aabb:ccdd:00HL, RFC 7597 section 6 */
	MAP_IID_DRAFT03, /* 00aa:bbcc:ddHH:LL00, eight bits to the left */
};

#define MAP_EA_LEN_MAX 48 /* RFC 7597 5.2 */
#define MAP_PSID_OFFSET_DEFAULT 6 /* 5.1 */

struct map_rule {
	char operator_name[32]; /* "" where nobody said */
	struct ip_prefix ipv6; /* Rule IPv6 prefix */
	struct ip_prefix ipv4; /* Rule IPv4 prefix */
	uint8_t ea_len; /* 0..MAP_EA_LEN_MAX */
	uint8_t psid_offset; /* 0..15: "a" */
	uint8_t psid_len; /* 0..16: "k"; 0: whole addresses */
	bool psid_given; /* psid came from outside (RFC 7598 4.5) */
	uint16_t psid; /* where psid_given, right-aligned */
	enum map_iid iid;
	struct ip_addr br; /* FAMILY_NONE: not known */
	bool fmr; /* other CEs may be sent to directly by it */
	char confidence[16]; /* "official", "observed", ...; "" */
	char source[96]; /* who says so */
};

#define MAP_RULE_WHY_MAX 160

/* Does the rule contradict itself? Returns 0; UK_EINVAL with a sentence that
 * says what in why. */
int map_rule_check(const struct map_rule *r, char why[static MAP_RULE_WHY_MAX]);

/* The part of a rule that an error is about. */
enum map_rule_field {
	MAP_RULE_IPV6,
	MAP_RULE_IPV4,
	MAP_RULE_EA_LEN,
	MAP_RULE_PSID_OFFSET,
	MAP_RULE_PSID_LEN,
	MAP_RULE_PSID,
	MAP_RULE_BR,
};

/* The same, and where to point. */
int map_rule_fault(const struct map_rule *r, enum map_rule_field *field,
    char why[static MAP_RULE_WHY_MAX]);

/* Can it be a border relay's: of one host, and not on this link or this
 * host? */
bool map_rule_br_ok(const struct ip_addr *a);

/* The psid_len that prefix and EA length leave (RFC 7597 5.2); may be more than
 * 16. 0: whole addresses, or the PSID comes from outside. */
unsigned map_rule_psid_bits(const struct map_rule *r);

/* Bits of an IPv6 address that say which line it is: of a line's End-user IPv6
 * prefix these come first. */
unsigned map_rule_line_bits(const struct map_rule *r);

/* "rfc7597", "draft03". */
const char *map_iid_name(enum map_iid iid);
/* Returns 0; UK_EINVAL. */
int map_iid_parse(enum map_iid *iid, const char *text, size_t len);

#endif
