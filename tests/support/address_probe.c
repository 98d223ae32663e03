/* address_probe: the CE's address on a link from the command line, for
 * tests/net.
 *
 *   address_probe hold JOURNAL LINK ADDRESS
 *     takes and keeps the address until standard input ends; prints "state
 *     WORD WHY" for each change, "announced N rivals N mac MAC ours 0|1" when
 *     one of these is another
 *   address_probe undo JOURNAL
 *     what `ukai restore` does
 *   address_probe advertise LINK ADDRESS MAC COUNT
 *   address_probe ask LINK ADDRESS COUNT
 *     say that MAC has the address; ask as duplicate address detection does
 *
 * Exit: 0 ok, 1 failed, 2 wrong use. */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/mape/ce_address.h"
#include "core/err.h"
#include "io/log.h"
#include "io/watch.h"

struct probe {
	uv_loop_t loop;
	struct ce_address *c;
	struct ce_address_stats last;
	struct watch *input, *timer;
	bool end;
};

static void
on_change(void *arg, enum ce_claim_state state, const char *why)
{
	(void)arg;
	printf("state %s %s\n", ce_claim_state_name(state), why);
	fflush(stdout);
}

static void
on_timer(void *arg)
{
	struct probe *p = arg;
	struct ce_address_stats s;
	const uint8_t *m = s.rival_mac;

	ce_address_stats(p->c, &s);
	if (memcmp(&s, &p->last, sizeof(s)) != 0) {
		printf("announced %u rivals %u mac "
		       "%02x:%02x:%02x:%02x:%02x:%02x ours %d\n",
		    (unsigned)s.announced, (unsigned)s.rivals, m[0], m[1], m[2],
		    m[3], m[4], m[5], s.ours);
		fflush(stdout);
	}
	p->last = s;
	watch_after(p->timer, 50 * UK_NS_PER_MS);
}

static void
on_input(void *arg)
{
	struct probe *p = arg;
	char c;

	if (read(0, &c, 1) <= 0)
		p->end = true;
}

static void
run(struct probe *p)
{
	p->timer = watch_timer(&p->loop, on_timer, p);
	p->input = watch_fd(&p->loop, 0, on_input, NULL, p);
	watch_wait(p->input, true, false);
	watch_after(p->timer, 0);
	while (!p->end)
		uv_run(&p->loop, UV_RUN_ONCE);
	watch_close(p->timer);
	watch_close(p->input);
}

static int
hold(char **a)
{
	struct ce_address_conf conf = {
	    .ifindex = if_nametoindex(a[1]), .changed = on_change};
	static struct probe p;
	static struct diag d;
	int err;

	diag_init(&d, NULL);
	log_init("address_probe", LOG_INFO);
	if (ip_addr_parse(&conf.address, a[2], strlen(a[2])) < 0)
		return 2;
	uv_loop_init(&p.loop);
	err = netcfg_open(&conf.n, &d);
	if (err == 0)
		err = undo_open(&conf.u, a[0], &d);
	if (err == 0)
		err = ce_address_open(&p.c, &p.loop, &conf, &d);
	diag_print(&d, "address_probe", stdout);
	printf("open %s\n", err < 0 ? uk_strerror(err) : "ok");
	fflush(stdout);
	if (err == 0)
		run(&p);
	ce_address_close(p.c);
	undo_close(conf.u);
	netcfg_close(conf.n);
	while (uv_run(&p.loop, UV_RUN_ONCE) != 0)
		continue;
	return err < 0;
}

static int
undo(const char *journal)
{
	static struct diag d;
	struct undo *u = NULL;
	struct netcfg *n;
	int err;

	diag_init(&d, NULL);
	err = netcfg_open(&n, &d);
	if (err < 0)
		return 1;
	err = undo_open(&u, journal, &d);
	if (err == 0)
		err = undo_all(u, n, &d);
	diag_print(&d, "address_probe", stdout);
	undo_close(u);
	netcfg_close(n);
	return err < 0;
}

static int
say(const char *link, const uint8_t *pkt, size_t len, const char *count)
{
	struct sockaddr_ll to = {
	    .sll_family = AF_PACKET,
	    .sll_protocol = htons(ETH_P_IPV6),
	    .sll_ifindex = (int)if_nametoindex(link),
	    .sll_halen = NDP_MAC_LEN,
	};
	int fd = socket(AF_PACKET, SOCK_DGRAM, 0);

	ndp_group_mac(to.sll_addr, pkt + 24);
	for (long n = strtol(count, NULL, 10); n > 0; n--)
		if (sendto(fd, pkt, len, 0, (struct sockaddr *)&to,
			sizeof(to)) < 0) {
			perror("sendto");
			return 1;
		}
	close(fd);
	return 0;
}

static bool
mac_parse(uint8_t mac[NDP_MAC_LEN], const char *text)
{
	return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0],
		   &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) == 6;
}

int
main(int argc, char **argv)
{
	uint8_t pkt[NDP_ANNOUNCE_LEN], mac[NDP_MAC_LEN];
	struct ip_addr a;

	if (argc == 5 && strcmp(argv[1], "hold") == 0)
		return hold(argv + 2);
	if (argc == 3 && strcmp(argv[1], "undo") == 0)
		return undo(argv[2]);
	if (argc < 4 || ip_addr_parse(&a, argv[3], strlen(argv[3])) < 0)
		return 2;
	if (argc == 6 && strcmp(argv[1], "advertise") == 0 &&
	    mac_parse(mac, argv[4])) {
		ndp_announce(pkt, a.b, mac);
		return say(argv[2], pkt, NDP_ANNOUNCE_LEN, argv[5]);
	}
	if (argc == 5 && strcmp(argv[1], "ask") == 0) {
		ndp_probe(pkt, a.b);
		return say(argv[2], pkt, NDP_PROBE_LEN, argv[4]);
	}
	return 2;
}
