/* wg_stamp: TAI64N labels, 12 bytes, big-endian, which order a peer's
 * initiations. Pure. */
#ifndef UKAI_WG_STAMP_H
#define UKAI_WG_STAMP_H

#include "wg_msg.h"

/* Advance last to the stamp for wall_ns, its nanoseconds rounded down so as
 * not to publish a precise clock; to last + 1 when the clock has not moved on
 * or has stepped back. So stamps grow whatever the clock does. */
void wg_stamp_next(uint8_t last[WG_STAMP_LEN], uint64_t wall_ns);

/* Is the stamp more than ahead_ns after wall_ns? False while wall_ns is
 * before this program was made: such a clock judges nobody. */
bool wg_stamp_is_ahead(const uint8_t stamp[WG_STAMP_LEN], uint64_t wall_ns,
    uint64_t ahead_ns);

#endif
