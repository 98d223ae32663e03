#include <stddef.h>
#include <stdint.h>

#include "../../server/stamps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was understood is written and understood again, the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stamps s = {.n = 0}, again = {.n = 0};
	struct text t = {.s = NULL};

	if (stamps_parse(&s, (const char *)data, size) == 0) {
		UK_ASSERT(stamps_format(&s, &t) == 0);
		UK_ASSERT(stamps_parse(&again, t.s, t.len) == 0);
		UK_ASSERT(again.n == s.n);
		for (size_t i = 0; i < s.n; i++)
			UK_ASSERT(memcmp(&s.item[i], &again.item[i],
				      sizeof(s.item[i])) == 0);
	}
	stamps_fini(&s);
	stamps_fini(&again);
	text_fini(&t);
	return 0;
}
