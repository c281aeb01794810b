/*
 * Log lines on standard error: one line per event, "LEVEL subject: text".
 *
 * Owned by main and the control plane; base and data return errors or raise
 * counters instead. Under systemd (JOURNAL_STREAM set) a line starts with its
 * <N> priority; on a terminal the level is coloured unless NO_COLOR is set.
 * A state change is never suppressed; what a peer can provoke at will goes
 * through log_limit(), which passes one line per second and site, and says how
 * many it held back.
 *
 * Any thread may call these; a line is one write(2).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_NUM_
};

/* One per call site that a peer can provoke; zero-initialised. */
struct log_limit {
	uint64_t next_ns;
	unsigned held_back;
};

void log_set_level(enum log_level level);

/* -EINVAL if `name` is none of error, warning, info, debug. */
int log_level_parse(const char *name, enum log_level *ret_level);

/* `subject` names what the line is about ("n2", "lan0", "config"); may be NULL. */
void log_write(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* True if the site may log now; *ret_held is what it swallowed since its last line. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, unsigned *ret_held);

#define log_err(subject, ...)	log_write(LOG_LEVEL_ERROR, subject, __VA_ARGS__)
#define log_warn(subject, ...)	log_write(LOG_LEVEL_WARNING, subject, __VA_ARGS__)
#define log_info(subject, ...)	log_write(LOG_LEVEL_INFO, subject, __VA_ARGS__)
#define log_debug(subject, ...) log_write(LOG_LEVEL_DEBUG, subject, __VA_ARGS__)

#endif
