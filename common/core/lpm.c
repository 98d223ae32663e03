#include "lpm.h"

#include <stdlib.h>

#include "bytes.h"
#include "err.h"
#include "htab.h"

/* A key is an address as a 128-bit number, most significant bit first; IPv4
 * fills the top 32 bits, so that both families share all code below. */
struct lpm_key {
	uint64_t hi, lo;
};

/* Holds a prefix, or is a fork: no owner, two children, where two prefixes
 * part. Everything below a node of the trie has its first `bits` bits.
 * 64 bytes: one or two cache lines a step. */
struct lpm_node {
	union {
		struct lpm_node *child[2]; /* by the bit after the prefix */
		struct htab_node host; /* of a single address */
	};
	struct lpm_owner *owner; /* NULL: a fork */
	struct lpm_node *next; /* in the owner's list; NULL at its end */
	struct lpm_node *prev; /* the first one's is the last one */
	struct lpm_key key; /* bits after the prefix are zero */
	uint8_t bits;
	uint8_t family;
};

_Static_assert(sizeof(struct lpm_node) == 64, "as small as can be");

struct lpm_family {
	struct htab hosts; /* prefixes of all bits */
	struct lpm_node *root; /* of all others */
	uint8_t width; /* bits of an address */
};

struct lpm {
	struct lpm_family v4, v6;
};

/* A path of the trie has a node for each prefix length at most. */
#define DEPTH_MAX 128

static struct lpm_key
key_load4(const uint8_t a[4])
{
	return (struct lpm_key){.hi = (uint64_t)load_be32(a) << 32};
}

static struct lpm_key
key_load6(const uint8_t a[16])
{
	return (struct lpm_key){.hi = load_be64(a), .lo = load_be64(a + 8)};
}

static struct lpm_key
key_mask(struct lpm_key k, unsigned bits)
{
	if (bits == 0)
		return (struct lpm_key){0};
	if (bits <= 64)
		return (struct lpm_key){.hi = k.hi & UINT64_MAX << (64 - bits)};
	k.lo &= UINT64_MAX << (128 - bits);
	return k;
}

static unsigned
key_bit(struct lpm_key k, unsigned i)
{
	uint64_t half = i < 64 ? k.hi : k.lo;

	return (unsigned)(half >> (63 - i % 64)) & 1;
}

/* How many leading bits are equal. */
static unsigned
key_common(struct lpm_key a, struct lpm_key b)
{
	if (a.hi != b.hi)
		return (unsigned)__builtin_clzll(a.hi ^ b.hi);
	if (a.lo != b.lo)
		return 64 + (unsigned)__builtin_clzll(a.lo ^ b.lo);
	return 128;
}

static struct lpm_key
key_of_prefix(const struct ip_prefix *p)
{
	if (p->addr.family == FAMILY_V4) {
		UK_ASSERT(p->bits <= 32);
		return key_mask(key_load4(p->addr.b), p->bits);
	}
	UK_ASSERT(p->addr.family == FAMILY_V6 && p->bits <= 128);
	return key_mask(key_load6(p->addr.b), p->bits);
}

/* Fibonacci hashing, a step more than it seems to need, so that prefixes in
 * rows of any step spread. They are ours to give: nobody outside chooses what
 * collides. */
static uint64_t
key_hash(struct lpm_key k)
{
	const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t h = k.hi * golden;

	h = (h ^ h >> 32 ^ k.lo) * golden;
	h = (h ^ h >> 32) * golden;
	return h ^ h >> 32;
}

static struct lpm_family *
family_of(struct lpm *t, uint8_t family)
{
	return family == FAMILY_V4 ? &t->v4 : &t->v6;
}

struct lpm *
lpm_new(void)
{
	struct lpm *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->v4.width = 32;
	t->v6.width = 128;
	if (htab_init(&t->v4.hosts, NULL) != 0 ||
	    htab_init(&t->v6.hosts, NULL) != 0) {
		lpm_free(t);
		return NULL;
	}
	return t;
}

static void
owner_add(struct lpm_owner *o, struct lpm_node *n)
{
	n->owner = o;
	n->next = NULL;
	o->count++;
	if (o->first == NULL) {
		n->prev = n;
		o->first = n;
		return;
	}
	n->prev = o->first->prev;
	n->prev->next = n;
	o->first->prev = n;
}

static void
owner_drop(struct lpm_node *n)
{
	struct lpm_owner *o = n->owner;

	if (o->first == n)
		o->first = n->next;
	else
		n->prev->next = n->next;
	if (n->next != NULL)
		n->next->prev = n->prev;
	else if (o->first != NULL)
		o->first->prev = n->prev;
	o->count--;
	n->owner = NULL;
	n->next = n->prev = NULL;
}

static void
free_tree(struct lpm_node *root)
{
	struct lpm_node *todo[DEPTH_MAX + 1];
	size_t n = 0;

	if (root != NULL)
		todo[n++] = root;
	while (n > 0) {
		struct lpm_node *at = todo[--n];

		/* One waiting sibling a level, and the two just pushed. */
		UK_ASSERT(n + 2 <= ARRAY_LEN(todo));
		if (at->child[0] != NULL)
			todo[n++] = at->child[0];
		if (at->child[1] != NULL)
			todo[n++] = at->child[1];
		if (at->owner != NULL)
			*at->owner = (struct lpm_owner){0};
		free(at);
	}
}

static void
free_hosts(struct htab *hosts)
{
	struct htab_node *h = htab_walk(hosts, NULL);

	while (h != NULL) {
		struct lpm_node *n = CONTAINER_OF(h, struct lpm_node, host);

		h = htab_walk(hosts, h);
		*n->owner = (struct lpm_owner){0};
		free(n);
	}
	htab_fini(hosts);
}

static void
free_family(struct lpm_family *f)
{
	free_tree(f->root);
	if (f->hosts.bucket != NULL)
		free_hosts(&f->hosts);
}

void
lpm_free(struct lpm *t)
{
	if (t == NULL)
		return;
	free_family(&t->v4);
	free_family(&t->v6);
	free(t);
}

static struct lpm_node *
node_new(struct lpm_key key, unsigned bits, uint8_t family)
{
	struct lpm_node *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->key = key_mask(key, bits);
	n->bits = (uint8_t)bits;
	n->family = family;
	return n;
}

/* Put a new node for key/bits where at (NULL: nothing) hangs now; they share
 * `common` bits, fewer than at has. Returns the node; NULL: out of memory. */
static struct lpm_node *
attach(struct lpm_node **link, struct lpm_key key, unsigned bits,
    uint8_t family, unsigned common)
{
	struct lpm_node *at = *link;
	struct lpm_node *n = node_new(key, bits, family);

	if (n == NULL)
		return NULL;
	if (at == NULL) {
		*link = n;
		return n;
	}
	if (common >= bits) {
		n->child[key_bit(at->key, bits)] = at;
		*link = n;
		return n;
	}
	struct lpm_node *fork = node_new(key, common, family);
	if (fork == NULL) {
		free(n);
		return NULL;
	}
	fork->child[key_bit(key, common)] = n;
	fork->child[key_bit(at->key, common)] = at;
	*link = fork;
	return n;
}

/* The node of a prefix, made if need be. NULL: out of memory. */
static struct lpm_node *
tree_get(struct lpm_family *f, struct lpm_key key, const struct ip_prefix *p)
{
	struct lpm_node **link = &f->root;
	struct lpm_node *n;
	unsigned common = 0;

	while ((n = *link) != NULL) {
		common = key_common(n->key, key);
		if (common < n->bits || n->bits >= p->bits)
			break;
		link = &n->child[key_bit(key, n->bits)];
	}
	if (n == NULL || n->bits != p->bits || common < p->bits)
		n = attach(link, key, p->bits, p->addr.family, common);
	return n;
}

static struct lpm_node *
host_find(const struct lpm_family *f, struct lpm_key key)
{
	struct htab_node *h = htab_first(&f->hosts, key_hash(key));

	for (; h != NULL; h = htab_next(h)) {
		struct lpm_node *n = CONTAINER_OF(h, struct lpm_node, host);

		if (n->key.hi == key.hi && n->key.lo == key.lo)
			return n;
	}
	return NULL;
}

static struct lpm_node *
host_get(struct lpm_family *f, struct lpm_key key, const struct ip_prefix *p)
{
	struct lpm_node *n = host_find(f, key);

	if (n != NULL)
		return n;
	n = node_new(key, p->bits, p->addr.family);
	if (n != NULL)
		htab_insert(&f->hosts, &n->host, key_hash(key));
	return n;
}

int
lpm_insert(struct lpm *t, const struct ip_prefix *p, struct lpm_owner *o)
{
	struct lpm_family *f = family_of(t, p->addr.family);
	struct lpm_key key = key_of_prefix(p);
	struct lpm_node *n =
	    p->bits == f->width ? host_get(f, key, p) : tree_get(f, key, p);

	if (n == NULL)
		return UK_ENOMEM;
	if (n->owner == o)
		return 0;
	if (n->owner != NULL)
		owner_drop(n);
	owner_add(o, n);
	return 0;
}

/* Take a node without owner out unless two paths part at it. */
static void
collapse(struct lpm_node **link)
{
	struct lpm_node *n = *link;

	if (n->owner != NULL || (n->child[0] != NULL && n->child[1] != NULL))
		return;
	*link = n->child[0] != NULL ? n->child[0] : n->child[1];
	free(n);
}

static int
host_remove(struct lpm_family *f, struct lpm_key key, struct lpm_owner *o)
{
	struct lpm_node *n = host_find(f, key);

	if (n == NULL || n->owner != o)
		return UK_ENOENT;
	owner_drop(n);
	htab_remove(&f->hosts, &n->host);
	free(n);
	return 0;
}

static int
tree_remove(struct lpm_family *f, struct lpm_key key, unsigned bits,
    struct lpm_owner *o)
{
	struct lpm_node **link = &f->root;
	struct lpm_node **up = NULL;
	struct lpm_node *n;

	while ((n = *link) != NULL && n->bits < bits) {
		up = link;
		link = &n->child[key_bit(key, n->bits)];
	}
	if (n == NULL || n->bits != bits || key_common(n->key, key) < bits ||
	    n->owner != o)
		return UK_ENOENT;
	owner_drop(n);
	collapse(link);
	/* The parent may have been a fork for this node's sake. */
	if (up != NULL)
		collapse(up);
	return 0;
}

int
lpm_remove(struct lpm *t, const struct ip_prefix *p, struct lpm_owner *o)
{
	struct lpm_family *f = family_of(t, p->addr.family);
	struct lpm_key key = key_of_prefix(p);

	if (p->bits == f->width)
		return host_remove(f, key, o);
	return tree_remove(f, key, p->bits, o);
}

static void
prefix_of(const struct lpm_node *n, struct ip_prefix *out)
{
	*out = (struct ip_prefix){.addr.family = n->family, .bits = n->bits};
	if (n->family == FAMILY_V4) {
		store_be32(out->addr.b, (uint32_t)(n->key.hi >> 32));
		return;
	}
	store_be64(out->addr.b, n->key.hi);
	store_be64(out->addr.b + 8, n->key.lo);
}

void
lpm_remove_owner(struct lpm *t, struct lpm_owner *o)
{
	struct ip_prefix p;

	while (o->first != NULL) {
		prefix_of(o->first, &p);
		int err = lpm_remove(t, &p, o);
		UK_ASSERT(err == 0);
	}
}

/* A fork need not be compared: what is below it would not match either. */
static struct lpm_owner *
tree_lookup(const struct lpm_node *n, struct lpm_key key)
{
	struct lpm_owner *found = NULL;

	for (; n != NULL; n = n->child[key_bit(key, n->bits)]) {
		if (n->owner == NULL)
			continue;
		if (key_common(n->key, key) < n->bits)
			break;
		found = n->owner;
	}
	return found;
}

/* No prefix is longer than one of all bits. */
static struct lpm_owner *
lookup(const struct lpm_family *f, struct lpm_key key)
{
	const struct lpm_node *host =
	    f->hosts.count > 0 ? host_find(f, key) : NULL;

	return host != NULL ? host->owner : tree_lookup(f->root, key);
}

struct lpm_owner *
lpm_lookup4(const struct lpm *t, const uint8_t addr[4])
{
	return lookup(&t->v4, key_load4(addr));
}

struct lpm_owner *
lpm_lookup6(const struct lpm *t, const uint8_t addr[16])
{
	return lookup(&t->v6, key_load6(addr));
}

bool
lpm_next(const struct lpm_owner *o, const struct lpm_node **cursor,
    struct ip_prefix *out)
{
	const struct lpm_node *n = *cursor == NULL ? o->first : (*cursor)->next;

	if (n == NULL)
		return false;
	*cursor = n;
	prefix_of(n, out);
	return true;
}
