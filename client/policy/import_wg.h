/* import_wg: the AllowedIPs of a WireGuard configuration as a policy. Nothing
 * else of it is looked at, so that keys and commands are no matter. Pure. */
#ifndef UKAI_POLICY_IMPORT_WG_H
#define UKAI_POLICY_IMPORT_WG_H

#include "core/diag.h"
#include "core/text.h"

/* Does it have a [Peer] section, or [Interface]? */
bool import_wg_is(const char *text, size_t len);

/* Appended to out; name is what its first line says it comes from. Returns 0:
 * *taken is how many networks were had; UK_EINVAL: a wrong prefix, or there is
 * none, told to d; UK_ENOMEM. */
int import_wg(struct text *out, size_t *taken, const char *name,
    const char *text, size_t len, struct diag *d);

#endif
