/* bytes: integers to and from byte strings, any alignment. Header only. */
#ifndef UKAI_BYTES_H
#define UKAI_BYTES_H

#include <stdint.h>

static inline uint16_t
load_be16(const uint8_t b[2])
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static inline uint32_t
load_be32(const uint8_t b[4])
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 |
	    (uint32_t)b[2] << 8 | b[3];
}

static inline uint64_t
load_be64(const uint8_t b[8])
{
	return (uint64_t)load_be32(b) << 32 | load_be32(b + 4);
}

static inline uint32_t
load_le32(const uint8_t b[4])
{
	return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 |
	    (uint32_t)b[1] << 8 | b[0];
}

static inline uint64_t
load_le64(const uint8_t b[8])
{
	return (uint64_t)load_le32(b + 4) << 32 | load_le32(b);
}

static inline void
store_be16(uint8_t b[2], uint16_t v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static inline void
store_be32(uint8_t b[4], uint32_t v)
{
	store_be16(b, (uint16_t)(v >> 16));
	store_be16(b + 2, (uint16_t)v);
}

static inline void
store_be64(uint8_t b[8], uint64_t v)
{
	store_be32(b, (uint32_t)(v >> 32));
	store_be32(b + 4, (uint32_t)v);
}

static inline void
store_le32(uint8_t b[4], uint32_t v)
{
	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
	b[2] = (uint8_t)(v >> 16);
	b[3] = (uint8_t)(v >> 24);
}

static inline void
store_le64(uint8_t b[8], uint64_t v)
{
	store_le32(b, (uint32_t)v);
	store_le32(b + 4, (uint32_t)(v >> 32));
}

#endif
