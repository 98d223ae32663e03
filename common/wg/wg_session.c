#include "wg_session.h"

#include "core/bytes.h"

#include <sodium.h>
#include <stdlib.h>

struct wg_session *
wg_session_new(const struct wg_session_keys *keys,
    const uint8_t remote_index[4], bool initiator, uint64_t now_ns)
{
	struct wg_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->send = keys->send;
	s->receive = keys->receive;
	wg_replay_init(&s->replay);
	s->born_ns = now_ns;
	s->initiator = initiator;
	memcpy(s->remote_index, remote_index, sizeof(s->remote_index));
	return s;
}

static void
wipe(struct wg_session *s)
{
	sodium_memzero(s, sizeof(*s));
	free(s);
}

void
wg_session_end(struct wg_session *s)
{
	if (!s)
		return;
	s->ended = true;
	if (s->users == 0)
		wipe(s);
}

void
wg_session_hold(struct wg_session *s)
{
	s->users++;
}

void
wg_session_drop(struct wg_session *s)
{
	UK_ASSERT(s->users > 0);
	if (--s->users == 0 && s->ended)
		wipe(s);
}

static uint32_t
padding(uint32_t len, uint32_t mtu)
{
	uint32_t last = mtu && len > mtu ? len % mtu : len;
	uint32_t padded = (last + 15) & ~UINT32_C(15);

	if (mtu && padded > mtu)
		padded = mtu;
	return padded - last;
}

void
wg_session_seal(const struct wg_session *s, uint64_t counter, uint32_t mtu,
    struct pbuf *p, struct aead_op *op)
{
	uint32_t pad = padding(p->len, mtu);
	uint32_t len = p->len + pad;
	struct wg_data_header *h;

	memset(pbuf_put(p, pad + WG_TAG_LEN), 0, pad);
	h = (struct wg_data_header *)pbuf_push(p, sizeof(*h));
	wg_msg_set_type(h->type, WG_MSG_DATA);
	memcpy(h->receiver, s->remote_index, sizeof(h->receiver));
	store_le64(h->counter, counter);
	*op = (struct aead_op){.key = s->send.b,
	    .counter = counter,
	    .data = (uint8_t *)(h + 1),
	    .len = len};
}

void
wg_session_open(const struct wg_session *s, struct pbuf *p, struct aead_op *op)
{
	const struct wg_data_header *h = (const void *)pbuf_data(p);

	pbuf_pull(p, sizeof(*h));
	*op = (struct aead_op){.key = s->receive.b,
	    .counter = load_le64(h->counter),
	    .data = pbuf_data(p),
	    .len = p->len};
	pbuf_trim(p, p->len - WG_TAG_LEN);
}
