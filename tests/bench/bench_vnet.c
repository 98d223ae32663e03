/* ukai-bench-vnet: what a packet costs in core/vnet and core/csum, in ns,
 * without any I/O. Medians of interleaved rounds, as a Markdown table.
 *
 *	ukai-bench-vnet [ROUNDS]
 *
 * The packets lie in memory as those of one read of the underlay do: more
 * than a second-level cache holds, so that joining finds them where it finds
 * them at work. */
#include <string.h>

#include "core/bytes.h"
#include "core/csum.h"
#include "core/vnet.h"
#include "measure.h"

#define HLEN 52 /* IPv4, TCP, time stamps */
#define PAYLOAD 1368
#define PACKET (HLEN + PAYLOAD)
#define SLOT 1472
#define SUPER 46 /* packets of a super-packet */
#define N (SUPER * 16)

static uint8_t slab[N * SLOT];
static uint8_t super[65536];
static struct pbuf view[N];
static struct pbuf out[N];
static struct vnet_join join;
static struct vnet_hdr super_hdr;
static volatile uint64_t sink;

/* A packet of TCP from flow's port, number seq of its flow. */
static void
make_packet(uint8_t *b, unsigned flow, uint32_t seq)
{
	uint8_t *l4 = b + 20;

	memset(b, 0, HLEN);
	b[0] = 0x45;
	store_be16(b + 2, PACKET);
	b[6] = 0x40;
	b[8] = 64;
	b[9] = 6;
	store_be32(b + 12, 0x0a000001);
	store_be32(b + 16, 0x0a000002);
	store_be16(b + 10, (uint16_t)~csum_fold(csum_add(0, b, 20)));
	store_be16(l4, (uint16_t)(5000 + flow));
	store_be16(l4 + 2, 443);
	store_be32(l4 + 4, seq * PAYLOAD);
	l4[12] = 0x80;
	l4[13] = 0x10;
	memset(l4 + 20, 1, 12);
	for (size_t i = HLEN; i < PACKET; i++)
		b[i] = (uint8_t)(i * seq);
	uint64_t sum = csum_pseudo(b + 12, b + 16, 4, 6, PACKET - 20);
	store_be16(
	    l4 + 16, (uint16_t)~csum_fold(csum_add(sum, l4, PACKET - 20)));
}

/* N packets of so many flows in turn. */
static void
make_flows(unsigned flows)
{
	for (unsigned i = 0; i < N; i++) {
		uint8_t *b = slab + i * SLOT;

		make_packet(b + 16, i % flows, i / flows);
		view[i] = pbuf_make(b, SLOT, 16, PACKET);
	}
}

static void
make_one_flow(void)
{
	make_flows(1);
}

static void
make_8_flows(void)
{
	make_flows(8);
}

static void
make_32_flows(void)
{
	make_flows(32);
}

static void
make_128_flows(void)
{
	make_flows(128);
}

/* Second fragments: they show no ports. */
static void
make_fragments(void)
{
	make_flows(32);
	for (unsigned i = 1; i < N; i += 2)
		store_be16(view[i].base + 16 + 6, 100);
}

static void
run_join(void)
{
	struct vnet_group g;

	vnet_join_begin(&join, view, N, true);
	while (vnet_join_next(&join, &g))
		sink += g.count;
}

static void
make_super(void)
{
	uint8_t *l4 = super + 20;
	uint32_t len = HLEN + SUPER * PAYLOAD;

	make_packet(super, 0, 0);
	store_be16(super + 2, (uint16_t)len);
	store_be16(l4 + 16,
	    csum_fold(csum_pseudo(super + 12, super + 16, 4, 6, len - 20)));
	super_hdr = (struct vnet_hdr){.flags = VNET_F_NEEDS_CSUM,
	    .gso_type = VNET_GSO_TCPV4,
	    .hdr_len = HLEN,
	    .gso_size = PAYLOAD,
	    .csum_start = 20,
	    .csum_offset = 16};
}

/* As tun_read does it: three super-packets, one behind the other. */
static void
run_split(void)
{
	for (unsigned i = 0; i < 3; i++) {
		struct vnet_room room = {
		    slab + (size_t)i * SUPER * SLOT, SUPER * SLOT, 16, 31};

		sink += (unsigned)vnet_split(&super_hdr, super,
		    HLEN + SUPER * PAYLOAD, &room, out, SUPER);
	}
}

static void
run_csum(void)
{
	for (unsigned i = 0; i < N; i++)
		sink += csum_add(0, slab + i * SLOT, PACKET);
}

static void
run_csum_plain(void)
{
	for (unsigned i = 0; i < N; i++)
		sink += csum_add_plain(0, slab + i * SLOT, PACKET);
}

static void
run_csum_warm(void)
{
	for (unsigned i = 0; i < N; i++)
		sink += csum_add(0, slab + i % 16 * SLOT, PACKET);
}

static void
run_memcpy(void)
{
	for (unsigned i = 0; i < N; i++)
		memcpy(slab + i * SLOT, super + i % SUPER * PAYLOAD, PACKET);
}

static void
run_memcpy_warm(void)
{
	for (unsigned i = 0; i < N; i++)
		memcpy(slab + i % 16 * SLOT, super + i % 16 * PAYLOAD, PACKET);
}

static void
make_nothing(void)
{
}

#define ROUNDS 101
#define ROUNDS_MAX 1001

static struct bench {
	const char *name;
	void (*make)(void); /* not timed */
	void (*run)(void);
	unsigned packets;
	double ns[ROUNDS_MAX];
} benches[] = {
    {"split a 64 KB super-packet", make_super, run_split, 3 * SUPER, {0}},
    {"join, one flow", make_one_flow, run_join, N, {0}},
    {"join, 8 flows in turn", make_8_flows, run_join, N, {0}},
    {"join, 32 flows in turn", make_32_flows, run_join, N, {0}},
    {"join, 128 flows in turn (none can be)", make_128_flows, run_join, N, {0}},
    {"join, every other a fragment", make_fragments, run_join, N, {0}},
    {"csum_add, 1420 bytes", make_nothing, run_csum, N, {0}},
    {"csum_add_plain", make_nothing, run_csum_plain, N, {0}},
    {"memcpy", make_nothing, run_memcpy, N, {0}},
    {"csum_add, in the first-level cache", make_nothing, run_csum_warm, N, {0}},
    {"memcpy, in the first-level cache", make_nothing, run_memcpy_warm, N, {0}},
};

int
main(int argc, char **argv)
{
	unsigned rounds = measure_rounds(argc, argv, ROUNDS, ROUNDS_MAX);

	for (unsigned r = 0; r < rounds; r++) {
		for (size_t i = 0; i < ARRAY_LEN(benches); i++) {
			struct bench *b = &benches[i];

			b->make();
			double start = measure_now_ns();
			b->run();
			b->ns[r] = (measure_now_ns() - start) / b->packets;
		}
	}
	puts("| | ns a packet |\n| --- | ---: |");
	for (size_t i = 0; i < ARRAY_LEN(benches); i++) {
		struct bench *b = &benches[i];

		printf(
		    "| %s | %.0f |\n", b->name, measure_median(b->ns, rounds));
	}
	return 0;
}
