/* survey: what on this host stands in a relay's way, or should be known to
 * it: listeners on the ports that clients' flows might get, firewalls that
 * drop what it needs, what the kernel lacks. Only looks: sends nothing,
 * changes nothing. A message that knows a remedy ends with "run: COMMAND". */
#ifndef UKAI_SERVER_SURVEY_H
#define UKAI_SERVER_SURVEY_H

#include "conf.h"
#include "plan.h"
#include "ruleset.h"

/* N1: a client's flow from a port on which this host listens could take over
 * that service's visitors: such ports belong into ReservedPorts. */
void survey_listeners(const struct server_conf *c, struct diag *d);

/* Is a socket of this host bound to the port? */
bool survey_udp_port_used(uint16_t port);
bool survey_tcp_port_used(uint16_t port);

/* ---- firewalls ---- */

/* Rules of others: what nft, iptables-save and the -legacy- ones say, IPv4 and
 * IPv6. Each may be NULL: not there. */
struct survey_rules {
	struct ruleset *nft, *xt[2], *legacy[2];
};

struct survey_wants {
	uint16_t udp_port, tcp_port; /* 0: none */
	const char *tunnel, *uplink; /* interfaces; "": not known */
	bool ipv6; /* clients may call over it */
	const char *own_table; /* not looked at */
};

/* Pure. Which chains drop what the relay needs: errors when they surely do,
 * unless lenient: warnings then, and nothing about what may be. */
void survey_judge(const struct survey_rules *r, const struct survey_wants *w,
    bool lenient, struct diag *d);

/* The firewalls of this host. Without a plan: lenient, and runs no program.
 * The plan's own look runs iptables-save where there is one. */
void survey_firewalls(
    const struct server_conf *c, const struct plan *p, struct diag *d);

/* ---- the kernel and the service ---- */

/* CAP_NET_ADMIN is what it takes; root has it, and so may a service of
 * another user. */
bool survey_may_administer(void);

/* Pure. Does a file of sysctl.d(5) set this sysctl (with dots) to 0? The last
 * line holds; false also when it does not set it. */
bool survey_sysctl_is_off(const char *text, const char *name);

/* Missing rights, no TUN device, forwarding that cannot be switched on or that
 * somebody switches off, a conntrack table that is small or full, no IPv6. */
void survey_kernel(const struct plan *p, struct diag *d);

/* Is the systemd unit enabled, and does it run? running: a relay of that
 * interface answers. */
void survey_unit(bool running, struct diag *d);

#endif
