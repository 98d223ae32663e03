/* programs_probe: client/policy/programs.h for real.
 *
 *   programs_probe check                exit 0, or 77 and why not
 *   programs_probe attached             how many programs of ours are at the
 *                                       root of the cgroups
 *   programs_probe restore JOURNAL      what `ukai restore` does
 *   programs_probe hold JOURNAL TUNNEL [NAME...]
 *       follow these names, NAME! for one that must not leak; on stdin, a
 *       line each:
 *         quit               take everything back
 *         follow [NAME...]   other names
 *         run PID, run-fallback PID
 *         status             "NAME CLASS PROCESSES UNMOVED" of each
 *       Each is answered with lines and then "ok", or with "error TEXT".
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/policy/programs.h"
#include "client/policy/sock_class_bpf.h"
#include "core/err.h"
#include "host/bpf.h"
#include "host/cgroup.h"
#include "io/log.h"
#include "io/watch.h"

#define NAMES_MAX 300

static struct programs *programs;
static struct watch *input;
static struct diag diag;
static uv_loop_t loop;

static int
check(void)
{
	int root, prog;

	if (cgroup_open(&root, &diag) < 0) {
		diag_print(&diag, "programs_probe", stdout);
		return 77;
	}
	close(root);
	prog = sock_class_bpf_load(CLASS_RUN);
	if (prog < 0) {
		printf("programs_probe: no BPF: %s\n", strerror(-prog));
		return 77;
	}
	close(prog);
	return 0;
}

static int
attached(void)
{
	uint32_t id[CGROUP_PROGRAMS_MAX], n = ARRAY_LEN(id), ours = 0;
	int root, prog;

	if (cgroup_open(&root, &diag) < 0 ||
	    cgroup_programs(root, "/", id, &n) < 0)
		return 1;
	for (uint32_t i = 0; i < n; i++) {
		prog = bpf_prog_open(id[i], CGROUP_PROGRAM);
		if (prog >= 0) {
			ours++;
			close(prog);
		}
	}
	close(root);
	printf("%u\n", ours);
	return 0;
}

static int
restore(const char *journal)
{
	struct undo *u;
	int r;

	if (undo_open(&u, journal, &diag) < 0) {
		diag_print(&diag, "programs_probe", stdout);
		return 1;
	}
	r = undo_all(u, NULL, &diag);
	undo_close(u);
	diag_print(&diag, "programs_probe", stdout);
	return r < 0;
}

/* The words are changed. */
static void
to_names(struct program_name *name, char *const *word, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(word[i]);

		name[i] = (struct program_name){
		    word[i], len > 0 && word[i][len - 1] == '!'};
		if (name[i].closed)
			word[i][len - 1] = '\0';
	}
}

static void
print_one(void *arg, const struct programs_status *s)
{
	(void)arg;
	printf("%s %u %u %u\n", s->program,
	    programs_class(programs, s->program), s->processes, s->unmoved);
}

static int
obey(const char *verb, char *const *word, size_t n)
{
	struct program_name name[NAMES_MAX];

	if (strcmp(verb, "follow") == 0) {
		to_names(name, word, n);
		return programs_follow(programs, name, n, &diag);
	}
	if (strcmp(verb, "status") == 0) {
		programs_each(programs, print_one, NULL);
		return 0;
	}
	if (strncmp(verb, "run", 3) == 0 && n == 1)
		return programs_run(programs, atoi(word[0]),
		    strcmp(verb, "run-fallback") == 0, &diag);
	return UK_EINVAL;
}

static void
on_line(char *line)
{
	char *word[NAMES_MAX], *verb = strtok(line, " \n");
	size_t n = 0;
	int r;

	while (verb != NULL && n < NAMES_MAX &&
	       (word[n] = strtok(NULL, " \n")) != NULL)
		n++;
	diag_init(&diag, NULL);
	r = verb != NULL ? obey(verb, word, n) : UK_EINVAL;
	if (r == 0)
		puts("ok");
	else
		printf("error %s\n",
		    diag.n > 0 ? diag.entry[0].text : uk_strerror(r));
	fflush(stdout);
}

static void
on_input(void *arg)
{
	char line[4096] = "";
	ssize_t n = read(0, line, sizeof(line) - 1);

	(void)arg;
	if (n <= 0 || strncmp(line, "quit\n", 5) == 0) {
		watch_close(input);
		uv_stop(&loop);
		return;
	}
	line[n] = '\0';
	on_line(line);
}

static int
hold(const char *journal, const char *tunnel, char *const *word, size_t n)
{
	static struct program_name name[NAMES_MAX];
	struct programs_conf c = {
	    .loop = &loop, .name = tunnel, .program = name, .n = n};
	int r;

	to_names(name, word, n);
	uv_loop_init(&loop);
	r = undo_open(&c.undo, journal, &diag);
	if (r == 0)
		r = programs_open(&programs, &c, &diag);
	diag_print(&diag, "programs_probe", stderr);
	if (r < 0)
		return 1;
	input = watch_fd(&loop, 0, on_input, NULL, NULL);
	watch_wait(input, true, false);
	puts("ready");
	fflush(stdout);
	uv_run(&loop, UV_RUN_DEFAULT);
	programs_close(programs);
	uv_run(&loop, UV_RUN_DEFAULT);
	r = undo_count(c.undo) != 0;
	undo_close(c.undo);
	uv_loop_close(&loop);
	return r;
}

int
main(int argc, char **argv)
{
	log_init("programs_probe", LOG_INFO);
	diag_init(&diag, NULL);
	if (argc == 2 && strcmp(argv[1], "check") == 0)
		return check();
	if (argc == 2 && strcmp(argv[1], "attached") == 0)
		return attached();
	if (argc == 3 && strcmp(argv[1], "restore") == 0)
		return restore(argv[2]);
	if (argc >= 4 && argc - 4 <= NAMES_MAX && strcmp(argv[1], "hold") == 0)
		return hold(argv[2], argv[3], argv + 4, (size_t)argc - 4);
	return 2;
}
