#include <netinet/in.h>

#include "../../server/ruleset.h"

static bool
visit(void *arg, const struct ruleset_chain *c, enum ruleset_outcome o)
{
	(void)o;
	*(size_t *)arg += c->name[0] != '\0';
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses the program whose rules these are. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ruleset_packet packet[] = {
	    {FAMILY_V4, false, IPPROTO_UDP, 51820, "eth0", "", false, false},
	    {FAMILY_V6, false, IPPROTO_TCP, 443, "", "", false, false},
	    {FAMILY_V4, true, IPPROTO_TCP, 0, "eth0", "ukai0", true, true},
	};
	const char *text = (const char *)data + 1;
	struct ruleset *r = NULL;
	size_t chains = 0;

	if (size == 0)
		return 0;
	if (data[0] == 'j')
		(void)ruleset_parse_nft(&r, text, size - 1);
	else
		(void)ruleset_parse_xt(&r, text, size - 1, FAMILY_V4);
	for (size_t i = 0; r != NULL && i < ARRAY_LEN(packet); i++)
		ruleset_follow(r, &packet[i], visit, &chains);
	ruleset_free(r);
	return 0;
}
