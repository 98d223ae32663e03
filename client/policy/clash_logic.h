/* clash_logic: AND and OR of Clash cut up into what they join:
 * "AND,((NETWORK,UDP),(DST-PORT,443)),TARGET". Pure. */
#ifndef UKAI_POLICY_CLASH_LOGIC_H
#define UKAI_POLICY_CLASH_LOGIC_H

#include "clash_yaml.h"

#define CLASH_LOGIC_PARTS 16

/* Pointers are into text. */
struct clash_logic {
	char text[CLASH_TEXT_MAX];
	const char *type; /* "AND" or "OR", as written */
	bool any; /* OR */
	char *part[CLASH_LOGIC_PARTS]; /* without parentheses */
	size_t parts; /* one at least */
	const char *target; /* without options; maybe "" */
};

/* False: it is no such rule, or one with others in its parts, or more parts. */
bool clash_logic_read(struct clash_logic *g, const char *text);

#endif
