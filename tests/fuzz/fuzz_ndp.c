#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/mape/ndp.h"
#include "core/bytes.h"
#include "core/csum.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sums that nobody guesses are put right, so that what is behind them is
 * reached. */
static void
repair(uint8_t *pkt, size_t size)
{
	size_t len;

	if (size < 44)
		return;
	len = load_be16(pkt + 4);
	if (len < 4 || len > size - 40)
		return;
	store_be16(pkt + 42, 0);
	store_be16(pkt + 42,
	    (uint16_t)~csum_fold(
		csum_add(csum_pseudo(pkt + 8, pkt + 24, 16, 58, (uint32_t)len),
		    pkt + 40, len)));
}

/* An IPv6 packet, taken as it is and with its sum put right. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *pkt = malloc(size + 1);
	struct ndp m;

	UK_ASSERT(pkt != NULL);
	memcpy(pkt, data, size);
	ndp_parse(&m, pkt, size);
	repair(pkt, size);
	if (ndp_parse(&m, pkt, size) == 0) {
		UK_ASSERT(m.type == NDP_SOLICIT || m.type == NDP_ADVERTISE);
		UK_ASSERT(size >= 64 && pkt[7] == 255 && m.target[0] != 0xff);
		UK_ASSERT(!m.probe || (m.type == NDP_SOLICIT && !m.has_mac));
		UK_ASSERT(!m.override || m.type == NDP_ADVERTISE);
	}
	free(pkt);
	return 0;
}
