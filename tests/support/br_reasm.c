#include "br_reasm.h"

#include <string.h>

void
br_reasm_expire(struct br_reasm *r, uint64_t now_ns)
{
	for (unsigned i = 0; i < BR_REASM_DATAGRAMS; i++) {
		struct br_datagram *d = &r->datagram[i];

		if (!d->used || now_ns - d->since_ns < BR_REASM_NS)
			continue;
		d->used = false;
		r->timed_out++;
	}
}

static struct br_datagram *
find(struct br_reasm *r, uint64_t now_ns, const uint8_t *key)
{
	struct br_datagram *oldest = &r->datagram[0];

	for (unsigned i = 0; i < BR_REASM_DATAGRAMS; i++) {
		struct br_datagram *d = &r->datagram[i];

		if (d->used && memcmp(d->key, key, BR_REASM_KEY) == 0)
			return d;
		if (oldest->used &&
		    (!d->used || d->since_ns < oldest->since_ns))
			oldest = d;
	}
	if (oldest->used)
		r->evicted++;
	oldest->used = true;
	memcpy(oldest->key, key, BR_REASM_KEY);
	oldest->since_ns = now_ns;
	oldest->have = 0;
	oldest->total = UINT32_MAX;
	oldest->head_len = 0;
	oldest->pieces = 0;
	return oldest;
}

static enum br_reasm_result
place(struct br_datagram *d, const struct br_piece *p)
{
	uint32_t end = p->offset + p->len;

	if (p->len == 0 || end > 65535 || (p->more && p->len % 8 != 0) ||
	    d->pieces == BR_REASM_PIECES)
		return BR_REASM_BAD;
	for (unsigned i = 0; i < d->pieces; i++) {
		if (p->offset < d->to[i] && d->from[i] < end)
			return BR_REASM_OVERLAP;
		if (!p->more && d->to[i] > end)
			return BR_REASM_BAD;
	}
	if (d->total != UINT32_MAX && (!p->more || end > d->total))
		return BR_REASM_BAD;
	if (!p->more)
		d->total = end;
	d->from[d->pieces] = p->offset;
	d->to[d->pieces++] = end;
	d->have += p->len;
	memcpy(d->bytes + BR_REASM_HEAD + p->offset, p->data, p->len);
	if (p->offset == 0) {
		d->head_len = p->head_len;
		memcpy(d->bytes + BR_REASM_HEAD - p->head_len, p->head,
		    p->head_len);
	}
	return d->have == d->total ? BR_REASM_DONE : BR_REASM_HELD;
}

enum br_reasm_result
br_reasm_add(struct br_reasm *r, uint64_t now_ns, const struct br_piece *p,
    uint8_t **payload, uint32_t *len, uint32_t *head_len)
{
	struct br_datagram *d;
	enum br_reasm_result result;

	br_reasm_expire(r, now_ns);
	d = find(r, now_ns, p->key);
	result = place(d, p);
	if (result != BR_REASM_HELD)
		d->used = false;
	*payload = d->bytes + BR_REASM_HEAD;
	*len = d->have;
	*head_len = d->head_len;
	return result;
}
