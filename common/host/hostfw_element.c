#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "hostfw_nft.h"
#include "os_err.h"

/* Since Linux 6.3, and so not in the headers of every system that has it. */
#define MSG_DESTROYSETELEM 30
/* Elements of one message: its attributes stay far below 64 KiB. */
#define MESSAGE_ELEMENTS 64
/* What nftables' user data begins with: the kind of what follows. */
#define USERDATA_COMMENT 0
#define COMMENT_MAX 100

/* Changes on their way. */
struct work {
	struct hostfw *h;
	const struct hostfw_change *c;
	size_t n;
	bool *skip; /* to be removed, and not there */
	size_t skipped; /* by the last batch */
	int error; /* the first that matters; 0: none */
	size_t at; /* the change it is about; n: all of them */
};

/* User data is a list of type, length, bytes; a text has its zero. The
 * comment comes from names: nft prints it as it is (C5). */
static void
put_comment(struct nlmsghdr *h, const char *comment)
{
	uint8_t b[COMMENT_MAX + 3] = {USERDATA_COMMENT};
	size_t len;

	for (len = 0; len < COMMENT_MAX && comment[len] != '\0'; len++) {
		char c = comment[len];
		bool plain = c >= ' ' && c <= '~' && c != '"' && c != '\\';

		b[2 + len] = (uint8_t)(plain ? c : '?');
	}
	b[1] = (uint8_t)(len + 1);
	mnl_attr_put(h, NFTA_SET_ELEM_USERDATA, len + 3, b);
}

static void
put_element(struct nlmsghdr *h, const struct hostfw_change *c)
{
	struct nlattr *element = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
	struct nlattr *key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);

	mnl_attr_put(h, NFTA_DATA_VALUE, c->key_len, c->key);
	mnl_attr_nest_end(h, key);
	if (c->add && c->comment != NULL)
		put_comment(h, c->comment);
	mnl_attr_nest_end(h, element);
}

/* May the change go into the message of the first one? Each removal has one of
 * its own, so that the kernel says which was in vain. */
static bool
goes_along(const struct hostfw_change *first, const struct hostfw_change *c)
{
	return first->add && c->add && strcmp(first->table, c->table) == 0 &&
	       strcmp(first->set, c->set) == 0;
}

/* Append change i and those that go along with it. Returns how many; 0: no
 * memory. */
static size_t
put_changes(struct nft_batch *b, const struct work *w, size_t i)
{
	const struct hostfw_change *first = &w->c[i];
	struct nlattr *list;
	struct nlmsghdr *h;
	size_t n = 0, list_at;

	if (first->add)
		h = nft_batch_put(
		    b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, (uint32_t)i + 1);
	else
		h = nft_batch_put(b,
		    w->h->no_destroy ? NFT_MSG_DELSETELEM : MSG_DESTROYSETELEM,
		    0, (uint32_t)i + 1);
	if (h == NULL)
		return 0;
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, first->table);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, first->set);
	list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	list_at = (size_t)((uint8_t *)list - (uint8_t *)h);
	do {
		put_element(h, &first[n]);
		n++;
		h = nft_batch_more(b);
	} while (h != NULL && n < MESSAGE_ELEMENTS && i + n < w->n &&
		 goes_along(first, &first[n]));
	if (h == NULL)
		return 0;
	list = (void *)((uint8_t *)h + list_at);
	mnl_attr_nest_end(h, list);
	return n;
}

static void
fail(struct work *w, size_t at, int error)
{
	if (w->error != 0)
		return;
	w->error = error;
	w->at = at;
}

static void
refused(void *arg, uint32_t number, int error)
{
	struct work *w = arg;
	size_t i = number == 0 ? w->n : number - 1;

	if (i < w->n && !w->c[i].add && error == -ENOENT) {
		w->skipped += !w->skip[i];
		w->skip[i] = true;
	} else {
		fail(w, i, error);
	}
}

/* One batch of what is not skipped. Returns 0; an errno, and w says more. */
static int
send_changes(struct work *w)
{
	struct nft_batch b = {.first = w->h->seq};
	int r = 0;

	w->skipped = 0;
	w->error = 0;
	w->h->seq += (uint32_t)w->n + 2;
	for (size_t i = 0; i < w->n && r == 0;) {
		size_t n = w->skip[i] ? 1 : put_changes(&b, w, i);

		r = n > 0 ? 0 : -ENOMEM;
		i += n;
	}
	if (r == 0 && b.last != NULL)
		r = nft_batch_send(&b, w->h->owner, refused, w);
	nft_batch_fini(&b);
	return r;
}

static void
nothing(void *arg, const struct nlmsghdr *h)
{
	(void)arg;
	(void)h;
}

/* Was it the set that was missing, not the element? */
static bool
has_set(struct hostfw *h, const struct hostfw_change *c)
{
	_Alignas(struct nlmsghdr) uint8_t buf[NFT_TALK_REQUEST_SIZE];
	struct nlmsghdr *q = nft_talk_put(buf, NFT_MSG_GETSET, 0, 0);

	mnl_attr_put_strz(q, NFTA_SET_TABLE, c->table);
	mnl_attr_put_strz(q, NFTA_SET_NAME, c->set);
	return nft_talk_ask(&h->talk, q, nothing, NULL) != -ENOENT;
}

static void
look_for_sets(struct work *w)
{
	const struct hostfw_change *known = NULL;

	for (size_t i = 0; i < w->n && w->error == 0; i++) {
		const struct hostfw_change *c = &w->c[i];

		if (!w->skip[i] ||
		    (known != NULL && strcmp(known->table, c->table) == 0 &&
			strcmp(known->set, c->set) == 0))
			continue;
		known = c;
		if (!has_set(w->h, c))
			fail(w, i, -ENOENT);
	}
}

/* Until nothing is refused for not being there: each time there is less. A
 * kernel that does not know DESTROYSETELEM calls it an invalid one. */
static int
apply_changes(struct work *w)
{
	int r;

	for (;;) {
		r = send_changes(w);
		if (r == 0)
			return 0;
		if (w->error == -EINVAL && w->at < w->n && !w->c[w->at].add &&
		    !w->h->no_destroy) {
			w->h->no_destroy = true;
			memset(w->skip, 0, w->n * sizeof(*w->skip));
			continue;
		}
		if (w->error == 0 && w->skipped > 0)
			look_for_sets(w);
		if (w->error != 0)
			return w->error;
		if (w->skipped == 0)
			return r;
	}
}

static int
explain(const struct work *w, int r, struct diag *d)
{
	const struct hostfw_change *c = w->at < w->n ? &w->c[w->at] : NULL;

	diag_error(d, "nftables does not change %s%s%s: %s",
	    c != NULL ? c->set : "its sets", c != NULL ? " of inet " : "",
	    c != NULL ? c->table : "",
	    r == -ENFILE ? "the set is full" : strerror(-r));
	return r == -ENFILE ? UK_ELIMIT : os_err(-r);
}

int
hostfw_elements(
    struct hostfw *h, const struct hostfw_change *c, size_t n, struct diag *d)
{
	struct work w = {.h = h, .c = c, .n = n, .at = n};
	int r;

	if (n == 0)
		return 0;
	UK_ASSERT(n < HOSTFW_CHANGES_MAX);
	w.skip = calloc(n, sizeof(*w.skip));
	if (w.skip == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < n; i++)
		UK_ASSERT(c[i].key_len <= sizeof(c[i].key) &&
			  hostfw_name_ok(c[i].table) &&
			  strlen(c[i].set) < HOSTFW_SET_MAX);
	r = apply_changes(&w);
	free(w.skip);
	return r == 0 ? 0 : explain(&w, r, d);
}
