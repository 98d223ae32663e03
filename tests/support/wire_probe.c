/* wire_probe: a tunnel of IPv4 in IPv6 made of io/tun and mape/wire alone, in a
 * namespace that a test script made: no checks, no translation.
 *
 *   ukai-test-wire-probe TUN LINK LOCAL REMOTE [nobpf|nooffload]
 *
 * LOCAL and REMOTE are the outer addresses. nobpf: without the rights for
 * it, as long as it opens. Says "ready offload=0|1" when it carries; then for
 * each line on stdin one line of what came to pass since the last. Whoever
 * wants it to end kills it, or closes its stdin. */
#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "client/mape/ipip6.h"
#include "client/mape/wire.h"

static struct vnet_packet batch[TUN_READ_WHOLE_MAX];
static struct tun *tun;
static struct wire *wire;
static uint8_t local[16], remote[16];
static unsigned largest, plain, fragments, headers, errors, gone;

/* CAP_BPF, and what old kernels want for it. */
static void
give_up_bpf(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct c[2];

	if (syscall(SYS_capget, &h, c) != 0)
		exit(1);
	c[0].effective &= ~(1u << CAP_SYS_ADMIN);
	c[1].effective &= ~(1u << (39 - 32)); /* CAP_BPF */
	if (syscall(SYS_capset, &h, c) != 0)
		exit(1);
}

static void
outer(struct vnet_packet *p)
{
	uint32_t len = p->b.len;
	uint8_t *h = pbuf_push(&p->b, IPIP6_HLEN);

	memset(h, 0, IPIP6_HLEN);
	h[0] = 0x60;
	h[4] = (uint8_t)(len >> 8);
	h[5] = (uint8_t)len;
	h[6] = 4;
	h[7] = 64;
	memcpy(h + 8, local, 16);
	memcpy(h + 24, remote, 16);
	if (p->hdr.flags == 0)
		return;
	p->hdr.csum_start += IPIP6_HLEN;
	p->hdr.hdr_len += IPIP6_HLEN;
}

static int
carry_out(void)
{
	int n = tun_read_whole(tun, batch, TUN_READ_WHOLE_MAX);
	unsigned keep = 0;

	for (int i = 0; i < n; i++) {
		if (pbuf_data(&batch[i].b)[0] >> 4 != 4)
			continue;
		batch[keep] = batch[i];
		outer(&batch[keep++]);
	}
	wire_send(wire, batch, keep);
	return n;
}

static int
carry_in(void)
{
	struct vnet_packet *p;
	unsigned keep = 0;
	int n = wire_recv(wire, &p);

	gone += n < 0;
	for (int i = 0; i < n; i++) {
		uint8_t next = pbuf_data(&p[i].b)[6];

		largest = p[i].b.len > largest ? p[i].b.len : largest;
		plain += next == 4;
		fragments += next == 44;
		errors += next == 58;
		headers += next != 4 && next != 44 && next != 58;
		if (next != 4)
			continue;
		p[keep] = p[i];
		pbuf_pull(&p[keep].b, IPIP6_HLEN);
		if (p[keep].hdr.flags != 0) {
			p[keep].hdr.csum_start -= IPIP6_HLEN;
			p[keep].hdr.hdr_len -= IPIP6_HLEN;
		}
		keep++;
	}
	tun_write_mixed(tun, p, keep);
	return n;
}

static void
report(void)
{
	static struct wire_stats was;
	struct wire_stats s;
	struct rusage u;

	wire_stats(wire, &s);
	gone += wire_gone(wire);
	getrusage(RUSAGE_SELF, &u);
#define SINCE(field) (unsigned long)(s.field - was.field)
	printf("offload=%d received=%lu received_super=%lu sent=%lu "
	       "sent_super=%lu split=%lu dropped=%lu malformed=%lu failed=%lu "
	       "largest=%u plain=%u fragments=%u headers=%u errors=%u gone=%u "
	       "refused=%lu cpu_ms=%ld\n",
	    s.offload, SINCE(received), SINCE(received_super), SINCE(sent),
	    SINCE(sent_super), SINCE(split), SINCE(receive_dropped),
	    SINCE(receive_malformed), SINCE(send_failed), largest, plain,
	    fragments, headers, errors, gone,
	    (unsigned long)tun_stats(tun)->write_dropped,
	    (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
		(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000);
	was = s;
	largest = plain = fragments = headers = errors = gone = 0;
}

static int
carry(void)
{
	struct pollfd p[] = {{STDIN_FILENO, POLLIN, 0},
	    {tun_fd(tun), POLLIN, 0}, {wire_fd(wire), POLLIN, 0}};
	char line[64];

	for (;;) {
		bool moved = false;

		if (poll(p, 3, -1) < 0)
			return 1;
		if (p[1].revents != 0)
			moved |= carry_out() > 0;
		if (p[2].revents != 0)
			moved |= carry_in() > 0;
		/* What came before a question is in its answer. */
		if (p[0].revents == 0 || moved)
			continue;
		if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
			return 0;
		report();
	}
}

int
main(int argc, char **argv)
{
	static struct diag d;
	struct tun_conf tc = {
	    .fd = -1, .mtu = 1460, .headroom = IPIP6_HLEN + TUN_ROOM};
	struct wire_conf wc = {0};
	struct wire_stats s;
	int r;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 5 || inet_pton(AF_INET6, argv[3], local) != 1 ||
	    inet_pton(AF_INET6, argv[4], remote) != 1)
		return 2;
	tc.name = argv[1];
	wc.ifindex = if_nametoindex(argv[2]);
	memcpy(wc.address, local, 16);
	wc.no_offload = argc > 5 && strcmp(argv[5], "nooffload") == 0;
	if (tun_open(&tun, &tc, &d) != 0)
		goto fail;
	wc.tun = tun;
	if (argc > 5 && strcmp(argv[5], "nobpf") == 0)
		give_up_bpf();
	if (wire_open(&wire, &wc, &d) != 0)
		goto fail;
	wire_stats(wire, &s);
	printf("ready offload=%d warnings=%u %s\n", s.offload, d.warnings,
	    d.n > 0 ? d.entry[0].text : "");
	r = carry();
	wire_close(wire);
	tun_close(tun);
	return r;
fail:
	diag_print(&d, argv[0], stderr);
	printf("failed %s\n", d.n > 0 ? d.entry[0].text : "");
	return 1;
}
