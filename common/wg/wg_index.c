#include "wg_index.h"

#include <string.h>

int
wg_index_table_init(struct wg_index_table *t, wg_random *random)
{
	uint8_t key[16];

	random(key, sizeof(key));
	t->random = random;
	return htab_init(&t->by_wire, key);
}

void
wg_index_table_fini(struct wg_index_table *t)
{
	htab_fini(&t->by_wire);
}

void
wg_index_draw(const struct wg_index_table *t, unsigned lane, unsigned lanes,
    uint8_t wire[4])
{
	UK_ASSERT(lane < lanes && lanes <= WG_LANES_MAX);
	do
		t->random(wire, 4);
	while (wg_lane_of(wire, lanes) != lane || wg_index_find(t, wire));
}

void
wg_index_add(
    struct wg_index_table *t, struct wg_index *i, const uint8_t wire[4])
{
	UK_ASSERT(!i->used);
	memcpy(i->wire, wire, sizeof(i->wire));
	htab_insert(&t->by_wire, &i->node, htab_hash(&t->by_wire, wire, 4));
	i->used = true;
}

void
wg_index_remove(struct wg_index_table *t, struct wg_index *i)
{
	if (!i->used)
		return;
	htab_remove(&t->by_wire, &i->node);
	i->used = false;
}

struct wg_index *
wg_index_find(const struct wg_index_table *t, const uint8_t wire[4])
{
	struct htab_node *n =
	    htab_first(&t->by_wire, htab_hash(&t->by_wire, wire, 4));

	for (; n; n = htab_next(n)) {
		struct wg_index *i = CONTAINER_OF(n, struct wg_index, node);

		if (memcmp(i->wire, wire, 4) == 0)
			return i;
	}
	return NULL;
}
