/* destination: where a flow goes that `ukai policy explain` is asked about: its
 * names and addresses, as given, as DNS has them, and as a running tunnel knows
 * them. What is wrong is said on stderr. */
#ifndef UKAI_COMMANDS_DESTINATION_H
#define UKAI_COMMANDS_DESTINATION_H

#include "client/policy/domain_name.h"
#include "core/endpoint.h"

#define DESTINATION_NAMES 16
#define DESTINATION_ADDRS 16

struct destination {
	const char *text; /* as given */
	bool is_name; /* not an address */
	char label[DESTINATION_NAMES][DOMAIN_NAME_MAX];
	const char *name[DESTINATION_NAMES]; /* of label */
	size_t names;
	struct ip_addr addr[DESTINATION_ADDRS];
	size_t addrs;
	uint16_t port; /* 0: not given */
};

/* Each returns 0; UK_EINVAL after saying why. The first one is to be called
 * first: "NAME", "NAME:PORT", "192.0.2.1:443", "2001:db8::1",
 * "[2001:db8::1]:443". A name may be in any script. */
int destination_parse(struct destination *d, const char *text);
int destination_add_name(struct destination *d, const char *text);
int destination_add_address(struct destination *d, const char *text);

/* Look up the addresses of its first name, 3 s at most. */
void destination_resolve(struct destination *d);
/* Ask the tunnels that run with this policy which names its first address has.
 * Silent when there is none: then false. */
bool destination_ask_names(struct destination *d, const char *file);
/* Is there such a tunnel? */
bool destination_runs(const char *file);

#endif
