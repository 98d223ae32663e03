#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/policy/always_local.h"
#include "client/policy/explain.h"
#include "client/policy/rules_value.h"
#include "commands.h"
#include "core/err.h"
#include "core/value.h"
#include "destination.h"
#include "io/cmdline.h"
#include "io/service.h"
#include "io/tunnel_status.h"

static const char usage[] =
    "Usage: ukai policy explain [OPTION...] FILE DESTINATION[:PORT]\n"
    "\n"
    "Which line of a policy decides about a flow to an address or a name, and\n"
    "why those before it do not.\n"
    "\n"
    "  -p, --proto tcp|udp|icmp   default: tcp\n"
    "  -P, --sport N              source port\n"
    "  -s, --src ADDRESS          source address\n"
    "  -e, --process NAME         the program's name\n"
    "  -u, --uid N                the user's number\n"
    "  -l, --ports-left N         how many ports of the line are left\n"
    "  -n, --name NAME            a name of the address, or another one, as\n"
    "                             of a CNAME; may be repeated\n"
    "  -a, --address ADDRESS      of the name, in place of what DNS says; may\n"
    "                             be repeated\n"
    "  -R, --no-resolve           ask neither DNS nor a running tunnel\n"
    "  -j, --json                 see ukai(1)\n";

struct options {
	struct flow flow; /* but for its destination */
	const char *name[DESTINATION_NAMES], *address[DESTINATION_ADDRS];
	size_t names, addresses;
	bool no_resolve, json;
};

static int
wrong(const char *option, const char *wants, const char *text)
{
	fprintf(stderr, "ukai: policy explain: %s wants %s, not \"%s\"\n",
	    option, wants, text);
	return UK_EINVAL;
}

static int
take_proto(void *to, const char *text)
{
	static const char *const name[] = {"tcp", "udp", "icmp"};
	struct options *o = to;

	for (unsigned i = 0; i < ARRAY_LEN(name); i++) {
		if (strcmp(text, name[i]) != 0)
			continue;
		o->flow.proto = (uint8_t)(1u << i);
		return 0;
	}
	return wrong("--proto", "tcp, udp or icmp", text);
}

static int
take_number(uint32_t *to, const char *option, uint32_t max, const char *text)
{
	uint64_t v;

	if (value_parse_u64(&v, text, strlen(text), max, false) < 0)
		return wrong(option, "a number", text);
	*to = (uint32_t)v;
	return 0;
}

static int
take_sport(void *to, const char *text)
{
	struct options *o = to;
	uint32_t port = 0;
	int err = take_number(&port, "--sport", UINT16_MAX, text);

	if (err == 0 && port == 0)
		return wrong("--sport", "a port from 1 to 65535", text);
	o->flow.sport = (uint16_t)port;
	return err;
}

static int
take_src(void *to, const char *text)
{
	struct options *o = to;

	if (ip_addr_parse(&o->flow.src, text, strlen(text)) < 0)
		return wrong("--src", "an address", text);
	return 0;
}

static int
take_word(const char **list, size_t *n, size_t max, const char *text)
{
	if (*n == max) {
		fprintf(stderr,
		    "ukai: policy explain: \"%s\" is one too many\n", text);
		return UK_EINVAL;
	}
	list[(*n)++] = text;
	return 0;
}

static int
take_process(void *to, const char *text)
{
	const struct conf_span v = {.s = text, .len = strlen(text)};
	struct rules_note n = {.masked = false};
	char name[RULES_PROCESS_MAX];
	struct options *o = to;

	o->flow.process = text;
	if (rules_value_process(name, RULES_LINUX, &v, &n) == 0)
		return 0;
	fprintf(stderr, "ukai: policy explain: --process: %s\n", n.why);
	return UK_EINVAL;
}

static int
take_uid(void *to, const char *text)
{
	struct options *o = to;

	o->flow.has_uid = true;
	return take_number(&o->flow.uid, "--uid", UINT32_MAX, text);
}

static int
take_ports_left(void *to, const char *text)
{
	struct options *o = to;

	o->flow.has_ports_left = true;
	return take_number(
	    &o->flow.ports_left, "--ports-left", UINT32_MAX, text);
}

static int
take_name(void *to, const char *text)
{
	struct options *o = to;

	return take_word(o->name, &o->names, ARRAY_LEN(o->name), text);
}

static int
take_address(void *to, const char *text)
{
	struct options *o = to;

	return take_word(
	    o->address, &o->addresses, ARRAY_LEN(o->address), text);
}

static const struct cmdline_option options[] = {
    CMDLINE_TAKE('p', "proto", take_proto),
    CMDLINE_TAKE('P', "sport", take_sport),
    CMDLINE_TAKE('s', "src", take_src),
    CMDLINE_TAKE('e', "process", take_process),
    CMDLINE_TAKE('u', "uid", take_uid),
    CMDLINE_TAKE('l', "ports-left", take_ports_left),
    CMDLINE_TAKE('n', "name", take_name),
    CMDLINE_TAKE('a', "address", take_address),
    CMDLINE_FLAG('R', "no-resolve", struct options, no_resolve),
    CMDLINE_FLAG('j', "json", struct options, json),
};

static const struct cmdline cmdline = {
    .command = "ukai policy explain",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 2,
    .most = 2,
    .words = "a FILE and a DESTINATION",
};

/* What the flow is to, and whether all goes together. */
static int
parse_destination(
    struct destination *to, const struct options *o, const char *word)
{
	if (destination_parse(to, word) < 0)
		return UK_EINVAL;
	for (size_t i = 0; i < o->names; i++)
		if (destination_add_name(to, o->name[i]) < 0)
			return UK_EINVAL;
	for (size_t i = 0; i < o->addresses; i++)
		if (destination_add_address(to, o->address[i]) < 0)
			return UK_EINVAL;
	if (o->flow.proto != RULE_ICMP || (to->port == 0 && o->flow.sport == 0))
		return 0;
	fputs("ukai: policy explain: icmp has no ports\n", stderr);
	return UK_EINVAL;
}

/* ---- what is asked ---- */

struct question {
	const struct rules *r;
	const struct matcher *m;
	struct flow flow;
	const struct destination *to;
	/* A name, and tunnels run with this policy: they know which others its
	 * addresses have. NULL: not so. */
	const char *file;
	struct destination one; /* of them, with all its names */
};

/* The flow that is to this address. */
static void
go_to(struct question *q, const struct ip_addr *a)
{
	q->flow.dst = *a;
	q->one = *q->to;
	q->one.addr[0] = *a;
	if (q->file != NULL)
		destination_ask_names(&q->one, q->file);
	q->flow.name = q->one.name;
	q->flow.names = q->one.names;
}

static bool
asks_for_address(const struct rules *r, const struct rule *rule)
{
	if (r->condition[rule->conditions].dst.addr.family != FAMILY_NONE)
		return true;
	for (uint32_t i = 0; i < rule->entries; i++)
		if (r->entry[rule->first + i].type == RULE_IP_CIDR)
			return true;
	return false;
}

/* Is there a rule by address before the one that decides without? */
static bool
needs_address(const struct question *q)
{
	uint32_t n = matcher_find(q->m, &q->flow).rule;

	for (uint32_t i = 0; i < n; i++)
		if (matcher_look(q->m, i, &q->flow) == MATCHER_UNKNOWN &&
		    asks_for_address(q->r, &q->r->rule[i]))
			return true;
	return false;
}

/* ---- the answer ---- */

static json_t *
addresses_json(const struct ip_addr *a, size_t n)
{
	json_t *list = json_array();
	char text[IP_ADDR_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		list = tunnel_status_push(
		    list, json_string(ip_addr_format(&a[i], text)));
	return list;
}

static json_t *
names_json(const struct flow *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->names; i++)
		list = tunnel_status_push(list, json_string(f->name[i]));
	return list;
}

/* Of addresses that one rule decides about. */
static json_t *
answer_json(struct question *q, const struct ip_addr *a, size_t n)
{
	json_t *o;

	if (n > 0)
		go_to(q, &a[0]);
	o = explain_json(q->r, q->m, &q->flow, q->to->text);
	o = tunnel_status_put(o, "names", names_json(&q->flow));
	return tunnel_status_put(o, "addresses", addresses_json(a, n));
}

/* The rule that decides about a flow to this address; none, as it is local. */
static uint32_t
decides(struct question *q, const struct ip_addr *a)
{
	go_to(q, a);
	return always_local(a) ? UINT32_MAX : matcher_find(q->m, &q->flow).rule;
}

/* Take out of a the addresses that the first one's rule decides about, into
 * same; the others move to the front. Returns how many there are of same. */
static size_t
take_same(struct question *q, struct ip_addr *a, size_t *n,
    struct ip_addr same[static DESTINATION_ADDRS])
{
	uint32_t rule = 0, first = 0;
	size_t taken = 0, left = 0;

	for (size_t i = 0; i < *n; i++) {
		rule = decides(q, &a[i]);
		if (i == 0)
			first = rule;
		if (rule == first)
			same[taken++] = a[i];
		else
			a[left++] = a[i];
	}
	*n = left;
	return taken;
}

/* The first one's, with "others" of the same form, but without "others". */
static json_t *
answers_json(struct question *q)
{
	struct ip_addr left[DESTINATION_ADDRS], same[DESTINATION_ADDRS];
	size_t n = q->to->addrs, taken;
	json_t *first, *others = json_array();

	memcpy(left, q->to->addr, sizeof(left));
	taken = take_same(q, left, &n, same);
	first = answer_json(q, same, taken);
	while (n > 0) {
		taken = take_same(q, left, &n, same);
		others =
		    tunnel_status_push(others, answer_json(q, same, taken));
	}
	return tunnel_status_put(first, "others", others);
}

static void
print_answer(const json_t *o, bool with_addresses)
{
	const json_t *list = json_object_get(o, "addresses"), *a;
	size_t i;

	if (with_addresses) {
		json_array_foreach(list, i, a)
		    printf("%s%s", i > 0 ? ", " : "", json_string_value(a));
		puts(":");
	}
	explain_print(o, stdout);
}

static int
answer(struct question *q, bool json)
{
	json_t *o = answers_json(q);
	const json_t *others = json_object_get(o, "others"), *other;
	size_t i;

	if (json || o == NULL)
		return command_print_json(o);
	print_answer(o, json_array_size(others) > 0);
	json_array_foreach(others, i, other)
	{
		putchar('\n');
		print_answer(other, true);
	}
	json_decref(o);
	return EXIT_OK;
}

static int
explain(const struct options *o, struct destination *to, const struct rules *r,
    const char *file)
{
	struct question q = {.r = r, .flow = o->flow, .to = to};
	struct matcher *m;
	int code;

	if (matcher_new(&m, r) < 0) {
		fputs("ukai: error: out of memory\n", stderr);
		return EXIT_FAILED;
	}
	q.m = m;
	if (!to->is_name && to->names == 0 && !o->no_resolve)
		destination_ask_names(to, file);
	q.flow.name = to->name;
	q.flow.names = to->names;
	q.flow.dport = to->port;
	if (to->is_name && !o->no_resolve && destination_runs(file))
		q.file = file;
	if (to->addrs == 0 && !o->no_resolve &&
	    (q.file != NULL || needs_address(&q)))
		destination_resolve(to);
	code = answer(&q, o->json);
	matcher_free(m);
	return code;
}

int
command_policy_explain(int argc, char **argv)
{
	struct options o = {.flow.proto = RULE_TCP};
	struct cmdline_words w;
	static struct diag d;
	struct destination to;
	const char *file;
	struct rules *r;
	int err, code;

	if (!cmdline_take(&cmdline, &o, &w, argc, argv, &code))
		return code;
	file = w.word[0];
	if (parse_destination(&to, &o, w.word[1]) < 0)
		return EXIT_USAGE;
	diag_init(&d, file);
	err = rules_load(&r, file, RULES_LINUX, &d);
	if (err < 0) {
		diag_sort(&d);
		diag_print(&d, "ukai", stderr);
		return err == UK_ENOMEM ? EXIT_FAILED : EXIT_USAGE;
	}
	code = explain(&o, &to, r, file);
	rules_free(r);
	return code;
}
