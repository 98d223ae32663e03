#include <stdint.h>
#include <string.h>

#include "client/mape/ipip6.h"
#include "core/bytes.h"
#include "core/csum.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct map_rule rule = {
    .ipv6 = {{FAMILY_V6, {0x24, 0x0b, 0, 0x10}}, 32},
    .ipv4 = {{FAMILY_V4, {106, 72}}, 16},
    .ea_len = 24,
    .psid_offset = 4,
    .psid_len = 8,
    .iid = MAP_IID_DRAFT03,
};

/* 240b:10:6f6c:d400:6a:486f:6cd4:0, and the BR. */
static const struct ipip6_conf conf = {
    .address = {0x24, 0x0b, 0, 0x10, 0x6f, 0x6c, 0xd4, 0, 0, 0x6a, 0x48, 0x6f,
	0x6c, 0, 0xd4},
    .br = {0x24, 0x04, 0x92, 0, 2, 0x25, 1, [15] = 0x64},
    .ipv4 = {106, 72, 111, 108},
    .ports = {4, 8, 0xd4},
    .fmr = &rule,
    .n = 1,
};

/* One byte that says what to put right, then a packet. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t pkt[2048];
	struct ipip6_view v;
	uint32_t n = 0;

	if (size == 0 || size - 1 > sizeof(pkt))
		return 0;
	size_t len = size - 1;
	/* At the end of the room, so that a sanitizer sees a byte more. */
	uint8_t *b = pkt + sizeof(pkt) - len;
	memcpy(b, data + 1, len);
	if (len >= 60 && (data[0] & 1) != 0) {
		memcpy(b + 24, conf.address, 16);
		store_be16(b + 50, 0);
		store_be16(
		    b + 50, (uint16_t)~csum_fold(csum_add(0, b + 40, 20)));
	}
	if (ipip6_outer(&conf, b, len, &v) != MAP_OK)
		return 0;
	UK_ASSERT(v.off + v.len <= len);
	UK_ASSERT(memcmp(b + 24, conf.address, 16) == 0);
	if (v.what != IPIP6_INNER ||
	    ipip6_inner(&conf, b + v.off, v.len, &n) != MAP_OK)
		return 0;
	UK_ASSERT(n >= 20 && n <= v.len);
	UK_ASSERT(memcmp(b + v.off + 16, conf.ipv4, 4) == 0);
	(void)ipip6_ports(&conf, v.outer_src, b + v.off, n);
	return 0;
}
