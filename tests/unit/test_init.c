#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "../../server/init.h"
#include "core/base.h"
#include "core/err.h"
#include "core/x25519.h"

static char folder[] = "/tmp/ukai-init.XXXXXX";

static struct ip_prefix
prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(&p, text, strlen(text)), 0);
	return p;
}

static const struct {
	const char *taken[6];
	const char *want; /* NULL: none */
} pools[] = {
    {{NULL}, "10.66.0.1/16"},
    {{"0.0.0.0/0", "128.0.0.0/1", "2001:db8::/32"}, "10.66.0.1/16"},
    {{"192.0.2.0/24"}, "10.66.0.1/16"},
    {{"10.66.3.0/24"}, "10.67.0.1/16"},
    {{"10.66.255.255/32", "10.67.0.0/32"}, "10.68.0.1/16"},
    {{"10.64.0.0/14"}, "10.68.0.1/16"},
    {{"10.66.0.0/15", "10.128.0.0/9", "10.68.0.0/14", "10.72.0.0/13",
	 "10.80.0.0/12", "10.96.0.0/11"},
	"10.0.0.1/16"},
    {{"10.0.0.0/8"}, "172.16.0.1/16"},
    {{"10.0.0.0/8", "172.17.0.1/32", "172.16.9.0/24"}, "172.18.0.1/16"},
    {{"10.0.0.0/8", "172.16.0.0/12"}, "192.168.66.1/24"},
    {{"10.0.0.0/8", "172.16.0.0/12", "192.168.66.0/23"}, "192.168.68.1/24"},
    {{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}, NULL},
};

static void
test_pools(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
		struct init_pools p = {.taken = {false}};
		struct ip_ifaddr a, want;

		for (size_t j = 0; j < 6 && pools[i].taken[j] != NULL; j++) {
			struct ip_prefix taken = prefix(pools[i].taken[j]);

			init_pools_take(&p, &taken);
		}
		if (pools[i].want == NULL) {
			assert_false(init_pools_choose(&p, &a));
			continue;
		}
		assert_true(init_pools_choose(&p, &a));
		assert_int_equal(ip_ifaddr_parse(&want, pools[i].want,
				     strlen(pools[i].want)),
		    0);
		assert_true(ip_addr_equal(&a.addr, &want.addr));
		assert_int_equal(a.bits, want.bits);
	}
}

static void
test_ports(void **state)
{
	struct port_set used = {{0}};

	(void)state;
	assert_int_equal(init_udp_port(&used), 51820);
	assert_int_equal(init_tcp_port(&used), 443);
	port_set_add(&used, 51820, 51820);
	port_set_add(&used, 443, 443);
	assert_int_equal(init_udp_port(&used), 51821);
	assert_int_equal(init_tcp_port(&used), 8443);
	port_set_add(&used, 51821, 51821);
	port_set_add(&used, 8443, 8443);
	assert_int_equal(init_udp_port(&used), 51822);
	assert_int_equal(init_tcp_port(&used), 9443);
}

static void
test_mtu(void **state)
{
	(void)state;
	assert_int_equal(init_mtu(0), 0);
	assert_int_equal(init_mtu(9000), 0);
	assert_int_equal(init_mtu(1500), 0);
	assert_int_equal(init_mtu(1499), 1419);
	assert_int_equal(init_mtu(1361), 1281);
	assert_int_equal(init_mtu(1360), 1280);
	assert_int_equal(init_mtu(100), 1280);
}

/* What is written is read again, as it was meant. */
static void
test_format(void **state)
{
	struct init_conf c = {.address = "10.67.0.1/16",
	    .interface = "ukai1",
	    .listen_port = "51821",
	    .tls_port = "8443",
	    .reserved_ports = "53, 8080-8081"};
	struct text t = {.s = NULL};
	struct server_conf conf;
	struct diag d;

	(void)state;
	memset(c.private_key, 7, sizeof(c.private_key));
	x25519_clamp(c.private_key);
	assert_int_equal(init_format(&c, &t), 0);
	diag_init(&d, NULL);
	assert_int_equal(server_conf_parse(&conf, t.s, t.len, &d), 0);
	assert_int_equal(d.n, 0);
	assert_memory_equal(conf.private_key.b, c.private_key, KEY_LEN);
	assert_string_equal(conf.interface, "ukai1");
	assert_int_equal(conf.listen_port, 51821);
	assert_int_equal(conf.tls_port, 8443);
	assert_int_equal(conf.reserved_ports.n, 2);
	assert_int_equal(conf.global_address.family, FAMILY_NONE);
	server_conf_fini(&conf);
	text_fini(&t);
}

/* Each line that is a comment with a value is one that may be used. */
static void
test_format_samples(void **state)
{
	const struct init_conf c = {
	    .private_key = {8}, .address = "10.0.0.1/16"};
	struct text t = {.s = NULL}, plain = {.s = NULL};
	struct server_conf conf;
	struct diag d;

	(void)state;
	assert_int_equal(init_format(&c, &t), 0);
	for (char *line = strtok(t.s, "\n"); line != NULL;
	     line = strtok(NULL, "\n")) {
		bool sample = line[0] == '#' && strstr(line, " = ") != NULL;

		text_add(&plain, "%s\n", sample ? line + 2 : line);
	}
	diag_init(&d, NULL);
	if (server_conf_parse(&conf, plain.s, plain.len, &d) != 0)
		fail_msg("%s", d.entry[0].text);
	assert_int_equal(conf.workers, 0);
	assert_int_equal(conf.global_address.family, FAMILY_V4);
	server_conf_fini(&conf);
	text_fini(&plain);
	text_fini(&t);
}

static void
path_of(char path[300], const char *file)
{
	snprintf(path, 300, "%s/%s", folder, file);
}

static void
test_folder(void **state)
{
	char path[300];
	struct init_folder f, other;
	struct stat st;
	struct diag d;

	(void)state;
	path_of(path, "new/relay.conf");
	diag_init(&d, NULL);
	assert_int_equal(init_folder_open(&f, path, &d), 0);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(init_folder_open(&other, path, &d), UK_EBUSY);
	assert_int_equal(d.errors, 1);
	init_folder_close(&f);
	assert_int_equal(init_folder_open(&f, path, &d), 0);
	init_folder_close(&f);
	assert_int_equal(chmod(f.path, 0770), 0);
	assert_int_equal(init_folder_open(&f, path, &d), UK_EPERM);
	assert_int_equal(rmdir(f.path), 0);
}

/* A file that may not grow is a disk that is full. */
static void
test_disk_full(void **state)
{
	const struct rlimit small = {100, RLIM_INFINITY};
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	char path[300];
	struct diag d;
	bool made;

	(void)state;
	path_of(path, "key");
	diag_init(&d, NULL);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	assert_int_equal(init_identity(path, &made, &d), UK_ESYS);
	setrlimit(RLIMIT_FSIZE, &all);
	assert_int_equal(rmdir(folder), 0); /* nothing is left in it */
	assert_int_equal(mkdir(folder, 0700), 0);
}

static void
test_identity(void **state)
{
	char path[300], left[300];
	struct stat before, after;
	struct diag d;
	bool made;

	(void)state;
	path_of(path, "key");
	path_of(left, "key.new");
	diag_init(&d, NULL);
	assert_int_equal(init_identity(path, &made, &d), 0);
	assert_true(made);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(before.st_mode & 07777, 0600);
	assert_int_equal(before.st_nlink, 1);
	/* What a killed one left goes. */
	fclose(fopen(left, "w"));
	assert_int_equal(init_identity(path, &made, &d), 0);
	assert_false(made);
	assert_int_equal(access(left, F_OK), -1);
	assert_int_equal(stat(path, &after), 0);
	assert_true(before.st_ino == after.st_ino);
	assert_int_equal(d.n, 0);
	/* Somebody's file that is no key stays. */
	assert_int_equal(truncate(path, 10), 0);
	assert_true(init_identity(path, &made, &d) < 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_size, 10);
	unlink(path);
}

static int
setup(void **state)
{
	(void)state;
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pools),
	    cmocka_unit_test(test_ports),
	    cmocka_unit_test(test_mtu),
	    cmocka_unit_test(test_format),
	    cmocka_unit_test(test_format_samples),
	    cmocka_unit_test(test_folder),
	    cmocka_unit_test(test_disk_full),
	    cmocka_unit_test(test_identity),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
