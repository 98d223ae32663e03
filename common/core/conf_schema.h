/* conf_schema: a configuration file described as tables. A schema lists the
 * sections, a section its keys; the parser finds every mistake of form
 * (unknown, repeated, missing, misplaced) and leaves the values to the keys'
 * own functions. All mistakes of a file are reported in one pass, each at its
 * place. Pure: no I/O (C4). */
#ifndef UKAI_CONF_SCHEMA_H
#define UKAI_CONF_SCHEMA_H

#include "conf_lex.h"

enum {
	CONF_REQUIRED = 1, /* key: in every such section; section: once */
	CONF_MANY = 2,     /* may stand more than once */
	CONF_HIDDEN = 4,   /* known, but not offered in messages */
};

/* Reads a value into a field. Returns 0; UK_EINVAL after telling d;
 * UK_ENOMEM. Secret values must not be quoted in d (X3). */
typedef int conf_value_fn(void *field, const struct conf_span *key,
    const struct conf_span *value, struct diag *d);

struct conf_key {
	const char *name; /* NULL ends a table */
	unsigned flags;
	conf_value_fn *parse;
	size_t offset; /* of the field in what the section's begin() returns */
};

#define CONF_KEYS_MAX 32

struct conf_section {
	const char *name; /* NULL ends a table */
	unsigned flags;
	/* The keys in one or two tables, CONF_KEYS_MAX at most; the second may
	 * be NULL. */
	const struct conf_key *keys[2];
	/* The struct that a new section's keys go into; it must stay where it
	 * is until the next section begins. NULL: out of memory. */
	void *(*begin)(void *conf, unsigned line);
};

/* d must not be NULL. Returns 0; UK_EINVAL when d has a new error;
 * UK_ENOMEM (the parse stopped there). */
int conf_schema_parse(const struct conf_section *sections, void *conf,
    const char *text, size_t len, struct diag *d);

/* "%.*s" arguments that quote a word of the file, cut where it is long. A word
 * with 40 base64 characters in a row shows as nothing: it may be a key that
 * was pasted to a wrong place (X3). */
#define CONF_WORD(span) conf_word_len(span), (span)->s
int conf_word_len(const struct conf_span *s);

/* diag_add() of an error at the span; returns UK_EINVAL. */
int conf_error(struct diag *d, const struct conf_span *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Room for one more behind n items of this size. Returns items, or their new
 * place (the old one is wiped and freed); NULL: out of memory, nothing
 * changed. */
void *conf_grow(void *items, size_t n, size_t *cap, size_t size);

/* Something that may stand only once in a file, and where it stood. */
struct conf_mark {
	const void *b; /* its bytes; borrowed */
	size_t len;
	unsigned line, column;
};

/* Report each mark that equals an earlier one: "this WHAT stands on line N
 * already; ADVICE". Sorts m. */
void conf_report_repeats(struct conf_mark *m, size_t n, enum diag_level level,
    const char *what, const char *advice, struct diag *d);

#endif
