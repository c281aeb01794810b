/* See log.h. */
#include "base/log.h"

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

void log_write(enum log_level level, const char *subject, const char *format, ...)
{
	char line[LOG_LINE_MAX];
	size_t used;
	va_list args;
	int n;

	if (level > __atomic_load_n(&threshold, __ATOMIC_RELAXED))
		return;
	used = format_prefix(line, sizeof(line) - 1, &styles[level], subject);
	va_start(args, format);
	n = vsnprintf(line + used, sizeof(line) - 1 - used, format, args);
	va_end(args);
	if (n > 0)
		used += (size_t)n < sizeof(line) - 1 - used ? (size_t)n
							    : sizeof(line) - 2 - used;
	line[used++] = '\n';
	if (write(STDERR_FILENO, line, used) < 0)
		return; /* nowhere left to complain */
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
