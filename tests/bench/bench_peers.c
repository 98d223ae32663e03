/* ukai-bench-peers: what a configured peer costs in memory, and what it costs
 * the packets of others in time.
 *
 *	ukai-bench-peers [ROUNDS]
 *
 * Each peer has a public key, a psk, one /32, an endpoint and a persistent
 * keepalive; the active ones have a session. Memory is the heap's growth in a
 * child process that does nothing else. It is that of the device alone: what a
 * relay keeps of a peer besides is not in it.
 *
 * Time is thread CPU time: each round takes a batch through every device, to or
 * from active peers drawn at random: another one for each packet, which is the
 * worst there is for caches, and one for RUN packets, as segmentation offload
 * brings them. The devices take turns in being first. The table has medians
 * over the rounds, and medians of each round's ratio to the device of 10 peers.
 *
 * For tests/bench/run:
 *
 *	peers-bytes         heap for each of 10,000 peers
 *	peers-time-ratio    10,000 peers to 10, 10 of them active in both; of a
 *	                    packet in or out, alone or in runs, the worst
 *	peers-active-ratio  1,000 active of 10,000 to 10 of 10, in runs; the
 *	                    worse of in and out
 */
#include <malloc.h>
#include <sodium.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/aead.h"
#include "core/bytes.h"
#include "core/err.h"
#include "measure.h"
#include "noise_end.h"
#include "wg/wg_batch.h"
#include "wg/wg_device.h"

#define ACTIVE_MAX 1000
#define BATCH 64
#define RUN 16
#define ROUNDS 1000
#define PACKET_LEN 64
#define ROOM (WG_SEAL_HEADROOM + PACKET_LEN + WG_SEAL_TAILROOM)

/* The other end of an active peer. */
struct client {
	struct noise_end end;
	uint32_t address; /* in the tunnel */
	uint8_t index[4]; /* of the device, for messages to it */
	uint64_t counter;
};

enum figure {
	HEAP_PEER,
	HEAP_SESSION,
	NS_ROUTE,
	NS_INDEX,
	NS_OUT,
	NS_IN,
	NS_OUT_RUN,
	NS_IN_RUN,
	FIGURES
};

/* One device, and its look-up tables once more by themselves. */
struct setup {
	unsigned peers, active;
	struct wg_device *d;
	struct client *client; /* of the active ones */
	struct lpm *routes;
	struct lpm_owner *owner; /* of each peer */
	struct wg_index_table indices;
	struct wg_index *entry; /* of each client */
	double ns[FIGURES][ROUNDS];
	double result[FIGURES];
	double ratio[FIGURES]; /* to FEW; not of memory */
};

struct bench {
	struct noise_bench base;
	struct aead_engine *engine;
	struct wg_tx *tx;
	uint8_t room[BATCH][ROOM];
};

enum { FEW, ALL_ACTIVE, MANY, MANY_ACTIVE };

static struct setup setups[] = {
    [FEW] = {.peers = 10, .active = 10},
    [ALL_ACTIVE] = {.peers = 1000, .active = 1000},
    [MANY] = {.peers = 10000, .active = 10},
    [MANY_ACTIVE] = {.peers = 10000, .active = 1000},
};

/* ---- making a device ---- */

static void *
need(size_t n, size_t size)
{
	void *p = calloc(n, size);

	UK_ASSERT(p);
	return p;
}

static uint32_t
address_of(unsigned peer)
{
	return 0x0a400000 + peer; /* 10.64.0.0 and on */
}

static struct ip_prefix
prefix_of(unsigned peer)
{
	struct ip_prefix p = {.addr.family = FAMILY_V4, .bits = 32};

	store_be32(p.addr.b, address_of(peer));
	return p;
}

/* The active ones lie evenly among all. */
static unsigned
peer_of_client(const struct setup *s, unsigned client)
{
	return client * (s->peers / s->active);
}

static void
add_peer(struct bench *t, struct setup *s, unsigned i)
{
	unsigned step = s->peers / s->active;
	struct ip_prefix prefix = prefix_of(i);
	struct wg_key key, psk;
	struct wg_peer *p;

	randombytes_buf(key.b, sizeof(key.b));
	randombytes_buf(psk.b, sizeof(psk.b));
	if (i % step == 0) {
		key = s->client[i / step].end.us.public_key;
		psk = s->client[i / step].end.them.psk;
	}
	p = wg_device_add(s->d, &key);
	UK_ASSERT(p);
	wg_peer_set_psk(p, &psk);
	wg_peer_set_endpoint(p, &t->base.at);
	wg_peer_set_keepalive(p, 25);
	UK_ASSERT(wg_peer_allow(s->d, p, &prefix) == 0);
}

static void
make_clients(struct bench *t, struct setup *s)
{
	struct wg_identity far;
	struct noise_end hub;

	s->client = need(s->active, sizeof(*s->client));
	for (unsigned i = 0; i < s->active; i++) {
		noise_identity_draw(&far);
		noise_end_pair(
		    t->base.b, &s->client[i].end, &far, &hub, &t->base.hub);
		s->client[i].address = address_of(peer_of_client(s, i));
	}
}

static void
make_device(struct bench *t, struct setup *s)
{
	struct wg_device_conf c;

	wg_device_conf_default(&c);
	s->d = wg_device_new(&c);
	UK_ASSERT(s->d);
	wg_device_set_private_key(s->d, &t->base.hub.private_key);
}

static void
add_peers(struct bench *t, struct setup *s)
{
	for (unsigned i = 0; i < s->peers; i++)
		add_peer(t, s, i);
}

/* ---- sessions and packets, by way of the device's data path ---- */

/* Give the device n datagrams; returns how many packets came out. */
static unsigned
carry_in(struct bench *t, struct wg_device *d, struct dgram *in, unsigned n)
{
	wg_device_sort(d, t->base.now, t->base.rx, in, n);
	wg_rx_open(t->base.rx, t->engine);
	wg_device_accept(d, t->base.now, t->base.rx);
	return t->base.rx->npackets;
}

/* Give the device n packets; returns how many messages they made. */
static unsigned
carry_out(
    struct bench *t, struct wg_device *d, const struct pbuf *packet, unsigned n)
{
	unsigned made;

	wg_device_route(d, t->base.now, t->tx, packet, n);
	wg_tx_seal(t->tx, t->engine);
	made = t->tx->n;
	wg_device_sent(d, t->tx);
	return made;
}

static void
connect_client(struct bench *t, struct setup *s, struct client *c)
{
	struct wg_own own = {.queued = NULL};
	struct dgram in = {.ep = &t->base.at};
	struct noise_message m;
	int did;

	noise_end_call(t->base.b, &c->end, t->base.now.wall_ns, &m);
	in.buf = pbuf_make(m.b, sizeof(m.b), 0, m.len);
	carry_in(t, s->d, &in, 1);
	do
		did = wg_device_next(s->d, t->base.now, &own);
	while (did == UK_EAGAIN);
	UK_ASSERT(did == 1);
	m.len = own.dgram.buf.len;
	memcpy(m.b, pbuf_data(&own.dgram.buf), m.len);
	wg_own_fini(&own);
	noise_end_finish(t->base.b, &c->end, &m);
	memcpy(c->index, ((struct wg_response *)m.b)->sender, 4);
}

static void
fill_packet(uint8_t *p, uint32_t src, uint32_t dst)
{
	memset(p, 0, PACKET_LEN);
	p[0] = 0x45;
	store_be16(p + 2, PACKET_LEN);
	p[8] = 64;
	p[9] = 253; /* for experiments */
	store_be32(p + 12, src);
	store_be32(p + 16, dst);
}

static void
fill_datagram(uint8_t *p, struct client *c)
{
	struct wg_data_header *h = (void *)p;
	uint8_t *inner = p + sizeof(*h);

	wg_msg_set_type(h->type, WG_MSG_DATA);
	memcpy(h->receiver, c->index, sizeof(h->receiver));
	store_le64(h->counter, c->counter);
	fill_packet(inner, c->address, 0x0a000001);
	aead_seal_once(inner, c->end.keys.send.b, c->counter++, NULL, 0, inner,
	    PACKET_LEN);
}

static struct client *
draw_client(const struct setup *s)
{
	return &s->client[randombytes_uniform(s->active)];
}

/* run: packets of one client one after the other. */
static double
time_in(struct bench *t, struct setup *s, unsigned run)
{
	struct dgram in[BATCH];
	struct client *c = NULL;
	double start;

	for (unsigned i = 0; i < BATCH; i++) {
		c = i % run == 0 ? draw_client(s) : c;
		fill_datagram(t->room[i], c);
		in[i] = (struct dgram){.ep = &t->base.at,
		    .buf = pbuf_make(
			t->room[i], ROOM, 0, WG_DATA_OVERHEAD + PACKET_LEN)};
	}
	start = measure_now_ns();
	UK_ASSERT(carry_in(t, s->d, in, BATCH) == BATCH);
	return (measure_now_ns() - start) / BATCH;
}

static double
time_out(struct bench *t, struct setup *s, unsigned run)
{
	struct pbuf packet[BATCH];
	struct client *c = NULL;
	double start;

	for (unsigned i = 0; i < BATCH; i++) {
		c = i % run == 0 ? draw_client(s) : c;
		packet[i] =
		    pbuf_make(t->room[i], ROOM, WG_SEAL_HEADROOM, PACKET_LEN);
		fill_packet(pbuf_data(&packet[i]), 0x0a000001, c->address);
	}
	start = measure_now_ns();
	UK_ASSERT(carry_out(t, s->d, packet, BATCH) == BATCH);
	return (measure_now_ns() - start) / BATCH;
}

static void
connect_all(struct bench *t, struct setup *s)
{
	/* The device would call everybody. */
	for (struct wg_peer *p = NULL; (p = wg_device_next_peer(s->d, p));)
		wg_peer_set_keepalive(p, 0);
	wg_device_set_up(s->d, true);
	for (unsigned i = 0; i < s->active; i++) {
		struct client *c = &s->client[i];
		struct dgram in = {.ep = &t->base.at};

		connect_client(t, s, c);
		fill_datagram(t->room[0], c); /* confirms the session */
		in.buf = pbuf_make(
		    t->room[0], ROOM, 0, WG_DATA_OVERHEAD + PACKET_LEN);
		UK_ASSERT(carry_in(t, s->d, &in, 1) == 1);
	}
}

/* ---- the look-ups by themselves ---- */

static void
make_tables(struct setup *s)
{
	s->routes = lpm_new();
	s->owner = need(s->peers, sizeof(*s->owner));
	s->entry = need(s->active, sizeof(*s->entry));
	UK_ASSERT(s->routes &&
		  wg_index_table_init(&s->indices, randombytes_buf) == 0);
	for (unsigned i = 0; i < s->peers; i++) {
		struct ip_prefix p = prefix_of(i);

		UK_ASSERT(lpm_insert(s->routes, &p, &s->owner[i]) == 0);
	}
	for (unsigned i = 0; i < s->active; i++)
		wg_index_add(&s->indices, &s->entry[i], s->client[i].index);
}

static double
time_routes(const struct setup *s)
{
	uint8_t addr[BATCH][4];
	bool all = true;
	double start;

	for (unsigned i = 0; i < BATCH; i++)
		store_be32(addr[i], draw_client(s)->address);
	start = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++)
		all &= lpm_lookup4(s->routes, addr[i]) != NULL;
	start = measure_now_ns() - start;
	UK_ASSERT(all);
	return start / BATCH;
}

static double
time_indices(const struct setup *s)
{
	uint8_t index[BATCH][4];
	bool all = true;
	double start;

	for (unsigned i = 0; i < BATCH; i++)
		memcpy(index[i], draw_client(s)->index, sizeof(index[i]));
	start = measure_now_ns();
	for (unsigned i = 0; i < BATCH; i++)
		all &= wg_index_find(&s->indices, index[i]) != NULL;
	start = measure_now_ns() - start;
	UK_ASSERT(all);
	return start / BATCH;
}

/* ---- memory ---- */

static double
heap_bytes(void)
{
	struct mallinfo2 m = mallinfo2();

	return (double)(m.uordblks + m.hblkhd);
}

static void
weigh(struct bench *t, struct setup *s, double bytes[2])
{
	double empty, configured;

	make_clients(t, s);
	make_device(t, s);
	empty = heap_bytes();
	add_peers(t, s);
	configured = heap_bytes();
	connect_all(t, s);
	bytes[0] = (configured - empty) / s->peers;
	bytes[1] = (heap_bytes() - configured) / s->active;
}

/* In a child, so that nothing that was freed before is used again. */
static void
weigh_apart(struct bench *t, struct setup *s)
{
	double bytes[2];
	int fds[2], status;
	pid_t child;

	UK_ASSERT(pipe(fds) == 0);
	child = fork();
	UK_ASSERT(child >= 0);
	if (child == 0) {
		weigh(t, s, bytes);
		_exit(write(fds[1], bytes, sizeof(bytes)) != sizeof(bytes));
	}
	UK_ASSERT(read(fds[0], bytes, sizeof(bytes)) == sizeof(bytes));
	UK_ASSERT(waitpid(child, &status, 0) == child && status == 0);
	close(fds[0]);
	close(fds[1]);
	s->result[HEAP_PEER] = bytes[0];
	s->result[HEAP_SESSION] = bytes[1];
}

/* ---- the table ---- */

static void
sum_up(unsigned rounds)
{
	static double work[ROUNDS];

	/* Ratios first: medians sort the rounds. */
	for (size_t i = 0; i < ARRAY_LEN(setups); i++)
		for (unsigned f = NS_ROUTE; f < FIGURES; f++)
			setups[i].ratio[f] = measure_ratio(
			    setups[i].ns[f], setups[FEW].ns[f], work, rounds);
	for (size_t i = 0; i < ARRAY_LEN(setups); i++)
		for (unsigned f = NS_ROUTE; f < FIGURES; f++)
			setups[i].result[f] =
			    measure_median(setups[i].ns[f], rounds);
}

static void
print_row(const char *name, enum figure f)
{
	printf("| %s |", name);
	for (size_t i = 0; i < ARRAY_LEN(setups); i++)
		printf(f == NS_ROUTE || f == NS_INDEX ? " %.1f |" : " %.0f |",
		    setups[i].result[f]);
	for (size_t i = MANY; i < ARRAY_LEN(setups); i++)
		if (f < NS_ROUTE)
			printf(" |");
		else
			printf(" %.2f |", setups[i].ratio[f]);
	printf("\n");
}

static void
print_table(void)
{
	static const char *const name[FIGURES] = {
	    "heap, bytes for each peer",
	    "and for each session",
	    "route look-up, ns",
	    "index look-up, ns",
	    "packet out, ns",
	    "packet in, ns",
	    "packet out in runs of 16, ns",
	    "packet in in runs of 16, ns",
	};

	printf("| peers (active) |");
	for (size_t i = 0; i < ARRAY_LEN(setups); i++)
		printf(" %u (%u) |", setups[i].peers, setups[i].active);
	for (size_t i = MANY; i < ARRAY_LEN(setups); i++)
		printf(" %u (%u) to %u (%u) |", setups[i].peers,
		    setups[i].active, setups[FEW].peers, setups[FEW].active);
	printf("\n| --- |");
	for (size_t i = 0; i < 2 * ARRAY_LEN(setups) - MANY; i++)
		printf(" ---: |");
	printf("\n");
	for (unsigned f = 0; f < FIGURES; f++)
		print_row(name[f], f);
}

/* The greatest of the ratios from this figure on. */
static double
worst(const struct setup *s, enum figure f)
{
	double most = s->ratio[f];

	for (; f < FIGURES; f++)
		most = s->ratio[f] > most ? s->ratio[f] : most;
	return most;
}

static void
print_goals(void)
{
	measure_goal("peers-bytes", setups[MANY].result[HEAP_PEER]);
	measure_goal("peers-time-ratio", worst(&setups[MANY], NS_OUT));
	measure_goal(
	    "peers-active-ratio", worst(&setups[MANY_ACTIVE], NS_OUT_RUN));
}

static void
run_round(struct bench *t, struct setup *s, unsigned round)
{
	s->ns[NS_ROUTE][round] = time_routes(s);
	s->ns[NS_INDEX][round] = time_indices(s);
	s->ns[NS_OUT][round] = time_out(t, s, 1);
	s->ns[NS_IN][round] = time_in(t, s, 1);
	s->ns[NS_OUT_RUN][round] = time_out(t, s, RUN);
	s->ns[NS_IN_RUN][round] = time_in(t, s, RUN);
}

static void
make_setup(struct bench *t, struct setup *s)
{
	make_clients(t, s);
	make_device(t, s);
	add_peers(t, s);
	connect_all(t, s);
	make_tables(s);
}

static void
drop(struct setup *s)
{
	wg_index_table_fini(&s->indices);
	lpm_free(s->routes);
	free(s->entry);
	free(s->owner);
	free(s->client);
	wg_device_free(s->d);
}

static void
set_up(struct bench *t)
{
	noise_bench_init(&t->base);
	t->engine = aead_engine_new(AEAD_BEST);
	t->tx = wg_tx_new();
	UK_ASSERT(t->engine && t->tx);
}

int
main(int argc, char **argv)
{
	static struct bench t;
	unsigned rounds = measure_rounds(argc, argv, ROUNDS, ROUNDS);
	const size_t n = ARRAY_LEN(setups);

	UK_ASSERT(sodium_init() >= 0);
	set_up(&t);
	for (size_t i = 0; i < n; i++)
		weigh_apart(&t, &setups[i]);
	for (size_t i = 0; i < n; i++)
		make_setup(&t, &setups[i]);
	/* In turn and not forth and back: then a device would come twice in a
	 * row, and find the caches still full of its own data. */
	for (unsigned r = 0; r < rounds; r++)
		for (size_t i = 0; i < n; i++)
			run_round(&t, &setups[(r + i) % n], r);
	sum_up(rounds);
	print_table();
	print_goals();
	for (size_t i = 0; i < n; i++)
		drop(&setups[i]);
	wg_tx_free(t.tx);
	aead_engine_free(t.engine);
	noise_bench_fini(&t.base);
	return 0;
}
