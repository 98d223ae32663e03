/* Handshake messages and datagrams of any kind, into both sides of a device
 * pair. Input: records of a kind, a length and bytes. The bytes are XORed
 * over a message that is right at that moment, or stand alone; mac1 is made
 * right when the kind asks for it, so that the code behind it is reached. */
#include "support/wg_lab.h"
#include "wg/wg_state.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TO_A = 8, SIGN = 16, LOAD = 32, LATER = 64, KEEP = 128 };

static struct lab l;

/* Bits 0..2 of the kind: what the message starts from. */
static void
base(struct lab_side *to, struct lab_side *from, unsigned kind,
    struct lab_msg *m)
{
	struct lab_msg packet;

	memset(m, 0, sizeof(*m));
	m->buf = pbuf_make(m->room, sizeof(m->room), WG_SEAL_HEADROOM, 0);
	switch (kind & 7) {
	case 1: /* an initiation, or whatever else waits to be sent */
		wg_peer_want_session(from->peer, false, l.now.mono_ns);
		lab_next(&l, from, m);
		break;
	case 2: /* data, or nothing while there is no session */
		lab_packet(from, to, &packet);
		lab_seal(&l, from, &packet, m);
		break;
	case 3: /* an answer or a cookie reply, when one is due */
		lab_next(&l, from, m);
		break;
	default:
		break;
	}
}

static void
xor_over(struct lab_msg *m, const uint8_t *data, uint32_t len)
{
	if (m->buf.len < len)
		memset(
		    pbuf_put(&m->buf, len - m->buf.len), 0, len - m->buf.len);
	for (uint32_t i = 0; i < len; i++)
		pbuf_data(&m->buf)[i] ^= data[i];
}

static void
sign(const struct lab_side *to, struct lab_msg *m)
{
	struct wg_cookie_maker maker = {.awaits_reply = false};

	if (m->buf.len >= 32)
		wg_cookie_sign(to->d->b2s, &maker, &to->d->checker.keys, 0,
		    pbuf_data(&m->buf), m->buf.len);
}

static void
record(unsigned kind, const uint8_t *data, uint32_t len)
{
	struct lab_side *to = kind & TO_A ? &l.a : &l.b;
	struct lab_side *from = kind & TO_A ? &l.b : &l.a;
	struct lab_msg m, out;

	if (kind & LATER) {
		lab_advance(&l, LAB_S(6));
		wg_device_tick(l.a.d, l.now);
		wg_device_tick(l.b.d, l.now);
	}
	base(to, from, kind, &m);
	xor_over(&m, data, len);
	if (kind & SIGN)
		sign(to, &m);
	if (kind & LOAD)
		to->d->loaded_until_ns = l.now.mono_ns + 1;
	lab_open(&l, to, &m, &from->at, &out);
	if (!(kind & KEEP))
		while (lab_next(&l, to, &out))
			lab_open(&l, from, &out, &to->at, &m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lab_init(&l);
	while (size >= 2) {
		unsigned kind = data[0];
		size_t len = uk_min_u64(data[1], size - 2);

		record(kind, data + 2, (uint32_t)len);
		data += 2 + len;
		size -= 2 + len;
	}
	lab_fini(&l);
	return 0;
}
