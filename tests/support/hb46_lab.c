#include "hb46_lab.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "core/bytes.h"

#define HEAD_LEN 12 /* of a DNS message: RFC 1035 4.1.1 */
#define TYPE_TXT 16
#define TYPE_AAAA 28
#define STRING_MAX 100 /* so that a TXT has several */

struct server {
	struct hb46_lab lab;
	int dns, web, stop;
	SSL_CTX *tls;
	pthread_t thread;
};

/* ---- DNS ---- */

static size_t
put_answer(uint8_t *b, unsigned type, const uint8_t *data, size_t len)
{
	store_be16(b, 0xc000 | HEAD_LEN); /* the question's name */
	store_be16(b + 2, (uint16_t)type);
	store_be16(b + 4, 1);
	store_be32(b + 6, 60);
	store_be16(b + 10, (uint16_t)len);
	memcpy(b + 12, data, len);
	return 12 + len;
}

static size_t
put_txt(uint8_t *b, const char *txt)
{
	uint8_t data[1024];
	size_t at = 0;

	for (size_t left = strlen(txt); left > 0;) {
		size_t n = left < STRING_MAX ? left : STRING_MAX;

		data[at] = (uint8_t)n;
		memcpy(data + at + 1, txt, n);
		at += 1 + n;
		txt += n;
		left -= n;
	}
	return put_answer(b, TYPE_TXT, data, at);
}

/* b holds a question of so many bytes, and has room. Returns the answer's. */
static size_t
dns_answer(const struct server *s, uint8_t *b)
{
	static const uint8_t loopback[16] = {[15] = 1};
	size_t at = HEAD_LEN;
	unsigned type;
	size_t n = 0;

	while (b[at] != 0)
		at += 1u + b[at];
	at += 5;
	type = load_be16(b + at - 4);
	if (s->lab.rcode == 0 && type == TYPE_TXT && s->lab.txt != NULL)
		n = put_txt(b + at, s->lab.txt);
	else if (type == TYPE_AAAA && memcmp(b + HEAD_LEN + 1, "v4", 2) != 0)
		n = put_answer(b + at, type, loopback, 16);
	b[2] = 0x81; /* an answer, recursion desired */
	b[3] = (uint8_t)(0x80 | (type == TYPE_TXT ? s->lab.rcode : 0));
	store_be16(b + 6, n > 0);
	store_be32(b + 8, 0);
	return at + n;
}

static void
on_dns(struct server *s)
{
	struct sockaddr_in6 from;
	socklen_t from_len = sizeof(from);
	uint8_t b[2048] = {0};
	ssize_t n =
	    recvfrom(s->dns, b, 512, 0, (struct sockaddr *)&from, &from_len);

	if (n < HEAD_LEN + 5)
		return;
	s->lab.questions++;
	if (!s->lab.silent)
		sendto(s->dns, b, dns_answer(s, b), 0, (struct sockaddr *)&from,
		    from_len);
}

/* ---- HTTP, behind TLS or not ---- */

struct conn {
	int fd;
	SSL *ssl;
};

static int
conn_read(struct conn *c, char *b, size_t len)
{
	return c->ssl != NULL ? SSL_read(c->ssl, b, (int)len)
			      : (int)recv(c->fd, b, len, 0);
}

static void
conn_write(struct conn *c, const char *b, size_t len)
{
	if (c->ssl != NULL)
		SSL_write(c->ssl, b, (int)len);
	else
		send(c->fd, b, len, MSG_NOSIGNAL);
}

static bool
read_request(struct server *s, struct conn *c)
{
	char b[4096] = "", *to;
	size_t len = 0;

	while (strstr(b, "\r\n\r\n") == NULL) {
		int n = conn_read(c, b + len, sizeof(b) - 1 - len);

		if (n <= 0)
			return false;
		len += (size_t)n;
		b[len] = 0;
	}
	*strstr(b, "\r\n") = 0;
	to = s->lab.request[s->lab.requests % ARRAY_LEN(s->lab.request)];
	snprintf(to, sizeof(s->lab.request[0]), "%.1000s", b);
	s->lab.requests++;
	return true;
}

static void
answer(struct server *s, struct conn *c)
{
	unsigned n = s->lab.requests;
	const struct hb46_page *p =
	    &s->lab.page[n < s->lab.pages ? n - 1 : s->lab.pages - 1];
	const char *body = p->body != NULL ? p->body : "";
	size_t len = strlen(body) + p->more;
	char *text = malloc(len + 1024);
	int at;

	if (p->stall) {
		conn_read(c, text, 1); /* until the client gives up */
		free(text);
		return;
	}
	at = sprintf(text,
	    "HTTP/1.1 %u X\r\nContent-Length: %zu\r\n%s%s%s"
	    "Connection: close\r\n\r\n%s",
	    p->status, len, p->location != NULL ? "Location: " : "",
	    p->location != NULL ? p->location : "",
	    p->location != NULL ? "\r\n" : "", body);
	memset(text + at, ' ', p->more);
	conn_write(c, text, (size_t)at + p->more);
	free(text);
}

static void
on_web(struct server *s)
{
	const struct timeval patience = {.tv_sec = 5};
	struct conn c = {.fd = accept(s->web, NULL, NULL)};
	char first = 0;

	if (c.fd < 0)
		return;
	s->lab.connections++;
	setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (recv(c.fd, &first, 1, MSG_PEEK) == 1 && first == 0x16) {
		c.ssl = SSL_new(s->tls);
		SSL_set_fd(c.ssl, c.fd);
	}
	if ((c.ssl == NULL || SSL_accept(c.ssl) == 1) && read_request(s, &c))
		answer(s, &c);
	if (c.ssl != NULL)
		SSL_shutdown(c.ssl);
	SSL_free(c.ssl);
	close(c.fd);
}

static void *
run(void *arg)
{
	struct server *s = arg;
	struct pollfd fd[3] = {
	    {s->stop, POLLIN, 0}, {s->dns, POLLIN, 0}, {s->web, POLLIN, 0}};

	while (poll(fd, 3, -1) > 0 && fd[0].revents == 0) {
		if (fd[1].revents != 0)
			on_dns(s);
		if (fd[2].revents != 0)
			on_web(s);
	}
	return NULL;
}

/* ---- start and stop ---- */

static void
add_names(X509 *cert)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(
	    NULL, &ctx, NID_subject_alt_name, "DNS:" HB46_LAB_NAME ",IP:::1");
	X509_add_ext(cert, e, -1);
	X509_EXTENSION_free(e);
}

/* It signs itself. */
static void
make_certificate(struct server *s)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	int fd;
	FILE *f;

	X509_set_version(cert, 2);
	X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_ASC, (const unsigned char *)"lab", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	add_names(cert);
	X509_sign(cert, key, EVP_sha256());
	s->tls = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(s->tls, cert);
	SSL_CTX_use_PrivateKey(s->tls, key);
	strcpy(s->lab.ca_file, "/tmp/ukai-lab.XXXXXX");
	fd = mkstemp(s->lab.ca_file);
	f = fdopen(fd, "w");
	PEM_write_X509(f, cert);
	fclose(f);
	X509_free(cert);
	EVP_PKEY_free(key);
}

/* Returns the port; 0: this host has no IPv6. */
static uint16_t
open_socket(int *fd, int type, struct in6_addr on)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = on};
	socklen_t len = sizeof(a);
	int no = 0;

	*fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return 0;
	setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
	if (bind(*fd, (struct sockaddr *)&a, len) < 0 ||
	    (type == SOCK_STREAM && listen(*fd, 16) < 0) ||
	    getsockname(*fd, (struct sockaddr *)&a, &len) < 0)
		return 0;
	return ntohs(a.sin6_port);
}

struct hb46_lab *
hb46_lab_start(void)
{
	struct server *s = calloc(1, sizeof(*s));
	uint16_t port = open_socket(&s->dns, SOCK_DGRAM, in6addr_loopback);

	s->lab.port = open_socket(&s->web, SOCK_STREAM, in6addr_any);
	if (port == 0 || s->lab.port == 0) {
		free(s);
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN);
	snprintf(s->lab.resolvers, sizeof(s->lab.resolvers), "[::1]:%u", port);
	make_certificate(s);
	s->stop = eventfd(0, EFD_CLOEXEC);
	pthread_create(&s->thread, NULL, run, s);
	return &s->lab;
}

void
hb46_lab_stop(struct hb46_lab *lab)
{
	struct server *s = CONTAINER_OF(lab, struct server, lab);

	eventfd_write(s->stop, 1);
	pthread_join(s->thread, NULL);
	unlink(lab->ca_file);
	SSL_CTX_free(s->tls);
	close(s->dns);
	close(s->web);
	close(s->stop);
	free(s);
}

void
hb46_lab_reset(struct hb46_lab *lab)
{
	lab->rcode = 0;
	lab->silent = false;
	lab->questions = lab->connections = lab->requests = 0;
	memset(lab->request, 0, sizeof(lab->request));
}
