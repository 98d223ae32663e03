/* policy_nft: what stands in the text. Whether the kernel does what the
 * matcher says: tests/net/17-policy-nft.sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "client/policy/mark.h"
#include "client/policy/policy_nft.h"
#include "rules_lab.h"

struct lab {
	struct rules_lab rules;
	struct slots *slots;
	struct policy_nft p;
	struct text t;
};

static const struct ip_ifaddr address[] = {
    {{FAMILY_V4, {10, 66, 0, 2}}, 24},
    {{FAMILY_V6, {0xfd, 0x66, [15] = 2}}, 64},
};
static const struct ip_prefix everything[] = {
    {{FAMILY_V4, {0}}, 0},
    {{FAMILY_V6, {0}}, 0},
};

static unsigned
class_of(void *arg, const char *program)
{
	(void)arg;
	if (strcmp(program, "odd") == 0)
		return CLASS_RUN; /* which no program has */
	return strcmp(program, "rclone") == 0 ? 3 : CLASS_NONE;
}

static void
lab_init(struct lab *l)
{
	*l = (struct lab){.p = {.ifname = "uk0",
			      .own_mark = 0xca6c,
			      .tunnel_mark = 0x02000000,
			      .tunnel_mask = 0xff000000,
			      .address = address,
			      .addresses = 2,
			      .allowed = everything,
			      .allowed_n = 2,
			      .class_of = class_of}};
	rules_lab_init(&l->rules);
}

static const char *
body(struct lab *l, bool guard)
{
	slots_free(l->slots);
	l->slots = NULL;
	assert_int_equal(slots_new(&l->slots, &l->rules.r, NULL), 0);
	l->p.rules = &l->rules.r;
	l->p.slots = l->slots;
	text_clear(&l->t);
	if (guard)
		policy_nft_guard_body(&l->t, &l->p);
	else
		policy_nft_body(&l->t, &l->p);
	assert_false(l->t.failed);
	return l->t.s;
}

static void
lab_fini(struct lab *l)
{
	slots_free(l->slots);
	rules_lab_fini(&l->rules);
	text_fini(&l->t);
}

static void
has(const char *text, const char *words)
{
	if (strstr(text, words) == NULL)
		fail_msg("\"%s\" is not in\n%s", words, text);
}

static void
lacks(const char *text, const char *words)
{
	if (strstr(text, words) != NULL)
		fail_msg("\"%s\" is in\n%s", words, text);
}

/* The chain with this name, as text of its own. */
static const char *
chain(const char *text, const char *name)
{
	static char out[65536];
	char head[64];
	const char *from;
	size_t n;

	snprintf(head, sizeof(head), "chain %s {\n", name);
	from = strstr(text, head);
	if (from == NULL)
		fail_msg("no chain %s", name);
	n = (size_t)(strstr(from, "\n}\n") - from) + 2;
	assert_true(n < sizeof(out));
	memcpy(out, from, n);
	out[n] = '\0';
	return out;
}

static void
rule(struct lab *l, enum rule_target target)
{
	rules_lab_rule(&l->rules, RULE_IP_CIDR, target, "rule");
	rules_lab_entry(&l->rules, RULE_IP_CIDR)->prefix =
	    rules_lab_prefix("198.51.100.0/24");
}

static void
end(struct lab *l, enum rule_target target)
{
	rules_lab_rule(&l->rules, RULE_DEFAULT, target, "end");
}

/* A rule for each target, in this order. */
static const char *
all_targets(struct lab *l)
{
	rule(l, TARGET_TUNNEL);
	rule(l, TARGET_TUNNEL_ONLY);
	rule(l, TARGET_NATIVE);
	rule(l, TARGET_BLOCK);
	end(l, TARGET_NATIVE);
	return body(l, false);
}

static void
test_targets(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	t = all_targets(&l);
	has(chain(t, "s1"),
	    "{\nmeta l4proto tcp ct state invalid drop\ncounter name h1\n"
	    "tcp flags & (fin | syn | rst | ack) != syn ct mark set ct mark & "
	    "0x000f0000 | 0x00100001 accept\nct status & confirmed == 0 "
	    "meta nfproto ipv4 meta nfproto @live ");
	has(chain(t, "s2"),
	    "{\ncounter name h2\n"
	    "tcp flags & (fin | syn | rst | ack) != syn ct mark set ct mark & "
	    "0x000f0000 | 0x00400002 goto refuse\nct status & confirmed == 0 "
	    "meta nfproto ipv4 meta nfproto @live ip daddr @allowed4 ");
	has(chain(t, "s1"), "@live ip daddr @allowed4 ct mark set ct mark & "
			    "0x000f0000 | 0x02200001 goto go\n");
	has(chain(t, "s1"), "@live ip6 daddr @allowed6 ");
	has(chain(t, "s1"), "| 0x00100001 accept\n");
	has(chain(t, "s2"), "| 0x02300002 goto go\n");
	has(chain(t, "s2"), "| 0x00400002 goto refuse\n");
	lacks(chain(t, "s2"), "accept");
	has(chain(t, "s3"), "| 0x00100003 accept\n");
	lacks(chain(t, "s3"), "refuse");
	has(chain(t, "s4"), "| 0x00400004 goto refuse\n");
	lacks(chain(t, "s4"), "accept");
	lab_fini(&l);
}

static void
test_order(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	t = all_targets(&l);
	has(chain(t, "rules"), "goto s4\ngoto s5\n}");
	has(chain(t, "s65534"), "goto refuse\n");
	has(chain(t, "s65533"), "accept\n");
	has(chain(t, "refuse"), "{\nmeta l4proto tcp ct state invalid drop\n"
				"meta l4proto tcp reject with tcp reset\n"
				"reject with icmpx admin-prohibited\n}");
	lab_fini(&l);
}

static void
test_source_and_leaks(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	t = all_targets(&l);
	has(chain(t, "source"),
	    "oifname \"uk0\" ct mark & 0xffe00000 == 0x02200000 "
	    "ip saddr != { 10.66.0.2 } snat ip to 10.66.0.2\n");
	has(chain(t, "source"), "ip6 saddr != { fd66::2 } snat ip6 to fd66::2");
	has(chain(t, "leaving"),
	    "accept;\nct mark & 0xffe00000 == 0x02200000 oifname != \"uk0\" "
	    "ct direction original goto refuse\n}");
	has(chain(t, "left"),
	    "accept;\nct mark & 0xffe00000 == 0x02200000 oifname != \"uk0\" "
	    "ct direction original drop\nmeta mark != 0x0000ca6c "
	    "ct mark & 0x00f00000 != 0 counter name ct mark & 0x0000ffff "
	    "map @bytes\n}");
	has(chain(t, "arrived"), "accept;\nmeta mark != 0x0000ca6c ct mark ");
	lab_fini(&l);
}

static void
test_own_and_arriving(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	t = all_targets(&l);
	has(chain(t, "arriving"),
	    "accept;\nct mark & 0x00b00000 == 0x00100000 accept\n"
	    "iifname \"uk0\" ct direction reply "
	    "ct mark & 0xffe00000 == 0x02200000 "
	    "meta mark set meta mark & 0x00ffffff | 0x02000000\n}");
	has(chain(t, "own"),
	    "accept;\nct mark & 0x00b00000 == 0x00100000 accept\n"
	    "ct direction reply accept\n"
	    "meta mark 0x0000ca6c accept\n"
	    "ct mark & 0x00f00000 vmap { 0x00400000 : goto refuse, "
	    "0x00200000 : goto go, 0x00300000 : goto go }\n"
	    "ct mark & 0xff000000 != 0 accept\n"
	    "oifname \"lo\" accept\n"
	    "meta mark & 0xff000000 == 0x02000000 goto asked_for\n"
	    "goto decide\n}");
	lab_fini(&l);
}

/* The tunnel has no IPv6: R8, it does not go around tunnel! either. */
static void
test_families_of_the_tunnel(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	end(&l, TARGET_TUNNEL_ONLY);
	l.p.addresses = 1;
	t = body(&l, false);
	lacks(chain(t, "s1"), "ipv6");
	has(chain(t, "s1"), "ipv4");
	has(chain(t, "s1"), "goto refuse\n");
	lacks(chain(t, "source"), "ip6");
	l.p.addresses = 2;
	l.p.allowed = &everything[1];
	l.p.allowed_n = 1;
	t = body(&l, false);
	has(chain(t, "s1"), "ipv6");
	lacks(chain(t, "s1"), "ipv4");
	lab_fini(&l);
}

static void
test_live_from_the_first_moment(void **state)
{
	struct lab l;

	(void)state;
	lab_init(&l);
	end(&l, TARGET_TUNNEL);
	lacks(body(&l, false), "elements = { ipv");
	l.p.live_v4 = true;
	has(body(&l, false), "elements = { ipv4 }");
	l.p.live_v6 = true;
	has(body(&l, false), "elements = { ipv4, ipv6 }");
	l.p.live_v4 = false;
	has(body(&l, false), "elements = { ipv6 }");
	lab_fini(&l);
}

static void
entry(struct lab *l, enum rule_type type, const char *prefix)
{
	struct rule_entry *e = rules_lab_entry(&l->rules, type);

	if (prefix != NULL)
		e->prefix = rules_lab_prefix(prefix);
}

static void
test_entries_of_a_list(void **state)
{
	static const uint16_t port[] = {443, 80, 444, 22, 81};
	static const uint32_t uid[] = {7, 5, 7};
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	rules_lab_rule(&l.rules, RULE_SET, TARGET_BLOCK, "list");
	entry(&l, RULE_IP_CIDR, "198.51.100.0/25");
	entry(&l, RULE_IP_CIDR, "198.51.100.128/25");
	entry(&l, RULE_IP_CIDR, "192.0.2.7/32");
	entry(&l, RULE_IP_CIDR, "2001:db8::/32");
	entry(&l, RULE_SRC_IP_CIDR, "10.0.0.0/8");
	for (size_t i = 0; i < ARRAY_LEN(port); i++)
		rules_lab_entry(&l.rules, RULE_DST_PORT)->ports =
		    (struct rule_ports){port[i], port[i]};
	rules_lab_entry(&l.rules, RULE_SRC_PORT)->ports =
	    (struct rule_ports){0, 65535};
	for (size_t i = 0; i < ARRAY_LEN(uid); i++)
		rules_lab_entry(&l.rules, RULE_UID)->uid = uid[i];
	rules_lab_entry(&l.rules, RULE_NETWORK)->protos = RULE_ICMP;
	rules_lab_entry(&l.rules, RULE_DOMAIN)->name =
	    rules_lab_name(&l.rules, "a.example");
	{
		uint32_t known = rules_lab_name(&l.rules, "rclone");
		uint32_t other = rules_lab_name(&l.rules, "nobody");
		uint32_t odd = rules_lab_name(&l.rules, "odd");

		rules_lab_entry(&l.rules, RULE_PROCESS_NAME)->name = known;
		rules_lab_entry(&l.rules, RULE_PROCESS_NAME)->name = other;
		rules_lab_entry(&l.rules, RULE_PROCESS_NAME)->name = odd;
	}
	end(&l, TARGET_NATIVE);
	t = body(&l, false);
	has(t, "set to1_4 {\ntype ipv4_addr; flags interval; elements = {\n"
	       "192.0.2.7,\n198.51.100.0-198.51.100.255 }\n}\n");
	lacks(t, "set to1_6");
	has(chain(t, "rules"), "ip daddr @to1_4 goto s1\n");
	has(chain(t, "rules"), "ip6 daddr 2001:db8::-2001:db8:ffff:");
	has(chain(t, "rules"), "ip saddr 10.0.0.0-10.255.255.255 goto s1\n");
	has(chain(t, "rules"),
	    "meta l4proto { tcp, udp } th dport { 22, 80-81, 443-444 } goto");
	has(chain(t, "rules"), "th sport { 0-65535 } goto s1\n");
	has(chain(t, "rules"), "meta skuid { 5, 7 } goto s1\n");
	has(chain(t, "rules"), "meta l4proto { icmp, ipv6-icmp } goto s1\n");
	has(chain(t, "rules"),
	    "meta iif 0 meta mark & 0x00ff0000 { 0x00030000 } goto s1\n");
	has(chain(t, "rules"), "ip daddr @n1_4 goto s1\n"
			       "ip6 daddr @n1_6 goto s1\n");
	lab_fini(&l);
}

static void
test_conditions(void **state)
{
	struct rule_conditions *c;
	struct lab l;

	(void)state;
	lab_init(&l);
	rule(&l, TARGET_BLOCK);
	c = rules_lab_conditions(&l.rules);
	*c = (struct rule_conditions){.protos = RULE_TCP | RULE_ICMP,
	    .dports = 2,
	    .dport = {{8000, 8080}, {443, 443}},
	    .sports = 1,
	    .sport = {{1024, 65535}},
	    .has_uid = true,
	    .uid = 1000,
	    .src = rules_lab_prefix("10.0.0.0/8"),
	    .dst = rules_lab_prefix("198.51.100.8/32")};
	end(&l, TARGET_NATIVE);
	has(chain(body(&l, false), "rules"),
	    "meta l4proto { tcp } "
	    "th dport { 443, 8000-8080 } th sport { 1024-65535 } "
	    "meta skuid 1000 ip saddr 10.0.0.0/8 ip daddr 198.51.100.8/32 "
	    "ip daddr 198.51.100.0-198.51.100.255 goto s1\n");
	lab_fini(&l);
}

/* What no flow can be leaves no rule: nft would refuse it. */
static void
test_conditions_that_exclude(void **state)
{
	uint32_t nobody;
	struct rule_conditions c[] = {
	    {.dst = rules_lab_prefix("2001:db8::/32")},
	    {.src = rules_lab_prefix("2001:db8::/32")},
	    {.protos = RULE_ICMP, .dports = 1, .dport = {{1, 1}}},
	    {.protos = RULE_ICMP, .sports = 1, .sport = {{1, 1}}},
	    {.process = 0},
	};
	struct lab l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		lab_init(&l);
		nobody = rules_lab_name(&l.rules, "nobody");
		rule(&l, TARGET_BLOCK);
		*rules_lab_conditions(&l.rules) = c[i];
		if (i == ARRAY_LEN(c) - 1)
			l.rules.r.condition[1].process = nobody;
		end(&l, TARGET_NATIVE);
		lacks(chain(body(&l, false), "rules"), "goto s1\n");
		lab_fini(&l);
	}
}

static void
ports_left(struct lab *l, uint32_t n)
{
	rules_lab_rule(&l->rules, RULE_PORTS_LEFT, TARGET_TUNNEL, "left")
	    ->ports_left = n;
}

static void
test_ports_left(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	rule(&l, TARGET_NATIVE);
	ports_left(&l, 40);
	end(&l, TARGET_NATIVE);
	t = body(&l, false); /* no budget: never holds */
	lacks(t, "u2_tcp");
	lacks(t, "spill");
	has(chain(t, "s3"), "accept\n");
	l.p.ports = 240;
	t = body(&l, false);
	has(t, "set u2_tcp {\ntypeof ip saddr . tcp sport\nflags dynamic\n"
	       "size 201\n}\n");
	lacks(chain(t, "rules"), "s2");
	lacks(chain(t, "s1"), "spill");
	has(chain(t, "s1"), "goto native\n");
	has(chain(t, "s3"),
	    "{\nct status & confirmed == 0 "
	    "tcp flags & (fin | syn | rst | ack) == syn ip daddr != { ");
	has(chain(t, "s3"), "ct status & confirmed == 0 meta l4proto udp "
			    "ip daddr != { 0.0.0.0/8, 10.0.0.0/8, ");
	has(chain(t, "s3"), "} jump spill1\ncounter name h3\n");
	has(chain(t, "spill1"), "add @u2_tcp { ip saddr . tcp sport } return");
	has(chain(t, "native"), "add @u2_udp { ip saddr . udp sport }\n");
	l.p.ports = 39; /* always fewer than 40 */
	t = body(&l, false);
	lacks(chain(t, "spill1"), "add");
	has(chain(t, "spill1"), "goto full2\n");
	has(chain(t, "full2"), "{\ngoto s2\n}");
	l.p.ports = 40;
	has(body(&l, false), "size 1\n");
	lab_fini(&l);
}

/* The one that holds first comes first. */
static void
test_several_ports_left(void **state)
{
	struct lab l;
	const char *t, *spill;

	(void)state;
	lab_init(&l);
	ports_left(&l, 20);
	ports_left(&l, 40);
	end(&l, TARGET_NATIVE);
	l.p.ports = 240;
	t = body(&l, false);
	spill = chain(t, "spill2");
	assert_true(strstr(spill, "@u2_tcp") < strstr(spill, "@u1_tcp"));
	has(spill, "goto full2\n");
	has(t, "set u1_tcp {\ntypeof ip saddr . tcp sport\n"
	       "flags dynamic,timeout\n");
	has(t, "set u2_tcp {\ntypeof ip saddr . tcp sport\nflags dynamic\n");
	lacks(spill, "goto s");
	has(chain(t, "full1"), "{\ngoto s1\n}");
	has(chain(t, "full2"),
	    "{\nmeta l4proto { tcp } add @u1_tcp "
	    "{ ip saddr & 0.0.0.0 . tcp sport & 0 timeout 1s }\n"
	    "meta l4proto { tcp } ip saddr & 0.0.0.0 . tcp sport & 0 "
	    "!= @u1_tcp goto s1\n");
	has(chain(t, "full2"), "!= @u1_udp goto s1\ngoto s2\n}");
	l.p.ports = 19; /* both hold always */
	has(chain(body(&l, false), "full2"),
	    "{\nmeta l4proto { tcp } goto s1\nmeta l4proto { udp } goto s1\n");
	lab_fini(&l);
	lab_init(&l);
	ports_left(&l, 40);
	ports_left(&l, 20); /* never before the other one */
	l.rules.r.rule[1].target = TARGET_NATIVE;
	end(&l, TARGET_NATIVE);
	l.p.ports = 240;
	t = body(&l, false);
	has(chain(t, "full2"), "{\ngoto s2\n}");
	has(chain(t, "s2"), "{\ncounter name h2\n"); /* not once more */
	has(chain(t, "s3"), "jump spill2\n");
	lab_fini(&l);
	lab_init(&l);
	for (unsigned i = 0; i < 2000; i++)
		ports_left(&l, i);
	end(&l, TARGET_NATIVE);
	l.p.ports = 240;
	has(body(&l, false), "chain spill64 {\n");
	lab_fini(&l);
}

static void
test_own_ce(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	ports_left(&l, 40);
	end(&l, TARGET_NATIVE);
	l.p.own_ce = true;
	t = body(&l, false);
	has(t, "set s1_tcp {\ntypeof ip daddr . tcp dport\n}\n");
	lacks(chain(t, "rules"), "s1");
	has(chain(t, "s2"), "jump spill1\n");
	has(chain(t, "s2"), "accept\n");
	has(chain(t, "spill1"),
	    "{\nmeta l4proto { tcp } ip daddr . tcp dport @s1_tcp goto s1\n"
	    "meta l4proto { tcp } ip daddr & 0.0.0.0 . tcp dport & 0 @s1_tcp "
	    "goto s1\n"
	    "meta l4proto { udp } ip daddr . udp dport @s1_udp goto s1\n"
	    "meta l4proto { udp } ip daddr & 0.0.0.0 . udp dport @s1_udp "
	    "goto s1\n"
	    "meta l4proto { udp } udp dport != { 53, 123, 443 } "
	    "ip daddr & 0.0.0.0 . udp dport & 0 @s1_udp goto s1\n}");
	lacks(t, "chain native");
	lacks(t, "add @");
	lacks(body(&l, true), "s1_tcp");
	lab_fini(&l);
}

static const struct policy_nft_link link_addr[] = {
    {3, {FAMILY_V6, {0xfe, 0x80, [15] = 3}}, false},
    {4, {FAMILY_V6, {0xfe, 0x80, [15] = 4}}, true},
};

static void
test_dns(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	end(&l, TARGET_NATIVE);
	lacks(body(&l, false), "redirect");
	l.p.dns_port = 5300;
	t = body(&l, false);
	has(chain(t, "own_dns"),
	    "meta mark 0x0000ca6c accept\n"
	    "meta mark & 0x00ff0000 == 0x00ff0000 "
	    "accept\n"
	    "ct mark & 0xffe00000 == 0x02200000 accept\n"
	    /* Our own, without its mark, never comes back. */
	    "udp sport != 53 udp dport 53 ct zone 0 drop\n"
	    "ip6 daddr fe80::/10 meta l4proto { tcp, udp } "
	    "th dport 53 goto link_dns\n"
	    "udp dport 53 redirect to :5300\n"
	    "tcp dport 53 redirect to :5300\n");
	has(chain(t, "decide"), "th dport 53 meta mark & 0x00ff0000 != "
				"0x00ff0000 goto local\n");
	/* Before anything is let pass. */
	has(chain(t, "own_dns_zone"),
	    "type filter hook output priority raw; policy accept;\n"
	    "meta l4proto icmp @th,0,16 0x0303 "
	    "@th,136,8 17 @th,224,16 53 drop\n"
	    "meta l4proto ipv6-icmp @th,0,16 0x0104 "
	    "@th,112,8 17 @th,384,16 53 drop\n"
	    "meta mark 0x0000ca6c accept\n");
	has(chain(t, "own_dns_zone"),
	    "meta mark & 0x00ff0000 == 0x00ff0000 accept\n"
	    "udp sport != 53 udp dport 53 ct zone set 5300\n"
	    "udp sport 5300 ct zone set 5300\n");
	has(chain(t, "dns_only"), "ct direction original ct status & dnat == 0 "
				  "meta l4proto { tcp, udp } th dport 5300 "
				  "drop\n");
	/* R8: no link that nobody knows. */
	has(chain(t, "link_dns"), "chain link_dns {\ndrop\n");
	lacks(t, "lan_dns");
	lacks(body(&l, true), "dport 53 ");
	l.p.link = link_addr;
	l.p.links = ARRAY_LEN(link_addr);
	has(chain(body(&l, false), "link_dns"),
	    "oif 3 meta l4proto { tcp, udp } dnat ip6 to [fe80::3]:5300\n"
	    "oif 4 meta l4proto { tcp, udp } dnat ip6 to [fe80::4]:5300\n"
	    "drop\n");
	lab_fini(&l);
}

/* The same for whom this host is a gateway of, by a link's address as well. */
static void
test_lan_dns(void **state)
{
	struct ip_prefix lan = rules_lab_prefix("192.168.50.0/24");
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	end(&l, TARGET_NATIVE);
	l.p.dns_port = 5300;
	l.p.link = link_addr;
	l.p.links = ARRAY_LEN(link_addr);
	l.p.network = &lan;
	l.p.networks = 1;
	t = body(&l, false);
	has(chain(t, "lan_dns"),
	    "ip saddr @network4 udp dport 53 counter name lan_dns redirect");
	has(chain(t, "lan_dns"),
	    "iif 4 ip6 saddr fe80::/10 tcp dport 53 redirect to :5300\n");
	lacks(chain(t, "lan_dns"), "iif 3");
	lacks(chain(t, "lan_dns"), "ip6 saddr @");
	has(chain(t, "lan_dns_zone"), "ip saddr @network4 udp sport != 53 "
				      "udp dport 53 ct zone set 5300\n"
				      "ip saddr @network4 meta l4proto icmp");
	lab_fini(&l);
}

/* R5: local is what is named. R8: the guard refuses by itself. */
static void
test_guard(void **state)
{
	struct ip_prefix lan = rules_lab_prefix("2001:db8::/64");
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	end(&l, TARGET_TUNNEL);
	(void)body(&l, false);
	assert_false(policy_nft_has_guard(&l.p));
	l.p.runs = true;
	assert_true(policy_nft_has_guard(&l.p));
	lab_fini(&l);
	lab_init(&l);
	rule(&l, TARGET_BLOCK);
	end(&l, TARGET_TUNNEL);
	has(chain(body(&l, true), "rules"), ".255 goto refuse\n}");
	assert_true(policy_nft_has_guard(&l.p));
	lab_fini(&l);
	lab_init(&l);
	rule(&l, TARGET_NATIVE);
	rule(&l, TARGET_TUNNEL_ONLY);
	rules_lab_rule(&l.rules, RULE_DOMAIN, TARGET_TUNNEL, "name");
	rules_lab_entry(&l.rules, RULE_DOMAIN)->name =
	    rules_lab_name(&l.rules, "a.example");
	end(&l, TARGET_NATIVE);
	l.p.local = l.p.network = &lan;
	l.p.locals = l.p.networks = 1;
	l.p.dns_port = 5300;
	t = body(&l, true);
	assert_true(policy_nft_has_guard(&l.p));
	has(chain(t, "rules"), ".255 accept\n");
	has(chain(t, "rules"), ".255 goto refuse\n}");
	has(t, "set n3_4 {"); /* as in the other table */
	lacks(t, "counter");
	lacks(t, "redirect");
	lacks(t, "type nat");
	lacks(t, "mark set");
	has(chain(t, "decide"), "0x00fe0000 : goto refuse, "
				"0x00fd0000 : accept }");
	has(chain(t, "decide"), "ip6 daddr @local6 goto local\n");
	has(chain(t, "own"), "0x00400000 : goto refuse");
	has(chain(t, "own"), "0x00300000 : goto only");
	has(chain(t, "leaving"),
	    "accept;\nct mark & 0xfff00000 == 0x02300000 oifname != \"uk0\" "
	    "ct direction original goto refuse\n}");
	has(chain(t, "left"),
	    "accept;\nct mark & 0xfff00000 == 0x02300000 oifname != \"uk0\" "
	    "ct direction original drop\n}");
	has(chain(t, "arriving"),
	    "accept;\nct mark & 0x00b00000 == 0x00100000 accept\n"
	    "iifname { \"lo\", \"uk0\" } accept\n"
	    "ct direction reply accept\n");
	has(chain(t, "arriving"), "ip6 saddr @network6 goto decide\n");
	lab_fini(&l);
}

/* Names come from the DNS (C1): a comment stays a comment. */
static void
test_known_addresses(void **state)
{
	struct policy_nft_known known[] = {
	    {.slot = 2, .name = "z"},
	    {.slot = 1, .name = "a.example"},
	    {.slot = 1, .name = "A\" } ; drop\n"},
	    {.slot = 1, .name = "again"},
	};
	struct lab l;
	const char *t;

	(void)state;
	known[0].addr = known[1].addr = rules_lab_addr("192.0.2.1");
	known[2].addr = rules_lab_addr("2001:db8::1");
	known[3].addr = known[1].addr;
	lab_init(&l);
	for (unsigned i = 0; i < 2; i++) {
		rules_lab_rule(&l.rules, RULE_DOMAIN, TARGET_TUNNEL, "name");
		rules_lab_entry(&l.rules, RULE_DOMAIN)->name =
		    rules_lab_name(&l.rules, "a.example");
	}
	end(&l, TARGET_BLOCK);
	l.p.known = known;
	l.p.knowns = ARRAY_LEN(known);
	t = body(&l, false);
	has(t, "set n1_6 {\ntype ipv6_addr; elements = {\n"
	       "2001:db8::1 comment \"_______drop_\" }\n}\n");
	has(t, "set n2_4 {\ntype ipv4_addr; elements = {\n"
	       "192.0.2.1 comment \"z\" }\n}\n");
	has(t, "set n2_6 {\ntype ipv6_addr\n}\n");
	has(t, "{\n192.0.2.1 comment \"");
	lacks(t, ",\n192.0.2.1");
	has(body(&l, true), "set n1_6 {\ntype ipv6_addr; elements = {");
	lab_fini(&l);
}

/* The text grows with the list and not with its square: no clock here, the
 * machine may stall. */
static void
test_long_list(void **state)
{
	struct lab l;
	const char *t;
	size_t lines = 0;

	(void)state;
	lab_init(&l);
	rules_lab_rule(&l.rules, RULE_SET, TARGET_TUNNEL, "list");
	for (uint32_t i = 0; i < 100000; i++) {
		struct rule_entry *e = rules_lab_entry(&l.rules, RULE_IP_CIDR);

		e->prefix = (struct ip_prefix){
		    {FAMILY_V4, {(uint8_t)(20 + (i >> 15)), (uint8_t)(i >> 7),
				    (uint8_t)(i << 1)}},
		    24};
	}
	end(&l, TARGET_NATIVE);
	t = body(&l, false);
	has(t, "20.0.2.0-20.0.2.255,\n20.0.4.0-20.0.4.255,\n");
	for (const char *s = t; (s = strchr(s, '\n')) != NULL; s++)
		lines++;
	assert_in_range(lines, 100000, 101000);
	lab_fini(&l);
}

/* R8: while a table takes the place of another, the hooks of both stand, and
 * the new one's sets with ranges are empty for a moment. */
static void
test_no_gap_while_tables_change_R8(void **state)
{
	static const char last[] = "chain wait {\n"
				   "meta mark & 0 != @filled drop\n"
				   "meta mark & 0 != { 0-1, 3-4 } drop\n"
				   "}\n";
	struct ip_prefix lan = rules_lab_prefix("192.168.50.0/24");
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	rule(&l, TARGET_TUNNEL_ONLY);
	end(&l, TARGET_NATIVE);
	l.p.network = &lan;
	l.p.networks = 1;
	l.p.dns_port = 5300;
	t = body(&l, false);
	has(chain(t, "own"), "type route hook output priority -145;");
	has(chain(t, "own_again"), "type route hook output priority -144;");
	has(chain(t, "arriving"), "hook prerouting priority -145;");
	has(chain(t, "arriving_again"), "hook prerouting priority -144;");
	has(chain(t, "source"), "hook postrouting priority 95;");
	has(chain(t, "source_again"), "hook postrouting priority 96;");
	has(chain(t, "own_dns"), "hook output priority -100;");
	has(chain(t, "own_dns_again"), "hook output priority -99;");
	has(chain(t, "lan_dns"), "hook prerouting priority -100;");
	has(chain(t, "lan_dns_again"), "hook prerouting priority -99;");
	has(chain(t, "decide"), "jump wait\n");
	has(chain(t, "arriving_again"),
	    "jump wait\nip saddr @network4 goto decide\n");
	assert_string_equal(t + strlen(t) - strlen(last), last);
	t = body(&l, true);
	has(chain(t, "own"), "type filter hook output priority -140;");
	has(chain(t, "own_again"), "type filter hook output priority -139;");
	has(chain(t, "arriving_again"), "hook prerouting priority -139;");
	has(chain(t, "arriving_again"),
	    "jump wait\nip saddr @network4 goto decide\n");
	has(chain(t, "decide"), "jump wait\n");
	assert_string_equal(t + strlen(t) - strlen(last), last);
	lab_fini(&l);
}

/* R5: nothing by a netmask but in private networks, and nothing of others'
 * that only a host's own link is for. */
static void
test_what_is_local_R5(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	rule(&l, TARGET_TUNNEL_ONLY);
	end(&l, TARGET_NATIVE);
	for (int guard = 0; guard < 2; guard++) {
		t = chain(body(&l, guard == 1), "decide");
		has(t,
		    "fib daddr type { local, multicast, anycast } goto local\n"
		    "ip daddr { 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, "
		    "192.168.0.0/16 } fib daddr type broadcast goto local\n");
		has(t, "\nmeta iif 0 icmpv6 type { 130-137,");
		has(t, "\nmeta iif 0 meta nfproto ipv4 udp sport { 67, 68 } ");
		has(t, "\nmeta iif 0 meta nfproto ipv6 udp sport { 546, ");
		lacks(t, "igmp");
	}
	lab_fini(&l);
}

/* R8: what connection tracking has no entry for cannot be marked, and is
 * refused as well. */
static void
test_untracked_is_refused_R8(void **state)
{
	struct lab l;
	const char *t;

	(void)state;
	lab_init(&l);
	rule(&l, TARGET_TUNNEL_ONLY);
	rule(&l, TARGET_BLOCK);
	rule(&l, TARGET_TUNNEL);
	end(&l, TARGET_NATIVE);
	t = body(&l, false);
	has(chain(t, "s1"), "goto refuse\ngoto refuse\n}");
	has(chain(t, "s2"), "goto refuse\ngoto refuse\n}");
	lacks(chain(t, "s3"), "goto refuse\n");
	lab_fini(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_targets),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_source_and_leaks),
	    cmocka_unit_test(test_own_and_arriving),
	    cmocka_unit_test(test_families_of_the_tunnel),
	    cmocka_unit_test(test_live_from_the_first_moment),
	    cmocka_unit_test(test_entries_of_a_list),
	    cmocka_unit_test(test_conditions),
	    cmocka_unit_test(test_conditions_that_exclude),
	    cmocka_unit_test(test_ports_left),
	    cmocka_unit_test(test_several_ports_left),
	    cmocka_unit_test(test_own_ce),
	    cmocka_unit_test(test_dns),
	    cmocka_unit_test(test_lan_dns),
	    cmocka_unit_test(test_guard),
	    cmocka_unit_test(test_known_addresses),
	    cmocka_unit_test(test_long_list),
	    cmocka_unit_test(test_no_gap_while_tables_change_R8),
	    cmocka_unit_test(test_what_is_local_R5),
	    cmocka_unit_test(test_untracked_is_refused_R8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
