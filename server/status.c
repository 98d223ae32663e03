#include "status.h"

#include <inttypes.h>
#include <unistd.h>

json_t *
status_json(const struct status *s)
{
	const struct server_peers *peers = &s->conf->peers;
	const struct ip_ifaddr *address = &s->conf->address.ifaddr;
	json_t *o = json_object(), *names = json_object();
	char text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix pool;

	for (size_t i = 0; i < peers->n; i++)
		if (peers->item[i].name.s[0] != '\0')
			names = tunnel_status_name(names,
			    peers->item[i].wg.public_key.b,
			    peers->item[i].name.s);
	ip_ifaddr_prefix(address, &pool);
	o = tunnel_status_put(o, "pid", json_integer(getpid()));
	o = tunnel_status_put(
	    o, "address", json_string(ip_addr_format(&address->addr, text)));
	o = tunnel_status_put(
	    o, "pool", json_string(ip_prefix_format(&pool, text)));
	o = tunnel_status_put(o, "global_address",
	    json_string(ip_addr_format(&s->plan->global, text)));
	o = tunnel_status_put(o, "uplink",
	    tunnel_status_ifname(
		s->plan->uplink != 0 ? s->plan->uplink_name : NULL));
	o = tunnel_status_put(o, "client_to_client",
	    json_boolean(s->conf->allow_client_to_client));
	return tunnel_status_add(o, &s->tunnel, "name", names);
}

void
status_print(const json_t *o, uint64_t now_s, FILE *to)
{
	const char *uplink = tunnel_status_text(o, "uplink", NULL);

	tunnel_status_head(o, to);
	tunnel_status_line(to, 1, "address", "%s, clients in %s",
	    tunnel_status_text(o, "address", "?"),
	    tunnel_status_text(o, "pool", "?"));
	tunnel_status_line(
	    to, 1, "MTU", "%" PRIu64, tunnel_status_number(o, "mtu"));
	tunnel_status_line(to, 1, "UDP port", "%" PRIu64,
	    tunnel_status_number(o, "listen_port"));
	tunnel_status_line(to, 1, "public key", "%s",
	    tunnel_status_text(o, "public_key", "none"));
	tunnel_status_line(to, 1, "internet", "as %s%s%s",
	    tunnel_status_text(o, "global_address", "?"),
	    uplink != NULL ? " by " : ", no route yet",
	    uplink != NULL ? uplink : "");
	tunnel_status_line(to, 1, "clients", "%zu, %s reach each other",
	    json_array_size(json_object_get(o, "peers")),
	    json_is_true(json_object_get(o, "client_to_client")) ? "may"
								 : "may not");
	tunnel_status_rest(o, now_s, NULL, to);
}
