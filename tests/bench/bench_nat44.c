/* ukai-bench-nat44: what look-up and rewrite of a packet cost in nat44, in ns,
 * by number of sessions, and the memory of a session. The packets are of
 * sessions in random order, so that their lines are in no cache. Beside it what
 * a textbook makes of it: sessions of malloc() in two chained hash tables
 * (core/htab, SipHash), checksum updates word by word. Medians, in brackets the
 * fastest tenth, which others on the machine move less. A Markdown table.
 *
 *	ukai-bench-nat44 [ROUNDS] */
#include <malloc.h>
#include <sodium.h>
#include <string.h>

#include "client/mape/nat44.h"
#include "core/bytes.h"
#include "core/csum.h"
#include "core/htab.h"
#include "measure.h"

#define SESSIONS_MOST 100000
#define PACKETS 8192 /* of a round */
#define SLOT 64
#define LEN 40
#define ROUNDS 101
#define ROUNDS_MAX 1001

static uint8_t slab[PACKETS * SLOT];
static struct nat44_packet packet[PACKETS];
static uint16_t ext[SESSIONS_MOST];

struct plain {
	struct htab_node by_inside, by_ext;
	uint8_t inside[12], outside[12]; /* addresses and ports */
	uint64_t last_ns;
};
static struct htab plain_inside, plain_ext;

/* Session i: a host of 64, a port of its own, a destination of 500. */
static uint32_t
host_of(uint32_t i)
{
	return 0xc0a80000 + i % 64 + 1;
}

static uint16_t
port_of(uint32_t i)
{
	return (uint16_t)(1024 + i / 64);
}

static uint32_t
remote_of(uint32_t i)
{
	return 0xc6120000 + i % 500;
}

static void
make_packet(uint8_t *b, uint32_t i, bool out, uint8_t flags)
{
	uint32_t ours = 0xcb007101;

	memset(b, 0, LEN);
	b[0] = 0x45;
	store_be16(b + 2, LEN);
	b[6] = 0x40;
	b[8] = 64;
	b[9] = 6;
	store_be32(b + 12, out ? host_of(i) : remote_of(i));
	store_be32(b + 16, out ? remote_of(i) : ours);
	store_be16(b + 10, (uint16_t)~csum_fold(csum_add(0, b, 20)));
	store_be16(b + 20, out ? port_of(i) : 443);
	store_be16(b + 22, out ? 443 : ext[i]);
	b[32] = 0x50;
	b[33] = flags;
}

/* Not the system's random numbers: they leave the caches to others. */
static uint32_t
draw(uint32_t below)
{
	static uint64_t r = 88172645463325252;

	r ^= r << 13;
	r ^= r >> 7;
	r ^= r << 17;
	return (uint32_t)(r >> 32) % below;
}

static void
make_packets(uint32_t sessions, bool out)
{
	for (unsigned k = 0; k < PACKETS; k++) {
		packet[k] =
		    (struct nat44_packet){.p = slab + k * SLOT, .len = LEN};
		make_packet(packet[k].p, draw(sessions), out, 16);
	}
}

/* Opened, so that their state is as of most packets. */
static void
make_sessions(struct nat44 *n, uint32_t sessions)
{
	uint8_t b[LEN];
	struct nat44_packet p = {.p = b, .len = LEN};

	for (uint32_t i = 0; i < sessions; i++) {
		make_packet(b, i, true, 2);
		nat44_outward(n, 1, &p, 1);
		UK_ASSERT(p.verdict == MAP_OK);
		ext[i] = load_be16(b + 20);
		make_packet(b, i, false, 18);
		nat44_inward(n, 1, &p, 1);
		UK_ASSERT(p.verdict == MAP_OK);
	}
}

static void
make_plain(uint32_t sessions)
{
	uint8_t key[16], b[LEN];

	randombytes_buf(key, sizeof(key));
	UK_ASSERT(htab_init(&plain_inside, key) == 0);
	UK_ASSERT(htab_init(&plain_ext, key) == 0);
	for (uint32_t i = 0; i < sessions; i++) {
		struct plain *s = calloc(1, sizeof(*s));

		UK_ASSERT(s);
		make_packet(b, i, true, 2);
		memcpy(s->inside, b + 12, 12);
		make_packet(b, i, false, 2);
		memcpy(s->outside, b + 12, 12);
		htab_insert(&plain_inside, &s->by_inside,
		    htab_hash(&plain_inside, s->inside, 12));
		htab_insert(&plain_ext, &s->by_ext,
		    htab_hash(&plain_ext, s->outside, 12));
	}
}

static void
free_plain(void)
{
	struct htab_node *h, *next;

	for (h = htab_walk(&plain_inside, NULL); h; h = next) {
		next = htab_walk(&plain_inside, h);
		free(CONTAINER_OF(h, struct plain, by_inside));
	}
	htab_fini(&plain_inside);
	htab_fini(&plain_ext);
}

static void
update(uint8_t *check, uint8_t *at, uint16_t v)
{
	store_be16(check, csum_update16(load_be16(check), load_be16(at), v));
}

/* Address and port of one end, words one by one. */
static void
plain_rewrite(uint8_t *b, unsigned addr, unsigned port, const uint8_t to[6])
{
	for (unsigned i = 0; i < 4; i += 2) {
		update(b + 10, b + addr + i, load_be16(to + i));
		update(b + 36, b + addr + i, load_be16(to + i));
		memcpy(b + addr + i, to + i, 2);
	}
	update(b + 36, b + port, load_be16(to + 4));
	memcpy(b + port, to + 4, 2);
	b[8]--;
	store_be16(b + 10, csum_update16(load_be16(b + 10), 0x4006, 0x3f06));
}

static void
run_plain(bool out)
{
	struct htab *t = out ? &plain_inside : &plain_ext;

	for (unsigned k = 0; k < PACKETS; k++) {
		uint8_t *b = packet[k].p, to[6];
		struct htab_node *h = htab_first(t, htab_hash(t, b + 12, 12));

		for (; h; h = htab_next(h)) {
			struct plain *s =
			    out ? CONTAINER_OF(h, struct plain, by_inside)
				: CONTAINER_OF(h, struct plain, by_ext);

			if (memcmp(out ? s->inside : s->outside, b + 12, 12))
				continue;
			s->last_ns = k;
			memcpy(to, out ? s->outside + 4 : s->inside, 4);
			memcpy(
			    to + 4, out ? s->outside + 10 : s->inside + 8, 2);
			plain_rewrite(b, out ? 12 : 16, out ? 20 : 22, to);
			break;
		}
		UK_ASSERT(h);
	}
}

static void
run_nat(struct nat44 *n, bool out, unsigned batch)
{
	for (unsigned k = 0; k < PACKETS; k += batch) {
		if (out)
			nat44_outward(n, 2, packet + k, batch);
		else
			nat44_inward(n, 2, packet + k, batch);
	}
	for (unsigned k = 0; k < PACKETS; k++)
		UK_ASSERT(packet[k].verdict == MAP_OK);
}

static size_t
heap(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static struct nat44 *
make_nat(void)
{
	static const struct map_ports ports = {
	    .offset = 4, .psid_len = 8, .psid = 0x34};
	struct nat44_conf c;
	struct nat44 *n;

	nat44_conf_default(&c, &ports);
	store_be32(c.address, 0xcb007101);
	c.host_sessions_max = c.sessions_max;
	c.mss = 1420;
	c.random = randombytes_buf;
	UK_ASSERT(nat44_new(&n, &c) == 0);
	return n;
}

static void
measure(struct nat44 *n, uint32_t sessions, bool out, unsigned rounds)
{
	static double one[ROUNDS_MAX], many[ROUNDS_MAX], plain[ROUNDS_MAX];
	static double work[ROUNDS_MAX];

	for (unsigned r = 0; r < rounds; r++) {
		make_packets(sessions, out);
		double t0 = measure_now_ns();
		run_nat(n, out, 1);
		one[r] = (measure_now_ns() - t0) / PACKETS;
		make_packets(sessions, out);
		t0 = measure_now_ns();
		run_nat(n, out, 64);
		many[r] = (measure_now_ns() - t0) / PACKETS;
		make_packets(sessions, out);
		t0 = measure_now_ns();
		run_plain(out);
		plain[r] = (measure_now_ns() - t0) / PACKETS;
	}
	double ratio = measure_ratio(many, plain, work, rounds);
	double single = measure_median(one, rounds);
	double batch = measure_median(many, rounds);
	/* Sorted by now. */
	printf("| %u | %s | %.0f (%.0f) | %.0f (%.0f) | %.0f | %.2f |\n",
	    sessions, out ? "outward" : "inward", single, one[rounds / 10],
	    batch, many[rounds / 10], measure_median(plain, rounds), ratio);
}

int
main(int argc, char **argv)
{
	static const uint32_t sessions[] = {1000, 10000, SESSIONS_MOST};
	unsigned rounds = measure_rounds(argc, argv, ROUNDS, ROUNDS_MAX);

	if (sodium_init() < 0)
		return 1;
	puts("| sessions | | batch of 1, ns | of 64, ns | plain, ns | ratio |");
	puts("| ---: | --- | ---: | ---: | ---: | ---: |");
	for (size_t i = 0; i < ARRAY_LEN(sessions); i++) {
		size_t before = heap();
		struct nat44 *n = make_nat();
		size_t bytes = heap() - before;

		make_sessions(n, sessions[i]);
		make_plain(sessions[i]);
		measure(n, sessions[i], true, rounds);
		measure(n, sessions[i], false, rounds);
		free_plain();
		nat44_free(n);
		if (sessions[i] == SESSIONS_MOST)
			printf("\n%.1f MiB, room for 131072 sessions: "
			       "%zu bytes each\n",
			    (double)bytes / (1 << 20), bytes / 131072);
	}
	return 0;
}
