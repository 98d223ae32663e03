/* rules_line: one line of a policy. Pure. */
#ifndef UKAI_POLICY_RULES_LINE_H
#define UKAI_POLICY_RULES_LINE_H

#include "core/conf_lex.h"

#include "rules_build.h"

/* Read type, target and conditions into rule, and its value into an entry of
 * b, or into rule->ports_left; the path of a RULE-SET is left in *path. The
 * line is not empty. d gets every mistake. Returns 0; UK_EINVAL; UK_ENOMEM. */
int rules_line_parse(struct rules_build *b, struct rule *rule,
    struct conf_span *path, const struct conf_span *line, enum rules_os os,
    struct diag *d);

#endif
