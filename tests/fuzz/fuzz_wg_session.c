/* What lies inside authentic data messages. Input: a TOS byte, a low byte of
 * the counter, then the plaintext, which is sealed as it is. */
#include "core/bytes.h"
#include "core/ip.h"
#include "support/wg_lab.h"
#include "wg/wg_state.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
craft(struct wg_session *s, uint64_t counter, const uint8_t *data, size_t size,
    struct lab_msg *m)
{
	struct wg_data_header *h = (void *)m->room;

	m->buf = pbuf_make(m->room, sizeof(m->room), 0, size + 32);
	wg_msg_set_type(h->type, WG_MSG_DATA);
	memcpy(h->receiver, s->remote_index, 4);
	store_le64(h->counter, counter);
	memcpy(m->room + 16, data, size);
	aead_seal_once(
	    m->room + 16, s->send.b, counter, NULL, 0, m->room + 16, size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct lab l;
	struct lab_msg m, out;
	struct ip_view v;

	if (size < 2 || size > 1500)
		return 0;
	if (!l.a.d) {
		lab_init(&l);
		lab_connect(&l);
	}
	wg_replay_init(&l.b.peer->current->replay);
	craft(l.a.peer->current, data[1], data + 2, size - 2, &m);
	m.tos = data[0];
	if (lab_open(&l, &l.b, &m, &l.a.at, &out)) {
		UK_ASSERT(
		    ip_parse_fixed(&v, pbuf_data(&out.buf), out.buf.len) == 0);
		UK_ASSERT(v.total == out.buf.len);
		UK_ASSERT(v.src[0] == (v.family == FAMILY_V4 ? 10 : 0xfd));
	}
	UK_ASSERT(!lab_open(&l, &l.b, &m, &l.a.at, &out)); /* replayed */
	UK_ASSERT(!lab_next(&l, &l.b, &out)); /* unanswered */
	return 0;
}
