#include "hb46_ask.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ares.h>
#include <arpa/nameser.h>

#include "client/resolve.h"
#include "core/err.h"
#include "curl_late.h"
#include "io/clock.h"

#define NAME "4over6.info"
/* Two resolvers are thus given up on after 6 s. */
#define DNS_TIMEOUT_MS 1500
#define DNS_TRIES 2
#define ADDRESSES_MAX 8

/* No OUI has been given to this project: one with the local bit (RFC 9542
 * section 2.1), which is nobody's. */
#define VENDOR "020000-ukai"
#define PRODUCT "ukai"
#define CAPABILITY "map_e,hubspoke,mesh"

struct ask {
	const struct hb46_question *q;
	struct hb46_reply *r;
	char *why; /* HB46_WHY_MAX */
	uint64_t until_ns;
	ares_channel channel;
	struct curl_late lib;
	CURL *curl;
	char words[CURL_ERROR_SIZE];
	bool too_long; /* the body */

	/* Of the look-up that is under way. */
	bool looked_up;
	int err;
	struct hb46_where where;
	struct ip_addr address[ADDRESSES_MAX];
	size_t addresses;
};

__attribute__((format(printf, 3, 4))) static int
fail(struct ask *a, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a->why, HB46_WHY_MAX, fmt, ap);
	va_end(ap);
	return err;
}

/* Rounded up: 0 only when the time is over. */
static int
left_ms(const struct ask *a)
{
	uint64_t now = clock_now().mono_ns;

	if (now >= a->until_ns)
		return 0;
	return (int)((a->until_ns - now + UK_NS_PER_MS - 1) / UK_NS_PER_MS);
}

/* Before connect(): that chooses the route. What cannot be marked still serves
 * until a tunnel takes everything. */
static void
mark_socket(const struct ask *a, int fd)
{
	uint32_t mark = a->q->mark;

	if (mark != 0)
		setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

/* ---- DNS ---- */

static int
on_sock_config(ares_socket_t fd, int type, void *arg)
{
	(void)type;
	mark_socket(arg, fd);
	return 0;
}

static int
open_channel(struct ask *a)
{
	static char files_then_dns[] = "fb";
	char *path = strdup(resolve_conf_path());
	struct ares_options o = {.timeout = DNS_TIMEOUT_MS,
	    .tries = DNS_TRIES,
	    .lookups = files_then_dns,
	    .resolvconf_path = path};
	int status;

	if (path == NULL)
		return UK_ENOMEM;
	status = ares_init_options(&a->channel, &o,
	    ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
		ARES_OPT_RESOLVCONF);
	free(path);
	if (status != ARES_SUCCESS)
		return fail(a, UK_ESYS, "cannot use the resolver: %s",
		    ares_strerror(status));
	ares_set_socket_configure_callback(a->channel, on_sock_config, a);
	if (a->q->resolvers == NULL)
		return 0;
	status = ares_set_servers_ports_csv(a->channel, a->q->resolvers);
	if (status == ARES_SUCCESS)
		return 0;
	ares_destroy(a->channel);
	return fail(a, UK_ESYS, "cannot use the resolvers %s: %s",
	    a->q->resolvers, ares_strerror(status));
}

/* One wait for c-ares' sockets, at most until the first question times out. */
static void
step(struct ask *a, int ms)
{
	ares_socket_t sock[ARES_GETSOCK_MAXNUM];
	struct pollfd fd[ARES_GETSOCK_MAXNUM] = {{.fd = -1}};
	unsigned want =
	    (unsigned)ares_getsock(a->channel, sock, ARES_GETSOCK_MAXNUM);
	struct timeval tv, max = {ms / 1000, ms % 1000 * 1000};
	nfds_t n = 0;

	for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
		short events = 0;

		/* Its own macros shift into the sign. */
		if (want >> i & 1)
			events = POLLIN;
		if (want >> (i + ARES_GETSOCK_MAXNUM) & 1)
			events |= POLLOUT;
		if (events != 0)
			fd[n++] = (struct pollfd){sock[i], events, 0};
	}
	tv = *ares_timeout(a->channel, &max, &tv);
	poll(fd, n, (int)(tv.tv_sec * 1000 + tv.tv_usec / 1000 + 1));
	for (nfds_t i = 0; i < n; i++)
		ares_process_fd(a->channel,
		    fd[i].revents & ~POLLOUT ? fd[i].fd : ARES_SOCKET_BAD,
		    fd[i].revents & POLLOUT ? fd[i].fd : ARES_SOCKET_BAD);
	ares_process_fd(a->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

/* Until the look-up has ended, or the time. */
static int
finish_lookup(struct ask *a, const char *name)
{
	while (!a->looked_up) {
		int ms = left_ms(a);

		if (ms > 0) {
			step(a, ms);
			continue;
		}
		ares_cancel(a->channel);
		return fail(a, UK_EAGAIN,
		    "no resolver has answered about %s in time", name);
	}
	return a->err;
}

/* Several strings are one text (RFC 7208 section 3.3 says so for its own, and
 * everybody does); a second record is not allowed (3.1), yet harmless. */
static int
take_txt(struct ask *a, const struct ares_txt_ext *t)
{
	char text[1024];
	size_t len = 0;

	for (; t != NULL; t = t->next) {
		if (t->record_start)
			len = 0;
		if (t->length > sizeof(text) - len)
			continue;
		memcpy(text + len, t->txt, t->length);
		len += t->length;
		if ((t->next == NULL || t->next->record_start) &&
		    hb46_where_parse(&a->where, text, len) == 0)
			return 0;
	}
	return fail(a, UK_EPROTO,
	    "the TXT record of " NAME " is not \"v=v6mig-1 url=... t=a|b\" "
	    "with an URL that may be asked");
}

static int
lookup_failed(struct ask *a, const char *name, int status)
{
	if (status == ARES_ENODATA || status == ARES_ENOTFOUND)
		return fail(
		    a, UK_ENOENT, "this line's resolvers do not know %s", name);
	if (status == ARES_ENOMEM)
		return UK_ENOMEM;
	return fail(
	    a, UK_EAGAIN, "cannot look %s up: %s", name, ares_strerror(status));
}

static void
on_txt(void *arg, int status, int timeouts, unsigned char *answer, int len)
{
	struct ares_txt_ext *t = NULL;
	struct ask *a = arg;

	(void)timeouts;
	a->looked_up = true;
	if (status == ARES_SUCCESS)
		status = ares_parse_txt_reply_ext(answer, len, &t);
	a->err = status == ARES_SUCCESS ? take_txt(a, t)
					: lookup_failed(a, NAME, status);
	ares_free_data(t);
}

static int
find_server(struct ask *a)
{
	a->looked_up = false;
	ares_query(a->channel, NAME, ns_c_in, ns_t_txt, on_txt, a);
	return finish_lookup(a, NAME);
}

static void
on_addresses(void *arg, int status, int timeouts, struct hostent *h)
{
	struct ask *a = arg;

	(void)timeouts;
	a->looked_up = true;
	a->err = status;
	if (status != ARES_SUCCESS || h->h_addrtype != AF_INET6)
		return;
	for (char **from = h->h_addr_list;
	     *from != NULL && a->addresses < ADDRESSES_MAX; from++) {
		struct ip_addr *to = &a->address[a->addresses++];

		to->family = FAMILY_V6;
		memcpy(to->b, *from, 16);
	}
}

/* IPv6 only (3.3). */
static int
find_addresses(struct ask *a, const char *host)
{
	struct ip_addr v4;
	int err;

	if (ip_addr_parse(&v4, host, strlen(host)) == 0)
		return fail(a, UK_EPROTO, "%s is not an IPv6 address", host);
	a->looked_up = false;
	a->addresses = 0;
	ares_gethostbyname(a->channel, host, AF_INET6, on_addresses, a);
	err = finish_lookup(a, host);
	if (err < 0) /* the time is over */
		return err;
	if (err != ARES_SUCCESS)
		err = lookup_failed(a, host, err);
	else if (a->addresses == 0)
		err = lookup_failed(a, host, ARES_ENODATA);
	/* That there is a server, the line has said. */
	return err == UK_ENOENT ? UK_EAGAIN : err;
}

/* ---- HTTP ---- */

static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
	int fd = socket(AF_INET6, to->socktype | SOCK_CLOEXEC, to->protocol);
	(void)purpose;
	if (fd >= 0)
		mark_socket(arg, fd);
	return fd;
}

static size_t
on_body(char *b, size_t size, size_t n, void *arg)
{
	struct ask *a = arg;

	(void)size; /* always 1 */
	a->too_long = n > HB46_ANSWER_MAX - a->r->body.len;
	if (a->too_long)
		return 0;
	text_append(&a->r->body, b, n);
	return a->r->body.failed ? 0 : n;
}

static bool
is_transient(CURLcode c)
{
	switch (c) {
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
		return true;
	default:
		return false;
	}
}

static int
transfer_failed(struct ask *a, const char *url, CURLcode c)
{
	const char *words =
	    a->words[0] != 0 ? a->words : a->lib.easy_strerror(c);

	if (c == CURLE_OUT_OF_MEMORY || a->r->body.failed)
		return UK_ENOMEM;
	if (a->too_long)
		return fail(a, UK_EPROTO, "%s: more than %d bytes", url,
		    HB46_ANSWER_MAX);
	if (c == CURLE_PEER_FAILED_VERIFICATION)
		return fail(a, UK_EAUTH, "%s: %s", url, words);
	return fail(
	    a, is_transient(c) ? UK_EAGAIN : UK_EPROTO, "%s: %s", url, words);
}

/* The version may have digits and '_' only (3.3). */
static void
add_version(struct text *t, const char *version)
{
	for (const char *s = version; *s != 0; s++)
		if ((*s >= '0' && *s <= '9') || *s == '.')
			text_add(t, "%c", *s == '.' ? '_' : *s);
}

static void
add_question(struct text *t, const struct ask *a, const char *url)
{
	const struct hb46_question *q = a->q;

	text_add(t, "%s%c", url, strchr(url, '?') != NULL ? '&' : '?');
	text_add(t, "vendorid=" VENDOR "&product=" PRODUCT "&version=");
	add_version(t, q->version);
	text_add(t, "&capability=" CAPABILITY);
	if (q->token != NULL && q->token[0] != 0 &&
	    strcmp(q->token_url, a->where.url) == 0)
		text_add(t, "&token=%s", q->token);
}

/* CURLOPT_RESOLVE's "HOST:PORT:[ADDRESS],...". A numeric host needs none, and
 * then t stays empty. */
static int
resolve_host(struct ask *a, struct text *t, CURLU *u)
{
	char *host = NULL, *port = NULL, text[IP_ADDR_TEXT_MAX];
	int err = UK_ENOMEM;

	if (a->lib.url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    a->lib.url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) !=
		CURLUE_OK)
		goto free_parts;
	err = host[0] == '[' ? 0 : find_addresses(a, host);
	if (err < 0 || host[0] == '[')
		goto free_parts;
	text_add(t, "%s:%s:", host, port);
	for (size_t i = 0; i < a->addresses; i++)
		text_add(t, "%s[%s]", i > 0 ? "," : "",
		    ip_addr_format(&a->address[i], text));
	err = t->failed ? UK_ENOMEM : 0;
free_parts:
	a->lib.free(host);
	a->lib.free(port);
	return err;
}

static bool
set_options(struct ask *a, const char *url, struct curl_slist *resolve)
{
	CURL *c = a->curl;
	long verify = a->where.verify ? 1 : 0;
	const char *schemes = a->where.verify ? "https" : "https,http";
	CURLcode bad = CURLE_OK;

	a->lib.easy_reset(c);
	a->words[0] = 0;
#define SET(option, value)                                                     \
	(bad = bad ? bad : a->lib.easy_setopt(c, option, value))
	SET(CURLOPT_URL, url);
	SET(CURLOPT_RESOLVE, resolve);
	SET(CURLOPT_PROTOCOLS_STR, schemes);
	SET(CURLOPT_IPRESOLVE, (long)CURL_IPRESOLVE_V6);
	SET(CURLOPT_PROXY, ""); /* none, whatever the environment says */
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)left_ms(a));
	SET(CURLOPT_ERRORBUFFER, a->words);
	SET(CURLOPT_USERAGENT, PRODUCT);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, verify);
	SET(CURLOPT_SSL_VERIFYHOST, 2 * verify);
	if (a->q->ca_file != NULL)
		SET(CURLOPT_CAINFO, a->q->ca_file);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
	SET(CURLOPT_OPENSOCKETDATA, a);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, a);
#undef SET
	return bad == CURLE_OK;
}

static int
transfer(struct ask *a, const char *url, const char *resolve)
{
	struct curl_slist *list = NULL;
	CURLcode c;
	int err = 0;

	text_clear(&a->r->body);
	if (left_ms(a) == 0)
		return fail(a, UK_EAGAIN, "%s: no answer in time", url);
	if (resolve != NULL) {
		list = a->lib.slist_append(NULL, resolve);
		if (list == NULL)
			return UK_ENOMEM;
	}
	if (!set_options(a, url, list)) {
		err = fail(a, UK_ESYS, "libcurl lacks what we need");
		goto free_list;
	}
	c = a->lib.easy_perform(a->curl);
	if (c != CURLE_OK)
		err = transfer_failed(a, url, c);
free_list:
	a->lib.slist_free_all(list);
	return err;
}

/* Ask url, which may be asked. */
static int
get(struct ask *a, const char *url)
{
	struct text full = {0}, resolve = {0};
	CURLU *u = a->lib.url();
	int err = UK_ENOMEM;

	if (u == NULL)
		return UK_ENOMEM;
	if (a->lib.url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK) {
		err = fail(a, UK_EPROTO, "%s: not an URL", url);
		goto free_url;
	}
	add_question(&full, a, url);
	if (!full.failed)
		err = resolve_host(a, &resolve, u);
	if (err == 0)
		err = transfer(a, full.s, resolve.s);
free_url:
	a->lib.url_cleanup(u);
	text_fini(&full);
	text_fini(&resolve);
	return err;
}

/* Where the answer sends us; the certificate is checked there, too, or as
 * little. Returns 1; UK_EPROTO. */
static int
redirected(struct ask *a, char next[static HB46_URL_MAX])
{
	char *to = NULL;

	a->lib.easy_getinfo(a->curl, CURLINFO_REDIRECT_URL, &to);
	if (to == NULL || strlen(to) >= HB46_URL_MAX ||
	    !hb46_url_ok(to, strlen(to), a->where.verify))
		return fail(a, UK_EPROTO,
		    "the server sends us to what may not be asked: %.200s",
		    to != NULL ? to : "nothing");
	memcpy(next, to, strlen(to) + 1);
	return 1;
}

/* What the status says. Returns 0: that was it; 1: ask next; < 0. */
static int
judge(struct ask *a, const char *url, char next[static HB46_URL_MAX])
{
	long status = 0;

	a->lib.easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200)
		return 0;
	if (status == 307)
		return redirected(a, next);
	if (status == 403 || status == 404)
		return fail(a, UK_EPERM,
		    "%s does not know this line's IPv6 address (HTTP %ld): ask "
		    "your provider whether the line has IPv4 over IPv6",
		    url, status);
	return fail(a, status >= 500 || status == 429 ? UK_EAGAIN : UK_EPROTO,
	    "%s answers with HTTP %ld", url, status);
}

static void
take_address(struct ask *a, CURLINFO which, struct ip_addr *to)
{
	char *text = NULL;

	a->lib.easy_getinfo(a->curl, which, &text);
	if (text == NULL || ip_addr_parse(to, text, strlen(text)) < 0)
		*to = (struct ip_addr){.family = FAMILY_NONE};
}

static int
follow(struct ask *a)
{
	char url[HB46_URL_MAX], next[HB46_URL_MAX];
	int err;

	memcpy(next, a->where.url, sizeof(next));
	for (int hop = 0; hop <= HB46_REDIRECTS_MAX; hop++) {
		memcpy(url, next, sizeof(url));
		err = get(a, url);
		if (err == 0)
			err = judge(a, url, next);
		if (err <= 0)
			return err;
	}
	return fail(a, UK_EPROTO, "%s: more than %d redirects", a->where.url,
	    HB46_REDIRECTS_MAX);
}

static int
ask(struct ask *a)
{
	int err = find_server(a);

	if (err < 0)
		return err;
	err = follow(a);
	if (err < 0)
		return err;
	memcpy(a->r->url, a->where.url, sizeof(a->r->url));
	take_address(a, CURLINFO_LOCAL_IP, &a->r->from);
	take_address(a, CURLINFO_PRIMARY_IP, &a->r->to);
	return 0;
}

int
hb46_ask(struct hb46_reply *r, const struct hb46_question *q,
    char why[static HB46_WHY_MAX])
{
	uint64_t timeout =
	    q->timeout_ns != 0 ? q->timeout_ns : HB46_ASK_TIMEOUT;
	struct ask a = {.q = q,
	    .r = r,
	    .why = why,
	    .until_ns = clock_now().mono_ns + timeout};
	const char *missing;
	int err;

	*r = (struct hb46_reply){.body = {0}};
	snprintf(why, HB46_WHY_MAX, "out of memory");
	if (curl_late_load(&a.lib, &missing) < 0)
		return fail(&a, UK_ESYS, "%s", missing);
	a.curl = a.lib.easy_init();
	if (a.curl == NULL)
		return UK_ENOMEM;
	err = open_channel(&a);
	if (err < 0)
		goto cleanup_curl;
	err = ask(&a);
	ares_destroy(a.channel);
cleanup_curl:
	a.lib.easy_cleanup(a.curl);
	if (err < 0)
		hb46_reply_fini(r);
	return err;
}

void
hb46_reply_fini(struct hb46_reply *r)
{
	text_fini(&r->body);
	*r = (struct hb46_reply){.body = {0}};
}
