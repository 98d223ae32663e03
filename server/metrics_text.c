#include "metrics_text.h"

#include <stdlib.h>
#include <string.h>

#include "core/enrol.h"
#include "io/tunnel_status.h"

struct writer;

struct family {
	const char *name, *type, *help;
	void (*samples)(struct writer *w);
	const char *key; /* in the status, or in a peer; NULL: several */
};

/* A peer's labels, written once. */
struct peer {
	const json_t *o;
	struct text wireguard, client;
};

struct writer {
	struct text *out;
	const json_t *status;
	uint64_t now_s;
	struct peer *peer;
	size_t peers;
	const struct family *family;
	bool headed;
};

/* ---- samples ---- */

static void
add_text(struct text *t, const char *s)
{
	text_append(t, s, strlen(s));
}

/* NAME="VALUE", escaped, after a comma unless it is the first. */
static void
add_label(struct text *t, const char *name, const char *value)
{
	if (t->len > 0)
		text_append(t, ",", 1);
	add_text(t, name);
	add_text(t, "=\"");
	for (;;) {
		size_t plain = strcspn(value, "\\\"\n");

		text_append(t, value, plain);
		value += plain;
		if (*value == '\0')
			break;
		text_append(t, "\\", 1);
		text_append(t, *value == '\n' ? "n" : value, 1);
		value++;
	}
	text_append(t, "\"", 1);
}

/* labels NULL or empty: none. */
static void
add_sample(struct writer *w, const struct text *labels, json_int_t value)
{
	const struct family *f = w->family;
	char number[24];
	int n = snprintf(
	    number, sizeof(number), " %" JSON_INTEGER_FORMAT "\n", value);

	if (labels != NULL && labels->failed) {
		w->out->failed = true;
		return;
	}
	if (!w->headed)
		text_add(w->out, "# HELP %s %s\n# TYPE %s %s\n", f->name,
		    f->help, f->name, f->type);
	w->headed = true;
	add_text(w->out, f->name);
	if (labels != NULL && labels->len > 0) {
		text_append(w->out, "{", 1);
		text_append(w->out, labels->s, labels->len);
		text_append(w->out, "}", 1);
	}
	text_append(w->out, number, (size_t)n);
}

/* ---- of the relay ---- */

static void
relay_info(struct writer *w)
{
	static const char *const key[] = {"interface", "address",
	    "global_address", "uplink", "public_key", "cipher"};
	struct text labels = {.s = NULL};

	add_label(&labels, "version", UKAI_VERSION);
	for (size_t i = 0; i < ARRAY_LEN(key); i++)
		add_label(
		    &labels, key[i], tunnel_status_text(w->status, key[i], ""));
	add_sample(w, &labels, 1);
	text_fini(&labels);
}

static void
relay_number(struct writer *w)
{
	const json_t *n = json_object_get(w->status, w->family->key);

	if (json_is_integer(n))
		add_sample(w, NULL, json_integer_value(n));
}

static void
add_labelled(
    struct writer *w, const char *label, const char *value, const json_t *n)
{
	struct text labels = {.s = NULL};

	if (!json_is_integer(n))
		return;
	add_label(&labels, label, value);
	add_sample(w, &labels, json_integer_value(n));
	text_fini(&labels);
}

static void
relay_drops(struct writer *w)
{
	const char *reason;
	json_t *n;

	json_object_foreach(json_object_get(w->status, "drops"), reason, n)
	{
		add_labelled(w, "reason", reason, n);
	}
}

static void
relay_enrolments(struct writer *w)
{
	const json_t *o = json_object_get(w->status, "enrolment");

	for (int i = 0; i <= ENROL_FAILED; i++) {
		const char *result = enrol_status_name((enum enrol_status)i);

		add_labelled(w, "result", result, json_object_get(o, result));
	}
}

static bool
is_result(const char *name)
{
	for (int i = 0; i <= ENROL_FAILED; i++)
		if (strcmp(enrol_status_name((enum enrol_status)i), name) == 0)
			return true;
	return false;
}

static void
relay_enrolment_events(struct writer *w)
{
	const char *event;
	json_t *n;

	json_object_foreach(json_object_get(w->status, "enrolment"), event, n)
	{
		if (!is_result(event))
			add_labelled(w, "event", event, n);
	}
}

static void
relay_clients(struct writer *w)
{
	if (json_is_array(json_object_get(w->status, "peers")))
		add_sample(w, NULL, (json_int_t)w->peers);
}

static void
relay_connected(struct writer *w)
{
	json_int_t n = 0;

	for (size_t i = 0; i < w->peers; i++)
		n += json_is_true(json_object_get(w->peer[i].o, "session"));
	if (json_is_array(json_object_get(w->status, "peers")))
		add_sample(w, NULL, n);
}

static void
relay_invitations(struct writer *w)
{
	const json_t *list = json_object_get(w->status, "invited");

	if (json_is_array(list))
		add_sample(w, NULL, (json_int_t)json_array_size(list));
}

/* ---- of its clients ---- */

static void
client_info(struct writer *w)
{
	static const char *const key[] = {
	    "public_key", "way", "global_address", "path"};

	for (size_t i = 0; i < w->peers; i++) {
		struct text labels = {.s = NULL};

		text_append(
		    &labels, w->peer[i].client.s, w->peer[i].client.len);
		for (size_t k = 0; k < ARRAY_LEN(key); k++)
			add_label(&labels, key[k],
			    tunnel_status_text(w->peer[i].o, key[k], ""));
		add_sample(w, &labels, 1);
		text_fini(&labels);
	}
}

static void
client_connected(struct writer *w)
{
	for (size_t i = 0; i < w->peers; i++)
		add_sample(w, &w->peer[i].client,
		    json_is_true(json_object_get(w->peer[i].o, "session")));
}

static void
client_number(struct writer *w)
{
	for (size_t i = 0; i < w->peers; i++) {
		const json_t *n = json_object_get(w->peer[i].o, w->family->key);

		if (json_is_integer(n))
			add_sample(
			    w, &w->peer[i].client, json_integer_value(n));
	}
}

static json_int_t
count_forwarded(const json_t *forwards, const char *protocol)
{
	json_int_t ports = 0;

	for (size_t i = 0; i < json_array_size(forwards); i++) {
		const json_t *f = json_array_get(forwards, i);

		if (strcmp(tunnel_status_text(f, "protocol", ""), protocol) ==
		    0)
			ports +=
			    (json_int_t)(tunnel_status_number(f, "last") -
					 tunnel_status_number(f, "first")) +
			    1;
	}
	return ports;
}

static void
client_forwarded(struct writer *w)
{
	static const char *const protocol[] = {"tcp", "udp"};

	for (size_t i = 0; i < w->peers; i++) {
		const json_t *list = json_object_get(w->peer[i].o, "forwards");

		for (size_t k = 0; json_is_array(list) && k < 2; k++) {
			struct text labels = {.s = NULL};

			text_append(&labels, w->peer[i].client.s,
			    w->peer[i].client.len);
			add_label(&labels, "protocol", protocol[k]);
			add_sample(
			    w, &labels, count_forwarded(list, protocol[k]));
			text_fini(&labels);
		}
	}
}

static void
wireguard_number(struct writer *w)
{
	for (size_t i = 0; i < w->peers; i++)
		add_sample(w, &w->peer[i].wireguard,
		    (json_int_t)tunnel_status_number(
			w->peer[i].o, w->family->key));
}

/* The clock may have been set back since. */
static void
wireguard_delay(struct writer *w)
{
	for (size_t i = 0; i < w->peers; i++) {
		uint64_t last =
		    tunnel_status_number(w->peer[i].o, "last_handshake");

		if (last != 0)
			add_sample(w, &w->peer[i].wireguard,
			    w->now_s > last ? (json_int_t)(w->now_s - last)
					    : 0);
	}
}

/* clang-format off */
static const struct family families[] = {
	{"ukai_relay_info", "gauge",
	    "The relay: its version, addresses and key.", relay_info, NULL},
	{"ukai_relay_start_time_seconds", "gauge",
	    "Unix time of the relay's start.", relay_number, "since"},
	{"ukai_relay_workers", "gauge",
	    "Threads that carry data.", relay_number, "workers"},
	{"ukai_relay_clients", "gauge",
	    "Clients that may connect.", relay_clients, NULL},
	{"ukai_relay_clients_connected", "gauge",
	    "Clients with a session.", relay_connected, NULL},
	{"ukai_relay_invitations", "gauge",
	    "Clients that are invited and have not joined.",
	    relay_invitations, NULL},
	{"ukai_relay_nat_ports", "gauge",
	    "Ports of the relay's address that clients share, for each of TCP "
	    "and UDP.", relay_number, "nat_ports"},
	{"ukai_relay_handshakes_total", "counter",
	    "Completed handshakes.", relay_number, "handshakes"},
	{"ukai_relay_cookies_sent_total", "counter",
	    "Cookies sent because handshakes were too many.", relay_number,
	    "cookies_sent"},
	{"ukai_relay_drops_total", "counter",
	    "Packets dropped, by reason.", relay_drops, NULL},
	{"ukai_relay_enrolments_total", "counter",
	    "What was answered to clients that joined, by result.",
	    relay_enrolments, NULL},
	{"ukai_relay_enrolment_events_total", "counter",
	    "What happened to connections of clients that join.",
	    relay_enrolment_events, NULL},
	{"ukai_relay_client_info", "gauge",
	    "A client: its key, way to the internet, address there, and path.",
	    client_info, NULL},
	{"ukai_relay_client_connected", "gauge",
	    "Whether a client has a session.", client_connected, NULL},
	{"ukai_relay_client_joined_time_seconds", "gauge",
	    "Unix time at which a client joined.", client_number, "joined"},
	{"ukai_relay_flows", "gauge",
	    "Flows to and from a client, of the last count.", client_number,
	    "flows"},
	{"ukai_relay_nat_ports_in_use", "gauge",
	    "Ports of the translation that a client holds, of the last count.",
	    client_number, "nat_ports"},
	{"ukai_relay_forwarded_ports", "gauge",
	    "Ports published for a client, by protocol.", client_forwarded, NULL},
	{"wireguard_sent_bytes_total", "counter",
	    "Bytes sent to the peer.", wireguard_number, "sent_bytes"},
	{"wireguard_received_bytes_total", "counter",
	    "Bytes received from the peer.", wireguard_number,
	    "received_bytes"},
	{"wireguard_latest_handshake_seconds", "gauge",
	    "Unix time of the last handshake; 0: never.", wireguard_number,
	    "last_handshake"},
	{"wireguard_latest_handshake_delay_seconds", "gauge",
	    "Seconds since the last handshake.", wireguard_delay, NULL},
};
/* clang-format on */

static void
label_peer(struct peer *p, const json_t *status)
{
	const char *key = tunnel_status_text(p->o, "public_key", "");
	const char *name = tunnel_status_text(p->o, "name", NULL);
	const json_t *list = json_object_get(p->o, "allowed_ips");
	struct text allowed = {.s = NULL};

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (allowed.len > 0)
			text_append(&allowed, ",", 1);
		add_text(&allowed, s != NULL ? s : "");
	}
	add_label(&p->wireguard, "interface",
	    tunnel_status_text(status, "interface", ""));
	add_label(&p->wireguard, "public_key", key);
	add_label(
	    &p->wireguard, "allowed_ips", allowed.len > 0 ? allowed.s : "");
	add_label(&p->wireguard, "friendly_name", name != NULL ? name : "");
	p->wireguard.failed |= allowed.failed;
	text_fini(&allowed);
	add_label(&p->client, "client", name != NULL ? name : key);
}

void
metrics_text(struct text *out, const json_t *status, uint64_t now_s)
{
	const json_t *peers = json_object_get(status, "peers");
	struct writer w = {.out = out,
	    .status = status,
	    .now_s = now_s,
	    .peers = json_array_size(peers)};

	w.peer = calloc(w.peers + 1, sizeof(*w.peer));
	if (w.peer == NULL) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < w.peers; i++) {
		w.peer[i].o = json_array_get(peers, i);
		label_peer(&w.peer[i], status);
	}
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		w.family = &families[i];
		w.headed = false;
		w.family->samples(&w);
	}
	for (size_t i = 0; i < w.peers; i++) {
		text_fini(&w.peer[i].wireguard);
		text_fini(&w.peer[i].client);
	}
	free(w.peer);
}
