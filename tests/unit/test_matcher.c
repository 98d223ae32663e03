#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/matcher.h"
#include "core/bytes.h"
#include "core/err.h"
#include "matcher_twin.h"
#include "rules_lab.h"

static unsigned fail_at; /* fail this one of the next ones; 0: none */
static bool counting;
static int live;

void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);

void *
__wrap_calloc(size_t n, size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	live += counting;
	return __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_realloc(p, size);
}

void
__wrap_free(void *p)
{
	live -= counting && p != NULL;
	__real_free(p);
}

static uint64_t rng = 88172645463325252;

static uint32_t
rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 32) % below;
}

/* ---- what is tested ---- */

static struct rules_lab lab;
static struct matcher *matcher;

static void
open_lab(void)
{
	rules_lab_init(&lab);
}

static void
close_lab(void)
{
	matcher_free(matcher);
	matcher = NULL;
	rules_lab_fini(&lab);
}

/* An entry of the last rule. */
static void
entry(enum rule_type type, const char *value)
{
	struct rule_entry *e = rules_lab_entry(&lab, type);
	unsigned first, last;

	switch (type) {
	case RULE_IP_CIDR:
	case RULE_SRC_IP_CIDR:
		e->prefix = rules_lab_prefix(value);
		break;
	case RULE_DST_PORT:
	case RULE_SRC_PORT:
		assert_int_equal(sscanf(value, "%u-%u", &first, &last), 2);
		e->ports = (struct rule_ports){(uint16_t)first, (uint16_t)last};
		break;
	case RULE_NETWORK:
	case RULE_UID:
		e->uid = (uint32_t)strtoul(value, NULL, 10);
		e->protos = (uint8_t)e->uid;
		break;
	default:
		e->name = rules_lab_name(&lab, value);
		break;
	}
}

static void
rule(enum rule_type type, const char *value)
{
	rules_lab_rule(&lab, type, TARGET_TUNNEL, "");
	entry(type, value);
}

static void
done(void)
{
	rules_lab_rule(&lab, RULE_DEFAULT, TARGET_NATIVE, "");
	assert_int_equal(matcher_new(&matcher, &lab.r), 0);
}

/* The rule that decides; the twin has to agree, and so has matcher_look(). */
static uint32_t
find(const struct flow *f)
{
	struct match m = matcher_find(matcher, f);
	struct match twin = matcher_twin_find(&lab.r, f);

	assert_int_equal(m.rule, twin.rule);
	assert_int_equal(m.entry, twin.entry);
	for (uint32_t i = 0; i < m.rule; i++)
		assert_int_not_equal(
		    matcher_look(matcher, i, f), MATCHER_HOLDS);
	assert_int_equal(matcher_look(matcher, m.rule, f), MATCHER_HOLDS);
	return m.rule;
}

static uint32_t
find_name(const char *name)
{
	return find(&(struct flow){.name = &name, .names = 1});
}

static uint32_t
find_dst(const char *address)
{
	return find(&(struct flow){.dst = rules_lab_addr(address)});
}

/* ---- boundaries ---- */

static void
test_names(void **state)
{
	(void)state;
	open_lab();
	rule(RULE_DOMAIN, "www.example.jp");
	rule(RULE_DOMAIN_SUFFIX, "example.jp");
	rule(RULE_DOMAIN_SUFFIX, "jp");
	rule(RULE_DOMAIN, "a");
	done();
	assert_int_equal(find_name("www.example.jp"), 0);
	assert_int_equal(find_name("a.www.example.jp"), 1);
	assert_int_equal(find_name("xwww.example.jp"), 1);
	assert_int_equal(find_name("example.jp"), 1);
	assert_int_equal(find_name("notexample.jp"), 2);
	assert_int_equal(find_name("example.jp.com"), 4);
	assert_int_equal(find_name("jp"), 2);
	assert_int_equal(find_name("xjp"), 4);
	assert_int_equal(find_name("p"), 4);
	assert_int_equal(find_name("a"), 3);
	assert_int_equal(find_name("b.a"), 4);
	assert_int_equal(find_name(""), 4);
	close_lab();
}

static void
test_several_names(void **state)
{
	static const char *const name[] = {"x.cdn.net", "www.example.jp"};
	struct flow f = {.name = name, .names = 1};

	(void)state;
	open_lab();
	rule(RULE_DOMAIN, "www.example.jp");
	rule(RULE_DOMAIN_SUFFIX, "cdn.net");
	done();
	assert_int_equal(find(&f), 1);
	f.names = 2;
	assert_int_equal(find(&f), 0);
	f.names = 0;
	assert_int_equal(find(&f), 2);
	close_lab();
}

static void
test_keywords(void **state)
{
	uint32_t found[8] = {0};

	(void)state;
	open_lab();
	rule(RULE_DOMAIN_KEYWORD, "hers");
	rule(RULE_DOMAIN_KEYWORD, "his");
	rule(RULE_DOMAIN_KEYWORD, "she");
	rule(RULE_DOMAIN_KEYWORD, "he");
	rule(RULE_DOMAIN_KEYWORD, "e");
	rule(RULE_DOMAIN_KEYWORD, "he");
	done();
	assert_int_equal(find_name("ushers.jp"), 0);
	assert_int_equal(find_name("ushe"), 2);
	assert_int_equal(find_name("thhe"), 3);
	assert_int_equal(find_name("shis"), 1);
	assert_int_equal(find_name("xex"), 4);
	assert_int_equal(find_name("h.i.s"), 6);
	assert_int_equal(matcher_names(matcher, "ushers", found, 8), 5);
	assert_int_equal(found[0], 0);
	assert_int_equal(found[1], 2);
	assert_int_equal(found[2], 3);
	assert_int_equal(found[3], 4);
	assert_int_equal(found[4], 5);
	close_lab();
}

static void
test_prefixes(void **state)
{
	(void)state;
	open_lab();
	rule(RULE_IP_CIDR, "192.0.2.7/32");
	rule(RULE_IP_CIDR, "192.0.2.0/31");
	rule(RULE_IP_CIDR, "192.0.2.0/24");
	rule(RULE_IP_CIDR, "192.0.2.0/25");
	rule(RULE_IP_CIDR, "2001:db8::1/128");
	rule(RULE_IP_CIDR, "2001:db8::/64");
	rule(RULE_IP_CIDR, "2001:db8::/32");
	rule(RULE_IP_CIDR, "::/0");
	rule(RULE_IP_CIDR, "128.0.0.0/1");
	done();
	assert_int_equal(find_dst("192.0.2.7"), 0);
	assert_int_equal(find_dst("192.0.2.1"), 1);
	assert_int_equal(find_dst("192.0.2.2"), 2);
	assert_int_equal(find_dst("192.0.2.128"), 2);
	assert_int_equal(find_dst("192.0.3.0"), 8);
	assert_int_equal(find_dst("127.255.255.255"), 9);
	assert_int_equal(find_dst("2001:db8::1"), 4);
	assert_int_equal(find_dst("2001:db8::2"), 5);
	assert_int_equal(find_dst("2001:db8:0:1::1"), 6);
	assert_int_equal(find_dst("2001:db9::"), 7);
	assert_int_equal(find_dst("::"), 7);
	assert_int_equal(find(&(struct flow){.dport = 1}), 9);
	close_lab();
}

/* What covers an address need not stand right before it. */
static void
test_covers(void **state)
{
	(void)state;
	open_lab();
	rule(RULE_IP_CIDR, "10.1.1.0/24");
	rule(RULE_IP_CIDR, "10.1.2.0/24");
	rule(RULE_IP_CIDR, "10.1.0.0/16");
	rule(RULE_IP_CIDR, "10.0.0.0/8");
	rule(RULE_IP_CIDR, "11.0.0.0/16");
	done();
	assert_int_equal(find_dst("10.1.2.3"), 1);
	assert_int_equal(find_dst("10.1.3.0"), 2);
	assert_int_equal(find_dst("10.1.0.0"), 2);
	assert_int_equal(find_dst("10.255.255.255"), 3);
	assert_int_equal(find_dst("9.255.255.255"), 5);
	assert_int_equal(find_dst("11.0.0.0"), 4);
	assert_int_equal(find_dst("11.1.0.0"), 5);
	close_lab();
}

static void
test_ports(void **state)
{
	static const struct {
		const char *range;
		uint16_t port;
		bool in;
	} c[] = {
	    {"1-1", 1, true},
	    {"1-1", 2, false},
	    {"1-65535", 1, true},
	    {"1-65535", 65535, true},
	    {"1-65535", 0, false}, /* not known */
	    {"65535-65535", 65535, true},
	    {"65535-65535", 65534, false},
	    {"3478-3481", 3477, false},
	    {"3478-3481", 3478, true},
	    {"3478-3481", 3481, true},
	    {"3478-3481", 3482, false},
	    {"32767-32768", 32767, true},
	    {"32767-32768", 32768, true},
	    {"32767-32768", 32769, false},
	    {"0-1", 1, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		open_lab();
		rule(RULE_DST_PORT, c[i].range);
		rule(RULE_SRC_PORT, c[i].range);
		done();
		assert_int_equal(
		    find(&(struct flow){.dport = c[i].port}), c[i].in ? 0 : 2);
		assert_int_equal(
		    find(&(struct flow){.sport = c[i].port}), c[i].in ? 1 : 2);
		close_lab();
	}
}

static void
test_other_entries(void **state)
{
	struct flow f = {.proto = RULE_UDP};

	(void)state;
	open_lab();
	rule(RULE_NETWORK, "1");
	rule(RULE_NETWORK, "6"); /* udp and icmp */
	rule(RULE_UID, "0");
	rule(RULE_UID, "4294967295");
	rule(RULE_PROCESS_NAME, "rclone");
	rule(RULE_SRC_IP_CIDR, "10.0.0.0/8");
	rule(RULE_SRC_IP_CIDR, "fd00::/8");
	done();
	assert_int_equal(find(&f), 1);
	f.proto = RULE_TCP;
	assert_int_equal(find(&f), 0);
	f.proto = RULE_ICMP;
	assert_int_equal(find(&f), 1);
	f = (struct flow){.uid = 0};
	assert_int_equal(find(&f), 7);
	f.has_uid = true;
	assert_int_equal(find(&f), 2);
	f.uid = 1;
	assert_int_equal(find(&f), 7);
	f.uid = UINT32_MAX;
	assert_int_equal(find(&f), 3);
	f = (struct flow){.process = "rclone"};
	assert_int_equal(find(&f), 4);
	f.process = "rclon";
	assert_int_equal(find(&f), 7);
	f = (struct flow){.src = rules_lab_addr("10.1.2.3")};
	assert_int_equal(find(&f), 5);
	f.src = rules_lab_addr("fd00::1");
	assert_int_equal(find(&f), 6);
	f.src = rules_lab_addr("11.1.2.3");
	assert_int_equal(find(&f), 7);
	close_lab();
}

static void
test_ports_left(void **state)
{
	struct flow f = {.ports_left = 0};

	(void)state;
	open_lab();
	rules_lab_rule(&lab, RULE_PORTS_LEFT, TARGET_TUNNEL, "")->ports_left =
	    40;
	done();
	assert_int_equal(find(&f), 1);
	f.has_ports_left = true;
	assert_int_equal(find(&f), 0);
	f.ports_left = 39;
	assert_int_equal(find(&f), 0);
	f.ports_left = 40;
	assert_int_equal(find(&f), 1);
	close_lab();
}

/* Whose destination takes none of them is not concerned. */
static void
test_takes_no_port(void **state)
{
	static const struct {
		const char *dst;
		bool takes;
	} c[] = {
	    {"0.255.255.255", false},
	    {"1.0.0.0", true},
	    {"9.255.255.255", true},
	    {"10.0.0.0", false},
	    {"10.255.255.255", false},
	    {"11.0.0.0", true},
	    {"100.63.255.255", true},
	    {"100.64.0.0", false},
	    {"100.127.255.255", false},
	    {"100.128.0.0", true},
	    {"127.0.0.1", false},
	    {"128.0.0.0", true},
	    {"169.253.255.255", true},
	    {"169.254.0.0", false},
	    {"169.255.0.0", true},
	    {"172.15.255.255", true},
	    {"172.16.0.0", false},
	    {"172.31.255.255", false},
	    {"172.32.0.0", true},
	    {"192.167.255.255", true},
	    {"192.168.0.0", false},
	    {"192.169.0.0", true},
	    {"223.255.255.255", true},
	    {"224.0.0.0", false},
	    {"255.255.255.255", false},
	    {"2001:db8::1", false},
	};
	struct flow f = {.has_ports_left = true};

	(void)state;
	open_lab();
	rules_lab_rule(&lab, RULE_PORTS_LEFT, TARGET_TUNNEL, "")->ports_left =
	    40;
	done();
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		f.dst = rules_lab_addr(c[i].dst);
		assert_int_equal(find(&f), c[i].takes ? 0 : 1);
	}
	f.dst = rules_lab_addr("1.0.0.0");
	f.proto = RULE_ICMP;
	assert_int_equal(find(&f), 1);
	f.proto = RULE_UDP;
	assert_int_equal(find(&f), 0);
	close_lab();
}

/* What a rule behind it takes elsewhere goes there. */
static void
test_spills_what_is_native(void **state)
{
	struct flow f = {.dst = rules_lab_addr("192.0.2.1"),
	    .has_ports_left = true,
	    .ports_left = 9};

	(void)state;
	open_lab();
	rules_lab_rule(&lab, RULE_DST_PORT, TARGET_NATIVE, "");
	rules_lab_entry(&lab, RULE_DST_PORT)->ports =
	    (struct rule_ports){80, 80};
	rules_lab_rule(&lab, RULE_PORTS_LEFT, TARGET_BLOCK, "")->ports_left =
	    10;
	rules_lab_rule(&lab, RULE_PORTS_LEFT, TARGET_TUNNEL, "")->ports_left =
	    20;
	rules_lab_rule(&lab, RULE_UID, TARGET_TUNNEL_ONLY, "");
	rules_lab_entry(&lab, RULE_UID)->uid = 7;
	done();
	assert_int_equal(lab.r.rule[4].target, TARGET_NATIVE);
	assert_int_equal(find(&f), 1);
	f.ports_left = 10;
	assert_int_equal(find(&f), 2);
	f.ports_left = 20;
	assert_int_equal(find(&f), 4);
	f.ports_left = 9;
	f.has_uid = true;
	f.uid = 7;
	assert_int_equal(find(&f), 3);
	assert_int_equal(matcher_look(matcher, 1, &f), MATCHER_NO_SPILL);
	assert_int_equal(matcher_look(matcher, 2, &f), MATCHER_NO_SPILL);
	f.uid = 8;
	f.dport = 80;
	assert_int_equal(find(&f), 0);
	close_lab();
}

/* The entry is the first one of the list that holds, of whatever type. */
static void
test_set(void **state)
{
	const char *name = "a.example.jp";
	struct flow f = {.name = &name, .names = 1};
	struct match m;

	(void)state;
	open_lab();
	rules_lab_rule(&lab, RULE_SET, TARGET_TUNNEL, "");
	rules_lab_rule(&lab, RULE_SET, TARGET_TUNNEL, "");
	entry(RULE_DOMAIN, "other.jp");
	entry(RULE_DOMAIN_KEYWORD, "example");
	entry(RULE_IP_CIDR, "10.0.0.0/8");
	entry(RULE_DOMAIN_SUFFIX, "example.jp");
	done();
	assert_int_equal(find(&f), 1);
	m = matcher_find(matcher, &f);
	assert_int_equal(m.entry, 1);
	f.names = 0;
	f.dst = rules_lab_addr("10.1.1.1");
	assert_int_equal(find(&f), 1);
	assert_int_equal(matcher_find(matcher, &f).entry, 2);
	f.dst = rules_lab_addr("11.1.1.1");
	assert_int_equal(find(&f), 2);
	assert_int_equal(matcher_find(matcher, &f).entry, MATCHER_NO_ENTRY);
	close_lab();
}

/* One list that two rules name. */
static void
test_shared_set(void **state)
{
	struct flow f = {.dst = rules_lab_addr("10.1.1.1"), .proto = RULE_UDP};
	struct rule *second;

	(void)state;
	open_lab();
	rules_lab_rule(&lab, RULE_SET, TARGET_TUNNEL, "");
	entry(RULE_IP_CIDR, "10.0.0.0/8");
	entry(RULE_DOMAIN_SUFFIX, "jp");
	rules_lab_conditions(&lab)->protos = RULE_TCP;
	second = rules_lab_rule(&lab, RULE_SET, TARGET_NATIVE, "");
	second->first = 0;
	second->entries = 2;
	done();
	assert_int_equal(find(&f), 1);
	f.proto = RULE_TCP;
	assert_int_equal(find(&f), 0);
	close_lab();
}

/* Each condition, met and not met, decides alone. */
static void
test_conditions(void **state)
{
	struct flow met = {.dst = rules_lab_addr("10.1.1.1"),
			.src = rules_lab_addr("fd00::1"),
			.proto = RULE_TCP,
			.dport = 443,
			.sport = 5000,
			.process = "rclone",
			.has_uid = true,
			.uid = 7},
		    f;
	struct rule_conditions *c;
	uint32_t process;

	(void)state;
	open_lab();
	rule(RULE_IP_CIDR, "10.0.0.0/8");
	process = rules_lab_name(&lab, "rclone");
	c = rules_lab_conditions(&lab);
	c->protos = RULE_TCP | RULE_ICMP;
	c->dports = c->sports = 2;
	c->dport[0] = (struct rule_ports){80, 80};
	c->dport[1] = (struct rule_ports){443, 444};
	c->sport[0] = (struct rule_ports){1, 2};
	c->sport[1] = (struct rule_ports){4999, 5000};
	c->has_uid = true;
	c->uid = 7;
	c->src = rules_lab_prefix("fd00::/8");
	c->dst = rules_lab_prefix("10.1.0.0/16");
	c->process = process;
	done();
	assert_int_equal(find(&met), 0);

#define UNLESS(change, why)                                                    \
	f = met;                                                               \
	f.change;                                                              \
	assert_int_equal(find(&f), 1);                                         \
	assert_int_equal(matcher_look(matcher, 0, &f), why)

	UNLESS(proto = RULE_UDP, MATCHER_NO_PROTO);
	UNLESS(proto = 0, MATCHER_UNKNOWN);
	UNLESS(dport = 445, MATCHER_NO_DPORT);
	UNLESS(dport = 0, MATCHER_UNKNOWN);
	UNLESS(sport = 5001, MATCHER_NO_SPORT);
	UNLESS(sport = 0, MATCHER_UNKNOWN);
	UNLESS(process = "rsync", MATCHER_NO_PROCESS);
	UNLESS(process = NULL, MATCHER_UNKNOWN);
	UNLESS(uid = 8, MATCHER_NO_UID);
	UNLESS(has_uid = false, MATCHER_UNKNOWN);
	UNLESS(src.b[0] = 0xfe, MATCHER_NO_SRC);
	UNLESS(src.family = FAMILY_NONE, MATCHER_UNKNOWN);
	UNLESS(dst.b[1] = 2, MATCHER_NO_DST);
	UNLESS(dst.b[0] = 11, MATCHER_NO_DST);
	UNLESS(dst.family = FAMILY_NONE, MATCHER_UNKNOWN);
	close_lab();
}

/* What is known speaks louder than what is not; entries before conditions. */
static void
test_look(void **state)
{
	const char *name = "www.example.jp";
	struct flow f = {.dst = rules_lab_addr("192.0.2.1")};

	(void)state;
	open_lab();
	rule(RULE_DOMAIN_SUFFIX, "example.jp");
	rules_lab_conditions(&lab)->dst = rules_lab_prefix("10.0.0.0/8");
	rule(RULE_IP_CIDR, "10.0.0.0/8");
	rules_lab_conditions(&lab)->protos = RULE_TCP;
	rules_lab_rule(&lab, RULE_SET, TARGET_TUNNEL, "");
	entry(RULE_IP_CIDR, "10.0.0.0/8");
	entry(RULE_DOMAIN, "x.jp");
	entry(RULE_IP_CIDR, "11.0.0.0/8");
	rules_lab_rule(&lab, RULE_SET, TARGET_TUNNEL, "");
	rules_lab_rule(&lab, RULE_PORTS_LEFT, TARGET_TUNNEL, "");
	done();
	assert_int_equal(matcher_look(matcher, 0, &f), MATCHER_NO_DST);
	assert_int_equal(matcher_look(matcher, 1, &f), MATCHER_NO_DST);
	assert_int_equal(matcher_look(matcher, 2, &f), MATCHER_UNKNOWN);
	assert_int_equal(matcher_look(matcher, 3, &f), MATCHER_NO_SET);
	assert_int_equal(matcher_look(matcher, 4, &f), MATCHER_UNKNOWN);
	assert_int_equal(matcher_look_entry(matcher, 0, &f), MATCHER_UNKNOWN);
	f.dst = rules_lab_addr("10.1.1.1");
	f.has_ports_left = true;
	assert_int_equal(matcher_look(matcher, 0, &f), MATCHER_UNKNOWN);
	assert_int_equal(matcher_look(matcher, 1, &f), MATCHER_UNKNOWN);
	assert_int_equal(matcher_look(matcher, 2, &f), MATCHER_HOLDS);
	assert_int_equal(matcher_look(matcher, 4, &f), MATCHER_NO_PORT);
	f.dst = rules_lab_addr("192.0.2.1");
	assert_int_equal(matcher_look(matcher, 4, &f), MATCHER_NO_PORTS_LEFT);
	f.proto = RULE_ICMP;
	assert_int_equal(matcher_look(matcher, 4, &f), MATCHER_NO_PORT);
	f.proto = 0;
	f.name = &name;
	f.names = 1;
	f.dst = rules_lab_addr("192.0.2.1");
	assert_int_equal(matcher_look(matcher, 2, &f), MATCHER_NO_SET);
	assert_int_equal(matcher_look_entry(matcher, 0, &f), MATCHER_HOLDS);
	assert_int_equal(matcher_look_entry(matcher, 3, &f), MATCHER_NO_NAME);
	close_lab();
}

/* Each once, in order, whatever their conditions; no more than there is room
 * for. */
static void
test_rules_of_name(void **state)
{
	uint32_t found[4] = {9, 9, 9, 9};

	(void)state;
	open_lab();
	rule(RULE_DOMAIN_SUFFIX, "jp");
	rules_lab_conditions(&lab)->protos = RULE_TCP;
	rule(RULE_IP_CIDR, "10.0.0.0/8");
	rules_lab_rule(&lab, RULE_SET, TARGET_TUNNEL, "");
	entry(RULE_DOMAIN_KEYWORD, "exam");
	entry(RULE_DOMAIN, "example.jp");
	entry(RULE_DOMAIN, "example.jp");
	rule(RULE_DOMAIN, "www.example.jp");
	rule(RULE_PROCESS_NAME, "example.jp");
	rule(RULE_DOMAIN, "example.jp");
	done();
	assert_int_equal(matcher_names(matcher, "example.jp", found, 4), 3);
	assert_int_equal(found[0], 0);
	assert_int_equal(found[1], 2);
	assert_int_equal(found[2], 5);
	assert_int_equal(found[3], 9);
	found[1] = 9;
	assert_int_equal(matcher_names(matcher, "example.jp", found, 1), 3);
	assert_int_equal(found[1], 9);
	assert_int_equal(matcher_names(matcher, "example.com", found, 4), 1);
	assert_int_equal(found[0], 2);
	assert_int_equal(matcher_names(matcher, "x.com", NULL, 0), 0);
	close_lab();
}

static void
test_default_alone(void **state)
{
	const char *name = "x.jp";
	const struct flow f = {.name = &name,
	    .names = 1,
	    .dst = rules_lab_addr("::1"),
	    .process = "x",
	    .dport = 1};

	(void)state;
	open_lab();
	done();
	assert_int_equal(find(&f), 0);
	close_lab();
	matcher_free(NULL);
}

/* ---- against the twin ---- */

static const char *const random_name[] = {"jp", "example.jp", "www.example.jp",
    "a.www.example.jp", "xexample.jp", "example", "a.b.c.d.example.jp", "com",
    "a.com", "b.a.com"};
static const char *const random_keyword[] = {
    "e", "ex", "xam", "a.", "example", "com", "p", "wwww", "le.jp", "-"};
static const char *const random_process[] = {"rclone", "rsync", "jp"};

#define PICK(list) ((list)[rnd(ARRAY_LEN(list))])

/* Few bits differ, at the front, in the middle and at the end. */
static struct ip_addr
random_addr(void)
{
	struct ip_addr a = {.family = FAMILY_V4};

	if (rnd(3) == 0) {
		a.family = FAMILY_V6;
		a.b[7] = (uint8_t)rnd(3);
		a.b[8] = (uint8_t)(rnd(2) * 0x80);
		a.b[15] = (uint8_t)rnd(3);
	}
	a.b[0] = (uint8_t)(10 + rnd(2));
	a.b[2] = (uint8_t)rnd(4);
	a.b[3] = (uint8_t)rnd(4);
	return a;
}

static struct ip_prefix
random_prefix(void)
{
	struct ip_ifaddr a = {.addr = random_addr()};
	struct ip_prefix p;

	a.bits = (uint8_t)rnd(a.addr.family == FAMILY_V4 ? 33 : 129);
	ip_ifaddr_prefix(&a, &p);
	return p;
}

static struct rule_ports
random_ports(void)
{
	uint16_t first = (uint16_t)(1 + rnd(rnd(2) ? 16 : 65535));
	uint32_t last = first + rnd(rnd(2) ? 8 : 65536);

	return (struct rule_ports){
	    first, (uint16_t)(last > 65535 ? 65535 : last)};
}

static void
random_entry(enum rule_type type)
{
	struct rule_entry *e = rules_lab_entry(&lab, type);

	switch (type) {
	case RULE_IP_CIDR:
	case RULE_SRC_IP_CIDR:
		e->prefix = random_prefix();
		break;
	case RULE_DST_PORT:
	case RULE_SRC_PORT:
		e->ports = random_ports();
		break;
	case RULE_NETWORK:
		e->protos = (uint8_t)(1 + rnd(7));
		break;
	case RULE_UID:
		e->uid = rnd(3);
		break;
	case RULE_DOMAIN_KEYWORD:
		e->name = rules_lab_name(&lab, PICK(random_keyword));
		break;
	case RULE_PROCESS_NAME:
		e->name = rules_lab_name(&lab, PICK(random_process));
		break;
	default:
		e->name = rules_lab_name(&lab, PICK(random_name));
		break;
	}
}

static void
random_conditions(void)
{
	uint32_t process = rules_lab_name(&lab, PICK(random_process));
	struct rule_conditions *c = rules_lab_conditions(&lab);

	c->protos = (uint8_t)(rnd(2) ? 0 : 1 + rnd(7));
	c->dports = (uint8_t)(rnd(2) ? 0 : rnd(3));
	c->sports = (uint8_t)(rnd(2) ? 0 : rnd(3));
	for (unsigned i = 0; i < 3; i++) {
		c->dport[i] = random_ports();
		c->sport[i] = random_ports();
	}
	c->has_uid = rnd(8) == 0;
	c->uid = rnd(3);
	if (rnd(3) == 0)
		c->src = random_prefix();
	if (rnd(3) == 0)
		c->dst = random_prefix();
	c->process = rnd(4) ? 0 : process;
}

static void
random_rule(void)
{
	enum rule_type type = rnd(RULE_DEFAULT);
	enum rule_target target = rnd(TARGETS);
	struct rule *made = rules_lab_rule(&lab, type, target, "");
	unsigned entries = type == RULE_SET ? rnd(12) : 1;

	made->ports_left = rnd(4);
	for (unsigned i = 0; type != RULE_PORTS_LEFT && i < entries; i++)
		random_entry(type == RULE_SET ? rnd(RULE_SET) : type);
	if (rnd(3) == 0)
		random_conditions();
}

static void
random_flow(struct flow *f, const char **name)
{
	*f = (struct flow){.name = name, .names = rnd(3)};
	name[0] = PICK(random_name);
	name[1] = PICK(random_name);
	if (rnd(4) != 0)
		f->dst = random_addr();
	if (rnd(4) != 0)
		f->src = random_addr();
	f->proto = (uint8_t)(rnd(4) == 0 ? 0 : 1u << rnd(3));
	f->dport = rnd(4) == 0 ? 0 : random_ports().first;
	f->sport = rnd(4) == 0 ? 0 : random_ports().last;
	f->process = rnd(2) == 0 ? NULL : PICK(random_process);
	f->has_uid = rnd(2) == 0;
	f->uid = rnd(3);
	f->has_ports_left = rnd(2) == 0;
	f->ports_left = rnd(4);
}

static void
compare_names(const char *name)
{
	uint32_t found[80] = {0}, twin[80] = {0};
	size_t n = matcher_names(matcher, name, found, ARRAY_LEN(found));

	assert_int_equal(
	    n, matcher_twin_names(&lab.r, name, twin, ARRAY_LEN(twin)));
	assert_memory_equal(found, twin, sizeof(found));
}

static void
test_random(void **state)
{
	unsigned decided[64] = {0}, reached = 0;
	const char *name[2];
	struct flow f;

	(void)state;
	for (unsigned round = 0; round < 1500; round++) {
		unsigned rules = rnd(rnd(2) ? 6 : 40);

		open_lab();
		for (unsigned i = 0; i < rules; i++)
			random_rule();
		done();
		for (unsigned i = 0; i < 20; i++) {
			random_flow(&f, name);
			decided[find(&f)]++;
			compare_names(name[0]);
		}
		close_lab();
	}
	/* The flows are not all decided by the first rules. */
	for (size_t i = 0; i < ARRAY_LEN(decided); i++)
		reached += decided[i] > 0;
	assert_true(reached > 20);
}

/* ---- many entries ---- */

#define MANY 20000

static const char *
many_name(uint32_t i, char text[static 32])
{
	snprintf(text, 32, "n%u.x%u.jp", i, i % 7);
	return text;
}

static void
many_prefix(struct rule_entry *e, uint32_t i)
{
	struct ip_ifaddr a = {.addr.family = FAMILY_V4, .bits = 32};

	a.bits = (uint8_t)(16 + i % 17);
	store_be32(a.addr.b, i * 2654435761u);
	ip_ifaddr_prefix(&a, &e->prefix);
}

static void
test_many(void **state)
{
	const char *name;
	char text[32];
	struct flow f = {.name = &name, .names = 1, .dst.family = FAMILY_V4};
	struct match m;
	uint32_t i;

	(void)state;
	open_lab();
	rules_lab_rule(&lab, RULE_SET, TARGET_TUNNEL, "");
	for (i = 0; i < MANY; i++) {
		uint32_t at = rules_lab_name(&lab, many_name(i, text));

		rules_lab_entry(&lab, i % 2 ? RULE_DOMAIN : RULE_DOMAIN_SUFFIX)
		    ->name = at;
	}
	rules_lab_rule(&lab, RULE_SET, TARGET_TUNNEL, "");
	for (i = 0; i < MANY; i++)
		many_prefix(rules_lab_entry(&lab, RULE_IP_CIDR), i);
	rule(RULE_IP_CIDR, "255.255.255.254/31");
	done();
	name = text;
	for (i = 0; i < 4 * MANY; i += 3) {
		many_name(i, text);
		store_be32(f.dst.b, i * 2654435761u);
		m = matcher_find(matcher, &f);
		if (i < MANY)
			assert_int_equal(m.entry, i);
		else
			assert_int_not_equal(m.rule, 0);
	}
	for (i = 0; i < 40; i++) {
		/* The last addresses of all, too. */
		store_be32(f.dst.b, i < 4 ? UINT32_MAX - i : rnd(UINT32_MAX));
		many_name(rnd(2 * MANY), text);
		find(&f);
	}
	close_lab();
}

/* Thousands of rules about one name take no more than a look each. */
static void
test_same_name(void **state)
{
	static uint32_t found[MANY];

	(void)state;
	open_lab();
	for (uint32_t i = 0; i < MANY / 4; i++)
		rule(i % 2 ? RULE_DOMAIN : RULE_DOMAIN_KEYWORD, "example.jp");
	done();
	assert_int_equal(
	    matcher_names(matcher, "example.jp", found, MANY), MANY / 4);
	for (uint32_t i = 0; i < MANY / 4; i++)
		assert_int_equal(found[i], i);
	close_lab();
}

/* ---- no memory ---- */

static void
test_alloc_failures(void **state)
{
	unsigned refused = 0;
	int err = UK_ENOMEM;

	(void)state;
	open_lab();
	for (unsigned i = 0; i < 60; i++)
		random_rule();
	rule(RULE_DOMAIN, "jp");
	rule(RULE_DOMAIN_KEYWORD, "jp");
	rule(RULE_PROCESS_NAME, "jp");
	rule(RULE_IP_CIDR, "10.0.0.0/8");
	rules_lab_rule(&lab, RULE_DEFAULT, TARGET_NATIVE, "");
	for (unsigned n = 1; err != 0; n++) {
		live = 0;
		counting = true;
		fail_at = n;
		err = matcher_new(&matcher, &lab.r);
		assert_true(err == 0 || err == UK_ENOMEM);
		assert_true((err == 0) == (matcher != NULL));
		/* Making room smaller may fail, and nothing is lost. */
		if (fail_at == 0 && err == 0)
			err = UK_ENOMEM;
		fail_at = 0;
		matcher_free(matcher);
		counting = false;
		matcher = NULL;
		assert_int_equal(live, 0);
		refused++;
	}
	assert_true(refused > 15);
	close_lab();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_several_names),
	    cmocka_unit_test(test_keywords),
	    cmocka_unit_test(test_prefixes),
	    cmocka_unit_test(test_covers),
	    cmocka_unit_test(test_ports),
	    cmocka_unit_test(test_other_entries),
	    cmocka_unit_test(test_ports_left),
	    cmocka_unit_test(test_takes_no_port),
	    cmocka_unit_test(test_spills_what_is_native),
	    cmocka_unit_test(test_set),
	    cmocka_unit_test(test_shared_set),
	    cmocka_unit_test(test_conditions),
	    cmocka_unit_test(test_look),
	    cmocka_unit_test(test_rules_of_name),
	    cmocka_unit_test(test_default_alone),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_same_name),
	    cmocka_unit_test(test_alloc_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
