#include <stdlib.h>

#include "nat44_lab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct nat44_forward forwards[] = {
    {6, 4928, {192, 168, 0, 1}, 80}, {17, 4929, {192, 168, 0, 2}, 5000}};

/* Bytes that nobody has looked at, in memory of exactly their size. What comes
 * out has the addresses that it should have, and sums as right as before. */
static void
pass(struct nat44 *n, uint64_t now_ns, const uint8_t *b, uint32_t len,
    uint8_t how)
{
	uint8_t *copy = malloc(len + 1);
	struct nat44_packet p = {.p = copy, .len = len, .partial = how & 2};
	bool out = how & 1;

	memcpy(copy, b, len);
	/* ip_parse() leaves the IP header's sum to whoever wants it. */
	bool right =
	    len >= 20 && copy[0] == 0x45 && lab_sum(0, copy, 20) == 0xffff;
	if (out)
		nat44_outward(n, now_ns, &p, 1);
	else
		nat44_inward(n, now_ns, &p, 1);
	UK_ASSERT(p.verdict < MAP_DROPS);
	if (p.verdict == MAP_OK) {
		UK_ASSERT(!right || lab_sum(0, copy, 20) == 0xffff);
		UK_ASSERT(p.inside || load_be32(copy + 12) == LAB_OURS);
		UK_ASSERT(out || p.inside);
		UK_ASSERT(!p.inside || load_be32(copy + 16) != LAB_OURS);
		nat44_restore(n, copy, len);
	}
	free(copy);
}

/* Packets one after the other, each behind two bytes: time that passes, and
 * which way; then its length. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t wait_s[] = {0, 1, 31, 61, 121, 301, 7441, 0};
	struct nat44_conf c = lab_conf();
	struct nat44 *n;
	uint64_t now_ns = 0;

	c.sessions_max = 16;
	c.host_sessions_max = 8;
	c.host_ports_max = 3;
	c.mss = 1420;
	c.forward = forwards;
	c.forwards = ARRAY_LEN(forwards);
	UK_ASSERT(nat44_new(&n, &c) == 0);
	while (size >= 2) {
		uint8_t how = data[0];
		uint32_t len = data[1];

		data += 2;
		size -= 2;
		len = len < size ? len : (uint32_t)size;
		now_ns += wait_s[how >> 5] * UK_NS_PER_S;
		pass(n, now_ns, data, len, how);
		if (how & 4)
			nat44_expire(n, now_ns);
		data += len;
		size -= len;
	}
	nat44_free(n);
	return 0;
}
