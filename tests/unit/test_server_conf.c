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

#include "core/err.h"
#include "host/conf_file.h"

#include "../support/failing_alloc.h"

#define malloc failing_malloc
#define calloc failing_calloc
#define free failing_free
#include "core/conf_schema.c"
#include "core/conf_wg.c"
#include "../../server/conf.c"
#undef malloc
#undef calloc
#undef free

#define KEY1 "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define KEY2 "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define KEY3 "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
#define PSK "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak="

static struct server_conf conf;
static struct diag diag;
static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static int
parse(const char *text)
{
	diag_init(&diag, "test.conf");
	return server_conf_parse(&conf, text, strlen(text), &diag);
}

static void
fini(void)
{
	server_conf_fini(&conf);
	assert_true(sodium_is_zero((const void *)&conf, sizeof(conf)));
	assert_int_equal(alloc_live, 0);
}

static const char full[] = "[Relay]\n"
			   "PrivateKey = " KEY1 "\n"
			   "ListenPort = 443\n"
			   "TlsPort = 8443\n"
			   "TlsKey = /etc/ukai/tls.key\n"
			   "Registry = /srv/registry.db\n"
			   "Metrics = 127.0.0.1:9586\n"
			   "Interface = wg-relay\n"
			   "Address = 10.66.0.1/24\n"
			   "MTU = 1380\n"
			   "FwMark = 0x51820\n"
			   "GlobalAddress = 192.0.2.1\n"
			   "ReservedPorts = 80, 3478-3481\n"
			   "ReservedPorts = 65535\n"
			   "AllowClientToClient = true\n"
			   "Workers = 3\n"
			   "\n"
			   "[Group]\n"
			   "Name = office\n"
			   "Members = office-pc-1, office-pc-2\n"
			   "Members = office-1\n"
			   "[Group]\n"
			   "Members = a\n"
			   "Name = office-1\n"
			   "[Peer]\n"
			   "Name = office-1\n"
			   "PublicKey = " KEY2 "\n"
			   "PresharedKey = " PSK "\n"
			   "AllowedIPs = 10.66.0.2/32, 10.66.0.128/25\n"
			   "PersistentKeepalive = 25\n"
			   "[Peer]\n"
			   "PublicKey = " KEY3 "\n"
			   "AllowedIPs = 10.66.0.3\n";

static void
test_full(void **state)
{
	(void)state;
	assert_int_equal(parse(full), 0);
	assert_int_equal(diag.n, 0);
	assert_int_equal(conf.line, 1);
	assert_int_equal(conf.listen_port, 443);
	assert_int_equal(conf.tls_port, 8443);
	assert_string_equal(conf.tls_key, "/etc/ukai/tls.key");
	assert_string_equal(conf.registry, "/srv/registry.db");
	assert_int_equal(conf.metrics.addr.b[0], 127);
	assert_int_equal(conf.metrics.port, 9586);
	assert_int_equal(conf.groups.n, 2);
	assert_string_equal(conf.groups.item[0].name.s, "office");
	assert_int_equal(conf.groups.item[0].members.n, 3);
	assert_string_equal(
	    conf.groups.item[0].members.item[1].s, "office-pc-2");
	assert_string_equal(conf.groups.item[0].members.item[2].s, "office-1");
	assert_string_equal(conf.groups.item[1].name.s, "office-1");
	assert_string_equal(conf.interface, "wg-relay");
	assert_int_equal(conf.address.ifaddr.addr.b[3], 1);
	assert_int_equal(conf.address.ifaddr.bits, 24);
	assert_int_equal(conf.mtu, 1380);
	assert_int_equal(conf.fwmark, 0x51820);
	assert_int_equal(conf.global_address.b[0], 192);
	assert_int_equal(conf.reserved_ports.n, 3);
	assert_int_equal(conf.reserved_ports.item[1].first, 3478);
	assert_int_equal(conf.reserved_ports.item[1].last, 3481);
	assert_int_equal(conf.reserved_ports.item[2].first, 65535);
	assert_int_equal(conf.reserved_ports.item[2].last, 65535);
	assert_true(conf.allow_client_to_client);
	assert_int_equal(conf.workers, 3);
	assert_int_equal(conf.peers.n, 2);
	assert_string_equal(conf.peers.item[0].name.s, "office-1");
	assert_int_equal(conf.peers.item[0].wg.allowed.n, 2);
	assert_string_equal(conf.peers.item[1].name.s, "");
	assert_int_equal(conf.peers.item[1].wg.allowed.item[0].prefix.bits, 32);
	fini();
}

#define HEAD "[Relay]\nPrivateKey=" KEY1 "\nAddress=10.66.0.1/24\n"
#define PEER2 "[Peer]\nPublicKey=" KEY2 "\n"
#define PEER3 "[Peer]\nPublicKey=" KEY3 "\n"

static void
test_defaults_N4(void **state)
{
	(void)state;
	assert_int_equal(parse(HEAD), 0);
	assert_int_equal(diag.n, 0);
	assert_int_equal(conf.listen_port, 51820);
	assert_int_equal(conf.tls_port, 443);
	assert_null(conf.tls_key);
	assert_null(conf.registry);
	assert_int_equal(conf.metrics.port, 0);
	assert_int_equal(conf.groups.n, 0);
	assert_string_equal(conf.interface, "ukai0");
	assert_int_equal(conf.mtu, 1420);
	assert_int_equal(conf.fwmark, 0);
	assert_int_equal(conf.global_address.family, FAMILY_NONE);
	assert_int_equal(conf.reserved_ports.n, 0);
	assert_false(conf.allow_client_to_client);
	assert_int_equal(conf.workers, 0);
	assert_int_equal(conf.peers.n, 0);
	fini();
}

static void
test_ten_mistakes(void **state)
{
	static const char text[] =
	    "[Relay]\n" /* 1: no PrivateKey */
	    "Address = 10.66.0.1/24\n"
	    "ListenPort = 0\n" /* 3 */
	    "Interface = a/b\n" /* 4 */
	    "GlobalAddress = 2001:db8::1\n" /* 5 */
	    "ReservedPorts = 80, 90-80\n" /* 6 */
	    "AllowClientToClient = yes\n" /* 7 */
	    "DNS = 192.0.2.1\n" /* 8 */
	    "[Peer]\n"
	    "Name = Office\n" /* 10 */
	    "PublicKey = " KEY2 "\n"
	    "AllowedIPs = 10.66.0.2, 10.67.0.2\n" /* 12 */
	    "[Peer]\n"
	    "PublicKey = " KEY3 "\n"
	    "AllowedIPs = 10.66.0.0/30\n"; /* 15, twice: both others */
	static const struct {
		unsigned line, column;
		const char *says;
	} want[] = {
	    {1, 2, "[Relay] has no PrivateKey"},
	    {3, 14, "1 to 65535"},
	    {4, 13, "not a device name"},
	    {5, 17, "not an IPv4 address"},
	    {6, 21, "\"90-80\""},
	    {7, 23, "neither true nor false"},
	    {8, 1, "unknown key \"DNS\""},
	    {10, 8, "a-z, 0-9"},
	    {12, 25, "10.67.0.2/32 is not inside the clients' pool"},
	    {15, 14, "holds the relay's own address 10.66.0.1/32"},
	    {15, 14, "overlaps 10.66.0.2/32 on line 12"},
	};

	(void)state;
	assert_int_equal(parse(text), UK_EINVAL);
	assert_int_equal(diag.n, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_int_equal(diag.entry[i].line, want[i].line);
		assert_int_equal(diag.entry[i].column, want[i].column);
		assert_non_null(strstr(diag.entry[i].text, want[i].says));
	}
	fini();
}

/* Files with at most one thing to say. place NULL: none. */
static const struct {
	const char *text, *place, *says;
} cases[] = {
    {"", "1:0", "no [Relay] section"},
    {"[Interface]\n" HEAD, "1:2", "known: Relay, Group, Peer"},
    {"[Relay]\nPrivateKey=" KEY1 "\n", "1:2", "has no Address"},
    {"[Relay]\nPrivateKey=PASTE\nAddress=10.0.0.1/24\n", "2:12", "placeholder"},
    {"[Relay]\nPrivateKey=" KEY1 "\nAddress=10.0.0.1/24\nAddress=10.0.1.1/"
     "24\n",
	"4:1", "Address stands on line 3 already"},
#define ADDRESS(a) "[Relay]\nPrivateKey=" KEY1 "\nAddress=" a "\n"
    {ADDRESS("10.0.0.1"), "3:9", "from 8 to 30"},
    {ADDRESS("10.0.0.1/31"), "3:9", "from 8 to 30"},
    {ADDRESS("10.0.0.1/30"), NULL, NULL},
    {ADDRESS("10.0.0.1/8"), NULL, NULL},
    {ADDRESS("10.0.0.1/7"), "3:9", "from 8 to 30"},
    {ADDRESS("fd00::1/64"), "3:9", "must be IPv4"},
    {ADDRESS("10.0.0.0/24"), "3:9", "first or last"},
    {ADDRESS("10.0.0.255/24"), "3:9", "first or last"},
    {ADDRESS("10.0.0.3/30"), "3:9", "first or last"},
    {ADDRESS("10.0.0.255/23"), NULL, NULL},
    {ADDRESS("127.0.0.1/24"), "3:9", "a host can have"},
    {HEAD "GlobalAddress=10.1.2.3\n", NULL, NULL},
    {HEAD "PublicAddress=192.0.2.1, 2001:db8::1\n", NULL, NULL},
    {HEAD "PublicAddress=relay.example\n", "4:15", "not an address of a"},
    {HEAD "PublicAddress=127.0.0.1\n", "4:15", "not an address of a"},
    {HEAD "PublicAddress=192.0.2.1,192.0.2.2\n", "4:25", "a second one"},
    {HEAD "PublicAddress=::1\n", "4:15", "not an address of a"},
    {HEAD "GlobalAddress=0.0.0.0\n", "4:15", "IPv4 address of a host"},
    {HEAD "GlobalAddress=192.0.2.1/32\n", "4:15", "IPv4 address"},
    {HEAD "ListenPort=65536\n", "4:12", "1 to 65535"},
    {HEAD "TlsPort=off\n", NULL, NULL},
    {HEAD "TlsPort=1\n", NULL, NULL},
    {HEAD "TlsPort=65535\n", NULL, NULL},
    {HEAD "TlsPort=0\n", "4:9", "neither off nor"},
    {HEAD "TlsPort=65536\n", "4:9", "neither off nor"},
    {HEAD "TlsPort=on\n", "4:9", "neither off nor"},
    {HEAD "TlsKey=/k\n", NULL, NULL},
    {HEAD "TlsKey=k\n", "4:8", "not a path from the root"},
    {HEAD "TlsKey=/\n", "4:8", "not a path from the root"},
    {HEAD "TlsKey=\n", "4:8", "not a path from the root"},
    {HEAD "Registry=./r\n", "4:10", "not a path from the root"},
    {HEAD "Metrics=off\n", NULL, NULL},
    {HEAD "Metrics=[::1]:9586\n", NULL, NULL},
    {HEAD "Metrics=127.0.0.1\n", "4:9", "neither off nor"},
    {HEAD "Metrics=127.0.0.1:0\n", "4:9", "neither off nor"},
    {HEAD "Metrics=localhost:9586\n", "4:9", "neither off nor"},
    {HEAD "Metrics=[fe80::1%lo]:9586\n", "4:9", "neither off nor"},
/* Groups; C6 */
#define GROUP(n, m) HEAD "[Group]\nName=" n "\nMembers=" m "\n"
    {GROUP("a", "b"), NULL, NULL},
    {GROUP("a", "b,b") "Members=b\n", NULL, NULL},
    {GROUP("A", "b"), "5:6", "Name \"A\" is not made of"},
    {GROUP("a", "b,c d"), "6:11", "Members \"c d\" is not made of"},
    {GROUP("a", ""), "6:9", "is not made of"},
    {GROUP("a", "b") "[Group]\nName=a\nMembers=c\n", "8:6",
	"this Name stands on line 5 already; names tell groups apart"},
    {GROUP("a", "b") "[Group]\nName=b\nMembers=b\n", NULL, NULL},
    {HEAD "[Group]\nName=a\n", "4:2", "has no Members"},
    {HEAD "[Group]\nMembers=a\n", "4:2", "has no Name"},
    {HEAD "Interface=abcdefghijklmnop\n", "4:11", "1 to 15"},
    {HEAD "Interface=abcdefghijklmno\n", NULL, NULL},
    {HEAD "ReservedPorts=1-65535\n", NULL, NULL},
    {HEAD "ReservedPorts=0\n", "4:15", "neither a port"},
    {HEAD "ReservedPorts=0-5\n", "4:15", "neither a port"},
    {HEAD "ReservedPorts=65536\n", "4:15", "neither a port"},
    {HEAD "ReservedPorts=5-65536\n", "4:15", "neither a port"},
    {HEAD "ReservedPorts=-5\n", "4:15", "neither a port"},
    {HEAD "ReservedPorts=5-\n", "4:15", "neither a port"},
    {HEAD "ReservedPorts=5-6-7\n", "4:15", "neither a port"},
    {HEAD "ReservedPorts=\n", "4:15", "neither a port"},
    {HEAD "AllowClientToClient=FALSE\n", NULL, NULL},
    {HEAD "AllowClientToClient=1\n", "4:21", "neither true"},
    {HEAD "Workers=auto\n", NULL, NULL},
    {HEAD "Workers=1\n", NULL, NULL},
    {HEAD "Workers=16\n", NULL, NULL},
    {HEAD "Workers=0\n", "4:9", "from 1 to 16"},
    {HEAD "Workers=17\n", "4:9", "from 1 to 16"},
    {HEAD "Workers=two\n", "4:9", "from 1 to 16"},
    {HEAD "Name=a\n", "4:1", "belongs in [Group]"},
    {HEAD "PostUp=x\n", "4:1", "unknown key"},
    {HEAD PEER2, "4:0", "has no AllowedIPs"},
/* C6 */
#define NAME(n) HEAD PEER2 "AllowedIPs=10.66.0.2\nName=" n "\n"
    {NAME("a"), NULL, NULL},
    {NAME("-0z"), NULL, NULL},
    {NAME("abcdefghijabcdefghijabcdefghij12"), NULL, NULL},
    {NAME("abcdefghijabcdefghijabcdefghij123"), "7:6", "a-z"},
    {NAME(""), "7:6", "a-z"},
    {NAME("a_b"), "7:6", "a-z"},
    {NAME("a b"), "7:6", "a-z"},
    {NAME("a.b"), "7:6", "a-z"},
    {NAME("a`{"), "7:6", "a-z"},
    {NAME("A"), "7:6", "a-z"},
    {NAME("\xe8\xbf\x82"), "7:6", "a-z"},
    {NAME("a") PEER3 "AllowedIPs=10.66.0.3\nName=a\n", "11:6",
	"this Name stands on line 7 already"},
    {NAME("a") PEER3 "AllowedIPs=10.66.0.3\nName=ab\n", NULL, NULL},
    {NAME("a") PEER2 "AllowedIPs=10.66.0.3\n", "9:11",
	"this PublicKey stands on line 5"},
/* The pool */
#define POOL(a, b) HEAD PEER2 "AllowedIPs=" a "\n" PEER3 "AllowedIPs=" b "\n"
    {POOL("10.66.0.2", "10.66.0.3"), NULL, NULL},
    {POOL("10.66.0.2,10.66.0.2", "10.66.0.3"), NULL, NULL},
    {POOL("10.66.0.4/30,10.66.0.4", "10.66.0.8/30"), NULL, NULL},
    {POOL("10.66.0.2", "10.66.0.2"), "9:12", "overlaps 10.66.0.2/32 on line 6"},
    {POOL("10.66.0.128/25", "10.66.0.200"), "9:12",
	"10.66.0.200/32 overlaps 10.66.0.128/25 on line 6"},
    {POOL("10.66.0.200", "10.66.0.128/25"), "9:12",
	"10.66.0.128/25 overlaps 10.66.0.200/32 on line 6"},
    {POOL("10.66.0.1", "10.66.0.3"), "6:12", "relay's own address"},
    {HEAD PEER2 "AllowedIPs=10.66.0.2/24\n", "6:12",
	"10.66.0.0/24 holds the relay's own address"},
    {POOL("10.66.0.2", "10.66.1.0"), "9:12", "not inside"},
    {POOL("10.66.0.2", "0.0.0.0/0"), "9:12", "not inside"},
    {POOL("10.66.0.2", "10.66.0.0/23"), "9:12", "not inside"},
    {POOL("10.66.0.2", "fd00::2"), "9:12", "not inside"},
};

static void
test_cases(void **state)
{
	char place[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		parse(cases[i].text);
		fini();
		if (diag.n != (cases[i].place != NULL))
			fail_msg("%u entries for: %s", diag.n, cases[i].text);
		if (cases[i].place == NULL)
			continue;
		snprintf(place, sizeof(place), "%u:%u", diag.entry[0].line,
		    diag.entry[0].column);
		assert_string_equal(place, cases[i].place);
		if (strstr(diag.entry[0].text, cases[i].says) == NULL)
			fail_msg("%s", diag.entry[0].text);
	}
}

/* Twin: every prefix against every other. */
static void
test_overlap_twin(void **state)
{
	(void)state;
	for (int round = 0; round < 3000; round++) {
		struct ip_prefix p[8];
		struct ip_addr own;
		char text[1024], one[IP_PREFIX_TEXT_MAX];
		size_t at = 0;
		bool overlap = false;

		at += (size_t)snprintf(text, sizeof(text), HEAD);
		ip_addr_parse(&own, "10.66.0.1", 9);
		for (unsigned i = 0; i < ARRAY_LEN(p); i++) {
			struct ip_ifaddr a = {
			    .addr = {.family = FAMILY_V4,
				.b = {10, 66, 0, (uint8_t)rnd()}},
			    .bits = (uint8_t)(26 + rnd() % 7)};

			ip_ifaddr_prefix(&a, &p[i]);
			if (i % 4 == 0)
				at += (size_t)snprintf(text + at,
				    sizeof(text) - at, i == 0 ? PEER2 : PEER3);
			at += (size_t)snprintf(text + at, sizeof(text) - at,
			    "AllowedIPs=%s\n", ip_prefix_format(&p[i], one));
			overlap = overlap || ip_prefix_contains(&p[i], &own);
			for (unsigned k = 0; k < i && k / 4 != i / 4; k++)
				overlap =
				    overlap ||
				    ip_prefix_contains(&p[i], &p[k].addr) ||
				    ip_prefix_contains(&p[k], &p[i].addr);
		}
		assert_int_equal(parse(text) < 0, overlap);
		fini();
	}
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
	assert_true(n > 5);
	for (unsigned i = 1; i <= n; i++) {
		alloc_fail_at = i;
		assert_int_equal(parse(full), UK_ENOMEM);
		assert_int_equal(diag.errors, 1);
		fini();
	}
	alloc_fail_at = 0;
}

/* 10,000 clients: nothing is searched through. */
static void
test_large_file(void **state)
{
	size_t room = (size_t)2 << 20, at;
	char *text = malloc(room);
	char base64[KEY_BASE64_LEN + 1];
	uint8_t key[KEY_LEN] = {[31] = 1};

	(void)state;
	assert_non_null(text);
	at = (size_t)snprintf(
	    text, room, "[Relay]\nPrivateKey=" KEY1 "\nAddress=10.66.0.1/16\n");
	for (unsigned i = 2; i < 10002; i++) {
		key[0] = (uint8_t)i;
		key[1] = (uint8_t)(i >> 8);
		value_format_key_base64(base64, key);
		at += (size_t)snprintf(text + at, room - at,
		    "[Peer]\nName=c%u\nPublicKey=%s\nAllowedIPs=10.66.%u.%u\n",
		    i, base64, i >> 8, i & 255);
	}
	diag_init(&diag, NULL);
	assert_int_equal(server_conf_parse(&conf, text, at, &diag), 0);
	assert_int_equal(conf.peers.n, 10000);
	fini();
	free(text);
}

/* X3: what is freed holds no key. */
static void
test_freed_memory_is_wiped_X3(void **state)
{
	static char text[8192];
	uint8_t secret[32];
	size_t at;

	(void)state;
	at = (size_t)snprintf(text, sizeof(text), HEAD);
	for (unsigned i = 0; i < 40; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
		    PEER2 "PresharedKey=" PSK "\n");
	value_parse_key_base64(secret, PSK, 44);
	alloc_secret = secret;
	alloc_secret_seen = false;
	assert_int_equal(parse(text), UK_EINVAL);
	assert_int_equal(parse(full), 0);
	fini();
	assert_false(alloc_secret_seen);
	alloc_secret = NULL;
}

static void
test_load(void **state)
{
	char path[] = "/tmp/ukai-test-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, full, strlen(full)), strlen(full));
	close(fd);
	diag_init(&diag, NULL);
	assert_int_equal(server_conf_load(&conf, path, &diag), 0);
	assert_int_equal(diag.n, 0);
	assert_int_equal(conf.peers.n, 2);
	assert_ptr_equal(diag.file, path);
	assert_string_equal(conf.tls_key, "/etc/ukai/tls.key");
	fini();
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(server_conf_load(&conf, path, &diag), 0);
	assert_int_equal(diag.warnings, 1);
	fini();
	assert_int_equal(unlink(path), 0);
	assert_int_equal(server_conf_load(&conf, path, &diag), UK_ENOENT);
	fini();
}

/* TlsKey's default lies beside the file, also when that is named shortly. */
static void
test_tls_key_default(void **state)
{
	static const char text[] = HEAD;
	char path[] = "/tmp/ukai-test-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	assert_int_equal(chdir("/tmp"), 0);
	diag_init(&diag, NULL);
	for (unsigned skip = 0; skip <= strlen("/tmp/"); skip += 5) {
		assert_int_equal(
		    server_conf_load(&conf, path + skip, &diag), 0);
		assert_string_equal(conf.tls_key, "/tmp/relay-tls.key");
		assert_int_equal(diag.n, 0);
		fini();
	}
	/* Of the ones before, the last is that of the path. */
	alloc_count = 0;
	assert_int_equal(server_conf_load(&conf, path, &diag), 0);
	fini();
	alloc_fail_at = alloc_count;
	assert_int_equal(server_conf_load(&conf, path, &diag), UK_ENOMEM);
	fini();
	alloc_fail_at = 0;
	assert_int_equal(unlink(path), 0);
}

/* The example is right but for its keys, which say what to do. */
static void
test_example(void **state)
{
	static const char file[] = UKAI_SOURCE "/deploy/examples/relay.conf";

	(void)state;
	diag_init(&diag, NULL);
	assert_int_equal(server_conf_load(&conf, file, &diag), UK_EINVAL);
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
	    cmocka_unit_test(test_defaults_N4),
	    cmocka_unit_test(test_ten_mistakes),
	    cmocka_unit_test(test_cases),
	    cmocka_unit_test(test_overlap_twin),
	    cmocka_unit_test(test_allocation_failures),
	    cmocka_unit_test(test_large_file),
	    cmocka_unit_test(test_freed_memory_is_wiped_X3),
	    cmocka_unit_test(test_load),
	    cmocka_unit_test(test_tls_key_default),
	    cmocka_unit_test(test_example),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
