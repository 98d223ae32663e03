/* qr: a text as a QR code (ISO/IEC 18004, libqrencode), for a phone's camera:
 * on a terminal or in a PNG file. */
#ifndef UKAI_SERVER_QR_H
#define UKAI_SERVER_QR_H

#include <stdio.h>

#include "core/diag.h"

/* With half blocks, light on dark whatever the terminal's colours: it takes
 * about half as many lines as columns. Returns 0; UK_EMSGSIZE: more than a
 * code can hold (2,953 bytes); UK_ESYS; UK_ENOMEM; told to d. */
int qr_print(const char *text, FILE *to, struct diag *d);
/* A new file, 0600: it shows a private key. UK_EEXIST: something is there. */
int qr_png(const char *text, const char *path, struct diag *d);

#endif
