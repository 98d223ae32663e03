#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/err.h"
#include "host/hostfw_nft.h"

/* The kernel, played: table "ukai" with the sets "a" and "b", keys of one
 * byte. It takes a batch as the real one does, and answers on the socket. */

#define SETS 2
#define KEYS 256
#define DESTROYSETELEM 30

struct sets {
	bool has[SETS][KEYS];
	char comment[SETS][KEYS][128];
	size_t n[SETS];
};

static struct {
	struct sets now;
	size_t size; /* of each set */
	bool old; /* does not know DESTROYSETELEM */
	size_t answers_max; /* more are lost */
	int refuse_all; /* error of the batch as such */
	bool is_mute; /* does not answer at all */
	unsigned batches;
	int fd; /* the other end of the probed socket */
	size_t answers, lost; /* of this batch */
} kernel;

static uint32_t seed = 20261123;

static uint32_t
rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

struct element {
	int set; /* -1: none of that name */
	bool table;
	const uint8_t *key;
	size_t key_len;
	const uint8_t *data; /* user data */
	size_t data_len;
	struct sets *sets;
	const struct nlmsghdr *h;
	int error;
};

static void
answer(const struct nlmsghdr *h, int error)
{
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
	} a = {.h = {.nlmsg_len = sizeof(a),
		   .nlmsg_type = NLMSG_ERROR,
		   .nlmsg_seq = h->nlmsg_seq},
	    .e = {.error = error, .msg = *h}};

	if (kernel.answers++ < kernel.answers_max)
		assert_int_equal(send(kernel.fd, &a, sizeof(a), 0), sizeof(a));
	else
		kernel.lost++;
}

static int
change(struct element *e)
{
	unsigned type = e->h->nlmsg_type & 0xff;
	bool *has;

	if (!e->table || e->set < 0)
		return -ENOENT;
	if (e->key_len != 1)
		return -EINVAL;
	has = &e->sets->has[e->set][e->key[0]];
	if (type == NFT_MSG_NEWSETELEM) {
		if (*has)
			return 0;
		if (e->sets->n[e->set] == kernel.size)
			return -ENFILE;
		e->sets->n[e->set]++;
		*has = true;
		memset(e->sets->comment[e->set][e->key[0]], 0, 128);
		if (e->data_len > 2) {
			assert_int_equal(e->data[0], 0);
			assert_int_equal(e->data[1], e->data_len - 2);
			assert_int_equal(e->data[e->data_len - 1], 0);
			memcpy(e->sets->comment[e->set][e->key[0]], e->data + 2,
			    e->data_len - 2);
		}
		return 0;
	}
	if (!*has)
		return type == DESTROYSETELEM ? 0 : -ENOENT;
	e->sets->n[e->set]--;
	*has = false;
	return 0;
}

static int
key_attr(const struct nlattr *a, void *arg)
{
	struct element *e = arg;

	assert_int_equal(mnl_attr_get_type(a), NFTA_DATA_VALUE);
	e->key = mnl_attr_get_payload(a);
	e->key_len = mnl_attr_get_payload_len(a);
	return MNL_CB_OK;
}

static int
element_attr(const struct nlattr *a, void *arg)
{
	struct element *e = arg;

	if (mnl_attr_get_type(a) == NFTA_SET_ELEM_KEY)
		return mnl_attr_parse_nested(a, key_attr, e);
	assert_int_equal(mnl_attr_get_type(a), NFTA_SET_ELEM_USERDATA);
	e->data = mnl_attr_get_payload(a);
	e->data_len = mnl_attr_get_payload_len(a);
	return MNL_CB_OK;
}

static int
list_attr(const struct nlattr *a, void *arg)
{
	struct element *e = arg;

	e->data_len = 0;
	assert_int_equal(mnl_attr_parse_nested(a, element_attr, e), MNL_CB_OK);
	if (e->error == 0)
		e->error = change(e);
	return MNL_CB_OK;
}

static int
message_attr(const struct nlattr *a, void *arg)
{
	struct element *e = arg;
	const char *name;

	switch (mnl_attr_get_type(a)) {
	case NFTA_SET_ELEM_LIST_TABLE:
		e->table = strcmp(mnl_attr_get_str(a), "ukai") == 0;
		break;
	case NFTA_SET_ELEM_LIST_SET:
		name = mnl_attr_get_str(a);
		if (strlen(name) == 1 && name[0] >= 'a' && name[0] <= 'b')
			e->set = name[0] - 'a';
		break;
	case NFTA_SET_ELEM_LIST_ELEMENTS:
		return mnl_attr_parse_nested(a, list_attr, e);
	default:
		fail();
	}
	return MNL_CB_OK;
}

/* Returns whether it was refused. */
static bool
take_message(const struct nlmsghdr *h, struct sets *sets)
{
	struct element e = {.set = -1, .sets = sets, .h = h};

	assert_int_equal(h->nlmsg_type >> 8, NFNL_SUBSYS_NFTABLES);
	assert_int_equal(h->nlmsg_flags & NLM_F_EXCL, 0);
	if (kernel.old && (h->nlmsg_type & 0xff) == DESTROYSETELEM)
		e.error = -EINVAL;
	else
		assert_int_equal(mnl_attr_parse(h, sizeof(struct nfgenmsg),
				     message_attr, &e),
		    MNL_CB_OK);
	if (e.error != 0 || (h->nlmsg_flags & NLM_F_ACK) != 0)
		answer(h, e.error);
	return e.error != 0;
}

static void
take_batch(const void *b, size_t size)
{
	const struct nlmsghdr *h = b, *first = b;
	static struct sets after;
	int left = (int)size;
	bool refused = false, ended = false;

	after = kernel.now;
	kernel.batches++;
	kernel.answers = kernel.lost = 0;
	assert_int_equal(h->nlmsg_type, NFNL_MSG_BATCH_BEGIN);
	for (h = mnl_nlmsg_next(h, &left); mnl_nlmsg_ok(h, left);
	     h = mnl_nlmsg_next(h, &left)) {
		assert_false(ended);
		ended = h->nlmsg_type == NFNL_MSG_BATCH_END;
		if (!ended && take_message(h, &after))
			refused = true;
	}
	assert_true(ended);
	assert_int_equal(left, 0);
	if (kernel.refuse_all != 0)
		answer(first, kernel.refuse_all);
	if (!refused && kernel.refuse_all == 0)
		kernel.now = after;
}

/* Is there such a set? */
static void
take_question(const struct nlmsghdr *h)
{
	const struct nlattr *a =
	    mnl_nlmsg_get_payload_offset(h, sizeof(struct nfgenmsg));
	const char *table = mnl_attr_get_str(a);
	const char *set = mnl_attr_get_str(mnl_attr_next(a));
	struct nlmsghdr there = {.nlmsg_len = sizeof(there),
	    .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSET,
	    .nlmsg_seq = h->nlmsg_seq};

	assert_int_equal(h->nlmsg_type & 0xff, NFT_MSG_GETSET);
	kernel.answers = 0;
	if (strcmp(table, "ukai") != 0 ||
	    (strcmp(set, "a") != 0 && strcmp(set, "b") != 0))
		answer(h, -ENOENT);
	else
		assert_int_equal(
		    send(kernel.fd, &there, sizeof(there), 0), sizeof(there));
}

ssize_t __wrap_sendto(int fd, const void *b, size_t size, int flags,
    const struct sockaddr *to, socklen_t to_len);
ssize_t __wrap_recv(int fd, void *b, size_t size, int flags);
ssize_t __real_recv(int fd, void *b, size_t size, int flags);

ssize_t
__wrap_sendto(int fd, const void *b, size_t size, int flags,
    const struct sockaddr *to, socklen_t to_len)
{
	const struct nlmsghdr *h = b;

	(void)fd;
	(void)flags;
	(void)to;
	(void)to_len;
	if (kernel.is_mute)
		return (ssize_t)size;
	if (h->nlmsg_type >= NLMSG_MIN_TYPE &&
	    h->nlmsg_type != NFNL_MSG_BATCH_BEGIN)
		take_question(h);
	else
		take_batch(b, size);
	return (ssize_t)size;
}

/* What was lost is told first, and once. */
ssize_t
__wrap_recv(int fd, void *b, size_t size, int flags)
{
	if (kernel.lost > 0) {
		kernel.lost = 0;
		errno = ENOBUFS;
		return -1;
	}
	return __real_recv(fd, b, size, flags);
}

static int
set_up(void **state)
{
	struct hostfw *h = calloc(1, sizeof(*h));
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), 0);
	memset(&kernel, 0, sizeof(kernel));
	kernel.fd = fd[1];
	kernel.size = 100;
	kernel.answers_max = 40;
	h->owner = fd[0];
	h->talk.fd = fd[0];
	h->seq = 1000;
	*state = h;
	return 0;
}

static int
tear_down(void **state)
{
	struct hostfw *h = *state;

	close(kernel.fd);
	close(h->owner);
	free(h);
	return 0;
}

/* "+a1" and "-b7 comment". */
static struct hostfw_change
parse(const char *text)
{
	static char names[4][2] = {"a", "b", "x", "a"};
	struct hostfw_change c = {.table = "ukai",
	    .set = names[text[1] - 'a'],
	    .add = text[0] == '+',
	    .key = {(uint8_t)atoi(text + 2)},
	    .key_len = 1,
	    .comment = strchr(text, ' ')};

	if (c.comment != NULL)
		c.comment++;
	if (text[1] == 'd')
		c.table = "nosuch";
	return c;
}

static int
apply(struct hostfw *h, size_t n, const char *const *text, struct diag *d)
{
	struct hostfw_change c[8];

	for (size_t i = 0; i < n; i++)
		c[i] = parse(text[i]);
	return hostfw_elements(h, c, n, d);
}

/* The same of a kernel from before 6.3. */
static void
test_table(void **state)
{
	static const struct {
		const char *text[5];
		int result;
		const char *set; /* that d names */
		size_t a, b; /* elements afterwards; 1 in each before */
	} row[] = {
	    {{"+a1"}, 0, NULL, 2, 1},
	    {{"+a0"}, 0, NULL, 1, 1},
	    {{"-a0"}, 0, NULL, 0, 1},
	    {{"-a1"}, 0, NULL, 1, 1},
	    {{"-a1", "-a1", "-b3", "-a0"}, 0, NULL, 0, 1},
	    {{"+a1", "-a1", "-a1", "+b1"}, 0, NULL, 1, 2},
	    {{"-a1", "+a1", "-a1", "+a1"}, 0, NULL, 2, 1},
	    {{"+a1", "+a2", "+b1", "-a2"}, 0, NULL, 2, 2},
	    {{"+c1"}, UK_ENOENT, "x of inet ukai", 1, 1},
	    {{"+a1", "-c1"}, UK_ENOENT, "x of inet ukai", 1, 1},
	    {{"-a9", "-c1", "+b2"}, UK_ENOENT, "x of inet ukai", 1, 1},
	    {{"-a0", "+d1"}, UK_ENOENT, "a of inet nosuch", 1, 1},
	    {{"-d0", "+a1"}, UK_ENOENT, "a of inet nosuch", 1, 1},
	};

	for (size_t i = 0; i < 2 * ARRAY_LEN(row); i++) {
		struct hostfw *h = *state;
		struct diag d;
		size_t k = i / 2, n = 0;

		while (n < 5 && row[k].text[n] != NULL)
			n++;
		memset(&kernel.now, 0, sizeof(kernel.now));
		for (size_t s = 0; s < SETS; s++) {
			kernel.now.has[s][0] = true;
			kernel.now.n[s] = 1;
		}
		kernel.old = i % 2 != 0;
		h->no_destroy = false;
		diag_init(&d, NULL);
		assert_int_equal(apply(h, n, row[k].text, &d), row[k].result);
		assert_int_equal(kernel.now.n[0], row[k].a);
		assert_int_equal(kernel.now.n[1], row[k].b);
		assert_int_equal(d.errors, row[k].set != NULL);
		if (row[k].set != NULL)
			assert_non_null(strstr(d.entry[0].text, row[k].set));
	}
}

static void
test_refusals(void **state)
{
	static const char *const two[] = {"+a1", "+b1"};
	struct hostfw *h = *state;
	struct hostfw_change c = parse("+a1");
	struct diag d;

	diag_init(&d, NULL);
	assert_int_equal(hostfw_elements(h, NULL, 0, &d), 0);
	kernel.size = 1;
	assert_int_equal(apply(h, 2, two, NULL), 0);
	c.key[0] = 2;
	assert_int_equal(hostfw_elements(h, &c, 1, &d), UK_ELIMIT);
	assert_non_null(strstr(d.entry[0].text, "full"));
	c.key[0] = 1; /* is there already */
	assert_int_equal(hostfw_elements(h, &c, 1, &d), 0);
	c.key_len = 2;
	assert_int_equal(hostfw_elements(h, &c, 1, NULL), UK_EINVAL);
	c.add = false;
	assert_int_equal(hostfw_elements(h, &c, 1, NULL), UK_EINVAL);
	kernel.refuse_all = -EPERM;
	assert_int_equal(apply(h, 2, two, NULL), UK_EPERM);
	kernel.refuse_all = -ENOMEM;
	assert_int_equal(apply(h, 2, two, NULL), UK_ENOMEM);
	kernel.refuse_all = 0;
	kernel.is_mute = true; /* silence is no consent */
	assert_int_equal(apply(h, 2, two, NULL), UK_ENOMEM);
	assert_int_equal(kernel.now.n[0], 1);
}

/* Answers that libnftables did not read are none of ours. */
static void
test_stale_answers(void **state)
{
	static const char *const one[] = {"+a1"};
	struct hostfw *h = *state;
	struct nlmsghdr stale = {.nlmsg_seq = 7};

	kernel.answers = 0;
	for (int i = 0; i < 5; i++)
		answer(&stale, i % 2 != 0 ? -EPERM : 0);
	assert_int_equal(apply(h, 1, one, NULL), 0);
	assert_int_equal(
	    recv(h->owner, &stale, sizeof(stale), MSG_DONTWAIT), -1);
}

/* C5: the comment is what nft prints. */
static void
test_comments(void **state)
{
	static const char *const row[][2] = {
	    {"www.example.jp", "www.example.jp"},
	    {"", ""},
	    {"a\"b\\c\nd\x1b[0m", "a?b?c?d?[0m"},
	    {"\xe3\x81\x82", "???"},
	};
	struct hostfw_change c = parse("+a1");
	char longer[120], cut[101];

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		c.comment = row[i][0];
		c.key[0] = (uint8_t)i;
		assert_int_equal(hostfw_elements(*state, &c, 1, NULL), 0);
		assert_string_equal(kernel.now.comment[0][i], row[i][1]);
	}
	memset(longer, 'n', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	memset(cut, 'n', sizeof(cut) - 1);
	cut[sizeof(cut) - 1] = '\0';
	c.comment = longer;
	c.key[0] = 9;
	assert_int_equal(hostfw_elements(*state, &c, 1, NULL), 0);
	assert_string_equal(kernel.now.comment[0][9], cut);
}

/* An old kernel is asked once whether it knows the new way. */
static void
test_old_kernel_is_remembered(void **state)
{
	static const char *const gone[] = {"-a1"}, *const add[] = {"+a1"};

	kernel.old = true;
	assert_int_equal(apply(*state, 1, add, NULL), 0);
	assert_int_equal(apply(*state, 1, gone, NULL), 0);
	assert_int_equal(kernel.batches, 3);
	assert_int_equal(apply(*state, 1, add, NULL), 0);
	assert_int_equal(apply(*state, 1, gone, NULL), 0);
	assert_int_equal(kernel.batches, 5);
}

/* The obvious way: one after the other, on a copy. */
static int
naive(struct sets *s, const struct hostfw_change *c, size_t n)
{
	struct sets copy = *s;

	for (size_t i = 0; i < n; i++) {
		int set = c[i].set[0] - 'a';
		bool *has = &copy.has[set][c[i].key[0]];

		if (c[i].add && !*has && copy.n[set] == kernel.size)
			return UK_ELIMIT;
		if (*has != c[i].add)
			copy.n[set] += c[i].add ? 1 : (size_t)-1;
		*has = c[i].add;
	}
	*s = copy;
	return 0;
}

/* Of many at once, also with more refusals than the socket holds. */
static void
test_random(void **state)
{
	static struct hostfw_change c[600];
	static struct sets want;
	struct hostfw *h = *state;
	unsigned refused = 0;

	memset(&want, 0, sizeof(want));
	for (int round = 0; round < 150; round++) {
		size_t n = 1 + rnd(ARRAY_LEN(c));
		uint32_t keys = 1 + rnd(KEYS), adds = 1 + rnd(9);
		int r;

		kernel.old = rnd(2) != 0;
		h->no_destroy = kernel.old && rnd(2) != 0;
		for (size_t i = 0; i < n; i++) {
			c[i] = parse(rnd(2) != 0 ? "+a0" : "+b0");
			c[i].add = rnd(10) < adds;
			c[i].key[0] = (uint8_t)rnd(keys);
		}
		r = naive(&want, c, n);
		assert_int_equal(hostfw_elements(h, c, n, NULL), r);
		refused += r != 0;
		assert_memory_equal(want.has, kernel.now.has, sizeof(want.has));
		/* Full sets make room. */
		if (r != 0) {
			memset(&kernel.now, 0, sizeof(kernel.now));
			memset(&want, 0, sizeof(want));
		}
	}
	assert_true(refused > 5 && refused < 145);
}

/* Allocation failures: the nth one fails. */
static long fail_in;

void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *
__wrap_calloc(size_t n, size_t size)
{
	return fail_in > 0 && --fail_in == 0 ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	return fail_in > 0 && --fail_in == 0 ? NULL : __real_realloc(p, size);
}

static void
test_no_memory(void **state)
{
	static struct hostfw_change c[200];
	unsigned failures = 0;
	int r = UK_ENOMEM;

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		c[i] = parse(i % 2 != 0 ? "+a0 name" : "-b0");
		c[i].key[0] = (uint8_t)(i / 2);
	}
	for (long n = 1; r != 0; n++) {
		fail_in = n;
		r = hostfw_elements(*state, c, ARRAY_LEN(c), NULL);
		fail_in = 0;
		assert_true(r == 0 || r == UK_ENOMEM);
		assert_int_equal(kernel.now.n[0], r == 0 ? 100 : 0);
		failures += r != 0;
	}
	assert_true(failures > 3 && failures < 50);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_table, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		test_stale_answers, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_comments, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		test_old_kernel_is_remembered, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
