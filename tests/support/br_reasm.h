/* br_reasm: reassembly for the border relay of the test line, of inner IPv4
 * fragments (RFC 791, RFC 7597 section 8.3.2) and of outer IPv6 ones (RFC 2473
 * section 7.2, RFC 8200 section 4.5). Bounded in datagrams, pieces and age;
 * overlap ends a datagram (RFC 5722). */
#ifndef UKAI_TESTS_BR_REASM_H
#define UKAI_TESTS_BR_REASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BR_REASM_DATAGRAMS 32
#define BR_REASM_PIECES 64
#define BR_REASM_KEY 40
#define BR_REASM_HEAD 64 /* room before the payload for a header */
#define BR_REASM_NS UINT64_C(10000000000)

enum br_reasm_result {
	BR_REASM_DONE,
	BR_REASM_HELD,
	BR_REASM_BAD, /* a length that cannot be, two ends, too many pieces */
	BR_REASM_OVERLAP,
};

/* What belongs together has the same key. */
struct br_piece {
	uint8_t key[BR_REASM_KEY];
	const uint8_t *data;
	uint32_t len;
	uint32_t offset;
	bool more;
	const uint8_t *head; /* of the piece at offset 0; else not looked at */
	uint32_t head_len; /* at most BR_REASM_HEAD */
};

struct br_datagram {
	bool used;
	uint8_t key[BR_REASM_KEY];
	uint64_t since_ns;
	uint32_t have; /* bytes */
	uint32_t total; /* UINT32_MAX: not known yet */
	uint32_t head_len;
	unsigned pieces;
	uint32_t from[BR_REASM_PIECES];
	uint32_t to[BR_REASM_PIECES];
	uint8_t bytes[BR_REASM_HEAD + 65535];
};

struct br_reasm {
	uint64_t timed_out;
	uint64_t evicted; /* oldest gave way to a new one */
	struct br_datagram datagram[BR_REASM_DATAGRAMS];
};

/* Take a piece. DONE: the payload is at *payload, *len long, with the first
 * piece's head right before it (*head_len bytes), good until the next call. */
enum br_reasm_result br_reasm_add(struct br_reasm *r, uint64_t now_ns,
    const struct br_piece *p, uint8_t **payload, uint32_t *len,
    uint32_t *head_len);

/* Forget what is too old. */
void br_reasm_expire(struct br_reasm *r, uint64_t now_ns);

#endif
