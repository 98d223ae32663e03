#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/mape/frag6.h"
#include "client/mape/ipip6.h"
#include "client/mape/reasm.h"
#include "core/bytes.h"
#include "core/err.h"

#define PACKET_MAX 65575
#define ROOM_MAX (PACKET_MAX + FRAG6_MAX * 48)

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* A tunnel packet of len bytes with a UDP packet inside. */
static void
make(uint8_t *b, size_t len)
{
	static const uint8_t us[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
	static const uint8_t br[16] = {0x20, 1, 0xd, 0xb8, [15] = 2};

	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)rnd();
	ipip6_header(b, us, br, 4, (uint8_t)rnd(), (uint16_t)(len - 40));
	store_be32(b, load_be32(b) | 0xabcde); /* a flow label */
	b[40] = 0x45;
	store_be16(b + 46, 0);
	b[49] = 17;
}

/* What RFC 8200 4.5 says of each fragment. */
static void
check_form(const uint8_t *pkt, size_t len, uint32_t mtu, uint32_t id,
    const struct pbuf *out, int n)
{
	size_t at = 0;

	for (int i = 0; i < n; i++) {
		const uint8_t *b = pbuf_data(&out[i]);
		size_t payload = out[i].len - 48;
		bool last = i == n - 1;

		assert_true(out[i].len <= mtu);
		assert_memory_equal(b, pkt, 4);
		assert_int_equal(load_be16(b + 4), out[i].len - 40);
		assert_int_equal(b[6], 44);
		assert_memory_equal(b + 7, pkt + 7, 33);
		assert_int_equal(b[40], pkt[6]);
		assert_int_equal(b[41], 0);
		assert_int_equal(load_be16(b + 42), at + !last);
		assert_int_equal(load_be32(b + 44), id);
		assert_memory_equal(b + 48, pkt + 40 + at, payload);
		/* As few as can be. */
		assert_true(last || (payload % 8 == 0 && out[i].len + 8 > mtu));
		at += payload;
	}
	assert_int_equal(at, len - 40);
}

/* reasm(frag6(x)) == x */
static void
check_round(const uint8_t *pkt, size_t len, const struct pbuf *out, int n)
{
	struct reasm_conf conf;
	const uint8_t *whole = NULL;
	size_t whole_len = 0;

	reasm_conf_default(&conf);
	struct reasm *r = reasm_new(&conf);
	for (int i = 0; i < n; i++) {
		/* backwards every other time */
		const struct pbuf *p = &out[len % 2 ? i : n - 1 - i];

		assert_null(whole);
		assert_int_equal(reasm_input(r, 1, 0, pbuf_data(p), p->len,
				     &whole, &whole_len),
		    MAP_OK);
	}
	assert_int_equal(whole_len, len);
	assert_memory_equal(whole, pkt, len);
	reasm_free(r);
}

static void
run(size_t len, uint32_t mtu)
{
	static uint8_t pkt[PACKET_MAX];
	struct pbuf out[FRAG6_MAX];
	uint32_t id = (uint32_t)rnd();
	size_t step = (mtu - 48) / 8 * 8;
	size_t count = (len - 40 + step - 1) / step;
	size_t need = len - 40 + 48 * count;
	uint8_t *room = malloc(need);

	make(pkt, len);
	/* Room for exactly that, and for less. */
	assert_int_equal(
	    frag6_split(pkt, len, mtu, id, room, need - 1, out, FRAG6_MAX),
	    UK_EMSGSIZE);
	assert_int_equal(frag6_split(pkt, len, mtu, id, room, need, out,
			     (unsigned)count - 1),
	    UK_EMSGSIZE);
	int n =
	    frag6_split(pkt, len, mtu, id, room, need, out, (unsigned)count);
	assert_int_equal(n, count);
	check_form(pkt, len, mtu, id, out, n);
	check_round(pkt, len, out, n);
	free(room);
}

static void
test_boundary(void **state)
{
	(void)state;
	static const struct {
		size_t len;
		uint32_t mtu;
	} row[] = {
	    {1281, 1280},
	    {1287, 1280},
	    {1288, 1280},
	    {1289, 1280},
	    {1272 + 40, 1280},
	    {40 + 1232 * 2, 1280},
	    {40 + 1232 * 2 + 1, 1280},
	    {1501, 1500},
	    {1540, 1500},
	    {1488, 1487}, /* an MTU whose payload is not a multiple of 8 */
	    {PACKET_MAX, 1280},
	    {PACKET_MAX, PACKET_MAX - 1},
	    {PACKET_MAX, 9000},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		run(row[i].len, row[i].mtu);
}

static void
test_random(void **state)
{
	(void)state;
	for (int i = 0; i < 150; i++) {
		uint32_t mtu = 1280 + (uint32_t)(rnd() % 800);
		size_t most = rnd() % 8 == 0 ? 60000 : 3000;

		run(mtu + 1 + rnd() % most, mtu);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_boundary),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
