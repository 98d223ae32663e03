/* reasm: puts fragments together: inner IPv4 (RFC 791) and outer IPv6 (RFC 8200
 * 4.5) datagrams. Bounded in datagrams, bytes and age (D11): when full, the
 * oldest goes. An overlap drops all of the datagram (RFC 5722), for IPv4 too;
 * an exact repetition of a fragment is ignored. The first fragment must hold
 * the ports (RFC 1858, RFC 3128). What contradicts the fragments before it
 * (overlap, a second end) ends its datagram, which is remembered until its
 * time is over, so that fragments still to come are dropped, too; what makes
 * no sense by itself is dropped alone. Memory: heap, all of it in reasm_new():
 * bytes_max, in chunks of 512 bytes, and about 3 KiB for each datagram. Pure
 * but for that; owner only. */
#ifndef UKAI_MAPE_REASM_H
#define UKAI_MAPE_REASM_H

#include "drop.h"

struct reasm;

struct reasm_conf {
	unsigned datagrams_max; /* at a time */
	size_t bytes_max; /* of payload, of all of them; at least 512 */
	uint64_t age_ns; /* from its first fragment */
};

/* 64 datagrams, 1 MiB, 15 s. */
void reasm_conf_default(struct reasm_conf *c);

/* NULL: out of memory. */
struct reasm *reasm_new(const struct reasm_conf *c);
void reasm_free(struct reasm *r);

/* Take a fragment (what is none comes out again as it is, but for DF): a
 * whole IP packet, IPv4 (checked by ip_parse) or IPv6 with a
 * fragment header right behind its fixed header. tag separates what has the
 * same addresses but did not come the same way. Copies what it keeps.
 * Returns MAP_OK: *out is a whole packet without fragmentation, valid until
 * the next call, of *out_len bytes, with right lengths and, for IPv4, header
 * checksum; its TOS or traffic class is as RFC 3168 5.3 says. *out NULL: more
 * is wanted. Else why the fragment, or with it its datagram, was dropped. */
enum map_drop reasm_input(struct reasm *r, uint64_t now_ns, uint32_t tag,
    const uint8_t *pkt, size_t len, const uint8_t **out, size_t *out_len);

/* Drop what is too old. Returns how many datagrams that were, without those
 * that were dropped before. */
unsigned reasm_expire(struct reasm *r, uint64_t now_ns);
/* When reasm_expire() has something to do; UK_NEVER: never. */
uint64_t reasm_deadline(const struct reasm *r);

struct reasm_stats {
	unsigned datagrams; /* now: incomplete, or dropped and remembered */
	size_t bytes; /* of the chunks that they take */
	uint64_t complete; /* ever */
	uint64_t evicted; /* to make room */
};
const struct reasm_stats *reasm_stats(const struct reasm *r);

#endif
