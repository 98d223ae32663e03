#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/commands/commands.h"
#include "client/commands/policy.h"
#include "core/base.h"
#include "io/service.h"

/* The commands' own ends: who we are, and what others test. */
static bool root = true;

bool
command_is_root(const char *verb)
{
	(void)verb;
	return root;
}

int
command_policy_check(int argc, char **argv)
{
	printf("%s %d\n", argv[0], argc);
	return 40;
}

int
command_policy_explain(int argc, char **argv)
{
	printf("%s %d\n", argv[0], argc);
	return 41;
}

static char dir[64];
static char out[65536], err[65536]; /* what the last command has said */
static int listener = -1;
static char asked[64]; /* what it has sent to the tunnel */

static const char *
path(const char *name)
{
	static char p[2][128];
	static unsigned at;

	at = !at;
	snprintf(p[at], sizeof(p[at]), "%s/%s", dir, name);
	return p[at];
}

static void
put(const char *name, const char *text)
{
	FILE *f = fopen(path(name), "w");

	assert_non_null(f);
	assert_int_equal(fputs(text, f) < 0, 0);
	assert_int_equal(fclose(f), 0);
}

static void
get(char *text, size_t size, const char *name)
{
	FILE *f = fopen(path(name), "r");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, size - 1, f);
	text[n] = 0;
	fclose(f);
}

static void
child(int argc, char **argv)
{
	int in = open(path("stdin"), O_RDONLY);
	int o = open(path("stdout"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int e = open(path("stderr"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int code;

	if (in < 0 || dup2(in, 0) < 0 || dup2(o, 1) < 0 || dup2(e, 2) < 0)
		_exit(99);
	code = command_policy(argc, argv);
	fflush(stdout);
	fflush(stderr);
	_exit(code);
}

/* One question, if there is one within the time that a hanging test has. */
static void
serve(const char *answer)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	ssize_t n;
	int fd;

	assert_int_equal(poll(&p, 1, 20000), 1);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	n = read(fd, asked, sizeof(asked) - 1);
	assert_true(n > 0);
	asked[n] = 0;
	assert_int_equal(write(fd, answer, strlen(answer)), strlen(answer));
	close(fd);
}

/* Words by blanks; @ stands for the test's folder. answer: what the tunnel
 * says, NULL: it is not asked. */
static int
run_asked(const char *words, const char *answer)
{
	char text[512], *argv[16], *word, *rest = text;
	int argc = 0, status = 0;
	pid_t pid;

	snprintf(text, sizeof(text), "%s", words);
	while ((word = strsep(&rest, " ")) != NULL)
		argv[argc++] =
		    word[0] == '@' ? strdup(path(word + 1)) : strdup(word);
	argv[argc] = NULL;
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(argc, argv);
	if (answer != NULL)
		serve(answer);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	while (argc > 0)
		free(argv[--argc]);
	get(out, sizeof(out), "stdout");
	get(err, sizeof(err), "stderr");
	return WEXITSTATUS(status);
}

static int
run(const char *words)
{
	return run_asked(words, NULL);
}

static void
assert_has(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void
test_verbs(void **state)
{
	(void)state;
	assert_int_equal(run("policy check a b"), 40);
	assert_string_equal(out, "check 3\n");
	assert_int_equal(run("policy explain a"), 41);
	assert_string_equal(out, "explain 2\n");
	assert_int_equal(run("policy"), EXIT_USAGE);
	assert_has(err, "reload");
	assert_int_equal(run("policy --help"), EXIT_OK);
	assert_has(out, "import");
	assert_int_equal(run("policy chekc a"), EXIT_USAGE);
	assert_has(err, "did you mean check?");
	assert_int_equal(run("policy xyzzy"), EXIT_USAGE);
	assert_null(strstr(err, "did you mean"));
	assert_has(err, "xyzzy");
}

static const char clash[] = "rules:\n- DOMAIN,a.example,DIRECT\n"
			    "- GEOIP,CN,DIRECT\n- MATCH,REJECT\n";
static const char wg[] = "[Peer]\nAllowedIPs = 10.0.0.0/8\n";

static void
test_import(void **state)
{
	(void)state;
	put("clash.yaml", clash);
	put("wg0.conf", wg);
	put("stdin", clash);
	assert_int_equal(run("policy import @clash.yaml"), EXIT_OK);
	assert_has(out, "\nDOMAIN,a.example,native\n");
	assert_has(out, "\nDEFAULT,block\n");
	assert_has(err, "clash.yaml:3: warning: GEOIP");
	assert_has(err, "2 lines taken over");
	assert_int_equal(run("policy import clash @clash.yaml"), EXIT_OK);
	assert_int_equal(run("policy import -"), EXIT_OK);
	assert_has(out, "# Imported from standard input");
	assert_int_equal(run("policy import @wg0.conf"), EXIT_OK);
	assert_has(out, "\nIP-CIDR,10.0.0.0/8,tunnel\nDEFAULT,native\n");
	assert_int_equal(
	    run("policy import wg-allowed-ips @wg0.conf"), EXIT_OK);
	/* The word decides. */
	assert_int_equal(run("policy import clash @wg0.conf"), EXIT_USAGE);
	assert_int_equal(
	    run("policy import wg-allowed-ips @clash.yaml"), EXIT_USAGE);
	assert_string_equal(out, "");
	assert_int_equal(run("policy import clahs @wg0.conf"), EXIT_USAGE);
	assert_has(err, "did you mean clash?");
	assert_int_equal(run("policy import"), EXIT_USAGE);
	assert_int_equal(run("policy import a b c"), EXIT_USAGE);
	assert_int_equal(run("policy import --force @wg0.conf"), EXIT_USAGE);
	assert_int_equal(run("policy import --help"), EXIT_OK);
	assert_int_equal(run("policy import @none"), EXIT_USAGE);
	assert_has(err, "none");
	assert_int_equal(run("policy import @"), EXIT_FAILED);
}

static void
test_import_output(void **state)
{
	char text[4096];

	(void)state;
	put("clash.yaml", clash);
	unlink(path("o.rules"));
	assert_int_equal(run("policy import -o @o.rules @clash.yaml"), EXIT_OK);
	get(text, sizeof(text), "o.rules");
	assert_has(text, "DEFAULT,block\n");
	assert_string_equal(out, "");
	put("o.rules", "mine\n");
	assert_int_equal(
	    run("policy import -o @o.rules @clash.yaml"), EXIT_FAILED);
	get(text, sizeof(text), "o.rules");
	assert_string_equal(text, "mine\n");
	assert_int_equal(
	    run("policy import --force -o @o.rules @clash.yaml"), EXIT_OK);
	get(text, sizeof(text), "o.rules");
	assert_has(text, "DEFAULT,block\n");
	/* A file that is no good changes nothing. */
	put("clash.yaml", "rules: [\n");
	assert_int_equal(
	    run("policy import --force -o @o.rules @clash.yaml"), EXIT_USAGE);
	get(text, sizeof(text), "o.rules");
	assert_has(text, "DEFAULT,block\n");
}

static void
test_export(void **state)
{
	(void)state;
	put("o.rules", "DOMAIN,a.example,tunnel\nIP-CIDR,10.0.0.0/9,tunnel!\n"
		       "IP-CIDR,10.128.0.0/9,tunnel\nIP-CIDR,::/1,tunnel\n"
		       "DEFAULT,native\n");
	assert_int_equal(run("policy export --allowed-ips @o.rules"), EXIT_OK);
	assert_string_equal(out, "AllowedIPs = 10.0.0.0/8, ::/1\n");
	assert_has(err, "o.rules:1: warning: ");
	assert_int_equal(
	    run("policy export --allowed-ips --ipv4-only @o.rules"), EXIT_OK);
	assert_string_equal(out, "AllowedIPs = 10.0.0.0/8\n");
	put("o.rules", "IP-CIDR,::/1,tunnel\nDEFAULT,native\n");
	assert_int_equal(
	    run("policy export --allowed-ips --ipv4-only @o.rules"),
	    EXIT_FAILED);
	assert_string_equal(out, "");
	assert_has(err, "nothing to export");
	put("o.rules", "IP-CIDR,x,tunnel\n");
	assert_int_equal(
	    run("policy export --allowed-ips @o.rules"), EXIT_USAGE);
	assert_has(err, "o.rules:1:9: error: ");
	assert_int_equal(run("policy export --allowed-ips @none"), EXIT_USAGE);
	assert_int_equal(run("policy export @o.rules"), EXIT_USAGE);
	assert_int_equal(run("policy export --allowed-ips"), EXIT_USAGE);
	assert_int_equal(run("policy export --help"), EXIT_OK);
}

static void
listen_at(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (listener >= 0)
		close(listener);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path(name));
	unlink(a.sun_path);
	assert_int_equal(
	    bind(listener, (const struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 1), 0);
}

static void
test_reload(void **state)
{
	static const struct {
		const char *answer;
		int code;
		const char *out, *err;
	} row[] = {
	    {"{\"error\": null, \"file\": \"/e/office.rules\", "
	     "\"messages\": []}\n\n",
		EXIT_OK, "/e/office.rules: in force\n", ""},
	    {"{\"error\": null, \"file\": \"office.rules\", \"messages\": "
	     "[{\"level\": \"warning\", \"line\": 4, \"column\": 0, "
	     "\"text\": \"w\"}]}\n\n",
		EXIT_OK, "office.rules: in force\n",
		"office.rules:4: warning: w\n"},
	    {"{\"error\": \"bad\", \"file\": \"office.rules\", \"messages\": "
	     "[{\"level\": \"error\", \"line\": 4, \"column\": 9, "
	     "\"text\": \"x\"}]}\n\n",
		EXIT_USAGE, "", "office.rules:4:9: error: x\n"},
	    {"{\"error\": \"bad\", \"file\": \"office.rules\", \"messages\": "
	     "[{\"level\": \"warning\", \"line\": 4, \"column\": 0, "
	     "\"text\": \"x\"}]}\n\n",
		EXIT_FAILED, "", "the old rules stay in force"},
	    {"{\"error\": \"none\", \"file\": null}\n\n", EXIT_USAGE, "",
		"has no policy"},
	    {"\n", EXIT_FAILED, "", "no answer"},
	    {"[]\n\n", EXIT_FAILED, "", "no answer"},
	};

	(void)state;
	listen_at("ukai0.sock");
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const char *words =
		    i % 2 == 0 ? "policy reload" : "policy reload ukai0";

		assert_int_equal(run_asked(words, row[i].answer), row[i].code);
		assert_string_equal(asked, "reload\n");
		assert_string_equal(out, row[i].out);
		assert_has(err, row[i].err);
	}
}

static void
test_reload_nobody(void **state)
{
	(void)state;
	close(listener);
	listener = -1;
	/* The socket of a killed one is still there. */
	assert_int_equal(run("policy reload"), EXIT_NOT_RUNNING);
	assert_has(err, "no tunnel is up");
	unlink(path("ukai0.sock"));
	assert_int_equal(run("policy reload"), EXIT_NOT_RUNNING);
	assert_int_equal(run("policy reload ukai0"), EXIT_NOT_RUNNING);
	assert_has(err, "ukai0 is not running");
	assert_int_equal(run("policy reload a/b"), EXIT_USAGE);
	assert_int_equal(run("policy reload a b"), EXIT_USAGE);
	assert_int_equal(run("policy reload --help"), EXIT_OK);
	root = false;
	assert_int_equal(run("policy reload"), EXIT_PERMISSION);
	root = true;
}

static int
make_folder(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/ukai-test-policy-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	setenv("UKAI_RUN_DIR", dir, 1);
	put("stdin", "");
	return 0;
}

static int
remove_folder(void **state)
{
	static const char *const names[] = {"stdin", "stdout", "stderr",
	    "clash.yaml", "wg0.conf", "o.rules", "ukai0.sock"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unlink(path(names[i]));
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_verbs),
	    cmocka_unit_test(test_import),
	    cmocka_unit_test(test_import_output),
	    cmocka_unit_test(test_export),
	    cmocka_unit_test(test_reload),
	    cmocka_unit_test(test_reload_nobody),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
