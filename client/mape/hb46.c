#include "hb46.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "core/err.h"
#include "plain_text.h"

/* ---- the TXT record ---- */

static bool
starts(const char *text, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len >= n && strncasecmp(text, with, n) == 0;
}

bool
hb46_url_ok(const char *url, size_t len, bool verify)
{
	const char *host;
	size_t host_len;

	for (size_t i = 0; i < len; i++)
		if (url[i] <= ' ' || url[i] > '~' || url[i] == '#')
			return false;
	if (starts(url, len, "https://"))
		host = url + 8;
	else if (!verify && starts(url, len, "http://"))
		host = url + 7;
	else
		return false;
	len -= (size_t)(host - url);
	for (host_len = 0; host_len < len; host_len++)
		if (strchr("/?", host[host_len]) != NULL)
			break;
	return host_len > 0 && memchr(host, '@', host_len) == NULL;
}

/* Of "v=v6mig-1 url=... t=b". */
struct word {
	const char *s;
	size_t len;
};

static bool
is_word(struct word w, const char *text)
{
	return w.len == strlen(text) && memcmp(w.s, text, w.len) == 0;
}

/* The value goes to the one of them that has this key; said twice, the record
 * contradicts itself. Other keys are for other versions. */
static int
take_word(struct word w, struct word *v, struct word *url, struct word *t)
{
	struct word *to = NULL;
	size_t key = 0;

	if (starts(w.s, w.len, "v=")) {
		to = v;
		key = 2;
	} else if (starts(w.s, w.len, "url=")) {
		to = url;
		key = 4;
	} else if (starts(w.s, w.len, "t=")) {
		to = t;
		key = 2;
	}
	if (to == NULL)
		return 0;
	if (to->s != NULL)
		return UK_EPROTO;
	*to = (struct word){w.s + key, w.len - key};
	return 0;
}

int
hb46_where_parse(struct hb46_where *w, const char *txt, size_t len)
{
	struct word v = {0}, url = {0}, t = {0};
	bool verify;

	for (size_t at = 0, n; at < len; at += n + 1) {
		const char *end = memchr(txt + at, ' ', len - at);

		n = end != NULL ? (size_t)(end - (txt + at)) : len - at;
		if (take_word((struct word){txt + at, n}, &v, &url, &t) < 0)
			return UK_EPROTO;
	}
	if (v.s == NULL || url.s == NULL || t.s == NULL ||
	    !is_word(v, "v6mig-1") || (!is_word(t, "a") && !is_word(t, "b")))
		return UK_EPROTO;
	verify = is_word(t, "b");
	if (url.len >= sizeof(w->url) || !hb46_url_ok(url.s, url.len, verify))
		return UK_EPROTO;
	*w = (struct hb46_where){.verify = verify};
	memcpy(w->url, url.s, url.len);
	return 0;
}

/* ---- the answer ---- */

struct parse {
	struct hb46 *h;
	struct diag *d;
	unsigned wrong; /* mistakes, each told to d */
};

#define WRONG(p, ...) ((p)->wrong++, diag_error((p)->d, __VA_ARGS__))

static void
take_name(
    struct parse *p, const json_t *o, const char *key, char *to, size_t room)
{
	const json_t *v = json_object_get(o, key);

	if (json_is_string(v))
		plain_text_copy(to, room, json_string_value(v));
	else if (v != NULL)
		WRONG(p, "\"%s\" is not a string", key);
}

/* A whole number from 0 to max; absent: as it was. Returns whether it is
 * there and right. */
static bool
take_number(struct parse *p, const json_t *o, const char *key, json_int_t max,
    json_int_t *to)
{
	const json_t *v = json_object_get(o, key);

	if (v == NULL)
		return false;
	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    json_integer_value(v) > max) {
		WRONG(p,
		    "\"%s\" is not a number from 0 to %" JSON_INTEGER_FORMAT,
		    key, max);
		return false;
	}
	*to = json_integer_value(v);
	return true;
}

/* It goes into an URL: RFC 3986's unreserved characters. */
static void
take_token(struct parse *p, const json_t *answer)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";
	const json_t *v = json_object_get(answer, "token");
	const char *s = json_string_value(v);

	if (v == NULL)
		return;
	if (s == NULL || strlen(s) >= sizeof(p->h->token) ||
	    strspn(s, chars) != strlen(s)) {
		WRONG(p, "\"token\" is not a token");
		return;
	}
	memcpy(p->h->token, s, strlen(s) + 1);
}

static void
take_ttl(struct parse *p, const json_t *answer)
{
	json_int_t ttl = HB46_TTL_DEFAULT;

	take_number(p, answer, "ttl", INT32_MAX, &ttl);
	if (ttl > HB46_TTL_MAX) {
		diag_warn(
		    p->d, "\"ttl\" is more than 7 days: 7 days are taken");
		ttl = HB46_TTL_MAX;
	}
	p->h->ttl_s = (uint32_t)ttl;
}

static void
take_prefix(struct parse *p, const json_t *rule, const char *key,
    uint8_t family, struct ip_prefix *to)
{
	const char *s = json_string_value(json_object_get(rule, key));

	if (s == NULL || ip_prefix_parse(to, s, strlen(s)) < 0 ||
	    to->addr.family != family)
		WRONG(p, "\"%s\" is not an IPv%u prefix", key, family);
}

/* One element of "rules"; r has what all of them share. Returns 0;
 * UK_ENOMEM. */
static int
take_rule(struct parse *p, struct map_rule r, const json_t *rule, size_t i)
{
	unsigned before = p->wrong;
	char why[MAP_RULE_WHY_MAX];
	json_int_t ea_len = 0, offset = 0;

	take_prefix(p, rule, "ipv6", FAMILY_V6, &r.ipv6);
	take_prefix(p, rule, "ipv4", FAMILY_V4, &r.ipv4);
	if (!take_number(p, rule, "ea_length", MAP_EA_LEN_MAX, &ea_len))
		WRONG(p, "a rule needs \"ea_length\"");
	if (!take_number(p, rule, "psid_offset", 15, &offset))
		WRONG(p, "a rule needs \"psid_offset\"");
	r.ea_len = (uint8_t)ea_len;
	r.psid_offset = (uint8_t)offset;
	r.psid_len = (uint8_t)map_rule_psid_bits(&r);
	if (p->wrong == before && map_rule_check(&r, why) < 0)
		WRONG(p, "%s", why);
	for (size_t k = 0; k < p->h->rules.n; k++)
		if (memcmp(&p->h->rules.item[k].ipv6, &r.ipv6,
			sizeof(r.ipv6)) == 0)
			WRONG(p, "its IPv6 prefix is that of rule %zu", k + 1);
	if (p->wrong > before)
		diag_error(p->d, "that was rule %zu of the answer", i + 1);
	return p->wrong > 0 ? 0 : map_rules_add(&p->h->rules, &r);
}

/* The specification says 0 and 1, and its example true. */
static void
take_mesh(struct parse *p, const json_t *map_e, struct map_rule *r)
{
	const json_t *v = json_object_get(map_e, "mesh");
	json_int_t mesh = 0;

	if (json_is_boolean(v))
		mesh = json_is_true(v);
	else
		take_number(p, map_e, "mesh", 1, &mesh);
	r->fmr = mesh != 0;
}

static void
take_br(struct parse *p, const json_t *map_e, struct map_rule *r)
{
	const char *s = json_string_value(json_object_get(map_e, "br"));

	if (s == NULL || ip_addr_parse(&r->br, s, strlen(s)) < 0 ||
	    r->br.family != FAMILY_V6)
		WRONG(p, "\"br\" is not an IPv6 address");
}

/* Returns 0; UK_ENOMEM. */
static int
take_map_e(struct parse *p, const json_t *map_e)
{
	const json_t *rules = json_object_get(map_e, "rules");
	struct map_rule r = {.confidence = "official"};
	json_int_t version = 0;
	int err = 0;

	plain_text_copy(
	    r.operator_name, sizeof(r.operator_name), p->h->enabler);
	snprintf(r.source, sizeof(r.source), "asked: ");
	plain_text_copy(r.source + strlen(r.source),
	    sizeof(r.source) - strlen(r.source), p->h->enabler);
	take_number(p, map_e, "version", 1, &version);
	r.iid = version == 1 ? MAP_IID_RFC7597 : MAP_IID_DRAFT03;
	take_mesh(p, map_e, &r);
	take_br(p, map_e, &r);
	if (json_array_size(rules) < 1 ||
	    json_array_size(rules) > HB46_RULES_MAX) {
		WRONG(p, "\"rules\" is not a list of 1 to %d", HB46_RULES_MAX);
		return 0;
	}
	for (size_t i = 0; err == 0 && i < json_array_size(rules); i++)
		err = take_rule(p, r, json_array_get(rules, i), i);
	return err;
}

/* The methods, best first. Returns whether MAP-E is one of them. */
static bool
take_order(struct parse *p, const json_t *answer)
{
	const json_t *order = json_object_get(answer, "order");
	bool map_e = false;

	if (!json_is_array(order))
		WRONG(p, "\"order\" is not a list");
	for (size_t i = 0; i < json_array_size(order); i++) {
		const char *s = json_string_value(json_array_get(order, i));

		if (s == NULL) {
			WRONG(p, "\"order\" is not a list of strings");
			return false;
		}
		map_e = map_e || strcmp(s, "map_e") == 0;
		if (i == 0 && !map_e)
			plain_text_copy(p->h->other, sizeof(p->h->other), s);
	}
	return map_e;
}

static int
take(struct parse *p, const json_t *answer)
{
	const json_t *map_e = json_object_get(answer, "map_e");

	if (!json_is_object(answer)) {
		WRONG(p, "the answer is not an object");
		return 0;
	}
	take_name(
	    p, answer, "enabler_name", p->h->enabler, sizeof(p->h->enabler));
	take_name(
	    p, answer, "service_name", p->h->service, sizeof(p->h->service));
	take_ttl(p, answer);
	take_token(p, answer);
	if (!take_order(p, answer))
		return 0;
	if (!json_is_object(map_e)) {
		WRONG(p, "\"map_e\" is in the order, but is not an object");
		return 0;
	}
	return take_map_e(p, map_e);
}

int
hb46_parse(struct hb46 *h, const char *json, size_t len, struct diag *d)
{
	struct parse p = {.h = h, .d = d};
	json_error_t e;
	json_t *answer;
	int err;

	*h = (struct hb46){.ttl_s = 0};
	if (len > HB46_ANSWER_MAX) {
		diag_error(
		    d, "the answer is longer than %d bytes", HB46_ANSWER_MAX);
		return UK_EPROTO;
	}
	answer = json_loadb(json, len, JSON_REJECT_DUPLICATES, &e);
	if (answer == NULL) {
		if (json_error_code(&e) == json_error_out_of_memory)
			return UK_ENOMEM;
		diag_add(d, DIAG_ERROR, (unsigned)e.line, (unsigned)e.column,
		    "the answer is not JSON: %s", e.text);
		return UK_EPROTO;
	}
	err = take(&p, answer);
	json_decref(answer);
	if (err == 0 && p.wrong > 0)
		err = UK_EPROTO;
	if (err < 0)
		hb46_fini(h);
	return err;
}

void
hb46_fini(struct hb46 *h)
{
	map_rules_fini(&h->rules);
	*h = (struct hb46){.ttl_s = 0};
}
