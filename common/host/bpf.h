/* bpf: the system call, and the few instructions that our programs are made
 * of. They are written by hand: nothing is compiled at run time, and no library
 * is needed. Linux. Functions return a descriptor or 0; negative errno. */
#ifndef UKAI_BPF_H
#define UKAI_BPF_H

#include <linux/bpf.h>

#include "core/base.h"

#define BPF_INSN(op, d, s, o, i)                                               \
	((struct bpf_insn){.code = (uint8_t)(op),                              \
	    .dst_reg = (d)&0xfu,                                               \
	    .src_reg = (s)&0xfu,                                               \
	    .off = (int16_t)(o),                                               \
	    .imm = (int32_t)(i)})
#define MOV_REG(d, s) BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_IMM(d, i) BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD_IMM(d, i) BPF_INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define AND_IMM(d, i) BPF_INSN(BPF_ALU64 | BPF_AND | BPF_K, d, 0, 0, i)
#define OR_IMM(d, i) BPF_INSN(BPF_ALU64 | BPF_OR | BPF_K, d, 0, 0, i)
#define OR_REG(d, s) BPF_INSN(BPF_ALU64 | BPF_OR | BPF_X, d, s, 0, 0)
#define DIV_IMM(d, i) BPF_INSN(BPF_ALU64 | BPF_DIV | BPF_K, d, 0, 0, i)
#define LOAD(size, d, s, o) BPF_INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE(size, d, s, o) BPF_INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define STORE_IMM(size, d, i, o)                                               \
	BPF_INSN(BPF_ST | BPF_MEM | (size), d, 0, o, i)
#define INCREMENT(d, s)                                                        \
	BPF_INSN(BPF_STX | BPF_ATOMIC | BPF_DW, d, s, 0, BPF_ADD)
#define JUMP(o) BPF_INSN(BPF_JMP | BPF_JA, 0, 0, 0, o)
#define JUMP_EQ(d, i, o) BPF_INSN(BPF_JMP | BPF_JEQ | BPF_K, d, 0, o, i)
#define JUMP_NE(d, i, o) BPF_INSN(BPF_JMP | BPF_JNE | BPF_K, d, 0, o, i)
#define JUMP_GT(d, i, o) BPF_INSN(BPF_JMP | BPF_JGT | BPF_K, d, 0, o, i)
#define JUMP_EQ_REG(d, s, o) BPF_INSN(BPF_JMP | BPF_JEQ | BPF_X, d, s, o, 0)
#define JUMP_NE_REG(d, s, o) BPF_INSN(BPF_JMP | BPF_JNE | BPF_X, d, s, o, 0)
#define JUMP_LT(d, i, o) BPF_INSN(BPF_JMP | BPF_JLT | BPF_K, d, 0, o, i)
#define CALL(f) BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define EXIT() BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* Two instructions: a 64-bit number, or (pseudo) something of a descriptor. */
#define LOAD_IMM64(d, pseudo, v)                                               \
	BPF_INSN(BPF_LD | BPF_DW | BPF_IMM, d, pseudo, 0, (uint32_t)(v)),      \
	    BPF_INSN(0, 0, 0, 0, (uint32_t)((uint64_t)(v) >> 32))

struct bpf_code {
	struct bpf_insn insn[256];
	unsigned n;
};

void bpf_append(struct bpf_code *c, const struct bpf_insn *insn, size_t n);
#define BPF_APPEND(c, ...)                                                     \
	bpf_append(c, (const struct bpf_insn[]){__VA_ARGS__},                  \
	    sizeof((const struct bpf_insn[]){__VA_ARGS__}) /                   \
		sizeof(struct bpf_insn))
/* The jumps that stand at these places go to what is appended next. */
void bpf_land_here(struct bpf_code *c, const unsigned *at, unsigned n);

/* name: at most 15 bytes, letters, digits and "_". */
int bpf_load(const struct bpf_code *c, enum bpf_prog_type type,
    enum bpf_attach_type attach, const char *name);
int bpf_map_create(enum bpf_map_type type, uint32_t key_bytes,
    uint32_t value_bytes, uint32_t entries, uint32_t flags, const char *name);
/* key and value have the map's sizes. */
int bpf_map_set(int map, const void *key, const void *value);
int bpf_map_delete(int map, const void *key);

/* Programs at a cgroup, beside those of others. */
int bpf_cgroup_attach(int cgroup, int prog, enum bpf_attach_type type);
int bpf_cgroup_detach(int cgroup, int prog, enum bpf_attach_type type);
/* The programs at this cgroup itself, at most *n; *n: how many. */
int bpf_cgroup_query(
    int cgroup, enum bpf_attach_type type, uint32_t *id, uint32_t *n);

int bpf_prog_id(int prog, uint32_t *id);
/* A name for a program in a bpf file system, so that it can be had again. */
int bpf_pin(int prog, const char *path);
int bpf_pinned(const char *path);
/* A descriptor of the program with this number and this name. Wants
 * CAP_SYS_ADMIN. -ENOENT: there is none. */
int bpf_prog_open(uint32_t id, const char *name);

#endif
