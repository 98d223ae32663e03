#include "wg_session.h"

#include "core/bytes.h"
#include "core/err.h"

#include <stdlib.h>

struct wg_session *
wg_session_new(const struct wg_session_keys *keys,
    const uint8_t remote_index[4], bool initiator, uint64_t now_ns)
{
	struct wg_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->send = aead_new(keys->send.b);
	s->receive = aead_new(keys->receive.b);
	if (!s->send || !s->receive) {
		wg_session_free(s);
		return NULL;
	}
	wg_replay_init(&s->replay);
	s->born_ns = now_ns;
	s->initiator = initiator;
	memcpy(s->remote_index, remote_index, sizeof(s->remote_index));
	return s;
}

void
wg_session_free(struct wg_session *s)
{
	if (!s)
		return;
	aead_free(s->receive);
	aead_free(s->send);
	free(s);
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

int
wg_session_seal(
    struct wg_session *s, uint64_t counter, uint32_t mtu, struct pbuf *p)
{
	uint32_t pad = padding(p->len, mtu);
	uint32_t len = p->len + pad;
	struct wg_data_header *h;

	memset(pbuf_put(p, pad + WG_TAG_LEN), 0, pad);
	h = (struct wg_data_header *)pbuf_push(p, sizeof(*h));
	wg_msg_set_type(h->type, WG_MSG_DATA);
	memcpy(h->receiver, s->remote_index, sizeof(h->receiver));
	store_le64(h->counter, counter);
	return aead_seal(s->send, counter, (uint8_t *)(h + 1), len);
}

int
wg_session_open(struct wg_session *s, struct pbuf *p, uint64_t *counter)
{
	const struct wg_data_header *h = (const void *)pbuf_data(p);
	int err;

	*counter = load_le64(h->counter);
	pbuf_pull(p, sizeof(*h));
	err = aead_open(s->receive, *counter, pbuf_data(p), p->len);
	if (err)
		return err;
	pbuf_trim(p, p->len - WG_TAG_LEN);
	return 0;
}
