#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "core/blake2s.h"
#include "support/vectors.h"

static struct blake2s *b;
static uint8_t ramp[64]; /* 00 01 02 ... */

static void
expect(const uint8_t *got, size_t len, const char *hex)
{
	uint8_t want[BLAKE2S_LEN];

	assert_int_equal(vectors_unhex(want, sizeof(want), hex), len);
	assert_memory_equal(got, want, len);
}

/* protocol whitepaper 5.4; values computed by an independent BLAKE2s. */
static void
test_known_answers(void **state)
{
	uint8_t out[BLAKE2S_LEN];

	(void)state;
	blake2s_hash(b, out, "abc", 3, NULL, 0);
	expect(out, 32,
	    "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
	blake2s_mac(b, out, ramp, 32, "", 0, NULL, 0);
	expect(out, 16, "9536f9b267655743dee97b8a670f9f53");
	blake2s_mac(b, out, ramp, 32, "abc", 3, NULL, 0);
	expect(out, 16, "61ba5f165c194692e09d12520cc4c74a");
	blake2s_mac(b, out, ramp, 16, "abc", 3, NULL, 0);
	expect(out, 16, "75296c2d2c0f51210b383f386bc8b1ff");
	blake2s_hmac(b, out, ramp, "abc", 3);
	expect(out, 32,
	    "82623be5bc0a391b24dce53e67d028eff92d586de0485ac37822e597d049c74f");
	assert_true(blake2s_ok(b));
}

/* Two pieces are the same as their concatenation, at every cut. */
static void
test_two_pieces(void **state)
{
	uint8_t whole[BLAKE2S_LEN], cut[BLAKE2S_LEN];

	(void)state;
	for (size_t n = 0; n <= sizeof(ramp); n++) {
		blake2s_hash(b, whole, ramp, sizeof(ramp), NULL, 0);
		blake2s_hash(b, cut, ramp, n, ramp + n, sizeof(ramp) - n);
		assert_memory_equal(cut, whole, BLAKE2S_LEN);
		blake2s_mac(b, whole, ramp, 32, ramp, sizeof(ramp), NULL, 0);
		blake2s_mac(
		    b, cut, ramp, 32, ramp, n, ramp + n, sizeof(ramp) - n);
		assert_memory_equal(cut, whole, BLAKE2S_MAC_LEN);
	}
}

static void
test_output_over_input(void **state)
{
	uint8_t x[BLAKE2S_LEN], want[BLAKE2S_LEN];

	(void)state;
	memcpy(x, ramp, sizeof(x));
	blake2s_hash(b, want, ramp, sizeof(x), "y", 1);
	blake2s_hash(b, x, x, sizeof(x), "y", 1);
	assert_memory_equal(x, want, sizeof(x));
}

/* OpenSSL's own HMAC, which knows nothing of ours. */
static void
twin_hmac(uint8_t out[BLAKE2S_LEN], const uint8_t key[BLAKE2S_LEN],
    const uint8_t *x, size_t len)
{
	size_t n;

	assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, "BLAKE2S-256", NULL, key,
	    BLAKE2S_LEN, x, len, out, BLAKE2S_LEN, &n));
	assert_int_equal(n, BLAKE2S_LEN);
}

static void
test_hmac_twin(void **state)
{
	uint8_t got[BLAKE2S_LEN], want[BLAKE2S_LEN];

	(void)state;
	for (size_t n = 0; n <= sizeof(ramp); n++) {
		blake2s_hmac(b, got, ramp + n / 2, ramp, n);
		twin_hmac(want, ramp + n / 2, ramp, n);
		assert_memory_equal(got, want, sizeof(got));
	}
}

/* KDFn as protocol.md and the whitepaper write it, one line an output. */
static void
naive_kdf(uint8_t t[4][BLAKE2S_LEN], const uint8_t ck[BLAKE2S_LEN],
    const uint8_t *x, size_t len)
{
	uint8_t in[BLAKE2S_LEN + 1];

	twin_hmac(t[0], ck, x, len);
	in[0] = 1;
	twin_hmac(t[1], t[0], in, 1);
	for (uint8_t i = 2; i <= 3; i++) {
		memcpy(in, t[i - 1], BLAKE2S_LEN);
		in[BLAKE2S_LEN] = i;
		twin_hmac(t[i], t[0], in, sizeof(in));
	}
}

static void
test_kdf_twin(void **state)
{
	uint8_t t[4][BLAKE2S_LEN], out[3][BLAKE2S_LEN], ck[BLAKE2S_LEN];

	(void)state;
	for (unsigned n = 1; n <= 3; n++) {
		for (size_t len = 0; len <= 32; len += 16) {
			memset(out, 0xee, sizeof(out));
			memcpy(ck, ramp + n, sizeof(ck));
			naive_kdf(t, ck, ramp, len);
			blake2s_kdf(b, n, ck, n > 1 ? out[1] : NULL,
			    n > 2 ? out[2] : NULL, ck, ramp, len);
			assert_memory_equal(ck, t[1], BLAKE2S_LEN);
			for (unsigned i = 2; i <= n; i++)
				assert_memory_equal(
				    out[i - 1], t[i], BLAKE2S_LEN);
			for (unsigned i = n + 1; i <= 3; i++)
				assert_int_equal(out[i - 1][0], 0xee);
		}
	}
}

/* A library that fails once is not believed again: a key of no length. */
static void
test_failure_is_sticky(void **state)
{
	static const uint8_t zero[BLAKE2S_LEN];
	uint8_t out[BLAKE2S_LEN];
	struct blake2s *broken = blake2s_new();

	(void)state;
	assert_non_null(broken);
	memset(out, 1, sizeof(out));
	blake2s_mac(broken, out, ramp, 0, "abc", 3, NULL, 0);
	assert_false(blake2s_ok(broken));
	assert_memory_equal(out, zero, BLAKE2S_MAC_LEN);
	memset(out, 1, sizeof(out));
	blake2s_hash(broken, out, "abc", 3, NULL, 0);
	assert_memory_equal(out, zero, BLAKE2S_LEN);
	memset(out, 1, sizeof(out));
	blake2s_hmac(broken, out, ramp, "abc", 3);
	assert_memory_equal(out, zero, BLAKE2S_LEN);
	blake2s_free(broken);
	blake2s_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known_answers),
	    cmocka_unit_test(test_two_pieces),
	    cmocka_unit_test(test_output_over_input),
	    cmocka_unit_test(test_hmac_twin),
	    cmocka_unit_test(test_kdf_twin),
	    cmocka_unit_test(test_failure_is_sticky),
	};
	int failed;

	for (size_t i = 0; i < sizeof(ramp); i++)
		ramp[i] = (uint8_t)i;
	b = blake2s_new();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	blake2s_free(b);
	return failed;
}
