#include "map_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conf_schema.h"
#include "core/err.h"
#include "core/suggest.h"
#include "core/value.h"

#include "map_csv.h"

enum column {
	OPERATOR,
	IPV6,
	IPV4,
	EA_LEN,
	OFFSET,
	PSID_LEN,
	PSID,
	BR,
	IID,
	FMR,
	CONFIDENCE,
	SOURCE,
	COLUMNS
};

static const char *const name[COLUMNS] = {
    [OPERATOR] = "operator",
    [IPV6] = "ipv6_rule_prefix",
    [IPV4] = "ipv4_prefix",
    [EA_LEN] = "ea_len",
    [OFFSET] = "psid_offset",
    [PSID_LEN] = "psid_len",
    [PSID] = "psid",
    [BR] = "br_address",
    [IID] = "iid_style",
    [FMR] = "fmr",
    [CONFIDENCE] = "confidence",
    [SOURCE] = "source",
};

/* Where a rule stands, for what is found out later. */
struct place {
	unsigned line, ipv6_column, ipv4_column;
};

struct parser {
	struct csv csv;
	enum column header[CSV_FIELDS];
	unsigned columns;
	struct map_rules *rules;
	struct place *place; /* of each rule */
	size_t places; /* room */
	struct diag *d;
	unsigned errors;
};

static void
error(struct parser *p, const struct csv_field *f, const char *text)
{
	p->errors++;
	diag_add(p->d, DIAG_ERROR, p->csv.line, f->column, "%s", text);
}

static void
error_value(struct parser *p, enum column c, const struct csv_field *f,
    const char *want)
{
	char text[DIAG_TEXT];

	snprintf(
	    text, sizeof(text), "%s \"%s\" is not %s", name[c], f->s, want);
	error(p, f, text);
}

/* The field of a column; NULL: there is no such column. */
static const struct csv_field *
field_of(const struct parser *p, enum column c)
{
	for (unsigned i = 0; i < p->columns; i++) {
		if (p->header[i] == c)
			return &p->csv.field[i];
	}
	return NULL;
}

static bool
has(const struct parser *p, enum column c)
{
	const struct csv_field *f = field_of(p, c);

	return f != NULL && f->len > 0;
}

/* ---- the line that names the columns ---- */

static enum column
column_of(const struct csv_field *f)
{
	enum column c = 0;

	while (c < COLUMNS && strcmp(name[c], f->s) != 0)
		c++;
	return c;
}

static void
error_column(struct parser *p, const struct csv_field *f)
{
	const char *near = suggest_word(f->s, f->len, name, COLUMNS);
	char text[DIAG_TEXT];

	snprintf(text, sizeof(text), "unknown column \"%s\"%s%s%s", f->s,
	    near != NULL ? "; did you mean " : "", near != NULL ? near : "",
	    near != NULL ? "?" : "");
	error(p, f, text);
}

static bool
names_columns(const struct csv *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (column_of(&c->field[i]) < COLUMNS)
			return true;
	}
	return false;
}

static int
require_columns(struct parser *p)
{
	unsigned before = p->errors;
	static const enum column required[] = {IPV6, IPV4, EA_LEN};
	char text[DIAG_TEXT];

	for (size_t i = 0; i < ARRAY_LEN(required); i++) {
		if (field_of(p, required[i]) != NULL)
			continue;
		snprintf(text, sizeof(text), "the column %s is missing",
		    name[required[i]]);
		error(p, &p->csv.field[0], text);
	}
	return p->errors == before ? 0 : UK_EINVAL;
}

/* Returns UK_EINVAL when nothing behind it has a meaning. */
static int
parse_header(struct parser *p)
{
	if (!names_columns(&p->csv)) {
		error(p, &p->csv.field[0],
		    "the first line has to name the columns, separated by "
		    "commas: ipv6_rule_prefix,ipv4_prefix,ea_len and so on");
		return UK_EINVAL;
	}
	for (unsigned i = 0; i < p->csv.n; i++) {
		const struct csv_field *f = &p->csv.field[i];
		enum column c = column_of(f);

		if (c == COLUMNS)
			error_column(p, f);
		else if (field_of(p, c) != NULL)
			error(p, f, "this column stands there already");
		p->header[p->columns++] = c;
	}
	return require_columns(p);
}

/* ---- values ---- */

/* Host bits are a mistake: of the length, or of the prefix. */
static int
parse_prefix(struct ip_prefix *to, uint8_t family, const struct csv_field *f)
{
	struct ip_ifaddr a;

	if (memchr(f->s, '/', f->len) == NULL ||
	    ip_ifaddr_parse(&a, f->s, f->len) < 0 || a.addr.family != family)
		return UK_EINVAL;
	ip_ifaddr_prefix(&a, to);
	return ip_addr_equal(&a.addr, &to->addr) ? 0 : UK_EINVAL;
}

static void
read_prefix(struct parser *p, enum column c, struct ip_prefix *to)
{
	const struct csv_field *f = field_of(p, c);

	if (parse_prefix(to, c == IPV6 ? FAMILY_V6 : FAMILY_V4, f) < 0)
		error_value(p, c, f,
		    c == IPV6 ? "an IPv6 prefix with its length, and zeros "
				"behind that: 2001:db8:1200::/40"
			      : "an IPv4 prefix with its length, and zeros "
				"behind that: 192.0.2.0/24");
}

/* Returns otherwise when the field is empty or wrong. */
static unsigned
read_number(struct parser *p, enum column c, unsigned max, unsigned otherwise)
{
	const struct csv_field *f = field_of(p, c);
	char want[40];
	uint64_t v;

	if (!has(p, c))
		return otherwise;
	if (value_parse_u64(&v, f->s, f->len, max, false) == 0)
		return (unsigned)v;
	snprintf(want, sizeof(want), "a number from 0 to %u", max);
	error_value(p, c, f, want);
	return otherwise;
}

static void
read_br(struct parser *p, struct ip_addr *to)
{
	const struct csv_field *f = field_of(p, BR);

	if (has(p, BR) &&
	    (ip_addr_parse(to, f->s, f->len) < 0 || to->family != FAMILY_V6))
		error_value(p, BR, f, "an IPv6 address");
}

static void
read_iid(struct parser *p, enum map_iid *to)
{
	const struct csv_field *f = field_of(p, IID);

	if (has(p, IID) && map_iid_parse(to, f->s, f->len) < 0)
		error_value(p, IID, f, "draft03 or rfc7597");
}

static void
read_text(struct parser *p, enum column c, char *to, size_t size)
{
	const struct csv_field *f = field_of(p, c);
	char text[DIAG_TEXT];

	if (!has(p, c))
		return;
	if (f->len < size) {
		memcpy(to, f->s, f->len + 1);
		return;
	}
	snprintf(text, sizeof(text), "%s is longer than %zu bytes", name[c],
	    size - 1);
	error(p, f, text);
}

static void
read_lengths(struct parser *p, struct map_rule *r)
{
	const struct csv_field *ea = field_of(p, EA_LEN);

	if (ea->len == 0)
		error_value(p, EA_LEN, ea, "a number from 0 to 48");
	r->ea_len = (uint8_t)read_number(p, EA_LEN, UINT8_MAX, 0);
	r->psid_offset =
	    (uint8_t)read_number(p, OFFSET, UINT8_MAX, MAP_PSID_OFFSET_DEFAULT);
	r->psid_len = (uint8_t)read_number(
	    p, PSID_LEN, UINT8_MAX, map_rule_psid_bits(r) & UINT8_MAX);
	r->psid_given = has(p, PSID);
	r->psid = (uint16_t)read_number(p, PSID, UINT16_MAX, 0);
}

static void
read_values(struct parser *p, struct map_rule *r)
{
	/* "builtin: " and the like fit in front of what a source is. */
	char source[sizeof(r->source) - 16] = "";

	read_text(p, OPERATOR, r->operator_name, sizeof(r->operator_name));
	read_prefix(p, IPV6, &r->ipv6);
	read_prefix(p, IPV4, &r->ipv4);
	read_lengths(p, r);
	read_br(p, &r->br);
	read_iid(p, &r->iid);
	r->fmr = read_number(p, FMR, 1, 0) == 1;
	read_text(p, CONFIDENCE, r->confidence, sizeof(r->confidence));
	read_text(p, SOURCE, source, sizeof(source));
	memcpy(r->source, source, sizeof(source));
}

/* ---- a rule ---- */

static const enum column column_of_field[] = {
    [MAP_RULE_IPV6] = IPV6,
    [MAP_RULE_IPV4] = IPV4,
    [MAP_RULE_EA_LEN] = EA_LEN,
    [MAP_RULE_PSID_OFFSET] = OFFSET,
    [MAP_RULE_PSID_LEN] = PSID_LEN,
    [MAP_RULE_PSID] = PSID,
    [MAP_RULE_BR] = BR,
};

static void
check_rule(struct parser *p, const struct map_rule *r)
{
	char why[MAP_RULE_WHY_MAX];
	enum map_rule_field field;
	enum column c;

	if (map_rule_fault(r, &field, why) == 0)
		return;
	c = column_of_field[field];
	/* A psid_len that was not written follows from ea_len. */
	error(p, field_of(p, has(p, c) ? c : EA_LEN), why);
}

static int
keep_rule(struct parser *p, const struct map_rule *r)
{
	size_t n = p->rules->n;
	struct place *place =
	    conf_grow(p->place, n, &p->places, sizeof(*p->place));
	int err;

	if (place == NULL)
		return UK_ENOMEM;
	p->place = place;
	place[n] = (struct place){
	    p->csv.line, field_of(p, IPV6)->column, field_of(p, IPV4)->column};
	err = map_rules_add(p->rules, r);
	if (err == UK_ELIMIT) {
		error(p, &p->csv.field[0], "too many rules");
		return UK_EINVAL;
	}
	return err;
}

static int
parse_row(struct parser *p)
{
	struct map_rule r = {.iid = MAP_IID_RFC7597};
	unsigned before = p->errors;
	char text[DIAG_TEXT];

	if (p->csv.n != p->columns) {
		snprintf(text, sizeof(text),
		    "%u fields, but the first line names %u columns", p->csv.n,
		    p->columns);
		error(p, &p->csv.field[0], text);
		return 0;
	}
	read_values(p, &r);
	if (p->errors == before)
		check_rule(p, &r);
	return p->errors == before ? keep_rule(p, &r) : 0;
}

/* ---- rules that overlap ---- */

struct entry {
	const struct map_rule *rule;
	const struct place *place;
};

/* Bytes order prefixes, one before those inside it; lines with a PSID of their
 * own may share an address. */
static int
compare_ipv4(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order =
	    memcmp(&x->rule->ipv4, &y->rule->ipv4, sizeof(x->rule->ipv4));

	if (order == 0)
		order = x->rule->psid - y->rule->psid;
	if (order == 0)
		order = x->place->line < y->place->line ? -1 : 1;
	return order;
}

static int
compare_ipv6(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order =
	    memcmp(&x->rule->ipv6, &y->rule->ipv6, sizeof(x->rule->ipv6));

	if (order == 0)
		order = x->place->line < y->place->line ? -1 : 1;
	return order;
}

static bool
overlap_ipv6(const struct map_rule *a, const struct map_rule *b)
{
	return ip_prefix_overlap(&a->ipv6, &b->ipv6);
}

/* Two lines of one address, with PSIDs that were given to them (RFC 7597 5.1:
 * with equal offset and length). */
static bool
share_ipv4(const struct map_rule *a, const struct map_rule *b)
{
	return a->psid_given && b->psid_given &&
	       a->psid_offset == b->psid_offset && a->psid_len == b->psid_len &&
	       a->psid != b->psid;
}

static bool
overlap_ipv4(const struct map_rule *a, const struct map_rule *b)
{
	return ip_prefix_overlap(&a->ipv4, &b->ipv4) && !share_ipv4(a, b);
}

static void
error_overlap(
    struct parser *p, const struct entry *a, const struct entry *b, bool ipv6)
{
	bool swap = a->place->line < b->place->line;
	const struct entry *late = swap ? b : a, *early = swap ? a : b;
	char one[IP_PREFIX_TEXT_MAX], other[IP_PREFIX_TEXT_MAX];

	p->errors++;
	ip_prefix_format(ipv6 ? &late->rule->ipv6 : &late->rule->ipv4, one);
	ip_prefix_format(ipv6 ? &early->rule->ipv6 : &early->rule->ipv4, other);
	diag_add(p->d, DIAG_ERROR, late->place->line,
	    ipv6 ? late->place->ipv6_column : late->place->ipv4_column,
	    "%s overlaps %s of line %u: some %s addresses would belong to "
	    "both",
	    one, other, early->place->line, ipv6 ? "IPv6" : "IPv4");
}

/* In order, whatever overlaps anything before it overlaps the last one that
 * does not. */
static void
sweep(struct parser *p, const struct entry *e, bool ipv6)
{
	const struct entry *outer = e;

	for (size_t i = 1; i < p->rules->n; i++) {
		if (ipv6 ? overlap_ipv6(outer->rule, e[i].rule)
			 : overlap_ipv4(outer->rule, e[i].rule))
			error_overlap(p, outer, &e[i], ipv6);
		else
			outer = &e[i];
	}
}

static int
check_overlaps(struct parser *p)
{
	size_t n = p->rules->n;
	struct entry *e = n > 0 ? calloc(n, sizeof(*e)) : NULL;

	if (n == 0)
		return 0;
	if (e == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < n; i++)
		e[i] = (struct entry){&p->rules->item[i], &p->place[i]};
	qsort(e, n, sizeof(*e), compare_ipv6);
	sweep(p, e, true);
	qsort(e, n, sizeof(*e), compare_ipv4);
	sweep(p, e, false);
	free(e);
	return 0;
}

/* ---- all of it ---- */

static int
parse_line(struct parser *p, int got)
{
	if (got > 0)
		return p->columns == 0 ? parse_header(p) : parse_row(p);
	p->errors++;
	return p->columns == 0 ? UK_EINVAL : 0;
}

static int
parse_rows(struct parser *p)
{
	int got, err = 0;

	while (err == 0 && (got = csv_next(&p->csv, p->d)) != 0)
		err = parse_line(p, got);
	return err;
}

static int
parse(struct parser *p)
{
	int err = parse_rows(p);

	if (err == 0)
		err = check_overlaps(p);
	if (err == 0 && p->rules->n == 0 && p->errors == 0) {
		p->errors++;
		diag_add(p->d, DIAG_ERROR, p->csv.line > 0 ? p->csv.line : 1, 1,
		    "there is no rule in the file");
	}
	return err == 0 && p->errors > 0 ? UK_EINVAL : err;
}

int
map_rules_parse(
    struct map_rules *l, const char *text, size_t len, struct diag *d)
{
	struct parser p = {.rules = l, .d = d};
	int err;

	*l = (struct map_rules){.item = NULL};
	csv_init(&p.csv, text, len);
	err = parse(&p);
	free(p.place);
	if (d != NULL)
		diag_sort(d);
	if (err == UK_ENOMEM)
		diag_error(d, "out of memory");
	if (err < 0)
		map_rules_fini(l);
	return err;
}
