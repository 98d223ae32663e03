/* hostfw: one nftables table of ours, by libnftables. The table carries the
 * "owner" flag: only this object's socket can change it, and the kernel
 * removes it when the socket closes, also when we are killed. A second table
 * may stay then. Threads: any, one at a time. */
#ifndef UKAI_HOSTFW_H
#define UKAI_HOSTFW_H

#include "core/base.h"
#include "core/diag.h"

struct hostfw;

/* Returns 0; UK_EPERM; UK_ESYS; UK_ENOMEM. */
int hostfw_open(struct hostfw **h, struct diag *d);
void hostfw_close(struct hostfw *h); /* the table goes; NULL: no-op */

/* Replace the table "inet NAME" by one with this body (chains, sets, rules,
 * in nft's syntax, without the "table ... {" around it), in one transaction:
 * either all of it holds or what was there before. name: [a-z][a-z0-9_-]*, at
 * most 32 bytes, the same in every call. body is ours and well meant: its
 * braces are not checked. Returns 0; UK_EBUSY when a table of that name is
 * there and not ours, UK_EPERM, UK_EINVAL (the kernel or the library refused:
 * d has their words with the body's line), UK_ESYS, UK_ENOMEM. */
int hostfw_apply(
    struct hostfw *h, const char *name, const char *body, struct diag *d);

/* Run commands about the table that hostfw_apply() made ("add element inet
 * NAME ..."), one a line, in one transaction: either all of them hold or what
 * was there before. A table of another family that they make has the flag
 * "owner", too. Nothing for other people's tables: commands are ours, well
 * meant, and not checked for that. Returns as hostfw_apply(). */
int hostfw_run(struct hostfw *h, const char *commands, struct diag *d);

/* As hostfw_apply(), and in the same transaction a second table, "inet KEPT",
 * takes the place of what has that name: our own from before, that of a killed
 * predecessor, or whoever's it is, as it has no owner; so it stays when we are
 * killed. kept_body NULL: there is none afterwards, whether there was one or
 * not. body NULL: the first table is left as it is, and name not looked at.
 * The caller has written to a journal that kept may be there (undo_table()).
 * UK_EBUSY also when a socket owns "inet KEPT". */
int hostfw_apply_kept(struct hostfw *h, const char *name, const char *body,
    const char *kept, const char *kept_body, struct diag *d);

#define HOSTFW_SET_MAX 64 /* of a set's name, with the zero */
#define HOSTFW_CHANGES_MAX 65536

/* One element of a set of ours, not of a map. */
struct hostfw_change {
	const char *table; /* "inet" */
	const char *set;
	bool add; /* else remove; adding what is there (which keeps its
		     comment), and removing what is not, is no error */
	uint8_t key[40]; /* as the set's type has it: addresses in network
			    order, parts of a concatenation padded to 4 */
	uint8_t key_len;
	const char *comment; /* shown by nft; NULL: none. Cut to 100 bytes;
				what is not printable ASCII, and quotes, become
				'?' */
};
/* Make these changes at once and in this order, in one transaction: either all
 * of them hold or none. Straight to the kernel, on the socket that owns the
 * table: libnftables reads all sets of the host before it adds an element to
 * one. Neither intervals nor timeouts; fewer than HOSTFW_CHANGES_MAX. Room that
 * a removal makes is there for the next call; some kernels refuse it to this
 * one. Refusals are slow (the kernel waits for its readers, some ms); so is a
 * removal of what is not there, before Linux 6.3. Returns 0; UK_ENOENT (no such
 * table or set), UK_ELIMIT (the set is full), UK_EINVAL (not such a key),
 * UK_EPERM, UK_ESYS, UK_ENOMEM; d may be NULL. */
int hostfw_elements(
    struct hostfw *h, const struct hostfw_change *c, size_t n, struct diag *d);

/* Visit the elements of a set, of whichever table "inet", with their comments;
 * NULL: it has none. Of intervals the first key is told. Stops when visit
 * returns false; visit may use h. Returns 0; UK_ENOENT; UK_EPERM, UK_ESYS,
 * UK_ENOMEM. */
int hostfw_elements_each(struct hostfw *h, const char *table, const char *set,
    bool (*visit)(
	void *arg, const uint8_t *key, size_t key_len, const char *comment),
    void *arg);
/* Visit the tables "inet" of this network namespace, whoever's they are; owned:
 * a socket owns it. As above, but for UK_ENOENT. */
int hostfw_tables_each(struct hostfw *h,
    bool (*visit)(void *arg, const char *table, bool owned), void *arg);
/* Visit the names of a table's sets and maps, but not of those that stand in
 * rules only. As above. */
int hostfw_sets_each(struct hostfw *h, const char *table,
    bool (*visit)(void *arg, const char *set), void *arg);
/* Visit the named counters of a table. As above. */
int hostfw_counters_each(struct hostfw *h, const char *table,
    bool (*visit)(
	void *arg, const char *counter, uint64_t packets, uint64_t bytes),
    void *arg);
/* One of them. Returns 0; UK_ENOENT: no such table or counter; else as
 * above. */
int hostfw_counter(struct hostfw *h, const char *table, const char *counter,
    uint64_t *packets, uint64_t *bytes);

#endif
