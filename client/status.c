#include "status.h"

#include <string.h>
#include <time.h>

/* Each takes v, and returns o or a; NULL, and both gone, when anything was
 * NULL: so nothing is ever told in part. */
static json_t *
put(json_t *o, const char *key, json_t *v)
{
	if (json_object_set_new(o, key, v) == 0)
		return o;
	json_decref(o);
	return NULL;
}

static json_t *
push(json_t *a, json_t *v)
{
	if (json_array_append_new(a, v) == 0)
		return a;
	json_decref(a);
	return NULL;
}

static json_t *
number(uint64_t n)
{
	return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

static json_t *
text_or_null(const char *s)
{
	return s != NULL ? json_string(s) : json_null();
}

static json_t *
key_text(const struct wg_key *key)
{
	char text[KEY_BASE64_LEN + 1];

	if (key == NULL)
		return json_null();
	value_format_key_base64(text, key->b);
	return json_string(text);
}

static json_t *
endpoint_text(const struct endpoint *e)
{
	char text[ENDPOINT_TEXT_MAX];

	if (e->addr.family == FAMILY_NONE)
		return json_null();
	return json_string(endpoint_format(e, text));
}

static json_t *
path_text(const struct endpoint *e)
{
	switch (e->addr.family) {
	case FAMILY_V6:
		return json_string("udp6");
	case FAMILY_V4:
		return json_string("udp4");
	default:
		return json_null();
	}
}

static json_t *
addresses(const struct conf_wg_addresses *l)
{
	json_t *a = json_array();
	char text[IP_ADDR_TEXT_MAX];

	for (size_t i = 0; i < l->n; i++)
		a = push(a, json_sprintf("%s/%u",
				ip_addr_format(&l->item[i].addr, text),
				(unsigned)l->item[i].bits));
	return a;
}

static json_t *
dns_servers(const struct conf_wg_dns_list *l)
{
	json_t *a = json_array();
	char text[IP_ADDR_TEXT_MAX];

	for (size_t i = 0; i < l->n; i++)
		if (l->item[i].addr.family != FAMILY_NONE)
			a = push(a, json_string(ip_addr_format(
					&l->item[i].addr, text)));
	return a;
}

static json_t *
dns_search(const struct conf_wg_dns_list *l)
{
	json_t *a = json_array();

	for (size_t i = 0; i < l->n; i++)
		if (l->item[i].addr.family == FAMILY_NONE)
			a = push(a, json_string(l->item[i].domain));
	return a;
}

static json_t *
prefixes(const struct ip_prefix *p, size_t n)
{
	json_t *a = json_array();
	char text[IP_PREFIX_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		a = push(a, json_string(ip_prefix_format(&p[i], text)));
	return a;
}

static json_t *
peer_json(const struct status_peer *p)
{
	const struct wg_peer_info *i = &p->info;
	json_t *o = json_object();
	uint64_t last = i->last_handshake_wall_ns;

	o = put(o, "public_key", key_text(&i->public_key));
	o = put(o, "host", text_or_null(p->host));
	o = put(o, "endpoint", endpoint_text(&i->endpoint));
	o = put(o, "path", path_text(&i->endpoint));
	o = put(o, "session", json_boolean(i->session));
	o = put(o, "last_handshake",
	    last != 0 ? number(last / UK_NS_PER_S) : json_null());
	o = put(o, "received_bytes", number(i->rx_bytes));
	o = put(o, "sent_bytes", number(i->tx_bytes));
	o = put(o, "keepalive", number(i->keepalive_s));
	o = put(o, "allowed_ips", prefixes(p->allowed, p->nallowed));
	return o;
}

static json_t *
drops(const struct wg_device_stats *s)
{
	json_t *o = json_object();

	for (int i = 0; i < WG_DROP_COUNT; i++)
		o = put(o, wg_drop_name((enum wg_drop)i), number(s->drop[i]));
	return o;
}

json_t *
status_json(const struct status *s)
{
	json_t *o = json_object(), *peers = json_array();

	for (size_t i = 0; i < s->npeers; i++)
		peers = push(peers, peer_json(&s->peer[i]));
	o = put(o, "name", json_string(s->name));
	o = put(o, "since", number(s->since_s));
	o = put(o, "mtu", number(s->mtu));
	o = put(o, "listen_port", number(s->port));
	o = put(o, "fwmark", number(s->mark));
	o = put(o, "table", number(s->table));
	o = put(o, "public_key", key_text(s->public_key));
	o = put(o, "addresses", addresses(s->address));
	o = put(o, "dns", dns_servers(s->dns));
	o = put(o, "dns_search", dns_search(s->dns));
	o = put(o, "peers", peers);
	o = put(o, "handshakes", number(s->device->handshakes));
	o = put(o, "cookies_sent", number(s->device->cookies_sent));
	o = put(o, "drops", drops(s->device));
	o = put(o, "send_failed", number(s->tunnel.send_failed));
	o = put(o, "tun_dropped", number(s->tunnel.tun_dropped));
	o = put(o, "tun_malformed", number(s->tunnel.tun_malformed));
	return o;
}

const char *
status_bytes(uint64_t bytes, char text[static STATUS_TEXT_MAX])
{
	static const char *const unit[] = {
	    "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double n = (double)bytes;
	size_t u = 0;

	while (n >= 1023.95 && u + 1 < ARRAY_LEN(unit)) {
		n /= 1024;
		u++;
	}
	snprintf(
	    text, STATUS_TEXT_MAX, u == 0 ? "%.0f %s" : "%.1f %s", n, unit[u]);
	return text;
}

const char *
status_age(uint64_t s, char text[static STATUS_TEXT_MAX])
{
	unsigned long long n = s;

	if (n < 60)
		snprintf(text, STATUS_TEXT_MAX, "%llu s", n);
	else if (n < 3600)
		snprintf(
		    text, STATUS_TEXT_MAX, "%llu min %llu s", n / 60, n % 60);
	else if (n < 86400)
		snprintf(text, STATUS_TEXT_MAX, "%llu h %llu min", n / 3600,
		    n / 60 % 60);
	else
		snprintf(text, STATUS_TEXT_MAX, "%llu d %llu h", n / 86400,
		    n / 3600 % 24);
	return text;
}

static const char *
get_text(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static uint64_t
get_number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static void
print_list(const char *label, const json_t *list, FILE *to)
{
	const char *between = "";

	if (json_array_size(list) == 0)
		return;
	fprintf(to, "  %-12s ", label);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));

		fprintf(to, "%s%s", between, s != NULL ? s : "?");
		between = ", ";
	}
	fputc('\n', to);
}

static void
print_ago(const json_t *peer, uint64_t now_s, FILE *to)
{
	uint64_t at = get_number(peer, "last_handshake");
	char text[STATUS_TEXT_MAX];

	if (at == 0)
		fprintf(to, "    %-14s never\n", "last handshake");
	else
		fprintf(to, "    %-14s %s ago\n", "last handshake",
		    status_age(now_s > at ? now_s - at : 0, text));
}

static void
print_peer(const json_t *p, uint64_t now_s, FILE *to)
{
	const char *key = get_text(p, "public_key");
	const char *host = get_text(p, "host");
	const char *endpoint = get_text(p, "endpoint");
	const char *path = get_text(p, "path");
	char text[STATUS_TEXT_MAX];

	fprintf(to, "  %-12s %s\n", "peer", key != NULL ? key : "?");
	if (path != NULL)
		fprintf(to, "    %-14s %s\n", "path",
		    strcmp(path, "udp6") == 0 ? "UDP over IPv6"
					      : "UDP over IPv4");
	fprintf(to, "    %-14s %s%s%s%s\n", "endpoint",
	    endpoint != NULL ? endpoint : "not known yet",
	    host != NULL ? " (" : "", host != NULL ? host : "",
	    host != NULL ? ")" : "");
	print_ago(p, now_s, to);
	fprintf(to, "    %-14s %s\n", "received",
	    status_bytes(get_number(p, "received_bytes"), text));
	fprintf(to, "    %-14s %s\n", "sent",
	    status_bytes(get_number(p, "sent_bytes"), text));
}

static void
print_drops(const json_t *o, FILE *to)
{
	json_t *reasons = json_object_get(o, "drops");
	const char *between = "", *reason;
	json_t *n;

	fprintf(to, "  %-12s ", "dropped");
	json_object_foreach(reasons, reason, n)
	{
		if (json_integer_value(n) <= 0)
			continue;
		fprintf(to, "%s%s %" JSON_INTEGER_FORMAT, between, reason,
		    json_integer_value(n));
		between = ", ";
	}
	fputs(between[0] != '\0' ? "\n" : "nothing\n", to);
}

static void
print_routes(const json_t *o, FILE *to)
{
	uint64_t table = get_number(o, "table"), mark = get_number(o, "fwmark");

	if (table == 0)
		fprintf(to, "  %-12s none", "routes");
	else
		fprintf(to, "  %-12s table %llu", "routes",
		    (unsigned long long)table);
	if (mark != 0)
		fprintf(to, ", mark 0x%llx", (unsigned long long)mark);
	fputc('\n', to);
}

static void
print_since(const json_t *o, FILE *to)
{
	time_t at = (time_t)get_number(o, "since");
	char text[STATUS_TEXT_MAX] = "?";
	struct tm tm;

	if (localtime_r(&at, &tm) != NULL)
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(to, "%s: up since %s\n",
	    get_text(o, "name") != NULL ? get_text(o, "name") : "?", text);
}

void
status_print(const json_t *o, uint64_t now_s, FILE *to)
{
	const json_t *peers = json_object_get(o, "peers");

	print_since(o, to);
	print_list("addresses", json_object_get(o, "addresses"), to);
	fprintf(to, "  %-12s %llu\n", "MTU",
	    (unsigned long long)get_number(o, "mtu"));
	print_routes(o, to);
	print_list("DNS", json_object_get(o, "dns"), to);
	print_list("DNS search", json_object_get(o, "dns_search"), to);
	for (size_t i = 0; i < json_array_size(peers); i++)
		print_peer(json_array_get(peers, i), now_s, to);
	print_drops(o, to);
}
