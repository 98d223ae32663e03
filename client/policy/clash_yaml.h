/* clash_yaml: what a configuration of Clash (or mihomo) says about where
 * traffic goes, and what a file of its rule providers lists. YAML by libyaml,
 * event by event: aliases are not followed, so that a short file stays short.
 * Pure. Memory: heap. */
#ifndef UKAI_POLICY_CLASH_YAML_H
#define UKAI_POLICY_CLASH_YAML_H

#include "core/base.h"
#include "core/diag.h"

#define CLASH_SIZE_MAX ((size_t)32 << 20) /* bytes of a file */
#define CLASH_DEPTH_MAX 64 /* of what stands in one another */
#define CLASH_RULES_MAX 1000000
#define CLASH_NAMES_MAX 65536 /* of each kind of what has a name */
#define CLASH_TEXT_MAX 1024 /* a scalar, with its zero; longer: NULL */

/* A scalar that is no text of that length, or an alias, is NULL. */
struct clash_line {
	const char *text;
	unsigned line, column; /* from 1 */
};

struct clash_lines {
	struct clash_line *item;
	size_t n, cap;
};

/* What a proxy or a group may do with a flow. Bits. */
enum { CLASH_TUNNEL = 1, CLASH_NATIVE = 2, CLASH_BLOCK = 4 };

struct clash_name {
	const char *s;
	size_t order; /* in the file */
};

struct clash_target {
	struct clash_name name;
	/* Of a group, in clash.member; where one is chosen, the first of them
	 * alone, which it is until somebody chooses. */
	size_t first, members;
	bool group, chosen;
	uint8_t may; /* CLASH_* bits, those of its members among them */
};

struct clash_targets {
	struct clash_target *item; /* in the order of their names */
	size_t n, cap;
};

/* NULL: not given. */
struct clash_provider {
	struct clash_name name;
	const char *type, *path, *url, *format;
};

struct clash_providers {
	struct clash_provider *item; /* in the order of their names */
	size_t n, cap;
};

struct clash {
	bool has_rules, has_payload;
	struct clash_lines rule, payload, member;
	struct clash_targets target;
	struct clash_providers provider;
	struct clash_chunk *chunk; /* holds all texts */
};

/* c need not be initialised. Returns 0; UK_EINVAL: no such file, told to d
 * with its place; UK_EMSGSIZE, UK_ELIMIT: a limit above, told to d;
 * UK_ENOMEM. On error c is empty. */
int clash_yaml_read(
    struct clash *c, const char *text, size_t len, struct diag *d);
void clash_fini(struct clash *c); /* zero afterwards */

/* CLASH_* bits of a name in a rule; 0: nothing is called that. */
uint8_t clash_target_may(const struct clash *c, const char *name);
/* NULL: none. */
const struct clash_provider *clash_provider_find(
    const struct clash *c, const char *name);

#endif
