#include <stdint.h>
#include <string.h>

#include "client/mape/tunnel_error.h"
#include "core/bytes.h"
#include "core/csum.h"
#include "core/ip.h"

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

static void
fix_checksum(uint8_t *b, size_t len)
{
	uint32_t n = (uint32_t)len - 40;

	store_be16(b + 4, (uint16_t)n);
	store_be16(b + 42, 0);
	uint64_t sum = csum_pseudo(b + 8, b + 24, 16, 58, n);
	store_be16(b + 42, (uint16_t)~csum_fold(csum_add(sum, b + 40, n)));
}

/* An ICMPv6 error, whose checksum is put right. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t pkt[2048], out[576];
	struct tunnel_error e;
	struct ip_view v;

	if (size > sizeof(pkt))
		return 0;
	/* At the end of the room, so that a sanitizer sees a byte more. */
	uint8_t *b = pkt + sizeof(pkt) - size;
	memcpy(b, data, size);
	size_t n = icmp4_error(out, sizeof(out), b, size, conf.ipv4, 3, 4, 9);
	UK_ASSERT(n == 0 || (ip_parse(&v, out, n) == 0 && v.total == n));
	if (size >= 44)
		fix_checksum(b, size);
	if (tunnel_error_parse(&conf, b, size, &e) != MAP_OK)
		return 0;
	UK_ASSERT(e.inner_len >= 28 && e.inner >= b + 88);
	UK_ASSERT(e.inner + e.inner_len <= b + size);
	UK_ASSERT(memcmp(e.inner + 12, conf.ipv4, 4) == 0);
	UK_ASSERT(e.kind != TUNNEL_ERROR_TOO_BIG || e.mtu >= 1280);
	n = icmp4_error(
	    out, sizeof(out), e.inner, e.inner_len, e.inner + 16, 3, 4, 1240);
	UK_ASSERT(n <= sizeof(out));
	return 0;
}
