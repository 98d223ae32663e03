/* matcher: which rule decides about a flow. The same question that the kernel
 * answers (policy_nft.h); tests hold one against the other. Pure: no
 * allocation after matcher_new(), nothing is remembered from call to call.
 *
 * A rule that asks for what is not known about a flow does not hold. A
 * PORTS-LEFT rule is asked only when no rule but such is before the one that
 * would decide, and that one says native (rules.h).
 * Memory: heap; the rules must outlive it. Threads: built once, then only
 * read. */
#ifndef UKAI_POLICY_MATCHER_H
#define UKAI_POLICY_MATCHER_H

#include "rules.h"

struct flow {
	/* What its destination is called (domain_name.h): more than one after
	 * a CNAME, or where several names have the address. */
	const char *const *name;
	size_t names;
	struct ip_addr src, dst; /* FAMILY_NONE: not known */
	uint8_t proto; /* one of RULE_TCP, ...; 0: not known, or another one */
	uint16_t sport, dport; /* host order; 0: not known */
	const char *process; /* NULL: not known */
	bool has_uid;
	uint32_t uid;
	bool has_ports_left;
	uint32_t ports_left;
};

struct matcher;

/* Returns 0; UK_ENOMEM. */
int matcher_new(struct matcher **out, const struct rules *r);
void matcher_free(struct matcher *m); /* NULL: no-op */

#define MATCHER_NO_ENTRY UINT32_MAX

struct match {
	uint32_t rule; /* index */
	uint32_t entry; /* index of the one that holds; MATCHER_NO_ENTRY */
};
/* There always is one. */
struct match matcher_find(const struct matcher *m, const struct flow *f);

/* Why one rule does not hold. */
enum matcher_why {
	MATCHER_HOLDS,
	MATCHER_NO_DST, /* not this address, name, or port, ... */
	MATCHER_NO_SRC,
	MATCHER_NO_NAME,
	MATCHER_NO_DPORT,
	MATCHER_NO_SPORT,
	MATCHER_NO_PROTO,
	MATCHER_NO_PROCESS,
	MATCHER_NO_UID,
	MATCHER_NO_PORTS_LEFT, /* there are enough */
	MATCHER_NO_PORT, /* PORTS-LEFT: the flow takes none */
	MATCHER_NO_SPILL, /* PORTS-LEFT: rules behind it take the flow */
	MATCHER_NO_SET, /* none of the list's entries */
	MATCHER_UNKNOWN, /* asks for what is not known of this flow */
};
/* MATCHER_UNKNOWN only where nothing that is known speaks against the rule: of
 * several reasons that of its entries comes first. All entries of a list are
 * looked at. */
enum matcher_why matcher_look(
    const struct matcher *m, uint32_t rule, const struct flow *f);
/* Likewise about one entry alone, whatever the conditions of its rule. */
enum matcher_why matcher_look_entry(
    const struct matcher *m, uint32_t entry, const struct flow *f);

/* The rules, in order and each once, one of whose DOMAIN, DOMAIN-SUFFIX or
 * DOMAIN-KEYWORD entries holds for this name, whatever their conditions.
 * Returns how many there are; at most cap are written. */
size_t matcher_names(
    const struct matcher *m, const char *name, uint32_t *rule, size_t cap);

#endif
