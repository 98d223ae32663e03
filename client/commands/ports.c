#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ports/change.h"
#include "client/ports/report.h"
#include "core/err.h"
#include "host/conf_file.h"
#include "io/clock.h"
#include "io/cmdline.h"
#include "io/service.h"
#include "io/tunnel_status.h"
#include "line.h"

#define FILES_MAX 8

static const char usage[] =
    "Usage: ukai ports show   [--ipv6 ADDRESS|PREFIX] [--rules FILE] [--json]\n"
    "       ukai ports plan   [--os linux|windows] [--state FILE]...\n"
    "                         [--listening FILE]... [--source ADDRESS]\n"
    "                         [--keeps-ports] [as above]\n"
    "       ukai ports apply  [--for TIME] [--anyway] [--keeps-ports]\n"
    "                         [as above]\n"
    "       ukai ports revert [--json]\n"
    "\n"
    "The system's ephemeral ports, and how to draw them from the MAP-E line's\n"
    "own: what is, what would change and whether it helps here, do it, undo\n"
    "it.\n"
    "\n"
    "  -6, --ipv6 ADDRESS|PREFIX   the line; default: the one this host is on\n"
    "  -r, --rules FILE            rules in place of the compiled-in ones\n"
    "  -f, --for TIME              undo it by itself after 90s, 10m, 2h, 1d\n"
    "  -a, --anyway                also where it does not help\n"
    "  -k, --keeps-ports           the gateway in front keeps source ports\n"
    "  -o, --os windows            plan for a Windows PC, from:\n"
    "  -s, --state FILE            what netsh int ipv4 show dynamicport and\n"
    "                              show excludedportrange print there\n"
    "  -l, --listening FILE        what netstat -an prints there\n"
    "  -S, --source ADDRESS        the IPv4 address that it sends with\n"
    "  -j, --json                  see ukai(1)\n";

struct options {
	const char *verb, *ipv6, *rules, *source;
	const char *state[FILES_MAX], *listening[FILES_MAX];
	unsigned states, listenings;
	uint64_t for_s;
	bool json, anyway, keeps_ports, windows;
};

static int
take_os(void *to, const char *name)
{
	struct options *o = to;

	o->windows = strcmp(name, "windows") == 0;
	if (o->windows || strcmp(name, "linux") == 0)
		return 0;
	fprintf(stderr, "ukai: ports: --os is linux or windows, not \"%s\"\n",
	    name);
	return UK_EINVAL;
}

static int
take_time(void *to, const char *text)
{
	struct options *o = to;

	if (ports_timer_parse(&o->for_s, text) == 0)
		return 0;
	fprintf(stderr,
	    "ukai: ports: --for wants a time such as 90s, 10m, 2h or 1d, a "
	    "week at most, not \"%s\"\n",
	    text);
	return UK_EINVAL;
}

static int
take_file(const char **list, unsigned *n, const char *path)
{
	if (*n < FILES_MAX) {
		list[(*n)++] = path;
		return 0;
	}
	fprintf(
	    stderr, "ukai: ports: more than %d files of a kind\n", FILES_MAX);
	return UK_EINVAL;
}

static int
take_state(void *to, const char *path)
{
	struct options *o = to;

	return take_file(o->state, &o->states, path);
}

static int
take_listening(void *to, const char *path)
{
	struct options *o = to;

	return take_file(o->listening, &o->listenings, path);
}

static const struct cmdline_option options[] = {
    CMDLINE_TEXT('6', "ipv6", struct options, ipv6),
    CMDLINE_TEXT('r', "rules", struct options, rules),
    CMDLINE_TEXT('S', "source", struct options, source),
    CMDLINE_TAKE('o', "os", take_os),
    CMDLINE_TAKE('f', "for", take_time),
    CMDLINE_TAKE('s', "state", take_state),
    CMDLINE_TAKE('l', "listening", take_listening),
    CMDLINE_FLAG('a', "anyway", struct options, anyway),
    CMDLINE_FLAG('k', "keeps-ports", struct options, keeps_ports),
    CMDLINE_FLAG('j', "json", struct options, json),
};

static const struct cmdline cmdline = {
    .command = "ukai ports",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = 1,
    .words = "one of show, plan, apply and revert",
};

/* An option that the verb has no use for is a mistake, not to be passed over:
 * `plan --for` is not `apply --for`. */
static bool
fits_verb(const struct options *o)
{
	bool apply = strcmp(o->verb, "apply") == 0;
	bool plan = strcmp(o->verb, "plan") == 0;
	bool offline = o->states > 0 || o->listenings > 0 || o->source != NULL;

	if ((o->for_s > 0 || o->anyway) && !apply)
		return false;
	if (o->windows && !plan)
		return false;
	if (offline && !o->windows)
		return false;
	if (o->keeps_ports && !plan && !apply)
		return false;
	return strcmp(o->verb, "revert") != 0 ||
	       (o->ipv6 == NULL && o->rules == NULL);
}

static bool
parse(struct options *o, int argc, char **argv, int *code)
{
	struct cmdline_words w;

	*o = (struct options){.verb = NULL};
	if (!cmdline_take(&cmdline, o, &w, argc, argv, code))
		return false;
	o->verb = w.word[0];
	if (fits_verb(o))
		return true;
	*code = cmdline_refuse(
	    &cmdline, "an option that %s does not take", o->verb);
	return false;
}

/* The line, and what it borrows from. */
struct known_line {
	struct map_rules rules;
	struct map_lines host;
	struct map_line one;
	const struct map_line *line; /* NULL: none */
};

static void
known_line_fini(struct known_line *k)
{
	map_lines_fini(&k->host);
	map_rules_fini(&k->rules);
}

/* Returns 0, also when the host's line is not known: then k->line is NULL. */
static int
find_line(struct known_line *k, const struct options *o, struct diag *d)
{
	int err;

	*k = (struct known_line){.line = NULL};
	err = o->rules != NULL ? map_rules_load(&k->rules, o->rules, d)
			       : map_rules_builtin(&k->rules);
	if (err < 0)
		return err == UK_ENOENT ? UK_EINVAL : err;
	if (o->ipv6 != NULL) {
		k->line = &k->one;
		return line_named(&k->one, &k->rules, o->ipv6, o->rules);
	}
	err = map_lines_of_host(&k->host, &k->rules, d);
	if (err == 0 && k->host.n > 0)
		k->line = &k->host.item[0];
	return err;
}

static int
need_line(struct known_line *k, const struct options *o, struct diag *d)
{
	int err = find_line(k, o, d);

	if (err < 0 || k->line != NULL)
		return err;
	line_tell_none(&k->host, o->rules);
	return UK_ENOENT;
}

/* The journal of our own change is root's to read; others see its ports as
 * reserved by somebody. */
static int
read_host(struct ports_linux *s, struct diag *d)
{
	struct undo *u = NULL;
	int err;

	if (geteuid() == 0)
		ports_change_open(&u, false, NULL);
	err = ports_linux_read(s, u, d);
	undo_close(u);
	return err;
}

static int
show(const struct options *o, struct diag *d)
{
	struct ports_linux *s = malloc(sizeof(*s));
	struct ports_timer timer;
	struct known_line k;
	int err = s != NULL ? find_line(&k, o, d) : UK_ENOMEM;
	int code;

	if (err == 0)
		err = read_host(s, d);
	code = service_exit_code(err);
	if (err == 0) {
		ports_change_timer(&timer);
		/* Of before a restart, which has undone it. */
		if (!s->applied)
			timer = (struct ports_timer){.alive = false};
		if (o->json)
			code = command_print_json(
			    ports_show_json(s, k.line, &timer));
		else
			ports_show_print(s, k.line, &timer,
			    clock_now().wall_ns / UK_NS_PER_S, stdout);
	}
	if (s != NULL)
		known_line_fini(&k);
	free(s);
	return code;
}

static int
read_file(struct ports_windows *w, const char *path,
    int (*take)(
	struct ports_windows *w, const char *text, size_t len, struct diag *d))
{
	struct conf_file f = {.text = NULL};
	struct diag d;
	int err;

	diag_init(&d, path);
	err = conf_file_read(&f, path, &d);
	/* Its warning about who may read it is about keys. */
	d.n = err == 0 ? 0 : d.n;
	if (err == 0)
		err = take(w, f.text, f.len, &d);
	diag_print(&d, "ukai", stderr);
	conf_file_fini(&f);
	return err;
}

static int
read_windows(struct ports_windows *w, const struct options *o)
{
	int err = 0;

	ports_windows_default(w);
	for (unsigned i = 0; i < o->states && err == 0; i++)
		err = read_file(w, o->state[i], ports_windows_parse_state);
	for (unsigned i = 0; i < o->listenings && err == 0; i++)
		err =
		    read_file(w, o->listening[i], ports_windows_parse_netstat);
	return err == UK_ENOENT ? UK_EINVAL : err;
}

static int
windows_path(struct ports_path *p, const struct options *o)
{
	*p = (struct ports_path){
	    .known = o->source != NULL, .keeps_ports = o->keeps_ports};
	if (o->source == NULL ||
	    (ip_addr_parse(&p->source, o->source, strlen(o->source)) == 0 &&
		p->source.family == FAMILY_V4))
		return 0;
	fprintf(stderr, "ukai: \"%s\" is no IPv4 address\n", o->source);
	return UK_EINVAL;
}

static int
report_windows(struct ports_report *r, const struct options *o,
    const struct map_line *line)
{
	struct ports_windows *w = malloc(sizeof(*w));
	struct ports_path path;
	int err = w != NULL ? read_windows(w, o) : UK_ENOMEM;

	if (err == 0)
		err = windows_path(&path, o);
	if (err == 0)
		ports_report_windows(r, w, line, &path);
	free(w);
	return err;
}

static int
report_linux(struct ports_report *r, const struct options *o,
    const struct map_line *line, const struct undo *u, struct diag *d)
{
	struct ports_linux *s = malloc(sizeof(*s));
	struct ports_path path = {.keeps_ports = o->keeps_ports};
	int err = s != NULL ? ports_linux_path(&path, d) : UK_ENOMEM;

	if (err == 0)
		err = u != NULL ? ports_linux_read(s, u, d) : read_host(s, d);
	if (err == 0)
		ports_report_linux(r, s, line, &path);
	free(s);
	return err;
}

static int
plan(const struct options *o, struct diag *d)
{
	struct ports_report *r = ports_report_new();
	struct known_line k;
	int err = r != NULL ? need_line(&k, o, d) : UK_ENOMEM;
	int code;

	if (err == 0 && o->windows)
		err = report_windows(r, o, k.line);
	else if (err == 0)
		err = report_linux(r, o, k.line, NULL, d);
	code = service_exit_code(err);
	if (err == 0) {
		if (o->json)
			code = command_print_json(ports_report_json(r));
		else
			ports_report_print(r, stdout);
		if (r->refused.len > 0)
			code = EXIT_FAILED;
	}
	if (r != NULL)
		known_line_fini(&k);
	ports_report_free(r);
	return code;
}

static void
print_applied(const struct ports_report *r, uint64_t for_s, bool applied)
{
	const struct ports_plan *p = &r->pool[0].plan;

	printf("%u-%u, of which only %u of the line's ports are drawn; ",
	    p->low, p->high, p->own_after);
	if (!applied)
		puts("so it was already");
	else if (for_s > 0)
		printf("reverted after %llu seconds, or by ukai ports revert\n",
		    (unsigned long long)for_s);
	else
		puts("until ukai ports revert, or a restart");
	for (unsigned i = 0; i < r->warnings.n; i++)
		printf("warning: %s\n", r->warnings.entry[i].text);
}

static int
print_applied_json(const struct ports_report *r, uint64_t for_s, bool applied)
{
	uint64_t until_s = clock_now().wall_ns / UK_NS_PER_S + for_s;
	json_t *o = ports_report_json(r);

	o = tunnel_status_put(o, "applied", json_boolean(applied));
	return command_print_json(tunnel_status_put(o, "until",
	    applied && for_s > 0 ? json_integer((json_int_t)until_s)
				 : json_null()));
}

/* Before anything is touched. */
static int
may_apply(const struct ports_report *r, const struct options *o)
{
	if (r->refused.len > 0) {
		fprintf(stderr,
		    "ukai: error: refused, and nothing is changed: %s\n",
		    r->refused.s);
		return UK_ESYS;
	}
	if (r->help.helps || o->anyway)
		return 0;
	fprintf(stderr,
	    "ukai: error: it does not help here, and nothing is changed; "
	    "--anyway does it all the same. %s\n",
	    r->help.why);
	return UK_ESYS;
}

/* Under the journal's lock. */
static int
apply_locked(struct ports_report *r, const struct options *o, struct undo *u,
    const struct map_line *line, struct diag *d)
{
	int err = report_linux(r, o, line, u, d);
	bool done;

	if (err == 0)
		err = may_apply(r, o);
	if (err < 0)
		return err;
	done = ports_report_is_done(r);
	/* By others: there is nothing to undo. */
	if (done && undo_count(u) == 0)
		return 0;
	return ports_change_make(u, &r->pool[0].plan, done, o->for_s, d);
}

static int
apply(const struct options *o, struct diag *d)
{
	struct ports_report *r = ports_report_new();
	struct known_line k;
	struct undo *u = NULL;
	int err = r != NULL ? need_line(&k, o, d) : UK_ENOMEM;
	bool applied = false;

	if (err == 0)
		err = ports_change_open(&u, true, d);
	if (err == 0) {
		err = apply_locked(r, o, u, k.line, d);
		applied = err == 0 && undo_count(u) > 0;
	}
	undo_close(u);
	if (r != NULL && r->os != NULL && o->json)
		print_applied_json(r, o->for_s, applied);
	else if (err == 0)
		print_applied(r, o->for_s, applied);
	if (r != NULL)
		known_line_fini(&k);
	ports_report_free(r);
	return service_exit_code(err);
}

static int
revert(const struct options *o, struct diag *d)
{
	struct ports_reverted r;
	int err = ports_change_revert(&r, d);
	int code = service_exit_code(err);

	if (o->json && code != EXIT_PERMISSION)
		command_print_json(json_pack(
		    "{s:i, s:i}", "undone", r.undone, "left", r.left));
	else if (err == 0 && r.undone == 0)
		puts("there was nothing to revert");
	else if (err == 0)
		printf(
		    "%u change%s undone\n", r.undone, r.undone > 1 ? "s" : "");
	return code;
}

int
command_ports(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct options *o, struct diag *d);
		bool root;
	} verbs[] = {
	    {"show", show, false},
	    {"plan", plan, false},
	    {"apply", apply, true},
	    {"revert", revert, true},
	};
	struct options o;
	struct diag d;
	int code;

	if (!parse(&o, argc, argv, &code))
		return code;
	diag_init(&d, o.rules);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(verbs[i].name, o.verb) != 0)
			continue;
		if (verbs[i].root && !command_is_root("ports"))
			return EXIT_PERMISSION;
		code = verbs[i].run(&o, &d);
		diag_print(&d, "ukai", stderr);
		return code;
	}
	fprintf(stderr,
	    "ukai: ports: unknown word \"%s\"; known: show, plan, apply, "
	    "revert\n",
	    o.verb);
	return EXIT_USAGE;
}
