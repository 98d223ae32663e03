/* s46: DHCPv6 options 89 to 96 as rules. RFC 7598. Pure (C4): option bytes in,
 * rules out. An option that is truncated or contradicts itself is ignored
 * whole (7598 section 5), counted, and told to d as a warning. */
#ifndef UKAI_MAPE_S46_H
#define UKAI_MAPE_S46_H

#include "map_rules.h"

struct s46 {
	struct map_rules rules; /* of the MAP-E containers, BR in each */
	unsigned ignored; /* options that made no sense, with all in them */
	unsigned others; /* whole ones of mechanisms that are not MAP-E */
};

/* options: as they stand in a DHCPv6 message, one after the other; those with
 * other codes are skipped. Rules get iid. Returns 0 (also when nothing is
 * there); UK_ENOMEM: then s is empty. */
int s46_parse(struct s46 *s, const uint8_t *options, size_t len,
    enum map_iid iid, struct diag *d);
void s46_fini(struct s46 *s);

/* Option bytes for which somebody has written hexadecimal digits, with blanks,
 * ends of lines and colons wherever, "0x" in front: turned into the bytes in
 * place. Anything
 * else is taken for the bytes themselves (of these options the first is zero,
 * which is not a digit). Returns 0; UK_EPROTO: half a byte. */
int s46_decode(uint8_t *text, size_t *len);

#endif
