/* plan: from the ephemeral ports that an operating system draws from, and the
 * ports that a line owns, to the change after which it draws from the line's
 * alone. Pure; for every system, each with its limits.
 *
 * A system has one contiguous dynamic range, and a list of ports in it that are
 * kept out of automatic choice. So the range goes from the first of the line's
 * ports to the last, and what lies between them is kept out.
 *
 * A program that listens on a port which the system does not draw today must
 * not find it taken by an outgoing connection when it starts again: such a
 * port is kept out too. Where that cannot be done while it is in use, the
 * range is made shorter, so that it is not inside. */
#ifndef UKAI_PORTS_PLAN_H
#define UKAI_PORTS_PLAN_H

#include "core/port_set.h"
#include "client/mape/map_ports.h"

/* Fewer of the line's ports than this are refused: a browser and a few
 * programs would run out of them toward one server. */
#define PORTS_LEFT_MIN 64

struct ports_limits {
	uint16_t low_min; /* where a range may begin */
	uint32_t span_min; /* ports in a range, at least */
	bool used_can_be_kept; /* ports in use may be kept out */
};

extern const struct ports_limits ports_limits_windows;

struct ports_before {
	uint16_t low, high; /* the dynamic range */
	struct port_set kept; /* by others, out of automatic choice */
	struct port_set passing; /* the same, but given up for the change */
	struct port_set ours; /* by an earlier change of ours */
	struct port_set used; /* something listens there */
};

enum ports_refusal {
	PORTS_PLANNED,
	PORTS_WHOLE, /* the line has all ports: nothing to align */
	PORTS_NONE_FREE, /* no range that the system allows */
	PORTS_STRANDS, /* too few without stranding a listener */
	PORTS_TOO_FEW, /* too few besides what others keep */
};

struct ports_plan {
	enum ports_refusal refusal;
	uint16_t low, high; /* dynamic range; not when PORTS_NONE_FREE, WHOLE */
	struct port_set keep; /* to be kept out, besides before.kept */
	struct port_set listeners; /* the ports that made a difference: kept
				      out though the line's, or outside */
	struct port_set others; /* drawn though not the line's: in use, so that
				   they cannot be kept out meanwhile */
	uint32_t own; /* ports of the line */
	uint32_t own_before; /* of these in the dynamic range, before */
	uint32_t own_after; /* that can be drawn afterwards */
	uint32_t own_kept; /* of the line's that others keep out */
};

void ports_plan(struct ports_plan *p, const struct ports_before *b,
    const struct map_ports *line, const struct ports_limits *l);

/* Is everything already so? */
bool ports_plan_is_done(
    const struct ports_plan *p, const struct ports_before *b);

/* How many of the line's ports the system may draw as it is: in the range
 * and not kept out. */
uint32_t ports_drawable(
    const struct ports_before *b, const struct map_ports *line);

/* The line's ports as a set. */
void ports_of_line(struct port_set *s, const struct map_ports *line);

#endif
