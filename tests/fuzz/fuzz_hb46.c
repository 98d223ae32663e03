#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "client/mape/hb46.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Rules that are taken do not contradict themselves; an URL is one that may be
 * asked. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	char why[MAP_RULE_WHY_MAX];
	struct hb46_where w;
	struct hb46 h;

	if (hb46_where_parse(&w, text, size) == 0)
		UK_ASSERT(hb46_url_ok(w.url, strlen(w.url), w.verify));
	if (hb46_parse(&h, text, size, NULL) < 0)
		return 0;
	UK_ASSERT(h.ttl_s <= HB46_TTL_MAX && h.rules.n <= HB46_RULES_MAX);
	for (size_t i = 0; i < h.rules.n; i++)
		UK_ASSERT(map_rule_check(&h.rules.item[i], why) == 0);
	hb46_fini(&h);
	return 0;
}
