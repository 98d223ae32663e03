#include "tls_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "core/err.h"
#include "host/durable.h"
#include "host/os_err.h"

/* An RSA key of 16,384 bits takes 12,700. */
#define FILE_MAX 32768
#define RSA_BITS_MIN 2048

struct tls_identity {
	EVP_PKEY *key;
	X509 *certificate;
	uint8_t pin[TLS_PIN_LEN];
};

void
tls_identity_free(struct tls_identity *id)
{
	if (id == NULL)
		return;
	X509_free(id->certificate);
	EVP_PKEY_free(id->key);
	free(id);
}

void
tls_identity_pin(const struct tls_identity *id, uint8_t pin[static TLS_PIN_LEN])
{
	memcpy(pin, id->pin, TLS_PIN_LEN);
}

int
tls_identity_give(const struct tls_identity *id, struct ssl_ctx_st *ctx)
{
	if (SSL_CTX_use_certificate(ctx, id->certificate) != 1 ||
	    SSL_CTX_use_PrivateKey(ctx, id->key) != 1)
		return UK_ECRYPTO;
	return 0;
}

static int
make_pin(struct tls_identity *id)
{
	uint8_t *spki = NULL;
	int len = i2d_PUBKEY(id->key, &spki);
	int ok;

	if (len <= 0)
		return UK_ECRYPTO;
	ok = EVP_Digest(spki, (size_t)len, id->pin, NULL, EVP_sha256(), NULL);
	OPENSSL_free(spki);
	return ok == 1 ? 0 : UK_ECRYPTO;
}

/* These sign what they are given, without a hash of ours (RFC 8410). */
static const EVP_MD *
digest_of(const EVP_PKEY *key)
{
	int kind = EVP_PKEY_get_base_id(key);

	if (kind == EVP_PKEY_ED25519 || kind == EVP_PKEY_ED448)
		return NULL;
	return EVP_sha256();
}

/* Without a name, and without an end (RFC 5280 section 4.1.2.5). That its
 * signature holds shows that the halves of the key belong together. */
static int
make_certificate(struct tls_identity *id)
{
	X509 *x = X509_new();

	id->certificate = x;
	if (x == NULL || X509_set_version(x, X509_VERSION_3) != 1 ||
	    ASN1_INTEGER_set(X509_get_serialNumber(x), 1) != 1 ||
	    ASN1_TIME_set_string_X509(
		X509_getm_notBefore(x), "20000101000000Z") != 1 ||
	    ASN1_TIME_set_string_X509(
		X509_getm_notAfter(x), "99991231235959Z") != 1 ||
	    X509_set_pubkey(x, id->key) != 1 ||
	    X509_sign(x, id->key, digest_of(id->key)) == 0 ||
	    X509_verify(x, id->key) != 1)
		return UK_ECRYPTO;
	return 0;
}

/* Takes key, and frees it when it fails. */
static int
identity_from(struct tls_identity **id, EVP_PKEY *key)
{
	struct tls_identity *i = calloc(1, sizeof(*i));
	int err;

	if (i == NULL) {
		EVP_PKEY_free(key);
		return UK_ENOMEM;
	}
	i->key = key;
	err = make_pin(i);
	if (err == 0)
		err = make_certificate(i);
	if (err < 0)
		tls_identity_free(i);
	else
		*id = i;
	return err;
}

int
tls_identity_new(struct tls_identity **id, struct diag *d)
{
	EVP_PKEY *key;
	int err = UK_ECRYPTO;

	*id = NULL;
	ERR_clear_error();
	key = EVP_EC_gen("P-256");
	if (key != NULL)
		err = identity_from(id, key);
	if (err < 0)
		diag_error(
		    d, "cannot make a key for TLS: %s", uk_strerror(err));
	ERR_clear_error();
	return err;
}

int
tls_identity_save(
    const struct tls_identity *id, const char *path, struct diag *d)
{
	/* Wipes what it held when it grows, and at its end. */
	BIO *pem = BIO_new(BIO_s_secmem());
	char *text;
	long len;
	int err;

	ERR_clear_error();
	if (pem == NULL || PEM_write_bio_PKCS8PrivateKey(
			       pem, id->key, NULL, NULL, 0, NULL, NULL) != 1) {
		diag_error(
		    d, "cannot write %s: the key cannot be encoded", path);
		err = UK_ESYS;
	} else {
		len = BIO_get_mem_data(pem, &text);
		err = durable_create(path, text, (size_t)len, d);
	}
	BIO_free(pem);
	ERR_clear_error();
	return err;
}

/* Whoever can read it can be the relay for its clients; whoever can write it
 * can take it away from them. */
static int
check_file(int fd, const char *path, struct diag *d)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return os_err_tell(errno, path, "look at it", d);
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
		diag_error(d, "%s is not a file with a private key", path);
		return UK_EPROTO;
	}
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		diag_error(d,
		    "%s holds a private key and is open to other users; run: "
		    "chmod 600 %s",
		    path, path);
		return UK_EPERM;
	}
	if (st.st_uid != geteuid() && st.st_uid != 0) {
		diag_error(d, "%s holds a private key of another user", path);
		return UK_EPERM;
	}
	return 0;
}

/* Returns 0; *len: at most room. */
static int
read_fd(
    int fd, char *b, size_t room, size_t *len, const char *path, struct diag *d)
{
	*len = 0;
	while (*len < room) {
		ssize_t n = read(fd, b + *len, room - *len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return os_err_tell(errno, path, "read it", d);
		if (n == 0)
			break;
		*len += (size_t)n;
	}
	return 0;
}

/* A service has nobody to ask, and the default would ask the terminal. */
static int
no_passphrase(char *b, int size, int writing, void *arg)
{
	(void)b;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static bool
is_curve_of_tls(const EVP_PKEY *key)
{
	static const char *const names[] = {
	    "prime256v1", "secp384r1", "secp521r1"};
	char name[32];

	if (EVP_PKEY_get_group_name(key, name, sizeof(name), NULL) != 1)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* RFC 8446 section 4.2.3. */
static bool
signs_in_tls13(const EVP_PKEY *key)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_EC:
		return is_curve_of_tls(key);
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN;
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		return true;
	default:
		return false;
	}
}

static int
parse_pem(struct tls_identity **id, const char *text, size_t len,
    const char *path, struct diag *d)
{
	BIO *b = BIO_new_mem_buf(text, (int)len);
	EVP_PKEY *key = NULL;
	int err = UK_ENOMEM;

	if (b == NULL) {
		diag_error(d, "cannot read %s: out of memory", path);
		return UK_ENOMEM;
	}
	key = PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL);
	BIO_free(b);
	if (key == NULL) {
		diag_error(d,
		    "%s holds no private key in PEM that can be read without "
		    "a passphrase",
		    path);
		return UK_EPROTO;
	}
	if (!signs_in_tls13(key)) {
		EVP_PKEY_free(key);
		diag_error(d, "%s holds a key that TLS 1.3 cannot use", path);
		return UK_EPROTO;
	}
	err = identity_from(id, key);
	if (err < 0)
		diag_error(d, "%s holds a key that cannot sign", path);
	return err == UK_ECRYPTO ? UK_EPROTO : err;
}

static int
load_fd(struct tls_identity **id, int fd, const char *path, struct diag *d)
{
	char text[FILE_MAX];
	size_t len;
	int err = check_file(fd, path, d);

	if (err < 0)
		return err;
	err = read_fd(fd, text, sizeof(text), &len, path, d);
	if (err == 0)
		err = parse_pem(id, text, len, path, d);
	OPENSSL_cleanse(text, sizeof(text));
	return err;
}

int
tls_identity_load(struct tls_identity **id, const char *path, struct diag *d)
{
	/* O_NONBLOCK: opening a FIFO must not wait for its other end. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int err;

	*id = NULL;
	if (fd < 0)
		return os_err_tell(errno, path, "open it", d);
	ERR_clear_error();
	err = load_fd(id, fd, path, d);
	close(fd);
	ERR_clear_error();
	return err;
}
