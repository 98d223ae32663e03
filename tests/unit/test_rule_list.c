#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/rule_list.h"
#include "rules_files.h"

static uint64_t rng = 88172645463325252;

static uint64_t
rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static struct diag d;

static int
parse_for(struct rules **r, const char *list, size_t len, enum rules_os os)
{
	static const char policy[] = "\nRULE-SET,l,tunnel\nDEFAULT,native\n";
	struct rules_file file[] = {{"l", list, len}, {NULL, NULL, 0}};
	struct rules_reader reader = {rules_files_read, file};

	diag_init(&d, "p");
	return rules_parse(r, "p", policy, strlen(policy), &reader, os, &d);
}

static struct rules *
parse_good(const char *list)
{
	struct rules *r;

	if (parse_for(&r, list, 0, RULES_LINUX) < 0)
		fail_msg("\"%s\": %s", list, d.entry[0].text);
	return r;
}

/* An entry as "TYPE VALUE". */
static const char *
show(const struct rules *r, size_t i, char text[static 128])
{
	const struct rule_entry *e = &r->entry[i];
	const char *type = rule_type_name((enum rule_type)e->type);
	char prefix[IP_PREFIX_TEXT_MAX];

	if (e->type == RULE_IP_CIDR || e->type == RULE_SRC_IP_CIDR)
		snprintf(text, 128, "%s %s", type,
		    ip_prefix_format(&e->prefix, prefix));
	else if (e->type == RULE_DST_PORT || e->type == RULE_SRC_PORT)
		snprintf(
		    text, 128, "%s %u-%u", type, e->ports.first, e->ports.last);
	else if (e->type == RULE_NETWORK)
		snprintf(text, 128, "%s %u", type, e->protos);
	else if (e->type == RULE_UID)
		snprintf(text, 128, "%s %u", type, (unsigned)e->uid);
	else
		snprintf(text, 128, "%s %.100s", type, r->names + e->name);
	return text;
}

/* ---- what is accepted ---- */

static const struct {
	const char *line;
	const char *entry[5]; /* NULL ends them */
} good[] = {
    /* Addresses and prefixes. */
    {"192.0.2.0/24", {"IP-CIDR 192.0.2.0/24"}},
    {"192.0.2.1 # x", {"IP-CIDR 192.0.2.1/32"}},
    {"2001:DB8::/32", {"IP-CIDR 2001:db8::/32"}},
    {"2001:db8::1", {"IP-CIDR 2001:db8::1/128"}},
    {"::ffff:192.0.2.0/120", {"IP-CIDR ::ffff:192.0.2.0/120"}},
    {"fe80::/10", {"IP-CIDR fe80::/10"}},
    /* Names. */
    {"Example.COM", {"DOMAIN example.com"}},
    {"1password.com", {"DOMAIN 1password.com"}},
    {"cafe.de", {"DOMAIN cafe.de"}},
    {"1-2.3com", {"DOMAIN 1-2.3com"}},
    {"\u65e5\u672c.jp", {"DOMAIN xn--wgv71a.jp"}},
    {".example.com", {"DOMAIN-SUFFIX example.com"}},
    {"+.example.com", {"DOMAIN-SUFFIX example.com"}},
    {"*.example.com", {"DOMAIN-SUFFIX example.com"}},
    /* TYPE,VALUE. */
    {"DOMAIN,example.com", {"DOMAIN example.com"}},
    {"host-suffix, example.com ,", {"DOMAIN-SUFFIX example.com"}},
    {"DOMAIN-KEYWORD,ads", {"DOMAIN-KEYWORD ads"}},
    {"IP-CIDR,192.0.2.0/24,no-resolve", {"IP-CIDR 192.0.2.0/24"}},
    {"IP-CIDR6,2001:db8::/32,no-resolve", {"IP-CIDR 2001:db8::/32"}},
    {"SRC-IP-CIDR,10.0.0.1/32", {"SRC-IP-CIDR 10.0.0.1/32"}},
    {"DST-PORT,8000-8080", {"DST-PORT 8000-8080"}},
    {"SRC-PORT,80", {"SRC-PORT 80-80"}},
    {"NETWORK,udp", {"NETWORK 2"}},
    {"PROCESS-NAME,rclone", {"PROCESS-NAME rclone"}},
    {"UID,1000", {"UID 1000"}},
    /* YAML. */
    {"payload:\n  - '+.a.jp'\n  - \"b.jp\"\n- c.jp",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN b.jp", "DOMAIN c.jp"}},
    {"---\npayload:\n- 'DOMAIN-SUFFIX,a.jp'\n  -  10.0.0.0/8  # x",
	{"DOMAIN-SUFFIX a.jp", "IP-CIDR 10.0.0.0/8"}},
    /* hosts(5). */
    {"0.0.0.0 a.jp", {"DOMAIN a.jp"}},
    {"127.0.0.1\ta.jp  b.jp # x", {"DOMAIN a.jp", "DOMAIN b.jp"}},
    {"::1 localhost\n::1 a.jp", {"DOMAIN a.jp"}},
    {"255.255.255.255 broadcasthost\n0.0.0.0 a.jp", {"DOMAIN a.jp"}},
    {"fe80::1%lo0 localhost\n0.0.0.0 0.0.0.0\n:: a.jp", {"DOMAIN a.jp"}},
    /* v2fly. */
    {"domain:a.jp", {"DOMAIN-SUFFIX a.jp"}},
    {"full:a.jp @cn @ads", {"DOMAIN a.jp"}},
    {"domain:a.jp:@cn", {"DOMAIN-SUFFIX a.jp"}},
    {"keyword:ads", {"DOMAIN-KEYWORD ads"}},
    {"a.jp @cn\nb.jp\nfull:c.jp\n.d.jp",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp", "DOMAIN c.jp",
	    "DOMAIN-SUFFIX d.jp"}},
    {"full:a.jp\n0.0.0.0 b.jp\n192.0.2.1",
	{"DOMAIN a.jp", "DOMAIN b.jp", "IP-CIDR 192.0.2.1/32"}},
    /* adblock. */
    {"||a.jp^\n||b.jp^$important\n||c.jp^|\n||*.d.jp^$all",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp", "DOMAIN-SUFFIX c.jp",
	    "DOMAIN-SUFFIX d.jp"}},
    {"! x\n||192.0.2.1^\na.jp\n0.0.0.0 b.jp",
	{"IP-CIDR 192.0.2.1/32", "DOMAIN a.jp", "DOMAIN b.jp"}},
    {"[AutoProxy 0.2.9]\n||a.jp\n.b.jp",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp"}},
    {"[Adblock Plus 2.0]\n! Title\n||a.jp^", {"DOMAIN-SUFFIX a.jp"}},
    /* dnsmasq. */
    {"server=/a.jp/192.0.2.1", {"DOMAIN-SUFFIX a.jp"}},
    {"address=/a.jp/b.jp/", {"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp"}},
    {"local=/a.jp/", {"DOMAIN-SUFFIX a.jp"}},
    {"ipset=/a.jp/x\nnftset=/b.jp/4#inet#x#y",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp"}},
    {"[/a.jp/b.jp/]https://192.0.2.1/dns-query",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp"}},
    {"ipset=/a.jp/b.jp/x,y\nnftset=/c.jp/4#i#f#x,6#i#f#y\n"
     "server=/d.jp/192.0.2.1,192.0.2.2",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp", "DOMAIN-SUFFIX c.jp",
	    "DOMAIN-SUFFIX d.jp"}},
    {"address=/a.jp/::\naddress=/b.jp/#\nserver=/c.jp/::1#53\nlocal=/d.jp/",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp", "DOMAIN-SUFFIX c.jp",
	    "DOMAIN-SUFFIX d.jp"}},
    /* smartdns. */
    {"address /a.jp/#\nnameserver /b.jp/x\ndomain-rules /c.jp/ -a -n x",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp", "DOMAIN-SUFFIX c.jp"}},
    /* unbound. */
    {"server:\n  local-zone: \"a.jp.\" always_nxdomain\n"
     "local-zone: b.jp static\n local-data: \"c.jp. A 0.0.0.0\"",
	{"DOMAIN-SUFFIX a.jp", "DOMAIN-SUFFIX b.jp", "DOMAIN c.jp"}},
    /* Response policy zones. */
    {"$TTL 2h\n$ORIGIN x.\n@ IN SOA a. b. (\n1 ; x\n 2 3\n)\n\tNS a.\n"
     "A.jp CNAME . ; x\n*.b.jp\t60 IN CNAME *.\nc.jp IN 60 A 192.0.2.1\n"
     "in.d.jp CNAME rpz-drop.",
	{"DOMAIN a.jp", "DOMAIN-SUFFIX b.jp", "DOMAIN c.jp", "DOMAIN in.d.jp"}},
    /* RFC 8805. */
    {"192.0.2.0/24,JP,JP-13,Tokyo,1000001\n2001:db8::/32,US,,,",
	{"IP-CIDR 192.0.2.0/24", "IP-CIDR 2001:db8::/32"}},
    /* mihomo. */
    {"IP-CIDR,10.0.0.0/8,no-resolve,src\nIP-CIDR6,fd00::/8,src,no-resolve",
	{"SRC-IP-CIDR 10.0.0.0/8", "SRC-IP-CIDR fd00::/8"}},
    /* Of firewalls. */
    {"; x\n192.0.2.0/24 ; SBL1 ; y", {"IP-CIDR 192.0.2.0/24"}},
    {"192.0.2.0/24,\n192.0.2.1, 2001:db8::1",
	{"IP-CIDR 192.0.2.0/24", "IP-CIDR 192.0.2.1/32",
	    "IP-CIDR 2001:db8::1/128"}},
    {"create x hash:net\nadd x 192.0.2.0/24 timeout 0",
	{"IP-CIDR 192.0.2.0/24"}},
    {"/ip firewall address-list\nadd list=x comment=\"a b\" "
     "address=192.0.2.1\nadd address=a.jp list=x",
	{"IP-CIDR 192.0.2.1/32", "DOMAIN a.jp"}},
    {":do { add address=192.0.2.1} on-error={}\n"
     "/ipv6 firewall address-list add address=2001:db8::1",
	{"IP-CIDR 192.0.2.1/32", "IP-CIDR 2001:db8::1/128"}},
    {"DST-PORT,80/443/8000-8080",
	{"DST-PORT 80-80", "DST-PORT 443-443", "DST-PORT 8000-8080"}},
    {"DST-PORT,>=50000\nSRC-PORT,<1024\nDST-PORT,>1\nDST-PORT,<=1",
	{"DST-PORT 50000-65535", "SRC-PORT 1-1023", "DST-PORT 2-65535",
	    "DST-PORT 1-1"}},
    {"DOMAIN,*.a.jp", {"DOMAIN-SUFFIX a.jp"}},
    /* The file. */
    {"\xef\xbb\xbf# x\r\n; y\r\n// z\r\n\r\n  a.jp\r\nb.jp\r",
	{"DOMAIN a.jp", "DOMAIN b.jp"}},
};

static void
test_good(void **state)
{
	char text[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct rules *r = parse_good(good[i].line);
		size_t n = 0;

		if (d.errors + d.warnings > 0)
			fail_msg("\"%s\": %s", good[i].line, d.entry[0].text);
		while (good[i].entry[n] != NULL) {
			if (n == r->entries ||
			    strcmp(show(r, n, text), good[i].entry[n]) != 0)
				fail_msg("\"%s\": %s", good[i].line,
				    n < r->entries ? text : "nothing");
			n++;
		}
		assert_int_equal(r->entries, n);
		assert_int_equal(r->rule[0].entries, n);
		rules_free(r);
	}
}

/* ---- what is left out, with a warning ---- */

static const struct {
	const char *list, *word;
	size_t entries;
} warned[] = {
    {"GEOIP,JP\na.jp\nGEOIP,CN\n",
	"lines 1, 3: left out, as GEOIP is not known (list the addresses", 1},
    {"URL-REGEX,^http://(a,b)$\na.jp", "as URL-REGEX is not known", 1},
    {"regexp:^a,b$\na.jp", "regexp:", 1},
    {"@@||b.jp^\n||a.jp^", "exceptions", 1},
    /* Names that are as all others, for DNS servers. */
    {"server=/a.jp/192.0.2.1\nserver=/b.a.jp/#\naddress /c.a.jp/-\n"
     "[/d.a.jp/]#\nlocal-zone: \"e.a.jp\" transparent",
	"lines 2, 3, 4 and 1 more: left out: a list has no exceptions", 1},
    {"add x 192.0.2.0/24\nadd x 192.0.2.1 timeout 0 nomatch",
	"line 2: left out: a list has no exceptions", 1},
    {"$TTL 30\na.jp CNAME .\nb.jp 60 IN CNAME rpz-passthru.",
	"line 3: left out: a list has no exceptions", 1},
    {"@ SOA a. b. 1 2 3 4 5\na.jp CNAME .\n24.0.2.0.192.rpz-ip CNAME .\n"
     "c.jp TXT x\n CNAME .\n$INCLUDE x\n",
	"lines 3, 4, 5 and 1 more: left out: of a zone file", 1},
    {"a.jp\nFINAL,PROXY", "line 2: left out: a list has no DEFAULT", 1},
    {"a.jp\nPROCESS-NAME,rclone.exe", "line 2: left out, as it is for", 1},
    {"PROCESS-NAME,/usr/bin/x\na.jp", "line 1: left out, as it is for", 1},
    {"192.0.2.1/24", "bits behind their length", 1},
    {"DOMAIN,a.jp,src", "line 1: what stands", 1},
    {"DOMAIN,a.jp,Proxy\nDOMAIN,b.jp,x,y", "lines 1, 2: what stands", 2},
    {"GEOIP,JP", "as GEOIP is not known", 0},
    {"DOMAIN,1.2.3.4\na.jp\nDOMAIN-SUFFIX,2001:db8::1",
	"lines 1, 3: addresses where names", 3},
    {"a.*.jp\nDOMAIN,b?.jp\n*\nc.jp", "lines 1, 2, 3: left out: a \"*\"", 1},
    {"||a.jp^\n||b.jp^$third-party\n/x/\n||ads.\n||c\n||d.jp:443^\n"
     "&x\n||^\nDOMAN,a.jp\n[x]\ny:",
	"lines 2, 3, 4 and 7 more: left out: of adblock", 1},
    {"[Adblock Plus 2.0]\nbanner.gif\n||a.jp^", "line 2: left out: of", 1},
};

static void
test_warned(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(warned); i++) {
		struct rules *r = parse_good(warned[i].list);

		if (d.warnings != 1 ||
		    strstr(d.entry[0].text, warned[i].word) == NULL)
			fail_msg("\"%s\": %u: %s", warned[i].list, d.warnings,
			    d.entry[0].text);
		assert_int_equal(d.entry[0].line, 2);
		assert_int_equal(d.entry[0].column, 10);
		assert_int_equal(r->entries, warned[i].entries);
		rules_free(r);
	}
}

static void
test_windows(void **state)
{
	struct rules *r;

	(void)state;
	assert_int_equal(parse_for(&r,
			     "UID,0\nSRC-IP-CIDR,10.0.0.0/8\n"
			     "PROCESS-NAME,a.exe\nPROCESS-NAME,b",
			     0, RULES_WINDOWS),
	    0);
	assert_int_equal(r->entries, 2);
	assert_string_equal(r->names + r->entry[1].name, "b.exe");
	assert_int_equal(d.warnings, 1);
	assert_non_null(strstr(d.entry[0].text, "lines 1, 2: left out"));
	rules_free(r);
}

/* ---- what is refused, and where ---- */

static const struct {
	const char *list, *word; /* the beginning of the message */
} wrong[] = {
    {"", "l: there is nothing in it"},
    {"# x\n\npayload:\n", "l: there is nothing in it"},
    {"\xff\xfe"
     "a",
	"l: UTF-16"},
    {"a.jp\n b jp", "l:2:2: \"b jp\" is neither a name"},
    {"192.0.2.1 a.jp", "l:1:1: \"192.0.2.1 a.jp\": one address"},
    {"0.0.0.0 \1", "l:1:9: \"\\x01\" is no domain name"},
    {"a.jp\n300.1.1.1", "l:2:1: \"300.1.1.1\" is no IPv4 address"},
    {"10.0.0.0/33", "l:1:1: \"10.0.0.0/33\": the length"},
    {"https://a.jp", "l:1:1: \"https://a.jp\": the name alone"},
    {"DOMAN,a.jp", "l:1:1: unknown type \"DOMAN\"; did you mean DOMAIN?"},
    {"DOMAIN,", "l:1:8: a value is missing"},
    {"IP-CIDR,a.jp", "l:1:9: \"a.jp\" is a name"},
    {"RULE-SET,x", "l:1:1: a list cannot name lists"},
    {"include:x", "l:1:1: a list cannot name lists"},
    {"PORTS-LEFT,<40", "l:1:1: PORTS-LEFT belongs"},
    {"bogus-nxdomain=192.0.2.1", "l:1:1: \"bogus-nxdomain\" is none of"},
    {"192.0.2.0-192.0.2.9", "l:1:1: \"192.0.2.0-192.0.2.9\": a range"},
    {"a.jp\n\x97\xe1.jp", "l:2:1: this is not UTF-8; maybe iconv -f CP932"},
    {"DOMAIN\uff0ca.jp", "l:1:1: \"DOMAIN\uff0ca.jp\": a full-width"},
    {"DST-PORT,>65535", "l:1:10: \">65535\" is no port"},
    {"DST-PORT,<1", "l:1:10: \"<1\" is no port"},
    {"DST-PORT,=80", "l:1:10: \"=80\" is no port"},
    {"DST-PORT,80//443", "l:1:13: a value is missing"},
    {"add x", "l:1:6: a value is missing"},
    {"add x a.jp", "l:1:7: \"a.jp\" is a name"},
    {"address=/#/192.0.2.1", "l:1:10: \"#\" is no domain name"},
    {"192.0.2.0/24,J1,x", "l:1:14: \"J1\" is"},
    {"192.0.2.1, a.jp", "l:1:12: \"a.jp\" is a name"},
    {"[/a.jp b/]x", "l:1:3: \"a.jp b\" is no domain name"},
    {"server=192.0.2.1", "l:1:1: \"server\": /NAME/"},
    {"server=//192.0.2.1", "l:1:9: a value is missing"},
    {"domain:", "l:1:8: a value is missing"},
    {"full:a.jp:443", "l:1:10: \":443\" is no attribute"},
    {"full:a.jp b.jp", "l:1:11: \"b.jp\" is no attribute"},
    {"  - 'a b'", "l:1:6: \"a b\" is neither"},
    {"- ", "l:1:2: a value is missing"},
    {"0.0.0.0 a..jp", "l:1:9: \"a..jp\" is no domain name"},
};

/* Other files: one message, and no line of them is looked at. */
static const struct {
	const char *file, *word;
} other[] = {
    {"SRS\1a", "l: binary, as sing-box"},
    {"\x28\xb5\x2f\xfd", "l: binary, as mihomo"},
    {"\x1f\x8b", "l: compressed"},
    {"PK\3\4", "l: a ZIP"},
    {"\n\1\2\3\4 a.jp", "l: binary, not text"},
    {"\n <html>", "l: a web page"},
    {" {\n\"version\": 2 }", "l: JSON"},
    {"[ \"192.0.2.0/24\" ]", "l: JSON"},
    {"\xef\xbb\xbf{ }", "l: JSON"},
    {"payload: [ a.jp ]\nx y\n", "l:1:1: \"payload: [ a.jp ]\": \"payload:\""},
    {"a.jp\rb.jp\r", "l: text whose lines end with CR alone"},
    {"W0F1dG9Qcm94eSAwLjIuOV0KISBDaGVja3N1bTogUEFHVlgvaU1qWmhFd2VC\n",
	"l: base64"},
    {"[General]\nx y\n", "l:1:1: \"[General]\": a section"},
    {"dns:\n  x y\n", "l:1:1: \"dns:\": a key of YAML"},
};

static void
test_other(void **state)
{
	struct rules *r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(other); i++) {
		if (parse_for(&r, other[i].file, 0, RULES_LINUX) != UK_EINVAL ||
		    strncmp(d.entry[0].text, other[i].word,
			strlen(other[i].word)) != 0)
			fail_msg("\"%s\": %u: %s", other[i].file, d.errors,
			    d.n > 0 ? d.entry[0].text : "accepted");
		assert_int_equal(d.errors, 1);
	}
	/* A zero byte ends no word. */
	assert_int_equal(
	    parse_for(&r, "0.0.0.0 a\0 b\n", 13, RULES_LINUX), UK_EINVAL);
	assert_int_equal(
	    parse_for(&r, "0.0.0.0 \0\n", 10, RULES_LINUX), UK_EINVAL);
}

static void
test_wrong(void **state)
{
	struct rules *r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (parse_for(&r, wrong[i].list, 0, RULES_LINUX) != UK_EINVAL ||
		    strncmp(d.entry[0].text, wrong[i].word,
			strlen(wrong[i].word)) != 0)
			fail_msg("\"%s\": %u: %s", wrong[i].list, d.errors,
			    d.n > 0 ? d.entry[0].text : "accepted");
		assert_int_equal(d.entry[0].line, 2);
		assert_int_equal(d.entry[0].column, 10);
	}
	assert_int_equal(
	    parse_for(&r, "a.jp\nDOMAIN,a\0b.jp\n", 19, RULES_LINUX),
	    UK_EINVAL);
}

/* Twenty wrong lines, and one more. */
static void
test_many_wrong(void **state)
{
	char list[400] = "";
	struct rules *r;

	(void)state;
	for (unsigned n = 1; n <= 22; n++) {
		strcat(list, "a..jp\n");
		assert_int_equal(
		    parse_for(&r, list, 0, RULES_LINUX), UK_EINVAL);
		assert_int_equal(d.errors, n < 21 ? n : 21);
	}
	assert_string_equal(d.entry[20].text, "l: and 2 more wrong lines");
}

/* ---- random lists against what they were made from ---- */

static void
test_random(void **state)
{
	static const struct {
		const char *before, *behind;
		enum rule_type type;
		bool bare; /* means all below in a list of v2fly's */
	} form[] = {
	    {"", "", RULE_DOMAIN, true},
	    {"DOMAIN,", "\r", RULE_DOMAIN, false},
	    {"  - '", "'", RULE_DOMAIN, true},
	    {"full:", "", RULE_DOMAIN, false},
	    {"0.0.0.0 ", " # x", RULE_DOMAIN, false},
	    {".", "", RULE_DOMAIN_SUFFIX, false},
	    {"DOMAIN-SUFFIX,", ",x", RULE_DOMAIN_SUFFIX, false},
	    {"||", "^", RULE_DOMAIN_SUFFIX, false},
	    {"server=/", "/1.1.1.1", RULE_DOMAIN_SUFFIX, false},
	};
	static char list[200 * 64];

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		size_t n = 1 + rnd() % 200, at = 0;
		unsigned how[200], value[200];
		bool v2fly = false;
		struct rules *r;

		for (size_t i = 0; i < n; i++) {
			how[i] = (unsigned)(rnd() % ARRAY_LEN(form));
			v2fly =
			    v2fly || strcmp(form[how[i]].before, "full:") == 0;
			value[i] = (unsigned)rnd();
			at += (size_t)snprintf(list + at, 64, "%sa%u.Jp%s\n",
			    form[how[i]].before, value[i], form[how[i]].behind);
		}
		r = parse_good(list);
		assert_int_equal(r->entries, n);
		for (size_t i = 0; i < n; i++) {
			const struct rule_entry *e = &r->entry[i];
			char name[32];

			snprintf(name, sizeof(name), "a%u.jp", value[i]);
			assert_string_equal(r->names + e->name, name);
			assert_int_equal(e->type, v2fly && form[how[i]].bare
						      ? RULE_DOMAIN_SUFFIX
						      : form[how[i]].type);
			assert_int_equal(e->line, i + 1);
		}
		rules_free(r);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_warned),
	    cmocka_unit_test(test_windows),
	    cmocka_unit_test(test_wrong),
	    cmocka_unit_test(test_other),
	    cmocka_unit_test(test_many_wrong),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
