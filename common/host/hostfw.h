/* hostfw: one nftables table of ours, by libnftables. The table carries the
 * "owner" flag: only this object's socket can change it, and the kernel
 * removes it when the socket closes, also when we are killed. */
#ifndef UKAI_HOSTFW_H
#define UKAI_HOSTFW_H

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

#endif
