#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"

/* The module under test is compiled in here with a nonce whose first four
 * bytes can be chosen: WireGuard's are zero, those of the vectors are not. */
static uint8_t nonce_head[4];
#define store_le32(p, v) (memcpy(p, nonce_head, 4), (void)(v))
#include "core/aead.c"
#include "core/aead_openssl.c"
#undef store_le32

#include "support/vectors.h"

#define MAX 1024

struct aead_case {
	uint8_t key[AEAD_KEY_LEN];
	uint8_t iv[64];
	uint8_t ad[MAX], msg[MAX], sealed[MAX + AEAD_TAG_LEN];
	size_t iv_len, ad_len, len, tag_len;
	bool valid;
};

static void
read_case(struct aead_case *c, const json_t *j)
{
	vectors_bytes(j, "key", c->key, sizeof(c->key));
	c->iv_len = vectors_hex(j, "iv", c->iv, sizeof(c->iv));
	c->ad_len = vectors_hex(j, "aad", c->ad, sizeof(c->ad));
	c->len = vectors_hex(j, "msg", c->msg, sizeof(c->msg));
	assert_int_equal(vectors_hex(j, "ct", c->sealed, MAX), c->len);
	c->tag_len = vectors_hex(j, "tag", c->sealed + c->len, AEAD_TAG_LEN);
	c->valid = strcmp(json_string_value(json_object_get(j, "result")),
		       "valid") == 0;
}

/* The functions of a handshake: libsodium. */
static void
run_once(const struct aead_case *c, uint64_t counter)
{
	uint8_t out[MAX + AEAD_TAG_LEN];
	int err;

	aead_seal_once(out, c->key, counter, c->ad, c->ad_len, c->msg, c->len);
	assert_int_equal(
	    memcmp(out, c->sealed, c->len + AEAD_TAG_LEN) == 0, c->valid);
	err = aead_open_once(out, c->key, counter, c->ad, c->ad_len, c->sealed,
	    c->len + AEAD_TAG_LEN);
	assert_int_equal(err, c->valid ? 0 : UK_EAUTH);
	if (c->valid)
		assert_memory_equal(out, c->msg, c->len);
}

static int
seal(struct aead_engine *e, const uint8_t *k, uint64_t counter, uint8_t *data,
    size_t len)
{
	struct aead_op op = {k, counter, data, (uint32_t)len, 1};

	aead_seal(e, &op, 1);
	return op.err;
}

static int
open_it(struct aead_engine *e, const uint8_t *k, uint64_t counter,
    uint8_t *data, size_t len)
{
	struct aead_op op = {k, counter, data, (uint32_t)len, 1};

	aead_open(e, &op, 1);
	return op.err;
}

/* The engine of sessions: in place, no additional data. */
static void
run_bulk(const struct aead_case *c, uint64_t counter)
{
	uint8_t buf[MAX + AEAD_TAG_LEN];
	struct aead_engine *e = aead_engine_new(AEAD_OPENSSL);
	int err;

	assert_non_null(e);
	memcpy(buf, c->msg, c->len);
	assert_int_equal(seal(e, c->key, counter, buf, c->len), 0);
	assert_int_equal(
	    memcmp(buf, c->sealed, c->len + AEAD_TAG_LEN) == 0, c->valid);
	memcpy(buf, c->sealed, c->len + AEAD_TAG_LEN);
	err = open_it(e, c->key, counter, buf, c->len + AEAD_TAG_LEN);
	assert_int_equal(err, c->valid ? 0 : UK_EAUTH);
	if (c->valid)
		assert_memory_equal(buf, c->msg, c->len);
	aead_engine_free(e);
}

static void
run_x(const struct aead_case *c)
{
	uint8_t out[MAX + AEAD_TAG_LEN];
	int err;

	aead_xseal(out, c->key, c->iv, c->ad, c->ad_len, c->msg, c->len);
	assert_int_equal(
	    memcmp(out, c->sealed, c->len + AEAD_TAG_LEN) == 0, c->valid);
	err = aead_xopen(out, c->key, c->iv, c->ad, c->ad_len, c->sealed,
	    c->len + AEAD_TAG_LEN);
	assert_int_equal(err, c->valid ? 0 : UK_EAUTH);
	if (c->valid)
		assert_memory_equal(out, c->msg, c->len);
}

struct counts {
	unsigned run, bulk, nonce_size;
};

static void
run_case(const struct aead_case *c, bool x, struct counts *n)
{
	uint64_t counter;

	if (c->iv_len != (x ? AEAD_XNONCE_LEN : AEAD_NONCE_LEN)) {
		n->nonce_size++; /* our functions cannot say it */
		return;
	}
	assert_int_equal(c->tag_len, AEAD_TAG_LEN);
	n->run++;
	if (x) {
		run_x(c);
		return;
	}
	memcpy(nonce_head, c->iv, sizeof(nonce_head));
	counter = load_le64(c->iv + sizeof(nonce_head));
	run_once(c, counter);
	if (c->ad_len > 0)
		return;
	run_bulk(c, counter);
	n->bulk++;
}

static struct counts
run_file(const char *name, bool x)
{
	json_t *file = vectors_load(name);
	struct counts n = {0, 0, 0};
	const json_t *group, *j;
	static struct aead_case c;
	size_t i, k;

	json_array_foreach(json_object_get(file, "testGroups"), i, group)
	{
		json_array_foreach(json_object_get(group, "tests"), k, j)
		{
			read_case(&c, j);
			run_case(&c, x, &n);
		}
	}
	json_decref(file);
	memset(nonce_head, 0, sizeof(nonce_head));
	return n;
}

static void
test_wycheproof(void **state)
{
	struct counts n = run_file("chacha20_poly1305_test.json", false);

	(void)state;
	assert_int_equal(n.run, 316);
	assert_int_equal(n.nonce_size, 9);
	assert_true(n.bulk > 30);
}

static void
test_wycheproof_x(void **state)
{
	struct counts n = run_file("xchacha20_poly1305_test.json", true);

	(void)state;
	assert_int_equal(n.run, 306);
	assert_int_equal(n.nonce_size, 9);
}

static const uint8_t key[AEAD_KEY_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

/* Two libraries, one function: every length around a block, counters around
 * word bounds. One context goes on working after a refusal. */
static void
test_twins(void **state)
{
	static const uint64_t counters[] = {
	    0, 1, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX - 1};
	uint8_t in[200], bulk[200 + AEAD_TAG_LEN], once[200 + AEAD_TAG_LEN];
	struct aead_engine *e = aead_engine_new(AEAD_BEST);

	(void)state;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	for (size_t len = 0; len <= sizeof(in); len++) {
		uint64_t n = counters[len % ARRAY_LEN(counters)];

		memcpy(bulk, in, len);
		assert_int_equal(seal(e, key, n, bulk, len), 0);
		aead_seal_once(once, key, n, NULL, 0, in, len);
		assert_memory_equal(bulk, once, len + AEAD_TAG_LEN);
		once[len / 2] ^= 1;
		assert_int_equal(
		    open_it(e, key, n, once, len + AEAD_TAG_LEN), UK_EAUTH);
		assert_int_equal(
		    open_it(e, key, n, bulk, len + AEAD_TAG_LEN), 0);
		assert_memory_equal(bulk, in, len);
	}
	aead_engine_free(e);
	aead_engine_free(NULL);
}

/* Another counter is another nonce: high and low words count. */
static void
test_counter_is_bound(void **state)
{
	uint8_t buf[8 + AEAD_TAG_LEN];
	struct aead_engine *e = aead_engine_new(AEAD_BEST);

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		memset(buf, 0, sizeof(buf));
		assert_int_equal(seal(e, key, 5, buf, 8), 0);
		assert_int_equal(
		    open_it(e, key, 5 ^ (UINT64_C(1) << bit), buf, sizeof(buf)),
		    UK_EAUTH);
	}
	aead_engine_free(e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_wycheproof),
	    cmocka_unit_test(test_wycheproof_x),
	    cmocka_unit_test(test_twins),
	    cmocka_unit_test(test_counter_is_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
