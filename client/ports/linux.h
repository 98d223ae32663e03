/* linux: the ephemeral ports of this network namespace: what is, and changing
 * it. ip_local_port_range and ip_local_reserved_ports hold for TCP and UDP,
 * IPv4 and IPv6 alike. */
#ifndef UKAI_PORTS_LINUX_H
#define UKAI_PORTS_LINUX_H

#include "core/diag.h"
#include "helps.h"
#include "host/undo.h"
#include "plan.h"

/* Who says that ports are to be reserved, so far as files tell. */
#define PORTS_CLAIMS_MAX 8
struct ports_claim {
	struct port_set ports;
	char who[96]; /* a file of sysctl.d(5) */
};

struct ports_linux {
	struct ports_before before;
	struct ports_limits limits;
	struct ports_claim claim[PORTS_CLAIMS_MAX];
	unsigned claims;
	bool docker, kubernetes; /* they seem to run here */
	bool applied; /* a change of ours is in force */
	uint16_t old_low, old_high; /* the dynamic range without it */
};

/* u: the journal of our changes, NULL: none, or not to be read. Returns 0;
 * UK_EPERM, UK_ESYS, UK_EPROTO, UK_ENOMEM, told to d. */
int ports_linux_read(
    struct ports_linux *s, const struct undo *u, struct diag *d);

/* The ports that a file of sysctl.d(5) reserves; the last line counts. Pure.
 * Returns false when it does not say. */
bool ports_linux_claim(struct port_set *s, const char *text, size_t len);

/* What both sysctls become by a plan. */
struct ports_linux_values {
	char range[24]; /* "5696 64975" */
	struct text reserved; /* all of it */
};
void ports_linux_values(struct ports_linux_values *v,
    const struct ports_plan *p, const struct ports_before *b);
/* And what they are without our change. */
void ports_linux_values_before(
    struct ports_linux_values *v, const struct ports_linux *s);

/* Change the host as planned: reservations first and the range after them, so
 * that no port beside the line's is drawn in between. Returns 0; errors of
 * undo_sysctl() and undo_reserved_ports(), with what was done undone. */
int ports_linux_apply(
    struct undo *u, const struct ports_plan *p, struct diag *d);

/* The way to the IPv4 internet. */
int ports_linux_path(struct ports_path *p, struct diag *d);

#endif
