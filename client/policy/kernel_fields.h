/* kernel_fields: at which byte the fields of the running kernel's structures
 * are, as its own description of its types says (BTF, CONFIG_DEBUG_INFO_BTF;
 * Linux 5.4). For BPF programs that look into them. */
#ifndef UKAI_POLICY_KERNEL_FIELDS_H
#define UKAI_POLICY_KERNEL_FIELDS_H

#include "core/base.h"

/* Also one in a structure or union without a name in that structure. */
struct kernel_field {
	const char *structure, *field;
};

/* offset[i] becomes field[i]'s. Returns 0; UK_ENOENT: the kernel has no such
 * field, or does not describe itself; UK_EPROTO: no such description;
 * UK_ENOMEM; UK_ESYS. */
int kernel_fields_read(
    uint32_t *offset, const struct kernel_field *field, size_t n);
/* The same from the description itself, of this machine's byte order. Pure. */
int kernel_fields_parse(uint32_t *offset, const struct kernel_field *field,
    size_t n, const void *btf, size_t len);

#endif
