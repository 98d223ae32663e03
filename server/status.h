/* status: a running relay's state as JSON, and that JSON as text for people.
 * Keys are stable: programs read them. No secret is in it. */
#ifndef UKAI_SERVER_STATUS_H
#define UKAI_SERVER_STATUS_H

#include <stdio.h>

#include <jansson.h>

#include "core/text.h"

struct relay;

/* Append one line of JSON without its newline. Out of memory: an object with
 * "error" alone, or out->failed. */
void status_write(const struct relay *r, struct text *out);

/* Print what status_write() gave; now_s: seconds since the epoch. What is
 * missing is left out. */
void status_print(const json_t *status, int64_t now_s, FILE *to);

#endif
