/* PORTS-LEFT over a kernel that is simulated: its flows, their ends as events,
 * sets that packets fill; and over a CE's table. Time is what the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include "client/mape/mape.h"
#include "client/policy/mark.h"
#include "client/policy/ports_left.h"
#include "core/bytes.h"
#include "core/err.h"
#include "host/flows.h"
#include "io/clock.h"
#include "io/log.h"
#include "io/watch.h"

#define FLOWS 600
#define SETS 4
#define ELEMENTS 4096
#define EVENTS 2048

struct element {
	uint8_t key[8];
};

struct fake_set {
	char name[POLICY_NFT_SET_MAX];
	struct element item[ELEMENTS];
	size_t n, size;
};

static struct {
	struct flow_entry flow[FLOWS];
	size_t flows;
	struct flow_entry event[EVENTS];
	size_t events, events_read;
	bool lost; /* the next event is that some were lost */
	struct fake_set set[SETS];
	unsigned busy; /* so many calls are refused with UK_EAGAIN */
	unsigned broken; /* or with UK_ESYS */
	unsigned calls, refusals;
	unsigned walks;
	/* One begins in the middle: after how many more calls of apply. */
	unsigned begin_in;
	struct flow_entry begins;
	struct nat44_shortage few[64];
	size_t fews;
	uint64_t refused;
	uint64_t walk_ns; /* what a walk takes */
	struct flow_tuple deleted[8];
	size_t deletions;
	unsigned looks, looked;
	uint64_t rng;
} k;

static uint64_t
rnd(uint64_t below)
{
	k.rng ^= k.rng << 13;
	k.rng ^= k.rng >> 7;
	k.rng ^= k.rng << 17;
	return k.rng % below;
}

/* ---- time and the loop ---- */

struct watch {
	watch_fn *due;
	void *arg;
	uint64_t at_ns; /* of a timer */
	bool readable;
};

static struct watch timer, events;
static uint64_t now_ns;

struct uk_time
clock_now(void)
{
	return (struct uk_time){.mono_ns = now_ns, .wall_ns = now_ns};
}

struct watch *
watch_timer(uv_loop_t *loop, watch_fn *due, void *arg)
{
	(void)loop;
	timer = (struct watch){due, arg, UK_NEVER, false};
	return &timer;
}

struct watch *
watch_fd(
    uv_loop_t *loop, int fd, watch_fn *readable, watch_fn *writable, void *arg)
{
	(void)loop;
	assert_int_equal(fd, 77);
	assert_null(writable);
	events = (struct watch){readable, arg, UK_NEVER, false};
	return &events;
}

void
watch_wait(struct watch *w, bool readable, bool writable)
{
	assert_false(writable);
	w->readable = readable;
}

void
watch_after(struct watch *w, uint64_t after_ns)
{
	w->at_ns = now_ns + after_ns;
}

void
watch_close(struct watch *w)
{
	if (w != NULL)
		*w = (struct watch){.at_ns = UK_NEVER};
}

/* A worker thread: it may have read the flows long before the loop hears. */
static struct {
	uv_work_t *work;
	uv_work_cb run;
	uv_after_work_cb done;
	bool has_run;
} job[4];
static bool slow;

int
uv_queue_work(
    uv_loop_t *loop, uv_work_t *work, uv_work_cb run, uv_after_work_cb done)
{
	size_t i = 0;

	(void)loop;
	while (job[i].work != NULL)
		assert_true(++i < ARRAY_LEN(job));
	job[i].work = work;
	job[i].run = run;
	job[i].done = done;
	job[i].has_run = false;
	return 0;
}

static void
run_job(size_t i)
{
	uv_work_t *work = job[i].work;

	if (!job[i].has_run)
		job[i].run(work);
	job[i].has_run = true;
	if (slow && rnd(3) > 0)
		return;
	job[i].work = NULL;
	job[i].done(work, 0);
}

static void
run_jobs(void)
{
	for (size_t i = 0; i < ARRAY_LEN(job); i++)
		if (job[i].work != NULL && (!slow || rnd(3) == 0))
			run_job(i);
}

static void
pass(uint64_t ns)
{
	uint64_t end = now_ns + ns;

	run_jobs();
	while (timer.at_ns <= end) {
		now_ns = timer.at_ns;
		timer.at_ns = UK_NEVER;
		timer.due(timer.arg);
		run_jobs();
	}
	now_ns = end;
}

static unsigned complaints;

void
log_limited(struct log_limit *l, uint64_t at_ns, enum log_level level,
    const char *fmt, ...)
{
	(void)l;
	(void)fmt;
	assert_true(at_ns <= now_ns);
	assert_int_equal(level, LOG_WARN);
	complaints++;
}

/* ---- the kernel ---- */

struct flows {
	int fd;
};

static struct flows the_flows;

int
flows_open(struct flows **f, struct diag *d)
{
	(void)d;
	*f = &the_flows;
	return 0;
}

void
flows_close(struct flows *f)
{
	(void)f;
}

int
flows_watch(
    struct flows *f, uint32_t mark, uint32_t mask, int *fd, struct diag *d)
{
	(void)f;
	(void)d;
	assert_int_equal(mark, 0);
	assert_int_equal(MARK_NATIVE & mask, mark);
	assert_int_not_equal(MARK_TUNNEL & mask, mark);
	assert_int_not_equal(MARK_TUNNEL_ONLY & mask, mark);
	assert_int_not_equal(MARK_REFUSED & mask, mark);
	assert_int_not_equal(MARK_LOCAL & mask, mark);
	assert_int_not_equal(UINT32_C(0x01000000) & mask, mark);
	*fd = 77;
	return 0;
}

int
flows_ended(struct flows *f, struct flow_entry *out)
{
	(void)f;
	if (k.lost) {
		k.lost = false;
		return UK_ELIMIT;
	}
	if (k.events_read == k.events)
		return UK_EAGAIN;
	*out = k.event[k.events_read++];
	return 0;
}

int
flows_each(struct flows *f, uint8_t family, uint32_t mark, uint32_t mask,
    bool (*visit)(void *arg, const struct flow_entry *e), void *arg)
{
	(void)f;
	k.walks++;
	now_ns += k.walk_ns;
	assert_int_equal(family, FAMILY_V4);
	for (size_t i = 0; i < k.flows; i++)
		if ((k.flow[i].mark & mask) == mark && !visit(arg, &k.flow[i]))
			break;
	return 0;
}

int
flows_delete(struct flows *f, const struct flow_tuple *original)
{
	(void)f;
	assert_true(k.deletions < ARRAY_LEN(k.deleted));
	k.deleted[k.deletions++] = *original;
	return 0;
}

int
getifaddrs(struct ifaddrs **out)
{
	static struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	static struct sockaddr_in own = {.sin_family = AF_INET};
	static struct ifaddrs list[3] = {
	    {.ifa_next = &list[1], .ifa_addr = (void *)&six},
	    {.ifa_next = &list[2], .ifa_addr = NULL},
	    {.ifa_addr = (void *)&own}};

	own.sin_addr.s_addr = htonl(0xc0a80105);
	*out = list;
	return 0;
}

void
freeifaddrs(struct ifaddrs *list)
{
	(void)list;
}

static size_t
set_number(const char *name)
{
	for (size_t i = 0; i < SETS; i++)
		if (strcmp(k.set[i].name, name) == 0)
			return i;
	fail_msg("no set %s", name);
	return 0;
}

static size_t
find(size_t set, const uint8_t key[8])
{
	size_t i = 0;

	while (i < k.set[set].n && memcmp(k.set[set].item[i].key, key, 8) != 0)
		i++;
	return i;
}

static bool
put(size_t set, const uint8_t key[8])
{
	if (find(set, key) < k.set[set].n)
		return true;
	if (k.set[set].n == k.set[set].size)
		return false;
	memcpy(k.set[set].item[k.set[set].n++].key, key, 8);
	return true;
}

static void
take(size_t set, const uint8_t key[8])
{
	size_t i = find(set, key);

	if (i < k.set[set].n)
		k.set[set].item[i] = k.set[set].item[--k.set[set].n];
}

static void begin(const struct flow_entry *e);

static void
copy_sets(struct fake_set *to, const struct fake_set *from)
{
	for (size_t i = 0; i < SETS; i++) {
		memcpy(to[i].name, from[i].name, sizeof(to[i].name));
		memcpy(to[i].item, from[i].item,
		    from[i].n * sizeof(from[i].item[0]));
		to[i].n = from[i].n;
		to[i].size = from[i].size;
	}
}

static int
apply(void *arg, const struct hostfw_change *c, size_t n)
{
	static struct fake_set before[SETS];

	assert_ptr_equal(arg, &k);
	k.calls++;
	if (k.begin_in > 0 && --k.begin_in == 0)
		begin(&k.begins);
	if (k.busy > 0) {
		k.busy--;
		return UK_EAGAIN;
	}
	if (k.broken > 0) {
		k.broken--;
		return UK_ESYS;
	}
	copy_sets(before, k.set);
	for (size_t i = 0; i < n; i++) {
		size_t set = set_number(c[i].set);

		assert_int_equal(c[i].key_len, 8);
		if (!c[i].add)
			take(set, c[i].key);
		else if (!put(set, c[i].key)) {
			copy_sets(k.set, before);
			k.refusals++;
			return UK_ELIMIT;
		}
	}
	return 0;
}

static int
each(void *arg, const char *set,
    bool (*visit)(
	void *visit_arg, const uint8_t *key, size_t len, const char *comment),
    void *visit_arg)
{
	size_t s = set_number(set);

	assert_ptr_equal(arg, &k);
	if (k.busy > 0) {
		k.busy--;
		return UK_EAGAIN;
	}
	for (size_t i = 0; i < k.set[s].n; i++)
		visit(visit_arg, k.set[s].item[i].key, 8, NULL);
	return 0;
}

/* ---- the CE ---- */

void
mape_short(const struct mape *m, uint32_t below,
    void (*visit)(void *arg, const struct nat44_shortage *s), void *arg)
{
	(void)m;
	k.looks++;
	for (size_t i = 0; i < k.fews; i++)
		if (k.few[i].left < below)
			visit(arg, &k.few[i]);
}

uint64_t
mape_refused(const struct mape *m)
{
	(void)m;
	return k.refused;
}

void
mape_stats(struct mape *m, struct mape_stats *out)
{
	(void)m;
	memset(out, 0, sizeof(*out));
	out->ce.nat.space[NAT44_TCP].ports = 12;
	out->ce.nat.space[NAT44_UDP].ports = 34;
}

/* ---- flows ---- */

static void
key_of(uint8_t key[8], const struct flow_entry *e)
{
	memset(key, 0, 8);
	memcpy(key, e->original.src.b, 4);
	store_be16(key + 4, e->original.sport);
}

/* As the kernel's rules would: what goes by the line is put in. */
static void
begin(const struct flow_entry *e)
{
	bool tcp = e->original.protocol == IPPROTO_TCP;
	uint8_t key[8];

	assert_true(k.flows < FLOWS);
	k.flow[k.flows++] = *e;
	if (e->mark != MARK_NATIVE)
		return;
	key_of(key, e);
	put(tcp ? 0 : 1, key);
	put(tcp ? 2 : 3, key);
}

static void
end(size_t i)
{
	assert_true(k.events < EVENTS);
	if ((k.flow[i].mark & 0xffe00000) == 0)
		k.event[k.events++] = k.flow[i];
	k.flow[i] = k.flow[--k.flows];
}

static struct flow_entry
flow(uint32_t mark, uint8_t proto, const char *src, uint16_t sport,
    const char *dst)
{
	struct flow_entry e = {.mark = mark,
	    .original = {.sport = sport, .dport = 443, .protocol = proto}};

	assert_int_equal(ip_addr_parse(&e.original.src, src, strlen(src)), 0);
	assert_int_equal(ip_addr_parse(&e.original.dst, dst, strlen(dst)), 0);
	return e;
}

#define TCP(sport)                                                             \
	flow(MARK_NATIVE, IPPROTO_TCP, "192.168.1.5", sport, "198.51.100.1")
#define UDP(sport, dst)                                                        \
	flow(MARK_NATIVE, IPPROTO_UDP, "192.168.1.5", sport, dst)

static void
start(const struct flow_entry e)
{
	begin(&e);
}

static void
hear(void)
{
	if (events.readable && (k.events_read < k.events || k.lost))
		events.due(events.arg);
}

/* ---- the policy ---- */

static struct rule rule[] = {
    {.type = RULE_DOMAIN},
    {.type = RULE_PORTS_LEFT, .ports_left = 40},
    {.type = RULE_PORTS_LEFT, .ports_left = 10},
    {.type = RULE_DEFAULT},
};
static const struct rules rules = {.rule = rule, .n = ARRAY_LEN(rule)};
static struct slot slot[] = {
    {.first = 0, .n = 1, .number = 1},
    {.first = 1, .n = 1, .number = 17},
    {.first = 2, .n = 1, .number = 19},
    {.first = 3, .n = 1, .number = 2},
};
static const struct slots slots = {.item = slot, .n = ARRAY_LEN(slot)};
static struct ports_left *p;

static void
name_sets(char kind)
{
	static const char *const rest[SETS] = {
	    "17_tcp", "17_udp", "19_tcp", "19_udp"};

	for (size_t i = 0; i < SETS; i++)
		snprintf(k.set[i].name, sizeof(k.set[i].name), "%c%s", kind,
		    rest[i]);
}

static int
setup(void **state)
{
	(void)state;
	memset(&k, 0, sizeof(k));
	k.rng = 88172645463325252;
	name_sets('u');
	for (size_t i = 0; i < SETS; i++)
		k.set[i].size = ELEMENTS;
	now_ns = UK_NS_PER_S;
	complaints = 0;
	return 0;
}

static void
looked(void *arg)
{
	assert_ptr_equal(arg, &k);
	k.looked++;
}

static void
open_with(struct mape *m)
{
	static const struct ip_prefix local = {{FAMILY_V4, {203, 0, 113}}, 24};
	static const struct ip_prefix network = {
	    {FAMILY_V4, {192, 168, 9}}, 24};
	const struct ports_left_conf c = {.rules = &rules,
	    .slots = &slots,
	    .ports = 240,
	    .mape = m,
	    .local = &local,
	    .locals = 1,
	    .network = &network,
	    .networks = 1,
	    .apply = apply,
	    .each = each,
	    .looked = looked,
	    .arg = &k};

	assert_int_equal(ports_left_open(&p, &c, NULL), 0);
	run_jobs();
}

static int
teardown(void **state)
{
	(void)state;
	ports_left_close(p);
	p = NULL;
	slow = false;
	run_jobs();
	return 0;
}

/* The twin: the ends of the flows that are there, one after another. */
static void
expect_sets(void)
{
	size_t n[2] = {0};
	struct ports_left_stats s;

	for (size_t i = 0; i < k.flows; i++) {
		size_t proto =
		    k.flow[i].original.protocol == IPPROTO_TCP ? 0 : 1;
		uint8_t key[8];
		bool repeats = false;

		key_of(key, &k.flow[i]);
		for (size_t j = 0; j < i && !repeats; j++) {
			uint8_t other[8];

			key_of(other, &k.flow[j]);
			repeats = k.flow[j].original.protocol ==
				      k.flow[i].original.protocol &&
				  memcmp(key, other, 8) == 0;
		}
		n[proto] += !repeats;
		assert_true(find(proto, key) < k.set[proto].n);
		assert_true(find(2 + proto, key) < k.set[2 + proto].n);
	}
	for (size_t i = 0; i < SETS; i++)
		assert_int_equal(k.set[i].n, n[i % 2]);
	k.looked = 0;
	assert_true(ports_left_look(p));
	assert_int_equal(k.looked, 0);
	run_jobs();
	assert_int_equal(k.looked, 1);
	ports_left_stats(p, &s);
	assert_int_equal(s.ports, 240);
	assert_false(s.own_ce);
	assert_int_equal(s.used_tcp, n[0]);
	assert_int_equal(s.used_udp, n[1]);
}

/* ---- behind somebody else's CE ---- */

static void
test_has(void **state)
{
	const struct rules none = {.rule = rule, .n = 1};

	(void)state;
	assert_true(ports_left_has(&rules));
	assert_false(ports_left_has(&none));
}

/* A flow that is there already, and whether it counts. */
struct found {
	uint32_t mark;
	uint8_t proto;
	const char *src, *dst;
	bool counts;
};

static void
check_found(const struct found *t)
{
	size_t set = t->proto == 6 ? 0 : 1;

	setup(NULL);
	k.flow[0] = flow(t->mark, t->proto, t->src, 5000, t->dst);
	k.flows = 1;
	open_with(NULL);
	assert_int_equal(k.set[set].n, t->counts);
	assert_int_equal(k.set[2 + set].n, t->counts);
	assert_int_equal(k.set[1 - set].n, 0);
	if (t->counts)
		expect_sets();
	/* An end takes out what was put in. */
	end(0);
	hear();
	pass(UK_NS_PER_S);
	assert_int_equal(k.set[set].n, 0);
	teardown(NULL);
}

static void
test_found_at_open(void **state)
{
	static const struct found t[] = {
	    {0, 6, "192.168.1.5", "198.51.100.1", true},
	    {0, 17, "192.168.1.5", "198.51.100.1", true},
	    {MARK_NATIVE, 6, "192.168.1.5", "198.51.100.1", true},
	    {MARK_NATIVE | 5, 6, "192.168.1.5", "198.51.100.1", true},
	    {0, 6, "192.168.9.200", "198.51.100.1", true}, /* of the LAN */
	    {MARK_NATIVE, 6, "192.168.8.1", "198.51.100.1", true},
	    {0, 6, "192.168.8.1", "198.51.100.1", false}, /* whose? */
	    {0, 6, "198.51.100.1", "198.51.100.2", false},
	    {0, 1, "192.168.1.5", "198.51.100.1", false},
	    {0, 47, "192.168.1.5", "198.51.100.1", false},
	    {0, 6, "2001:db8::1", "2001:db8::2", false},
	    {0, 6, "192.168.1.5", "192.168.1.1", false},
	    {0, 6, "192.168.1.5", "10.1.1.1", false},
	    {0, 6, "192.168.1.5", "172.31.255.255", false},
	    {0, 6, "192.168.1.5", "172.32.0.0", true},
	    {0, 6, "192.168.1.5", "100.127.255.255", false},
	    {0, 6, "192.168.1.5", "100.128.0.0", true},
	    {0, 6, "192.168.1.5", "127.0.0.1", false},
	    {0, 6, "192.168.1.5", "169.254.1.1", false},
	    {0, 17, "192.168.1.5", "224.0.0.251", false},
	    {0, 17, "192.168.1.5", "255.255.255.255", false},
	    {0, 17, "192.168.1.5", "223.255.255.255", true},
	    {0, 6, "192.168.1.5", "203.0.113.7", false}, /* LocalNetworks */
	    {0, 6, "192.168.1.5", "203.0.114.7", true},
	    {MARK_TUNNEL, 6, "192.168.1.5", "198.51.100.1", false},
	    {MARK_TUNNEL_ONLY, 6, "192.168.1.5", "198.51.100.1", false},
	    {MARK_REFUSED, 6, "192.168.1.5", "198.51.100.1", false},
	    {MARK_LOCAL, 6, "192.168.1.5", "198.51.100.1", false},
	    {0x01000000, 6, "192.168.1.5", "198.51.100.1", false},
	    {0x01000000 | MARK_NATIVE, 6, "192.168.1.5", "198.51.100.1", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		check_found(&t[i]);
}

/* The element goes with the last flow from that end. */
static void
test_shared_end(void **state)
{
	(void)state;
	open_with(NULL);
	start(UDP(5000, "198.51.100.1"));
	start(UDP(5000, "198.51.100.2"));
	start(flow(
	    MARK_NATIVE, IPPROTO_TCP, "192.168.1.5", 5000, "198.51.100.2"));
	expect_sets();
	for (unsigned i = 0; i < 3; i++) {
		end(0);
		hear();
		pass(UK_NS_PER_S);
		expect_sets();
	}
	assert_int_equal(k.set[1].n, 0);
}

/* One batch for all ends of 50 ms, and nothing to do without any. */
static void
test_batches(void **state)
{
	unsigned before, walks;

	(void)state;
	open_with(NULL);
	for (uint16_t i = 0; i < 100; i++)
		start(TCP((uint16_t)(5000 + i)));
	pass(UK_NS_PER_S);
	before = k.calls;
	walks = k.walks;
	pass(60 * UK_NS_PER_S);
	assert_int_equal(k.calls, before);
	assert_int_equal(k.walks, walks);
	for (unsigned i = 0; i < 100; i++) {
		end(0);
		hear();
		pass(UK_NS_PER_MS / 10);
	}
	assert_int_equal(k.calls, before);
	assert_int_equal(k.set[0].n, 100);
	pass(50 * UK_NS_PER_MS);
	assert_int_equal(k.calls, before + 1);
	assert_int_equal(k.walks, walks + 1);
	expect_sets();
	pass(60 * UK_NS_PER_S);
	assert_int_equal(k.calls, before + 1);
}

/* A flow that begins from the same end while the element goes. */
static void
test_begins_meanwhile(void **state)
{
	(void)state;
	open_with(NULL);
	start(TCP(5000));
	end(0);
	hear();
	k.begins = TCP(5000);
	k.begin_in = 1;
	pass(UK_NS_PER_S);
	assert_int_equal(k.flows, 1);
	expect_sets();
}

/* Events that were lost; a kernel that is busy, or fails. */
static void
test_lost(void **state)
{
	(void)state;
	open_with(NULL);
	for (uint16_t i = 0; i < 20; i++)
		start(TCP((uint16_t)(5000 + i)));
	for (unsigned i = 0; i < 7; i++)
		end(0);
	k.events = 0;
	k.lost = true;
	hear();
	k.busy = 3;
	pass(UK_NS_PER_S);
	expect_sets();
	assert_int_equal(complaints, 0);
	end(0);
	hear();
	k.broken = 1;
	pass(5 * UK_NS_PER_S);
	expect_sets();
	assert_int_equal(complaints, 1);
}

/* More ends at once than are kept. */
static void
test_many(void **state)
{
	(void)state;
	open_with(NULL);
	for (unsigned round = 0; round < 9; round++) {
		for (uint16_t i = 0; i < 500; i++)
			start(TCP((uint16_t)(1000 + round * 500 + i)));
		while (k.flows > 3)
			end(3);
		while (k.events_read < k.events)
			hear();
		k.events = k.events_read = 0;
		while (k.flows > 0 && round % 2 == 0)
			end(0);
		hear();
		k.events = k.events_read = 0;
	}
	pass(10 * UK_NS_PER_S);
	expect_sets();
}

/* A set that had no room for what was there is exact again once there is. */
static void
test_full(void **state)
{
	(void)state;
	k.set[0].size = 201;
	k.set[2].size = 231;
	for (uint16_t i = 0; i < 500; i++) {
		k.flow[i] = TCP((uint16_t)(5000 + i));
		k.flow[i].mark = 0;
	}
	k.flows = 500;
	open_with(NULL);
	assert_int_equal(k.set[0].n, 201);
	assert_int_equal(k.set[2].n, 231);
	/* Each blocks the loop's thread: 2 sets, at 8 halvings of a portion,
	 * and once more for those of 1000 changes that are all too much. */
	assert_in_range(k.refusals, 2, 2 * 9 * 4);
	while (k.flows > 210) {
		for (unsigned i = 0; i < 29; i++)
			end(rnd(k.flows));
		hear();
		pass(UK_NS_PER_S);
		assert_int_equal(k.set[0].n, k.flows < 201 ? k.flows : 201);
		assert_int_equal(k.set[2].n, k.flows < 231 ? k.flows : 231);
	}
	while (k.flows > 150)
		end(0);
	hear();
	pass(UK_NS_PER_S);
	expect_sets();
}

/* The table was replaced. */
static void
test_again(void **state)
{
	(void)state;
	open_with(NULL);
	for (uint16_t i = 0; i < 20; i++)
		start(TCP((uint16_t)(5000 + i)));
	for (size_t i = 0; i < SETS; i++)
		k.set[i].n = 0;
	ports_left_again(p);
	run_jobs();
	expect_sets();
	for (size_t i = 0; i < SETS; i++)
		k.set[i].n = 0;
	k.busy = 1;
	ports_left_again(p);
	pass(UK_NS_PER_S);
	expect_sets();
}

/* A look at the flows from before the table was there says nothing of what has
 * begun since: none of that goes missing. */
static void
test_again_meanwhile(void **state)
{
	(void)state;
	open_with(NULL);
	start(TCP(5000));
	assert_true(ports_left_look(p));
	job[0].run(job[0].work);
	job[0].has_run = true;
	start(TCP(5001));
	for (size_t i = 0; i < SETS; i++)
		k.set[i].n = 0;
	ports_left_again(p);
	pass(UK_NS_PER_S);
	expect_sets();
}

/* The loop goes on while the kernel walks over its flows, whatever ends
 * meanwhile: also the policy, and who waits is told. */
static void
test_closed_meanwhile(void **state)
{
	(void)state;
	open_with(NULL);
	start(TCP(5000));
	end(0);
	hear();
	now_ns = timer.at_ns;
	timer.due(timer.arg);
	assert_non_null(job[0].work);
	assert_true(ports_left_look(p));
	ports_left_close(p);
	p = NULL;
	assert_int_equal(k.looked, 1);
	run_jobs();
	assert_null(job[0].work);
	assert_int_equal(k.looked, 1);
}

static void
random_step(void)
{
	static const char *const dst[] = {"198.51.100.1", "198.51.100.2"};

	slow = rnd(2) == 0;
	switch (rnd(10)) {
	case 0:
		pass(rnd(100) * UK_NS_PER_MS);
		break;
	case 1:
		hear();
		break;
	case 2:
		if (rnd(20) == 0)
			k.busy = (unsigned)rnd(4);
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		if (k.flows > 0)
			end(rnd(k.flows));
		break;
	default:
		if (k.flows + 1 < FLOWS)
			start(flow(MARK_NATIVE,
			    rnd(2) ? IPPROTO_TCP : IPPROTO_UDP, "192.168.1.5",
			    (uint16_t)(5000 + rnd(40)), dst[rnd(2)]));
	}
}

static void
test_random(void **state)
{
	(void)state;
	open_with(NULL);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 60; i++)
			random_step();
		if (rnd(5) == 0) {
			k.lost = true;
			k.events = k.events_read = 0;
		}
		k.begins = TCP((uint16_t)(5000 + rnd(40)));
		k.begin_in = (unsigned)rnd(4);
		hear();
		slow = false;
		pass(2 * UK_NS_PER_S);
		k.begin_in = 0;
		expect_sets();
		k.events = k.events_read = 0;
	}
}

/* ---- our own CE ---- */

static struct nat44_shortage
few(uint8_t proto, uint8_t last, uint16_t port, uint32_t left)
{
	return (struct nat44_shortage){proto, {198, 51, 100, last}, port, left};
}

/* The twin: each set has what is below its threshold. */
static void
expect_few(void)
{
	for (size_t s = 0; s < SETS; s++) {
		size_t n = 0;

		for (size_t i = 0; i < k.fews; i++) {
			uint8_t key[8] = {0};

			if (k.few[i].left >= (s < 2 ? 40 : 10) ||
			    k.few[i].proto != (s % 2 == 0 ? 6 : 17))
				continue;
			memcpy(key, k.few[i].dst, 4);
			store_be16(key + 4, k.few[i].port);
			assert_true(find(s, key) < k.set[s].n);
			n++;
		}
		assert_int_equal(k.set[s].n, n);
	}
}

static void
open_own_ce(void)
{
	name_sets('s');
	open_with((struct mape *)&k);
}

static void
test_own_ce(void **state)
{
	struct ports_left_stats s;
	unsigned calls;

	(void)state;
	k.few[k.fews++] = few(6, 1, 443, 39);
	k.few[k.fews++] = few(6, 2, 443, 40);
	k.few[k.fews++] = few(17, 2, 53, 9);
	k.few[k.fews++] = few(1, 2, 0, 0);
	k.few[k.fews++] = (struct nat44_shortage){17, {0}, 0, 10};
	open_own_ce();
	expect_few();
	assert_int_equal(k.set[0].n, 1);
	assert_int_equal(k.set[1].n, 2);
	assert_int_equal(k.set[3].n, 1);
	calls = k.calls;
	k.looks = 0;
	pass(UK_NS_PER_S);
	assert_int_equal(k.looks, 20);
	assert_int_equal(k.calls, calls);
	k.few[0].left = 9;
	k.few[4].left = 100;
	pass(UK_NS_PER_S / 10);
	expect_few();
	assert_int_equal(k.calls, calls + 1);
	for (size_t i = 0; i < SETS; i++)
		k.set[i].n = 0;
	ports_left_again(p);
	expect_few();
	assert_false(ports_left_look(p));
	ports_left_stats(p, &s);
	assert_true(s.own_ce);
	assert_int_equal(s.used_tcp, 12);
	assert_int_equal(s.used_udp, 34);
}

static void
flow_toward(uint32_t mark, bool answered, uint8_t proto, uint8_t last)
{
	struct flow_entry *e = &k.flow[k.flows];

	*e = (struct flow_entry){.mark = mark, .answered = answered};
	e->original = (struct flow_tuple){.src = {FAMILY_V4, {192, 168, 1, 5}},
	    .dst = {FAMILY_V4, {198, 51, 100, last}},
	    .sport = (uint16_t)(1000 + k.flows++),
	    .dport = 443,
	    .protocol = proto};
}

/* Only what waits, natively, for a port that is not there; and only when the CE
 * has refused something since. */
static void
test_own_ce_refuses(void **state)
{
	(void)state;
	k.few[k.fews++] = few(6, 1, 443, 0);
	k.few[k.fews++] = (struct nat44_shortage){17, {0}, 443, 9};
	open_own_ce();
	flow_toward(MARK_NATIVE | 1, false, 6, 1);
	flow_toward(MARK_NATIVE, true, 6, 1);
	flow_toward(MARK_TUNNEL, false, 6, 1);
	flow_toward(MARK_NATIVE, false, 6, 2);
	flow_toward(MARK_NATIVE, false, 17, 2);
	flow_toward(MARK_NATIVE, false, 1, 1);
	flow_toward(0, false, 6, 1);
	pass(UK_NS_PER_S / 10);
	assert_int_equal(k.walks, 0);
	k.refused = 1;
	k.broken = 1;
	k.few[0].left = 41;
	pass(UK_NS_PER_S / 10);
	assert_int_equal(k.deletions, 0);
	k.few[0].left = 0;
	pass(UK_NS_PER_S / 10);
	assert_int_equal(k.deletions, 2);
	assert_int_equal(k.deleted[0].sport, 1000);
	assert_int_equal(k.deleted[1].sport, 1004);
	pass(UK_NS_PER_S);
	assert_int_equal(k.walks, 1);
	assert_int_equal(k.deletions, 2);
}

/* A gateway may have a few hundred thousand flows while its ports run out: the
 * loop does not walk over them all the time. */
static void
test_own_ce_walks_seldom(void **state)
{
	(void)state;
	k.few[k.fews++] = few(6, 1, 443, 0);
	open_own_ce();
	k.walk_ns = UK_NS_PER_S / 2;
	k.refused = 1;
	pass(UK_NS_PER_S / 10);
	assert_int_equal(k.walks, 1);
	flow_toward(MARK_NATIVE, false, 6, 1);
	for (unsigned i = 0; i < 40; i++) {
		k.refused++;
		pass(UK_NS_PER_S / 10);
	}
	assert_int_equal(k.walks, 1);
	pass(2 * UK_NS_PER_S);
	assert_int_equal(k.walks, 2);
	assert_int_equal(k.deletions, 1);
}

/* Whatever fails in between. */
static void
test_own_ce_random(void **state)
{
	(void)state;
	open_own_ce();
	for (unsigned round = 0; round < 1000; round++) {
		k.fews = rnd(ARRAY_LEN(k.few));
		for (size_t i = 0; i < k.fews; i++)
			k.few[i] = few(rnd(2) ? 6 : 17, (uint8_t)(i / 3),
			    (uint16_t)(i % 3), (uint32_t)rnd(60));
		k.busy = rnd(5) == 0 ? (unsigned)rnd(3) : 0;
		k.broken = rnd(5) == 0;
		pass(UK_NS_PER_S / 10);
		k.busy = k.broken = 0;
		pass(UK_NS_PER_S / 10);
		if (rnd(2) == 0)
			expect_few();
	}
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_has),
	    TEST(test_found_at_open),
	    TEST(test_shared_end),
	    TEST(test_batches),
	    TEST(test_begins_meanwhile),
	    TEST(test_lost),
	    TEST(test_many),
	    TEST(test_full),
	    TEST(test_again),
	    TEST(test_again_meanwhile),
	    TEST(test_closed_meanwhile),
	    TEST(test_random),
	    TEST(test_own_ce),
	    TEST(test_own_ce_refuses),
	    TEST(test_own_ce_walks_seldom),
	    TEST(test_own_ce_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
