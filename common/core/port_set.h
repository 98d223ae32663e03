/* port_set: a set of port numbers, and the text that the kernel has for one:
 * "8080,30000-32767". Pure. Memory: caller's, 8 KiB. */
#ifndef UKAI_PORT_SET_H
#define UKAI_PORT_SET_H

#include "base.h"
#include "text.h"

/* Zero-initialised means empty. */
struct port_set {
	uint64_t w[1024];
};

bool port_set_has(const struct port_set *s, uint16_t port);
/* low <= high, both inside. */
void port_set_add(struct port_set *s, uint16_t low, uint16_t high);
void port_set_or(struct port_set *s, const struct port_set *other);
void port_set_and(struct port_set *s, const struct port_set *other);
void port_set_minus(struct port_set *s, const struct port_set *other);
uint32_t port_set_count(const struct port_set *s);
uint32_t port_set_count_in(
    const struct port_set *s, uint16_t low, uint16_t high);

/* The next maximal range with ports at or above *from; *from becomes what to
 * go on with. Begin with 0. false: no more. */
bool port_set_next(
    const struct port_set *s, uint32_t *from, uint16_t *low, uint16_t *high);

/* Numbers and ranges between commas; blanks and newlines around them are
 * skipped, nothing at all is the empty set. Returns 0; UK_EINVAL: s is as it
 * was. */
int port_set_parse(struct port_set *s, const char *text, size_t len);
/* Appends it as short as it can be: ascending, without overlap. */
void port_set_format(const struct port_set *s, struct text *out);

#endif
