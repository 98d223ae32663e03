#include <stdint.h>
#include <string.h>

#include "core/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One byte of outer TOS, then a packet. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ip_addr none;
	static uint8_t out[1280];
	uint8_t pkt[2048];
	struct ip_view v;

	if (size == 0 || size - 1 > sizeof(pkt))
		return 0;
	size_t len = size - 1;
	size_t n =
	    ip_icmp_unreachable(out, sizeof(out), data + 1, len, &none, 1, 3);
	UK_ASSERT(n <= sizeof(out) && (n == 0 || ip_parse(&v, out, n) == 0));
	if (ip_parse(&v, data + 1, len) != 0)
		return 0;
	UK_ASSERT(v.hlen <= v.total && v.total <= len);
	memcpy(pkt, data + 1, len);
	(void)ip_ecn_decap(pkt, data[0]);
	UK_ASSERT(ip_parse(&v, pkt, len) == 0);
	return 0;
}
