#include "qr.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <png.h>
#include <qrencode.h>
#include <sodium.h>

#include "core/base.h"
#include "core/err.h"
#include "host/os_err.h"

/* Light modules around the code: ISO/IEC 18004 section 6.3.8. */
#define QUIET 4
/* Pixels of a module: a code of 100 modules is 864 pixels wide. */
#define SCALE 8

static int
encode(QRcode **q, const char *text, struct diag *d)
{
	/* L: what is on a screen is not damaged, and small codes are read from
	 * farther away. */
	*q = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
	if (*q != NULL)
		return 0;
	if (errno == ERANGE)
		diag_error(
		    d, "%zu bytes are too many for a QR code", strlen(text));
	return errno == ERANGE ? UK_EMSGSIZE : UK_ENOMEM;
}

static void
free_code(QRcode *q)
{
	sodium_memzero(q->data, (size_t)q->width * (size_t)q->width);
	QRcode_free(q);
}

/* The quiet zone lies around it. */
static bool
is_dark(const QRcode *q, int x, int y)
{
	x -= QUIET;
	y -= QUIET;
	return x >= 0 && y >= 0 && x < q->width && y < q->width &&
	       (q->data[y * q->width + x] & 1) != 0;
}

int
qr_print(const char *text, FILE *to, struct diag *d)
{
	/* By whether the upper and the lower module is dark. */
	static const char *const block[2][2] = {
	    {"\xe2\x96\x88", "\xe2\x96\x80"}, {"\xe2\x96\x84", " "}};
	QRcode *q;
	int err = encode(&q, text, d);

	if (err < 0)
		return err;
	for (int y = 0; y < q->width + 2 * QUIET; y += 2) {
		fputs("\033[40;97m", to);
		for (int x = 0; x < q->width + 2 * QUIET; x++)
			fputs(
			    block[is_dark(q, x, y)][is_dark(q, x, y + 1)], to);
		fputs("\033[0m\n", to);
	}
	free_code(q);
	return 0;
}

static void
write_rows(png_structp png, const QRcode *q, png_bytep row, int pixels)
{
	for (int y = 0; y < pixels; y++) {
		for (int x = 0; x < pixels; x++)
			row[x] = is_dark(q, x / SCALE, y / SCALE) ? 0 : 255;
		png_write_row(png, row);
	}
}

/* libpng reports by longjmp(): nothing that is freed here changes after. */
static int
write_png(FILE *to, const QRcode *q)
{
	int pixels = (q->width + 2 * QUIET) * SCALE;
	png_bytep row = malloc((size_t)pixels);
	png_structp png =
	    png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_infop info = png != NULL ? png_create_info_struct(png) : NULL;
	volatile int err = UK_ENOMEM;

	if (row != NULL && info != NULL) {
		err = UK_ESYS;
		if (setjmp(png_jmpbuf(png)) == 0) {
			png_init_io(png, to);
			png_set_IHDR(png, info, (png_uint_32)pixels,
			    (png_uint_32)pixels, 8, PNG_COLOR_TYPE_GRAY,
			    PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
			    PNG_FILTER_TYPE_DEFAULT);
			png_write_info(png, info);
			write_rows(png, q, row, pixels);
			png_write_end(png, NULL);
			err = 0;
		}
	}
	png_destroy_write_struct(&png, &info);
	free(row);
	return err;
}

int
qr_png(const char *text, const char *path, struct diag *d)
{
	QRcode *q;
	int err = encode(&q, text, d), fd;
	FILE *to;

	if (err < 0)
		return err;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		err = os_err(errno);
		diag_error(d, "cannot make %s: %s", path, strerror(errno));
		free_code(q);
		return err;
	}
	to = fdopen(fd, "wb");
	if (to == NULL)
		close(fd);
	err = to != NULL ? write_png(to, q) : UK_ENOMEM;
	if (to != NULL && fclose(to) != 0)
		err = UK_ESYS;
	free_code(q);
	if (err < 0) {
		unlink(path);
		diag_error(d, "cannot write %s: %s", path, uk_strerror(err));
	}
	return err;
}
