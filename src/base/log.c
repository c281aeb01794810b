/* See log.h. */
#include "base/log.h"

#include "base/clock.h"
#include "base/log_cap.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_LINE_MAX	1024
#define LOG_INTERVAL_NS 1000000000u

struct level_style {
	const char *name;
	const char *label;
	const char *colour;
	int priority; /* of syslog(3) */
};

static const struct level_style styles[] = {
	[LOG_LEVEL_ERROR] = {"error", "ERROR", "\033[31m", 3},
	[LOG_LEVEL_WARNING] = {"warning", "WARN ", "\033[33m", 4},
	[LOG_LEVEL_INFO] = {"info", "INFO ", "\033[32m", 6},
	[LOG_LEVEL_DEBUG] = {"debug", "DEBUG", "\033[2m", 7},
};
_Static_assert(sizeof(styles) / sizeof(styles[0]) == LOG_LEVEL_NUM_, "a style per level");

static enum log_level threshold = LOG_LEVEL_INFO;

static _Thread_local struct {
	char *text;
	size_t size;
} kept;

void log_set_level(enum log_level level)
{
	__atomic_store_n(&threshold, level, __ATOMIC_RELAXED);
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	for (int i = 0; i < LOG_LEVEL_NUM_; i++) {
		if (strcmp(name, styles[i].name) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static size_t format_prefix(char *line, size_t size, const struct level_style *style,
			    const char *subject)
{
	const char *colon = subject ? ": " : "";
	int n;

	if (!subject)
		subject = "";
	if (getenv("JOURNAL_STREAM"))
		n = snprintf(line, size, "<%d>%s%s", style->priority, subject, colon);
	else if (isatty(STDERR_FILENO) && !getenv("NO_COLOR"))
		n = snprintf(line, size, "%s%s\033[0m %s%s", style->colour, style->label,
			     subject, colon);
	else
		n = snprintf(line, size, "%s %s%s", style->label, subject, colon);
	return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

void log_keep_error(char *text, size_t size)
{
	kept.text = text;
	kept.size = size;
}

static void keep_error(const char *subject, const char *format, va_list args)
{
	int n = snprintf(kept.text, kept.size, "%s%s", subject ? subject : "",
			 subject ? ": " : "");

	if (n >= 0 && (size_t)n < kept.size)
		vsnprintf(kept.text + n, kept.size - (size_t)n, format, args);
}

static void write_line(enum log_level level, const char *subject, const char *text,
		       unsigned suppressed)
{
	char line[LOG_LINE_MAX], held[40] = "";
	size_t used, size;
	int n;

	if (suppressed)
		snprintf(held, sizeof(held), " (suppressed %u)", suppressed);
	size = sizeof(line) - 1 - strlen(held);
	used = format_prefix(line, size, &styles[level], subject);
	n = snprintf(line + used, size - used, "%s", text);
	if (n > 0)
		used += (size_t)n < size - used ? (size_t)n : size - used - 1;
	used += (size_t)snprintf(line + used, sizeof(held), "%s", held);
	line[used++] = '\n';
	if (write(STDERR_FILENO, line, used) < 0)
		return; /* nowhere left to complain */
}

/* ---- how much ---- */

static struct log_cap cap;
static bool cap_is_busy;

static bool cap_enter(void)
{
	return !__atomic_test_and_set(&cap_is_busy, __ATOMIC_ACQUIRE);
}

static void cap_leave(void)
{
	__atomic_clear(&cap_is_busy, __ATOMIC_RELEASE);
}

static bool passes(const struct log_cap_line *line, unsigned *ret_suppressed)
{
	bool ret;

	*ret_suppressed = 0;
	if (line->level == LOG_LEVEL_DEBUG || !cap_enter())
		return true;
	ret = log_cap_pass(&cap, clock_now_ns(), line, ret_suppressed);
	cap_leave();
	return ret;
}

static bool take_late(struct log_cap_late *ret_late)
{
	bool ret;

	if (!cap_enter())
		return false;
	ret = log_cap_settle(&cap, clock_now_ns(), ret_late);
	cap_leave();
	return ret;
}

void log_settle(void)
{
	struct log_cap_late late;

	while (take_late(&late))
		write_line(late.level, late.subject[0] ? late.subject : NULL, late.text,
			   late.suppressed);
}

/* ---- lines ---- */

static void say(enum log_cap_kind kind, enum log_level level, const char *subject,
		const char *format, va_list args)
{
	char text[LOG_LINE_MAX];
	const struct log_cap_line line = {kind, level, subject, text};
	unsigned suppressed;
	va_list again;

	if (level == LOG_LEVEL_ERROR && kept.text) {
		va_copy(again, args);
		keep_error(subject, format, again);
		va_end(again);
	}
	if (level > __atomic_load_n(&threshold, __ATOMIC_RELAXED))
		return;
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	if (passes(&line, &suppressed))
		write_line(level, subject, text, suppressed);
}

void log_write(enum log_level level, const char *subject, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(LOG_CAP_LINE, level, subject, format, args);
	va_end(args);
}

void log_state(enum log_level level, const char *subject, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(LOG_CAP_STATE, level, subject, format, args);
	va_end(args);
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, unsigned *ret_held)
{
	if (now_ns < limit->next_ns) {
		limit->held_back++;
		return false;
	}
	limit->next_ns = now_ns + LOG_INTERVAL_NS;
	*ret_held = limit->held_back;
	limit->held_back = 0;
	return true;
}
