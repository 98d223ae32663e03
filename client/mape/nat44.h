/* nat44: NAPT44 into the port set of a MAP-E line, sessions and packets. RFC
 * 4787 (UDP), 5382 (TCP), 5508 (ICMP), 7857 (updates), within RFC 7597 section
 * 9. No I/O, no clock: packets and time in, packets out.
 *
 * Mapping:
 *   TCP, UDP to ports 53, 123 and 443, and ICMP queries: endpoint-dependent.
 *       A port is used again toward other destinations (RFC 7857 section 3), so
 *       that a set of 240 ports gives 240 sessions for each destination.
 *   other UDP: endpoint-independent, one port for one inside address and port
 *       (RFC 4787 REQ-1), for any destination, of 53, 123 and 443 too, as long
 *       as that mapping lives; filtering by remote address (REQ-8 b, N6).
 * Ports are drawn at random over the whole set (RFC 6056, N6), never preserved.
 *
 * Timers: established TCP 2 h 4 min (RFC 5382 REQ-5), opening and closed 4 min,
 * UDP 5 min, to ports 53 and 123 less (REQ-5 b), ICMP 60 s (RFC 5508 REQ-2).
 * Where ports run low for a new session, those that are opening, closed or idle
 * UDP give way by stages, see nat44_timers.h; an established TCP session never
 * does. RST ends a session only after a linger (N8, RFC 7857 2.2).
 * Where there is no room the packet is dropped without a word, unlike RFC 5508
 * REQ-8: SYN comes again, and by then there may be a port; an error ends it.
 *
 * ICMP errors pass both ways when what they quote is a live session, and are
 * translated inside (RFC 5508, N7). No ALG (N10). Hairpin (REQ-9). TCP MSS is
 * clamped, both ways. TTL is decremented (D8).
 *
 * Memory: heap, all of it in nat44_new(). Threads: owner only. */
#ifndef UKAI_MAPE_NAT44_H
#define UKAI_MAPE_NAT44_H

#include "drop.h"
#include "map_ports.h"

struct nat44;

/* A port of the set that always leads to a host inside, and is nobody else's.
 * UDP: it is that inside end's mapping for all it sends. */
struct nat44_forward {
	uint8_t proto; /* 6 TCP, 17 UDP */
	uint16_t port; /* of the set */
	uint8_t inside[4];
	uint16_t inside_port;
};

struct nat44_conf {
	uint8_t address[4]; /* the line's IPv4 address */
	struct map_ports ports;
	/* An eighth of each is for what is made from inside only, so that SYNs
	 * to a forward do not take all. */
	uint32_t sessions_max; /* at most 1 << 20 */
	uint32_t host_sessions_max; /* of one inside address (N9) */
	uint32_t host_ports_max; /* its endpoint-independent mappings */
	uint16_t mss; /* TCP MSS is not more; 0: left alone */
	const struct nat44_forward *forward; /* copied */
	size_t forwards;
	void (*random)(void *buf, size_t len); /* unpredictable */
};

/* 131072 sessions, no MSS, no forwards; host limits: half of the sessions and
 * three quarters of the ports. address, ports and random are the caller's. */
void nat44_conf_default(struct nat44_conf *c, const struct map_ports *ports);

/* Returns 0; UK_EINVAL (no port in the set; a forward's port is not in it or
 * stands twice, or a UDP forward's inside end does; a limit); UK_ENOMEM. */
int nat44_new(struct nat44 **n, const struct nat44_conf *c);
void nat44_free(struct nat44 *n);

/* One IPv4 packet, rewritten in place. It passed ip_parse(), and is no
 * fragment. A super-packet of TCP or UDP segments is one packet. */
struct nat44_packet {
	uint8_t *p;
	uint32_t len;
	/* The TCP or UDP checksum is not there yet: its field holds the sum of
	 * the pseudo header, as virtio's NEEDS_CSUM has it. */
	bool partial;
	/* Out: */
	bool inside; /* to be delivered inside, else to the line */
	enum map_drop verdict; /* MAP_OK, or p's bytes are not to be used (but
				  for TTL, TOO_BIG: then they are as they
				  were, to be told about) */
};

/* Translate a batch, in order: from inside (what comes back to our own address
 * turns around, and is inside again), and from the line. */
void nat44_outward(
    struct nat44 *n, uint64_t now_ns, struct nat44_packet *p, unsigned count);
void nat44_inward(
    struct nat44 *n, uint64_t now_ns, struct nat44_packet *p, unsigned count);

/* An ICMP error that we ourselves make about a translated packet of ours
 * (quoted: header and 8 bytes at least, as it was on the line): put back what
 * it was inside, in place. false: no live session. */
bool nat44_restore(const struct nat44 *n, uint8_t *quoted, uint32_t len);

/* End sessions whose time is over; cheap, once a second. */
void nat44_expire(struct nat44 *n, uint64_t now_ns);

enum { NAT44_TCP, NAT44_UDP, NAT44_ICMP, NAT44_SPACES };

struct nat44_space {
	uint32_t ports; /* with a session, a mapping or a forward, now */
	uint32_t ports_peak;
	uint32_t sessions;
	uint32_t mappings; /* endpoint-independent ones */
	uint64_t refused; /* packets: MAP_DROP_NO_PORT */
	uint64_t reclaimed; /* sessions that gave way before their time */
	/* The destination with most sessions. */
	uint8_t busiest[4];
	uint16_t busiest_port; /* 0: ICMP, or UDP to any but 53, 123, 443 */
	uint32_t busiest_sessions;
};

struct nat44_stats {
	uint32_t ports; /* in the set */
	uint32_t sessions, sessions_max, hosts;
	uint64_t made; /* sessions, ever */
	uint64_t drop[MAP_DROPS];
	struct nat44_space space[NAT44_SPACES];
};
/* Walks the table: for status, not for packets. */
void nat44_stats(const struct nat44 *n, struct nat44_stats *out);
/* Ports that nothing holds toward this destination: for policy. Where there is
 * none a new session may still have one that gives way. */
uint32_t nat44_ports_left(
    const struct nat44 *n, uint8_t proto, const uint8_t dst[4], uint16_t port);

/* Packets that no port was left for, ever. Cheap. */
uint64_t nat44_refused(const struct nat44 *n);

struct nat44_shortage {
	uint8_t proto; /* 6 TCP, 17 UDP, 1 ICMP */
	uint8_t dst[4];
	uint16_t port; /* of the destination; ICMP: 0 */
	uint32_t left; /* nat44_ports_left() */
};
/* Visit the destinations toward which fewer than so many ports are left, each
 * once, in no order. 0.0.0.0 port 0 is every destination of the protocol: where
 * the whole set is too small, and of UDP those but ports 53, 123 and 443,
 * which share the set's endpoint-independent mappings; UDP's other three are
 * 0.0.0.0 with that port, where the set is too small for them. What that
 * covers is not visited for itself. Walks the records of destinations in use;
 * returns at once where there cannot be any such. */
void nat44_short(const struct nat44 *n, uint32_t below,
    void (*visit)(void *arg, const struct nat44_shortage *s), void *arg);

#endif
