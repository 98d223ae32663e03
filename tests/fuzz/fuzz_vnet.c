#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/vnet.h"

#define PACKETS 256
#define SLAB_LEN (1 << 17)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t slab[SLAB_LEN];
static uint8_t again[SLAB_LEN];
static uint8_t before[SLAB_LEN];

/* A super-packet made of a group comes apart into what it was made of, byte
 * for byte. p: views of slab, whose contents before the join are in before. */
static void
check_group(const struct vnet_group *g, const struct pbuf *p)
{
	static uint8_t super[65535];
	static struct pbuf out[PACKETS];
	struct vnet_room room = {again, sizeof(again), 16, 16};
	size_t len = 0;

	for (unsigned i = 0; i < g->count; i++) {
		uint32_t skip = i == 0 ? 0 : g->hlen;

		UK_ASSERT(p[i].len - skip <= sizeof(super) - len);
		memcpy(super + len, pbuf_data(&p[i]) + skip, p[i].len - skip);
		len += p[i].len - skip;
	}
	int n = vnet_split(&g->hdr, super, len, &room, out, PACKETS);
	UK_ASSERT(n == (int)g->count);
	for (unsigned i = 0; i < g->count; i++)
		UK_ASSERT(
		    out[i].len == p[i].len &&
		    memcmp(pbuf_data(&out[i]),
			before + (pbuf_data(&p[i]) - slab), p[i].len) == 0);
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

	memcpy(x, b, first);
	memcpy(y, b + first, len - first);
	vnet_join(&g, p, 2, true);
	free(x);
	free(y);
}

/* A vnet header, then a packet. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pbuf out[PACKETS];
	struct vnet_room room = {slab, sizeof(slab), 16, 16};
	struct vnet_group g;
	struct vnet_hdr h;

	if (size < VNET_HDR_LEN)
		return 0;
	vnet_hdr_load(&h, data);
	data += VNET_HDR_LEN;
	size -= VNET_HDR_LEN;
	join_hostile(data, size, h.hdr_len);
	int n = vnet_split(&h, data, size, &room, out, PACKETS);
	if (n > 0)
		memcpy(before, slab, (size_t)n * out[0].cap);
	for (int at = 0; at < n; at += (int)g.count) {
		vnet_join(&g, out + at, (unsigned)(n - at), true);
		UK_ASSERT(g.count >= 1 && g.count <= (unsigned)(n - at));
		if (g.count > 1)
			check_group(&g, out + at);
	}
	return 0;
}
