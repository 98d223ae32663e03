#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/mape/wire.h"

#define PIECES 256
#define LEN_MAX 8192
#define SLAB_LEN (1 << 17)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A vnet header, then an outer packet. What agrees can be cut, unless it is too
 * many pieces, and holds what is promised to who translates it. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t slab[SLAB_LEN];
	static struct pbuf out[PIECES];
	struct vnet_room room = {slab, SLAB_LEN, 16, 16};
	struct vnet_packet p;
	uint8_t *pkt;

	if (size < VNET_HDR_LEN || size > LEN_MAX)
		return 0;
	vnet_hdr_load(&p.hdr, data);
	size -= VNET_HDR_LEN;
	pkt = malloc(size + 1);
	memcpy(pkt, data + VNET_HDR_LEN, size);
	p.b = pbuf_make(pkt, size, 0, size);
	(void)wire_split(&p, &room, out, PIECES);
	if (wire_agree(&p) == 0 && p.hdr.flags != 0) {
		int n = wire_split(&p, &room, out, PIECES);

		UK_ASSERT(p.hdr.csum_start >= 60 && p.hdr.hdr_len <= size &&
			  p.hdr.hdr_len >= p.hdr.csum_start + 8);
		UK_ASSERT(n > 0 || size - p.hdr.hdr_len >
				       (size_t)p.hdr.gso_size * PIECES);
	}
	free(pkt);
	return 0;
}
