/* See events.h. */
#include "control/events.h"

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
};

static void keep(struct events *events, uint64_t now_ns,
		 const struct events_change *change, const char *cause)
{
	struct events_item *item = &events->items[events->count % EVENTS_MAX];

	item->sequence = ++events->count;
	item->time_ns = now_ns;
	item->kind = change->kind;
	item->old = change->old;
	item->state = change->state;
	snprintf(item->subject, sizeof(item->subject), "%s", change->subject);
	snprintf(item->cause, sizeof(item->cause), "%.*s", EVENTS_CAUSE_MAX - 1, cause);
}

void events_tell(struct events *events, uint64_t now_ns,
		 const struct events_change *change, const char *format, ...)
{
	const char *word = words[change->state];
	char cause[EVENTS_LINE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(cause, sizeof(cause), format, args);
	va_end(args);
	log_write(change->level, change->subject, "%s%s%s", word ? word : "",
		  word ? ": " : "", cause);
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
