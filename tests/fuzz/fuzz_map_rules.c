#include <stddef.h>
#include <stdint.h>

#include "client/mape/map_addr.h"
#include "client/mape/map_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A rule that was accepted gives every line of it a CE that is found again. */
static void
use(const struct map_rule *r)
{
	struct ip_prefix line = {.addr = r->ipv6.addr, .bits = 128};
	char why[MAP_RULE_WHY_MAX];
	uint8_t address[16];
	struct map_ce ce;

	UK_ASSERT(map_rule_check(r, why) == 0);
	UK_ASSERT(map_ce_make(&ce, r, &line, why) == 0);
	if (map_ce_locate(
		r, ce.ipv4.addr.b, map_ports_nth(&ce.ports, 0), address) < 0) {
		UK_ASSERT(r->psid_given);
		return;
	}
	for (unsigned i = 0; i < 16; i++)
		UK_ASSERT(address[i] == ce.address.b[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct map_rules l;
	struct diag d;
	int err;

	diag_init(&d, "rules.csv");
	err = map_rules_parse(&l, (const char *)data, size, &d);
	UK_ASSERT((err < 0) == (d.errors > 0));
	for (size_t i = 0; i < l.n; i++)
		use(&l.item[i]);
	map_rules_fini(&l);
	return 0;
}
