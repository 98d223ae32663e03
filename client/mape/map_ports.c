#include "map_ports.h"

/* The A bits of a port that is somebody's are 1.. where there are any. */
static unsigned
first_a(const struct map_ports *p)
{
	return p->offset > 0;
}

/* Ports of one range: 2^m. */
static unsigned
range_bits(const struct map_ports *p)
{
	return 16u - p->offset - p->psid_len;
}

uint32_t
map_ports_ranges(const struct map_ports *p)
{
	if (p->psid_len == 0)
		return 1;
	return (UINT32_C(1) << p->offset) - first_a(p);
}

uint32_t
map_ports_count(const struct map_ports *p)
{
	if (p->psid_len == 0)
		return 65536;
	return map_ports_ranges(p) << range_bits(p);
}

void
map_ports_range(
    const struct map_ports *p, uint32_t i, uint16_t *low, uint16_t *high)
{
	unsigned m = range_bits(p);
	uint32_t first;

	UK_ASSERT(i < map_ports_ranges(p));
	if (p->psid_len == 0) {
		*low = 0;
		*high = UINT16_MAX;
		return;
	}
	first = (i + first_a(p)) << (16 - p->offset) | (uint32_t)p->psid << m;
	*low = (uint16_t)first;
	*high = (uint16_t)(first + (UINT32_C(1) << m) - 1);
}

bool
map_ports_psid(uint8_t offset, uint8_t psid_len, uint16_t port, uint16_t *psid)
{
	uint32_t mask = (UINT32_C(1) << psid_len) - 1, v = port;

	if (psid_len == 0) {
		*psid = 0;
		return true;
	}
	if (offset > 0 && v >> (16 - offset) == 0)
		return false;
	*psid = (uint16_t)(v >> (16 - offset - psid_len) & mask);
	return true;
}

bool
map_ports_has(const struct map_ports *p, uint16_t port)
{
	uint16_t psid;

	if (p->psid_len == 0)
		return true;
	return map_ports_psid(p->offset, p->psid_len, port, &psid) &&
	       psid == p->psid;
}

uint16_t
map_ports_nth(const struct map_ports *p, uint32_t i)
{
	unsigned m = range_bits(p);
	uint16_t low, high;

	UK_ASSERT(i < map_ports_count(p));
	if (p->psid_len == 0)
		return (uint16_t)i;
	map_ports_range(p, i >> m, &low, &high);
	return (uint16_t)(low + (i & ((UINT32_C(1) << m) - 1)));
}

uint32_t
map_ports_index(const struct map_ports *p, uint16_t port)
{
	unsigned m = range_bits(p);
	uint32_t a = (uint32_t)port >> (16 - p->offset);

	UK_ASSERT(map_ports_has(p, port));
	if (p->psid_len == 0)
		return port;
	return (a - first_a(p)) << m | (port & ((UINT32_C(1) << m) - 1));
}
