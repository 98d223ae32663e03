/* tls_identity: a key pair of one's own for TLS, and its pin. The certificate
 * around the key says nothing that anybody reads (T1): it is made anew from
 * the key each time, and never written to a file. */
#ifndef UKAI_TLS_IDENTITY_H
#define UKAI_TLS_IDENTITY_H

#include "core/base.h"
#include "core/diag.h"

/* SHA-256 of the SubjectPublicKeyInfo (RFC 7469 section 2.4). */
#define TLS_PIN_LEN 32

struct tls_identity;

/* A new one (P-256), in memory. Returns 0; UK_ECRYPTO; UK_ENOMEM. */
int tls_identity_new(struct tls_identity **id, struct diag *d);
/* Write the private key (PKCS #8, PEM) to a new file, 0600, synced; a kill
 * leaves no part of it under this name. Only one at a time. Returns 0; UK_EEXIST: there is
 * something, left as it is; UK_ENOENT: no such folder; UK_EPERM, UK_ESYS. */
int tls_identity_save(
    const struct tls_identity *id, const char *path, struct diag *d);
/* P-256, P-384, P-521, Ed25519, Ed448, or RSA of at least 2048 bits; the file
 * may be ours or root's. Returns 0; UK_ENOENT; UK_EPERM (others may read or
 * write it, too); UK_EPROTO: no private key that TLS 1.3 can use, or one that
 * asks for a passphrase; UK_ESYS, UK_ENOMEM. On error *id is NULL. */
int tls_identity_load(
    struct tls_identity **id, const char *path, struct diag *d);
void tls_identity_free(struct tls_identity *id); /* wipes; NULL: no-op */

void tls_identity_pin(
    const struct tls_identity *id, uint8_t pin[static TLS_PIN_LEN]);

/* For tls_stream only: the key and the certificate go into an SSL_CTX, which
 * keeps them by counting. Returns 0 or UK_ECRYPTO. */
struct ssl_ctx_st;
int tls_identity_give(const struct tls_identity *id, struct ssl_ctx_st *ctx);

#endif
