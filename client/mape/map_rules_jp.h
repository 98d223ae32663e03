/* map_rules_jp: the bytes of rules-jp.csv; the build makes the object from
 * that file. What it says and where it comes from: README.md beside it. */
#ifndef UKAI_MAPE_MAP_RULES_JP_H
#define UKAI_MAPE_MAP_RULES_JP_H

#include <stddef.h>

extern const unsigned char map_rules_jp[];
extern const size_t map_rules_jp_len;

#endif
