#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../client/policy/names_kept.h"
#include "core/diag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bindings *
fresh(const struct matcher *m, const struct slots *s)
{
	struct bindings *b;

	UK_ASSERT(bindings_new(&b, m, s) == 0);
	return b;
}

/* What was understood is in the kernel's sets; those with an e are tunnel!'s.
 */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] = "DOMAIN-KEYWORD,e,tunnel!\nDEFAULT,native\n";
	static const struct rules_reader no_lists;
	static struct rules *rules;
	static struct matcher *matcher;
	static struct slots *slots;
	struct binding_change c;
	struct bindings *b;
	struct diag d;

	diag_init(&d, NULL);
	if (rules == NULL) {
		UK_ASSERT(rules_parse(&rules, "t", text, strlen(text),
			      &no_lists, RULES_LINUX, &d) == 0);
		UK_ASSERT(matcher_new(&matcher, rules) == 0);
		UK_ASSERT(slots_new(&slots, rules, NULL) == 0);
	}
	b = fresh(matcher, slots);
	UK_ASSERT(names_kept_parse(b, 1, (const char *)data, size) == 0);
	while (bindings_next(b, &c))
		UK_ASSERT(c.add && strchr(c.name, 'e') != NULL);
	bindings_tick(b, 2 * BINDINGS_CEILING_S * UK_NS_PER_S, false);
	while (bindings_next(b, &c))
		UK_ASSERT(!c.add);
	bindings_free(b);
	return 0;
}
