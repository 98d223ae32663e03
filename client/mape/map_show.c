#include "map_show.h"

#include <string.h>

#include "io/tunnel_status.h"
#include "plain_text.h"

#define PLAIN_MAX 128

/* A rule's text may come from a server (C5). */
static const char *
plain(const char *s, char text[static PLAIN_MAX])
{
	plain_text_copy(text, PLAIN_MAX, s);
	return text;
}

/* ---- JSON ---- */

/* "": nobody said. */
static json_t *
text_or_null(const char *s)
{
	char text[PLAIN_MAX];

	return s[0] != 0 ? json_string(plain(s, text)) : json_null();
}

static json_t *
address(const struct ip_addr *a)
{
	char text[IP_ADDR_TEXT_MAX];

	if (a->family == FAMILY_NONE)
		return json_null();
	return json_string(ip_addr_format(a, text));
}

static json_t *
prefix(const struct ip_prefix *p)
{
	char text[IP_PREFIX_TEXT_MAX];

	return json_string(ip_prefix_format(p, text));
}

static json_t *
ranges(const struct map_ports *p)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < map_ports_ranges(p); i++) {
		uint16_t low, high;

		map_ports_range(p, i, &low, &high);
		list = tunnel_status_push(
		    list, json_pack("[i, i]", (int)low, (int)high));
	}
	return list;
}

static json_t *
put_ports(json_t *o, const struct map_ports *p)
{
	o = tunnel_status_put(
	    o, "psid", p->psid_len > 0 ? json_integer(p->psid) : json_null());
	o = tunnel_status_put(o, "psid_offset", json_integer(p->offset));
	o = tunnel_status_put(o, "psid_len", json_integer(p->psid_len));
	o = tunnel_status_put(
	    o, "port_count", json_integer(map_ports_count(p)));
	return tunnel_status_put(o, "port_ranges", ranges(p));
}

json_t *
map_show_json(const struct map_line *l)
{
	const struct map_rule *r = l->rule;
	const struct map_ce *ce = &l->ce;
	json_t *o = json_object();

	o = tunnel_status_put(o, "operator", text_or_null(r->operator_name));
	o = tunnel_status_put(o, "ipv6_prefix", prefix(&ce->ipv6_prefix));
	o = tunnel_status_put(o, "ipv4",
	    ce->ipv4.bits == 32 ? address(&ce->ipv4.addr) : prefix(&ce->ipv4));
	o = put_ports(o, &ce->ports);
	o = tunnel_status_put(o, "ce_ipv6", address(&ce->address));
	o = tunnel_status_put(o, "br_ipv6", address(&r->br));
	o = tunnel_status_put(
	    o, "iid_style", json_string(map_iid_name(r->iid)));
	o = tunnel_status_put(o, "rule_source", text_or_null(r->source));
	return tunnel_status_put(o, "confidence", text_or_null(r->confidence));
}

/* ---- text ---- */

#define CELL 64
#define ROW 4096

static char
cell(const struct map_ports *p, uint32_t first)
{
	unsigned n = 0;

	for (uint32_t port = first; port < first + CELL; port++)
		n += map_ports_has(p, (uint16_t)port);
	if (n == 0)
		return '.';
	return n == CELL ? '#' : '+';
}

void
map_show_strip(const struct map_ports *p, FILE *to)
{
	for (uint32_t row = 0; row < 65536; row += ROW) {
		fprintf(to, "  %5u ", (unsigned)row);
		for (uint32_t at = row; at < row + ROW; at += CELL)
			fputc(cell(p, at), to);
		fprintf(to, " %u\n", (unsigned)(row + ROW - 1));
	}
}

static void
print_ipv4(const struct map_line *l, FILE *to)
{
	char addr[IP_ADDR_TEXT_MAX], net[IP_PREFIX_TEXT_MAX];
	const struct map_ce *ce = &l->ce;

	if (ce->ipv4.bits < 32) {
		tunnel_status_line(to, 1, "IPv4", "%s, all of this line",
		    ip_prefix_format(&ce->ipv4, net));
		return;
	}
	ip_addr_format(&ce->ipv4.addr, addr);
	if (ce->ports.psid_len == 0)
		tunnel_status_line(to, 1, "IPv4", "%s, not shared", addr);
	else
		tunnel_status_line(to, 1, "IPv4", "%s, shared by %lu lines",
		    addr, 1ul << ce->ports.psid_len);
}

/* What operators use has 63 at most; more than that nobody reads. */
#define RANGES_MAX 65

static void
print_ports(const struct map_ports *p, FILE *to)
{
	uint32_t n = map_ports_ranges(p),
		 shown = n > RANGES_MAX ? RANGES_MAX : n;
	uint16_t low, high;

	if (p->psid_len == 0) {
		tunnel_status_line(to, 1, "ports", "all 65536");
		return;
	}
	tunnel_status_line(to, 1, "PSID", "%u (offset %u, length %u)", p->psid,
	    p->offset, p->psid_len);
	tunnel_status_line(to, 1, "ports", "%u of 65536, in %u range%s of %u",
	    (unsigned)map_ports_count(p), (unsigned)n, n == 1 ? "" : "s",
	    (unsigned)(map_ports_count(p) / n));
	for (uint32_t i = 0; i < shown; i++) {
		map_ports_range(p, i, &low, &high);
		if (i % 5 == 0)
			fprintf(to, "%s               ", i > 0 ? "\n" : "");
		else
			fputc(' ', to);
		fprintf(to, "%u", low);
		if (high > low)
			fprintf(to, "-%u", high);
	}
	fputc('\n', to);
	if (n > shown)
		fprintf(to, "               and %u more, one every %u ports\n",
		    (unsigned)(n - shown), 65536u >> p->offset);
}

/* The words of rules-jp.csv. */
static const char *
explain(const char *confidence)
{
	static const char *const word[][2] = {
	    {"official", "the operator said so: its rule server, or DHCPv6"},
	    {"observed", "public tables, and it was seen at work on a line"},
	    {"tables", "public tables agree, which have common ancestors"},
	    {"newer", "only in the tables refreshed in 2026"},
	    {"reported", "one user's report"},
	    {"extrapolated", "a guess: a pattern of other rules continued"},
	};

	for (size_t i = 0; i < ARRAY_LEN(word); i++) {
		if (strcmp(confidence, word[i][0]) == 0)
			return word[i][1];
	}
	return NULL;
}

static void
print_rule(const struct map_rule *r, FILE *to)
{
	char ipv6[IP_PREFIX_TEXT_MAX], ipv4[IP_PREFIX_TEXT_MAX];
	const char *meaning = explain(r->confidence);
	char said[PLAIN_MAX];

	tunnel_status_line(to, 1, "rule", "%s to %s, %u EA bits",
	    ip_prefix_format(&r->ipv6, ipv6), ip_prefix_format(&r->ipv4, ipv4),
	    r->ea_len);
	tunnel_status_line(to, 1, "known from", "%s",
	    r->source[0] != 0 ? plain(r->source, said) : "nobody said");
	tunnel_status_line(to, 1, "how sure", "%s%s%s",
	    r->confidence[0] != 0 ? plain(r->confidence, said) : "nobody said",
	    meaning != NULL ? ": " : "", meaning != NULL ? meaning : "");
}

void
map_show_print(const struct map_line *l, FILE *to)
{
	const struct map_rule *r = l->rule;
	char text[IP_PREFIX_TEXT_MAX], who[PLAIN_MAX];

	fprintf(to, "%s line %s\n",
	    r->operator_name[0] != 0 ? plain(r->operator_name, who) : "MAP-E",
	    ip_prefix_format(&l->ce.ipv6_prefix, text));
	print_ipv4(l, to);
	tunnel_status_line(to, 1, "CE address", "%s (%s form)",
	    ip_addr_format(&l->ce.address, text), map_iid_name(r->iid));
	tunnel_status_line(to, 1, "BR", "%s",
	    r->br.family != FAMILY_NONE ? ip_addr_format(&r->br, text)
					: "not known");
	print_rule(r, to);
	print_ports(&l->ce.ports, to);
	map_show_strip(&l->ce.ports, to);
	fputs("        one character for 64 ports: '.' none, '+' some, '#' "
	      "all of them\n",
	    to);
}
