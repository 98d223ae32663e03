#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "core/err.h"
#include "io/tls_identity.h"
#include "io/tls_stream.h"

static char folder[64], path[96];
static struct diag d;

static int
remove_file(void **state)
{
	(void)state;
	(void)unlink(path);
	return 0;
}

static void
write_text(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

/* With a passphrase: encrypted. */
static void
write_key(EVP_PKEY *key, char *passphrase)
{
	FILE *f = fopen(path, "w");

	assert_non_null(key);
	assert_non_null(f);
	assert_int_equal(PEM_write_PKCS8PrivateKey(f, key,
			     passphrase != NULL ? EVP_aes_128_cbc() : NULL,
			     NULL, 0, NULL, passphrase),
	    1);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static int
load(struct tls_identity **id)
{
	diag_init(&d, NULL);
	return tls_identity_load(id, path, &d);
}

/* As `openssl pkey -pubout -outform DER | sha256sum` does it. */
static void
pin_of_file(uint8_t pin[TLS_PIN_LEN])
{
	FILE *f = fopen(path, "r");
	uint8_t *der = NULL;
	EVP_PKEY *key;
	int len;

	assert_non_null(f);
	key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	assert_non_null(key);
	len = i2d_PUBKEY(key, &der);
	assert_true(len > 0);
	assert_int_equal(
	    EVP_Digest(der, (size_t)len, pin, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
	EVP_PKEY_free(key);
}

static void
test_new_save_load(void **state)
{
	uint8_t pin[TLS_PIN_LEN], again[TLS_PIN_LEN], file[TLS_PIN_LEN];
	struct tls_identity *id;
	struct stat st;

	(void)state;
	diag_init(&d, NULL);
	assert_int_equal(tls_identity_new(&id, &d), 0);
	tls_identity_pin(id, pin);
	umask(0);
	assert_int_equal(tls_identity_save(id, path, &d), 0);
	tls_identity_free(id);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(load(&id), 0);
	tls_identity_pin(id, again);
	tls_identity_free(id);
	pin_of_file(file);
	assert_memory_equal(pin, again, sizeof(pin));
	assert_memory_equal(pin, file, sizeof(pin));
	assert_int_equal(d.n, 0);
}

static void
test_each_is_another(void **state)
{
	uint8_t a[TLS_PIN_LEN], b[TLS_PIN_LEN];
	struct tls_identity *id;

	(void)state;
	assert_int_equal(tls_identity_new(&id, NULL), 0);
	tls_identity_pin(id, a);
	tls_identity_free(id);
	assert_int_equal(tls_identity_new(&id, NULL), 0);
	tls_identity_pin(id, b);
	tls_identity_free(id);
	tls_identity_free(NULL);
	assert_memory_not_equal(a, b, sizeof(a));
}

/* What is there stays, be it what it may; nothing is left beside it. */
static void
test_save_never_overwrites(void **state)
{
	struct tls_identity *id;
	char text[8] = "";
	FILE *f;

	(void)state;
	write_text("mine");
	assert_int_equal(tls_identity_new(&id, NULL), 0);
	diag_init(&d, NULL);
	assert_int_equal(tls_identity_save(id, path, &d), UK_EEXIST);
	assert_int_equal(d.errors, 1);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "mine");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/nonexistent/key", path), 0);
	assert_int_equal(tls_identity_save(id, path, &d), UK_EEXIST);
	assert_int_equal(unlink(path), 0);
	/* Empty again: no file under another name. */
	assert_int_equal(rmdir(folder), 0);
	assert_int_equal(tls_identity_save(id, path, &d), UK_ENOENT);
	assert_int_equal(mkdir(folder, 0700), 0);
	tls_identity_free(id);
}

/* Who can read the file can be the relay. */
static void
test_file_of_others(void **state)
{
	static const struct {
		mode_t mode;
		int err;
	} row[] = {{0600, 0}, {0400, 0}, {0700, 0}, {0644, UK_EPERM},
	    {0640, UK_EPERM}, {0604, UK_EPERM}, {0620, UK_EPERM},
	    {0602, UK_EPERM}, {0610, UK_EPERM}, {0601, UK_EPERM}};
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct tls_identity *id;

	(void)state;
	write_key(key, NULL);
	EVP_PKEY_free(key);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(chmod(path, row[i].mode), 0);
		assert_int_equal(load(&id), row[i].err);
		assert_int_equal(d.errors, row[i].err != 0);
		assert_true((id != NULL) == (row[i].err == 0));
		tls_identity_free(id);
	}
	assert_int_equal(chmod(path, 0600), 0);
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(path, 12345, 0), 0);
	assert_int_equal(load(&id), UK_EPERM);
}

static void
test_no_file(void **state)
{
	struct tls_identity *id;

	(void)state;
	assert_int_equal(load(&id), UK_ENOENT);
	assert_null(id);
	assert_int_equal(d.errors, 1);
	/* Not a file: and no waiting for whoever would write into it. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(load(&id), UK_EPROTO);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(load(&id), UK_EPROTO);
	assert_int_equal(rmdir(path), 0);
}

static void
test_no_key(void **state)
{
	static const char *const text[] = {
	    "",
	    "\n",
	    "hello\n",
	    "-----BEGIN PRIVATE KEY-----\n",
	    "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
	    "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
	    "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
	};
	struct tls_identity *id;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(text); i++) {
		write_text(text[i]);
		assert_int_equal(load(&id), UK_EPROTO);
		assert_null(id);
		assert_int_equal(d.errors, 1);
	}
	assert_int_equal(truncate(path, 40000), 0);
	assert_int_equal(load(&id), UK_EPROTO);
}

/* A service must not sit and ask a terminal. */
static void
test_passphrase(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	char passphrase[] = "secret";
	struct tls_identity *id;

	(void)state;
	write_key(key, passphrase);
	EVP_PKEY_free(key);
	assert_int_equal(load(&id), UK_EPROTO);
	assert_int_equal(d.errors, 1);
}

/* One handshake with an identity, without a network between. */
static bool
can_serve(const struct tls_identity *id)
{
	static const char *const names[] = {"x", NULL};
	enum tls_result a = TLS_WANT_INPUT, b = TLS_WANT_INPUT;
	struct tls_stream *client, *server;
	uint8_t pin[TLS_PIN_LEN];
	struct tls_server *s;
	const uint8_t *bytes;
	size_t n;

	assert_int_equal(tls_server_new(&s, id, names, NULL), 0);
	tls_identity_pin(id, pin);
	client = tls_stream_connect(pin, "x");
	server = tls_stream_accept(s);
	assert_non_null(client);
	assert_non_null(server);
	for (int i = 0; i < 10; i++) {
		a = tls_stream_handshake(client);
		while ((n = tls_stream_output(client, &bytes)) > 0)
			tls_stream_output_sent(
			    client, tls_stream_input(server, bytes, n));
		b = tls_stream_handshake(server);
		while ((n = tls_stream_output(server, &bytes)) > 0)
			tls_stream_output_sent(
			    server, tls_stream_input(client, bytes, n));
	}
	tls_stream_free(client);
	tls_stream_free(server);
	tls_server_free(s);
	return a == TLS_DONE && b == TLS_DONE;
}

/* The halves of two keys in one: what it signs does not verify. */
static EVP_PKEY *
torn(void)
{
	EVP_PKEY *a = EVP_EC_gen("P-256"), *b = EVP_EC_gen("P-256");
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	EVP_PKEY *key = NULL;
	BIGNUM *secret = NULL;
	uint8_t public[80];
	OSSL_PARAM *params;
	size_t n;

	assert_int_equal(EVP_PKEY_get_bn_param(a, "priv", &secret), 1);
	assert_int_equal(EVP_PKEY_get_octet_string_param(
			     b, "pub", public, sizeof(public), &n),
	    1);
	OSSL_PARAM_BLD_push_utf8_string(bld, "group", "P-256", 0);
	OSSL_PARAM_BLD_push_BN(bld, "priv", secret);
	OSSL_PARAM_BLD_push_octet_string(bld, "pub", public, n);
	params = OSSL_PARAM_BLD_to_param(bld);
	assert_int_equal(EVP_PKEY_fromdata_init(c), 1);
	assert_int_equal(
	    EVP_PKEY_fromdata(c, &key, EVP_PKEY_KEYPAIR, params), 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	EVP_PKEY_CTX_free(c);
	BN_clear_free(secret);
	EVP_PKEY_free(a);
	EVP_PKEY_free(b);
	return key;
}

/* bits: of RSA; else curve: of EC; else the name of the kind. */
static EVP_PKEY *
generate(const char *kind, const char *curve, unsigned bits)
{
	EVP_PKEY_CTX *c;
	EVP_PKEY *key = NULL;

	if (curve != NULL)
		return EVP_EC_gen(curve);
	c = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
	assert_int_equal(EVP_PKEY_keygen_init(c), 1);
	if (bits != 0)
		assert_int_equal(
		    EVP_PKEY_CTX_set_rsa_keygen_bits(c, (int)bits), 1);
	assert_int_equal(EVP_PKEY_generate(c, &key), 1);
	EVP_PKEY_CTX_free(c);
	return key;
}

/* What is accepted works; the rest could not (RFC 8446 section 4.2.3). */
static void
test_kinds(void **state)
{
	static const struct {
		const char *kind, *curve;
		unsigned bits;
		int err;
	} row[] = {
	    {"EC", "P-256", 0, 0},
	    {"EC", "P-384", 0, 0},
	    {"EC", "P-521", 0, 0},
	    {"ED25519", NULL, 0, 0},
	    {"ED448", NULL, 0, 0},
	    {"RSA", NULL, 2048, 0},
	    {"RSA-PSS", NULL, 2048, 0},
	    {"RSA", NULL, 1024, UK_EPROTO},
	    {"EC", "secp256k1", 0, UK_EPROTO},
	    {"EC", "brainpoolP256r1", 0, UK_EPROTO},
	    {"X25519", NULL, 0, UK_EPROTO},
	};
	uint8_t pin[TLS_PIN_LEN], file[TLS_PIN_LEN];
	struct tls_identity *id;
	EVP_PKEY *key;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		key = generate(row[i].kind, row[i].curve, row[i].bits);
		write_key(key, NULL);
		EVP_PKEY_free(key);
		assert_int_equal(load(&id), row[i].err);
		assert_int_equal(d.errors, row[i].err != 0);
		if (row[i].err != 0)
			continue;
		tls_identity_pin(id, pin);
		pin_of_file(file);
		assert_memory_equal(pin, file, sizeof(pin));
		assert_true(can_serve(id));
		tls_identity_free(id);
	}
}

static void
test_torn_key(void **state)
{
	EVP_PKEY *key = torn();
	struct tls_identity *id;

	(void)state;
	write_key(key, NULL);
	EVP_PKEY_free(key);
	assert_int_equal(load(&id), UK_EPROTO);
	assert_null(id);
	assert_int_equal(d.errors, 1);
}

static int
make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/ukai-tls-identity.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/relay.key", folder);
	return 0;
}

static int
remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_new_save_load, remove_file),
	    cmocka_unit_test(test_each_is_another),
	    cmocka_unit_test_teardown(test_save_never_overwrites, remove_file),
	    cmocka_unit_test_teardown(test_file_of_others, remove_file),
	    cmocka_unit_test_teardown(test_no_file, remove_file),
	    cmocka_unit_test_teardown(test_no_key, remove_file),
	    cmocka_unit_test_teardown(test_passphrase, remove_file),
	    cmocka_unit_test_teardown(test_kinds, remove_file),
	    cmocka_unit_test_teardown(test_torn_key, remove_file),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
