/* matcher_index: what a matcher is made of. Each index leads from what a flow
 * has to lists of the entries that hold for it, in the order of the rules, so
 * that a list is left at its first entry that cannot be better than what is
 * found. Private to matcher*.c. Memory: heap. Threads: built once, then only
 * read. */
#ifndef UKAI_POLICY_MATCHER_INDEX_H
#define UKAI_POLICY_MATCHER_INDEX_H

#include "matcher.h"

const struct rules *matcher_rules(const struct matcher *m);

struct matcher_query {
	const struct rules *r;
	const struct flow *f; /* NULL: whatever the conditions */
	uint32_t floor; /* rules before this one are not asked for */
	struct match best;
};

static inline bool
matcher_before(const struct match *a, const struct match *b)
{
	return a->rule < b->rule || (a->rule == b->rule && a->entry < b->entry);
}

/* Take an entry that holds for the flow if its rule's conditions hold, too,
 * and it comes before the best so far. Returns false when nothing behind it in
 * its list can. */
bool matcher_offer(struct matcher_query *q, const struct match *candidate);
/* The same for all of a list. */
void matcher_offer_list(
    struct matcher_query *q, const struct match *item, size_t n);
/* Where in a list the rules begin that are asked for. */
size_t matcher_list_from(const struct match *item, size_t n, uint32_t floor);

/* Do a rule's conditions hold? As matcher_look(). PORTS-LEFT is one of them,
 * as its rule has no entries. */
enum matcher_why matcher_look_conditions(
    const struct rules *r, const struct rule *rule, const struct flow *f);

/* Would the flow go native by the rules behind this one, PORTS-LEFT aside? */
bool matcher_spills(
    const struct matcher *m, uint32_t rule, const struct flow *f);

/* A walk over all entries of all rules, in order. Zero-initialised means: at
 * the start. An entry of a list that two rules share comes twice. */
struct matcher_walk {
	struct match at;
	uint32_t next_rule, next; /* of next_rule's entries */
};
/* The next entry whose type's bit is in types; NULL: no more. */
const struct rule_entry *matcher_walk(
    struct matcher_walk *w, const struct rules *r, uint32_t types);

#define MATCHER_TYPE(t) (UINT32_C(1) << (t))

/* ---- whole names, and names by what they end with ---- */

/* Buckets of a hash, one behind another. Seven bits of each entry's hash stand
 * by themselves, so that most of what does not match is passed without a look
 * elsewhere. 14 bytes an entry. */
struct matcher_names {
	struct match *item;
	uint32_t *name; /* in rules.names */
	uint8_t *print; /* MATCHER_WHOLE, and the bits */
	uint32_t *first; /* bucket b is item[first[b]] to item[first[b + 1]] */
	uint32_t n, buckets;
};

/* Holds for the whole name alone. */
#define MATCHER_WHOLE 1

/* Of the entries of these types. Returns 0; UK_ENOMEM. Zero-initialised x may
 * be given to fini, also after a failure; likewise below. */
int matcher_names_init(
    struct matcher_names *x, const struct rules *r, uint32_t types);
void matcher_names_fini(struct matcher_names *x);
void matcher_names_whole(
    const struct matcher_names *x, const char *name, struct matcher_query *q);
/* The whole name as well: only then does RULE_DOMAIN hold. */
void matcher_names_suffixes(
    const struct matcher_names *x, const char *name, struct matcher_query *q);

/* ---- keywords ---- */

/* One state of the automaton of Aho and Corasick ("Efficient string matching",
 * 1975): a beginning of a keyword. Breadth first, so that a state's children
 * follow each other, up to where those of the next state begin. */
struct matcher_state {
	uint32_t child;
	uint32_t fail; /* longest other beginning that this one ends with */
	uint32_t out; /* itself, or the next along fail, that is a keyword;
			 0: none */
	uint32_t first, n; /* entries of the keyword that it is */
};

/* 21 bytes a letter of the keywords at most, and 8 a keyword. */
struct matcher_keywords {
	struct match *item;
	struct matcher_state *state; /* one more than states */
	uint8_t *letter; /* the last one of each state */
	uint32_t root[256]; /* its children, by letter; 0: none */
	uint32_t states;
};

int matcher_keywords_init(struct matcher_keywords *x, const struct rules *r);
void matcher_keywords_fini(struct matcher_keywords *x);
void matcher_keywords_in(const struct matcher_keywords *x, const char *name,
    struct matcher_query *q);

/* ---- addresses, ports and other numbers, by prefix ---- */

/* What a number means. A range of ports is several prefixes. */
enum matcher_space {
	SPACE_DST4,
	SPACE_DST6,
	SPACE_SRC4,
	SPACE_SRC6,
	SPACE_DPORT,
	SPACE_SPORT,
	SPACE_UID,
	SPACE_PROTO,
	SPACES
};

/* Most significant bit first, from the top; the rest is zero. */
struct matcher_key {
	uint64_t hi, lo;
};

/* In order of key and bits, what covers a prefix comes before it. All that
 * cover a key are found from the last one that is not behind it. */
struct matcher_prefix {
	struct matcher_key key;
	uint32_t parent; /* smallest one that covers this one */
	uint32_t first; /* its entries go on up to the next one's */
	uint8_t bits;
};

struct matcher_prefixes {
	struct match *item;
	struct matcher_prefix *node; /* one more than there are */
	uint32_t first[SPACES + 1]; /* where a space's begin */
	/* Of a space of addresses that has many: where those begin whose first
	 * 16 bits are the index, or more; NULL: not worth it. */
	uint32_t *top[SPACE_SRC6 + 1];
};

int matcher_prefixes_init(struct matcher_prefixes *x, const struct rules *r);
void matcher_prefixes_fini(struct matcher_prefixes *x);
void matcher_prefixes_flow(const struct matcher_prefixes *x,
    const struct flow *f, struct matcher_query *q);

#endif
