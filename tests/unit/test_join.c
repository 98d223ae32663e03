/* Joining, against a relay on loopback addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/conf.h"
#include "client/enrol.h"
#include "client/join.h"
#include "core/err.h"
#include "core/x25519.h"
#include "enrol_relay.h"
#include "host/conf_file.h"
#include "kill_each.h"

/* The real times, but where a test waits for their end. */
static uint64_t all_ns, first_ns, start_ns;
#undef CLIENT_ENROL_LIMIT_NS
#undef CLIENT_ENROL_FIRST_NS
#undef CLIENT_ENROL_HEAD_START_NS
#define CLIENT_ENROL_LIMIT_NS all_ns
#define CLIENT_ENROL_FIRST_NS first_ns
#define CLIENT_ENROL_HEAD_START_NS start_ns
#include "../../client/enrol.c"

#define NOW UINT64_C(1795000000)
static char policy[] = "# 迂回\nDEFAULT,native\n";

static char folder[64];
static struct client_paths paths;
static struct enrol_relay *relay;
static struct diag d;

static void
remove_files(void)
{
	static const char *const ends[] = {
	    "conf", "rules", "joining", "conf.new", "rules.new", "joining.new"};
	char path[160];

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		snprintf(path, sizeof(path), "%s/t0.%s", folder, ends[i]);
		(void)unlink(path);
	}
}

static int
setup(void **state)
{
	(void)state;
	diag_init(&d, NULL);
	remove_files();
	enrol_relay_forget(relay);
	enrol_relay_set(relay, RELAY_ANSWERS, "");
	enrol_relay_v6_silent(relay, false);
	enrol_relay_policy(relay, NULL);
	all_ns = 15 * UK_NS_PER_S;
	first_ns = 7 * UK_NS_PER_S;
	start_ns = 2 * UK_NS_PER_S;
	return 0;
}

static bool
there(const char *path)
{
	return access(path, F_OK) == 0;
}

/* Nothing is in the folder, not even a file with another name. */
static bool
nothing_there(void)
{
	return rmdir(folder) == 0 && mkdir(folder, 0700) == 0;
}

static bool
said(const char *words)
{
	for (unsigned i = 0; i < d.n; i++)
		if (strstr(d.entry[i].text, words) != NULL)
			return true;
	for (unsigned i = 0; i < d.n; i++)
		print_error("said: %s\n", d.entry[i].text);
	return false;
}

static int
join_with(const struct token *t, uint64_t now_s)
{
	const struct join_setup s = {
	    .token = t, .paths = &paths, .now_s = now_s};

	diag_init(&d, NULL);
	return join(&s, &d);
}

static int
try_join(void)
{
	return join_with(enrol_relay_token(relay), NOW);
}

/* A client that works: the key in the file is the one that the relay knows. */
static void
assert_joined(const char *endpoint)
{
	uint8_t known[KEY_LEN], own[KEY_LEN];
	char text[ENDPOINT_TEXT_MAX];
	struct client_conf c;
	struct stat st;
	struct diag e;

	diag_init(&e, NULL);
	assert_int_equal(stat(paths.conf, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(client_conf_load(&c, paths.conf, &e), 0);
	assert_int_equal(e.n, 0);
	assert_string_equal(
	    endpoint_format(&c.peers.item[0].endpoint.addr, text), endpoint);
	x25519_base(own, c.interface.private_key.b);
	assert_true(enrol_relay_joined(relay, known));
	assert_memory_equal(own, known, KEY_LEN);
	client_conf_fini(&c);
}

static void
assert_file(const char *path, const char *want)
{
	struct conf_file f;
	struct diag e;

	diag_init(&e, NULL);
	assert_int_equal(conf_file_read(&f, path, &e), 0);
	assert_int_equal(e.n, 0); /* nor a warning of its mode */
	assert_int_equal(f.len, strlen(want));
	assert_memory_equal(f.text, want, f.len);
	conf_file_fini(&f);
}

static void
write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void
test_join(void **state)
{
	(void)state;
	enrol_relay_policy(relay, policy);
	assert_int_equal(try_join(), 0);
	assert_int_equal(d.n, 0);
	assert_joined("[2001:db8::1]:51820");
	assert_file(paths.rules, policy);
	/* Killed before the start: the same again only starts it. */
	assert_true(there(paths.joining));
	enrol_relay_set(relay, RELAY_HANGS_UP, "");
	assert_int_equal(try_join(), 0);
	join_end(&paths);
	assert_false(there(paths.joining));
	/* Then it is a configuration like any other. */
	assert_int_equal(try_join(), UK_EEXIST);
	assert_true(said("t0.conf is there already"));
	assert_joined("[2001:db8::1]:51820");
}

static void
test_nothing_is_overwritten(void **state)
{
	(void)state;
	write_file(paths.conf, "mine");
	assert_int_equal(try_join(), UK_EEXIST);
	write_file(paths.rules, "mine");
	chmod(paths.conf, 0600);
	chmod(paths.rules, 0600);
	assert_file(paths.conf, "mine");
	unlink(paths.conf);
	assert_int_equal(try_join(), UK_EEXIST);
	assert_true(said("t0.rules is there already"));
	assert_file(paths.rules, "mine");
	unlink(paths.rules);
	/* A link that leads nowhere is something, too. */
	assert_int_equal(symlink("/nonexistent", paths.conf), 0);
	assert_int_equal(try_join(), UK_EEXIST);
	unlink(paths.conf);
	assert_true(nothing_there());
}

/* A token is good for one key. */
static void
test_used(void **state)
{
	uint8_t first[KEY_LEN], now[KEY_LEN];

	(void)state;
	assert_int_equal(try_join(), 0);
	assert_true(enrol_relay_joined(relay, first));
	remove_files();
	assert_int_equal(try_join(), UK_EAUTH);
	assert_true(said("has been used"));
	assert_true(nothing_there());
	assert_true(enrol_relay_joined(relay, now));
	assert_memory_equal(first, now, KEY_LEN);
}

static void
test_forged(void **state)
{
	struct token t = *enrol_relay_token(relay);
	uint8_t key[KEY_LEN];

	(void)state;
	t.secret[0] ^= 1;
	assert_int_equal(join_with(&t, NOW), UK_EAUTH);
	assert_true(said("does not know this token"));
	assert_true(nothing_there());
	assert_false(enrol_relay_joined(relay, key));
}

/* T1: a relay with another key hears nothing of the secret. */
static void
test_wrong_pin(void **state)
{
	struct token t = *enrol_relay_token(relay);
	uint8_t key[KEY_LEN];

	(void)state;
	t.pin[31] ^= 1;
	assert_int_equal(join_with(&t, NOW), UK_EAUTH);
	assert_true(said("its key is another one"));
	assert_true(said("[::1]:"));
	assert_true(said("127.0.0.1:"));
	assert_true(nothing_there());
	assert_false(enrol_relay_joined(relay, key));
}

static void
test_relay_refuses(void **state)
{
	static const struct {
		const char *say, *words;
		int err;
		bool kept; /* the relay may know the key */
	} row[] = {
	    {"{\"error\":\"used\"}", "has been used", UK_EAUTH, false},
	    {"{\"error\":\"expired\"}", "the relay says", UK_EAUTH, false},
	    {"{\"error\":\"unknown\"}", "does not know", UK_EAUTH, false},
	    {"{\"error\":\"busy\"}", "in a minute", UK_EAGAIN, true},
	    {"{\"error\":\"failed\"}", "its log", UK_EAGAIN, true},
	    {"{}", "\"name\" is missing", UK_EPROTO, true},
	    {"<html>", "no JSON", UK_EPROTO, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		enrol_relay_set(relay, RELAY_SAYS, row[i].say);
		assert_int_equal(try_join(), row[i].err);
		assert_true(said(row[i].words));
		assert_int_equal(there(paths.joining), row[i].kept);
		unlink(paths.joining);
		assert_true(nothing_there());
	}
}

/* C2: an answer that does not end. */
static void
test_too_long(void **state)
{
	char *s = malloc(ENROL_ANSWER_MAX + 100);

	(void)state;
	assert_non_null(s);
	memset(s, ' ', ENROL_ANSWER_MAX + 99);
	s[ENROL_ANSWER_MAX + 99] = '\0';
	enrol_relay_set(relay, RELAY_SAYS, s);
	assert_int_equal(try_join(), UK_EMSGSIZE);
	assert_true(said("too long"));
	assert_false(there(paths.conf));
	enrol_relay_set(relay, RELAY_ANSWERS, "");
	free(s);
}

/* Cut off on the way back: the same token and key again. */
static void
test_answer_is_lost(void **state)
{
	static const enum relay_way ways[] = {RELAY_HANGS_UP, RELAY_SAYS_HALF};
	uint8_t key[KEY_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		setup(NULL);
		enrol_relay_set(relay, ways[i], "{\"error\":\"used\"}");
		assert_int_equal(try_join(), UK_EAGAIN);
		assert_true(said("run the same command again"));
		assert_true(there(paths.joining));
		assert_false(there(paths.conf));
		assert_false(enrol_relay_joined(relay, key));
		enrol_relay_set(relay, RELAY_ANSWERS, "");
		assert_int_equal(try_join(), 0);
		assert_joined("[2001:db8::1]:51820");
	}
}

/* The relay had registered it: nobody else can use the token, we can. */
static void
test_same_key_again(void **state)
{
	(void)state;
	assert_int_equal(try_join(), 0);
	unlink(paths.conf);
	assert_int_equal(try_join(), 0);
	assert_joined("[2001:db8::1]:51820");
}

static void
test_not_a_relay(void **state)
{
	(void)state;
	enrol_relay_set(relay, RELAY_NO_TLS, "");
	assert_int_equal(try_join(), UK_EAUTH);
	assert_true(said("does not speak TLS"));
	assert_true(nothing_there());
	/* T2, at our end. */
	all_ns = 200 * UK_NS_PER_MS;
	first_ns = 50 * UK_NS_PER_MS;
	enrol_relay_set(relay, RELAY_SILENT, "");
	assert_int_equal(try_join(), UK_EAUTH);
	assert_true(said("keeps silent"));
	assert_true(nothing_there());
}

/* IPv6 lets connect, and then nothing comes through. */
static void
test_other_family_after_silence(void **state)
{
	(void)state;
	first_ns = 50 * UK_NS_PER_MS;
	enrol_relay_v6_silent(relay, true);
	assert_int_equal(try_join(), 0);
	assert_int_equal(d.n, 0);
	assert_joined("192.0.2.1:51820");
}

static struct enrol_relay *
other_relay(bool v6, bool v4, struct enrol_relay **usual)
{
	*usual = relay;
	relay = enrol_relay_start(v6, v4);
	return relay;
}

static void
test_only_one_family(void **state)
{
	struct enrol_relay *usual;

	(void)state;
	other_relay(false, true, &usual);
	assert_int_equal(try_join(), 0);
	assert_int_equal(d.n, 0);
	assert_joined("192.0.2.1:51820");
	enrol_relay_stop(relay);
	relay = usual;

	setup(NULL);
	other_relay(true, false, &usual);
	assert_int_equal(try_join(), 0);
	assert_joined("[2001:db8::1]:51820");
	enrol_relay_stop(relay);
	relay = usual;
}

/* A relay with IPv4 alone; fd has its port of IPv6, unless another program of
 * this host was faster. */
static bool
other_relay_beside(int fd, struct sockaddr_in6 *a, struct enrol_relay **usual)
{
	other_relay(false, true, usual);
	a->sin6_port = htons(enrol_relay_token(relay)->port);
	if (bind(fd, (struct sockaddr *)a, sizeof(*a)) == 0)
		return true;
	assert_int_equal(errno, EADDRINUSE);
	enrol_relay_stop(relay);
	relay = *usual;
	return false;
}

/* A firewall that drops: a queue that is full drops the first packet, too. */
static void
test_other_family_after_no_answer(void **state)
{
	struct sockaddr_in6 a = {
	    .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int queue[4], fd = socket(AF_INET6, SOCK_STREAM, 0);
	struct enrol_relay *usual;

	(void)state;
	start_ns = 50 * UK_NS_PER_MS;
	while (!other_relay_beside(fd, &a, &usual))
		continue;
	assert_int_equal(listen(fd, 0), 0);
	for (size_t i = 0; i < ARRAY_LEN(queue); i++) {
		queue[i] = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(queue[i], (struct sockaddr *)&a, sizeof(a));
	}
	assert_int_equal(try_join(), 0);
	assert_joined("192.0.2.1:51820");
	for (size_t i = 0; i < ARRAY_LEN(queue); i++)
		close(queue[i]);
	close(fd);
	enrol_relay_stop(relay);
	relay = usual;
}

static void
test_unreachable(void **state)
{
	struct enrol_relay *gone = enrol_relay_start(true, true);
	struct token t = *enrol_relay_token(gone);
	char port[32];

	(void)state;
	enrol_relay_stop(gone);
	assert_int_equal(join_with(&t, NOW), UK_ENOENT);
	snprintf(port, sizeof(port), "[::1]:%u (TCP)", t.port);
	assert_true(said(port));
	snprintf(port, sizeof(port), "127.0.0.1:%u (TCP)", t.port);
	assert_true(said(port));
	assert_true(said("Connection refused"));
	snprintf(port, sizeof(port), "TCP port %u", t.port);
	assert_true(said(port));
	assert_true(nothing_there());
	t.v6.family = FAMILY_NONE;
	assert_int_equal(join_with(&t, NOW), UK_ENOENT);
	assert_int_equal(d.errors, 2);
}

static void
test_time(void **state)
{
	struct token t = *enrol_relay_token(relay);

	(void)state;
	t.expires_s = NOW;
	assert_int_equal(join_with(&t, NOW), UK_EAUTH);
	assert_true(said("expired at 2026-11-18 11:06"));
	assert_int_equal(join_with(&t, JOIN_RELEASE_S - 1), UK_EAGAIN);
	assert_true(said("clock says 2026-10-31"));
	assert_true(nothing_there());
	/* The key that the relay may know outlives a clock that is ahead: with
	 * a new one the token would be used. */
	t.expires_s = NOW + 1;
	assert_int_equal(join_with(&t, NOW), 0);
	unlink(paths.conf);
	assert_int_equal(join_with(&t, NOW + 1), UK_EAUTH);
	assert_true(there(paths.joining));
	assert_int_equal(join_with(&t, NOW), 0);
	t.expires_s = UINT64_MAX;
	remove_files();
	enrol_relay_forget(relay);
	assert_int_equal(join_with(&t, NOW), 0);
}

static void
test_state_file(void **state)
{
	struct token t = *enrol_relay_token(relay);

	(void)state;
	write_file(paths.joining, "what is this?\n");
	assert_int_equal(try_join(), UK_EPROTO);
	assert_true(said("t0.joining is not what ukai join has written"));
	assert_true(there(paths.joining));
	unlink(paths.joining);
	/* A token that came to nothing does not stand in the way of another. */
	t.secret[3] ^= 1;
	enrol_relay_set(relay, RELAY_HANGS_UP, "");
	assert_int_equal(join_with(&t, NOW), UK_EAGAIN);
	enrol_relay_set(relay, RELAY_ANSWERS, "");
	/* And lets it take nothing for its own. */
	write_file(paths.conf, "mine");
	assert_int_equal(try_join(), UK_EEXIST);
	unlink(paths.conf);
	assert_int_equal(try_join(), 0);
	assert_joined("[2001:db8::1]:51820");
}

static void
test_folder(void **state)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY);

	(void)state;
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(try_join(), UK_EBUSY);
	close(fd);
	assert_int_equal(chmod(folder, 0722), 0);
	assert_int_equal(try_join(), UK_EPERM);
	assert_true(said("others can write"));
	assert_int_equal(chmod(folder, 0700), 0);
	assert_true(nothing_there());
	rmdir(folder);
	assert_int_equal(try_join(), 0);
	assert_joined("[2001:db8::1]:51820");
}

/* In a child with room for files of so many bytes. Returns join()'s result, or
 * 1 when it said something else than wanted. */
static int
join_in_room(rlim_t bytes, const char *words)
{
	const struct rlimit room = {bytes, bytes};
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &room);
		status = try_join();
		_exit(said(words) ? -status : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

/* A disk that is full, before the relay is asked and after it: the join goes on
 * when there is room. */
static void
test_no_room(void **state)
{
	uint8_t key[KEY_LEN];

	(void)state;
	assert_int_equal(join_in_room(0, "cannot write"), UK_ESYS);
	assert_true(nothing_there());
	assert_false(enrol_relay_joined(relay, key));
	assert_int_equal(
	    join_in_room(200, "run the same command again"), UK_ESYS);
	assert_true(enrol_relay_joined(relay, key));
	assert_false(there(paths.conf));
	assert_int_equal(try_join(), 0);
	assert_joined("[2001:db8::1]:51820");
}

static void
join_once(void *arg)
{
	(void)arg;
	if (try_join() < 0)
		_exit(1);
	join_end(&paths);
}

/* S2: killed at any system call, the same token again leads to a client that
 * has joined. */
static void
test_kill_anywhere(void **state)
{
	enum kill_each how = KILL_EACH_KILLED;
	unsigned n;

	(void)state;
	for (n = 1; how == KILL_EACH_KILLED && n < 2000; n += 7) {
		setup(NULL);
		enrol_relay_policy(relay, policy);
		how = kill_each(join_once, NULL, n);
		if (how == KILL_EACH_NO_PTRACE)
			skip();
		/* Killed behind join_end(), it is all over. */
		if (there(paths.conf) && !there(paths.joining))
			assert_int_equal(try_join(), UK_EEXIST);
		else
			assert_int_equal(try_join(), 0);
		join_end(&paths);
		assert_joined("[2001:db8::1]:51820");
		assert_file(paths.rules, policy);
		unlink(paths.conf);
		unlink(paths.rules);
		assert_true(nothing_there());
	}
	assert_int_equal(how, KILL_EACH_ENDED);
	assert_true(n > 50);
}

static int
start_all(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/ukai-join-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	setenv("TZ", "UTC", 1);
	tzset();
	setenv("UKAI_CONF_DIR", folder, 1);
	diag_init(&d, NULL);
	relay = enrol_relay_start(true, true);
	return client_paths(&paths, "t0", &d);
}

static int
stop_all(void **state)
{
	(void)state;
	enrol_relay_stop(relay);
	remove_files();
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_join, setup),
	    cmocka_unit_test_setup(test_nothing_is_overwritten, setup),
	    cmocka_unit_test_setup(test_used, setup),
	    cmocka_unit_test_setup(test_forged, setup),
	    cmocka_unit_test_setup(test_wrong_pin, setup),
	    cmocka_unit_test_setup(test_relay_refuses, setup),
	    cmocka_unit_test_setup(test_too_long, setup),
	    cmocka_unit_test_setup(test_answer_is_lost, setup),
	    cmocka_unit_test_setup(test_same_key_again, setup),
	    cmocka_unit_test_setup(test_not_a_relay, setup),
	    cmocka_unit_test_setup(test_other_family_after_silence, setup),
	    cmocka_unit_test_setup(test_only_one_family, setup),
	    cmocka_unit_test_setup(test_other_family_after_no_answer, setup),
	    cmocka_unit_test_setup(test_unreachable, setup),
	    cmocka_unit_test_setup(test_time, setup),
	    cmocka_unit_test_setup(test_state_file, setup),
	    cmocka_unit_test_setup(test_folder, setup),
	    cmocka_unit_test_setup(test_no_room, setup),
	    cmocka_unit_test_setup(test_kill_anywhere, setup),
	};

	return cmocka_run_group_tests(tests, start_all, stop_all);
}
