#include "nat44_state.h"

#include "core/bytes.h"
#include "core/csum.h"

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

#define HEADER 20
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2

/* From outside only a connection's first SYN. From inside also what is in the
 * middle of one that we do not know any more: the other end says RST to it, as
 * it has another port now, and the inside one need not wait for long. */
bool
nat44_tcp_opens(uint8_t flags, bool out)
{
	uint8_t what = flags & (SYN | ACK | FIN | RST);

	return what == SYN || (out && what == ACK);
}

static bool
is_closed(uint8_t flags)
{
	return flags & NAT44_RST || (flags & NAT44_FINS) == NAT44_FINS;
}

/* RFC 7857 2.1 and 2.2; the handshake either way round, or both at once (RFC
 * 5382 REQ-2). A RST is not the end: it may be forged, and whoever goes on
 * talking has not heard it (N8). */
static uint8_t
after(uint8_t flags, bool out, uint8_t seg)
{
	uint8_t both = NAT44_SEEN_OUT | NAT44_SEEN_IN;

	if (seg & RST)
		return flags | NAT44_RST;
	/* The same ports again, for a new connection. */
	if ((seg & (SYN | ACK)) == SYN && is_closed(flags) &&
	    (out || flags & NAT44_FORWARDED))
		flags &= NAT44_FORWARDED;
	flags &= (uint8_t)~NAT44_RST;
	flags |= out ? NAT44_SEEN_OUT : NAT44_SEEN_IN;
	if (seg & FIN)
		flags |= out ? NAT44_FIN_OUT : NAT44_FIN_IN;
	if ((flags & both) == both && (seg & (SYN | ACK)) == ACK)
		flags |= NAT44_OPENED;
	return flags;
}

void
nat44_tcp_seen(struct nat44_session *s, bool out, uint8_t flags)
{
	s->flags = after(s->flags, out, flags);
}

static void
set_mss(uint8_t *tcp, uint32_t at, uint16_t mss, bool partial)
{
	uint16_t old = load_be16(tcp + at);

	store_be16(tcp + at, mss);
	if (partial)
		return;
	/* At an odd place its bytes are in two words, the other way round; the
	 * sum is the same with all bytes swapped (RFC 1071 2 B). */
	if (at % 2 != 0) {
		old = (uint16_t)(old << 8 | old >> 8);
		mss = (uint16_t)(mss << 8 | mss >> 8);
	}
	store_be16(tcp + 16, csum_update16(load_be16(tcp + 16), old, mss));
}

void
nat44_tcp_clamp(uint8_t *tcp, uint32_t len, uint16_t mss, bool partial)
{
	uint32_t end = (uint32_t)(tcp[12] >> 4) * 4;

	if (!(tcp[13] & SYN) || end > len)
		return;
	for (uint32_t at = HEADER; at < end && tcp[at] != OPTION_END;) {
		if (tcp[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (end - at < 2 || tcp[at + 1] < 2 || tcp[at + 1] > end - at)
			return;
		if (tcp[at] == OPTION_MSS && tcp[at + 1] == 4 &&
		    load_be16(tcp + at + 2) > mss)
			set_mss(tcp, at + 2, mss, partial);
		at += tcp[at + 1];
	}
}
