/* vectors: reading tests/vectors. Failures end the test. */
#ifndef UKAI_TESTS_VECTORS_H
#define UKAI_TESTS_VECTORS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* A file of UKAI_VECTORS; the caller's to json_decref(). */
json_t *vectors_load(const char *name);
/* Hex text to at most cap bytes; returns how many. */
size_t vectors_unhex(uint8_t *out, size_t cap, const char *hex);
/* The same for a member of an object. */
size_t vectors_hex(
    const json_t *object, const char *key, uint8_t *out, size_t cap);
/* A member of exactly len bytes. */
void vectors_bytes(
    const json_t *object, const char *key, uint8_t *out, size_t len);

#endif
