#include "s46.h"

#include <string.h>

#include "core/bytes.h"
#include "core/err.h"

/* RFC 7598 section 4, RFC 8539 section 6. */
enum {
	OPTION_RULE = 89,
	OPTION_BR = 90,
	OPTION_DMR = 91,
	OPTION_V4V6BIND = 92,
	OPTION_PORTPARAMS = 93,
	OPTION_CONT_MAPE = 94,
	OPTION_CONT_MAPT = 95,
	OPTION_CONT_LW = 96,
};

#define HEAD_LEN 4 /* code, length: RFC 8415 section 21.1 */
#define RULE_MIN 8 /* up to prefix6-len */
#define PORTPARAMS_LEN 4
#define FLAG_FMR 0x01

/* What is left of a run of options. */
struct run {
	const uint8_t *b;
	size_t len;
};

struct option {
	unsigned code;
	const uint8_t *b;
	size_t len;
};

struct parse {
	struct s46 *s;
	enum map_iid iid;
	struct diag *d;
};

/* Port parameters; psid_len 0: nothing explicit. */
struct ports {
	bool seen;
	uint8_t offset, psid_len;
	uint16_t psid;
};

/* Returns 1; 0: no more; UK_EPROTO: the next one overruns. */
static int
next(struct run *r, struct option *o)
{
	if (r->len == 0)
		return 0;
	if (r->len < HEAD_LEN)
		return UK_EPROTO;
	o->code = load_be16(r->b);
	o->len = load_be16(r->b + 2);
	o->b = r->b + HEAD_LEN;
	if (o->len > r->len - HEAD_LEN)
		return UK_EPROTO;
	r->b += HEAD_LEN + o->len;
	r->len -= HEAD_LEN + o->len;
	return 1;
}

/* Does it end where its last option does? */
static bool
is_whole(struct run r)
{
	struct option o;
	int more;

	while ((more = next(&r, &o)) > 0)
		;
	return more == 0;
}

static void
ignore(struct parse *p, unsigned code, const char *why)
{
	p->s->ignored++;
	diag_warn(p->d, "DHCPv6 option %u is ignored: %s", code, why);
}

/* ---- S46_RULE ---- */

static const char *
parse_ports(struct ports *to, const struct option *o)
{
	if (to->seen)
		return "two sets of port parameters in one rule";
	if (o->len != PORTPARAMS_LEN)
		return "port parameters (93) of another length than 4";
	to->seen = true;
	to->offset = o->b[0];
	to->psid_len = o->b[1];
	if (to->offset > 15 || to->psid_len > 16)
		return "a PSID offset over 15 or a PSID length over 16";
	if (to->offset + to->psid_len > 16)
		return "PSID offset and length are more than a port's 16 bits";
	/* Left-aligned, unlike in an address; what is behind it is padding. */
	if (to->psid_len > 0)
		to->psid =
		    (uint16_t)(load_be16(o->b + 2) >> (16 - to->psid_len));
	return NULL;
}

/* Field by field; the bits of a prefix beyond its length do not count (4.1).
 * Returns what is wrong; NULL: nothing. rest: the options in it. */
static const char *
parse_fields(struct map_rule *r, const struct option *o, struct run *rest)
{
	struct ip_ifaddr a4 = {.addr.family = FAMILY_V4};
	struct ip_ifaddr a6 = {.addr.family = FAMILY_V6};
	size_t bytes;

	if (o->len < RULE_MIN)
		return "a rule that is cut short";
	a4.bits = o->b[2];
	a6.bits = o->b[7];
	if (o->b[1] > MAP_EA_LEN_MAX || a4.bits > 32 || a6.bits > 128)
		return "an EA length over 48, or a prefix length over 32 or "
		       "128";
	bytes = (a6.bits + 7u) / 8;
	if (o->len - RULE_MIN < bytes)
		return "a rule whose IPv6 prefix is cut short";
	r->fmr = (o->b[0] & FLAG_FMR) != 0;
	r->ea_len = o->b[1];
	memcpy(a4.addr.b, o->b + 3, 4);
	memcpy(a6.addr.b, o->b + RULE_MIN, bytes);
	ip_ifaddr_prefix(&a4, &r->ipv4);
	ip_ifaddr_prefix(&a6, &r->ipv6);
	rest->b = o->b + RULE_MIN + bytes;
	rest->len = o->len - RULE_MIN - bytes;
	return NULL;
}

/* Port parameters as the rule's. */
static const char *
apply_ports(struct parse *p, struct map_rule *r, const struct ports *given)
{
	unsigned embedded = map_rule_psid_bits(r);

	r->psid_offset = given->seen ? given->offset : MAP_PSID_OFFSET_DEFAULT;
	r->psid_len = (uint8_t)embedded;
	if (given->psid_len == 0)
		return NULL;
	/* 4.5: a PSID needs a whole IPv4 address, else its option does not
	 * count; the rule still does. */
	if (r->ipv4.bits + r->ea_len < 32) {
		ignore(p, OPTION_PORTPARAMS,
		    "a PSID for less than a whole IPv4 address");
		r->psid_offset = MAP_PSID_OFFSET_DEFAULT;
		return NULL;
	}
	if (embedded > 0 && embedded != given->psid_len)
		return "PSID length and EA bits contradict each other";
	r->psid_len = given->psid_len;
	r->psid = given->psid;
	r->psid_given = true;
	return NULL;
}

static const char *
parse_rule(struct parse *p, struct map_rule *r, const struct option *o,
    char why[static MAP_RULE_WHY_MAX])
{
	struct ports ports = {.seen = false};
	const char *wrong;
	struct option in;
	struct run rest = {NULL, 0};
	int more;

	wrong = parse_fields(r, o, &rest);
	while (wrong == NULL && (more = next(&rest, &in)) != 0) {
		if (more < 0)
			return "a rule with an option that overruns it";
		if (in.code == OPTION_PORTPARAMS)
			wrong = parse_ports(&ports, &in);
	}
	if (wrong == NULL)
		wrong = apply_ports(p, r, &ports);
	if (wrong == NULL && map_rule_check(r, why) < 0)
		wrong = why;
	return wrong;
}

/* ---- S46_CONT_MAPE ---- */

/* RFC 7598 section 5, table 1: a RULE and a BR at least, no DMR and no
 * V4V6BIND. Of several BRs the first is taken. */
static const char *
check_container(struct run r, struct ip_addr *br)
{
	bool rule = false;
	struct option o;

	*br = (struct ip_addr){.family = FAMILY_NONE};
	if (!is_whole(r))
		return "an option in it overruns it";
	while (next(&r, &o) > 0) {
		if (o.code == OPTION_DMR || o.code == OPTION_V4V6BIND)
			return "options (91, 92) that are not MAP-E's are in "
			       "it";
		if (o.code == OPTION_BR && o.len != 16)
			return "a border relay (90) of another length than 16";
		rule = rule || o.code == OPTION_RULE;
		if (o.code != OPTION_BR || br->family != FAMILY_NONE)
			continue;
		br->family = FAMILY_V6;
		memcpy(br->b, o.b, 16);
		if (!map_rule_br_ok(br))
			return "its border relay is no host's address";
	}
	if (!rule)
		return "no rule (89) in it";
	return br->family == FAMILY_NONE ? "no border relay (90) in it" : NULL;
}

/* Which of the two counts, nothing would say. */
static bool
is_known(const struct map_rules *l, const struct ip_prefix *ipv6)
{
	for (size_t i = 0; i < l->n; i++) {
		if (memcmp(&l->item[i].ipv6, ipv6, sizeof(*ipv6)) == 0)
			return true;
	}
	return false;
}

/* Returns 0; UK_ENOMEM. */
static int
take_rule(struct parse *p, const struct option *o, const struct ip_addr *br)
{
	struct map_rule r = {.iid = p->iid,
	    .br = *br,
	    .confidence = "official",
	    .source = "dhcp"};
	char why[MAP_RULE_WHY_MAX];
	const char *wrong = parse_rule(p, &r, o, why);
	int err;

	if (wrong == NULL && is_known(&p->s->rules, &r.ipv6))
		wrong = "its IPv6 prefix is that of a rule before it";
	if (wrong != NULL) {
		ignore(p, OPTION_RULE, wrong);
		return 0;
	}
	err = map_rules_add(&p->s->rules, &r);
	if (err == UK_ELIMIT) {
		ignore(p, OPTION_RULE, "too many rules");
		return 0;
	}
	return err;
}

/* Returns 0; UK_ENOMEM. */
static int
take_container(struct parse *p, const struct option *c)
{
	struct run r = {c->b, c->len};
	struct ip_addr br;
	const char *wrong = check_container(r, &br);
	struct option o;
	int err = 0;

	if (wrong != NULL) {
		ignore(p, c->code, wrong);
		return 0;
	}
	while (err == 0 && next(&r, &o) > 0)
		if (o.code == OPTION_RULE)
			err = take_rule(p, &o, &br);
	return err;
}

/* ---- a message's options ---- */

/* Returns 0; UK_ENOMEM. */
static int
take(struct parse *p, const struct option *o)
{
	switch (o->code) {
	case OPTION_CONT_MAPE:
		return take_container(p, o);
	case OPTION_CONT_MAPT:
	case OPTION_CONT_LW:
		if (is_whole((struct run){o->b, o->len}))
			p->s->others++;
		else
			ignore(p, o->code, "an option in it overruns it");
		return 0;
	case OPTION_BR: /* DHCP 4o6 has it alone: RFC 8539 section 6 */
		if (o->len == 16)
			p->s->others++;
		else
			ignore(p, o->code, "another length than 16");
		return 0;
	case OPTION_RULE:
	case OPTION_DMR:
	case OPTION_V4V6BIND:
	case OPTION_PORTPARAMS:
		ignore(p, o->code, "it stands outside of a container");
		return 0;
	default:
		return 0;
	}
}

static void
tell_cut(struct parse *p, const struct run *r)
{
	p->s->ignored++;
	if (r->len < HEAD_LEN)
		diag_warn(p->d,
		    "the last %zu bytes of the DHCPv6 options are ignored: "
		    "an option has %d at least",
		    r->len, HEAD_LEN);
	else
		diag_warn(p->d,
		    "DHCPv6 option %u is ignored: it is cut short: %zu of its "
		    "%u bytes are there",
		    load_be16(r->b), r->len - HEAD_LEN, load_be16(r->b + 2));
}

int
s46_parse(struct s46 *s, const uint8_t *options, size_t len, enum map_iid iid,
    struct diag *d)
{
	struct parse p = {s, iid, d};
	struct run r = {options, len};
	struct option o;
	int more, err = 0;

	*s = (struct s46){.ignored = 0};
	while (err == 0 && (more = next(&r, &o)) != 0) {
		if (more > 0) {
			err = take(&p, &o);
			continue;
		}
		tell_cut(&p, &r);
		break;
	}
	if (err < 0)
		s46_fini(s);
	return err;
}

void
s46_fini(struct s46 *s)
{
	map_rules_fini(&s->rules);
	*s = (struct s46){.ignored = 0};
}

/* ---- hexadecimal text ---- */

/* Returns 0..15; -1: between digits; -2: not in such a text. */
static int
digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c != '\0' && strchr(" \t\r\n:", c) != NULL ? -1 : -2;
}

/* Where digits begin: behind a "0x" that some put in front. */
static size_t
digits_at(const uint8_t *text, size_t len)
{
	size_t i = 0;

	while (i < len && digit(text[i]) == -1)
		i++;
	if (len - i > 2 && text[i] == '0' && (text[i + 1] | 0x20) == 'x')
		return i + 2;
	return i;
}

int
s46_decode(uint8_t *text, size_t *len)
{
	size_t first = digits_at(text, *len), digits = 0;

	for (size_t i = first; i < *len; i++) {
		if (digit(text[i]) == -2)
			return 0;
		digits += digit(text[i]) >= 0;
	}
	if (digits % 2 != 0)
		return UK_EPROTO;
	digits = 0;
	for (size_t i = first; i < *len; i++) {
		int v = digit(text[i]);

		if (v < 0)
			continue;
		if (digits % 2 == 0)
			text[digits / 2] = (uint8_t)(v << 4);
		else
			text[digits / 2] |= (uint8_t)v;
		digits++;
	}
	*len = digits / 2;
	return 0;
}
