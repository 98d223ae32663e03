#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "wg/wg_index.h"

/* Random numbers of four bytes come from a list, so that a collision can be
 * made; everything else is a fixed pattern. */
static const uint32_t *list;

static void
scripted(void *out, size_t len)
{
	if (len == 4 && list)
		store_le32(out, *list++);
	else
		memset(out, 7, len);
}

static struct wg_index_table t;

static int
setup(void **state)
{
	(void)state;
	list = NULL;
	return wg_index_table_init(&t, scripted);
}

static int
teardown(void **state)
{
	(void)state;
	wg_index_table_fini(&t);
	return 0;
}

/* P7: an index is what the random source gave, not a count, and a number in
 * use is drawn again. */
static void
test_draw(void **state)
{
	static const uint32_t numbers[] = {
	    0xdeadbeef, 0xdeadbeef, 0xdeadbeef, 0x12345678};
	struct wg_index a = {.used = false}, b = {.used = false};
	uint8_t wire[4];

	(void)state;
	list = numbers;
	wg_index_draw(&t, 0, 1, wire);
	assert_true(load_le32(wire) == 0xdeadbeef);
	wg_index_add(&t, &a, wire);
	wg_index_draw(&t, 0, 1, wire);
	assert_true(load_le32(wire) == 0x12345678);
	assert_ptr_equal(list, numbers + 4);
	wg_index_add(&t, &b, wire);
	assert_ptr_equal(wg_index_find(&t, wire), &b);
	wg_index_remove(&t, &b);
	assert_null(wg_index_find(&t, wire));
	wg_index_remove(&t, &b); /* not in: nothing happens */
	wg_index_remove(&t, &a);
}

#define ENTRIES 3000

/* Twin: an array that is searched from one end to the other. */
static void
test_twin(void **state)
{
	static struct wg_index entry[ENTRIES];
	uint8_t wire[4];

	(void)state;
	for (uint32_t i = 0; i < ENTRIES; i++) {
		store_le32(wire, i * 2654435761u);
		wg_index_add(&t, &entry[i], wire);
	}
	for (uint32_t i = 0; i < ENTRIES; i += 3)
		wg_index_remove(&t, &entry[i]);
	for (uint32_t i = 0; i < ENTRIES; i++) {
		store_le32(wire, i * 2654435761u);
		assert_ptr_equal(
		    wg_index_find(&t, wire), i % 3 == 0 ? NULL : &entry[i]);
	}
	memset(wire, 0xfe, sizeof(wire));
	assert_null(wg_index_find(&t, wire));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_draw, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_twin, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
