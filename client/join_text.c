#include "join_text.h"

#include <string.h>

#include <sodium.h>

#include "core/err.h"

static const char magic[] = "ukai-joining 1 ";

#define MAGIC_LEN (sizeof(magic) - 1)
#define KEY_AT (MAGIC_LEN + KEY_BASE64_LEN + 1)
#define STATE_LEN (KEY_AT + KEY_BASE64_LEN + 1)

_Static_assert(STATE_LEN < JOIN_STATE_TEXT_MAX, "room for the text");
_Static_assert(JOIN_HASH_LEN == KEY_LEN, "base64 as long as a key's");

const struct endpoint *
join_endpoint(const struct enrol_answer *a, uint8_t family)
{
	for (size_t i = 0; i < a->endpoints; i++)
		if (a->endpoint[i].addr.family == family)
			return &a->endpoint[i];
	return &a->endpoint[0];
}

static void
add_key(struct text *out, const char *name, const uint8_t key[KEY_LEN])
{
	char text[KEY_BASE64_LEN + 1];

	value_format_key_base64(text, key);
	text_add(out, "%s = %s\n", name, text);
	sodium_memzero(text, sizeof(text));
}

static bool
covers(const struct ip_prefix *wide, const struct ip_prefix *p)
{
	return wide->bits <= p->bits && ip_prefix_contains(wide, &p->addr);
}

/* Is there one that makes p superfluous: a wider one, or the same before? */
static bool
is_covered(const struct ip_prefix *all, size_t n, size_t i)
{
	for (size_t k = 0; k < n; k++)
		if (k != i && covers(&all[k], &all[i]) &&
		    (all[k].bits < all[i].bits || k < i))
			return true;
	return false;
}

static void
add_prefixes(
    struct text *out, const char *name, const struct ip_prefix *p, size_t n)
{
	const char *before = " = ";
	char text[IP_PREFIX_TEXT_MAX];

	text_add(out, "%s", name);
	for (size_t i = 0; i < n; i++) {
		if (is_covered(p, n, i))
			continue;
		text_add(out, "%s%s", before, ip_prefix_format(&p[i], text));
		before = ", ";
	}
	text_add(out, "\n");
}

static void
add_interface(struct text *out, const struct join_conf *c)
{
	const struct enrol_answer *a = c->answer;
	char text[IP_ADDR_TEXT_MAX];

	text_add(out, "\n[Interface]\n");
	add_key(out, "PrivateKey", c->private_key);
	text_add(out, "Address = %s/%u\n",
	    ip_addr_format(&a->address.addr, text), a->address.bits);
	if (a->mtu != 0)
		text_add(out, "MTU = %u\n", a->mtu);
}

static void
add_peer(struct text *out, const struct join_conf *c)
{
	const struct enrol_answer *a = c->answer;
	char text[ENDPOINT_TEXT_MAX];

	text_add(out, "\n[Peer]\n");
	add_key(out, "PublicKey", a->public_key);
	if (!sodium_is_zero(a->preshared_key, KEY_LEN))
		add_key(out, "PresharedKey", a->preshared_key);
	text_add(out, "Endpoint = %s\n",
	    endpoint_format(join_endpoint(a, c->via->addr.family), text));
	text_add(out, "# Visitors of published ports come from anywhere.\n"
		      "AllowedIPs = 0.0.0.0/0\n");
	if (a->keepalive_s != 0)
		text_add(out, "PersistentKeepalive = %u\n", a->keepalive_s);
}

/* Without a line for it, everything in AllowedIPs would take the tunnel. A
 * policy says what does, besides the relay's own networks. */
static void
add_routes(struct text *out, const struct join_conf *c)
{
	const struct enrol_answer *a = c->answer;
	struct ip_prefix all[(size_t)2 * ENROL_ROUTES_MAX];
	size_t routes = c->policy == NULL ? a->routes : 0;

	if (c->policy != NULL)
		text_add(out, "Policy = %s\n", c->policy);
	memcpy(all, a->route, routes * sizeof(*all));
	memcpy(all + routes, a->network, a->networks * sizeof(*all));
	if (routes + a->networks > 0)
		add_prefixes(out, "Routes", all, routes + a->networks);
	else if (c->policy == NULL)
		text_add(out, "Routes = off\n");
}

int
join_conf_format(const struct join_conf *c, struct text *out)
{
	const struct enrol_answer *a = c->answer;
	char text[ENDPOINT_TEXT_MAX];

	UK_ASSERT(a->endpoints > 0);
	text_add(out,
	    "# %s, as the relay at %s calls this PC.\n"
	    "# Written by ukai join; see ukai.conf(5).\n",
	    a->name, endpoint_format(c->via, text));
	add_interface(out, c);
	add_peer(out, c);
	text_add(out, "\n[Ukai]\n# What takes the tunnel.\n");
	add_routes(out, c);
	if (c->locals > 0)
		add_prefixes(out, "LocalNetworks", c->local, c->locals);
	return out->failed ? UK_ENOMEM : 0;
}

void
join_token_hash(uint8_t hash[static JOIN_HASH_LEN], const struct token *t)
{
	char text[TOKEN_TEXT_MAX];

	token_format(t, text);
	crypto_hash_sha256(hash, (const uint8_t *)text, strlen(text));
	sodium_memzero(text, sizeof(text));
}

size_t
join_state_format(
    const struct join_state *s, char text[static JOIN_STATE_TEXT_MAX])
{
	memcpy(text, magic, MAGIC_LEN);
	value_format_key_base64(text + MAGIC_LEN, s->token_hash);
	text[KEY_AT - 1] = ' ';
	value_format_key_base64(text + KEY_AT, s->private_key);
	text[STATE_LEN - 1] = '\n';
	text[STATE_LEN] = '\0';
	return STATE_LEN;
}

int
join_state_parse(struct join_state *s, const char *text, size_t len)
{
	struct join_state r;
	int err = UK_EPROTO;

	if (len == STATE_LEN && memcmp(text, magic, MAGIC_LEN) == 0 &&
	    text[KEY_AT - 1] == ' ' && text[len - 1] == '\n' &&
	    value_parse_key_base64(
		r.token_hash, text + MAGIC_LEN, KEY_BASE64_LEN) == 0 &&
	    value_parse_key_base64(
		r.private_key, text + KEY_AT, KEY_BASE64_LEN) == 0) {
		*s = r;
		err = 0;
	}
	sodium_memzero(&r, sizeof(r));
	return err;
}
