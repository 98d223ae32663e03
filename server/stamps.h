/* stamps: the greatest timestamp that each client's handshakes carried, kept
 * across restarts, so that an initiation that somebody recorded is refused
 * afterwards too; and the greatest that we sent (P1). They belong to one key
 * of the relay: a new key, which is the way out after a clock was far ahead
 * (P2), begins anew. Clients that are not there now keep their lines: they
 * may come back.
 *
 *   ukai-stamps 1 PUBLIC-KEY STAMP    the relay's; base64, 24 hex digits
 *   PUBLIC-KEY STAMP                  one line a client
 *
 * Memory: heap, one entry a client. Threads: owner only. */
#ifndef UKAI_SERVER_STAMPS_H
#define UKAI_SERVER_STAMPS_H

#include "core/diag.h"
#include "core/text.h"
#include "wg/wg_device.h"

struct stamp {
	struct wg_key public_key;
	uint8_t stamp[WG_STAMP_LEN];
};

/* Zero-initialised, but for the relay's public key, means empty. */
struct stamps {
	struct wg_key relay;
	struct stamp *item; /* in the order of their keys */
	size_t n, cap;
	uint8_t own[WG_STAMP_LEN]; /* zeros: none */
	bool changed; /* since it was read or written */
};

/* Empty afterwards. */
void stamps_fini(struct stamps *s);

/* Pure. s->relay is set and s empty. Returns 0; UK_ENOENT: of another key;
 * UK_EPROTO: not such a text; UK_ENOMEM. On error s is empty. A key twice: the
 * greater stamp holds. */
int stamps_parse(struct stamps *s, const char *text, size_t len);
int stamps_format(const struct stamps *s, struct text *out); /* UK_ENOMEM */

/* The greatest stamp known of a key; NULL: none. */
const uint8_t *stamps_find(
    const struct stamps *s, const struct wg_key *public_key);
/* Stamps only grow. Returns 0; UK_ENOMEM. */
int stamps_note(struct stamps *s, const struct wg_key *public_key,
    const uint8_t stamp[WG_STAMP_LEN]);

/* Read the file. None, or one of another key, is no mistake. Returns 0; with an
 * empty s and a warning in d: UK_EPERM (others may write it, or we may not read
 * it), UK_EPROTO, UK_ESYS, UK_ENOMEM. */
int stamps_load(struct stamps *s, const char *path, struct diag *d);
/* Replace the file (0600) by a synced one, so that a crash leaves the old or
 * the new. Clears s->changed. Returns 0; UK_EPERM, UK_ESYS, UK_ENOMEM, told
 * to d. */
int stamps_save(struct stamps *s, const char *path, struct diag *d);

/* Give the device what is known, and learn from it. */
void stamps_give(const struct stamps *s, struct wg_device *device);
int stamps_take(struct stamps *s, const struct wg_device *device);

#endif
