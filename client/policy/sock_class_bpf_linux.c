#include "sock_class_bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/bpf.h"
#include "host/cgroup.h"

/* Since Linux 5.14; headers may be older than the kernel. */
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define COMM_SIZE 16 /* the kernel's, with its zero */
#define COMM_TO(r) MOV_REG(r, BPF_REG_10), ADD_IMM(r, -COMM_SIZE)
#define MARK ((int)offsetof(struct bpf_sock, mark))

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
	unsigned at[4], n; /* jumps to the end */
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

int
sock_class_bpf_map(void)
{
	return bpf_map_create(BPF_MAP_TYPE_HASH, COMM_SIZE, sizeof(uint32_t),
	    2 * CLASS_PROGRAM_MAX, 0, CGROUP_PROGRAM);
}

int
sock_class_bpf_load_names(int map)
{
	struct bpf_code c = {.n = 0};
	struct exits e = {.n = 0};

	begin(&c, &e);
	BPF_APPEND(
	    &c, JUMP_GT(BPF_REG_2, CLASS_PROGRAM_MAX << MARK_CLASS_SHIFT, 0));
	jump_out(&e, &c);
	BPF_APPEND(&c, COMM_TO(BPF_REG_1), MOV_IMM(BPF_REG_2, COMM_SIZE),
	    CALL(BPF_FUNC_get_current_comm),
	    LOAD_IMM64(BPF_REG_1, BPF_PSEUDO_MAP_FD, (uint32_t)map),
	    COMM_TO(BPF_REG_2), CALL(BPF_FUNC_map_lookup_elem),
	    JUMP_EQ(BPF_REG_0, 0, 0));
	jump_out(&e, &c);
	BPF_APPEND(&c, LOAD(BPF_W, BPF_REG_1, BPF_REG_0, 0),
	    AND_IMM(BPF_REG_7, ~MARK_CLASS_MASK), OR_REG(BPF_REG_7, BPF_REG_1),
	    STORE(BPF_W, BPF_REG_6, BPF_REG_7, MARK));
	end(&c, &e);
	return load(&c);
}

int
sock_class_bpf_set(int map, const char *name, enum mark_class class)
{
	uint32_t value = (uint32_t) class << MARK_CLASS_SHIFT;
	char key[COMM_SIZE] = "";
	size_t len = strlen(name);
	int r;

	UK_ASSERT(len <= SOCK_CLASS_NAME_MAX);
	memcpy(key, name, len);
	if (class != CLASS_NONE)
		return bpf_map_set(map, key, &value);
	r = bpf_map_delete(map, key);
	return r == -ENOENT ? 0 : r;
}
