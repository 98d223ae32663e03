#include "line.h"

#include <stdio.h>
#include <string.h>

#include "core/err.h"

/* What to do where no rule is about an address. */
static const char unknown[] =
    "What to do:\n"
    "  - See that this is the prefix that the operator gave: `ip -6 address`\n"
    "    on a PC behind the home gateway, or the gateway's status page (IPv6\n"
    "    prefix, WAN or LAN). It begins with 2, and not with fd or fe80.\n"
    "  - The line may not be MAP-E. transix, Xpass and v6 Connect are DS-Lite,\n"
    "    OCX Hikari and contracts with fixed IPv4 addresses are plain IPIP,\n"
    "    and OCN's lines in 2409: are none, either. Known are lines of v6plus,\n"
    "    BIGLOBE, OCN Virtual Connect and NURO.\n"
    "  - Ask the operator's server: --ask. It answers only on the line itself.\n"
    "  - If you have the operator's rule, write it to a file for --rules FILE;\n"
    "    ukai(1) says how.\n";

static const char no_rule[] =
    "What to do:\n"
    "  - See that this is the line's prefix, and that the file has its rule.\n"
    "  - Without --rules, the rules that are compiled in count: v6plus,\n"
    "    BIGLOBE, OCN Virtual Connect and NURO.\n";

static const char no_address[] =
    "ukai: this host has no global IPv6 address, so it cannot say which line\n"
    "it is on. See that the line's IPv6 works here, or give the line's prefix\n"
    "with --ipv6; the home gateway's status page shows it.\n";

static int
parse(struct ip_prefix *line, const char *text)
{
	if (ip_prefix_parse(line, text, strlen(text)) < 0) {
		fprintf(stderr,
		    "ukai: \"%s\" is neither an IPv6 address nor a prefix such "
		    "as 240b:10:3f6c:d400::/56\n",
		    text);
		return UK_EINVAL;
	}
	if (line->addr.family == FAMILY_V6)
		return 0;
	fprintf(stderr,
	    "ukai: %s is IPv4, which many lines share; --ipv6 wants the line's "
	    "IPv6 prefix or an IPv6 address in it\n",
	    text);
	return UK_EINVAL;
}

static void
tell_what_to_do(const char *rules_file)
{
	bool file = rules_file != NULL;

	fprintf(stderr, "%s%s.\n%s", file ? " to " : "", file ? rules_file : "",
	    file ? no_rule : unknown);
}

int
line_named(struct map_line *l, const struct map_rules *rules, const char *text,
    const char *rules_file)
{
	char why[MAP_RULE_WHY_MAX];
	struct ip_prefix line;
	int err;

	if (parse(&line, text) < 0)
		return UK_EINVAL;
	err = map_line_find(l, rules, &line, why);
	if (err == UK_ENOENT) {
		fprintf(
		    stderr, "ukai: %s is of no MAP-E line that is known", text);
		tell_what_to_do(rules_file);
	} else if (err < 0) {
		fprintf(stderr, "ukai: %s\n", why);
	}
	return err;
}

void
line_tell_none(const struct map_lines *l, const char *rules_file)
{
	if (l->addresses == 0) {
		fputs(no_address, stderr);
		return;
	}
	fputs("ukai: no address of this host is of a MAP-E line that is known",
	    stderr);
	tell_what_to_do(rules_file);
}
