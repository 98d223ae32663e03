#include "policy_nft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "always_local.h"
#include "line_ports.h"
#include "mark.h"
#include "policy_nft_parts.h"
#include "policy_nft_rules.h"

/* Behind connection tracking (-200) and the firewall's own chains at mangle
 * (-150), before anything is redirected (-100). Of two that give a source the
 * first one does: before a gateway's own (100), which may not look at the link
 * that a packet leaves by. */
#define DECIDE -145
#define GUARD -140
#define SRCNAT 95

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

/* Two decisions at once: they differ in one bit, and one comparison is all
 * that a native flow's packets are asked for. */
#define BOTH (MARK_TUNNEL ^ MARK_TUNNEL_ONLY)
#define EITHER (MARK_NATIVE ^ MARK_LOCAL)
_Static_assert((BOTH & (BOTH - 1)) == 0 && (MARK_TUNNEL & BOTH) == 0,
    "tunnel! is tunnel with one bit more");
_Static_assert((EITHER & (EITHER - 1)) == 0 && (MARK_NATIVE & EITHER) == 0,
    "local is native with one bit more");

void
policy_nft_tunnelled(struct text *t, const struct policy_nft *p, bool soft)
{
	uint32_t mask = p->tunnel_mask | MARK_DECISION_MASK;
	uint32_t mark = p->tunnel_mark | MARK_TUNNEL_ONLY;

	if (soft) {
		mask &= ~BOTH;
		mark &= ~BOTH;
	}
	text_add(
	    t, "ct mark & 0x%08x == 0x%08x ", (unsigned)mask, (unsigned)mark);
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
counts_ports(const struct policy_nft *p)
{
	for (size_t i = 0; i < p->slots->n && !p->own_ce; i++)
		if (policy_nft_spills(p, &p->slots->item[i]))
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

/* Connection tracking takes these for nothing of their connection's, which
 * may be a good one: neither do they leave by another way than it has, nor does
 * a reset end it. */
#define ASTRAY "meta l4proto tcp ct state invalid drop\n"

static void
refuse_chain(struct text *t)
{
	text_add(t,
	    "chain refuse {\n" ASTRAY "meta l4proto tcp reject with tcp reset\n"
	    "reject with icmpx admin-prohibited\n"
	    "}\n");
}

/* The first packet of a flow that connection tracking has not known before:
 * only such a one can still get another source address. */
#define FIRST "ct status & confirmed == 0 "
/* But one of TCP may have begun before anything was tracked. */
#define OPENS "tcp flags & (fin | syn | rst | ack) == syn "
#define BEGUN "tcp flags & (fin | syn | rst | ack) != syn "

static void
into_tunnel(struct text *t, const struct policy_nft *p, uint8_t family,
    uint32_t decision, unsigned number)
{
	if (!has_family(p, family) ||
	    !policy_nft_has_prefix(p->allowed, p->allowed_n, family))
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

static void
not_tunnelled(
    struct text *t, const struct policy_nft *p, unsigned number, uint8_t target)
{
	if (target == TARGET_NATIVE || target == TARGET_TUNNEL) {
		stay_native(t, p, number);
		return;
	}
	set_ct_mark(t, p, MARK_REFUSED, number);
	text_add(t, "goto refuse\n");
}

static void
tunnel_if_possible(
    struct text *t, const struct policy_nft *p, unsigned number, uint8_t target)
{
	uint32_t decision =
	    target == TARGET_TUNNEL ? MARK_TUNNEL : MARK_TUNNEL_ONLY;

	text_add(t, BEGUN);
	not_tunnelled(t, p, number, target);
	into_tunnel(t, p, FAMILY_V4, decision, number);
	into_tunnel(t, p, FAMILY_V6, decision, number);
}

/* What runs is left alone. */
static void
spill_rules(struct text *t, size_t ports_left)
{
	static const char *const opens[] = {OPENS, "meta l4proto udp "};

	for (size_t i = 0; i < ARRAY_LEN(opens) && ports_left > 0; i++)
		text_add(t,
		    FIRST "%sip daddr != { " LINE_PORTS_NONE_V4
			  " } jump spill%zu\n",
		    opens[i], ports_left);
}

/* ports_left: how many such rules stand before this one. */
static void
target_chain(struct text *t, const struct policy_nft *p, unsigned number,
    uint8_t target, size_t ports_left)
{
	text_add(t, "chain s%u {\n", number);
	if (target == TARGET_NATIVE)
		spill_rules(t, ports_left);
	if (target == TARGET_TUNNEL)
		text_add(t, ASTRAY);
	text_add(t, "counter name " POLICY_NFT_HITS "\n", number);
	if (target == TARGET_TUNNEL || target == TARGET_TUNNEL_ONLY)
		tunnel_if_possible(t, p, number, target);
	not_tunnelled(t, p, number, target);
	/* Without an entry of connection tracking there is nothing to mark. */
	if (target == TARGET_TUNNEL_ONLY || target == TARGET_BLOCK)
		text_add(t, "goto refuse\n");
	text_add(t, "}\n");
}

static void
target_chains(struct text *t, const struct policy_nft *p)
{
	size_t ports_left = 0;

	for (size_t i = 0; i < p->slots->n; i++) {
		const struct slot *slot = &p->slots->item[i];
		bool spills = policy_nft_spills(p, slot);

		target_chain(t, p, slot->number,
		    policy_nft_rule(p, slot)->target, spills ? 0 : ports_left);
		if (spills && ports_left < PORTS_LEFT_MAX)
			ports_left++;
	}
	target_chain(t, p, SLOT_RUN_SOFT, TARGET_TUNNEL, 0);
	target_chain(t, p, SLOT_RUN, TARGET_TUNNEL_ONLY, 0);
}

/* ---- PORTS-LEFT ---- */

/* Takes a set's place, to see whether there is one: nothing else tells. For a
 * second or two the set then holds one flow less. */
#define PROBE(l4) "ip saddr & 0.0.0.0 . " l4 " sport & 0"

static const uint8_t port_protos[] = {RULE_TCP, RULE_UDP};

static const char *
proto_name(uint8_t proto)
{
	return proto == RULE_TCP ? "tcp" : "udp";
}

static bool
asks(struct text *t, const struct policy_nft *p, const struct slot *slot,
    uint8_t proto)
{
	return policy_nft_conditions(
	    t, p, policy_nft_rule(p, slot), FAMILY_V4, proto);
}

/* Does it hold, though the flow, which another rule takes then, is not to be
 * in its set? */
static void
spill_probe(struct text *t, const struct policy_nft *p, const struct slot *slot)
{
	char set[POLICY_NFT_SET_MAX];

	for (size_t i = 0; i < ARRAY_LEN(port_protos); i++) {
		bool tcp = port_protos[i] == RULE_TCP;
		const char *probe = tcp ? PROBE("tcp") : PROBE("udp");

		policy_nft_used_set(set, slot->number, port_protos[i]);
		if (policy_nft_ports_size(p, slot) > 0 &&
		    asks(t, p, slot, port_protos[i]))
			text_add(t, "add @%s { %s timeout 1s }\n", set, probe);
		if (!asks(t, p, slot, port_protos[i]))
			continue;
		if (policy_nft_ports_size(p, slot) > 0)
			text_add(t, "%s != @%s ", probe, set);
		text_add(t, "goto s%u\n", (unsigned)slot->number);
	}
}

/* This one holds. Does one before it hold as well? */
static void
full_chain(struct text *t, const struct policy_nft *p,
    const struct slot *const *slot, size_t at)
{
	text_add(t, "chain full%u {\n", (unsigned)slot[at]->number);
	for (size_t i = 0; i < at; i++)
		if (policy_nft_is_rival(p, slot[i], slot[at]))
			spill_probe(t, p, slot[i]);
	text_add(t, "goto s%u\n}\n", (unsigned)slot[at]->number);
}

/* A flow that would go native is added to the set; where that fails, as the
 * set is full, the rule holds. A flow that is in it already takes no port
 * more. */
static void
spill_used(struct text *t, const struct policy_nft *p, const struct slot *slot)
{
	char set[POLICY_NFT_SET_MAX];

	for (size_t i = 0; i < ARRAY_LEN(port_protos); i++) {
		policy_nft_used_set(set, slot->number, port_protos[i]);
		if (policy_nft_ports_size(p, slot) > 0 &&
		    asks(t, p, slot, port_protos[i]))
			text_add(t, "add @%s { ip saddr . %s sport } return\n",
			    set, proto_name(port_protos[i]));
		if (asks(t, p, slot, port_protos[i]))
			text_add(t, "goto full%u\n", (unsigned)slot->number);
	}
}

/* The smallest set first: those that are larger have what it has. */
static void
spill_used_chain(struct text *t, const struct policy_nft *p,
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
	full_chain(t, p, slot, n - 1);
	text_add(t, "chain spill%zu {\n", n);
	for (size_t i = 0; i < n; i++)
		spill_used(t, p, order[i]);
	text_add(t, "}\n");
}

/* With our own CE: ports_left.h tells what the sets' elements mean. */
static void
spill_short(struct text *t, const struct policy_nft *p, const struct slot *slot)
{
	static const struct {
		uint8_t proto;
		const char *key;
	} c[] = {
	    {RULE_TCP, "ip daddr . tcp dport"},
	    {RULE_TCP, "ip daddr & 0.0.0.0 . tcp dport & 0"},
	    {RULE_UDP, "ip daddr . udp dport"},
	    {RULE_UDP, "ip daddr & 0.0.0.0 . udp dport"},
	    {RULE_UDP, "udp dport != { 53, 123, 443 } "
		       "ip daddr & 0.0.0.0 . udp dport & 0"},
	};
	char set[POLICY_NFT_SET_MAX];

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		policy_nft_short_set(set, slot->number, c[i].proto);
		if (asks(t, p, slot, c[i].proto))
			text_add(t, "%s @%s goto s%u\n", c[i].key, set,
			    (unsigned)slot->number);
	}
}

static void
spill_short_chain(struct text *t, const struct policy_nft *p,
    const struct slot *const *slot, size_t n)
{
	text_add(t, "chain spill%zu {\n", n);
	for (size_t i = 0; i < n; i++)
		spill_short(t, p, slot[i]);
	text_add(t, "}\n");
}

/* Whatever goes by the line uses a port of it, also where no rule asks. */
static void
native_chain(struct text *t, const struct slot *const *slot, size_t n)
{
	char tcp[POLICY_NFT_SET_MAX], udp[POLICY_NFT_SET_MAX];

	text_add(t, "chain native {\n"
		    "ip daddr { " LINE_PORTS_NONE_V4 " } accept\n");
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
		if (!policy_nft_spills(p, &p->slots->item[i]))
			continue;
		slot[n++] = &p->slots->item[i];
		if (p->own_ce)
			spill_short_chain(t, p, slot, n);
		else
			spill_used_chain(t, p, slot, n);
	}
	if (n > 0 && !p->own_ce)
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
	    "fib daddr type { local, multicast, anycast } goto local\n"
	    "ip daddr { 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, "
	    "192.168.0.0/16 } fib daddr type broadcast goto local\n"
	    "ip daddr { " ALWAYS_LOCAL_V4 " } goto local\n"
	    "ip6 daddr { " ALWAYS_LOCAL_V6 " } goto local\n"
	    "meta iif 0 icmpv6 type { 130-137, 143, 151-153 } goto local\n"
	    "meta iif 0 meta nfproto ipv4 udp sport { 67, 68 } "
	    "udp dport { 67, 68 } goto local\n"
	    "meta iif 0 meta nfproto ipv6 udp sport { 546, 547 } "
	    "udp dport { 546, 547 } goto local\n");
	if (policy_nft_has_prefix(p->local, p->locals, FAMILY_V4))
		text_add(t, "ip daddr @local4 goto local\n");
	if (policy_nft_has_prefix(p->local, p->locals, FAMILY_V6))
		text_add(t, "ip6 daddr @local6 goto local\n");
	text_add(t, "jump wait\n");
	if (!guard)
		dns_is_local(t, p);
	run_classes(t, guard);
	text_add(t, "goto rules\n}\n");
}

/* Sets with ranges are empty for some time after the moment from which on a
 * new table holds (Linux fills them last, one after another, as they stand
 * here): nothing is decided until the last ones have what belongs there. Which
 * is some microseconds, or with long lists milliseconds. */
static void
wait_chain(struct text *t)
{
	text_add(t, "set filled {\n"
		    "typeof meta mark\nflags interval\n"
		    "elements = { 0-1 }\n"
		    "}\n"
		    "chain wait {\n"
		    "meta mark & 0 != @filled drop\n"
		    "meta mark & 0 != { 0-1, 3-4 } drop\n"
		    "}\n");
}

/* ---- where packets are seen ---- */

/* A native flow's packets, which are most, go on at once. */
static void
native_goes_on(struct text *t)
{
	text_add(t, "ct mark & 0x%08x == 0x%08x accept\n",
	    (unsigned)(MARK_DECISION_MASK & ~EITHER), (unsigned)MARK_NATIVE);
}

/* What has been decided, and what is not ours to decide. */
static void
known_flows(struct text *t, const struct policy_nft *p, bool guard)
{
	const char *go = guard ? "accept" : "goto go";

	text_add(t,
	    "ct direction reply accept\n"
	    "meta mark 0x%08x accept\n"
	    "ct mark & 0x%08x vmap { 0x%08x : goto refuse, 0x%08x : %s, "
	    "0x%08x : %s }\n"
	    "ct mark & 0x%08x != 0 accept\n",
	    (unsigned)p->own_mark, (unsigned)MARK_DECISION_MASK,
	    (unsigned)MARK_REFUSED, (unsigned)MARK_TUNNEL, go,
	    (unsigned)MARK_TUNNEL_ONLY, guard ? "goto only" : go,
	    (unsigned)p->tunnel_mask);
}

static void
own_chain(struct text *t, const struct policy_nft *p, bool guard,
    enum policy_nft_turn turn)
{
	text_add(t,
	    "chain own%s {\n"
	    "type %s hook output priority %d; policy accept;\n",
	    policy_nft_turn_name(turn), guard ? "filter" : "route",
	    (guard ? GUARD : DECIDE) + (int)turn);
	native_goes_on(t);
	known_flows(t, p, guard);
	text_add(t,
	    "oifname \"lo\" accept\n"
	    "meta mark & 0x%08x == 0x%08x %s\n"
	    "goto decide\n}\n",
	    (unsigned)p->tunnel_mask, (unsigned)p->tunnel_mark,
	    guard ? "accept" : "goto asked_for");
}

/* An answer has the mark as well, or a strict rp_filter, which then asks with
 * it (src_valid_mark), would not take it from the tunnel. */
static void
mark_answers(struct text *t, const struct policy_nft *p)
{
	text_add(t, "iifname \"%s\" ct direction reply ", p->ifname);
	policy_nft_tunnelled(t, p, true);
	text_add(t, "meta mark set meta mark & 0x%08x | 0x%08x\n",
	    (unsigned)~p->tunnel_mask, (unsigned)p->tunnel_mark);
}

static void
lan_flows(struct text *t, const struct policy_nft *p, bool guard)
{
	text_add(t, "iifname { \"lo\", \"%s\" } accept\n", p->ifname);
	known_flows(t, p, guard);
	text_add(t, "jump wait\n");
	if (policy_nft_has_prefix(p->network, p->networks, FAMILY_V4))
		text_add(t, "ip saddr @network4 goto decide\n");
	if (policy_nft_has_prefix(p->network, p->networks, FAMILY_V6))
		text_add(t, "ip6 saddr @network6 goto decide\n");
}

static void
arriving_chain(struct text *t, const struct policy_nft *p, bool guard,
    enum policy_nft_turn turn)
{
	if (guard && p->networks == 0)
		return;
	text_add(t,
	    "chain arriving%s {\n"
	    "type filter hook prerouting priority %d; policy accept;\n",
	    policy_nft_turn_name(turn), (guard ? GUARD : DECIDE) + (int)turn);
	native_goes_on(t);
	if (!guard)
		mark_answers(t, p);
	if (p->networks > 0)
		lan_flows(t, p, guard);
	text_add(t, "}\n");
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
	policy_nft_tunnelled(t, p, true);
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
source_chain(
    struct text *t, const struct policy_nft *p, enum policy_nft_turn turn)
{
	text_add(t,
	    "chain source%s {\n"
	    "type nat hook postrouting priority %d; policy accept;\n",
	    policy_nft_turn_name(turn), SRCNAT + (int)turn);
	source_rules(t, p, FAMILY_V4);
	source_rules(t, p, FAMILY_V6);
	text_add(t, "}\n");
}

/* Each packet passes one of the two hooks where this stands. */
static void
count_rule(struct text *t, const struct policy_nft *p)
{
	text_add(t,
	    "meta mark != 0x%08x ct mark & 0x%08x != 0 "
	    "counter name ct mark & 0x%08x map @bytes\n",
	    (unsigned)p->own_mark, (unsigned)MARK_DECISION_MASK,
	    (unsigned)MARK_SLOT_MASK);
}

/* Only here is it known which link a packet leaves by. Own packets cannot be
 * answered any more; their program is told that it was not permitted. */
static void
leak_chains(struct text *t, const struct policy_nft *p, bool guard)
{
	text_add(t, "chain leaving {\n"
		    "type filter hook forward priority filter; "
		    "policy accept;\n");
	policy_nft_tunnelled(t, p, !guard);
	text_add(t,
	    "oifname != \"%s\" ct direction original goto refuse\n}\n"
	    "chain left {\n"
	    "type filter hook postrouting priority filter; policy accept;\n",
	    p->ifname);
	policy_nft_tunnelled(t, p, !guard);
	text_add(
	    t, "oifname != \"%s\" ct direction original drop\n", p->ifname);
	if (!guard)
		count_rule(t, p);
	text_add(t, "}\n");
}

static void
arrived_chain(struct text *t, const struct policy_nft *p)
{
	text_add(t, "chain arrived {\n"
		    "type filter hook input priority filter + 5; "
		    "policy accept;\n");
	count_rule(t, p);
	text_add(t, "}\n");
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
	for (enum policy_nft_turn i = NFT_FIRST_TURN; i < NFT_TURNS; i++) {
		own_chain(t, p, false, i);
		arriving_chain(t, p, false, i);
		source_chain(t, p, i);
	}
	leak_chains(t, p, false);
	arrived_chain(t, p);
	policy_nft_dns(t, p);
	wait_chain(t);
}

bool
policy_nft_has_guard(const struct policy_nft *p)
{
	if (p->runs)
		return true;
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
	for (enum policy_nft_turn i = NFT_FIRST_TURN; i < NFT_TURNS; i++) {
		own_chain(t, p, true, i);
		arriving_chain(t, p, true, i);
	}
	leak_chains(t, p, true);
	wait_chain(t);
}
