#include "tls_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "core/bytes.h"
#include "core/err.h"

/* The cheapest first: what matters is sealed once more inside. */
#define CIPHERS                                                                \
	"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:"                 \
	"TLS_AES_256_GCM_SHA384"
#define GROUPS "X25519:P-256"

/* The far end's certificate message: one around an RSA key of 4096 bits takes
 * 1,300 bytes. OpenSSL's own limit is 100 KiB. */
#define CERTIFICATES_MAX 4096

/* A first message of ours has some 300 bytes, one with a post-quantum key share
 * 1,800. OpenSSL makes room for 131,396 as soon as four bytes say so (C2). */
#define HELLO_MAX 4096
/* Record header (RFC 8446 section 5.1) and message header (section 4). */
#define RECORD_HEADER_LEN 5
#define HELLO_HEAD_LEN (RECORD_HEADER_LEN + 4)

/* What a record adds: its header, its inner type, the tag; and before it there
 * may be the answer to a KeyUpdate, which is 5 + 5 + 1 + 16 bytes. */
#define WRITE_SLACK 64

/* Messages between records of data cost both ends work, and OpenSSL 3.0 counts
 * none. The least key life that RFC 8446 section 5.5 knows is 2^24.5 records;
 * this allows one in a MiB. */
#define MESSAGES_FREE 16
#define MESSAGE_BYTES (UINT64_C(1) << 20)

#define NOT_TLS "the far end does not speak TLS"
#define NOT_TLS13 "the far end does not speak TLS 1.3"
#define NOTHING_COMMON "the far end has no way of encrypting that we have, too"
#define NOT_UKAI "what answers there speaks no ukai enrolment"
#define WRONG_KEY                                                              \
	"this is not the relay that the token names: its key is another one"
#define WRONG_CHAIN                                                            \
	"this is not the relay that the token names: its certificate is not "  \
	"made as a relay's"
#define TOO_LONG "the far end sent a message that is too long"
#define FORGED "what came was changed on its way, or is no TLS"
#define KEY_REFUSED "the far end does not accept our key"
#define ENDED "the connection ended in the middle"
#define ENDED_EARLY "the far end ended the connection before TLS was up"

struct tls_server {
	SSL_CTX *ctx;
	uint8_t names[TLS_ALPN_NAMES * (1 + TLS_ALPN_MAX)]; /* RFC 7301 3.1 */
	unsigned names_len;
};

struct tls_stream {
	SSL *ssl;
	BIO *inside; /* where OpenSSL reads and writes; belongs to ssl */
	BIO *outside; /* the other end of it */
	bool is_server;
	bool is_up;
	bool has_failed;
	bool has_ended; /* no more input */
	bool has_closed; /* no more output of the application */
	uint8_t head[HELLO_HEAD_LEN]; /* a server: how the input began */
	size_t head_len;
	uint64_t messages; /* after the handshake */
	uint64_t received; /* bytes of the application */
	uint8_t pin[TLS_PIN_LEN]; /* a client: whom it wants */
	char alpn[TLS_ALPN_MAX + 1]; /* a client: wanted; else agreed on */
	const char *refused; /* why one of our callbacks said no */
	const char *error;
	char text[128]; /* for an error without a sentence of its own */
};

/* What OpenSSL calls it, and what it means here. */
static const struct {
	int reason;
	const char *sentence;
} sentences[] = {
    {SSL_R_WRONG_VERSION_NUMBER, NOT_TLS},
    {SSL_R_HTTP_REQUEST, NOT_TLS},
    {SSL_R_HTTPS_PROXY_REQUEST, NOT_TLS},
    {SSL_R_BAD_RECORD_TYPE, NOT_TLS},
    {SSL_R_RECORD_LENGTH_MISMATCH, NOT_TLS},
    {SSL_R_UNSUPPORTED_PROTOCOL, NOT_TLS13},
    {SSL_R_VERSION_TOO_LOW, NOT_TLS13},
    {SSL_R_WRONG_SSL_VERSION, NOT_TLS13},
    {SSL_R_BAD_LEGACY_VERSION, NOT_TLS13},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, NOT_TLS13},
    {SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY, NOTHING_COMMON},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, NOTHING_COMMON},
    {SSL_R_NO_SHARED_CIPHER, NOTHING_COMMON},
    {SSL_R_NO_SHARED_GROUPS, NOTHING_COMMON},
    {SSL_R_NO_SUITABLE_KEY_SHARE, NOTHING_COMMON},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, NOTHING_COMMON},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, NOTHING_COMMON},
    {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, NOT_UKAI},
    {SSL_R_NO_APPLICATION_PROTOCOL, NOT_UKAI},
    {SSL_R_EXCESSIVE_MESSAGE_SIZE, TOO_LONG},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, KEY_REFUSED},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, KEY_REFUSED},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, KEY_REFUSED},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, KEY_REFUSED},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, KEY_REFUSED},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, KEY_REFUSED},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, KEY_REFUSED},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, FORGED},
    {SSL_R_BAD_SIGNATURE, FORGED},
    {SSL_R_DIGEST_CHECK_FAILED, FORGED},
    {SSL_R_SSLV3_ALERT_BAD_RECORD_MAC, FORGED},
    {SSL_R_TLSV1_ALERT_DECRYPT_ERROR, FORGED},
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, ENDED},
    {SSL_R_PROTOCOL_IS_SHUTDOWN, "more was to be sent after the end"},
};

static const char *
sentence_for(int reason)
{
	for (size_t i = 0; i < ARRAY_LEN(sentences); i++)
		if (sentences[i].reason == reason)
			return sentences[i].sentence;
	return NULL;
}

static enum tls_result
fail(struct tls_stream *t, const char *why)
{
	t->has_failed = true;
	if (t->error == NULL)
		t->error = why;
	return TLS_FAILED;
}

/* The first entry of OpenSSL's queue that we have a sentence for; else its
 * last one, wrapped in one. Empties the queue. */
static enum tls_result
fail_by_queue(struct tls_stream *t)
{
	const char *why = NULL, *reason = NULL;
	unsigned long e;

	while ((e = ERR_get_error()) != 0) {
		if (why == NULL && ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE)
			why = "out of memory";
		if (why == NULL && ERR_GET_LIB(e) == ERR_LIB_SSL)
			why = sentence_for(ERR_GET_REASON(e));
		reason = ERR_reason_error_string(e);
	}
	/* The only one that can be long while a client gets to know it. */
	if (why != NULL && strcmp(why, TOO_LONG) == 0 && !t->is_server &&
	    !t->is_up)
		why = WRONG_CHAIN;
	if (why != NULL)
		return fail(t, why);
	if (reason == NULL)
		return fail(t, ENDED);
	snprintf(t->text, sizeof(t->text), "TLS with the far end failed: %s",
	    reason);
	return fail(t, t->text);
}

/* What a call of OpenSSL that did not do its work wants. */
static enum tls_result
outcome(struct tls_stream *t, int returned)
{
	if (t->refused != NULL)
		return fail(t, t->refused);
	switch (SSL_get_error(t->ssl, returned)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_INPUT;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_OUTPUT;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	default: /* SSL_ERROR_SSL, SSL_ERROR_SYSCALL; the rest is not asked for
		  */
		return fail_by_queue(t);
	}
}

/* A ServerHello whose random says that it is a HelloRetryRequest (RFC 8446
 * section 4.1.3). */
static bool
is_retry_request(const uint8_t *message, size_t len)
{
	static const uint8_t retry[32] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a,
	    0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
	    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2,
	    0xc8, 0xa8, 0x33, 0x9c};

	return len >= 38 && message[0] == SSL3_MT_SERVER_HELLO &&
	       memcmp(message + 6, retry, sizeof(retry)) == 0;
}

/* Every message of the handshake protocol, and every record's header. */
static void
on_message(int is_write, int version, int type, const void *message, size_t len,
    SSL *ssl, void *arg)
{
	struct tls_stream *t = SSL_get_app_data(ssl);

	(void)version;
	(void)arg;
	if (type != SSL3_RT_HANDSHAKE)
		return;
	/* The second hello that it asks for would come in unseen. */
	if (is_write && t->is_server && is_retry_request(message, len))
		t->refused = NOTHING_COMMON;
	else if (!is_write && t->is_up)
		t->messages++;
}

/* No SSL_MODE_RELEASE_BUFFERS: a stream that is up would cost a third less
 * memory while it is idle, and each record 10 % more time. */
static SSL_CTX *
context_new(const SSL_METHOD *method)
{
	SSL_CTX *c = SSL_CTX_new(method);

	if (c == NULL)
		return NULL;
	if (SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(c, CIPHERS) != 1 ||
	    SSL_CTX_set1_groups_list(c, GROUPS) != 1 ||
	    SSL_CTX_set_num_tickets(c, 0) != 1) {
		SSL_CTX_free(c);
		return NULL;
	}
	SSL_CTX_set_options(c,
	    SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_cert_list(c, CERTIFICATES_MAX);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE |
				SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_msg_callback(c, on_message);
	return c;
}

/* OpenSSL asks choose_protocol() only when the far end names any. */
static int
on_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_stream *t = SSL_get_app_data(ssl);
	const unsigned char *names;
	size_t len;

	(void)arg;
	if (SSL_client_hello_get0_ext(ssl,
		TLSEXT_TYPE_application_layer_protocol_negotiation, &names,
		&len) == 1)
		return SSL_CLIENT_HELLO_SUCCESS;
	t->refused = "the far end does not say what it wants to speak";
	*alert = SSL_AD_NO_APPLICATION_PROTOCOL;
	return SSL_CLIENT_HELLO_ERROR;
}

static int
choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
	struct tls_stream *t = SSL_get_app_data(ssl);
	const struct tls_server *s = arg;
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, out_len, s->names, s->names_len, in,
		in_len) != OPENSSL_NPN_NEGOTIATED) {
		t->refused = "the far end wants to speak what we do not";
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* The one thing that is looked at in a certificate (T1). */
static bool
is_pinned(X509 *leaf, const uint8_t pin[TLS_PIN_LEN])
{
	uint8_t *spki = NULL, hash[TLS_PIN_LEN];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &spki);
	bool same;

	if (len <= 0)
		return false;
	same = EVP_Digest(spki, (size_t)len, hash, NULL, EVP_sha256(), NULL) ==
		   1 &&
	       CRYPTO_memcmp(hash, pin, sizeof(hash)) == 0;
	OPENSSL_free(spki);
	return same;
}

/* Stands in for all of OpenSSL's verification. */
static int
verify_pin(X509_STORE_CTX *x, void *arg)
{
	SSL *ssl =
	    X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_stream *t = SSL_get_app_data(ssl);

	(void)arg;
	if (!is_pinned(X509_STORE_CTX_get0_cert(x), t->pin))
		t->refused = WRONG_KEY;
	else if (sk_X509_num(X509_STORE_CTX_get0_untrusted(x)) != 1)
		t->refused = WRONG_CHAIN;
	X509_STORE_CTX_set_error(
	    x, t->refused == NULL ? X509_V_OK : X509_V_ERR_CERT_REJECTED);
	return t->refused == NULL;
}

/* Names of ours: never empty, never long. Returns the length with its own. */
static unsigned
add_name(uint8_t *to, const char *name)
{
	size_t len = strlen(name);

	UK_ASSERT(len > 0 && len <= TLS_ALPN_MAX);
	to[0] = (uint8_t)len;
	memcpy(to + 1, name, len);
	return (unsigned)len + 1;
}

int
tls_server_new(struct tls_server **out, const struct tls_identity *id,
    const char *const *alpn, struct diag *d)
{
	struct tls_server *s = calloc(1, sizeof(*s));

	*out = NULL;
	if (s == NULL) {
		diag_error(d, "cannot serve TLS: out of memory");
		return UK_ENOMEM;
	}
	for (size_t i = 0; alpn[i] != NULL; i++) {
		UK_ASSERT(i < TLS_ALPN_NAMES);
		s->names_len += add_name(s->names + s->names_len, alpn[i]);
	}
	ERR_clear_error();
	s->ctx = context_new(TLS_server_method());
	if (s->ctx == NULL || tls_identity_give(id, s->ctx) < 0) {
		tls_server_free(s);
		ERR_clear_error();
		diag_error(d, "cannot serve TLS: OpenSSL does not take our "
			      "settings or our key");
		return UK_ECRYPTO;
	}
	/* The host's openssl.cnf may ask clients for certificates. */
	SSL_CTX_set_verify(s->ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_client_hello_cb(s->ctx, on_hello, NULL);
	SSL_CTX_set_alpn_select_cb(s->ctx, choose_protocol, s);
	*out = s;
	return 0;
}

void
tls_server_free(struct tls_server *s)
{
	if (s == NULL)
		return;
	SSL_CTX_free(s->ctx);
	free(s);
}

static struct tls_stream *
stream_new(SSL_CTX *ctx)
{
	struct tls_stream *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	ERR_clear_error();
	t->ssl = SSL_new(ctx);
	if (t->ssl == NULL || BIO_new_bio_pair(&t->inside, TLS_BUFFER_MAX,
				  &t->outside, TLS_BUFFER_MAX) != 1) {
		SSL_free(t->ssl);
		ERR_clear_error();
		free(t);
		return NULL;
	}
	SSL_set_bio(t->ssl, t->inside, t->inside);
	SSL_set_app_data(t->ssl, t);
	return t;
}

struct tls_stream *
tls_stream_accept(struct tls_server *s)
{
	struct tls_stream *t = stream_new(s->ctx);

	if (t == NULL)
		return NULL;
	t->is_server = true;
	SSL_set_accept_state(t->ssl);
	return t;
}

struct tls_stream *
tls_stream_connect(const uint8_t pin[TLS_PIN_LEN], const char *alpn)
{
	SSL_CTX *ctx = context_new(TLS_client_method());
	uint8_t names[1 + TLS_ALPN_MAX];
	unsigned len = add_name(names, alpn);
	struct tls_stream *t;

	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, verify_pin, NULL);
	t = stream_new(ctx);
	SSL_CTX_free(ctx); /* the stream counts for itself */
	if (t == NULL)
		return NULL;
	/* Alone among OpenSSL's it returns 0 when it did its work. */
	if (SSL_set_alpn_protos(t->ssl, names, len) != 0) {
		tls_stream_free(t);
		return NULL;
	}
	memcpy(t->pin, pin, TLS_PIN_LEN);
	memcpy(t->alpn, names + 1, len - 1);
	SSL_set_connect_state(t->ssl);
	return t;
}

void
tls_stream_free(struct tls_stream *t)
{
	if (t == NULL)
		return;
	SSL_free(t->ssl);
	BIO_free(t->outside);
	free(t);
}

/* What a client says first is a ClientHello, its head in one record, and not
 * longer than HELLO_MAX: anything else ends here, before OpenSSL makes room. */
static void
look_at_hello(struct tls_stream *t, const uint8_t *bytes, size_t len)
{
	const uint8_t *message = t->head + RECORD_HEADER_LEN;
	size_t n = sizeof(t->head) - t->head_len;

	n = n < len ? n : len;
	memcpy(t->head + t->head_len, bytes, n);
	t->head_len += n;
	if (t->head_len > 0 && t->head[0] != SSL3_RT_HANDSHAKE)
		fail(t, NOT_TLS);
	if (t->head_len < sizeof(t->head))
		return;
	if (load_be16(t->head + 3) < sizeof(t->head) - RECORD_HEADER_LEN ||
	    message[0] != SSL3_MT_CLIENT_HELLO)
		fail(t, NOT_TLS);
	else if ((load_be32(message) & 0xffffff) > HELLO_MAX)
		fail(t, TOO_LONG);
}

size_t
tls_stream_input(struct tls_stream *t, const void *bytes, size_t len)
{
	int n;

	if (t->has_ended || len == 0)
		return 0;
	len = len < TLS_BUFFER_MAX ? len : TLS_BUFFER_MAX;
	n = BIO_write(t->outside, bytes, (int)len);
	if (n <= 0)
		return 0;
	if (t->is_server && t->head_len < sizeof(t->head))
		look_at_hello(t, bytes, (size_t)n);
	return (size_t)n;
}

void
tls_stream_input_end(struct tls_stream *t)
{
	t->has_ended = true;
	(void)BIO_shutdown_wr(t->outside);
}

size_t
tls_stream_output(struct tls_stream *t, const uint8_t **bytes)
{
	char *b;
	int n = BIO_nread0(t->outside, &b);

	if (n <= 0)
		return 0;
	*bytes = (const uint8_t *)b;
	return (size_t)n;
}

void
tls_stream_output_sent(struct tls_stream *t, size_t len)
{
	char *b;

	if (len == 0)
		return;
	UK_ASSERT(len <= TLS_BUFFER_MAX);
	UK_ASSERT(BIO_nread(t->outside, &b, (int)len) == (int)len);
}

/* A server chose it; a client finds what it asked for, and nothing else. */
static bool
learn_protocol(struct tls_stream *t)
{
	const unsigned char *name;
	unsigned len;

	SSL_get0_alpn_selected(t->ssl, &name, &len);
	if (len == 0 || len > TLS_ALPN_MAX)
		return false;
	if (!t->is_server)
		return strlen(t->alpn) == len &&
		       memcmp(t->alpn, name, len) == 0;
	memcpy(t->alpn, name, len);
	return true;
}

enum tls_result
tls_stream_handshake(struct tls_stream *t)
{
	enum tls_result r;
	int done;

	if (t->has_failed)
		return TLS_FAILED;
	if (t->is_up)
		return TLS_DONE;
	ERR_clear_error();
	done = SSL_do_handshake(t->ssl);
	if (done != 1 || t->refused != NULL) {
		r = outcome(t, done);
		return r == TLS_CLOSED ? fail(t, ENDED_EARLY) : r;
	}
	if (!learn_protocol(t))
		return fail(t, NOT_UKAI);
	t->is_up = true;
	return TLS_DONE;
}

const char *
tls_stream_alpn(const struct tls_stream *t)
{
	return t->is_up ? t->alpn : NULL;
}

enum tls_result
tls_stream_read(struct tls_stream *t, void *bytes, size_t len, size_t *done)
{
	enum tls_result r = tls_stream_handshake(t);

	UK_ASSERT(len > 0);
	*done = 0;
	if (r != TLS_DONE)
		return r;
	ERR_clear_error();
	if (SSL_read_ex(t->ssl, bytes, len, done) != 1)
		r = outcome(t, 0);
	t->received += *done;
	if (t->messages > MESSAGES_FREE + t->received / MESSAGE_BYTES) {
		*done = 0;
		return fail(t, "the far end changes its keys without end");
	}
	return r;
}

static bool
has_room(const struct tls_stream *t, size_t len)
{
	return BIO_ctrl_get_write_guarantee(t->inside) >= len + WRITE_SLACK;
}

/* Only what has room as a whole: OpenSSL would keep the rest of a record that
 * does not fit, and want the very same bytes again. */
enum tls_result
tls_stream_write(
    struct tls_stream *t, const void *bytes, size_t len, size_t *done)
{
	enum tls_result r = tls_stream_handshake(t);

	*done = 0;
	if (r != TLS_DONE || len == 0)
		return r;
	len = len < TLS_WRITE_MAX ? len : TLS_WRITE_MAX;
	if (!has_room(t, len))
		return TLS_WANT_OUTPUT;
	ERR_clear_error();
	if (SSL_write_ex(t->ssl, bytes, len, done) != 1)
		return outcome(t, 0);
	return TLS_DONE;
}

enum tls_result
tls_stream_close(struct tls_stream *t)
{
	if (t->has_failed)
		return TLS_FAILED;
	if (t->has_closed)
		return TLS_DONE;
	if (!t->is_up)
		return fail(t, "closed before TLS was up");
	if (!has_room(t, 2)) /* an alert (RFC 8446 section 6) */
		return TLS_WANT_OUTPUT;
	ERR_clear_error();
	/* 0: ours is out, theirs is not here yet. */
	if (SSL_shutdown(t->ssl) < 0)
		return outcome(t, -1);
	t->has_closed = true;
	return TLS_DONE;
}

const char *
tls_stream_error(const struct tls_stream *t)
{
	return t->error != NULL ? t->error : "nothing is wrong";
}
