#include "wg_lab.h"

#include "core/bytes.h"
#include "core/csum.h"
#include "core/err.h"
#include "core/x25519.h"
#include "wg_now.h"

#include <string.h>

static uint64_t rng = 1;

void
lab_seed(uint64_t seed)
{
	rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

void
lab_random(void *out, size_t len)
{
	uint8_t *b = out;

	for (size_t i = 0; i < len; i++) {
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		b[i] = (uint8_t)(rng >> 32);
	}
}

struct endpoint
lab_at(const char *addr, uint16_t port)
{
	struct endpoint e = {.port = port};

	UK_ASSERT(ip_addr_parse(&e.addr, addr, strlen(addr)) == 0);
	return e;
}

struct ip_prefix
lab_prefix(const char *text)
{
	struct ip_prefix p;

	UK_ASSERT(ip_prefix_parse(&p, text, strlen(text)) == 0);
	return p;
}

static void
allow_inner(struct lab_side *s, const struct lab_side *other)
{
	struct ip_prefix v4 = lab_prefix("10.0.0.0/32");
	struct ip_prefix v6 = lab_prefix("fd00::/128");

	v4.addr.b[3] = other->inner4;
	v6.addr.b[15] = other->inner6;
	UK_ASSERT(wg_peer_allow(s->d, s->peer, &v4) == 0);
	UK_ASSERT(wg_peer_allow(s->d, s->peer, &v6) == 0);
}

void
lab_restart(struct lab *l, struct lab_side *s, struct lab_side *other)
{
	struct wg_device_conf c;

	wg_device_free(s->d);
	wg_device_conf_default(&c);
	c.random = lab_random;
	s->d = wg_device_new(&c);
	UK_ASSERT(s->d);
	wg_device_set_private_key(s->d, &s->key);
	wg_device_set_mtu(s->d, LAB_MTU);
	s->peer = wg_device_add(s->d, &other->public_key);
	UK_ASSERT(s->peer);
	allow_inner(s, other);
	if (s == &l->a)
		wg_peer_set_endpoint(s->peer, &other->at);
	wg_device_set_up(s->d, true);
}

static void
make_key(struct lab_side *s)
{
	lab_random(s->key.b, sizeof(s->key.b));
	x25519_clamp(s->key.b);
	x25519_base(s->public_key.b, s->key.b);
}

void
lab_init(struct lab *l)
{
	(void)wg_now_engine(); /* made now, not where a test counts */
	lab_seed(1);
	*l = (struct lab){
	    .now = {.mono_ns = LAB_S(1000),
		.wall_ns = LAB_S(1790000000) + LAB_MS(500)},
	    .a = {.at = lab_at("192.0.2.1", 1001), .inner4 = 1, .inner6 = 1},
	    .b = {.at = lab_at("192.0.2.2", 1002), .inner4 = 2, .inner6 = 2},
	};
	make_key(&l->a);
	make_key(&l->b);
	lab_restart(l, &l->a, &l->b);
	lab_restart(l, &l->b, &l->a);
}

void
lab_fini(struct lab *l)
{
	wg_device_free(l->a.d);
	wg_device_free(l->b.d);
}

void
lab_advance(struct lab *l, uint64_t ns)
{
	l->now.mono_ns += ns;
	l->now.wall_ns += ns;
}

void
lab_sleep(struct lab *l, struct lab_side *s, uint64_t ns)
{
	uint64_t end = l->now.mono_ns + ns;
	uint64_t at;

	while ((at = wg_device_deadline(s->d)) <= end) {
		if (at > l->now.mono_ns)
			lab_advance(l, at - l->now.mono_ns);
		wg_device_tick(s->d, l->now);
		lab_discard(l, s);
	}
	lab_advance(l, end - l->now.mono_ns);
}

/* ---- packets ---- */

static void
set_packet(struct lab_msg *m, size_t len)
{
	UK_ASSERT(len <= LAB_MAX);
	m->buf = pbuf_make(m->room, sizeof(m->room), WG_SEAL_HEADROOM, len);
	m->tos = 0;
}

static struct ip_addr
parse(const char *text)
{
	struct ip_addr a;

	UK_ASSERT(ip_addr_parse(&a, text, strlen(text)) == 0);
	return a;
}

void
lab_ip4(struct lab_msg *m, const char *src, const char *dst, size_t len)
{
	struct ip_addr from = parse(src), to = parse(dst);
	uint8_t *p;

	set_packet(m, len);
	p = pbuf_data(&m->buf);
	for (size_t i = 20; i < len; i++)
		p[i] = (uint8_t)(i + from.b[3]);
	memset(p, 0, 20);
	p[0] = 0x45;
	store_be16(p + 2, (uint16_t)len);
	p[8] = 64;
	p[9] = 253; /* for experiments */
	memcpy(p + 12, from.b, 4);
	memcpy(p + 16, to.b, 4);
	store_be16(p + 10, (uint16_t)~csum_fold(csum_add(0, p, 20)));
}

void
lab_ip6(struct lab_msg *m, const char *src, const char *dst, size_t len)
{
	struct ip_addr from = parse(src), to = parse(dst);
	uint8_t *p;

	set_packet(m, len);
	p = pbuf_data(&m->buf);
	for (size_t i = 40; i < len; i++)
		p[i] = (uint8_t)(i + from.b[15]);
	memset(p, 0, 40);
	p[0] = 0x60;
	store_be16(p + 4, (uint16_t)(len - 40));
	p[6] = 253;
	p[7] = 64;
	memcpy(p + 8, from.b, 16);
	memcpy(p + 24, to.b, 16);
}

void
lab_copy(struct lab_msg *to, const struct lab_msg *from)
{
	*to = *from;
	to->buf.base = to->room;
}

void
lab_packet(
    const struct lab_side *from, const struct lab_side *to, struct lab_msg *m)
{
	char src[] = "10.0.0.x", dst[] = "10.0.0.x";

	src[7] = (char)('0' + from->inner4);
	dst[7] = (char)('0' + to->inner4);
	lab_ip4(m, src, dst, 100);
}

/* ---- carrying ---- */

static void
take(struct lab_msg *out, const struct dgram *g)
{
	set_packet(out, g->buf.len);
	memcpy(pbuf_data(&out->buf), pbuf_data(&g->buf), g->buf.len);
	out->to = *g->ep;
	out->tos = g->tos;
}

bool
lab_next(struct lab *l, struct lab_side *s, struct lab_msg *out)
{
	struct wg_own own = {.queued = NULL};
	int did;

	do
		did = wg_device_next(s->d, l->now, &own);
	while (did == UK_EAGAIN);
	if (did == 1)
		take(out, &own.dgram);
	wg_own_fini(&own);
	return did == 1;
}

unsigned
lab_discard(struct lab *l, struct lab_side *s)
{
	struct lab_msg m;
	unsigned n = 0;

	while (lab_next(l, s, &m))
		n++;
	return n;
}

struct wg_tx *
lab_seal_batch(
    struct lab *l, struct lab_side *s, const struct pbuf *p, unsigned n)
{
	static struct wg_tx tx, done;

	wg_device_route(s->d, l->now, &tx, p, n);
	wg_tx_seal(&tx, wg_now_engine());
	done.n = tx.n;
	done.nrejected = tx.nrejected;
	done.nflights = tx.nflights;
	memcpy(done.dgram, tx.dgram, tx.n * sizeof(tx.dgram[0]));
	memcpy(
	    done.rejected, tx.rejected, tx.nrejected * sizeof(tx.rejected[0]));
	wg_device_sent(s->d, &tx);
	return &done;
}

struct wg_rx *
lab_open_batch(struct lab *l, struct lab_side *s, struct dgram *in, unsigned n)
{
	static struct wg_rx rx;

	wg_device_sort(s->d, l->now, &rx, in, n);
	wg_rx_open(&rx, wg_now_engine());
	wg_device_accept(s->d, l->now, &rx);
	return &rx;
}

bool
lab_seal(struct lab *l, struct lab_side *s, const struct lab_msg *packet,
    struct lab_msg *out)
{
	const struct wg_tx *tx;
	struct lab_msg copy;

	lab_copy(&copy, packet);
	tx = lab_seal_batch(l, s, &copy.buf, 1);
	UK_ASSERT(tx->n + tx->nrejected <= 1);
	if (tx->n == 1)
		take(out, &tx->dgram[0]);
	return tx->n == 1;
}

bool
lab_open(struct lab *l, struct lab_side *s, const struct lab_msg *m,
    const struct endpoint *from, struct lab_msg *out)
{
	struct endpoint ep = *from;
	const struct wg_rx *rx;
	struct lab_msg copy;
	struct dgram g;

	lab_copy(&copy, m);
	g = (struct dgram){.buf = copy.buf, .ep = &ep, .tos = m->tos};
	rx = lab_open_batch(l, s, &g, 1);
	if (rx->npackets == 0)
		return false;
	set_packet(out, rx->packet[0].len);
	memcpy(
	    pbuf_data(&out->buf), pbuf_data(&rx->packet[0]), rx->packet[0].len);
	return true;
}

unsigned
lab_settle(struct lab *l)
{
	struct lab_msg m, packet;
	unsigned arrived = 0, rounds = 0;
	bool moved;

	do {
		moved = false;
		UK_ASSERT(rounds++ < 1000);
		while (lab_next(l, &l->a, &m)) {
			arrived += lab_open(l, &l->b, &m, &l->a.at, &packet);
			moved = true;
		}
		while (lab_next(l, &l->b, &m)) {
			arrived += lab_open(l, &l->a, &m, &l->b.at, &packet);
			moved = true;
		}
	} while (moved);
	return arrived;
}

void
lab_connect(struct lab *l)
{
	struct lab_msg m, out;

	lab_packet(&l->a, &l->b, &m);
	UK_ASSERT(!lab_seal(l, &l->a, &m, &out));
	UK_ASSERT(lab_settle(l) == 1);
}

bool
lab_ping(struct lab *l, struct lab_side *from, struct lab_side *to)
{
	struct lab_msg packet, m, out;

	lab_packet(from, to, &packet);
	return lab_seal(l, from, &packet, &m) &&
	       lab_open(l, to, &m, &from->at, &out) &&
	       out.buf.len == packet.buf.len &&
	       memcmp(pbuf_data(&out.buf), pbuf_data(&packet.buf),
		   out.buf.len) == 0;
}

uint64_t
lab_dropped(const struct lab_side *s, enum wg_drop why)
{
	return wg_device_stats(s->d)->drop[why];
}

uint64_t
lab_dropped_all(const struct lab_side *s)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < WG_DROP_COUNT; i++)
		all += wg_device_stats(s->d)->drop[i];
	return all;
}
