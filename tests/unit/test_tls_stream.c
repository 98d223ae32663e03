/* Two machines joined by a pump, or one and a bare OpenSSL that does what ours
 * never would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "core/err.h"
#include "io/tls_stream.h"

#define MIB ((size_t)1 << 20)
#define ALL ((size_t)-1)
#define GROUPS "X25519:P-256"

static const char *const names[] = {"ukai-test/2", "ukai-test/1", NULL};
static struct tls_identity *identity;
static struct tls_server *server;
static uint8_t pin[TLS_PIN_LEN];

/* What OpenSSL has allocated, and which allocation from now on fails. */
union head {
	size_t size;
	max_align_t align;
};
static size_t live, live_max;
static unsigned fail_at;

static void
count(size_t freed, size_t taken)
{
	live = live - freed + taken;
	live_max = live > live_max ? live : live_max;
}

static void *
counting_realloc(void *p, size_t size, const char *file, int line)
{
	union head *h = p;

	(void)file;
	(void)line;
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	h = realloc(h != NULL ? h - 1 : NULL, sizeof(*h) + size);
	if (h == NULL)
		return NULL;
	count(p != NULL ? h->size : 0, size);
	h->size = size;
	return h + 1;
}

static void *
counting_malloc(size_t size, const char *file, int line)
{
	return counting_realloc(NULL, size, file, line);
}

static void
counting_free(void *p, const char *file, int line)
{
	union head *h = p;

	(void)file;
	(void)line;
	if (p == NULL)
		return;
	count(h[-1].size, 0);
	free(h - 1);
}

static uint64_t
next_random(void)
{
	static uint64_t x = 1;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

/* Carry at most `most` bytes over, in one piece. False: nothing moved. */
static bool
carry(struct tls_stream *from, struct tls_stream *to, size_t most)
{
	const uint8_t *b;
	size_t n = tls_stream_output(from, &b);

	n = tls_stream_input(to, b, n < most ? n : most);
	tls_stream_output_sent(from, n);
	return n > 0;
}

static void
carry_all(struct tls_stream *from, struct tls_stream *to)
{
	while (carry(from, to, ALL))
		;
}

/* Until nothing moves, in pieces of 1 to most bytes. */
static void
shake(struct tls_stream *a, struct tls_stream *b, size_t most,
    enum tls_result *of_a, enum tls_result *of_b)
{
	bool moved = true;

	while (moved) {
		*of_a = tls_stream_handshake(a);
		moved = carry(a, b, 1 + next_random() % most);
		*of_b = tls_stream_handshake(b);
		moved |= carry(b, a, 1 + next_random() % most);
	}
}

struct pair {
	struct tls_stream *client, *server;
};

static struct pair
pair_new(void)
{
	struct pair p = {
	    tls_stream_connect(pin, "ukai-test/1"), tls_stream_accept(server)};

	assert_non_null(p.client);
	assert_non_null(p.server);
	return p;
}

static struct pair
pair_up(void)
{
	enum tls_result c, s;
	struct pair p = pair_new();

	shake(p.client, p.server, TLS_BUFFER_MAX, &c, &s);
	assert_int_equal(c, TLS_DONE);
	assert_int_equal(s, TLS_DONE);
	return p;
}

static void
pair_free(struct pair *p)
{
	tls_stream_free(p->client);
	tls_stream_free(p->server);
}

static void
write_whole(struct tls_stream *t, const void *b, size_t len)
{
	size_t done;

	assert_int_equal(tls_stream_write(t, b, len, &done), TLS_DONE);
	assert_int_equal(done, len);
}

static void
read_text(struct tls_stream *t, const char *text)
{
	char b[64];
	size_t done;

	if (tls_stream_read(t, b, sizeof(b), &done) != TLS_DONE)
		fail_msg("%s: %s", text, tls_stream_error(t));
	assert_int_equal(done, strlen(text));
	assert_memory_equal(b, text, done);
}

static enum tls_result
read_result(struct tls_stream *t)
{
	size_t done = 1;
	uint8_t b[64];
	enum tls_result r = tls_stream_read(t, b, sizeof(b), &done);

	assert_true((r == TLS_DONE) == (done > 0));
	return r;
}

static void
fails_with(struct tls_stream *t, const char *text)
{
	assert_int_equal(tls_stream_handshake(t), TLS_FAILED);
	assert_int_equal(read_result(t), TLS_FAILED);
	assert_int_equal(tls_stream_close(t), TLS_FAILED);
	if (strstr(tls_stream_error(t), text) == NULL)
		fail_msg("%s, not: %s", text, tls_stream_error(t));
}

/* ---- two of ours ---- */

static void
test_chunks(void **state)
{
	static const size_t most[] = {1, 2, 7, 100, 1500, TLS_BUFFER_MAX};
	enum tls_result c, s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(most); i++) {
		struct pair p = pair_new();

		assert_null(tls_stream_alpn(p.client));
		assert_null(tls_stream_alpn(p.server));
		shake(p.client, p.server, most[i], &c, &s);
		assert_int_equal(c, TLS_DONE);
		assert_int_equal(s, TLS_DONE);
		assert_string_equal(tls_stream_alpn(p.client), "ukai-test/1");
		assert_string_equal(tls_stream_alpn(p.server), "ukai-test/1");
		assert_int_equal(read_result(p.client), TLS_WANT_INPUT);
		assert_int_equal(read_result(p.server), TLS_WANT_INPUT);
		write_whole(p.client, "question", 8);
		while (carry(p.client, p.server, most[i]))
			;
		read_text(p.server, "question");
		write_whole(p.server, "answer", 6);
		while (carry(p.server, p.client, most[i]))
			;
		read_text(p.client, "answer");
		pair_free(&p);
	}
}

/* T1: a key that differs in one bit is another one. */
static void
test_pin(void **state)
{
	static const unsigned bit[] = {0, 7, 100, 255};
	enum tls_result c, s;
	uint8_t other[TLS_PIN_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bit); i++) {
		struct tls_stream *a, *b = tls_stream_accept(server);

		memcpy(other, pin, sizeof(pin));
		other[bit[i] / 8] ^= (uint8_t)(1 << bit[i] % 8);
		a = tls_stream_connect(other, "ukai-test/1");
		shake(a, b, 1500, &c, &s);
		fails_with(a, "this is not the relay that the token names: its "
			      "key is another one");
		fails_with(b, "does not accept our key");
		assert_null(tls_stream_alpn(a));
		tls_stream_free(a);
		tls_stream_free(b);
	}
}

static void
test_wrong_protocol(void **state)
{
	struct tls_stream *a = tls_stream_connect(pin, "ukai-test/3");
	struct tls_stream *b = tls_stream_accept(server);
	enum tls_result c, s;

	(void)state;
	shake(a, b, 1500, &c, &s);
	fails_with(a, "what answers there speaks no ukai enrolment");
	fails_with(b, "wants to speak what we do not");
	tls_stream_free(a);
	tls_stream_free(b);
}

static void
fill(uint8_t *b, size_t len, uint8_t salt)
{
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)(i * 7 + i / 251 + salt);
}

/* Writes on until it is told to wait. */
static bool
push(struct tls_stream *t, const uint8_t *b, size_t *done)
{
	enum tls_result r = TLS_DONE;
	size_t n;

	while (*done < MIB && r == TLS_DONE) {
		r = tls_stream_write(t, b + *done,
		    uk_min_u64(MIB - *done, 1 + next_random() % 30000), &n);
		assert_true(n <= TLS_WRITE_MAX);
		assert_true((r == TLS_DONE) == (n > 0));
		*done += n;
	}
	assert_true(r == TLS_DONE || r == TLS_WANT_OUTPUT);
	return r == TLS_WANT_OUTPUT;
}

static void
pull(struct tls_stream *t, const uint8_t *b, size_t *done)
{
	static uint8_t got[20000];
	enum tls_result r;
	size_t n;

	do {
		r = tls_stream_read(
		    t, got, 1 + next_random() % sizeof(got), &n);
		assert_true(*done + n <= MIB);
		assert_memory_equal(got, b + *done, n);
		*done += n;
	} while (r == TLS_DONE);
	assert_int_equal(r, TLS_WANT_INPUT);
}

/* Both ways at once; buffers fill up, and nothing is lost (C2). */
static void
test_mebibyte(void **state)
{
	uint8_t *up = malloc(MIB), *down = malloc(MIB);
	size_t sent[2] = {0}, got[2] = {0};
	struct pair p = pair_up();
	bool waited[2] = {false};

	(void)state;
	assert_true(up != NULL && down != NULL);
	fill(up, MIB, 1);
	fill(down, MIB, 2);
	for (int i = 0; i < 2000 && got[0] + got[1] < 2 * MIB; i++) {
		waited[0] |= push(p.client, up, &sent[0]);
		waited[1] |= push(p.server, down, &sent[1]);
		(void)carry(p.client, p.server, 1 + next_random() % 40000);
		(void)carry(p.server, p.client, 1 + next_random() % 40000);
		if (next_random() % 3 != 0)
			pull(p.server, up, &got[0]);
		if (next_random() % 3 != 0)
			pull(p.client, down, &got[1]);
	}
	assert_int_equal(got[0], MIB);
	assert_int_equal(got[1], MIB);
	assert_true(waited[0] && waited[1]);
	free(up);
	free(down);
	pair_free(&p);
}

/* One that never reads takes TLS_BUFFER_MAX bytes of the network, and one that
 * never sends as much of the application's, with what TLS adds. */
static void
test_buffers_end(void **state)
{
	static uint8_t b[TLS_BUFFER_MAX];
	struct pair p = pair_up();
	const uint8_t *out;
	size_t n, taken = 0, before = live;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		n = tls_stream_input(p.server, b, 1000);
		assert_true(n <= 1000);
		taken += n;
	}
	assert_int_equal(taken, TLS_BUFFER_MAX);
	assert_int_equal(tls_stream_input(p.server, b, 1), 0);
	while (tls_stream_write(p.client, b, 1000, &n) == TLS_DONE)
		assert_int_equal(n, 1000);
	assert_int_equal(
	    tls_stream_write(p.client, b, 1000, &n), TLS_WANT_OUTPUT);
	assert_int_equal(n, 0);
	n = tls_stream_output(p.client, &out);
	assert_in_range(n, TLS_BUFFER_MAX - 1100, TLS_BUFFER_MAX);
	assert_int_equal(live, before);
	/* A byte of room is none: it comes as a whole or not at all. */
	tls_stream_output_sent(p.client, 1);
	assert_int_equal(
	    tls_stream_write(p.client, b, 1000, &n), TLS_WANT_OUTPUT);
	tls_stream_output_sent(p.client, 1100);
	assert_int_equal(tls_stream_write(p.client, b, 1000, &n), TLS_DONE);
	assert_int_equal(n, 1000);
	pair_free(&p);
}

static void
test_write_at_once(void **state)
{
	static uint8_t b[TLS_BUFFER_MAX], got[TLS_BUFFER_MAX];
	static const struct {
		size_t len, done;
	} row[] = {{0, 0}, {1, 1}, {TLS_WRITE_MAX, TLS_WRITE_MAX},
	    {TLS_WRITE_MAX + 1, TLS_WRITE_MAX}};
	struct pair p = pair_up();
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(
		    tls_stream_write(p.client, b, row[i].len, &n), TLS_DONE);
		assert_int_equal(n, row[i].done);
		carry_all(p.client, p.server);
		if (n == 0)
			continue;
		assert_int_equal(
		    tls_stream_read(p.server, got, sizeof(got), &n), TLS_DONE);
		assert_int_equal(n, row[i].done);
	}
	pair_free(&p);
}

/* One direction ends, the other goes on, then ends, too. */
static void
test_close(void **state)
{
	struct pair p = pair_up();
	const uint8_t *out;
	size_t done;

	(void)state;
	write_whole(p.client, "last", 4);
	assert_int_equal(tls_stream_close(p.client), TLS_DONE);
	carry_all(p.client, p.server);
	assert_int_equal(tls_stream_close(p.client), TLS_DONE);
	assert_int_equal(tls_stream_output(p.client, &out), 0);
	read_text(p.server, "last");
	assert_int_equal(read_result(p.server), TLS_CLOSED);
	assert_int_equal(read_result(p.server), TLS_CLOSED);
	write_whole(p.server, "answer", 6);
	assert_int_equal(tls_stream_close(p.server), TLS_DONE);
	carry_all(p.server, p.client);
	read_text(p.client, "answer");
	assert_int_equal(read_result(p.client), TLS_CLOSED);
	/* What the network says after the word is not heard. */
	tls_stream_input_end(p.client);
	assert_int_equal(read_result(p.client), TLS_CLOSED);
	assert_int_equal(tls_stream_write(p.client, "x", 1, &done), TLS_FAILED);
	assert_non_null(strstr(tls_stream_error(p.client), "after the end"));
	pair_free(&p);
}

static void
test_close_waits_for_room(void **state)
{
	static const uint8_t b[1000];
	struct pair p = pair_up();
	size_t n, len = sizeof(b);

	(void)state;
	for (; len > 0; len /= 2)
		while (tls_stream_write(p.client, b, len, &n) == TLS_DONE)
			;
	assert_int_equal(tls_stream_close(p.client), TLS_WANT_OUTPUT);
	carry_all(p.client, p.server);
	assert_int_equal(tls_stream_close(p.client), TLS_DONE);
	pair_free(&p);
}

static void
test_close_too_early(void **state)
{
	struct pair p = pair_new();

	(void)state;
	assert_int_equal(tls_stream_close(p.client), TLS_FAILED);
	fails_with(p.client, "before TLS was up");
	pair_free(&p);
}

/* An end without a word is no end: what came is handed out, then it fails. */
static void
test_truncation(void **state)
{
	struct pair p = pair_up();
	enum tls_result c, s;

	(void)state;
	write_whole(p.server, "half an answer", 14);
	carry_all(p.server, p.client);
	tls_stream_input_end(p.client);
	assert_int_equal(tls_stream_input(p.client, "x", 1), 0);
	read_text(p.client, "half an answer");
	assert_int_equal(read_result(p.client), TLS_FAILED);
	assert_string_equal(
	    tls_stream_error(p.client), "the connection ended in the middle");
	pair_free(&p);
	/* Inside a record. */
	p = pair_up();
	write_whole(p.client, "x", 1);
	(void)carry(p.client, p.server, 9);
	tls_stream_input_end(p.server);
	assert_int_equal(read_result(p.server), TLS_FAILED);
	pair_free(&p);
	/* Inside the handshake. */
	p = pair_new();
	(void)tls_stream_handshake(p.client);
	(void)carry(p.client, p.server, 100);
	tls_stream_input_end(p.server);
	shake(p.client, p.server, 1500, &c, &s);
	fails_with(p.server, "ended");
	pair_free(&p);
}

/* One bit of what comes is another: never taken for data. */
static void
test_changed_on_its_way(void **state)
{
	const uint8_t *out;
	uint8_t record[64];
	size_t n;

	(void)state;
	for (size_t at = 5; at < 32; at++) {
		struct pair p = pair_up();

		write_whole(p.client, "attack", 6);
		n = tls_stream_output(p.client, &out);
		assert_in_range(n, 28, sizeof(record));
		memcpy(record, out, n);
		record[at < n ? at : n - 1] ^= 1;
		assert_int_equal(tls_stream_input(p.server, record, n), n);
		assert_int_equal(read_result(p.server), TLS_FAILED);
		fails_with(p.server, "changed on its way");
		pair_free(&p);
	}
}

/* ---- what is no TLS ---- */

#define HELLO(len_hi, len_lo) "\x16\x03\x01\x02\x00\x01\x00" len_hi len_lo

static void
test_first_bytes(void **state)
{
	static const struct {
		const char *b;
		size_t len;
		const char *error; /* NULL: goes on */
	} row[] = {
	    {"\x16", 1, NULL},
	    {"\x16\x03\x01\x02\x00\x01\x00\x02", 8, NULL},
	    {HELLO("\x02", "\x00"), 9, NULL},
	    {HELLO("\x10", "\x00"), 9, NULL},
	    {HELLO("\x10", "\x01"), 9, "too long"},
	    {"\x16\x03\x01\x40\x00\x01\x02\x01\x44", 9, "too long"},
	    {"\x16\x03\x01\x40\x00\x01\xff\xff\xff", 9, "too long"},
	    {"\x16\x03\x01\x00\x04\x01\x00\x02\x00", 9, NULL},
	    /* The length of the message in the next record, unseen. */
	    {"\x16\x03\x01\x00\x03\x01\x02\x01\x16", 9, "not speak TLS"},
	    {"\x16\x03\x01\x00\x01\x01\x16\x03\x01", 9, "not speak TLS"},
	    {"\x16\x03\x01\x02\x00\x02\x00\x02\x00", 9, "not speak TLS"},
	    {"G", 1, "not speak TLS"},
	    {"GET / HTTP/1.1\r\n\r\n", 18, "not speak TLS"},
	    {"SSH-2.0-OpenSSH_9.2\r\n", 21, "not speak TLS"},
	    {"\x80\x2e\x01\x00\x02", 5, "not speak TLS"},
	    {"\0\0\0\0\0\0\0\0\0\0\0\0", 12, "not speak TLS"},
	    /* A warning first: no client of ours. */
	    {"\x15\x03\x01\x00\x02\x01\x5a", 7, "not speak TLS"},
	    {"\x14\x03\x03\x00\x01\x01", 6, "not speak TLS"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		for (size_t most = 1; most <= 32; most *= 32) {
			struct tls_stream *t = tls_stream_accept(server);

			for (size_t at = 0; at < row[i].len; at += most)
				(void)tls_stream_input(t, row[i].b + at,
				    uk_min_u64(row[i].len - at, most));
			if (row[i].error != NULL)
				fails_with(t, row[i].error);
			else
				assert_int_equal(
				    tls_stream_handshake(t), TLS_WANT_INPUT);
			tls_stream_free(t);
		}
	}
}

static void
test_client_meets_garbage(void **state)
{
	static const char *const text[] = {
	    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
	    "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
	    "220 mail.example.net ESMTP\r\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(text); i++) {
		struct tls_stream *t = tls_stream_connect(pin, "x");

		assert_int_equal(tls_stream_handshake(t), TLS_WANT_INPUT);
		(void)tls_stream_input(t, text[i], strlen(text[i]));
		fails_with(t, "the far end does not speak TLS");
		tls_stream_free(t);
	}
}

/* An end with a word, but before anything was said. */
static void
test_closed_early(void **state)
{
	struct tls_stream *t = tls_stream_connect(pin, "x");

	(void)state;
	assert_int_equal(tls_stream_handshake(t), TLS_WANT_INPUT);
	(void)tls_stream_input(t, "\x15\x03\x03\x00\x02\x01\x00", 7);
	fails_with(t, "before TLS was up");
	tls_stream_free(t);
}

/* Random bytes behind a plausible beginning: never DONE, never a crash. */
static void
test_random_bytes(void **state)
{
	(void)state;
	for (int i = 0; i < 300; i++) {
		struct tls_stream *t = tls_stream_accept(server);
		uint8_t b[600] = HELLO("\x01", "\xfc");
		enum tls_result r;

		for (size_t at = 9 + (size_t)i % 40; at < sizeof(b); at++)
			b[at] = (uint8_t)next_random();
		(void)tls_stream_input(t, b, sizeof(b));
		r = tls_stream_handshake(t);
		assert_true(r == TLS_FAILED || r == TLS_WANT_INPUT);
		assert_null(tls_stream_alpn(t));
		tls_stream_free(t);
	}
}

/* ---- a bare OpenSSL at the other end ---- */

struct bare {
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *net;
	uint8_t heard[32]; /* kinds of the messages that came */
	size_t messages;
};

static void
on_bare_message(int is_write, int version, int type, const void *b, size_t len,
    SSL *ssl, void *arg)
{
	struct bare *x = arg;

	(void)version;
	(void)ssl;
	if (!is_write && type == SSL3_RT_HANDSHAKE && len > 0 &&
	    x->messages < sizeof(x->heard))
		x->heard[x->messages++] = *(const uint8_t *)b;
}

static void
bare_init(struct bare *x, const SSL_METHOD *method, int version)
{
	memset(x, 0, sizeof(*x));
	x->ctx = SSL_CTX_new(method);
	assert_non_null(x->ctx);
	SSL_CTX_set_max_proto_version(x->ctx, 0);
	SSL_CTX_set_min_proto_version(x->ctx, version);
	SSL_CTX_set_max_proto_version(x->ctx, version);
	SSL_CTX_set1_groups_list(x->ctx, GROUPS);
	SSL_CTX_set_verify(x->ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_msg_callback(x->ctx, on_bare_message);
	SSL_CTX_set_msg_callback_arg(x->ctx, x);
}

static void
bare_start(struct bare *x)
{
	BIO *inside;

	x->ssl = SSL_new(x->ctx);
	assert_int_equal(
	    BIO_new_bio_pair(&inside, 1 << 17, &x->net, 1 << 17), 1);
	SSL_set_bio(x->ssl, inside, inside);
}

/* alpn: names in RFC 7301's form; NULL: none. */
static void
bare_client(struct bare *x, int version, const char *alpn, const char *groups)
{
	bare_init(x, TLS_client_method(), version);
	assert_int_equal(SSL_CTX_set1_groups_list(x->ctx, groups), 1);
	bare_start(x);
	if (alpn != NULL)
		SSL_set_alpn_protos(
		    x->ssl, (const uint8_t *)alpn, (unsigned)strlen(alpn));
	SSL_set_connect_state(x->ssl);
}

static void
bare_fini(struct bare *x)
{
	SSL_free(x->ssl);
	BIO_free(x->net);
	SSL_CTX_free(x->ctx);
	ERR_clear_error();
}

static bool
bare_carry(struct bare *x, struct tls_stream *t)
{
	const uint8_t *out;
	char *b;
	size_t n, done = 0;
	int got = BIO_nread0(x->net, &b);

	if (got > 0) {
		done = tls_stream_input(t, b, (size_t)got);
		if (done > 0)
			(void)BIO_nread(x->net, &b, (int)done);
	}
	while ((n = tls_stream_output(t, &out)) > 0) {
		done += n;
		assert_int_equal(BIO_write(x->net, out, (int)n), n);
		tls_stream_output_sent(t, n);
	}
	return done > 0;
}

/* Returns what our end says in the end; the bare one's SSL_do_handshake() in
 * *bare. */
static enum tls_result
bare_shake(struct bare *x, struct tls_stream *t, int *bare)
{
	enum tls_result r;

	do {
		ERR_clear_error();
		*bare = SSL_do_handshake(x->ssl);
		r = tls_stream_handshake(t);
	} while (bare_carry(x, t));
	return r;
}

static void
test_bare_client(void **state)
{
	static const struct {
		int version;
		const char *alpn, *groups, *error; /* NULL: accepted */
	} row[] = {
	    {TLS1_3_VERSION, "\013ukai-test/1", GROUPS, NULL},
	    {TLS1_3_VERSION, "\013ukai-test/2", GROUPS, NULL},
	    {TLS1_3_VERSION, "\013ukai-test/1", "P-256", NULL},
	    {TLS1_3_VERSION, "\013ukai-test/3", GROUPS, "what we do not"},
	    {TLS1_3_VERSION, "\012ukai-test/", GROUPS, "what we do not"},
	    {TLS1_3_VERSION, "\002h2\010http/1.1", GROUPS, "what we do not"},
	    {TLS1_3_VERSION, NULL, GROUPS, "does not say"},
	    /* T4 */
	    {TLS1_2_VERSION, "\013ukai-test/1", GROUPS, "not speak TLS 1.3"},
	    /* It would have to be asked for a second hello. */
	    {TLS1_3_VERSION, "\013ukai-test/1", "P-384:X25519",
		"no way of encrypting"},
	    {TLS1_3_VERSION, "\013ukai-test/1", "P-384",
		"no way of encrypting"},
	};
	int bare;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct tls_stream *t = tls_stream_accept(server);
		struct bare x;

		bare_client(&x, row[i].version, row[i].alpn, row[i].groups);
		if (row[i].error == NULL) {
			assert_int_equal(bare_shake(&x, t, &bare), TLS_DONE);
			assert_int_equal(bare, 1);
			assert_string_equal(
			    tls_stream_alpn(t), row[i].alpn + 1);
		} else {
			assert_int_equal(bare_shake(&x, t, &bare), TLS_FAILED);
			assert_int_not_equal(bare, 1);
			fails_with(t, row[i].error);
		}
		tls_stream_free(t);
		bare_fini(&x);
	}
}

/* Of several that both speak, the server's best; a name both ways whole. */
static void
test_best_protocol(void **state)
{
	struct tls_stream *t = tls_stream_accept(server);
	const unsigned char *name;
	struct bare x;
	unsigned len;
	int bare;

	(void)state;
	bare_client(
	    &x, TLS1_3_VERSION, "\013ukai-test/1\002h2\013ukai-test/2", GROUPS);
	assert_int_equal(bare_shake(&x, t, &bare), TLS_DONE);
	assert_string_equal(tls_stream_alpn(t), "ukai-test/2");
	SSL_get0_alpn_selected(x.ssl, &name, &len);
	assert_int_equal(len, 11);
	assert_memory_equal(name, "ukai-test/2", 11);
	tls_stream_free(t);
	bare_fini(&x);
}

/* T4: hello, extensions, certificate, proof, end of the handshake: no ticket,
 * no request for a certificate, and nothing later. */
static void
test_what_the_server_says(void **state)
{
	static const uint8_t want[] = {2, 8, 11, 15, 20};
	struct tls_stream *t = tls_stream_accept(server);
	struct bare x;
	uint8_t b[8];
	int bare;

	(void)state;
	bare_client(&x, TLS1_3_VERSION, "\013ukai-test/1", GROUPS);
	assert_int_equal(bare_shake(&x, t, &bare), TLS_DONE);
	assert_true(SSL_read(x.ssl, b, sizeof(b)) <= 0);
	assert_int_equal(x.messages, sizeof(want));
	assert_memory_equal(x.heard, want, sizeof(want));
	assert_int_equal(SSL_get_negotiated_group(x.ssl), NID_X25519);
	assert_int_equal(SSL_session_reused(x.ssl), 0);
	assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(x.ssl)), 1);
	/* There is no renegotiation in TLS 1.3; the far end's library knows. */
	assert_int_equal(SSL_renegotiate(x.ssl), 0);
	tls_stream_free(t);
	bare_fini(&x);
}

/* Changes of keys that ask for ours, too: 16 at no price, then one a MiB. */
static void
test_key_updates(void **state)
{
	struct tls_stream *t = tls_stream_accept(server);
	static uint8_t b[16384];
	const uint8_t *out;
	struct bare x;
	size_t n;
	int bare;

	(void)state;
	bare_client(&x, TLS1_3_VERSION, "\013ukai-test/1", GROUPS);
	assert_int_equal(bare_shake(&x, t, &bare), TLS_DONE);
	for (int i = 0; i < 17; i++) {
		if (i == 16) /* dear from here on */
			for (size_t sum = 0; sum < MIB; sum += sizeof(b)) {
				SSL_write(x.ssl, b, sizeof(b));
				while (bare_carry(&x, t))
					while (tls_stream_read(t, b, sizeof(b),
						   &n) == TLS_DONE)
						;
			}
		assert_int_equal(
		    SSL_key_update(x.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(x.ssl), 1);
		while (bare_carry(&x, t))
			assert_int_equal(read_result(t), TLS_WANT_INPUT);
		assert_int_equal(tls_stream_output(t, &out), 0);
	}
	/* One answer to all, ahead of what is written next. */
	write_whole(t, "still here", 10);
	while (bare_carry(&x, t))
		;
	assert_int_equal(SSL_read(x.ssl, b, sizeof(b)), 10);
	assert_int_equal(SSL_key_update(x.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_int_equal(SSL_do_handshake(x.ssl), 1);
	(void)bare_carry(&x, t);
	assert_int_equal(read_result(t), TLS_FAILED);
	fails_with(t, "changes its keys without end");
	tls_stream_free(t);
	bare_fini(&x);
}

/* A bare server, with a certificate of its own around our key or another. */

static X509 *
certificate(EVP_PKEY *key, size_t extra)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);

	for (; extra > 0; extra -= 50)
		X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC,
		    (const uint8_t *)"01234567890123456789012345678901234567",
		    -1, -1, 0);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), -86400); /* nobody looks */
	X509_set_pubkey(x, key);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	return x;
}

static int
choose_first(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
	const char *other = arg;

	(void)ssl;
	(void)in_len;
	*out = other != NULL ? (const uint8_t *)other : in + 1;
	*out_len = other != NULL ? (uint8_t)strlen(other) : in[0];
	return SSL_TLSEXT_ERR_OK;
}

struct bare_server {
	int version;
	size_t extra; /* bytes more in its certificate */
	int more; /* certificates */
	const char *alpn; /* that it chooses; "": as asked; NULL: silence */
	bool another_key;
	const char *error; /* of our client; NULL: none */
};

static void
try_server(const struct bare_server *row)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	X509 *leaf = certificate(key, row->extra);
	uint8_t want[TLS_PIN_LEN], *der = NULL;
	struct tls_stream *t;
	struct bare x;
	int bare, len = i2d_PUBKEY(row->another_key ? other : key, &der);

	EVP_Digest(der, (size_t)len, want, NULL, EVP_sha256(), NULL);
	OPENSSL_free(der);
	bare_init(&x, TLS_server_method(), row->version);
	SSL_CTX_use_certificate(x.ctx, leaf);
	SSL_CTX_use_PrivateKey(x.ctx, key);
	for (int i = 0; i < row->more; i++)
		SSL_CTX_add0_chain_cert(x.ctx, certificate(other, 0));
	if (row->alpn != NULL)
		SSL_CTX_set_alpn_select_cb(x.ctx, choose_first,
		    row->alpn[0] != '\0' ? (char *)(uintptr_t)row->alpn : NULL);
	bare_start(&x);
	SSL_set_accept_state(x.ssl);
	t = tls_stream_connect(want, "ukai-test/1");
	if (row->error != NULL) {
		assert_int_equal(bare_shake(&x, t, &bare), TLS_FAILED);
		fails_with(t, row->error);
	} else {
		assert_int_equal(bare_shake(&x, t, &bare), TLS_DONE);
		assert_int_equal(bare, 1);
	}
	tls_stream_free(t);
	bare_fini(&x);
	X509_free(leaf);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

/* T1, T4, S3. */
static void
test_bare_server(void **state)
{
	static const char key[] = "its key is another one";
	static const char made[] = "its certificate is not made";
	static const char speaks[] = "speaks no ukai enrolment";
	/* Newer versions of OpenSSL see it before us. */
	static const char failed[] = "";
	static const struct bare_server row[] = {
	    {TLS1_3_VERSION, 0, 0, "", false, NULL},
	    {TLS1_3_VERSION, 3000, 0, "", false, NULL},
	    {TLS1_3_VERSION, 0, 0, "", true, key},
	    {TLS1_3_VERSION, 0, 2, "", true, key},
	    {TLS1_3_VERSION, 4500, 0, "", false, made},
	    {TLS1_3_VERSION, 0, 1, "", false, made},
	    {TLS1_3_VERSION, 0, 50, "", false, made},
	    {TLS1_3_VERSION, 0, 0, NULL, false, speaks},
	    {TLS1_3_VERSION, 0, 0, "h2", false, failed},
	    {TLS1_3_VERSION, 0, 0, "ukai-test/2", false, failed},
	    {TLS1_3_VERSION, 0, 0, "ukai-test/11", false, failed},
	    {TLS1_2_VERSION, 0, 0, "", false, "does not speak TLS 1.3"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		try_server(&row[i]);
}

/* Tickets of a server that gives some are read and forgotten. */
static void
test_tickets_are_not_kept(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *leaf = certificate(key, 0);
	uint8_t want[TLS_PIN_LEN], *der = NULL;
	int bare, len = i2d_PUBKEY(key, &der);
	struct tls_stream *t;
	struct bare x;

	(void)state;
	EVP_Digest(der, (size_t)len, want, NULL, EVP_sha256(), NULL);
	OPENSSL_free(der);
	bare_init(&x, TLS_server_method(), TLS1_3_VERSION);
	SSL_CTX_use_certificate(x.ctx, leaf);
	SSL_CTX_use_PrivateKey(x.ctx, key);
	SSL_CTX_set_alpn_select_cb(x.ctx, choose_first, NULL);
	SSL_CTX_set_num_tickets(x.ctx, 2);
	bare_start(&x);
	SSL_set_accept_state(x.ssl);
	t = tls_stream_connect(want, "ukai-test/1");
	assert_int_equal(bare_shake(&x, t, &bare), TLS_DONE);
	assert_int_equal(read_result(t), TLS_WANT_INPUT);
	SSL_write(x.ssl, "hello", 5);
	(void)bare_carry(&x, t);
	read_text(t, "hello");
	tls_stream_free(t);
	bare_fini(&x);
	X509_free(leaf);
	EVP_PKEY_free(key);
}

/* ---- memory ---- */

/* What the header says, and never more, whatever comes (C2, T2). */
static void
test_memory(void **state)
{
	struct tls_stream *client, *s;
	size_t before, fresh, shaking, up;
	enum tls_result a, b;
	struct pair p = pair_up(); /* what OpenSSL keeps for all */

	(void)state;
	pair_free(&p);
	client = tls_stream_connect(pin, "ukai-test/1");
	(void)tls_stream_handshake(client);
	before = live;
	s = tls_stream_accept(server);
	fresh = live - before;
	live_max = live;
	carry_all(client, s);
	(void)tls_stream_handshake(s);
	shaking = live_max - before;
	shake(client, s, 1500, &a, &b);
	tls_stream_free(client);
	client = tls_stream_connect(pin, "ukai-test/1");
	tls_stream_free(s);
	p = pair_up();
	before = live;
	s = p.server;
	p.server = NULL;
	tls_stream_free(s);
	up = before - live;
	print_message("bytes in OpenSSL: fresh %zu, at most in the handshake "
		      "%zu, up and idle %zu\n",
	    fresh, shaking, up);
	assert_in_range(fresh, 1, 80 << 10);
	assert_in_range(shaking, 1, 160 << 10);
	assert_in_range(up, 1, 120 << 10);
	tls_stream_free(client);
	pair_free(&p);
}

static void
test_allocations_fail(void **state)
{
	struct tls_stream *t = NULL;
	unsigned n = 0;

	(void)state;
	while (t == NULL && n < 1000) {
		size_t before = live;

		fail_at = ++n;
		t = tls_stream_accept(server);
		fail_at = 0;
		if (t == NULL)
			assert_int_equal(live, before);
	}
	assert_in_range(n, 5, 999);
	tls_stream_free(t);
}

/* Each allocation of a server's handshake in turn: it fails, or it can do
 * without, and in the end nothing is left but OpenSSL's notes on errors. */
static void
test_allocations_of_handshake_fail(void **state)
{
	size_t before = live;
	unsigned n = 0, armed;

	(void)state;
	do {
		enum tls_result c, s = TLS_WANT_INPUT;
		struct pair p = pair_new();
		bool moved = true;

		armed = ++n;
		while (moved) {
			c = tls_stream_handshake(p.client);
			moved = carry(p.client, p.server, ALL);
			fail_at = armed;
			s = tls_stream_handshake(p.server);
			armed = fail_at;
			fail_at = 0;
			moved |= carry(p.server, p.client, ALL);
		}
		assert_true(s == TLS_FAILED || (s == TLS_DONE && c == s));
		pair_free(&p);
	} while (armed == 0 && n < 5000);
	assert_in_range(n, 100, 4999);
	assert_in_range(live, 1, before + 2048);
}

/* ---- */

/* A host's settings for OpenSSL, as bad as they can be: they change nothing
 * here. */
static void
use_bad_host_settings(void)
{
	static const char text[] = "openssl_conf = a\n[a]\nssl_conf = b\n"
				   "[b]\nsystem_default = c\n[c]\n"
				   "MaxProtocol = TLSv1.2\n"
				   "Groups = P-521\n"
				   "Ciphersuites = TLS_AES_256_GCM_SHA384\n"
				   "VerifyMode = Require\n";
	char path[] = "/tmp/ukai-tls.XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, text, sizeof(text) - 1) < 0 ||
	    setenv("OPENSSL_CONF", path, 1) < 0 ||
	    OPENSSL_init_ssl(0, NULL) != 1)
		abort();
	close(fd);
	unlink(path);
}

static int
setup(void **state)
{
	(void)state;
	if (tls_identity_new(&identity, NULL) < 0 ||
	    tls_server_new(&server, identity, names, NULL) < 0)
		return -1;
	tls_identity_pin(identity, pin);
	tls_identity_free(identity);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	tls_server_free(server);
	tls_server_free(NULL);
	tls_stream_free(NULL);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_chunks),
	    cmocka_unit_test(test_pin),
	    cmocka_unit_test(test_wrong_protocol),
	    cmocka_unit_test(test_mebibyte),
	    cmocka_unit_test(test_buffers_end),
	    cmocka_unit_test(test_write_at_once),
	    cmocka_unit_test(test_close),
	    cmocka_unit_test(test_close_waits_for_room),
	    cmocka_unit_test(test_close_too_early),
	    cmocka_unit_test(test_truncation),
	    cmocka_unit_test(test_changed_on_its_way),
	    cmocka_unit_test(test_first_bytes),
	    cmocka_unit_test(test_client_meets_garbage),
	    cmocka_unit_test(test_closed_early),
	    cmocka_unit_test(test_random_bytes),
	    cmocka_unit_test(test_bare_client),
	    cmocka_unit_test(test_best_protocol),
	    cmocka_unit_test(test_what_the_server_says),
	    cmocka_unit_test(test_key_updates),
	    cmocka_unit_test(test_bare_server),
	    cmocka_unit_test(test_tickets_are_not_kept),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_allocations_fail),
	    cmocka_unit_test(test_allocations_of_handshake_fail),
	};

	if (CRYPTO_set_mem_functions(
		counting_malloc, counting_realloc, counting_free) != 1)
		return 1;
	use_bad_host_settings();
	return cmocka_run_group_tests(tests, setup, teardown);
}
