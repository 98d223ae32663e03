/* listeners: ports of this network namespace on which programs wait, and the
 * range that the kernel chooses ports from by itself. */
#ifndef UKAI_LISTENERS_H
#define UKAI_LISTENERS_H

#include "core/diag.h"
#include "core/port_set.h"

/* Append "80, 8080-8089": what of first to 65535 is in the set, at most so many
 * entries. Returns how many entries there are. */
size_t listeners_format(const struct port_set *p, uint16_t first,
    size_t entries_max, struct text *out);

struct listeners {
	/* Listening TCP and unconnected UDP sockets that others can reach. */
	struct port_set tcp, udp;
	struct port_set loopback; /* of both, where no visitor comes */
	/* From here the kernel takes ports for sockets that only wait for an
	 * answer; a UDP socket there is probably one. */
	uint16_t ephemeral_first, ephemeral_last;
};

/* Pure. Adds the sockets of a text in the form of /proc/net/tcp or udp. */
void listeners_parse_tcp(struct listeners *l, const char *text);
void listeners_parse_udp(struct listeners *l, const char *text);

/* What cannot be read is left out; an unknown range is 32768 to 60999. Returns
 * 0; UK_EPERM, UK_EPROTO, UK_ESYS for the first of it, told to d. */
int listeners_read(struct listeners *l, struct diag *d);

/* "32768\t60999". Pure. Returns 0; UK_EINVAL. */
int listeners_parse_range(
    uint16_t *low, uint16_t *high, const char *text, size_t len);

/* Ports that services hold where visitors come: both protocols, without what
 * is ephemeral. */
void listeners_services(const struct listeners *l, struct port_set *to);

#endif
