#include "ce_claim.h"

#include <string.h>

void
ce_claim_init(struct ce_claim *c, const uint8_t address[16],
    const struct netcfg_link *link)
{
	memset(c, 0, sizeof(*c));
	memcpy(c->address, address, sizeof(c->address));
	c->link = *link;
	c->check_until = UK_NEVER;
}

static enum ce_claim_do
refuse(struct ce_claim *c, enum ce_claim_refusal why)
{
	c->state = CE_CLAIM_REFUSED;
	c->why = why;
	return CE_CLAIM_NOTHING;
}

static void
announce_anew(struct ce_claim *c, uint64_t now_ns)
{
	c->announcements = CE_CLAIM_ANNOUNCEMENTS;
	c->announce_ns = now_ns;
}

/* Who keeps our MAC may have forgotten it, or learned another's, while we were
 * away. A flap between two looks shows in the kernel's count. */
static bool
has_come_up(const struct netcfg_link *was, const struct netcfg_link *is)
{
	return is->running &&
	       (!was->running || was->carrier_changes != is->carrier_changes ||
		   memcmp(was->mac, is->mac, NDP_MAC_LEN) != 0);
}

static enum ce_claim_do
check_again(struct ce_claim *c, uint64_t now_ns, enum ce_claim_do todo)
{
	c->state = CE_CLAIM_WAITING;
	if (!c->link.running) {
		c->check_until = UK_NEVER;
		return CE_CLAIM_NOTHING;
	}
	if (c->check_until == UK_NEVER)
		c->check_until = now_ns + CE_CLAIM_CHECK;
	else if (now_ns >= c->check_until)
		return refuse(c, CE_CLAIM_TIMEOUT);
	return todo;
}

static enum ce_claim_do
hold(struct ce_claim *c, uint64_t now_ns)
{
	if (c->state == CE_CLAIM_WAITING)
		announce_anew(c, now_ns);
	c->state = CE_CLAIM_HELD;
	c->check_until = UK_NEVER;
	if (!c->link.running || !c->link.neighbours || c->announcements == 0 ||
	    now_ns < c->announce_ns)
		return CE_CLAIM_NOTHING;
	c->announcements--;
	c->announce_ns = now_ns + CE_CLAIM_ANNOUNCE_EVERY;
	return CE_CLAIM_ANNOUNCE;
}

enum ce_claim_do
ce_claim_look(
    struct ce_claim *c, uint64_t now_ns, const struct ce_claim_seen *seen)
{
	if (c->state == CE_CLAIM_REFUSED)
		return CE_CLAIM_NOTHING;
	if (!seen->link_there)
		return refuse(c, CE_CLAIM_LINK_GONE);
	if (has_come_up(&c->link, &seen->link))
		announce_anew(c, now_ns);
	c->link = seen->link;
	switch (seen->addr) {
	case NETCFG_ADDR_NONE:
		return check_again(c, now_ns, CE_CLAIM_ADD);
	case NETCFG_ADDR_TENTATIVE:
		return check_again(c, now_ns, CE_CLAIM_NOTHING);
	case NETCFG_ADDR_DUPLICATE:
		return refuse(c, CE_CLAIM_DUPLICATE);
	case NETCFG_ADDR_READY:
		break;
	}
	return hold(c, now_ns);
}

uint64_t
ce_claim_deadline(const struct ce_claim *c, uint64_t now_ns)
{
	uint64_t next = now_ns + CE_CLAIM_LOOK;

	if (c->state == CE_CLAIM_REFUSED)
		return UK_NEVER;
	if (c->state == CE_CLAIM_WAITING)
		return now_ns + CE_CLAIM_LOOK_SOON;
	return c->announcements > 0 && c->announce_ns > now_ns
		   ? uk_min_u64(next, c->announce_ns)
		   : next;
}

enum ce_claim_heard
ce_claim_hear(struct ce_claim *c, uint64_t now_ns, const struct ndp *m,
    const uint8_t from[NDP_MAC_LEN])
{
	/* The option tells where packets go; a probe has none. */
	const uint8_t *mac = m->has_mac ? m->mac : from;

	if (c->state == CE_CLAIM_REFUSED ||
	    memcmp(m->target, c->address, sizeof(c->address)) != 0 ||
	    (m->type == NDP_SOLICIT && !m->probe) ||
	    memcmp(mac, c->link.mac, NDP_MAC_LEN) == 0)
		return CE_CLAIM_NO_RIVAL;
	c->rivals++;
	memcpy(c->rival_mac, mac, NDP_MAC_LEN);
	if (c->state != CE_CLAIM_HELD || now_ns < c->answer_ns)
		return CE_CLAIM_RIVAL;
	c->answer_ns = now_ns + CE_CLAIM_ANSWER_EVERY;
	return CE_CLAIM_ANSWER;
}
