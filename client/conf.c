#include "conf.h"

#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "host/conf_file.h"

static void *
begin_interface(void *conf, unsigned line)
{
	struct client_conf *c = conf;

	c->interface.line = line;
	return &c->interface;
}

static void *
begin_peer(void *conf, unsigned line)
{
	struct client_peers *l = &((struct client_conf *)conf)->peers;
	struct conf_wg_peer *to =
	    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

	if (to == NULL)
		return NULL;
	l->item = to;
	to += l->n++;
	*to = (struct conf_wg_peer){.line = line};
	return to;
}

static void *
begin_ukai(void *conf, unsigned line)
{
	(void)line;
	return conf;
}

static void *
begin_mape(void *conf, unsigned line)
{
	struct client_conf *c = conf;

	c->mape.line = line;
	return &c->mape;
}

static int
parse_networks(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct client_networks *l = field;
	struct conf_span rest = *value, item;

	while (conf_span_item(&rest, &item)) {
		struct ip_prefix *to =
		    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

		if (to == NULL)
			return UK_ENOMEM;
		l->item = to;
		to += l->n;
		if (conf_wg_parse_prefix(to, key, &item, d) < 0)
			continue;
		if (to->bits == 0)
			conf_error(d, &item,
			    "%.*s \"%.*s\" is everything; name the office's "
			    "own networks",
			    CONF_WORD(key), CONF_WORD(&item));
		else
			l->n++;
	}
	return 0;
}

static int
parse_routes(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct client_routes *r = field;
	struct conf_wg_allowed_list *l = &r->list;
	struct conf_span rest = *value, item;

	r->given = true;
	if (conf_span_is(value, "off")) {
		r->off_line = value->line;
		r->off_column = value->column;
		return 0;
	}
	/* An unfinished line must not silently mean one or the other. */
	if (value->len == 0)
		return conf_error(d, value,
		    "Routes is empty: name prefixes, or write off for nothing "
		    "but answers to connections from the other end");
	while (conf_span_item(&rest, &item)) {
		struct conf_wg_allowed *to =
		    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

		if (to == NULL)
			return UK_ENOMEM;
		l->item = to;
		to += l->n;
		to->line = item.line;
		to->column = item.column;
		if (conf_wg_parse_prefix(&to->prefix, key, &item, d) == 0)
			l->n++;
	}
	return 0;
}

static int
parse_policy(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct client_conf *c = field;

	if (value->len == 0 || value->s[0] != '/')
		return conf_error(d, value,
		    "%.*s \"%.*s\" is no absolute path, such as "
		    "/etc/ukai/office.rules",
		    CONF_WORD(key), CONF_WORD(value));
	if (value->len >= sizeof(c->policy))
		return conf_error(d, value, "%.*s is longer than %zu bytes",
		    CONF_WORD(key), sizeof(c->policy) - 1);
	memcpy(c->policy, value->s, value->len);
	c->policy[value->len] = '\0';
	c->policy_line = value->line;
	c->policy_column = value->column;
	return 0;
}

static int
parse_ports(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	uint64_t ports;

	if (value_parse_u64(&ports, value->s, value->len, 65535, false) == 0 &&
	    ports > 0) {
		*(uint32_t *)field = (uint32_t)ports;
		return 0;
	}
	return conf_error(d, value,
	    "%.*s \"%.*s\" is no number of ports from 1 to 65535",
	    CONF_WORD(key), CONF_WORD(value));
}

static const struct conf_key ukai_keys[] = {
    {"AllowPrivate", CONF_MANY, parse_networks,
	offsetof(struct client_conf, allow_private)},
    {"LocalNetworks", CONF_MANY, parse_networks,
	offsetof(struct client_conf, local_networks)},
    {"Networks", CONF_MANY, parse_networks,
	offsetof(struct client_conf, networks)},
    {"Policy", 0, parse_policy, 0},
    {"Ports", 0, parse_ports, offsetof(struct client_conf, ports)},
    {"Routes", CONF_MANY, parse_routes, offsetof(struct client_conf, routes)},
    {NULL, 0, NULL, 0},
};

static const struct conf_section sections[] = {
    {"Interface", CONF_REQUIRED, {conf_wg_interface_keys, NULL},
	begin_interface},
    {"Peer", CONF_MANY, {conf_wg_peer_keys, NULL}, begin_peer},
    {"Ukai", 0, {ukai_keys, NULL}, begin_ukai},
    {"MapE", 0, {mape_conf_keys, NULL}, begin_mape},
    {NULL, 0, {NULL, NULL}, NULL},
};

static size_t
count_allowed(const struct client_conf *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->peers.n; i++)
		n += c->peers.item[i].allowed.n;
	return n;
}

/* WireGuard gives a prefix to the last peer that names it. wg-quick is silent
 * about that; it is hardly ever meant. */
static int
check_prefixes(const struct client_conf *c, struct diag *d)
{
	struct conf_mark *mark;
	size_t n = count_allowed(c);

	if (n == 0)
		return 0;
	mark = calloc(n, sizeof(*mark));
	if (mark == NULL)
		return UK_ENOMEM;
	n = 0;
	for (size_t i = 0; i < c->peers.n; i++) {
		const struct conf_wg_allowed_list *l =
		    &c->peers.item[i].allowed;

		for (size_t k = 0; k < l->n; k++)
			mark[n++] = (struct conf_mark){&l->item[k].prefix,
			    sizeof(l->item[k].prefix), l->item[k].line,
			    l->item[k].column};
	}
	conf_report_repeats(
	    mark, n, DIAG_WARNING, "prefix", "the last one gets it", d);
	free(mark);
	return 0;
}

/* All peers' prefixes, in the order of memcmp(). */
struct prefixes {
	struct ip_prefix *item;
	size_t n;
};

static int
compare_prefixes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_prefix));
}

static bool
has(const struct prefixes *all, const struct ip_prefix *p)
{
	return all->n > 0 && bsearch(p, all->item, all->n, sizeof(*p),
				 compare_prefixes) != NULL;
}

/* A prefix, or one that it is in. */
static bool
has_around(const struct prefixes *all, const struct ip_prefix *p)
{
	struct ip_ifaddr a = {.addr = p->addr};
	struct ip_prefix around;

	for (unsigned bits = 0; bits <= p->bits; bits++) {
		a.bits = (uint8_t)bits;
		ip_ifaddr_prefix(&a, &around);
		if (has(all, &around))
			return true;
	}
	return false;
}

/* The first that is not before p is in p, if any is. */
static bool
has_inside(const struct prefixes *all, const struct ip_prefix *p)
{
	size_t low = 0, high = all->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_prefixes(&all->item[middle], p) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < all->n && all->item[low].bits >= p->bits &&
	       ip_prefix_contains(p, &all->item[low].addr);
}

/* Also by parts: people write all of IPv4 as two halves. Nothing around p is
 * there. As deep as an address has bits; goes down only where there is
 * something. */
static bool
has_parts(const struct prefixes *all, const struct ip_prefix *p)
{
	struct ip_prefix half = *p;

	if (has(all, p))
		return true;
	if (!has_inside(all, p))
		return false;
	half.bits++;
	if (!has_parts(all, &half))
		return false;
	half.addr.b[p->bits / 8] |= (uint8_t)(0x80 >> p->bits % 8);
	return has_parts(all, &half);
}

static void
check_covered(
    const struct client_routes *r, const struct prefixes *all, struct diag *d)
{
	char text[IP_PREFIX_TEXT_MAX];

	for (size_t i = 0; i < r->list.n; i++) {
		const struct conf_wg_allowed *a = &r->list.item[i];

		if (!has_around(all, &a->prefix) && !has_parts(all, &a->prefix))
			diag_add(d, DIAG_ERROR, a->line, a->column,
			    "Routes: %s is not in any peer's AllowedIPs, so "
			    "nobody would take its packets",
			    ip_prefix_format(&a->prefix, text));
	}
}

static int
check_routes(const struct client_conf *c, struct diag *d)
{
	struct prefixes all = {.n = 0};
	const struct client_routes *r = &c->routes;

	if (r->off_line != 0 && r->list.n > 0)
		diag_add(d, DIAG_ERROR, r->off_line, r->off_column,
		    "Routes: off stands beside prefixes; keep one of them");
	if (r->list.n == 0)
		return 0;
	all.item = calloc(count_allowed(c) + 1, sizeof(*all.item));
	if (all.item == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < c->peers.n; i++)
		for (size_t k = 0; k < c->peers.item[i].allowed.n; k++)
			all.item[all.n++] =
			    c->peers.item[i].allowed.item[k].prefix;
	qsort(all.item, all.n, sizeof(*all.item), compare_prefixes);
	check_covered(r, &all, d);
	free(all.item);
	return 0;
}

static void
check_policy(const struct client_conf *c, struct diag *d)
{
	const struct conf_wg_interface *i = &c->interface;

	if (c->policy[0] == '\0') {
		if (c->networks.n > 0 || c->allow_private.n > 0 ||
		    c->ports != 0)
			diag_warn(d,
			    "Networks, AllowPrivate and Ports have no effect "
			    "without Policy");
		return;
	}
	for (size_t k = 0; k < c->routes.list.n; k++) {
		const struct conf_wg_allowed *a = &c->routes.list.item[k];

		if (a->prefix.bits == 0)
			diag_add(d, DIAG_ERROR, a->line, a->column,
			    "Routes: all of a family leaves nothing to Policy; "
			    "take it out");
	}
	if (i->table.kind != CONF_WG_TABLE_AUTO)
		diag_add(d, DIAG_ERROR, c->policy_line, c->policy_column,
		    "Policy needs Table = auto: its flows take a table of "
		    "ukai's own");
	if (i->fwmark > UINT16_MAX)
		diag_add(d, DIAG_ERROR, c->policy_line, c->policy_column,
		    "Policy uses the upper bits of marks: FwMark = 0x%x must "
		    "be below 0x10000",
		    (unsigned)i->fwmark);
}

static int
check(const struct client_conf *c, struct diag *d)
{
	int err = conf_wg_check_public_keys(&c->interface.private_key,
	    c->peers.item, c->peers.n, sizeof(*c->peers.item), d);

	if (err < 0)
		return err;
	if (c->peers.n == 0 && c->mape.mode != MAPE_SELF)
		diag_add(d, DIAG_WARNING, 1, 0,
		    "the file has no [Peer] section: nobody to talk to");
	mape_conf_check(&c->mape, d);
	check_policy(c, d);
	err = check_prefixes(c, d);
	return err < 0 ? err : check_routes(c, d);
}

int
client_conf_parse(
    struct client_conf *c, const char *text, size_t len, struct diag *d)
{
	unsigned before = d->errors;
	int err;

	*c = (struct client_conf){.peers = {NULL, 0, 0}};
	err = conf_schema_parse(sections, c, text, len, d);
	if (err != UK_ENOMEM)
		err = check(c, d);
	if (err == 0 && d->errors > before)
		err = UK_EINVAL;
	diag_sort(d);
	if (err == UK_ENOMEM)
		diag_error(d, "out of memory");
	if (err < 0)
		client_conf_fini(c);
	return err;
}

int
client_conf_load(struct client_conf *c, const char *path, struct diag *d)
{
	struct conf_file f;
	int err;

	*c = (struct client_conf){.peers = {NULL, 0, 0}};
	d->file = path;
	err = conf_file_read(&f, path, d);
	if (err < 0)
		return err;
	err = client_conf_parse(c, f.text, f.len, d);
	conf_file_fini(&f);
	return err;
}

void
client_conf_fini(struct client_conf *c)
{
	for (size_t i = 0; i < c->peers.n; i++)
		conf_wg_peer_fini(&c->peers.item[i]);
	free(c->peers.item);
	free(c->local_networks.item);
	free(c->routes.list.item);
	free(c->networks.item);
	free(c->allow_private.item);
	mape_conf_fini(&c->mape);
	conf_wg_interface_fini(&c->interface);
	*c = (struct client_conf){.peers = {NULL, 0, 0}};
}
