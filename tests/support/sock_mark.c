/* sock_mark: the class (client/policy/mark.h) that this program's sockets get,
 * appended to FILE whenever it changes, the first one at once.
 *
 *   sock_mark FILE [THREAD]   THREAD: in a thread of this name
 *   sock_mark -1 FILE         once
 *   sock_mark -r FILE NAME    call yourself NAME when there is a FILE.now
 *   sock_mark -f FILE NAME    call yourself NAME, and, when there is a
 *                             FILE.now, have a child do it
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVERY_US 10000

static const char *file;

static int
class_of(int family)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t mark = 0;
	socklen_t len = sizeof(mark);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len) < 0)
		return -1;
	close(fd);
	/* Anything else there is a mistake. */
	return (mark & 0xff00ffff) == 0 ? (int)(mark >> 16) : -2;
}

static void
tell(int class)
{
	FILE *f = fopen(file, "a");

	if (f == NULL)
		return;
	fprintf(f, "%d\n", class);
	fclose(f);
}

static int
both(void)
{
	int v4 = class_of(AF_INET), v6 = class_of(AF_INET6);

	return v4 == v6 ? v4 : -3;
}

static void *
go_on(void *name)
{
	int before = -1;

	if (name != NULL)
		prctl(PR_SET_NAME, name);
	for (;;) {
		int now = both();

		if (now != before)
			tell(now);
		before = now;
		usleep(EVERY_US);
	}
	return NULL;
}

static void
wait_for_sign(void)
{
	char sign[4096];

	snprintf(sign, sizeof(sign), "%s.now", file);
	while (access(sign, F_OK) != 0)
		usleep(EVERY_US);
}

static void
rename_then_go_on(const char *name)
{
	pthread_t t;

	if (pthread_create(&t, NULL, go_on, NULL) != 0)
		return;
	wait_for_sign();
	prctl(PR_SET_NAME, name);
	pthread_join(t, NULL);
}

static int
rename_then_fork(const char *name)
{
	prctl(PR_SET_NAME, name);
	wait_for_sign();
	if (fork() == 0)
		go_on(NULL);
	wait(NULL);
	return 1;
}

int
main(int argc, char **argv)
{
	pthread_t t;

	if (argc == 3 && strcmp(argv[1], "-1") == 0) {
		file = argv[2];
		tell(both());
		return 0;
	}
	if (argc == 4 && strcmp(argv[1], "-r") == 0) {
		file = argv[2];
		rename_then_go_on(argv[3]);
		return 1;
	}
	if (argc == 4 && strcmp(argv[1], "-f") == 0) {
		file = argv[2];
		return rename_then_fork(argv[3]);
	}
	if (argc < 2 || argc > 3)
		return 2;
	file = argv[1];
	if (argc == 2)
		go_on(NULL);
	if (pthread_create(&t, NULL, go_on, argv[2]) == 0)
		pthread_join(t, NULL);
	return 1;
}
