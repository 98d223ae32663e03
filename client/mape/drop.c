#include "drop.h"

const char *
map_drop_name(enum map_drop why)
{
	static const char *const name[MAP_DROPS] = {
	    [MAP_OK] = "",
	    [MAP_DROP_OUTER_MALFORMED] = "outer-malformed",
	    [MAP_DROP_OUTER_HEADER] = "outer-header",
	    [MAP_DROP_OUTER_DESTINATION] = "outer-destination",
	    [MAP_DROP_OUTER_SOURCE] = "outer-source",
	    [MAP_DROP_OUTER_ECN] = "outer-ecn",
	    [MAP_DROP_INNER_MALFORMED] = "inner-malformed",
	    [MAP_DROP_NESTED] = "nested",
	    [MAP_DROP_INNER_SOURCE] = "inner-source",
	    [MAP_DROP_INNER_DESTINATION] = "inner-destination",
	    [MAP_DROP_SPOOFED] = "spoofed",
	    [MAP_DROP_PORT] = "port",
	    [MAP_DROP_FRAGMENT_MALFORMED] = "fragment-malformed",
	    [MAP_DROP_FRAGMENT_OVERLAP] = "fragment-overlap",
	    [MAP_DROP_FRAGMENT_TINY] = "fragment-tiny",
	    [MAP_DROP_FRAGMENT_LIMIT] = "fragment-limit",
	    [MAP_DROP_FRAGMENT_AGE] = "fragment-age",
	    [MAP_DROP_STRAY] = "stray",
	    [MAP_DROP_PROTOCOL] = "protocol",
	    [MAP_DROP_NO_SESSION] = "no-session",
	    [MAP_DROP_FILTERED] = "filtered",
	    [MAP_DROP_ICMP] = "icmp",
	    [MAP_DROP_CHECKSUM] = "checksum",
	    [MAP_DROP_NO_PORT] = "no-port",
	    [MAP_DROP_TABLE_FULL] = "table-full",
	    [MAP_DROP_HOST_LIMIT] = "host-limit",
	    [MAP_DROP_TTL] = "ttl",
	    [MAP_DROP_TOO_BIG] = "too-big",
	};

	UK_ASSERT((unsigned)why < MAP_DROPS);
	return name[why];
}
