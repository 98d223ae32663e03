#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "core/err.h"
#include "hostfw_nft.h"
#include "os_err.h"
#include "undo_kind.h"

/* table: its name. By netlink alone: `ukai restore` needs no libnftables, and
 * reads none of the table's elements. */

struct search {
	const char *name;
	bool found;
};

static void
search_visit(void *arg, const struct undo_line *l)
{
	struct search *s = arg;

	if (strcmp(l->field[0].b, s->name) == 0)
		s->found = true;
}

int
undo_table(struct undo *u, const char *name, struct diag *d)
{
	const struct undo_field f = undo_text_field(name);
	struct search s = {.name = name};

	if (!hostfw_name_ok(name)) {
		diag_error(d, "'%s' cannot be the table's name", name);
		return UK_EINVAL;
	}
	undo_pending(u, undo_kind_table.name, search_visit, &s);
	return s.found ? 0 : undo_add(u, undo_kind_table.name, &f, 1, d);
}

static bool
table_in_netns(const struct undo_line *l)
{
	(void)l;
	return true;
}

static void
table_describe(const struct undo_line *l, char *out, size_t cap)
{
	snprintf(out, cap, "nftables table inet %s", l->field[0].b);
}

static void
no_number(void *arg, uint32_t number, int error)
{
	(void)arg;
	(void)number;
	(void)error;
}

static int
delete_table(struct nft_talk *t, const char *name)
{
	struct nft_batch b = {.first = ++t->seq};
	struct nlmsghdr *h = nft_batch_put(&b, NFT_MSG_DELTABLE, 0, 1);
	int r = -ENOMEM;

	if (h != NULL) {
		mnl_attr_put_strz(h, NFTA_TABLE_NAME, name);
		r = nft_batch_send(&b, t->fd, no_number, NULL);
	}
	nft_batch_fini(&b);
	return r;
}

/* Returns 0; an errno. */
static int
remove_table(const char *name, struct diag *d)
{
	struct nft_talk t;
	bool owned = false;
	int r = nft_talk_open(&t);

	if (r < 0)
		return r;
	r = nft_talk_table(&t, name, &owned);
	if (r == 0 && owned)
		diag_warn(d,
		    "nftables table inet %s is left: a program that runs owns "
		    "it",
		    name);
	else if (r == 0)
		r = delete_table(&t, name);
	nft_talk_close(&t);
	return r == -ENOENT ? 0 : r;
}

static int
table_undo(
    const struct undo_line *l, const struct undo_where *w, struct diag *d)
{
	const char *name = undo_field_text(&l->field[0]);
	int r;

	(void)w;
	if (name == NULL || !hostfw_name_ok(name)) {
		diag_error(d, "the journal names an impossible nftables table");
		return UK_EPROTO;
	}
	r = remove_table(name, d);
	if (r == 0)
		return 0;
	diag_error(d, "cannot delete nftables table inet %s: %s%s", name,
	    strerror(-r),
	    r == -EPERM ? "; root or CAP_NET_ADMIN is needed" : "");
	return os_err(-r);
}

const struct undo_kind undo_kind_table = {
    .name = "table",
    .fields = 1,
    .ends_at_boot = true,
    .in_netns = table_in_netns,
    .describe = table_describe,
    .undo = table_undo,
};
