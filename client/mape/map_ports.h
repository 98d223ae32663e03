/* map_ports: the ports that one line owns. RFC 7597 section 5.1 and appendix B:
 * a port is A (offset bits) | PSID (psid_len bits) | j, and A is not 0 unless
 * offset is. Pure. Ports in host order. */
#ifndef UKAI_MAPE_MAP_PORTS_H
#define UKAI_MAPE_MAP_PORTS_H

#include "core/base.h"

/* psid_len 0: all 65536 ports, whatever offset says. */
struct map_ports {
	uint8_t offset; /* 0..15 */
	uint8_t psid_len; /* 0..16, offset + psid_len <= 16 */
	uint16_t psid;
};

uint32_t map_ports_count(const struct map_ports *p); /* 0..65536 */
/* Contiguous ranges, all of one size, in ascending order. */
uint32_t map_ports_ranges(const struct map_ports *p);
/* i < map_ports_ranges() */
void map_ports_range(
    const struct map_ports *p, uint32_t i, uint16_t *low, uint16_t *high);

bool map_ports_has(const struct map_ports *p, uint16_t port);
/* The ports in ascending order, numbered from 0 to map_ports_count() - 1. */
uint16_t map_ports_nth(const struct map_ports *p, uint32_t i);
uint32_t map_ports_index(const struct map_ports *p, uint16_t port);

/* Whose port it is among lines with this offset and length. Nobody's, where
 * offset > 0 and the port's A is 0: then false. */
bool map_ports_psid(
    uint8_t offset, uint8_t psid_len, uint16_t port, uint16_t *psid);

#endif
