/* conntrack_probe: uses server/conntrack for real, inside a namespace that a
 * test made.
 *
 *   count POOL PREFIX...      a line for each of them: "PREFIX FLOWS PORTS" or
 *                             "PREFIX unknown"; then "blocked N of M us": of
 *                             the processor's time that the count took, the
 *                             most in one turn of the loop's thread
 *   try POOL PREFIX...        the same, with patience for 1 s only
 *   forget PREFIX...          "forgotten"
 *   fill N                    put N flows into the kernel's table, of clients
 *                             in 10.99.0.0/16, 20 each: "filled N"
 *
 * The others have patience for 60 s. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nf_conntrack_tcp.h>

#include "../../server/conntrack.h"
#include "core/base.h"
#include "io/clock.h"
#include "io/log.h"

#define PREFIXES 16
#define PATIENCE (60 * UK_NS_PER_S)

static struct ip_prefix prefix[PREFIXES];
static int prefixes;

static bool
parse(int argc, char **argv)
{
	for (int i = 0; i < argc && i < PREFIXES; i++)
		if (ip_prefix_parse(&prefix[i], argv[i], strlen(argv[i])) != 0)
			return false;
	prefixes = argc;
	return argc > 0 && argc <= PREFIXES;
}

/* Ends a turn of the loop. */
static void
tick(uv_timer_t *t)
{
	(void)t;
}

static uint64_t
cpu_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * UK_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* A turn of the loop; how long its thread computed. Time on the wall would say
 * how busy the machine is. */
static uint64_t
turn(uv_loop_t *loop)
{
	uint64_t start_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID);

	uv_run(loop, UV_RUN_ONCE);
	return cpu_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns;
}

static int
count(uv_loop_t *loop, struct conntrack *c, uint64_t patience_ns)
{
	uint64_t start_ns = clock_now().mono_ns, longest_ns = 0, ns;
	uint64_t start_cpu_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
	char text[IP_PREFIX_TEXT_MAX];
	struct conntrack_use use;
	static uv_timer_t timer; /* closed in a later turn */

	uv_timer_init(loop, &timer);
	uv_timer_start(&timer, tick, 1, 1);
	if (conntrack_watch(c, prefix, 1) != 0)
		return 1;
	do {
		ns = turn(loop);
		longest_ns = ns > longest_ns ? ns : longest_ns;
		ns = clock_now().mono_ns - start_ns;
	} while (!conntrack_look(c, prefix, 1, &use) && ns < patience_ns);
	for (int i = 0; i < prefixes; i++) {
		printf("%s ", ip_prefix_format(&prefix[i], text));
		if (conntrack_look(c, &prefix[i], 1, &use))
			printf("%llu %llu\n", (unsigned long long)use.flows,
			    (unsigned long long)use.nat_ports);
		else
			printf("unknown\n");
	}
	ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - start_cpu_ns;
	printf("blocked %llu of %llu us\n",
	    (unsigned long long)longest_ns / 1000,
	    (unsigned long long)ns / 1000);
	uv_close((uv_handle_t *)&timer, NULL);
	return 0;
}

static int
forget(uv_loop_t *loop, struct conntrack *c)
{
	uint64_t start_ns = clock_now().mono_ns;

	/* The second waits for the first. */
	if (conntrack_forget(c, prefix, 1) != 0 ||
	    conntrack_forget(c, prefix + 1, (size_t)prefixes - 1) != 0)
		return 1;
	while (conntrack_is_forgetting(c) &&
	       clock_now().mono_ns - start_ns < PATIENCE)
		uv_run(loop, UV_RUN_ONCE);
	printf("forgotten\n");
	return 0;
}

/* ---- many flows, without traffic ---- */

static bool
send_flow(struct mnl_socket *nl, uint32_t i)
{
	_Alignas(struct nlmsghdr) uint8_t buf[1024];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nf_conntrack *ct = nfct_new();
	struct nfgenmsg *g;

	h->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = AF_INET;
	nfct_set_attr_u8(ct, ATTR_L3PROTO, AF_INET);
	nfct_set_attr_u8(ct, ATTR_L4PROTO, IPPROTO_TCP);
	nfct_set_attr_u32(ct, ATTR_IPV4_SRC, htonl(0x0a630000 + i / 20));
	nfct_set_attr_u32(ct, ATTR_IPV4_DST, htonl(0xc6336401));
	nfct_set_attr_u16(ct, ATTR_PORT_SRC, htons((uint16_t)(1024 + i % 20)));
	nfct_set_attr_u16(ct, ATTR_PORT_DST, htons(443));
	nfct_setobjopt(ct, NFCT_SOPT_SETUP_REPLY);
	/* Translated: the answer goes to another address and port. */
	nfct_set_attr_u32(
	    ct, ATTR_REPL_IPV4_DST, htonl(0xc0000201 + i / 60000));
	nfct_set_attr_u16(
	    ct, ATTR_REPL_PORT_DST, htons((uint16_t)(1024 + i % 60000)));
	nfct_set_attr_u8(ct, ATTR_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
	nfct_set_attr_u32(ct, ATTR_TIMEOUT, 600);
	nfct_nlmsg_build(h, ct);
	nfct_destroy(ct);
	return mnl_socket_sendto(nl, h, h->nlmsg_len) >= 0;
}

static int
fill(uint32_t n)
{
	struct mnl_socket *nl =
	    mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	bool ok = nl != NULL && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0;

	for (uint32_t i = 0; i < n && ok; i++)
		ok = send_flow(nl, i);
	if (nl != NULL)
		mnl_socket_close(nl);
	printf(ok ? "filled %u\n" : "failed\n", n);
	return !ok;
}

int
main(int argc, char **argv)
{
	struct conntrack *c;
	uv_loop_t loop;
	int code = 2;

	log_init("conntrack_probe", LOG_DEBUG);
	if (argc == 3 && strcmp(argv[1], "fill") == 0)
		return fill((uint32_t)strtoul(argv[2], NULL, 10));
	if (argc < 3 || !parse(argc - 2, argv + 2) || uv_loop_init(&loop) != 0)
		return 2;
	c = conntrack_new(&loop);
	if (strcmp(argv[1], "count") == 0)
		code = count(&loop, c, PATIENCE);
	else if (strcmp(argv[1], "try") == 0)
		code = count(&loop, c, UK_NS_PER_S);
	else if (strcmp(argv[1], "forget") == 0)
		code = forget(&loop, c);
	conntrack_free(c);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return code;
}
