#include "policy_nft.h"

#include <stdlib.h>
#include <string.h>

#include "mark.h"
#include "policy_nft_rules.h"

/* Behind connection tracking (-200) and the firewall's own chains at mangle
 * (-150), before anything is redirected (-100). */
#define DECIDE "mangle + 5"
#define GUARD "mangle + 10"

/* Addresses that no flow on the line has: RFC 6890. */
#define PRIVATE_V4                                                             \
	"0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, "                  \
	"169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/3"

#define NO_SLOT 0

/* Rules of that type that hold ever; more than these, each for another number
 * of ports, nobody has. */
#define PORTS_LEFT_MAX 64

static uint32_t
keep_mask(const struct policy_nft *p)
{
	return ~(p->tunnel_mask | MARK_DECISION_MASK | MARK_SLOT_MASK);
}

static void
set_ct_mark(struct text *t, const struct policy_nft *p, uint32_t decision,
    unsigned slot)
{
	if (decision == MARK_TUNNEL || decision == MARK_TUNNEL_ONLY)
		decision |= p->tunnel_mark;
	text_add(t, "ct mark set ct mark & 0x%08x | 0x%08x ",
	    (unsigned)keep_mask(p), (unsigned)decision | slot);
}

/* The connection is of this tunnel, by a decision of ours. */
static void
match_tunnelled(struct text *t, const struct policy_nft *p, bool soft)
{
	text_add(t, "ct mark & 0x%08x { 0x%08x",
	    (unsigned)(p->tunnel_mask | MARK_DECISION_MASK),
	    (unsigned)(p->tunnel_mark | MARK_TUNNEL_ONLY));
	if (soft)
		text_add(
		    t, ", 0x%08x", (unsigned)(p->tunnel_mark | MARK_TUNNEL));
	text_add(t, " } ");
}

static bool
has_family(const struct policy_nft *p, uint8_t family)
{
	for (size_t i = 0; i < p->addresses; i++)
		if (p->address[i].addr.family == family)
			return true;
	return false;
}

static bool
has_prefix(const struct ip_prefix *p, size_t n, uint8_t family)
{
	for (size_t i = 0; i < n; i++)
		if (p[i].addr.family == family)
			return true;
	return false;
}

static bool
counts_ports(const struct policy_nft *p)
{
	for (size_t i = 0; i < p->slots->n; i++)
		if (policy_nft_counts_ports(p, &p->slots->item[i]))
			return true;
	return false;
}

/* ---- sets and counters ---- */

static void
prefix_sets(struct text *t, const struct policy_nft *p, bool guard)
{
	if (!guard) {
		policy_nft_prefix_set(
		    t, "allowed4", FAMILY_V4, p->allowed, p->allowed_n);
		policy_nft_prefix_set(
		    t, "allowed6", FAMILY_V6, p->allowed, p->allowed_n);
	}
	policy_nft_prefix_set(t, "local4", FAMILY_V4, p->local, p->locals);
	policy_nft_prefix_set(t, "local6", FAMILY_V6, p->local, p->locals);
	policy_nft_prefix_set(
	    t, "network4", FAMILY_V4, p->network, p->networks);
	policy_nft_prefix_set(
	    t, "network6", FAMILY_V6, p->network, p->networks);
}

static void
live_set(struct text *t, const struct policy_nft *p)
{
	const char *now = p->live_v4 && p->live_v6 ? "ipv4, ipv6"
			  : p->live_v4             ? "ipv4"
						   : "ipv6";

	text_add(t, "set " POLICY_NFT_LIVE " {\ntypeof meta nfproto\n");
	if (p->live_v4 || p->live_v6)
		text_add(t, "elements = { %s }\n", now);
	text_add(t, "}\n");
}

static void
counter(struct text *t, unsigned number)
{
	text_add(t,
	    "counter " POLICY_NFT_HITS " {\n}\ncounter " POLICY_NFT_BYTES
	    " {\n}\n",
	    number, number);
}

static void
counters(struct text *t, const struct policy_nft *p)
{
	for (size_t i = 0; i < p->slots->n; i++)
		counter(t, p->slots->item[i].number);
	counter(t, SLOT_RUN_SOFT);
	counter(t, SLOT_RUN);
	text_add(t,
	    "map bytes {\ntype mark : counter; elements = {\n"
	    "0x%x : \"" POLICY_NFT_BYTES "\", 0x%x : \"" POLICY_NFT_BYTES "\"",
	    SLOT_RUN_SOFT, SLOT_RUN_SOFT, SLOT_RUN, SLOT_RUN);
	for (size_t i = 0; i < p->slots->n; i++)
		text_add(t, ",\n0x%x : \"" POLICY_NFT_BYTES "\"",
		    (unsigned)p->slots->item[i].number,
		    (unsigned)p->slots->item[i].number);
	text_add(t, " }\n}\n");
}

/* ---- decisions ---- */

static void
refuse_chain(struct text *t)
{
	text_add(t, "chain refuse {\n"
		    "meta l4proto tcp reject with tcp reset\n"
		    "reject with icmpx admin-prohibited\n"
		    "}\n");
}

/* The first packet of a flow that connection tracking has not known before:
 * only such a one can still get another source address. */
#define FIRST "ct status & confirmed == 0 "

static void
into_tunnel(struct text *t, const struct policy_nft *p, uint8_t family,
    uint32_t decision, unsigned number)
{
	if (!has_family(p, family) ||
	    !has_prefix(p->allowed, p->allowed_n, family))
		return;
	text_add(t,
	    FIRST "meta nfproto ipv%u meta nfproto @" POLICY_NFT_LIVE
		  " %s daddr @allowed%u ",
	    (unsigned)family, family == FAMILY_V4 ? "ip" : "ip6",
	    (unsigned)family);
	set_ct_mark(t, p, decision, number);
	text_add(t, "goto go\n");
}

static void
stay_native(struct text *t, const struct policy_nft *p, unsigned number)
{
	set_ct_mark(t, p, MARK_NATIVE, number);
	text_add(t, counts_ports(p) ? "goto native\n" : "accept\n");
}

/* ports_left: how many such rules stand before this one. */
static void
target_chain(struct text *t, const struct policy_nft *p, unsigned number,
    uint8_t target, size_t ports_left)
{
	text_add(t, "chain s%u {\n", number);
	if (target == TARGET_NATIVE && ports_left > 0)
		text_add(t,
		    FIRST "meta l4proto { tcp, udp } "
			  "ip daddr != { " PRIVATE_V4 " } jump spill%zu\n",
		    ports_left);
	text_add(t, "counter name " POLICY_NFT_HITS "\n", number);
	if (target == TARGET_TUNNEL || target == TARGET_TUNNEL_ONLY) {
		uint32_t decision =
		    target == TARGET_TUNNEL ? MARK_TUNNEL : MARK_TUNNEL_ONLY;

		into_tunnel(t, p, FAMILY_V4, decision, number);
		into_tunnel(t, p, FAMILY_V6, decision, number);
	}
	if (target == TARGET_NATIVE || target == TARGET_TUNNEL) {
		stay_native(t, p, number);
	} else {
		set_ct_mark(t, p, MARK_REFUSED, number);
		text_add(t, "goto refuse\n");
	}
	text_add(t, "}\n");
}

static void
target_chains(struct text *t, const struct policy_nft *p)
{
	size_t ports_left = 0;

	for (size_t i = 0; i < p->slots->n; i++) {
		const struct slot *slot = &p->slots->item[i];

		bool counts = policy_nft_counts_ports(p, slot);

		target_chain(t, p, slot->number,
		    policy_nft_rule(p, slot)->target, counts ? 0 : ports_left);
		if (counts && ports_left < PORTS_LEFT_MAX)
			ports_left++;
	}
	target_chain(t, p, SLOT_RUN_SOFT, TARGET_TUNNEL, 0);
	target_chain(t, p, SLOT_RUN, TARGET_TUNNEL_ONLY, 0);
}

/* ---- PORTS-LEFT ---- */

/* A flow that would go native is added to the set; where that fails, as the
 * set is full, the rule holds. A flow that is in it already takes no port
 * more. */
static void
spill_slot(struct text *t, const struct policy_nft *p, const struct slot *slot)
{
	static const uint8_t protos[] = {RULE_TCP, RULE_UDP};
	const struct rule *rule = policy_nft_rule(p, slot);

	for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
		const char *l4 = protos[i] == RULE_TCP ? "tcp" : "udp";
		char set[POLICY_NFT_SET_MAX];

		policy_nft_used_set(set, slot->number, protos[i]);
		if (policy_nft_ports_size(p, slot) > 0 &&
		    policy_nft_conditions(t, p, rule, FAMILY_V4, protos[i]))
			text_add(t, "add @%s { ip saddr . %s sport } return\n",
			    set, l4);
		if (policy_nft_conditions(t, p, rule, FAMILY_V4, protos[i]))
			text_add(t, "goto s%u\n", (unsigned)slot->number);
	}
}

/* The smallest set first: those that are larger have what it has. */
static void
spill_chain(struct text *t, const struct policy_nft *p,
    const struct slot *const *slot, size_t n)
{
	const struct slot *order[PORTS_LEFT_MAX];
	size_t done = 0;

	for (size_t i = 0; i < n; i++) {
		size_t at = done++;

		while (at > 0 && policy_nft_rule(p, order[at - 1])->ports_left <
				     policy_nft_rule(p, slot[i])->ports_left) {
			order[at] = order[at - 1];
			at--;
		}
		order[at] = slot[i];
	}
	text_add(t, "chain spill%zu {\n", n);
	for (size_t i = 0; i < n; i++)
		spill_slot(t, p, order[i]);
	text_add(t, "}\n");
}

/* Whatever goes by the line uses a port of it, also where no rule asks. */
static void
native_chain(struct text *t, const struct slot *const *slot, size_t n)
{
	char tcp[POLICY_NFT_SET_MAX], udp[POLICY_NFT_SET_MAX];

	text_add(t, "chain native {\n"
		    "ip daddr { " PRIVATE_V4 " } accept\n");
	for (size_t i = 0; i < n; i++) {
		policy_nft_used_set(tcp, slot[i]->number, RULE_TCP);
		policy_nft_used_set(udp, slot[i]->number, RULE_UDP);
		text_add(t,
		    "meta nfproto ipv4 meta l4proto tcp "
		    "add @%s { ip saddr . tcp sport }\n"
		    "meta nfproto ipv4 meta l4proto udp "
		    "add @%s { ip saddr . udp sport }\n",
		    tcp, udp);
	}
	text_add(t, "accept\n}\n");
}

static void
ports_chains(struct text *t, const struct policy_nft *p)
{
	const struct slot *slot[PORTS_LEFT_MAX];
	size_t n = 0;

	for (size_t i = 0; i < p->slots->n && n < PORTS_LEFT_MAX; i++) {
		if (!policy_nft_counts_ports(p, &p->slots->item[i]))
			continue;
		slot[n++] = &p->slots->item[i];
		spill_chain(t, p, slot, n);
	}
	if (n > 0)
		native_chain(t, slot, n);
}

/* ---- local things ---- */

static void
dns_is_local(struct text *t, const struct policy_nft *p)
{
	if (p->dns_port != 0)
		text_add(t,
		    "meta l4proto { tcp, udp } th dport 53 "
		    "meta mark & 0x%08x != 0x%08x goto local\n",
		    (unsigned)MARK_CLASS_MASK,
		    (unsigned)CLASS_DNS << MARK_CLASS_SHIFT);
}

static void
run_classes(struct text *t, bool guard)
{
	text_add(t, "meta iif 0 meta mark & 0x%08x vmap { 0x%08x : goto %s",
	    (unsigned)MARK_CLASS_MASK, (unsigned)CLASS_RUN << MARK_CLASS_SHIFT,
	    guard ? "refuse" : "");
	if (!guard)
		text_add(t, "s%u", (unsigned)SLOT_RUN);
	text_add(
	    t, ", 0x%08x : ", (unsigned)CLASS_RUN_SOFT << MARK_CLASS_SHIFT);
	if (guard)
		text_add(t, "accept }\n");
	else
		text_add(t, "goto s%u }\n", (unsigned)SLOT_RUN_SOFT);
}

/* RFC 4861 and RFC 2710, RFC 3810, RFC 4286; RFC 2131, RFC 8415. Nothing here
 * comes from a link's netmask (R5). */
static void
decide_chain(struct text *t, const struct policy_nft *p, bool guard)
{
	text_add(t,
	    "chain decide {\n"
	    "fib daddr type { local, broadcast, multicast, anycast } "
	    "goto local\n"
	    "ip daddr { 0.0.0.0, 169.254.0.0/16, 224.0.0.0/4, "
	    "255.255.255.255 } goto local\n"
	    "ip6 daddr { ::, fe80::/10, ff00::/8 } goto local\n"
	    "icmpv6 type { 130-137, 143, 151-153 } goto local\n"
	    "meta l4proto igmp goto local\n"
	    "meta nfproto ipv4 udp sport { 67, 68 } udp dport { 67, 68 } "
	    "goto local\n"
	    "meta nfproto ipv6 udp sport { 546, 547 } udp dport { 546, 547 } "
	    "goto local\n");
	if (has_prefix(p->local, p->locals, FAMILY_V4))
		text_add(t, "ip daddr @local4 goto local\n");
	if (has_prefix(p->local, p->locals, FAMILY_V6))
		text_add(t, "ip6 daddr @local6 goto local\n");
	if (!guard)
		dns_is_local(t, p);
	run_classes(t, guard);
	text_add(t, "goto rules\n}\n");
}

/* ---- where packets are seen ---- */

/* What has been decided, and what is not ours to decide. */
static void
known_flows(struct text *t, const struct policy_nft *p, bool guard)
{
	const char *go = guard ? "accept" : "goto go";

	text_add(t,
	    "ct direction reply accept\n"
	    "meta mark 0x%08x accept\n"
	    "ct mark & 0x%08x vmap { 0x%08x : accept, 0x%08x : accept, "
	    "0x%08x : goto refuse, 0x%08x : %s, 0x%08x : %s }\n"
	    "ct mark & 0x%08x != 0 accept\n",
	    (unsigned)p->own_mark, (unsigned)MARK_DECISION_MASK,
	    (unsigned)MARK_NATIVE, (unsigned)MARK_LOCAL, (unsigned)MARK_REFUSED,
	    (unsigned)MARK_TUNNEL, go, (unsigned)MARK_TUNNEL_ONLY,
	    guard ? "goto only" : go, (unsigned)p->tunnel_mask);
}

static void
own_chain(struct text *t, const struct policy_nft *p, bool guard)
{
	text_add(t,
	    "chain own {\n"
	    "type %s hook output priority %s; policy accept;\n",
	    guard ? "filter" : "route", guard ? GUARD : DECIDE);
	known_flows(t, p, guard);
	text_add(t,
	    "oifname \"lo\" accept\n"
	    "meta mark & 0x%08x == 0x%08x %s\n"
	    "goto decide\n}\n",
	    (unsigned)p->tunnel_mask, (unsigned)p->tunnel_mark,
	    guard ? "accept" : "goto asked_for");
}

static void
lan_chain(struct text *t, const struct policy_nft *p, bool guard)
{
	if (p->networks == 0)
		return;
	text_add(t,
	    "chain lan {\n"
	    "type filter hook prerouting priority %s; policy accept;\n"
	    "iifname { \"lo\", \"%s\" } accept\n",
	    guard ? GUARD : DECIDE, p->ifname);
	known_flows(t, p, guard);
	if (has_prefix(p->network, p->networks, FAMILY_V4))
		text_add(t, "ip saddr @network4 goto decide\n");
	if (has_prefix(p->network, p->networks, FAMILY_V6))
		text_add(t, "ip6 saddr @network6 goto decide\n");
	text_add(t, "}\n");
}

/* An answer has the mark as well, or a strict rp_filter, which then asks with
 * it (src_valid_mark), would not take it from the tunnel. */
static void
back_chain(struct text *t, const struct policy_nft *p)
{
	text_add(t,
	    "chain back {\n"
	    "type filter hook prerouting priority " DECIDE "; policy accept;\n"
	    "iifname \"%s\" ct direction reply ",
	    p->ifname);
	match_tunnelled(t, p, true);
	text_add(t, "meta mark set meta mark & 0x%08x | 0x%08x\n}\n",
	    (unsigned)~p->tunnel_mask, (unsigned)p->tunnel_mark);
}

/* Behind these the source may be that of another link. */
static void
source_rules(struct text *t, const struct policy_nft *p, uint8_t family)
{
	const char *ip = family == FAMILY_V4 ? "ip" : "ip6";
	const struct ip_ifaddr *first = NULL;
	char text[IP_ADDR_TEXT_MAX];

	if (!has_family(p, family))
		return;
	text_add(t, "oifname \"%s\" ", p->ifname);
	match_tunnelled(t, p, true);
	text_add(t, "%s saddr != { ", ip);
	for (size_t i = 0; i < p->addresses; i++) {
		const struct ip_ifaddr *a = &p->address[i];

		if (a->addr.family != family)
			continue;
		text_add(t, "%s%s", first != NULL ? ", " : "",
		    ip_addr_format(&a->addr, text));
		if (first == NULL)
			first = a;
	}
	text_add(
	    t, " } snat %s to %s\n", ip, ip_addr_format(&first->addr, text));
}

static void
source_chain(struct text *t, const struct policy_nft *p)
{
	text_add(t, "chain source {\n"
		    "type nat hook postrouting priority srcnat; "
		    "policy accept;\n");
	source_rules(t, p, FAMILY_V4);
	source_rules(t, p, FAMILY_V6);
	text_add(t, "}\n");
}

/* Only here is it known which link a packet leaves by. Own packets cannot be
 * answered any more; their program is told that it was not permitted. */
static void
leak_chains(struct text *t, const struct policy_nft *p, bool guard)
{
	text_add(t, "chain leaving {\n"
		    "type filter hook forward priority filter; "
		    "policy accept;\n");
	text_add(t, "oifname != \"%s\" ct direction original ", p->ifname);
	match_tunnelled(t, p, !guard);
	text_add(t,
	    "goto refuse\n}\n"
	    "chain left {\n"
	    "type filter hook postrouting priority filter; policy accept;\n"
	    "oifname != \"%s\" ct direction original ",
	    p->ifname);
	match_tunnelled(t, p, !guard);
	text_add(t, "drop\n}\n");
}

/* Each packet passes one of the two hooks; behind `left`, so that none is
 * counted which does not leave. */
static void
count_chains(struct text *t, const struct policy_nft *p)
{
	static const char *const hook[] = {"input", "postrouting"};

	for (size_t i = 0; i < ARRAY_LEN(hook); i++)
		text_add(t,
		    "chain count_%s {\n"
		    "type filter hook %s priority filter + 5; "
		    "policy accept;\n"
		    "meta mark != 0x%08x ct mark & 0x%08x != 0 "
		    "counter name ct mark & 0x%08x map @bytes\n"
		    "}\n",
		    hook[i], hook[i], (unsigned)p->own_mark,
		    (unsigned)MARK_DECISION_MASK, (unsigned)MARK_SLOT_MASK);
}

/* ---- DNS ---- */

static void
redirect(struct text *t, const char *match, uint16_t port)
{
	text_add(t,
	    "%sudp dport 53 redirect to :%u\n"
	    "%stcp dport 53 redirect to :%u\n",
	    match, (unsigned)port, match, (unsigned)port);
}

static void
lan_dns(struct text *t, const struct policy_nft *p)
{
	text_add(t,
	    "chain lan_dns {\n"
	    "type nat hook prerouting priority dstnat; policy accept;\n"
	    "iifname \"%s\" accept\n",
	    p->ifname);
	if (has_prefix(p->network, p->networks, FAMILY_V4))
		redirect(t, "ip saddr @network4 ", p->dns_port);
	if (has_prefix(p->network, p->networks, FAMILY_V6))
		redirect(t, "ip6 saddr @network6 ", p->dns_port);
	text_add(t,
	    "}\n"
	    "chain dns_only {\n"
	    "type filter hook input priority filter; policy accept;\n"
	    "ct direction original ct status & dnat == 0 "
	    "meta l4proto { tcp, udp } th dport %u drop\n"
	    "}\n",
	    (unsigned)p->dns_port);
}

static void
dns_chains(struct text *t, const struct policy_nft *p)
{
	if (p->dns_port == 0)
		return;
	text_add(t,
	    "chain own_dns {\n"
	    "type nat hook output priority -100; policy accept;\n"
	    "meta mark 0x%08x accept\n"
	    "meta mark & 0x%08x == 0x%08x accept\n",
	    (unsigned)p->own_mark, (unsigned)MARK_CLASS_MASK,
	    (unsigned)CLASS_DNS << MARK_CLASS_SHIFT);
	/* The loopback has no such server. */
	text_add(t, "ip6 daddr fe80::/10 accept\n");
	redirect(t, "", p->dns_port);
	text_add(t, "}\n");
	if (p->networks > 0)
		lan_dns(t, p);
}

/* ---- the two tables ---- */

/* Where decided flows go. A connection of another tunnel is not taken from
 * it. Who marks a socket for the tunnel has decided: never by the line. */
static void
end_chains(struct text *t, const struct policy_nft *p)
{
	text_add(t, "chain local {\n");
	set_ct_mark(t, p, MARK_LOCAL, NO_SLOT);
	text_add(t, "accept\n}\n"
		    "chain asked_for {\n");
	set_ct_mark(t, p, MARK_TUNNEL_ONLY, NO_SLOT);
	text_add(t,
	    "accept\n}\n"
	    "chain go {\n"
	    "ct mark & 0x%08x == 0x%08x meta mark set meta mark & 0x%08x | "
	    "0x%08x\n"
	    "accept\n}\n",
	    (unsigned)p->tunnel_mask, (unsigned)p->tunnel_mark,
	    (unsigned)~p->tunnel_mask, (unsigned)p->tunnel_mark);
	refuse_chain(t);
}

void
policy_nft_body(struct text *t, const struct policy_nft *p)
{
	prefix_sets(t, p, false);
	live_set(t, p);
	counters(t, p);
	end_chains(t, p);
	policy_nft_rules(t, p, false);
	target_chains(t, p);
	ports_chains(t, p);
	decide_chain(t, p, false);
	own_chain(t, p, false);
	lan_chain(t, p, false);
	back_chain(t, p);
	source_chain(t, p);
	leak_chains(t, p, false);
	count_chains(t, p);
	dns_chains(t, p);
}

bool
policy_nft_has_guard(const struct policy_nft *p)
{
	for (size_t i = 0; i < p->slots->n; i++)
		if (policy_nft_refuses(p, &p->slots->item[i]))
			return true;
	return false;
}

/* The connection's mark says tunnel!. While the other table stands its packets
 * have the tunnel's mark here, and leak_chains() see to the rest. */
static void
only_chain(struct text *t, const struct policy_nft *p)
{
	text_add(t,
	    "chain only {\n"
	    "ct mark & 0x%08x != 0x%08x accept\n"
	    "meta mark & 0x%08x == 0x%08x accept\n"
	    "goto refuse\n}\n"
	    "chain local {\naccept\n}\n",
	    (unsigned)p->tunnel_mask, (unsigned)p->tunnel_mark,
	    (unsigned)p->tunnel_mask, (unsigned)p->tunnel_mark);
}

void
policy_nft_guard_body(struct text *t, const struct policy_nft *p)
{
	prefix_sets(t, p, true);
	refuse_chain(t);
	only_chain(t, p);
	policy_nft_rules(t, p, true);
	decide_chain(t, p, true);
	own_chain(t, p, true);
	lan_chain(t, p, true);
	leak_chains(t, p, true);
}
