#include "link.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"

uint32_t
link_mtu(uint32_t path_mtu, bool inner_v6)
{
	uint32_t least = inner_v6 ? 1280 : 576;

	if (path_mtu == 0 || path_mtu >= LINK_MTU_MOST + LINK_OVERHEAD)
		return LINK_MTU_MOST;
	if (path_mtu < least + LINK_OVERHEAD)
		return least;
	return path_mtu - LINK_OVERHEAD;
}

static int
open_setting(const char *ip, const char *ifname, const char *setting, int flags)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", ip, ifname,
	    setting);
	return open(path, flags | O_CLOEXEC);
}

/* The setting goes with the interface. A kernel that lacks it lacks what it is
 * about. */
static void
write_setting(
    const char *ip, const char *ifname, const char *setting, const char *value)
{
	int fd = open_setting(ip, ifname, setting, O_WRONLY);

	if (fd < 0)
		return;
	(void)!write(fd, value, strlen(value));
	close(fd);
}

static bool
ipv6_is_on(const char *ifname)
{
	int fd = open_setting("ipv6", ifname, "disable_ipv6", O_RDONLY);
	char c = '1';

	if (fd < 0)
		return false;
	(void)!read(fd, &c, 1);
	close(fd);
	return c == '0';
}

int
link_up(struct netcfg *n, unsigned ifindex, const char *ifname,
    const struct ip_ifaddr *address, size_t naddresses, struct diag *d)
{
	char text[IP_ADDR_TEXT_MAX];

	/* Else the kernel makes up a link-local address and asks the tunnel
	 * for a router. */
	write_setting("ipv6", ifname, "addr_gen_mode", "1");
	for (size_t i = 0; i < naddresses; i++) {
		int err;

		if (address[i].addr.family == FAMILY_V6 &&
		    !ipv6_is_on(ifname)) {
			diag_error(d,
			    "this host has IPv6 switched off: take the "
			    "address %s out, or set the sysctl "
			    "net.ipv6.conf.default.disable_ipv6 to 0",
			    ip_addr_format(&address[i].addr, text));
			return UK_ESYS;
		}
		err = netcfg_addr_add(
		    n, ifindex, &address[i].addr, address[i].bits, false, d);
		if (err < 0)
			return err;
	}
	return netcfg_link_set(n, ifindex, true, 0, d);
}

void
link_loosen(const char *ifname)
{
	write_setting("ipv4", ifname, "rp_filter", "2");
}
