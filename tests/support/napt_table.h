/* napt_table: the state of the test line's home gateway: port set, mappings,
 * sessions, timers. No I/O and no clock: time comes in as monotonic ns.
 *
 * The gateway is strict where Linux's own NAT is not:
 *  - endpoint-independent mapping (RFC 4787 REQ-1, RFC 5382 REQ-1): one
 *    external port for one (protocol, LAN address, LAN port), whatever the
 *    destination;
 *  - no port overloading (RFC 4787 REQ-3): a port has one owner at a time;
 *  - a mapping lives as long as one of its sessions does, and a TCP session
 *    is held for a while after it closed (RFC 5382 REQ-5).
 *
 * Filtering: UDP and ICMP by remote address (RFC 4787 REQ-8). TCP by remote
 * address and port, as gateways built on connection tracking do; that is
 * narrower than RFC 5382 REQ-3 recommends, and nothing here needs more.
 *
 * Ports are a MAP-E set (RFC 7597 section 5.1), separate for TCP, UDP and
 * ICMP identifiers, and are taken longest-free first. Port parity (RFC 4787
 * REQ-4, a recommendation) is not kept.
 *
 * A TCP session moves so; the timeout in parentheses belongs to the state:
 *
 *    state                  event                          next
 *    (none)                 SYN from the LAN               opening
 *    opening (closed)       SYN seen from both sides       established
 *    established (idle)     FIN seen from both sides       closed
 *    opening, established   RST from either side           closed
 *    closed (closed)        SYN from the LAN, no ACK       opening
 *    closed                 anything else                  closed, timer runs
 *
 * Addresses and ports are integers in host order. Memory: heap, all of it
 * taken in napt_table_new(). Threads: owner only. The hash is not keyed: this
 * gateway serves tests, not attackers. */
#ifndef UKAI_TESTS_NAPT_TABLE_H
#define UKAI_TESTS_NAPT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define NAPT_SESSIONS_MAX 131072u

#define NAPT_NS_PER_S UINT64_C(1000000000)

enum napt_space { NAPT_TCP, NAPT_UDP, NAPT_ICMP, NAPT_SPACES };

/* TCP flag bits, as in byte 13 of the header. */
enum { NAPT_FIN = 0x01, NAPT_SYN = 0x02, NAPT_RST = 0x04, NAPT_ACK = 0x10 };

enum napt_result {
	NAPT_OK,
	NAPT_NO_PORT, /* a new flow, and every port is taken */
	NAPT_NO_MEMORY, /* a new session, and the session table is full */
	NAPT_NO_FLOW, /* not a start, and belongs to nothing we know */
	NAPT_FILTERED /* inward, and the remote was never spoken to */
};

struct napt_table_config {
	/* MAP-E port set: offset a, PSID length k, PSID. a is 1 to 15 and
	 * a + k at most 16. 4/8/n is 15 ranges of 16 ports, 240 in all. */
	unsigned psid_offset;
	unsigned psid_length;
	unsigned psid;

	uint64_t tcp_closed_ns; /* opening, or after the close */
	uint64_t tcp_idle_ns;
	uint64_t udp_idle_ns;
	uint64_t icmp_idle_ns;
};

/* One end-to-end flow as the LAN host sees it. For ICMP echo the port is the
 * identifier and remote_port is 0. */
struct napt_flow {
	enum napt_space space;
	uint32_t lan_addr;
	uint16_t lan_port;
	uint32_t remote_addr;
	uint16_t remote_port;
};

struct napt_space_stats {
	unsigned used;
	unsigned peak;
	uint64_t mappings; /* ever made */
	uint64_t refused_flows; /* for want of a port; see below */
	uint64_t refused_packets; /* every packet of those */
};

struct napt_table;

/* A table for cfg, which is copied. Returns NULL when cfg describes no valid
 * port set or memory is short. */
struct napt_table *napt_table_new(const struct napt_table_config *cfg);
void napt_table_free(struct napt_table *t);

/* Number of ports in the set, and whether port is one of them. */
unsigned napt_table_ports(const struct napt_table *t);
bool napt_table_owns(const struct napt_table *t, uint16_t port);

/* The external port for a packet from the LAN. Makes mapping and session for
 * a packet that may start a flow: any of UDP or ICMP, a SYN without ACK of
 * TCP (tcp_flags is 0 for the others). Refreshes the session. Returns NAPT_OK
 * with *port set; NAPT_NO_PORT, NAPT_NO_MEMORY or NAPT_NO_FLOW. */
enum napt_result napt_table_outward(struct napt_table *t, uint64_t now_ns,
    const struct napt_flow *f, uint8_t tcp_flags, uint16_t *port);

/* The LAN end for a packet to external port `port`. On entry f holds space
 * and remote, on NAPT_OK also lan_addr and lan_port. Refreshes the session.
 * Returns NAPT_NO_FLOW when nobody has the port, NAPT_FILTERED when its owner
 * has no session with this remote. */
enum napt_result napt_table_inward(struct napt_table *t, uint64_t now_ns,
    struct napt_flow *f, uint8_t tcp_flags, uint16_t port);

/* The same questions for a packet quoted in an ICMP error: nothing is made,
 * nothing is refreshed. lookup_lan() fills *port, lookup_port() the LAN end
 * of f. True when the session exists. */
bool napt_table_lookup_lan(
    const struct napt_table *t, const struct napt_flow *f, uint16_t *port);
bool napt_table_lookup_port(
    const struct napt_table *t, struct napt_flow *f, uint16_t port);

/* Ends every session whose time is over at now_ns. Call it before a batch
 * of packets and before reading statistics. */
void napt_table_expire(struct napt_table *t, uint64_t now_ns);

/* Counters of one space. A refused flow is counted once, however often its
 * host tries again within two minutes; only when thousands are refused at a
 * time can one be counted again. */
const struct napt_space_stats *napt_table_stats(
    const struct napt_table *t, enum napt_space space);
unsigned napt_table_sessions(const struct napt_table *t);

#endif
