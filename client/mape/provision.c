#include "provision.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "core/err.h"
#include "host/conf_file.h"
#include "host/durable.h"
#include "io/sockaddr.h"

/* An operator gives a line a /56 at least; RA-only lines have a /64 of one. */
#define LINE_BITS 56
#define HTTPS_PORT 443 /* of a socket that sends nothing: any does */

/* The file: who was asked when from where, and the answer as it came. */
struct kept {
	bool there;
	struct hb46 answer;
	uint64_t asked_s;
	struct ip_addr from, to;
	char url[HB46_URL_MAX];
};

/* ---- the file ---- */

static bool
take_address(struct ip_addr *a, const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL && ip_addr_parse(a, s, strlen(s)) == 0 &&
	       a->family == FAMILY_V6;
}

static bool
take(struct kept *k, const json_t *o)
{
	const json_t *answer = json_object_get(o, "answer");
	const json_t *asked = json_object_get(o, "asked");
	const char *url = json_string_value(json_object_get(o, "url"));

	if (!json_is_string(answer) || !json_is_integer(asked) ||
	    json_integer_value(asked) < 0 || url == NULL ||
	    strlen(url) >= sizeof(k->url) ||
	    !take_address(&k->from, o, "from") ||
	    !take_address(&k->to, o, "to"))
		return false;
	k->asked_s = (uint64_t)json_integer_value(asked);
	memcpy(k->url, url, strlen(url) + 1);
	return hb46_parse(&k->answer, json_string_value(answer),
		   json_string_length(answer), NULL) == 0;
}

static void
load(struct kept *k, const char *path, struct diag *d)
{
	struct conf_file f;
	json_error_t e;
	json_t *o;
	int err;

	*k = (struct kept){.there = false};
	if (path == NULL)
		return;
	err = conf_file_read(&f, path, NULL);
	if (err == UK_ENOENT)
		return;
	if (err < 0) {
		diag_warn(d, "%s: cannot read the answer that was kept: %s",
		    path, uk_strerror(err));
		return;
	}
	o = json_loadb(f.text, f.len, JSON_REJECT_DUPLICATES, &e);
	conf_file_fini(&f);
	k->there = take(k, o);
	json_decref(o);
	if (!k->there)
		diag_warn(d,
		    "%s is ignored: it is not an answer that ukai has kept",
		    path);
}

static int
add_text(const char *s, size_t len, void *arg)
{
	struct text *t = arg;

	text_append(t, s, len);
	return t->failed ? -1 : 0;
}

static bool
format(struct text *t, const struct hb46_reply *r, uint64_t now_s)
{
	char from[IP_ADDR_TEXT_MAX], to[IP_ADDR_TEXT_MAX];
	json_t *o = json_pack("{sI ss ss ss ss%}", "asked", (json_int_t)now_s,
	    "from", ip_addr_format(&r->from, from), "to",
	    ip_addr_format(&r->to, to), "url", r->url, "answer", r->body.s,
	    r->body.len);
	int err = o == NULL ? -1 : json_dump_callback(o, add_text, t, 0);

	json_decref(o);
	return err == 0;
}

/* The folder is made by whoever comes first. */
static void
make_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = strndup(path, (size_t)(slash - path));

	if (folder != NULL)
		(void)mkdir(folder, 0700); /* durable_replace() says what is
					      wrong */
	free(folder);
}

static void
keep(
    const struct provision_setup *s, const struct hb46_reply *r, struct diag *d)
{
	struct text t = {0};
	int err = UK_ENOMEM;

	if (s->path == NULL)
		return;
	make_parent(s->path);
	if (format(&t, r, s->now_s))
		err = durable_replace(s->path, t.s, t.len, NULL);
	if (err < 0)
		diag_warn(d, "%s: cannot keep the answer: %s", s->path,
		    uk_strerror(err));
	text_fini(&t);
}

/* ---- is it this line's, and still good? ---- */

/* Our address for what goes to the server; nothing is sent. */
static bool
source_toward(struct ip_addr *from, const struct ip_addr *to, uint32_t mark)
{
	const struct endpoint e = {.addr = *to, .port = HTTPS_PORT};
	union sockaddr_any a;
	socklen_t len = sockaddr_store(&a, &e);
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct endpoint mine;
	bool ok;

	if (fd < 0)
		return false;
	if (mark != 0)
		setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	ok = connect(fd, &a.sa, len) == 0;
	len = sizeof(a);
	ok = ok && getsockname(fd, &a.sa, &len) == 0;
	close(fd);
	if (!ok)
		return false;
	sockaddr_load(&mine, &a);
	*from = mine.addr;
	return true;
}

/* Without a way to the server nobody knows: then it is not. */
static bool
is_other_line(const struct kept *k, uint32_t mark)
{
	const struct ip_ifaddr was = {k->from, LINE_BITS};
	struct ip_prefix line;
	struct ip_addr now;

	ip_ifaddr_prefix(&was, &line);
	return source_toward(&now, &k->to, mark) &&
	       !ip_prefix_contains(&line, &now);
}

/* An answer from the future is one from before the clock was set. */
static bool
is_expired(const struct kept *k, uint64_t now_s)
{
	return now_s < k->asked_s || now_s - k->asked_s >= k->answer.ttl_s;
}

static void
warn_old(const struct kept *k, const char *why, struct diag *d)
{
	time_t t = (time_t)uk_min_u64(k->asked_s, INT32_MAX);
	char day[32] = "?";
	struct tm tm;

	if (localtime_r(&t, &tm) != NULL)
		strftime(day, sizeof(day), "%Y-%m-%d %H:%M", &tm);
	diag_warn(
	    d, "the answer of %s is used, although it is old: %s", day, why);
}

static void
use(struct provision *p, struct kept *k)
{
	*p = (struct provision){
	    .answer = k->answer, .asked_s = k->asked_s, .kept = true};
	k->answer = (struct hb46){.ttl_s = 0};
}

/* ---- asking ---- */

static int
understand(struct provision *p, const struct provision_setup *s,
    const struct hb46_reply *r, struct diag *d)
{
	int err = hb46_parse(&p->answer, r->body.s, r->body.len, d);

	if (err < 0) {
		diag_error(d, "%s answered what makes no sense", r->url);
		return err;
	}
	p->asked_s = s->now_s;
	keep(s, r, d);
	return 0;
}

static int
ask(struct provision *p, const struct provision_setup *s, struct kept *k,
    struct diag *d)
{
	struct hb46_question q = s->question;
	struct hb46_reply r;
	char why[HB46_WHY_MAX];
	int err;

	q.token = k->there ? k->answer.token : NULL;
	q.token_url = k->url;
	err = hb46_ask(&r, &q, why);
	if (err == 0) {
		err = understand(p, s, &r, d);
		hb46_reply_fini(&r);
		return err;
	}
	if (err == UK_EAGAIN && k->there && !is_other_line(k, q.mark)) {
		use(p, k);
		p->expired = is_expired(k, s->now_s);
		warn_old(k, why, d);
		return 0;
	}
	diag_error(d, "%s", why);
	return err;
}

int
provision_get(
    struct provision *p, const struct provision_setup *s, struct diag *d)
{
	struct kept k;
	int err = 0;

	*p = (struct provision){.kept = false};
	load(&k, s->path, d);
	if (k.there && !s->fresh && !is_expired(&k, s->now_s) &&
	    !is_other_line(&k, s->question.mark))
		use(p, &k);
	else
		err = ask(p, s, &k, d);
	hb46_fini(&k.answer);
	return err;
}

void
provision_fini(struct provision *p)
{
	hb46_fini(&p->answer);
	*p = (struct provision){.kept = false};
}
