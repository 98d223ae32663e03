#include "commands.h"

#include "core/value.h"
#include "core/x25519.h"
#include "io/service.h"

#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] = "Usage: ukai genkey\n\n"
			    "Print a new private key, as wg genkey does.\n";

/* A redirected file that others can read holds a key that is none. */
static void
warn_world_readable(void)
{
	struct stat st;

	if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) &&
	    (st.st_mode & (S_IRWXG | S_IRWXO)))
		fputs("ukai: warning: writing the key to a file that others "
		      "can read; set umask 077 first\n",
		    stderr);
}

static const struct cmdline cmdline = {
    .command = "ukai genkey", .usage = usage};

int
command_genkey(int argc, char **argv)
{
	uint8_t key[KEY_LEN];
	char text[KEY_BASE64_LEN + 1];
	struct cmdline_words w;
	int printed, code;

	if (!cmdline_take(&cmdline, NULL, &w, argc, argv, &code))
		return code;
	if (sodium_init() < 0)
		return EXIT_FAILED;
	warn_world_readable();
	randombytes_buf(key, sizeof(key));
	x25519_clamp(key);
	value_format_key_base64(text, key);
	printed = puts(text) < 0 || fflush(stdout) != 0;
	sodium_memzero(key, sizeof(key));
	sodium_memzero(text, sizeof(text));
	return printed ? EXIT_FAILED : EXIT_OK;
}
