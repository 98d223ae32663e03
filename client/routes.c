#include "routes.h"

#include <stdlib.h>
#include <string.h>

#include <net/if.h>

#include "core/err.h"

#define TABLE_MAIN 254
#define TABLE_END (ROUTES_TABLE_FIRST + ROUTES_TABLES)

_Static_assert(TABLE_END <= ROUTES_ANSWERS_FIRST, "two kinds of tables");
_Static_assert(ROUTES_TABLES <= (ROUTES_ANSWER_MASK >> ROUTES_ANSWER_SHIFT),
    "each tunnel has a mark for its answers, and none has 0");
_Static_assert(ROUTES_PRIORITY_LOCAL + ROUTES_TABLES <= ROUTES_PRIORITY_SOME,
    "what stays on the line is looked at first");

static uint32_t
answers_of(uint32_t table)
{
	return table - ROUTES_TABLE_FIRST + ROUTES_ANSWERS_FIRST;
}

int
routes_free_table(struct netcfg *n, uint32_t *table, struct diag *d)
{
	for (uint32_t t = ROUTES_TABLE_FIRST; t < TABLE_END; t++) {
		bool used;
		int err = netcfg_table_used(n, t, &used);

		if (err == 0 && !used)
			err = netcfg_table_used(n, answers_of(t), &used);
		if (err < 0) {
			diag_error(d, "cannot read the routing tables: %s",
			    uk_strerror(err));
			return err;
		}
		if (!used) {
			*table = t;
			return 0;
		}
	}
	diag_error(d, "the routing tables %u to %u are all in use",
	    ROUTES_TABLE_FIRST, TABLE_END - 1);
	return UK_ELIMIT;
}

static int
compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_prefix));
}

/* The kernel makes this route itself when the address is added. */
static bool
is_own_network(const struct conf_wg_addresses *l, const struct ip_prefix *p)
{
	struct ip_prefix own;

	for (size_t i = 0; i < l->n; i++) {
		ip_ifaddr_prefix(&l->item[i], &own);
		if (compare(&own, p) == 0)
			return true;
	}
	return false;
}

static void
take_prefixes(struct routes *r, const struct conf_wg_allowed_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		r->prefix[r->n++] = l->item[i].prefix;
}

/* What the configuration names: with Routes, or with a policy, which says the
 * rest, or else with AllowedIPs. */
static int
collect_prefixes(struct routes *r, const struct client_conf *c)
{
	bool routes_only = c->routes.given || c->policy[0] != '\0';
	size_t n = c->routes.list.n;

	for (size_t i = 0; i < c->peers.n && !routes_only; i++)
		n += c->peers.item[i].allowed.n;
	r->prefix = calloc(n + 1, sizeof(*r->prefix));
	if (r->prefix == NULL)
		return UK_ENOMEM;
	take_prefixes(r, &c->routes.list);
	for (size_t i = 0; i < c->peers.n && !routes_only; i++)
		take_prefixes(r, &c->peers.item[i].allowed);
	return 0;
}

static int
plan_prefixes(struct routes *r, const struct client_conf *c)
{
	int err = collect_prefixes(r, c);
	size_t n = r->n;

	if (err < 0)
		return err;
	qsort(r->prefix, n, sizeof(*r->prefix), compare);
	r->n = 0;
	for (size_t i = 0; i < n; i++) {
		const struct ip_prefix *p = &r->prefix[i];

		if (r->n > 0 && compare(p, &r->prefix[r->n - 1]) == 0)
			continue;
		if (r->table == TABLE_MAIN &&
		    is_own_network(&c->interface.address, p))
			continue;
		r->prefix[r->n++] = *p;
	}
	return 0;
}

static bool
has_family(const struct routes *r, uint8_t family)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->prefix[i].addr.family == family)
			return true;
	return false;
}

static bool
has_prefix(const struct routes *r, uint8_t family, uint8_t first, uint8_t bits)
{
	const struct ip_prefix p = {{family, {first}}, bits};

	return bsearch(&p, r->prefix, r->n, sizeof(p), compare) != NULL;
}

/* Two halves are what people write who do not want to replace the default
 * route. */
static bool
has_all(const struct routes *r, uint8_t family)
{
	return has_prefix(r, family, 0, 0) ||
	       (has_prefix(r, family, 0, 1) && has_prefix(r, family, 0x80, 1));
}

static void
plan_local(
    struct routes *r, uint8_t family, const struct client_networks *local)
{
	for (size_t i = 0; i < local->n; i++) {
		if (local->item[i].addr.family != family)
			continue;
		r->rule[r->nrules++] = (struct netcfg_rule){
		    .family = family,
		    .priority =
			ROUTES_PRIORITY_LOCAL + r->table - ROUTES_TABLE_FIRST,
		    .table = TABLE_MAIN,
		    .to = local->item[i],
		    .suppress_prefixlength = -1,
		};
	}
}

static void
plan_answers(
    struct routes *r, const struct conf_wg_addresses *l, uint32_t table)
{
	if ((r->mark & ROUTES_ANSWER_MASK) != 0)
		return;
	r->answer_table = answers_of(table);
	r->answer_mark = (table - ROUTES_TABLE_FIRST + 1)
			 << ROUTES_ANSWER_SHIFT;
	for (size_t i = 0; i < l->n; i++) {
		r->answer_v4 |= l->item[i].addr.family == FAMILY_V4;
		r->answer_v6 |= l->item[i].addr.family == FAMILY_V6;
	}
}

/* What came in by the tunnel does not go back there: marks of connections are
 * copied to packets of both ways by other software, and a strict rp_filter
 * asks for the way back of an answer from the LAN as if it came in by the
 * tunnel, with the answer's mark (src_valid_mark). */
static void
plan_answer_rules(struct routes *r, uint8_t family, const char *ifname)
{
	struct netcfg_rule rule = {
	    .family = family,
	    .priority = ROUTES_PRIORITY_ANSWER,
	    .table = TABLE_MAIN,
	    .mark = r->answer_mark,
	    .mask = ROUTES_ANSWER_MASK,
	    .suppress_prefixlength = -1,
	};

	strncpy(rule.iif, ifname, sizeof(rule.iif) - 1);
	r->rule[r->nrules++] = rule;
	rule.iif[0] = '\0';
	rule.table = r->answer_table;
	r->rule[r->nrules++] = rule;
}

static int
plan_rules(struct routes *r, const struct client_conf *c, const char *ifname)
{
	static const uint8_t families[] = {FAMILY_V4, FAMILY_V6};

	r->rule = calloc(
	    c->local_networks.n + 3 * ARRAY_LEN(families), sizeof(*r->rule));
	if (r->rule == NULL)
		return UK_ENOMEM;
	if (r->answer_v4)
		plan_answer_rules(r, FAMILY_V4, ifname);
	if (r->answer_v6)
		plan_answer_rules(r, FAMILY_V6, ifname);
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		if (has_family(r, families[i]))
			plan_local(r, families[i], &c->local_networks);
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		if (!has_family(r, families[i]))
			continue;
		r->rule[r->nrules++] = (struct netcfg_rule){
		    .family = families[i],
		    .priority = has_all(r, families[i]) ? ROUTES_PRIORITY_ALL
							: ROUTES_PRIORITY_SOME,
		    .table = r->table,
		    .mark = r->mark,
		    .mask = UINT32_MAX,
		    .invert = true,
		    .suppress_prefixlength = -1,
		};
	}
	return 0;
}

int
routes_plan(struct routes *r, const struct client_conf *c, const char *ifname,
    uint32_t free_table)
{
	const struct conf_wg_interface *i = &c->interface;
	int err;

	*r = (struct routes){.mark = i->fwmark};
	if (i->table.kind == CONF_WG_TABLE_OFF)
		return 0;
	r->table = i->table.number;
	if (i->table.kind == CONF_WG_TABLE_AUTO) {
		r->table = free_table;
		r->mark = i->fwmark != 0 ? i->fwmark : free_table;
		plan_answers(r, &i->address, free_table);
	}
	err = plan_prefixes(r, c);
	if (err == 0 && i->table.kind == CONF_WG_TABLE_AUTO) {
		r->all_v4 = has_all(r, FAMILY_V4);
		r->all_v6 = has_all(r, FAMILY_V6);
		/* Also where only marks lead into the tunnel. */
		r->src_valid_mark = has_family(r, FAMILY_V4) || r->answer_v4;
		err = plan_rules(r, c, ifname);
	}
	if (err < 0)
		routes_fini(r);
	return err;
}

void
routes_fini(struct routes *r)
{
	free(r->prefix);
	free(r->rule);
	*r = (struct routes){.table = 0};
}

static bool
is_named(const struct client_networks *l, const struct ip_prefix *p)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->item[i].bits <= p->bits &&
		    ip_prefix_contains(&l->item[i], &p->addr))
			return true;
	return false;
}

bool
routes_take(const struct routes *r, const struct client_conf *c,
    const struct ip_ifaddr *own, struct ip_prefix *network)
{
	bool v6 = own->addr.family == FAMILY_V6;

	if (!(v6 ? r->all_v6 : r->all_v4) ||
	    !conf_wg_is_host_address(&own->addr))
		return false;
	/* fe80::/10: the link is part of the address. */
	if (v6 && own->addr.b[0] == 0xfe && (own->addr.b[1] & 0xc0) == 0x80)
		return false;
	if (own->bits == (v6 ? 128 : 32))
		return false;
	ip_ifaddr_prefix(own, network);
	return !is_named(&c->local_networks, network);
}

struct warning {
	const struct routes *r;
	const struct client_conf *c;
	struct diag *d;
};

static bool
warn_of(void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t bits)
{
	const struct warning *w = arg;
	const struct ip_ifaddr own = {*a, bits};
	char name[IF_NAMESIZE], text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix p;

	if (!routes_take(w->r, w->c, &own, &p))
		return true;
	ip_prefix_format(&p, text);
	diag_warn(w->d,
	    "the network %s of %s goes into the tunnel too; to keep it on the "
	    "line, add to the section [Ukai]: LocalNetworks = %s",
	    text, if_indextoname(ifindex, name) ? name : "a link", text);
	return true;
}

int
routes_warn(const struct routes *r, const struct client_conf *c,
    struct netcfg *n, struct diag *d)
{
	struct warning w = {r, c, d};

	if (!r->all_v4 && !r->all_v6)
		return 0;
	return netcfg_addr_each(n, warn_of, &w);
}

static int
add_answer_route(const struct routes *r, uint8_t family, struct netcfg *n,
    unsigned ifindex, struct diag *d)
{
	const struct netcfg_route route = {.dst = {.addr = {.family = family}},
	    .ifindex = ifindex,
	    .table = r->answer_table};

	return netcfg_route_add(n, &route, d);
}

int
routes_add(
    const struct routes *r, struct netcfg *n, unsigned ifindex, struct diag *d)
{
	int err = 0;

	for (size_t i = 0; i < r->n && err == 0; i++) {
		struct netcfg_route route = {
		    .dst = r->prefix[i], .ifindex = ifindex, .table = r->table};

		err = netcfg_route_add(n, &route, d);
	}
	if (err == 0 && r->answer_v4)
		err = add_answer_route(r, FAMILY_V4, n, ifindex, d);
	if (err == 0 && r->answer_v6)
		err = add_answer_route(r, FAMILY_V6, n, ifindex, d);
	return err;
}

static bool
route_missed(const struct netcfg_route *route, struct netcfg *n)
{
	return netcfg_route_add(n, route, NULL) == 0;
}

bool
routes_mend(const struct routes *r, struct netcfg *n, unsigned ifindex)
{
	struct netcfg_route all = {
	    .ifindex = ifindex, .table = r->answer_table};
	bool missed = false;

	if (r->nrules == 0)
		return false;
	for (size_t i = 0; i < r->n; i++) {
		const struct netcfg_route route = {
		    .dst = r->prefix[i], .ifindex = ifindex, .table = r->table};

		missed |= route_missed(&route, n);
	}
	all.dst.addr.family = FAMILY_V4;
	missed |= r->answer_v4 && route_missed(&all, n);
	all.dst.addr.family = FAMILY_V6;
	missed |= r->answer_v6 && route_missed(&all, n);
	for (size_t i = 0; i < r->nrules; i++)
		missed |= netcfg_rule_add(n, &r->rule[i], NULL) == 0;
	return missed;
}

/* Some address that is on nobody's link (RFC 5180 8, RFC 2544 C.2.2). */
static const struct ip_addr distant[] = {
    {FAMILY_V4, {198, 18, 0, 1}},
    {FAMILY_V6, {0x20, 0x01, 0x00, 0x02, [15] = 1}},
};

static bool
is_taken(const struct routes *r, struct netcfg *n, unsigned ifindex,
    const struct ip_addr *to)
{
	struct netcfg_path path;
	int err = netcfg_path(n, to, r->answer_mark, &path);

	return err == UK_ENOENT || (err == 0 && path.ifindex != ifindex);
}

/* The new ones first: at no time is there none. */
static int
move_answers(struct routes *r, uint8_t family, uint32_t priority,
    struct undo *u, struct netcfg *n, struct diag *d)
{
	int err = 0;

	for (size_t i = 0; i < r->nrules && err == 0; i++) {
		struct netcfg_rule rule = r->rule[i];

		if (rule.family != family || rule.mark != r->answer_mark)
			continue;
		rule.priority = priority;
		err = undo_rule(u, n, &rule, d);
		if (err < 0)
			break;
		(void)netcfg_rule_remove(n, &r->rule[i], NULL);
		r->rule[i] = rule;
	}
	return err;
}

static int
go_first(struct routes *r, const struct ip_addr *to, struct undo *u,
    struct netcfg *n, unsigned ifindex, struct diag *d)
{
	uint32_t first;
	int err;

	if (!is_taken(r, n, ifindex, to))
		return 0;
	err = netcfg_rule_first(n, to->family, &first);
	if (err < 0)
		return err == UK_ENOENT ? UK_ELIMIT : err;
	for (size_t i = 0; i < r->nrules; i++)
		if (r->rule[i].family == to->family &&
		    r->rule[i].mark == r->answer_mark &&
		    r->rule[i].priority < first)
			return UK_ELIMIT;
	if (first == 1)
		return UK_ELIMIT;
	err = move_answers(r, to->family, first - 1, u, n, d);
	return err < 0 ? err : 1;
}

int
routes_go_first(struct routes *r, struct undo *u, struct netcfg *n,
    unsigned ifindex, struct diag *d)
{
	int moved = 0;

	for (size_t i = 0; i < ARRAY_LEN(distant); i++) {
		bool v6 = distant[i].family == FAMILY_V6;
		int err = 0;

		if (v6 ? r->answer_v6 : r->answer_v4)
			err = go_first(r, &distant[i], u, n, ifindex, d);
		if (err < 0)
			return err;
		moved |= err;
	}
	return moved;
}

int
routes_add_rules(
    const struct routes *r, struct undo *u, struct netcfg *n, struct diag *d)
{
	for (size_t i = 0; i < r->nrules; i++) {
		int err = undo_rule(u, n, &r->rule[i], d);

		if (err < 0)
			return err;
	}
	if (!r->src_valid_mark)
		return 0;
	return undo_sysctl(u, "net/ipv4/conf/all/src_valid_mark", "1", d);
}
