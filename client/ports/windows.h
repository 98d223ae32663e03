/* windows: the port settings of Windows as the text that its tools print, and
 * their change as the commands to run. Pure: nothing here runs on Windows.
 *
 * Dynamic ranges and exclusions are held for TCP and UDP separately. An
 * exclusion cannot be added where a port in it is in use or in another
 * exclusion, and is deleted only by its exact start and count. Hyper-V and WSL
 * (the service winnat) take exclusions of 100 ports out of the dynamic range
 * at each start; they go when it is stopped, and cannot be deleted. */
#ifndef UKAI_PORTS_WINDOWS_H
#define UKAI_PORTS_WINDOWS_H

#include "command_list.h"
#include "core/diag.h"
#include "plan.h"

enum { PORTS_TCP, PORTS_UDP, PORTS_PROTOCOLS };

/* "tcp", "udp". */
const char *ports_protocol_name(int protocol);

struct ports_windows {
	/* Passing: what winnat has taken, so far as can be seen: 100 ports, not
	 * administered. */
	struct ports_before before[PORTS_PROTOCOLS];
	bool has_state, has_netstat; /* else: taken for granted */
};

/* 49152 to 65535, nothing excluded, nothing in use. */
void ports_windows_default(struct ports_windows *w);

/* What `netsh int ipv4 show dynamicport` and `show excludedportrange` print,
 * for tcp, udp or both, in any language and order: what is there replaces that
 * of w. A title names the protocol; numbers are told apart by their form. As
 * UTF-8, a code page, or UTF-16 with its mark. Returns 0; UK_EPROTO, told to d
 * with the line; UK_ENOMEM. */
int ports_windows_parse_state(
    struct ports_windows *w, const char *text, size_t len, struct diag *d);
/* What `netstat -an` prints: every local port is in use, added to w. Lines of
 * another form are skipped. Returns 0; UK_EPROTO when no line has that form;
 * UK_ENOMEM. */
int ports_windows_parse_netstat(
    struct ports_windows *w, const char *text, size_t len, struct diag *d);

/* The commands that change w's state as planned for both protocols, and those
 * that bring it back, each list in its order. Exclusions come first and the
 * range after them, so that no port beside the line's is drawn in between;
 * winnat starts when it finds the new range. */
void ports_windows_commands(struct command_list *change,
    struct command_list *revert, const struct ports_windows *w,
    const struct ports_plan plan[static PORTS_PROTOCOLS]);

#endif
