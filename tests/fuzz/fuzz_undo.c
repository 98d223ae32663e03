#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "host/undo_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A journal. What was read is written as it stood there. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *again;
	struct undo_reader r = {.text = text, .len = size};
	struct undo_line l;
	enum undo_read got;
	size_t len;

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	while ((got = undo_read_next(&r, &l)) != UNDO_READ_END) {
		UK_ASSERT(r.off <= size && r.line_off < r.off);
		if (got != UNDO_READ_LINE)
			continue;
		again = malloc(undo_line_size(&l));
		UK_ASSERT(again != NULL);
		len = undo_line_format(again, undo_line_size(&l), &l);
		UK_ASSERT(len == r.off - r.line_off &&
			  memcmp(again, data + r.line_off, len) == 0);
		free(again);
	}
	free(text);
	return 0;
}
