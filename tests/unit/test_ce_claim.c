#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/ce_claim.h"

#define MS UK_NS_PER_MS
#define S UK_NS_PER_S

static const uint8_t address[16] = {0x20, 1, 0xd, 0xb8, [15] = 7};
static const uint8_t own[NDP_MAC_LEN] = {2, 0, 0, 0, 0, 1};
static const uint8_t other[NDP_MAC_LEN] = {2, 0, 0, 0, 0, 2};
static const uint8_t third[NDP_MAC_LEN] = {2, 0, 0, 0, 0, 3};

static uint64_t now;
static struct ce_claim_seen seen;
static struct ce_claim c;

/* A claim on an Ethernet link with a carrier, its address just added. */
static int
start(void **state)
{
	(void)state;
	now = 1000 * S;
	seen = (struct ce_claim_seen){
	    .link_there = true,
	    .link = {.running = true,
		.neighbours = true,
		.mtu = 1500,
		.carrier_changes = 5},
	    .addr = NETCFG_ADDR_TENTATIVE,
	};
	memcpy(seen.link.mac, own, sizeof(own));
	ce_claim_init(&c, address, &seen.link);
	return 0;
}

static enum ce_claim_do
look(void)
{
	return ce_claim_look(&c, now, &seen);
}

/* Look for some time at the deadlines; how often was it asked for? */
static unsigned
count(enum ce_claim_do what, uint64_t for_ns)
{
	uint64_t end = now + for_ns, next;
	unsigned n = 0;

	while (now < end) {
		n += look() == what;
		next = ce_claim_deadline(&c, now);
		if (next == UK_NEVER)
			break;
		assert_true(next > now);
		now = next;
	}
	now = end;
	return n;
}

static void
hold_it(void)
{
	seen.addr = NETCFG_ADDR_READY;
	count(CE_CLAIM_ANNOUNCE, 10 * S);
	assert_int_equal(c.state, CE_CLAIM_HELD);
}

static struct ndp
advertisement(const uint8_t *mac)
{
	struct ndp m = {.type = NDP_ADVERTISE, .override = true};

	memcpy(m.target, address, sizeof(address));
	if (mac != NULL) {
		m.has_mac = true;
		memcpy(m.mac, mac, NDP_MAC_LEN);
	}
	return m;
}

static void
test_take(void **state)
{
	(void)state;
	assert_int_equal(look(), CE_CLAIM_NOTHING);
	assert_int_equal(c.state, CE_CLAIM_WAITING);
	assert_int_equal(ce_claim_deadline(&c, now), now + CE_CLAIM_LOOK_SOON);
	now += 2 * S;
	seen.addr = NETCFG_ADDR_READY;
	/* RFC 4861 7.2.6: three, a second apart, the first at once. */
	for (int i = 0; i < CE_CLAIM_ANNOUNCEMENTS; i++) {
		assert_int_equal(look(), CE_CLAIM_ANNOUNCE);
		assert_int_equal(c.state, CE_CLAIM_HELD);
		assert_int_equal(look(), CE_CLAIM_NOTHING);
		now += S - 1;
		assert_int_equal(look(), CE_CLAIM_NOTHING);
		now += 1;
	}
	assert_int_equal(count(CE_CLAIM_ANNOUNCE, 1000 * S), 0);
	assert_int_equal(ce_claim_deadline(&c, now), now + CE_CLAIM_LOOK);
}

static void
test_duplicate(void **state)
{
	(void)state;
	look();
	seen.addr = NETCFG_ADDR_DUPLICATE;
	assert_int_equal(look(), CE_CLAIM_NOTHING);
	assert_int_equal(c.state, CE_CLAIM_REFUSED);
	assert_int_equal(c.why, CE_CLAIM_DUPLICATE);
	assert_int_equal(ce_claim_deadline(&c, now), UK_NEVER);
	/* Final. */
	seen.addr = NETCFG_ADDR_READY;
	assert_int_equal(look(), CE_CLAIM_NOTHING);
	assert_int_equal(c.state, CE_CLAIM_REFUSED);
}

/* The check has its time with a carrier, and a new one after each. */
static void
test_timeout(void **state)
{
	(void)state;
	seen.link.running = false;
	assert_int_equal(count(CE_CLAIM_ADD, 3600 * S), 0);
	assert_int_equal(c.state, CE_CLAIM_WAITING);
	seen.link.running = true;
	look();
	now += CE_CLAIM_CHECK - 1;
	look();
	assert_int_equal(c.state, CE_CLAIM_WAITING);
	seen.link.running = false;
	look();
	seen.link.running = true;
	now += S;
	look();
	now += CE_CLAIM_CHECK - 1;
	look();
	assert_int_equal(c.state, CE_CLAIM_WAITING);
	now += 1;
	look();
	assert_int_equal(c.state, CE_CLAIM_REFUSED);
	assert_int_equal(c.why, CE_CLAIM_TIMEOUT);
}

static void
test_link_gone(void **state)
{
	(void)state;
	hold_it();
	seen.link_there = false;
	assert_int_equal(look(), CE_CLAIM_NOTHING);
	assert_int_equal(c.state, CE_CLAIM_REFUSED);
	assert_int_equal(c.why, CE_CLAIM_LINK_GONE);
}

static void
test_link_up_again(void **state)
{
	(void)state;
	hold_it();
	/* Nothing is said to nobody. */
	seen.link.running = false;
	seen.link.carrier_changes++;
	assert_int_equal(count(CE_CLAIM_ANNOUNCE, 100 * S), 0);
	assert_int_equal(c.state, CE_CLAIM_HELD);
	seen.link.running = true;
	seen.link.carrier_changes++;
	assert_int_equal(look(), CE_CLAIM_ANNOUNCE);
	assert_int_equal(count(CE_CLAIM_ANNOUNCE, 100 * S), 2);
	/* Down and up between two looks. */
	seen.link.carrier_changes += 2;
	assert_int_equal(count(CE_CLAIM_ANNOUNCE, 100 * S), 3);
	/* Another MAC, as a bridge gets with a port. */
	memcpy(seen.link.mac, third, sizeof(third));
	assert_int_equal(count(CE_CLAIM_ANNOUNCE, 100 * S), 3);
	/* The count that comes with the carrier going is none of coming. */
	seen.link.running = false;
	seen.link.carrier_changes++;
	look();
	seen.link.running = true;
	assert_int_equal(count(CE_CLAIM_ANNOUNCE, 100 * S), 3);
	/* In the middle of it the carrier goes: three again, not two. */
	seen.link.carrier_changes += 2;
	assert_int_equal(look(), CE_CLAIM_ANNOUNCE);
	seen.link.running = false;
	now += S;
	assert_int_equal(look(), CE_CLAIM_NOTHING);
	seen.link.running = true;
	assert_int_equal(count(CE_CLAIM_ANNOUNCE, 100 * S), 3);
}

/* Taken down by hand a link loses its addresses. */
static void
test_address_lost(void **state)
{
	(void)state;
	hold_it();
	seen.link.running = false;
	seen.addr = NETCFG_ADDR_NONE;
	assert_int_equal(count(CE_CLAIM_ADD, 100 * S), 0);
	assert_int_equal(c.state, CE_CLAIM_WAITING);
	seen.link.running = true;
	assert_int_equal(look(), CE_CLAIM_ADD);
	seen.addr = NETCFG_ADDR_TENTATIVE;
	assert_int_equal(look(), CE_CLAIM_NOTHING);
	seen.addr = NETCFG_ADDR_READY;
	assert_int_equal(count(CE_CLAIM_ANNOUNCE, 100 * S), 3);
	assert_int_equal(c.state, CE_CLAIM_HELD);
	/* It does not come back: an end to it. */
	seen.addr = NETCFG_ADDR_NONE;
	assert_int_equal(
	    count(CE_CLAIM_ADD, 100 * S), CE_CLAIM_CHECK / CE_CLAIM_LOOK_SOON);
	assert_int_equal(c.state, CE_CLAIM_REFUSED);
	assert_int_equal(c.why, CE_CLAIM_TIMEOUT);
}

static void
test_no_neighbours(void **state)
{
	(void)state;
	seen.link.neighbours = false;
	memset(seen.link.mac, 0, sizeof(seen.link.mac));
	seen.addr = NETCFG_ADDR_READY;
	assert_int_equal(count(CE_CLAIM_ANNOUNCE, 100 * S), 0);
	assert_int_equal(c.state, CE_CLAIM_HELD);
}

static void
test_who_is_a_rival(void **state)
{
	struct ndp m = advertisement(other);

	(void)state;
	look();
	/* While waiting: remembered for the sentence, not answered. */
	assert_int_equal(ce_claim_hear(&c, now, &m, other), CE_CLAIM_RIVAL);
	assert_memory_equal(c.rival_mac, other, sizeof(other));
	hold_it();
	/* About another address. */
	m.target[15] ^= 1;
	assert_int_equal(ce_claim_hear(&c, now, &m, other), CE_CLAIM_NO_RIVAL);
	m.target[15] ^= 1;
	m.target[0] ^= 1;
	assert_int_equal(ce_claim_hear(&c, now, &m, other), CE_CLAIM_NO_RIVAL);
	/* Our own, come back; or said for us by somebody else. */
	m = advertisement(own);
	assert_int_equal(ce_claim_hear(&c, now, &m, own), CE_CLAIM_NO_RIVAL);
	assert_int_equal(ce_claim_hear(&c, now, &m, other), CE_CLAIM_NO_RIVAL);
	m = advertisement(NULL);
	assert_int_equal(ce_claim_hear(&c, now, &m, own), CE_CLAIM_NO_RIVAL);
	/* A neighbour asks where we are. */
	m.type = NDP_SOLICIT;
	assert_int_equal(ce_claim_hear(&c, now, &m, other), CE_CLAIM_NO_RIVAL);
	m = advertisement(other);
	m.type = NDP_SOLICIT;
	assert_int_equal(ce_claim_hear(&c, now, &m, other), CE_CLAIM_NO_RIVAL);
	assert_int_equal(c.rivals, 1);

	/* Somebody asks whether it is free: by the frame's MAC. */
	m = advertisement(NULL);
	m.type = NDP_SOLICIT;
	m.probe = true;
	assert_int_equal(ce_claim_hear(&c, now, &m, own), CE_CLAIM_NO_RIVAL);
	assert_int_equal(ce_claim_hear(&c, now, &m, third), CE_CLAIM_ANSWER);
	assert_memory_equal(c.rival_mac, third, sizeof(third));
	/* By the option's MAC, else the frame's. */
	m = advertisement(other);
	assert_int_equal(ce_claim_hear(&c, now, &m, third), CE_CLAIM_RIVAL);
	assert_memory_equal(c.rival_mac, other, sizeof(other));
	m = advertisement(NULL);
	assert_int_equal(ce_claim_hear(&c, now, &m, third), CE_CLAIM_RIVAL);
	assert_memory_equal(c.rival_mac, third, sizeof(third));
	assert_int_equal(c.rivals, 4);

	seen.addr = NETCFG_ADDR_DUPLICATE;
	look();
	assert_int_equal(ce_claim_hear(&c, now, &m, third), CE_CLAIM_NO_RIVAL);
}

/* Two claims that hear each other, and start with one message. */
static void
test_no_storm(void **state)
{
	struct ndp m = advertisement(other);
	uint64_t begin;
	unsigned answers = 0;

	(void)state;
	hold_it();
	begin = now;
	for (; now < begin + 20 * S; now += 10 * MS)
		answers += ce_claim_hear(&c, now, &m, other) == CE_CLAIM_ANSWER;
	assert_int_equal(answers, 4);
	assert_int_equal(c.rivals, 2000);
	/* To the nanosecond. */
	now = c.answer_ns - 1;
	assert_int_equal(ce_claim_hear(&c, now, &m, other), CE_CLAIM_RIVAL);
	now++;
	assert_int_equal(ce_claim_hear(&c, now, &m, other), CE_CLAIM_ANSWER);
	assert_int_equal(c.answer_ns, now + CE_CLAIM_ANSWER_EVERY);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_take, start),
	    cmocka_unit_test_setup(test_duplicate, start),
	    cmocka_unit_test_setup(test_timeout, start),
	    cmocka_unit_test_setup(test_link_gone, start),
	    cmocka_unit_test_setup(test_link_up_again, start),
	    cmocka_unit_test_setup(test_address_lost, start),
	    cmocka_unit_test_setup(test_no_neighbours, start),
	    cmocka_unit_test_setup(test_who_is_a_rival, start),
	    cmocka_unit_test_setup(test_no_storm, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
