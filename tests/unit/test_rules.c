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

#include "failing_wrap.h"
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

static struct rules_file files[] = {
    {"/etc/ukai/lists/good", "example.org\n10.0.0.0/8\n", 0},
    {"/etc/ukai/lists/wrong", "example.org\nexa mple\n", 0},
    {"/etc/ukai/lists/nested", "RULE-SET,lists/good\n", 0},
    {"/etc/ukai/lists/comments", "# none\n\n", 0},
    {"/srv/good", "a.example\n", 0},
    {"C:\\lists\\good", "b.example\n", 0},
    {"/etc/ukai/lists/closed", NULL, 0},
    {NULL, NULL, 0},
};

static struct rules_reader reader = {rules_files_read, files};
static struct diag d;

static int
parse_for(struct rules **r, const char *text, size_t len, enum rules_os os)
{
	diag_init(&d, "/etc/ukai/office.rules");
	return rules_parse(r, d.file, text, len, &reader, os, &d);
}

static int
parse(struct rules **r, const char *text)
{
	return parse_for(r, text, strlen(text), RULES_LINUX);
}

static struct rules *
parse_good(const char *text)
{
	struct rules *r;

	if (parse(&r, text) < 0)
		fail_msg("\"%s\": %u:%u: %s", text, d.entry[0].line,
		    d.entry[0].column, d.entry[0].text);
	return r;
}

/* ---- what is accepted ---- */

static void
assert_rule(const struct rules *r, size_t i, enum rule_type type,
    enum rule_target target, uint32_t line)
{
	assert_int_equal(r->rule[i].type, type);
	assert_int_equal(r->rule[i].target, target);
	assert_int_equal(r->rule[i].line, line);
}

static void
assert_text(const struct rules *r, size_t i, const char *text)
{
	assert_int_equal(r->rule[i].text_len, strlen(text));
	assert_memory_equal(
	    rule_text(r, &r->rule[i]), text, r->rule[i].text_len);
}

static void
assert_prefix(const struct ip_prefix *p, const char *want)
{
	char text[IP_PREFIX_TEXT_MAX];

	assert_string_equal(ip_prefix_format(p, text), want);
}

#define SAMPLE                                                                 \
	"# /etc/ukai/office.rules\n"                                           \
	"IP-CIDR,192.168.0.0/16,native\n"                                      \
	"DOMAIN-SUFFIX,wasabisys.com,tunnel!\n"                                \
	"DOMAIN,backup.example.co.jp,tunnel!,proto=tcp,dport=443   # extra\n"  \
	"DST-PORT,3478-3481,native,proto=udp\n"                                \
	"PROCESS-NAME,duplicati,tunnel\n"                                      \
	"RULE-SET,lists/good,tunnel\n"                                         \
	"PORTS-LEFT,<40,tunnel                              # spill\n"         \
	"DEFAULT,native\n"

/* design.md section 4. */
static void
test_sample(void **state)
{
	struct rules *r = parse_good(SAMPLE);
	const struct rule_conditions *c;

	(void)state;
	assert_int_equal(d.errors + d.warnings, 0);
	assert_int_equal(r->n, 8);
	assert_rule(r, 0, RULE_IP_CIDR, TARGET_NATIVE, 2);
	assert_prefix(&r->entry[0].prefix, "192.168.0.0/16");
	assert_rule(r, 1, RULE_DOMAIN_SUFFIX, TARGET_TUNNEL_ONLY, 3);
	assert_string_equal(r->names + r->entry[1].name, "wasabisys.com");
	assert_rule(r, 2, RULE_DOMAIN, TARGET_TUNNEL_ONLY, 4);
	assert_text(
	    r, 2, "DOMAIN,backup.example.co.jp,tunnel!,proto=tcp,dport=443");
	c = &r->condition[r->rule[2].conditions];
	assert_int_equal(c->protos, RULE_TCP);
	assert_int_equal(c->dports, 1);
	assert_int_equal(c->dport[0].first, 443);
	assert_int_equal(c->dport[0].last, 443);
	assert_rule(r, 3, RULE_DST_PORT, TARGET_NATIVE, 5);
	assert_int_equal(r->entry[3].ports.first, 3478);
	assert_int_equal(r->entry[3].ports.last, 3481);
	assert_rule(r, 4, RULE_PROCESS_NAME, TARGET_TUNNEL, 6);
	assert_string_equal(r->names + r->entry[4].name, "duplicati");
	assert_rule(r, 5, RULE_SET, TARGET_TUNNEL, 7);
	assert_int_equal(r->rule[5].first, 5);
	assert_int_equal(r->rule[5].entries, 2);
	assert_string_equal(r->file[r->rule[5].file], "/etc/ukai/lists/good");
	assert_int_equal(r->entry[6].line, 2);
	assert_rule(r, 6, RULE_PORTS_LEFT, TARGET_TUNNEL, 8);
	assert_int_equal(r->rule[6].ports_left, 40);
	assert_int_equal(r->rule[6].entries, 0);
	assert_rule(r, 7, RULE_DEFAULT, TARGET_NATIVE, 9);
	assert_string_equal(r->file[0], "/etc/ukai/office.rules");
	assert_string_equal(r->names, "");
	rules_free(r);
	rules_free(NULL);
}

/* All of these say the same. */
static void
test_spellings(void **state)
{
	static const char *const same[] = {
	    "DOMAIN-SUFFIX,example.com,tunnel\nDEFAULT,native\n",
	    "\xef\xbb\xbf"
	    "DOMAIN-SUFFIX,example.com,tunnel\r\nDEFAULT,native",
	    "\r\n  domain-suffix , Example.COM. ,\tTUNNEL\t\r\n ; x\n// y\n"
	    "default , Native # z",
	    "HOST-SUFFIX,.example.com,PROXY,no-resolve\nMATCH,DIRECT",
	    "DOMAIN-SUFFIX,example.com,proxy,extended-matching ; x\n"
	    "FINAL,DIRECT,dns-failed",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		struct rules *r = parse_good(same[i]);

		assert_int_equal(d.warnings, 0);
		assert_int_equal(r->n, 2);
		assert_int_equal(r->rule[0].type, RULE_DOMAIN_SUFFIX);
		assert_int_equal(r->rule[0].target, TARGET_TUNNEL);
		assert_int_equal(r->rule[0].conditions, 0);
		assert_string_equal(r->names + r->entry[0].name, "example.com");
		assert_int_equal(r->rule[1].type, RULE_DEFAULT);
		assert_int_equal(r->rule[1].target, TARGET_NATIVE);
		rules_free(r);
	}
}

static void
test_aliases(void **state)
{
	static const struct {
		const char *line;
		enum rule_type type;
		enum rule_target target;
	} alias[] = {
	    {"IP-CIDR6,2001:db8::/32,DIRECT,no-resolve", RULE_IP_CIDR,
		TARGET_NATIVE},
	    {"IP6-CIDR,2001:db8::/32,block", RULE_IP_CIDR, TARGET_BLOCK},
	    {"IP-CIDR,192.0.2.1,Reject", RULE_IP_CIDR, TARGET_BLOCK},
	    {"HOST,example.com,REJECT-DROP", RULE_DOMAIN, TARGET_BLOCK},
	    {"HOST-KEYWORD,ads,REJECT-TINYGIF", RULE_DOMAIN_KEYWORD,
		TARGET_BLOCK},
	    {"DEST-PORT,80,proxy", RULE_DST_PORT, TARGET_TUNNEL},
	    {"SRC-PORT,1-65535,tunnel!", RULE_SRC_PORT, TARGET_TUNNEL_ONLY},
	    {"SRC-IP,10.0.0.0/8,native", RULE_SRC_IP_CIDR, TARGET_NATIVE},
	    {"NETWORK,udp/TCP,native", RULE_NETWORK, TARGET_NATIVE},
	    {"UID,0,native", RULE_UID, TARGET_NATIVE},
	    {"UID,4294967294,native", RULE_UID, TARGET_NATIVE},
	    {"PORTS-LEFT,< 65535,tunnel,proto=tcp", RULE_PORTS_LEFT,
		TARGET_TUNNEL},
	    {"DOMAIN-SET,/srv/good,tunnel", RULE_SET, TARGET_TUNNEL},
	    /* A name that is called as a target is. */
	    {"DOMAIN-KEYWORD,proxy,native", RULE_DOMAIN_KEYWORD, TARGET_NATIVE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(alias); i++) {
		struct rules *r = parse_good(alias[i].line);

		assert_rule(r, 0, alias[i].type, alias[i].target, 1);
		assert_int_equal(r->n, 2);
		rules_free(r);
	}
}

static void
test_conditions(void **state)
{
	struct rules *r = parse_good(
	    "DOMAIN,a.jp,tunnel,PROTO=tcp/udp , dport = 80/443/8000-8080,"
	    "sport=1024-65535,src=192.0.2.0/24,dst=2001:db8::1,"
	    "process=rclone,uid=1000\n"
	    "DOMAIN,b.jp,tunnel,process=rclone\n"
	    "DOMAIN,c.jp,tunnel,process=rclone\n"
	    "DOMAIN,d.jp,tunnel,process=other\n"
	    "DEFAULT,native");
	const struct rule_conditions *c = &r->condition[r->rule[0].conditions];

	(void)state;
	assert_int_equal(c->protos, RULE_TCP | RULE_UDP);
	assert_int_equal(c->dports, 3);
	assert_int_equal(c->dport[2].first, 8000);
	assert_int_equal(c->dport[2].last, 8080);
	assert_int_equal(c->sports, 1);
	assert_int_equal(c->sport[0].last, 65535);
	assert_prefix(&c->src, "192.0.2.0/24");
	assert_prefix(&c->dst, "2001:db8::1/128");
	assert_true(c->has_uid && c->uid == 1000);
	assert_string_equal(r->names + c->process, "rclone");
	/* Equal ones are kept once. */
	assert_int_equal(r->conditions, 4);
	assert_int_equal(r->rule[1].conditions, r->rule[2].conditions);
	assert_int_not_equal(r->rule[1].conditions, r->rule[3].conditions);
	assert_int_equal(r->rule[4].conditions, 0);
	rules_free(r);
}

/* ---- DEFAULT ---- */

static void
test_default(void **state)
{
	struct rules *r = parse_good("DOMAIN,a.jp,tunnel\nDOMAIN,b.jp,tunnel");

	(void)state;
	assert_int_equal(r->n, 3);
	assert_rule(r, 2, RULE_DEFAULT, TARGET_NATIVE, 0);
	assert_int_equal(d.warnings, 1);
	assert_non_null(strstr(d.entry[0].text, "no DEFAULT"));
	assert_int_equal(d.entry[0].line, 2);
	rules_free(r);
	r = parse_good("DEFAULT,block\nDOMAIN,a.jp,tunnel\nDEFAULT,native\n");
	assert_int_equal(r->n, 1);
	assert_int_equal(r->entries, 0);
	assert_rule(r, 0, RULE_DEFAULT, TARGET_BLOCK, 1);
	assert_int_equal(d.warnings, 1);
	assert_int_equal(d.entry[0].line, 2);
	assert_non_null(
	    strstr(d.entry[0].text, "never decides, nor does 1 more rule:"));
	rules_free(r);
	r = parse_good("DEFAULT,block\nDOMAIN,a.jp,tunnel\n");
	assert_non_null(strstr(d.entry[0].text, "never decides:"));
	rules_free(r);
}

/* ---- what is refused, and where ---- */

struct wrong {
	const char *text;
	unsigned line, column;
	const char *word; /* in the message */
};

static const struct wrong wrong[] = {
    /* Type. */
    {"DOMAN,a.jp,tunnel", 1, 1, "\"DOMAN\"; did you mean DOMAIN?"},
    {"\n  ip-cdir,10.0.0.0/8,tunnel", 2, 3, "did you mean IP-CIDR?"},
    {"PORT,80,tunnel", 1, 1, "did you mean DST-PORT?"},
    {"qwertyuiop,a,b", 1, 1, "unknown type \"qwertyuiop\""},
    {",a.jp,tunnel", 1, 1, "type is missing"},
    {"example.com", 1, 1, "TYPE,VALUE,TARGET"},
    {"DOMAIN a.jp tunnel", 1, 1, "separated by commas"},
    {"DOMAIN=a.jp", 1, 1, "separated by commas"},
    {"DOMAIN\uff0ca.jp\uff0ctunnel", 1, 7, "full-width"},
    {"DOMAIN,a.jp\u3001tunnel", 1, 12, "full-width"},
    {"DOMAIN,a.jp,\u3000tunnel", 1, 13, "blank (U+3000)"},
    {"DOMAIN,a.jp,tunnel\u3000# \u4f8b", 1, 19, "blank (U+3000)"},
    {"\uff03 \u4f8b", 1, 1, "comments begin with \"#\""},
    {"IP-CIDR,\uff11.0.0.0/8,tunnel", 1, 9, "did you mean 1.0.0.0/8?"},
    {"DST-PORT,\uff18\uff10,tunnel", 1, 10, "did you mean 80?"},
    {"PORTS-LEFT,\uff1c40,tunnel", 1, 12, "did you mean <40?"},
    {"UID,1,tunnel,dport=\uff18", 1, 20, "did you mean 8?"},
    /* One character and ".jp", and half of one. */
    {"DOMAIN,\x97\xe1.jp,tunnel", 1, 1, "iconv -f CP932 -t UTF-8"},
    {"DOMAIN,\xce\xe3.jp,tunnel", 1, 1, "iconv -f EUC-JP -t UTF-8"},
    {"DOMAIN,\xce\xe3\xa4.jp,tunnel", 1, 1, "CP932"},
    {"DOMAIN,\x1b$BNc\x1b(B.jp,tunnel", 1, 1, "ISO-2022-JP"},
    {"DOMAIN,a.jp,tunnel\xe4\xbe", 1, 1, "not UTF-8"},
    {"GEOIP,JP,DIRECT", 1, 1, "GEOIP cannot stand here; list the addresses"},
    {"geosite,cn,DIRECT", 1, 1, "GEOSITE cannot stand here"},
    {"AND,((DOMAIN,a.jp),(NETWORK,UDP)),REJECT", 1, 1, "AND cannot"},
    {"PROCESS-PATH,/usr/bin/x,tunnel", 1, 1, "use PROCESS-NAME"},
    /* Fields. */
    {"DOMAIN", 1, 7, "value and the target are missing"},
    {"DOMAIN,a.jp", 1, 12, "the target is missing: DOMAIN,VALUE,TARGET"},
    {"DEFAULT", 1, 8, "the target is missing: DEFAULT,TARGET"},
    {"DOMAIN,tunnel", 1, 8, "the value is missing: DOMAIN,VALUE,tunnel"},
    {"DOMAIN,,tunnel", 1, 8, "the value is empty"},
    {"DOMAIN,a.jp,", 1, 13, "the target is empty"},
    {"DOMAIN,a.jp,tunnel,", 1, 20, "nothing stands"},
    {"DOMAIN,a.jp,tunnel,native", 1, 20, "unknown condition \"native\""},
    {"DOMAIN,a.jp,tunnel,dport=80,443", 1, 29, "as dport=80/443"},
    {"tunnel,DOMAIN,a.jp", 1, 1, "\"tunnel\" begins no rule"},
    {"DOMAIN,a,tunnel,,,,,,,,,,,,,,", 1, 30, "more fields"},
    {"DEFAULT,native,proto=tcp", 1, 16, "no conditions"},
    /* Target. */
    {"DOMAIN,a.jp,tunel", 1, 13, "did you mean \"tunnel\"?"},
    {"DOMAIN,a.jp,tunnel\uff01", 1, 13, "did you mean \"tunnel!\"?"},
    {"DOMAIN,a.jp,\uff44\uff49\uff52ect", 1, 13, "unknown target"},
    {"DOMAIN,a.jp,vpn", 1, 13, "did you mean \"tunnel\"?"},
    {"DOMAIN,a.jp,Streaming", 1, 13, "known: tunnel, tunnel!"},
    {"DOMAIN,a.jp,proto=tcp,tunnel", 1, 13, "behind the target"},
    {"DOMAIN,a.jp,tunnel#x", 1, 13, "a blank before its \"#\""},
    /* Addresses. */
    {"IP-CIDR,example.com,tunnel", 1, 9, "DOMAIN,example.com"},
    {"IP-CIDR,192.168.0.0/33,tunnel", 1, 9, "did you mean 192.168.0.0/16?"},
    {"IP-CIDR,10.0.0.0/99,tunnel", 1, 9, "did you mean 10.0.0.0/8?"},
    {"IP-CIDR,192.0.2.1/,tunnel", 1, 9, "did you mean 192.0.2.1/32?"},
    {"IP-CIDR,2001:db8::/129,tunnel", 1, 9, "did you mean 2001:db8::/32?"},
    {"IP-CIDR,192.168/16,tunnel", 1, 9, "did you mean 192.168.0.0/16?"},
    {"IP-CIDR,10.*,tunnel", 1, 9, "did you mean 10.0.0.0/8?"},
    {"IP-CIDR,10.0.0.0/255.0.0.0,tunnel", 1, 9, "a length: 10.0.0.0/8"},
    {"IP-CIDR,10.0.0.0/255.0.255.0,tunnel", 1, 9, "as /24, goes there"},
    {"IP-CIDR,192.168.300.0/24,tunnel", 1, 9, "from 0 to 255"},
    {"IP-CIDR,192.0.2.1-192.0.2.9,tunnel", 1, 9, "a range"},
    {"IP-CIDR,2001:db8::g/32,tunnel", 1, 9, "no address and no prefix"},
    {"SRC-IP-CIDR,pc.local,tunnel", 1, 13, "known by its address alone"},
    /* Names. */
    {"DOMAIN,1.2.3.4,tunnel", 1, 8, "IP-CIDR,1.2.3.4"},
    {"DOMAIN-SUFFIX,2001:db8::/32,tunnel", 1, 15, "IP-CIDR,2001:db8::/32"},
    {"DOMAIN,1.2.3.400,tunnel", 1, 8, "no domain name"},
    {"DOMAIN,*.a.jp,tunnel", 1, 8, "DOMAIN-SUFFIX,a.jp"},
    {"DOMAIN,.a.jp,tunnel", 1, 8, "DOMAIN-SUFFIX,a.jp"},
    {"DOMAIN,a.*.jp,tunnel", 1, 8, "wildcards"},
    {"DOMAIN,https://a.jp/,tunnel", 1, 8, "without https://"},
    {"DOMAIN,a.jp:443,tunnel", 1, 8, "dport=443"},
    {"DOMAIN,a..jp,tunnel", 1, 8, "no domain name"},
    {"SRC-IP-CIDR,10.0.0.0/33,native", 1, 13, "the length"},
    {"IP-CIDR,192.0.2.1:80,native", 1, 9, "a port is a condition"},
    {"IP-CIDR,[2001:db8::1],native", 1, 9, "a port is a condition"},
    {"DOMAIN-KEYWORD,a b,tunnel", 1, 16, "no domain name"},
    /* Ports and numbers. */
    {"DST-PORT,https,tunnel", 1, 10, "a number from 1 to 65535"},
    {"DST-PORT,0,tunnel", 1, 10, "no port from 1"},
    {"DST-PORT,65536,tunnel", 1, 10, "no port from 1"},
    {"DST-PORT,80/443,tunnel", 1, 10, "dport=80/443"},
    {"SRC-PORT,90-80,tunnel", 1, 10, "did you mean 80-90?"},
    {"SRC-PORT,90-,tunnel", 1, 10, "no port"},
    {"NETWORK,sctp,tunnel", 1, 9, "none of tcp, udp and icmp"},
    {"NETWORK,tcp/,tunnel", 1, 9, "none of tcp, udp and icmp"},
    {"NETWORK,tcp/upd,tunnel", 1, 9, "did you mean udp?"},
    {"UID,root,tunnel", 1, 5, "id -u root"},
    {"UID,4294967295,tunnel", 1, 5, "no user"},
    {"UID,-1,tunnel", 1, 5, "no user"},
    {"PORTS-LEFT,40,tunnel", 1, 12, "did you mean <40?"},
    {"PORTS-LEFT,<=40,tunnel", 1, 12, "did you mean <41?"},
    {"PORTS-LEFT,<=65535,tunnel", 1, 12, "1 to 65535"},
    {"PORTS-LEFT,=40,tunnel", 1, 12, "1 to 65535"},
    {"PORTS-LEFT,<0,tunnel", 1, 12, "1 to 65535"},
    {"PORTS-LEFT,<,tunnel", 1, 12, "1 to 65535"},
    {"PORTS-LEFT,<65536,tunnel", 1, 12, "1 to 65535"},
    /* Programs. */
    {"PROCESS-NAME,/usr/bin/rclone,tunnel", 1, 14, "path: rclone"},
    {"PROCESS-NAME,Rclone.EXE,tunnel", 1, 14, "may be called Rclone"},
    {"PROCESS-NAME,rclone*,tunnel!", 1, 14, "not patterns"},
    {"PROCESS-NAME,rcl?ne,tunnel", 1, 14, "not patterns"},
    {"DOMAIN,a.jp,tunnel,process=*", 1, 28, "not patterns"},
    {"PROCESS-NAME,a\x01,tunnel", 1, 14, "such a byte"},
    {"PROCESS-NAME,"
     "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01,"
     "tunnel",
	1, 14, "1 to 63 bytes"},
    /* Conditions. */
    {"DOMAIN,a.jp,tunnel,dprot=1", 1, 20, "did you mean dport=?"},
    {"DOMAIN,a.jp,tunnel,port=1", 1, 20, "did you mean dport=?"},
    {"DOMAIN,a.jp,tunnel,qwerty", 1, 20, "known: proto="},
    {"DOMAIN,a.jp,tunnel,dport=", 1, 20, "dport= has no value"},
    {"DOMAIN,a.jp,tunnel,uid=1,uid=1", 1, 26, "already"},
    {"DOMAIN,a.jp,tunnel,dport=80/x", 1, 29, "no port"},
    {"DOMAIN,a.jp,tunnel,dport=80/", 1, 29, "no port"},
    {"DOMAIN,a.jp,tunnel,sport=1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", 1,
	65, "more than 16"},
    {"DOMAIN,a.jp,tunnel,src=b.jp", 1, 24, "a name, and an address"},
    {"DOMAIN,a.jp,tunnel,dst=1.2.3", 1, 24, "did you mean 1.2.3.0/24?"},
    {"DOMAIN,a.jp,tunnel,proto=ip", 1, 26, "none of tcp"},
    {"DOMAIN,a.jp,tunnel,process=a/b", 1, 28, "path: b"},
    {"UID,1,tunnel,no-resolve", 1, 14, "unknown condition"},
    /* Lists. */
    {"RULE-SET,lists/none,tunnel", 1, 10, "lists/none: cannot open"},
    {"RULE-SET,lists/closed,tunnel", 1, 10, "lists/closed: cannot open"},
    {"RULE-SET,lists/comments,tunnel", 1, 10, "nothing in it"},
    {"RULE-SET,lists/wrong,tunnel", 1, 10, "/etc/ukai/lists/wrong:2:1: \""},
    {"RULE-SET,lists/nested,tunnel", 1, 10, "a list cannot name lists"},
    {"RULE-SET,office.rules,tunnel", 1, 10, "this policy itself"},
    {"RULE-SET,https://a.jp/x,tunnel", 1, 10, "fetch the list"},
    {"RULE-SET,lists\\good,tunnel", 1, 10, "separated by \"/\""},
    /* The file. */
    {"", 1, 1, "there is no rule in it"},
    {"\n# mine\n\n", 1, 1, "is DEFAULT,native"},
    {"\xef\xbb\xbf", 1, 1, "there is no rule in it"},
    {"\xff\xfe"
     "D",
	1, 1, "UTF-16"},
    {"\xfe\xff"
     "D",
	1, 1, "UTF-16"},
    {"DOMAIN,a.jp,tunnel\rDEFAULT,native\r", 1, 1, "CR alone"},
    {"{\"rules\": []}", 1, 1, "this is JSON"},
    {"<html>", 1, 1, "this is a web page"},
    {"# mine\n\n[Interface]\n", 1, 1, "the file that its Policy names"},
    {"mixed-port: 7890\nrules:\n", 1, 1, "ukai policy import"},
    {"rules:\n- MATCH,DIRECT\n", 1, 1, "ukai policy import"},
};

static void
test_wrong(void **state)
{
	char name[7 + 254 + 8];
	struct rules *r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		const struct wrong *w = &wrong[i];

		if (parse(&r, w->text) != UK_EINVAL)
			fail_msg("\"%s\" is accepted", w->text);
		assert_null(r);
		if (d.entry[0].line != w->line ||
		    d.entry[0].column != w->column ||
		    strstr(d.entry[0].text, w->word) == NULL)
			fail_msg("\"%s\": %u:%u: %s", w->text, d.entry[0].line,
			    d.entry[0].column, d.entry[0].text);
	}
	assert_int_equal(
	    parse_for(&r, "DOMAIN,a\0b,tunnel", 17, RULES_LINUX), UK_EINVAL);
	assert_non_null(strstr(d.entry[0].text, "zero byte"));
	assert_int_equal(d.entry[0].column, 9);
	memset(name, 'a', sizeof(name));
	memcpy(name, "DOMAIN,", 7);
	memcpy(name + sizeof(name) - 8, ",native", 8);
	assert_int_equal(parse(&r, name), UK_EINVAL);
	assert_non_null(strstr(d.entry[0].text, "a name of 254 bytes"));
	diag_init(&d, "x");
	assert_int_equal(
	    rules_parse(&r, "x", "RULE-SET,y,native", 17, NULL, 0, &d),
	    UK_EINVAL);
}

/* All mistakes at once, three of them on one line; a list's beside them. */
static void
test_all_told(void **state)
{
	static const unsigned line[] = {1, 1, 1, 2, 4};
	struct rules *r;

	(void)state;
	assert_int_equal(parse(&r, "DOMAIN,a b,tunel,x=1\n"
				   "RULE-SET,lists/wrong,native\n"
				   "DOMAIN,a.jp,tunnel\n"
				   "IP-CIDR,x,native\n"),
	    UK_EINVAL);
	assert_int_equal(d.errors, ARRAY_LEN(line));
	for (size_t i = 0; i < ARRAY_LEN(line); i++)
		assert_int_equal(d.entry[i].line, line[i]);
}

static void
test_masked(void **state)
{
	struct rules *r = parse_good("IP-CIDR,192.168.1.1/24,native\n"
				     "DOMAIN,a.jp,native,dst=2001:db8::1/64\n"
				     "DEFAULT,native");

	(void)state;
	assert_prefix(&r->entry[0].prefix, "192.168.1.0/24");
	assert_int_equal(d.warnings, 2);
	assert_non_null(strstr(d.entry[0].text, "taken as 192.168.1.0/24"));
	assert_non_null(strstr(d.entry[1].text, "taken as 2001:db8::/64"));
	rules_free(r);
}

/* ---- Windows ---- */

static void
test_windows(void **state)
{
	static const struct wrong refused[] = {
	    {"UID,0,tunnel", 1, 5, "PROCESS-NAME"},
	    {"DOMAIN,a.jp,tunnel,uid=0", 1, 24, "PROCESS-NAME"},
	    {"SRC-IP-CIDR,10.0.0.0/8,tunnel", 1, 13, "its own programs"},
	    {"DOMAIN,a.jp,tunnel,src=10.0.0.0/8", 1, 24, "one address"},
	    {"PROCESS-NAME,C:\\a\\rclone.exe,tunnel", 1, 14,
		"path: rclone.exe"},
	    {"PROCESS-NAME,"
	     "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz,"
	     "tunnel",
		1, 14, "1 to 63 bytes"},
	};
	static const char good[] = "PROCESS-NAME,rclone,tunnel\n"
				   "PROCESS-NAME,Duplicati.EXE,tunnel\n"
				   "DOMAIN,a.jp,tunnel,src=10.0.0.1\n"
				   "RULE-SET,C:\\lists\\good,tunnel\n"
				   "RULE-SET,lists/good,tunnel\n"
				   "DEFAULT,native";
	struct rules *r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		const struct wrong *w = &refused[i];

		if (parse_for(&r, w->text, strlen(w->text), RULES_WINDOWS) !=
			UK_EINVAL ||
		    d.entry[0].column != w->column ||
		    strstr(d.entry[0].text, w->word) == NULL)
			fail_msg("\"%s\": %s", w->text, d.entry[0].text);
	}
	assert_int_equal(parse_for(&r, good, strlen(good), RULES_WINDOWS), 0);
	assert_string_equal(r->names + r->entry[0].name, "rclone.exe");
	assert_string_equal(r->names + r->entry[1].name, "Duplicati.EXE");
	assert_string_equal(r->file[1], "C:\\lists\\good");
	assert_string_equal(r->file[2], "/etc/ukai/lists/good");
	rules_free(r);
}

/* ---- files ---- */

static void
write_file(const char *folder, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void
remove_file(const char *folder, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	unlink(path);
}

static int
load(struct rules **r, const char *folder, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	diag_init(&d, NULL);
	return rules_load(r, path, RULES_LINUX, &d);
}

static void
test_load(void **state)
{
	char folder[] = "/tmp/ukai-rules-XXXXXX";
	struct rules *r;

	(void)state;
	assert_non_null(mkdtemp(folder));
	write_file(folder, "list", "example.com\n");
	write_file(folder, "good", "RULE-SET,list,tunnel\nDEFAULT,native\n");
	write_file(folder, "bad", "RULE-SET,.,tunnel\nRULE-SET,x,tunnel\n");
	assert_int_equal(load(&r, folder, "good"), 0);
	assert_int_equal(r->entries, 1);
	rules_free(r);
	assert_int_equal(load(&r, folder, "bad"), UK_EINVAL);
	assert_int_equal(d.errors, 2);
	assert_non_null(strstr(d.entry[0].text, "a folder"));
	assert_non_null(strstr(d.entry[1].text, "cannot open"));
	assert_string_equal(d.file + strlen(d.file) - 4, "/bad");
	assert_int_equal(load(&r, folder, "none"), UK_ENOENT);
	assert_int_equal(load(&r, folder, "."), UK_EINVAL);
	assert_null(r);
	diag_init(&d, NULL);
	assert_int_equal(
	    rules_load(&r, "/dev/null", RULES_LINUX, &d), UK_EINVAL);
	remove_file(folder, "list");
	remove_file(folder, "good");
	remove_file(folder, "bad");
	rmdir(folder);
}

/* ---- random lines against what they were made from ---- */

static void
test_random(void **state)
{
	static const char *const target[] = {
	    "tunnel", "tunnel!", "native", "block"};
	static char text[64 * 100];

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		size_t n = 1 + rnd() % 99, at = 0;
		unsigned value[100], how[100];
		struct rules *r;

		for (size_t i = 0; i < n; i++) {
			how[i] = (unsigned)(rnd() % 4);
			value[i] = (unsigned)(1 + rnd() % 65535);
			at += (size_t)snprintf(text + at, sizeof(text) - at,
			    "%s%s,%u,%s,dport=%u%s\n", rnd() % 2 ? "\n" : "",
			    how[i] % 2 ? "uid" : "SRC-PORT", value[i],
			    target[how[i]], value[i] / 3 + 1,
			    rnd() % 2 ? " # x" : "\r");
		}
		text[at] = 0;
		r = parse_good(text);
		assert_int_equal(r->n, n + 1);
		for (size_t i = 0; i < n; i++) {
			const struct rule *u = &r->rule[i];
			const struct rule_entry *e = &r->entry[u->first];

			assert_int_equal(u->target, how[i]);
			assert_int_equal(
			    how[i] % 2 ? e->uid : e->ports.last, value[i]);
			assert_int_equal(
			    r->condition[u->conditions].dport[0].first,
			    value[i] / 3 + 1);
			assert_int_equal(e->line, u->line);
		}
		rules_free(r);
	}
}

/* ---- without memory ---- */

static void
test_no_memory(void **state)
{
	static char text[16384];
	size_t at = (size_t)snprintf(text, sizeof(text), SAMPLE);
	struct rules *r;
	unsigned n = 0;
	int err;

	(void)state;
	at -= strlen("DEFAULT,native\n");
	for (unsigned i = 0; i < 200; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
		    "DOMAIN,%u.jp,tunnel,uid=%u,process=p%u\n", i, i, i);
	do {
		fail_at = ++n;
		err = parse(&r, text);
		fail_at = 0;
		assert_true(err == 0 || err == UK_ENOMEM);
		assert_true(err == 0 || r == NULL);
		rules_free(r);
	} while (err < 0);
	assert_true(n > 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sample),
	    cmocka_unit_test(test_spellings),
	    cmocka_unit_test(test_aliases),
	    cmocka_unit_test(test_conditions),
	    cmocka_unit_test(test_default),
	    cmocka_unit_test(test_wrong),
	    cmocka_unit_test(test_all_told),
	    cmocka_unit_test(test_masked),
	    cmocka_unit_test(test_windows),
	    cmocka_unit_test(test_load),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
