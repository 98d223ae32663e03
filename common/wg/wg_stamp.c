#include "wg_stamp.h"

#include "core/bytes.h"

/* 2^62 and the 10 seconds by which TAI was ahead of UTC in 1970. */
#define TAI64_BASE UINT64_C(0x400000000000000a)
/* 16.8 ms, as Linux rounds. */
#define COARSE_NS (UINT32_C(1) << 24)
/* 2026-01-01, a time that has passed everywhere. */
#define MADE_S UINT64_C(1767225600)

static void
format(uint8_t stamp[WG_STAMP_LEN], uint64_t seconds, uint32_t ns)
{
	store_be64(stamp, TAI64_BASE + seconds);
	store_be32(stamp + 8, ns);
}

static void
increment(uint8_t stamp[WG_STAMP_LEN])
{
	uint32_t ns = load_be32(stamp + 8) + 1;

	if (ns >= UK_NS_PER_S) {
		store_be64(stamp, load_be64(stamp) + 1);
		ns = 0;
	}
	store_be32(stamp + 8, ns);
}

void
wg_stamp_next(uint8_t last[WG_STAMP_LEN], uint64_t wall_ns)
{
	uint8_t stamp[WG_STAMP_LEN];

	format(stamp, wall_ns / UK_NS_PER_S,
	    (uint32_t)(wall_ns % UK_NS_PER_S) & ~(COARSE_NS - 1));
	if (memcmp(stamp, last, WG_STAMP_LEN) > 0)
		memcpy(last, stamp, WG_STAMP_LEN);
	else
		increment(last);
}

bool
wg_stamp_is_ahead(
    const uint8_t stamp[WG_STAMP_LEN], uint64_t wall_ns, uint64_t ahead_ns)
{
	uint64_t now_s = wall_ns / UK_NS_PER_S;

	return now_s >= MADE_S &&
	       load_be64(stamp) > TAI64_BASE + now_s + ahead_ns / UK_NS_PER_S;
}
