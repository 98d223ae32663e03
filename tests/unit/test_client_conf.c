#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "core/conf_schema.h"
#include "core/err.h"
#include "host/conf_file.h"

#include "../support/failing_alloc.h"

#define malloc failing_malloc
#define calloc failing_calloc
#define free failing_free
#include "core/conf_schema.c"
#include "core/conf_wg.c"
#include "../../client/conf.c"
#undef malloc
#undef calloc
#undef free

#define KEY1 "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define KEY2 "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define KEY3 "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
#define PSK "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak="

static struct client_conf conf;
static struct diag diag;

static int
parse(const char *text)
{
	diag_init(&diag, "test.conf");
	return client_conf_parse(&conf, text, strlen(text), &diag);
}

static void
fini(void)
{
	client_conf_fini(&conf);
	assert_true(sodium_is_zero((const void *)&conf, sizeof(conf)));
	assert_int_equal(alloc_live, 0);
}

/* Everything that wg-quick(8) knows and ukai takes. */
static const char full[] = "# office\r\n"
			   "[Interface]\r\n"
			   "PrivateKey = " KEY1 " # mine\r\n"
			   "Address = 10.192.122.1/24, fd00::1/64\r\n"
			   "Address = 10.10.0.1/16\r\n"
			   "ListenPort = 51820\r\n"
			   "FwMark = 0xca6c\r\n"
			   "DNS = 192.0.2.53, 2001:db8::53, example.com\r\n"
			   "MTU = 1420\r\n"
			   "Table = auto\r\n"
			   "SaveConfig = false\r\n"
			   "\r\n"
			   "[Peer]\r\n"
			   "PublicKey = " KEY2 "\r\n"
			   "PresharedKey = " PSK "\r\n"
			   "AllowedIPs = 10.192.122.3/32, 10.192.124.1/24\r\n"
			   "AllowedIPs = ::/0\r\n"
			   "Endpoint = [2001:db8::1]:51820\r\n"
			   "PersistentKeepalive = 25\r\n"
			   "\r\n"
			   "[Peer]\r\n"
			   "PublicKey = " KEY3 "\r\n"
			   "AllowedIPs = 0.0.0.0/0\r\n"
			   "Endpoint = relay.example.com:443\r\n"
			   "\r\n"
			   "[Ukai]\r\n"
			   "LocalNetworks = 192.168.0.0/24, fd12::/16\r\n"
			   "LocalNetworks = 172.16.0.1/12\r\n"
			   "Routes = 203.0.113.0/24, 10.192.124.9\r\n"
			   "Routes = 2001:db8::1/32\r\n";

static void
test_full(void **state)
{
	char text[IP_PREFIX_TEXT_MAX];

	(void)state;
	assert_int_equal(parse(full), 0);
	assert_int_equal(diag.n, 0);
	assert_int_equal(conf.interface.address.n, 3);
	assert_int_equal(conf.interface.dns.n, 3);
	assert_int_equal(conf.interface.fwmark, 0xca6c);
	assert_int_equal(conf.peers.n, 2);
	assert_int_equal(conf.peers.item[0].line, 13);
	assert_int_equal(conf.peers.item[0].allowed.n, 3);
	assert_int_equal(conf.peers.item[0].keepalive_s, 25);
	assert_int_equal(conf.peers.item[1].allowed.n, 1);
	assert_string_equal(
	    conf.peers.item[1].endpoint.host, "relay.example.com");
	assert_int_equal(conf.local_networks.n, 3);
	assert_string_equal(
	    ip_prefix_format(&conf.local_networks.item[2], text),
	    "172.16.0.0/12");
	assert_true(conf.routes.given);
	assert_int_equal(conf.routes.list.n, 3);
	assert_int_equal(conf.routes.list.item[1].line, 29);
	assert_int_equal(conf.routes.list.item[1].column, 26);
	assert_string_equal(
	    ip_prefix_format(&conf.routes.list.item[2].prefix, text),
	    "2001:db8::/32");
	fini();
}

static void
test_policy(void **state)
{
	(void)state;
	assert_int_equal(
	    parse("[Interface]\nPrivateKey=" KEY1 "\nAddress=10.0.0.2/32\n"
		  "FwMark=0xffff\n[Peer]\nPublicKey=" KEY2
		  "\nAllowedIPs=0.0.0.0/0\n"
		  "[Ukai]\nPolicy = /etc/ukai/office.rules\n"
		  "Networks = 192.168.24.0/24, 192.168.25.0/24\n"
		  "AllowPrivate = 10.8.0.0/16\nPorts = 65535\n"
		  "Routes = 10.66.0.0/16\n"),
	    0);
	assert_int_equal(diag.n, 0);
	assert_string_equal(conf.policy, "/etc/ukai/office.rules");
	assert_int_equal(conf.networks.n, 2);
	assert_int_equal(conf.allow_private.n, 1);
	assert_int_equal(conf.ports, 65535);
	fini();
}

static void
test_ten_mistakes(void **state)
{
	static const char text[] =
	    "[Interface]\n" /* 1: no Address */
	    "PrivateKey = tooshort\n" /* 2 */
	    "ListenPort = 70000\n" /* 3 */
	    "  MTU=12x\n" /* 4 */
	    "PostUp = iptables -A INPUT\n" /* 5 */
	    "Tabel = off\n" /* 6 */
	    "\n"
	    "[Peer]\n" /* 8: no PublicKey */
	    "AllowedIPs = 10.0.0.0/8, 10.0.0.0/33\n" /* 9 */
	    "Endpoint = 2001:db8::1:51820\n" /* 10 */
	    "[Ukai]\n"
	    "LocalNetwork = 10.0.0.0/8\n"; /* 12 */
	static const struct {
		unsigned line, column;
		const char *says;
	} want[] = {
	    {1, 2, "[Interface] has no Address"},
	    {2, 14, "it has 8"},
	    {3, 14, "\"70000\""},
	    {4, 7, "\"12x\""},
	    {5, 1, "runs no shell"},
	    {6, 1, "did you mean Table?"},
	    {8, 2, "[Peer] has no PublicKey"},
	    {9, 26, "\"10.0.0.0/33\""},
	    {10, 12, "[2001:db8::1]:51820"},
	    {12, 1, "Known: AllowPrivate"},
	};

	(void)state;
	assert_int_equal(parse(text), UK_EINVAL);
	assert_int_equal(diag.errors, 10);
	assert_int_equal(diag.n, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_int_equal(diag.entry[i].line, want[i].line);
		assert_int_equal(diag.entry[i].column, want[i].column);
		assert_non_null(strstr(diag.entry[i].text, want[i].says));
	}
	fini();
}

#define HEAD "[Interface]\nPrivateKey=" KEY1 "\nAddress=10.0.0.2/32\n"
#define PEER2 "[Peer]\nPublicKey=" KEY2 "\n"
#define PEER3 "[Peer]\nPublicKey=" KEY3 "\n"

/* Files with one thing to say, "LINE:COLUMN". */
static const struct {
	const char *text;
	enum diag_level level;
	const char *place, *says;
} cases[] = {
    {PEER2, DIAG_ERROR, "1:0", "no [Interface] section"},
    {HEAD, DIAG_WARNING, "1:0", "no [Peer] section"},
    {HEAD PEER2 "[interface]\nMTU=1\n", DIAG_ERROR, "6:2",
	"[Interface] stands on line 1"},
    {HEAD PEER2 PEER3 PEER2, DIAG_ERROR, "9:11",
	"this PublicKey stands on line 5 already"},
    {HEAD PEER2 "[Ukai]\n[Ukai]\n", DIAG_ERROR, "7:2", "on line 6"},
    {HEAD PEER2 "[Relay]\n", DIAG_ERROR, "6:2", "known: Interface, Peer, Ukai"},
    {HEAD PEER2 "[Ukai]\nLocalNetworks=0.0.0.0/0\n", DIAG_ERROR, "7:15",
	"is everything"},
    {HEAD PEER2 "[Ukai]\nLocalNetworks=::/0\n", DIAG_ERROR, "7:15",
	"is everything"},
    {HEAD PEER2 "[Ukai]\nLocalNetworks=\n", DIAG_ERROR, "7:15", "not a prefix"},
    {HEAD PEER2 "[Ukai]\nColour=red\n", DIAG_ERROR, "7:1",
	"known: AllowPrivate"},
    /* Who would take it? Places are told, also from before the peers. */
    {HEAD PEER2 "[Ukai]\nRoutes=10.0.0.0/8\n", DIAG_ERROR, "7:8",
	"10.0.0.0/8 is not in any peer's AllowedIPs"},
    {HEAD PEER2 "AllowedIPs=10.0.0.0/9\n[Ukai]\nRoutes=10.0.0.0/8\n",
	DIAG_ERROR, "8:8", "not in any peer's"},
    {"[Ukai]\nRoutes=::/0, 10.0.0.0/8\n" HEAD PEER2 "AllowedIPs=::/0\n",
	DIAG_ERROR, "2:14", "10.0.0.0/8 is not in any peer's"},
    {HEAD PEER2 "[Ukai]\nRoutes=\n", DIAG_ERROR, "7:8", "Routes is empty"},
    {HEAD PEER2 "[Ukai]\nRoutes=10.0.0.0/33\n", DIAG_ERROR, "7:8",
	"not a prefix"},
    {HEAD PEER2 "AllowedIPs=::/0\n[Ukai]\nRoutes=::/0\nRoutes=off\n",
	DIAG_ERROR, "9:8", "keep one of them"},
    {HEAD PEER2 "[Ukai]\nPolicy=office.rules\n", DIAG_ERROR, "7:8",
	"no absolute path"},
    {HEAD PEER2 "[Ukai]\nPolicy=\n", DIAG_ERROR, "7:8", "no absolute path"},
    {HEAD "Table=off\n" PEER2 "[Ukai]\nPolicy=/p\n", DIAG_ERROR, "8:8",
	"needs Table = auto"},
    {HEAD "FwMark=0x10000\n" PEER2 "[Ukai]\nPolicy=/p\n", DIAG_ERROR, "8:8",
	"below 0x10000"},
    {HEAD PEER2 "AllowedIPs=::/0\n[Ukai]\nPolicy=/p\nRoutes=::/0\n", DIAG_ERROR,
	"9:8", "leaves nothing to Policy"},
    {HEAD PEER2 "[Ukai]\nPorts=240\n", DIAG_WARNING, "0:0",
	"no effect without Policy"},
    {HEAD PEER2 "[Ukai]\nPolicy=/p\nPorts=0\n", DIAG_ERROR, "8:7",
	"no number of ports"},
    {HEAD PEER2 "[Ukai]\nPolicy=/p\nPorts=65536\n", DIAG_ERROR, "8:7",
	"no number of ports"},
    {HEAD PEER2 "[Ukai]\nPolicy=/p\nNetworks=0.0.0.0/0\n", DIAG_ERROR, "8:10",
	"is everything"},
    {HEAD PEER2 "AllowedIPs=::/0\n[Ukai]\nRoutes=off, ::/0\n", DIAG_ERROR,
	"8:8", "not a prefix"},
    {HEAD PEER2 "AllowedIPs=::/0\n" PEER3 "AllowedIPs=::/1, ::/0\n",
	DIAG_WARNING, "9:18", "on line 6 already; the last one gets it"},
    {HEAD PEER2 "SaveConfig\n", DIAG_ERROR, "6:1", "'=' is missing"},
};

static void
test_cases(void **state)
{
	char place[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int err = parse(cases[i].text);

		assert_int_equal(
		    err, cases[i].level == DIAG_ERROR ? UK_EINVAL : 0);
		assert_int_equal(diag.n, 1);
		assert_int_equal(diag.entry[0].level, cases[i].level);
		snprintf(place, sizeof(place), "%u:%u", diag.entry[0].line,
		    diag.entry[0].column);
		assert_string_equal(place, cases[i].place);
		assert_non_null(strstr(diag.entry[0].text, cases[i].says));
		/* On error the struct is empty already (X3). */
		if (err < 0)
			assert_true(
			    sodium_is_zero((const void *)&conf, sizeof(conf)));
		fini();
	}
	assert_int_equal(parse(HEAD PEER2 "[Ukai]\n"), 0);
	assert_int_equal(diag.n, 0);
	assert_false(conf.routes.given);
	fini();
	assert_int_equal(
	    parse(HEAD PEER2 "[Ukai]\nRoutes=off\nRoutes=Off\n"), 0);
	assert_int_equal(diag.n, 0);
	assert_true(conf.routes.given);
	assert_int_equal(conf.routes.list.n, 0);
	fini();
}

/* Is each address of p in some prefix? One by one; all are in 10.0.0.0/24. */
static bool
covered_slowly(const struct ip_prefix *p, const struct ip_prefix *in, size_t n)
{
	struct ip_addr a = p->addr;

	for (unsigned host = 0; host < 256; host++) {
		bool found = false;

		a.b[3] = (uint8_t)host;
		if (!ip_prefix_contains(p, &a))
			continue;
		for (size_t i = 0; i < n; i++)
			found |= ip_prefix_contains(&in[i], &a);
		if (!found)
			return false;
	}
	return true;
}

static void
random_prefix(struct ip_prefix *p)
{
	char text[24];

	snprintf(
	    text, sizeof(text), "10.0.0.%d/%d", rand() % 256, 24 + rand() % 9);
	assert_int_equal(ip_prefix_parse(p, text, strlen(text)), 0);
}

/* Routes against AllowedIPs, also where only parts together cover a route. */
static void
test_random_cover(void **state)
{
	struct ip_prefix in[40], p;
	unsigned yes = 0, by_parts = 0;

	(void)state;
	srand(4);
	for (int round = 0; round < 20000; round++) {
		struct prefixes all = {in, (size_t)(rand() % 40)};
		bool got;

		for (size_t i = 0; i < all.n; i++)
			random_prefix(&in[i]);
		qsort(in, all.n, sizeof(in[0]), compare_prefixes);
		random_prefix(&p);
		got = has_around(&all, &p);
		by_parts += !got && has_parts(&all, &p);
		got = got || has_parts(&all, &p);
		assert_int_equal(got, covered_slowly(&p, in, all.n));
		yes += got;
	}
	assert_true(yes > 1000 && yes < 19000);
	assert_true(by_parts > 100);
}

/* All of IPv6 as two halves; the last address. */
static void
test_cover_of_v6(void **state)
{
	(void)state;
	assert_int_equal(
	    parse(HEAD PEER2 "AllowedIPs=::/1, 8000::/1\n[Ukai]\nRoutes=::/0, "
			     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n"),
	    0);
	fini();
	assert_int_equal(
	    parse(
		HEAD PEER2 "AllowedIPs=::/1, 8000::/2\n[Ukai]\nRoutes=::/0\n"),
	    UK_EINVAL);
	fini();
}

/* Every mistake of the file is counted, though not every one kept. */
static void
test_more_mistakes_than_places(void **state)
{
	static char text[16384];
	size_t at = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		at += (size_t)snprintf(
		    text + at, sizeof(text) - at, "[Peer]\nMTU=x\n");
	assert_int_equal(parse(text), UK_EINVAL);
	/* MTU's place and the missing key for each, and [Interface]. */
	assert_int_equal(diag.errors, 2001);
	assert_int_equal(diag.n, DIAG_MAX);
	fini();
}

/* X3: memory that is given back, also when arrays move, holds no key. */
static void
test_freed_memory_is_wiped_X3(void **state)
{
	static char text[8192];
	uint8_t secret[32], *p;
	size_t at;

	(void)state;
	at = (size_t)snprintf(text, sizeof(text), HEAD);
	for (unsigned i = 0; i < 40; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
		    "[Peer]\nPublicKey=%c%s\nPresharedKey=" PSK "\n",
		    'A' + (int)(i % 26), &KEY2[1]);
	value_parse_key_base64(secret, PSK, 44);
	alloc_secret = secret;
	alloc_secret_seen = false;
	/* Fails for keys that are there twice: the error path frees too. */
	assert_int_equal(parse(text), UK_EINVAL);
	assert_false(alloc_secret_seen);
	assert_int_equal(parse(full), 0);
	fini();
	assert_false(alloc_secret_seen);
	/* The detector detects. */
	p = failing_malloc(40);
	memcpy(p + 3, secret, 32);
	failing_free(p);
	assert_true(alloc_secret_seen);
	alloc_secret = NULL;
}

static void
test_allocation_failures(void **state)
{
	unsigned n;

	(void)state;
	alloc_count = 0;
	assert_int_equal(parse(full), 0);
	fini();
	n = alloc_count;
	assert_true(n > 8);
	for (unsigned i = 1; i <= n; i++) {
		alloc_fail_at = i;
		assert_int_equal(parse(full), UK_ENOMEM);
		assert_int_equal(diag.errors, 1);
		fini();
	}
	alloc_fail_at = 0;
}

/* 130,560 prefixes in one peer, then 10,000 peers: each a fraction of a
 * second, because nothing is searched through. */
static void
test_large_files(void **state)
{
	size_t room = (size_t)4 << 20, at;
	char *text = malloc(room);
	uint8_t key[KEY_LEN] = {0};
	char base64[KEY_BASE64_LEN + 1];

	(void)state;
	assert_non_null(text);
	at = (size_t)snprintf(text, room, HEAD PEER2);
	for (unsigned i = 0; i < 130560; i++)
		at += (size_t)snprintf(text + at, room - at, "%s10.%u.%u.%u/32",
		    i % 1000 == 0 ? "\nAllowedIPs=" : ",", i >> 16,
		    i >> 8 & 255, i & 255);
	diag_init(&diag, NULL);
	assert_int_equal(client_conf_parse(&conf, text, at, &diag), 0);
	assert_int_equal(conf.peers.item[0].allowed.n, 130560);
	assert_int_equal(diag.n, 0);
	fini();

	at = (size_t)snprintf(text, room, HEAD);
	for (unsigned i = 1; i <= 10000; i++) {
		key[i % 32] = (uint8_t)(key[i % 32] + 1);
		key[0] = (uint8_t)i;
		key[1] = (uint8_t)(i >> 8);
		value_format_key_base64(base64, key);
		at += (size_t)snprintf(text + at, room - at,
		    "[Peer]\nPublicKey=%s\nAllowedIPs=10.0.%u.%u/32\n", base64,
		    i >> 8, i & 255);
	}
	assert_int_equal(client_conf_parse(&conf, text, at, &diag), 0);
	assert_int_equal(conf.peers.n, 10000);
	assert_int_equal(diag.n, 0);
	fini();
	free(text);
}

static char dir[] = "/tmp/ukai-test-XXXXXX";
static char path[64];

static void
write_file(const char *text, size_t len, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int
load(void)
{
	diag_init(&diag, NULL);
	return client_conf_load(&conf, path, &diag);
}

static void
test_load(void **state)
{
	static const mode_t open_modes[] = {0640, 0604, 0660, 0602, 0644};

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a.conf", dir);

	assert_int_equal(load(), UK_ENOENT);
	assert_non_null(strstr(diag.entry[0].text, path));
	fini();

	write_file(full, strlen(full), 0600);
	assert_int_equal(load(), 0);
	assert_int_equal(diag.n, 0);
	assert_ptr_equal(diag.file, path);
	assert_int_equal(conf.peers.n, 2);
	fini();

	for (size_t i = 0; i < ARRAY_LEN(open_modes); i++) {
		write_file(full, strlen(full), open_modes[i]);
		assert_int_equal(load(), 0);
		assert_int_equal(diag.warnings, 1);
		assert_non_null(strstr(diag.entry[0].text, "chmod 600"));
		fini();
	}

	write_file("", 0, 0600);
	assert_int_equal(load(), UK_EINVAL);
	fini();
	assert_int_equal(unlink(path), 0);

	/* Neither waits nor reads. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(load(), UK_EINVAL);
	assert_non_null(strstr(diag.entry[0].text, "not a regular file"));
	fini();
	assert_int_equal(unlink(path), 0);

	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(load(), UK_EINVAL);
	fini();
	assert_int_equal(rmdir(path), 0);
}

static void
test_load_size_limit(void **state)
{
	(void)state;
	write_file("#", 1, 0600);
	assert_int_equal(truncate(path, (off_t)CONF_FILE_MAX), 0);
	/* One long line of zero bytes: read, and refused by the parser. */
	assert_int_equal(load(), UK_EINVAL);
	assert_null(strstr(diag.entry[0].text, "larger"));
	fini();
	assert_int_equal(truncate(path, (off_t)CONF_FILE_MAX + 1), 0);
	assert_int_equal(load(), UK_EMSGSIZE);
	assert_non_null(strstr(diag.entry[0].text, "larger than 16 MiB"));
	fini();
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* The example is right but for its keys, which say what to do. */
static void
test_example(void **state)
{
	static const char file[] = UKAI_SOURCE "/deploy/examples/ukai0.conf";

	(void)state;
	diag_init(&diag, NULL);
	assert_int_equal(client_conf_load(&conf, file, &diag), UK_EINVAL);
	assert_int_equal(diag.errors, 2);
	for (unsigned i = 0; i < diag.n; i++) {
		if (diag.entry[i].level == DIAG_WARNING)
			continue;
		assert_non_null(strstr(diag.entry[i].text, "placeholder"));
		assert_non_null(strstr(diag.entry[i].text,
		    i + 1 < diag.n ? "ukai genkey" : "ukai pubkey"));
	}
	fini();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_policy),
	    cmocka_unit_test(test_ten_mistakes),
	    cmocka_unit_test(test_cases),
	    cmocka_unit_test(test_random_cover),
	    cmocka_unit_test(test_cover_of_v6),
	    cmocka_unit_test(test_more_mistakes_than_places),
	    cmocka_unit_test(test_freed_memory_is_wiped_X3),
	    cmocka_unit_test(test_allocation_failures),
	    cmocka_unit_test(test_large_files),
	    cmocka_unit_test(test_load),
	    cmocka_unit_test(test_example),
	    cmocka_unit_test(test_load_size_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
