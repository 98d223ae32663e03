#include "wg_index.h"

#include "core/bytes.h"

#include <string.h>

/* The numbers are random and drawn here (P7): their own bits spread them over
 * the buckets, and what strangers ask for lengthens no chain. Lanes narrow the
 * last byte, which is not among the low bits. */
static uint64_t
hash_of(const uint8_t wire[4])
{
	return load_le32(wire);
}

int
wg_index_table_init(struct wg_index_table *t, wg_random *random)
{
	t->random = random;
	return htab_init(&t->by_wire, NULL);
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
	htab_insert(&t->by_wire, &i->node, hash_of(wire));
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
	/* Equal hashes are equal numbers. */
	struct htab_node *n = htab_first(&t->by_wire, hash_of(wire));

	return n ? CONTAINER_OF(n, struct wg_index, node) : NULL;
}
