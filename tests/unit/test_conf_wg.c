#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/conf_wg.h"
#include "core/err.h"
#include "core/x25519.h"

#include "../support/failing_alloc.h"

#define malloc failing_malloc
#define calloc failing_calloc
#define free failing_free
#include "core/conf_schema.c"
#include "core/conf_wg.c"
#undef malloc
#undef calloc
#undef free

#define KEY "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="

/* A schema of the two WireGuard sections alone: one peer. */
struct one {
	struct conf_wg_interface interface;
	struct conf_wg_peer peer;
};

static void *
begin_interface(void *conf, unsigned line)
{
	struct one *o = conf;

	o->interface.line = line;
	return &o->interface;
}

static void *
begin_one_peer(void *conf, unsigned line)
{
	struct one *o = conf;

	o->peer.line = line;
	return &o->peer;
}

static const struct conf_section wg_sections[] = {
    {"Interface", 0, {conf_wg_interface_keys, NULL}, begin_interface},
    {"Peer", 0, {conf_wg_peer_keys, NULL}, begin_one_peer},
    {NULL, 0, {NULL, NULL}, NULL},
};

static struct one one;
static struct diag diag;

static void
one_fini(void)
{
	conf_wg_interface_fini(&one.interface);
	conf_wg_peer_fini(&one.peer);
	assert_int_equal(alloc_live, 0);
}

static int
parse(const char *text, size_t len)
{
	memset(&one, 0, sizeof(one));
	diag_init(&diag, NULL);
	return conf_schema_parse(wg_sections, &one, text, len, &diag);
}

static bool
begins(const char *text, const char *with)
{
	return strncasecmp(text, with, strlen(with)) == 0;
}

/* One line in a section that is otherwise complete. */
static int
parse_in(const char *section, const char *line)
{
	const char *key = "PublicKey=" KEY, *address = "";
	char text[512];
	int len;

	if (begins(section, "Interface")) {
		key = "PrivateKey=" KEY;
		address = begins(line, "Address") ? "" : "Address=10.0.0.2/24";
	}
	if (begins(line, "PrivateKey") || begins(line, "PublicKey"))
		key = "";
	len = snprintf(text, sizeof(text), "[%s]\n%s\n%s\n%s\n", section, line,
	    key, address);
	return parse(text, (size_t)len);
}

/* Lines that stand in [Interface] or [Peer], and for a refused one the column
 * and a part of what is said. */
static const struct {
	const char *section, *line;
	unsigned column; /* 0: accepted */
	const char *says;
} lines[] = {
    {"Interface", "PrivateKey = " KEY, 0, NULL},
    {"Interface", "privatekey=" KEY, 0, NULL},
    {"Interface", "PrivateKey =", 13, "44 characters"},
    {"Interface", "PrivateKey = " KEY "=", 14, "it has 45"},
    {"Interface", "PrivateKey = PASTE-IT", 14, "placeholder"},
    {"Interface", "PrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	14, "all zeros"},
    {"Interface", "ListenPort = 0", 0, NULL},
    {"Interface", "ListenPort = 65535", 0, NULL},
    {"Interface", "ListenPort = 65536", 14, "\"65536\""},
    {"Interface", "ListenPort = ssh", 14, "0 to 65535"},
    {"Interface", "FwMark = 0xca6c", 0, NULL},
    {"Interface", "FwMark = 51820", 0, NULL},
    {"Interface", "FwMark = OFF", 0, NULL},
    {"Interface", "FwMark = 0x100000000", 10, "off"},
    {"Interface", "FwMark = on", 10, "off"},
    {"Interface", "Address = 10.0.0.2", 0, NULL},
    {"Interface", "Address = 10.0.0.2/24, fd00::2/64", 0, NULL},
    {"Interface", "Address = 10.0.0.2/24, fd00::2/640", 24, "fd00::2/640"},
    {"Interface", "Address = 10.0.0.2/24,", 23, "Address \"\""},
    {"Interface", "Address =", 10, "Address \"\""},
    {"Interface", "Address = 127.0.0.1/8", 11, "a host can have"},
    {"Interface", "Address = 224.0.0.1/4", 11, "a host can have"},
    {"Interface", "Address = ::1", 11, "a host can have"},
    {"Interface", "Address = ff02::1", 11, "a host can have"},
    {"Interface", "DNS = 192.0.2.1, 2001:db8::1, example.com", 0, NULL},
    {"Interface", "DNS = 192.0.2.1 2001:db8::1", 7, "neither an address"},
    {"Interface", "DNS = 192.0.2.256", 7, "neither an address"},
    {"Interface", "MTU = 576", 0, NULL},
    {"Interface", "MTU = 575", 7, "576 to 65455"},
    {"Interface", "MTU = 65455", 0, NULL},
    {"Interface", "MTU = 65456", 7, "576 to 65455"},
    {"Interface", "Table = off", 0, NULL},
    {"Interface", "Table = auto", 0, NULL},
    {"Interface", "Table = 1234", 0, NULL},
    {"Interface", "Table = 0", 9, "1 to 4294967295"},
    {"Interface", "Table = main", 9, "write 254"},
    {"Interface", "Table = Default", 9, "write 253"},
    {"Interface", "Table = local", 9, "write 255"},
    {"Interface", "Table = vpn", 9, "/etc/iproute2/rt_tables"},
    {"Interface", "PreUp = x", 1, "ExecStartPre="},
    {"Interface", "PostUp = x", 1, "runs no shell"},
    {"Interface", "PreDown = x", 1, "ExecStop="},
    {"Interface", "PostDown = x", 1, "ExecStopPost="},
    {"Interface", "SaveConfig = false", 0, NULL},
    {"Interface", "SaveConfig = yes", 14, "neither true nor false"},
    {"Interface", "Adress = 10.0.0.2", 1, "did you mean Address?"},
    {"Interface", "Banana = 10.0.0.2", 1, "known: PrivateKey, ListenPort"},
    {"Interface", "AllowedIPs = ::/0", 1, "belongs in [Peer]"},
    {"Peer", "PublicKey = " KEY, 0, NULL},
    {"Peer", "PublicKey = PASTE", 13, "the other end's public key"},
    {"Peer", "PresharedKey = " KEY, 0, NULL},
    {"Peer", "PresharedKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0,
	NULL},
    {"Peer", "PresharedKey = (none)", 16, "44 characters"},
    {"Peer", "AllowedIPs =", 0, NULL},
    {"Peer", "AllowedIPs = 0.0.0.0/0, ::/0", 0, NULL},
    {"Peer", "AllowedIPs = +10.1.0.0/16", 0, NULL},
    {"Peer", "AllowedIPs = 10.0.0.0/8, -10.1.0.0/16", 26, "delete"},
    {"Peer", "AllowedIPs = 10.0.0.0/8,,::/0", 25, "AllowedIPs \"\""},
    {"Peer", "AllowedIPs = 10.0.0.0/8 ::/0", 14, "not a prefix"},
    {"Peer", "AllowedIPs = ++10.0.0.0/8", 14, "not a prefix"},
    {"Peer", "AllowedIPs = any", 14, "not a prefix"},
    {"Peer", "Endpoint = 192.0.2.1:51820", 0, NULL},
    {"Peer", "Endpoint = [2001:db8::1]:51820", 0, NULL},
    {"Peer", "Endpoint = [fe80::1%eth0]:51820", 0, NULL},
    {"Peer", "Endpoint = relay.example.com:51820", 0, NULL},
    {"Peer", "Endpoint = 2001:db8::1:51820", 12, "in brackets"},
    {"Peer", "Endpoint = relay.example.com", 12, "no port"},
    {"Peer", "Endpoint = relay.example.com:0", 12, "no port"},
    {"Peer", "Endpoint = relay_example/:51820", 12, "neither"},
    {"Peer", "Endpoint = 192.0.2.256:51820", 12, "neither"},
    {"Peer", "Endpoint = [2001:db8::g]:51820", 12, "neither"},
    {"Peer", "Endpoint = :51820", 12, "neither"},
    {"Peer", "Endpoint =", 11, "no port"},
    {"Peer", "PersistentKeepalive = off", 0, NULL},
    {"Peer", "PersistentKeepalive = 65535", 0, NULL},
    {"Peer", "PersistentKeepalive = 65536", 23, "off"},
    {"Peer", "PersistentKeepalive = 25s", 23, "\"25s\""},
    {"Peer", "PersistantKeepalive = 25", 1, "mean PersistentKeepalive?"},
    {"Peer", "SaveConfig = true", 1, "belongs in [Interface]"},
};

static void
test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		int err = parse_in(lines[i].section, lines[i].line);

		if (lines[i].column == 0) {
			assert_int_equal(err, 0);
			assert_int_equal(diag.n, 0);
		} else {
			assert_int_equal(err, UK_EINVAL);
			assert_int_equal(diag.n, 1);
			assert_int_equal(diag.entry[0].line, 2);
			assert_int_equal(diag.entry[0].column, lines[i].column);
			if (strstr(diag.entry[0].text, lines[i].says) == NULL)
				fail_msg("%s: %s", lines[i].line,
				    diag.entry[0].text);
		}
		one_fini();
	}
}

static void
test_values(void **state)
{
	static const char text[] =
	    "[Interface]\nPrivateKey=" KEY "\nListenPort=1\nFwMark=0x10\n"
	    "MTU=1300\nTable=0x20\nSaveConfig=true\n"
	    "Address=10.0.0.2/24\nAddress=fd00::2\n"
	    "DNS=192.0.2.1\nDNS=example.com\n"
	    "[Peer]\nPublicKey=" KEY "\nPresharedKey=" KEY "\n"
	    "AllowedIPs=10.9.8.7/8\nAllowedIPs=+::/0\n"
	    "Endpoint=relay.example.com:5\nPersistentKeepalive=25\n";
	char out[IP_PREFIX_TEXT_MAX];

	(void)state;
	assert_int_equal(parse(text, strlen(text)), 0);
	assert_int_equal(diag.warnings, 1);
	assert_int_equal(diag.entry[0].line, 7);
	assert_int_equal(one.interface.line, 1);
	assert_int_equal(one.interface.private_key.b[0], 0xc8);
	assert_int_equal(one.interface.private_key.line, 2);
	assert_int_equal(one.interface.listen_port, 1);
	assert_int_equal(one.interface.fwmark, 16);
	assert_int_equal(one.interface.mtu, 1300);
	assert_int_equal(one.interface.table.kind, CONF_WG_TABLE_NUMBER);
	assert_int_equal(one.interface.table.number, 32);
	assert_int_equal(one.interface.address.n, 2);
	assert_int_equal(one.interface.address.item[0].addr.b[3], 2);
	assert_int_equal(one.interface.address.item[0].bits, 24);
	assert_int_equal(one.interface.address.item[1].bits, 128);
	assert_int_equal(one.interface.dns.n, 2);
	assert_null(one.interface.dns.item[0].domain);
	assert_int_equal(one.interface.dns.item[1].addr.family, FAMILY_NONE);
	assert_string_equal(one.interface.dns.item[1].domain, "example.com");
	assert_int_equal(one.peer.line, 12);
	assert_int_equal(one.peer.preshared_key.b[31], 0x69);
	assert_int_equal(one.peer.allowed.n, 2);
	assert_string_equal(
	    ip_prefix_format(&one.peer.allowed.item[0].prefix, out),
	    "10.0.0.0/8");
	assert_int_equal(one.peer.allowed.item[1].line, 16);
	assert_int_equal(one.peer.allowed.item[1].column, 12);
	assert_string_equal(one.peer.endpoint.host, "relay.example.com");
	assert_int_equal(one.peer.endpoint.addr.port, 5);
	assert_int_equal(one.peer.endpoint.addr.addr.family, FAMILY_NONE);
	assert_int_equal(one.peer.keepalive_s, 25);
	one_fini();
	/* X3: nothing is left of the keys. */
	assert_true(sodium_is_zero((const void *)&one, sizeof(one)));

	assert_int_equal(parse_in("Peer", "Endpoint=[fe80::1%eth0]:7"), 0);
	assert_null(one.peer.endpoint.host);
	assert_string_equal(one.peer.endpoint.scope, "eth0");
	assert_int_equal(one.peer.endpoint.addr.port, 7);
	one_fini();
}

/* What is wrong with the form of a file, as "LINE:COLUMN PART". */
static const struct {
	const char *text, *place, *says;
} forms[] = {
    {"MTU=1500\n", "1:1", "before the first [Interface]"},
    {"[Peers]\nMTU=1\n", "1:2", "did you mean Peer?"},
    {"[Banana]\nMTU=1\n", "1:2", "known: Interface, Peer"},
    {"[Peer]\nEndpoint=a:1\n", "1:2", "[Peer] has no PublicKey"},
    {"\n [ Interface ]\nPrivateKey=" KEY, "2:4", "has no Address"},
    {"[Interface]\nAddress=10.0.0.2", "1:2", "has no PrivateKey"},
    {"[Peer]\nPublicKey=" KEY "\n[peer]\nMTU=1\n", "3:2",
	"[Peer] stands on line 1 already"},
    {"[Peer]\nPublicKey=" KEY "\nPublicKey=" KEY, "3:1",
	"PublicKey stands on line 2 already"},
    {"\xff\xfe[\0I\0", "1:1", "UTF-16"},
    {"\xfe\xff\0[\0I", "1:1", "UTF-16"},
};

static void
test_forms(void **state)
{
	char place[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		assert_int_equal(
		    parse(forms[i].text, strlen(forms[i].text)), UK_EINVAL);
		assert_int_equal(diag.n, 1);
		snprintf(place, sizeof(place), "%u:%u", diag.entry[0].line,
		    diag.entry[0].column);
		assert_string_equal(place, forms[i].place);
		assert_non_null(strstr(diag.entry[0].text, forms[i].says));
		one_fini();
	}
	assert_int_equal(parse("", 0), 0);
	assert_int_equal(parse("\xff", 1), UK_EINVAL);
}

/* X3: a key is not shown, wherever it was pasted to. */
static void
test_keys_are_not_shown_X3(void **state)
{
	static const char *const wrong[] = {
	    "PrivateKey = " KEY "x",
	    "PrivteKey = " KEY,
	    "PrivateKey " KEY,
	    KEY,
	    "ListenPort = " KEY,
	    "FwMark = " KEY,
	    "Address = " KEY,
	    "Address = 10.0.0.1," KEY,
	    "DNS = " KEY,
	    "MTU = x" KEY,
	    "Table = " KEY,
	    "SaveConfig = " KEY,
	    "PostUp = wg set %i private-key " KEY,
	    "[" KEY "]",
	    "Address = c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab6142202"
	    "41801ddf0669",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_int_equal(parse_in("Interface", wrong[i]), UK_EINVAL);
		for (unsigned k = 0; k < diag.n; k++) {
			assert_null(strstr(diag.entry[k].text, "yAnz5TF"));
			assert_null(strstr(diag.entry[k].text, "c809f3e"));
		}
		one_fini();
	}
	/* And before any section. */
	assert_int_equal(parse(KEY, strlen(KEY)), UK_EINVAL);
	assert_null(strstr(diag.entry[0].text, "yAnz5TF"));
}

static void
test_word_is_cut(void **state)
{
	char text[200];
	struct conf_span s = {text, sizeof(text), 1, 1};

	(void)state;
	memset(text, '.', sizeof(text));
	assert_int_equal(conf_word_len(&s), 48);
	s.len = 47;
	assert_int_equal(conf_word_len(&s), 47);
	memset(text + 100, 'A', 39);
	s.len = sizeof(text);
	assert_int_equal(conf_word_len(&s), 48);
	text[139] = '/';
	assert_int_equal(conf_word_len(&s), 0);
}

static void
test_public_keys_twice(void **state)
{
	static const unsigned char first[] = {1, 2, 1, 0, 2, 1, 0};
	const struct conf_wg_key none = {.line = 0};
	struct conf_wg_peer p[ARRAY_LEN(first)];

	(void)state;
	memset(p, 0, sizeof(p));
	diag_init(&diag, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(p); i++) {
		p[i].public_key.b[0] = first[i];
		if (first[i] != 0) /* else: [Peer] had no key */
			p[i].public_key.line = 10 + i;
		p[i].public_key.column = 3;
	}
	assert_int_equal(conf_wg_check_public_keys(
			     &none, p, ARRAY_LEN(p), sizeof(*p), &diag),
	    0);
	diag_sort(&diag);
	assert_int_equal(diag.n, 3);
	assert_int_equal(diag.entry[0].line, 12);
	assert_non_null(strstr(diag.entry[0].text, "on line 10 already"));
	assert_int_equal(diag.entry[1].line, 14);
	assert_non_null(strstr(diag.entry[1].text, "on line 11 already"));
	assert_int_equal(diag.entry[2].line, 15);
	assert_non_null(strstr(diag.entry[2].text, "on line 10 already"));
	alloc_fail_at = 1;
	assert_int_equal(conf_wg_check_public_keys(
			     &none, p, ARRAY_LEN(p), sizeof(*p), &diag),
	    UK_ENOMEM);
	alloc_fail_at = 0;
	assert_int_equal(alloc_live, 0);
}

/* Nobody is their own peer; without a key of ours nobody can be. */
static void
test_own_public_key(void **state)
{
	struct conf_wg_key own = {.b = {1}, .line = 2};
	struct conf_wg_peer p = {.public_key = {.line = 5, .column = 13}};

	(void)state;
	x25519_base(p.public_key.b, own.b);
	diag_init(&diag, NULL);
	assert_int_equal(
	    conf_wg_check_public_keys(&own, &p, 1, sizeof(p), &diag), 0);
	assert_int_equal(diag.n, 1);
	assert_int_equal(diag.entry[0].line, 5);
	assert_int_equal(diag.entry[0].column, 13);
	diag_init(&diag, NULL);
	own.line = 0;
	assert_int_equal(
	    conf_wg_check_public_keys(&own, &p, 1, sizeof(p), &diag), 0);
	assert_int_equal(diag.n, 0);
}

static void
test_allocation_failures(void **state)
{
	static const char text[] =
	    "[Interface]\nPrivateKey=" KEY "\nAddress=10.0.0.1,10.0.0.2,"
	    "10.0.0.3,10.0.0.4,10.0.0.5\nDNS=192.0.2.1,a.example,b.example\n"
	    "[Peer]\nPublicKey=" KEY "\nAllowedIPs=::/0,::/1,::/2,::/3,::/4\n"
	    "Endpoint=a.example:1\n";
	unsigned n;

	(void)state;
	alloc_count = 0;
	assert_int_equal(parse(text, strlen(text)), 0);
	one_fini();
	n = alloc_count;
	assert_true(n >= 8);
	for (unsigned i = 1; i <= n; i++) {
		alloc_fail_at = i;
		assert_int_equal(parse(text, strlen(text)), UK_ENOMEM);
		one_fini();
	}
	alloc_fail_at = 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_forms),
	    cmocka_unit_test(test_keys_are_not_shown_X3),
	    cmocka_unit_test(test_word_is_cut),
	    cmocka_unit_test(test_public_keys_twice),
	    cmocka_unit_test(test_own_public_key),
	    cmocka_unit_test(test_allocation_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
