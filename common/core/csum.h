/* csum: the Internet checksum. RFC 1071; incremental updates RFC 1624. */
#ifndef UKAI_CSUM_H
#define UKAI_CSUM_H

#include "base.h"

/* Add len bytes, taken as big-endian 16-bit words (an odd last byte is the
 * high half), to a running sum that is not folded yet. Start with 0. Only the
 * last piece of a sum may have an odd length. */
uint64_t csum_add(uint64_t sum, const uint8_t *b, size_t len);

/* The same without the instructions that csum_add uses where the CPU has
 * them. */
uint64_t csum_add_plain(uint64_t sum, const uint8_t *b, size_t len);

/* Fold to 16 bits; not complemented. */
uint16_t csum_fold(uint64_t sum);

/* Sum of the TCP or UDP pseudo header (RFC 9293 3.1, RFC 8200 8.1): addresses
 * of alen bytes (4 or 16), protocol, upper-layer length. Not folded. */
uint64_t csum_pseudo(const uint8_t *src, const uint8_t *dst, size_t alen,
    uint8_t proto, uint32_t len);

/* RFC 1624 eqn. 3: the checksum after one 16-bit word of what it covers went
 * from old to new. All values in host order as load_be16 gives them. */
uint16_t csum_update16(uint16_t check, uint16_t old, uint16_t new_);

#endif
