/* value: the values that a configuration file, a command line and the UAPI
 * share. Pure. Each parser takes (text, length), allows no surplus and
 * returns 0 or UK_EINVAL, leaving the output alone on error (C4). */
#ifndef UKAI_VALUE_H
#define UKAI_VALUE_H

#include "endpoint.h"

#define KEY_LEN 32
#define KEY_BASE64_LEN 44
#define KEY_HEX_LEN 64

/* Unsigned decimal, or hex after "0x" where hex is true; at most max. No
 * sign, no blanks. */
int value_parse_u64(
    uint64_t *v, const char *text, size_t len, uint64_t max, bool hex);

/* Standard base64 of exactly 32 bytes: 44 characters, canonical. Constant
 * time in the secret. */
int value_parse_key_base64(uint8_t key[KEY_LEN], const char *text, size_t len);
void value_format_key_base64(
    char text[KEY_BASE64_LEN + 1], const uint8_t key[KEY_LEN]);
/* 64 hex digits. */
int value_parse_key_hex(uint8_t key[KEY_LEN], const char *text, size_t len);
void value_format_key_hex(
    char text[KEY_HEX_LEN + 1], const uint8_t key[KEY_LEN]);

/* "1.2.3.4:5", "[2001:db8::1]:5", "[fe80::1%eth0]:5" or "%3". Numeric
 * addresses only; ports 1..65535. A scope only with a link-local address; a
 * number goes to e->scope_id. A scope's name is handed out in scope (room
 * for 16 bytes with its zero; "" when none): turning a name into an index is
 * the caller's I/O. e->src is cleared. */
int value_parse_endpoint(
    struct endpoint *e, char scope[16], const char *text, size_t len);

/* Cut "HOST:PORT" at its last ':': *host_len is the length of HOST, which is
 * not looked at; the port is 1..65535. Returns 0; UK_EINVAL. */
int value_split_port(
    size_t *host_len, uint16_t *port, const char *text, size_t len);

/* The Linux rules for an interface name: 1..15 bytes, no '/', no blank or
 * control byte, no ':', not "." or "..". */
bool value_is_ifname(const char *text, size_t len);

#define VALUE_HOSTNAME_MAX 253

/* A DNS name: labels of 1..63 letters, digits, '-' (not first or last) and
 * '_', at most VALUE_HOSTNAME_MAX bytes, with or without the final dot. The
 * last label is not a number: that would be a mistyped address. */
bool value_is_hostname(const char *text, size_t len);

#endif
