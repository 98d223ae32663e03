/* map_source: the rules by which a line is known, from wherever they come.
 * What the user gave goes before what the line was asked, that before the
 * rules that are compiled in. */
#ifndef UKAI_MAPE_MAP_SOURCE_H
#define UKAI_MAPE_MAP_SOURCE_H

#include "map_rules.h"
#include "provision.h"

struct map_source {
	const char *rules; /* file, in place of the compiled-in ones; NULL */
	const char *dhcp; /* file of DHCPv6 options, "-": stdin; NULL */
	enum map_iid iid; /* of rules by DHCPv6, which do not say */
	const struct provision_setup *ask; /* NULL: do not */
};

/* Of DHCPv6 options as text, blanks and all. */
#define MAP_SOURCE_DHCP_MAX ((size_t)1 << 18)

/* A source that has nothing is a warning, and so is a line that cannot be
 * asked. Returns 0; UK_ENOMEM; errors of map_rules_load(), of opening and
 * reading dhcp, UK_EMSGSIZE, UK_EPROTO: half a byte in it; all told to d. On
 * error l is empty. */
int map_source_load(
    struct map_rules *l, const struct map_source *s, struct diag *d);

/* Add the rules of more but those that lie within one of l's: they would be
 * found in its place. Pure. Returns 0; UK_ENOMEM; UK_ELIMIT. */
int map_source_add(struct map_rules *l, const struct map_rules *more);

#endif
