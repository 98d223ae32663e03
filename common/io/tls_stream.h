/* tls_stream: one TLS 1.3 connection as a machine: bytes of the network go in
 * and out, bytes of the application go out and in; OpenSSL over memory BIOs,
 * no socket. The only users of OpenSSL's SSL are this and tls_identity.
 *
 * TLS is a pipe and nothing more (T1): the far end is known by the SHA-256 of
 * its public key (a client) or not at all (a server); names, CAs, dates and
 * extensions of certificates play no part. TLS 1.3 only, no resumption, no
 * early data, no client certificates (T4). What the host's openssl.cnf says
 * about versions, groups and certificates changes nothing.
 *
 * Memory of an accepted stream, OpenSSL 3.0 on x86-64, counted by its test and,
 * for what is resident, over 2,000 streams that carried 1,400 bytes each way:
 * 73 KiB before the first byte (17 resident), at most 150 KiB in the handshake,
 * 110 KiB when it is up and idle (36 resident). A record costs 1.5 us of its
 * sender and as much of its receiver, and 16 KiB of it 6 us: write small
 * messages together. */
#ifndef UKAI_TLS_STREAM_H
#define UKAI_TLS_STREAM_H

#include "core/base.h"
#include "core/diag.h"
#include "tls_identity.h"

struct tls_stream;

enum tls_result {
	TLS_DONE,       /* did something; call again */
	TLS_WANT_INPUT, /* tls_stream_input() first */
	TLS_WANT_OUTPUT, /* tls_stream_output() first: its buffer is full */
	TLS_CLOSED,     /* the far end said that it is done (close_notify) */
	TLS_FAILED,     /* over; tls_stream_error() says why */
};

#define TLS_ALPN_NAMES 4
#define TLS_ALPN_MAX 31

/* Names of protocols inside TLS (RFC 7301), the best first; NULL ends it: at
 * most TLS_ALPN_NAMES of 1 to TLS_ALPN_MAX bytes. At a server one that names
 * none of them is refused, and so is silence. Returns 0; UK_ECRYPTO,
 * UK_ENOMEM. id and alpn may go afterwards. */
struct tls_server; /* shared by its streams: identity and names */
int tls_server_new(struct tls_server **s, const struct tls_identity *id,
    const char *const *alpn, struct diag *d);
void tls_server_free(struct tls_server *s); /* after its streams; NULL: no-op */

/* NULL: out of memory. */
struct tls_stream *tls_stream_accept(struct tls_server *s);
/* To the far end that holds the key with this pin; one name of a protocol. */
struct tls_stream *tls_stream_connect(
    const uint8_t pin[TLS_PIN_LEN], const char *alpn);
void tls_stream_free(struct tls_stream *t); /* NULL: no-op */

/* ---- network's side. Buffers are bounded: TLS_BUFFER_MAX each way. After each
 * call of the application's side send the output: answers of TLS itself are
 * in there, and after TLS_FAILED the alert that tells the far end why. ---- */
#define TLS_BUFFER_MAX 32768

/* Takes what has room; returns how much. */
size_t tls_stream_input(struct tls_stream *t, const void *bytes, size_t len);
/* The network ended without a word: what was read till then is still handed
 * out, then TLS_FAILED, never TLS_CLOSED. */
void tls_stream_input_end(struct tls_stream *t);
/* Bytes to send, valid until the next call with t; 0: none. There may be more
 * behind them: call until 0. */
size_t tls_stream_output(struct tls_stream *t, const uint8_t **bytes);
void tls_stream_output_sent(struct tls_stream *t, size_t len);

/* ---- application's side ---- */

/* Go on with the handshake; TLS_DONE when it is over. */
enum tls_result tls_stream_handshake(struct tls_stream *t);
/* What was agreed on; NULL before the handshake is over. */
const char *tls_stream_alpn(const struct tls_stream *t);
/* *done: how much was read, at most len; with TLS_DONE at least 1. len is not
 * 0. Goes on with the handshake first, when it is not over. */
enum tls_result tls_stream_read(
    struct tls_stream *t, void *bytes, size_t len, size_t *done);
/* All of it, and the first TLS_WRITE_MAX bytes of more: in one record, so that
 * what was written at once comes out together. TLS_WANT_OUTPUT took nothing;
 * try again with anything. After TLS_CLOSED it still works: the far end
 * listens on (RFC 8446 section 6.1). */
#define TLS_WRITE_MAX 16384
enum tls_result tls_stream_write(
    struct tls_stream *t, const void *bytes, size_t len, size_t *done);
/* Say that nothing more comes (close_notify); send the output afterwards, and
 * read on till TLS_CLOSED when the rest of the far end matters. A second time
 * does nothing; before the handshake is over it ends in TLS_FAILED. */
enum tls_result tls_stream_close(struct tls_stream *t);

/* A sentence for a person, after TLS_FAILED: "the relay's key is not the one
 * that was asked for", "the far end ended the connection", ... */
const char *tls_stream_error(const struct tls_stream *t);

#endif
