/* What is printed and drawn, read back and held against libqrencode's own
 * matrix. */
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

#include <png.h>
#include <qrencode.h>

#include "core/base.h"
#include "core/err.h"
#include "../../server/qr.h"

#define TEXT "[Interface]\nPrivateKey = example\n"
#define QUIET 4
#define SCALE 8

static char folder[] = "/tmp/ukai-qr.XXXXXX";

static bool
is_dark(const QRcode *q, int x, int y)
{
	x -= QUIET;
	y -= QUIET;
	if (x < 0 || y < 0 || x >= q->width || y >= q->width)
		return false;
	return (q->data[y * q->width + x] & 1) != 0;
}

/* One cell of a line: the upper and the lower module, light unless drawn. */
static const char *
read_cell(const char *at, bool *upper, bool *lower)
{
	static const struct {
		const char *text;
		bool upper, lower;
	} cell[] = {{"\xe2\x96\x88", false, false},
	    {"\xe2\x96\x80", false, true}, {"\xe2\x96\x84", true, false},
	    {" ", true, true}};

	for (size_t i = 0; i < ARRAY_LEN(cell); i++)
		if (strncmp(at, cell[i].text, strlen(cell[i].text)) == 0) {
			*upper = cell[i].upper;
			*lower = cell[i].lower;
			return at + strlen(cell[i].text);
		}
	fail_msg("not a block: %s", at);
	return NULL;
}

static void
test_print(void **state)
{
	QRcode *q = QRcode_encodeString8bit(TEXT, 0, QR_ECLEVEL_L);
	int side = q->width + 2 * QUIET;
	char *text = NULL, *line;
	struct diag d;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	diag_init(&d, NULL);
	assert_int_equal(qr_print(TEXT, f, &d), 0);
	fclose(f);
	line = text;
	for (int y = 0; y < side; y += 2) {
		const char *at = strchr(line, 'm') + 1;
		bool upper, lower;

		for (int x = 0; x < side; x++) {
			at = read_cell(at, &upper, &lower);
			assert_int_equal(upper, is_dark(q, x, y));
			assert_int_equal(lower, is_dark(q, x, y + 1));
		}
		assert_int_equal(strncmp(at, "\033[0m\n", 5), 0);
		line = strchr(line, '\n') + 1;
	}
	assert_int_equal(*line, '\0');
	free(text);
	QRcode_free(q);
}

static void
check_pixels(const char *path, const QRcode *q)
{
	png_image image = {.version = PNG_IMAGE_VERSION};
	png_bytep pixel;
	int side = (q->width + 2 * QUIET) * SCALE;

	assert_int_equal(png_image_begin_read_from_file(&image, path), 1);
	image.format = PNG_FORMAT_GRAY;
	assert_int_equal(image.width, side);
	assert_int_equal(image.height, side);
	pixel = malloc(PNG_IMAGE_SIZE(image));
	assert_int_equal(
	    png_image_finish_read(&image, NULL, pixel, 0, NULL), 1);
	for (int y = 0; y < side; y++)
		for (int x = 0; x < side; x++)
			assert_int_equal(pixel[y * side + x],
			    is_dark(q, x / SCALE, y / SCALE) ? 0 : 255);
	free(pixel);
}

static void
test_png(void **state)
{
	QRcode *q = QRcode_encodeString8bit(TEXT, 0, QR_ECLEVEL_L);
	char path[64];
	struct stat st;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	snprintf(path, sizeof(path), "%s/a.png", folder);
	assert_int_equal(qr_png(TEXT, path, &d), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	check_pixels(path, q);
	/* What is there stays. */
	assert_int_equal(qr_png("other", path, &d), UK_EEXIST);
	check_pixels(path, q);
	snprintf(path, sizeof(path), "%s/none/a.png", folder);
	assert_int_equal(qr_png(TEXT, path, &d), UK_ENOENT);
	if (access("/dev/full", W_OK) == 0)
		assert_int_equal(qr_png(TEXT, "/dev/full", &d), UK_EEXIST);
	QRcode_free(q);
}

static void
test_too_long(void **state)
{
	char text[2955];
	FILE *none = fopen("/dev/null", "w");
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	memset(text, 'a', sizeof(text));
	text[2953] = '\0';
	assert_int_equal(qr_print(text, none, &d), 0);
	text[2953] = 'a';
	text[2954] = '\0';
	assert_int_equal(qr_print(text, none, &d), UK_EMSGSIZE);
	assert_int_equal(d.errors, 1);
	fclose(none);
}

static int
make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
remove_folder(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_print),
	    cmocka_unit_test(test_png),
	    cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
