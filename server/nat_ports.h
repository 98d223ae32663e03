/* nat_ports: which of the 65,535 ports are taken, and what is left, as text
 * of nft. For nat*.c only. Pure. */
#ifndef UKAI_SERVER_NAT_PORTS_H
#define UKAI_SERVER_NAT_PORTS_H

#include "conf.h"
#include "core/text.h"

/* Reasons, as bits; what they mean is the caller's. */
struct nat_ports {
	uint8_t taken[UINT16_MAX + 1];
};

void nat_ports_take(
    struct nat_ports *p, unsigned first, unsigned last, uint8_t reason);
void nat_ports_take_all(
    struct nat_ports *p, const struct server_port_ranges *r, uint8_t reason);
/* The host's own: r, 22, the relay's, and 0, which is no port. */
void nat_ports_take_own(struct nat_ports *p, const struct server_port_ranges *r,
    uint16_t listen_port, uint16_t tls_port, uint8_t reason);

/* Ranges from first up of which no port is taken for one of these reasons
 * (!taken) or every port is (taken); in order, not adjacent.
 * nat_ports_free() frees them. Returns 0; UK_ENOMEM. */
int nat_ports_ranges(struct server_port_ranges *r, const struct nat_ports *p,
    unsigned first, uint8_t reasons, bool taken);

void nat_ports_free(struct server_port_ranges *r);

size_t nat_ports_count(const struct server_port_ranges *r);

/* "80", "3478-3481" */
void nat_ports_format(struct text *t, const struct server_port_range *r);

/* Keep the max widest. */
void nat_ports_widest(struct server_port_ranges *r, size_t max);

#endif
