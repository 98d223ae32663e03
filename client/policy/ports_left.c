#include "ports_left.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "client/mape/mape.h"
#include "core/bytes.h"
#include "core/err.h"
#include "ports_slots.h"

struct ports_left {
	struct ports_left_conf c;
	struct ports_slots slots;
	struct ports_used *used; /* one of these */
	struct ports_short *few;
};

/* ---- lists ---- */

void
ports_list_add(struct ports_list *l, uint64_t end)
{
	size_t cap = l->cap != 0 ? 2 * l->cap : 256;
	uint64_t *p = l->item;

	if (l->n == l->cap) {
		p = l->n < l->most ? realloc(p, cap * sizeof(*p)) : NULL;
		if (p == NULL) {
			l->incomplete = true;
			return;
		}
		l->item = p;
		l->cap = cap;
	}
	l->item[l->n++] = end;
}

static int
compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

void
ports_list_sort(struct ports_list *l)
{
	size_t n = 0;

	if (l->n > 1)
		qsort(l->item, l->n, sizeof(*l->item), compare);
	for (size_t i = 0; i < l->n; i++)
		if (n == 0 || l->item[n - 1] != l->item[i])
			l->item[n++] = l->item[i];
	l->n = n;
}

const uint64_t *
ports_list_find(const struct ports_list *l, uint64_t end)
{
	return l->n == 0 ? NULL
			 : bsearch(&end, l->item, l->n, sizeof(end), compare);
}

void
ports_list_fini(struct ports_list *l)
{
	free(l->item);
	*l = (struct ports_list){.most = l->most};
}

/* ---- changes ---- */

/* Leave out what else would be added to a set that is full. */
static size_t
without(struct hostfw_change *c, size_t n, const char *set)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (!c[i].add || strcmp(c[i].set, set) != 0)
			c[kept++] = c[i];
	return kept;
}

/* All of them, or as many as there is room for: a set that is full says what it
 * has to say. Each refusal costs the loop's thread a wait for all of the
 * kernel's readers: which change has no room is found by halving, and no other
 * one for that set is tried. */
static void
flush(struct ports_changes *w)
{
	struct hostfw_change *c = w->item;
	size_t step = w->n;

	while (w->n > 0 && w->err == 0) {
		size_t k = step < w->n ? step : w->n;
		int err = w->c->apply(w->c->arg, c, k);

		step = k > 1 ? k / 2 : 1;
		if (err == 0) {
			c += k;
			w->n -= k;
		} else if (err != UK_ELIMIT) {
			w->err = err;
		} else if (k == 1) {
			w->full = true;
			w->n = without(c + 1, w->n - 1, c->set);
			step = w->n;
			c++;
		}
	}
	w->n = 0;
}

void
ports_changes_add(struct ports_changes *w,
    void (*set_of)(
	char name[static POLICY_NFT_SET_MAX], uint16_t slot, uint8_t proto),
    uint16_t slot, uint64_t end, bool add)
{
	struct hostfw_change *c;

	if (w->n == PORTS_CHANGES)
		flush(w);
	c = &w->item[w->n];
	*c = (struct hostfw_change){
	    .set = w->set[w->n], .add = add, .key_len = PORTS_KEY_LEN};
	store_be32(c->key, (uint32_t)(end >> 16));
	store_be16(c->key + 4, (uint16_t)end);
	set_of(w->set[w->n++], slot,
	    ports_end_proto(end) == IPPROTO_TCP ? RULE_TCP : RULE_UDP);
}

int
ports_changes_end(struct ports_changes *w)
{
	flush(w);
	return w->err;
}

/* ---- */

bool
ports_left_has(const struct rules *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->rule[i].type == RULE_PORTS_LEFT)
			return true;
	return false;
}

/* Each slot once: rules that are counted as one have one threshold. */
static int
find_slots(struct ports_slots *s, const struct ports_left_conf *c)
{
	s->item = calloc(c->slots->n + 1, sizeof(*s->item));
	if (s->item == NULL)
		return UK_ENOMEM;
	for (size_t i = 0; i < c->slots->n; i++) {
		const struct slot *slot = &c->slots->item[i];
		const struct rule *r = &c->rules->rule[slot->first];

		if (r->type == RULE_PORTS_LEFT)
			s->item[s->n++] =
			    (struct ports_slot){slot->number, r->ports_left};
	}
	return 0;
}

int
ports_left_open(
    struct ports_left **out, const struct ports_left_conf *c, struct diag *d)
{
	struct ports_left *p = calloc(1, sizeof(*p));
	int err;

	if (p == NULL)
		return UK_ENOMEM;
	p->c = *c;
	err = find_slots(&p->slots, c);
	if (err == 0)
		err = c->mape != NULL
			  ? ports_short_open(&p->few, &p->c, &p->slots, d)
			  : ports_used_open(&p->used, &p->c, &p->slots, d);
	if (err < 0) {
		ports_left_close(p);
		return err;
	}
	*out = p;
	return 0;
}

void
ports_left_close(struct ports_left *p)
{
	if (p == NULL)
		return;
	ports_used_close(p->used);
	ports_short_close(p->few);
	free(p->slots.item);
	free(p);
}

void
ports_left_again(struct ports_left *p)
{
	if (p == NULL)
		return;
	if (p->used != NULL)
		ports_used_again(p->used);
	else
		ports_short_again(p->few);
}

bool
ports_left_look(struct ports_left *p)
{
	return p->used != NULL && ports_used_look(p->used);
}

void
ports_left_stats(const struct ports_left *p, struct ports_left_stats *out)
{
	struct mape_stats m;

	*out = (struct ports_left_stats){
	    .ports = p->c.ports, .own_ce = p->few != NULL};
	if (p->used != NULL) {
		ports_used_count(p->used, &out->used_tcp, &out->used_udp);
		return;
	}
	mape_stats(p->c.mape, &m);
	out->used_tcp = m.ce.nat.space[NAT44_TCP].ports;
	out->used_udp = m.ce.nat.space[NAT44_UDP].ports;
}
