/* ports_slots: what ports_left.c, ports_used.c and ports_short.c have in
 * common. */
#ifndef UKAI_POLICY_PORTS_SLOTS_H
#define UKAI_POLICY_PORTS_SLOTS_H

#include "ports_left.h"

struct ports_slot {
	uint16_t number;
	uint32_t below; /* holds when fewer are left */
};

struct ports_slots {
	struct ports_slot *item;
	size_t n;
};

/* An end of a flow as one number, protocol first: so it is kept here, and
 * sorted. The sets' keys have it without the protocol. */
static inline uint64_t
ports_end(uint8_t proto, const uint8_t addr[4], uint16_t port)
{
	return (uint64_t)proto << 48 |
	       (uint64_t)((uint32_t)addr[0] << 24 | (uint32_t)addr[1] << 16 |
			  (uint32_t)addr[2] << 8 | addr[3])
		   << 16 |
	       port;
}

static inline uint8_t
ports_end_proto(uint64_t end)
{
	return (uint8_t)(end >> 48);
}

/* Numbers in a list that grows; what does not fit is left out. */
struct ports_list {
	uint64_t *item;
	size_t n, cap, most;
	bool incomplete; /* something was left out */
};

void ports_list_add(struct ports_list *l, uint64_t end);
/* In order, each once. */
void ports_list_sort(struct ports_list *l);
/* Its place in a sorted list; NULL: it is not there. */
const uint64_t *ports_list_find(const struct ports_list *l, uint64_t end);
void ports_list_fini(struct ports_list *l);

/* Changes of elements, made in portions. */
#define PORTS_CHANGES 256
#define PORTS_KEY_LEN 8
struct ports_changes {
	const struct ports_left_conf *c;
	struct hostfw_change item[PORTS_CHANGES];
	char set[PORTS_CHANGES][POLICY_NFT_SET_MAX];
	size_t n;
	bool full; /* a set had no room for all that was added */
	int err; /* the first other one; then nothing more is done */
};

/* set_of: policy_nft_used_set() or policy_nft_short_set(). */
void ports_changes_add(struct ports_changes *w,
    void (*set_of)(
	char name[static POLICY_NFT_SET_MAX], uint16_t slot, uint8_t proto),
    uint16_t slot, uint64_t end, bool add);
/* What is left of it. Returns 0, or the first error. */
int ports_changes_end(struct ports_changes *w);

/* ports_used.c: behind somebody else's CE */
struct ports_used;
int ports_used_open(struct ports_used **out, const struct ports_left_conf *c,
    const struct ports_slots *s, struct diag *d);
void ports_used_close(struct ports_used *u);
void ports_used_again(struct ports_used *u);
bool ports_used_look(struct ports_used *u);
void ports_used_count(const struct ports_used *u, uint32_t *tcp, uint32_t *udp);

/* ports_short.c: with our own */
struct ports_short;
int ports_short_open(struct ports_short **out, const struct ports_left_conf *c,
    const struct ports_slots *s, struct diag *d);
void ports_short_close(struct ports_short *f);
void ports_short_again(struct ports_short *f);

#endif
