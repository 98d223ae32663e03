/* wg_msg: the four messages as they lie on the wire (protocol whitepaper
 * section 5.4). Every field is bytes, integers little-endian, so a message is
 * viewed in place at any alignment. Header only. */
#ifndef UKAI_WG_MSG_H
#define UKAI_WG_MSG_H

#include <assert.h>
#include <string.h>

#include "core/base.h"

#define WG_KEY_LEN 32
#define WG_TAG_LEN 16
#define WG_STAMP_LEN 12 /* TAI64N, big-endian */
#define WG_COOKIE_LEN 16

struct wg_key {
	uint8_t b[WG_KEY_LEN];
};

enum wg_msg_type {
	WG_MSG_INVALID = 0,
	WG_MSG_INITIATION = 1,
	WG_MSG_RESPONSE = 2,
	WG_MSG_COOKIE = 3,
	WG_MSG_DATA = 4,
};

struct wg_initiation {
	uint8_t type[4];
	uint8_t sender[4];
	uint8_t ephemeral[WG_KEY_LEN];
	uint8_t static_key[WG_KEY_LEN + WG_TAG_LEN];
	uint8_t stamp[WG_STAMP_LEN + WG_TAG_LEN];
	uint8_t mac1[WG_COOKIE_LEN];
	uint8_t mac2[WG_COOKIE_LEN];
};

struct wg_response {
	uint8_t type[4];
	uint8_t sender[4];
	uint8_t receiver[4];
	uint8_t ephemeral[WG_KEY_LEN];
	uint8_t nothing[WG_TAG_LEN];
	uint8_t mac1[WG_COOKIE_LEN];
	uint8_t mac2[WG_COOKIE_LEN];
};

struct wg_cookie_reply {
	uint8_t type[4];
	uint8_t receiver[4];
	uint8_t nonce[24];
	uint8_t cookie[WG_COOKIE_LEN + WG_TAG_LEN];
};

struct wg_data_header {
	uint8_t type[4];
	uint8_t receiver[4];
	uint8_t counter[8];
};

static_assert(sizeof(struct wg_initiation) == 148, "wire layout");
static_assert(sizeof(struct wg_response) == 92, "wire layout");
static_assert(sizeof(struct wg_cookie_reply) == 64, "wire layout");
static_assert(sizeof(struct wg_data_header) == 16, "wire layout");

#define WG_DATA_OVERHEAD (sizeof(struct wg_data_header) + WG_TAG_LEN)

static inline void
wg_msg_set_type(uint8_t type[4], enum wg_msg_type t)
{
	type[0] = (uint8_t)t;
	memset(type + 1, 0, 3);
}

/* The type of a datagram, WG_MSG_INVALID unless type, the three reserved
 * bytes and the length are all right: the only place where length is
 * looked at. */
static inline enum wg_msg_type
wg_msg_classify(const uint8_t *b, size_t len)
{
	if (len < 4 || b[1] != 0 || b[2] != 0 || b[3] != 0)
		return WG_MSG_INVALID;
	switch (b[0]) {
	case WG_MSG_INITIATION:
		return len == sizeof(struct wg_initiation) ? WG_MSG_INITIATION
		                                           : WG_MSG_INVALID;
	case WG_MSG_RESPONSE:
		return len == sizeof(struct wg_response) ? WG_MSG_RESPONSE
		                                         : WG_MSG_INVALID;
	case WG_MSG_COOKIE:
		return len == sizeof(struct wg_cookie_reply) ? WG_MSG_COOKIE
		                                             : WG_MSG_INVALID;
	case WG_MSG_DATA:
		return len >= WG_DATA_OVERHEAD ? WG_MSG_DATA : WG_MSG_INVALID;
	default:
		return WG_MSG_INVALID;
	}
}

#endif
