#include "suggest.h"

#include <string.h>

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* The restricted Damerau-Levenshtein distance, three rows at a time. */
unsigned
suggest_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned row[3][SUGGEST_MAX + 1] = {0};

	if (a_len > SUGGEST_MAX || b_len > SUGGEST_MAX)
		return SUGGEST_MAX + 1;
	for (unsigned j = 0; j <= b_len; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned *cur = row[i % 3], *prev = row[(i + 2) % 3];
		const unsigned *before = row[(i + 1) % 3];

		cur[0] = i;
		for (unsigned j = 1; j <= b_len; j++) {
			char x = lower(a[i - 1]), y = lower(b[j - 1]);

			cur[j] = least(prev[j], cur[j - 1]) + 1;
			cur[j] = least(cur[j], prev[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == lower(b[j - 2]) &&
			    y == lower(a[i - 2]))
				cur[j] = least(cur[j], before[j - 2] + 1);
		}
	}
	return row[a_len % 3][b_len];
}

const char *
suggest_word(const char *text, size_t len, const char *const *list, size_t n)
{
	const char *best = NULL;
	unsigned best_distance = SUGGEST_MAX + 1;

	for (size_t i = 0; i < n; i++) {
		size_t word_len = list[i] != NULL ? strlen(list[i]) : 0;
		unsigned dist;

		if (word_len == 0)
			continue;
		dist = suggest_distance(text, len, list[i], word_len);
		if (dist < best_distance && dist <= (word_len + 2) / 3) {
			best = list[i];
			best_distance = dist;
		}
	}
	return best;
}
