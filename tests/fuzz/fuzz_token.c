#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken for a token is written as it was read. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TOKEN_TEXT_MAX];
	struct token t, again;

	if (token_parse(&t, (const char *)data, size) < 0)
		return 0;
	token_format(&t, text);
	UK_ASSERT(strlen(text) <= size);
	UK_ASSERT(memmem(data, size, text, strlen(text)) != NULL);
	UK_ASSERT(token_parse(&again, text, strlen(text)) == 0);
	UK_ASSERT(memcmp(&t, &again, sizeof(t)) == 0);
	return 0;
}
