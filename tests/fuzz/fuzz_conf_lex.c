#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/conf_lex.h"
#include "core/suggest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Tokens lie inside the text, in its order, and on one line each. */
static const char *
check_span(const struct conf_span *s, const char *from, const char *end)
{
	UK_ASSERT(s->s >= from && s->s + s->len <= end);
	UK_ASSERT(s->len == 0 || memchr(s->s, '\n', s->len) == NULL);
	UK_ASSERT(s->line >= 1 && s->column >= 1);
	return s->s + s->len;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const words[] = {"Address", "DNS", "Endpoint"};
	const char *text = (const char *)data, *end = text + size;
	struct conf_span key, value, item;
	enum conf_token token;
	struct conf_lex lex;
	struct diag d;

	diag_init(&d, NULL);
	conf_lex_init(&lex, text, size);
	while ((token = conf_lex_next(&lex, &key, &value, &d)) != CONF_END) {
		UK_ASSERT(key.len > 0);
		text = check_span(&key, text, end);
		suggest_word(key.s, key.len, words, ARRAY_LEN(words));
		if (token != CONF_PAIR)
			continue;
		check_span(&value, text, end);
		while (conf_span_item(&value, &item))
			text = check_span(&item, text, end);
	}
	return 0;
}
