/* policy_probe: a policy in the kernel without a client, and real flows
 * through it, for tests/net/17-policy-nft.sh, which makes the links: "line",
 * "uktun" and a LAN behind the namespace named last.
 *
 *   policy_probe diff SEED POLICIES FLOWS LAN-NS
 *       random policies and random flows: where does each go, and what does
 *       the matcher say? Disagreements are printed.
 *   policy_probe hold FILE LAN-NS [ports=N] [dns=PORT] [guard]
 *       bring it into the kernel (guard: only that table), say "ready"; then
 *       as `try`. The table goes with the program.
 *   policy_probe try LAN-NS
 *       lines from standard input:
 *       flow own|lan tcp|udp|icmp ADDR PORT [UID [MARK]]
 *       again                    one more packet of the last flow
 *         -> "line|tunnel|both|nowhere SOURCE ERRNO"
 *       live 4|6|46|-            (hold)
 *       name NAME ADDR           (hold) an address for rules of that name
 *       count LINE               (hold) "HITS PACKETS", of a rule
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/firewall.h"
#include "client/policy/mark.h"
#include "client/policy/matcher.h"
#include "client/policy/policy_nft.h"
#include "core/bytes.h"
#include "core/err.h"
#include "core/text.h"
#include "host/hostfw.h"
#include "policy_flow.h"

#define TABLE "ukai-probe"
#define GUARD "ukai-probe-guard"
#define OWN_MARK 0xca6c
#define TUNNEL_MARK 0x01000000u
#define FIRST_PORT 20000

static const char *const program[] = {"rclone", "restic", "duplicati"};
/* What names of rules have as addresses: the i-th is a.example, ... */
static const char *const named[] = {"198.51.100.1", "198.51.100.2",
    "203.0.113.1", "2001:db8:aa::1", "2001:db8:ab::2", "198.51.100.1"};
static const char *const name_of[] = {"a.example", "b.example", "c.b.example",
    "d.example", "backup.test", "e.example"};

static const char *const dsts[] = {"198.51.100.1", "198.51.100.2",
    "198.51.100.9", "203.0.113.1", "203.0.113.70", "203.0.113.200",
    "2001:db8:aa::1", "2001:db8:aa::9", "2001:db8:ab::2", "2001:db8:ab:1::1"};
static const uint16_t ports[] = {22, 80, 443, 8080, 3478};
#define DSTS ARRAY_LEN(dsts)
#define PORTS ARRAY_LEN(ports)
#define LISTS 3
#define LEFT_MOST 60

struct probe {
	struct policy_line line;
	struct hostfw *fw;
	struct rules *rules;
	struct matcher *matcher;
	struct slots *slots;
	struct policy_nft nft;
	struct ip_ifaddr address[2];
	struct ip_prefix allowed[2], local[2], network[2];
	uint16_t sport;
	uint32_t hits[SLOTS_MANY]; /* by rule, as the matcher says */
	uint32_t counted[UINT16_MAX + 1], packets[UINT16_MAX + 1];
	/* PORTS-LEFT by our own CE: toward an address and a port, toward a port
	 * anywhere, and anywhere; by protocol. */
	uint32_t left[2][DSTS][PORTS], left_port[2][PORTS], left_any[2];
	uint32_t used[2]; /* without a CE: ports of the line, by protocol */
	struct text list[LISTS];
	uint64_t random;
	bool guard_only; /* the other table has nothing */
	unsigned wrong;
};

static uint32_t
pick(struct probe *p, uint32_t n)
{
	p->random ^= p->random << 13;
	p->random ^= p->random >> 7;
	p->random ^= p->random << 17;
	return (uint32_t)(p->random >> 20) % n;
}

static void
fail(const char *what, const struct diag *d)
{
	fprintf(stderr, "%s\n", what);
	for (size_t i = 0; d != NULL && i < d->n; i++)
		fprintf(stderr, "  line %u: %s\n", (unsigned)d->entry[i].line,
		    d->entry[i].text);
	exit(2);
}

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	if (ip_addr_parse(&a, text, strlen(text)) < 0)
		fail(text, NULL);
	return a;
}

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	if (ip_prefix_parse(&p, text, strlen(text)) < 0)
		fail(text, NULL);
	return p;
}

static unsigned
class_of(void *arg, const char *name)
{
	(void)arg;
	for (unsigned i = 0; i < ARRAY_LEN(program); i++)
		if (strcmp(program[i], name) == 0)
			return i + 1;
	return CLASS_NONE;
}

static void
set_up(struct probe *p)
{
	p->address[0] = (struct ip_ifaddr){addr("10.66.0.2"), 24};
	p->address[1] = (struct ip_ifaddr){addr("fd66::2"), 64};
	p->allowed[0] = prefix("0.0.0.0/0");
	p->allowed[1] = prefix("2001:db8:aa::/48");
	p->local[0] = prefix("203.0.113.64/28");
	p->local[1] = prefix("2001:db8:ab:1::/64");
	p->network[0] = prefix("192.168.50.0/24");
	p->network[1] = prefix("fd50::/64");
	p->nft = (struct policy_nft){.ifname = "uktun",
	    .own_mark = OWN_MARK,
	    .tunnel_mark = TUNNEL_MARK,
	    .tunnel_mask = 0xff000000,
	    .address = p->address,
	    .addresses = 2,
	    .allowed = p->allowed,
	    .allowed_n = 2,
	    .local = p->local,
	    .locals = 2,
	    .network = p->network,
	    .networks = 2,
	    .live_v4 = true,
	    .live_v6 = true,
	    .class_of = class_of};
	p->sport = FIRST_PORT;
}

static void
forget(struct probe *p)
{
	slots_free(p->slots);
	matcher_free(p->matcher);
	rules_free(p->rules);
	p->slots = NULL;
	p->matcher = NULL;
	p->rules = NULL;
}

/* As the forwarder would find them: all names of an address, and each rule
 * that is about one of them. */
static size_t
names_at(const struct ip_addr *a, const char **name)
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(named); i++) {
		struct ip_addr has = addr(named[i]);

		if (ip_addr_equal(&has, a))
			name[n++] = name_of[i];
	}
	return n;
}

static void
change_name(struct probe *p, const char *name, const struct ip_addr *a,
    const char *table)
{
	bool v4 = a->family == FAMILY_V4;
	char set[POLICY_NFT_SET_MAX];
	uint32_t rule[64];
	size_t n = matcher_names(p->matcher, name, rule, ARRAY_LEN(rule));
	struct diag d;

	diag_init(&d, NULL);
	for (size_t i = 0; i < n; i++) {
		struct hostfw_change c = {.table = table,
		    .set = set,
		    .add = true,
		    .key_len = v4 ? 4 : 16,
		    .comment = name};
		uint32_t slot = p->slots->of_rule[rule[i]];

		memcpy(c.key, a->b, c.key_len);
		policy_nft_names_set(
		    set, p->slots->item[slot].number, a->family);
		if (hostfw_elements(p->fw, &c, 1, &d) < 0)
			fail("element", &d);
	}
}

static void
add_name(struct probe *p, const char *name, const struct ip_addr *a)
{
	if (!p->guard_only)
		change_name(p, name, a, TABLE);
	if (policy_nft_has_guard(&p->nft))
		change_name(p, name, a, GUARD);
}

static void
compile(struct probe *p)
{
	int err = matcher_new(&p->matcher, p->rules);

	if (err == 0)
		err = slots_new(&p->slots, p->rules, NULL);
	if (err < 0)
		fail("no memory", NULL);
	p->nft.rules = p->rules;
	p->nft.slots = p->slots;
}

/* As the client has it: with the firewall's chains. */
static void
client_body(struct text *t, const struct probe *p)
{
	struct firewall_conf c = {.ifname = p->nft.ifname,
	    .mtu = 1420,
	    .mark = OWN_MARK,
	    .answer_mark = TUNNEL_MARK,
	    .answer_mask = p->nft.tunnel_mask,
	    .address = p->address,
	    .n = 2};

	firewall_body(t, &c);
	policy_nft_body(t, &p->nft);
}

static void
apply(struct probe *p)
{
	struct text body = {.s = NULL}, guard = {.s = NULL};
	struct diag d;

	diag_init(&d, NULL);
	if (p->guard_only)
		text_add(&body, "chain nothing {\n}\n");
	else
		client_body(&body, p);
	if (policy_nft_has_guard(&p->nft))
		policy_nft_guard_body(&guard, &p->nft);
	if (body.failed || guard.failed ||
	    hostfw_apply_kept(p->fw, TABLE, body.s, GUARD, guard.s, &d) < 0) {
		fprintf(stderr, "%s\n---\n%s\n", body.s, guard.s);
		fail("apply", &d);
	}
	text_fini(&body);
	text_fini(&guard);
}

/* ---- differential ---- */

static const char *const target[] = {"tunnel", "tunnel!", "native", "block"};
static const char *const net[] = {"198.51.100.0/30", "198.51.100.0/24",
    "203.0.113.0/24", "203.0.113.128/25", "2001:db8:aa::/64",
    "2001:db8:ab::/48", "0.0.0.0/0", "2001:db8:aa::8/125"};
static const char *const from[] = {
    "192.168.50.0/24", "192.0.2.10", "fd50::/64", "2001:db8:1::10"};
static const char *const proto_text[] = {"tcp", "udp", "icmp"};

static void
random_entry(struct probe *p, struct text *t)
{
	static const char *const names[] = {"DOMAIN,a.example",
	    "DOMAIN-SUFFIX,b.example", "DOMAIN-KEYWORD,backup",
	    "DOMAIN-SUFFIX,example", "DOMAIN,c.b.example"};

	switch (pick(p, 9)) {
	case 0:
	case 1:
		text_add(t, "IP-CIDR,%s", net[pick(p, ARRAY_LEN(net))]);
		break;
	case 2:
		text_add(t, "SRC-IP-CIDR,%s", from[pick(p, ARRAY_LEN(from))]);
		break;
	case 3:
	case 4:
		text_add(t, "%s", names[pick(p, ARRAY_LEN(names))]);
		break;
	case 5:
		text_add(t, "DST-PORT,%u-%u", (unsigned)ports[pick(p, 2)],
		    (unsigned)ports[2 + pick(p, 3)]);
		break;
	case 6:
		text_add(t, "NETWORK,%s", proto_text[pick(p, 3)]);
		break;
	case 7:
		text_add(t, "PROCESS-NAME,%s", program[pick(p, 3)]);
		break;
	default:
		text_add(t, "UID,%u", (unsigned)pick(p, 4) * 1000);
		break;
	}
}

static void
random_conditions(struct probe *p, struct text *t)
{
	unsigned which = pick(p, 24);

	if (which == 0 || which == 1)
		text_add(t, ",proto=%s", proto_text[pick(p, 3)]);
	else if (which == 2 || which == 3)
		text_add(t, ",dport=%u/%u", (unsigned)ports[pick(p, 2)],
		    (unsigned)ports[2 + pick(p, 3)]);
	else if (which == 4)
		text_add(t, ",uid=%u", (unsigned)pick(p, 4) * 1000);
	else if (which == 5)
		text_add(t, ",src=%s", from[pick(p, ARRAY_LEN(from))]);
	else if (which == 6)
		text_add(t, ",dst=%s", net[pick(p, ARRAY_LEN(net))]);
	else if (which == 7)
		text_add(t, ",sport=%u-%u", FIRST_PORT + pick(p, 2000),
		    FIRST_PORT + 2000 + pick(p, 9000));
	else if (which == 8)
		text_add(t, ",process=%s", program[pick(p, 3)]);
}

static int
read_list(
    void *arg, const char *path, char **bytes, size_t *len, struct diag *d)
{
	const struct probe *p = arg;
	const char *slash = strrchr(path, '/');
	const struct text *list;

	(void)d;
	list = &p->list[(slash != NULL ? slash + 1 : path)[0] - '0'];
	*bytes = malloc(list->len);
	if (*bytes == NULL)
		return UK_ENOMEM;
	memcpy(*bytes, list->s, list->len);
	*len = list->len;
	return 0;
}

static void
random_lists(struct probe *p)
{
	for (size_t i = 0; i < LISTS; i++) {
		unsigned n = 1 + pick(p, 5);

		text_clear(&p->list[i]);
		for (unsigned k = 0; k < n; k++) {
			random_entry(p, &p->list[i]);
			text_add(&p->list[i], "\n");
		}
	}
}

/* Without a CE the first one asks for most: others are asked by taking a place
 * for a moment, and nobody could say which flow finds it taken. */
static unsigned
random_left(struct probe *p, unsigned i)
{
	return p->nft.own_ce ? 1 + pick(p, LEFT_MOST) : LEFT_MOST - 3 * i;
}

static void
random_policy(struct probe *p, struct text *t)
{
	const struct rules_reader reader = {read_list, p};
	unsigned n = 2 + pick(p, 12);
	struct diag d;

	random_lists(p);
	for (unsigned i = 0; i < n; i++) {
		unsigned kind = pick(p, 5);

		if (kind == 0)
			text_add(t, "RULE-SET,%u", (unsigned)pick(p, LISTS));
		else if (kind == 1)
			text_add(t, "PORTS-LEFT,<%u", random_left(p, i));
		else
			random_entry(p, t);
		text_add(t, ",%s", target[pick(p, 4)]);
		random_conditions(p, t);
		text_add(t, "\n");
	}
	text_add(t, "DEFAULT,%s\n", target[pick(p, 4)]);
	diag_init(&d, "random");
	if (rules_parse(&p->rules, "random", t->s, t->len, &reader, RULES_LINUX,
		&d) < 0)
		fail(t->s, &d);
}

static void
random_flow(struct probe *p, struct policy_try *t)
{
	*t = (struct policy_try){.from_lan = pick(p, 2) == 0,
	    .proto = (uint8_t)(1u << pick(p, 3)),
	    .dst = addr(dsts[pick(p, DSTS)]),
	    .dport = ports[pick(p, ARRAY_LEN(ports))],
	    .sport = p->sport++};
	if (t->from_lan)
		return;
	t->uid = pick(p, 4) * 1000;
	t->mark = pick(p, ARRAY_LEN(program) + 1) << MARK_CLASS_SHIFT;
}

/* ---- ports ---- */

static const uint8_t port_protos[] = {RULE_TCP, RULE_UDP};

/* Those of UDP share mappings with each other, anywhere (ports_left.h). */
static bool
is_apart(unsigned proto, uint16_t port)
{
	return proto == 1 && (port == 53 || port == 123 || port == 443);
}

static void
put_short(struct probe *p, const struct slot *slot, unsigned proto,
    const char *dst, uint16_t port)
{
	char set[POLICY_NFT_SET_MAX];
	struct hostfw_change c = {
	    .table = TABLE, .set = set, .add = true, .key_len = 8};
	struct ip_addr a = addr(dst);
	struct diag d;

	diag_init(&d, NULL);
	policy_nft_short_set(set, slot->number, port_protos[proto]);
	memcpy(c.key, a.b, 4);
	store_be16(c.key + 4, port);
	if (hostfw_elements(p->fw, &c, 1, &d) < 0)
		fail("short", &d);
}

static void
fill_short(struct probe *p, const struct slot *slot, unsigned proto)
{
	uint32_t below = p->rules->rule[slot->first].ports_left;

	if (p->left_any[proto] < below)
		put_short(p, slot, proto, "0.0.0.0", 0);
	for (size_t k = 0; k < PORTS; k++) {
		if (is_apart(proto, ports[k]) && p->left_port[proto][k] < below)
			put_short(p, slot, proto, "0.0.0.0", ports[k]);
		for (size_t i = 0; i < DSTS; i++)
			if (strchr(dsts[i], ':') == NULL &&
			    p->left[proto][i][k] < below)
				put_short(p, slot, proto, dsts[i], ports[k]);
	}
}

static void
random_shortage(struct probe *p)
{
	for (unsigned proto = 0; proto < 2; proto++) {
		p->left_any[proto] = pick(p, LEFT_MOST);
		for (size_t k = 0; k < PORTS; k++) {
			p->left_port[proto][k] = pick(p, 2 * LEFT_MOST);
			for (size_t i = 0; i < DSTS; i++)
				p->left[proto][i][k] =
				    20 + pick(p, 2 * LEFT_MOST);
		}
		for (size_t i = 0; i < p->slots->n; i++)
			if (p->rules->rule[p->slots->item[i].first].type ==
			    RULE_PORTS_LEFT)
				fill_short(p, &p->slots->item[i], proto);
	}
}

static uint32_t
least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t
ports_left(const struct probe *p, const struct policy_try *t)
{
	unsigned proto = t->proto == RULE_UDP;
	uint32_t any = p->left_any[proto];
	size_t i = 0, k = 0;
	struct ip_addr a;

	if (!p->nft.own_ce)
		return p->nft.ports - least(p->nft.ports, p->used[proto]);
	for (a = addr(dsts[0]); !ip_addr_equal(&a, &t->dst); a = addr(dsts[i]))
		i++;
	while (ports[k] != t->dport)
		k++;
	if (is_apart(proto, t->dport))
		any = p->left_port[proto][k];
	return least(any, p->left[proto][i][k]);
}

static void
count_port(struct probe *p, const struct policy_try *t, const struct match *m)
{
	if (m->rule != UINT32_MAX && t->dst.family == FAMILY_V4 &&
	    t->proto != RULE_ICMP)
		p->used[t->proto == RULE_UDP]++;
}

/* ---- what should be ---- */

static struct match
ask(const struct probe *p, const struct policy_try *t)
{
	unsigned class = t->mark >> MARK_CLASS_SHIFT;
	bool v4 = t->dst.family == FAMILY_V4;
	const char *name[ARRAY_LEN(named)];
	struct flow f = {.dst = t->dst,
	    .name = name,
	    .proto = t->proto,
	    .has_uid = !t->from_lan,
	    .uid = t->uid,
	    .process = class > 0 ? program[class - 1] : NULL,
	    .src = t->from_lan ? p->line.lan_src[v4 ? 0 : 1]
			       : addr(v4 ? "192.0.2.10" : "2001:db8:1::10")};

	f.names = names_at(&t->dst, name);
	if (t->proto != RULE_ICMP) {
		f.sport = t->sport;
		f.dport = t->dport;
		f.has_ports_left = !p->guard_only;
		f.ports_left = ports_left(p, t);
	}
	return matcher_find(p->matcher, &f);
}

static bool
is_among(const struct ip_prefix *p, size_t n, const struct ip_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (ip_prefix_contains(&p[i], a))
			return true;
	return false;
}

/* SEEN_*; 0: refused. */
static unsigned
expected(struct probe *p, const struct policy_try *t, struct match *m)
{
	bool can =
	    !p->guard_only &&
	    (t->dst.family == FAMILY_V4 ? p->nft.live_v4 : p->nft.live_v6) &&
	    is_among(p->allowed, p->nft.allowed_n, &t->dst);

	if (is_among(p->local, p->nft.locals, &t->dst)) {
		m->rule = UINT32_MAX;
		return SEEN_LINE;
	}
	*m = ask(p, t);
	p->hits[m->rule]++;
	switch (p->rules->rule[m->rule].target) {
	case TARGET_TUNNEL:
		return can ? SEEN_TUNNEL : SEEN_LINE;
	case TARGET_TUNNEL_ONLY:
		return can ? SEEN_TUNNEL : 0;
	case TARGET_NATIVE:
		return SEEN_LINE;
	default:
		return 0;
	}
}

/* TCP is reset; else ICMP says so, or the call itself. The kernel sends only so
 * many ICMP errors: the LAN may miss one. */
static bool
error_fits(const struct policy_try *t, const struct policy_went *w)
{
	if (w->seen != 0 || t->proto == RULE_ICMP)
		return true;
	if (t->proto == RULE_TCP)
		return w->error == ECONNREFUSED;
	return (t->from_lan && w->error == 0) || w->error == EPERM ||
	       w->error == EHOSTUNREACH || w->error == EACCES;
}

static bool
source_fits(const struct probe *p, const struct policy_try *t,
    const struct policy_went *w)
{
	return w->seen != SEEN_TUNNEL ||
	       ip_addr_equal(&w->src,
		   &p->address[t->dst.family == FAMILY_V4 ? 0 : 1].addr);
}

static void
print_flow(const struct policy_try *t, const struct policy_went *w)
{
	char dst[IP_ADDR_TEXT_MAX], src[IP_ADDR_TEXT_MAX];

	printf("%s proto %u %s port %u from port %u uid %u mark 0x%x: "
	       "seen %u from %s, errno %d",
	    t->from_lan ? "lan" : "own", t->proto, ip_addr_format(&t->dst, dst),
	    t->dport, t->sport, (unsigned)t->uid, (unsigned)t->mark, w->seen,
	    ip_addr_format(&w->src, src), w->error);
}

static void
compare(struct probe *p, const char *policy)
{
	struct policy_went w = {.seen = 0};
	struct policy_try t;
	struct match m;
	unsigned want;

	random_flow(p, &t);
	want = expected(p, &t, &m);
	if (want == SEEN_LINE)
		count_port(p, &t, &m);
	policy_flow_send(&p->line, &t, &w);
	close(w.fd);
	if (w.seen == want && error_fits(&t, &w) && source_fits(p, &t, &w))
		return;
	p->wrong++;
	print_flow(&t, &w);
	printf("; the matcher: %u by line %d of\n%s\n", want,
	    m.rule == UINT32_MAX ? 0 : (int)p->rules->rule[m.rule].line,
	    policy);
}

static bool
on_counter(void *arg, const char *counter, uint64_t packets, uint64_t bytes)
{
	struct probe *p = arg;
	unsigned slot;

	(void)bytes;
	if (sscanf(counter, POLICY_NFT_HITS, &slot) == 1)
		p->counted[slot] = (uint32_t)packets;
	else if (sscanf(counter, POLICY_NFT_BYTES, &slot) == 1)
		p->packets[slot] = (uint32_t)packets;
	return true;
}

/* A refused packet may be sent once more: those are not counted exactly. */
static void
compare_hits(struct probe *p, const char *policy)
{
	hostfw_counters_each(p->fw, TABLE, on_counter, p);
	for (size_t i = 0; i < p->rules->n; i++) {
		uint32_t got =
		    p->counted[p->slots->item[p->slots->of_rule[i]].number];

		if (got == p->hits[i])
			continue;
		p->wrong++;
		printf("line %u: %u hits, the matcher has %u, of\n%s\n",
		    (unsigned)p->rules->rule[i].line, got, p->hits[i], policy);
	}
}

static void
one_policy(struct probe *p, unsigned flows)
{
	struct text policy = {.s = NULL};

	p->nft.live_v4 = pick(p, 4) != 0;
	p->nft.live_v6 = pick(p, 4) != 0;
	p->allowed[0] =
	    prefix(pick(p, 2) == 0 ? "0.0.0.0/0" : "198.51.100.0/24");
	p->nft.own_ce = pick(p, 2) == 0;
	p->nft.ports = p->nft.own_ce ? 0 : LEFT_MOST + 5;
	memset(p->used, 0, sizeof(p->used));
	random_policy(p, &policy);
	compile(p);
	apply(p);
	if (p->nft.own_ce && !p->guard_only)
		random_shortage(p);
	for (size_t i = 0; i < ARRAY_LEN(named); i++) {
		struct ip_addr a = addr(named[i]);

		add_name(p, name_of[i], &a);
	}
	memset(p->hits, 0, sizeof(p->hits));
	for (unsigned i = 0; i < flows; i++)
		compare(p, policy.s);
	if (!p->guard_only)
		compare_hits(p, policy.s);
	text_fini(&policy);
	forget(p);
}

static int
differential(struct probe *p, char **argv)
{
	unsigned policies = (unsigned)atoi(argv[3]);
	unsigned flows = (unsigned)atoi(argv[4]);

	p->random = strtoull(argv[2], NULL, 10) * 2654435761u + 1;
	for (unsigned i = 0; i < policies && p->wrong < 5; i++) {
		p->guard_only = i % 4 == 3;
		one_policy(p, flows);
	}
	printf("%u disagreements in %u policies of %u flows\n", p->wrong,
	    policies, flows);
	return p->wrong > 0;
}

/* ---- by hand ---- */

struct hand {
	struct policy_try t;
	struct policy_went w;
};

static void
tell(const struct policy_went *w)
{
	static const char *const where[] = {
	    "nowhere", "line", "tunnel", "both"};
	char src[IP_ADDR_TEXT_MAX];

	printf("%s %s %s\n", where[w->seen],
	    w->seen != 0 ? ip_addr_format(&w->src, src) : "-",
	    w->error != 0 ? strerrorname_np(w->error) : "0");
}

static void
do_flow(struct probe *p, struct hand *h, const char *line)
{
	char who[8], l4[8], dst[64];
	unsigned port = 0, uid = 0, mark = 0;

	if (sscanf(line, "flow %7s %7s %63s %u %u %x", who, l4, dst, &port,
		&uid, &mark) < 4)
		fail(line, NULL);
	if (h->w.fd > 0)
		close(h->w.fd);
	h->t = (struct policy_try){.from_lan = strcmp(who, "lan") == 0,
	    .proto = l4[0] == 't'   ? RULE_TCP
		     : l4[0] == 'u' ? RULE_UDP
				    : RULE_ICMP,
	    .dst = addr(dst),
	    .dport = (uint16_t)port,
	    .sport = p->sport++,
	    .uid = uid,
	    .mark = mark};
	h->w = (struct policy_went){.seen = 0};
	policy_flow_send(&p->line, &h->t, &h->w);
	tell(&h->w);
}

static void
set_live(struct probe *p, const char *which)
{
	static const uint8_t family[] = {2, 10};
	struct hostfw_change c[2];
	struct diag d;

	diag_init(&d, NULL);
	for (size_t i = 0; i < 2; i++) {
		c[i] = (struct hostfw_change){.table = TABLE,
		    .set = POLICY_NFT_LIVE,
		    .add = strchr(which, i == 0 ? '4' : '6') != NULL,
		    .key = {family[i]},
		    .key_len = 1};
	}
	if (hostfw_elements(p->fw, c, 2, &d) < 0)
		fail("live", &d);
	printf("ok\n");
}

static void
do_count(struct probe *p, const char *line)
{
	unsigned at = (unsigned)atoi(line);
	unsigned slot;

	if (at == 0 || at > p->rules->n)
		fail(line, NULL);
	slot = p->slots->item[p->slots->of_rule[at - 1]].number;
	hostfw_counters_each(p->fw, TABLE, on_counter, p);
	printf("%u %u\n", p->counted[slot], p->packets[slot]);
}

static void
do_name(struct probe *p, const char *line)
{
	char name[64], text[64];
	struct ip_addr a;

	if (sscanf(line, "%63s %63s", name, text) != 2)
		fail(line, NULL);
	a = addr(text);
	add_name(p, name, &a);
	printf("ok\n");
}

static int
by_hand(struct probe *p)
{
	struct hand h = {.w.fd = 0};
	char line[256];

	p->sport = (uint16_t)(FIRST_PORT + getpid() % 100 * 300);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "flow ", 5) == 0) {
			do_flow(p, &h, line);
		} else if (strcmp(line, "again") == 0) {
			policy_flow_again(&p->line, &h.t, &h.w);
			tell(&h.w);
		} else if (strncmp(line, "live ", 5) == 0) {
			set_live(p, line + 5);
		} else if (strncmp(line, "name ", 5) == 0) {
			do_name(p, line + 5);
		} else if (strncmp(line, "count ", 6) == 0) {
			do_count(p, line + 6);
		} else {
			fail(line, NULL);
		}
		fflush(stdout);
	}
	return 0;
}

static int
hold(struct probe *p, int argc, char **argv)
{
	struct diag d;

	for (int i = 4; i < argc; i++) {
		if (strncmp(argv[i], "ports=", 6) == 0)
			p->nft.ports = (uint32_t)atoi(argv[i] + 6);
		else if (strncmp(argv[i], "dns=", 4) == 0)
			p->nft.dns_port = (uint16_t)atoi(argv[i] + 4);
		else
			p->guard_only = true;
	}
	diag_init(&d, argv[2]);
	if (rules_load(&p->rules, argv[2], RULES_LINUX, &d) < 0)
		fail(argv[2], &d);
	compile(p);
	apply(p);
	return by_hand(p);
}

int
main(int argc, char **argv)
{
	static struct probe probe;
	const char *mode = argc > 2 ? argv[1] : "";
	struct probe *p = &probe;
	struct diag d;
	int r = 2;

	set_up(p);
	diag_init(&d, NULL);
	if (hostfw_open(&p->fw, &d) < 0)
		fail("hostfw", &d);
	if (strcmp(mode, "diff") == 0 && argc == 6) {
		policy_line_open(&p->line, "line", "uktun", argv[5]);
		r = differential(p, argv);
	} else if (strcmp(mode, "hold") == 0 && argc >= 4) {
		policy_line_open(&p->line, "line", "uktun", argv[3]);
		r = hold(p, argc, argv);
	} else if (strcmp(mode, "try") == 0) {
		policy_line_open(&p->line, "line", "uktun", argv[2]);
		r = by_hand(p);
	}
	hostfw_close(p->fw);
	forget(p);
	for (size_t i = 0; i < LISTS; i++)
		text_fini(&p->list[i]);
	return r;
}
