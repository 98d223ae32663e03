#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/diag.h"
#include "core/enrol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
request(const uint8_t *data, size_t size)
{
	uint8_t out[ENROL_REQUEST_LEN];
	struct enrol_request r;

	if (enrol_request_parse(&r, data, size) < 0)
		return;
	enrol_request_format(&r, out);
	UK_ASSERT(size == sizeof(out) && memcmp(out, data, size) == 0);
}

/* Written and read again, it says the same. */
static void
answer(const char *text, size_t size)
{
	struct enrol_answer a, again;
	struct text t = {.s = NULL}, twice = {.s = NULL};
	struct diag d;
	int err;

	diag_init(&d, NULL);
	err = enrol_answer_parse(&a, text, size, &d);
	UK_ASSERT((err < 0) == (d.errors > 0));
	if (err == 0 && enrol_answer_format(&a, &t) == 0) {
		UK_ASSERT(enrol_answer_parse(&again, t.s, t.len, &d) == 0);
		UK_ASSERT(enrol_answer_format(&again, &twice) == 0);
		UK_ASSERT(strcmp(t.s, twice.s) == 0);
		enrol_answer_fini(&again);
	}
	enrol_answer_fini(&a);
	text_fini(&t);
	text_fini(&twice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	request(data, size);
	answer((const char *)data, size);
	return 0;
}
