#include "tunnel_status.h"

#include <inttypes.h>
#include <net/if.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "core/err.h"
#include "core/value.h"
#include "ctl.h"

#define ASK_TIMEOUT_MS 5000

void
tunnel_status_collect(
    struct tunnel_status *s, struct tunnel *t, uint64_t since_s)
{
	const struct wg_device *device = tunnel_hold(t);

	*s = (struct tunnel_status){
	    .interface = tunnel_name(t),
	    .since_s = since_s,
	    .mtu = tunnel_mtu(t),
	    .mark = tunnel_mark(t),
	    .port = tunnel_port(t),
	    .counted = *wg_device_stats(device),
	    .device = device,
	    .tunnel = t,
	    .now_ns = clock_now().mono_ns,
	};
	tunnel_stats(t, &s->stats);
	tunnel_release(t);
}

/* ---- to JSON ---- */

json_t *
tunnel_status_put(json_t *o, const char *key, json_t *v)
{
	if (json_object_set_new(o, key, v) == 0)
		return o;
	json_decref(o);
	return NULL;
}

json_t *
tunnel_status_push(json_t *list, json_t *v)
{
	if (json_array_append_new(list, v) == 0)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *
number(uint64_t n)
{
	return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

json_t *
tunnel_status_ifname(const char *s)
{
	json_t *v = s != NULL ? json_string(s) : json_null();
	char ascii[IF_NAMESIZE];

	if (v != NULL)
		return v;
	snprintf(ascii, sizeof(ascii), "%s", s);
	for (char *c = ascii; *c != '\0'; c++)
		if ((*c & 0x80) != 0)
			*c = '?';
	return json_string(ascii);
}

static json_t *
key_json(const struct wg_key *key)
{
	char text[KEY_BASE64_LEN + 1];

	if (key == NULL)
		return json_null();
	value_format_key_base64(text, key->b);
	return json_string(text);
}

static json_t *
endpoint_json(const struct endpoint *e)
{
	char text[ENDPOINT_TEXT_MAX];

	if (e->addr.family == FAMILY_NONE)
		return json_null();
	return json_string(endpoint_format(e, text));
}

/* What works is shown by a handshake, not by an address being known. */
static json_t *
path_json(const struct wg_peer_info *i)
{
	if (i->last_handshake_wall_ns == 0)
		return json_null();
	switch (i->endpoint.addr.family) {
	case FAMILY_V6:
		return json_string("udp6");
	case FAMILY_V4:
		return json_string("udp4");
	default:
		return json_null();
	}
}

static json_t *
allowed_json(const struct wg_peer *p)
{
	const struct lpm_node *cursor = NULL;
	char text[IP_PREFIX_TEXT_MAX];
	json_t *list = json_array();
	struct ip_prefix prefix;

	while (wg_peer_next_allowed(p, &cursor, &prefix))
		list = tunnel_status_push(
		    list, json_string(ip_prefix_format(&prefix, text)));
	return list;
}

json_t *
tunnel_status_name(
    json_t *names, const uint8_t public_key[32], const char *name)
{
	char text[KEY_BASE64_LEN + 1];

	if (name == NULL)
		return names;
	value_format_key_base64(text, public_key);
	return tunnel_status_put(names, text, json_string(name));
}

static json_t *
name_json(const json_t *names, const struct wg_key *public_key)
{
	char text[KEY_BASE64_LEN + 1];
	json_t *name;

	value_format_key_base64(text, public_key->b);
	name = json_object_get(names, text);
	return name != NULL ? json_incref(name) : json_null();
}

static void
peer_info(const struct tunnel_status *s, const struct wg_peer *p,
    struct wg_peer_info *i)
{
	if (s->tunnel != NULL)
		(void)tunnel_hold(s->tunnel);
	wg_peer_info(p, s->now_ns, i);
	if (s->tunnel != NULL)
		tunnel_release(s->tunnel);
}

static json_t *
peer_json(const struct tunnel_status *s, const struct wg_peer *p,
    const char *name_key, const json_t *names)
{
	json_t *o = json_object();
	struct wg_peer_info i;
	bool psk;

	peer_info(s, p, &i);
	psk = !sodium_is_zero(i.psk.b, sizeof(i.psk.b));
	sodium_memzero(&i.psk, sizeof(i.psk));
	o = tunnel_status_put(o, "public_key", key_json(&i.public_key));
	o = tunnel_status_put(o, name_key, name_json(names, &i.public_key));
	o = tunnel_status_put(o, "preshared_key", json_boolean(psk));
	o = tunnel_status_put(o, "endpoint", endpoint_json(&i.endpoint));
	o = tunnel_status_put(o, "path", path_json(&i));
	o = tunnel_status_put(o, "session", json_boolean(i.session));
	o = tunnel_status_put(o, "last_handshake",
	    i.last_handshake_wall_ns == 0
		? json_null()
		: number(i.last_handshake_wall_ns / UK_NS_PER_S));
	o = tunnel_status_put(o, "received_bytes", number(i.rx_bytes));
	o = tunnel_status_put(o, "sent_bytes", number(i.tx_bytes));
	o = tunnel_status_put(o, "keepalive", number(i.keepalive_s));
	return tunnel_status_put(o, "allowed_ips", allowed_json(p));
}

static json_t *
peers_json(
    const struct tunnel_status *s, const char *name_key, const json_t *names)
{
	json_t *list = names != NULL ? json_array() : NULL;
	const struct wg_peer *p = NULL;

	while ((p = wg_device_next_peer(s->device, p)) != NULL)
		list =
		    tunnel_status_push(list, peer_json(s, p, name_key, names));
	return list;
}

static json_t *
drops_json(const struct wg_device_stats *device, const struct tunnel_stats *t)
{
	json_t *o = json_object();

	for (int i = 0; i < WG_DROP_COUNT; i++)
		o = tunnel_status_put(
		    o, wg_drop_name((enum wg_drop)i), number(device->drop[i]));
	o = tunnel_status_put(o, "send-failed", number(t->lanes.send_failed));
	o = tunnel_status_put(
	    o, "interface-full", number(t->lanes.tun_dropped));
	return tunnel_status_put(
	    o, "interface-malformed", number(t->lanes.tun_malformed));
}

json_t *
tunnel_status_add(json_t *o, const struct tunnel_status *s,
    const char *name_key, json_t *names)
{
	o = tunnel_status_put(
	    o, "interface", tunnel_status_ifname(s->interface));
	o = tunnel_status_put(o, "since", number(s->since_s));
	o = tunnel_status_put(o, "mtu", number(s->mtu));
	o = tunnel_status_put(o, "listen_port", number(s->port));
	o = tunnel_status_put(o, "fwmark", number(s->mark));
	o = tunnel_status_put(o, "workers", number(s->stats.workers));
	o = tunnel_status_put(o, "cipher", json_string(s->stats.cipher));
	o = tunnel_status_put(
	    o, "public_key", key_json(wg_device_public_key(s->device)));
	o = tunnel_status_put(o, "handshakes", number(s->counted.handshakes));
	o = tunnel_status_put(
	    o, "cookies_sent", number(s->counted.cookies_sent));
	o = tunnel_status_put(o, "drops", drops_json(&s->counted, &s->stats));
	o = tunnel_status_put(o, "peers", peers_json(s, name_key, names));
	json_decref(names);
	return o;
}

/* ---- over a control socket ---- */

void
tunnel_status_answer(json_t *o, struct text *out)
{
	char *line = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;

	if (line != NULL)
		text_append(out, line, strlen(line));
	else
		text_add(out, "{\"error\":\"out of memory\"}");
	text_add(out, "\n\n");
	free(line);
	json_decref(o);
}

static int
parse_answer(json_t **o, const char *answer, const char *path, struct diag *d)
{
	const char *error;

	if (answer[0] == '\0') {
		diag_error(d, "it ended, and gave no answer on %s", path);
		return UK_ENOENT;
	}
	*o = json_loads(answer, 0, NULL);
	error = tunnel_status_text(*o, "error", NULL);
	if (json_is_object(*o) && error == NULL)
		return 0;
	diag_error(d, "the answer on %s is: %s", path,
	    error != NULL ? error : "nothing that makes sense");
	json_decref(*o);
	*o = NULL;
	return UK_EPROTO;
}

int
tunnel_status_ask(json_t **o, const char *path, struct diag *d)
{
	char *answer = NULL;
	int err = ctl_ask(path, "status\n", ASK_TIMEOUT_MS, &answer, d);

	if (err == 0)
		err = parse_answer(o, answer, path, d);
	free(answer);
	return err;
}

/* ---- for people ---- */

const char *
tunnel_status_bytes(uint64_t bytes, char text[static TUNNEL_STATUS_TEXT_MAX])
{
	static const char *const unit[] = {
	    "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double n = (double)bytes;
	size_t u = 0;

	while (n >= 1023.95 && u + 1 < ARRAY_LEN(unit)) {
		n /= 1024;
		u++;
	}
	snprintf(text, TUNNEL_STATUS_TEXT_MAX, u == 0 ? "%.0f %s" : "%.1f %s",
	    n, unit[u]);
	return text;
}

const char *
tunnel_status_age(uint64_t s, char text[static TUNNEL_STATUS_TEXT_MAX])
{
	static const struct {
		unsigned seconds;
		const char *name;
	} unit[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	size_t u = 0;

	while (u + 1 < ARRAY_LEN(unit) && s < unit[u].seconds)
		u++;
	if (u + 1 == ARRAY_LEN(unit))
		snprintf(text, TUNNEL_STATUS_TEXT_MAX, "%" PRIu64 " s", s);
	else
		snprintf(text, TUNNEL_STATUS_TEXT_MAX,
		    "%" PRIu64 " %s %" PRIu64 " %s", s / unit[u].seconds,
		    unit[u].name, s % unit[u].seconds / unit[u + 1].seconds,
		    unit[u + 1].name);
	return text;
}

const char *
tunnel_status_text(const json_t *o, const char *key, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : otherwise;
}

uint64_t
tunnel_status_number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static void
print_label(FILE *to, int depth, const char *label)
{
	fprintf(to, "%*s%-*s ", 2 * depth, "", 10 + 2 * depth, label);
}

void
tunnel_status_line(FILE *to, int depth, const char *label, const char *fmt, ...)
{
	va_list ap;

	print_label(to, depth, label);
	va_start(ap, fmt);
	vfprintf(to, fmt, ap);
	va_end(ap);
	fputc('\n', to);
}

void
tunnel_status_list(FILE *to, int depth, const char *label, const json_t *list)
{
	size_t n = json_array_size(list);

	if (n > 0)
		print_label(to, depth, label);
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(list, i));

		fprintf(
		    to, "%s%s", s != NULL ? s : "?", i + 1 < n ? ", " : "\n");
	}
}

void
tunnel_status_head(const json_t *o, FILE *to)
{
	time_t at = (time_t)tunnel_status_number(o, "since");
	char text[TUNNEL_STATUS_TEXT_MAX] = "?";
	struct tm tm;

	if (localtime_r(&at, &tm) != NULL)
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(to, "%s: up since %s\n",
	    tunnel_status_text(o, "interface", "?"), text);
}

static void
print_endpoint(const json_t *p, FILE *to)
{
	const char *path = tunnel_status_text(p, "path", NULL);
	const char *host = tunnel_status_text(p, "host", NULL);
	const char *endpoint =
	    tunnel_status_text(p, "endpoint", "not known yet");

	if (path != NULL)
		tunnel_status_line(to, 2, "path", "UDP over %s",
		    strcmp(path, "udp6") == 0 ? "IPv6" : "IPv4");
	if (host != NULL)
		tunnel_status_line(
		    to, 2, "endpoint", "%s (%s)", endpoint, host);
	else
		tunnel_status_line(to, 2, "endpoint", "%s", endpoint);
}

static void
print_peer(const json_t *p, uint64_t now_s, tunnel_status_more *more, FILE *to)
{
	const char *key = tunnel_status_text(p, "public_key", "?");
	const char *name = tunnel_status_text(p, "name", NULL);
	uint64_t last = tunnel_status_number(p, "last_handshake");
	uint64_t received = tunnel_status_number(p, "received_bytes");
	uint64_t sent = tunnel_status_number(p, "sent_bytes");
	char text[TUNNEL_STATUS_TEXT_MAX];

	tunnel_status_line(to, 1, "peer", "%s", name != NULL ? name : key);
	if (name != NULL)
		tunnel_status_line(to, 2, "public key", "%s", key);
	print_endpoint(p, to);
	tunnel_status_list(
	    to, 2, "allowed IPs", json_object_get(p, "allowed_ips"));
	if (last == 0)
		tunnel_status_line(to, 2, "last handshake", "never");
	else
		tunnel_status_line(to, 2, "last handshake", "%s ago",
		    tunnel_status_age(now_s > last ? now_s - last : 0, text));
	tunnel_status_line(
	    to, 2, "received", "%s", tunnel_status_bytes(received, text));
	tunnel_status_line(
	    to, 2, "sent", "%s", tunnel_status_bytes(sent, text));
	if (more != NULL)
		more(p, to);
}

static void
print_drops(const json_t *o, FILE *to)
{
	const char *between = "", *reason;
	json_t *n;

	print_label(to, 1, "dropped");
	json_object_foreach(json_object_get(o, "drops"), reason, n)
	{
		if (json_integer_value(n) <= 0)
			continue;
		fprintf(to, "%s%s %" JSON_INTEGER_FORMAT, between, reason,
		    json_integer_value(n));
		between = ", ";
	}
	fputs(between[0] != '\0' ? "\n" : "nothing\n", to);
}

void
tunnel_status_rest(
    const json_t *o, uint64_t now_s, tunnel_status_more *more, FILE *to)
{
	const json_t *peers = json_object_get(o, "peers");

	for (size_t i = 0; i < json_array_size(peers); i++)
		print_peer(json_array_get(peers, i), now_s, more, to);
	print_drops(o, to);
}
