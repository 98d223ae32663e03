#include "client/policy/rule_list.h"
#include "core/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
use(const struct rules *r)
{
	char text[IP_PREFIX_TEXT_MAX];

	for (size_t i = 0; i < r->entries; i++) {
		const struct rule_entry *e = &r->entry[i];

		UK_ASSERT(e->type < RULE_SET && e->line > 0);
		if (e->type == RULE_IP_CIDR || e->type == RULE_SRC_IP_CIDR)
			ip_prefix_format(&e->prefix, text);
		else if (e->type == RULE_DST_PORT || e->type == RULE_SRC_PORT)
			UK_ASSERT(e->ports.first <= e->ports.last);
		else if (e->type != RULE_UID && e->type != RULE_NETWORK)
			UK_ASSERT(r->names[e->name] != 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_span at = {.line = 1, .column = 10};
	struct rules_build b;
	static struct diag d;
	struct rule_list list = {.b = &b, .path = "l", .at = &at, .d = &d};
	int err;

	diag_init(&d, "p");
	UK_ASSERT(rules_build_init(&b, "p", NULL, 0) == 0);
	err = rule_list_parse(&list, (const char *)data, size);
	UK_ASSERT((err < 0) == (d.errors > 0));
	use(b.r);
	rules_build_fini(&b);
	return 0;
}
