#include "status.h"

#include <inttypes.h>

#include "policy/policy.h"

static json_t *
addresses(const struct conf_wg_addresses *l)
{
	json_t *list = json_array();
	char text[IP_ADDR_TEXT_MAX];

	for (size_t i = 0; i < l->n; i++)
		list = tunnel_status_push(
		    list, json_sprintf("%s/%u",
			      ip_addr_format(&l->item[i].addr, text),
			      (unsigned)l->item[i].bits));
	return list;
}

/* The servers, or the search domains. */
static json_t *
dns(const struct conf_wg_dns_list *l, bool search)
{
	json_t *list = json_array();
	char text[IP_ADDR_TEXT_MAX];

	for (size_t i = 0; i < l->n; i++) {
		const struct conf_wg_dns *d = &l->item[i];

		if ((d->addr.family == FAMILY_NONE) != search)
			continue;
		list = tunnel_status_push(list,
		    json_string(
			search ? d->domain : ip_addr_format(&d->addr, text)));
	}
	return list;
}

static json_t *
routes(const struct client_routes *r)
{
	json_t *list = r->given ? json_array() : json_null();
	char text[IP_PREFIX_TEXT_MAX];

	for (size_t i = 0; i < r->list.n; i++)
		list = tunnel_status_push(
		    list, json_string(
			      ip_prefix_format(&r->list.item[i].prefix, text)));
	return list;
}

json_t *
status_json(const struct status *s)
{
	const struct conf_wg_interface *c = &s->conf->interface;
	const struct client_peers *peers = &s->conf->peers;
	json_t *o = json_object(), *hosts = json_object();

	for (size_t i = 0; i < peers->n; i++)
		hosts = tunnel_status_name(hosts, peers->item[i].public_key.b,
		    peers->item[i].endpoint.host);
	o = tunnel_status_put(
	    o, "name", tunnel_status_ifname(s->tunnel.interface));
	o = tunnel_status_put(o, "table", json_integer(s->table));
	o = tunnel_status_put(o, "answer_table", json_integer(s->answer_table));
	o = tunnel_status_put(o, "routes", routes(&s->conf->routes));
	o = tunnel_status_put(o, "addresses", addresses(&c->address));
	o = tunnel_status_put(o, "dns", dns(&c->dns, false));
	o = tunnel_status_put(o, "dns_search", dns(&c->dns, true));
	o = tunnel_status_put(o, "map_e",
	    s->mape != NULL ? mape_status_json(s->mape) : json_null());
	o = tunnel_status_put(
	    o, "policy", s->policy != NULL ? s->policy : json_null());
	return tunnel_status_add(o, &s->tunnel, "host", hosts);
}

static void
print_routes(const json_t *o, FILE *to)
{
	const json_t *list = json_object_get(o, "routes");
	uint64_t table = tunnel_status_number(o, "table");
	uint64_t mark = tunnel_status_number(o, "fwmark");
	uint64_t answers = tunnel_status_number(o, "answer_table");
	char routes[40] = "none", marked[40] = "";

	if (table != 0)
		snprintf(routes, sizeof(routes), "table %" PRIu64, table);
	if (mark != 0)
		snprintf(marked, sizeof(marked), ", mark 0x%" PRIx64, mark);
	tunnel_status_line(to, 1, "routes", "%s%s", routes, marked);
	if (table != 0 && json_is_array(list) && json_array_size(list) == 0)
		tunnel_status_line(to, 1, "routes to", "nothing");
	else if (table != 0)
		tunnel_status_list(to, 1, "routes to", list);
	if (answers != 0)
		tunnel_status_line(to, 1, "answers", "table %" PRIu64, answers);
}

void
status_print(const json_t *o, uint64_t now_s, FILE *to)
{
	tunnel_status_head(o, to);
	tunnel_status_list(to, 1, "addresses", json_object_get(o, "addresses"));
	tunnel_status_line(
	    to, 1, "MTU", "%" PRIu64, tunnel_status_number(o, "mtu"));
	print_routes(o, to);
	tunnel_status_list(to, 1, "DNS", json_object_get(o, "dns"));
	tunnel_status_list(
	    to, 1, "DNS search", json_object_get(o, "dns_search"));
	mape_status_print(json_object_get(o, "map_e"), now_s, to);
	policy_print(json_object_get(o, "policy"), now_s, to);
	tunnel_status_rest(o, now_s, NULL, to);
}
