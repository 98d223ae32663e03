#include <inttypes.h>
#include <string.h>

#include "core/base.h"
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
	o = put(o, "malformed", number(s.malformed));
	o = put(o, "encrypted", number(s.encrypted));
	o = put(o, "encrypted_name", json_string(s.encrypted_name));
	return put(o, "lan_blocked", json_boolean(p->lan_deaf));
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
#define LINES_SHOWN 10
#define COLLISIONS_SHOWN 10

static bool
is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* A rule's text, cut to RULE_TEXT_SHOWN characters of UTF-8. */
struct shown {
	const char *text, *more;
	size_t bytes, characters;
};

static struct shown
shown(const json_t *rule)
{
	struct shown s = {tunnel_status_text(rule, "text", ""), "", 0, 0};

	for (const char *at = s.text; *at != '\0'; at++) {
		if (!is_continuation(*at)) {
			if (s.characters == RULE_TEXT_SHOWN) {
				s.more = "...";
				s.characters += 3;
				break;
			}
			s.characters++;
		}
		s.bytes++;
	}
	return s;
}

static bool
has_flows(const json_t *rule)
{
	return tunnel_status_number(rule, "flows") > 0;
}

/* Numbers stand below each other. */
static size_t
widest(const json_t *list)
{
	size_t i, width = 0;
	const json_t *o;

	json_array_foreach(list, i, o)
	{
		size_t n = shown(o).characters;

		if (has_flows(o) && n > width)
			width = n;
	}
	return width;
}

static void
print_rule(const json_t *o, size_t width, FILE *to)
{
	char bytes[TUNNEL_STATUS_TEXT_MAX], label[48] = "rule";
	uint64_t line = tunnel_status_number(o, "line");
	uint64_t last = tunnel_status_number(o, "last_line");
	uint64_t flows = tunnel_status_number(o, "flows");
	struct shown s = shown(o);

	if (line > 0)
		snprintf(label, sizeof(label), "line %" PRIu64, line);
	if (last > line && line > 0)
		snprintf(label, sizeof(label), "lines %" PRIu64 "-%" PRIu64,
		    line, last);
	tunnel_status_line(to, 2, label, "%.*s%s%*s %7" PRIu64 " flow%s %10s",
	    (int)s.bytes, s.text, s.more,
	    width > s.characters ? (int)(width - s.characters) : 0, "", flows,
	    flows == 1 ? " " : "s",
	    tunnel_status_bytes(tunnel_status_number(o, "bytes"), bytes));
}

/* One that nothing has ever come to may be wrong, or stand too low. */
static void
print_unused(const json_t *list, FILE *to)
{
	char lines[LINES_SHOWN * 24] = "";
	size_t n = 0, at = 0, i;
	const json_t *o;

	json_array_foreach(list, i, o)
	{
		uint64_t line = tunnel_status_number(o, "line");

		if (has_flows(o) || line == 0 || n++ >= LINES_SHOWN)
			continue;
		at += (size_t)snprintf(lines + at, sizeof(lines) - at,
		    "%s%" PRIu64, at > 0 ? ", " : "", line);
	}
	if (n > LINES_SHOWN)
		tunnel_status_line(to, 2, "no flow yet",
		    "lines %s and %zu more", lines, n - LINES_SHOWN);
	else if (n > 0)
		tunnel_status_line(to, 2, "no flow yet", "line%s %s",
		    n == 1 ? "" : "s", lines);
}

/* In the order of the file; those that have decided something. */
static void
print_rules(const json_t *list, FILE *to)
{
	size_t used = 0, width = widest(list), i;
	const json_t *o;

	json_array_foreach(list, i, o)
	{
		if (has_flows(o) && used++ < RULES_SHOWN)
			print_rule(o, width, to);
	}
	if (used > RULES_SHOWN)
		tunnel_status_line(to, 2, "more",
		    "%zu rules with flows; --json has them all",
		    used - RULES_SHOWN);
	print_unused(list, to);
}

static const char *
name_at(const json_t *o, size_t i)
{
	const json_t *name = json_array_get(json_object_get(o, "names"), i);

	return json_is_string(name) ? json_string_value(name) : "?";
}

static int
line_at(const json_t *o, size_t i)
{
	return (int)json_integer_value(
	    json_array_get(json_object_get(o, "lines"), i));
}

static void
print_collision(const json_t *o, FILE *to)
{
	tunnel_status_line(to, 2, "collision",
	    "%s is %s (line %d) and %s (line %d): the first one wins",
	    tunnel_status_text(o, "address", "?"), name_at(o, 0), line_at(o, 0),
	    name_at(o, 1), line_at(o, 1));
}

static void
print_collisions(const json_t *list, FILE *to)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
	{
		if (i < COLLISIONS_SHOWN)
			print_collision(o, to);
	}
	if (i > COLLISIONS_SHOWN)
		tunnel_status_line(to, 2, "more",
		    "%zu collisions; --json has them", i - COLLISIONS_SHOWN);
}

static void
print_programs(const json_t *list, FILE *to)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
	{
		uint64_t n = tunnel_status_number(o, "processes");

		tunnel_status_line(to, 2, "program",
		    "%s: %" PRIu64 " process%s",
		    tunnel_status_text(o, "program", "?"), n,
		    n == 1 ? "" : "es");
	}
}

/* What should not be, where it was. */
static void
print_dns_trouble(const json_t *o, FILE *to)
{
	static const struct {
		const char *key, *says;
	} row[] = {
	    {"refused_private", "private addresses left out of answers"},
	    {"refused_ipv6", "IPv6 addresses left out: the tunnel has no IPv6"},
	    {"refused_down", "questions refused while the relay was away"},
	    {"refused_full", "questions refused: too many at a time"},
	    {"timeouts", "questions without an answer"},
	    {"malformed", "messages that make no sense"},
	};

	const char *encrypted = tunnel_status_text(o, "encrypted_name", "");

	if (encrypted[0] != '\0')
		tunnel_status_line(to, 2, "DNS",
		    "a program has looked up %s: what it asks there is not "
		    "seen; see ukai.rules(5)",
		    encrypted);
	if (json_is_true(json_object_get(o, "lan_blocked")))
		tunnel_status_line(to, 2, "DNS",
		    "a firewall of this host drops the LAN's questions; see "
		    "ukai.conf(5)");
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		uint64_t n = tunnel_status_number(o, row[i].key);

		if (n > 0)
			tunnel_status_line(
			    to, 2, "DNS", "%" PRIu64 " %s", n, row[i].says);
	}
}

static void
print_dns(const json_t *policy, FILE *to)
{
	const json_t *o = json_object_get(policy, "dns");
	uint64_t names = tunnel_status_number(policy, "names");
	uint64_t addresses = tunnel_status_number(policy, "addresses");
	uint64_t questions = tunnel_status_number(o, "questions");

	if (!json_is_object(o))
		return;
	tunnel_status_line(to, 2, "DNS",
	    "%" PRIu64 " question%s, %" PRIu64 " through the tunnel; %" PRIu64
	    " name%s and %" PRIu64 " address%s known",
	    questions, questions == 1 ? "" : "s",
	    tunnel_status_number(o, "through_tunnel"), names,
	    names == 1 ? "" : "s", addresses, addresses == 1 ? "" : "es");
	print_dns_trouble(o, to);
}

static void
print_ports(const json_t *o, FILE *to)
{
	uint64_t ports = tunnel_status_number(o, "ports");

	if (!json_is_object(o))
		return;
	tunnel_status_line(to, 2, "ports",
	    "%s: TCP %" PRIu64 " of %" PRIu64 ", UDP %" PRIu64 " of %" PRIu64,
	    json_is_true(json_object_get(o, "own_ce"))
		? "in use"
		: "in use by flows that pass here",
	    tunnel_status_number(o, "used_tcp"), ports,
	    tunnel_status_number(o, "used_udp"), ports);
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
		: "does not answer: new flows of tunnel stay on the line, "
		  "those of tunnel! are refused");
	print_rules(json_object_get(o, "rules"), to);
	print_ports(json_object_get(o, "ports"), to);
	print_dns(o, to);
	print_programs(json_object_get(o, "programs"), to);
	print_collisions(json_object_get(o, "collisions"), to);
}
