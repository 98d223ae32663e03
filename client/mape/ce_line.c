#include "ce_line.h"

#include "client/paths.h"
#include "core/err.h"
#include "io/clock.h"
#include "map_source.h"

/* What the user gave comes before what others know. */
static int
load(struct map_rules *rules, const struct mape_conf *c, struct diag *d)
{
	char path[CLIENT_PATH_MAX];
	struct provision_setup ask = {.path = path,
	    .now_s = clock_now().wall_ns / UK_NS_PER_S,
	    .question = {.version = UKAI_VERSION}};
	struct map_source s = {.rules = NULL};
	int err = client_state_path(path, PROVISION_FILE, d);

	for (size_t i = 0; i < c->rule.n && err == 0; i++)
		err = map_rules_add(rules, &c->rule.item[i]);
	if (c->rule.n > 0 || err < 0)
		return err;
	if (c->rules == MAPE_RULES_FILE)
		s.rules = c->rules_file;
	if (c->rules == MAPE_RULES_ASK)
		s.ask = &ask;
	return map_source_load(rules, &s, d);
}

/* The line that [MapE] Prefix is of. */
static int
named_line(struct map_line *out, const struct map_rules *rules,
    const struct mape_conf *c, struct diag *d)
{
	char why[MAP_RULE_WHY_MAX], text[IP_PREFIX_TEXT_MAX];
	int err = map_line_find(out, rules, &c->prefix, why);

	if (err == UK_ENOENT)
		diag_error(d,
		    "[MapE] Prefix = %s: no rule is about it; `ukai map-e "
		    "show --ipv6` says what to do",
		    ip_prefix_format(&c->prefix, text));
	else if (err < 0)
		diag_error(d, "[MapE] Prefix: %s", why);
	return err;
}

/* The line that this host's addresses are of. */
static int
own_line(struct map_line *out, const struct map_rules *rules, struct diag *d)
{
	char a[IP_PREFIX_TEXT_MAX], b[IP_PREFIX_TEXT_MAX];
	struct map_lines l = {.n = 0};
	int err = map_lines_of_host(&l, rules, d);

	if (err == 0 && l.n == 0) {
		diag_error(d,
		    "[MapE] Mode = self: no IPv6 address of this host is of a "
		    "MAP-E line that is known; if the line's prefix is not on "
		    "this host, write it as Prefix; `ukai map-e show` says "
		    "more");
		err = UK_ENOENT;
	} else if (err == 0 && l.n > 1 &&
		   l.item[0].reason == l.item[1].reason) {
		diag_error(d,
		    "[MapE] Mode = self: this host is on the lines %s and %s; "
		    "write the one that it is the CE of as Prefix",
		    ip_prefix_format(&l.item[0].ce.ipv6_prefix, a),
		    ip_prefix_format(&l.item[1].ce.ipv6_prefix, b));
		err = UK_ENOENT;
	} else if (err == 0) {
		*out = l.item[0];
	}
	map_lines_fini(&l);
	return err;
}

static int
check(const struct ce_line *l, const struct mape_conf *c, struct diag *d)
{
	char text[IP_PREFIX_TEXT_MAX];
	int err = 0;

	if (l->ce.ipv4.bits != 32) {
		diag_error(d,
		    "this line has the IPv4 network %s of its own, not one "
		    "address: Mode = self does not translate that",
		    ip_prefix_format(&l->ce.ipv4, text));
		err = UK_EINVAL;
	}
	if (l->rule.br.family == FAMILY_NONE) {
		diag_error(d,
		    "the rule of this line does not name a border relay; "
		    "write it as [MapE] BorderRelay");
		err = UK_EINVAL;
	}
	for (size_t i = 0; i < c->forwards.n; i++) {
		uint16_t port = c->forwards.item[i].f.port;

		if (map_ports_has(&l->ce.ports, port))
			continue;
		diag_error(d,
		    "[MapE] Forward on line %u of the file: port %u is "
		    "another line's; `ukai map-e show` lists this line's",
		    c->forwards.item[i].line, port);
		err = UK_EINVAL;
	}
	return err;
}

static int
find_domain(struct ce_line *l)
{
	int err = 0;

	for (size_t i = 0; i < l->rules.n && err == 0; i++) {
		const struct map_rule *r = &l->rules.item[i];

		if (ip_addr_equal(&r->br, &l->rule.br))
			err = map_rules_add(&l->domain, r);
	}
	return err;
}

int
ce_line_find(struct ce_line *l, const struct mape_conf *c, struct diag *d)
{
	struct map_line line;
	int err;

	*l = (struct ce_line){.rules = {.n = 0}};
	err = load(&l->rules, c, d);
	if (err == 0 && c->prefix.addr.family != FAMILY_NONE)
		err = named_line(&line, &l->rules, c, d);
	else if (err == 0)
		err = own_line(&line, &l->rules, d);
	if (err == 0) {
		l->rule = *line.rule;
		l->ce = line.ce;
		if (c->mesh)
			err = find_domain(l);
		if (c->br.family != FAMILY_NONE)
			l->rule.br = c->br;
		if (err == 0)
			err = check(l, c, d);
	}
	if (err < 0)
		ce_line_fini(l);
	return err;
}

void
ce_line_fini(struct ce_line *l)
{
	map_rules_fini(&l->rules);
	map_rules_fini(&l->domain);
}

static bool
same_prefix(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->bits == b->bits && ip_addr_equal(&a->addr, &b->addr);
}

const struct map_line *
ce_line_other(const struct ce_line *l, const struct map_lines *host)
{
	for (size_t i = 0; i < host->n; i++) {
		const struct map_line *line = &host->item[i];

		if (line->reason == MAP_LINE_WAY_OUT &&
		    !same_prefix(&line->ce.ipv6_prefix, &l->ce.ipv6_prefix))
			return line;
	}
	return NULL;
}

bool
ce_line_moved(const struct ce_line *l, struct ip_prefix *to)
{
	const struct map_line *other = NULL;
	struct map_lines host;
	struct diag d;

	diag_init(&d, NULL);
	if (map_lines_of_host(&host, &l->rules, &d) == 0)
		other = ce_line_other(l, &host);
	if (other != NULL)
		*to = other->ce.ipv6_prefix;
	map_lines_fini(&host);
	return other != NULL;
}
