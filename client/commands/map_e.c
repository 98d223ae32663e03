#include "commands.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "client/mape/map_show.h"
#include "client/mape/map_source.h"
#include "client/paths.h"
#include "core/err.h"
#include "io/clock.h"
#include "io/cmdline.h"
#include "io/service.h"
#include "io/tunnel_status.h"
#include "line.h"

static const char usage[] =
    "Usage: ukai map-e show [--ipv6 ADDRESS|PREFIX] [--rules FILE]\n"
    "                       [--dhcp FILE [--iid FORM]] [--ask] [--json]\n"
    "\n"
    "Show what the MAP-E line is that this host is on, or that an IPv6\n"
    "address or prefix is of: operator, IPv4 address, ports, CE and BR.\n"
    "\n"
    "  -6, --ipv6 ADDRESS|PREFIX   of the line: its prefix, or any address\n"
    "                              in it, of a PC behind it, too\n"
    "  -r, --rules FILE            rules in place of the compiled-in ones\n"
    "  -d, --dhcp FILE             DHCPv6 options (RFC 7598), as bytes or in\n"
    "                              hexadecimal; \"-\": standard input\n"
    "  -i, --iid FORM              of CE addresses by DHCPv6: rfc7597 (usual)\n"
    "                              or draft03\n"
    "  -a, --ask                   ask the operator's server (4over6.info), or\n"
    "                              take its last answer while that is good\n"
    "  -j, --json                  an object with --ipv6, else an array of\n"
    "                              them; see ukai(1)\n";

struct options {
	const char *ipv6, *rules, *dhcp;
	enum map_iid iid;
	bool iid_given, ask, json;
};

static int
take_iid(void *to, const char *text)
{
	struct options *o = to;

	o->iid_given = true;
	if (map_iid_parse(&o->iid, text, strlen(text)) == 0)
		return 0;
	fprintf(stderr,
	    "ukai: map-e: \"%s\" is no form of CE addresses; known: rfc7597, "
	    "draft03\n",
	    text);
	return UK_EINVAL;
}

static const struct cmdline_option options[] = {
    CMDLINE_TEXT('6', "ipv6", struct options, ipv6),
    CMDLINE_TEXT('r', "rules", struct options, rules),
    CMDLINE_TEXT('d', "dhcp", struct options, dhcp),
    CMDLINE_TAKE('i', "iid", take_iid),
    CMDLINE_FLAG('a', "ask", struct options, ask),
    CMDLINE_FLAG('j', "json", struct options, json),
};

static const struct cmdline cmdline = {
    .command = "ukai map-e",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = 1,
    .words = "one word: show (an address stands behind --ipv6)",
};

static bool
parse(struct options *o, int argc, char **argv, int *code)
{
	struct cmdline_words w;

	*o = (struct options){.ipv6 = NULL};
	if (!cmdline_take(&cmdline, o, &w, argc, argv, code))
		return false;
	if (strcmp(w.word[0], "show") != 0)
		*code = cmdline_refuse(
		    &cmdline, "unknown word \"%s\"; known: show", w.word[0]);
	else if (o->iid_given && o->dhcp == NULL)
		*code = cmdline_refuse(&cmdline,
		    "--iid is about rules by --dhcp; other rules say "
		    "themselves how CE addresses are made");
	else
		return true;
	return false;
}

static int
load_rules(struct map_rules *rules, const struct options *o, struct diag *d)
{
	char path[CLIENT_PATH_MAX];
	struct provision_setup ask = {
	    .path = path,
	    .now_s = clock_now().wall_ns / UK_NS_PER_S,
	    .question.version = UKAI_VERSION,
	};
	struct map_source from = {
	    .rules = o->rules, .dhcp = o->dhcp, .iid = o->iid};
	int err;

	if (o->ask) {
		err = client_state_path(path, PROVISION_FILE, d);
		if (err < 0)
			return err;
		from.ask = &ask;
	}
	return map_source_load(rules, &from, d);
}

/* ---- one line ---- */

static int
show_one(const struct options *o, const struct map_rules *rules)
{
	struct map_line l;
	int err = line_named(&l, rules, o->ipv6, o->rules);

	if (err < 0)
		return service_exit_code(err);
	if (o->json)
		return command_print_json(map_show_json(&l));
	map_show_print(&l, stdout);
	return EXIT_OK;
}

/* ---- this host's lines ---- */

static void
print_reason(const struct map_line *l, bool chosen)
{
	static const char *const reason[] = {
	    [MAP_LINE_CE_HERE] = "the line's CE address",
	    [MAP_LINE_WAY_OUT] = "packets to the BR leave from it",
	    [MAP_LINE_SEEN] = "packets to the BR do not leave from it",
	};
	char text[IP_ADDR_TEXT_MAX], name[IF_NAMESIZE];

	if (if_indextoname(l->ifindex, name) == NULL)
		strcpy(name, "?");
	printf("  %-12s %s on %s: %s\n", chosen ? "chosen by" : "seen by",
	    ip_addr_format(&l->seen, text), name, reason[l->reason]);
}

static void
print_lines(const struct map_lines *l)
{
	if (l->n > 1)
		printf("This host is on %zu lines. The first is the one that "
		       "ukai takes: %s.\n\n",
		    l->n,
		    l->item[0].reason == l->item[1].reason
			? "no other shows better that it is in use"
			: "it shows best that it is in use");
	for (size_t i = 0; i < l->n; i++) {
		if (i > 0)
			putchar('\n');
		map_show_print(&l->item[i], stdout);
		print_reason(&l->item[i], i == 0);
	}
}

static int
print_lines_json(const struct map_lines *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->n; i++)
		list = tunnel_status_push(list, map_show_json(&l->item[i]));
	return command_print_json(list);
}

static int
show_host(const struct options *o, const struct map_rules *rules)
{
	struct map_lines l;
	struct diag d;
	int err, code = EXIT_OK;

	diag_init(&d, NULL);
	err = map_lines_of_host(&l, rules, &d);
	diag_print(&d, "ukai", stderr);
	if (err == 0 && o->json)
		code = print_lines_json(&l);
	else if (err == 0)
		print_lines(&l);
	if (err == 0 && l.n == 0)
		line_tell_none(&l, o->rules);
	if (err < 0)
		code = service_exit_code(err);
	else if (l.n == 0)
		code = EXIT_FAILED;
	map_lines_fini(&l);
	return code;
}

int
command_map_e(int argc, char **argv)
{
	struct map_rules rules;
	struct options o;
	struct diag d;
	int err, code;

	if (!parse(&o, argc, argv, &code))
		return code;
	diag_init(&d, NULL);
	err = load_rules(&rules, &o, &d);
	diag_print(&d, "ukai", stderr);
	if (err < 0)
		return err == UK_ENOENT ? EXIT_USAGE : service_exit_code(err);
	code = o.ipv6 != NULL ? show_one(&o, &rules) : show_host(&o, &rules);
	map_rules_fini(&rules);
	return code;
}
