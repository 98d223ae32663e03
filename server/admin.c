#include "admin.h"

#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/tunnel_status.h"

/* ---- arguments: what is missing or of another type is NULL ---- */

static const char *
text_of(const json_t *args, const char *key)
{
	return json_string_value(json_object_get(args, key));
}

/* Returns 0; UK_EINVAL after telling d. */
static int
need(const json_t *args, const char *key, const char **value, struct diag *d)
{
	*value = text_of(args, key);
	if (*value != NULL)
		return 0;
	diag_error(d, "the request lacks \"%s\"", key);
	return UK_EINVAL;
}

static int
key_of(const json_t *args, const char *name, struct wg_key *key)
{
	const char *text = text_of(args, name);

	return text != NULL ? value_parse_key_base64(key->b, text, strlen(text))
			    : UK_EINVAL;
}

/* ---- answers ---- */

static json_t *
answer_name(const char *name)
{
	return tunnel_status_put(json_object(), "name", json_string(name));
}

static uint64_t
now_s(void)
{
	return clock_now().wall_ns / UK_NS_PER_S;
}

static json_t *
answer_token(const struct admin *a, const struct client *c,
    const uint8_t secret[TOKEN_SECRET_LEN])
{
	char token[TOKEN_TEXT_MAX], address[IP_ADDR_TEXT_MAX];
	json_t *o = answer_name(c->name);

	welcome_token(a->welcome, c, secret, token);
	o = tunnel_status_put(o, "address",
	    json_string(ip_addr_format(&c->network[0].addr, address)));
	o = tunnel_status_put(o, "token", json_string(token));
	sodium_memzero(token, sizeof(token));
	return tunnel_status_put(
	    o, "expires", json_integer((json_int_t)c->expires_s));
}

static json_t *
answer_welcome(const struct admin *a, const struct client *c)
{
	struct enrol_answer answer;
	struct text text = {.s = NULL};
	json_t *o = NULL;

	if (welcome_answer(a->welcome, c, &answer) == 0 &&
	    enrol_answer_format(&answer, &text) == 0)
		o = json_loads(text.s, 0, NULL);
	enrol_answer_fini(&answer);
	text_fini(&text);
	return o;
}

/* ---- verbs: an answer, or NULL with an error in d ---- */

typedef json_t *verb_fn(
    const struct admin *a, const json_t *args, struct diag *d);

/* The registry's verb has returned err. */
static int
settle(const struct admin *a, int err, struct diag *d)
{
	return err < 0 ? err : a->settle(a->arg, d);
}

static json_t *
verb_invite(const struct admin *a, const json_t *args, struct diag *d)
{
	json_int_t hours = json_integer_value(json_object_get(args, "hours"));
	struct registry_invitation i = {.routes = text_of(args, "routes"),
	    .policy = text_of(args, "policy"),
	    .hours =
		hours > 0 && hours <= REGISTRY_HOURS_MAX ? (unsigned)hours : 0};
	uint8_t secret[TOKEN_SECRET_LEN];
	json_t *o = NULL;

	if (need(args, "name", &i.name, d) < 0)
		return NULL;
	if (a->no_tokens != NULL) {
		diag_error(d,
		    "nobody can join with a token: %s; --wireguard needs none",
		    a->no_tokens);
		return NULL;
	}
	if (settle(a, registry_invite(a->registry, &i, now_s(), secret, d),
		d) == 0)
		o = answer_token(a, registry_find(a->registry, i.name), secret);
	sodium_memzero(secret, sizeof(secret));
	return o;
}

static json_t *
verb_add(const struct admin *a, const json_t *args, struct diag *d)
{
	struct wg_key key, psk;
	struct registry_invitation i = {
	    .routes = text_of(args, "routes"), .public_key = &key};
	int err = need(args, "name", &i.name, d);

	if (err == 0 && key_of(args, "public_key", &key) < 0) {
		diag_error(d, "public_key is no WireGuard key");
		return NULL;
	}
	if (err == 0 && key_of(args, "preshared_key", &psk) == 0)
		i.preshared_key = &psk;
	if (err == 0)
		err = settle(
		    a, registry_invite(a->registry, &i, now_s(), NULL, d), d);
	sodium_memzero(&psk, sizeof(psk));
	return err < 0 ? NULL
		       : answer_welcome(a, registry_find(a->registry, i.name));
}

static json_t *
verb_revoke(const struct admin *a, const json_t *args, struct diag *d)
{
	const char *name;
	int err = need(args, "name", &name, d);

	if (err == 0)
		err = settle(a, registry_revoke(a->registry, name, d), d);
	return err < 0 ? NULL : answer_name(name);
}

static json_t *
answer_address(const struct admin *a, const char *name)
{
	const struct client *c = registry_find(a->registry, name);
	const struct ip_addr *global = registry_global(a->registry, c);
	struct text kept = {.s = NULL};
	char text[IP_ADDR_TEXT_MAX];
	json_t *o = answer_name(name);

	if (c->way == CLIENT_EXCLUSIVE &&
	    ip_addr_equal(global, registry_relays(a->registry)))
		a->kept(a->arg, &kept);
	if (c->networks > 0)
		o = tunnel_status_put(o, "tunnel_address",
		    json_string(ip_addr_format(&c->network[0].addr, text)));
	o = tunnel_status_put(
	    o, "global_address", json_string(ip_addr_format(global, text)));
	o = tunnel_status_put(o, "kept",
	    kept.len > 0 && !kept.failed ? json_string(kept.s) : json_null());
	text_fini(&kept);
	return o;
}

static json_t *
verb_address(const struct admin *a, const json_t *args, struct diag *d)
{
	const char *name, *way_name, *global = text_of(args, "global");
	struct ip_addr to = {.family = FAMILY_NONE};
	enum client_way way;

	if (need(args, "name", &name, d) < 0 ||
	    need(args, "way", &way_name, d) < 0)
		return NULL;
	if (client_way_parse(&way, way_name) < 0) {
		diag_error(d, "\"%s\" is neither shared, exclusive nor routed",
		    way_name);
		return NULL;
	}
	if (global != NULL && ip_addr_parse(&to, global, strlen(global)) < 0) {
		diag_error(d, "\"%s\" is no IPv4 address", global);
		return NULL;
	}
	if (settle(a, registry_set_way(a->registry, name, way, &to, d), d) < 0)
		return NULL;
	return answer_address(a, name);
}

/* Returns 0 with 0 where it is not given; UK_EINVAL after telling d. */
static int
count_of(const json_t *args, const char *key, uint32_t *count, struct diag *d)
{
	const json_t *v = json_object_get(args, key);
	json_int_t n = json_integer_value(v);

	*count = 0;
	if (v == NULL)
		return 0;
	if (!json_is_integer(v) || n < 1 || n > UINT32_MAX) {
		diag_error(d, "\"%s\" is no number from 1 to 4294967295", key);
		return UK_EINVAL;
	}
	*count = (uint32_t)n;
	return 0;
}

static json_t *
verb_limit(const struct admin *a, const json_t *args, struct diag *d)
{
	uint32_t rate, connections;
	const char *name;

	if (need(args, "name", &name, d) < 0 ||
	    count_of(args, "rate_kbit", &rate, d) < 0 ||
	    count_of(args, "connections", &connections, d) < 0 ||
	    settle(a, registry_limit(a->registry, name, rate, connections, d),
		d) < 0)
		return NULL;
	return answer_name(name);
}

static json_t *
forward(const struct admin *a, const json_t *args, struct diag *d,
    int (*verb)(struct registry *, const char *, const struct client_forward *,
	struct diag *))
{
	const char *name, *ports;
	struct client_forward f;

	if (need(args, "name", &name, d) < 0 ||
	    need(args, "ports", &ports, d) < 0 ||
	    client_forward_parse(&f, ports, text_of(args, "target"), d) < 0 ||
	    settle(a, verb(a->registry, name, &f, d), d) < 0)
		return NULL;
	return answer_name(name);
}

static json_t *
verb_forward_add(const struct admin *a, const json_t *args, struct diag *d)
{
	return forward(a, args, d, registry_forward_add);
}

static json_t *
verb_forward_remove(const struct admin *a, const json_t *args, struct diag *d)
{
	return forward(a, args, d, registry_forward_remove);
}

/* Beside the registry: elsewhere a relay may not be let write. Whoever asks
 * takes it from there, and away. */
static json_t *
verb_backup(const struct admin *a, const json_t *args, struct diag *d)
{
	static unsigned count;
	struct text path = {.s = NULL};
	json_t *o = NULL;

	(void)args;
	text_add(&path, "%s.backup-%u", a->registry_path, count++);
	if (!path.failed) {
		(void)unlink(path.s);
		if (registry_backup(a->registry, path.s, d) == 0)
			o = tunnel_status_put(
			    json_object(), "path", json_string(path.s));
	}
	text_fini(&path);
	return o;
}

static const struct {
	const char *name;
	verb_fn *run;
} verbs[] = {
    {"invite", verb_invite},
    {"add", verb_add},
    {"revoke", verb_revoke},
    {"address", verb_address},
    {"limit", verb_limit},
    {"forward-add", verb_forward_add},
    {"forward-remove", verb_forward_remove},
    {"backup", verb_backup},
};

/* All of one level, in one line. NULL: none. */
static json_t *
sentences(const struct diag *d, enum diag_level level)
{
	struct text t = {.s = NULL};
	json_t *v = NULL;

	for (unsigned i = 0; i < d->n; i++)
		if (d->entry[i].level == level)
			text_add(&t, "%s%s", t.len > 0 ? "; " : "",
			    d->entry[i].text);
	if (t.len > 0 && !t.failed)
		v = json_string(t.s);
	text_fini(&t);
	return v;
}

static json_t *
run(const struct admin *a, verb_fn *verb, const json_t *args)
{
	json_t *o, *said;
	struct diag d;

	diag_init(&d, NULL);
	o = json_is_object(args) ? verb(a, args, &d) : NULL;
	if (o == NULL) {
		said = sentences(&d, DIAG_ERROR);
		return tunnel_status_put(json_object(), "error",
		    said != NULL ? said
				 : json_string(json_is_object(args)
						   ? "out of memory"
						   : "not a JSON object"));
	}
	said = sentences(&d, DIAG_WARNING);
	return said != NULL ? tunnel_status_put(o, "warning", said) : o;
}

bool
admin_line(
    const struct admin *a, const char *line, size_t len, struct text *out)
{
	const char *space = memchr(line, ' ', len);
	size_t word = space != NULL ? (size_t)(space - line) : len;
	size_t i = 0;
	json_t *args;

	while (i < ARRAY_LEN(verbs) && (strlen(verbs[i].name) != word ||
					   memcmp(verbs[i].name, line, word)))
		i++;
	if (i == ARRAY_LEN(verbs))
		return false;
	args = json_loadb(line + word, len - word, 0, NULL);
	tunnel_status_answer(run(a, verbs[i].run, args), out);
	json_decref(args);
	return true;
}
