/* Message 4, both ways, through two devices.
 *
 * Check on the receive path              Test that inverting it breaks (P8)
 *   type, reserved bytes, length         test_malformed; test_wg_noise
 *   index known, of a session            test_unknown_index
 *   session younger than 180 s           test_expired
 *   authentic                            test_flipped_bits
 *   counter not seen, in the window      test_replay, test_roaming
 *   counter below the limit              test_counter_limit
 *   inside: an IP packet, its length     test_not_ip, test_inner_length
 *   inner source is this peer's          test_foreign_source
 *   ECN combination allowed              test_ecn_in
 *   first packet confirms a session      test_confirmation
 *   device up, identity set              test_wg_device */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "support/wg_lab.h"
#include "wg/wg_state.h"

static struct lab l;

static int
setup(void **state)
{
	(void)state;
	lab_init(&l);
	return 0;
}

static int
setup_connected(void **state)
{
	setup(state);
	lab_connect(&l);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	lab_fini(&l);
	return 0;
}

/* Seal a packet that must find a session. */
static void
seal(struct lab_side *from, const struct lab_msg *packet, struct lab_msg *out)
{
	assert_true(lab_seal(&l, from, packet, out));
}

static void
expect_opened(struct lab_side *to, const struct lab_msg *m,
    const struct endpoint *from, const struct lab_msg *packet)
{
	struct lab_msg out;

	assert_true(lab_open(&l, to, m, from, &out));
	assert_int_equal(out.buf.len, packet->buf.len);
	assert_memory_equal(
	    pbuf_data(&out.buf), pbuf_data(&packet->buf), out.buf.len);
}

/* Dropped for this reason and no other, and nothing is answered. */
static void
expect_dropped(struct lab_side *to, const struct lab_msg *m,
    const struct endpoint *from, enum wg_drop why)
{
	uint64_t before = lab_dropped(to, why), all = lab_dropped_all(to);
	struct lab_msg out;

	assert_false(lab_open(&l, to, m, from, &out));
	assert_false(lab_next(&l, to, &out));
	assert_int_equal(lab_dropped_all(to), all + 1);
	assert_int_equal(lab_dropped(to, why), before + 1);
}

/* ---- accepted ---- */

/* 1, 2, 3: every inner size, both families, both ways; the datagram is the
 * packet padded to 16 (P7), not past the MTU, and 32 bytes. */
static void
test_inner_sizes(void **state)
{
	struct lab_msg packet, m;

	(void)state;
	for (size_t len = 20; len <= LAB_MTU; len += len < 80 ? 1 : 67) {
		size_t padded = (len + 15) / 16 * 16;

		lab_ip4(&packet, "10.0.0.1", "10.0.0.2", len);
		seal(&l.a, &packet, &m);
		assert_int_equal(
		    m.buf.len, 32 + (padded > LAB_MTU ? LAB_MTU : padded));
		expect_opened(&l.b, &m, &l.a.at, &packet);
		lab_ip4(&packet, "10.0.0.2", "10.0.0.1", len);
		seal(&l.b, &packet, &m);
		expect_opened(&l.a, &m, &l.b.at, &packet);
		if (len < 40)
			continue;
		lab_ip6(&packet, "fd00::2", "fd00::1", len);
		seal(&l.b, &packet, &m);
		expect_opened(&l.a, &m, &l.b.at, &packet);
	}
	assert_int_equal(lab_dropped_all(&l.a) + lab_dropped_all(&l.b), 0);
}

static void
test_full_mtu_is_not_padded(void **state)
{
	struct lab_msg packet, m;

	(void)state;
	lab_ip4(&packet, "10.0.0.1", "10.0.0.2", 1299);
	wg_device_set_mtu(l.a.d, 1299);
	seal(&l.a, &packet, &m);
	assert_int_equal(m.buf.len, 1299 + 32);
	expect_opened(&l.b, &m, &l.a.at, &packet);
	wg_device_set_mtu(l.a.d, 0);
	seal(&l.a, &packet, &m);
	assert_int_equal(m.buf.len, 1312 + 32);
	expect_opened(&l.b, &m, &l.a.at, &packet);
}

/* A data message whose plaintext the test writes itself. */
static void
craft(struct lab_side *from, const void *plain, size_t len, size_t surplus,
    struct lab_msg *m)
{
	struct wg_session *s = from->peer->current;
	struct wg_data_header *h;

	memset(m, 0, sizeof(*m));
	m->buf = pbuf_make(
	    m->room, sizeof(m->room), 0, WG_DATA_OVERHEAD + len + surplus);
	h = (void *)m->room;
	wg_msg_set_type(h->type, WG_MSG_DATA);
	memcpy(h->receiver, s->remote_index, 4);
	store_le64(h->counter, s->send_counter);
	memcpy(m->room + sizeof(*h), plain, len);
	aead_seal_once(m->room + sizeof(*h), s->send.b, s->send_counter++, NULL,
	    0, m->room + sizeof(*h), len + surplus);
}

/* 4 and 25: unpadded packets, and more padding than anybody needs. */
static void
test_any_padding(void **state)
{
	struct lab_msg packet, m;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	for (size_t surplus = 0; surplus < 600; surplus += 1 + surplus / 3) {
		craft(
		    &l.a, pbuf_data(&packet.buf), packet.buf.len, surplus, &m);
		expect_opened(&l.b, &m, &l.a.at, &packet);
	}
}

/* An array of datagrams, good and bad ones mixed. */
static void
test_batch(void **state)
{
	static struct lab_msg m[8];
	struct endpoint ep = l.a.at;
	const struct wg_rx *rx;
	struct dgram g[8];
	struct lab_msg packet;

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		lab_ip4(&packet, "10.0.0.1", "10.0.0.2", 20 + i);
		seal(&l.a, &packet, &m[i]);
		if (i % 3 == 1)
			m[i].room[WG_SEAL_HEADROOM + 20] ^= 1;
		g[i] = (struct dgram){.buf = m[i].buf, .ep = &ep};
	}
	rx = lab_open_batch(&l, &l.b, g, 8);
	assert_int_equal(rx->npackets, 5);
	assert_int_equal(rx->packet[0].len, 20);
	assert_int_equal(rx->packet[1].len, 22);
	assert_int_equal(rx->packet[4].len, 26);
	assert_int_equal(lab_dropped(&l.b, WG_DROP_AUTH), 3);
}

/* ---- refused ---- */

/* 15, 17: a flipped bit in any byte. Index, type and the rest give different
 * reasons, and none an answer; the right message still counts afterwards. */
static void
test_flipped_bits(void **state)
{
	struct lab_msg packet, m, bad;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	seal(&l.a, &packet, &m);
	for (size_t i = 0; i < m.buf.len; i++) {
		enum wg_drop why = i < 4   ? WG_DROP_MALFORMED
				   : i < 8 ? WG_DROP_INDEX
					   : WG_DROP_AUTH;

		for (unsigned bit = 0; bit < 8; bit++) {
			lab_copy(&bad, &m);
			pbuf_data(&bad.buf)[i] ^= (uint8_t)(1 << bit);
			expect_dropped(&l.b, &bad, &l.a.at, why);
		}
	}
	expect_opened(&l.b, &m, &l.a.at, &packet);
}

/* 7, 8: too short, and types that there are not. A2: silence. */
static void
test_malformed(void **state)
{
	struct lab_msg packet, m, bad;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	seal(&l.a, &packet, &m);
	for (uint32_t len = 0; len < 32; len++) {
		lab_copy(&bad, &m);
		pbuf_trim(&bad.buf, len);
		expect_dropped(&l.b, &bad, &l.a.at, WG_DROP_MALFORMED);
	}
	lab_copy(&bad, &m);
	pbuf_trim(&bad.buf, 32);
	expect_dropped(&l.b, &bad, &l.a.at, WG_DROP_AUTH);
	for (unsigned type = 0; type < 256; type++) {
		if (type == WG_MSG_DATA)
			continue;
		lab_copy(&bad, &m);
		pbuf_data(&bad.buf)[0] = (uint8_t)type;
		expect_dropped(&l.b, &bad, &l.a.at, WG_DROP_MALFORMED);
	}
}

/* 16: numbers of nobody, and of a handshake that is no session yet. */
static void
test_unknown_index(void **state)
{
	struct lab_msg packet, m;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	seal(&l.a, &packet, &m);
	wg_device_set_up(l.b.d, false);
	wg_device_set_up(l.b.d, true);
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_INDEX);
	lab_advance(&l, LAB_S(200));
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_true(lab_next(&l, &l.a, &m)); /* an initiation of a's */
	lab_packet(&l.b, &l.a, &packet);
	wg_msg_set_type(pbuf_data(&packet.buf), WG_MSG_DATA);
	memcpy(pbuf_data(&packet.buf) + 4, pbuf_data(&m.buf) + 4, 4);
	expect_dropped(&l.a, &packet, &l.b.at, WG_DROP_INDEX);
}

/* REJECT_AFTER_TIME, on both sides of it, receiving and sending. */
static void
test_expired(void **state)
{
	struct lab_msg packet, m1, m2;
	uint64_t left;

	(void)state;
	lab_packet(&l.b, &l.a, &packet);
	seal(&l.b, &packet, &m1);
	seal(&l.b, &packet, &m2);
	left = l.a.peer->current->born_ns + LAB_S(180) - l.now.mono_ns;
	lab_advance(&l, left - 1);
	expect_opened(&l.a, &m1, &l.b.at, &packet);
	lab_discard(&l, &l.a);
	lab_advance(&l, 1);
	expect_dropped(&l.a, &m2, &l.b.at, WG_DROP_EXPIRED);
	assert_false(lab_seal(&l, &l.b, &packet, &m1));
	assert_true(lab_next(&l, &l.b, &m1));
	assert_int_equal(pbuf_data(&m1.buf)[0], WG_MSG_INITIATION);
}

/* 19, 20, 21: each message once, in any order, within the window. */
static void
test_replay(void **state)
{
	static struct lab_msg m[3];
	struct lab_msg packet, late;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	for (unsigned i = 0; i < 3; i++)
		seal(&l.a, &packet, &m[i]);
	expect_opened(&l.b, &m[2], &l.a.at, &packet);
	expect_opened(&l.b, &m[0], &l.a.at, &packet);
	expect_opened(&l.b, &m[1], &l.a.at, &packet);
	for (unsigned i = 0; i < 3; i++)
		expect_dropped(&l.b, &m[i], &l.a.at, WG_DROP_REPLAY);
	seal(&l.a, &packet, &m[0]);
	seal(&l.a, &packet, &m[1]);
	l.a.peer->current->send_counter += 8126; /* 8128 after m[1] */
	l.a.peer->current->send_counter++;
	seal(&l.a, &packet, &late);
	expect_opened(&l.b, &late, &l.a.at, &packet);
	expect_dropped(&l.b, &m[0], &l.a.at, WG_DROP_REPLAY);
	expect_opened(&l.b, &m[1], &l.a.at, &packet);
}

/* A forged packet far ahead must not drag the window along. */
static void
test_forgery_moves_no_window(void **state)
{
	struct lab_msg packet, m, bad;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	seal(&l.a, &packet, &m);
	lab_copy(&bad, &m);
	store_le64(pbuf_data(&bad.buf) + 8, UINT64_C(1) << 40);
	expect_dropped(&l.b, &bad, &l.a.at, WG_DROP_AUTH);
	expect_opened(&l.b, &m, &l.a.at, &packet);
}

/* 22, P4: no counter at the limit is sent or accepted. */
static void
test_counter_limit(void **state)
{
	struct wg_session *s = l.a.peer->current;
	struct lab_msg packet, m;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	s->send_counter = WG_REJECT_AFTER_MESSAGES - 1;
	seal(&l.a, &packet, &m);
	assert_true(
	    load_le64(pbuf_data(&m.buf) + 8) == WG_REJECT_AFTER_MESSAGES - 1);
	expect_opened(&l.b, &m, &l.a.at, &packet);
	craft(&l.a, pbuf_data(&packet.buf), packet.buf.len, 12, &m);
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_EXPIRED);
	s->send_counter = UINT64_MAX - 1; /* 2^64 - 2 */
	craft(&l.a, pbuf_data(&packet.buf), packet.buf.len, 12, &m);
	expect_dropped(&l.b, &m, &l.a.at, WG_DROP_EXPIRED);
	s->send_counter = WG_REJECT_AFTER_MESSAGES;
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	lab_advance(&l, LAB_S(6));
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_int_equal(lab_settle(&l), 2);
	assert_true(lab_ping(&l, &l.a, &l.b));
}

/* REKEY_AFTER_MESSAGES: whoever sends the 2^60th packet renews. */
static void
test_rekey_after_messages(void **state)
{
	struct lab_msg packet, m;

	(void)state;
	lab_advance(&l, LAB_S(6));
	lab_packet(&l.b, &l.a, &packet);
	l.b.peer->current->send_counter = WG_REKEY_AFTER_MESSAGES - 2;
	seal(&l.b, &packet, &m);
	assert_false(lab_next(&l, &l.b, &m));
	seal(&l.b, &packet, &m);
	assert_true(lab_next(&l, &l.b, &m));
	assert_int_equal(pbuf_data(&m.buf)[0], WG_MSG_INITIATION);
}

/* ---- the packet inside ---- */

static void
expect_inner(
    const struct lab_msg *packet, size_t len, size_t surplus, enum wg_drop why)
{
	struct lab_msg m;

	craft(&l.a, pbuf_data(&packet->buf), len, surplus, &m);
	expect_dropped(&l.b, &m, &l.a.at, why);
}

/* 26 */
static void
test_not_ip(void **state)
{
	struct lab_msg packet;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	for (unsigned version = 0; version < 16; version++) {
		pbuf_data(&packet.buf)[0] = (uint8_t)(version << 4 | 5);
		if (version != 4 && version != 6)
			expect_inner(&packet, 100, 12, WG_DROP_NOT_IP);
	}
	lab_packet(&l.a, &l.b, &packet);
	for (size_t len = 1; len < 20; len++)
		expect_inner(&packet, len, 0, WG_DROP_NOT_IP);
	lab_ip6(&packet, "fd00::1", "fd00::2", 40);
	for (size_t len = 1; len < 40; len++)
		expect_inner(&packet, len, 0, WG_DROP_NOT_IP);
	memset(pbuf_data(&packet.buf), 0, 40);
	expect_inner(&packet, 40, 0, WG_DROP_NOT_IP);
}

/* 24: the header's own length lies, up and down. */
static void
test_inner_length(void **state)
{
	struct lab_msg packet, m;

	(void)state;
	for (unsigned total = 0; total < 20; total++) {
		lab_packet(&l.a, &l.b, &packet);
		store_be16(pbuf_data(&packet.buf) + 2, (uint16_t)total);
		expect_inner(&packet, 100, 12, WG_DROP_NOT_IP);
	}
	lab_packet(&l.a, &l.b, &packet);
	store_be16(pbuf_data(&packet.buf) + 2, 113);
	expect_inner(&packet, 100, 12, WG_DROP_NOT_IP);
	store_be16(pbuf_data(&packet.buf) + 2, UINT16_MAX);
	expect_inner(&packet, 100, 12, WG_DROP_NOT_IP);
	lab_ip6(&packet, "fd00::1", "fd00::2", 100);
	store_be16(pbuf_data(&packet.buf) + 4, 73);
	expect_inner(&packet, 100, 12, WG_DROP_NOT_IP);
	store_be16(pbuf_data(&packet.buf) + 4, 60);
	craft(&l.a, pbuf_data(&packet.buf), 100, 12, &m);
	expect_opened(&l.b, &m, &l.a.at, &packet);
}

/* 23: crypto-routing. Sources of nobody, of the receiver, of another peer. */
static void
test_foreign_source(void **state)
{
	const struct ip_prefix wide = lab_prefix("10.0.0.0/8");
	const struct ip_prefix v6 = lab_prefix("fd00::/16");
	struct wg_key key = {{1}};
	struct wg_peer *third = wg_device_add(l.b.d, &key);
	struct lab_msg packet;

	(void)state;
	lab_ip4(&packet, "10.0.0.3", "10.0.0.2", 60);
	expect_inner(&packet, 60, 4, WG_DROP_SOURCE);
	assert_int_equal(wg_peer_allow(l.b.d, third, &wide), 0);
	assert_int_equal(wg_peer_allow(l.b.d, third, &v6), 0);
	expect_inner(&packet, 60, 4, WG_DROP_SOURCE);
	lab_ip4(&packet, "10.0.0.2", "10.0.0.1", 60);
	expect_inner(&packet, 60, 4, WG_DROP_SOURCE);
	lab_ip6(&packet, "fd00::3", "fd00::2", 60);
	expect_inner(&packet, 60, 4, WG_DROP_SOURCE);
	assert_true(lab_ping(&l, &l.a, &l.b));
}

/* Allowed IPs belong to one peer: given to another they are gone here. */
static void
test_allowed_ips_move(void **state)
{
	const struct ip_prefix a = lab_prefix("10.0.0.1/32");
	struct wg_key key = {{1}};
	struct wg_peer *third = wg_device_add(l.b.d, &key);
	struct lab_msg packet, m;

	(void)state;
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_int_equal(wg_peer_allow(l.b.d, third, &a), 0);
	lab_packet(&l.a, &l.b, &packet);
	expect_inner(&packet, 100, 12, WG_DROP_SOURCE);
	lab_packet(&l.b, &l.a, &packet);
	assert_false(lab_seal(&l, &l.b, &packet, &m));
	assert_int_equal(lab_dropped(&l.b, WG_DROP_NO_ENDPOINT), 1);
	assert_int_equal(wg_peer_allow(l.b.d, l.b.peer, &a), 0);
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_int_equal(wg_peer_disallow(l.b.d, l.b.peer, &a), 0);
	assert_false(lab_ping(&l, &l.a, &l.b));
}

/* RFC 6040, outward: the inner ECN bits and nothing of the DSCP. */
static void
test_ecn_out(void **state)
{
	static const uint8_t tos[] = {0, 1, 2, 3, 0xb8, 0xbb};
	struct lab_msg packet, m;

	(void)state;
	for (size_t i = 0; i < sizeof(tos); i++) {
		lab_ip4(&packet, "10.0.0.1", "10.0.0.2", 40);
		pbuf_data(&packet.buf)[1] = tos[i];
		seal(&l.a, &packet, &m);
		assert_int_equal(m.tos, tos[i] & 3);
	}
}

/* Inward: CE is carried over to who can bear it; CE on a packet that cannot
 * is dropped. The DSCP outside does not matter. */
static void
test_ecn_in(void **state)
{
	struct lab_msg packet, m, out;

	(void)state;
	for (uint8_t inner = 0; inner < 4; inner++) {
		lab_ip6(&packet, "fd00::1", "fd00::2", 60);
		pbuf_data(&packet.buf)[1] = (uint8_t)(inner << 4);
		seal(&l.a, &packet, &m);
		m.tos = 0x88 | 3; /* CE */
		if (inner == 0) {
			expect_dropped(&l.b, &m, &l.a.at, WG_DROP_ECN);
			continue;
		}
		assert_true(lab_open(&l, &l.b, &m, &l.a.at, &out));
		assert_int_equal(pbuf_data(&out.buf)[1] >> 4 & 3, 3);
		seal(&l.a, &packet, &m);
		m.tos = 0x88; /* not ECT: the inner bits stay */
		expect_opened(&l.b, &m, &l.a.at, &packet);
	}
}

/* ---- where the peer is ---- */

static void
expect_endpoint(const struct lab_side *s, const struct endpoint *e)
{
	struct wg_peer_info info;

	wg_peer_info(s->peer, l.now.mono_ns, &info);
	assert_true(endpoint_same_remote(&info.endpoint, e));
}

/* 27, 28: the endpoint follows authentic packets only: no forged one, none
 * replayed, none of an unknown session. The local address is kept for the
 * answer. */
static void
test_roaming(void **state)
{
	struct endpoint there = lab_at("2001:db8::9", 4000);
	struct endpoint evil = lab_at("203.0.113.66", 666);
	struct lab_msg packet, m, bad;

	(void)state;
	there.src = lab_at("2001:db8::2", 0).addr;
	there.src_ifindex = 7;
	lab_packet(&l.a, &l.b, &packet);
	seal(&l.a, &packet, &m);
	lab_copy(&bad, &m);
	pbuf_data(&bad.buf)[40] ^= 1;
	expect_dropped(&l.b, &bad, &evil, WG_DROP_AUTH);
	expect_endpoint(&l.b, &l.a.at);
	expect_opened(&l.b, &m, &there, &packet);
	expect_endpoint(&l.b, &there);
	expect_dropped(&l.b, &m, &evil, WG_DROP_REPLAY);
	expect_endpoint(&l.b, &there);
	lab_packet(&l.b, &l.a, &packet);
	seal(&l.b, &packet, &m);
	assert_true(endpoint_same_remote(&m.to, &there));
	assert_true(ip_addr_equal(&m.to.src, &there.src));
	assert_int_equal(m.to.src_ifindex, 7);
}

/* A keepalive, and a packet that is refused for what is inside, are authentic
 * as well. */
static void
test_roaming_without_content(void **state)
{
	struct endpoint there = lab_at("198.51.100.9", 4000);
	struct endpoint yonder = lab_at("198.51.100.10", 4000);
	struct lab_msg m, packet, out;

	(void)state;
	craft(&l.a, "", 0, 0, &m);
	assert_false(lab_open(&l, &l.b, &m, &there, &out));
	expect_endpoint(&l.b, &there);
	lab_ip4(&packet, "10.0.0.9", "10.0.0.2", 20);
	craft(&l.a, pbuf_data(&packet.buf), 20, 0, &m);
	assert_false(lab_open(&l, &l.b, &m, &yonder, &out));
	expect_endpoint(&l.b, &yonder);
}

/* ---- sessions ---- */

/* The responder may not send before it has heard the initiator use the keys;
 * then what was queued goes out. */
static void
test_confirmation(void **state)
{
	struct lab_msg packet, m, out;

	(void)state;
	lab_packet(&l.a, &l.b, &packet);
	assert_false(lab_seal(&l, &l.a, &packet, &m));
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_true(lab_next(&l, &l.b, &m)); /* the answer */
	assert_int_equal(wg_device_stats(l.b.d)->handshakes, 0);
	lab_packet(&l.b, &l.a, &packet);
	assert_false(lab_seal(&l, &l.b, &packet, &out));
	assert_false(lab_next(&l, &l.b, &out));
	assert_false(lab_open(&l, &l.a, &m, &l.b.at, &out));
	assert_true(lab_next(&l, &l.a, &m));
	assert_true(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_int_equal(wg_device_stats(l.b.d)->handshakes, 1);
	assert_true(lab_next(&l, &l.b, &m));
	expect_opened(&l.a, &m, &l.b.at, &packet);
	assert_false(lab_next(&l, &l.b, &m));
}

/* With nothing queued the initiator confirms by a keepalive, which nobody
 * answers (check 18). */
static void
test_keepalive_confirms(void **state)
{
	struct lab_msg m, out;

	(void)state;
	wg_peer_set_keepalive(l.a.peer, 25);
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_true(lab_next(&l, &l.b, &m));
	assert_false(lab_open(&l, &l.a, &m, &l.b.at, &out));
	assert_true(lab_next(&l, &l.a, &m));
	assert_int_equal(m.buf.len, 32);
	assert_int_equal(m.tos, 0);
	assert_false(lab_next(&l, &l.a, &out));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_false(lab_next(&l, &l.b, &out));
	assert_int_equal(lab_dropped_all(&l.b), 0);
	assert_true(lab_ping(&l, &l.b, &l.a));
}

/* 29: what was sealed for the old session arrives after a renewal. */
static void
test_previous_session(void **state)
{
	struct lab_msg packet_a, packet_b, from_a, from_b, m;

	(void)state;
	lab_packet(&l.a, &l.b, &packet_a);
	lab_packet(&l.b, &l.a, &packet_b);
	lab_advance(&l, LAB_S(121));
	seal(&l.b, &packet_b, &from_b);
	seal(&l.a, &packet_a, &from_a); /* and this asks for the renewal */
	assert_int_equal(lab_settle(&l), 0);
	assert_int_equal(wg_device_stats(l.a.d)->handshakes, 2);
	expect_opened(&l.a, &from_b, &l.b.at, &packet_b);
	expect_opened(&l.b, &from_a, &l.a.at, &packet_a);
	seal(&l.a, &packet_a, &m);
	assert_memory_not_equal(
	    pbuf_data(&m.buf) + 4, pbuf_data(&from_a.buf) + 4, 4);
}

/* Between the initiator's first message on a new session and the responder's
 * knowledge of it, both sides still use the old one. */
static void
test_no_loss_while_renewing(void **state)
{
	struct lab_msg m, out;

	(void)state;
	lab_advance(&l, LAB_S(121));
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(lab_next(&l, &l.a, &m));
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_false(lab_open(&l, &l.b, &m, &l.a.at, &out));
	assert_true(lab_next(&l, &l.b, &m));
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_false(lab_open(&l, &l.a, &m, &l.b.at, &out));
	assert_true(lab_next(&l, &l.a, &m)); /* a keepalive that is lost */
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(lab_ping(&l, &l.b, &l.a));
	assert_int_equal(wg_device_stats(l.b.d)->handshakes, 2);
}

/* ---- outward ---- */

/* No peer, no endpoint: handed back for an ICMP unreachable; no IP packet:
 * only counted. */
static void
test_rejected(void **state)
{
	struct lab_msg m[3];
	const struct wg_tx *out;
	struct pbuf in[3];

	(void)state;
	lab_restart(&l, &l.b, &l.a); /* has no endpoint of a */
	lab_ip4(&m[0], "10.0.0.2", "10.9.9.9", 33);
	lab_ip4(&m[1], "10.0.0.2", "10.0.0.1", 44);
	lab_ip4(&m[2], "10.0.0.2", "10.0.0.1", 55);
	pbuf_data(&m[2].buf)[0] = 0x15;
	for (unsigned i = 0; i < 3; i++)
		in[i] = m[i].buf;
	out = lab_seal_batch(&l, &l.b, in, 3);
	assert_int_equal(out->n, 0);
	assert_int_equal(out->nrejected, 2);
	assert_int_equal(out->rejected[0].len, 33);
	assert_int_equal(out->rejected[1].len, 44);
	assert_int_equal(lab_dropped(&l.b, WG_DROP_NO_PEER), 1);
	assert_int_equal(lab_dropped(&l.b, WG_DROP_NO_ENDPOINT), 1);
	assert_int_equal(lab_dropped(&l.b, WG_DROP_NOT_IP), 1);
	assert_false(lab_next(&l, &l.b, m));
}

/* One of a's own messages to b, as it comes back when the host routes b's
 * endpoint into the tunnel. */
static void
looping(struct lab_msg *m, uint16_t port, size_t len)
{
	uint8_t *udp;

	lab_ip4(m, "192.0.2.1", "192.0.2.2", len);
	pbuf_data(&m->buf)[9] = 17;
	udp = pbuf_data(&m->buf) + 20;
	store_be16(udp + 2, port);
	wg_msg_set_type(udp + 8, WG_MSG_DATA);
	memcpy(udp + 12, l.a.peer->current->remote_index, 4);
}

/* A tunnel is not wrapped into itself; what only looks like it goes. */
static void
test_loop(void **state)
{
	const struct ip_prefix p = lab_prefix("192.0.2.0/24");
	struct lab_msg m, out;

	(void)state;
	assert_int_equal(wg_peer_allow(l.a.d, l.a.peer, &p), 0);
	looping(&m, 1002, 100);
	assert_false(lab_seal(&l, &l.a, &m, &out));
	assert_int_equal(lab_dropped(&l.a, WG_DROP_LOOP), 1);
	assert_int_equal(l.a.peer->queued, 0);
	looping(&m, 1002, 20 + 8 + 16);
	assert_false(lab_seal(&l, &l.a, &m, &out));
	assert_int_equal(lab_dropped_all(&l.a), 2);
	looping(&m, 1002, 20 + 8 + 15);
	seal(&l.a, &m, &out);
	looping(&m, 1003, 100);
	seal(&l.a, &m, &out);
	looping(&m, 1002, 100);
	pbuf_data(&m.buf)[19]++; /* to another host */
	seal(&l.a, &m, &out);
	for (size_t i = 9; i < 36; i += i == 9 ? 19 : 4) {
		looping(&m, 1002, 100); /* TCP, a handshake, another index */
		pbuf_data(&m.buf)[i] ^= 1;
		seal(&l.a, &m, &out);
	}
	looping(&m, 1002, 100);
	pbuf_data(&m.buf)[7] = 1; /* not the first fragment */
	seal(&l.a, &m, &out);
	assert_int_equal(lab_dropped_all(&l.a), 2);
}

static void
numbered(struct lab_msg *m, unsigned n)
{
	lab_packet(&l.a, &l.b, m);
	store_be32(pbuf_data(&m->buf) + 40, n);
}

/* 128 packets wait, the oldest go first when there are more; they arrive in
 * order, before anything newer. */
static void
test_queue(void **state)
{
	struct lab_msg m, out;

	(void)state;
	for (unsigned i = 0; i < 130; i++) {
		numbered(&m, i);
		assert_false(lab_seal(&l, &l.a, &m, &out));
	}
	assert_int_equal(lab_dropped(&l.a, WG_DROP_QUEUE_FULL), 2);
	assert_true(lab_next(&l, &l.a, &m));
	assert_false(lab_next(&l, &l.a, &out));
	lab_open(&l, &l.b, &m, &l.a.at, &out);
	assert_true(lab_next(&l, &l.b, &m));
	lab_open(&l, &l.a, &m, &l.b.at, &out);
	for (unsigned i = 2; i <= 130; i++) {
		if (i == 50) { /* a newer one may not overtake */
			numbered(&m, 130);
			assert_false(lab_seal(&l, &l.a, &m, &out));
		}
		assert_true(lab_next(&l, &l.a, &m));
		assert_true(lab_open(&l, &l.b, &m, &l.a.at, &out));
		assert_int_equal(load_be32(pbuf_data(&out.buf) + 40), i);
	}
	assert_false(lab_next(&l, &l.a, &m));
	assert_int_equal(l.a.d->queued, 0);
	numbered(&m, 131);
	assert_true(lab_seal(&l, &l.a, &m, &out));
}

/* The device's cap: newcomers are dropped, whoever they are for. */
static void
test_queue_of_all(void **state)
{
	struct lab_msg m, out;

	(void)state;
	lab_packet(&l.a, &l.b, &m);
	l.a.d->queued = WG_QUEUE_ALL - 2;
	for (unsigned i = 0; i < 3; i++)
		assert_false(lab_seal(&l, &l.a, &m, &out));
	assert_int_equal(l.a.peer->queued, 2);
	assert_int_equal(lab_dropped(&l.a, WG_DROP_QUEUE_FULL), 1);
	l.a.d->queued -= WG_QUEUE_ALL - 2;
	assert_int_equal(lab_settle(&l), 2);
	assert_int_equal(l.a.d->queued, 0);
}

/* ECN of a packet that had to wait. */
static void
test_queued_ecn(void **state)
{
	struct lab_msg m, out;

	(void)state;
	lab_packet(&l.a, &l.b, &m);
	pbuf_data(&m.buf)[1] = 0xb9; /* EF, ECT(1) */
	assert_false(lab_seal(&l, &l.a, &m, &out));
	assert_true(lab_next(&l, &l.a, &m));
	assert_int_equal(m.tos, 0x88); /* AF41 for handshakes */
	lab_open(&l, &l.b, &m, &l.a.at, &out);
	assert_true(lab_next(&l, &l.b, &m));
	assert_int_equal(m.tos, 0x88);
	lab_open(&l, &l.a, &m, &l.b.at, &out);
	assert_true(lab_next(&l, &l.a, &m));
	assert_int_equal(m.tos, 1);
}

/* One batch for two peers and more destinations: each finds its own. */
static void
test_routes_in_one_batch(void **state)
{
	static const char *const dst[] = {
	    "10.0.0.2", "10.0.0.9", "10.0.0.2", "10.1.0.2", "10.1.0.2"};
	static struct lab_msg m[5];
	const struct ip_prefix p = lab_prefix("10.1.0.0/16");
	struct endpoint there = lab_at("192.0.2.3", 3);
	struct wg_key key = {{9}};
	struct wg_peer *third = wg_device_add(l.a.d, &key);
	const struct wg_tx *out;
	struct pbuf in[5];

	(void)state;
	wg_peer_set_endpoint(third, &there);
	assert_int_equal(wg_peer_allow(l.a.d, third, &p), 0);
	for (unsigned i = 0; i < 5; i++) {
		lab_ip4(&m[i], "10.0.0.1", dst[i], 30);
		in[i] = m[i].buf;
	}
	out = lab_seal_batch(&l, &l.a, in, 5);
	assert_int_equal(out->n, 2);
	assert_int_equal(out->nrejected, 1);
	assert_int_equal(third->queued, 2);
	assert_ptr_equal(out->dgram[0].ep, out->dgram[1].ep);
}

/* Both sides count the same bytes, handshakes and keepalives included. */
static void
test_byte_counters(void **state)
{
	struct wg_peer_info a, b;

	(void)state;
	assert_true(lab_ping(&l, &l.a, &l.b));
	assert_true(lab_ping(&l, &l.b, &l.a));
	wg_peer_info(l.a.peer, l.now.mono_ns, &a);
	wg_peer_info(l.b.peer, l.now.mono_ns, &b);
	assert_int_equal(a.tx_bytes, 148 + 144 + 144);
	assert_int_equal(a.rx_bytes, 92 + 144);
	assert_int_equal(b.rx_bytes, a.tx_bytes);
	assert_int_equal(b.tx_bytes, a.rx_bytes);
	assert_true(a.last_handshake_wall_ns == l.now.wall_ns);
	assert_true(b.last_handshake_wall_ns == l.now.wall_ns);
	assert_true(a.session && b.session);
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CONNECTED(f)                                                           \
	cmocka_unit_test_setup_teardown(f, setup_connected, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CONNECTED(test_inner_sizes),
	    CONNECTED(test_full_mtu_is_not_padded),
	    CONNECTED(test_any_padding),
	    CONNECTED(test_batch),
	    CONNECTED(test_flipped_bits),
	    CONNECTED(test_malformed),
	    CONNECTED(test_unknown_index),
	    CONNECTED(test_expired),
	    CONNECTED(test_replay),
	    CONNECTED(test_forgery_moves_no_window),
	    CONNECTED(test_counter_limit),
	    CONNECTED(test_rekey_after_messages),
	    CONNECTED(test_not_ip),
	    CONNECTED(test_inner_length),
	    CONNECTED(test_foreign_source),
	    CONNECTED(test_allowed_ips_move),
	    CONNECTED(test_ecn_out),
	    CONNECTED(test_ecn_in),
	    CONNECTED(test_roaming),
	    CONNECTED(test_roaming_without_content),
	    FRESH(test_confirmation),
	    FRESH(test_keepalive_confirms),
	    CONNECTED(test_previous_session),
	    CONNECTED(test_no_loss_while_renewing),
	    FRESH(test_rejected),
	    CONNECTED(test_loop),
	    FRESH(test_queue),
	    FRESH(test_queue_of_all),
	    FRESH(test_queued_ecn),
	    CONNECTED(test_routes_in_one_batch),
	    CONNECTED(test_byte_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
