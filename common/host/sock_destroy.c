#include "sock_destroy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/err.h"
#include "os_err.h"

#define REQUEST_SIZE 256
#define ANSWER_SIZE 8192

struct sock_destroy {
	struct mnl_socket *nl;
	uint32_t seq;
};

int
sock_destroy_open(struct sock_destroy **out)
{
	struct sock_destroy *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return UK_ENOMEM;
	s->nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	if (s->nl == NULL ||
	    mnl_socket_bind(s->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		sock_destroy_close(s);
		return UK_ESYS;
	}
	*out = s;
	return 0;
}

void
sock_destroy_close(struct sock_destroy *s)
{
	if (s == NULL)
		return;
	if (s->nl != NULL)
		mnl_socket_close(s->nl);
	free(s);
}

static struct inet_diag_req_v2
request(const struct flow_tuple *t)
{
	struct inet_diag_req_v2 q = {
	    .sdiag_family = t->src.family == FAMILY_V6 ? AF_INET6 : AF_INET,
	    .sdiag_protocol = IPPROTO_TCP,
	    .idiag_states = UINT32_MAX,
	    .id = {.idiag_sport = htons(t->sport),
		.idiag_dport = htons(t->dport),
		.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}};
	size_t len = t->src.family == FAMILY_V6 ? 16 : 4;

	memcpy(q.id.idiag_src, t->src.b, len);
	memcpy(q.id.idiag_dst, t->dst.b, len);
	return q;
}

/* One question, one answer. found: where a socket's description goes; NULL:
 * none is asked for. Returns 0; an errno. */
static int
talk(struct sock_destroy *s, unsigned type, const struct inet_diag_req_v2 *q,
    struct inet_diag_msg *found)
{
	_Alignas(struct nlmsghdr) uint8_t buf[REQUEST_SIZE];
	_Alignas(struct nlmsghdr) uint8_t in[ANSWER_SIZE];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	ssize_t len;

	h->nlmsg_type = (uint16_t)type;
	h->nlmsg_flags =
	    (uint16_t)(NLM_F_REQUEST | (found == NULL ? NLM_F_ACK : 0));
	h->nlmsg_seq = ++s->seq;
	memcpy(mnl_nlmsg_put_extra_header(h, sizeof(*q)), q, sizeof(*q));
	if (mnl_socket_sendto(s->nl, h, h->nlmsg_len) < 0)
		return -errno;
	h = (void *)in;
	do {
		len = mnl_socket_recvfrom(s->nl, in, sizeof(in));
		if (len < 0 && errno != EINTR)
			return -errno;
	} while (
	    len < 0 || !mnl_nlmsg_ok(h, (int)len) || h->nlmsg_seq != s->seq);
	if (h->nlmsg_type == NLMSG_ERROR &&
	    mnl_nlmsg_get_payload_len(h) >= sizeof(struct nlmsgerr))
		return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))
		    ->error;
	if (found == NULL || mnl_nlmsg_get_payload_len(h) < sizeof(*found))
		return -EBADMSG;
	memcpy(found, mnl_nlmsg_get_payload(h), sizeof(*found));
	return 0;
}

/* Where there is no such connection the kernel finds whoever listens there:
 * the cookie is of the very socket that was looked at. */
int
sock_destroy_tcp(struct sock_destroy *s, const struct flow_tuple *t)
{
	struct inet_diag_req_v2 q = request(t);
	struct inet_diag_msg found;
	int r;

	if (t->protocol != IPPROTO_TCP || t->src.family != t->dst.family ||
	    (t->src.family != FAMILY_V4 && t->src.family != FAMILY_V6))
		return UK_EINVAL;
	r = talk(s, SOCK_DIAG_BY_FAMILY, &q, &found);
	if (r < 0)
		return os_err(-r);
	if (found.idiag_state == TCP_LISTEN)
		return UK_ENOENT;
	memcpy(q.id.idiag_cookie, found.id.idiag_cookie,
	    sizeof(q.id.idiag_cookie));
	r = talk(s, SOCK_DESTROY, &q, NULL);
	return r < 0 ? os_err(-r) : 0;
}
