/* report: what `ukai ports` tells, for people and as JSON. Pure. */
#ifndef UKAI_PORTS_REPORT_H
#define UKAI_PORTS_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "client/mape/map_line.h"
#include "helps.h"
#include "linux.h"
#include "timer.h"
#include "windows.h"

#define PORTS_POOLS_MAX 2

/* What one protocol draws from; Linux has one pool for all. */
struct ports_pool {
	const char *protocol; /* "tcp", "udp", "all" */
	struct ports_before before;
	struct ports_plan plan;
};

struct ports_report {
	const char *os; /* "linux", "windows" */
	const struct map_line *line; /* NULL: not known */
	unsigned pools;
	struct ports_pool pool[PORTS_POOLS_MAX];
	struct ports_help help;
	struct command_list change, revert;
	struct text refused; /* empty: it is not */
	struct diag warnings;
};

/* NULL: out of memory. */
struct ports_report *ports_report_new(void);
void ports_report_free(struct ports_report *r);

/* Plan for what is known of either system, with all texts and commands. */
void ports_report_linux(struct ports_report *r, const struct ports_linux *s,
    const struct map_line *line, const struct ports_path *path);
void ports_report_windows(struct ports_report *r, const struct ports_windows *w,
    const struct map_line *line, const struct ports_path *path);

/* Everything is so already. */
bool ports_report_is_done(const struct ports_report *r);

/* "os", "line", "before", "after", "commands", "revert", "helps", "why",
 * "refused", "warnings"; see ukai(1). NULL: out of memory. */
json_t *ports_report_json(const struct ports_report *r);
void ports_report_print(const struct ports_report *r, FILE *to);

/* Who has reserved what. */
struct ports_share {
	struct port_set ports;
	const char *who; /* borrowed from s */
};
#define PORTS_SHARES_MAX (PORTS_CLAIMS_MAX + 2)
unsigned ports_shares(struct ports_share share[static PORTS_SHARES_MAX],
    const struct ports_linux *s);

/* `ukai ports show`. line NULL: not known. */
json_t *ports_show_json(const struct ports_linux *s,
    const struct map_line *line, const struct ports_timer *t);
void ports_show_print(const struct ports_linux *s, const struct map_line *line,
    const struct ports_timer *t, uint64_t now_s, FILE *to);

#endif
