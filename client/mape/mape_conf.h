/* mape_conf: [MapE] of ukai.conf. Pure. Memory: heap. */
#ifndef UKAI_MAPE_MAPE_CONF_H
#define UKAI_MAPE_MAPE_CONF_H

#include "core/conf_schema.h"
#include "core/endpoint.h"
#include "map_rules.h"
#include "nat44.h"

enum mape_mode {
	MAPE_GATEWAY, /* somebody else is the CE: nothing is done here */
	MAPE_SELF,
};

enum mape_rules_kind {
	MAPE_RULES_BUILTIN,
	MAPE_RULES_ASK,  /* the operator, by HB46PP */
	MAPE_RULES_FILE,
};

struct mape_networks {
	struct ip_prefix *item;
	size_t n, cap;
};

struct mape_forward {
	struct nat44_forward f;
	unsigned line, column;
};

struct mape_forwards {
	struct mape_forward *item;
	size_t n, cap;
};

struct mape_conf {
	unsigned line; /* of [MapE]; 0: not there */
	enum mape_mode mode;
	char link[16]; /* toward the operator; "": by the route to the BR */
	struct ip_prefix prefix; /* of the line; FAMILY_NONE: the host's */
	struct map_rules rule; /* from "Rule"; they come first */
	enum mape_rules_kind rules;
	char rules_file[256];
	struct ip_addr br; /* FAMILY_NONE: the rule's */
	bool mesh;         /* rules are FMRs as well */
	struct mape_networks networks; /* whose hosts may use it, too */
	struct mape_forwards forwards;
	uint32_t sessions, host_sessions, host_ports; /* 0: the default */
};

/* For a struct mape_conf. */
extern const struct conf_key mape_conf_keys[];

/* What keys do not see alone: told to d. */
void mape_conf_check(const struct mape_conf *c, struct diag *d);
void mape_conf_fini(struct mape_conf *c); /* zero afterwards */

#endif
