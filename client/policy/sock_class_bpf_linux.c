#include "sock_class_bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/bpf.h"
#include "host/cgroup.h"
#include "kernel_fields.h"

/* Since Linux 5.14; headers may be older than the kernel. */
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define COMM_SIZE 16 /* the kernel's, with its zero */
/* Longer than any name that is looked for: a longer one is none of them, though
 * it is cut. The last byte tells what begins like a name from a name. */
#define KEY_SIZE 80
#define KEY_IS_CUT (KEY_SIZE - 1)
#define FILE_SIZE (KEY_SIZE - 8)
#define MARK ((int)offsetof(struct bpf_sock, mark))

/* A process, so that what was judged is not meant for a later one. */
struct judged {
	uint32_t pid, start; /* clock ticks, their lower half */
};
#define JUDGED_MAX 8192
#define NS_PER_TICK 10000000 /* USER_HZ is 100 for all that asks */

/* Of processes and those that started them. */
#define ANCESTORS_MAX 32

/* On the stack, from r10 down. */
enum {
	KEY = -KEY_SIZE,
	COMM = KEY - COMM_SIZE,
	POINTER = COMM - 8,
	WHO = POINTER - 8,
};

/* On failure there is none. */
static bool
netns_cookie(uint64_t *cookie)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*cookie);
	bool ok;

	if (fd < 0)
		return false;
	ok = getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &len) == 0;
	close(fd);
	return ok;
}

struct exits {
	unsigned at[8], n; /* jumps to one place */
};

static void
jump_out(struct exits *e, const struct bpf_code *c)
{
	UK_ASSERT(e->n < ARRAY_LEN(e->at));
	e->at[e->n++] = c->n - 1;
}

/* r6: the socket, all the time. r7: its mark; r2: its class. */
static void
begin(struct bpf_code *c, struct exits *e)
{
	uint64_t cookie;

	BPF_APPEND(c, MOV_REG(BPF_REG_6, BPF_REG_1));
	if (netns_cookie(&cookie)) {
		BPF_APPEND(c, CALL(BPF_FUNC_get_netns_cookie),
		    LOAD_IMM64(BPF_REG_1, 0, cookie),
		    JUMP_NE_REG(BPF_REG_0, BPF_REG_1, 0));
		jump_out(e, c);
	}
	BPF_APPEND(c, LOAD(BPF_W, BPF_REG_7, BPF_REG_6, MARK),
	    MOV_REG(BPF_REG_2, BPF_REG_7), AND_IMM(BPF_REG_2, MARK_CLASS_MASK));
}

/* The socket is to be made in any case. */
static void
end(struct bpf_code *c, const struct exits *e)
{
	bpf_land_here(c, e->at, e->n);
	BPF_APPEND(c, MOV_IMM(BPF_REG_0, 1), EXIT());
}

static int
load(const struct bpf_code *c)
{
	return bpf_load(c, BPF_PROG_TYPE_CGROUP_SOCK,
	    BPF_CGROUP_INET_SOCK_CREATE, CGROUP_PROGRAM);
}

int sock_class_bpf_load(enum mark_class class)
{
	struct bpf_code c = {.n = 0};
	struct exits e = {.n = 0};

	begin(&c, &e);
	BPF_APPEND(&c, JUMP_NE(BPF_REG_2, 0, 0));
	jump_out(&e, &c);
	BPF_APPEND(&c, OR_IMM(BPF_REG_7, (uint32_t) class << MARK_CLASS_SHIFT),
	    STORE(BPF_W, BPF_REG_6, BPF_REG_7, MARK));
	end(&c, &e);
	return load(&c);
}

/* ---- names ---- */

/* What of the kernel's structures is looked at. */
enum {
	LEADER,
	PARENT,
	TASK_COMM,
	TGID,
	START,
	MM,
	EXE,
	PATH,
	DENTRY,
	NAME,
	STRING,
	FIELDS
};

static const struct kernel_field fields[FIELDS] = {
    [LEADER] = {"task_struct", "group_leader"},
    [PARENT] = {"task_struct", "real_parent"},
    [TASK_COMM] = {"task_struct", "comm"},
    [TGID] = {"task_struct", "tgid"},
    [START] = {"task_struct", "start_boottime"},
    [MM] = {"task_struct", "mm"},
    [EXE] = {"mm_struct", "exe_file"},
    [PATH] = {"file", "f_path"},
    [DENTRY] = {"path", "dentry"},
    [NAME] = {"dentry", "d_name"},
    [STRING] = {"qstr", "name"},
};

int
sock_class_bpf_open(struct sock_class_maps *m)
{
	m->judged = -1;
	/* Twice, as names may come before others go; and what begins so. */
	m->names = bpf_map_create(BPF_MAP_TYPE_HASH, KEY_SIZE, sizeof(uint32_t),
	    4 * CLASS_PROGRAM_MAX, 0, CGROUP_PROGRAM);
	if (m->names < 0)
		return m->names;
	m->judged = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, sizeof(struct judged),
	    sizeof(uint32_t), JUDGED_MAX, 0, CGROUP_PROGRAM);
	return m->judged < 0 ? m->judged : 0;
}

static void
clear_key(struct bpf_code *c)
{
	for (int at = 0; at < KEY_SIZE; at += 8)
		BPF_APPEND(c, STORE_IMM(BPF_DW, BPF_REG_10, 0, KEY + at));
}

/* r0: where the class of what stands there is; 0: nowhere. */
static void
look_up(struct bpf_code *c, int map, int at)
{
	BPF_APPEND(c, LOAD_IMM64(BPF_REG_1, BPF_PSEUDO_MAP_FD, (uint32_t)map),
	    MOV_REG(BPF_REG_2, BPF_REG_10), ADD_IMM(BPF_REG_2, at),
	    CALL(BPF_FUNC_map_lookup_elem));
}

static void
look_up_name(
    struct bpf_code *c, const struct sock_class_maps *m, struct exits *found)
{
	look_up(c, m->names, KEY);
	BPF_APPEND(c, JUMP_NE(BPF_REG_0, 0, 0));
	jump_out(found, c);
}

/* The kernel's memory at r3: zeros where there is none. */
static void
copy(struct bpf_code *c, int helper, int to, int bytes)
{
	BPF_APPEND(c, MOV_REG(BPF_REG_1, BPF_REG_10), ADD_IMM(BPF_REG_1, to),
	    MOV_IMM(BPF_REG_2, bytes), CALL(helper));
}

/* r3: the pointer that stands that far behind the one in reg. */
static void
follow(struct bpf_code *c, unsigned reg, uint32_t offset)
{
	BPF_APPEND(c, MOV_REG(BPF_REG_3, reg), ADD_IMM(BPF_REG_3, offset));
	copy(c, BPF_FUNC_probe_read_kernel, POINTER, 8);
	BPF_APPEND(c, LOAD(BPF_DW, BPF_REG_3, BPF_REG_10, POINTER));
}

/* The name of a thread, in the key, where it is whole. */
static void
look_up_comm(
    struct bpf_code *c, const struct sock_class_maps *m, struct exits *found)
{
	struct exits cut = {.n = 0};

	BPF_APPEND(c,
	    LOAD(BPF_B, BPF_REG_1, BPF_REG_10, KEY + SOCK_CLASS_COMM_MAX),
	    JUMP_NE(BPF_REG_1, 0, 0));
	jump_out(&cut, c);
	look_up_name(c, m, found);
	bpf_land_here(c, cut.at, cut.n);
}

static void
look_up_thread(
    struct bpf_code *c, const struct sock_class_maps *m, struct exits *found)
{
	clear_key(c);
	BPF_APPEND(c, MOV_REG(BPF_REG_1, BPF_REG_10), ADD_IMM(BPF_REG_1, KEY),
	    MOV_IMM(BPF_REG_2, COMM_SIZE), CALL(BPF_FUNC_get_current_comm));
	look_up_comm(c, m, found);
}

/* r8: the process. Its file's name stays in the key, its comm behind that. */
static void
look_up_process(struct bpf_code *c, const struct sock_class_maps *m,
    const uint32_t *at, struct exits *found)
{
	clear_key(c);
	BPF_APPEND(c, MOV_REG(BPF_REG_3, BPF_REG_8),
	    ADD_IMM(BPF_REG_3, at[TASK_COMM]));
	copy(c, BPF_FUNC_probe_read_kernel, KEY, COMM_SIZE);
	BPF_APPEND(c, LOAD(BPF_DW, BPF_REG_1, BPF_REG_10, KEY),
	    STORE(BPF_DW, BPF_REG_10, BPF_REG_1, COMM),
	    LOAD(BPF_DW, BPF_REG_1, BPF_REG_10, KEY + 8),
	    STORE(BPF_DW, BPF_REG_10, BPF_REG_1, COMM + 8));
	look_up_comm(c, m, found);
	clear_key(c);
	follow(c, BPF_REG_8, at[MM]);
	follow(c, BPF_REG_3, at[EXE]);
	follow(c, BPF_REG_3, at[PATH] + at[DENTRY]);
	follow(c, BPF_REG_3, at[NAME] + at[STRING]);
	copy(c, BPF_FUNC_probe_read_kernel_str, KEY, FILE_SIZE);
	look_up_name(c, m, found);
}

/* r8 is called like what has been cut off a name, and its file, which is in the
 * key, does not say that it is not. */
static void
look_up_cut(struct bpf_code *c, const struct sock_class_maps *m,
    const uint32_t *at, struct exits *found)
{
	struct exits no = {.n = 0}, differs = {.n = 0};

	BPF_APPEND(c,
	    LOAD(BPF_B, BPF_REG_1, BPF_REG_10, COMM + SOCK_CLASS_COMM_MAX),
	    JUMP_EQ(BPF_REG_1, 0, 0));
	jump_out(&no, c);
	BPF_APPEND(c, STORE_IMM(BPF_B, BPF_REG_10, 0, KEY + COMM_SIZE - 1),
	    LOAD(BPF_DW, BPF_REG_1, BPF_REG_10, COMM),
	    LOAD(BPF_DW, BPF_REG_2, BPF_REG_10, KEY),
	    JUMP_NE_REG(BPF_REG_1, BPF_REG_2, 0));
	jump_out(&differs, c);
	BPF_APPEND(c, LOAD(BPF_DW, BPF_REG_1, BPF_REG_10, COMM + 8),
	    LOAD(BPF_DW, BPF_REG_2, BPF_REG_10, KEY + 8),
	    JUMP_EQ_REG(BPF_REG_1, BPF_REG_2, 0));
	jump_out(&no, c);
	bpf_land_here(c, differs.at, differs.n);

	BPF_APPEND(
	    c, MOV_REG(BPF_REG_3, BPF_REG_8), ADD_IMM(BPF_REG_3, at[TGID]));
	copy(c, BPF_FUNC_probe_read_kernel, WHO, 4);
	follow(c, BPF_REG_8, at[START]);
	BPF_APPEND(c, DIV_IMM(BPF_REG_3, NS_PER_TICK),
	    STORE(BPF_W, BPF_REG_10, BPF_REG_3,
		WHO + (int)offsetof(struct judged, start)));
	look_up(c, m->judged, WHO);
	BPF_APPEND(c, JUMP_NE(BPF_REG_0, 0, 0));
	jump_out(&no, c);
	clear_key(c);
	BPF_APPEND(c, LOAD(BPF_DW, BPF_REG_1, BPF_REG_10, COMM),
	    STORE(BPF_DW, BPF_REG_10, BPF_REG_1, KEY),
	    LOAD(BPF_DW, BPF_REG_1, BPF_REG_10, COMM + 8),
	    STORE(BPF_DW, BPF_REG_10, BPF_REG_1, KEY + 8),
	    STORE_IMM(BPF_B, BPF_REG_10, 1, KEY + KEY_IS_CUT));
	look_up_name(c, m, found);
	bpf_land_here(c, no.at, no.n);
}

/* r8: the thread; r9: how many processes have been looked at. Each round is of
 * a process and ends with the thread that started it. */
static void
look_up_family(struct bpf_code *c, const struct sock_class_maps *m,
    const uint32_t *at, struct exits *found, struct exits *e)
{
	struct exits parent = {.n = 0};
	unsigned round;

	BPF_APPEND(c, CALL(BPF_FUNC_get_current_task),
	    MOV_REG(BPF_REG_8, BPF_REG_0), MOV_IMM(BPF_REG_9, 0));
	round = c->n;
	follow(c, BPF_REG_8, at[LEADER]);
	BPF_APPEND(c, MOV_REG(BPF_REG_8, BPF_REG_3));
	look_up_process(c, m, at, found);
	BPF_APPEND(c, JUMP_NE(BPF_REG_9, 0, 0));
	jump_out(&parent, c);
	BPF_APPEND(c, MOV_REG(BPF_REG_1, BPF_REG_7),
	    AND_IMM(BPF_REG_1, MARK_CLASS_MASK), JUMP_NE(BPF_REG_1, 0, 0));
	jump_out(e, c);
	bpf_land_here(c, parent.at, parent.n);
	look_up_cut(c, m, at, found);
	follow(c, BPF_REG_8, at[PARENT]);
	/* The first of all is its own parent. */
	BPF_APPEND(c, JUMP_EQ_REG(BPF_REG_3, BPF_REG_8, 0));
	jump_out(e, c);
	BPF_APPEND(c, MOV_REG(BPF_REG_8, BPF_REG_3), ADD_IMM(BPF_REG_9, 1),
	    JUMP_LT(BPF_REG_9, ANCESTORS_MAX, 0));
	c->insn[c->n - 1].off = (int16_t)((int)round - (int)c->n);
}

/* at: NULL: the thread's name only. */
static int
load_names(const struct sock_class_maps *m, const uint32_t *at)
{
	struct bpf_code c = {.n = 0};
	struct exits e = {.n = 0}, found = {.n = 0};

	begin(&c, &e);
	BPF_APPEND(
	    &c, JUMP_GT(BPF_REG_2, CLASS_PROGRAM_MAX << MARK_CLASS_SHIFT, 0));
	jump_out(&e, &c);
	look_up_thread(&c, m, &found);
	if (at != NULL)
		look_up_family(&c, m, at, &found, &e);
	BPF_APPEND(&c, JUMP(0));
	jump_out(&e, &c);
	bpf_land_here(&c, found.at, found.n);
	BPF_APPEND(&c, LOAD(BPF_W, BPF_REG_1, BPF_REG_0, 0),
	    AND_IMM(BPF_REG_7, ~MARK_CLASS_MASK), OR_REG(BPF_REG_7, BPF_REG_1),
	    STORE(BPF_W, BPF_REG_6, BPF_REG_7, MARK));
	end(&c, &e);
	return load(&c);
}

int
sock_class_bpf_load_comm(const struct sock_class_maps *m)
{
	return load_names(m, NULL);
}

int
sock_class_bpf_load_names(const struct sock_class_maps *m)
{
	uint32_t at[FIELDS];

	if (kernel_fields_read(at, fields, FIELDS) < 0)
		return -ENOTSUP;
	return load_names(m, at);
}

static int
set(int map, const char key[static KEY_SIZE], enum mark_class class)
{
	uint32_t value = (uint32_t) class << MARK_CLASS_SHIFT;
	int r;

	if (class != CLASS_NONE)
		return bpf_map_set(map, key, &value);
	r = bpf_map_delete(map, key);
	return r == -ENOENT ? 0 : r;
}

int
sock_class_bpf_set(
    const struct sock_class_maps *m, const char *name, enum mark_class class)
{
	char key[KEY_SIZE] = "";
	size_t len = strlen(name);

	UK_ASSERT(len <= SOCK_CLASS_NAME_MAX);
	memcpy(key, name, len);
	return set(m->names, key, class);
}

int
sock_class_bpf_set_cut(
    const struct sock_class_maps *m, const char *name, enum mark_class class)
{
	char key[KEY_SIZE] = "";

	UK_ASSERT(strlen(name) > SOCK_CLASS_COMM_MAX);
	memcpy(key, name, COMM_SIZE - 1);
	key[KEY_IS_CUT] = 1;
	return set(m->names, key, class);
}

int
sock_class_bpf_judge(
    const struct sock_class_maps *m, int pid, uint64_t start, bool otherwise)
{
	const struct judged who = {(uint32_t)pid, (uint32_t)start};
	const uint32_t yes = 1;
	int r;

	if (otherwise)
		return bpf_map_set(m->judged, &who, &yes);
	r = bpf_map_delete(m->judged, &who);
	return r == -ENOENT ? 0 : r;
}
