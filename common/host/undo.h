/* undo: a journal of the host changes that would outlive a killed process.
 * Each change is written to the journal and synced *before* it is made, and
 * undone in reverse order by undo_all(): at exit, by the next start, by
 * `ukai restore`. Undoing is idempotent and gentle: what somebody else has
 * changed since is left alone and said.
 * One journal a running instance; it is locked as long as its owner lives.
 * Entries that a reboot has undone (rules, sysctls) are skipped when the
 * journal is of another boot; files are restored always. A journal remembers
 * its network namespace: rules and net/ sysctls of another one stay in it and
 * are reported. */
#ifndef UKAI_UNDO_H
#define UKAI_UNDO_H

#include "netcfg.h"

struct undo;

/* Open (and make, 0600, its directory 0700) the journal at path and lock it.
 * Returns 0; UK_EBUSY: a living process holds it; UK_EPERM (also: somebody
 * else may have written it), UK_EPROTO (of another version), UK_ESYS,
 * UK_ENOMEM. Leftovers of a killed owner are there still: call undo_all(). */
int undo_open(struct undo **u, const char *path, struct diag *d);
/* Unlock; the file is removed when it is empty. NULL: no-op. */
void undo_close(struct undo *u);

/* Entries not undone yet. */
unsigned undo_count(const struct undo *u);

/* Set /proc/sys/NAME ("net/ipv4/ip_forward") to value; nothing is journalled
 * when it has that value. Undo: the old value, if it still is ours; a link's
 * net/ipv4/conf/LINK/forwarding stays when ip_forward is on by then. */
int undo_sysctl(
    struct undo *u, const char *name, const char *value, struct diag *d);
/* The value that undoing would bring back: false when it would not, for the
 * sysctl is not as our newest change in this boot and network namespace has
 * left it. */
bool undo_sysctl_old(
    const struct undo *u, const char *name, char *old, size_t cap);
#define UNDO_SYSCTL_MAX 1024 /* with the zero; longer ones are refused */
/* Add a policy rule. Undo: remove it. UK_EEXIST: it is there already, and is
 * not journalled (what made it is to be undone first). */
int undo_rule(struct undo *u, struct netcfg *n, const struct netcfg_rule *r,
    struct diag *d);
/* Answer for an address on a link (netcfg_neigh_proxy_add()). Undo: no more.
 * UK_EEXIST: somebody else does so already, and is left alone. */
int undo_neigh_proxy(struct undo *u, struct netcfg *n, unsigned index,
    const struct ip_addr *a, struct diag *d);
/* Undo undo_neigh_proxy() of that address alone, on every link. Returns as
 * undo_all(). */
int undo_neigh_proxy_remove(
    struct undo *u, struct netcfg *n, const struct ip_addr *a, struct diag *d);
/* Put an address of our own on a link (netcfg_addr_add_apart()). Undo: remove
 * it, unless somebody has made it theirs since. UK_EEXIST: it is there already,
 * whoever's it is, and is left alone. */
int undo_addr(struct undo *u, struct netcfg *n, unsigned index,
    const struct ip_ifaddr *a, struct diag *d);
/* Undo undo_addr() of that address alone, on every link. Returns as
 * undo_all(). */
int undo_addr_remove(struct undo *u, struct netcfg *n,
    const struct ip_ifaddr *a, struct diag *d);
/* Replace a file's content, keeping owner and mode; a symbolic link is
 * replaced by a file and comes back as the link. Works on a bind mount (then
 * in place). Undo: byte for byte as it was, or removed if it was not there,
 * unless somebody has changed it since (then left, and said). path is
 * absolute, at most 1 MiB goes in and may be there. */
int undo_file(struct undo *u, const char *path, const void *bytes, size_t len,
    struct diag *d);
/* Undo undo_file() of that path alone. Returns as undo_all(). */
int undo_file_restore(struct undo *u, const char *path, struct diag *d);

/* The nftables table "inet NAME" will be there, without an owner: call this
 * first. Nothing is made here, and a second call for the same name adds
 * nothing. Undo: delete the table, unless somebody owns it. */
int undo_table(struct undo *u, const char *name, struct diag *d);

/* Undo everything, last first. What cannot be undone stays in the journal
 * with an error in d; what somebody else has changed since is left and
 * forgotten with a warning. Returns 0; UK_ESYS when something stayed. */
int undo_all(struct undo *u, struct netcfg *n, struct diag *d);

#endif
