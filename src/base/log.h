/*
 * Log lines on standard error: one line per event, "LEVEL subject: text".
 *
 * Owned by main and the control plane; base and data return errors or raise
 * counters instead. Under systemd (JOURNAL_STREAM set) a line starts with its
 * <N> priority; on a terminal the level is coloured unless NO_COLOR is set.
 * What peers can make a node say is bounded, by log_cap.h: one warning a second of a
 * reason and its subject, 600 lines a minute in all; changes of state, for which
 * log_state() is, have room of their own. A line says how many were suppressed before it.
 * A debug line always passes: who asks for these wants each. log_limit is for what is one
 * reason in many words, as who calls without being known can make up.
 *
 * Any thread may call these; a line is one write(2). While one thread is asking whether
 * its line passes, that of another does: nobody waits, not even a signal's handler.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
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

/* The same for a change of the state that `subject` is in. See control/events.h. */
void log_state(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Writes what was held back and may be written by now; to be called now and then. */
void log_settle(void);

/*
 * Until the next call, the last error that this thread logs is copied to `text` as well,
 * with its subject, for whoever asked for what failed. NULL: nowhere.
 */
void log_keep_error(char *text, size_t size);

/* True if the site may log now; *ret_held is what it swallowed since its last line. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, unsigned *ret_held);

#define log_err(subject, ...)	log_write(LOG_LEVEL_ERROR, subject, __VA_ARGS__)
#define log_warn(subject, ...)	log_write(LOG_LEVEL_WARNING, subject, __VA_ARGS__)
#define log_info(subject, ...)	log_write(LOG_LEVEL_INFO, subject, __VA_ARGS__)
#define log_debug(subject, ...) log_write(LOG_LEVEL_DEBUG, subject, __VA_ARGS__)

#endif
