/* wg_now: seal or open one message at once, for tests that have a session and
 * no device. Not for threads. */
#ifndef UKAI_TESTS_WG_NOW_H
#define UKAI_TESTS_WG_NOW_H

#include "wg/wg_session.h"

/* As wg_session_seal() and aead_seal(). Returns 0; UK_ECRYPTO. */
int wg_seal_now(const struct wg_session *s, uint64_t counter, uint32_t mtu,
    struct pbuf *p);
/* As wg_session_open() and aead_open(). Returns 0; UK_EAUTH. */
int wg_open_now(const struct wg_session *s, struct pbuf *p, uint64_t *counter);
/* The engine that they use. */
struct aead_engine *wg_now_engine(void);

#endif
