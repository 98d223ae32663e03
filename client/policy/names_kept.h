/* names_kept: addresses that names of tunnel! and block have had, from one run
 * of a tunnel to the next: programs that go on over a restart go on with them,
 * too. After a kill the guard's sets have them (policy_carry_over()); a run
 * that ends by itself takes the guard away and leaves a file, 0600, in the run
 * directory, so that it ends with the system, as programs do. Linux. */
#ifndef UKAI_POLICY_NAMES_KEPT_H
#define UKAI_POLICY_NAMES_KEPT_H

#include "bindings.h"
#include "core/diag.h"

/* The file's text: "NAME ADDRESS", a line each. Lines that are nothing of the
 * kind are passed over. Returns 0; UK_ENOMEM: not all of it. Pure. */
int names_kept_parse(
    struct bindings *b, uint64_t now_ns, const char *text, size_t len);

/* No file: nothing was kept. Returns 0; UK_EPERM, UK_ESYS, UK_ENOMEM, told to
 * d. */
int names_kept_load(
    struct bindings *b, uint64_t now_ns, const char *path, struct diag *d);
/* Nothing to keep: no file. Returns as above. */
int names_kept_save(const struct bindings *b, const char *path, struct diag *d);

#endif
