/* mark: the bits of marks, shared by all that sets or reads them. Nobody
 * touches bits that are not its own.
 *
 * A packet's mark:
 *   31-24  n + 1: it goes into tunnel n (routes.h)
 *   23-16  class of the socket it comes from, set when the socket is made
 *   all    the tunnels' own datagrams: exactly the configuration's FwMark
 * A connection's mark:
 *   31-24  n + 1: it goes, or came, through tunnel n (routes.h)
 *   23-20  what the policy has decided; 0: nothing yet
 *   15-0   slot (slots.h) that decided, for counting; 0: none */
#ifndef UKAI_POLICY_MARK_H
#define UKAI_POLICY_MARK_H

#include "core/base.h"

#define MARK_CLASS_MASK UINT32_C(0x00ff0000)
#define MARK_CLASS_SHIFT 16

enum mark_class {
	CLASS_NONE = 0,
	/* 1 to CLASS_PROGRAM_MAX: programs that rules name (programs.h) */
	CLASS_PROGRAM_MAX = 0xf9,
	CLASS_RUN_SOFT = 0xfd, /* `ukai run --fallback`: as "tunnel" */
	CLASS_RUN = 0xfe, /* `ukai run`: as "tunnel!" */
	CLASS_DNS = 0xff, /* our forwarder's own questions: not sent back to
			     it; the policy decides where they go */
};

#define MARK_DECISION_MASK UINT32_C(0x00f00000)
#define MARK_NATIVE UINT32_C(0x00100000)
#define MARK_TUNNEL UINT32_C(0x00200000)
#define MARK_TUNNEL_ONLY UINT32_C(0x00300000)
#define MARK_REFUSED UINT32_C(0x00400000) /* block, and tunnel! without one */
/* Neither rule nor line is concerned: to this host, multicast, LocalNetworks,
 * the gateway, DNS on its way to the forwarder. */
#define MARK_LOCAL UINT32_C(0x00500000)

#define MARK_SLOT_MASK UINT32_C(0x0000ffff)

#endif
