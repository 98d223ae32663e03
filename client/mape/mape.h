/* mape: this host as the CE of its line ([MapE] Mode = self): the interface
 * ukai-map0, the MAP address on the link toward the operator, and the packets
 * between them. IPv4 of this host, and of a network behind it, goes there by
 * a default route in two halves; what is more specific, or has rules of its
 * own (a tunnel's), comes first. Everything goes with the process, but the
 * address and a sysctl, which are in the journal. */
#ifndef UKAI_MAPE_MAPE_H
#define UKAI_MAPE_MAPE_H

#include <uv.h>

#include "ce.h"
#include "ce_address.h"
#include "host/undo.h"
#include "ce_line.h"
#include "wire.h"

#define MAPE_IFNAME "ukai-map0"

struct mape;

struct mape_setup {
	uv_loop_t *loop;
	const struct mape_conf *conf;
	struct netcfg *n;
	struct undo *undo;
	/* What takes a packet past the routes of a tunnel to the line's, as
	 * SO_MARK: ::/0 may be the tunnel's. 0: none. */
	uint32_t mark;
	/* It cannot go on: somebody deleted the interface or the link, or has
	 * the address, or the line has another prefix. Said already. */
	void (*ended)(void *arg);
	void *arg;
};

/* Runs the loop until the address is ours, 12 s at most. Pointers in s must
 * stay. Returns 0 (d may have warnings); UK_ENOENT, UK_EINVAL: this host is no
 * line's CE, and d says why; UK_EBUSY: another device has the address, or
 * there is an interface of that name; UK_EPERM, UK_ESYS, UK_ENOMEM. */
int mape_open(struct mape **m, const struct mape_setup *s, struct diag *d);
void mape_close(struct mape *m); /* NULL: no-op */

struct mape_stats {
	const struct ce_line *line;
	char link[16];
	struct ce_stats ce;
	struct ce_address_stats address;
	struct wire_stats wire;
};
void mape_stats(struct mape *m, struct mape_stats *out);
/* As nat44_short(). */
void mape_short(const struct mape *m, uint32_t below,
    void (*visit)(void *arg, const struct nat44_shortage *s), void *arg);
/* As nat44_refused(). */
uint64_t mape_refused(const struct mape *m);

#endif
