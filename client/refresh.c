#include "refresh.h"

void
refresh_init(struct refresh *r)
{
	*r = (struct refresh){.vain_ns = UK_NEVER};
}

static void
observe(struct refresh *r, uint64_t now_ns, const struct refresh_peer *p)
{
	if (p->tx_bytes != r->last.tx_bytes) {
		r->sent_ns = now_ns;
		if (r->vain_ns == UK_NEVER)
			r->vain_ns = now_ns;
	}
	if (p->handshake != r->last.handshake)
		r->handshake_ns = now_ns;
	if (p->rx_bytes != r->last.rx_bytes ||
	    p->handshake != r->last.handshake ||
	    now_ns - r->sent_ns > REFRESH_VAIN)
		r->vain_ns = UK_NEVER;
	r->last = *p;
}

bool
refresh_due(struct refresh *r, uint64_t now_ns, const struct refresh_peer *p)
{
	observe(r, now_ns, p);
	if (now_ns < r->not_before_ns)
		return false;
	if (!p->known)
		return true;
	if (p->handshake != 0 && now_ns - r->handshake_ns < REFRESH_STALE)
		return false;
	return r->vain_ns != UK_NEVER && now_ns - r->vain_ns >= REFRESH_VAIN;
}

void
refresh_found(struct refresh *r, uint64_t now_ns)
{
	r->not_before_ns = now_ns + REFRESH_APART;
	r->retry_ns = 0;
}

void
refresh_failed(struct refresh *r, uint64_t now_ns)
{
	uint64_t delay = r->retry_ns != 0 ? r->retry_ns : REFRESH_RETRY_FIRST;

	r->retry_ns = uk_min_u64(2 * delay, REFRESH_RETRY_MOST);
	if (r->last.known && delay < REFRESH_APART)
		delay = REFRESH_APART;
	r->not_before_ns = now_ns + delay;
}
