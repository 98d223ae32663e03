/* mape_status: what a running CE tells about itself, in the status of its
 * client. Pure.
 *
 *   {"interface", "link", "operator", "ipv4", "psid", "ce_ipv6", "br_ipv6",
 *    "mtu", "offload", "ports", "sessions", "sessions_max", "hosts",
 *    "tcp", "udp", "icmp": {"ports_in_use", "ports_peak", "sessions",
 *        "mappings", "refused", "reclaimed",
 *        "busiest": {"address", "port", "sessions"}},
 *    "sent_packets", "sent_bytes", "received_packets", "received_bytes",
 *    "sent_direct", "fragments_waiting",
 *    "address": {"state", "announced", "rivals", "rival_mac", "rival_seen"},
 *    "wire": {"receive_dropped", "receive_malformed", "send_failed", "split"},
 *    "drops": {REASON: N, ...}}
 *
 * "ports" is how many the line has, of each protocol; "busiest" null: no
 * session; its "port" is null of icmp. "rival_seen" is in Unix seconds, null
 * with "rival_mac": never. "psid" null: the address is not shared. */
#ifndef UKAI_MAPE_MAPE_STATUS_H
#define UKAI_MAPE_MAPE_STATUS_H

#include <jansson.h>
#include <stdio.h>

#include "mape.h"

/* NULL: out of memory. */
json_t *mape_status_json(const struct mape_stats *s);

/* As text, depth 1; nothing for null. Anything may be missing. */
void mape_status_print(const json_t *o, uint64_t now_s, FILE *to);

#endif
