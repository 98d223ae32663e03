#include "wg_limit.h"

#include "core/bytes.h"

#include <sodium.h>
#include <string.h>

#define COST_NS (UK_NS_PER_S / WG_LIMIT_PER_S)
#define DEPTH_NS (COST_NS * WG_LIMIT_BURST)

void
wg_limit_init(struct wg_limit *l, const uint8_t key[16])
{
	memset(l, 0, sizeof(*l));
	memcpy(l->key, key, sizeof(l->key));
}

/* Two families never give one number: no global IPv6 /64 begins with 32 zero
 * bits, and an IPv4 address sits in the lower half. */
static uint64_t
source_number(const struct ip_addr *a)
{
	return a->family == FAMILY_V4 ? load_be32(a->b) : load_be64(a->b);
}

/* A bucket is kept as the time at which it will be full: a token costs 50 ms
 * of it, and more than 250 ms ahead means that all five are out. */
static bool
take(struct wg_limit_bucket *b, uint64_t now_ns)
{
	uint64_t full = b->full_ns > now_ns ? b->full_ns : now_ns;

	if (full + COST_NS > now_ns + DEPTH_NS)
		return false;
	b->full_ns = full + COST_NS;
	return true;
}

bool
wg_limit_allow(
    struct wg_limit *l, const struct ip_addr *source, uint64_t now_ns)
{
	uint64_t number = source_number(source);
	struct wg_limit_bucket *set, *place = NULL;
	uint8_t hash[crypto_shorthash_BYTES];

	crypto_shorthash(
	    hash, (const uint8_t *)&number, sizeof(number), l->key);
	set = l->bucket[load_le64(hash) % WG_LIMIT_SETS];
	for (size_t i = 0; i < WG_LIMIT_WAYS; i++) {
		if (set[i].source == number && set[i].full_ns > now_ns)
			return take(&set[i], now_ns);
		if (set[i].full_ns <= now_ns)
			place = &set[i];
	}
	if (!place)
		return false;
	*place = (struct wg_limit_bucket){.source = number};
	return take(place, now_ns);
}
