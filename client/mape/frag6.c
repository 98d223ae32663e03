#include "frag6.h"

#include <string.h>

#include "core/bytes.h"
#include "core/err.h"

#define V6_HLEN 40
#define FRAGMENT_HLEN 8
#define NEXT_FRAGMENT 44
#define V6_MTU_MIN 1280 /* RFC 8200 5 */
#define V6_LEN_MAX (V6_HLEN + 65535)
#define MORE 1u

/* Write the fragment whose payload is [off, off + n) of pkt's. */
static void
write_fragment(uint8_t *out, const uint8_t *pkt, uint32_t off, uint32_t n,
    bool more, uint32_t id)
{
	uint8_t *ext = out + V6_HLEN;

	memcpy(out, pkt, V6_HLEN);
	store_be16(out + 4, (uint16_t)(FRAGMENT_HLEN + n));
	out[6] = NEXT_FRAGMENT;
	ext[0] = pkt[6];
	ext[1] = 0;
	/* The offset counts units of 8 bytes in the upper 13 bits. */
	store_be16(ext + 2, (uint16_t)(off | (more ? MORE : 0)));
	store_be32(ext + 4, id);
	memcpy(ext + FRAGMENT_HLEN, pkt + V6_HLEN + off, n);
}

int
frag6_split(const uint8_t *pkt, size_t len, uint32_t mtu, uint32_t id,
    uint8_t *room, size_t room_len, struct pbuf *out, unsigned cap)
{
	UK_ASSERT(mtu >= V6_MTU_MIN && len > mtu && len <= V6_LEN_MAX);
	uint32_t payload = (uint32_t)len - V6_HLEN;
	uint32_t step = (mtu - V6_HLEN - FRAGMENT_HLEN) & ~7u;
	uint32_t count = (payload + step - 1) / step;

	if (count > cap ||
	    payload + count * (V6_HLEN + FRAGMENT_HLEN) > room_len)
		return UK_EMSGSIZE;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t off = i * step;
		uint32_t n = (uint32_t)uk_min_u64(step, payload - off);
		uint32_t size = V6_HLEN + FRAGMENT_HLEN + n;

		write_fragment(room, pkt, off, n, i + 1 < count, id);
		out[i] = pbuf_make(room, size, 0, size);
		room += size;
	}
	return (int)count;
}
