/* store_sample: clients for the tests of the registry's file. */
#ifndef TEST_STORE_SAMPLE_H
#define TEST_STORE_SAMPLE_H

#include "server/store.h"

/* Number n of many: its name, key and address are its own. n below 60000. It
 * has whatever a client can have; every third one has not joined yet, every
 * fifth has a global address. Owns its memory. */
void store_sample(struct client *c, unsigned n);

bool store_sample_same(const struct client *a, const struct client *b);

/* What store_load() gave. */
struct store_sample_list {
	struct client *item;
	size_t n;
};
int store_sample_take(void *list, struct client *c);
void store_sample_list_fini(struct store_sample_list *l);

#endif
