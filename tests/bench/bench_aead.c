/* ukai-bench-aead: what one packet costs in the bulk cipher, for each engine
 * of this machine and for libsodium. Prints a Markdown table: ns per packet, in
 * calls of 32 packets of one session, as a median of interleaved rounds.
 *
 *	ukai-bench-aead [ROUNDS]
 */
#include "core/aead.h"
#include "measure.h"

#include <err.h>
#include <sodium.h>
#include <string.h>

/* Of one call. */
#define PACKETS 32
/* Several calls are timed at once, or reading the clock would show. */
#define PREPARED (4 * PACKETS)
#define ROOM 1536
#define ROUNDS 1000
#define ROUNDS_MAX 10000

static const uint32_t lengths[] = {32, 128, 576, 1420};

static const uint8_t key[AEAD_KEY_LEN] = {1, 2, 3};
static uint8_t plain[PREPARED][ROOM], sealed[PREPARED][ROOM],
    work[PREPARED][ROOM];

/* engine NULL: libsodium. */
struct row {
	struct aead_engine *engine;
	const char *name;
	bool open;
	double ns[ARRAY_LEN(lengths)][ROUNDS_MAX]; /* a packet */
};

static void
run_sodium(struct aead_op *op, bool open)
{
	for (unsigned i = 0; i < PACKETS; i++, op++) {
		if (open)
			op->err = aead_open_once(op->data, op->key, op->counter,
			    NULL, 0, op->data, op->len);
		else
			aead_seal_once(op->data, op->key, op->counter, NULL, 0,
			    op->data, op->len);
	}
}

static void
run(const struct row *r, struct aead_op *op)
{
	if (!r->engine)
		run_sodium(op, r->open);
	else if (r->open)
		aead_open(r->engine, op, PACKETS);
	else
		aead_seal(r->engine, op, PACKETS);
	if (r->engine)
		aead_engine_forget(r->engine);
}

/* Returns what a packet of len bytes takes. */
static double
measure(const struct row *r, uint32_t len)
{
	struct aead_op op[PREPARED];
	double start, took;

	for (unsigned i = 0; i < PREPARED; i++)
		op[i] = (struct aead_op){.key = key,
		    .counter = i,
		    .data = work[i],
		    .len = r->open ? len + AEAD_TAG_LEN : len};
	memcpy(work, r->open ? sealed : plain, sizeof(work));
	start = measure_now_ns();
	for (unsigned i = 0; i < PREPARED; i += PACKETS)
		run(r, op + i);
	took = measure_now_ns() - start;
	for (unsigned i = 0; i < PREPARED; i++) {
		if (op[i].err)
			errx(1, "%s fails", r->name);
	}
	return took / PREPARED;
}

static void
seal_all(uint32_t len)
{
	for (unsigned i = 0; i < PREPARED; i++)
		aead_seal_once(sealed[i], key, i, NULL, 0, plain[i], len);
}

static unsigned
add_rows(struct row *r, enum aead_kind kind)
{
	struct aead_engine *e = aead_engine_new(kind);

	if (!e)
		return 0;
	for (unsigned i = 0; i < 2; i++)
		r[i] = (struct row){
		    .engine = e, .name = aead_engine_name(e), .open = i};
	return 2;
}

static void
print_row(struct row *r, unsigned rounds)
{
	printf("| %s | %s |", r->name, r->open ? "open" : "seal");
	for (size_t k = 0; k < ARRAY_LEN(lengths); k++)
		printf(" %.0f |", measure_median(r->ns[k], rounds));
	printf("\n");
}

static void
print_table(struct row *rows, unsigned n, unsigned rounds)
{
	printf("| ns per packet | |");
	for (size_t k = 0; k < ARRAY_LEN(lengths); k++)
		printf(" %u bytes |", lengths[k]);
	printf("\n| --- | --- |");
	for (size_t k = 0; k < ARRAY_LEN(lengths); k++)
		printf(" ---: |");
	printf("\n");
	for (unsigned i = 0; i < n; i++)
		print_row(&rows[i], rounds);
}

int
main(int argc, char **argv)
{
	static struct row rows[6];
	unsigned rounds = measure_rounds(argc, argv, ROUNDS, ROUNDS_MAX);
	unsigned n = 2;

	if (sodium_init() < 0) /* without, it takes its slowest code */
		errx(1, "libsodium does not start");
	rows[0].name = rows[1].name = "libsodium";
	rows[1].open = true;
	n += add_rows(&rows[n], AEAD_OPENSSL);
	n += add_rows(&rows[n], AEAD_IPSEC_MB);
	for (unsigned round = 0; round < rounds; round++) {
		for (size_t k = 0; k < ARRAY_LEN(lengths); k++) {
			seal_all(lengths[k]);
			for (unsigned i = 0; i < n; i++)
				rows[i].ns[k][round] =
				    measure(&rows[i], lengths[k]);
		}
	}
	print_table(rows, n, rounds);
	for (unsigned i = 2; i < n; i += 2)
		aead_engine_free(rows[i].engine);
	return 0;
}
