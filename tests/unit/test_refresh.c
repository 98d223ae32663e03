#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/refresh.h"

#define S UK_NS_PER_S

static struct refresh r;
static struct refresh_peer peer;
static uint64_t now;

static void
start(bool known)
{
	refresh_init(&r);
	peer = (struct refresh_peer){.known = known};
	now = 1000 * S;
}

/* Look every 5 s for so long; what is sent and received in each. Returns
 * seconds until a look-up was due, or -1. */
static int
pass(unsigned seconds, unsigned tx, unsigned rx)
{
	for (unsigned s = 0; s < seconds; s += 5) {
		now += REFRESH_EVERY;
		peer.tx_bytes += tx;
		peer.rx_bytes += rx;
		if (refresh_due(&r, now, &peer))
			return (int)s + 5;
	}
	return -1;
}

static void
test_never_a_handshake(void **state)
{
	(void)state;
	start(true);
	assert_int_equal(pass(300, 0, 0), -1); /* nobody tries */
	assert_int_equal(pass(300, 148, 0), 20);
	refresh_found(&r, now);
	/* Not more than every 30 s. */
	assert_int_equal(pass(300, 148, 0), 30);
	refresh_found(&r, now);
	/* It gave up trying: idle again. */
	assert_int_equal(pass(20, 0, 0), -1);
	assert_int_equal(pass(300, 0, 0), -1);
}

static void
test_session_dies(void **state)
{
	(void)state;
	start(true);
	peer.handshake = 77;
	assert_int_equal(pass(600, 1000, 1000), -1); /* alive */
	peer.handshake = 78;
	assert_int_equal(pass(5, 100, 100), -1);
	assert_int_equal(pass(1000, 148, 0), 135);
	refresh_found(&r, now);
	peer.handshake = 79;
	assert_int_equal(pass(600, 100, 100), -1);
}

static void
test_idle_session(void **state)
{
	(void)state;
	start(true);
	peer.handshake = 77;
	assert_int_equal(pass(5, 100, 100), -1);
	assert_int_equal(pass(3600, 0, 0), -1);
	/* Traffic again, and an answer in time. */
	assert_int_equal(pass(10, 148, 0), -1);
	peer.handshake = 78;
	assert_int_equal(pass(60, 100, 100), -1);
	assert_int_equal(pass(3600, 0, 0), -1);
	/* Traffic again, and none. */
	assert_int_equal(pass(3600, 148, 0), 20);
}

/* 5 s, doubling to 60 s. */
static void
test_unknown_address(void **state)
{
	static const int delay[] = {5, 10, 20, 40, 60, 60, 60};

	(void)state;
	start(false);
	assert_int_equal(pass(5, 0, 0), 5);
	for (size_t i = 0; i < ARRAY_LEN(delay); i++) {
		refresh_failed(&r, now);
		assert_int_equal(pass(300, 0, 0), delay[i]);
	}
	refresh_found(&r, now);
	peer.known = true;
	assert_int_equal(pass(300, 0, 0), -1);
}

/* An address is known: failing look-ups, too, are 30 s apart. */
static void
test_known_address_failing(void **state)
{
	static const int delay[] = {30, 30, 30, 40, 60, 60};

	(void)state;
	start(true);
	assert_int_equal(pass(300, 148, 0), 20);
	for (size_t i = 0; i < ARRAY_LEN(delay); i++) {
		refresh_failed(&r, now);
		assert_int_equal(pass(300, 148, 0), delay[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_never_a_handshake),
	    cmocka_unit_test(test_session_dies),
	    cmocka_unit_test(test_idle_session),
	    cmocka_unit_test(test_unknown_address),
	    cmocka_unit_test(test_known_address_failing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
