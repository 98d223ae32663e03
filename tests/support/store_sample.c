#include "store_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/err.h"
#include "core/ip.h"

static struct ip_addr
v4(uint32_t n)
{
	struct ip_addr a = {.family = FAMILY_V4};

	store_be32(a.b, n);
	return a;
}

void
store_sample(struct client *c, unsigned n)
{
	*c = (struct client){
	    .created_s = 1700000000u + n, .keepalive_s = (uint16_t)(n % 30)};
	snprintf(c->name, sizeof(c->name), "office-pc-%u", n);
	c->network[0] = (struct ip_prefix){v4(0x0a420000u + n), 32};
	c->networks = 1;
	if (n % 3 == 0) {
		memset(c->secret_hash, (int)(n & 0xff), sizeof(c->secret_hash));
		c->expires_s = c->created_s + 86400;
	} else {
		store_be32(c->public_key.b, n);
		memset(c->preshared_key.b, 0xa5, 32);
		c->joined_s = c->created_s + 5;
		c->endpoint.addr.family = FAMILY_V6;
		store_be32(c->endpoint.addr.b, 0xfe800000);
		store_be32(c->endpoint.addr.b + 12, n);
		c->endpoint.port = (uint16_t)(n + 1);
		c->endpoint.scope_id = 3;
	}
	if (n % 5 == 0) {
		c->way = n % 2 ? CLIENT_EXCLUSIVE : CLIENT_ROUTED;
		c->global = v4(0xcb007100u + n);
		c->network[c->networks++] =
		    (struct ip_prefix){v4(0x0b000000u + n * 256), 24};
		c->routes = strdup("0.0.0.0/0, 2001:db8::/32");
		c->policy = strdup("DEFAULT,native # \xe8\xbf\x82\n");
	}
	c->forwards = n % 4;
	c->forward = calloc(4, sizeof(*c->forward));
	for (size_t i = 0; c->forward != NULL && i < c->forwards; i++)
		c->forward[i] = (struct client_forward){
		    i % 2 ? IPPROTO_NUM_UDP : IPPROTO_NUM_TCP,
		    (uint16_t)(8000 + 10 * i), (uint16_t)(8005 + 10 * i),
		    (uint16_t)(65530 - i)};
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
same_forwards(const struct client *a, const struct client *b)
{
	if (a->forwards != b->forwards)
		return false;
	for (size_t i = 0; i < a->forwards; i++) {
		const struct client_forward *x = &a->forward[i];
		const struct client_forward *y = &b->forward[i];

		if (x->protocol != y->protocol || x->first != y->first ||
		    x->last != y->last || x->target != y->target)
			return false;
	}
	return true;
}

bool
store_sample_same(const struct client *a, const struct client *b)
{
	return a->id == b->id && strcmp(a->name, b->name) == 0 &&
	       a->created_s == b->created_s &&
	       memcmp(&a->public_key, &b->public_key, 32) == 0 &&
	       memcmp(&a->preshared_key, &b->preshared_key, 32) == 0 &&
	       a->joined_s == b->joined_s &&
	       endpoint_same_remote(&a->endpoint, &b->endpoint) &&
	       a->keepalive_s == b->keepalive_s && a->networks == b->networks &&
	       memcmp(a->network, b->network, sizeof(a->network)) == 0 &&
	       a->way == b->way && ip_addr_equal(&a->global, &b->global) &&
	       memcmp(a->secret_hash, b->secret_hash, 32) == 0 &&
	       a->expires_s == b->expires_s && a->rate_kbit == b->rate_kbit &&
	       a->connections == b->connections &&
	       same_text(a->routes, b->routes) &&
	       same_text(a->policy, b->policy) && same_forwards(a, b);
}

int
store_sample_take(void *list, struct client *c)
{
	struct store_sample_list *l = list;
	struct client *more = realloc(l->item, (l->n + 1) * sizeof(*more));

	if (more == NULL) {
		client_fini(c);
		return UK_ENOMEM;
	}
	l->item = more;
	more[l->n++] = *c;
	return 0;
}

void
store_sample_list_fini(struct store_sample_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		client_fini(&l->item[i]);
	free(l->item);
	*l = (struct store_sample_list){0};
}
