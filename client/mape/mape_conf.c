#include "mape_conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ce.h"
#include "core/conf_wg.h"
#include "core/err.h"
#include "core/value.h"

#define SESSIONS_MOST (1u << 20)

/* One of several words; words[] ends with NULL. Returns its number. */
static int
parse_word(const char *const words[], const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	for (int i = 0; words[i] != NULL; i++)
		if (conf_span_is(value, words[i]))
			return i;
	return conf_error(d, value, "%.*s \"%.*s\": write %s or %s",
	    CONF_WORD(key), CONF_WORD(value), words[0], words[1]);
}

static int
parse_mode(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	static const char *const words[] = {"gateway", "self", NULL};
	int i = parse_word(words, key, value, d);

	if (i < 0)
		return i;
	*(enum mape_mode *)field = i == 0 ? MAPE_GATEWAY : MAPE_SELF;
	return 0;
}

static int
parse_bool(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	static const char *const words[] = {"no", "yes", NULL};
	int i = parse_word(words, key, value, d);

	if (i < 0)
		return i;
	*(bool *)field = i == 1;
	return 0;
}

static int
parse_link(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	char *link = field;

	if (!value_is_ifname(value->s, value->len))
		return conf_error(d, value,
		    "%.*s \"%.*s\" is not the name of a network interface",
		    CONF_WORD(key), CONF_WORD(value));
	memcpy(link, value->s, value->len);
	link[value->len] = '\0';
	return 0;
}

static int
parse_prefix(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct ip_prefix p;
	int err = conf_wg_parse_prefix(&p, key, value, d);

	if (err < 0)
		return err;
	if (p.addr.family != FAMILY_V6)
		return conf_error(d, value,
		    "%.*s \"%.*s\": the line's IPv6 prefix, as "
		    "240b:10:3f6c:d400::/56",
		    CONF_WORD(key), CONF_WORD(value));
	*(struct ip_prefix *)field = p;
	return 0;
}

static int
parse_br(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct ip_addr a;

	if (ip_addr_parse(&a, value->s, value->len) < 0 ||
	    a.family != FAMILY_V6)
		return conf_error(d, value,
		    "%.*s \"%.*s\" is not an IPv6 address", CONF_WORD(key),
		    CONF_WORD(value));
	*(struct ip_addr *)field = a;
	return 0;
}

static int
parse_count(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	uint64_t v;

	if (value_parse_u64(&v, value->s, value->len, SESSIONS_MOST, false) <
		0 ||
	    v == 0)
		return conf_error(d, value,
		    "%.*s \"%.*s\" is not a number from 1 to %u",
		    CONF_WORD(key), CONF_WORD(value), SESSIONS_MOST);
	*(uint32_t *)field = (uint32_t)v;
	return 0;
}

static int
parse_rules(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct mape_conf *c = field;

	if (conf_span_is(value, "builtin")) {
		c->rules = MAPE_RULES_BUILTIN;
		return 0;
	}
	if (conf_span_is(value, "ask")) {
		c->rules = MAPE_RULES_ASK;
		return 0;
	}
	if (value->len == 0 || value->s[0] != '/' ||
	    value->len >= sizeof(c->rules_file))
		return conf_error(d, value,
		    "%.*s \"%.*s\": write builtin, ask, or the absolute path "
		    "of a rules file",
		    CONF_WORD(key), CONF_WORD(value));
	c->rules = MAPE_RULES_FILE;
	memcpy(c->rules_file, value->s, value->len);
	c->rules_file[value->len] = '\0';
	return 0;
}

/* The fields of "Rule", in their order. Returns how many were there; -1: one
 * of them is no such thing. */
static int
read_rule(struct map_rule *r, const struct conf_span *value)
{
	struct conf_span rest = *value, item;
	uint64_t v = 0;
	int n = 0, err = 0;

	while (err == 0 && conf_span_item(&rest, &item)) {
		if (n == 0)
			err = ip_prefix_parse(&r->ipv6, item.s, item.len);
		else if (n == 1)
			err = ip_prefix_parse(&r->ipv4, item.s, item.len);
		else if (n == 2)
			err = value_parse_u64(
			    &v, item.s, item.len, MAP_EA_LEN_MAX, false);
		else if (n == 3)
			err = value_parse_u64(&v, item.s, item.len, 15, false);
		else if (n == 4)
			err = map_iid_parse(&r->iid, item.s, item.len);
		else
			err = UK_EINVAL;
		if (n == 2)
			r->ea_len = (uint8_t)v;
		if (n == 3)
			r->psid_offset = (uint8_t)v;
		n++;
	}
	return err < 0 ? -1 : n;
}

/* No address may be of two rules, as in a file of them. */
static int
check_overlap(const struct map_rules *l, const struct map_rule *r,
    const struct conf_span *value, struct diag *d)
{
	char one[IP_PREFIX_TEXT_MAX], other[IP_PREFIX_TEXT_MAX];

	for (size_t i = 0; i < l->n; i++) {
		const struct map_rule *e = &l->item[i];
		bool v6 = ip_prefix_overlap(&e->ipv6, &r->ipv6);

		if (v6 || ip_prefix_overlap(&e->ipv4, &r->ipv4))
			return conf_error(d, value,
			    "Rule: %s overlaps %s of another Rule",
			    ip_prefix_format(v6 ? &r->ipv6 : &r->ipv4, one),
			    ip_prefix_format(v6 ? &e->ipv6 : &e->ipv4, other));
	}
	return 0;
}

static int
parse_rule(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct map_rule r = {.iid = MAP_IID_DRAFT03,
	    .psid_offset = MAP_PSID_OFFSET_DEFAULT,
	    .source = "Rule in ukai.conf"};
	char why[MAP_RULE_WHY_MAX];
	int suffix;

	if (read_rule(&r, value) < 3 || r.ipv6.addr.family != FAMILY_V6 ||
	    r.ipv4.addr.family != FAMILY_V4)
		return conf_error(d, value,
		    "%.*s \"%.*s\": write IPV6-PREFIX, IPV4-PREFIX, EA-LENGTH"
		    "[, PSID-OFFSET[, draft03 or rfc7597]]",
		    CONF_WORD(key), CONF_WORD(value));
	suffix = 32 - r.ipv4.bits;
	if (r.ea_len > suffix)
		r.psid_len = (uint8_t)(r.ea_len - suffix);
	if (map_rule_check(&r, why) < 0)
		return conf_error(d, value, "%.*s: %s", CONF_WORD(key), why);
	if (check_overlap(field, &r, value, d) < 0)
		return UK_EINVAL;
	return map_rules_add(field, &r);
}

static int
parse_networks(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct mape_networks *l = field;
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
		if (to->addr.family != FAMILY_V4 || to->bits == 0)
			conf_error(d, &item,
			    "%.*s \"%.*s\": the IPv4 network behind this "
			    "host, as 192.168.24.0/24",
			    CONF_WORD(key), CONF_WORD(&item));
		else
			l->n++;
	}
	return 0;
}

/* "tcp/7488 192.168.24.10:80" */
static int
read_forward(struct nat44_forward *f, const struct conf_span *value)
{
	const char *end = value->s + value->len;
	const char *blank = memchr(value->s, ' ', value->len);
	struct endpoint e;
	char scope[16];
	uint64_t port;

	if (blank == NULL || value->len < 4 || value->s[3] != '/')
		return UK_EINVAL;
	if (strncmp(value->s, "tcp", 3) == 0)
		f->proto = 6;
	else if (strncmp(value->s, "udp", 3) == 0)
		f->proto = 17;
	else
		return UK_EINVAL;
	if (value_parse_u64(&port, value->s + 4, (size_t)(blank - value->s) - 4,
		65535, false) < 0)
		return UK_EINVAL;
	while (blank < end && *blank == ' ')
		blank++;
	if (value_parse_endpoint(&e, scope, blank, (size_t)(end - blank)) < 0 ||
	    e.addr.family != FAMILY_V4)
		return UK_EINVAL;
	f->port = (uint16_t)port;
	memcpy(f->inside, e.addr.b, 4);
	f->inside_port = e.port;
	return 0;
}

static int
parse_forward(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct mape_forwards *l = field;
	struct mape_forward *to =
	    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

	if (to == NULL)
		return UK_ENOMEM;
	l->item = to;
	to += l->n;
	*to =
	    (struct mape_forward){.line = value->line, .column = value->column};
	if (read_forward(&to->f, value) < 0)
		return conf_error(d, value,
		    "%.*s \"%.*s\": write a port of the line and who gets it, "
		    "as tcp/7488 192.168.24.10:80",
		    CONF_WORD(key), CONF_WORD(value));
	l->n++;
	return 0;
}

const struct conf_key mape_conf_keys[] = {
    {"Mode", 0, parse_mode, offsetof(struct mape_conf, mode)},
    {"Link", 0, parse_link, offsetof(struct mape_conf, link)},
    {"Prefix", 0, parse_prefix, offsetof(struct mape_conf, prefix)},
    {"Rules", 0, parse_rules, 0},
    {"Rule", CONF_MANY, parse_rule, offsetof(struct mape_conf, rule)},
    {"BorderRelay", 0, parse_br, offsetof(struct mape_conf, br)},
    {"Mesh", 0, parse_bool, offsetof(struct mape_conf, mesh)},
    {"Networks", CONF_MANY, parse_networks,
	offsetof(struct mape_conf, networks)},
    {"Forward", CONF_MANY, parse_forward, offsetof(struct mape_conf, forwards)},
    {"Sessions", 0, parse_count, offsetof(struct mape_conf, sessions)},
    {"HostSessions", 0, parse_count, offsetof(struct mape_conf, host_sessions)},
    {"HostPorts", 0, parse_count, offsetof(struct mape_conf, host_ports)},
    {NULL, 0, NULL, 0},
};

static bool
same_port(const struct nat44_forward *a, const struct nat44_forward *b)
{
	return a->proto == b->proto && a->port == b->port;
}

/* May the host that a forward leads to use the CE? Else its answers are
 * dropped. */
static bool
is_inside(const struct mape_conf *c, const uint8_t ipv4[4])
{
	static const uint8_t host[4] = CE_HOST_ADDRESS;
	struct ip_addr a = {.family = FAMILY_V4};

	memcpy(a.b, ipv4, 4);
	for (size_t i = 0; i < c->networks.n; i++)
		if (ip_prefix_contains(&c->networks.item[i], &a))
			return true;
	return memcmp(ipv4, host, 4) == 0;
}

static void
check_insides(const struct mape_conf *c, struct diag *d)
{
	struct ip_addr a = {.family = FAMILY_V4};
	char text[IP_ADDR_TEXT_MAX];

	for (size_t i = 0; i < c->forwards.n; i++) {
		const struct mape_forward *f = &c->forwards.item[i];

		memcpy(a.b, f->f.inside, 4);
		if (!is_inside(c, a.b))
			diag_add(d, DIAG_ERROR, f->line, f->column,
			    "Forward: %s is in none of Networks, and is not "
			    "this host's 192.0.0.2: it could not answer",
			    ip_addr_format(&a, text));
	}
}

void
mape_conf_check(const struct mape_conf *c, struct diag *d)
{
	if (c->rule.n > 0 && c->br.family == FAMILY_NONE)
		diag_add(d, DIAG_ERROR, c->line, 0,
		    "Rule needs BorderRelay, the address of the operator's "
		    "border relay");
	for (size_t i = 0; i < c->forwards.n; i++)
		for (size_t k = 0; k < i; k++)
			if (same_port(
				&c->forwards.item[i].f, &c->forwards.item[k].f))
				diag_add(d, DIAG_ERROR,
				    c->forwards.item[i].line,
				    c->forwards.item[i].column,
				    "Forward: port %u is given away on line "
				    "%u already",
				    c->forwards.item[i].f.port,
				    c->forwards.item[k].line);
	if (c->mode == MAPE_SELF)
		check_insides(c, d);
	if (c->line != 0 && c->mode == MAPE_GATEWAY &&
	    (c->networks.n > 0 || c->forwards.n > 0))
		diag_add(d, DIAG_WARNING, c->line, 0,
		    "Networks and Forward have no effect without Mode = self");
}

void
mape_conf_fini(struct mape_conf *c)
{
	map_rules_fini(&c->rule);
	free(c->networks.item);
	free(c->forwards.item);
	*c = (struct mape_conf){.line = 0};
}
