/* line: which MAP-E line a command is about, and what to do where that is not
 * known. What is wrong is said on stderr. */
#ifndef UKAI_COMMANDS_LINE_H
#define UKAI_COMMANDS_LINE_H

#include "client/mape/map_line.h"

/* The line that --ipv6 names. rules_file: where the rules are from, NULL: they
 * are compiled in. Returns 0; UK_EINVAL: text is no line's prefix or address;
 * UK_ENOENT: no rule is about it. */
int line_named(struct map_line *l, const struct map_rules *rules,
    const char *text, const char *rules_file);

/* For a host that is on none: its lines, of which there is none. */
void line_tell_none(const struct map_lines *l, const char *rules_file);

#endif
