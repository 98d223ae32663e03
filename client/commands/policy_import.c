#include "policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "client/policy/clash_yaml.h"
#include "client/policy/import_clash.h"
#include "client/policy/import_wg.h"
#include "core/err.h"
#include "core/suggest.h"
#include "host/durable.h"
#include "host/os_err.h"
#include "io/cmdline.h"
#include "io/service.h"

static const char usage[] =
    "Usage: ukai policy import [-o FILE [--force]] [clash|wg-allowed-ips] FILE\n"
    "\n"
    "Print what FILE says about where traffic goes as a policy: the rules of a\n"
    "Clash configuration, or the AllowedIPs of a WireGuard one; and a list of\n"
    "Clash's rule providers as a list for RULE-SET. Without a word, which of\n"
    "them it is shows by itself. \"-\" is standard input.\n"
    "\n"
    "  -o, --output FILE   write it there\n"
    "  -f, --force         even if FILE is there\n";

struct kind {
	const char *name;
	int (*import)(struct text *out, size_t *taken, const char *name,
	    const char *text, size_t len, struct diag *d);
};

static const struct kind kinds[] = {
    {"clash", import_clash},
    {"wg-allowed-ips", import_wg},
};

struct options {
	const struct kind *kind; /* NULL: to be found out */
	const char *file, *output; /* NULL: standard output */
	bool force;
};

static const struct cmdline_option options[] = {
    CMDLINE_TEXT('o', "output", struct options, output),
    CMDLINE_FLAG('f', "force", struct options, force),
};

static const struct cmdline cmdline = {
    .command = "ukai policy import",
    .usage = usage,
    .option = options,
    .options = ARRAY_LEN(options),
    .least = 1,
    .most = 2,
    .words = "what it is, if anything, and a FILE",
};

static int
take_kind(struct options *o, const char *word)
{
	const char *names[ARRAY_LEN(kinds)];
	const char *near;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		names[i] = kinds[i].name;
		if (strcmp(word, names[i]) == 0)
			o->kind = &kinds[i];
	}
	if (o->kind != NULL)
		return 0;
	near = suggest_word(word, strlen(word), names, ARRAY_LEN(names));
	fprintf(stderr,
	    "ukai: policy import: \"%s\" is neither clash nor "
	    "wg-allowed-ips%s%s%s\n",
	    word, near != NULL ? "; did you mean " : "",
	    near != NULL ? near : "", near != NULL ? "?" : "");
	return UK_EINVAL;
}

static bool
parse(struct options *o, int argc, char **argv, int *code)
{
	struct cmdline_words w;

	*o = (struct options){.kind = NULL};
	if (!cmdline_take(&cmdline, o, &w, argc, argv, code))
		return false;
	o->file = w.word[w.n - 1];
	if (o->force && o->output == NULL)
		*code = cmdline_refuse(&cmdline, "--force goes with --output");
	else if (w.n == 1 || take_kind(o, w.word[0]) == 0)
		return true;
	return false;
}

/* Until the end, or one byte more than is taken. It may hold keys. */
static int
read_fd(struct text *t, int fd, const char *name, struct diag *d)
{
	char part[65536];
	ssize_t n = 1;
	int err = 0;

	while (err == 0 && n > 0 && t->len <= CLASH_SIZE_MAX) {
		n = read(fd, part, sizeof(part));
		if (n > 0)
			text_append(t, part, (size_t)n);
		else if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			err = os_err_tell(errno, name, "read it", d);
	}
	sodium_memzero(part, sizeof(part));
	if (err == 0 && t->failed)
		return UK_ENOMEM;
	if (err == 0 && t->len > CLASH_SIZE_MAX) {
		diag_error(
		    d, "%s: larger than %zu MiB", name, CLASH_SIZE_MAX >> 20);
		return UK_EMSGSIZE;
	}
	return err;
}

static int
read_file(struct text *t, const char *path, const char *name, struct diag *d)
{
	int fd = STDIN_FILENO, err;

	if (strcmp(path, "-") != 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return os_err_tell(errno, name, "open it", d);
	err = read_fd(t, fd, name, d);
	if (fd != STDIN_FILENO)
		close(fd);
	return err;
}

static int
write_output(const struct options *o, const struct text *t, struct diag *d)
{
	if (o->output != NULL)
		return o->force ? durable_replace(o->output, t->s, t->len, d)
				: durable_create(o->output, t->s, t->len, d);
	if (fwrite(t->s, 1, t->len, stdout) == t->len && fflush(stdout) == 0)
		return 0;
	return os_err_tell(errno, "standard output", "write to it", d);
}

static int
import(const struct options *o, const char *name, struct diag *d)
{
	struct text in = {.s = NULL}, out = {.s = NULL};
	const struct kind *kind = o->kind;
	size_t taken = 0;
	int err = read_file(&in, o->file, name, d);

	text_append(&in, "", 0);
	if (err == 0 && in.failed)
		err = UK_ENOMEM;
	if (err == 0 && kind == NULL)
		kind = &kinds[import_wg_is(in.s, in.len) ? 1 : 0];
	if (err == 0)
		err = kind->import(&out, &taken, name, in.s, in.len, d);
	if (err == 0)
		err = write_output(o, &out, d);
	diag_print(d, "ukai", stderr);
	if (err == 0)
		fprintf(stderr, "ukai: %zu line%s taken over from %s\n", taken,
		    taken == 1 ? "" : "s", name);
	else if (err == UK_ENOMEM)
		fputs("ukai: error: out of memory\n", stderr);
	text_fini(&in);
	text_fini(&out);
	return err;
}

int
command_policy_import(int argc, char **argv)
{
	struct options o;
	const char *name;
	struct diag d;
	int err, code;

	if (!parse(&o, argc, argv, &code))
		return code;
	name = strcmp(o.file, "-") == 0 ? "standard input" : o.file;
	diag_init(&d, name);
	err = import(&o, name, &d);
	/* A file that is not there is a mistake in what was typed. */
	return err == UK_ENOENT || err == UK_EMSGSIZE || err == UK_ELIMIT
		   ? EXIT_USAGE
		   : service_exit_code(err);
}
