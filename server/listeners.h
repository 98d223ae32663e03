/* listeners: ports of this host on which programs wait for visitors. Sockets
 * on the loopback do not count: no visitor comes there. */
#ifndef UKAI_SERVER_LISTENERS_H
#define UKAI_SERVER_LISTENERS_H

#include "core/port_set.h"

/* Append "80, 8080-8089": what of first to 65535 is in the set, at most so many
 * entries. Returns how many entries there are. */
size_t listeners_format(const struct port_set *p, uint16_t first,
    size_t entries_max, struct text *out);

struct listeners {
	struct port_set tcp, udp;
	/* From here the kernel takes ports for sockets that only wait for an
	 * answer; a UDP socket there is probably one. */
	uint16_t ephemeral_first, ephemeral_last;
};

/* Pure. Adds the sockets of a text in the form of /proc/net/tcp or udp. */
void listeners_parse_tcp(struct port_set *to, const char *text);
void listeners_parse_udp(struct port_set *to, const char *text);

/* Of this network namespace. What cannot be read is left out. */
void listeners_read(struct listeners *l);

/* Ports that services hold: both protocols, without what is ephemeral. */
void listeners_services(const struct listeners *l, struct port_set *to);

#endif
