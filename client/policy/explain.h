/* explain: a decision in words and as JSON. Pure.
 *
 *   {"destination", "file", "local", "target", "line", "text", "entry",
 *    "considered", "considered_more"}
 *
 * "local" is true of a destination that no rule is about (always_local.h): then
 * "target" is native, and there is no line.
 * "entry" is null or, for a RULE-SET, {"file", "line"}; "considered" are the
 * rules before, each {"line", "text", "reason", "would"}, EXPLAIN_CONSIDERED at
 * most, the last ones before the decision; "considered_more" how many more.
 * "line" null: the DEFAULT that nobody wrote. "would" is null or, where the
 * rule asks for what is not known of the flow and would then lead elsewhere,
 * {"with", "target"}: what to add to the command, such as
 * "--process duplicati". */
#ifndef UKAI_POLICY_EXPLAIN_H
#define UKAI_POLICY_EXPLAIN_H

#include <jansson.h>
#include <stdio.h>

#include "matcher.h"

#define EXPLAIN_CONSIDERED 1000

/* destination: as the user wrote it. NULL: no memory. */
json_t *explain_json(const struct rules *r, const struct matcher *m,
    const struct flow *f, const char *destination);

/* For people, from that object. */
void explain_print(const json_t *o, FILE *to);

/* May be any bytes: in what is no UTF-8, '?' takes the place of all but
 * ASCII. NULL: no memory. */
json_t *explain_text(const char *text, size_t len);

#endif
