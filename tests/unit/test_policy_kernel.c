/* A policy's tables over a kernel of the test's own: what is written down
 * before it is made, what goes into which table, what is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/policy/mark.h"
#include "client/policy/policy_kernel.h"
#include "core/err.h"

#define TABLE "ukai-t0"
#define GUARD "ukai-t0-guard"
#define CHANGES (2 * POLICY_KERNEL_CHANGES)

/* ---- the kernel ---- */

struct counter {
	char name[16];
	uint64_t packets, bytes;
};

static struct {
	char log[2048]; /* what was done, in order */
	char *body, *guard; /* as they stand; NULL: no such table */
	int apply, journal, elements, sets; /* answers; 0: it works */
	struct hostfw_change change[CHANGES];
	size_t changes;
	struct counter counter[8];
	size_t counters, reads;
	atomic_bool reading; /* until they have been read */
} fw;

static struct hostfw *const handle = (struct hostfw *)&fw;
static struct undo *const journal = (struct undo *)&fw;

static void
note(const char *what)
{
	size_t n = strlen(fw.log);

	snprintf(fw.log + n, sizeof(fw.log) - n, "%s ", what);
}

static void
expect_log(const char *want)
{
	assert_string_equal(fw.log, want);
	fw.log[0] = '\0';
}

static void
stand(char **table, const char *body)
{
	free(*table);
	*table = body != NULL ? strdup(body) : NULL;
}

int
undo_table(struct undo *u, const char *name, struct diag *d)
{
	(void)d;
	note(u == journal && strcmp(name, GUARD) == 0 ? "journal" : "?");
	return fw.journal;
}

int
hostfw_apply(
    struct hostfw *h, const char *name, const char *body, struct diag *d)
{
	(void)d;
	note(h == handle && strcmp(name, TABLE) == 0 ? "table" : "?");
	if (fw.apply == 0)
		stand(&fw.body, body);
	return fw.apply;
}

int
hostfw_apply_kept(struct hostfw *h, const char *name, const char *body,
    const char *kept, const char *kept_body, struct diag *d)
{
	if (h != handle || strcmp(name, TABLE) != 0 || strcmp(kept, GUARD) != 0)
		note("?");
	note(body != NULL ? "both" : "guard");
	if (fw.apply < 0) {
		diag_error(d, "refused");
		return fw.apply;
	}
	if (body != NULL)
		stand(&fw.body, body);
	stand(&fw.guard, kept_body);
	if (body != NULL)
		fw.counters = 0;
	return 0;
}

int
hostfw_elements(
    struct hostfw *h, const struct hostfw_change *c, size_t n, struct diag *d)
{
	(void)h;
	(void)d;
	note("elements");
	memcpy(fw.change, c, n * sizeof(*c));
	fw.changes = n;
	return fw.elements;
}

/* The names of sets that the text has. */
int
hostfw_sets_each(struct hostfw *h, const char *table,
    bool (*visit)(void *arg, const char *set), void *arg)
{
	const char *s = fw.guard;
	char name[64];

	(void)h;
	if (strcmp(table, GUARD) != 0 || s == NULL)
		return UK_ENOENT;
	for (; fw.sets == 0 && (s = strstr(s, "set ")) != NULL; s++)
		if (sscanf(s, "set %63[a-z0-9_] {", name) == 1 &&
		    !visit(arg, name))
			break;
	return fw.sets;
}

int
hostfw_elements_each(struct hostfw *h, const char *table, const char *set,
    bool (*visit)(
	void *arg, const uint8_t *key, size_t key_len, const char *comment),
    void *arg)
{
	(void)h;
	note(table);
	note(set);
	(void)visit(arg, (const uint8_t *)"\1", 1, NULL);
	return 0;
}

int
hostfw_counters_each(struct hostfw *h, const char *table,
    bool (*visit)(
	void *arg, const char *counter, uint64_t packets, uint64_t bytes),
    void *arg)
{
	(void)h;
	assert_string_equal(table, TABLE);
	fw.reads++;
	for (size_t i = 0; i < fw.counters; i++)
		if (!visit(arg, fw.counter[i].name, fw.counter[i].packets,
			fw.counter[i].bytes))
			break;
	fw.reading = false;
	return 0;
}

int
hostfw_counter(struct hostfw *h, const char *table, const char *counter,
    uint64_t *packets, uint64_t *bytes)
{
	(void)h;
	assert_string_equal(table, TABLE);
	for (size_t i = 0; i < fw.counters; i++) {
		if (strcmp(fw.counter[i].name, counter) != 0)
			continue;
		*packets = fw.counter[i].packets;
		*bytes = fw.counter[i].bytes;
		return 0;
	}
	return UK_ENOENT;
}

static void
count(const char *name, uint64_t packets, uint64_t bytes)
{
	struct counter *c = &fw.counter[fw.counters++];

	snprintf(c->name, sizeof(c->name), "%s", name);
	c->packets = packets;
	c->bytes = bytes;
}

/* ---- policies ---- */

struct example {
	struct rules *rules;
	struct slots *slots;
	struct policy_nft nft;
};

static const struct ip_ifaddr own[] = {{{FAMILY_V4, {10, 66, 0, 2}}, 32}};
static const struct ip_prefix everything[] = {{{FAMILY_V4, {0}}, 0}};
static const struct rules_reader no_lists;

/* before: whose slots it takes over; NULL: none. */
static void
example(struct example *e, const char *text, const struct example *before)
{
	struct diag d;

	diag_init(&d, NULL);
	assert_int_equal(rules_parse(&e->rules, "t.rules", text, strlen(text),
			     &no_lists, RULES_LINUX, &d),
	    0);
	assert_int_equal(slots_new(&e->slots, e->rules,
			     before != NULL ? before->slots : NULL),
	    0);
	e->nft = (struct policy_nft){.rules = e->rules,
	    .slots = e->slots,
	    .ifname = "t0",
	    .own_mark = 0xca6c,
	    .tunnel_mark = 0x01000000,
	    .tunnel_mask = 0xff000000,
	    .address = own,
	    .addresses = 1,
	    .allowed = everything,
	    .allowed_n = 1};
}

static void
example_fini(struct example *e)
{
	slots_free(e->slots);
	rules_free(e->rules);
}

/* Of its rule in line n. */
static uint16_t
slot(const struct example *e, size_t line)
{
	return e->slots->item[e->slots->of_rule[line - 1]].number;
}

static const char guarded[] = "IP-CIDR,192.0.2.1/32,tunnel\n"
			      "DOMAIN,a.example,tunnel!\n"
			      "DOMAIN,b.example,tunnel\n"
			      "DEFAULT,native\n";
static const char open_text[] = "DOMAIN,b.example,tunnel\n"
				"DEFAULT,native\n";

/* ---- */

struct fixture {
	uv_loop_t loop;
	struct policy_kernel *k;
	unsigned dones;
	int err;
	char said[DIAG_TEXT];
};

static void
add_body(void *arg, struct text *t)
{
	assert_non_null(arg);
	text_add(t, "# the tunnel's own\n");
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct policy_kernel_conf c = {.loop = &f->loop,
	    .firewall = handle,
	    .keep = journal,
	    .table = TABLE,
	    .body = add_body,
	    .arg = f};

	memset(&fw, 0, sizeof(fw));
	*state = f;
	return uv_loop_init(&f->loop) | policy_kernel_open(&f->k, &c);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	int r;

	policy_kernel_close(f->k, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	r = uv_loop_close(&f->loop);
	stand(&fw.body, NULL);
	stand(&fw.guard, NULL);
	free(f);
	return r;
}

static void
on_done(void *arg, int err, const struct diag *d)
{
	struct fixture *f = arg;

	f->dones++;
	f->err = err;
	snprintf(
	    f->said, sizeof(f->said), "%s", d->n > 0 ? d->entry[0].text : "");
}

/* ---- what comes before what ---- */

/* What would stay when we are killed is in the journal before it is made; it
 * refuses before there is a tunnel (R8). */
static void
guard_first_r8(void **state)
{
	struct fixture *f = *state;
	struct example e;

	example(&e, guarded, NULL);
	assert_int_equal(policy_kernel_put_guard(f->k, &e.nft, NULL), 0);
	expect_log("journal guard ");
	assert_non_null(fw.guard);
	assert_null(fw.body);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	expect_log("journal both ");
	assert_non_null(strstr(fw.body, "# the tunnel's own\n"));
	assert_non_null(strstr(fw.body, "chain"));
	assert_int_equal(policy_kernel_put_later(f->k, &e.nft, on_done, f), 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	expect_log("journal both ");
	assert_int_equal(f->dones, 1);
	assert_int_equal(f->err, 0);
	assert_string_equal(policy_kernel_guard(f->k), GUARD);
	example_fini(&e);
}

/* Nothing is made that could not be written down. */
static void
no_journal_no_guard(void **state)
{
	struct fixture *f = *state;
	struct example e;

	example(&e, guarded, NULL);
	fw.journal = UK_ESYS;
	assert_int_equal(policy_kernel_put_guard(f->k, &e.nft, NULL), UK_ESYS);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), UK_ESYS);
	assert_int_equal(
	    policy_kernel_put_later(f->k, &e.nft, on_done, f), UK_ESYS);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	expect_log("journal journal journal ");
	assert_int_equal(f->dones, 0);
	assert_false(policy_kernel_is_busy(f->k));
	example_fini(&e);
}

/* A policy without tunnel! and block leaves nothing, and an older guard goes in
 * the same transaction. */
static void
nothing_to_guard(void **state)
{
	struct fixture *f = *state;
	struct example e, old;

	example(&old, guarded, NULL);
	example(&e, open_text, NULL);
	fw.journal = UK_ESYS; /* it is not asked */
	assert_int_equal(policy_kernel_put_guard(f->k, &e.nft, NULL), 0);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	expect_log("guard both ");
	assert_null(fw.guard);
	fw.journal = 0;
	assert_int_equal(policy_kernel_put(f->k, &old.nft, NULL), 0);
	assert_non_null(fw.guard);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	assert_null(fw.guard);
	example_fini(&e);
	example_fini(&old);
}

/* The policy goes out of the tunnel's table; the guard is its journal's. */
static void
closes(void **state)
{
	struct fixture *f = *state;
	struct example e;

	example(&e, guarded, NULL);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	fw.log[0] = '\0';
	policy_kernel_close(f->k, NULL);
	f->k = NULL;
	expect_log("table ");
	assert_string_equal(fw.body, "# the tunnel's own\n");
	assert_non_null(fw.guard);
	policy_kernel_close(NULL, NULL);
	example_fini(&e);
}

/* It never was in there. */
static void
closes_early(void **state)
{
	struct fixture *f = *state;
	struct example e;

	example(&e, guarded, NULL);
	assert_int_equal(policy_kernel_put_guard(f->k, &e.nft, NULL), 0);
	fw.apply = UK_EINVAL;
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), UK_EINVAL);
	fw.log[0] = '\0';
	policy_kernel_close(f->k, NULL);
	f->k = NULL;
	expect_log("");
	example_fini(&e);
}

/* ---- changes ---- */

static void
set_name(
    char set[static POLICY_NFT_SET_MAX], const struct example *e, size_t line)
{
	policy_nft_names_set(set, slot(e, line), FAMILY_V4);
}

static struct hostfw_change
address(const char *set, uint8_t last)
{
	return (struct hostfw_change){
	    .set = set, .add = true, .key = {192, 0, 2, last}, .key_len = 4};
}

static void
expect_change(size_t i, const char *table, uint8_t last)
{
	assert_string_equal(fw.change[i].table, table);
	assert_int_equal(fw.change[i].key[3], last);
}

/* What the guard has a set for goes into both tables, at once. */
static void
changes_go_to_both(void **state)
{
	char only[POLICY_NFT_SET_MAX];
	struct fixture *f = *state;
	struct hostfw_change c[3];
	struct example e;

	example(&e, guarded, NULL);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	set_name(only, &e, 2);
	assert_non_null(strstr(fw.guard, only));
	assert_null(strstr(fw.guard, "n77_4"));
	c[0] = address("n77_4", 1);
	c[1] = address(only, 2);
	c[2] = (struct hostfw_change){
	    .set = POLICY_NFT_LIVE, .key = {2, 0, 0, 3}, .key_len = 1};
	fw.log[0] = '\0';
	assert_int_equal(policy_kernel_change(f->k, c, 3, NULL), 0);
	expect_log("elements ");
	assert_int_equal(fw.changes, 4);
	expect_change(0, TABLE, 1);
	expect_change(1, TABLE, 2);
	expect_change(2, GUARD, 2);
	expect_change(3, TABLE, 3);
	assert_string_equal(fw.change[2].set, only);
	assert_true(fw.change[2].add);
	fw.elements = UK_ELIMIT;
	assert_int_equal(policy_kernel_change(f->k, c, 1, NULL), UK_ELIMIT);
	example_fini(&e);
}

/* After a policy whose guard does not have them they do not go there. */
static void
changes_follow_the_guard(void **state)
{
	char only[POLICY_NFT_SET_MAX];
	struct fixture *f = *state;
	struct hostfw_change c;
	struct example e, next;

	example(&e, guarded, NULL);
	example(&next, open_text, NULL);
	set_name(only, &e, 2);
	c = address(only, 1);
	assert_int_equal(policy_kernel_put_guard(f->k, &e.nft, NULL), 0);
	assert_int_equal(policy_kernel_change(f->k, &c, 1, NULL), 0);
	assert_int_equal(fw.changes, 2);
	assert_int_equal(policy_kernel_put(f->k, &next.nft, NULL), 0);
	assert_int_equal(policy_kernel_change(f->k, &c, 1, NULL), 0);
	assert_int_equal(fw.changes, 1);
	assert_int_equal(policy_kernel_put_later(f->k, &e.nft, on_done, f), 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(policy_kernel_change(f->k, &c, 1, NULL), 0);
	assert_int_equal(fw.changes, 2);
	/* What is in the guard is not known: that is no success. */
	fw.sets = UK_ESYS;
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), UK_ESYS);
	example_fini(&next);
	example_fini(&e);
}

/* Somebody has deleted it; without one that was put none is missed. */
static void
guard_is_gone(void **state)
{
	struct fixture *f = *state;
	struct example e, next;

	example(&e, guarded, NULL);
	example(&next, open_text, NULL);
	assert_false(policy_kernel_lacks_guard(f->k));
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	assert_false(policy_kernel_lacks_guard(f->k));
	stand(&fw.guard, NULL);
	assert_true(policy_kernel_lacks_guard(f->k));
	assert_int_equal(policy_kernel_put_later(f->k, &e.nft, on_done, f), 0);
	assert_false(policy_kernel_lacks_guard(f->k)); /* not known now */
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_false(policy_kernel_lacks_guard(f->k));
	assert_int_equal(policy_kernel_put(f->k, &next.nft, NULL), 0);
	assert_false(policy_kernel_lacks_guard(f->k));
	example_fini(&next);
	example_fini(&e);
}

static void
as_many_changes_as_fit(void **state)
{
	struct hostfw_change c[POLICY_KERNEL_CHANGES];
	char only[POLICY_NFT_SET_MAX];
	struct fixture *f = *state;
	struct example e;

	example(&e, guarded, NULL);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	set_name(only, &e, 2);
	for (size_t i = 0; i < POLICY_KERNEL_CHANGES; i++)
		c[i] = address(only, (uint8_t)i);
	assert_int_equal(
	    policy_kernel_change(f->k, c, POLICY_KERNEL_CHANGES, NULL), 0);
	assert_int_equal(fw.changes, CHANGES);
	for (size_t i = 0; i < CHANGES; i++)
		expect_change(i, i % 2 == 0 ? TABLE : GUARD, (uint8_t)(i / 2));
	example_fini(&e);
}

/* ---- counters ---- */

static void
expect_count(struct fixture *f, uint16_t number, uint64_t flows,
    uint64_t packets, uint64_t bytes)
{
	struct policy_count c;

	policy_kernel_count(f->k, number, &c);
	assert_int_equal(c.flows, flows);
	assert_int_equal(c.packets, packets);
	assert_int_equal(c.bytes, bytes);
}

static void
count_slot(unsigned number, uint64_t flows, uint64_t packets)
{
	char name[16];

	snprintf(name, sizeof(name), POLICY_NFT_HITS, number);
	count(name, flows, 77);
	snprintf(name, sizeof(name), POLICY_NFT_BYTES, number);
	count(name, packets, 100 * packets);
}

static void
counts_over_reloads(void **state)
{
	static const char next_text[] = "DOMAIN,a.example,tunnel!\n"
					"DOMAIN,c.example,tunnel\n"
					"DEFAULT,native\n";
	struct fixture *f = *state;
	struct example e, next;
	uint16_t stays, goes;

	example(&e, guarded, NULL);
	example(&next, next_text, &e);
	stays = slot(&e, 2);
	goes = slot(&e, 1);
	assert_int_equal(slot(&next, 1), stays);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	count_slot(stays, 3, 30);
	count_slot(goes, 5, 50);
	count_slot(SLOT_RUN, 1, 10);
	count("x1", 9, 9);
	count("h65536", 9, 9);
	expect_count(f, stays, 0, 0, 0); /* nobody has looked */
	policy_kernel_look(f->k);
	policy_kernel_look(f->k);
	expect_count(f, stays, 3, 30, 3000);
	expect_count(f, goes, 5, 50, 5000);
	/* What has come since is counted, too; a failure counts nothing
	 * twice. */
	fw.counters = 0;
	count_slot(stays, 4, 40);
	count_slot(SLOT_RUN, 1, 10);
	fw.apply = UK_EINVAL;
	assert_int_equal(policy_kernel_put(f->k, &next.nft, NULL), UK_EINVAL);
	policy_kernel_look(f->k);
	expect_count(f, stays, 4, 40, 4000);
	expect_count(f, goes, 5, 50, 5000);
	fw.apply = 0;
	assert_int_equal(policy_kernel_put(f->k, &next.nft, NULL), 0);
	policy_kernel_look(f->k);
	expect_count(f, stays, 4, 40, 4000);
	expect_count(f, goes, 0, 0, 0);
	expect_count(f, SLOT_RUN, 1, 10, 1000);
	count_slot(stays, 2, 20);
	policy_kernel_look(f->k);
	expect_count(f, stays, 6, 60, 6000);
	example_fini(&next);
	example_fini(&e);
}

/* What the worker reads is not seen before it is done: the loop's thread looks
 * at counters meanwhile. What was seen by nobody else counts. */
static void
counts_of_a_worker(void **state)
{
	struct fixture *f = *state;
	struct example e;

	example(&e, guarded, NULL);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	count_slot(slot(&e, 2), 3, 30);
	policy_kernel_look(f->k);
	fw.counters = 0;
	count_slot(slot(&e, 2), 5, 50);
	fw.reads = 0;
	fw.reading = true;
	assert_int_equal(policy_kernel_put_later(f->k, &e.nft, on_done, f), 0);
	while (fw.reading)
		uv_sleep(1);
	expect_count(f, slot(&e, 2), 3, 30, 3000);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	expect_count(f, slot(&e, 2), 5, 50, 5000);
	example_fini(&e);
}

/* One counter is one question. */
static void
questions_of_the_lan(void **state)
{
	struct fixture *f = *state;
	uint64_t n = 0;
	struct example e;

	example(&e, guarded, NULL);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	assert_int_equal(policy_kernel_lan_dns(f->k, &n), UK_ENOENT);
	count(POLICY_NFT_LAN_DNS, 7, 700);
	assert_int_equal(policy_kernel_lan_dns(f->k, &n), 0);
	assert_int_equal(n, 7);
	assert_int_equal(fw.reads, 0);
	assert_int_equal(policy_kernel_put_later(f->k, &e.nft, on_done, f), 0);
	assert_int_equal(policy_kernel_lan_dns(f->k, &n), UK_EAGAIN);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	example_fini(&e);
}

/* Before there is a table nothing is asked for. */
static void
no_table_no_counters(void **state)
{
	struct fixture *f = *state;

	count_slot(1, 3, 30);
	policy_kernel_look(f->k);
	assert_int_equal(fw.reads, 0);
	expect_count(f, 1, 0, 0, 0);
}

/* ---- busy ---- */

static bool
on_element(void *arg, const uint8_t *key, size_t key_len, const char *comment)
{
	(void)key;
	(void)comment;
	*(size_t *)arg += key_len;
	return true;
}

static void
busy(void **state)
{
	struct fixture *f = *state;
	struct hostfw_change c;
	struct example e;
	size_t elements = 0;

	example(&e, guarded, NULL);
	c = address("n1_4", 1);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	assert_false(policy_kernel_is_busy(f->k));
	assert_int_equal(policy_kernel_put_later(f->k, &e.nft, on_done, f), 0);
	assert_true(policy_kernel_is_busy(f->k));
	assert_int_equal(
	    policy_kernel_put_later(f->k, &e.nft, on_done, f), UK_EAGAIN);
	assert_int_equal(policy_kernel_change(f->k, &c, 1, NULL), UK_EAGAIN);
	assert_int_equal(
	    policy_kernel_each(f->k, "live", on_element, &elements), UK_EAGAIN);
	policy_kernel_look(f->k);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(fw.reads, 1); /* by the worker */
	assert_int_equal(fw.changes, 0);
	assert_int_equal(f->dones, 1);
	assert_false(policy_kernel_is_busy(f->k));
	fw.log[0] = '\0';
	assert_int_equal(
	    policy_kernel_each(f->k, "live", on_element, &elements), 0);
	assert_int_equal(elements, 1);
	expect_log(TABLE " live ");
	example_fini(&e);
}

/* The kernel refuses: done hears why, and what stood stands. */
static void
refused_later(void **state)
{
	struct fixture *f = *state;
	struct example e;

	example(&e, guarded, NULL);
	assert_int_equal(policy_kernel_put(f->k, &e.nft, NULL), 0);
	fw.apply = UK_EINVAL;
	for (unsigned i = 1; i <= 2; i++) {
		assert_int_equal(
		    policy_kernel_put_later(f->k, &e.nft, on_done, f), 0);
		uv_run(&f->loop, UV_RUN_DEFAULT);
		assert_int_equal(f->dones, i);
		assert_int_equal(f->err, UK_EINVAL);
		assert_string_equal(f->said, "refused");
	}
	assert_non_null(fw.guard);
	example_fini(&e);
}

/* Closed while a worker is at it: it is waited for, and then taken out. */
static void
closed_while_busy(void **state)
{
	struct fixture *f = *state;
	struct example e;

	example(&e, guarded, NULL);
	assert_int_equal(policy_kernel_put_later(f->k, &e.nft, on_done, f), 0);
	policy_kernel_close(f->k, NULL);
	f->k = NULL;
	assert_int_equal(f->dones, 1);
	expect_log("journal both table ");
	assert_string_equal(fw.body, "# the tunnel's own\n");
	example_fini(&e);
}

/* ---- no memory ---- */

static unsigned fail_at;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *
__wrap_calloc(size_t n, size_t size)
{
	if (fail_at > 0 && --fail_at == 0)
		return NULL;
	return __real_calloc(n, size);
}

static void
no_memory(void **state)
{
	const struct policy_kernel_conf c = {.table = TABLE};
	struct policy_kernel *k;

	(void)state;
	for (unsigned i = 1; i <= 4; i++) {
		fail_at = i;
		assert_int_equal(policy_kernel_open(&k, &c), UK_ENOMEM);
		assert_int_equal(fail_at, 0);
	}
	assert_int_equal(policy_kernel_open(&k, &c), 0);
	policy_kernel_close(k, NULL);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(guard_first_r8),
	    T(no_journal_no_guard),
	    T(nothing_to_guard),
	    T(closes),
	    T(closes_early),
	    T(changes_go_to_both),
	    T(changes_follow_the_guard),
	    T(guard_is_gone),
	    T(as_many_changes_as_fit),
	    T(counts_over_reloads),
	    T(counts_of_a_worker),
	    T(questions_of_the_lan),
	    T(no_table_no_counters),
	    T(busy),
	    T(refused_later),
	    T(closed_while_busy),
	    cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
