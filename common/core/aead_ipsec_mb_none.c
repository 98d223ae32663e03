/* Built without libipsec-mb. */
#include "aead_engine.h"

struct aead_engine *
aead_ipsec_mb_new(void)
{
	return NULL;
}
