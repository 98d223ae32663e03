#include "rules_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"
#include "core/suggest.h"
#include "core/value.h"

#include "domain_name.h"
#include "rules_words.h"

__attribute__((format(printf, 2, 3))) static int
wrong(struct rules_note *n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(n->why, sizeof(n->why), fmt, ap);
	va_end(ap);
	return UK_EINVAL;
}

/* Is it from these characters only? */
static bool
consists_of(const struct conf_span *v, const char *set)
{
	for (size_t i = 0; i < v->len; i++) {
		if (v->s[i] == 0 || strchr(set, v->s[i]) == NULL)
			return false;
	}
	return v->len > 0;
}

static bool
has(const struct conf_span *v, const char *part)
{
	return v->len > 0 && memmem(v->s, v->len, part, strlen(part)) != NULL;
}

/* ---- addresses ---- */

/* How long a prefix was meant that ends in these zeros. */
static unsigned
meant_bits(const struct ip_addr *a)
{
	unsigned unit = a->family == FAMILY_V4 ? 1 : 2;
	unsigned bytes = a->family == FAMILY_V4 ? 4 : 16;

	while (bytes > unit && a->b[bytes - 1] == 0 && a->b[bytes - unit] == 0)
		bytes -= unit;
	return bytes * 8;
}

/* The length that a mask such as 255.255.255.0 has; 33: it is none. */
static unsigned
mask_bits(const struct ip_addr *m)
{
	unsigned bits = 0;

	while (bits < 32 && (m->b[bits / 8] & 0x80 >> bits % 8))
		bits++;
	for (unsigned i = bits; i < 32; i++) {
		if (m->b[i / 8] & 0x80 >> i % 8)
			return 33;
	}
	return bits;
}

/* The address is right, what is behind its slash is not. */
static int
wrong_length(const struct ip_addr *a, const struct conf_span *v,
    size_t addr_len, struct rules_note *n)
{
	const char *behind = v->s + addr_len + 1;
	char text[IP_ADDR_TEXT_MAX];
	unsigned bits = meant_bits(a);
	struct ip_addr mask;

	ip_addr_format(a, text);
	if (a->family == FAMILY_V4 &&
	    ip_addr_parse(&mask, behind, v->len - addr_len - 1) == 0 &&
	    mask.family == FAMILY_V4) {
		bits = mask_bits(&mask);
		if (bits > 32)
			return wrong(n,
			    "\"%.*s\": a length, as /24, goes there",
			    CONF_WORD(v));
		return wrong(n, "\"%.*s\": write the mask as a length: %s/%u",
		    CONF_WORD(v), text, bits);
	}
	return wrong(n,
	    "\"%.*s\": the length of an %s prefix is 0 to %d; did you mean "
	    "%s/%u?",
	    CONF_WORD(v), a->family == FAMILY_V4 ? "IPv4" : "IPv6",
	    a->family == FAMILY_V4 ? 32 : 128, text, bits);
}

/* Digits and dots, and stars. */
static int
wrong_v4(const struct conf_span *v, struct rules_note *n)
{
	const char *slash = memchr(v->s, '/', v->len);
	struct conf_span a = *v;
	char full[IP_ADDR_TEXT_MAX];
	unsigned numbers = 0;
	struct ip_addr addr;
	int at = 0;

	a.len = slash != NULL ? (size_t)(slash - v->s) : v->len;
	while (a.len > 0 && (a.s[a.len - 1] == '*' || a.s[a.len - 1] == '.'))
		a.len--;
	for (size_t i = 0; i < a.len; i++)
		numbers += i == 0 || a.s[i] == '.';
	if (numbers > 0 && numbers < 4 && a.len < 16) {
		static const char zeros[] = ".0.0.0";

		at = snprintf(full, sizeof(full), "%.*s%.*s", (int)a.len, a.s,
		    (int)(2 * (4 - numbers)), zeros);
		if (ip_addr_parse(&addr, full, (size_t)at) == 0)
			return wrong(n,
			    "\"%.*s\" is not whole; did you mean %s/%u?",
			    CONF_WORD(v), full, numbers * 8);
	}
	return wrong(n,
	    "\"%.*s\" is no IPv4 address: four numbers from 0 to 255, as "
	    "192.0.2.0/24",
	    CONF_WORD(v));
}

static int
wrong_prefix(const struct conf_span *v, struct rules_note *n)
{
	const char *slash = memchr(v->s, '/', v->len);
	size_t addr_len = slash != NULL ? (size_t)(slash - v->s) : v->len;
	char name[DOMAIN_NAME_MAX];
	struct ip_addr a;

	if (slash != NULL && ip_addr_parse(&a, v->s, addr_len) == 0)
		return wrong_length(&a, v, addr_len, n);
	if (consists_of(v, "0123456789./*"))
		return wrong_v4(v, n);
	if (consists_of(v, "0123456789./-"))
		return wrong(n,
		    "\"%.*s\": a range cannot stand here; write prefixes, as "
		    "192.0.2.0/24",
		    CONF_WORD(v));
	if (has(v, "[") ||
	    (has(v, ".") && has(v, ":") && consists_of(v, "0123456789.:")))
		return wrong(n,
		    "\"%.*s\": the address alone; a port is a condition, as "
		    "dport=443",
		    CONF_WORD(v));
	if (!has(v, ":") && domain_name(name, v->s, v->len) > 0)
		return wrong(n,
		    "\"%.*s\" is a name, and an address belongs here; names "
		    "go into DOMAIN,%s or DOMAIN-SUFFIX,%s",
		    CONF_WORD(v), name, name);
	return wrong(n,
	    "\"%.*s\" is no address and no prefix, as 192.0.2.0/24 or "
	    "2001:db8::/32",
	    CONF_WORD(v));
}

int
rules_value_prefix(
    struct ip_prefix *p, const struct conf_span *v, struct rules_note *n)
{
	struct ip_ifaddr a;

	if (ip_ifaddr_parse(&a, v->s, v->len) < 0)
		return wrong_prefix(v, n);
	ip_ifaddr_prefix(&a, p);
	n->masked = !ip_addr_equal(&a.addr, &p->addr);
	return 0;
}

/* ---- numbers ---- */

static bool
port_number(uint16_t *port, const char *s, size_t len)
{
	uint64_t v;

	while (len > 0 && s[len - 1] == ' ')
		len--;
	while (len > 0 && *s == ' ') {
		s++;
		len--;
	}
	if (value_parse_u64(&v, s, len, UINT16_MAX, false) < 0 || v == 0)
		return false;
	*port = (uint16_t)v;
	return true;
}

static int
wrong_ports(const struct conf_span *v, struct rules_note *n)
{
	if (has(v, "/"))
		return wrong(n,
		    "\"%.*s\": one port or one range; several are a condition, "
		    "as dport=80/443, or a line each",
		    CONF_WORD(v));
	if (consists_of(v, "0123456789:"))
		return wrong(n,
		    "\"%.*s\" is no port from 1 to 65535, and no range, as "
		    "8000-8080",
		    CONF_WORD(v));
	return wrong(n,
	    "\"%.*s\" is no port: a number from 1 to 65535, or a range, as "
	    "8000-8080",
	    CONF_WORD(v));
}

/* As Surge writes it: ">=50000", "<1024". */
static bool
compared_ports(struct rule_ports *p, const struct conf_span *v)
{
	bool equal = v->len > 1 && v->s[1] == '=';
	uint16_t port;

	if (v->len == 0 || (v->s[0] != '<' && v->s[0] != '>') ||
	    !port_number(&port, v->s + 1 + equal, v->len - 1 - equal))
		return false;
	*p = (struct rule_ports){1, UINT16_MAX};
	if (v->s[0] == '<' && (equal || port > 1))
		p->last = (uint16_t)(port - !equal);
	else if (v->s[0] == '>' && (equal || port < UINT16_MAX))
		p->first = (uint16_t)(port + !equal);
	else
		return false;
	return true;
}

int
rules_value_ports(
    struct rule_ports *p, const struct conf_span *v, struct rules_note *n)
{
	const char *dash = memchr(v->s, '-', v->len);
	size_t len = dash != NULL ? (size_t)(dash - v->s) : v->len;
	struct rule_ports r;

	if (compared_ports(p, v))
		return 0;
	if (!port_number(&r.first, v->s, len))
		return wrong_ports(v, n);
	r.last = r.first;
	if (dash != NULL && !port_number(&r.last, dash + 1, v->len - len - 1))
		return wrong_ports(v, n);
	if (r.last < r.first)
		return wrong(n,
		    "\"%.*s\": the range ends before it begins; did you mean "
		    "%u-%u?",
		    CONF_WORD(v), r.last, r.first);
	*p = r;
	return 0;
}

int
rules_value_protos(
    uint8_t *protos, const struct conf_span *v, struct rules_note *n)
{
	static const char *const names[] = {"tcp", "udp", "icmp"};
	const char *near;
	struct conf_span rest = *v, word;
	uint8_t found = 0;

	for (bool more = true; more;) {
		const char *slash = memchr(rest.s, '/', rest.len);
		size_t i = 0;

		word = rest;
		word.len = slash != NULL ? (size_t)(slash - rest.s) : rest.len;
		more = slash != NULL;
		rest.s += word.len + more;
		rest.len -= word.len + more;
		while (i < ARRAY_LEN(names) && !conf_span_is(&word, names[i]))
			i++;
		if (i == ARRAY_LEN(names)) {
			near = suggest_word(
			    word.s, word.len, names, ARRAY_LEN(names));
			return wrong(n,
			    "\"%.*s\" is none of tcp, udp and icmp (which is "
			    "ICMPv6, too)%s%s%s",
			    CONF_WORD(&word), RULES_NEAR(near));
		}
		found |= (uint8_t)(1u << i);
	}
	*protos = found;
	return 0;
}

int
rules_value_uid(uint32_t *uid, enum rules_os os, const struct conf_span *v,
    struct rules_note *n)
{
	uint64_t id;

	if (os == RULES_WINDOWS) {
		n->elsewhere = true;
		return wrong(n,
		    "users have no such numbers on Windows; use PROCESS-NAME");
	}
	/* The last one means "no user" to the kernel. */
	if (value_parse_u64(&id, v->s, v->len, UINT32_MAX - 1, false) == 0) {
		*uid = (uint32_t)id;
		return 0;
	}
	if (consists_of(v, "0123456789-"))
		return wrong(n, "\"%.*s\" is no user: one number, as 1000",
		    CONF_WORD(v));
	return wrong(n,
	    "\"%.*s\" is no number; id -u %.*s tells which one that user has",
	    CONF_WORD(v), CONF_WORD(v));
}

int
rules_value_ports_left(
    uint32_t *left, const struct conf_span *v, struct rules_note *n)
{
	struct conf_span number = *v;
	uint64_t count;

	if (v->len > 0 && v->s[0] == '<') {
		number.s++;
		number.len--;
	}
	while (number.len > 0 && (*number.s == ' ' || *number.s == '\t')) {
		number.s++;
		number.len--;
	}
	if (number.len < v->len && number.len > 1 && number.s[0] == '=' &&
	    value_parse_u64(&count, number.s + 1, number.len - 1,
		UINT16_MAX - 1, false) == 0)
		return wrong(n, "\"%.*s\": did you mean <%u?", CONF_WORD(v),
		    (unsigned)count + 1);
	if (value_parse_u64(&count, number.s, number.len, UINT16_MAX, false) <
		0 ||
	    count == 0)
		return wrong(n,
		    "\"%.*s\" is not \"<\" and a number from 1 to 65535, as "
		    "<40",
		    CONF_WORD(v));
	if (v->s[0] != '<')
		return wrong(n, "\"%.*s\": did you mean <%u?", CONF_WORD(v),
		    (unsigned)count);
	*left = (uint32_t)count;
	return 0;
}

/* ---- programs ---- */

static bool
ends_in_exe(const struct conf_span *v)
{
	struct conf_span end = *v;

	if (v->len <= 4)
		return false;
	end.s += v->len - 4;
	end.len = 4;
	return conf_span_is(&end, ".exe");
}

static int
wrong_path(const struct conf_span *v, struct rules_note *n)
{
	struct conf_span last = *v;

	for (size_t i = 0; i < v->len; i++) {
		if (v->s[i] == '/' || v->s[i] == '\\') {
			last.s = v->s + i + 1;
			last.len = v->len - i - 1;
		}
	}
	n->elsewhere = true;
	return wrong(n, "\"%.*s\": a program's name, not its path: %.*s",
	    CONF_WORD(v), CONF_WORD(&last));
}

int
rules_value_process(char name[static RULES_PROCESS_MAX], enum rules_os os,
    const struct conf_span *v, struct rules_note *n)
{
	bool exe = ends_in_exe(v);
	const char *add = os == RULES_WINDOWS && !exe ? ".exe" : "";
	size_t len = v->len + strlen(add);

	if (has(v, "/") || (has(v, "\\") && (exe || os == RULES_WINDOWS)))
		return wrong_path(v, n);
	if (exe && os == RULES_LINUX) {
		n->elsewhere = true;
		return wrong(n,
		    "\"%.*s\" is a program of Windows; on Linux it may be "
		    "called %.*s",
		    CONF_WORD(v), (int)v->len - 4, v->s);
	}
	if (has(v, "*") || has(v, "?")) {
		n->elsewhere = true;
		return wrong(n,
		    "\"%.*s\": programs' names are not patterns; write a line "
		    "for each, whole",
		    CONF_WORD(v));
	}
	if (v->len == 0 || len >= RULES_PROCESS_MAX)
		return wrong(n, "a program's name has 1 to %d bytes",
		    RULES_PROCESS_MAX - 1);
	for (size_t i = 0; i < v->len; i++) {
		if ((unsigned char)v->s[i] < ' ' || v->s[i] == 0x7f)
			return wrong(n,
			    "\"%.*s\": no program's name has such a byte",
			    CONF_WORD(v));
	}
	memcpy(name, v->s, v->len);
	memcpy(name + v->len, add, strlen(add) + 1);
	return 0;
}

/* ---- names ---- */

/* The last label says that an address was meant (RFC 3696 section 2). */
static bool
looks_like_address(const char *name)
{
	const char *last = strrchr(name, '.');

	last = last != NULL ? last + 1 : name;
	return strspn(last, "0123456789") == strlen(last);
}

/* A dot or star in front of a name, as other software writes "all below". */
static size_t
wild_len(const struct conf_span *v)
{
	if (v->len > 2 && (v->s[0] == '*' || v->s[0] == '+') && v->s[1] == '.')
		return 2;
	return v->len > 1 && v->s[0] == '.' ? 1 : 0;
}

static int
wrong_name(const struct conf_span *v, struct rules_note *n)
{
	char name[DOMAIN_NAME_MAX];
	size_t wild = wild_len(v);
	struct ip_ifaddr a;

	if (ip_ifaddr_parse(&a, v->s, v->len) == 0)
		return wrong(n,
		    "\"%.*s\" is an address, and a name belongs here; "
		    "addresses go into IP-CIDR,%.*s",
		    CONF_WORD(v), CONF_WORD(v));
	if (wild > 0 && domain_name(name, v->s + wild, v->len - wild) > 0)
		return wrong(n,
		    "\"%.*s\": for a name and all below it write "
		    "DOMAIN-SUFFIX,%s",
		    CONF_WORD(v), name);
	if (v->len >= DOMAIN_NAME_MAX)
		return wrong(n, "a name of %zu bytes; none has more than %d",
		    v->len, DOMAIN_NAME_MAX - 1);
	if (has(v, "\uff0c"))
		return wrong(n,
		    "\"%.*s\": a full-width comma; fields are separated by the "
		    "comma \",\"",
		    CONF_WORD(v));
	if (has(v, "*") || has(v, "?"))
		return wrong(n,
		    "\"%.*s\": wildcards have no meaning; use DOMAIN-SUFFIX or "
		    "DOMAIN-KEYWORD",
		    CONF_WORD(v));
	if (has(v, "/"))
		return wrong(n,
		    "\"%.*s\": the name alone, without https:// and path",
		    CONF_WORD(v));
	if (has(v, ":"))
		return wrong(n,
		    "\"%.*s\": the name alone; a port is a condition, as "
		    "dport=443",
		    CONF_WORD(v));
	return wrong(n, "\"%.*s\" is no domain name", CONF_WORD(v));
}

static int
read_name(struct rules_build *b, struct rule_entry *e,
    const struct conf_span *v, struct rules_note *n)
{
	size_t wild = e->type == RULE_DOMAIN_SUFFIX ? wild_len(v) : 0;
	char name[DOMAIN_NAME_MAX];
	int len;

	if (e->type == RULE_DOMAIN_KEYWORD)
		len = domain_keyword(name, v->s, v->len);
	else
		len = domain_name(name, v->s + wild, v->len - wild);
	if (len == UK_ENOMEM)
		return UK_ENOMEM;
	if (len < 0 ||
	    (e->type != RULE_DOMAIN_KEYWORD && looks_like_address(name)))
		return wrong_name(v, n);
	return rules_build_name(b, &e->name, name, (size_t)len);
}

static int
read_process(struct rules_build *b, struct rule_entry *e, enum rules_os os,
    const struct conf_span *v, struct rules_note *n)
{
	char name[RULES_PROCESS_MAX];

	if (rules_value_process(name, os, v, n) < 0)
		return UK_EINVAL;
	return rules_build_name(b, &e->name, name, strlen(name));
}

static int
read_source(struct rule_entry *e, enum rules_os os, const struct conf_span *v,
    struct rules_note *n)
{
	char name[DOMAIN_NAME_MAX];

	if (os == RULES_WINDOWS) {
		n->elsewhere = true;
		return wrong(n,
		    "Windows decides for its own programs only, so no rule "
		    "can be about where a flow comes from; use PROCESS-NAME");
	}
	if (rules_value_prefix(&e->prefix, v, n) == 0)
		return 0;
	if (consists_of(v, "0123456789./*-") || has(v, ":") ||
	    domain_name(name, v->s, v->len) <= 0)
		return UK_EINVAL;
	return wrong(n,
	    "\"%.*s\" is a name, and a source is known by its address alone",
	    CONF_WORD(v));
}

int
rules_value(struct rules_build *b, struct rule_entry *e, enum rules_os os,
    const struct conf_span *v, struct rules_note *n)
{
	UK_ASSERT(e->type < RULE_SET);
	switch ((enum rule_type)e->type) {
	case RULE_IP_CIDR:
		return rules_value_prefix(&e->prefix, v, n);
	case RULE_SRC_IP_CIDR:
		return read_source(e, os, v, n);
	case RULE_DOMAIN:
	case RULE_DOMAIN_SUFFIX:
	case RULE_DOMAIN_KEYWORD:
		return read_name(b, e, v, n);
	case RULE_DST_PORT:
	case RULE_SRC_PORT:
		return rules_value_ports(&e->ports, v, n);
	case RULE_NETWORK:
		return rules_value_protos(&e->protos, v, n);
	case RULE_PROCESS_NAME:
		return read_process(b, e, os, v, n);
	case RULE_UID:
		return rules_value_uid(&e->uid, os, v, n);
	case RULE_SET:
	case RULE_PORTS_LEFT:
	case RULE_DEFAULT:
	case RULE_TYPES:
		break;
	}
	return UK_EINVAL;
}
