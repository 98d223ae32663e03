#include "ndp.h"

#include <string.h>

#include "core/bytes.h"
#include "core/csum.h"
#include "core/err.h"
#include "core/ip.h"

#define IP6_LEN 40
#define MESSAGE_LEN 24 /* both types, without options */
#define HOP_LIMIT 255 /* nothing that a router passed on */

#define FLAG_SOLICITED 0x40
#define FLAG_OVERRIDE 0x20

enum { OPTION_SOURCE_MAC = 1, OPTION_TARGET_MAC = 2 };

static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
static const uint8_t unspecified[16];

/* ff02::1:ffXX:XXXX (RFC 4291 2.7.1). */
static void
solicited_node(uint8_t group[16], const uint8_t target[16])
{
	static const uint8_t prefix[13] = {0xff, 2, [11] = 1, [12] = 0xff};

	memcpy(group, prefix, sizeof(prefix));
	memcpy(group + 13, target + 13, 3);
}

static uint16_t
checksum(const uint8_t *pkt, size_t len)
{
	uint64_t sum = csum_pseudo(
	    pkt + 8, pkt + 24, 16, IPPROTO_NUM_ICMPV6, (uint32_t)len);

	return csum_fold(csum_add(sum, pkt + IP6_LEN, len));
}

/* The message behind a header that is as it must be. Returns its length, or 0.
 */
static size_t
message_len(const uint8_t *pkt, size_t len)
{
	size_t payload;

	if (len < IP6_LEN + MESSAGE_LEN || pkt[0] >> 4 != 6)
		return 0;
	payload = load_be16(pkt + 4);
	if (payload < MESSAGE_LEN || payload > len - IP6_LEN)
		return 0;
	if (pkt[6] != IPPROTO_NUM_ICMPV6 || pkt[7] != HOP_LIMIT)
		return 0;
	return checksum(pkt, payload) == 0xffff ? payload : 0;
}

/* Walk the options; the last one of the wanted type counts. */
static int
options_parse(struct ndp *m, const uint8_t *o, size_t len)
{
	uint8_t want =
	    m->type == NDP_SOLICIT ? OPTION_SOURCE_MAC : OPTION_TARGET_MAC;

	while (len > 0) {
		size_t size;

		if (len < 8)
			return UK_EPROTO;
		size = (size_t)o[1] * 8;
		if (size == 0 || size > len)
			return UK_EPROTO;
		if (o[0] == want && size == 8) {
			m->has_mac = true;
			memcpy(m->mac, o + 2, NDP_MAC_LEN);
		}
		o += size;
		len -= size;
	}
	return 0;
}

/* RFC 4861 7.1.1, the last two conditions. */
static bool
probe_ok(const struct ndp *m, const uint8_t *dst)
{
	uint8_t group[16];

	solicited_node(group, m->target);
	return !m->has_mac && memcmp(dst, group, sizeof(group)) == 0;
}

int
ndp_parse(struct ndp *out, const uint8_t *pkt, size_t len)
{
	size_t payload = message_len(pkt, len);
	const uint8_t *src = pkt + 8, *dst = pkt + 24, *icmp = pkt + IP6_LEN;
	struct ndp m = {0};

	if (payload == 0)
		return UK_EPROTO;
	if ((icmp[0] != NDP_SOLICIT && icmp[0] != NDP_ADVERTISE) ||
	    icmp[1] != 0 || icmp[8] == 0xff)
		return UK_EPROTO;
	m.type = (enum ndp_type)icmp[0];
	memcpy(m.target, icmp + 8, sizeof(m.target));
	if (options_parse(&m, icmp + MESSAGE_LEN, payload - MESSAGE_LEN) < 0)
		return UK_EPROTO;
	m.probe = m.type == NDP_SOLICIT &&
		  memcmp(src, unspecified, sizeof(unspecified)) == 0;
	if (m.probe && !probe_ok(&m, dst))
		return UK_EPROTO;
	if (m.type == NDP_ADVERTISE) {
		m.override = (icmp[4] & FLAG_OVERRIDE) != 0;
		if (dst[0] == 0xff && (icmp[4] & FLAG_SOLICITED) != 0)
			return UK_EPROTO;
	}
	*out = m;
	return 0;
}

/* A message of so many bytes; src NULL: from the unspecified address. */
static void
begin(uint8_t *pkt, size_t len, const uint8_t *src, const uint8_t *dst)
{
	memset(pkt, 0, len);
	pkt[0] = 6 << 4;
	store_be16(pkt + 4, (uint16_t)(len - IP6_LEN));
	pkt[6] = IPPROTO_NUM_ICMPV6;
	pkt[7] = HOP_LIMIT;
	if (src != NULL)
		memcpy(pkt + 8, src, 16);
	memcpy(pkt + 24, dst, 16);
}

static void
finish(uint8_t *pkt, size_t len)
{
	store_be16(pkt + IP6_LEN + 2, (uint16_t)~checksum(pkt, len - IP6_LEN));
}

/* Not marked as a router's: who takes us for one does so by the address that
 * our router advertisements come from, which is not this one. */
void
ndp_announce(uint8_t pkt[static NDP_ANNOUNCE_LEN], const uint8_t target[16],
    const uint8_t mac[NDP_MAC_LEN])
{
	uint8_t *icmp = pkt + IP6_LEN;

	begin(pkt, NDP_ANNOUNCE_LEN, target, all_nodes);
	icmp[0] = NDP_ADVERTISE;
	icmp[4] = FLAG_OVERRIDE;
	memcpy(icmp + 8, target, 16);
	icmp[MESSAGE_LEN] = OPTION_TARGET_MAC;
	icmp[MESSAGE_LEN + 1] = 1;
	memcpy(icmp + MESSAGE_LEN + 2, mac, NDP_MAC_LEN);
	finish(pkt, NDP_ANNOUNCE_LEN);
}

void
ndp_probe(uint8_t pkt[static NDP_PROBE_LEN], const uint8_t target[16])
{
	uint8_t group[16];

	solicited_node(group, target);
	begin(pkt, NDP_PROBE_LEN, NULL, group);
	pkt[IP6_LEN] = NDP_SOLICIT;
	memcpy(pkt + IP6_LEN + 8, target, 16);
	finish(pkt, NDP_PROBE_LEN);
}

void
ndp_group_mac(uint8_t mac[static NDP_MAC_LEN], const uint8_t group[16])
{
	mac[0] = mac[1] = 0x33;
	memcpy(mac + 2, group + 12, 4);
}
