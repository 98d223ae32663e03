/* ruleset_parts: what the parsers of nft's and iptables' rules share with the
 * walk through them. Private to ruleset*.c. */
#ifndef UKAI_SERVER_RULESET_PARTS_H
#define UKAI_SERVER_RULESET_PARTS_H

#include "ruleset.h"

/* In this order, so that all of several conditions is the least of them. */
enum answer { ANSWER_NO, ANSWER_MAYBE, ANSWER_YES };

enum action {
	ACTION_NEXT,
	ACTION_ACCEPT,
	ACTION_DROP,
	ACTION_RETURN,
	ACTION_JUMP,
	ACTION_GOTO,
};

/* What a rule does with a packet. */
struct step {
	enum answer match;
	enum action action;
	const char *target; /* of a jump */
};

struct chain {
	struct ruleset_chain id;
	bool base; /* the kernel calls it, for the hook of id */
	bool drops; /* its policy */
	const void **rule; /* the parser's own */
	size_t rules, cap;
};

struct ruleset {
	struct chain *chain;
	size_t chains, cap;
	void *source; /* what the pointers above point into */
	void (*source_free)(void *source);
	struct step (*step)(const struct ruleset *r, const struct chain *c,
	    const void *rule, const struct ruleset_packet *p);
};

struct chain *ruleset_add_chain(struct ruleset *r); /* NULL: out of memory */
int ruleset_add_rule(struct chain *c, const void *rule); /* UK_ENOMEM */
struct chain *ruleset_find(const struct ruleset *r, const char *family,
    const char *table, const char *name);

enum answer answer_least(enum answer a, enum answer b);
enum answer answer_most(enum answer a, enum answer b);
enum answer answer_not(enum answer a);
enum answer answer_of(bool yes);

/* Is a name the interface, where the pattern may end in a wildcard? */
enum answer answer_interface(
    const char *name, const char *pattern, char wildcard);

#endif
