/* nat44_state: inside of nat44, for nat44*.c and their tests only.
 *
 *   nat44.c         making, status, expiry, entry points for batches
 *   nat44_index.c   sessions by hash, and small records in chains
 *   nat44_table.c   sessions come and go, with what counts them; timers
 *   nat44_port.c    which port a new session or mapping gets
 *   nat44_open.c    a packet of no session: may it have one?
 *   nat44_tcp.c     connections' states; MSS
 *   nat44_packet.c  what a packet is; its headers rewritten
 *   nat44_icmp.c    ICMP errors and what they quote */
#ifndef UKAI_MAPE_NAT44_STATE_H
#define UKAI_MAPE_NAT44_STATE_H

#include "nat44.h"
#include "nat44_timers.h"

#define NAT44_NONE UINT32_MAX

/* Bits of a session's number; the rest of an index slot is a tag. */
#define NAT44_NUMBER_BITS 20
#define NAT44_HOSTS_MAX 4096
/* Counters of IPv4 ids; destinations share them by hash. */
#define NAT44_ID_COUNTERS 256

enum nat44_flag {
	NAT44_SEEN_OUT = 1, /* a segment, not RST, went out ... */
	NAT44_SEEN_IN = 2, /* ... and came in; UDP: the last packet came in */
	NAT44_OPENED = 4, /* both, and then an ACK without SYN */
	NAT44_FIN_OUT = 8,
	NAT44_FIN_IN = 16,
	NAT44_FINS = NAT44_FIN_OUT | NAT44_FIN_IN,
	NAT44_RST = 32, /* the last segment was RST */
	NAT44_FORWARDED = 64, /* made from outside */
};

/* A session is one cache line. Two keys find it: inside and remote, and ext
 * and remote. A key of 48 bits is an address and a port; ICMP queries have
 * their id in the place of the inside and the ext port, and remote port 0.
 *
 * UDP with an endpoint-independent mapping: remote port 0 stands for all ports
 * of the remote but 53, 123 and 443, which have sessions of their own. So the
 * address-dependent filter (RFC 4787 REQ-8 b) is a look-up. */
struct nat44_session {
	uint64_t inside; /* protocol << 48 | address << 16 | port; 0: free */
	uint64_t remote; /* address << 16 | port */
	uint64_t last_ns; /* its last packet */
	uint32_t dest, host; /* numbers of their records */
	uint32_t mapping; /* NAT44_NONE: endpoint-dependent */
	uint32_t host_next, host_prev; /* of the host, in no strict order */
	uint32_t map_next,
	    map_prev; /* of the mapping; map_next: of free ones */
	uint16_t ext;
	/* One's complement sums of new words less old ones, outward. */
	uint16_t addr_delta; /* of the inside address */
	uint16_t l4_delta; /* of what the transport's checksum covers */
	uint8_t flags;
	uint8_t space;
};
_Static_assert(sizeof(struct nat44_session) <= 64, "one cache line");

/* Of 16 words of a cache line one says how many sessions had to pass on to a
 * later line; only then a look-up goes on, and a removal leaves no trace. */
#define NAT44_BUCKET_SLOTS 15
struct nat44_bucket {
	uint32_t slot[NAT44_BUCKET_SLOTS]; /* tag, session; 0: free */
	uint32_t passed;
};
_Static_assert(sizeof(struct nat44_bucket) == 64, "one cache line");

struct nat44_index {
	void *memory;
	struct nat44_bucket *bucket;
	uint32_t mask;
};

/* Records by a 64-bit key that is not 0, in chains. The record begins with: */
struct nat44_node {
	uint64_t key;
	uint32_t next; /* of the chain, or of the free ones */
	uint32_t count; /* sessions (one that is being made counts) */
};

struct nat44_pool {
	uint8_t *item;
	size_t size; /* of a record */
	uint32_t *head;
	uint32_t mask;
	uint32_t max, used, free, count;
};

struct nat44_dest { /* space << 48 | address << 16 | port, + 1 << 56 */
	struct nat44_node node;
	uint64_t retry_ns; /* until then there is no port, nothing changed */
};

struct nat44_host { /* address, + 1 << 56 */
	struct nat44_node node;
	uint64_t retry_ns; /* until then nothing of it gives way */
	uint32_t mappings;
	uint32_t first, last; /* sessions; new ones are first */
};

struct nat44_mapping { /* inside key */
	struct nat44_node node;
	uint64_t last_ns;
	uint32_t host; /* NAT44_NONE: a forward, never ends */
	uint32_t first; /* session */
	uint16_t ext;
};

struct nat44 {
	struct nat44_conf conf;
	uint32_t address;
	uint32_t port_count;
	uint64_t now_ns;
	uint64_t hash_key[4]; /* the last two odd */

	void *session_memory;
	struct nat44_session *session;
	uint32_t used, free, count; /* sessions: ever touched, list, live */
	uint32_t hand; /* where nat44_expire() goes on */
	uint64_t table_retry_ns;
	struct nat44_index by_inside, by_ext;
	struct nat44_pool dests, hosts, mappings;
	uint64_t mapping_retry_ns;
	uint32_t mapping_hand; /* where nat44_host_mapping_room() goes on */

	/* By number of the port. */
	uint32_t *mapping_of; /* NAT44_NONE */
	uint32_t *port_use[NAT44_SPACES]; /* sessions and mappings */
	uint32_t *forward_of; /* of TCP: number + 1; 0: none */
	uint32_t reserved[NAT44_SPACES]; /* ports that cannot be drawn */
	uint32_t udp_forwards;

	uint32_t rnd[16];
	unsigned rnd_left;
	uint16_t id[NAT44_ID_COUNTERS];
	struct nat44_stats stats; /* what is counted as it happens */
};

/* A packet, looked at. */
struct nat44_flow {
	uint8_t *ip, *l4;
	uint32_t l4_len;
	uint64_t src, dst; /* address << 16 | port */
	uint64_t hash; /* of the session's key */
	uint8_t space;
	bool error; /* ICMP error: no ports, no hash */
	bool partial;
	uint8_t tcp_flags;
	enum map_drop verdict; /* of the look alone */
};

/* nat44.c */
uint64_t nat44_forward_inside(const struct nat44_forward *w);

static inline uint8_t
nat44_proto(uint8_t space)
{
	static const uint8_t proto[NAT44_SPACES] = {6, 17, 1};

	return proto[space];
}

static inline uint64_t
nat44_inside_key(uint8_t space, uint64_t inside)
{
	return (uint64_t)nat44_proto(space) << 48 | inside;
}

/* UDP ports whose sessions are endpoint-dependent: a question and its answer,
 * and QUIC, whose clients ask for no more than that their server answers. */
static inline bool
nat44_well_known(uint16_t port)
{
	return port == 53 || port == 123 || port == 443;
}

/* The remote as sessions have it: see struct nat44_session. */
static inline uint64_t
nat44_remote_key(uint8_t space, uint64_t remote)
{
	return space == NAT44_UDP && !nat44_well_known((uint16_t)remote)
		   ? remote & ~UINT64_C(0xffff)
		   : remote;
}

static inline uint16_t
nat44_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

/* The sum of an address's and a port's words. */
static inline uint32_t
nat44_words(uint64_t key)
{
	return (uint32_t)(key >> 32 & 0xffff) + (uint32_t)(key >> 16 & 0xffff) +
	       (uint32_t)(key & 0xffff);
}

/* RFC 1624 eqn. 3, with what changed as one sum. */
static inline uint16_t
nat44_check(uint16_t check, uint16_t delta)
{
	return (uint16_t)~nat44_fold((uint32_t)(uint16_t)~check + delta);
}

/* nat44_index.c. Nobody can choose collisions: hashes are keyed, and who sends
 * packets never sees one. */
uint64_t nat44_hash(const struct nat44 *n, uint64_t near, uint64_t remote);
/* Room for so many sessions. Returns 0; UK_ENOMEM. */
int nat44_index_init(struct nat44_index *x, uint32_t sessions);
void nat44_index_fini(struct nat44_index *x);
void nat44_index_add(struct nat44_index *x, uint64_t hash, uint32_t number);
void nat44_index_remove(struct nat44_index *x, uint64_t hash, uint32_t number);
/* Fetch from memory what a look-up will read: where it begins, then the first
 * session that may be meant. */
void nat44_index_prefetch(const struct nat44_index *x, uint64_t hash);
void nat44_session_prefetch(
    const struct nat44 *n, const struct nat44_index *x, uint64_t hash);
/* Memory zeroed and on a cache line's begin; *memory is for free(). NULL. */
void *nat44_lines(void **memory, size_t size);

/* Returns 0; UK_ENOMEM. */
int nat44_pool_init(struct nat44_pool *p, size_t size, uint32_t max);
void nat44_pool_fini(struct nat44_pool *p);
uint32_t nat44_pool_find(
    const struct nat44 *n, const struct nat44_pool *p, uint64_t key);
/* All zeros but for the key, which must not be there. NAT44_NONE: full. */
uint32_t nat44_pool_add(
    const struct nat44 *n, struct nat44_pool *p, uint64_t key);
void nat44_pool_remove(
    const struct nat44 *n, struct nat44_pool *p, uint32_t number);

static inline struct nat44_dest *
nat44_dest(const struct nat44 *n, uint32_t i)
{
	return (struct nat44_dest *)(void *)n->dests.item + i;
}

static inline struct nat44_host *
nat44_host(const struct nat44 *n, uint32_t i)
{
	return (struct nat44_host *)(void *)n->hosts.item + i;
}

static inline struct nat44_mapping *
nat44_mapping(const struct nat44 *n, uint32_t i)
{
	return (struct nat44_mapping *)(void *)n->mappings.item + i;
}

/* nat44_table.c. The find functions know nothing of time: also what is over is
 * found. near: inside key with protocol; remote: as sessions have it. */
struct nat44_session *nat44_find_inside(
    const struct nat44 *n, uint64_t inside, uint64_t remote, uint64_t hash);
struct nat44_session *nat44_find_ext(const struct nat44 *n, uint8_t space,
    uint16_t ext, uint64_t remote, uint64_t hash);
uint64_t nat44_hash_ext(
    const struct nat44 *n, uint8_t space, uint16_t ext, uint64_t remote);
/* NULL unless its time is not over. */
struct nat44_session *nat44_alive(
    const struct nat44 *n, struct nat44_session *s);
uint64_t nat44_dest_key(uint8_t space, uint64_t remote);
uint64_t nat44_host_key(uint64_t inside);

enum nat44_timer nat44_timer_of(const struct nat44_session *s);
/* The last ns of what is idle since last_ns. */
uint64_t nat44_end(
    uint64_t last_ns, enum nat44_timer timer, enum nat44_stage stage);
uint64_t nat44_session_end(
    const struct nat44_session *s, enum nat44_stage stage);
enum nat44_stage nat44_stage_of(uint32_t taken, uint32_t all);

/* A new session's records; each of them counts it already. */
struct nat44_new {
	uint64_t inside, remote;
	uint32_t dest, host, mapping;
	uint16_t ext;
	uint8_t space;
	uint8_t flags;
};
/* There is room. Neither of its keys is in use. */
struct nat44_session *nat44_session_add(
    struct nat44 *n, const struct nat44_new *w);
void nat44_session_remove(struct nat44 *n, struct nat44_session *s);
/* The same, counted where its time was not over. */
void nat44_reclaim(struct nat44 *n, struct nat44_session *s);
/* One session less; a record without any goes, a forward's mapping stays. */
void nat44_dest_put(struct nat44 *n, uint32_t number);
void nat44_host_put(struct nat44 *n, uint32_t number);
void nat44_mapping_put(struct nat44 *n, uint32_t number);
/* A mapping on a port that has none. NAT44_NONE: no room. */
uint32_t nat44_mapping_add(
    struct nat44 *n, uint64_t inside, uint32_t host, uint16_t ext);
/* With all its sessions. It is no forward's. */
void nat44_mapping_reclaim(struct nat44 *n, uint32_t number);
void nat44_port_used(struct nat44 *n, uint8_t space, uint16_t port, int more);

/* Make room where it is scarce, a table of max sessions or a host's share: what
 * is over by the last stage's times goes. false: nothing could. */
bool nat44_table_room(struct nat44 *n, uint32_t max);
bool nat44_host_room(struct nat44 *n, struct nat44_host *h);
bool nat44_host_mapping_room(struct nat44 *n, uint32_t host);

/* nat44_port.c */
uint32_t nat44_random(struct nat44 *n, uint32_t below);
/* A port for a session to remote. false: there is none. */
bool nat44_port_session(struct nat44 *n, uint8_t space, uint64_t remote,
    struct nat44_dest *d, uint16_t *port);
/* A port for an endpoint-independent mapping. */
bool nat44_port_mapping(struct nat44 *n, uint16_t *port);
/* May a session to remote have this port, which is its mapping's? */
bool nat44_port_try(
    struct nat44 *n, uint8_t space, uint64_t remote, uint16_t port);

/* nat44_open.c. Why not, or MAP_OK and a session in *out. */
enum map_drop nat44_open_outward(
    struct nat44 *n, const struct nat44_flow *f, struct nat44_session **out);
enum map_drop nat44_open_inward(
    struct nat44 *n, const struct nat44_flow *f, struct nat44_session **out);

/* nat44_tcp.c */
/* May this segment be the first of a session? */
bool nat44_tcp_opens(uint8_t flags, bool out);
void nat44_tcp_seen(struct nat44_session *s, bool out, uint8_t flags);
/* A SYN's MSS option is not more than mss. partial: the checksum is not there
 * yet. */
void nat44_tcp_clamp(uint8_t *tcp, uint32_t len, uint16_t mss, bool partial);

/* nat44_packet.c */
void nat44_look(const struct nat44 *n, struct nat44_packet *p, bool out,
    struct nat44_flow *f);
/* inside: it is to turn around, and come in by nat44_translate_inward(). */
enum map_drop nat44_translate_outward(
    struct nat44 *n, const struct nat44_flow *f, bool *inside);
enum map_drop nat44_translate_inward(
    struct nat44 *n, const struct nat44_flow *f);
/* The session that a packet from outside is of; NULL: none that is alive. */
struct nat44_session *nat44_session_inward(
    const struct nat44 *n, uint8_t space, uint16_t ext, uint64_t remote);
/* Put source (out) or destination into a packet, or the other one into what an
 * ICMP error quotes of it: into the IP header, and as much of the transport's
 * header as there is. */
struct nat44_rewrite {
	uint8_t *ip, *l4;
	uint32_t l4_len;
	uint8_t space;
	bool partial;
	bool source; /* which end changes */
	bool out; /* to what the line knows, else to the inside */
};
void nat44_rewrite(const struct nat44 *n, const struct nat44_rewrite *r,
    const struct nat44_session *s);
/* One hop less to live (D8). */
void nat44_hop(uint8_t *ip);
/* Another address in the header, which is at this place of it. */
void nat44_set_address(uint8_t *ip, unsigned at, uint32_t address);

/* nat44_icmp.c */
enum map_drop nat44_error_outward(
    const struct nat44 *n, const struct nat44_flow *f, bool *inside);
enum map_drop nat44_error_inward(
    const struct nat44 *n, const struct nat44_flow *f);
/* Quoted: a packet of ours, as it was on the line. Puts back what it was
 * inside, and says whose it is. false: nobody's. */
bool nat44_quote_inward(
    const struct nat44 *n, uint8_t *q, uint32_t len, uint32_t *inside);

#endif
