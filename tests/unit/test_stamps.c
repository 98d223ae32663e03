#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "../../server/stamps.h"
#include "core/err.h"
#include "core/value.h"

#define ZEROS "000000000000000000000000"
#define KEY(c) c "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static char folder[64], path[96];

/* The key whose first byte is b, the rest zeros. */
static struct wg_key
key(uint8_t b)
{
	return (struct wg_key){{b}};
}

static void
stamp(uint8_t out[WG_STAMP_LEN], unsigned n)
{
	memset(out, 0, WG_STAMP_LEN);
	out[0] = 0x40;
	out[10] = (uint8_t)(n >> 8);
	out[11] = (uint8_t)n;
}

/* Texts that are one, and texts that are almost one (C4). */
static void
test_parse_table(void **state)
{
	static const struct {
		const char *text;
		int err;
		size_t n;
	} row[] = {
	    {"ukai-stamps 1 " KEY("A") " " ZEROS "\n", 0, 0},
	    {"ukai-stamps 1 " KEY("A") " 400000000000000000000001\n" KEY(
		 "B") " 400000000000000000000001\n",
		0, 1},
	    {"ukai-stamps 1 " KEY(
		 "A") " " ZEROS
		      "\n" KEY("C") " 400000000000000000000001\n" KEY("B") " 400000000000000000000001\n" KEY(
			  "C") " 400000000000000000000003\n" KEY("C") " 400000000000000000000002\n",
		0, 2},
	    {"ukai-stamps 1 " KEY("B") " " ZEROS "\n", UK_ENOENT, 0},
	    {"", UK_EPROTO, 0},
	    {"\n", UK_EPROTO, 0},
	    {"ukai-stamps 2 " KEY("A") " " ZEROS "\n", UK_EPROTO, 0},
	    {"ukai-stamps 1 " KEY("A") " " ZEROS, UK_EPROTO, 0},
	    {"ukai-stamps 1 " KEY("A") "\n", UK_EPROTO, 0},
	    {"ukai-stamps 1 " KEY("A") " " ZEROS "0\n", UK_EPROTO, 0},
	    {"ukai-stamps 1 " KEY("A") " " ZEROS "\n\n", UK_EPROTO, 0},
	    {"ukai-stamps 1 " KEY("A") " " ZEROS "\n" KEY(
		 "B") " 40000000000000000000000\n",
		UK_EPROTO, 0},
	    {"ukai-stamps 1 " KEY("A") " " ZEROS "\n" KEY(
		 "B") " 40000000000000000000000G\n",
		UK_EPROTO, 0},
	    {"ukai-stamps 1 " KEY("A") " " ZEROS "\n" KEY(
		 "?") " 400000000000000000000001\n",
		UK_EPROTO, 0},
	    {"ukai-stamps 1 " KEY("A") " " ZEROS "\n" KEY(
		 "B") " 400000000000000000000001",
		UK_EPROTO, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct stamps s = {.relay = key(0)};

		assert_int_equal(
		    stamps_parse(&s, row[i].text, strlen(row[i].text)),
		    row[i].err);
		assert_int_equal(s.n, row[i].n);
		assert_false(s.changed);
		stamps_fini(&s);
	}
}

static void
test_a_zero_byte_is_no_digit(void **state)
{
	char text[] = "ukai-stamps 1 " KEY("A") " " ZEROS "\n";
	struct stamps s = {.relay = key(0)};

	(void)state;
	text[sizeof(text) - 3] = '\0';
	assert_int_equal(stamps_parse(&s, text, sizeof(text) - 1), UK_EPROTO);
}

/* P1: stamps only grow, whatever comes; a naive twin keeps them by key. */
static void
test_note_twin(void **state)
{
	unsigned twin[256] = {0};
	struct stamps s = {.relay = key(0)}, again = {.relay = key(0)};
	struct text t = {.s = NULL};
	uint8_t b[WG_STAMP_LEN];
	struct wg_key k;

	(void)state;
	srand(1);
	for (int i = 0; i < 5000; i++) {
		unsigned who = (unsigned)rand() % 256, n;

		n = (unsigned)rand() % 65535 + 1;
		k = key((uint8_t)who);
		stamp(b, n);
		s.changed = false;
		assert_int_equal(stamps_note(&s, &k, b), 0);
		assert_int_equal(s.changed, n > twin[who]);
		twin[who] = n > twin[who] ? n : twin[who];
	}
	assert_int_equal(stamps_format(&s, &t), 0);
	assert_int_equal(stamps_parse(&again, t.s, t.len), 0);
	assert_int_equal(again.n, s.n);
	for (unsigned who = 0; who < 256; who++) {
		k = key((uint8_t)who);
		stamp(b, twin[who]);
		if (twin[who] == 0)
			assert_null(stamps_find(&again, &k));
		else
			assert_memory_equal(
			    stamps_find(&again, &k), b, sizeof(b));
	}
	text_fini(&t);
	stamps_fini(&s);
	stamps_fini(&again);
}

static void
test_zeros_are_no_stamp(void **state)
{
	static const uint8_t zeros[WG_STAMP_LEN];
	struct stamps s = {.relay = key(0)};
	struct wg_key k = key(1);

	(void)state;
	assert_int_equal(stamps_note(&s, &k, zeros), 0);
	assert_int_equal(s.n, 0);
	assert_false(s.changed);
}

static void
test_file(void **state)
{
	struct stamps s = {.relay = key(0)};
	struct wg_key k = key(9);
	uint8_t b[WG_STAMP_LEN];
	struct stat st;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	/* None yet: fine. */
	assert_int_equal(stamps_load(&s, path, &d), 0);
	stamp(b, 5);
	assert_int_equal(stamps_note(&s, &k, b), 0);
	assert_int_equal(stamps_save(&s, path, &d), 0);
	assert_false(s.changed);
	stamps_fini(&s);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stamps_load(&s, path, &d), 0);
	assert_memory_equal(stamps_find(&s, &k), b, sizeof(b));
	assert_int_equal(d.n, 0);
	stamps_fini(&s);
	/* P2: another key of the relay begins anew, silently. */
	s.relay = key(3);
	assert_int_equal(stamps_load(&s, path, &d), 0);
	assert_int_equal(s.n, 0);
	assert_int_equal(d.n, 0);
}

/* Who could have written it could lock clients out. */
static void
test_file_of_others(void **state)
{
	struct stamps s = {.relay = key(0)};
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	assert_int_equal(chmod(path, 0622), 0);
	assert_int_equal(stamps_load(&s, path, &d), UK_EPERM);
	assert_int_equal(s.n, 0);
	assert_int_equal(d.warnings, 1);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(stamps_load(&s, path, &d), 0);
	stamps_fini(&s);
	assert_int_equal(truncate(path, 20), 0);
	assert_int_equal(stamps_load(&s, path, &d), UK_EPROTO);
	assert_int_equal(d.warnings, 2);
}

/* A folder that is not there: an error, and the change is not forgotten. */
static void
test_save_fails(void **state)
{
	struct stamps s = {.relay = key(0), .changed = true};
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	assert_true(stamps_save(&s, "/nonexistent/x.stamps", &d) < 0);
	assert_int_equal(d.errors, 1);
	assert_true(s.changed);
}

/* Through a device and back. */
static void
test_device(void **state)
{
	struct stamps s = {.relay = key(0)}, later;
	struct wg_key mine = key(8), one, other = key(7);
	struct wg_device_conf c;
	struct wg_device *device;
	uint8_t b[WG_STAMP_LEN], got[WG_STAMP_LEN];
	struct wg_peer *p;

	(void)state;
	wg_device_conf_default(&c);
	device = wg_device_new(&c);
	assert_non_null(device);
	wg_device_set_private_key(device, &mine);
	one = *wg_device_public_key(device);
	one.b[0] ^= 1;
	p = wg_device_add(device, &one);
	assert_non_null(p);
	stamp(b, 3);
	assert_int_equal(stamps_note(&s, &one, b), 0);
	/* A client that was removed keeps its line. */
	assert_int_equal(stamps_note(&s, &other, b), 0);
	stamps_give(&s, device);
	wg_peer_stamp(p, got);
	assert_memory_equal(got, b, sizeof(b));
	stamp(b, 4);
	wg_peer_set_stamp(p, b);
	stamp(b, 6);
	wg_device_set_last_stamp(device, b);
	later = s;
	later.changed = false;
	assert_int_equal(stamps_take(&later, device), 0);
	assert_true(later.changed);
	assert_memory_equal(later.own, b, sizeof(b));
	stamp(b, 4);
	assert_memory_equal(stamps_find(&later, &one), b, sizeof(b));
	stamp(b, 3);
	assert_memory_equal(stamps_find(&later, &other), b, sizeof(b));
	later.changed = false;
	assert_int_equal(stamps_take(&later, device), 0);
	assert_false(later.changed);
	stamps_fini(&later);
	wg_device_free(device);
}

static int
make_folder(void **state)
{
	(void)state;
	if (sodium_init() < 0)
		return -1;
	snprintf(folder, sizeof(folder), "/tmp/ukai-stamps.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/relay-x.stamps", folder);
	return 0;
}

static int
remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse_table),
	    cmocka_unit_test(test_a_zero_byte_is_no_digit),
	    cmocka_unit_test(test_note_twin),
	    cmocka_unit_test(test_zeros_are_no_stamp),
	    cmocka_unit_test(test_file),
	    cmocka_unit_test(test_file_of_others),
	    cmocka_unit_test(test_save_fails),
	    cmocka_unit_test(test_device),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
