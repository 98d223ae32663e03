#include "bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void
bpf_append(struct bpf_code *c, const struct bpf_insn *insn, size_t n)
{
	UK_ASSERT(c->n + n <= ARRAY_LEN(c->insn));
	memcpy(c->insn + c->n, insn, n * sizeof(*insn));
	c->n += (unsigned)n;
}

void
bpf_land_here(struct bpf_code *c, const unsigned *at, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		c->insn[at[i]].off = (int16_t)(c->n - at[i] - 1);
}

static int
bpf(enum bpf_cmd cmd, union bpf_attr *a)
{
	int r = (int)syscall(SYS_bpf, cmd, a, sizeof(*a));

	return r < 0 ? -errno : r;
}

static void
put_name(char to[BPF_OBJ_NAME_LEN], const char *name)
{
	size_t len = strlen(name);

	UK_ASSERT(len < BPF_OBJ_NAME_LEN);
	memcpy(to, name, len);
}

int
bpf_load(const struct bpf_code *c, enum bpf_prog_type type,
    enum bpf_attach_type attach, const char *name)
{
	static const char license[] = "GPL"; /* of what it may call */
	union bpf_attr a = {.prog_type = type, .expected_attach_type = attach};

	a.insns = (uintptr_t)c->insn;
	a.insn_cnt = c->n;
	a.license = (uintptr_t)license;
	put_name(a.prog_name, name);
	return bpf(BPF_PROG_LOAD, &a);
}

int
bpf_map_create(enum bpf_map_type type, uint32_t key_bytes, uint32_t value_bytes,
    uint32_t entries, uint32_t flags, const char *name)
{
	union bpf_attr a = {.map_type = type,
	    .key_size = key_bytes,
	    .value_size = value_bytes,
	    .max_entries = entries,
	    .map_flags = flags};

	put_name(a.map_name, name);
	return bpf(BPF_MAP_CREATE, &a);
}

int
bpf_map_set(int map, const void *key, const void *value)
{
	union bpf_attr a = {.map_fd = (uint32_t)map};

	a.key = (uintptr_t)key;
	a.value = (uintptr_t)value;
	return bpf(BPF_MAP_UPDATE_ELEM, &a);
}

int
bpf_map_delete(int map, const void *key)
{
	union bpf_attr a = {.map_fd = (uint32_t)map};

	a.key = (uintptr_t)key;
	return bpf(BPF_MAP_DELETE_ELEM, &a);
}

int
bpf_cgroup_attach(int cgroup, int prog, enum bpf_attach_type type)
{
	union bpf_attr a = {.attach_type = type};

	a.target_fd = (uint32_t)cgroup;
	a.attach_bpf_fd = (uint32_t)prog;
	a.attach_flags = BPF_F_ALLOW_MULTI;
	return bpf(BPF_PROG_ATTACH, &a);
}

int
bpf_cgroup_detach(int cgroup, int prog, enum bpf_attach_type type)
{
	union bpf_attr a = {.attach_type = type};

	a.target_fd = (uint32_t)cgroup;
	a.attach_bpf_fd = (uint32_t)prog;
	return bpf(BPF_PROG_DETACH, &a);
}

int
bpf_cgroup_query(
    int cgroup, enum bpf_attach_type type, uint32_t *id, uint32_t *n)
{
	union bpf_attr a = {.query = {.attach_type = type}};
	int r;

	a.query.target_fd = (uint32_t)cgroup;
	a.query.prog_ids = (uintptr_t)id;
	a.query.prog_cnt = *n;
	r = bpf(BPF_PROG_QUERY, &a);
	*n = r < 0 ? 0 : a.query.prog_cnt;
	return r;
}

static int
info_of(int prog, struct bpf_prog_info *info)
{
	union bpf_attr a = {.info = {.bpf_fd = (uint32_t)prog}};

	memset(info, 0, sizeof(*info));
	a.info.info_len = sizeof(*info);
	a.info.info = (uintptr_t)info;
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &a);
}

int
bpf_prog_id(int prog, uint32_t *id)
{
	struct bpf_prog_info info;
	int r = info_of(prog, &info);

	*id = info.id;
	return r;
}

int
bpf_pin(int prog, const char *path)
{
	union bpf_attr a = {.bpf_fd = (uint32_t)prog};

	a.pathname = (uintptr_t)path;
	return bpf(BPF_OBJ_PIN, &a);
}

int
bpf_pinned(const char *path)
{
	union bpf_attr a = {.bpf_fd = 0};

	a.pathname = (uintptr_t)path;
	return bpf(BPF_OBJ_GET, &a);
}

int
bpf_prog_open(uint32_t id, const char *name)
{
	union bpf_attr a = {.prog_id = id};
	struct bpf_prog_info info;
	int fd = bpf(BPF_PROG_GET_FD_BY_ID, &a), r;

	if (fd < 0)
		return fd;
	r = info_of(fd, &info);
	if (r == 0 && strncmp(info.name, name, sizeof(info.name)) != 0)
		r = -ENOENT;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}
