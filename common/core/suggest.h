/* suggest: the word that somebody probably meant. Pure. */
#ifndef UKAI_SUGGEST_H
#define UKAI_SUGGEST_H

#include "base.h"

/* Words longer than this are never suggested for or from. */
#define SUGGEST_MAX 32

/* Edits that turn one into the other: insert, delete or replace a byte, swap
 * two neighbours; case is free. More than SUGGEST_MAX when a word is longer
 * than that. */
unsigned suggest_distance(
    const char *a, size_t a_len, const char *b, size_t b_len);

/* The nearest of n words, NULL when none is near: at most a third of the
 * word's letters wrong. Entries of list may be NULL. */
const char *suggest_word(
    const char *text, size_t len, const char *const *list, size_t n);

#endif
