#include "conf_wg.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "err.h"
#include "x25519.h"

/* What the examples in deploy/ have in place of keys. */
static bool
is_placeholder(const struct conf_span *v)
{
	return v->len >= 5 && memcmp(v->s, "PASTE", 5) == 0;
}

/* A key is never quoted, nor what stands in a key's place (X3). */
int
conf_wg_parse_key(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct conf_wg_key *k = field;
	bool public = conf_span_is(key, "PublicKey");
	const char *source = public ? "\"ukai pubkey\" or \"wg pubkey\""
				    : "\"ukai genkey\" or \"wg genkey\"";

	if (is_placeholder(value))
		return conf_error(d, value,
		    "%.*s is still the example's placeholder: put in its place "
		    "%s, 44 characters as %s prints",
		    CONF_WORD(key),
		    public ? "the other end's public key" : "a key of your own",
		    source);
	if (value_parse_key_base64(k->b, value->s, value->len) < 0)
		return conf_error(d, value,
		    "%.*s is not a key: it must be 44 characters of base64 as "
		    "%s prints (not shown; it has %zu)",
		    CONF_WORD(key), source, value->len);
	if (!conf_span_is(key, "PresharedKey") &&
	    sodium_is_zero(k->b, sizeof(k->b)))
		return conf_error(d, value,
		    "%.*s is all zeros, which is no key", CONF_WORD(key));
	k->line = value->line;
	k->column = value->column;
	return 0;
}

struct number {
	uint32_t min, max;
	bool hex;
	const char *also; /* words allowed besides, for the message */
};

static int
parse_number(uint32_t *v, const struct number *r, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	uint64_t n;

	if (value_parse_u64(&n, value->s, value->len, r->max, r->hex) == 0 &&
	    n >= r->min) {
		*v = (uint32_t)n;
		return 0;
	}
	return conf_error(d, value,
	    "%.*s \"%.*s\" is not a number from %u to %u%s", CONF_WORD(key),
	    CONF_WORD(value), (unsigned)r->min, (unsigned)r->max, r->also);
}

int
conf_wg_parse_port(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	static const struct number port = {0, 65535, false, ""};
	uint16_t *to = field;
	uint32_t n = 0;

	if (parse_number(&n, &port, key, value, d) < 0)
		return UK_EINVAL;
	*to = (uint16_t)n;
	return 0;
}

int
conf_wg_parse_fwmark(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	static const struct number mark = {
	    0, UINT32_MAX, true, ", hex after 0x, or off"};
	uint32_t *to = field;

	if (conf_span_is(value, "off")) {
		*to = 0;
		return 0;
	}
	return parse_number(to, &mark, key, value, d);
}

/* 576 is what every IPv4 host takes (RFC 1122 section 3.3.2); the most is a
 * UDP datagram over IPv6 without WireGuard's 32 bytes. */
int
conf_wg_parse_mtu(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	static const struct number mtu = {576, 65535 - 40 - 8 - 32, false, ""};
	uint16_t *to = field;
	uint32_t n = 0;

	if (parse_number(&n, &mtu, key, value, d) < 0)
		return UK_EINVAL;
	*to = (uint16_t)n;
	return 0;
}

static int
parse_keepalive(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	static const struct number seconds = {
	    0, 65535, false, " (seconds), or off"};
	uint16_t *to = field;
	uint32_t n = 0;

	if (!conf_span_is(value, "off") &&
	    parse_number(&n, &seconds, key, value, d) < 0)
		return UK_EINVAL;
	*to = (uint16_t)n;
	return 0;
}

/* The kernel's names (linux/rtnetlink.h). Others live in a file that is not
 * ours to read. */
static unsigned
known_table(const struct conf_span *value)
{
	if (conf_span_is(value, "main"))
		return 254;
	if (conf_span_is(value, "default"))
		return 253;
	return conf_span_is(value, "local") ? 255 : 0;
}

static int
parse_table(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	static const struct number table = {1, UINT32_MAX, true,
	    ", hex after 0x, auto or off; the numbers of names are in "
	    "/etc/iproute2/rt_tables"};
	struct conf_wg_table t = {.kind = CONF_WG_TABLE_NUMBER};
	unsigned known = known_table(value);

	if (known != 0)
		return conf_error(d, value,
		    "Table takes no names: for \"%.*s\" write %u",
		    CONF_WORD(value), known);
	if (conf_span_is(value, "auto"))
		t.kind = CONF_WG_TABLE_AUTO;
	else if (conf_span_is(value, "off"))
		t.kind = CONF_WG_TABLE_OFF;
	else if (parse_number(&t.number, &table, key, value, d) < 0)
		return UK_EINVAL;
	*(struct conf_wg_table *)field = t;
	return 0;
}

bool
conf_wg_is_host_address(const struct ip_addr *a)
{
	static const uint8_t zero[15];

	if (a->family == FAMILY_V4)
		return a->b[0] != 0 && a->b[0] != 127 && a->b[0] < 224;
	if (a->family != FAMILY_V6)
		return false;
	return a->b[0] != 0xff &&
	       !(memcmp(a->b, zero, sizeof(zero)) == 0 && a->b[15] <= 1);
}

int
conf_wg_parse_ifaddr(struct ip_ifaddr *a, const struct conf_span *key,
    const struct conf_span *item, struct diag *d)
{
	struct ip_ifaddr r;

	if (ip_ifaddr_parse(&r, item->s, item->len) < 0)
		return conf_error(d, item,
		    "%.*s \"%.*s\" is not an address like 10.66.0.2/24 or "
		    "fd00::2/64",
		    CONF_WORD(key), CONF_WORD(item));
	if (!conf_wg_is_host_address(&r.addr))
		return conf_error(d, item,
		    "%.*s \"%.*s\" is not an address that a host can have",
		    CONF_WORD(key), CONF_WORD(item));
	*a = r;
	return 0;
}

int
conf_wg_parse_prefix(struct ip_prefix *p, const struct conf_span *key,
    const struct conf_span *item, struct diag *d)
{
	if (ip_prefix_parse(p, item->s, item->len) == 0)
		return 0;
	return conf_error(d, item,
	    "%.*s \"%.*s\" is not a prefix like 192.0.2.0/24 or "
	    "2001:db8::/32",
	    CONF_WORD(key), CONF_WORD(item));
}

int
conf_wg_parse_addresses(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct conf_wg_addresses *l = field;
	struct conf_span rest = *value, item;

	while (conf_span_item(&rest, &item)) {
		struct ip_ifaddr *to =
		    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

		if (to == NULL)
			return UK_ENOMEM;
		l->item = to;
		if (conf_wg_parse_ifaddr(&l->item[l->n], key, &item, d) == 0)
			l->n++;
	}
	return 0;
}

/* strndup(), which Windows lacks. */
static char *
copy_text(const char *s, size_t len)
{
	char *copy = malloc(len + 1);

	if (copy == NULL)
		return NULL;
	memcpy(copy, s, len);
	copy[len] = 0;
	return copy;
}

static int
parse_dns_item(
    struct conf_wg_dns *dns, const struct conf_span *item, struct diag *d)
{
	struct conf_wg_dns r = {.domain = NULL};

	if (ip_addr_parse(&r.addr, item->s, item->len) < 0) {
		if (!value_is_hostname(item->s, item->len))
			return conf_error(d, item,
			    "DNS \"%.*s\" is neither an address nor a domain",
			    CONF_WORD(item));
		r.domain = copy_text(item->s, item->len);
		if (r.domain == NULL)
			return UK_ENOMEM;
	}
	*dns = r;
	return 0;
}

static int
parse_dns(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct conf_wg_dns_list *l = field;
	struct conf_span rest = *value, item;

	(void)key;
	while (conf_span_item(&rest, &item)) {
		struct conf_wg_dns *to =
		    conf_grow(l->item, l->n, &l->cap, sizeof(*to));
		int err;

		if (to == NULL)
			return UK_ENOMEM;
		l->item = to;
		err = parse_dns_item(&l->item[l->n], &item, d);
		if (err == UK_ENOMEM)
			return err;
		if (err == 0)
			l->n++;
	}
	return 0;
}

/* Commands would come from a file that people are told to paste (C5). */
static int
refuse_script(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	const char *instead = "ExecStopPost=";

	(void)field;
	(void)value;
	if (conf_span_is(key, "PreUp"))
		instead = "ExecStartPre=";
	else if (conf_span_is(key, "PostUp"))
		instead = "ExecStartPost=";
	else if (conf_span_is(key, "PreDown"))
		instead = "ExecStop=";
	return conf_error(d, key,
	    "%.*s is refused: ukai runs no shell. Delete the line; addresses, "
	    "routes and firewall rules are ukai's work, and another command "
	    "can stand as %s in its systemd unit",
	    CONF_WORD(key), instead);
}

static int
parse_save_config(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	(void)field;
	if (conf_span_is(value, "true"))
		diag_add(d, DIAG_WARNING, key->line, key->column,
		    "SaveConfig is ignored: ukai never writes this file");
	else if (!conf_span_is(value, "false"))
		return conf_error(d, value,
		    "SaveConfig \"%.*s\" is neither true nor false",
		    CONF_WORD(value));
	return 0;
}

/* Newer wg(8) lets "wg set" add with '+' and take away with '-'. In a file,
 * which states the whole, '+' changes nothing and '-' has nothing to take
 * from. */
static int
parse_allowed_item(struct conf_wg_allowed *a, const struct conf_span *key,
    struct conf_span item, struct diag *d)
{
	if (item.len > 0 && item.s[0] == '-')
		return conf_error(d, &item,
		    "AllowedIPs \"%.*s\": a file lists what a peer has; "
		    "delete the prefix instead of subtracting it",
		    CONF_WORD(&item));
	a->line = item.line;
	a->column = item.column;
	if (item.len > 0 && item.s[0] == '+') {
		item.s++;
		item.len--;
	}
	return conf_wg_parse_prefix(&a->prefix, key, &item, d);
}

int
conf_wg_parse_allowed(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct conf_wg_allowed_list *l = field;
	struct conf_span rest = *value, item;

	/* wg(8) takes this as "none". */
	if (value->len == 0)
		return 0;
	while (conf_span_item(&rest, &item)) {
		struct conf_wg_allowed *to =
		    conf_grow(l->item, l->n, &l->cap, sizeof(*to));

		if (to == NULL)
			return UK_ENOMEM;
		l->item = to;
		if (parse_allowed_item(&l->item[l->n], key, item, d) == 0)
			l->n++;
	}
	return 0;
}

/* Several colons and no brackets: IPv6 as people write it. */
static bool
lacks_brackets(const struct conf_span *v)
{
	const char *colon = memchr(v->s, ':', v->len);

	return v->len > 0 && v->s[0] != '[' && colon != NULL &&
	       memchr(colon + 1, ':', v->len - (size_t)(colon + 1 - v->s)) !=
		   NULL;
}

static int
parse_endpoint(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d)
{
	struct conf_wg_endpoint *e = field;
	size_t host_len;

	(void)key;
	if (value_parse_endpoint(&e->addr, e->scope, value->s, value->len) == 0)
		return 0;
	if (lacks_brackets(value))
		return conf_error(d, value,
		    "Endpoint \"%.*s\": an IPv6 address stands in brackets, "
		    "[2001:db8::1]:51820",
		    CONF_WORD(value));
	if (value_split_port(&host_len, &e->addr.port, value->s, value->len) <
	    0)
		return conf_error(d, value,
		    "Endpoint \"%.*s\" has no port from 1 to 65535 behind a "
		    "':', as in relay.example.com:51820",
		    CONF_WORD(value));
	if (!value_is_hostname(value->s, host_len))
		return conf_error(d, value,
		    "Endpoint \"%.*s\" is neither an address nor a DNS name "
		    "(ASCII; xn--... for others) with a port",
		    CONF_WORD(value));
	e->host = copy_text(value->s, host_len);
	return e->host != NULL ? 0 : UK_ENOMEM;
}

#define FIELD(name) offsetof(struct conf_wg_interface, name)
const struct conf_key conf_wg_interface_keys[] = {
    {"PrivateKey", CONF_REQUIRED, conf_wg_parse_key, FIELD(private_key)},
    {"ListenPort", 0, conf_wg_parse_port, FIELD(listen_port)},
    {"FwMark", 0, conf_wg_parse_fwmark, FIELD(fwmark)},
    {"Address", CONF_REQUIRED | CONF_MANY, conf_wg_parse_addresses,
	FIELD(address)},
    {"DNS", CONF_MANY, parse_dns, FIELD(dns)},
    {"MTU", 0, conf_wg_parse_mtu, FIELD(mtu)},
    {"Table", 0, parse_table, FIELD(table)},
    {"PreUp", CONF_MANY | CONF_HIDDEN, refuse_script, 0},
    {"PostUp", CONF_MANY | CONF_HIDDEN, refuse_script, 0},
    {"PreDown", CONF_MANY | CONF_HIDDEN, refuse_script, 0},
    {"PostDown", CONF_MANY | CONF_HIDDEN, refuse_script, 0},
    {"SaveConfig", CONF_HIDDEN, parse_save_config, 0},
    {NULL, 0, NULL, 0},
};
#undef FIELD

#define FIELD(name) offsetof(struct conf_wg_peer, name)
const struct conf_key conf_wg_peer_keys[] = {
    {"PublicKey", CONF_REQUIRED, conf_wg_parse_key, FIELD(public_key)},
    {"PresharedKey", 0, conf_wg_parse_key, FIELD(preshared_key)},
    {"AllowedIPs", CONF_MANY, conf_wg_parse_allowed, FIELD(allowed)},
    {"Endpoint", 0, parse_endpoint, FIELD(endpoint)},
    {"PersistentKeepalive", 0, parse_keepalive, FIELD(keepalive_s)},
    {NULL, 0, NULL, 0},
};
#undef FIELD

void
conf_wg_interface_fini(struct conf_wg_interface *i)
{
	for (size_t k = 0; k < i->dns.n; k++)
		free(i->dns.item[k].domain);
	free(i->dns.item);
	free(i->address.item);
	sodium_memzero(i, sizeof(*i));
}

void
conf_wg_peer_fini(struct conf_wg_peer *p)
{
	free(p->endpoint.host);
	free(p->allowed.item);
	sodium_memzero(p, sizeof(*p));
}

int
conf_wg_check_public_keys(const struct conf_wg_key *own, const void *peers,
    size_t n, size_t stride, struct diag *d)
{
	uint8_t own_public[KEY_LEN];
	struct conf_mark *mark;
	size_t marks = 0;

	if (n == 0)
		return 0;
	mark = calloc(n, sizeof(*mark));
	if (mark == NULL)
		return UK_ENOMEM;
	x25519_base(own_public, own->b);
	for (size_t i = 0; i < n; i++) {
		const struct conf_wg_peer *p =
		    (const void *)((const char *)peers + i * stride);
		const struct conf_wg_key *k = &p->public_key;

		if (own->line != 0 && k->line != 0 &&
		    memcmp(k->b, own_public, sizeof(k->b)) == 0)
			diag_add(d, DIAG_ERROR, k->line, k->column,
			    "this PublicKey belongs to our own PrivateKey; "
			    "write the one that the peer made");
		if (k->line != 0)
			mark[marks++] = (struct conf_mark){
			    k->b, sizeof(k->b), k->line, k->column};
	}
	conf_report_repeats(mark, marks, DIAG_ERROR, "PublicKey",
	    "a peer has one [Peer] section", d);
	free(mark);
	return 0;
}
