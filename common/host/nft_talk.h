/* nft_talk: nftables by netlink, without libnftables: questions, dumps and
 * batches of changes. For hostfw*.c and undo_table.c only. Family "inet"
 * everywhere. Errors are negative errnos, to be said in words by callers. */
#ifndef UKAI_NFT_TALK_H
#define UKAI_NFT_TALK_H

#include <linux/netlink.h>

#include "core/base.h"

struct nft_talk {
	int fd; /* NETLINK_NETFILTER, bound */
	uint32_t seq;
};

/* A socket of our own, closed in programs that we start. */
int nft_talk_open(struct nft_talk *t);
void nft_talk_close(struct nft_talk *t);

#define NFT_TALK_REQUEST_SIZE 512
/* Begin a message: type is one of NFT_MSG_*. buf is aligned for it and has
 * NFT_TALK_REQUEST_SIZE bytes or more. */
struct nlmsghdr *nft_talk_put(
    void *buf, unsigned type, unsigned flags, uint32_t seq);

/* Ask, and visit each message of the answer when all of it is here: a dump
 * that the kernel says was disturbed is asked for again. Returns 0; an errno,
 * and nothing was visited. */
int nft_talk_ask(struct nft_talk *t, struct nlmsghdr *request,
    void (*visit)(void *arg, const struct nlmsghdr *h), void *arg);

/* Is there a table "inet NAME", and does a socket own it? Returns 0; -ENOENT;
 * another errno. */
int nft_talk_table(struct nft_talk *t, const char *name, bool *owned);

/* Changes that hold all or none. Zero, but for first, is an empty one. */
struct nft_batch {
	uint8_t *b;
	size_t len, cap;
	struct nlmsghdr *last;
	uint32_t first; /* sequence number of its beginning */
};

/* Append a message and leave room for NFT_TALK_REQUEST_SIZE bytes of it;
 * number: from 1, kept apart from other messages' by the caller. NULL: no
 * memory. Good until the next one. */
struct nlmsghdr *nft_batch_put(
    struct nft_batch *b, unsigned type, unsigned flags, uint32_t number);
/* The message that was put last has grown, and is to have room for as much
 * again. As above. */
struct nlmsghdr *nft_batch_more(struct nft_batch *b);
/* Send it, and take all answers off the socket; there are none before. wrong
 * is told which numbers were refused; 0: all as one. Does not wait: the
 * kernel answers before it returns. Returns 0: all of it holds; an errno: the
 * first one refused, and nothing has changed. */
int nft_batch_send(struct nft_batch *b, int fd,
    void (*wrong)(void *arg, uint32_t number, int error), void *arg);
void nft_batch_fini(struct nft_batch *b);

#endif
