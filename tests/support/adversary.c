/* ukai-test-adversary: says everything to a WireGuard responder, and to an
 * initiator, that should not be said, and looks at what comes back. See
 * adversary.h.
 *
 * Exit: 0 when all checks hold, 1 when one does not, 2 for wrong use. */
#include "adversary.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/value.h"
#include "core/x25519.h"

static const char usage[] =
    "usage: ukai-test-adversary OPTION... CHECK...\n"
    "\n"
    "  --target ADDRESS:PORT   whom to test\n"
    "  --target-key FILE       its public key\n"
    "  --echo ADDRESS          what answers pings behind it\n"
    "  --key-a, --key-b FILE   private keys of two peers it knows\n"
    "  --inner-a, --inner-b ADDRESS  their addresses in the tunnel\n"
    "  --psk FILE              of both\n"
    "  --listen ADDRESS:PORT   where it calls peer b\n"
    "  --garbage N             datagrams\n"
    "\n"
    "Checks: calls data flood load garbage answers cookie\n";

struct options {
	struct foe foe;
	struct sockaddr_storage listen;
	socklen_t listen_len;
	unsigned long garbage;
};

static void
wrong_use(const char *what, const char *word)
{
	fprintf(stderr, "ukai-test-adversary: %s: '%s'\n%s", what,
	    word ? word : "", usage);
	exit(2);
}

static void
read_key(struct wg_key *key, const char *file)
{
	char text[KEY_BASE64_LEN + 1] = "";
	FILE *f = fopen(file, "r");

	if (!f || !fgets(text, sizeof(text), f) ||
	    value_parse_key_base64(key->b, text, KEY_BASE64_LEN) != 0)
		wrong_use("not a key's file", file);
	fclose(f);
}

static void
read_address(struct ip_addr *a, const char *text)
{
	if (ip_addr_parse(a, text, strlen(text)) != 0)
		wrong_use("not an address", text);
}

static socklen_t
read_endpoint(struct sockaddr_storage *to, const char *text)
{
	struct sockaddr_in6 *v6 = (void *)to;
	struct sockaddr_in *v4 = (void *)to;
	struct endpoint e;
	char scope[16];

	if (value_parse_endpoint(&e, scope, text, strlen(text)) != 0)
		wrong_use("not ADDRESS:PORT", text);
	if (e.addr.family == FAMILY_V4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(e.port);
		memcpy(&v4->sin_addr, e.addr.b, 4);
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(e.port);
	memcpy(&v6->sin6_addr, e.addr.b, 16);
	return sizeof(*v6);
}

enum {
	TARGET = 256,
	TARGET_KEY,
	ECHO,
	KEY_A,
	KEY_B,
	INNER_A,
	INNER_B,
	PSK,
	LISTEN,
	GARBAGE,
	HELD
};

static void
read_option(struct options *o, int which, const char *word)
{
	struct foe *f = &o->foe;

	switch (which) {
	case TARGET:
		f->target_len = read_endpoint(&f->target, word);
		break;
	case TARGET_KEY:
		read_key(&f->target_key, word);
		break;
	case ECHO:
		read_address(&f->echo, word);
		break;
	case KEY_A:
		read_key(&f->a.id.private_key, word);
		break;
	case KEY_B:
		read_key(&f->b.id.private_key, word);
		break;
	case INNER_A:
		read_address(&f->a.inner, word);
		break;
	case INNER_B:
		read_address(&f->b.inner, word);
		break;
	case PSK:
		read_key(&f->a.remote.psk, word);
		break;
	case LISTEN:
		o->listen_len = read_endpoint(&o->listen, word);
		break;
	case GARBAGE:
		o->garbage = strtoul(word, NULL, 10);
		break;
	case HELD:
		f->held = (pid_t)strtol(word, NULL, 10);
		break;
	default:
		wrong_use("unknown option", NULL);
	}
}

static void
read_options(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {
	    {"target", required_argument, NULL, TARGET},
	    {"target-key", required_argument, NULL, TARGET_KEY},
	    {"echo", required_argument, NULL, ECHO},
	    {"key-a", required_argument, NULL, KEY_A},
	    {"key-b", required_argument, NULL, KEY_B},
	    {"inner-a", required_argument, NULL, INNER_A},
	    {"inner-b", required_argument, NULL, INNER_B},
	    {"psk", required_argument, NULL, PSK},
	    {"listen", required_argument, NULL, LISTEN},
	    {"garbage", required_argument, NULL, GARBAGE},
	    {"held", required_argument, NULL, HELD},
	    {NULL, 0, NULL, 0},
	};
	int which;

	while ((which = getopt_long(argc, argv, "", options, NULL)) != -1)
		read_option(o, which, optarg);
	if (o->foe.target_len == 0 || optind == argc)
		wrong_use("nothing to do", NULL);
}

static void
know_each_other(struct foe *f, struct foe_self *self)
{
	x25519_base(self->id.public_key.b, self->id.private_key.b);
	self->remote.public_key = f->target_key;
	self->remote.psk = f->a.remote.psk;
	if (x25519(self->remote.static_static.b, self->id.private_key.b,
		f->target_key.b) != 0)
		wrong_use("a key of low order", NULL);
}

static void
run(struct options *o, const char *what)
{
	struct foe *f = &o->foe;

	if (strcmp(what, "calls") == 0)
		foe_check_calls(f);
	else if (strcmp(what, "data") == 0)
		foe_check_data(f);
	else if (strcmp(what, "flood") == 0)
		foe_check_flood(f);
	else if (strcmp(what, "load") == 0)
		foe_check_load(f);
	else if (strcmp(what, "garbage") == 0)
		foe_send_garbage(f, o->garbage);
	else if (strcmp(what, "answers") == 0)
		foe_check_answers(f, &o->listen, o->listen_len);
	else if (strcmp(what, "cookie") == 0)
		foe_check_cookie_use(f, &o->listen, o->listen_len);
	else
		wrong_use("unknown check", what);
}

int
main(int argc, char **argv)
{
	static struct options o;
	struct foe *f = &o.foe;

	if (sodium_init() < 0 || !(f->b2s = blake2s_new()))
		return 1;
	read_options(&o, argc, argv);
	know_each_other(f, &f->a);
	know_each_other(f, &f->b);
	wg_cookie_keys(f->b2s, &f->target_macs, &f->target_key);
	for (int i = optind; i < argc; i++)
		run(&o, argv[i]);
	foe_result(
	    f, "no answer is longer than its question (A1)", f->amplified == 0);
	blake2s_free(f->b2s);
	return f->failed > 0;
}
