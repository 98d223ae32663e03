#include <stddef.h>
#include <stdint.h>

#include "core/base.h"

#include "../../client/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client_conf c;
	struct diag d;
	int err;

	diag_init(&d, "fuzz.conf");
	err = client_conf_parse(&c, (const char *)data, size, &d);
	/* An error is explained, and nothing else is. */
	UK_ASSERT((err < 0) == (d.errors > 0));
	client_conf_fini(&c);
	return 0;
}
