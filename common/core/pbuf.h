/* pbuf: a view of one packet inside memory that somebody else owns (a slab
 * of the TUN or UDP reader). Push and pull are the only arithmetic on it and
 * abort on overrun. A view is copied freely; it frees nothing. Header only. */
#ifndef UKAI_PBUF_H
#define UKAI_PBUF_H

#include "base.h"

struct pbuf {
	uint8_t *base; /* first byte of the room this packet may use */
	uint32_t cap;  /* bytes of room */
	uint32_t off;  /* where the packet begins in it */
	uint32_t len;  /* bytes of packet */
};

/* A view over room [base, base + cap) whose packet is len bytes at off. */
static inline struct pbuf
pbuf_make(uint8_t *base, size_t cap, size_t off, size_t len)
{
	UK_ASSERT(cap <= UINT32_MAX && off <= cap && len <= cap - off);
	return (struct pbuf){.base = base,
	    .cap = (uint32_t)cap,
	    .off = (uint32_t)off,
	    .len = (uint32_t)len};
}

static inline uint8_t *
pbuf_data(const struct pbuf *p)
{
	return p->base + p->off;
}

static inline uint32_t
pbuf_headroom(const struct pbuf *p)
{
	return p->off;
}

static inline uint32_t
pbuf_tailroom(const struct pbuf *p)
{
	return p->cap - p->off - p->len;
}

/* Grow at the front by n bytes (contents undefined); returns the new start. */
static inline uint8_t *
pbuf_push(struct pbuf *p, uint32_t n)
{
	UK_ASSERT(n <= p->off);
	p->off -= n;
	p->len += n;
	return pbuf_data(p);
}

/* Drop n bytes at the front. */
static inline void
pbuf_pull(struct pbuf *p, uint32_t n)
{
	UK_ASSERT(n <= p->len);
	p->off += n;
	p->len -= n;
}

/* Grow at the end by n bytes; returns the first of them. */
static inline uint8_t *
pbuf_put(struct pbuf *p, uint32_t n)
{
	UK_ASSERT(n <= pbuf_tailroom(p));
	p->len += n;
	return pbuf_data(p) + p->len - n;
}

/* Cut to len bytes, dropping the end. */
static inline void
pbuf_trim(struct pbuf *p, uint32_t len)
{
	UK_ASSERT(len <= p->len);
	p->len = len;
}

#endif
