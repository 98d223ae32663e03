/* undo_reserved: ports that the kernel is not to choose by itself
 * (ip_local_reserved_ports), as changes of the undo journal. The kernel does
 * not know who has reserved which port, and who writes the list writes all of
 * it: so a change is what it adds, and undoing takes that out again, whatever
 * else is in the list by then. */
#ifndef UKAI_UNDO_RESERVED_H
#define UKAI_UNDO_RESERVED_H

#include "core/port_set.h"
#include "undo.h"

/* Reserve ports, besides those that are. Undo: no more, but what others have
 * reserved or freed since stays so. Returns 0; UK_ELIMIT: the list is too long
 * for the kernel to take in one write; UK_EPERM, UK_ESYS, UK_EPROTO,
 * UK_ENOMEM, told to d. */
int undo_reserved_ports(
    struct undo *u, const struct port_set *ports, struct diag *d);
/* The ports of a list that undoing would take out of it: by pending entries of
 * this boot and network namespace. */
void undo_reserved_ours(
    const struct undo *u, const struct port_set *now, struct port_set *ours);
/* Bytes of a list that the kernel takes in one write, without the newline. */
#define UNDO_RESERVED_LIST_MAX 4094
/* The list as it is now. Returns 0; errors as above. */
int undo_reserved_read(struct port_set *s, struct diag *d);

#endif
