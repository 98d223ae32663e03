/* policy_kernel: a policy's tables in the kernel: the tunnel's own one, with
 * what else is in there, and the guard, which stays when we are killed; and
 * what changes in their sets while they stand. On the loop's thread; tables
 * with long lists are brought in by a worker thread, and until that has ended
 * nothing else can be changed (UK_EAGAIN). */
#ifndef UKAI_POLICY_KERNEL_H
#define UKAI_POLICY_KERNEL_H

#include <uv.h>

#include "host/hostfw.h"
#include "host/undo.h"
#include "policy_nft.h"

/* Behind the name of the tunnel's table: that of the guard. */
#define POLICY_GUARD_SUFFIX "-guard"

struct policy_kernel;

struct policy_kernel_conf {
	uv_loop_t *loop;
	struct hostfw *firewall;
	struct undo *keep; /* journal of the guard */
	const char *table; /* name of the tunnel's own */
	/* Append what else is in it. In any thread. */
	void (*body)(void *arg, struct text *t);
	void *arg;
};

/* Returns 0; UK_ENOMEM. */
int policy_kernel_open(
    struct policy_kernel **out, const struct policy_kernel_conf *c);
/* The policy goes out of the tunnel's table, if it is in there; the guard
 * stays, for its journal to undo. NULL: no-op. */
void policy_kernel_close(struct policy_kernel *k, struct diag *d);

const char *policy_kernel_guard(const struct policy_kernel *k); /* its name */

/* Is the guard gone that was put last? Unlike the other table it has no owner,
 * and somebody may delete it: `nft flush ruleset`. */
bool policy_kernel_lacks_guard(struct policy_kernel *k);

/* The guard alone, before there is a tunnel; what names' sets of an earlier
 * run's guard hold is to be in p. Returns as hostfw_apply(). */
int policy_kernel_put_guard(
    struct policy_kernel *k, const struct policy_nft *p, struct diag *d);
/* Both tables. */
int policy_kernel_put(
    struct policy_kernel *k, const struct policy_nft *p, struct diag *d);
/* Likewise, by a worker thread; done is called later, once, unless this
 * fails. All that p points to has to stay until then. Returns 0; UK_EAGAIN;
 * UK_ENOMEM. */
int policy_kernel_put_later(struct policy_kernel *k, const struct policy_nft *p,
    void (*done)(void *arg, int err, const struct diag *d), void *arg);
bool policy_kernel_is_busy(const struct policy_kernel *k); /* NULL: no */

#define POLICY_KERNEL_CHANGES 256 /* at once */

/* Change elements of sets in the tunnel's table, and in the guard where it has
 * a set of that name; a change need not name the table. As hostfw_elements();
 * UK_EAGAIN: busy. */
int policy_kernel_change(struct policy_kernel *k, const struct hostfw_change *c,
    size_t n, struct diag *d);
/* Visit the elements of a set in the tunnel's table; as
 * hostfw_elements_each(). UK_EAGAIN: busy. */
int policy_kernel_each(struct policy_kernel *k, const char *set,
    bool (*visit)(
	void *arg, const uint8_t *key, size_t key_len, const char *comment),
    void *arg);

struct policy_count {
	uint64_t flows; /* decided on */
	uint64_t packets, bytes; /* of them, both ways */
};
/* Since the slot is there, over reloads. While busy: as of the last look. */
void policy_kernel_count(
    struct policy_kernel *k, uint16_t slot, struct policy_count *out);
/* Questions of the LAN that the table that stands has redirected. Returns as
 * hostfw_counter(); UK_EAGAIN: busy. */
int policy_kernel_lan_dns(struct policy_kernel *k, uint64_t *questions);
/* Have counters read anew before the next policy_kernel_count(). */
void policy_kernel_look(struct policy_kernel *k);

#endif
