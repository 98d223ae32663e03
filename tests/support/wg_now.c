#include "wg_now.h"

struct aead_engine *
wg_now_engine(void)
{
	static struct aead_engine *engine;

	if (!engine)
		engine = aead_engine_new(AEAD_BEST);
	UK_ASSERT(engine);
	return engine;
}

int
wg_seal_now(const struct wg_session *s, uint64_t counter, uint32_t mtu,
    struct pbuf *p)
{
	struct aead_op op;

	wg_session_seal(s, counter, mtu, p, &op);
	aead_seal(wg_now_engine(), &op, 1);
	return op.err;
}

int
wg_open_now(const struct wg_session *s, struct pbuf *p, uint64_t *counter)
{
	struct aead_op op;

	wg_session_open(s, p, &op);
	aead_open(wg_now_engine(), &op, 1);
	*counter = op.counter;
	return op.err;
}
