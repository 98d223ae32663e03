#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/err.h"
#include "core/value.h"
#include "failing_json.h"
#include "io/tunnel_status.h"
#include "wg/wg_state.h"
#include "wg_lab.h"

static struct lab lab;

static struct wg_key
numbered_key(unsigned n)
{
	struct wg_key key = {{0}};

	store_le32(key.b, n + 1);
	return key;
}

/* Side a of the lab, which has talked to b; and a peer of which nothing is
 * known. */
static struct tunnel_status
example(void)
{
	struct wg_key psk, nobody = numbered_key(7);
	struct wg_peer *p;

	lab_seed(1);
	lab_init(&lab);
	p = lab.a.peer;
	lab_random(psk.b, sizeof(psk.b));
	wg_peer_set_psk(lab.a.peer, &psk);
	wg_peer_set_psk(lab.b.peer, &psk);
	lab_connect(&lab);
	p->rx_bytes = 1536;
	p->tx_bytes = UINT64_C(3) << 40;
	p->last_handshake_wall_ns = 1700000000 * UK_NS_PER_S + 5;
	wg_peer_set_keepalive(p, 25);
	assert_non_null(wg_device_add(lab.a.d, &nobody));
	lab.a.d->stats.handshakes = 4;
	for (unsigned i = 0; i < WG_DROP_COUNT; i++)
		lab.a.d->stats.drop[i] = i;
	lab.a.d->stats.drop[WG_DROP_AUTH] = UINT64_MAX;
	return (struct tunnel_status){
	    .interface = "ukai0",
	    .since_s = 1699999000,
	    .mtu = 1420,
	    .mark = 0xca6c,
	    .port = 40000,
	    .stats = {.lanes = {.send_failed = 1,
			  .tun_dropped = 2,
			  .tun_malformed = 3},
		.workers = 2,
		.cipher = "openssl"},
	    .counted = lab.a.d->stats,
	    .device = lab.a.d,
	    .now_ns = lab.now.mono_ns,
	};
}

static const char *
dump(const json_t *o, const char *key)
{
	static char *last;

	free(last);
	last = json_dumps(json_object_get(o, key), JSON_ENCODE_ANY);
	return last != NULL ? last : "(none)";
}

static const char *
quoted_key(const uint8_t key[32])
{
	static char text[KEY_BASE64_LEN + 3];

	text[0] = '"';
	value_format_key_base64(text + 1, key);
	strcat(text, "\"");
	return text;
}

static json_t *
make(const void *arg)
{
	json_t *names = tunnel_status_name(
	    json_object(), lab.b.public_key.b, "relay.example.com");

	return tunnel_status_add(json_object(), arg, "host", names);
}

static void
test_json(void **state)
{
	static const struct {
		const char *key, *value;
	} row[] = {
	    {"interface", "\"ukai0\""},
	    {"since", "1699999000"},
	    {"mtu", "1420"},
	    {"listen_port", "40000"},
	    {"fwmark", "51820"},
	    {"workers", "2"},
	    {"cipher", "\"openssl\""},
	    {"handshakes", "4"},
	    {"cookies_sent", "0"},
	};
	static const struct {
		const char *key, *value[2];
	} peer_row[] = {
	    {"host", {"\"relay.example.com\"", "null"}},
	    {"preshared_key", {"true", "false"}},
	    {"path", {"\"udp6\"", "null"}},
	    {"session", {"true", "false"}},
	    {"last_handshake", {"1700000000", "null"}},
	    {"received_bytes", {"1536", "0"}},
	    {"sent_bytes", {"3298534883328", "0"}},
	    {"keepalive", {"25", "0"}},
	    {"allowed_ips", {"[\"10.0.0.2/32\", \"fd00::2/128\"]", "[]"}},
	};
	struct tunnel_status s = example();
	json_t *o, *p[2];

	(void)state;
	lab.a.peer->endpoint = lab_at("2001:db8::2", 51820);
	o = make(&s);
	assert_non_null(o);
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_string_equal(dump(o, row[i].key), row[i].value);
	assert_int_equal(json_object_size(o), ARRAY_LEN(row) + 3);
	assert_string_equal(
	    dump(o, "public_key"), quoted_key(lab.a.public_key.b));
	assert_int_equal(json_array_size(json_object_get(o, "peers")), 2);
	for (size_t k = 0; k < 2; k++) {
		p[k] = json_array_get(json_object_get(o, "peers"), k);
		for (size_t i = 0; i < ARRAY_LEN(peer_row); i++)
			assert_string_equal(
			    dump(p[k], peer_row[i].key), peer_row[i].value[k]);
		assert_int_equal(
		    json_object_size(p[k]), ARRAY_LEN(peer_row) + 2);
	}
	assert_string_equal(
	    dump(p[0], "public_key"), quoted_key(lab.b.public_key.b));
	assert_string_equal(dump(p[0], "endpoint"), "\"[2001:db8::2]:51820\"");
	assert_string_equal(dump(p[1], "endpoint"), "null");
	lab.a.peer->endpoint = lab_at("192.0.2.2", 1);
	json_decref(o);
	o = make(&s);
	assert_string_equal(
	    dump(json_array_get(json_object_get(o, "peers"), 0), "path"),
	    "\"udp4\"");
	json_decref(o);
	lab_fini(&lab);
}

/* All reasons are there, also those of which there is nothing; what no
 * JSON integer holds is the greatest that one does. */
static void
test_drops(void **state)
{
	struct tunnel_status s = example();
	json_t *o = make(&s);
	json_t *drops = json_object_get(o, "drops");

	(void)state;
	assert_int_equal(json_object_size(drops), WG_DROP_COUNT + 3);
	for (int i = 0; i < WG_DROP_COUNT; i++)
		assert_int_equal(json_integer_value(json_object_get(
				     drops, wg_drop_name((enum wg_drop)i))),
		    i == WG_DROP_AUTH ? INT64_MAX : i);
	assert_string_equal(dump(drops, "send-failed"), "1");
	assert_string_equal(dump(drops, "interface-full"), "2");
	assert_string_equal(dump(drops, "interface-malformed"), "3");
	json_decref(o);
	lab_fini(&lab);
}

/* X3, and a device without an identity. */
static void
test_keys(void **state)
{
	static const struct wg_key none;
	struct tunnel_status s = example();
	json_t *o = make(&s);
	char *text = json_dumps(o, 0);

	(void)state;
	assert_non_null(strstr(text, quoted_key(lab.b.public_key.b)));
	assert_null(strstr(text, quoted_key(lab.a.key.b)));
	assert_null(strstr(text, quoted_key(lab.a.peer->remote.psk.b)));
	free(text);
	json_decref(o);
	wg_device_set_private_key(lab.a.d, &none);
	o = make(&s);
	assert_string_equal(dump(o, "public_key"), "null");
	json_decref(o);
	lab_fini(&lab);
}

/* Interfaces may be called anything; JSON is UTF-8. */
static void
test_ifname(void **state)
{
	static const struct {
		const char *name, *want; /* NULL: null */
	} row[] = {
	    {NULL, NULL},
	    {"eth0", "eth0"},
	    {"caf\xc3\xa9", "caf\xc3\xa9"},
	    {"caf\xe9", "caf?"},
	    {"\xc3\xa9\xff", "???"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		json_t *v = tunnel_status_ifname(row[i].name);

		assert_non_null(v);
		if (row[i].want != NULL)
			assert_string_equal(json_string_value(v), row[i].want);
		else
			assert_true(json_is_null(v));
		json_decref(v);
	}
}

/* Ten thousand peers whose names are noted in another order; one in ten has
 * none. */
static void
test_names(void **state)
{
	const unsigned many = 10000;
	struct tunnel_status s = example();
	json_t *o, *peers, *p, *names = json_object();
	struct wg_key key;
	char name[16];

	(void)state;
	wg_device_remove_all(lab.a.d);
	for (unsigned i = 0; i < many; i++) {
		key = numbered_key(i);
		assert_non_null(wg_device_add(lab.a.d, &key));
		key = numbered_key(many - 1 - i);
		snprintf(name, sizeof(name), "n%u", many - 1 - i);
		names =
		    tunnel_status_name(names, key.b, i % 10 == 0 ? NULL : name);
	}
	o = tunnel_status_add(json_object(), &s, "name", names);
	peers = json_object_get(o, "peers");
	assert_int_equal(json_array_size(peers), many);
	for (unsigned i = 0; i < many; i++) {
		p = json_object_get(json_array_get(peers, i), "name");
		snprintf(name, sizeof(name), "n%u", i);
		if ((many - 1 - i) % 10 == 0)
			assert_true(json_is_null(p));
		else
			assert_string_equal(json_string_value(p), name);
	}
	json_decref(o);
	lab_fini(&lab);
}

static void
test_allocation_failures(void **state)
{
	struct tunnel_status s = example();

	(void)state;
	failing_json(make, &s);
	lab_fini(&lab);
}

static void
test_answer(void **state)
{
	struct text answer = {.s = NULL};

	(void)state;
	tunnel_status_answer(json_pack("{s:i}", "a", 1), &answer);
	tunnel_status_answer(NULL, &answer);
	assert_string_equal(
	    answer.s, "{\"a\":1}\n\n{\"error\":\"out of memory\"}\n\n");
	text_fini(&answer);
}

/* Give one answer to one who asks. */
static pid_t
serve_once(const struct sockaddr_un *a, const char *answer)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), one;
	char asked[8] = "";
	pid_t pid;

	unlink(a->sun_path);
	assert_int_equal(bind(fd, (const struct sockaddr *)a, sizeof(*a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	pid = fork();
	if (pid == 0) {
		alarm(60);
		one = accept(fd, NULL, NULL);
		_exit(read(one, asked, 7) != 7 ||
		      strcmp(asked, "status\n") != 0 ||
		      write(one, answer, strlen(answer)) < 0);
	}
	close(fd);
	return pid;
}

static void
test_ask(void **state)
{
	static const struct {
		const char *answer;
		int want;
		const char *said;
	} row[] = {
	    {"{\"mtu\":1420}\n\n", 0, NULL},
	    {"", UK_ENOENT, "ended"},
	    {"x\n\n", UK_EPROTO, "nothing that makes sense"},
	    {"[]\n\n", UK_EPROTO, "nothing that makes sense"},
	    {"{\"error\":\"why not\"}\n\n", UK_EPROTO, "why not"},
	};
	char dir[] = "/tmp/ukts.XXXXXX";
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct diag d;
	json_t *o = NULL;
	int status;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", dir);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		pid_t pid = serve_once(&a, row[i].answer);

		diag_init(&d, NULL);
		o = NULL;
		assert_int_equal(
		    tunnel_status_ask(&o, a.sun_path, &d), row[i].want);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(d.errors, row[i].want == 0 ? 0 : 1);
		assert_true((o != NULL) == (row[i].want == 0));
		if (row[i].said != NULL)
			assert_non_null(strstr(d.entry[0].text, row[i].said));
		json_decref(o);
	}
	assert_int_equal(tunnel_status_ask(&o, a.sun_path, &d), UK_ENOENT);
	unlink(a.sun_path);
	rmdir(dir);
}

static char *
print(const char *json, uint64_t now_s)
{
	json_t *o = json_loads(json, JSON_DECODE_ANY, NULL);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(o);
	assert_non_null(f);
	tunnel_status_head(o, f);
	tunnel_status_rest(o, now_s, NULL, f);
	fclose(f);
	json_decref(o);
	return text;
}

static void
test_text(void **state)
{
	char *text = print(
	    "{\"interface\":\"ukai0\",\"since\":1699999000,\"peers\":["
	    "{\"name\":\"office\",\"public_key\":\"A\",\"path\":\"udp6\","
	    "\"endpoint\":\"[2001:db8::2]:7\",\"last_handshake\":1700000000,"
	    "\"received_bytes\":1536,\"sent_bytes\":3221225472,"
	    "\"allowed_ips\":[\"10.66.0.2/32\",\"10.66.0.4/32\"]},"
	    "{\"host\":\"relay.example.com\",\"public_key\":\"B\","
	    "\"path\":\"udp4\",\"endpoint\":\"192.0.2.1:7\","
	    "\"last_handshake\":1700000013},"
	    "{\"name\":null,\"host\":null,\"public_key\":\"C\","
	    "\"endpoint\":null,\"last_handshake\":null,\"allowed_ips\":[]}],"
	    "\"drops\":{\"mac1\":3,\"cookie\":0,\"replayed\":1}}",
	    1700000012);

	(void)state;
	assert_string_equal(text,
	    "ukai0: up since 2023-11-14 21:56:40\n"
	    "  peer         office\n"
	    "    public key     A\n"
	    "    path           UDP over IPv6\n"
	    "    endpoint       [2001:db8::2]:7\n"
	    "    allowed IPs    10.66.0.2/32, 10.66.0.4/32\n"
	    "    last handshake 12 s ago\n"
	    "    received       1.5 KiB\n"
	    "    sent           3.0 GiB\n"
	    "  peer         B\n"
	    "    path           UDP over IPv4\n"
	    "    endpoint       192.0.2.1:7 (relay.example.com)\n"
	    "    last handshake 0 s ago\n"
	    "    received       0 B\n"
	    "    sent           0 B\n"
	    "  peer         C\n"
	    "    endpoint       not known yet\n"
	    "    last handshake never\n"
	    "    received       0 B\n"
	    "    sent           0 B\n"
	    "  dropped      mac1 3, replayed 1\n");
	free(text);
}

/* An object of another version, or none at all, prints something. */
static void
test_text_of_anything(void **state)
{
	static const char *const row[] = {"{}", "[]", "\"x\"", "3",
	    "{\"interface\":[],\"peers\":7,\"drops\":[1]}",
	    "{\"interface\":1,\"peers\":[1,null,{\"path\":\"\"}],"
	    "\"drops\":{\"a\":\"b\"},\"since\":-1}",
	    "{\"since\":9223372036854775807,\"peers\":[{\"last_handshake\":"
	    "9223372036854775807,\"allowed_ips\":[7,null]}]}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		char *text = print(row[i], 1700000000);

		assert_non_null(strstr(text, "up since"));
		assert_non_null(strstr(text, "  dropped      nothing\n"));
		free(text);
	}
}

static void
test_numbers(void **state)
{
	static const struct {
		uint64_t n;
		const char *bytes;
	} row[] = {
	    {0, "0 B"},
	    {1023, "1023 B"},
	    {1024, "1.0 KiB"},
	    {1048524, "1023.9 KiB"},
	    {1048575, "1.0 MiB"},
	    {UINT64_C(1) << 30, "1.0 GiB"},
	    {UINT64_MAX, "16.0 EiB"},
	};
	static const struct {
		uint64_t s;
		const char *age;
	} age[] = {
	    {0, "0 s"},
	    {59, "59 s"},
	    {60, "1 min 0 s"},
	    {3599, "59 min 59 s"},
	    {3600, "1 h 0 min"},
	    {86399, "23 h 59 min"},
	    {90000, "1 d 1 h"},
	    {UINT64_MAX, "213503982334601 d 7 h"},
	};
	char text[TUNNEL_STATUS_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_string_equal(
		    tunnel_status_bytes(row[i].n, text), row[i].bytes);
	for (size_t i = 0; i < ARRAY_LEN(age); i++)
		assert_string_equal(
		    tunnel_status_age(age[i].s, text), age[i].age);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_drops),
	    cmocka_unit_test(test_keys),
	    cmocka_unit_test(test_ifname),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_allocation_failures),
	    cmocka_unit_test(test_answer),
	    cmocka_unit_test(test_ask),
	    cmocka_unit_test(test_text),
	    cmocka_unit_test(test_text_of_anything),
	    cmocka_unit_test(test_numbers),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
