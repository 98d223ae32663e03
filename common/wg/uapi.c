#include "uapi.h"

#include "core/err.h"
#include "core/value.h"

#include <sodium.h>
#include <stdio.h>

static_assert(KEY_LEN == WG_KEY_LEN, "one kind of key");

/* A piece of a line. */
struct span {
	const char *s;
	size_t len;
};

static bool
span_is(const struct span *a, const char *word)
{
	return a->len == strlen(word) && memcmp(a->s, word, a->len) == 0;
}

/* ---- get ---- */

static void
add_key(struct text *out, const char *name, const struct wg_key *key)
{
	char hex[KEY_HEX_LEN + 1];

	value_format_key_hex(hex, key->b);
	text_add(out, "%s=%s\n", name, hex);
	sodium_memzero(hex, sizeof(hex));
}

static void
get_peer(const struct wg_peer *p, struct text *out)
{
	char endpoint[ENDPOINT_TEXT_MAX], prefix[IP_PREFIX_TEXT_MAX];
	const struct lpm_node *cursor = NULL;
	struct wg_peer_info info;
	struct ip_prefix allowed;

	wg_peer_info(p, 0, &info);
	add_key(out, "public_key", &info.public_key);
	add_key(out, "preshared_key", &info.psk);
	sodium_memzero(&info.psk, sizeof(info.psk));
	if (info.endpoint.addr.family != FAMILY_NONE)
		text_add(out, "endpoint=%s\n",
		    endpoint_format(&info.endpoint, endpoint));
	text_add(out,
	    "last_handshake_time_sec=%llu\nlast_handshake_time_nsec=%llu\n"
	    "tx_bytes=%llu\nrx_bytes=%llu\n"
	    "persistent_keepalive_interval=%u\n",
	    (unsigned long long)(info.last_handshake_wall_ns / UK_NS_PER_S),
	    (unsigned long long)(info.last_handshake_wall_ns % UK_NS_PER_S),
	    (unsigned long long)info.tx_bytes,
	    (unsigned long long)info.rx_bytes, info.keepalive_s);
	while (wg_peer_next_allowed(p, &cursor, &allowed))
		text_add(
		    out, "allowed_ip=%s\n", ip_prefix_format(&allowed, prefix));
	text_add(out, "protocol_version=1\n");
}

/* The whole answer is made in one go, a snapshot: whatever happens to peers
 * while a slow reader takes it does not matter (P6). */
static void
get(const struct uapi_session *s, struct text *out)
{
	const struct wg_key *key = wg_device_private_key(s->device);
	uint16_t port = s->host->port(s->host->arg);
	uint32_t mark = s->host->mark(s->host->arg);

	if (key)
		add_key(out, "private_key", key);
	if (port)
		text_add(out, "listen_port=%u\n", port);
	if (mark)
		text_add(out, "fwmark=%u\n", mark);
	for (struct wg_peer *p = wg_device_next_peer(s->device, NULL); p;
	     p = wg_device_next_peer(s->device, p))
		get_peer(p, out);
}

/* ---- set ---- */

static int
expect_true(const struct span *v)
{
	return span_is(v, "true") ? 0 : UK_EINVAL;
}

static int
parse_number(uint64_t *n, const struct span *v, uint64_t max)
{
	return value_parse_u64(n, v->s, v->len, max, false);
}

static int
set_private_key(struct uapi_session *s, const struct span *v)
{
	struct wg_key key;
	int err = value_parse_key_hex(key.b, v->s, v->len);

	if (err == 0)
		wg_device_set_private_key(s->device, &key);
	sodium_memzero(&key, sizeof(key));
	return err;
}

static int
set_listen_port(struct uapi_session *s, const struct span *v)
{
	uint64_t port;
	int err = parse_number(&port, v, UINT16_MAX);

	return err ? err : s->host->set_port(s->host->arg, (uint16_t)port);
}

static int
set_fwmark(struct uapi_session *s, const struct span *v)
{
	uint64_t mark;
	int err = parse_number(&mark, v, UINT32_MAX);

	return err ? err : s->host->set_mark(s->host->arg, (uint32_t)mark);
}

static int
set_replace_peers(struct uapi_session *s, const struct span *v)
{
	if (expect_true(v) != 0)
		return UK_EINVAL;
	wg_device_remove_all(s->device);
	return 0;
}

static int
set_protocol_version(struct uapi_session *s, const struct span *v)
{
	(void)s;
	return span_is(v, "1") ? 0 : UK_EINVAL;
}

/* The peer that the last public_key line named, made if need be; NULL: its
 * lines are to be ignored, or memory is out. It is looked up for every line,
 * since another connection may remove it between two of ours; then it stays
 * removed (P6, P9). */
static struct wg_peer *
named_peer(struct uapi_session *s)
{
	struct wg_peer *p;

	if (s->ignore)
		return NULL;
	p = wg_device_find(s->device, &s->key);
	if (!p && s->existed) {
		s->ignore = true;
		return NULL;
	}
	if (!p)
		p = wg_device_add(s->device, &s->key);
	s->existed = p != NULL;
	return p;
}

static int
set_public_key(struct uapi_session *s, const struct span *v)
{
	const struct wg_key *own = wg_device_public_key(s->device);
	int err = value_parse_key_hex(s->key.b, v->s, v->len);

	if (err)
		return err;
	s->in_peer = true;
	s->existed = false;
	s->ignore = own && memcmp(own, &s->key, sizeof(*own)) == 0;
	return 0;
}

static int
set_remove(struct uapi_session *s, const struct span *v)
{
	struct wg_peer *p;

	if (expect_true(v) != 0)
		return UK_EINVAL;
	p = wg_device_find(s->device, &s->key);
	if (p && !s->ignore)
		wg_device_remove(s->device, p);
	s->ignore = true;
	return 0;
}

static int
set_update_only(struct uapi_session *s, const struct span *v)
{
	if (expect_true(v) != 0)
		return UK_EINVAL;
	s->existed = true; /* or else it is not to be made */
	(void)named_peer(s);
	return 0;
}

static int
set_preshared_key(
    struct uapi_session *s, struct wg_peer *p, const struct span *v)
{
	struct wg_key psk;
	int err = value_parse_key_hex(psk.b, v->s, v->len);

	(void)s;
	if (err == 0 && p)
		wg_peer_set_psk(p, &psk);
	sodium_memzero(&psk, sizeof(psk));
	return err;
}

static int
set_endpoint(struct uapi_session *s, struct wg_peer *p, const struct span *v)
{
	struct endpoint e;
	char scope[16];
	int err = value_parse_endpoint(&e, scope, v->s, v->len);

	if (err)
		return err;
	if (scope[0] != '\0') {
		e.scope_id = s->host->scope(s->host->arg, scope);
		if (e.scope_id == 0)
			return UK_EINVAL;
	}
	if (p)
		wg_peer_set_endpoint(p, &e);
	return 0;
}

static int
set_keepalive(struct uapi_session *s, struct wg_peer *p, const struct span *v)
{
	uint64_t seconds;
	int err = parse_number(&seconds, v, UINT16_MAX);

	(void)s;
	if (err == 0 && p)
		wg_peer_set_keepalive(p, (uint16_t)seconds);
	return err;
}

static int
set_replace_allowed_ips(
    struct uapi_session *s, struct wg_peer *p, const struct span *v)
{
	if (expect_true(v) != 0)
		return UK_EINVAL;
	if (p)
		wg_peer_disallow_all(s->device, p);
	return 0;
}

static int
set_allowed_ip(struct uapi_session *s, struct wg_peer *p, const struct span *v)
{
	bool take = v->len > 0 && v->s[0] == '-';
	struct ip_prefix prefix;
	int err = ip_prefix_parse(&prefix, v->s + take, v->len - take);

	if (err || !p)
		return err;
	if (!take)
		return wg_peer_allow(s->device, p, &prefix);
	(void)wg_peer_disallow(s->device, p, &prefix); /* or never had it */
	return 0;
}

typedef int set_interface_fn(struct uapi_session *s, const struct span *v);
typedef int set_peer_fn(
    struct uapi_session *s, struct wg_peer *p, const struct span *v);

static const struct {
	const char *key;
	set_interface_fn *set;
} interface_keys[] = {
    {"private_key", set_private_key},
    {"listen_port", set_listen_port},
    {"fwmark", set_fwmark},
    {"replace_peers", set_replace_peers},
    {"public_key", set_public_key},
    {"protocol_version", set_protocol_version},
};

/* Peer lines that do not make the peer exist. */
static const struct {
	const char *key;
	set_interface_fn *set;
} peer_selectors[] = {
    {"public_key", set_public_key},
    {"remove", set_remove},
    {"update_only", set_update_only},
    {"protocol_version", set_protocol_version},
};

static const struct {
	const char *key;
	set_peer_fn *set;
} peer_keys[] = {
    {"preshared_key", set_preshared_key},
    {"endpoint", set_endpoint},
    {"persistent_keepalive_interval", set_keepalive},
    {"replace_allowed_ips", set_replace_allowed_ips},
    {"allowed_ip", set_allowed_ip},
};

static int
set_interface_line(
    struct uapi_session *s, const struct span *key, const struct span *v)
{
	for (size_t i = 0; i < ARRAY_LEN(interface_keys); i++)
		if (span_is(key, interface_keys[i].key))
			return interface_keys[i].set(s, v);
	return UK_EINVAL;
}

static int
set_peer_line(
    struct uapi_session *s, const struct span *key, const struct span *v)
{
	for (size_t i = 0; i < ARRAY_LEN(peer_selectors); i++) {
		if (!span_is(key, peer_selectors[i].key))
			continue;
		if (i == 0 && !named_peer(s) && !s->ignore)
			return UK_ENOMEM;
		return peer_selectors[i].set(s, v);
	}
	for (size_t i = 0; i < ARRAY_LEN(peer_keys); i++) {
		struct wg_peer *p;

		if (!span_is(key, peer_keys[i].key))
			continue;
		p = named_peer(s);
		return p || s->ignore ? peer_keys[i].set(s, p, v) : UK_ENOMEM;
	}
	return UK_EINVAL;
}

static int
set_line(struct uapi_session *s, const char *line, size_t len)
{
	const char *eq = memchr(line, '=', len);
	struct span key, v;

	if (!eq)
		return UK_EPROTO;
	key = (struct span){line, (size_t)(eq - line)};
	v = (struct span){eq + 1, len - key.len - 1};
	return s->in_peer ? set_peer_line(s, &key, &v)
			  : set_interface_line(s, &key, &v);
}

/* A peer that only had its public_key line exists too. */
static int
set_finish(struct uapi_session *s)
{
	if (!s->in_peer || named_peer(s) || s->ignore)
		return 0;
	return UK_ENOMEM;
}

/* ---- requests ---- */

/* The numbers are Linux's: they travel. */
static int
error_number(int err)
{
	switch (err) {
	case 0:
		return 0;
	case UK_EPERM:
		return 1;
	case UK_ENOMEM:
		return 12;
	case UK_EINVAL:
		return 22;
	case UK_EPROTO:
		return 71;
	case UK_EBUSY:
		return 98;
	default:
		return 5;
	}
}

/* The empty line: answer. A set's error is negative, a get's is not, since
 * that is what wg(8) understands. */
static void
answer(struct uapi_session *s, struct text *out)
{
	if (s->state == UAPI_SET && s->error == 0)
		s->error = set_finish(s);
	if (s->state == UAPI_GET && s->error == 0)
		get(s, out);
	text_add(out, "errno=%d\n\n",
	    s->state == UAPI_SET ? -error_number(s->error)
				 : error_number(s->error));
	s->state = UAPI_IDLE;
}

static bool
begin(struct uapi_session *s, const struct span *line)
{
	s->error = 0;
	s->in_peer = s->ignore = false;
	if (span_is(line, "get=1"))
		s->state = UAPI_GET;
	else if (span_is(line, "set=1"))
		s->state = UAPI_SET;
	return s->state != UAPI_IDLE;
}

bool
uapi_line(
    struct uapi_session *s, const char *line, size_t len, struct text *out)
{
	if (s->state == UAPI_IDLE)
		return begin(s, &(struct span){line, len});
	if (len == 0)
		answer(s, out);
	else if (s->error == 0) /* after an error the rest is passed over */
		s->error =
		    s->state == UAPI_SET ? set_line(s, line, len) : UK_EINVAL;
	return true;
}
