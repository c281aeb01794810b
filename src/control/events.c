/* See events.h. */
#include "control/events.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What the log's line says before the cause; NULL: the cause says it all. */
static const char *const words[EVENTS_STATE_NUM_] = {
	[EVENTS_READY] = "ready",
	[EVENTS_DOWN] = "down",
	[EVENTS_UP] = "up",
	[EVENTS_OFF] = "carrier off",
	[EVENTS_ON] = "carrier on",
	[EVENTS_SUSPECT] = "suspect",
	[EVENTS_MADE] = "ring made",
	[EVENTS_TAKEN_OVER] = "ring taken over",
	[EVENTS_REMADE] = "ring made anew",
	[EVENTS_PAUSED] = "paused",
	[EVENTS_RESUMED] = "resumed",
	[EVENTS_RELOADED] = "reloaded",
	[EVENTS_TAKEN] = "taken over",
	[EVENTS_ANNOUNCING] = "border",
	[EVENTS_WITHDRAWN] = "border",
};

/* " (gap 612 ms)", or nothing. */
static const char *describe_gap(uint64_t gap_ns, char *text, size_t size)
{
	text[0] = '\0';
	if (gap_ns)
		snprintf(text, size, " (gap %llu ms)",
			 (unsigned long long)(gap_ns / NSEC_PER_MSEC));
	return text;
}

static void keep(struct events *events, uint64_t now_ns,
		 const struct events_change *change, const char *cause)
{
	struct events_item *item = &events->items[events->count % EVENTS_MAX];

	item->sequence = ++events->count;
	item->time_ns = now_ns;
	item->kind = change->kind;
	item->old = change->old;
	item->state = change->state;
	item->gap_ns = change->gap_ns;
	snprintf(item->subject, sizeof(item->subject), "%s", change->subject);
	snprintf(item->cause, sizeof(item->cause), "%.*s", EVENTS_CAUSE_MAX - 1, cause);
}

void events_tell(struct events *events, uint64_t now_ns,
		 const struct events_change *change, const char *format, ...)
{
	const char *word = words[change->state];
	char cause[EVENTS_LINE_MAX], gap[40];
	va_list args;

	va_start(args, format);
	vsnprintf(cause, sizeof(cause), format, args);
	va_end(args);
	log_state(change->level, change->subject, "%s%s%s%s", word ? word : "",
		  word ? ": " : "", cause,
		  describe_gap(change->gap_ns, gap, sizeof(gap)));
	if (events)
		keep(events, now_ns, change, cause);
}

unsigned events_kept(const struct events *events)
{
	return events->count < EVENTS_MAX ? (unsigned)events->count : EVENTS_MAX;
}

const struct events_item *events_get(const struct events *events, unsigned index)
{
	uint64_t oldest = events->count - events_kept(events);

	return &events->items[(oldest + index) % EVENTS_MAX];
}
