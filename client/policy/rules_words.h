/* rules_words: the words of the policy language, its aliases, and words of
 * other software's rules that have no meaning here. Letters may be large or
 * small. Pure. */
#ifndef UKAI_POLICY_RULES_WORDS_H
#define UKAI_POLICY_RULES_WORDS_H

#include "core/conf_lex.h"

#include "rules.h"

bool rules_word_type(enum rule_type *t, const struct conf_span *w);
bool rules_word_target(enum rule_target *t, const struct conf_span *w);

/* What other software writes at the end of a line and changes nothing here,
 * as "no-resolve": names are never looked up to compare an address. */
bool rules_word_option(const struct conf_span *w);

/* A type that other software has and we do not. */
struct rules_foreign {
	const char *name;
	const char *instead; /* half a sentence */
};
#define RULES_FOREIGN_MAX 48
/* Its number, below RULES_FOREIGN_MAX; -1: none. */
int rules_word_foreign(const struct conf_span *w);
const struct rules_foreign *rules_foreign(int number);

/* The word that was probably meant; NULL: none is near. */
const char *rules_word_near_type(const struct conf_span *w);
const char *rules_word_near_target(const struct conf_span *w);

/* Full-width letters (U+FF01 to U+FF5E, U+3000), as a Japanese keyboard gives
 * them, as ASCII. Returns the length; at most cap. */
size_t rules_word_narrow(char *out, size_t cap, const struct conf_span *w);

/* "; did you mean X?", or nothing: arguments for "%s%s%s". */
#define RULES_NEAR(near)                                                       \
	(near) != NULL ? "; did you mean " : "", (near) != NULL ? (near) : "", \
	    (near) != NULL ? "?" : ""

#endif
