/* br_packet: what a border relay does with one packet. RFC 7597 sections 5.4,
 * 8.1, 8.2, 8.3; RFC 2473. No I/O: bytes in, a verdict out. For the test line;
 * shares nothing with the client's CE.
 *
 * From the line: outer IPv6 to the BR, protocol 4. The CE's IPv4 address and
 * PSID are taken out of the outer source and compared with the inner source
 * (8.1), and the whole outer source with the MAP address in the rule's form.
 * From the internet: the inner destination and its port give the CE.
 *
 * The port is that of TCP or UDP; of ICMP queries the identifier; of ICMP
 * errors that of the quoted packet (8.2). Fragments are put together first,
 * outer and inner ones (8.3.2). */
#ifndef UKAI_TESTS_BR_PACKET_H
#define UKAI_TESTS_BR_PACKET_H

#include <stddef.h>

#include "br_reasm.h"
#include "br_rule.h"

#define BR_OUTER_LEN 40

enum br_verdict {
	BR_FORWARD,
	BR_HELD, /* a fragment; its datagram is not whole */
	BR_DROP_OUTER_MALFORMED,
	BR_DROP_EXTENSION, /* outer next header is neither 4 nor a fragment */
	BR_DROP_HOP_LIMIT, /* outer hop limit 0 */
	BR_DROP_NO_RULE, /* no rule for the outer source */
	BR_DROP_FRAGMENT, /* broken, or too many pieces */
	BR_DROP_OVERLAP,
	BR_DROP_MALFORMED, /* inner packet */
	BR_DROP_CHECKSUM, /* of the inner IPv4 header */
	BR_DROP_PROTOCOL, /* inner one is not TCP, UDP or ICMP */
	BR_DROP_ICMP_TYPE, /* neither a query nor an error */
	BR_DROP_QUOTE, /* an ICMP error that quotes what is not the CE's */
	BR_DROP_TTL, /* inner TTL 0 */
	BR_DROP_ECN, /* outer CE, inner not ECN-capable: RFC 6040 */
	BR_DROP_SOURCE_ADDRESS, /* inner source is not the outer source's */
	BR_DROP_SOURCE_PORT, /* inner port is not of the outer source's set */
	BR_DROP_INTERFACE_ID, /* outer source is not the MAP address */
	BR_DROP_RESERVED_SOURCE, /* from the internet: private, loopback... */
	BR_DROP_RESERVED_DESTINATION,
	BR_DROP_DESTINATION, /* from the internet: no rule */
	BR_DROP_DESTINATION_PORT, /* nobody's: below the first range */
	BR_VERDICTS
};

struct br {
	struct br_rules rules;
	uint8_t address[16];
	uint64_t up[BR_VERDICTS]; /* from the line */
	uint64_t down[BR_VERDICTS]; /* toward it */
	struct br_reasm outer;
	struct br_reasm inner_up;
	struct br_reasm inner_down;
};

/* A forwarded IPv4 packet: inside what was given, or put together of
 * fragments. In the second case what was known about its segmentation and
 * checksum is void. */
struct br_out {
	uint8_t *inner;
	uint32_t len;
	bool reassembled;
	uint8_t outer[BR_OUTER_LEN]; /* toward the line: the header before it */
};

/* pkt is changed (ECN). out is set with BR_FORWARD. The verdict is counted. */
enum br_verdict br_from_line(struct br *b, uint64_t now_ns, uint8_t *pkt,
    size_t len, struct br_out *out);
enum br_verdict br_to_line(struct br *b, uint64_t now_ns, uint8_t *pkt,
    size_t len, struct br_out *out);

/* The outer header for payload of this length; next header as given. */
void br_outer_header(uint8_t out[BR_OUTER_LEN], const uint8_t src[16],
    const uint8_t dst[16], uint8_t next, uint8_t tos, uint32_t len);

/* Its name in statistics: "forward", "drop_ttl", ... */
const char *br_verdict_name(enum br_verdict v);

#endif
