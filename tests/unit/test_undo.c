#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/kill_each.h"
#include "core/err.h"
#include "host/undo.h"
#include "host/undo_file.h"
#include "host/undo_text.h"

static uint32_t seed = 20240607;

static uint32_t
rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

/* Allocation failures: the nth allocation from now on fails. The sanitizers
 * have an allocator of their own. */
#if defined(__SANITIZE_ADDRESS__)
#define CAN_FAIL_ALLOC 0
#elif defined(__has_feature)
#define CAN_FAIL_ALLOC !__has_feature(address_sanitizer)
#else
#define CAN_FAIL_ALLOC 1
#endif

static long fail_in; /* 0: never */

#if CAN_FAIL_ALLOC
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static bool
fails(void)
{
	return fail_in > 0 && --fail_in == 0;
}

void *
malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}
#endif

/* The journal's text */

static void
test_line_table(void **state)
{
	static const struct {
		const char *text;
		unsigned fields; /* 99: refused */
		const char *last;
	} row[] = {
	    {"+ sysctl a b c", 3, "c"},
	    {"- file x", 1, "x"},
	    {"+ x", 0, NULL},
	    {"+ x -", 1, ""},
	    {"+ x %2D", 1, "-"},
	    {"+ x -a", 1, "-a"},
	    {"+ x a%20b%0A", 1, "a b\n"},
	    {"+ x %C3%A9%25", 1, "\xc3\xa9%"},
	    {"+ x 1 2 3 4 5 6 7 8 9 a b c", 12, "c"},
	    {"+ x 1 2 3 4 5 6 7 8 9 a b c d", 99, NULL},
	    {"+ abcdefghijklmno", 0, NULL},
	    {"+ abcdefghijklmnop", 99, NULL},
	    {"", 99, NULL},
	    {"+", 99, NULL},
	    {"+ ", 99, NULL},
	    {"* x", 99, NULL},
	    {"+x", 99, NULL},
	    {"+  x", 99, NULL},
	    {"+ X", 99, NULL},
	    {"+ x ", 99, NULL},
	    {"+ x  a", 99, NULL},
	    {"+ x %", 99, NULL},
	    {"+ x %4", 99, NULL},
	    {"+ x %0a", 99, NULL}, /* lower case */
	    {"+ x %41", 99, NULL}, /* 'A' needs no escape */
	    {"+ x a%2D", 99, NULL}, /* nor '-' beside others */
	    {"+ x a\tb", 99, NULL},
	    {"+ x \xc3\xa9", 99, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		char text[64];
		struct undo_line l;
		int r;

		snprintf(text, sizeof(text), "%s", row[i].text);
		r = undo_line_parse(&l, text, strlen(text));
		if (row[i].fields == 99) {
			assert_int_equal(r, UK_EPROTO);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(l.n, row[i].fields);
		if (row[i].last != NULL)
			assert_string_equal(l.field[l.n - 1].b, row[i].last);
	}
}

/* The obvious writer: one printf for each byte. */
static void
naive_format(char *out, const struct undo_line *l)
{
	out += sprintf(out, "%c %s", l->pending ? '+' : '-', l->kind);
	for (unsigned i = 0; i < l->n; i++) {
		const struct undo_field *f = &l->field[i];

		out += sprintf(out, " ");
		if (f->len == 0)
			out += sprintf(out, "-");
		if (f->len == 1 && f->b[0] == '-') {
			out += sprintf(out, "%%2D");
			continue;
		}
		for (size_t k = 0; k < f->len; k++)
			out += sprintf(out,
			    f->b[k] > 32 && f->b[k] < 127 && f->b[k] != '%'
				? "%c"
				: "%%%02X",
			    (unsigned char)f->b[k]);
	}
	sprintf(out, "\n");
}

static void
test_line_random(void **state)
{
	char bytes[12][20], text[1024], naive[1024];

	(void)state;
	for (int round = 0; round < 5000; round++) {
		struct undo_line l = {.pending = rnd(2), .kind = "kind"}, back;
		size_t len;

		l.n = rnd(13);
		for (unsigned i = 0; i < l.n; i++) {
			l.field[i].b = bytes[i];
			l.field[i].len = rnd(4) == 0 ? rnd(2) : rnd(20);
			for (size_t k = 0; k < l.field[i].len; k++)
				bytes[i][k] =
				    (char)(rnd(3) == 0 ? "-% \n\0+"[rnd(6)]
						       : (int)rnd(256));
		}
		assert_true(undo_line_size(&l) <= sizeof(text));
		len = undo_line_format(text, undo_line_size(&l), &l);
		naive_format(naive, &l);
		assert_string_equal(text, naive);
		assert_int_equal(undo_line_parse(&back, text, len - 1), 0);
		assert_int_equal(back.pending, l.pending);
		assert_string_equal(back.kind, "kind");
		assert_int_equal(back.n, l.n);
		for (unsigned i = 0; i < l.n; i++) {
			assert_int_equal(back.field[i].len, l.field[i].len);
			assert_memory_equal(
			    back.field[i].b, bytes[i], l.field[i].len);
		}
	}
}

static void
test_origin_table(void **state)
{
	static const struct {
		const char *text;
		int result;
	} row[] = {
	    {"ukai-journal 1 0a-f 4026531840", 0},
	    {"ukai-journal 1 a 18446744073709551615", 0},
	    {"ukai-journal 1 a 18446744073709551616", UK_EPROTO},
	    {"ukai-journal 1 a", UK_EPROTO},
	    {"ukai-journal 1  1", UK_EPROTO},
	    {"ukai-journal 1 a ", UK_EPROTO},
	    {"ukai-journal 1 a 1 ", UK_EPROTO},
	    {"ukai-journal 1 g 1", UK_EPROTO},
	    {"ukai-journal 2 a 1", UK_EINVAL},
	    {"ukai-journal 10 a 1", UK_EINVAL},
	    {"ukai-journal", UK_EPROTO},
	    {"+ sysctl a b c", UK_EPROTO},
	    {"", UK_EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct undo_origin o;

		assert_int_equal(
		    undo_origin_parse(&o, row[i].text, strlen(row[i].text)),
		    row[i].result);
	}
}

/* S2: a journal cut anywhere gives the lines that are whole, and no other. */
static void
test_torn_anywhere(void **state)
{
	static const char whole[] = "ukai-journal 1 b007 1\n"
				    "+ sysctl a b c\n"
				    "- file x\n"
				    "ukai-journal 1 b007 2\n"
				    "+ rule y\n";

	(void)state;
	for (size_t cut = 0; cut < sizeof(whole); cut++) {
		char text[sizeof(whole)];
		struct undo_reader r = {.text = text, .len = cut};
		struct undo_line l;
		unsigned lines = 0, n = 0;
		size_t good = 0;

		memcpy(text, whole, cut);
		for (size_t i = 0; i < cut; i++) {
			if (whole[i] != '\n')
				continue;
			good = i + 1;
			n++;
		}
		while (undo_read_next(&r, &l) == UNDO_READ_LINE)
			lines++;
		assert_int_equal(r.off, good);
		assert_int_equal(lines, n - (n >= 1) - (n >= 4));
		if (n == 5)
			assert_int_equal(r.origin.netns, 2);
	}
}

static void
test_reader_damage(void **state)
{
	char text[] = "+ early x\n"
		      "ukai-journal 1 b007 1\n"
		      "+ sysctl a\n"
		      "rubbish\n"
		      "+ file b\n"
		      "ukai-journal 1 nonsense\n"
		      "+ file c\n"
		      "ukai-journal 7 whatever\n";
	static const enum undo_read want[] = {UNDO_READ_DAMAGED, UNDO_READ_LINE,
	    UNDO_READ_DAMAGED, UNDO_READ_LINE, UNDO_READ_DAMAGED,
	    UNDO_READ_DAMAGED, UNDO_READ_VERSION, UNDO_READ_END};
	struct undo_reader r = {.text = text, .len = sizeof(text) - 1};
	struct undo_line l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_int_equal(undo_read_next(&r, &l), want[i]);
}

/* Whose content is it? */

static struct undo_content
content(const char *text)
{
	return (struct undo_content){
	    .was = WAS_FILE, .b = text, .len = strlen(text)};
}

static void
test_is_ours_table(void **state)
{
	static const struct {
		const char *now, *old, *new;
		bool inplace, ours;
	} row[] = {
	    {"new", "old", "new", false, true},
	    {"old", "old", "new", false, false},
	    {"nld", "old", "new", false, false},
	    {"nld", "old", "new", true, true},
	    {"oew", "old", "new", true, true}, /* killed while undoing */
	    {"xew", "old", "new", true, false},
	    {"ne", "old", "new", true, false},
	    {"newx", "old", "new", true, false},
	    {"newer", "old", "newer", true, true},
	    {"newe", "old", "newer", true, true},
	    {"newes", "old", "newer", true, false},
	    {"neer", "older", "ne", true, false},
	    {"neder", "older", "ne", true, true},
	    {"neder", "older", "ne", false, false},
	    {"", "", "", true, true},
	    {"", "a", "", false, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct undo_content now = content(row[i].now);
		struct undo_content old = content(row[i].old);
		struct undo_content new = content(row[i].new);

		assert_int_equal(
		    undo_file_is_ours(&now, &old, &new, row[i].inplace),
		    row[i].ours);
		now.was = WAS_LINK;
		assert_false(
		    undo_file_is_ours(&now, &old, &new, row[i].inplace));
	}
}

/* Overwrite k bytes of b by those of a, as write(2) does. */
static size_t
overwrite(char *b, size_t len, const char *a, size_t k)
{
	memcpy(b, a, k);
	return len > k ? len : k;
}

static void
test_is_ours_random(void **state)
{
	char a[24], b[24], now[24];

	(void)state;
	for (int round = 0; round < 5000; round++) {
		struct undo_content old = {WAS_FILE, .b = a, .len = rnd(24)};
		struct undo_content new = {WAS_FILE, .b = b, .len = rnd(24)};
		struct undo_content cur = {WAS_FILE, .b = now};

		for (size_t i = 0; i < sizeof(a); i++) {
			a[i] = (char)('a' + rnd(26));
			b[i] = (char)('A' + rnd(26));
		}
		memcpy(now, a, old.len);
		cur.len =
		    overwrite(now, old.len, b, rnd((uint32_t) new.len + 1));
		if (rnd(2) != 0)
			cur.len = overwrite(
			    now, cur.len, a, rnd((uint32_t)old.len + 1));
		assert_true(undo_file_is_ours(&cur, &old, &new, true));
		if (cur.len > 0) {
			now[rnd((uint32_t)cur.len)] = '!';
			assert_false(undo_file_is_ours(&cur, &old, &new, true));
		}
	}
}

/* Files. dir/ has "file" (0640), "link" -> elsewhere, and no "absent". */

struct place {
	char dir[64], journal[96], file[96], link[96], absent[96];
};

static const char file_text[] = "nameserver 192.0.2.1\n\0\xff end";
static const char new_text[] = "nameserver 10.0.0.1\n";

static void
write_file(const char *path, const void *b, size_t len, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, b, len), (ssize_t)len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
make_place(struct place *p)
{
	/* In memory where there is such a thing: the tests sync a lot. */
	snprintf(p->dir, sizeof(p->dir), "%s/ukai-undo-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->journal, sizeof(p->journal), "%s/j/journal", p->dir);
	snprintf(p->file, sizeof(p->file), "%s/file", p->dir);
	snprintf(p->link, sizeof(p->link), "%s/link", p->dir);
	snprintf(p->absent, sizeof(p->absent), "%s/absent", p->dir);
	write_file(p->file, file_text, sizeof(file_text), 0640);
	assert_int_equal(symlink("else where", p->link), 0);
}

static bool
has_text(const char *path, const void *text, size_t len)
{
	char b[256];
	int fd = open(path, O_RDONLY | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, b, sizeof(b));
	close(fd);
	return n == (ssize_t)len && memcmp(b, text, len) == 0;
}

static void
assert_as_made(const struct place *p)
{
	struct stat st;
	char target[32] = "", path[128];

	assert_true(has_text(p->file, file_text, sizeof(file_text)));
	assert_int_equal(stat(p->file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_true(readlink(p->link, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, "else where");
	assert_int_not_equal(access(p->absent, F_OK), 0);
	for (int i = 0; i < 3; i++) {
		const char *of[] = {p->file, p->link, p->absent};

		snprintf(path, sizeof(path), "%s" TEMP_SUFFIX, of[i]);
		assert_int_not_equal(lstat(path, &st), 0);
	}
}

static void
remove_place(const struct place *p)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/j", p->dir);
	unlink(p->journal);
	rmdir(path);
	unlink(p->file);
	unlink(p->link);
	unlink(p->absent);
	assert_int_equal(rmdir(p->dir), 0);
}

static int
change_all(struct undo *u, const struct place *p, struct diag *d)
{
	int r = undo_file(u, p->file, new_text, sizeof(new_text), d);

	if (r == 0)
		r = undo_file(u, p->link, new_text, sizeof(new_text), d);
	if (r == 0)
		r = undo_file(u, p->absent, new_text, sizeof(new_text), d);
	/* The same file once more. */
	if (r == 0)
		r = undo_file(u, p->file, "x", 1, d);
	return r;
}

static void
test_files(void **state)
{
	struct place p;
	struct undo *u;
	struct diag d;
	struct stat st;

	(void)state;
	diag_init(&d, NULL);
	make_place(&p);
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	assert_int_equal(change_all(u, &p, &d), 0);
	assert_int_equal(undo_count(u), 4);
	assert_true(has_text(p.file, "x", 1));
	assert_int_equal(stat(p.file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_true(has_text(p.link, new_text, sizeof(new_text)));
	assert_int_equal(stat(p.absent, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(undo_file_restore(u, p.file, &d), 0);
	assert_true(has_text(p.file, file_text, sizeof(file_text)));
	assert_int_equal(undo_count(u), 2);
	assert_int_equal(undo_all(u, NULL, &d), 0);
	assert_int_equal(undo_count(u), 0);
	assert_as_made(&p);
	/* Nothing to journal when nothing changes. */
	assert_int_equal(
	    undo_file(u, p.file, file_text, sizeof(file_text), &d), 0);
	assert_int_equal(undo_count(u), 0);
	undo_close(u);
	assert_int_not_equal(access(p.journal, F_OK), 0);
	assert_int_equal(d.errors + d.warnings, 0);
	remove_place(&p);
}

static void
test_somebody_else_changed(void **state)
{
	struct place p;
	struct undo *u;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	make_place(&p);
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	assert_int_equal(change_all(u, &p, &d), 0);
	unlink(p.link);
	write_file(p.absent, "mine", 4, 0600);
	assert_int_equal(undo_all(u, NULL, &d), 0);
	assert_int_equal(d.warnings, 2);
	assert_int_equal(d.errors, 0);
	assert_non_null(strstr(d.entry[0].text, p.absent));
	assert_true(has_text(p.absent, "mine", 4));
	assert_int_not_equal(access(p.link, F_OK), 0);
	assert_true(has_text(p.file, file_text, sizeof(file_text)));
	undo_close(u);
	remove_place(&p);
}

static void
test_refused_paths(void **state)
{
	struct place p;
	struct undo *u;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	make_place(&p);
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	assert_int_equal(undo_file(u, "file", "x", 1, &d), UK_EINVAL);
	assert_int_equal(undo_file(u, p.dir, "x", 1, &d), UK_EINVAL);
	assert_int_equal(
	    undo_file(u, "/no/such/folder/x", "x", 1, &d), UK_ENOENT);
	assert_int_equal(undo_sysctl(u, "../x", "1", &d), UK_EINVAL);
	assert_int_equal(undo_sysctl(u, "net//x", "1", &d), UK_EINVAL);
	assert_int_equal(undo_sysctl(u, "net/./x", "1", &d), UK_EINVAL);
	assert_int_equal(undo_sysctl(u, "no/such", "1", &d), UK_ENOENT);
	assert_int_equal(undo_count(u), 0);
	undo_close(u);
	assert_as_made(&p);
	remove_place(&p);
}

static void
test_lock(void **state)
{
	struct place p;
	struct undo *u, *v;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	make_place(&p);
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	assert_int_equal(undo_open(&v, p.journal, &d), UK_EBUSY);
	undo_close(u);
	assert_int_equal(undo_open(&v, p.journal, &d), 0);
	undo_close(v);
	undo_close(NULL);
	remove_place(&p);
}

/* Root would restore what is written there. */
static void
test_untrusted_journal(void **state)
{
	struct place p;
	struct undo *u;
	struct diag d;
	char dir[96];

	(void)state;
	diag_init(&d, NULL);
	make_place(&p);
	snprintf(dir, sizeof(dir), "%s/j", p.dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	write_file(p.journal, "", 0, 0622);
	assert_int_equal(undo_open(&u, p.journal, &d), UK_EPERM);
	unlink(p.journal);
	assert_int_equal(symlink(p.file, p.journal), 0);
	assert_int_not_equal(undo_open(&u, p.journal, &d), 0);
	assert_as_made(&p);
	remove_place(&p);
}

static void
put_journal(const struct place *p, const char *text)
{
	char dir[96];

	snprintf(dir, sizeof(dir), "%s/j", p->dir);
	mkdir(dir, 0700);
	write_file(p->journal, text, strlen(text), 0600);
}

/* As of a damaged disk. */
static const char *const impossible[] = {
    "+ sysctl ../../etc/passwd 0 1",
    "+ sysctl net/%00 0 1",
    "+ sysctl net/ipv4/ip_forward 0",
    "+ rule 4 1 2 0 0 - - - x",
    "+ rule 5 1 2 0 0 - - - -",
    "+ rule 4 1 2 0 0 - 2001:db8::/32 - -",
    "+ rule 4 1 2 0 0 - - - - -", /* one field more: the link */
    "+ rule 4 1 2 0 0 - - - - 123456789abcdefg",
    "+ rule 4 1 2 0 0 - - - - a%00b",
    "+ rule 4 1 2 0 0 - - - - eth0 x",
    "+ rule 4 1 2 0 0 - - - - eth0",
    "+ rule 4 1 2 0 0 - - - -", /* fine, but there is no netcfg */
    "+ neigh 192.0.2 1",
    "+ neigh 192.0.2.1 eth0",
    "+ neigh 192.0.2.1 4294967296",
    "+ neigh 192.0.2.1 1 1",
    "+ neigh 192.0.2.1 1", /* fine, but there is no netcfg */
    "+ addr 2001:db8::1 1",
    "+ addr 2001:db8::1/129 1",
    "+ addr 2001:db8::1/128 eth0",
    "+ addr 2001:db8::1/128 4294967296",
    "+ addr 2001:db8::1/128%00 1",
    "+ addr 2001:db8::1/128 1 1",
    "+ addr 2001:db8::1/128 1", /* fine, but there is no netcfg */
    "+ table -",
    "+ table 9a",
    "+ table Guard",
    "+ table a;b",
    "+ table a%00b",
    "+ table abcdefghijklmnopqrstuvwxyz0123456",
    "+ table ukai-guard x",
    "+ file relative absent 0 0 0 - x replace",
    "+ file /x%00y absent 0 0 0 - x replace",
    "+ file /x gone 0 0 0 - x replace",
    "+ file /x file 99999 0 0 - x replace",
    "+ file /x link 0 0 0 a%00b x replace",
    "+ wombat 1",
    "garbage",
};

/* The first line of a journal of this host, as it is now. */
static void
make_header(const struct place *p, char here[UNDO_HEADER_MAX])
{
	struct undo *u;
	struct diag d;
	FILE *f;

	diag_init(&d, NULL);
	assert_int_equal(undo_open(&u, p->journal, &d), 0);
	assert_int_equal(undo_file(u, p->absent, "x", 1, &d), 0);
	f = fopen(p->journal, "r");
	assert_non_null(fgets(here, UNDO_HEADER_MAX, f));
	fclose(f);
	undo_all(u, NULL, &d);
	undo_close(u);
}

/* Said, kept, nothing touched. */
static void
test_impossible_entries(void **state)
{
	char here[UNDO_HEADER_MAX] = "", text[256];
	struct place p;
	struct undo *u;
	struct diag d;

	(void)state;
	make_place(&p);
	make_header(&p, here);
	for (size_t i = 0; i < ARRAY_LEN(impossible); i++) {
		snprintf(text, sizeof(text), "%s%s\n", here, impossible[i]);
		put_journal(&p, text);
		diag_init(&d, NULL);
		assert_int_equal(undo_open(&u, p.journal, &d), 0);
		assert_int_equal(undo_count(u), 1);
		assert_int_equal(undo_all(u, NULL, &d), UK_ESYS);
		assert_int_equal(d.errors, 1);
		assert_int_equal(undo_count(u), 1);
		undo_close(u);
		assert_true(has_text(p.journal, text, strlen(text)));
	}
	remove_place(&p);
}

static void
test_impossible_entries_hold_up_nothing(void **state)
{
	char all[4096] = "";
	struct place p;
	struct undo *u;
	struct diag d;

	(void)state;
	make_place(&p);
	make_header(&p, all);
	for (size_t i = 0; i < ARRAY_LEN(impossible); i++)
		strcat(strcat(all, impossible[i]), "\n");
	put_journal(&p, all);
	diag_init(&d, NULL);
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	assert_int_equal(undo_file(u, p.absent, "x", 1, &d), 0);
	assert_int_equal(undo_all(u, NULL, &d), UK_ESYS);
	assert_int_equal(undo_count(u), ARRAY_LEN(impossible));
	undo_close(u);
	assert_as_made(&p);
	remove_place(&p);
}

static void
test_other_version(void **state)
{
	struct place p;
	struct undo *u;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	make_place(&p);
	put_journal(&p, "ukai-journal 2 whatever\n+ new kind\n");
	assert_int_equal(undo_open(&u, p.journal, &d), UK_EPROTO);
	assert_int_equal(access(p.journal, F_OK), 0);
	remove_place(&p);
}

/* After a reboot rules and sysctls are no more; files are restored. */
static void
test_other_boot(void **state)
{
	struct place p;
	struct undo *u;
	struct diag d;
	char text[512];

	(void)state;
	diag_init(&d, NULL);
	make_place(&p);
	write_file(p.absent, "ours", 4, 0644);
	snprintf(text, sizeof(text),
	    "ukai-journal 1 0-0 1\n+ file %s absent 0 0 0 - ours replace\n"
	    "+ sysctl net/ipv4/ip_forward 7 8\n"
	    "+ rule 4 1 2 0 0 - - - -\n+ table ukai-guard\n",
	    p.absent);
	put_journal(&p, text);
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	assert_int_equal(undo_count(u), 4);
	assert_int_equal(undo_all(u, NULL, &d), 0);
	assert_int_equal(d.errors + d.warnings, 0);
	undo_close(u);
	assert_as_made(&p);
	remove_place(&p);
}

/* A table is written down once, before it is there; that it goes away again,
 * tests/net/12-host.sh shows. */
static void
test_table(void **state)
{
	static const char *const bad[] = {"", "9a", "Guard", "a b", "a;b",
	    "abcdefghijklmnopqrstuvwxyz0123456"};
	char text[256] = "";
	struct place p;
	struct undo *u;
	struct diag d;
	FILE *f;

	(void)state;
	diag_init(&d, NULL);
	make_place(&p);
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(undo_table(u, bad[i], &d), UK_EINVAL);
	assert_int_equal(undo_count(u), 0);
	assert_int_equal(undo_table(u, "ukai-guard", &d), 0);
	assert_int_equal(undo_table(u, "ukai-guard", &d), 0);
	assert_int_equal(undo_count(u), 1);
	assert_int_equal(undo_table(u, "ukai-guar", &d), 0);
	assert_int_equal(undo_count(u), 2);
	undo_close(u);
	f = fopen(p.journal, "r");
	assert_non_null(fgets(text, sizeof(text), f));
	assert_non_null(fgets(text, sizeof(text), f));
	assert_string_equal(text, "+ table ukai-guard\n");
	fclose(f);
	/* What a killed one has left: not written a second time. */
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	assert_int_equal(undo_table(u, "ukai-guard", &d), 0);
	assert_int_equal(undo_count(u), 2);
	undo_close(u);
	remove_place(&p);
}

/* Another network namespace: its rules and net/ sysctls stay and are said,
 * with what to do; a file that holds what we wrote comes back. */
static void
test_other_netns(void **state)
{
	struct place p;
	struct undo *u;
	struct diag d;
	char text[512], boot[64] = "";
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");

	(void)state;
	assert_non_null(fgets(boot, sizeof(boot), f));
	fclose(f);
	boot[strcspn(boot, "\n")] = '\0';
	diag_init(&d, NULL);
	make_place(&p);
	write_file(p.absent, "ours", 4, 0644);
	snprintf(text, sizeof(text),
	    "ukai-journal 1 %s 1\n+ file %s absent 0 0 0 - ours replace\n"
	    "+ file %s absent 0 0 0 - other replace\n"
	    "+ sysctl net/ipv4/ip_forward 7 8\n"
	    "+ sysctl kernel/ostype 7 Linux2\n"
	    "+ rule 4 1 2 0 0 - - - -\n+ table ukai-guard\n",
	    boot, p.absent, p.file);
	put_journal(&p, text);
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	assert_int_equal(undo_all(u, NULL, &d), UK_ESYS);
	assert_int_equal(undo_count(u), 4);
	assert_int_equal(d.errors, 4);
	assert_int_equal(d.warnings, 1); /* kernel/ostype is not ours */
	assert_non_null(strstr(d.entry[0].text, "ukai-guard"));
	assert_non_null(strstr(d.entry[0].text, "net:[1]"));
	assert_non_null(strstr(d.entry[0].text, "ukai restore"));
	undo_close(u);
	assert_as_made(&p);
	remove_place(&p);
}

/* S2: a journal with any of its tail missing still opens, and what it lost
 * was not begun. */
static void
test_torn_journal_opens(void **state)
{
	struct place p;
	struct undo *u;
	struct diag d;
	char whole[1024];
	ssize_t len;
	int fd;

	(void)state;
	diag_init(&d, NULL);
	make_place(&p);
	assert_int_equal(undo_open(&u, p.journal, &d), 0);
	assert_int_equal(undo_file(u, p.absent, "x", 1, &d), 0);
	assert_int_equal(undo_file(u, p.file, "y", 1, &d), 0);
	fd = open(p.journal, O_RDONLY);
	len = read(fd, whole, sizeof(whole));
	close(fd);
	assert_int_equal(undo_all(u, NULL, &d), 0);
	undo_close(u);
	for (ssize_t cut = 0; cut <= len; cut++) {
		write_file(p.journal, whole, (size_t)cut, 0600);
		assert_int_equal(undo_open(&u, p.journal, &d), 0);
		/* A new entry after the torn one is whole. */
		assert_int_equal(undo_file(u, p.link, "z", 1, &d), 0);
		assert_int_equal(undo_all(u, NULL, &d), 0);
		undo_close(u);
		assert_int_equal(d.errors, 0);
		assert_as_made(&p);
	}
	remove_place(&p);
}

static void
live(void *arg)
{
	const struct place *p = arg;
	struct diag d;
	struct undo *u;

	diag_init(&d, NULL);
	if (undo_open(&u, p->journal, &d) < 0 || change_all(u, p, &d) < 0 ||
	    undo_file_restore(u, p->file, &d) < 0 || undo_all(u, NULL, &d) < 0)
		_exit(1);
	undo_close(u);
}

/* S2: kill -9 at every system call of a whole life; what the next process
 * undoes leaves everything byte for byte as it was. */
static void
test_kill_anywhere(void **state)
{
	enum kill_each how = KILL_EACH_KILLED;
	struct place p;
	struct undo *u;
	struct diag d;
	unsigned n;

	(void)state;
	make_place(&p);
	for (n = 1; how == KILL_EACH_KILLED && n < 2000; n++) {
		how = kill_each(live, &p, n);
		if (how == KILL_EACH_NO_PTRACE)
			skip();
		diag_init(&d, NULL);
		assert_int_equal(undo_open(&u, p.journal, &d), 0);
		assert_int_equal(undo_all(u, NULL, &d), 0);
		undo_close(u);
		assert_int_equal(d.errors + d.warnings, 0);
		assert_as_made(&p);
		assert_int_not_equal(access(p.journal, F_OK), 0);
	}
	assert_int_equal(how, KILL_EACH_ENDED);
	assert_true(n > 100);
	remove_place(&p);
}

static void
test_no_memory(void **state)
{
	struct place p;
	struct undo *u;
	struct diag d;
	bool failed = CAN_FAIL_ALLOC;

	(void)state;
	if (!CAN_FAIL_ALLOC)
		skip();
	make_place(&p);
	for (long n = 1; failed; n++) {
		int r;

		assert_true(n < 100);
		diag_init(&d, NULL);
		fail_in = n;
		r = undo_open(&u, p.journal, &d);
		if (r == 0) {
			r = change_all(u, &p, &d);
			if (undo_all(u, NULL, &d) < 0)
				r = UK_ENOMEM;
			undo_close(u);
		}
		failed = fail_in == 0;
		fail_in = 0;
		/* 0: what failed was libc's, for words only. */
		assert_true(r == 0 || (failed && r == UK_ENOMEM));
		assert_int_equal(undo_open(&u, p.journal, &d), 0);
		assert_int_equal(undo_all(u, NULL, &d), 0);
		undo_close(u);
		assert_as_made(&p);
	}
	remove_place(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_line_table),
	    cmocka_unit_test(test_line_random),
	    cmocka_unit_test(test_origin_table),
	    cmocka_unit_test(test_torn_anywhere),
	    cmocka_unit_test(test_reader_damage),
	    cmocka_unit_test(test_is_ours_table),
	    cmocka_unit_test(test_is_ours_random),
	    cmocka_unit_test(test_files),
	    cmocka_unit_test(test_somebody_else_changed),
	    cmocka_unit_test(test_refused_paths),
	    cmocka_unit_test(test_lock),
	    cmocka_unit_test(test_untrusted_journal),
	    cmocka_unit_test(test_impossible_entries),
	    cmocka_unit_test(test_impossible_entries_hold_up_nothing),
	    cmocka_unit_test(test_other_version),
	    cmocka_unit_test(test_other_boot),
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_other_netns),
	    cmocka_unit_test(test_torn_journal_opens),
	    cmocka_unit_test(test_kill_anywhere),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
