#include "wg_batch.h"

#include <stdlib.h>

struct wg_tx *
wg_tx_new(void)
{
	return calloc(1, sizeof(struct wg_tx));
}

void
wg_tx_free(struct wg_tx *tx)
{
	UK_ASSERT(!tx || tx->nflights == 0);
	free(tx);
}

struct wg_rx *
wg_rx_new(void)
{
	return calloc(1, sizeof(struct wg_rx));
}

void
wg_rx_free(struct wg_rx *rx)
{
	UK_ASSERT(!rx || rx->nheld == 0);
	free(rx);
}

/* Close the gaps that failed messages leave. */
static void
drop_failed(struct wg_tx *tx)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < tx->n; i++) {
		if (tx->op[i].err != 0)
			tx->failed++;
		else
			tx->dgram[kept++] = tx->dgram[i];
	}
	tx->n = kept;
}

void
wg_tx_seal(struct wg_tx *tx, struct aead_engine *e)
{
	bool failed = false;

	aead_seal(e, tx->op, tx->n);
	aead_engine_forget(e);
	for (unsigned i = 0; i < tx->n; i++)
		failed |= tx->op[i].err != 0;
	if (failed)
		drop_failed(tx);
}

void
wg_rx_open(struct wg_rx *rx, struct aead_engine *e)
{
	aead_open(e, rx->op, rx->n);
	aead_engine_forget(e);
}
