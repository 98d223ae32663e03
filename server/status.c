#include "status.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"

/* ---- to JSON ---- */

static json_t *
address_json(const struct ip_addr *a)
{
	char text[IP_ADDR_TEXT_MAX];

	return a->family != FAMILY_NONE ? json_string(ip_addr_format(a, text))
					: json_null();
}

static json_t *
forward_json(const struct client_forward *f)
{
	json_t *o = tunnel_status_put(json_object(), "protocol",
	    json_string(f->protocol == IPPROTO_TCP ? "tcp" : "udp"));

	o = tunnel_status_put(o, "first", json_integer(f->first));
	o = tunnel_status_put(o, "last", json_integer(f->last));
	return tunnel_status_put(o, "target", json_integer(f->target));
}

static json_t *
forwards_json(const struct client *c)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->forwards; i++)
		list = tunnel_status_push(list, forward_json(&c->forward[i]));
	return list;
}

static json_t *
limit_json(uint32_t n)
{
	return n != 0 ? json_integer(n) : json_null();
}

static json_t *
client_json(const struct status *s, const struct client *c)
{
	json_t *o =
	    tunnel_status_put(json_object(), "name", json_string(c->name));

	o = tunnel_status_put(o, "tunnel_address",
	    c->networks > 0 ? address_json(&c->network[0].addr) : json_null());
	o = tunnel_status_put(o, "way", json_string(client_way_name(c->way)));
	o = tunnel_status_put(
	    o, "global_address", address_json(registry_global(s->registry, c)));
	o = tunnel_status_put(o, "rate_kbit", limit_json(c->rate_kbit));
	o = tunnel_status_put(o, "connections", limit_json(c->connections));
	return tunnel_status_put(o, "forwards", forwards_json(c));
}

static json_t *
joined_json(const struct status *s, const struct client *c)
{
	json_t *o = client_json(s, c);
	struct ip_prefix network[CLIENT_ADDRESSES_MAX];
	struct conntrack_use use;
	bool known =
	    s->conntrack != NULL && conntrack_look(s->conntrack, network,
					client_addresses(c, network), &use);

	o = tunnel_status_put(
	    o, "joined", json_integer((json_int_t)c->joined_s));
	o = tunnel_status_put(o, "flows",
	    known ? json_integer((json_int_t)use.flows) : json_null());
	return tunnel_status_put(o, "nat_ports",
	    known ? json_integer((json_int_t)use.nat_ports) : json_null());
}

static json_t *
invited_json(const struct status *s, const struct client *c)
{
	return tunnel_status_put(client_json(s, c), "expires",
	    json_integer((json_int_t)c->expires_s));
}

/* What the registry knows: of those who joined by their keys. */
struct known {
	json_t *names, *joined, *invited;
};

static void
collect(struct known *k, const struct status *s)
{
	char key[KEY_BASE64_LEN + 1];
	struct client *const *c;
	size_t n;

	*k = (struct known){json_object(), json_object(), json_array()};
	c = registry_clients(s->registry, &n);
	for (size_t i = 0; i < n; i++) {
		if (!client_has_joined(c[i])) {
			k->invited = tunnel_status_push(
			    k->invited, invited_json(s, c[i]));
			continue;
		}
		value_format_key_base64(key, c[i]->public_key.b);
		k->names = tunnel_status_name(
		    k->names, c[i]->public_key.b, c[i]->name);
		k->joined =
		    tunnel_status_put(k->joined, key, joined_json(s, c[i]));
	}
}

/* Gone when memory is out, as all of tunnel_status. */
static json_t *
add_to_peers(json_t *o, const json_t *joined)
{
	static const char *const keys[] = {"tunnel_address", "way",
	    "global_address", "rate_kbit", "connections", "forwards", "joined",
	    "flows", "nat_ports"};
	json_t *peers = json_object_get(o, "peers");

	for (size_t i = 0; i < json_array_size(peers) && o != NULL; i++) {
		json_t *p = json_array_get(peers, i);
		const json_t *c = json_object_get(
		    joined, tunnel_status_text(p, "public_key", ""));

		for (size_t k = 0; k < ARRAY_LEN(keys) && o != NULL; k++) {
			json_t *v = json_object_get(c, keys[k]);

			if (json_object_set_new(p, keys[k],
				v != NULL ? json_incref(v) : json_null()) == 0)
				continue;
			json_decref(o);
			o = NULL;
		}
	}
	return o;
}

static json_t *
add_relay(json_t *o, const struct status *s)
{
	const struct ip_ifaddr *address = &s->conf->address.ifaddr;
	char text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix pool;

	ip_ifaddr_prefix(address, &pool);
	o = tunnel_status_put(o, "pid", json_integer(getpid()));
	o = tunnel_status_put(o, "address", address_json(&address->addr));
	o = tunnel_status_put(
	    o, "pool", json_string(ip_prefix_format(&pool, text)));
	o = tunnel_status_put(
	    o, "global_address", address_json(&s->plan->global));
	o = tunnel_status_put(o, "uplink",
	    tunnel_status_ifname(
		s->plan->uplink != 0 ? s->plan->uplink_name : NULL));
	o = tunnel_status_put(o, "client_to_client",
	    json_boolean(s->conf->allow_client_to_client));
	o = tunnel_status_put(
	    o, "groups", json_integer((json_int_t)s->conf->groups.n));
	o = tunnel_status_put(o, "tls_port",
	    s->enrolment != NULL ? json_integer(s->conf->tls_port)
				 : json_null());
	o = tunnel_status_put(
	    o, "nat_ports", json_integer((json_int_t)s->plan->ports));
	return tunnel_status_put(o, "enrolment",
	    s->enrolment != NULL ? json_incref(s->enrolment) : json_null());
}

json_t *
status_json(const struct status *s)
{
	struct known k;
	json_t *o;

	collect(&k, s);
	o = add_relay(json_object(), s);
	o = tunnel_status_add(o, &s->tunnel, "name", k.names);
	if (k.joined == NULL) {
		json_decref(o);
		o = NULL;
	}
	o = add_to_peers(o, k.joined);
	json_decref(k.joined);
	return tunnel_status_put(o, "invited", k.invited);
}

/* ---- for people ---- */

static void
format_forward(const json_t *f, char *text, size_t size)
{
	uint64_t first = tunnel_status_number(f, "first");
	uint64_t last = tunnel_status_number(f, "last");
	uint64_t target = tunnel_status_number(f, "target");
	int n = snprintf(text, size, "%s/%" PRIu64,
	    tunnel_status_text(f, "protocol", "?"), first);

	if (n > 0 && last != first)
		n += snprintf(text + n, size - (size_t)n, "-%" PRIu64, last);
	if (n > 0 && target != first)
		snprintf(text + n, size - (size_t)n, " to %" PRIu64, target);
}

static void
print_client(const json_t *p, FILE *to)
{
	const char *way = tunnel_status_text(p, "way", NULL);
	const json_t *forwards = json_object_get(p, "forwards");
	char text[64];

	if (way == NULL)
		return;
	tunnel_status_line(to, 2, "internet", "%s, %s",
	    tunnel_status_text(p, "global_address", "?"), way);
	if (json_is_integer(json_object_get(p, "nat_ports")))
		tunnel_status_line(to, 2, "NAT ports", "%" PRIu64 " in use",
		    tunnel_status_number(p, "nat_ports"));
	if (json_is_integer(json_object_get(p, "rate_kbit")))
		tunnel_status_line(to, 2, "limit", "%" PRIu64 " kbit/s",
		    tunnel_status_number(p, "rate_kbit"));
	if (json_is_integer(json_object_get(p, "connections")))
		tunnel_status_line(to, 2, "limit", "%" PRIu64 " connections",
		    tunnel_status_number(p, "connections"));
	for (size_t i = 0; i < json_array_size(forwards); i++) {
		format_forward(json_array_get(forwards, i), text, sizeof(text));
		tunnel_status_line(to, 2, "published", "%s", text);
	}
}

void
status_print(const json_t *o, uint64_t now_s, FILE *to)
{
	const char *uplink = tunnel_status_text(o, "uplink", NULL);
	bool all = json_is_true(json_object_get(o, "client_to_client"));
	size_t invited = json_array_size(json_object_get(o, "invited"));

	tunnel_status_head(o, to);
	tunnel_status_line(to, 1, "address", "%s, clients in %s",
	    tunnel_status_text(o, "address", "?"),
	    tunnel_status_text(o, "pool", "?"));
	tunnel_status_line(
	    to, 1, "MTU", "%" PRIu64, tunnel_status_number(o, "mtu"));
	tunnel_status_line(to, 1, "UDP port", "%" PRIu64,
	    tunnel_status_number(o, "listen_port"));
	if (json_is_integer(json_object_get(o, "tls_port")))
		tunnel_status_line(to, 1, "TLS port", "%" PRIu64,
		    tunnel_status_number(o, "tls_port"));
	tunnel_status_line(to, 1, "public key", "%s",
	    tunnel_status_text(o, "public_key", "none"));
	tunnel_status_line(to, 1, "internet", "as %s%s%s",
	    tunnel_status_text(o, "global_address", "?"),
	    uplink != NULL ? " by " : ", no route yet",
	    uplink != NULL ? uplink : "");
	tunnel_status_line(to, 1, "clients", "%zu, %s reach each other%s",
	    json_array_size(json_object_get(o, "peers")),
	    all ? "may" : "may not",
	    !all && tunnel_status_number(o, "groups") > 0
		? ", but for members of a group"
		: "");
	if (invited > 0)
		tunnel_status_line(to, 1, "invited", "%zu more", invited);
	tunnel_status_rest(o, now_s, print_client, to);
}

static const char *
state_of(const json_t *c, uint64_t now_s, char text[TUNNEL_STATUS_TEXT_MAX])
{
	uint64_t last = tunnel_status_number(c, "last_handshake");
	uint64_t expires = tunnel_status_number(c, "expires");

	if (expires != 0)
		return expires > now_s ? "invited" : "invitation expired";
	if (last == 0)
		return "never seen";
	return tunnel_status_age(now_s > last ? now_s - last : 0, text);
}

static void
print_row(const json_t *c, uint64_t now_s, FILE *to)
{
	char state[TUNNEL_STATUS_TEXT_MAX], ports[16] = "-";
	char received[TUNNEL_STATUS_TEXT_MAX], sent[TUNNEL_STATUS_TEXT_MAX];

	if (json_is_integer(json_object_get(c, "nat_ports")))
		snprintf(ports, sizeof(ports), "%" PRIu64,
		    tunnel_status_number(c, "nat_ports"));
	tunnel_status_bytes(
	    tunnel_status_number(c, "received_bytes"), received);
	tunnel_status_bytes(tunnel_status_number(c, "sent_bytes"), sent);
	fprintf(to, "%-20s %-15s %-9s %-15s %-18s %10s %10s %5s %8zu  %s\n",
	    tunnel_status_text(c, "name", "-"),
	    tunnel_status_text(c, "tunnel_address", "-"),
	    tunnel_status_text(c, "way", "-"),
	    tunnel_status_text(c, "global_address", "-"),
	    state_of(c, now_s, state), received, sent, ports,
	    json_array_size(json_object_get(c, "forwards")),
	    tunnel_status_text(c, "endpoint", "-"));
}

json_t *
status_clients(const json_t *status)
{
	static const char *const lists[] = {"peers", "invited"};
	json_t *all = json_array();

	for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
		const json_t *l = json_object_get(status, lists[k]);

		for (size_t i = 0; i < json_array_size(l); i++)
			all = tunnel_status_push(
			    all, json_incref(json_array_get(l, i)));
	}
	return all;
}

bool
status_has_client(const json_t *status, const char *name)
{
	json_t *all = status_clients(status);
	bool found = false;

	for (size_t i = 0; i < json_array_size(all) && !found; i++)
		found = strcmp(tunnel_status_text(
				   json_array_get(all, i), "name", ""),
			    name) == 0;
	json_decref(all);
	return found;
}

void
status_print_clients(const json_t *status, uint64_t now_s, FILE *to)
{
	json_t *all = status_clients(status);

	if (json_array_size(all) == 0)
		fputs("no clients yet: ukai-relay invite NAME\n", to);
	else
		fprintf(to,
		    "%-20s %-15s %-9s %-15s %-18s %10s %10s %5s %8s  %s\n",
		    "NAME", "ADDRESS", "WAY", "INTERNET", "LAST SEEN",
		    "RECEIVED", "SENT", "PORTS", "FORWARDS", "ENDPOINT");
	for (size_t i = 0; i < json_array_size(all); i++)
		print_row(json_array_get(all, i), now_s, to);
	json_decref(all);
}

json_t *
status_forwards(const json_t *status, const char *name)
{
	json_t *all = status_clients(status), *list = json_array();

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *c = json_array_get(all, i);
		const char *who = tunnel_status_text(c, "name", "?");
		const json_t *l = json_object_get(c, "forwards");

		for (size_t k = 0; k < json_array_size(l); k++) {
			json_t *f;

			if (name != NULL && strcmp(name, who) != 0)
				continue;
			f = json_copy(json_array_get(l, k));
			f = tunnel_status_put(f, "name", json_string(who));
			f = tunnel_status_put(f, "global_address",
			    json_incref(json_object_get(c, "global_address")));
			list = tunnel_status_push(list, f);
		}
	}
	json_decref(all);
	return list;
}

void
status_print_forwards(const json_t *status, const char *name, FILE *to)
{
	json_t *list = status_forwards(status, name);
	char text[64];

	if (json_array_size(list) == 0)
		fputs("nothing is published\n", to);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *f = json_array_get(list, i);

		format_forward(f, text, sizeof(text));
		fprintf(to, "%-20s %-15s %s\n",
		    tunnel_status_text(f, "name", "?"),
		    tunnel_status_text(f, "global_address", "?"), text);
	}
	json_decref(list);
}
