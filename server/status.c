#include "status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "core/value.h"
#include "io/clock.h"
#include "relay.h"

/* Out of memory shows in the end, when the object cannot be made. */
static void
set(json_t *o, const char *key, json_t *value)
{
	(void)json_object_set_new(o, key, value);
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
allowed_json(const struct wg_peer *p)
{
	const struct lpm_node *cursor = NULL;
	char text[IP_PREFIX_TEXT_MAX];
	json_t *list = json_array();
	struct ip_prefix prefix;

	while (wg_peer_next_allowed(p, &cursor, &prefix))
		(void)json_array_append_new(
		    list, json_string(ip_prefix_format(&prefix, text)));
	return list;
}

/* Peers are listed in the order of the file, unless `wg set` changed them:
 * the search begins after the one found last. */
static const char *
peer_name(const struct server_peers *l, const struct wg_key *key, size_t *from)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct server_peer *p = &l->item[(*from + i) % l->n];

		if (memcmp(p->wg.public_key.b, key->b, sizeof(key->b)) != 0)
			continue;
		*from += i + 1;
		return p->name.s[0] != '\0' ? p->name.s : NULL;
	}
	return NULL;
}

static json_t *
peer_json(const struct wg_peer *p, const struct server_peers *conf,
    size_t *from, uint64_t now_ns)
{
	static const struct wg_key none;
	char text[ENDPOINT_TEXT_MAX];
	json_t *o = json_object();
	struct wg_peer_info i;
	const char *name;

	wg_peer_info(p, now_ns, &i);
	name = peer_name(conf, &i.public_key, from);
	set(o, "name", name != NULL ? json_string(name) : json_null());
	set(o, "public_key", key_json(&i.public_key));
	set(o, "preshared_key",
	    json_boolean(sodium_memcmp(&i.psk, &none, sizeof(none)) != 0));
	set(o, "endpoint",
	    i.endpoint.addr.family == FAMILY_NONE
		? json_null()
		: json_string(endpoint_format(&i.endpoint, text)));
	set(o, "last_handshake",
	    i.last_handshake_wall_ns == 0
		? json_null()
		: json_integer(
		      (json_int_t)(i.last_handshake_wall_ns / UK_NS_PER_S)));
	set(o, "session", json_boolean(i.session));
	set(o, "received_bytes", json_integer((json_int_t)i.rx_bytes));
	set(o, "sent_bytes", json_integer((json_int_t)i.tx_bytes));
	set(o, "allowed_ips", allowed_json(p));
	sodium_memzero(&i, sizeof(i));
	return o;
}

static json_t *
peers_json(const struct relay *r)
{
	const struct wg_device *device = tunnel_device(relay_tunnel(r));
	const struct server_peers *conf = &relay_conf(r)->peers;
	uint64_t now_ns = clock_now().mono_ns;
	const struct wg_peer *p = NULL;
	json_t *list = json_array();
	size_t from = 0;

	while ((p = wg_device_next_peer(device, p)) != NULL)
		(void)json_array_append_new(
		    list, peer_json(p, conf, &from, now_ns));
	return list;
}

static json_t *
drops_json(const struct relay *r)
{
	const struct wg_device_stats *s =
	    wg_device_stats(tunnel_device(relay_tunnel(r)));
	struct tunnel_stats t;
	json_t *o = json_object();

	for (int i = 0; i < WG_DROP_COUNT; i++)
		set(o, wg_drop_name((enum wg_drop)i),
		    json_integer((json_int_t)s->drop[i]));
	tunnel_stats(relay_tunnel(r), &t);
	set(o, "send-failed", json_integer((json_int_t)t.send_failed));
	set(o, "interface-full", json_integer((json_int_t)t.tun_dropped));
	set(o, "interface-malformed",
	    json_integer((json_int_t)t.tun_malformed));
	return o;
}

static json_t *
relay_json(const struct relay *r)
{
	const struct server_conf *c = relay_conf(r);
	const struct plan *plan = relay_plan(r);
	struct tunnel *t = relay_tunnel(r);
	const struct wg_device_stats *s = wg_device_stats(tunnel_device(t));
	char text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix pool;
	json_t *o = json_object();

	ip_ifaddr_prefix(&c->address.ifaddr, &pool);
	set(o, "interface", json_string(tunnel_name(t)));
	set(o, "pid", json_integer(getpid()));
	set(o, "started",
	    json_integer((json_int_t)(relay_started_wall_ns(r) / UK_NS_PER_S)));
	set(o, "mtu", json_integer(tunnel_mtu(t)));
	set(o, "listen_port", json_integer(tunnel_port(t)));
	set(o, "public_key", key_json(wg_device_public_key(tunnel_device(t))));
	set(o, "address",
	    json_string(ip_addr_format(&c->address.ifaddr.addr, text)));
	set(o, "pool", json_string(ip_prefix_format(&pool, text)));
	set(o, "global_address",
	    json_string(ip_addr_format(&plan->global, text)));
	set(o, "uplink",
	    plan->uplink != 0 ? json_string(plan->uplink_name) : json_null());
	set(o, "client_to_client", json_boolean(c->allow_client_to_client));
	set(o, "handshakes", json_integer((json_int_t)s->handshakes));
	set(o, "cookies_sent", json_integer((json_int_t)s->cookies_sent));
	set(o, "peers", peers_json(r));
	set(o, "drops", drops_json(r));
	return o;
}

void
status_write(const struct relay *r, struct text *out)
{
	json_t *o = relay_json(r);
	char *line = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;

	if (line != NULL)
		text_append(out, line, strlen(line));
	else
		text_add(out, "{\"error\": \"out of memory\"}");
	free(line);
	json_decref(o);
}

/* ---- for people ---- */

static const char *
string_of(const json_t *o, const char *key, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : otherwise;
}

static int64_t
integer_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void
print_bytes(int64_t n, FILE *to)
{
	static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
	double x = (double)n / 1024;
	size_t i = 0;

	if (n < 1024) {
		fprintf(to, "%" PRId64 " B", n);
		return;
	}
	for (; x >= 1024 && i + 1 < ARRAY_LEN(unit); i++)
		x /= 1024;
	fprintf(to, "%.1f %s", x, unit[i]);
}

static void
print_duration(int64_t s, FILE *to)
{
	if (s < 120)
		fprintf(to, "%" PRId64 " s", s < 0 ? 0 : s);
	else if (s < 2 * 3600)
		fprintf(to, "%" PRId64 " min", s / 60);
	else if (s < 2 * 86400)
		fprintf(to, "%" PRId64 " h", s / 3600);
	else
		fprintf(to, "%" PRId64 " days", s / 86400);
}

static void
print_peer(const json_t *p, int64_t now_s, FILE *to)
{
	const char *name = string_of(p, "name", NULL);
	const json_t *allowed = json_object_get(p, "allowed_ips");
	const json_t *last = json_object_get(p, "last_handshake");

	if (name != NULL)
		fprintf(to, "\n%s\n  key             %s\n", name,
		    string_of(p, "public_key", "?"));
	else
		fprintf(to, "\n%s\n", string_of(p, "public_key", "?"));
	fprintf(to, "  allowed IPs    ");
	for (size_t i = 0; i < json_array_size(allowed); i++) {
		const char *prefix =
		    json_string_value(json_array_get(allowed, i));

		fprintf(to, " %s", prefix != NULL ? prefix : "?");
	}
	if (json_array_size(allowed) == 0)
		fprintf(to, " none");
	fprintf(to, "\n  endpoint        %s\n",
	    string_of(p, "endpoint", "not known yet"));
	fprintf(to, "  last handshake  ");
	if (json_is_integer(last)) {
		print_duration(now_s - json_integer_value(last), to);
		fprintf(to, " ago\n");
	} else {
		fprintf(to, "never\n");
	}
	fprintf(to, "  received, sent  ");
	print_bytes(integer_of(p, "received_bytes"), to);
	fprintf(to, ", ");
	print_bytes(integer_of(p, "sent_bytes"), to);
	fprintf(to, "\n");
}

static void
print_drops(const json_t *drops, FILE *to)
{
	const char *key;
	json_t *value;
	bool any = false;

	/* jansson's walk takes no const. */
	json_object_foreach((json_t *)(uintptr_t)drops, key, value)
	{
		if (json_integer_value(value) == 0)
			continue;
		fprintf(to, "%s %s %" JSON_INTEGER_FORMAT,
		    any ? "," : "\ndropped          ", key,
		    json_integer_value(value));
		any = true;
	}
	if (any)
		fprintf(to, "\n");
}

void
status_print(const json_t *status, int64_t now_s, FILE *to)
{
	const json_t *peers = json_object_get(status, "peers");

	fprintf(to, "interface         %s, MTU %" PRId64 ", running for ",
	    string_of(status, "interface", "?"), integer_of(status, "mtu"));
	print_duration(now_s - integer_of(status, "started"), to);
	fprintf(to, "\nUDP port          %" PRId64 "\n",
	    integer_of(status, "listen_port"));
	fprintf(to, "public key        %s\n",
	    string_of(status, "public_key", "none"));
	fprintf(to, "tunnel address    %s, clients in %s\n",
	    string_of(status, "address", "?"), string_of(status, "pool", "?"));
	fprintf(to, "global address    %s by %s\n",
	    string_of(status, "global_address", "?"),
	    string_of(status, "uplink", "no route yet"));
	fprintf(to, "clients           %zu, %s reach each other\n",
	    json_array_size(peers),
	    json_is_true(json_object_get(status, "client_to_client"))
		? "may"
		: "may not");
	for (size_t i = 0; i < json_array_size(peers); i++)
		print_peer(json_array_get(peers, i), now_s, to);
	print_drops(json_object_get(status, "drops"), to);
}
