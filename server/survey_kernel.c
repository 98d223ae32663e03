#include "survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

/* Connections: each client's flow is one. A table for fewer is soon full. */
#define CONNTRACK_MIN 32768
#define CONNTRACK_SET 262144

bool
survey_may_administer(void)
{
	struct __user_cap_header_struct h = {
	    .version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct cap[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &h, cap) != 0)
		return geteuid() == 0;
	return (cap[CAP_TO_INDEX(CAP_NET_ADMIN)].effective &
		   CAP_TO_MASK(CAP_NET_ADMIN)) != 0;
}

/* A number in /proc/sys; false: there is none. */
static bool
read_number(const char *path, unsigned long *n)
{
	FILE *f = fopen(path, "re");
	bool ok;

	if (f == NULL)
		return false;
	ok = fscanf(f, "%lu", n) == 1;
	fclose(f);
	return ok;
}

static void
look_at_rights(struct diag *d)
{
	if (!survey_may_administer())
		diag_error(d,
		    "no right to serve: that needs root, or the capability "
		    "CAP_NET_ADMIN; run: sudo ukai-relay check");
}

/* Opening the device alone makes no interface. */
static void
look_at_tun(struct diag *d)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return;
	}
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		diag_error(d, "there is no TUN device; run: modprobe tun (in a "
			      "container: give it /dev/net/tun)");
	else if (survey_may_administer())
		diag_error(d,
		    "/dev/net/tun cannot be used: %s; the container or the "
		    "provider's panel has to allow TUN devices",
		    strerror(errno));
}

static void
look_at_uplink(const struct plan *p, struct diag *d)
{
	char path[96];
	unsigned long on;

	if (p->uplink_name[0] == '\0')
		return;
	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/forwarding",
	    p->uplink_name);
	if (read_number(path, &on) && on == 0)
		diag_error(d,
		    "%s does not forward, though other interfaces do; run: "
		    "sysctl -w net.ipv4.conf.%s.forwarding=1",
		    p->uplink_name, p->uplink_name);
}

bool
survey_sysctl_is_off(const char *text, const char *name)
{
	bool off = false;

	while (*text != '\0') {
		char line[256], key[128], value[64];
		size_t len = strcspn(text, "\n");
		size_t n = len < sizeof(line) ? len : sizeof(line) - 1;

		memcpy(line, text, n);
		line[n] = '\0';
		text += len + (text[len] == '\n');
		if (sscanf(line, " %127[^= \t] = %63[^ \t]", key, value) != 2)
			continue;
		for (char *s = key; *s != '\0'; s++)
			if (*s == '/')
				*s = '.';
		/* "-": no complaint when it cannot be set */
		if (strcmp(key[0] == '-' ? key + 1 : key, name) == 0)
			off = strcmp(value, "0") == 0;
	}
	return off;
}

static void
look_at_sysctl_file(const char *path, struct diag *d)
{
	static const char name[] = "net.ipv4.ip_forward";
	char text[16384];
	FILE *f = fopen(path, "re");
	size_t n;

	if (f == NULL)
		return;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	if (survey_sysctl_is_off(text, name))
		diag_warn(d,
		    "%s sets %s = 0: when it is read again, clients lose the "
		    "internet; run: sed -i '/ip_forward *=/d' %s",
		    path, name, path);
}

static void
look_at_sysctl_folder(const char *folder, struct diag *d)
{
	DIR *dir = opendir(folder);
	const struct dirent *e;

	if (dir == NULL)
		return;
	while ((e = readdir(dir)) != NULL) {
		size_t len = strlen(e->d_name);
		char path[512];

		if (len < 6 || strcmp(e->d_name + len - 5, ".conf") != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		look_at_sysctl_file(path, d);
	}
	closedir(dir);
}

/* Off is no obstacle, for the relay switches it on. */
static void
look_at_forwarding(const struct plan *p, struct diag *d)
{
	static const char path[] = "/proc/sys/net/ipv4/ip_forward";
	unsigned long on = 0;

	look_at_sysctl_file("/etc/sysctl.conf", d);
	look_at_sysctl_folder("/etc/sysctl.d", d);
	if (!read_number(path, &on))
		return;
	if (on != 0)
		look_at_uplink(p, d);
	else if (access(path, W_OK) != 0 && errno == EROFS)
		diag_error(d,
		    "forwarding is off, and %s is read-only; outside of this "
		    "container run: sysctl -w net.ipv4.ip_forward=1",
		    path);
}

static void
look_at_conntrack(struct diag *d)
{
	unsigned long max, count;

	if (!read_number("/proc/sys/net/netfilter/nf_conntrack_max", &max) ||
	    !read_number("/proc/sys/net/netfilter/nf_conntrack_count", &count))
		return;
	/* 0: no limit */
	if (max > 0 && count > max - max / 10)
		diag_error(d,
		    "the table of connections is full (%lu of %lu), so new "
		    "ones fail; run: sysctl -w net.netfilter.nf_conntrack_max="
		    "%lu",
		    count, max, max < CONNTRACK_SET ? CONNTRACK_SET : 2 * max);
	else if (max > 0 && max < CONNTRACK_MIN)
		diag_warn(d,
		    "the table of connections has room for %lu only, of all "
		    "clients; run: sysctl -w net.netfilter.nf_conntrack_max=%d",
		    max, CONNTRACK_SET);
}

/* The plan says that there is no address. */
static void
look_at_ipv6(const struct plan *p, struct diag *d)
{
	unsigned long off;

	if (p->v6.family == FAMILY_NONE &&
	    read_number("/proc/sys/net/ipv6/conf/all/disable_ipv6", &off) &&
	    off != 0)
		diag_warn(d,
		    "IPv6 is switched off on this host; run: sysctl -w "
		    "net.ipv6.conf.all.disable_ipv6=0");
}

void
survey_kernel(const struct plan *p, struct diag *d)
{
	look_at_rights(d);
	look_at_tun(d);
	look_at_forwarding(p, d);
	look_at_conntrack(d);
	look_at_ipv6(p, d);
}

void
survey_unit(bool running, struct diag *d)
{
	static const char wanted[] =
	    "/etc/systemd/system/multi-user.target.wants/ukai-relay.service";
	struct stat st;
	bool enabled = lstat(wanted, &st) == 0;

	if (access("/run/systemd/system", F_OK) != 0)
		return;
	if (!enabled)
		diag_warn(d,
		    "the service is not enabled: after a boot there is no "
		    "relay; run: systemctl enable %sukai-relay",
		    running ? "" : "--now ");
	else if (!running)
		diag_warn(d,
		    "the service is enabled, but no relay is running; see "
		    "journalctl -u ukai-relay, then run: systemctl restart "
		    "ukai-relay");
}
