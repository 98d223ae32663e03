#include "vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

json_t *
vectors_load(const char *name)
{
	char path[512];
	json_error_t err;
	json_t *file;

	snprintf(path, sizeof(path), "%s/%s", UKAI_VECTORS, name);
	file = json_load_file(path, 0, &err);
	if (!file)
		fail_msg("%s:%d: %s", path, err.line, err.text);
	return file;
}

size_t
vectors_unhex(uint8_t *out, size_t cap, const char *hex)
{
	size_t len = 0;

	assert_int_equal(
	    sodium_hex2bin(out, cap, hex, strlen(hex), NULL, &len, NULL), 0);
	assert_int_equal(len, strlen(hex) / 2);
	return len;
}

size_t
vectors_hex(const json_t *object, const char *key, uint8_t *out, size_t cap)
{
	const char *hex = json_string_value(json_object_get(object, key));

	if (!hex)
		fail_msg("no %s", key);
	return vectors_unhex(out, cap, hex);
}

void
vectors_bytes(const json_t *object, const char *key, uint8_t *out, size_t len)
{
	assert_int_equal(vectors_hex(object, key, out, len), len);
}
