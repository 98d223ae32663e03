#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/btf.h>

#include "client/policy/kernel_fields.h"
#include "core/err.h"

#define KIND(kind, flag, n)                                                    \
	((uint32_t)(flag) << 31 | (uint32_t)(kind) << 24 | (uint32_t)(n))
#define BITS(size, at) ((uint32_t)(size) << 24 | (uint32_t)(at))

static const char text[] = "\0int\0task\0pid\0inner\0name\0flag\0far";
enum {
	NO = 0,
	INT = 1,
	TASK = 5,
	PID = 10,
	INNER = 14,
	NAME = 20,
	FLAG = 25,
	FAR = 30
};

/* struct task {
 *	int pid;
 *	union { struct { int; int far } };	at byte 8, and that at 4
 *	int flag : 3;				bit 130
 *	struct inner name;			at byte 24
 * } */
static const uint32_t types[] = {
    INT, KIND(BTF_KIND_INT, 0, 0), 4, 32, /* 1 */
    NO, KIND(BTF_KIND_STRUCT, 0, 2), 8, NO, 1, 0, FAR, 1, 32, /* 2 */
    NO, KIND(BTF_KIND_UNION, 0, 1), 8, NO, 2, 0, /* 3 */
    NO, KIND(BTF_KIND_ARRAY, 0, 0), 0, 1, 1, 4, /* 4 */
    NO, KIND(BTF_KIND_ENUM, 0, 2), 4, PID, 0, FAR, 1, /* 5 */
    NO, KIND(BTF_KIND_FUNC_PROTO, 0, 1), 1, PID, 1, /* 6 */
    NO, KIND(BTF_KIND_DATASEC, 0, 1), 4, 1, 0, 4, /* 7 */
    NO, KIND(BTF_KIND_PTR, 0, 0), 8, /* 8 */
    NO, KIND(BTF_KIND_VAR, 0, 0), 1, 0, /* 9 */
    TASK, KIND(BTF_KIND_FWD, 0, 0), 0, /* 10 */
    TASK, KIND(BTF_KIND_STRUCT, 1, 4), 32, PID, 1, 0, NO, 3, 64, FLAG, 1,
    BITS(3, 130), NAME, 8, BITS(0, 192), /* 11 */
    INNER, KIND(BTF_KIND_STRUCT, 0, 1), 8, NAME, 1, 32, /* 12 */
    NO, KIND(BTF_KIND_ENUM64, 0, 1), 8, PID, 0, 0, /* 13 */
};

#define POINTER_INFO 44 /* that of type 8, in types */

/* To be freed. */
static uint8_t *
describe(size_t *len)
{
	const struct btf_header h = {.magic = BTF_MAGIC,
	    .version = BTF_VERSION,
	    .hdr_len = sizeof(h),
	    .type_len = sizeof(types),
	    .str_off = sizeof(types),
	    .str_len = sizeof(text)};
	uint8_t *btf = malloc(sizeof(h) + sizeof(types) + sizeof(text));

	memcpy(btf, &h, sizeof(h));
	memcpy(btf + sizeof(h), types, sizeof(types));
	memcpy(btf + sizeof(h) + sizeof(types), text, sizeof(text));
	*len = sizeof(h) + sizeof(types) + sizeof(text);
	return btf;
}

static void
test_found(void **state)
{
	static const struct kernel_field field[] = {{"task", "pid"},
	    {"task", "far"}, {"inner", "name"}, {"task", "flag"},
	    {"task", "name"}};
	static const struct kernel_field none[] = {
	    {"task", "pid"}, {"task", "int"}};
	static const struct kernel_field nobody[] = {{"int", "pid"}};
	uint32_t at[ARRAY_LEN(field)];
	size_t len;
	uint8_t *btf = describe(&len);

	(void)state;
	assert_int_equal(kernel_fields_parse(at, field, 5, btf, len), 0);
	assert_int_equal(at[0], 0);
	assert_int_equal(at[1], 12);
	assert_int_equal(at[2], 4);
	assert_int_equal(at[3], 16);
	assert_int_equal(at[4], 24);
	assert_int_equal(kernel_fields_parse(at, none, 2, btf, len), UK_ENOENT);
	assert_int_equal(
	    kernel_fields_parse(at, nobody, 1, btf, len), UK_ENOENT);
	free(btf);
}

/* Every length, and any byte another one: nothing is read outside of it. */
static void
test_damaged(void **state)
{
	static const struct kernel_field field[] = {
	    {"task", "far"}, {"inner", "name"}};
	uint32_t at[2], seed = 20240613;
	size_t len;
	uint8_t *btf = describe(&len);

	(void)state;
	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = malloc(n + 1);

		/* Up to its end, so that what is behind it would be noticed. */
		memcpy(cut + 1, btf, n);
		assert_int_equal(
		    kernel_fields_parse(at, field, 2, cut + 1, n), UK_EPROTO);
		free(cut);
	}
	for (int i = 0; i < 20000; i++) {
		size_t where;
		uint8_t was;

		seed = seed * 1664525u + 1013904223u;
		where = (seed >> 8) % len;
		was = btf[where];
		btf[where] = (uint8_t)(seed >> 24);
		(void)kernel_fields_parse(at, field, 2, btf, len);
		btf[where] = was;
	}
	free(btf);
}

/* Of what a newer kernel may describe nobody here knows the length. */
static void
test_unknown_kind(void **state)
{
	static const struct kernel_field field = {"inner", "name"};
	static const uint32_t known = KIND(BTF_KIND_TYPE_TAG, 0, 0),
			      unknown = KIND(31, 0, 0);
	uint32_t at;
	size_t len;
	uint8_t *btf = describe(&len);
	uint8_t *info = btf + sizeof(struct btf_header) + POINTER_INFO * 4;

	(void)state;
	memcpy(info, &known, sizeof(known));
	assert_int_equal(kernel_fields_parse(&at, &field, 1, btf, len), 0);
	memcpy(info, &unknown, sizeof(unknown));
	assert_int_equal(
	    kernel_fields_parse(&at, &field, 1, btf, len), UK_EPROTO);
	free(btf);
}

/* The kernel that runs us: a thread's name is behind its number. */
static void
test_this_kernel(void **state)
{
	static const struct kernel_field field[] = {{"task_struct", "tgid"},
	    {"task_struct", "comm"}, {"dentry", "d_name"}, {"qstr", "name"}};
	uint32_t at[4];

	(void)state;
	if (access("/sys/kernel/btf/vmlinux", R_OK) != 0)
		skip();
	assert_int_equal(kernel_fields_read(at, field, 4), 0);
	assert_true(at[0] > 0 && at[1] > at[0]);
	assert_int_equal(at[3], 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_found),
	    cmocka_unit_test(test_damaged),
	    cmocka_unit_test(test_unknown_kind),
	    cmocka_unit_test(test_this_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
