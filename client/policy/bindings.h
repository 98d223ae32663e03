/* bindings: which addresses the names of rules have, as the DNS has said, and
 * so what is in the kernel's sets (policy_nft_names_set()). An address is in
 * the set of every slot one of whose rules holds for one of its names, as long
 * as one of those answers lives: its TTL, BINDINGS_FLOOR_S at least, and one
 * day at most. Programs keep addresses for longer, some for ever, so it stays
 * there beyond that, counted from the answer, by what the rules that can
 * decide about the name say:
 *   tunnel!   a day, and then as long as flows use it (bindings_use())
 *   block     a day    } but not when another name is answered with it, for
 *   tunnel    an hour  } a CDN gives one customer's address to the next
 * Room is made by what no rule is about, then, for names with rules alone, by
 * what nothing leaks without, then by the oldest of the rule that has most
 * addresses. An answer that would have to take one of its own rule that is not
 * BINDINGS_FLOOR_S old is refused. The kernel's sets have no sizes of their
 * own.
 * Pure: names and time in, changes out. Memory: heap. Threads: owner only. */
#ifndef UKAI_POLICY_BINDINGS_H
#define UKAI_POLICY_BINDINGS_H

#include "matcher.h"
#include "slots.h"

#define BINDINGS_FLOOR_S 300
#define BINDINGS_TUNNEL_S 3600
#define BINDINGS_CEILING_S 86400
/* Of pairs of a name and an address. */
#define BINDINGS_MAX 131072
#define BINDINGS_NAME_MAX 2048 /* of one name: then its oldest goes */
#define BINDINGS_TICK_MAX 4096 /* too old, and forgotten at once */
/* What one answer may have. */
#define BINDINGS_CHAIN_MAX 16
#define BINDINGS_RULES_MAX 64 /* rules that one name is looked at for */

struct bindings;

/* m and s stay until bindings_follow() or bindings_free(). Returns 0;
 * UK_ENOMEM. */
int bindings_new(
    struct bindings **out, const struct matcher *m, const struct slots *s);
void bindings_free(struct bindings *b); /* NULL: no-op */

/* The name that was asked for, and those that its CNAMEs led to, have this
 * address. Returns 0, also when no rule cares; UK_ELIMIT: BINDINGS_MAX is
 * reached, and the address is not bound; UK_ENOMEM: likewise. */
int bindings_add(struct bindings *b, uint64_t now_ns, const char *const *name,
    size_t names, const struct ip_addr *a, uint32_t ttl_s);

/* A flow goes there because of some tunnel! now: as long as that goes on the
 * address is kept. */
void bindings_use(struct bindings *b, uint64_t now_ns, const struct ip_addr *a);

/* Forget what is too old, BINDINGS_TICK_MAX of it, for all of it is to be told
 * to the kernel; hold: not what tunnel! is about, which gets another day, as
 * nobody can see now who uses it. Once a second. */
void bindings_tick(struct bindings *b, uint64_t now_ns, bool hold);

/* Another policy: the names stay, their slots and times change. After this the
 * changes are those from empty sets. Returns 0; UK_ENOMEM: all is as before. */
int bindings_follow(
    struct bindings *b, const struct matcher *m, const struct slots *s);

struct binding_change {
	uint16_t slot; /* number */
	bool add; /* else remove */
	struct ip_addr addr;
	const char *name; /* one of its names; good until the next call */
};
/* What has to be done in the kernel. In order; an address that came and went
 * meanwhile is not told. */
bool bindings_next(struct bindings *b, struct binding_change *out);
/* Is there any? */
bool bindings_changed(const struct bindings *b);
/* The kernel has all that was told. */
void bindings_told(struct bindings *b);
/* It may not have what was told since then, which is told once more. */
void bindings_untold(struct bindings *b);
/* Nobody knows what of it the kernel has, or the sets are empty: all of it is
 * to be told once more, also what has to be out of a set that it was in. */
void bindings_again(struct bindings *b);

/* Visit what is kept for tunnel! and block, for the next start. Returns false
 * when visit did. */
bool bindings_kept_each(const struct bindings *b,
    bool (*visit)(void *arg, const char *name, const struct ip_addr *a),
    void *arg);

/* The names of an address, for explain. Returns how many; at most cap are
 * written, good until the next change. */
size_t bindings_names(const struct bindings *b, const struct ip_addr *a,
    const char **name, size_t cap);

/* An address that names of different rules have, so that a flow to it cannot
 * be told apart: the earlier rule wins. */
struct binding_collision {
	struct ip_addr addr;
	const char *name[2]; /* the first one's is the winner's */
	uint32_t rule[2];
};
void bindings_collisions(const struct bindings *b,
    bool (*visit)(void *arg, const struct binding_collision *c), void *arg);

struct bindings_stats {
	uint32_t names, addresses, pairs;
	uint64_t refused; /* UK_ELIMIT */
};
void bindings_stats(const struct bindings *b, struct bindings_stats *out);

#endif
