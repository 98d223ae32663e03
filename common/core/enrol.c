#include "enrol.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "conf_wg.h"
#include "diag.h"
#include "err.h"
#include "x25519.h"

#define VERSION 1
#define SECRET_AT 4
#define KEY_AT (SECRET_AT + TOKEN_SECRET_LEN)

_Static_assert(KEY_AT + KEY_LEN == ENROL_REQUEST_LEN, "wire layout");

/* What an interface can have, as in a configuration file. */
#define MTU_MIN 576
#define MTU_MAX 65455

void
enrol_request_format(
    const struct enrol_request *r, uint8_t out[static ENROL_REQUEST_LEN])
{
	memset(out, 0, SECRET_AT);
	out[0] = VERSION;
	memcpy(out + SECRET_AT, r->secret, TOKEN_SECRET_LEN);
	memcpy(out + KEY_AT, r->public_key, KEY_LEN);
}

/* Some point of low order: nobody can shake hands with it (RFC 7748 section
 * 6.1). Zeros are one. The scalar does not matter: it is a multiple of 8. */
static bool
is_useless(const uint8_t key[KEY_LEN])
{
	static const uint8_t scalar[X25519_LEN] = {8};
	uint8_t shared[X25519_LEN];

	return x25519(shared, scalar, key) < 0;
}

/* X25519 ignores the highest bit (RFC 7748 section 5): with it set, somebody
 * else's key would look like another one. */
static bool
is_alias(const uint8_t key[KEY_LEN])
{
	return (key[KEY_LEN - 1] & 0x80) != 0;
}

int
enrol_request_parse(struct enrol_request *r, const uint8_t *bytes, size_t len)
{
	static const uint8_t head[SECRET_AT] = {VERSION};

	if (len != ENROL_REQUEST_LEN)
		return UK_EMSGSIZE;
	if (memcmp(bytes, head, sizeof(head)) != 0)
		return UK_EPROTO;
	if (is_alias(bytes + KEY_AT) || is_useless(bytes + KEY_AT))
		return UK_EINVAL;
	memcpy(r->secret, bytes + SECRET_AT, TOKEN_SECRET_LEN);
	memcpy(r->public_key, bytes + KEY_AT, KEY_LEN);
	return 0;
}

static const char *const words[] = {
    [ENROL_USED] = "used",
    [ENROL_EXPIRED] = "expired",
    [ENROL_UNKNOWN] = "unknown",
    [ENROL_BUSY] = "busy",
    [ENROL_FAILED] = "failed",
};

const char *
enrol_status_name(enum enrol_status s)
{
	return s == ENROL_OK ? "enrolled" : words[s];
}

/* No controls but tabs and ends of lines, U+0080 to U+009F among them. */
static bool
has_controls(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;

	for (size_t i = 0; i < len; i++) {
		if ((s[i] < 0x20 && s[i] != '\t' && s[i] != '\n') ||
		    s[i] == 0x7f)
			return true;
		if (s[i] == 0xc2 && i + 1 < len && s[i + 1] < 0xa0)
			return true;
	}
	return false;
}

bool
enrol_policy_ok(const char *text, size_t len)
{
	json_t *v;

	if (len > ENROL_POLICY_MAX || has_controls(text, len))
		return false;
	v = json_stringn(text, len); /* UTF-8 only */
	json_decref(v);
	return v != NULL;
}

/* ---- to JSON ---- */

/* What is given is taken; NULL: memory was out. */
static void
put(json_t *o, const char *key, json_t *v, bool *ok)
{
	if (json_object_set_new(o, key, v) < 0)
		*ok = false;
}

static void
push(json_t *list, const char *text, bool *ok)
{
	if (json_array_append_new(list, json_string(text)) < 0)
		*ok = false;
}

static json_t *
key_json(const uint8_t key[KEY_LEN])
{
	char text[KEY_BASE64_LEN + 1];
	json_t *v;

	value_format_key_base64(text, key);
	v = json_string(text);
	sodium_memzero(text, sizeof(text));
	return v;
}

static json_t *
endpoints_json(const struct enrol_answer *a, bool *ok)
{
	char text[ENDPOINT_TEXT_MAX];
	json_t *list = json_array();

	for (size_t i = 0; i < a->endpoints; i++)
		push(list, endpoint_format(&a->endpoint[i], text), ok);
	return list;
}

static json_t *
prefixes_json(const struct ip_prefix *p, size_t n, bool *ok)
{
	char text[IP_PREFIX_TEXT_MAX];
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		push(list, ip_prefix_format(&p[i], text), ok);
	return list;
}

static json_t *
address_json(const struct ip_ifaddr *a)
{
	char text[IP_ADDR_TEXT_MAX];

	return json_sprintf("%s/%u", ip_addr_format(&a->addr, text), a->bits);
}

static void
put_answer(json_t *o, const struct enrol_answer *a, json_t *psk, bool *ok)
{
	put(o, "name", json_string(a->name), ok);
	put(o, "address", address_json(&a->address), ok);
	put(o, "public_key", key_json(a->public_key), ok);
	put(o, "preshared_key", json_incref(psk), ok);
	put(o, "endpoints", endpoints_json(a, ok), ok);
	put(o, "mtu", json_integer(a->mtu), ok);
	put(o, "keepalive", json_integer(a->keepalive_s), ok);
	put(o, "networks", prefixes_json(a->network, a->networks, ok), ok);
	put(o, "routes", prefixes_json(a->route, a->routes, ok), ok);
	put(o, "policy",
	    a->policy != NULL ? json_string(a->policy) : json_null(), ok);
}

static int
append(const char *s, size_t len, void *arg)
{
	text_append(arg, s, len);
	return ((struct text *)arg)->failed ? -1 : 0;
}

/* jansson frees without wiping. */
static void
wipe(json_t *v)
{
	if (json_is_string(v))
		sodium_memzero((char *)(uintptr_t)json_string_value(v),
		    json_string_length(v));
}

int
enrol_answer_format(const struct enrol_answer *a, struct text *out)
{
	bool has_psk = !sodium_is_zero(a->preshared_key, KEY_LEN);
	json_t *psk = has_psk ? key_json(a->preshared_key) : json_null();
	json_t *o = json_object();
	size_t before = out->len;
	bool ok = o != NULL;

	if (a->status == ENROL_OK)
		put_answer(o, a, psk, &ok);
	else
		put(o, "error", json_string(words[a->status]), &ok);
	if (ok && json_dump_callback(o, append, out, JSON_COMPACT) < 0)
		ok = false;
	wipe(psk);
	json_decref(psk);
	json_decref(o);
	if (!ok || out->failed)
		return UK_ENOMEM;
	return out->len - before <= ENROL_ANSWER_MAX ? 0 : UK_EMSGSIZE;
}

/* ---- from JSON. v: the value; NULL: there is none. Each returns 0; UK_EPROTO:
 * not allowed; UK_ENOMEM. ---- */

static bool
is_none(const json_t *v)
{
	return v == NULL || json_is_null(v);
}

/* [a-z0-9-]{1,32} (C6) */
static int
take_name(struct enrol_answer *a, const json_t *v)
{
	const char *s = json_string_value(v);
	size_t len = json_string_length(v);

	if (len < 1 || len >= sizeof(a->name) ||
	    strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
		return UK_EPROTO;
	memcpy(a->name, s, len);
	return 0;
}

static int
take_address(struct enrol_answer *a, const json_t *v)
{
	struct ip_ifaddr r;

	if (!json_is_string(v) ||
	    ip_ifaddr_parse(&r, json_string_value(v), json_string_length(v)) <
		0 ||
	    r.addr.family != FAMILY_V4 || !conf_wg_is_host_address(&r.addr))
		return UK_EPROTO;
	a->address = r;
	return 0;
}

static int
take_key(uint8_t key[KEY_LEN], const json_t *v)
{
	return json_is_string(v) &&
		       value_parse_key_base64(key, json_string_value(v),
			   json_string_length(v)) == 0
		   ? 0
		   : UK_EPROTO;
}

static int
take_public_key(struct enrol_answer *a, const json_t *v)
{
	if (take_key(a->public_key, v) < 0 || is_useless(a->public_key))
		return UK_EPROTO;
	return 0;
}

static int
take_preshared_key(struct enrol_answer *a, const json_t *v)
{
	return is_none(v) ? 0 : take_key(a->preshared_key, v);
}

/* A whole address without a scope, that a host can have. */
static int
take_endpoint(struct endpoint *e, const json_t *v)
{
	char scope[16];

	if (!json_is_string(v) ||
	    value_parse_endpoint(
		e, scope, json_string_value(v), json_string_length(v)) < 0 ||
	    scope[0] != '\0' || e->scope_id != 0 ||
	    !conf_wg_is_host_address(&e->addr))
		return UK_EPROTO;
	return 0;
}

static int
take_endpoints(struct enrol_answer *a, const json_t *v)
{
	size_t n = json_array_size(v);

	if (n < 1 || n > ENROL_ENDPOINTS_MAX)
		return UK_EPROTO;
	for (size_t i = 0; i < n; i++)
		if (take_endpoint(&a->endpoint[i], json_array_get(v, i)) < 0)
			return UK_EPROTO;
	a->endpoints = n;
	return 0;
}

static int
take_number(uint16_t *to, const json_t *v, json_int_t max)
{
	json_int_t n = json_integer_value(v);

	if (is_none(v))
		return 0;
	if (!json_is_integer(v) || n < 0 || n > max)
		return UK_EPROTO;
	*to = (uint16_t)n;
	return 0;
}

static int
take_mtu(struct enrol_answer *a, const json_t *v)
{
	int err = take_number(&a->mtu, v, MTU_MAX);

	return err == 0 && a->mtu != 0 && a->mtu < MTU_MIN ? UK_EPROTO : err;
}

static int
take_keepalive(struct enrol_answer *a, const json_t *v)
{
	return take_number(&a->keepalive_s, v, UINT16_MAX);
}

static int
take_prefixes(
    struct ip_prefix p[static ENROL_ROUTES_MAX], size_t *n, const json_t *v)
{
	size_t all = json_array_size(v);

	if (is_none(v))
		return 0;
	if (!json_is_array(v) || all > ENROL_ROUTES_MAX)
		return UK_EPROTO;
	for (size_t i = 0; i < all; i++) {
		const json_t *e = json_array_get(v, i);

		if (!json_is_string(e) ||
		    ip_prefix_parse(&p[i], json_string_value(e),
			json_string_length(e)) < 0 ||
		    p[i].addr.family != FAMILY_V4)
			return UK_EPROTO;
	}
	*n = all;
	return 0;
}

static int
take_networks(struct enrol_answer *a, const json_t *v)
{
	return take_prefixes(a->network, &a->networks, v);
}

static int
take_routes(struct enrol_answer *a, const json_t *v)
{
	return take_prefixes(a->route, &a->routes, v);
}

static int
take_policy(struct enrol_answer *a, const json_t *v)
{
	const char *s = json_string_value(v);
	size_t len = json_string_length(v);

	if (is_none(v))
		return 0;
	if (s == NULL || !enrol_policy_ok(s, len))
		return UK_EPROTO;
	if (len == 0)
		return 0;
	a->policy = malloc(len + 1);
	if (a->policy == NULL)
		return UK_ENOMEM;
	memcpy(a->policy, s, len + 1);
	return 0;
}

static const struct {
	const char *key;
	int (*take)(struct enrol_answer *a, const json_t *v);
} fields[] = {
    {"name", take_name},
    {"address", take_address},
    {"public_key", take_public_key},
    {"preshared_key", take_preshared_key},
    {"endpoints", take_endpoints},
    {"mtu", take_mtu},
    {"keepalive", take_keepalive},
    {"networks", take_networks},
    {"routes", take_routes},
    {"policy", take_policy},
};

/* A word that a later relay says means no less than that it failed. */
static int
take_error(struct enrol_answer *a, const json_t *v, struct diag *d)
{
	if (!json_is_string(v)) {
		diag_error(d, "the relay's answer: \"error\" is no text");
		return UK_EPROTO;
	}
	a->status = ENROL_FAILED;
	for (size_t i = ENROL_USED; i < ARRAY_LEN(words); i++)
		if (strcmp(json_string_value(v), words[i]) == 0)
			a->status = (enum enrol_status)i;
	return 0;
}

static int
take_object(struct enrol_answer *a, const json_t *o, struct diag *d)
{
	const json_t *error = json_object_get(o, "error");

	if (!json_is_object(o)) {
		diag_error(d, "the relay's answer is no JSON object");
		return UK_EPROTO;
	}
	if (error != NULL)
		return take_error(a, error, d);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const char *key = fields[i].key;
		int err = fields[i].take(a, json_object_get(o, key));

		if (err == UK_EPROTO)
			diag_error(d,
			    "the relay's answer: \"%s\" is missing, or not "
			    "allowed",
			    key);
		if (err < 0)
			return err;
	}
	return 0;
}

int
enrol_answer_parse(
    struct enrol_answer *a, const char *text, size_t len, struct diag *d)
{
	json_error_t error;
	json_t *o;
	int err;

	*a = (struct enrol_answer){.status = ENROL_OK};
	if (len > ENROL_ANSWER_MAX) {
		diag_error(d, "the relay's answer is too long");
		return UK_EMSGSIZE;
	}
	o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (o == NULL && json_error_code(&error) == json_error_out_of_memory)
		return UK_ENOMEM;
	err = take_object(a, o, d);
	wipe(json_object_get(o, "preshared_key"));
	json_decref(o);
	if (err < 0)
		enrol_answer_fini(a);
	return err;
}

void
enrol_answer_fini(struct enrol_answer *a)
{
	free(a->policy);
	sodium_memzero(a, sizeof(*a));
}
