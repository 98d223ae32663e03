/* map_vectors: the rows of tests/vectors/map-e/vectors-public.csv, whose values
 * hold neither commas nor quotes. Failures end the test. */
#ifndef TEST_MAP_VECTORS_H
#define TEST_MAP_VECTORS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAP_VECTOR_FIELDS 32

struct map_vectors {
	char text[16384];
	char *head[MAP_VECTOR_FIELDS];
	char *row[32][MAP_VECTOR_FIELDS];
	size_t fields, n;
};

static size_t
map_vectors_split(char *line, char **field)
{
	size_t n = 0;
	char *s;

	while ((s = strsep(&line, ",")) != NULL) {
		assert_true(n < MAP_VECTOR_FIELDS);
		field[n++] = s;
	}
	return n;
}

static void
map_vectors_load(struct map_vectors *v)
{
	FILE *f = fopen(UKAI_VECTORS "/map-e/vectors-public.csv", "r");
	char *rest = v->text, *line;
	size_t len;

	assert_non_null(f);
	len = fread(v->text, 1, sizeof(v->text) - 1, f);
	assert_true(len > 0 && feof(f));
	fclose(f);
	v->text[len] = 0;
	v->n = 0;
	v->fields = map_vectors_split(strsep(&rest, "\n"), v->head);
	while ((line = strsep(&rest, "\n")) != NULL && *line != 0) {
		assert_true(v->n < 32);
		assert_int_equal(
		    map_vectors_split(line, v->row[v->n++]), v->fields);
	}
}

static const char *
map_vectors_get(const struct map_vectors *v, size_t row, const char *name)
{
	size_t i = 0;

	while (i < v->fields && strcmp(v->head[i], name) != 0)
		i++;
	assert_true(i < v->fields);
	return v->row[row][i];
}

#endif
