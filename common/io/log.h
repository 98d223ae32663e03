/* log: lines for the operator, on stderr (with "<N>" priorities when stderr
 * is the journal). Never keys (X3); text from outside is escaped (C5).
 * Process-wide level, set once at start. */
#ifndef UKAI_LOG_H
#define UKAI_LOG_H

#include "core/base.h"
#include "core/diag.h"

enum log_level { LOG_SILENT, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_init(const char *prog, enum log_level level);
void log_msg(enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Each entry of a diag as one line. */
void log_diag(const struct diag *d);

/* For lines that an outsider can provoke: at most one a second for each
 * place, and the next line says how many were left out. */
struct log_limit {
	uint64_t last_ns;
	uint32_t left_out;
};
void log_limited(struct log_limit *l, uint64_t now_ns, enum log_level level,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
