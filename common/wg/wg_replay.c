#include "wg_replay.h"

#include "core/err.h"

#include <string.h>

void
wg_replay_init(struct wg_replay *r)
{
	memset(r, 0, sizeof(*r));
}

/* Clear the words between the newest counter's and n's. */
static void
advance(struct wg_replay *r, uint64_t n)
{
	uint64_t newest = r->next ? r->next - 1 : 0;
	uint64_t words = uk_min_u64(n / 64 - newest / 64, WG_REPLAY_WORDS);

	for (uint64_t i = 1; i <= words; i++)
		r->bits[(newest / 64 + i) % WG_REPLAY_WORDS] = 0;
	r->next = n + 1;
}

int
wg_replay_check(struct wg_replay *r, uint64_t n)
{
	uint64_t *word = &r->bits[n / 64 % WG_REPLAY_WORDS];
	uint64_t bit = UINT64_C(1) << (n % 64);

	if (n >= WG_REJECT_AFTER_MESSAGES)
		return UK_ELIMIT;
	if (n >= r->next)
		advance(r, n);
	else if (r->next - 1 - n > WG_REPLAY_WINDOW)
		return UK_EREPLAY;
	if (*word & bit)
		return UK_EREPLAY;
	*word |= bit;
	return 0;
}
