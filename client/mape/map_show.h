/* map_show: what a MAP-E line is, as JSON and as text. Pure.
 *
 *   {"operator", "ipv6_prefix", "ipv4", "psid", "psid_offset", "psid_len",
 *    "port_count", "port_ranges": [[LOW, HIGH], ...], "ce_ipv6", "br_ipv6",
 *    "iid_style", "rule_source", "confidence"}
 *
 * "ipv4" is an address, or a prefix where a line has several. null: "operator",
 * "rule_source", "confidence" nobody said; "psid" the ports are not shared;
 * "br_ipv6" not known. */
#ifndef UKAI_MAPE_MAP_SHOW_H
#define UKAI_MAPE_MAP_SHOW_H

#include <jansson.h>
#include <stdio.h>

#include "map_line.h"

/* NULL: out of memory. */
json_t *map_show_json(const struct map_line *l);

void map_show_print(const struct map_line *l, FILE *to);

/* One character for 64 ports, 16 lines of 4096: '.' none of them is the
 * line's, '+' some, '#' all. */
void map_show_strip(const struct map_ports *p, FILE *to);

#endif
