#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/err.h"
#include "core/x25519.h"
#include "support/vectors.h"

static const uint8_t zero[X25519_LEN];

/* Wycheproof. A shared secret of zeros is "acceptable" there and never here:
 * the public key is of low order. */
static bool
run_case(const json_t *c)
{
	uint8_t priv[X25519_LEN], pub[X25519_LEN], want[X25519_LEN];
	uint8_t got[X25519_LEN];
	bool low;
	int err;

	vectors_bytes(c, "private", priv, sizeof(priv));
	vectors_bytes(c, "public", pub, sizeof(pub));
	vectors_bytes(c, "shared", want, sizeof(want));
	memset(got, 0xee, sizeof(got));
	low = memcmp(want, zero, sizeof(want)) == 0;
	err = x25519(got, priv, pub);
	assert_int_equal(err, low ? UK_EAUTH : 0);
	assert_memory_equal(got, want, sizeof(got));
	return low;
}

static void
test_wycheproof(void **state)
{
	json_t *file = vectors_load("x25519_test.json");
	const json_t *group, *c;
	unsigned refused = 0, equal = 0;
	size_t i, j;

	(void)state;
	json_array_foreach(json_object_get(file, "testGroups"), i, group)
		json_array_foreach(json_object_get(group, "tests"), j, c) *
	    (run_case(c) ? &refused : &equal) += 1;
	assert_int_equal(equal, 487);
	assert_int_equal(refused, 31);
	json_decref(file);
}

/* The public key is DH with the base point, u = 9 (RFC 7748, 4.1). */
static void
test_base(void **state)
{
	static const uint8_t nine[X25519_LEN] = {9};
	uint8_t priv[X25519_LEN], pub[X25519_LEN], want[X25519_LEN];

	(void)state;
	for (unsigned i = 0; i < 32; i++) {
		for (unsigned j = 0; j < X25519_LEN; j++)
			priv[j] = (uint8_t)(i * 37 + j * 11 + 1);
		x25519_base(pub, priv);
		assert_int_equal(x25519(want, priv, nine), 0);
		assert_memory_equal(pub, want, sizeof(pub));
	}
}

/* RFC 7748, 5: low 3 bits and the top bit go, the bit below it is set; both
 * keys are one. */
static void
test_clamp(void **state)
{
	uint8_t raw[X25519_LEN], clamped[X25519_LEN];
	uint8_t a[X25519_LEN], b[X25519_LEN];

	(void)state;
	memset(raw, 0xff, sizeof(raw));
	memcpy(clamped, raw, sizeof(raw));
	x25519_clamp(clamped);
	assert_int_equal(clamped[0], 0xf8);
	assert_int_equal(clamped[31], 0x7f);
	assert_memory_equal(clamped + 1, raw + 1, X25519_LEN - 2);
	x25519_base(a, raw);
	x25519_base(b, clamped);
	assert_memory_equal(a, b, sizeof(a));
	memset(clamped, 0, sizeof(clamped));
	x25519_clamp(clamped);
	assert_int_equal(clamped[0], 0);
	assert_int_equal(clamped[31], 0x40);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_wycheproof),
	    cmocka_unit_test(test_base),
	    cmocka_unit_test(test_clamp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
