#include <inttypes.h>
#include <string.h>

#include "io/tunnel_status.h"
#include "mark.h"
#include "policy_state.h"

#define put tunnel_status_put
#define COLLISIONS_MAX 100

static json_t *
number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

/* ---- to JSON ---- */

static json_t *
add_count(json_t *o, struct policy *p, uint16_t slot)
{
	struct policy_count c;

	policy_kernel_count(p->kernel, slot, &c);
	o = put(o, "flows", number(c.flows));
	o = put(o, "packets", number(c.packets));
	return put(o, "bytes", number(c.bytes));
}

static json_t *
line_json(const struct rule *r)
{
	return r->line > 0 ? number(r->line) : json_null();
}

static json_t *
slot_json(struct policy *p, const struct slot *s)
{
	const struct rules *rules = p->now->rules;
	const struct rule *r = &rules->rule[s->first];
	json_t *o = json_object();

	o = put(o, "line", line_json(r));
	o = put(o, "last_line", line_json(&rules->rule[s->first + s->n - 1]));
	o = put(o, "text", json_stringn(rule_text(rules, r), r->text_len));
	o = put(o, "target", json_string(rule_target_name(r->target)));
	return add_count(o, p, s->number);
}

/* `ukai run` comes before all rules. */
static json_t *
run_json(struct policy *p, uint16_t slot)
{
	bool soft = slot == SLOT_RUN_SOFT;
	json_t *o = json_object();

	o = put(o, "line", json_null());
	o = put(o, "last_line", json_null());
	o = put(
	    o, "text", json_string(soft ? "ukai run --fallback" : "ukai run"));
	o = put(o, "target",
	    json_string(
		rule_target_name(soft ? TARGET_TUNNEL : TARGET_TUNNEL_ONLY)));
	return add_count(o, p, slot);
}

static json_t *
rules_json(struct policy *p)
{
	json_t *list = json_array();

	if (p->programs != NULL) {
		list = tunnel_status_push(list, run_json(p, SLOT_RUN));
		list = tunnel_status_push(list, run_json(p, SLOT_RUN_SOFT));
	}
	for (size_t i = 0; i < p->now->slots->n; i++)
		list = tunnel_status_push(
		    list, slot_json(p, &p->now->slots->item[i]));
	return list;
}

struct collisions {
	const struct policy *p;
	json_t *list;
};

static bool
on_collision(void *arg, const struct binding_collision *c)
{
	struct collisions *all = arg;
	const struct rule *rule = all->p->now->rules->rule;
	char text[IP_ADDR_TEXT_MAX];
	json_t *o = json_object();

	o = put(o, "address", json_string(ip_addr_format(&c->addr, text)));
	o = put(o, "names", json_pack("[ss]", c->name[0], c->name[1]));
	o = put(o, "lines",
	    json_pack("[ii]", (int)rule[c->rule[0]].line,
		(int)rule[c->rule[1]].line));
	all->list = tunnel_status_push(all->list, o);
	return json_array_size(all->list) < COLLISIONS_MAX;
}

static json_t *
collisions_json(const struct policy *p)
{
	struct collisions all = {p, json_array()};

	bindings_collisions(p->bindings, on_collision, &all);
	return all.list;
}

static json_t *
dns_json(const struct policy *p)
{
	struct dns_forward_stats s;
	json_t *o;

	if (p->dns == NULL)
		return json_null();
	dns_forward_stats(p->dns, &s);
	o = put(json_object(), "port", number(dns_forward_port(p->dns)));
	o = put(o, "questions", number(s.questions));
	o = put(o, "answers", number(s.answers));
	o = put(o, "held", number(s.held));
	o = put(o, "through_tunnel", number(s.tunnel));
	o = put(o, "refused_private", number(s.refused_private));
	o = put(o, "refused_ipv6", number(s.refused_v6));
	o = put(o, "refused_down", number(s.refused_down));
	o = put(o, "refused_full", number(s.refused_full));
	o = put(o, "timeouts", number(s.timeouts));
	return put(o, "malformed", number(s.malformed));
}

static void
on_program(void *arg, const struct programs_status *s)
{
	json_t **list = arg, *o = json_object();

	o = put(o, "program", json_string(s->program));
	o = put(o, "processes", number(s->processes));
	*list = tunnel_status_push(*list, o);
}

static json_t *
programs_json(const struct policy *p)
{
	json_t *list = json_array();

	if (p->programs != NULL)
		programs_each(p->programs, on_program, &list);
	return list;
}

static json_t *
ports_json(const struct policy *p)
{
	struct ports_left_stats s;
	json_t *o;

	if (p->ports_left == NULL)
		return json_null();
	ports_left_stats(p->ports_left, &s);
	o = put(json_object(), "ports", number(s.ports));
	o = put(o, "used_tcp", number(s.used_tcp));
	o = put(o, "used_udp", number(s.used_udp));
	return put(o, "own_ce", json_boolean(s.own_ce));
}

json_t *
policy_json(struct policy *p)
{
	struct bindings_stats names;
	json_t *o = json_object();

	policy_kernel_look(p->kernel);
	bindings_stats(p->bindings, &names);
	o = put(o, "file", json_string(p->s.conf->policy));
	o = put(o, "loaded", number(p->loaded_s));
	o = put(o, "live", json_boolean(p->live));
	o = put(o, "rules", rules_json(p));
	o = put(o, "collisions", collisions_json(p));
	o = put(o, "names", number(names.names));
	o = put(o, "addresses", number(names.addresses));
	o = put(o, "dns", dns_json(p));
	o = put(o, "programs", programs_json(p));
	return put(o, "ports", ports_json(p));
}

/* ---- for people ---- */

#define RULES_SHOWN 20
#define RULE_TEXT_SHOWN 48

static void
print_rule(const json_t *o, FILE *to)
{
	char bytes[TUNNEL_STATUS_TEXT_MAX], label[48] = "rule";
	uint64_t line = tunnel_status_number(o, "line");
	uint64_t last = tunnel_status_number(o, "last_line");

	if (line > 0)
		snprintf(label, sizeof(label), "line %" PRIu64, line);
	if (last > line && line > 0)
		snprintf(label, sizeof(label), "lines %" PRIu64 "-%" PRIu64,
		    line, last);
	tunnel_status_line(to, 2, label, "%.*s: %" PRIu64 " flows, %s",
	    RULE_TEXT_SHOWN, tunnel_status_text(o, "text", ""),
	    tunnel_status_number(o, "flows"),
	    tunnel_status_bytes(tunnel_status_number(o, "bytes"), bytes));
}

/* Those that have decided something. */
static void
print_rules(const json_t *list, FILE *to)
{
	size_t shown = 0, more = 0, i;
	const json_t *o;

	json_array_foreach(list, i, o)
	{
		if (tunnel_status_number(o, "flows") == 0)
			continue;
		if (shown++ < RULES_SHOWN)
			print_rule(o, to);
		else
			more++;
	}
	if (more > 0)
		tunnel_status_line(to, 2, "more", "%zu; --json has all", more);
}

static void
print_collisions(const json_t *list, FILE *to)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
	{
		const json_t *names = json_object_get(o, "names");
		const json_t *lines = json_object_get(o, "lines");

		tunnel_status_line(to, 2, "collision",
		    "%s is %s (line %d) and %s (line %d): the first one wins",
		    tunnel_status_text(o, "address", "?"),
		    json_string_value(json_array_get(names, 0)),
		    (int)json_integer_value(json_array_get(lines, 0)),
		    json_string_value(json_array_get(names, 1)),
		    (int)json_integer_value(json_array_get(lines, 1)));
	}
}

static void
print_programs(const json_t *list, FILE *to)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o) tunnel_status_line(to, 2, "program",
	    "%s: %" PRIu64 " processes", tunnel_status_text(o, "program", "?"),
	    tunnel_status_number(o, "processes"));
}

static void
print_dns(const json_t *o, FILE *to)
{
	if (!json_is_object(o))
		return;
	tunnel_status_line(to, 2, "DNS",
	    "%" PRIu64 " questions, %" PRIu64 " through the tunnel, %" PRIu64
	    " private addresses refused",
	    tunnel_status_number(o, "questions"),
	    tunnel_status_number(o, "through_tunnel"),
	    tunnel_status_number(o, "refused_private"));
}

static void
print_ports(const json_t *o, FILE *to)
{
	if (!json_is_object(o))
		return;
	tunnel_status_line(to, 2, "ports",
	    "TCP %" PRIu64 " of %" PRIu64 " in use, UDP %" PRIu64,
	    tunnel_status_number(o, "used_tcp"),
	    tunnel_status_number(o, "ports"),
	    tunnel_status_number(o, "used_udp"));
}

void
policy_print(const json_t *o, uint64_t now_s, FILE *to)
{
	char age[TUNNEL_STATUS_TEXT_MAX];
	uint64_t loaded = tunnel_status_number(o, "loaded");

	if (!json_is_object(o))
		return;
	tunnel_status_line(to, 1, "policy", "%s, loaded %s ago",
	    tunnel_status_text(o, "file", "?"),
	    tunnel_status_age(now_s > loaded ? now_s - loaded : 0, age));
	tunnel_status_line(to, 2, "relay", "%s",
	    json_is_true(json_object_get(o, "live"))
		? "answers"
		: "does not answer: tunnel goes native, tunnel! is refused");
	print_rules(json_object_get(o, "rules"), to);
	print_ports(json_object_get(o, "ports"), to);
	print_dns(json_object_get(o, "dns"), to);
	print_programs(json_object_get(o, "programs"), to);
	print_collisions(json_object_get(o, "collisions"), to);
}
