/* capture: what is written to a descriptor goes to a file meanwhile. For unit
 * tests; a failure to capture fails the test. Memory: owner's. */
#ifndef UKAI_TEST_CAPTURE_H
#define UKAI_TEST_CAPTURE_H

#include <stdio.h>

struct capture {
	FILE *file;
	int fd, kept; /* where that went before */
	char text[8192]; /* after the end: what of it fits, and a zero */
};

void capture_begin(struct capture *c, int fd);
/* Returns c->text. */
const char *capture_end(struct capture *c);

#endif
