/* hostfw_nft: what is behind struct hostfw. For hostfw_*.c only. */
#ifndef UKAI_HOSTFW_NFT_H
#define UKAI_HOSTFW_NFT_H

#include <nftables/libnftables.h>

#include "hostfw.h"
#include "nft_talk.h"

#define HOSTFW_NAME_MAX 32

struct hostfw {
	struct nft_ctx *nft;
	int owner; /* nft's socket: what owns the table */
	struct nft_talk talk; /* for questions: nothing of ours lies about on
				 the owner's socket */
	uint32_t seq; /* of the next batch on the owner's socket */
	bool no_destroy; /* the kernel has no NFT_MSG_DESTROYSETELEM */
	char name[HOSTFW_NAME_MAX + 1]; /* of our table; "": none yet */
};

/* A letter, then letters, digits, '_' and '-', at most HOSTFW_NAME_MAX: nothing
 * that nft's syntax could take for more than a name. */
bool hostfw_name_ok(const char *name);

#endif
