#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "client/policy/dns_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_even(void *arg, const struct ip_addr *a)
{
	(void)arg;
	return a->b[3] % 2 == 0;
}

/* The first two bytes say how long the question is that stands before the
 * answer. What we make of either can be read again, and has what it should. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[DNS_MESSAGE_MAX];
	static struct dns_answer a, again;
	struct dns_question q;
	size_t len;
	int n;

	if (size < 2 || (len = (size_t)(data[0] << 8 | data[1])) > size - 2)
		return 0;
	if (dns_question_parse(&q, data + 2, len) < 0)
		return 0;
	UK_ASSERT(strlen(q.name) < DOMAIN_NAME_MAX && q.udp_size >= 512);
	n = dns_refuse(out, sizeof(out), data + 2, len, 2);
	UK_ASSERT(n > 0 && dns_answer_parse(&a, &q, out, (size_t)n) == 0);
	UK_ASSERT(a.rcode == 2 && a.addresses == 0 && a.names == 1);

	data += 2 + len;
	size -= 2 + len;
	if (dns_answer_parse(&a, &q, data, size) < 0)
		return 0;
	UK_ASSERT(a.names <= BINDINGS_CHAIN_MAX);
	n = dns_answer_filter(out, q.udp_size, data, size, is_even, NULL);
	if (n < 0)
		return 0;
	UK_ASSERT(n <= q.udp_size);
	UK_ASSERT(dns_answer_parse(&again, &q, out, (size_t)n) == 0);
	for (size_t i = 0; i < again.addresses; i++)
		UK_ASSERT(is_even(NULL, &again.address[i].addr));
	return 0;
}
