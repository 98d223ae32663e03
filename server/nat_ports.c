#include "nat_ports.h"

#include <stdlib.h>

#include "core/err.h"
#include "nat.h"

void
nat_ports_take(
    struct nat_ports *p, unsigned first, unsigned last, uint8_t reason)
{
	for (unsigned i = first; i <= last; i++)
		p->taken[i] |= reason;
}

void
nat_ports_take_all(
    struct nat_ports *p, const struct server_port_ranges *r, uint8_t reason)
{
	for (size_t i = 0; i < r->n; i++)
		nat_ports_take(p, r->item[i].first, r->item[i].last, reason);
}

int
nat_ports_ranges(struct server_port_ranges *r, const struct nat_ports *p,
    unsigned first, uint8_t reasons, bool taken)
{
	bool before = false;

	*r = (struct server_port_ranges){NULL, 0, 0};
	for (unsigned i = first; i <= UINT16_MAX; i++) {
		bool here = ((p->taken[i] & reasons) != 0) == taken;

		if (here && !before) {
			struct server_port_range *item =
			    conf_grow(r->item, r->n, &r->cap, sizeof(*item));

			if (item == NULL)
				goto free_item;
			r->item = item;
			r->item[r->n++].first = (uint16_t)i;
		}
		if (here)
			r->item[r->n - 1].last = (uint16_t)i;
		before = here;
	}
	return 0;

free_item:
	nat_ports_free(r);
	return UK_ENOMEM;
}

void
nat_ports_free(struct server_port_ranges *r)
{
	free(r->item);
	*r = (struct server_port_ranges){NULL, 0, 0};
}

static size_t
width(const struct server_port_range *r)
{
	return (size_t)r->last - r->first + 1;
}

size_t
nat_ports_count(const struct server_port_ranges *r)
{
	size_t ports = 0;

	for (size_t i = 0; i < r->n; i++)
		ports += width(&r->item[i]);
	return ports;
}

static int
compare_widths(const void *a, const void *b)
{
	const struct server_port_range *x = a, *y = b;

	if (width(x) != width(y))
		return width(x) < width(y) ? 1 : -1;
	return (x->first > y->first) - (x->first < y->first);
}

void
nat_ports_widest(struct server_port_ranges *r, size_t max)
{
	if (r->n <= max)
		return;
	qsort(r->item, r->n, sizeof(*r->item), compare_widths);
	r->n = max;
}

int
nat_free_ports(struct server_port_ranges *free_ports,
    const struct server_port_ranges *r, uint16_t listen_port, uint16_t tls_port)
{
	struct nat_ports *p = calloc(1, sizeof(*p));
	int err;

	if (p == NULL)
		return UK_ENOMEM;
	nat_ports_take_own(p, r, listen_port, tls_port, 1);
	err = nat_ports_ranges(free_ports, p, NAT_FIRST_PORT, 1, false);
	free(p);
	return err;
}

void
nat_ports_take_own(struct nat_ports *p, const struct server_port_ranges *r,
    uint16_t listen_port, uint16_t tls_port, uint8_t reason)
{
	p->taken[0] |= reason;
	p->taken[22] |= reason;
	p->taken[listen_port] |= reason;
	p->taken[tls_port] |= reason;
	nat_ports_take_all(p, r, reason);
}

void
nat_ports_format(struct text *t, const struct server_port_range *r)
{
	if (r->first == r->last)
		text_add(t, "%u", r->first);
	else
		text_add(t, "%u-%u", r->first, r->last);
}
