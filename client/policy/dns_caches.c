#include "dns_caches.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base.h"
#include "core/bytes.h"

struct message {
	uint8_t b[1024];
	size_t len;
};

static void
put(struct message *m, const void *bytes, size_t len)
{
	UK_ASSERT(len <= sizeof(m->b) - m->len);
	memcpy(m->b + m->len, bytes, len);
	m->len += len;
}

/* Whoever listens there has it all at once: neither waits for us. */
static void
tell(const char *path, const struct message *m)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
		(void)send(fd, m->b, m->len, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

/* ---- nscd: glibc's nscd/nscd-client.h ---- */

static void
flush_nscd(void)
{
	static const char database[] = "hosts";
	const int32_t head[] = {2, 10, sizeof(database)}; /* INVALIDATE */
	struct message m = {.len = 0};

	put(&m, head, sizeof(head));
	put(&m, database, sizeof(database));
	tell("/var/run/nscd/socket", &m);
}

/* ---- systemd-resolved: D-Bus specification, "Message Protocol" ---- */

enum { FIELD_PATH = 1, FIELD_INTERFACE, FIELD_MEMBER, FIELD_DESTINATION = 6 };

struct call {
	uint8_t b[256];
	size_t len;
};

static void
call_align(struct call *c)
{
	while (c->len % 8 != 0)
		c->b[c->len++] = 0;
}

static void
call_field(struct call *c, uint8_t code, char type, const char *value)
{
	size_t n = strlen(value) + 1;

	call_align(c);
	UK_ASSERT(n + 16 <= sizeof(c->b) - c->len);
	memcpy(c->b + c->len, (uint8_t[]){code, 1, (uint8_t)type, 0}, 4);
	store_le32(c->b + c->len + 4, (uint32_t)(n - 1));
	memcpy(c->b + c->len + 8, value, n);
	c->len += 8 + n;
}

/* A call without arguments, whose answer nobody wants. */
static void
put_call(struct message *m, uint32_t serial, const char *destination,
    const char *path, const char *interface, const char *member)
{
	struct call c = {.b = {'l', 1, 1, 1}, .len = 16};

	store_le32(c.b + 8, serial);
	call_field(&c, FIELD_PATH, 'o', path);
	call_field(&c, FIELD_DESTINATION, 's', destination);
	call_field(&c, FIELD_INTERFACE, 's', interface);
	call_field(&c, FIELD_MEMBER, 's', member);
	store_le32(c.b + 12, (uint32_t)(c.len - 16));
	call_align(&c);
	put(m, c.b, c.len);
}

static void
flush_resolved(void)
{
	struct message m = {.len = 0};
	char uid[16], hello[64];
	size_t at;

	snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
	at = (size_t)snprintf(hello, sizeof(hello), "%cAUTH EXTERNAL ", 0);
	for (const char *c = uid; *c; c++)
		at += (size_t)snprintf(
		    hello + at, sizeof(hello) - at, "%02x", (unsigned)*c);
	at += (size_t)snprintf(hello + at, sizeof(hello) - at, "\r\nBEGIN\r\n");
	put(&m, hello, at);
	put_call(&m, 1, "org.freedesktop.DBus", "/org/freedesktop/DBus",
	    "org.freedesktop.DBus", "Hello");
	put_call(&m, 2, "org.freedesktop.resolve1", "/org/freedesktop/resolve1",
	    "org.freedesktop.resolve1.Manager", "FlushCaches");
	tell("/run/dbus/system_bus_socket", &m);
}

void
dns_caches_flush(void)
{
	flush_nscd();
	flush_resolved();
}
