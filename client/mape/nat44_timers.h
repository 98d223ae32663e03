/* nat44_timers: how long a session may be idle, as a table. Included by
 * nat44_table.c and by tests.
 *
 * Where few ports are left for a new session, sessions that are in its way have
 * less time, by stages. What counts is how many of the ports are taken: for
 * TCP, well-known UDP and ICMP those toward the new session's destination, for
 * other UDP those with an endpoint-independent mapping. nat44_expire() goes by
 * how full the session table is. At the last stage nothing is free, and the
 * session that is most beyond its time gives way.
 *
 *   stage          taken            why its times are as they are
 *   ROOMY          below 3/4        the RFCs'
 *   TIGHT          from 3/4         ended: as long as most hosts' TIME_WAIT
 *   SCARCE         from 7/8         opening: SYN is sent again for a minute
 *   FULL           all              opening, reset: a live one is not so quiet;
 *                                   ended, answered: see below
 *
 * Established TCP and ICMP have the RFC's time at all stages; UDP is never
 * under two minutes (RFC 4787 REQ-5), but for DNS and NTP (REQ-5 b), which are
 * one question and one answer.
 *
 *   ESTABLISHED    2 h 4 min        RFC 5382 REQ-5; one FIN seen, too
 *   OPENING        4 min            RFC 5382 REQ-5, transitory
 *   ENDED          4 min            RFC 5382 REQ-5, RFC 7857 2.1; both FINs
 *   RESET          4 min            RFC 7857 2.2: the linger that N8 wants
 *   UDP            5 min            RFC 4787 REQ-5 c
 *   UDP_SHORT      1 min            to ports 53 and 123
 *   ANSWERED       1 min            the same, and the last packet came in
 *   ICMP           1 min            RFC 5508 REQ-2
 *
 * Ended, 4 s: a peer that lacks the last ACK has sent its FIN again by then,
 * and hardly a segment is on its way for so long. A set of 240 gives 60 short
 * connections a second to one server with it, for ever. The server may be in
 * TIME_WAIT, for 1 to 4 minutes: it takes a SYN with a later sequence number or
 * timestamp (RFC 1122 4.2.2.13, RFC 6191). One of another host inside may have
 * none such; it is answered with an ACK, and that with RST, which ends the
 * TIME_WAIT, so that the SYN is taken when it comes again.
 *
 * Answered, 4 s: A and AAAA are asked from one port, and both answers pass. */
#ifndef UKAI_MAPE_NAT44_TIMERS_H
#define UKAI_MAPE_NAT44_TIMERS_H

#include <stdint.h>

enum nat44_stage {
	NAT44_ROOMY,
	NAT44_TIGHT,
	NAT44_SCARCE,
	NAT44_FULL,
	NAT44_STAGES
};

enum nat44_timer {
	NAT44_ESTABLISHED,
	NAT44_OPENING,
	NAT44_ENDED,
	NAT44_RESET,
	NAT44_UDP_LONG,
	NAT44_UDP_SHORT,
	NAT44_ANSWERED,
	NAT44_QUERY,
	NAT44_TIMERS
};

/* Seconds without a packet after which a session is over. */
static const uint16_t nat44_idle_s[NAT44_TIMERS][NAT44_STAGES] = {
    [NAT44_ESTABLISHED] = {7440, 7440, 7440, 7440},
    [NAT44_OPENING] = {240, 240, 120, 30},
    [NAT44_ENDED] = {240, 60, 20, 4},
    [NAT44_RESET] = {240, 60, 30, 10},
    [NAT44_UDP_LONG] = {300, 300, 180, 120},
    [NAT44_UDP_SHORT] = {60, 60, 30, 10},
    [NAT44_ANSWERED] = {60, 60, 20, 4},
    [NAT44_QUERY] = {60, 60, 60, 60},
};

#endif
