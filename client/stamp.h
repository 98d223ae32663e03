/* stamp: the greatest handshake stamp that a peer has answered, kept in a file
 * over restarts: a clock that has stepped back must not make our handshakes
 * look like replays (P1). It belongs to one key: a new key, which is the way
 * out after a clock was far ahead (P2), begins anew.
 *
 *   ukai-stamp 1 PUBLIC-KEY STAMP     base64, 24 hex digits */
#ifndef UKAI_CLIENT_STAMP_H
#define UKAI_CLIENT_STAMP_H

#include "core/diag.h"
#include "wg/wg_msg.h"

#define STAMP_TEXT_MAX 96

/* Pure. Returns 0; UK_ENOENT: of another key; UK_EPROTO. */
int stamp_parse(uint8_t stamp[static WG_STAMP_LEN], const struct wg_key *key,
    const char *text, size_t len);
/* With newline and zero. Returns the length. */
size_t stamp_format(char text[static STAMP_TEXT_MAX], const struct wg_key *key,
    const uint8_t stamp[static WG_STAMP_LEN]);

/* Zeros where there is none for this key. A file that cannot be read or
 * understood is a warning in d. */
void stamp_load(uint8_t stamp[static WG_STAMP_LEN], const char *path,
    const struct wg_key *key, struct diag *d);
/* Replaces the file, mode 0600, in one step. Returns 0; UK_EPERM, UK_ESYS. */
int stamp_save(const char *path, const struct wg_key *key,
    const uint8_t stamp[static WG_STAMP_LEN]);

#endif
