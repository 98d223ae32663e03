/* Packets of any form, from both sides, through the whole CE. */
#include <stdlib.h>
#include <string.h>

#include "client/mape/ce.h"
#include "client/mape/wire.h"
#include "core/bytes.h"
#include "core/csum.h"

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
	static const struct map_rule fmr = {
	    .ipv6 = {.addr = {.family = FAMILY_V6, .b = {0x20}}, .bits = 40},
	    .ipv4 = {.addr = {.family = FAMILY_V4, .b = {192, 0, 2, 0}},
		.bits = 24},
	    .ea_len = 16,
	    .psid_offset = 4,
	    .psid_len = 8,
	    .iid = MAP_IID_DRAFT03};
	static struct ip_prefix lan = {
	    .addr = {.family = FAMILY_V4, .b = {192, 168, 24}}, .bits = 24};
	struct ce_conf c = {.ipip6 = {.ports = ports,
				.ipv4 = {192, 0, 2, 52},
				.br = {0x20, [15] = 1},
				.address = {0x20, [15] = 2},
				.fmr = &fmr,
				.n = 1},
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

/* What a checksum or an address would keep from getting far. */
static void
put_right(uint8_t *p, size_t len, bool inward)
{
	uint32_t hlen;

	if (inward && len < 60)
		return;
	if (inward) {
		p[0] = 0x60;
		store_be16(p + 4, (uint16_t)(len - 40));
		memcpy(p + 24, (uint8_t[16]){0x20, [15] = 2}, 16);
		if (p[6] != 4)
			return;
		memcpy(p + 40 + 16, (uint8_t[4]){192, 0, 2, 52}, 4);
		p += 40;
		len -= 40;
	}
	if (len < 20)
		return;
	p[0] = 0x45 + (p[0] & 2);
	hlen = (p[0] & 15u) * 4;
	store_be16(p + 2, (uint16_t)len);
	store_be16(p + 10, 0);
	if (hlen <= len)
		store_be16(p + 10, (uint16_t)~csum_fold(csum_add(0, p, hlen)));
}

/* What comes out must be fit for who gets it. */
static void
take_outputs(struct ce *ce)
{
	static uint8_t slab[1 << 20];
	static struct pbuf piece[2048];
	const struct vnet_room room = {.slab = slab, .slab_len = sizeof(slab)};
	struct vnet_packet *p;
	unsigned n;

	p = ce_to_line(ce, &n);
	for (unsigned i = 0; i < n; i++) {
		UK_ASSERT(pbuf_data(&p[i].b)[0] >> 4 == 6);
		UK_ASSERT(
		    load_be16(pbuf_data(&p[i].b) + 4) + 40u == p[i].b.len);
		(void)wire_split(&p[i], &room, piece, ARRAY_LEN(piece));
	}
	p = ce_to_inside(ce, &n);
	for (unsigned i = 0; i < n; i++)
		(void)pbuf_push(&p[i].b, TUN_ROOM);
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
		if (data[0] & 2)
			put_right(room + ROOM, len, data[0] & 1);
		now_ns += data[1] * UK_NS_PER_MS * 100;
		if (data[0] & 1)
			ce_inward(ce, now_ns, &p, 1);
		else
			ce_outward(ce, now_ns, &p, 1);
		take_outputs(ce);
		ce_tick(ce, now_ns);
		free(room);
		data += 6 + len;
		size -= 6 + len;
	}
	ce_free(ce);
	return 0;
}
