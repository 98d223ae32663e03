#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is accepted is the same after it is written and read again. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	char scope[16], out[ENDPOINT_TEXT_MAX];
	struct endpoint e, again_e;
	struct ip_prefix p, again_p;
	uint8_t key[KEY_LEN];
	uint64_t v;

	if (value_parse_endpoint(&e, scope, text, size) == 0) {
		endpoint_format(&e, out);
		UK_ASSERT(value_parse_endpoint(
			      &again_e, scope, out, strlen(out)) == 0);
		UK_ASSERT(endpoint_same_remote(&e, &again_e));
	}
	if (ip_prefix_parse(&p, text, size) == 0) {
		ip_prefix_format(&p, out);
		UK_ASSERT(ip_prefix_parse(&again_p, out, strlen(out)) == 0);
		UK_ASSERT(memcmp(&p, &again_p, sizeof(p)) == 0);
	}
	if (value_parse_key_base64(key, text, size) == 0) {
		value_format_key_base64(out, key);
		UK_ASSERT(memcmp(out, text, KEY_BASE64_LEN) == 0);
	}
	if (value_parse_u64(&v, text, size, 1u << 20, true) == 0)
		UK_ASSERT(v <= 1u << 20);
	if (value_parse_key_hex(key, text, size) == 0)
		UK_ASSERT(size == KEY_HEX_LEN);
	if (value_is_ifname(text, size))
		UK_ASSERT(size <= 15);
	if (value_is_hostname(text, size))
		UK_ASSERT(size <= VALUE_HOSTNAME_MAX + 1);
	return 0;
}
