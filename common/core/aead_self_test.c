/* The test an implementation passes before it is used: what it seals libsodium
 * opens, and the other way, which for this cipher is to say that they are the
 * same function. (One OpenSSL 3.0 opened what was forged: no library is taken
 * at its word.) Random keys and counters, batches of unequal packets at odd
 * places, every length around the blocks of both primitives and of vector
 * code. About a millisecond; one buffer, since memory once touched is counted
 * against a client for good. */
#include "aead_engine.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 32
#define SHORT_MAX 320 /* every length below: past four 64-byte blocks */
#define LENGTH_MAX 65535
#define REFUSED_LEN 24
#define PERIOD 251

/* One byte between a tag and the next text shows who writes too far. */
#define STRIDE(len) ((len) + AEAD_TAG_LEN + 1)

struct trial {
	struct aead_engine *e;
	uint64_t random;
	uint8_t key[BATCH][AEAD_KEY_LEN];
	struct aead_op op[BATCH];
	uint8_t text[PERIOD];
	uint8_t buf[STRIDE(LENGTH_MAX)];
};

/* Marsaglia's xorshift64: any numbers will do, but the same at each start, so
 * that a failure is seen again. */
static uint64_t
next_random(struct trial *t)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return t->random;
}

/* The texts repeat themselves, but not with the blocks of the cipher. */
static void
put_text(struct trial *t, size_t len)
{
	for (size_t i = 0; i < len; i += PERIOD)
		memcpy(t->buf + i, t->text, uk_min_u64(PERIOD, len - i));
}

/* Whether len bytes are still, or again, what put_text() put there. */
static bool
is_text(const struct trial *t, const uint8_t *data, size_t len)
{
	size_t at = (size_t)(data - t->buf) % PERIOD;

	while (len > 0) {
		size_t n = uk_min_u64(len, PERIOD - at);

		if (memcmp(data, t->text + at, n) != 0)
			return false;
		data += n;
		len -= n;
		at = 0;
	}
	return true;
}

/* A batch of n texts of first, first + 1, ... bytes under new keys. */
static void
lay_out(struct trial *t, uint32_t first, unsigned n)
{
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		for (size_t k = 0; k < AEAD_KEY_LEN; k += 8)
			store_le64(t->key[i] + k, next_random(t));
		t->op[i] = (struct aead_op){
		    .key = t->key[i],
		    .counter = next_random(t),
		    .data = t->buf + at,
		    .len = first + i,
		};
		at += STRIDE(t->op[i].len);
	}
	UK_ASSERT(at <= sizeof(t->buf));
	put_text(t, at);
}

/* Seal the texts, and let each op's length count the tag. */
static bool
seal_all(struct trial *t, unsigned n, bool witness)
{
	if (!witness)
		aead_seal(t->e, t->op, n);
	for (unsigned i = 0; i < n; i++) {
		struct aead_op *op = &t->op[i];

		if (op->err)
			return false;
		if (witness)
			aead_seal_once(op->data, op->key, op->counter, NULL, 0,
			    op->data, op->len);
		op->len += AEAD_TAG_LEN;
	}
	return true;
}

static void
open_all(struct trial *t, unsigned n, bool witness)
{
	if (!witness)
		aead_open(t->e, t->op, n);
	for (unsigned i = 0; i < n && witness; i++) {
		struct aead_op *op = &t->op[i];

		op->err = aead_open_once(
		    op->data, op->key, op->counter, NULL, 0, op->data, op->len);
	}
}

/* Whether the texts come back, sealed or opened by the witness, and nothing
 * changes beside them. */
static bool
goes_through(struct trial *t, uint32_t first, unsigned n, bool witness_seals)
{
	lay_out(t, first, n);
	if (!seal_all(t, n, witness_seals))
		return false;
	open_all(t, n, !witness_seals);
	for (unsigned i = 0; i < n; i++) {
		const struct aead_op *op = &t->op[i];

		if (op->err || !is_text(t, op->data, op->len - AEAD_TAG_LEN) ||
		    !is_text(t, op->data + op->len, 1))
			return false;
	}
	return true;
}

static bool
agrees(struct trial *t, uint32_t first, unsigned n)
{
	return goes_through(t, first, n, false) &&
	       goes_through(t, first, n, true);
}

/* Of two packets the first is wrong in one byte, the second is right. */
static bool
refuses(struct trial *t, unsigned position)
{
	lay_out(t, REFUSED_LEN, 2);
	(void)seal_all(t, 2, true);
	t->op[0].data[position] ^= 0x10;
	aead_open(t->e, t->op, 2);
	return t->op[0].err == UK_EAUTH && t->op[1].err == 0;
}

static bool
passes(struct trial *t)
{
	for (uint32_t first = 0; first < SHORT_MAX; first += BATCH) {
		if (!agrees(t, first, BATCH))
			return false;
	}
	if (!agrees(t, 1420 - BATCH / 2, BATCH) || !agrees(t, 9000, 1) ||
	    !agrees(t, LENGTH_MAX, 1))
		return false;
	for (unsigned i = 0; i < REFUSED_LEN + AEAD_TAG_LEN; i++) {
		if (!refuses(t, i))
			return false;
	}
	return true;
}

bool
aead_self_test(struct aead_engine *e)
{
	struct trial *t = malloc(sizeof(*t));
	bool ok;

	if (!t)
		return false;
	t->e = e;
	t->random = UINT64_C(0x9e3779b97f4a7c15);
	for (size_t i = 0; i < PERIOD; i++)
		t->text[i] = (uint8_t)(next_random(t) >> 32);
	ok = passes(t);
	free(t);
	return ok;
}
