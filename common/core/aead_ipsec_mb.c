/* The bulk cipher by Intel's multi-buffer library (libipsec-mb, BSD licence),
 * for x86-64 with AVX2 or more. Its three ways to be called, beside OpenSSL
 * 3.0 (ns per packet of 32 / 100 / 1420 bytes, medians of one interleaved run
 * on a busy Ice Lake at 2.8 GHz, 32 packets of one key a call):
 *
 *   AVX-512: direct calls: init, update, finalize      333 / 373 /  778
 *            job by job                                202 / 229 /  658
 *            job by job, unchecked                     170 / 201 /  625
 *            a burst of jobs                           185 / 209 /  643
 *            a burst of jobs, unchecked                158 / 187 /  622
 *            OpenSSL                                   567 / 770 / 1183
 *   AVX2:    job by job, unchecked                     268 / 308 / 1466
 *            OpenSSL, held to AVX2                     640 / 807 / 1697
 *   SSE:     job by job, unchecked                     231 / 364 / 2100
 *
 * So: bursts, unchecked (all that is checked is filled in below), with AVX-512
 * or AVX2. Bursts also keep threads out of each other's way: at each of its
 * calls the library writes an errno that the whole process has in common.
 *
 * Memory: a manager is 200 KB, all of it touched when it is set up, most of it
 * for ciphers that collect packets until a vector is full, which this one does
 * not. Each engine has its own, since every call writes to it. Its set-up also
 * runs the library's tests of all its ciphers: 0.2 ms, and 3.4 MB of code mapped
 * in which is never run again. */
#include "aead_engine.h"
#include "err.h"

#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <stdlib.h>

/* At most IMB_MAX_BURST_SIZE; jobs and scratch of 32 fit the L1 cache. */
#define BURST 32

struct ipsec_mb {
	struct aead_engine engine;
	IMB_MGR *mgr;
	bool broken;
	IMB_JOB *job[BURST];
	uint8_t nonce[BURST][16]; /* 12 used */
	uint8_t tag[BURST][AEAD_TAG_LEN]; /* computed, to be compared */
};

static void
fill_job(IMB_JOB *job, const struct aead_op *op, const uint8_t *nonce)
{
	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->enc_keys = op->key;
	job->dec_keys = op->key;
	job->key_len_in_bytes = AEAD_KEY_LEN;
	job->iv = nonce;
	job->iv_len_in_bytes = AEAD_NONCE_LEN;
	job->u.CHACHA20_POLY1305.aad = NULL;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
	job->src = op->data;
	job->dst = op->data;
	job->cipher_start_src_offset_in_bytes = 0;
	job->hash_start_src_offset_in_bytes = 0;
	job->auth_tag_output_len_in_bytes = AEAD_TAG_LEN;
}

static void
fill_seal(IMB_JOB *job, const struct aead_op *op)
{
	job->cipher_direction = IMB_DIR_ENCRYPT;
	job->chain_order = IMB_ORDER_CIPHER_HASH;
	job->msg_len_to_cipher_in_bytes = op->len;
	job->msg_len_to_hash_in_bytes = op->len;
	job->auth_tag_output = op->data + op->len;
}

static void
fill_open(IMB_JOB *job, const struct aead_op *op, uint8_t *tag)
{
	job->cipher_direction = IMB_DIR_DECRYPT;
	job->chain_order = IMB_ORDER_HASH_CIPHER;
	job->msg_len_to_cipher_in_bytes = op->len - AEAD_TAG_LEN;
	job->msg_len_to_hash_in_bytes = op->len - AEAD_TAG_LEN;
	job->auth_tag_output = tag;
}

/* Run n <= BURST operations; their jobs come back in their order. Returns false
 * when the library does not do as it says, which the self-test finds. It is not
 * called again then: a job left behind in it would write to packets that are
 * gone. */
static bool
run_burst(struct ipsec_mb *m, const struct aead_op *op, unsigned n, bool open)
{
	uint32_t done;

	if (m->broken || IMB_GET_NEXT_BURST(m->mgr, n, m->job) != n)
		return false;
	for (unsigned i = 0; i < n; i++) {
		aead_nonce(m->nonce[i], op[i].counter);
		fill_job(m->job[i], &op[i], m->nonce[i]);
		if (open)
			fill_open(m->job[i], &op[i], m->tag[i]);
		else
			fill_seal(m->job[i], &op[i]);
#if IMB_VERSION_NUM >= IMB_VERSION(1, 4, 0)
		imb_set_session(m->mgr, m->job[i]);
#endif
	}
	done = IMB_SUBMIT_BURST_NOCHECK(m->mgr, n, m->job);
	if (done < n)
		done += IMB_FLUSH_BURST(m->mgr, n - done, m->job + done);
	m->broken = done != n;
	return !m->broken;
}

static void
ipsec_mb_seal(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	struct ipsec_mb *m = (struct ipsec_mb *)e;

	while (n > 0) {
		unsigned k = n < BURST ? n : BURST;
		bool ran = run_burst(m, op, k, false);

		for (unsigned i = 0; i < k; i++, op++) {
			bool ok =
			    ran && m->job[i]->status == IMB_STATUS_COMPLETED;

			op->err = ok ? 0 : UK_ECRYPTO;
		}
		n -= k;
	}
}

static void
ipsec_mb_open(struct aead_engine *e, struct aead_op *op, unsigned n)
{
	struct ipsec_mb *m = (struct ipsec_mb *)e;

	while (n > 0) {
		unsigned k = n < BURST ? n : BURST;
		bool ran = run_burst(m, op, k, true);

		for (unsigned i = 0; i < k; i++, op++) {
			const uint8_t *tag = op->data + op->len - AEAD_TAG_LEN;
			bool ok =
			    ran && m->job[i]->status == IMB_STATUS_COMPLETED &&
			    CRYPTO_memcmp(m->tag[i], tag, AEAD_TAG_LEN) == 0;

			op->err = ok ? 0 : UK_EAUTH;
		}
		n -= k;
	}
}

/* The library clears registers and stack after each job (SAFE_DATA is asked
 * for below), and its jobs keep only the places of keys. What is left is tags:
 * those that forged packets should have had. */
static void
ipsec_mb_forget(struct aead_engine *e)
{
	struct ipsec_mb *m = (struct ipsec_mb *)e;

	sodium_memzero(m->tag, sizeof(m->tag));
}

static void
ipsec_mb_free(struct aead_engine *e)
{
	struct ipsec_mb *m = (struct ipsec_mb *)e;

	ipsec_mb_forget(e);
	if (m->mgr)
		free_mb_mgr(m->mgr);
	free(m);
}

/* The library knows what of the processor it needs, but not whether the system
 * saves the wide registers; the compiler's runtime looks at that, too.
 * Returns the engine's name, or NULL. */
static const char *
init_manager(IMB_MGR *mgr)
{
	uint64_t has = mgr->features;
	const char *name;

	if (!(has & IMB_FEATURE_SAFE_DATA))
		return NULL;
	if ((has & IMB_CPUFLAGS_AVX512) == IMB_CPUFLAGS_AVX512 &&
	    __builtin_cpu_supports("avx512f")) {
		init_mb_mgr_avx512(mgr);
		name = "ipsec-mb avx512";
	} else if ((has & IMB_CPUFLAGS_AVX2) == IMB_CPUFLAGS_AVX2 &&
		   __builtin_cpu_supports("avx2")) {
		init_mb_mgr_avx2(mgr);
		name = "ipsec-mb avx2";
	} else {
		return NULL;
	}
	return imb_get_errno(mgr) == 0 ? name : NULL;
}

struct aead_engine *
aead_ipsec_mb_new(void)
{
	struct ipsec_mb *m = calloc(1, sizeof(*m));
	const char *name;

	if (!m)
		return NULL;
	m->mgr = alloc_mb_mgr(0);
	name = m->mgr ? init_manager(m->mgr) : NULL;
	if (!name) {
		ipsec_mb_free(&m->engine);
		return NULL;
	}
	m->engine = (struct aead_engine){
	    name, ipsec_mb_seal, ipsec_mb_open, ipsec_mb_forget, ipsec_mb_free};
	return &m->engine;
}
