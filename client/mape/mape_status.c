#include "mape_status.h"

#include <inttypes.h>
#include <string.h>

#include "io/tunnel_status.h"

#define put tunnel_status_put

static const char *const space_name[NAT44_SPACES] = {
    [NAT44_TCP] = "tcp", [NAT44_UDP] = "udp", [NAT44_ICMP] = "icmp"};

static json_t *
number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *
address_text(uint8_t family, const uint8_t *b)
{
	struct ip_addr a = {.family = family};
	char text[IP_ADDR_TEXT_MAX];

	memcpy(a.b, b, family == FAMILY_V4 ? 4 : 16);
	return json_string(ip_addr_format(&a, text));
}

static json_t *
busiest_json(const struct nat44_space *s, bool has_port)
{
	json_t *o = json_object();

	if (s->busiest_sessions == 0) {
		json_decref(o);
		return json_null();
	}
	o = put(o, "address", address_text(FAMILY_V4, s->busiest));
	o = put(o, "port", has_port ? number(s->busiest_port) : json_null());
	return put(o, "sessions", number(s->busiest_sessions));
}

static json_t *
space_json(const struct nat44_space *s, bool has_port)
{
	json_t *o = json_object();

	o = put(o, "ports_in_use", number(s->ports));
	o = put(o, "ports_peak", number(s->ports_peak));
	o = put(o, "sessions", number(s->sessions));
	o = put(o, "mappings", number(s->mappings));
	o = put(o, "refused", number(s->refused));
	o = put(o, "reclaimed", number(s->reclaimed));
	return put(o, "busiest", busiest_json(s, has_port));
}

static json_t *
claim_json(const struct ce_address_stats *a)
{
	const uint8_t *m = a->rival_mac;
	bool rival = a->rival_wall_ns != 0;
	json_t *o = json_object();

	o = put(o, "state", json_string(ce_claim_state_name(a->state)));
	o = put(o, "announced", number(a->announced));
	o = put(o, "rivals", number(a->rivals));
	o = put(o, "rival_mac",
	    rival ? json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1],
			m[2], m[3], m[4], m[5])
		  : json_null());
	return put(o, "rival_seen",
	    rival ? number(a->rival_wall_ns / UK_NS_PER_S) : json_null());
}

/* What is lost before or behind the CE. */
static json_t *
wire_json(const struct wire_stats *w)
{
	json_t *o = json_object();

	o = put(o, "receive_dropped", number(w->receive_dropped));
	o = put(o, "receive_malformed", number(w->receive_malformed));
	o = put(o, "send_failed", number(w->send_failed));
	return put(o, "split", number(w->split));
}

static json_t *
drops_json(const uint64_t drop[MAP_DROPS])
{
	json_t *o = json_object();

	for (int i = MAP_OK + 1; i < MAP_DROPS; i++)
		o = put(o, map_drop_name((enum map_drop)i), number(drop[i]));
	return o;
}

static json_t *
line_json(const struct ce_line *l)
{
	const char *name = l->rule.operator_name;
	json_t *o = json_object();

	o = put(o, "operator", name[0] ? json_string(name) : json_null());
	o = put(o, "ipv4", address_text(FAMILY_V4, l->ce.ipv4.addr.b));
	o = put(o, "psid",
	    l->ce.ports.psid_len > 0 ? number(l->ce.ports.psid) : json_null());
	o = put(o, "ce_ipv6", address_text(FAMILY_V6, l->ce.address.b));
	return put(o, "br_ipv6", address_text(FAMILY_V6, l->rule.br.b));
}

json_t *
mape_status_json(const struct mape_stats *s)
{
	json_t *o = line_json(s->line);

	o = put(o, "interface", json_string(MAPE_IFNAME));
	o = put(o, "link", tunnel_status_ifname(s->link));
	o = put(o, "mtu", number(s->ce.mtu));
	o = put(o, "offload", json_boolean(s->wire.offload));
	o = put(o, "ports", number(s->ce.nat.ports));
	o = put(o, "sessions", number(s->ce.nat.sessions));
	o = put(o, "sessions_max", number(s->ce.nat.sessions_max));
	o = put(o, "hosts", number(s->ce.nat.hosts));
	for (int i = 0; i < NAT44_SPACES; i++)
		o = put(o, space_name[i],
		    space_json(&s->ce.nat.space[i], i != NAT44_ICMP));
	o = put(o, "sent_packets", number(s->ce.out_packets));
	o = put(o, "sent_bytes", number(s->ce.out_bytes));
	o = put(o, "received_packets", number(s->ce.in_packets));
	o = put(o, "received_bytes", number(s->ce.in_bytes));
	o = put(o, "sent_direct", number(s->ce.direct));
	o = put(o, "fragments_waiting",
	    number((uint64_t)s->ce.inner.datagrams + s->ce.outer.datagrams));
	o = put(o, "address", claim_json(&s->address));
	o = put(o, "wire", wire_json(&s->wire));
	return put(o, "drops", drops_json(s->ce.drop));
}

/* ---- for people ---- */

static void
print_space(const json_t *o, const char *name, uint64_t ports, FILE *to)
{
	const json_t *s = json_object_get(o, name);
	const json_t *busiest = json_object_get(s, "busiest");
	char more[128] = "", refused[64] = "", colon[24] = "";
	uint64_t port = tunnel_status_number(busiest, "port");
	uint64_t sessions = tunnel_status_number(s, "sessions");

	if (port != 0)
		snprintf(colon, sizeof(colon), ":%" PRIu64, port);
	if (json_is_object(busiest))
		snprintf(more, sizeof(more), ", %" PRIu64 " of them to %s%s",
		    tunnel_status_number(busiest, "sessions"),
		    tunnel_status_text(busiest, "address", "?"), colon);
	if (tunnel_status_number(s, "refused") != 0)
		snprintf(refused, sizeof(refused),
		    "; %" PRIu64 " packets found no port",
		    tunnel_status_number(s, "refused"));
	tunnel_status_line(to, 2, name,
	    "%" PRIu64 " of %" PRIu64 " ports in use (%" PRIu64
	    " at most), %" PRIu64 " session%s%s%s",
	    tunnel_status_number(s, "ports_in_use"), ports,
	    tunnel_status_number(s, "ports_peak"), sessions,
	    sessions == 1 ? "" : "s", more, refused);
}

static void
print_claim(const json_t *o, uint64_t now_s, FILE *to)
{
	const json_t *a = json_object_get(o, "address");
	uint64_t seen = tunnel_status_number(a, "rival_seen");
	char age[TUNNEL_STATUS_TEXT_MAX];

	tunnel_status_line(to, 2, "CE address", "%s on %s, %s",
	    tunnel_status_text(o, "ce_ipv6", "?"),
	    tunnel_status_text(o, "link", "?"),
	    tunnel_status_text(a, "state", "?"));
	if (seen != 0)
		tunnel_status_line(to, 2, "second CE",
		    "%s says that it has this address, %s ago: one of the two "
		    "must go",
		    tunnel_status_text(a, "rival_mac", "?"),
		    tunnel_status_age(now_s > seen ? now_s - seen : 0, age));
}

static void
print_wire(const json_t *o, FILE *to)
{
	static const struct {
		const char *key, *says;
	} row[] = {
	    {"receive_dropped", "from the line, ukai was too slow"},
	    {"receive_malformed", "from the line, makes no sense"},
	    {"send_failed", "to the line, the link would not take it"},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		uint64_t n = tunnel_status_number(o, row[i].key);

		if (n > 0)
			tunnel_status_line(
			    to, 2, "dropped", "%s: %" PRIu64, row[i].says, n);
	}
}

static void
print_drops(json_t *drops, FILE *to)
{
	const char *why;
	json_t *n;

	json_object_foreach(drops, why, n) if (json_integer_value(n) > 0)
	    tunnel_status_line(to, 2, "dropped", "%s: %" PRIu64, why,
		(uint64_t)json_integer_value(n));
}

void
mape_status_print(const json_t *o, uint64_t now_s, FILE *to)
{
	char in[TUNNEL_STATUS_TEXT_MAX], out[TUNNEL_STATUS_TEXT_MAX];
	uint64_t ports = tunnel_status_number(o, "ports");

	if (!json_is_object(o))
		return;
	tunnel_status_line(to, 1, "MAP-E", "%s, %" PRIu64 " ports, by %s (%s)",
	    tunnel_status_text(o, "ipv4", "?"), ports,
	    tunnel_status_text(o, "br_ipv6", "?"),
	    tunnel_status_text(o, "operator", "operator not known"));
	print_claim(o, now_s, to);
	for (int i = 0; i < NAT44_SPACES; i++)
		print_space(o, space_name[i], ports, to);
	tunnel_status_line(to, 2, "transfer", "%s received, %s sent",
	    tunnel_status_bytes(tunnel_status_number(o, "received_bytes"), in),
	    tunnel_status_bytes(tunnel_status_number(o, "sent_bytes"), out));
	print_wire(json_object_get(o, "wire"), to);
	print_drops(json_object_get(o, "drops"), to);
}
