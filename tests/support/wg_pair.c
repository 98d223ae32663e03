#include "wg_pair.h"

#include "core/bytes.h"
#include "core/csum.h"
#include "wg/wg_state.h"
#include "wg_lab.h"
#include "wg_now.h"

#include <string.h>

static struct pair_side *
other_of(struct pair *p, const struct pair_side *s)
{
	return s == &p->a ? &p->b : &p->a;
}

void
pair_add_peer(struct pair *p, struct pair_side *s, unsigned i)
{
	uint8_t inner = other_of(p, s)->inner;
	struct wg_key key = {{(uint8_t)(i + 1), 9, s->inner}};
	struct endpoint e = lab_at("192.0.2.0", (uint16_t)(1000 + i));
	struct ip_prefix prefix = lab_prefix("10.0.0.0/24");

	e.addr.b[3] = inner;
	prefix.addr.b[1] = inner;
	prefix.addr.b[2] = (uint8_t)i;
	s->peer[i] = wg_device_add(s->d, &key);
	UK_ASSERT(s->peer[i]);
	wg_peer_set_endpoint(s->peer[i], &e);
	UK_ASSERT(wg_peer_allow(s->d, s->peer[i], &prefix) == 0);
}

void
pair_set_key(struct pair_side *s, uint8_t n)
{
	struct wg_key key = {{7, s->inner, n}};

	wg_device_set_private_key(s->d, &key);
}

static void
open_side(struct pair *p, struct pair_side *s)
{
	struct wg_device_conf c;

	wg_device_conf_default(&c);
	c.random = lab_random;
	c.lanes = 3;
	s->d = wg_device_new(&c);
	UK_ASSERT(s->d);
	pair_set_key(s, 1);
	wg_device_set_mtu(s->d, LAB_MTU);
	for (unsigned i = 0; i < PAIR_PEERS; i++)
		pair_add_peer(p, s, i);
	wg_device_set_up(s->d, true);
}

void
pair_open(struct pair *p)
{
	(void)wg_now_engine(); /* made now, not where a test counts */
	lab_seed(1);
	*p = (struct pair){
	    .now = {.mono_ns = LAB_S(1000), .wall_ns = LAB_S(1790000000)},
	    .a = {.inner = 1},
	    .b = {.inner = 2},
	};
	open_side(p, &p->a);
	open_side(p, &p->b);
	for (unsigned i = 0; i < PAIR_PEERS; i++)
		pair_connect(p, i);
}

void
pair_close(struct pair *p)
{
	wg_device_free(p->a.d);
	wg_device_free(p->b.d);
}

static void
add_session(const struct pair *p, struct wg_peer *peer, bool initiator,
    const struct wg_session_keys *keys, const uint8_t index[4],
    const uint8_t remote[4])
{
	struct wg_session *s =
	    wg_session_new(keys, remote, initiator, p->now.mono_ns);

	UK_ASSERT(s);
	wg_peer_add_session(peer, s, index);
}

static void
connect_as(struct pair *p, unsigned i, bool b_initiates)
{
	struct wg_session_keys at_a = {.send = {{1}}, .receive = {{2}}};
	struct wg_session_keys at_b;
	uint8_t index_a[4], index_b[4];

	p->sessions++;
	store_le32(at_a.send.b + 4, p->sessions);
	store_le32(at_a.receive.b + 4, p->sessions);
	at_b = (struct wg_session_keys){
	    .send = at_a.receive, .receive = at_a.send};
	wg_peer_draw_index(p->a.peer[i], index_a);
	wg_peer_draw_index(p->b.peer[i], index_b);
	add_session(p, p->a.peer[i], true, &at_a, index_a, index_b);
	add_session(p, p->b.peer[i], b_initiates, &at_b, index_b, index_a);
}

void
pair_connect(struct pair *p, unsigned i)
{
	connect_as(p, i, true);
}

void
pair_connect_unconfirmed(struct pair *p, unsigned i)
{
	connect_as(p, i, false);
}

struct pbuf
pair_packet(uint8_t room[PAIR_ROOM], const struct pair_side *from,
    const struct pair_side *to, unsigned peer, uint32_t number)
{
	struct pbuf buf =
	    pbuf_make(room, PAIR_ROOM, WG_SEAL_HEADROOM, PAIR_PACKET_LEN);
	uint8_t *b = pbuf_data(&buf);

	memset(b, 0, PAIR_PACKET_LEN);
	b[0] = 0x45;
	store_be16(b + 2, PAIR_PACKET_LEN);
	b[8] = 64;
	b[9] = 253; /* for experiments */
	memcpy(b + 12, (const uint8_t[]){10, from->inner, (uint8_t)peer, 1}, 4);
	memcpy(b + 16, (const uint8_t[]){10, to->inner, (uint8_t)peer, 1}, 4);
	store_be16(b + 10, (uint16_t)~csum_fold(csum_add(0, b, 20)));
	store_be32(b + 20, number);
	return buf;
}

uint32_t
pair_number(const struct pbuf *packet)
{
	UK_ASSERT(packet->len == PAIR_PACKET_LEN);
	return load_be32(pbuf_data(packet) + 20);
}

uint64_t
pair_dropped(const struct pair_side *s, enum wg_drop why)
{
	return wg_device_stats(s->d)->drop[why];
}

uint64_t
pair_dropped_all(const struct pair_side *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < WG_DROP_COUNT; i++)
		n += wg_device_stats(s->d)->drop[i];
	return n;
}
