#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/csum.h"
#include "core/vnet.h"

#define PACKETS 256
#define SLAB_LEN (1 << 17)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t slab[2 * SLAB_LEN];
static uint8_t again[SLAB_LEN];
static uint8_t before[2 * SLAB_LEN];
static struct vnet_join join;

/* Byte for byte; but where IPv4 forbids fragments its ID says nothing (RFC
 * 6864), and is counted up whatever it was. */
static bool
same_packet(const uint8_t *a, const uint8_t *b, size_t len)
{
	if (a[0] >> 4 != 4 || !(a[6] & 0x40))
		return memcmp(a, b, len) == 0;
	return memcmp(a, b, 4) == 0 && memcmp(a + 6, b + 6, 4) == 0 &&
	       memcmp(a + 12, b + 12, len - 12) == 0;
}

/* A super-packet made of a group comes apart into what it was made of, byte
 * for byte. p: views of slab, whose contents before the join are in before. */
static void
check_group(const struct vnet_group *g, const struct pbuf *p)
{
	static uint8_t super[65535];
	static struct pbuf out[PACKETS];
	struct vnet_room room = {again, sizeof(again), 16, 16};
	size_t len = 0;
	unsigned at = g->first;

	for (unsigned i = 0; i < g->count; i++, at = join.next[at]) {
		uint32_t skip = i == 0 ? 0 : g->hlen;

		UK_ASSERT(p[at].len - skip <= sizeof(super) - len);
		memcpy(super + len, pbuf_data(&p[at]) + skip, p[at].len - skip);
		len += p[at].len - skip;
	}
	int n = vnet_split(&g->hdr, super, len, &room, out, PACKETS);
	UK_ASSERT(n == (int)g->count);
	at = g->first;
	for (unsigned i = 0; i < g->count; i++, at = join.next[at])
		UK_ASSERT(out[i].len == p[at].len &&
			  same_packet(pbuf_data(&out[i]),
			      before + (pbuf_data(&p[at]) - slab), p[at].len));
}

/* Bytes that nobody has looked at, in two packets. */
static void
join_hostile(const uint8_t *b, size_t len, size_t cut)
{
	size_t first = cut < len ? cut : len;
	uint8_t *x = malloc(first + 1);
	uint8_t *y = malloc(len - first + 1);
	struct pbuf p[2] = {pbuf_make(x, first, 0, first),
	    pbuf_make(y, len - first, 0, len - first)};
	struct vnet_group g;
	unsigned packets = 0;

	memcpy(x, b, first);
	memcpy(y, b + first, len - first);
	vnet_join_begin(&join, p, 2, true);
	while (vnet_join_next(&join, &g))
		packets += g.count;
	UK_ASSERT(packets == 2);
	free(x);
	free(y);
}

/* Behind every packet put one of another flow: the same to another port.
 * Returns the number of packets. */
static unsigned
interleave(
    const struct vnet_hdr *h, const struct pbuf *in, unsigned n, struct pbuf *p)
{
	for (unsigned i = 0; i < n; i++) {
		p[2 * i] = p[2 * i + 1] = in[i];
		p[2 * i + 1].base += SLAB_LEN;
		memcpy(p[2 * i + 1].base, in[i].base, in[i].cap);
		uint8_t *port = pbuf_data(&p[2 * i + 1]) + h->csum_start;
		uint8_t *check = port + h->csum_offset;
		uint16_t old = load_be16(port);
		store_be16(port, (uint16_t)(old ^ 1));
		store_be16(check,
		    csum_update16(load_be16(check), old, load_be16(port)));
	}
	return 2 * n;
}

/* Change one thing of a packet, but not what flow it is of, so that it may not
 * be joined, or only at an end. Every other time sums are put right. */
static void
differ(const struct vnet_hdr *h, struct pbuf *p, uint64_t r)
{
	static const struct {
		uint8_t at;
		uint16_t may;
	} v4[] = {{0, 0x00ff}, {4, 0xffff}, {6, 0x4000}, {8, 0xff00}},
	  v6[] = {{0, 0x0fff}, {2, 0xffff}, {6, 0x00ff}, {2, 0x0001}};
	uint8_t *b = pbuf_data(p), *sum = b + 10;
	bool is_v4 = b[0] >> 4 == 4, repair = r >> 60 & 1;
	unsigned i = r >> 56 & 3;
	size_t at = is_v4 ? v4[i].at : v6[i].at;
	uint16_t may = is_v4 ? v4[i].may : v6[i].may, old;

	if (r >> 61 & 1) {
		sum = b + h->csum_start + h->csum_offset;
		at = h->csum_start + 4u + 2 * (r >> 52 & 7);
		may = 0xffff;
	} else if (!is_v4) {
		repair = false;
	}
	if (at + 2 > p->len || b + at == sum)
		return;
	old = load_be16(b + at);
	store_be16(b + at, (uint16_t)(old ^ (r & may)));
	if (repair)
		store_be16(
		    sum, csum_update16(load_be16(sum), old, load_be16(b + at)));
}

static void
differ_some(const struct vnet_hdr *h, struct pbuf *p, unsigned n, uint64_t r)
{
	for (uint64_t left = r % 5; left > 0; left--) {
		r = (r ^ r >> 31) * UINT64_C(0x9e3779b97f4a7c15);
		differ(h, &p[r % n], r);
	}
}

/* Two flows whose packets take turns: each keeps its order. */
static void
check_join(const struct pbuf *p, unsigned n)
{
	unsigned next[2] = {0, 1};
	struct vnet_group g;

	for (unsigned i = 0; i < n; i++) {
		ptrdiff_t at = pbuf_data(&p[i]) - slab;

		memcpy(before + at, slab + at, p[i].len);
	}
	vnet_join_begin(&join, p, n, true);
	while (vnet_join_next(&join, &g)) {
		unsigned at = g.first;

		for (unsigned i = 0; i < g.count; i++, at = join.next[at]) {
			UK_ASSERT(at == next[at % 2]);
			next[at % 2] += 2;
		}
		if (g.count > 1)
			check_group(&g, p);
	}
	UK_ASSERT(next[0] + next[1] == 2 * n + 1);
}

/* A vnet header, then a packet. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pbuf out[PACKETS];
	static struct pbuf p[2 * PACKETS];
	struct vnet_room room = {slab, SLAB_LEN, 16, 16};
	struct vnet_hdr h;

	if (size < VNET_HDR_LEN)
		return 0;
	vnet_hdr_load(&h, data);
	data += VNET_HDR_LEN;
	size -= VNET_HDR_LEN;
	join_hostile(data, size, h.hdr_len);
	int n = vnet_split(&h, data, size, &room, out, PACKETS);
	if (n > 0 && h.gso_type != VNET_GSO_NONE) {
		unsigned both = interleave(&h, out, (unsigned)n, p);

		differ_some(&h, p, both, csum_add(h.gso_size, data, size));
		check_join(p, both);
	}
	return 0;
}
