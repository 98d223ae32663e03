#include "programs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "host/cgroup.h"
#include "host/os_err.h"
#include "host/undo_cgroup.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/watch.h"
#include "process.h"
#include "process_watch.h"
#include "program_classes.h"
#include "sock_class_bpf.h"

/* More services than that run nothing that one rule is about. */
#define FOLDERS_MAX 4096
#define SWEEP_EVERY_NS (2 * UK_NS_PER_S)
/* Of processes and their children. */
#define DEPTH_MAX 64
/* Each start removes those that it finds. */
#define LEFTOVERS_MAX 16

struct folder {
	char *path;
	unsigned class;
};

struct programs {
	uv_loop_t *loop;
	struct undo *undo;
	int root; /* of the cgroups */
	char tunnel[16];
	char prefix[PROGRAM_FOLDER_MAX]; /* of our folders' names */
	struct process_netns netns;
	struct program_classes classes;
	struct sock_class_maps maps;
	int by_name; /* -1: this kernel cannot */
	bool by_family; /* and it tells long names, and children */
	uint32_t by_name_id; /* 0: not attached */
	int prog[CLASS_RUN + 1]; /* of each class; -1: not loaded yet */
	uint32_t unmoved[CLASS_RUN + 1];
	bool run_recorded[2]; /* CLASS_RUN_SOFT, CLASS_RUN */
	bool has_leftovers; /* a killed one's, not taken over yet */
	struct log_limit full; /* of folders */
	struct folder *folder;
	size_t folders;
	struct process_watch *watch;
	struct watch *sweep;
	bool has_twins; /* something begins like a name, and is not it */
};

/* ---- folders ---- */

static void
forget_folder(struct programs *p, size_t i)
{
	free(p->folder[i].path);
	p->folder[i] = p->folder[--p->folders];
}

static bool
has_folder(const struct programs *p, const char *path)
{
	for (size_t i = 0; i < p->folders; i++)
		if (strcmp(p->folder[i].path, path) == 0)
			return true;
	return false;
}

/* Returns 0; negative errno, as those below. */
static int
note_folder(struct programs *p, const char *path, unsigned class)
{
	struct folder *f;

	if (p->folders == FOLDERS_MAX)
		return -ENOSPC;
	f = realloc(p->folder, (p->folders + 1) * sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	p->folder = f;
	f[p->folders] = (struct folder){strdup(path), class};
	if (f[p->folders].path == NULL)
		return -ENOMEM;
	p->folders++;
	watch_after(p->sweep, SWEEP_EVERY_NS);
	return 0;
}

static int
load_class(struct programs *p, unsigned class)
{
	if (p->prog[class] < 0)
		p->prog[class] = sock_class_bpf_load(class);
	return p->prog[class];
}

/* A leftover has a program with that class already: the folder's name says
 * which. */
static int
attach_class(struct programs *p, const char *path, unsigned class)
{
	uint32_t id[CGROUP_PROGRAMS_MAX], n = ARRAY_LEN(id);
	int r = cgroup_programs(p->root, path, id, &n);

	if (r < 0 || n > 0)
		return r;
	r = load_class(p, class);
	return r < 0 ? r : cgroup_attach(p->root, path, r);
}

static int
make_folder(struct programs *p, const char *path, unsigned class)
{
	int r;

	if (has_folder(p, path))
		return 0;
	r = cgroup_make(p->root, path);
	if (r < 0 && r != -EEXIST)
		return r;
	r = attach_class(p, path, class);
	if (r == 0)
		r = note_folder(p, path, class);
	if (r < 0)
		cgroup_remove(p->root, path);
	return r;
}

static void on_process(void *arg, int pid);

/* Nobody tells us of what a twin forks, and until it has been judged, too, the
 * kernel takes it for the program. */
static void
look_for_twins(struct programs *p)
{
	if (!p->has_twins || p->watch == NULL)
		return;
	p->has_twins = false;
	process_each(on_process, p);
}

static void
on_sweep(void *arg)
{
	struct programs *p = arg;

	look_for_twins(p);
	for (size_t i = p->folders; i-- > 0;)
		if (cgroup_remove(p->root, p->folder[i].path) != -EBUSY)
			forget_folder(p, i);
	if (p->folders > 0)
		watch_after(p->sweep, SWEEP_EVERY_NS);
}

/* Those of names that no rule names any more. */
static void
dissolve_inactive(struct programs *p)
{
	for (size_t i = p->folders; i-- > 0;) {
		unsigned class = p->folder[i].class;

		if (class > CLASS_PROGRAM_MAX || p->classes.of[class].active)
			continue;
		if (p->prog[class] >= 0)
			cgroup_detach(
			    p->root, p->folder[i].path, p->prog[class]);
		cgroup_dissolve(p->root, p->folder[i].path, NULL);
		forget_folder(p, i);
	}
}

/* ---- processes ---- */

static bool
is_here(const struct programs *p, int pid)
{
	struct process_netns n;

	return process_netns(&n, pid) && n.ino == p->netns.ino &&
	       n.dev == p->netns.dev;
}

static unsigned
class_of(const struct programs *p, const struct process *who)
{
	enum process_match best = PROCESS_NO, m;
	unsigned class = CLASS_NONE;

	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++) {
		if (!p->classes.of[i].active)
			continue;
		m = process_match(who, p->classes.of[i].name);
		if (m > best) {
			best = m;
			class = i;
		}
	}
	return class;
}

/* Where a process of that class belongs: below the folder it is in, or beside
 * ours where it is in one of them. false: it may stay where it is. */
static bool
destination(const struct programs *p, char path[static CGROUP_PATH_MAX],
    unsigned class, int *err)
{
	char name[PROGRAM_FOLDER_MAX], at[CGROUP_PATH_MAX];
	unsigned now = program_folder_class(cgroup_name(path), p->prefix);
	size_t len;

	*err = 0;
	if (now == class || (now >= CLASS_RUN_SOFT && class < CLASS_RUN_SOFT))
		return false;
	len = (size_t)(cgroup_name(path) - path);
	if (now != CLASS_NONE)
		path[len > 1 ? len - 1 : 1] = '\0';
	memcpy(at, path, sizeof(at));
	program_folder(name, p->tunnel, p->netns.ino, class);
	*err = cgroup_join(path, at, name);
	return *err == 0;
}

/* What is still in it stays, and keeps it. */
static void
remove_folder(struct programs *p, const char *path)
{
	if (cgroup_remove(p->root, path) == -EBUSY)
		return;
	for (size_t i = p->folders; i-- > 0;)
		if (strcmp(p->folder[i].path, path) == 0)
			forget_folder(p, i);
}

/* *moved: it was elsewhere. */
static int
move(struct programs *p, int pid, unsigned class, bool *moved)
{
	char path[CGROUP_PATH_MAX];
	int r = cgroup_of(pid, path);

	*moved = false;
	if (r < 0 || !destination(p, path, class, &r))
		return r;
	r = make_folder(p, path, class);
	if (r == 0)
		r = cgroup_put(p->root, path, pid);
	*moved = r == 0;
	if (r < 0)
		remove_folder(p, path);
	return r;
}

struct family {
	struct programs *p;
	unsigned class, depth;
};

/* Is it called like a program of another class, which counts for more? What
 * has not called exec() yet is called like its parent. */
static bool
is_another(const struct programs *p, int pid, unsigned class)
{
	struct process who;
	unsigned own = CLASS_NONE;

	if (process_read(&who, pid) == 0)
		own = class_of(p, &who);
	return class <= CLASS_PROGRAM_MAX && own != CLASS_NONE && own != class;
}

/* What a process has started before it was moved. */
static void
on_child(void *arg, int pid)
{
	const struct family *f = arg;
	struct family below = {f->p, f->class, f->depth + 1};
	bool moved;

	if (f->depth == DEPTH_MAX || !is_here(f->p, pid) ||
	    is_another(f->p, pid, f->class))
		return;
	if (move(f->p, pid, f->class, &moved) == 0 && moved)
		process_each_child(pid, on_child, &below);
}

static int
join(struct programs *p, int pid, unsigned class)
{
	struct family f = {p, class, 0};
	bool moved;
	int r = move(p, pid, class, &moved);

	/* Somebody has removed the folder, as its service has ended. */
	if (r == -ENOENT || r == -ENODEV)
		r = move(p, pid, class, &moved);
	if (moved)
		process_each_child(pid, on_child, &f);
	return r;
}

/* Until this, the kernel takes what begins like a name for it. */
static void
judge(struct programs *p, const struct process *who, int pid, bool otherwise)
{
	uint64_t start;

	if (!p->by_family ||
	    program_classes_cut(&p->classes, who->comm) == CLASS_NONE ||
	    process_start(&start, pid) < 0)
		return;
	(void)sock_class_bpf_judge(&p->maps, pid, start, otherwise);
	if (otherwise && !p->has_twins)
		watch_after(p->sweep, SWEEP_EVERY_NS);
	p->has_twins |= otherwise;
}

static void
count_unmoved(struct programs *p, unsigned class, int why)
{
	p->unmoved[class]++;
	if (why == -ENOSPC)
		log_limited(&p->full, clock_now().mono_ns, LOG_WARN,
		    "programs that rules name run in more than %d cgroups: "
		    "what further ones leave behind when they end has no class",
		    FOLDERS_MAX);
}

static void
on_process(void *arg, int pid)
{
	struct programs *p = arg;
	struct process who;
	unsigned class;
	int r;

	if (process_read(&who, pid) < 0)
		return;
	class = class_of(p, &who);
	judge(p, &who, pid, class == CLASS_NONE);
	if (class == CLASS_NONE)
		return;
	errno = 0;
	if (!is_here(p, pid)) {
		/* Without CAP_SYS_PTRACE nobody knows where it is. */
		p->unmoved[class] += errno == EACCES;
		return;
	}
	r = join(p, pid, class);
	if (r < 0 && r != -ESRCH && r != -ENOENT)
		count_unmoved(p, class, r);
}

/* ---- names ---- */

/* The pairs are written down before anything has such a class. */
static int
record(struct programs *p, struct program_classes *next, struct diag *d)
{
	char folder[PROGRAM_FOLDER_MAX];
	int r = 0;

	for (unsigned i = 1; r == 0 && i <= CLASS_PROGRAM_MAX; i++) {
		if (next->of[i].name == NULL || next->of[i].recorded)
			continue;
		program_folder(folder, p->tunnel, p->netns.ino, i);
		if (p->classes.of[i].name != NULL)
			r = undo_cgroup_dissolve(p->undo, folder, d);
		if (r == 0)
			r = undo_cgroup(p->undo, folder, next->of[i].name, d);
		next->of[i].recorded = r == 0;
	}
	return r;
}

/* What begins like one of these, as far as the rules now want it. */
static int
set_cut(struct programs *p, const struct program_classes *of,
    const struct program_classes *now)
{
	int r = 0;

	for (unsigned i = 1; r == 0 && i <= CLASS_PROGRAM_MAX; i++) {
		const struct program_class *c = &of->of[i];

		if (c->active && strlen(c->name) > SOCK_CLASS_COMM_MAX)
			r = sock_class_bpf_set_cut(&p->maps, c->name,
			    program_classes_cut(now, c->name));
	}
	return r;
}

/* Make the kernel's map as wanted; before: what it is. */
static int
set_map(struct programs *p, const struct program_classes *before,
    const struct program_classes *c)
{
	int r = 0;

	for (unsigned i = 1; r == 0 && i <= CLASS_PROGRAM_MAX; i++)
		if (c->of[i].active)
			r = sock_class_bpf_set(&p->maps, c->of[i].name, i);
	if (r == 0)
		r = set_cut(p, c, c);
	for (unsigned i = 1; r == 0 && i <= CLASS_PROGRAM_MAX; i++)
		if (before->of[i].active &&
		    program_classes_find(c, before->of[i].name) == CLASS_NONE)
			r = sock_class_bpf_set(
			    &p->maps, before->of[i].name, CLASS_NONE);
	return r < 0 ? r : set_cut(p, before, c);
}

static int
follow_by_name(struct programs *p, const struct program_classes *next, size_t n,
    struct diag *d)
{
	int r;

	if (p->by_name < 0)
		return 0;
	r = set_map(p, &p->classes, next);
	if (r < 0) {
		set_map(p, next, &p->classes);
		diag_error(d, "cannot tell the kernel the programs' names: %s",
		    strerror(-r));
		return UK_ESYS;
	}
	if (n == 0 || p->by_name_id != 0)
		return 0;
	r = undo_cgroup_attach(
	    p->undo, p->root, "/", p->by_name, &p->by_name_id, d);
	if (r < 0)
		p->by_name_id = 0;
	return r;
}

static int
watch_processes(struct programs *p, size_t n, struct diag *d)
{
	int r;

	if (n == 0) {
		process_watch_close(p->watch);
		p->watch = NULL;
		return 0;
	}
	if (p->watch != NULL)
		return process_each(on_process, p) < 0 ? UK_ESYS : 0;
	r = process_watch_open(&p->watch, p->loop, on_process, p);
	if (r == UK_ESYS)
		diag_error(d, "cannot look at what runs: %s", strerror(errno));
	if (r == 0 && !p->by_family && !process_watch_is_told(p->watch))
		diag_warn(d, "the kernel does not tell us which programs start "
			     "(a container?): those whose names have more than "
			     "14 letters, and children, are found up to a "
			     "quarter of a second late");
	return r;
}

/* Names that were recorded stay so, whatever fails then. */
static void
take_over_records(struct program_classes *to, struct program_classes *from)
{
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++) {
		bool same = to->of[i].name != NULL &&
			    from->of[i].name != NULL &&
			    strcmp(to->of[i].name, from->of[i].name) == 0;

		if (from->of[i].recorded && !same) {
			free(to->of[i].name);
			to->of[i] = from->of[i];
			to->of[i].active = false;
			from->of[i] = (struct program_class){.name = NULL};
		}
	}
}

int
programs_follow(struct programs *p, const struct program_name *program,
    size_t n, struct diag *d)
{
	struct program_classes next, old = p->classes;
	int r = program_classes_follow(&next, &p->classes, program, n);

	if (r == UK_ELIMIT)
		diag_error(
		    d, "rules name more than %d programs", CLASS_PROGRAM_MAX);
	if (r < 0)
		return r;
	r = record(p, &next, d);
	if (r == 0)
		r = follow_by_name(p, &next, n, d);
	if (r < 0) {
		take_over_records(&p->classes, &next);
		program_classes_fini(&next);
		return r;
	}
	p->classes = next;
	r = watch_processes(p, n, d);
	if (r < 0) {
		next = p->classes;
		p->classes = old;
		if (p->by_name >= 0)
			set_map(p, &next, &p->classes);
		take_over_records(&p->classes, &next);
		program_classes_fini(&next);
	} else {
		program_classes_fini(&old);
	}
	dissolve_inactive(p);
	return r;
}

unsigned
programs_class(void *arg, const char *program)
{
	const struct programs *p = arg;

	return program_classes_find(&p->classes, program);
}

/* ---- what a killed one has left ---- */

static void
on_record(void *arg, const char *folder, const char *program)
{
	struct programs *p = arg;
	unsigned class = program_folder_class(folder, p->prefix);

	if (class >= CLASS_RUN_SOFT)
		p->run_recorded[class - CLASS_RUN_SOFT] = true;
	else
		(void)program_classes_note(&p->classes, class, program);
}

static void
on_folder(void *arg, const char *path)
{
	struct programs *p = arg;
	unsigned class = program_folder_class(cgroup_name(path), p->prefix);

	if (class != CLASS_NONE)
		(void)note_folder(p, path, class);
}

struct leftovers {
	uint32_t id[LEFTOVERS_MAX];
	size_t n;
};

static void
on_attached(void *arg, uint32_t id)
{
	struct leftovers *l = arg;

	if (l->n < ARRAY_LEN(l->id))
		l->id[l->n++] = id;
}

static void
take_over(struct programs *p, struct leftovers *old)
{
	p->has_leftovers = undo_count(p->undo) > 0;
	undo_cgroup_each(p->undo, on_record, p);
	undo_cgroup_attached_each(p->undo, on_attached, old);
	cgroup_find(p->root, p->prefix, on_folder, p);
}

/* ---- life ---- */

static int
tell_no_bpf(int r, struct diag *d)
{
	if (r == -EPERM || r == -EACCES) {
		diag_error(d, "the kernel lets us load no BPF program for "
			      "cgroups: CAP_BPF and CAP_NET_ADMIN are wanted, "
			      "and no filter of system calls that refuses "
			      "bpf(), as containers and some services have");
		return UK_EPERM;
	}
	diag_error(d,
	    "this kernel takes no BPF program for cgroups (%s): Linux 5.8 with "
	    "CONFIG_CGROUP_BPF=y is wanted",
	    strerror(-r));
	return UK_ESYS;
}

static int
load_names(struct programs *p, struct diag *d)
{
	int why;

	p->by_name = sock_class_bpf_load_names(&p->maps);
	p->by_family = p->by_name >= 0;
	if (p->by_family)
		return 0;
	why = p->by_name;
	p->by_name = sock_class_bpf_load_comm(&p->maps);
	if (p->by_name < 0)
		return p->by_name;
	diag_warn(d,
	    "the kernel does not show us programs' files and parents (%s; "
	    "CONFIG_DEBUG_INFO_BTF=y is wanted, and no lockdown): in their "
	    "first moment children, and names of more than 14 letters, follow "
	    "no rule",
	    strerror(-why));
	return 0;
}

static int
load(struct programs *p, struct diag *d)
{
	int r = load_class(p, CLASS_RUN);

	if (r < 0)
		return tell_no_bpf(r, d);
	r = sock_class_bpf_open(&p->maps);
	if (r == 0)
		r = load_names(p, d);
	if (r < 0)
		diag_warn(d,
		    "programs are not told by their names at once (%s; Linux "
		    "5.8 and CAP_PERFMON are wanted): what one does in its "
		    "first moment follows no rule about programs",
		    strerror(-r));
	return 0;
}

static int
set_up(struct programs *p, const struct programs_conf *c, struct diag *d)
{
	struct leftovers old = {.n = 0};
	int r;

	p->sweep = watch_timer(p->loop, on_sweep, p);
	if (p->sweep == NULL)
		return UK_ENOMEM;
	r = cgroup_open(&p->root, d);
	if (r == 0)
		r = load(p, d);
	if (r < 0)
		return r;
	if (!process_netns(&p->netns, 0))
		return os_err_tell(
		    errno, "/proc/self/ns/net", "see which it is", d);
	program_folder_prefix(p->prefix, p->tunnel, p->netns.ino);
	take_over(p, &old);
	r = programs_follow(p, c->program, c->n, d);
	if (r < 0)
		return r;
	p->has_leftovers = false;
	/* Ours stands now. */
	for (size_t i = 0; i < old.n; i++)
		undo_cgroup_detach(p->undo, old.id[i], d);
	return 0;
}

static struct programs *
programs_new(const struct programs_conf *c)
{
	struct programs *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->loop = c->loop;
	p->undo = c->undo;
	UK_ASSERT(strlen(c->name) < sizeof(p->tunnel));
	memcpy(p->tunnel, c->name, strlen(c->name));
	p->root = p->by_name = p->maps.names = p->maps.judged = -1;
	for (unsigned i = 0; i <= CLASS_RUN; i++)
		p->prog[i] = -1;
	program_classes_init(&p->classes);
	return p;
}

static void
close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void
programs_free(struct programs *p)
{
	process_watch_close(p->watch);
	watch_close(p->sweep);
	while (p->folders > 0)
		forget_folder(p, p->folders - 1);
	free(p->folder);
	program_classes_fini(&p->classes);
	for (unsigned i = 0; i <= CLASS_RUN; i++)
		close_fd(p->prog[i]);
	close_fd(p->by_name);
	close_fd(p->maps.names);
	close_fd(p->maps.judged);
	close_fd(p->root);
	free(p);
}

int
programs_open(
    struct programs **out, const struct programs_conf *c, struct diag *d)
{
	struct programs *p = programs_new(c);
	int r;

	if (p == NULL)
		return UK_ENOMEM;
	r = set_up(p, c, d);
	if (r == 0)
		*out = p;
	else if (p->has_leftovers)
		programs_free(p); /* what was refused is to stay so */
	else
		programs_close(p);
	return r;
}

static void
take_back_class(struct programs *p, unsigned class, struct diag *d)
{
	char folder[PROGRAM_FOLDER_MAX];

	program_folder(folder, p->tunnel, p->netns.ino, class);
	undo_cgroup_dissolve(p->undo, folder, d);
}

/* What a process of ours holds by descriptor goes by it; undoing finds it
 * gone, or, without it, may not be allowed to touch it. */
static void
take_back(struct programs *p, struct diag *d)
{
	if (p->by_name_id != 0) {
		cgroup_detach(p->root, "/", p->by_name);
		undo_cgroup_detach(p->undo, p->by_name_id, d);
	}
	for (size_t i = 0; i < p->folders; i++)
		if (p->prog[p->folder[i].class] >= 0)
			cgroup_detach(p->root, p->folder[i].path,
			    p->prog[p->folder[i].class]);
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++)
		if (p->classes.of[i].recorded)
			take_back_class(p, i, d);
	for (unsigned i = CLASS_RUN_SOFT; i <= CLASS_RUN; i++)
		if (p->run_recorded[i - CLASS_RUN_SOFT])
			take_back_class(p, i, d);
}

void
programs_close(struct programs *p)
{
	struct diag d;

	if (p == NULL)
		return;
	diag_init(&d, NULL);
	process_watch_close(p->watch);
	p->watch = NULL;
	take_back(p, &d);
	log_diag(&d);
	programs_free(p);
}

void
programs_leave(struct programs *p)
{
	if (p != NULL)
		programs_free(p);
}

/* ---- ukai run ---- */

static int
record_run(struct programs *p, unsigned class, struct diag *d)
{
	bool *recorded = &p->run_recorded[class - CLASS_RUN_SOFT];
	char folder[PROGRAM_FOLDER_MAX];
	int r = 0;

	if (!*recorded) {
		program_folder(folder, p->tunnel, p->netns.ino, class);
		r = undo_cgroup(p->undo, folder, "ukai run", d);
		*recorded = r == 0;
	}
	return r;
}

int
programs_run(struct programs *p, int pid, bool fallback, struct diag *d)
{
	unsigned class = fallback ? CLASS_RUN_SOFT : CLASS_RUN;
	struct process_netns n;
	int r;

	if (pid <= 0 || !process_netns(&n, pid)) {
		diag_error(d, "there is no such process, or none that is seen "
			      "from the tunnel's process namespace");
		return UK_ENOENT;
	}
	if (!is_here(p, pid)) {
		diag_error(d,
		    "process %d is in another network namespace than "
		    "the tunnel",
		    pid);
		return UK_EINVAL;
	}
	r = record_run(p, class, d);
	if (r < 0)
		return r;
	r = join(p, pid, class);
	if (r == 0)
		return 0;
	diag_error(d, "process %d cannot be moved into a cgroup of ours: %s%s",
	    pid, strerror(-r),
	    r == -EOPNOTSUPP || r == -EBUSY
		? " (its cgroup takes threads, or only folders, with it)"
		: "");
	return os_err(-r) == UK_EPERM ? UK_EPERM : UK_ESYS;
}

void
programs_each(const struct programs *p,
    void (*visit)(void *arg, const struct programs_status *s), void *arg)
{
	for (unsigned i = 1; i <= CLASS_PROGRAM_MAX; i++) {
		struct programs_status s = {
		    .program = p->classes.of[i].name, .unmoved = p->unmoved[i]};
		uint32_t n;

		if (!p->classes.of[i].active)
			continue;
		for (size_t j = 0; j < p->folders; j++)
			if (p->folder[j].class == i &&
			    cgroup_count(p->root, p->folder[j].path, &n) == 0)
				s.processes += n;
		visit(arg, &s);
	}
}
