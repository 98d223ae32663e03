#include "commands.h"

#include "core/value.h"
#include "core/x25519.h"
#include "io/service.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "Usage: ukai pubkey < PRIVATE-KEY\n\n"
    "Print the public key of a private key, as wg pubkey does.\n";

/* One key on standard input, with or without a newline, and nothing else. */
static int
read_key(uint8_t key[KEY_LEN])
{
	char line[KEY_BASE64_LEN + 2];
	size_t len = fread(line, 1, sizeof(line), stdin);
	int err;

	if (len > 0 && line[len - 1] == '\n')
		len--;
	err = value_parse_key_base64(key, line, len);
	sodium_memzero(line, sizeof(line));
	return err;
}

static const struct cmdline cmdline = {
    .command = "ukai pubkey", .usage = usage};

int
command_pubkey(int argc, char **argv)
{
	uint8_t key[KEY_LEN], pub[KEY_LEN];
	char text[KEY_BASE64_LEN + 1];
	struct cmdline_words w;
	int code;

	if (!cmdline_take(&cmdline, NULL, &w, argc, argv, &code))
		return code;
	if (sodium_init() < 0)
		return EXIT_FAILED;
	if (read_key(key) != 0) {
		fputs("ukai: error: standard input is not a key: expected 44 "
		      "characters of base64, as ukai genkey prints\n",
		    stderr);
		return EXIT_FAILED;
	}
	x25519_base(pub, key);
	sodium_memzero(key, sizeof(key));
	value_format_key_base64(text, pub);
	return puts(text) < 0 ? EXIT_FAILED : EXIT_OK;
}
