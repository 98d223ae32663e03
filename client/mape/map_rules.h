/* map_rules: a list of rules: the Japanese operators' that are compiled in, or
 * a file's. Memory: heap. Built once, then only read. */
#ifndef UKAI_MAPE_MAP_RULES_H
#define UKAI_MAPE_MAP_RULES_H

#include "core/diag.h"
#include "map_rule.h"

/* Zero-initialised means empty. */
struct map_rules {
	struct map_rule *item;
	size_t n, cap;
};

#define MAP_RULES_MAX 65536

/* r is copied. Returns 0; UK_ENOMEM; UK_ELIMIT. */
int map_rules_add(struct map_rules *l, const struct map_rule *r);
void map_rules_fini(struct map_rules *l);

/* Comma-separated values with the header line of rules-jp.csv (columns in any
 * order; the ones that a rule cannot do without are ipv6_rule_prefix,
 * ipv4_prefix, ea_len). Every mistake is told to d with row and column: of
 * form, of a value, of a rule that contradicts itself, of two that overlap in
 * IPv6 or in IPv4. Pure. Returns 0; UK_EINVAL; UK_ENOMEM; on error l is
 * empty. */
int map_rules_parse(
    struct map_rules *l, const char *text, size_t len, struct diag *d);
/* Read the file, then parse. Besides the above: errors of conf_file_read(). */
int map_rules_load(struct map_rules *l, const char *path, struct diag *d);
/* The rules that are compiled in. Returns 0; UK_ENOMEM. */
int map_rules_builtin(struct map_rules *l);

/* The rule of the line that an IPv6 address or prefix is of: the longest match;
 * NULL: none. */
const struct map_rule *map_rules_find(
    const struct map_rules *l, const struct ip_prefix *line);

#endif
