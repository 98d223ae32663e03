/* rules_lab: rules put together by hand, for tests of what works on rules and
 * is not about how they are written. Grows as it is added to: what a function
 * returns is good until the next call. */
#ifndef UKAI_TEST_RULES_LAB_H
#define UKAI_TEST_RULES_LAB_H

#include "client/policy/rules.h"

struct rules_lab {
	struct rules r;
	size_t rule_cap, entry_cap, condition_cap, names_cap, text_cap;
};

void rules_lab_init(struct rules_lab *l);
void rules_lab_fini(struct rules_lab *l);

/* Add a rule, on the line after the last one's; it has the entries that are
 * added behind it. text: its line. */
struct rule *rules_lab_rule(struct rules_lab *l, enum rule_type type,
    enum rule_target target, const char *text);
/* To the last rule. */
struct rule_entry *rules_lab_entry(struct rules_lab *l, enum rule_type type);
struct rule_conditions *rules_lab_conditions(struct rules_lab *l);
/* For rule_entry.name, rule_conditions.process. */
uint32_t rules_lab_name(struct rules_lab *l, const char *name);
uint32_t rules_lab_file(struct rules_lab *l, const char *path);

struct ip_addr rules_lab_addr(const char *text);
struct ip_prefix rules_lab_prefix(const char *text);

#endif
