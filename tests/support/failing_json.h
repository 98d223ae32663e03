/* failing_json: a JSON object is made whole, or not at all, whichever
 * allocation of it fails; and nothing is left of one that was not made. */
#ifndef TEST_FAILING_JSON_H
#define TEST_FAILING_JSON_H

#include <jansson.h>

#include "failing_alloc.h"

static void
failing_json(json_t *(*make)(const void *arg), const void *arg)
{
	json_t *whole = make(arg), *o;
	unsigned refused = 0;
	bool failed = true;

	assert_non_null(whole);
	json_set_alloc_funcs(failing_malloc, failing_free);
	for (unsigned n = 1; failed; n++) {
		alloc_fail_at = n;
		o = make(arg);
		failed = alloc_fail_at == 0;
		alloc_fail_at = 0;
		assert_true(failed || o != NULL);
		assert_true(o == NULL || json_equal(o, whole));
		refused += o == NULL;
		json_decref(o);
		assert_int_equal(alloc_live, 0);
	}
	json_set_alloc_funcs(malloc, free);
	json_decref(whole);
	assert_true(refused > 50);
}

#endif
