#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/mape/s46.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is taken are rules that do not contradict themselves, each with a
 * border relay. As text it is the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[MAP_RULE_WHY_MAX];
	uint8_t *bytes = malloc(size + 1);
	size_t len = size;
	struct s46 s;

	memcpy(bytes, data, size);
	if (s46_decode(bytes, &len) == 0) {
		UK_ASSERT(len <= size);
		UK_ASSERT(
		    s46_parse(&s, bytes, len, MAP_IID_DRAFT03, NULL) == 0);
		for (size_t i = 0; i < s.rules.n; i++) {
			UK_ASSERT(map_rule_check(&s.rules.item[i], why) == 0);
			UK_ASSERT(s.rules.item[i].br.family == FAMILY_V6);
		}
		s46_fini(&s);
	}
	free(bytes);
	return 0;
}
