#include <stddef.h>
#include <stdint.h>

#include "core/base.h"

#include "../../server/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct server_conf c;
	struct diag d;
	int err;

	diag_init(&d, "fuzz.conf");
	err = server_conf_parse(&c, (const char *)data, size, &d);
	/* An error is explained, and nothing else is. */
	UK_ASSERT((err < 0) == (d.errors > 0));
	server_conf_fini(&c);
	return 0;
}
