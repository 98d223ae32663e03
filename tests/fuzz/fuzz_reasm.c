#include <stdint.h>
#include <string.h>

#include "client/mape/reasm.h"
#include "core/bytes.h"
#include "core/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const uint8_t *out, size_t len)
{
	struct ip_view v;

	if (out == NULL)
		return;
	UK_ASSERT(ip_parse_fixed(&v, out, len) == 0 && v.total == len);
	UK_ASSERT(v.family == FAMILY_V6 || (load_be16(out + 6) & 0x3fff) == 0);
}

/* Packets, each behind a byte of tag and time and two of length, into a cache
 * of few entries and bytes. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reasm_conf c = {
	    .datagrams_max = 3, .bytes_max = 8192, .age_ns = 100};
	struct reasm *r = reasm_new(&c);
	uint64_t now_ns = 1;
	size_t at = 0;

	while (r != NULL && size - at > 3) {
		size_t left = size - at - 3;
		size_t len = uk_min_u64(load_be16(data + at + 1), left);
		const uint8_t *out;
		size_t out_len;

		now_ns += data[at] >> 2;
		(void)reasm_expire(r, now_ns);
		(void)reasm_input(r, now_ns, data[at] & 3, data + at + 3, len,
		    &out, &out_len);
		check(out, out_len);
		UK_ASSERT(reasm_stats(r)->datagrams <= c.datagrams_max);
		UK_ASSERT(reasm_stats(r)->bytes <= c.bytes_max);
		UK_ASSERT(reasm_deadline(r) > now_ns);
		at += 3 + len;
	}
	reasm_free(r);
	return 0;
}
