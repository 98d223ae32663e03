/* Packets of any form, from both sides, through the whole CE. */
#include <stdlib.h>
#include <string.h>

#include "client/mape/ce.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM 64

static void
not_random(void *buf, size_t len)
{
	memset(buf, 7, len);
}

static struct ce *
new_ce(void)
{
	static const struct map_ports ports = {4, 8, 52};
	static struct ip_prefix lan = {
	    .addr = {.family = FAMILY_V4, .b = {192, 168, 24}}, .bits = 24};
	struct ce_conf c = {.ipip6 = {.ports = ports,
				.ipv4 = {192, 0, 2, 52},
				.br = {0x20, [15] = 1},
				.address = {0x20, [15] = 2}},
	    .link_mtu = 1500,
	    .network = &lan,
	    .networks = 1};
	struct ce *ce;

	nat44_conf_default(&c.nat, &ports);
	memcpy(c.nat.address, c.ipip6.ipv4, 4);
	c.nat.sessions_max = 64;
	c.nat.host_sessions_max = 64;
	c.nat.mss = 1420;
	c.nat.random = not_random;
	UK_ASSERT(ce_new(&ce, &c) == 0);
	return ce;
}

/* Each: a byte of side, one of time, two of length, two of offload, bytes. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ce *ce = new_ce();
	uint64_t now_ns = UK_NS_PER_S;

	while (size > 6) {
		size_t len = (size_t)data[2] << 8 | data[3];
		struct vnet_packet p = {.hdr = {0}};
		uint8_t *room;

		len = len < size - 6 ? len : size - 6;
		room = malloc(ROOM + len);
		UK_ASSERT(room != NULL);
		memcpy(room + ROOM, data + 6, len);
		p.b = pbuf_make(room, ROOM + len, ROOM, len);
		if (data[4] & 1)
			p.hdr = (struct vnet_hdr){.flags = VNET_F_NEEDS_CSUM,
			    .gso_type = data[4] >> 5,
			    .gso_size = data[5],
			    .csum_start = 20 + (data[0] & 1 ? 40 : 0),
			    .csum_offset = data[4] & 2 ? 16 : 6};
		now_ns += data[1] * UK_NS_PER_MS * 100;
		if (data[0] & 1)
			ce_inward(ce, now_ns, &p, 1);
		else
			ce_outward(ce, now_ns, &p, 1);
		ce_tick(ce, now_ns);
		free(room);
		data += 6 + len;
		size -= 6 + len;
	}
	ce_free(ce);
	return 0;
}
