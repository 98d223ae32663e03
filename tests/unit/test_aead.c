#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <pthread.h>
#include <sodium.h>
#include <sys/mman.h>

#include "core/bytes.h"

/* The module under test is compiled in here: with a nonce whose first four
 * bytes can be chosen (WireGuard's are zero, those of the vectors are not),
 * with allocations that can fail, and with a second implementation that can be
 * a broken one. */
static uint8_t nonce_head[4];
#define store_le32(p, v) (memcpy(p, nonce_head, 4), (void)(v))
#include "core/aead_engine.h"
#undef store_le32

static int failing_allocation = -1; /* which one from now; -1: none */

static bool
may_allocate(void)
{
	return failing_allocation < 0 || failing_allocation-- > 0;
}

static void *
counted_malloc(size_t size)
{
	return may_allocate() ? malloc(size) : NULL;
}

static void *
counted_calloc(size_t n, size_t size)
{
	return may_allocate() ? calloc(n, size) : NULL;
}

/* How new a processor this is, at most. */
static enum { CPU_OLD, CPU_AVX2, CPU_AVX512 } cpu = CPU_AVX512;

#ifdef UKAI_IPSEC_MB
static bool
cpu_supports(const char *feature)
{
	if (strcmp(feature, "avx2") == 0)
		return cpu >= CPU_AVX2 && __builtin_cpu_supports("avx2");
	return cpu >= CPU_AVX512 && __builtin_cpu_supports("avx512f");
}
#define __builtin_cpu_supports(feature) cpu_supports(feature)
#endif

#define malloc counted_malloc
#define calloc counted_calloc
#include "core/aead_openssl.c"
#include "core/aead_self_test.c"
#ifdef UKAI_IPSEC_MB
#include "core/aead_ipsec_mb.c"
#else
#include "core/aead_ipsec_mb_none.c"
#endif
#undef malloc
#undef calloc

struct aead_engine *first_new(void), *second_new(void);
#define aead_openssl_new first_new
#define aead_ipsec_mb_new second_new
#include "core/aead.c"
#undef aead_openssl_new
#undef aead_ipsec_mb_new

static struct aead_engine *(*make_first)(void) = aead_openssl_new;
static struct aead_engine *(*make_second)(void) = aead_ipsec_mb_new;

struct aead_engine *
first_new(void)
{
	return make_first();
}

struct aead_engine *
second_new(void)
{
	return make_second();
}

#include "support/vectors.h"

/* The engines of this machine: OpenSSL, the best one, the next to it. They are
 * made past the self-test, which would hide one that is broken. */
static struct aead_engine *engines[3];
static unsigned n_engines;

static int
make_engines(void **state)
{
	(void)state;
	engines[n_engines++] = aead_engine_new(AEAD_OPENSSL);
	assert_non_null(engines[0]);
	for (cpu = CPU_AVX512; cpu > CPU_OLD; cpu--) {
		struct aead_engine *e = aead_ipsec_mb_new();

		if (e)
			engines[n_engines++] = e;
		else
			print_message("no ipsec-mb on this machine%s\n",
			    cpu == CPU_AVX2 ? ", nor its AVX2 code" : "");
	}
	cpu = CPU_AVX512;
	return 0;
}

static int
free_engines(void **state)
{
	(void)state;
	while (n_engines > 0)
		aead_engine_free(engines[--n_engines]);
	return 0;
}

static int
seal_bytes(struct aead_engine *e, const uint8_t *key, uint64_t counter,
    uint8_t *data, size_t len)
{
	struct aead_op op = {key, counter, data, (uint32_t)len, 1};

	aead_seal(e, &op, 1);
	return op.err;
}

static int
open_bytes(struct aead_engine *e, const uint8_t *key, uint64_t counter,
    uint8_t *data, size_t len)
{
	struct aead_op op = {key, counter, data, (uint32_t)len, 1};

	aead_open(e, &op, 1);
	return op.err;
}

static bool
all_zero(const uint8_t *p, size_t len)
{
	return sodium_is_zero(p, len) == 1;
}

#define MAX 1024

struct aead_case {
	uint8_t key[AEAD_KEY_LEN];
	uint8_t iv[64];
	uint8_t ad[MAX], msg[MAX], sealed[MAX + AEAD_TAG_LEN];
	size_t iv_len, ad_len, len, tag_len;
	bool valid;
};

static void
read_case(struct aead_case *c, const json_t *j)
{
	vectors_bytes(j, "key", c->key, sizeof(c->key));
	c->iv_len = vectors_hex(j, "iv", c->iv, sizeof(c->iv));
	c->ad_len = vectors_hex(j, "aad", c->ad, sizeof(c->ad));
	c->len = vectors_hex(j, "msg", c->msg, sizeof(c->msg));
	assert_int_equal(vectors_hex(j, "ct", c->sealed, MAX), c->len);
	c->tag_len = vectors_hex(j, "tag", c->sealed + c->len, AEAD_TAG_LEN);
	c->valid = strcmp(json_string_value(json_object_get(j, "result")),
		       "valid") == 0;
}

/* The functions of a handshake: libsodium. */
static void
run_once(const struct aead_case *c, uint64_t counter)
{
	uint8_t out[MAX + AEAD_TAG_LEN];
	int err;

	aead_seal_once(out, c->key, counter, c->ad, c->ad_len, c->msg, c->len);
	assert_int_equal(
	    memcmp(out, c->sealed, c->len + AEAD_TAG_LEN) == 0, c->valid);
	err = aead_open_once(out, c->key, counter, c->ad, c->ad_len, c->sealed,
	    c->len + AEAD_TAG_LEN);
	assert_int_equal(err, c->valid ? 0 : UK_EAUTH);
	if (c->valid)
		assert_memory_equal(out, c->msg, c->len);
}

/* The engines of sessions: in place, no additional data. */
static void
run_bulk(struct aead_engine *e, const struct aead_case *c, uint64_t counter)
{
	uint8_t buf[MAX + AEAD_TAG_LEN];
	int err;

	memcpy(buf, c->msg, c->len);
	assert_int_equal(seal_bytes(e, c->key, counter, buf, c->len), 0);
	assert_int_equal(
	    memcmp(buf, c->sealed, c->len + AEAD_TAG_LEN) == 0, c->valid);
	memcpy(buf, c->sealed, c->len + AEAD_TAG_LEN);
	err = open_bytes(e, c->key, counter, buf, c->len + AEAD_TAG_LEN);
	assert_int_equal(err, c->valid ? 0 : UK_EAUTH);
	if (c->valid)
		assert_memory_equal(buf, c->msg, c->len);
	else
		assert_true(all_zero(buf, c->len + AEAD_TAG_LEN));
}

static void
run_x(const struct aead_case *c)
{
	uint8_t out[MAX + AEAD_TAG_LEN];
	int err;

	aead_xseal(out, c->key, c->iv, c->ad, c->ad_len, c->msg, c->len);
	assert_int_equal(
	    memcmp(out, c->sealed, c->len + AEAD_TAG_LEN) == 0, c->valid);
	err = aead_xopen(out, c->key, c->iv, c->ad, c->ad_len, c->sealed,
	    c->len + AEAD_TAG_LEN);
	assert_int_equal(err, c->valid ? 0 : UK_EAUTH);
	if (c->valid)
		assert_memory_equal(out, c->msg, c->len);
}

struct counts {
	unsigned run, bulk, nonce_size;
};

static void
run_case(const struct aead_case *c, bool x, struct counts *n)
{
	uint64_t counter;

	if (c->iv_len != (x ? AEAD_XNONCE_LEN : AEAD_NONCE_LEN)) {
		n->nonce_size++; /* our functions cannot say it */
		return;
	}
	assert_int_equal(c->tag_len, AEAD_TAG_LEN);
	n->run++;
	if (x) {
		run_x(c);
		return;
	}
	memcpy(nonce_head, c->iv, sizeof(nonce_head));
	counter = load_le64(c->iv + sizeof(nonce_head));
	run_once(c, counter);
	if (c->ad_len > 0)
		return;
	for (unsigned i = 0; i < n_engines; i++)
		run_bulk(engines[i], c, counter);
	n->bulk++;
}

static struct counts
run_file(const char *name, bool x)
{
	json_t *file = vectors_load(name);
	struct counts n = {0, 0, 0};
	const json_t *group, *j;
	static struct aead_case c;
	size_t i, k;

	json_array_foreach(json_object_get(file, "testGroups"), i, group)
	{
		json_array_foreach(json_object_get(group, "tests"), k, j)
		{
			read_case(&c, j);
			run_case(&c, x, &n);
		}
	}
	json_decref(file);
	memset(nonce_head, 0, sizeof(nonce_head));
	return n;
}

static void
test_wycheproof(void **state)
{
	struct counts n = run_file("chacha20_poly1305_test.json", false);

	(void)state;
	assert_int_equal(n.run, 316);
	assert_int_equal(n.nonce_size, 9);
	assert_true(n.bulk > 30);
}

static void
test_wycheproof_x(void **state)
{
	struct counts n = run_file("xchacha20_poly1305_test.json", true);

	(void)state;
	assert_int_equal(n.run, 306);
	assert_int_equal(n.nonce_size, 9);
}

/* xorshift64, as random as the tests need. */
static uint64_t seed = 1;

static uint32_t
rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % below;
}

#define BATCH_MAX 48
#define JUMBO 65535
#define ROOM_MAX (JUMBO + 4096)

/* A batch against its twin, libsodium, packet by packet. */
struct batch {
	struct aead_op op[BATCH_MAX];
	unsigned n;
	size_t used;
	uint8_t keys[4][AEAD_KEY_LEN];
	uint8_t plain[ROOM_MAX], ours[ROOM_MAX], twin[ROOM_MAX];
};

/* Keys repeat, as they do when two clients send at once: the same key at the
 * same place (0, 1), and at another (2 is 1). */
static void
new_keys(struct batch *b)
{
	randombytes_buf_deterministic(b->keys, sizeof(b->keys),
	    (const uint8_t[randombytes_SEEDBYTES]){(uint8_t)rnd(256)});
	memcpy(b->keys[2], b->keys[1], AEAD_KEY_LEN);
}

static void
add_packet(struct batch *b, uint32_t len)
{
	b->used += rnd(5); /* any alignment */
	b->op[b->n++] = (struct aead_op){
	    .key = b->keys[rnd(4)],
	    .counter = (uint64_t)rnd(UINT32_MAX) << rnd(33),
	    .data = b->ours + b->used,
	    .len = len,
	    .err = 1,
	};
	b->used += len + AEAD_TAG_LEN;
	assert_true(b->used <= ROOM_MAX);
}

static void
check_sealed(struct aead_engine *e, struct batch *b)
{
	memcpy(b->ours, b->plain, b->used);
	memcpy(b->twin, b->plain, b->used);
	for (unsigned i = 0; i < b->n; i++) {
		const struct aead_op *op = &b->op[i];
		uint8_t *data = b->twin + (op->data - b->ours);

		aead_seal_once(
		    data, op->key, op->counter, NULL, 0, data, op->len);
	}
	aead_seal(e, b->op, b->n);
	for (unsigned i = 0; i < b->n; i++)
		assert_int_equal(b->op[i].err, 0);
	assert_memory_equal(b->ours, b->twin, b->used);
}

/* Open the batch with about one packet in four spoiled: those and no others
 * are refused, and nothing of them stays. */
static void
check_opened(struct aead_engine *e, struct batch *b)
{
	bool spoiled[BATCH_MAX];

	for (unsigned i = 0; i < b->n; i++) {
		struct aead_op *op = &b->op[i];

		op->len += AEAD_TAG_LEN;
		spoiled[i] = rnd(4) == 0;
		if (spoiled[i])
			op->data[rnd(op->len)] ^= (uint8_t)(1U << rnd(8));
	}
	aead_open(e, b->op, b->n);
	for (unsigned i = 0; i < b->n; i++) {
		const struct aead_op *op = &b->op[i];

		assert_int_equal(op->err, spoiled[i] ? UK_EAUTH : 0);
		if (spoiled[i])
			assert_true(all_zero(op->data, op->len));
		else
			assert_memory_equal(op->data,
			    b->plain + (op->data - b->ours),
			    op->len - AEAD_TAG_LEN);
	}
}

static void
check_batch(struct aead_engine *e, struct batch *b)
{
	check_sealed(e, b);
	check_opened(e, b);
	if (rnd(2))
		aead_engine_forget(e);
}

static void
start_batch(struct batch *b)
{
	b->n = 0;
	b->used = 0;
	new_keys(b);
	for (size_t i = 0; i < sizeof(b->plain); i += 61)
		b->plain[i] = (uint8_t)rnd(256);
}

/* Every length 0 to 2100 in order, in batches of any size. */
static void
test_every_length(void **state)
{
	static struct batch b;

	(void)state;
	for (unsigned k = 0; k < n_engines; k++) {
		for (uint32_t len = 0; len <= 2100;) {
			start_batch(&b);
			for (unsigned n = 1 + rnd(16); n > 0; n--)
				add_packet(&b, len++);
			check_batch(engines[k], &b);
		}
	}
}

/* Keepalives, small, full and jumbo packets of several sessions in one call.
 */
static void
test_mixed_batches(void **state)
{
	static const uint32_t lengths[] = {0, 16, 32, 64, 128, 512, 1420};
	static struct batch b;

	(void)state;
	for (unsigned round = 0; round < 100 * n_engines; round++) {
		start_batch(&b);
		if (rnd(8) == 0)
			add_packet(&b, rnd(4) ? 9000 : JUMBO - 16);
		while (b.n < BATCH_MAX && b.used + 1500 < ROOM_MAX && rnd(40))
			add_packet(&b, rnd(2)
					   ? rnd(1500)
					   : lengths[rnd(ARRAY_LEN(lengths))]);
		check_batch(engines[round % n_engines], &b);
	}
	aead_seal(engines[0], NULL, 0);
	aead_open(engines[0], NULL, 0);
}

static const uint8_t fixed_key[AEAD_KEY_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

/* P8: every bit of a message counts, whatever its length; so do the key, the
 * counter (high and low words) and where the message ends. */
static void
check_bits(struct aead_engine *e, size_t len)
{
	uint8_t sealed[256], buf[256];
	size_t all = len + AEAD_TAG_LEN;

	memset(sealed, 7, sizeof(sealed));
	assert_int_equal(seal_bytes(e, fixed_key, 5, sealed, len), 0);
	for (size_t bit = 0; bit < all * 8; bit++) {
		memcpy(buf, sealed, sizeof(buf));
		buf[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(
		    open_bytes(e, fixed_key, 5, buf, all), UK_EAUTH);
		assert_true(all_zero(buf, all));
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		memcpy(buf, sealed, sizeof(buf));
		assert_int_equal(open_bytes(e, fixed_key,
				     5 ^ (UINT64_C(1) << bit), buf, all),
		    UK_EAUTH);
	}
	for (unsigned bit = 0; bit < AEAD_KEY_LEN * 8; bit++) {
		uint8_t other[AEAD_KEY_LEN];

		memcpy(buf, sealed, sizeof(buf));
		memcpy(other, fixed_key, sizeof(other));
		other[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(open_bytes(e, other, 5, buf, all), UK_EAUTH);
	}
	for (size_t end = AEAD_TAG_LEN; end <= all + 16; end++) {
		memcpy(buf, sealed, sizeof(buf));
		assert_int_equal(open_bytes(e, fixed_key, 5, buf, end),
		    end == all ? 0 : UK_EAUTH);
	}
}

static void
test_every_bit_counts(void **state)
{
	static const size_t lengths[] = {0, 1, 15, 16, 17, 63, 64, 65, 129};

	(void)state;
	for (unsigned k = 0; k < n_engines; k++) {
		for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
			check_bits(engines[k], lengths[i]);
	}
	assert_int_equal(ERR_peek_error(), 0); /* nothing heaps up */
}

/* Vector code reads whole registers; not a byte beyond the packet, though:
 * here a page that may not be touched begins right after it, and before it. */
static void
test_nothing_beside_is_touched(void **state)
{
	const size_t page = 4096;
	uint8_t *p =
	    mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(p != MAP_FAILED);
	assert_int_equal(
	    mprotect(p + page, 2 * page, PROT_READ | PROT_WRITE), 0);
	for (unsigned k = 0; k < n_engines; k++) {
		for (size_t len = 0; len <= 1500; len++) {
			size_t all = len + AEAD_TAG_LEN;
			uint8_t *last = p + 3 * page - all;

			assert_int_equal(
			    seal_bytes(engines[k], fixed_key, len, last, len),
			    0);
			memcpy(p + page, last, all);
			assert_int_equal(
			    open_bytes(engines[k], fixed_key, len, last, all),
			    0);
			assert_int_equal(open_bytes(engines[k], fixed_key, len,
					     p + page, all),
			    0);
		}
	}
	munmap(p, 4 * page);
}

/* Whether the heap holds the first half of a key. */
static bool
heap_holds(const uint8_t *key)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[256];
	bool found = false;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long long from, to;

		if (!strstr(line, "[heap]") ||
		    sscanf(line, "%llx-%llx", &from, &to) != 2)
			continue;
		found |= memmem((const void *)(uintptr_t)from, to - from, key,
			     AEAD_KEY_LEN / 2) != NULL;
	}
	fclose(maps);
	return found;
}

/* X3: after a batch nothing of its keys is left in the engine. */
static void
test_forget(void **state)
{
	static uint8_t key[AEAD_KEY_LEN];
	uint8_t data[200] = {0}, *probe = malloc(AEAD_KEY_LEN);
	bool visible;

	(void)state;
	randombytes_buf(key, sizeof(key));
	assert_non_null(probe);
	memcpy(probe, key, sizeof(key));
	visible = heap_holds(key);
	sodium_memzero(probe, sizeof(key));
	free(probe);
	for (unsigned k = 0; k < n_engines; k++) {
		assert_int_equal(seal_bytes(engines[k], key, 1, data, 100), 0);
		if (k == 0)
			assert_int_equal(heap_holds(key), visible);
		aead_engine_forget(engines[k]);
		assert_false(heap_holds(key));
		assert_int_equal(open_bytes(engines[k], key, 1, data, 116), 0);
		aead_engine_forget(engines[k]);
		assert_false(heap_holds(key));
	}
	if (!visible) /* a sanitizer's allocator */
		skip();
}

#ifdef UKAI_IPSEC_MB
/* The same for the library's manager, which has memory of its own. */
static void
test_forget_manager(void **state)
{
	struct ipsec_mb *m = (struct ipsec_mb *)engines[1];
	static uint8_t key[AEAD_KEY_LEN];
	uint8_t data[200] = {0};

	(void)state;
	if (!m)
		skip();
	randombytes_buf(key, sizeof(key));
	assert_int_equal(seal_bytes(engines[1], key, 1, data, 100), 0);
	assert_int_equal(open_bytes(engines[1], key, 1, data, 116), 0);
	assert_false(all_zero(m->tag[0], sizeof(m->tag)));
	aead_engine_forget(engines[1]);
	assert_true(all_zero(m->tag[0], sizeof(m->tag)));
	assert_null(
	    memmem(m->mgr, imb_get_mb_mgr_size(), key, AEAD_KEY_LEN / 2));
}

static uint32_t
no_burst(IMB_MGR *mgr, uint32_t n, IMB_JOB **job)
{
	(void)mgr;
	(void)n;
	(void)job;
	return 0;
}

static void
check_fails(struct aead_engine *e)
{
	uint8_t data[32 + AEAD_TAG_LEN];

	memset(data, 1, sizeof(data));
	assert_int_equal(seal_bytes(e, fixed_key, 1, data, 32), UK_ECRYPTO);
	assert_true(all_zero(data, sizeof(data)));
	memset(data, 1, sizeof(data));
	aead_seal_once(data, fixed_key, 1, NULL, 0, data, 32);
	assert_int_equal(
	    open_bytes(e, fixed_key, 1, data, sizeof(data)), UK_EAUTH);
	assert_true(all_zero(data, sizeof(data)));
}

/* A library that takes no jobs, or keeps them: nothing is sent in the clear,
 * and one that keeps a job is not called again. */
static void
test_library_fails(void **state)
{
	struct ipsec_mb *m = (struct ipsec_mb *)aead_ipsec_mb_new();
	burst_fn_t next, submit;

	(void)state;
	if (!m)
		skip();
	next = m->mgr->get_next_burst;
	m->mgr->get_next_burst = no_burst;
	check_fails(&m->engine);
	m->mgr->get_next_burst = next;
	assert_true(aead_self_test(&m->engine));
	submit = m->mgr->submit_burst_nocheck;
	m->mgr->submit_burst_nocheck = no_burst;
	check_fails(&m->engine);
	m->mgr->submit_burst_nocheck = submit;
	check_fails(&m->engine);
	assert_false(aead_self_test(&m->engine));
	aead_engine_free(&m->engine);
}
#endif

/* OpenSSL with a fault: what a self-test is there for. */
enum fault {
	NO_FAULT,
	WRONG_AT_255,
	WRONG_AT_1427,
	WRONG_AT_65535,
	WRONG_TAG_AT_0,
	WRITES_BEYOND,
	LATE_KEY,
	SEAL_FAILS,
	OPENS_WRONG_AT_9000,
	ACCEPTS_ALL,
	ACCEPTS_ONE,
	REFUSES_ALL,
	REFUSES_NEIGHBOUR,
	N_FAULTS,
};

struct faulty {
	struct aead_engine engine;
	struct aead_engine *real;
};

static enum fault fault;

static void
faulty_seal(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	struct faulty *f = (struct faulty *)e;

	f->real->seal(f->real, op, n);
	for (unsigned i = 0; i < n; i++, op++) {
		if (fault == LATE_KEY && i == 7) {
			op->key = op[-1].key;
			f->real->seal(f->real, op, 1);
			op->key += AEAD_KEY_LEN;
		}
		if ((fault == WRONG_AT_255 && op->len == 255) ||
		    (fault == WRONG_AT_1427 && op->len == 1427) ||
		    (fault == WRONG_AT_65535 && op->len == 65535) ||
		    (fault == WRONG_TAG_AT_0 && op->len == 0))
			op->data[op->len / 2] ^= 1;
		if (fault == WRITES_BEYOND)
			op->data[op->len + AEAD_TAG_LEN] ^= 1;
		if (fault == SEAL_FAILS && op->len == 20)
			op->err = UK_ECRYPTO;
	}
}

/* How many packets were refused: the last of those that must be is accepted
 * with ACCEPTS_ONE. */
static unsigned refusals;

static void
faulty_open(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	struct faulty *f = (struct faulty *)e;
	bool any = false;

	f->real->open(f->real, op, n);
	for (unsigned i = 0; i < n; i++) {
		any |= op[i].err != 0;
		if (op[i].err && fault == ACCEPTS_ONE &&
		    ++refusals == REFUSED_LEN + AEAD_TAG_LEN)
			op[i].err = 0;
		if (fault == OPENS_WRONG_AT_9000 && op[i].len == 9016)
			op[i].data[8999] ^= 1;
		if (fault == ACCEPTS_ALL)
			op[i].err = 0;
		if (fault == REFUSES_ALL)
			op[i].err = UK_EAUTH;
	}
	for (unsigned i = 0; any && fault == REFUSES_NEIGHBOUR && i < n; i++)
		op[i].err = UK_EAUTH;
}

static void
faulty_free(struct aead_engine *e)
{
	struct faulty *f = (struct faulty *)e;

	aead_engine_free(f->real);
	free(f);
}

static struct aead_engine *
faulty_new(void)
{
	struct faulty *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->engine = (struct aead_engine){
	    "faulty", faulty_seal, faulty_open, NULL, faulty_free};
	f->real = aead_openssl_new();
	assert_non_null(f->real);
	return &f->engine;
}

static struct aead_engine *
none_new(void)
{
	return NULL;
}

/* name NULL: not to be had. */
static void
engine_is(enum aead_kind kind, const char *name)
{
	struct aead_engine *e = aead_engine_new(kind);

	if (name) {
		assert_non_null(e);
		assert_string_equal(aead_engine_name(e), name);
	} else {
		assert_null(e);
	}
	aead_engine_free(e);
}

/* An implementation with any of these faults is not used; without them it would
 * be. If it was the only one, nothing is: rather no tunnel than one that takes
 * what is forged. */
static void
test_self_test(void **state)
{
	(void)state;
	make_second = faulty_new;
	for (fault = NO_FAULT; fault < N_FAULTS; fault++) {
		bool none = fault == NO_FAULT;

		refusals = 0;
		engine_is(AEAD_IPSEC_MB, none ? "faulty" : NULL);
		refusals = 0;
		engine_is(AEAD_BEST, none ? "faulty" : "openssl");
		make_first = faulty_new;
		refusals = 0;
		engine_is(AEAD_OPENSSL, none ? "faulty" : NULL);
		make_first = aead_openssl_new;
	}
	make_second = aead_ipsec_mb_new;
}

/* By what was built, by the processor, by what is asked for. */
static void
test_choice(void **state)
{
	const char *best = aead_engine_name(engines[engines[1] ? 1 : 0]);

	(void)state;
	print_message("best here: %s\n", best);
	engine_is(AEAD_BEST, best);
	engine_is(AEAD_OPENSSL, "openssl");
	if (engines[1])
		engine_is(AEAD_IPSEC_MB, best);
	if (engines[2])
		assert_string_equal(
		    aead_engine_name(engines[2]), "ipsec-mb avx2");
	cpu = CPU_OLD;
	engine_is(AEAD_IPSEC_MB, NULL);
	engine_is(AEAD_BEST, "openssl");
	cpu = CPU_AVX512;
	make_second = none_new;
	engine_is(AEAD_IPSEC_MB, NULL);
	engine_is(AEAD_BEST, "openssl");
	make_second = aead_ipsec_mb_new;
	aead_engine_free(NULL);
}

static void
test_kind_parse(void **state)
{
	static const char *const bad[] = {
	    "", "Openssl", "openssl ", "ipsec_mb", "ipsec-m", "bes"};
	enum aead_kind kind = AEAD_BEST;

	(void)state;
	assert_true(aead_kind_parse("openssl", &kind));
	assert_int_equal(kind, AEAD_OPENSSL);
	assert_true(aead_kind_parse("ipsec-mb", &kind));
	assert_int_equal(kind, AEAD_IPSEC_MB);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(aead_kind_parse(bad[i], &kind));
		assert_int_equal(kind, AEAD_IPSEC_MB);
	}
	assert_true(aead_kind_parse("best", &kind));
	assert_string_equal(aead_kind_name(AEAD_IPSEC_MB), "ipsec-mb");
	assert_int_equal(kind, AEAD_BEST);
}

/* Each of our own allocations fails once: no engine, or the other one. */
static void
test_out_of_memory(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		failing_allocation = i;
		engine_is(AEAD_IPSEC_MB, NULL);
		failing_allocation = i;
		engine_is(AEAD_OPENSSL, NULL);
		failing_allocation = i;
		engine_is(AEAD_BEST, engines[1] ? "openssl" : NULL);
		failing_allocation = -1;
	}
	engine_is(AEAD_BEST, aead_engine_name(engines[engines[1] ? 1 : 0]));
}

/* Engines of several threads run at once (for the thread sanitizer, too). */
static void *
run_thread(void *arg)
{
	uint8_t key[AEAD_KEY_LEN] = {*(const uint8_t *)arg};
	uint8_t a[256 + AEAD_TAG_LEN] = {0}, b[256 + AEAD_TAG_LEN];
	struct aead_engine *e = aead_engine_new(AEAD_BEST);
	bool ok = e != NULL;

	for (uint64_t i = 0; ok && i < 2000; i++) {
		size_t len = i % 256;

		aead_seal_once(b, key, i, NULL, 0, a, len);
		ok = seal_bytes(e, key, i, a, len) == 0 &&
		     memcmp(a, b, len + AEAD_TAG_LEN) == 0 &&
		     open_bytes(e, key, i, a, len + AEAD_TAG_LEN) == 0;
		if (i % 32 == 31)
			aead_engine_forget(e);
	}
	aead_engine_free(e);
	return ok ? arg : NULL;
}

static void
test_threads(void **state)
{
	static uint8_t who[3] = {1, 2, 3};
	pthread_t t[ARRAY_LEN(who)];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(who); i++)
		assert_int_equal(
		    pthread_create(&t[i], NULL, run_thread, &who[i]), 0);
	for (size_t i = 0; i < ARRAY_LEN(who); i++) {
		void *result;

		assert_int_equal(pthread_join(t[i], &result), 0);
		assert_ptr_equal(result, &who[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_wycheproof),
	    cmocka_unit_test(test_wycheproof_x),
	    cmocka_unit_test(test_every_length),
	    cmocka_unit_test(test_mixed_batches),
	    cmocka_unit_test(test_every_bit_counts),
	    cmocka_unit_test(test_nothing_beside_is_touched),
	    cmocka_unit_test(test_forget),
#ifdef UKAI_IPSEC_MB
	    cmocka_unit_test(test_forget_manager),
	    cmocka_unit_test(test_library_fails),
#endif
	    cmocka_unit_test(test_self_test),
	    cmocka_unit_test(test_choice),
	    cmocka_unit_test(test_kind_parse),
	    cmocka_unit_test(test_out_of_memory),
	    cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, make_engines, free_engines);
}
