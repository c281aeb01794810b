/* The ring of events, and that the log says the same. */
#include "control/events.h"

#include "shim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- what the linker puts between ---- */

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static char said[2048]; /* the last line, and its level before it */
static unsigned lines;

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	int length = snprintf(said, sizeof(said), "%c %s: ", "EWID"[level], subject);
	va_list args;

	va_start(args, format);
	vsnprintf(said + length, sizeof(said) - (size_t)length, format, args);
	va_end(args);
	lines++;
}

static const struct events_change node_up = {
	.level = LOG_LEVEL_INFO,
	.kind = EVENTS_NODE,
	.subject = "n2",
	.old = EVENTS_DOWN,
	.state = EVENTS_UP,
};

TEST_CASE(events, none_at_first)
{
	static struct events events;

	CHECK_INT(events_kept(&events), 0);
}

TEST_CASE(events, an_event_is_kept_and_logged)
{
	static struct events events;
	const struct events_item *item;

	lines = 0;
	events_tell(&events, 77, &node_up, "id %u, pid %d", 2, 812);
	CHECK_INT(lines, 1);
	CHECK_STR(said, "I n2: up: id 2, pid 812");
	REQUIRE(events_kept(&events) == 1);
	item = events_get(&events, 0);
	CHECK_U64(item->sequence, 1);
	CHECK_U64(item->time_ns, 77);
	CHECK_INT(item->kind, EVENTS_NODE);
	CHECK_INT(item->old, EVENTS_DOWN);
	CHECK_INT(item->state, EVENTS_UP);
	CHECK_STR(item->subject, "n2");
	CHECK_STR(item->cause, "id 2, pid 812");
}

TEST_CASE(events, a_gap_is_kept_and_logged)
{
	struct events_change change = node_up;
	static struct events events;

	change.gap_ns = 612999999;
	events_tell(&events, 77, &change, "back");
	CHECK_STR(said, "I n2: up: back (gap 612 ms)");
	CHECK_U64(events_get(&events, 0)->gap_ns, 612999999);
	CHECK_STR(events_get(&events, 0)->cause, "back");
}

TEST_CASE(events, without_a_ring_it_is_logged)
{
	lines = 0;
	events_tell(NULL, 1, &node_up, "here");
	CHECK_INT(lines, 1);
	CHECK_STR(said, "I n2: up: here");
}

TEST_CASE(events, each_state_has_its_line)
{
	static const char *const lines_of[EVENTS_STATE_NUM_] = {
		[EVENTS_STARTING] = "W x: why",
		[EVENTS_READY] = "W x: ready: why",
		[EVENTS_DOWN] = "W x: down: why",
		[EVENTS_UP] = "W x: up: why",
		[EVENTS_REFUSED] = "W x: why",
		[EVENTS_OFF] = "W x: carrier off: why",
		[EVENTS_ON] = "W x: carrier on: why",
		[EVENTS_REMOVED] = "W x: why",
		[EVENTS_SUSPECT] = "W x: suspect: why",
		[EVENTS_MADE] = "W x: ring made: why",
		[EVENTS_TAKEN_OVER] = "W x: ring taken over: why",
		[EVENTS_REMADE] = "W x: ring made anew: why",
		[EVENTS_PAUSED] = "W x: paused: why",
		[EVENTS_RESUMED] = "W x: resumed: why",
		[EVENTS_QUARANTINED] = "W x: why",
		[EVENTS_RELOADED] = "W x: reloaded: why",
		[EVENTS_TAKEN] = "W x: taken over: why",
		[EVENTS_ANNOUNCING] = "W x: border: why",
		[EVENTS_WITHDRAWN] = "W x: border: why",
	};

	for (unsigned state = 0; state < EVENTS_STATE_NUM_; state++) {
		const struct events_change change = {
			.level = LOG_LEVEL_WARNING,
			.kind = EVENTS_NETWORK,
			.subject = "x",
			.old = EVENTS_STARTING,
			.state = (enum events_state)state,
		};

		events_tell(NULL, 1, &change, "why");
		CHECK_STR(said, lines_of[state]);
	}
}

TEST_CASE(events, the_oldest_make_room)
{
	static struct events events;

	for (unsigned i = 1; i <= 3 * EVENTS_MAX + 5; i++) {
		events_tell(&events, i * 10, &node_up, "%u", i);
		REQUIRE(events_kept(&events) == (i < EVENTS_MAX ? i : EVENTS_MAX));
		REQUIRE(events_get(&events, events_kept(&events) - 1)->sequence == i);
	}
	for (unsigned i = 0; i < EVENTS_MAX; i++) {
		const struct events_item *item = events_get(&events, i);

		REQUIRE(item->sequence == 2 * EVENTS_MAX + 6 + i);
		REQUIRE(item->time_ns == item->sequence * 10);
	}
}

TEST_CASE(events, what_is_too_long_is_cut)
{
	static struct events events;
	char name[200], cause[900];
	struct events_change change = node_up;

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	memset(cause, 'c', sizeof(cause));
	cause[sizeof(cause) - 1] = '\0';
	change.subject = name;
	events_tell(&events, 1, &change, "%s", cause);
	CHECK_INT(strlen(events_get(&events, 0)->subject), EVENTS_SUBJECT_MAX - 1);
	CHECK_INT(strlen(events_get(&events, 0)->cause), EVENTS_CAUSE_MAX - 1);
	CHECK_INT(strlen(said),
		  strlen("I : up: ") + sizeof(name) - 1 + sizeof(cause) - 1);
}
