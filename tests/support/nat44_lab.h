/* nat44_lab: packets for tests of nat44, made and checked from scratch. Header
 * only: each test uses a part of it. */
#ifndef UKAI_TEST_NAT44_LAB_H
#define UKAI_TEST_NAT44_LAB_H

#include <string.h>

#include "client/mape/nat44.h"
#include "core/bytes.h"

#define LAB_OURS 0xcb007101 /* 203.0.113.1 */
#define LAB_HOST 0xc0a80001 /* 192.168.0.1, and those after it */
#define LAB_REMOTE 0xc6336401 /* 198.51.100.1, and those after it */

enum { LAB_ICMP = 1, LAB_TCP = 6, LAB_UDP = 17 };
enum { LAB_FIN = 1, LAB_SYN = 2, LAB_RST = 4, LAB_ACK = 16 };

/* PSID 0x34 of 8 bits behind 4: 15 ranges of 16 ports. */
static const struct map_ports lab_ports = {
    .offset = 4, .psid_len = 8, .psid = 0x34};

static uint64_t lab_seed = 88172645463325252;

static inline uint64_t
lab_rnd(void)
{
	lab_seed ^= lab_seed << 13;
	lab_seed ^= lab_seed >> 7;
	lab_seed ^= lab_seed << 17;
	return lab_seed;
}

static inline void
lab_random(void *buf, size_t len)
{
	uint8_t *b = buf;

	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)(lab_rnd() >> 24);
}

static inline struct nat44_conf
lab_conf(void)
{
	struct nat44_conf c;

	nat44_conf_default(&c, &lab_ports);
	store_be32(c.address, LAB_OURS);
	c.sessions_max = 4096;
	c.host_sessions_max = 4096;
	c.host_ports_max = 240;
	c.random = lab_random;
	return c;
}

/* RFC 1071 as it is written. */
static inline uint32_t
lab_sum(uint32_t sum, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)b[i] << 8 : b[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static inline uint32_t
lab_pseudo(const uint8_t *p, uint32_t l4_len)
{
	uint8_t tail[4] = {0, p[9], (uint8_t)(l4_len >> 8), (uint8_t)l4_len};

	return lab_sum(lab_sum(0, p + 12, 8), tail, 4);
}

static inline uint32_t
lab_check_place(const uint8_t *p)
{
	return 20 + (p[9] == LAB_TCP ? 16u : p[9] == LAB_UDP ? 6u : 2u);
}

/* All checksums of a packet without IP options. */
static inline void
lab_seal(uint8_t *p, uint32_t len)
{
	uint32_t at = lab_check_place(p);
	uint32_t start = p[9] == LAB_ICMP ? 0 : lab_pseudo(p, len - 20);

	store_be16(p + 2, (uint16_t)len);
	store_be16(p + 10, 0);
	store_be16(p + 10, (uint16_t)~lab_sum(0, p, 20));
	store_be16(p + at, 0);
	uint16_t sum = (uint16_t)~lab_sum(start, p + 20, len - 20);
	store_be16(p + at, p[9] == LAB_UDP && sum == 0 ? 0xffff : sum);
}

/* Are they right? */
static inline bool
lab_valid(const uint8_t *p, uint32_t len)
{
	uint32_t start = p[9] == LAB_ICMP ? 0 : lab_pseudo(p, len - 20);

	if (lab_sum(0, p, 20) != 0xffff)
		return false;
	if (p[9] == LAB_UDP && load_be16(p + 26) == 0)
		return true;
	return lab_sum(start, p + 20, len - 20) == 0xffff;
}

/* Who to whom; for ICMP sport or dport is an identifier, the other is 0. */
struct lab_end {
	uint32_t a;
	uint16_t port;
};

static inline uint32_t
lab_make(uint8_t *p, uint8_t proto, struct lab_end src, struct lab_end dst,
    uint8_t flags)
{
	uint32_t len = 20 + (proto == LAB_TCP ? 20u : 8u) + 13;

	memset(p, 0, len);
	p[0] = 0x45;
	p[6] = 0x40;
	p[8] = 64;
	p[9] = proto;
	store_be32(p + 12, src.a);
	store_be32(p + 16, dst.a);
	if (proto == LAB_ICMP) {
		p[20] = src.port != 0 ? 8 : 0;
		store_be16(p + 24, src.port | dst.port);
	} else {
		store_be16(p + 20, src.port);
		store_be16(p + 22, dst.port);
	}
	if (proto == LAB_TCP) {
		p[32] = 0x50;
		p[33] = flags;
	} else if (proto == LAB_UDP) {
		store_be16(p + 24, (uint16_t)(len - 20));
	}
	for (uint32_t i = len - 13; i < len; i++)
		p[i] = (uint8_t)lab_rnd();
	lab_seal(p, len);
	return len;
}

static inline struct lab_end
lab_src(const uint8_t *p)
{
	return (struct lab_end){
	    load_be32(p + 12), load_be16(p + (p[9] == LAB_ICMP ? 24 : 20))};
}

static inline struct lab_end
lab_dst(const uint8_t *p)
{
	return (struct lab_end){
	    load_be32(p + 16), load_be16(p + (p[9] == LAB_ICMP ? 24 : 22))};
}

/* The last packet that was sent, as it came out. */
static uint8_t lab_p[2048];
static uint32_t lab_len;
static bool lab_inside;

static inline enum map_drop
lab_pass(struct nat44 *n, uint64_t now_ns, bool out, bool partial)
{
	struct nat44_packet p = {
	    .p = lab_p, .len = lab_len, .partial = partial};

	if (out)
		nat44_outward(n, now_ns, &p, 1);
	else
		nat44_inward(n, now_ns, &p, 1);
	lab_inside = p.inside;
	return p.verdict;
}

static inline enum map_drop
lab_out(struct nat44 *n, uint64_t now_ns, uint8_t proto, struct lab_end host,
    struct lab_end remote, uint8_t flags)
{
	lab_len = lab_make(lab_p, proto, host, remote, flags);
	return lab_pass(n, now_ns, true, false);
}

/* From remote to a port of ours. */
static inline enum map_drop
lab_in(struct nat44 *n, uint64_t now_ns, uint8_t proto, struct lab_end remote,
    uint16_t port, uint8_t flags)
{
	struct lab_end ours = {LAB_OURS, port};

	lab_len = lab_make(lab_p, proto, remote, ours, flags);
	return lab_pass(n, now_ns, false, false);
}

/* ICMP error of this type and code from `from` about q, of which qlen bytes are
 * quoted. */
static inline void
lab_error(uint32_t from, uint32_t to, uint8_t type, uint8_t code, uint16_t mtu,
    const uint8_t *q, uint32_t qlen)
{
	static uint8_t copy[sizeof(lab_p)];

	memcpy(copy, q, qlen);
	memset(lab_p, 0, 28);
	lab_p[0] = 0x45;
	lab_p[8] = 64;
	lab_p[9] = LAB_ICMP;
	store_be32(lab_p + 12, from);
	store_be32(lab_p + 16, to);
	lab_p[20] = type;
	lab_p[21] = code;
	store_be16(lab_p + 26, mtu);
	memcpy(lab_p + 28, copy, qlen);
	lab_len = 28 + qlen;
	lab_seal(lab_p, lab_len);
}

#endif
