#include "conf.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/bytes.h"
#include "core/err.h"
#include "host/conf_file.h"
#include "wg/wg_index.h"

static int
parse_listen_port(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	uint64_t n;

	if (value_parse_u64(&n, value->s, value->len, UINT16_MAX, false) < 0 ||
	    n == 0)
		return conf_error(d, value,
		    "%.*s \"%.*s\" is not a number from 1 to 65535",
		    CONF_WORD(key), CONF_WORD(value));
	*(uint16_t *)field = (uint16_t)n;
	return 0;
}

/* "off" is port 0. */
static int
parse_tls_port(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	uint64_t n = 0;

	if (!conf_span_is(value, "off") &&
	    (value_parse_u64(&n, value->s, value->len, UINT16_MAX, false) < 0 ||
		n == 0))
		return conf_error(d, value,
		    "%.*s \"%.*s\" is neither off nor a number from 1 to "
		    "65535",
		    CONF_WORD(key), CONF_WORD(value));
	*(uint16_t *)field = (uint16_t)n;
	return 0;
}

static int
parse_path(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	char *path;

	if (value->len < 2 || value->len >= SERVER_PATH_MAX ||
	    value->s[0] != '/' || memchr(value->s, 0, value->len) != NULL)
		return conf_error(d, value,
		    "%.*s \"%.*s\" is not a path from the root of less than "
		    "%d bytes, such as /etc/ukai/" SERVER_TLS_KEY,
		    CONF_WORD(key), CONF_WORD(value), SERVER_PATH_MAX);
	path = calloc(1, value->len + 1);
	if (path == NULL)
		return UK_ENOMEM;
	memcpy(path, value->s, value->len);
	*(char **)field = path;
	return 0;
}

static int
parse_metrics(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct endpoint e = {.port = 0};
	char scope[16] = "";

	(void)key;
	if (!conf_span_is(value, "off") &&
	    (value_parse_endpoint(&e, scope, value->s, value->len) < 0 ||
		scope[0] != '\0'))
		return conf_error(d, value,
		    "Metrics \"%.*s\" is neither off nor an address with a "
		    "port, such as 127.0.0.1:9586 or [::1]:9586",
		    CONF_WORD(value));
	*(struct endpoint *)field = e;
	return 0;
}

static int
parse_interface(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	char *to = field;

	(void)key;
	if (!value_is_ifname(value->s, value->len))
		return conf_error(d, value,
		    "Interface \"%.*s\" is not a device name: 1 to 15 bytes "
		    "without blanks, '/' and ':'",
		    CONF_WORD(value));
	memcpy(to, value->s, value->len);
	to[value->len] = 0;
	return 0;
}

/* Neither the first nor the last address of the pool, which stand for the
 * network itself and for all of its hosts (RFC 1122 section 3.2.1.3). */
static bool
is_inside_pool(const struct ip_ifaddr *a)
{
	uint32_t mask = UINT32_MAX >> a->bits;
	uint32_t host = load_be32(a->addr.b) & mask;

	return host != 0 && host != mask;
}

static int
parse_address(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct server_address r = {
	    .line = value->line, .column = value->column};

	if (conf_wg_parse_ifaddr(&r.ifaddr, key, value, d) < 0)
		return UK_EINVAL;
	if (r.ifaddr.addr.family != FAMILY_V4 || r.ifaddr.bits < 8 ||
	    r.ifaddr.bits > 30)
		return conf_error(d, value,
		    "Address \"%.*s\" must be IPv4 with a prefix length from 8 "
		    "to 30, such as 10.66.0.1/24: the prefix is the clients' "
		    "pool",
		    CONF_WORD(value));
	if (!is_inside_pool(&r.ifaddr))
		return conf_error(d, value,
		    "Address \"%.*s\" is the first or last of its prefix; take "
		    "one in between",
		    CONF_WORD(value));
	*(struct server_address *)field = r;
	return 0;
}

static int
parse_global_address(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct ip_addr a;

	(void)key;
	if (ip_addr_parse(&a, value->s, value->len) < 0 ||
	    a.family != FAMILY_V4 || !conf_wg_is_host_address(&a))
		return conf_error(d, value,
		    "GlobalAddress \"%.*s\" is not an IPv4 address of a host, "
		    "such as 192.0.2.1",
		    CONF_WORD(value));
	*(struct ip_addr *)field = a;
	return 0;
}

static int
parse_public_address(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct server_conf *c = field;
	struct conf_span rest = *value, item;
	struct ip_addr a, *to;

	(void)key;
	while (conf_span_item(&rest, &item)) {
		if (ip_addr_parse(&a, item.s, item.len) < 0 ||
		    !conf_wg_is_host_address(&a))
			return conf_error(d, &item,
			    "PublicAddress \"%.*s\" is not an address of a "
			    "host",
			    CONF_WORD(&item));
		to = a.family == FAMILY_V4 ? &c->public_v4 : &c->public_v6;
		if (to->family != FAMILY_NONE)
			return conf_error(d, &item,
			    "PublicAddress \"%.*s\" is a second one of its "
			    "family; one IPv4 and one IPv6 address are enough",
			    CONF_WORD(&item));
		*to = a;
	}
	return 0;
}

static int
parse_range(struct server_port_range *r, const struct conf_span *item)
{
	const char *dash = memchr(item->s, '-', item->len);
	size_t n = dash != NULL ? (size_t)(dash - item->s) : item->len;
	uint64_t first, last;

	if (value_parse_u64(&first, item->s, n, UINT16_MAX, false) < 0)
		return UK_EINVAL;
	last = first;
	if (dash != NULL && value_parse_u64(&last, dash + 1, item->len - n - 1,
				UINT16_MAX, false) < 0)
		return UK_EINVAL;
	if (first == 0 || first > last)
		return UK_EINVAL;
	r->first = (uint16_t)first;
	r->last = (uint16_t)last;
	return 0;
}

static int
parse_reserved_ports(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct server_port_ranges *l = field;
	struct conf_span rest = *value, item;

	(void)key;
	while (conf_span_item(&rest, &item)) {
		struct server_port_range *to =
		    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

		if (to == NULL)
			return UK_ENOMEM;
		l->item = to;
		if (parse_range(&to[l->n], &item) == 0)
			l->n++;
		else
			conf_error(d, &item,
			    "ReservedPorts \"%.*s\" is neither a port from 1 "
			    "to 65535 nor a range like 3478-3481",
			    CONF_WORD(&item));
	}
	return 0;
}

static int
parse_bool(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	bool yes = conf_span_is(value, "true");

	if (!yes && !conf_span_is(value, "false"))
		return conf_error(d, value,
		    "%.*s \"%.*s\" is neither true nor false", CONF_WORD(key),
		    CONF_WORD(value));
	*(bool *)field = yes;
	return 0;
}

static int
parse_workers(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	uint64_t n = 0;

	if (!conf_span_is(value, "auto") &&
	    (value_parse_u64(&n, value->s, value->len, WG_LANES_MAX, false) <
		    0 ||
		n == 0))
		return conf_error(d, value,
		    "%.*s \"%.*s\" is neither auto nor a number from 1 to %d",
		    CONF_WORD(key), CONF_WORD(value), WG_LANES_MAX);
	*(uint8_t *)field = (uint8_t)n;
	return 0;
}

bool
server_is_name(const char *text, size_t len)
{
	if (len < 1 || len > SERVER_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
		    c != '-')
			return false;
	}
	return true;
}

static int
parse_name(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct server_name r = {.line = value->line, .column = value->column};

	if (!server_is_name(value->s, value->len))
		return conf_error(d, value,
		    "%.*s \"%.*s\" is not made of 1 to 32 of a-z, 0-9 and '-'",
		    CONF_WORD(key), CONF_WORD(value));
	memcpy(r.s, value->s, value->len);
	*(struct server_name *)field = r;
	return 0;
}

static int
parse_members(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct server_names *l = field;
	struct conf_span rest = *value, item;

	while (conf_span_item(&rest, &item)) {
		struct server_name *to =
		    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

		if (to == NULL)
			return UK_ENOMEM;
		l->item = to;
		if (parse_name(&to[l->n], key, &item, d) == 0)
			l->n++;
	}
	return 0;
}

static void *
begin_relay(void *conf, unsigned line)
{
	struct server_conf *c = conf;

	c->line = line;
	return c;
}

static void *
begin_group(void *conf, unsigned line)
{
	struct server_groups *l = &((struct server_conf *)conf)->groups;
	struct server_group *to =
	    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

	if (to == NULL)
		return NULL;
	l->item = to;
	to += l->n++;
	*to = (struct server_group){.line = line};
	return to;
}

static void *
begin_peer(void *conf, unsigned line)
{
	struct server_peers *l = &((struct server_conf *)conf)->peers;
	struct server_peer *to = conf_grow(l->item, l->n, &l->cap, sizeof(*to));

	if (to == NULL)
		return NULL;
	l->item = to;
	to += l->n++;
	*to = (struct server_peer){.wg.line = line};
	return to;
}

#define FIELD(name) offsetof(struct server_conf, name)
static const struct conf_key relay_keys[] = {
    {"PrivateKey", CONF_REQUIRED, conf_wg_parse_key, FIELD(private_key)},
    {"Address", CONF_REQUIRED, parse_address, FIELD(address)},
    {"ListenPort", 0, parse_listen_port, FIELD(listen_port)},
    {"TlsPort", 0, parse_tls_port, FIELD(tls_port)},
    {"TlsKey", 0, parse_path, FIELD(tls_key)},
    {"Registry", 0, parse_path, FIELD(registry)},
    {"Metrics", 0, parse_metrics, FIELD(metrics)},
    {"Interface", 0, parse_interface, FIELD(interface)},
    {"MTU", 0, conf_wg_parse_mtu, FIELD(mtu)},
    {"FwMark", 0, conf_wg_parse_fwmark, FIELD(fwmark)},
    {"GlobalAddress", 0, parse_global_address, FIELD(global_address)},
    {"PublicAddress", CONF_MANY, parse_public_address, 0},
    {"ReservedPorts", CONF_MANY, parse_reserved_ports, FIELD(reserved_ports)},
    {"AllowClientToClient", 0, parse_bool, FIELD(allow_client_to_client)},
    {"Workers", 0, parse_workers, FIELD(workers)},
    {NULL, 0, NULL, 0},
};
#undef FIELD

static const struct conf_key group_keys[] = {
    {"Name", CONF_REQUIRED, parse_name, offsetof(struct server_group, name)},
    {"Members", CONF_REQUIRED | CONF_MANY, parse_members,
	offsetof(struct server_group, members)},
    {NULL, 0, NULL, 0},
};

static const struct conf_key peer_keys[] = {
    {"Name", 0, parse_name, offsetof(struct server_peer, name)},
    {NULL, 0, NULL, 0},
};

/* conf_wg_peer_keys count from the start of struct server_peer. */
_Static_assert(offsetof(struct server_peer, wg) == 0, "wg stands first");

static const struct conf_section sections[] = {
    {"Relay", CONF_REQUIRED, {relay_keys, NULL}, begin_relay},
    {"Group", CONF_MANY, {group_keys, NULL}, begin_group},
    {"Peer", CONF_MANY, {conf_wg_peer_keys, peer_keys}, begin_peer},
    {NULL, 0, {NULL, NULL}, NULL},
};

/* The names of structs, stride bytes apart. */
static int
check_names(const struct server_name *name, size_t n, size_t stride,
    const char *advice, struct diag *d)
{
	struct conf_mark *mark;
	size_t marks = 0;

	if (n == 0)
		return 0;
	mark = calloc(n, sizeof(*mark));
	if (mark == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (name->line != 0)
			mark[marks++] = (struct conf_mark){
			    name->s, strlen(name->s), name->line, name->column};
		name = (const void *)((const char *)name + stride);
	}
	conf_report_repeats(mark, marks, DIAG_ERROR, "Name", advice, d);
	free(mark);
	return 0;
}

static int
check_all_names(const struct server_conf *c, struct diag *d)
{
	const struct server_peers *peers = &c->peers;
	const struct server_groups *groups = &c->groups;
	int err = 0;

	if (peers->n > 0)
		err = check_names(&peers->item->name, peers->n,
		    sizeof(*peers->item), "names tell clients apart", d);
	if (err == 0 && groups->n > 0)
		err = check_names(&groups->item->name, groups->n,
		    sizeof(*groups->item), "names tell groups apart", d);
	return err;
}

/* A prefix and who has it. */
struct claim {
	struct ip_prefix prefix;
	const struct server_peer *peer; /* NULL: the relay itself */
	unsigned line, column;
};

/* Sorted like this, a prefix stands before all that lie inside it. */
static int
compare_claims(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int order = memcmp(&x->prefix, &y->prefix, sizeof(x->prefix));

	if (order != 0)
		return order;
	return (x->line > y->line) - (x->line < y->line);
}

static void
report_overlap(const struct claim *a, const struct claim *b, struct diag *d)
{
	char mine[IP_PREFIX_TEXT_MAX], other[IP_PREFIX_TEXT_MAX];
	const struct claim *swap = a;

	/* b: what stands later in the file, but never the relay. */
	if (b->peer == NULL || (a->peer != NULL && a->line > b->line)) {
		a = b;
		b = swap;
	}
	ip_prefix_format(&b->prefix, mine);
	ip_prefix_format(&a->prefix, other);
	if (a->peer == NULL)
		diag_add(d, DIAG_ERROR, b->line, b->column,
		    "AllowedIPs %s holds the relay's own address %s", mine,
		    other);
	else
		diag_add(d, DIAG_ERROR, b->line, b->column,
		    "AllowedIPs %s overlaps %s on line %u, of another peer",
		    mine, other, a->line);
}

/* When every prefix belongs to the owner of the widest that covers it, none
 * is shared; so each is compared with that one alone. */
static void
report_overlaps(struct claim *claim, size_t n, struct diag *d)
{
	const struct claim *widest = claim;

	qsort(claim, n, sizeof(*claim), compare_claims);
	for (size_t i = 1; i < n; i++) {
		if (!ip_prefix_contains(&widest->prefix, &claim[i].prefix.addr))
			widest = &claim[i];
		else if (widest->peer != claim[i].peer)
			report_overlap(widest, &claim[i], d);
	}
}

/* Those of the peer's prefixes that lie in the pool are added to claim. */
static size_t
claim_prefixes(const struct server_peer *p, const struct ip_prefix *pool,
    struct claim *claim, struct diag *d)
{
	char text[IP_PREFIX_TEXT_MAX], pool_text[IP_PREFIX_TEXT_MAX];
	size_t n = 0;

	for (size_t i = 0; i < p->wg.allowed.n; i++) {
		const struct conf_wg_allowed *a = &p->wg.allowed.item[i];

		if (a->prefix.bits >= pool->bits &&
		    ip_prefix_contains(pool, &a->prefix.addr)) {
			claim[n++] =
			    (struct claim){a->prefix, p, a->line, a->column};
			continue;
		}
		diag_add(d, DIAG_ERROR, a->line, a->column,
		    "AllowedIPs %s is not inside the clients' pool %s, which "
		    "[Relay] Address sets",
		    ip_prefix_format(&a->prefix, text),
		    ip_prefix_format(pool, pool_text));
	}
	return n;
}

static int
check_pool(const struct server_conf *c, struct diag *d)
{
	struct ip_ifaddr own = c->address.ifaddr;
	struct ip_prefix pool;
	struct claim *claim;
	size_t n = 1;

	if (c->address.line == 0)
		return 0;
	for (size_t i = 0; i < c->peers.n; i++)
		n += c->peers.item[i].wg.allowed.n;
	claim = calloc(n, sizeof(*claim));
	if (claim == NULL)
		return UK_ENOMEM;
	ip_ifaddr_prefix(&own, &pool);
	own.bits = 32;
	ip_ifaddr_prefix(&own, &claim[0].prefix);
	n = 1;
	for (size_t i = 0; i < c->peers.n; i++)
		n += claim_prefixes(&c->peers.item[i], &pool, claim + n, d);
	report_overlaps(claim, n, d);
	free(claim);
	return 0;
}

/* Such a peer could connect, but neither send nor receive a packet. */
static void
check_empty_peers(const struct server_conf *c, struct diag *d)
{
	for (size_t i = 0; i < c->peers.n; i++) {
		const struct conf_wg_peer *p = &c->peers.item[i].wg;

		if (p->allowed.n == 0)
			diag_add(d, DIAG_WARNING, p->line, 0,
			    "[Peer] has no AllowedIPs: the client cannot send "
			    "anything");
	}
}

static int
check(const struct server_conf *c, struct diag *d)
{
	int err = conf_wg_check_public_keys(&c->private_key, c->peers.item,
	    c->peers.n, sizeof(*c->peers.item), d);

	if (err == 0)
		err = check_all_names(c, d);
	if (err == 0)
		err = check_pool(c, d);
	return err;
}

int
server_conf_parse(
    struct server_conf *c, const char *text, size_t len, struct diag *d)
{
	unsigned before = d->errors;
	int err;

	*c = (struct server_conf){
	    .listen_port = SERVER_DEFAULT_PORT,
	    .tls_port = SERVER_DEFAULT_TLS_PORT,
	    .mtu = SERVER_DEFAULT_MTU,
	    .interface = SERVER_DEFAULT_INTERFACE,
	};
	err = conf_schema_parse(sections, c, text, len, d);
	if (err != UK_ENOMEM)
		err = check(c, d);
	if (err == 0 && d->errors > before)
		err = UK_EINVAL;
	if (err == 0)
		check_empty_peers(c, d);
	diag_sort(d);
	if (err == UK_ENOMEM)
		diag_error(d, "out of memory");
	if (err < 0)
		server_conf_fini(c);
	return err;
}

/* TlsKey's default. path: of the configuration file. */
static int
put_tls_key(struct server_conf *c, const char *path, struct diag *d)
{
	char real[PATH_MAX];
	char *slash;

	if (c->tls_key != NULL)
		return 0;
	slash = realpath(path, real) != NULL ? strrchr(real, '/') : NULL;
	if (slash == NULL) {
		diag_error(d, "cannot find the folder of %s: %s", path,
		    strerror(errno));
		return UK_ESYS;
	}
	slash[1] = '\0';
	c->tls_key = calloc(1, strlen(real) + sizeof(SERVER_TLS_KEY));
	if (c->tls_key == NULL) {
		diag_error(d, "out of memory");
		return UK_ENOMEM;
	}
	stpcpy(stpcpy(c->tls_key, real), SERVER_TLS_KEY);
	return 0;
}

int
server_conf_load(struct server_conf *c, const char *path, struct diag *d)
{
	struct conf_file f;
	int err;

	*c = (struct server_conf){.line = 0};
	d->file = path;
	err = conf_file_read(&f, path, d);
	if (err < 0)
		return err;
	err = server_conf_parse(c, f.text, f.len, d);
	conf_file_fini(&f);
	if (err < 0)
		return err;
	err = put_tls_key(c, path, d);
	if (err < 0)
		server_conf_fini(c);
	return err;
}

void
server_conf_fini(struct server_conf *c)
{
	for (size_t i = 0; i < c->peers.n; i++) {
		conf_wg_peer_fini(&c->peers.item[i].wg);
		c->peers.item[i].name = (struct server_name){.line = 0};
	}
	free(c->peers.item);
	for (size_t i = 0; i < c->groups.n; i++)
		free(c->groups.item[i].members.item);
	free(c->groups.item);
	free(c->tls_key);
	free(c->registry);
	free(c->reserved_ports.item);
	sodium_memzero(c, sizeof(*c));
}
