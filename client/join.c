#include "join.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "conf.h"
#include "core/err.h"
#include "core/x25519.h"
#include "enrol.h"
#include "host/durable.h"
#include "host/os_err.h"
#include "join_text.h"

/* ---- files ---- */

/* Make the folder, see that it is ours alone, and lock it. */
static int
open_dir(int *fd, const char *path, struct diag *d)
{
	struct stat st;
	int err = UK_EPERM;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return os_err_tell(errno, path, "make it", d);
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return os_err_tell(errno, path, "open it", d);
	if (fstat(*fd, &st) < 0 || st.st_uid != geteuid() ||
	    (st.st_mode & 022) != 0) {
		diag_error(d,
		    "%s is to hold keys, but others can write to it; run: "
		    "chown root %s; chmod 700 %s",
		    path, path, path);
		goto close_fd;
	}
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	diag_error(d, "another ukai join is at work; wait until it has ended");
	err = UK_EBUSY;
close_fd:
	close(*fd);
	return err;
}

static bool
is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* Returns the length; < 0: errno is set. */
static ssize_t
read_file(const char *path, char *b, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, b, cap);
	close(fd);
	return n;
}

/* ---- one join ---- */

struct joining {
	const struct join_setup *s;
	int dir;
	struct join_state state;
	bool again; /* an earlier try with this token left the state */
	struct diag *d;
};

static int
load_state(struct joining *j)
{
	const char *path = j->s->paths->joining;
	uint8_t hash[JOIN_HASH_LEN];
	char text[JOIN_STATE_TEXT_MAX];
	ssize_t n = read_file(path, text, sizeof(text));
	int err = 0;

	join_token_hash(hash, j->s->token);
	if (n < 0 && errno != ENOENT)
		err = os_err_tell(errno, path, "read it", j->d);
	else if (n >= 0 && join_state_parse(&j->state, text, (size_t)n) < 0) {
		diag_error(j->d,
		    "%s is not what ukai join has written; look at it, and "
		    "delete it if it is not needed",
		    path);
		err = UK_EPROTO;
	} else if (n >= 0)
		j->again = memcmp(hash, j->state.token_hash, sizeof(hash)) == 0;
	memcpy(j->state.token_hash, hash, sizeof(hash));
	sodium_memzero(text, sizeof(text));
	return err;
}

/* A new key, on the disk before anybody hears of it. */
static int
make_state(struct joining *j)
{
	char text[JOIN_STATE_TEXT_MAX];
	int err;

	randombytes_buf(j->state.private_key, KEY_LEN);
	x25519_clamp(j->state.private_key);
	err = durable_replace(j->s->paths->joining, text,
	    join_state_format(&j->state, text), j->d);
	sodium_memzero(text, sizeof(text));
	return err;
}

static void
drop_state(const struct joining *j)
{
	(void)unlink(j->s->paths->joining);
	(void)fsync(j->dir);
}

static const char *
format_time(uint64_t unix_s, char *text, size_t cap)
{
	time_t t = (time_t)uk_min_u64(unix_s, INT32_MAX);
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL ||
	    strftime(text, cap, "%Y-%m-%d %H:%M", &tm) == 0)
		snprintf(text, cap, "?");
	return text;
}

static int
check_time(const struct joining *j)
{
	uint64_t now_s = j->s->now_s, expires_s = j->s->token->expires_s;
	char now[32], then[32];

	format_time(now_s, now, sizeof(now));
	format_time(expires_s, then, sizeof(then));
	if (now_s < JOIN_RELEASE_S) {
		diag_error(j->d,
		    "this PC's clock says %s, before this ukai was made: set "
		    "the clock (timedatectl set-ntp true), then try again",
		    now);
		return UK_EAGAIN;
	}
	if (now_s < expires_s)
		return 0;
	diag_error(j->d,
	    "the token expired at %s, and this PC's clock says %s: unless the "
	    "clock is wrong, ask for a new token (ukai-relay invite)",
	    then, now);
	return UK_EAUTH;
}

static int
check_files(const struct joining *j)
{
	const struct client_paths *p = j->s->paths;

	for (int i = 0; i < 2; i++) {
		const char *path = i == 0 ? p->conf : p->rules;

		if (!is_there(path) || j->again)
			continue;
		diag_error(j->d,
		    "%s is there already and stays as it is: choose another "
		    "name for this tunnel (--name), or end the old one (ukai "
		    "down) and move its files away",
		    path);
		return UK_EEXIST;
	}
	return 0;
}

/* What a relay says in place of an answer. */
static int
refused(const struct joining *j, enum enrol_status status)
{
	static const char *const why[] = {
	    [ENROL_USED] = "the token has been used, by another PC or another "
			   "name: a token is good once; ask for a new one "
			   "(ukai-relay invite)",
	    [ENROL_EXPIRED] = "the token has expired, the relay says; ask for "
			      "a new one (ukai-relay invite)",
	    [ENROL_UNKNOWN] = "the relay does not know this token: it was "
			      "taken back, or the relay's registry is another "
			      "one now; ask for a new one (ukai-relay invite)",
	    [ENROL_BUSY] = "the relay has too many requests at this moment; "
			   "try again in a minute, the token is still good",
	    [ENROL_FAILED] = "the relay could not register this PC, and its "
			     "log says why; then try again with this token",
	};

	diag_error(j->d, "%s", why[status]);
	return status == ENROL_BUSY || status == ENROL_FAILED ? UK_EAGAIN
							      : UK_EAUTH;
}

/* Of the state nothing more can come: no relay knows this key, or none will
 * answer to it any more. */
static bool
is_worthless(const struct joining *j, const struct client_enrol_result *r,
    int err, enum enrol_status status)
{
	if (err < 0)
		return !r->asked && !j->again;
	/* Neither says anything of the key: an answer to an earlier call of
	 * this run, over the other family, may have been lost. */
	return status != ENROL_FAILED && status != ENROL_BUSY;
}

static int
ask(const struct joining *j, struct enrol_answer *a, struct endpoint *via)
{
	struct client_enrol_result r;
	uint8_t public_key[KEY_LEN];
	int err;

	x25519_base(public_key, j->state.private_key);
	err = client_enrol(a, &r, j->s->token, public_key, j->d);
	*via = r.via;
	if (err == 0 && a->status == ENROL_OK)
		return 0;
	if (is_worthless(j, &r, err, a->status))
		drop_state(j);
	else if (err < 0 && r.asked)
		diag_error(j->d,
		    "the relay may have registered this PC: run the same "
		    "command again, it goes on from here");
	return err < 0 ? err : refused(j, a->status);
}

/* Twice the same policy is fine: the one before us was killed after it. */
static int
put_policy(const struct joining *j, const char *policy)
{
	static char there[ENROL_POLICY_MAX + 1];
	const char *path = j->s->paths->rules;
	size_t len;
	ssize_t n;

	if (policy == NULL)
		return 0;
	len = strlen(policy);
	n = read_file(path, there, sizeof(there));
	if (n >= 0 && (size_t)n == len && memcmp(there, policy, len) == 0)
		return 0;
	return durable_create(path, policy, len, j->d);
}

static int
put_conf(const struct joining *j, const struct text *t)
{
	struct client_conf conf;
	struct diag own;
	int err;

	diag_init(&own, NULL);
	err = client_conf_parse(&conf, t->s, t->len, &own);
	client_conf_fini(&conf);
	if (err < 0) {
		diag_error(j->d,
		    "what the relay answers makes no configuration: %s",
		    own.n > 0 ? own.entry[0].text : uk_strerror(err));
		return err;
	}
	return durable_create(j->s->paths->conf, t->s, t->len, j->d);
}

static int
put_answer(const struct joining *j, const struct enrol_answer *a,
    const struct endpoint *via)
{
	const struct join_conf c = {
	    .answer = a,
	    .private_key = j->state.private_key,
	    .via = via,
	    .local = j->s->local,
	    .locals = j->s->locals,
	    .policy = a->policy != NULL ? j->s->paths->rules : NULL,
	};
	struct text t = {.s = NULL};
	int err = join_conf_format(&c, &t);

	if (err == 0)
		err = put_policy(j, a->policy);
	if (err == 0)
		err = put_conf(j, &t);
	text_fini(&t);
	if (err < 0)
		diag_error(j->d,
		    "the relay has registered this PC: mend that, and run the "
		    "same command again before the token expires");
	return err;
}

static int
join_locked(struct joining *j)
{
	struct enrol_answer a;
	struct endpoint via;
	int err = load_state(j);

	if (err == 0)
		err = check_files(j);
	if (err < 0)
		return err;
	if (j->again && is_there(j->s->paths->conf))
		return 0; /* only the start was missing */
	err = check_time(j);
	if (err == 0 && !j->again)
		err = make_state(j);
	if (err < 0)
		return err;
	err = ask(j, &a, &via);
	if (err == 0)
		err = put_answer(j, &a, &via);
	enrol_answer_fini(&a);
	return err;
}

int
join(const struct join_setup *s, struct diag *d)
{
	struct joining j = {.s = s, .d = d};
	int err = open_dir(&j.dir, s->paths->conf_dir, d);

	if (err < 0)
		return err;
	err = join_locked(&j);
	close(j.dir);
	sodium_memzero(&j, sizeof(j));
	return err;
}

void
join_end(const struct client_paths *p)
{
	(void)unlink(p->joining);
}
