#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/err.h"
#include "support/vectors.h"
#include "support/wg_now.h"
#include "wg/wg_msg.h"
#include "wg/wg_session.h"

static const struct wg_session_keys keys = {
    .send = {{1, 2, 3}}, .receive = {{4, 5, 6}}};
static const struct wg_session_keys mirrored = {
    .send = {{4, 5, 6}}, .receive = {{1, 2, 3}}};
static const uint8_t remote[4] = {0x55, 0x66, 0x77, 0x88};

static uint8_t room[70000];

static struct pbuf
packet(size_t len)
{
	memset(room, 0xee, sizeof(room));
	return pbuf_make(room, WG_SEAL_HEADROOM + len + WG_SEAL_TAILROOM,
	    WG_SEAL_HEADROOM, len);
}

static void
test_example(void **state)
{
	json_t *j = vectors_load("handshake.json");
	struct wg_session_keys k = {.receive = {{0}}};
	uint8_t want[64];
	struct wg_session *s;
	struct pbuf p = packet(0);

	(void)state;
	vectors_bytes(j, "initiator_send_key", k.send.b, WG_KEY_LEN);
	s = wg_session_new(&k, remote, true, 0);
	assert_int_equal(wg_seal_now(s, 0, 1420, &p), 0);
	vectors_bytes(j, "keepalive0", want, 32);
	assert_int_equal(p.len, 32);
	assert_memory_equal(pbuf_data(&p), want, 32);
	p = packet(28);
	memset(pbuf_data(&p), 0, 28);
	pbuf_data(&p)[0] = 0x45;
	assert_int_equal(wg_seal_now(s, 1, 1420, &p), 0);
	vectors_bytes(j, "data1", want, 64);
	assert_int_equal(p.len, 64);
	assert_memory_equal(pbuf_data(&p), want, 64);
	wg_session_end(s);
	json_decref(j);
}

/* The rule of protocol.md section 5 in other words: pad what would be left
 * over after cutting the packet into MTUs. */
static uint32_t
naive_padded(uint32_t len, uint32_t mtu)
{
	uint32_t whole = 0, last = len;

	while (mtu && len > mtu && last >= mtu) {
		whole += mtu;
		last -= mtu;
	}
	while (last % 16 != 0 && (mtu == 0 || last < mtu))
		last++;
	return whole + last;
}

/* P7: padding to 16, never beyond the MTU; the room that the header promises
 * is enough. */
static void
test_padding(void **state)
{
	static const uint32_t mtus[] = {0, 1, 15, 16, 17, 576, 1299, 1420};
	struct wg_session *s = wg_session_new(&keys, remote, true, 0);

	(void)state;
	for (size_t m = 0; m < ARRAY_LEN(mtus); m++) {
		for (uint32_t len = 0; len < 3000;
		     len += len < 70 || len % 1420 > 1400 ? 1 : 7) {
			struct pbuf p = packet(len);

			assert_int_equal(wg_seal_now(s, len, mtus[m], &p), 0);
			assert_int_equal(p.len - WG_DATA_OVERHEAD,
			    naive_padded(len, mtus[m]));
		}
	}
	wg_session_end(s);
}

static void
test_padding_is_zero(void **state)
{
	struct wg_session *a = wg_session_new(&keys, remote, true, 0);
	struct wg_session *b = wg_session_new(&mirrored, remote, false, 0);
	struct pbuf p = packet(3);
	uint64_t counter;

	(void)state;
	memcpy(pbuf_data(&p), "abc", 3);
	assert_int_equal(wg_seal_now(a, 9, 1420, &p), 0);
	assert_int_equal(wg_open_now(b, &p, &counter), 0);
	assert_int_equal(counter, 9);
	assert_int_equal(p.len, 16);
	assert_memory_equal(pbuf_data(&p), "abc\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	wg_session_end(a);
	wg_session_end(b);
}

/* Both ways, counters of every size; never with one's own key. */
static void
test_both_ways(void **state)
{
	struct wg_session *a = wg_session_new(&keys, remote, true, 0);
	struct wg_session *b = wg_session_new(&mirrored, remote, false, 0);
	uint64_t got;

	(void)state;
	for (unsigned shift = 0; shift < 64; shift++) {
		uint64_t n = UINT64_C(0xfedcba9876543210) >> shift;
		struct wg_session *from = shift % 2 ? a : b;
		struct pbuf p = packet(100);

		assert_int_equal(wg_seal_now(from, n, 1420, &p), 0);
		assert_memory_equal(pbuf_data(&p) + 4, remote, 4);
		assert_int_equal(wg_open_now(shift % 2 ? b : a, &p, &got), 0);
		assert_true(got == n);
		assert_int_equal(p.len, 112);
		p = packet(100);
		assert_int_equal(wg_seal_now(from, n, 1420, &p), 0);
		assert_int_equal(wg_open_now(from, &p, &got), UK_EAUTH);
	}
	wg_session_end(a);
	wg_session_end(b);
}

/* Check 17: a flipped bit anywhere but in type and index (which the device
 * looks at) is noticed. */
static void
test_flipped(void **state)
{
	struct wg_session *a = wg_session_new(&keys, remote, true, 0);
	struct wg_session *b = wg_session_new(&mirrored, remote, false, 0);
	uint64_t got;

	(void)state;
	for (size_t i = 8; i < 32 + 48; i++) {
		struct pbuf p = packet(48);

		assert_int_equal(wg_seal_now(a, 77, 1420, &p), 0);
		pbuf_data(&p)[i] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(wg_open_now(b, &p, &got), UK_EAUTH);
	}
	wg_session_end(a);
	wg_session_end(b);
	wg_session_end(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_example),
	    cmocka_unit_test(test_padding),
	    cmocka_unit_test(test_padding_is_zero),
	    cmocka_unit_test(test_both_ways),
	    cmocka_unit_test(test_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
