/* napt_packet: one IPv4 packet through the gateway of the test line, rewritten
 * in place. RFC 4787, 5382, 5508. No I/O; the state is napt_table's.
 *
 * A packet from the LAN leaves with the shared address and a port of the set;
 * a packet to the shared address goes to the port's owner. Between two LAN
 * hosts over the shared address both happen (hairpin, RFC 4787 REQ-9).
 *
 * Checksums are updated, not computed again (RFC 1624), so damage on the way
 * in is still seen at the end. ICMP errors are the exception: their body is
 * rewritten, so the old checksum is verified and a new one computed.
 *
 * ICMP: echo by identifier; errors of type 3, 11 and 12 both ways by the
 * packet they quote; all else is dropped.
 *
 * Fragments: the first one is translated as a packet is and remembered by
 * (source, destination, id, protocol) for 30 s; the others follow it. One that
 * overtakes its first fragment is dropped and counted: a gateway that
 * reassembles would keep it. Two LAN hosts that use one IPv4 id toward one
 * server at the same time collide, as RFC 7597 section 8.3.3 says they do. */
#ifndef UKAI_TESTS_NAPT_PACKET_H
#define UKAI_TESTS_NAPT_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "napt_table.h"

#define NAPT_FRAGMENTS 256u

enum napt_verdict {
	NAPT_FORWARD,
	NAPT_DROP_MALFORMED, /* not a whole IPv4 packet with its ports */
	NAPT_DROP_STRAY, /* neither from the LAN nor to our address */
	NAPT_DROP_PROTOCOL, /* not TCP, UDP or an ICMP message of the above */
	NAPT_DROP_NO_PORT, /* a new flow, and the ports are out */
	NAPT_DROP_NO_SESSION, /* session table full */
	NAPT_DROP_NO_FLOW, /* belongs to no flow */
	NAPT_DROP_FILTERED, /* from a remote never spoken to */
	NAPT_DROP_FRAGMENT, /* its first fragment is not known */
	NAPT_VERDICTS
};

struct napt_fragment {
	uint64_t seen_ns;
	uint32_t src;
	uint32_t dst;
	uint16_t id;
	uint8_t protocol;
	bool valid;
	uint32_t new_src;
	uint32_t new_dst;
};

/* Set lan, lan_mask, shared and table, zero the rest. Caller's memory; the
 * table stays the caller's. Host order. */
struct napt {
	uint32_t lan;
	uint32_t lan_mask;
	uint32_t shared;
	struct napt_table *table;
	uint64_t verdicts[NAPT_VERDICTS];
	struct napt_fragment fragment[NAPT_FRAGMENTS];
};

/* Translates the packet of len bytes at p at time now_ns, and counts the
 * verdict. After NAPT_FORWARD the packet, of the length in its IPv4 header
 * (at most len), is ready to send; after any other its bytes are not to be
 * used. Nothing outside p[0] to p[len - 1] is touched. */
enum napt_verdict napt_packet(
    struct napt *n, uint64_t now_ns, uint8_t *p, size_t len);

/* The verdict's name in statistics: "forward", "drop_stray", ... */
const char *napt_verdict_name(enum napt_verdict v);

#endif
