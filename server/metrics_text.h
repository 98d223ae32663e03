/* metrics_text: the relay's status in the text format that Prometheus reads,
 * version 0.0.4. Pure.
 *
 * Names of the field, as prometheus_wireguard_exporter has them, with labels
 * interface, public_key, allowed_ips and friendly_name (empty: none):
 * wireguard_sent_bytes_total, wireguard_received_bytes_total,
 * wireguard_latest_handshake_seconds (0: never) and
 * wireguard_latest_handshake_delay_seconds (only after the first).
 * And ours, ukai_relay_*, of clients with the label client: its name, or its
 * public key where it has none. */
#ifndef UKAI_SERVER_METRICS_TEXT_H
#define UKAI_SERVER_METRICS_TEXT_H

#include <jansson.h>

#include "core/text.h"

#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Append the families that the status (status.h) has values for; null or
 * missing: no sample. */
void metrics_text(struct text *out, const json_t *status, uint64_t now_s);

#endif
