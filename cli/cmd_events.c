/*
 * events: what happened to the networks and the other nodes, and why. See cli.h.
 *
 * --follow asks again and again, and shows what is new: the node keeps more events
 * than can happen in between.
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MSEC    200
#define HANG_UPS_MAX 50

static const struct timespec poll_pause = {0, POLL_MSEC *(long)NSEC_PER_MSEC};

const struct cli_option cli_events_options[] = {
	{"follow", 'f', CLI_FLAG, offsetof(struct cli, follow), NULL, NULL,
	 "wait for more; with --json a document per line"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

/* Of columns whose entries differ in length. */
struct widths {
	size_t name;
	size_t change;
};

/* What was shown last: of which life of the node, and up to where. */
struct cursor {
	uint64_t pid;
	uint64_t sequence;
};

/* "Nov 22 22:04:31.118", local time as journalctl has it. */
static void print_time(uint64_t wall_ms)
{
	static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm local;

	if (!localtime_r(&seconds, &local))
		memset(&local, 0, sizeof(local));
	printf("%s %02d %02d:%02d:%02d.%03u", months[local.tm_mon % 12], local.tm_mday,
	       local.tm_hour, local.tm_min, local.tm_sec, (unsigned)(wall_ms % 1000));
}

static void print_padding(size_t used, size_t width)
{
	printf("%*s", used < width ? (int)(width - used) : 0, "");
}

static size_t change_width(const json_t *event)
{
	return strlen(text_state(text_get(event, "old"))) + strlen(" > ") +
	       strlen(text_state(text_get(event, "state")));
}

/* "DOWN > up" */
static void print_change(const char *old, const char *state)
{
	enum text_style style = text_state_style(state);

	if (strcmp(state, "on") == 0)
		style = TEXT_GOOD;
	else if (strcmp(state, "off") == 0 || strcmp(state, "removed") == 0)
		style = TEXT_BAD;
	printf("%s > %s%s%s", text_state(old), text_on(style), text_state(state),
	       text_off(style));
}

static void print_text(json_t *event, const struct widths *widths)
{
	const char *name;

	text_clean_json(event);
	name = text_get(event, "name");
	print_time(text_get_number(event, "wall_ms"));
	printf("  %s", name);
	print_padding(text_width(name), widths->name);
	fputs("  ", stdout);
	print_change(text_get(event, "old"), text_get(event, "state"));
	print_padding(change_width(event), widths->change);
	printf("  %s", text_get(event, "cause"));
	if (json_object_get(event, "gap_ms"))
		printf(" (gap %" PRIu64 " ms)", text_get_number(event, "gap_ms"));
	putchar('\n');
}

/* One line, as `jq` and `while read` like it. */
static void print_json_line(const json_t *events, const json_t *event)
{
	json_t *line =
		json_pack("{s:O, s:O}", "schema", json_object_get(events, "schema"),
			  "node", json_object_get(events, "node"));

	json_object_update(line, (json_t *)event);
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(line);
}

static void widths_raise(size_t *width, size_t needed)
{
	if (*width < needed)
		*width = needed;
}

/* Of all that the node keeps, so that what --follow adds stands below the rest. */
static struct widths widths_of(const json_t *list)
{
	struct widths widths = {0};
	json_t *event;
	size_t i;

	json_array_foreach(list, i, event)
	{
		widths_raise(&widths.name, text_width(text_get(event, "name")));
		widths_raise(&widths.change, change_width(event));
	}
	return widths;
}

static void print_new(const struct cli *cli, const json_t *events, struct cursor *cursor)
{
	const json_t *list = json_object_get(events, "events");
	uint64_t pid = text_get_number(events, "pid");
	struct widths widths = widths_of(list);
	json_t *event;
	size_t i;

	if (pid != cursor->pid)
		*cursor = (struct cursor){.pid = pid};
	json_array_foreach(list, i, event)
	{
		uint64_t sequence = text_get_number(event, "sequence");

		if (sequence <= cursor->sequence)
			continue;
		if (cli->json)
			print_json_line(events, event);
		else
			print_text(event, &widths);
		cursor->sequence = sequence;
	}
}

/*
 * A node that ends may hang up on a question before it closes its socket. Whether it
 * ended is what the next question shows.
 */
static int ask_follower(const struct cli *cli, json_t **ret_events)
{
	unsigned timeout_ms = cli->timeout_ms ? cli->timeout_ms : CLI_TIMEOUT_MS;
	struct cli_error error;

	for (unsigned i = 0; i < HANG_UPS_MAX; i++) {
		if (cli_query(cli, "events", NULL, timeout_ms, ret_events, &error) == 0)
			return CLI_OK;
		if (strcmp(error.code, "hung-up") != 0)
			break;
		nanosleep(&poll_pause, NULL);
	}
	return cli_report(cli, &error);
}

/* Ends with the node, or when nobody reads any more. */
static int follow(const struct cli *cli)
{
	struct cursor cursor = {0};
	json_t *events;

	for (;;) {
		int rc = ask_follower(cli, &events);

		if (rc)
			return rc;
		print_new(cli, events, &cursor);
		json_decref(events);
		if (fflush(stdout) != 0)
			return CLI_FAILED;
		nanosleep(&poll_pause, NULL);
	}
}

int cli_run_events(struct cli *cli, const char *argument)
{
	struct cursor cursor = {0};
	json_t *events;
	int rc;

	(void)argument;
	if (cli->follow)
		return follow(cli);
	rc = cli_ask(cli, "events", &events);
	if (rc)
		return rc;
	if (cli->json)
		cli_print_json(events);
	else if (json_array_size(json_object_get(events, "events")) == 0)
		puts("no events");
	else
		print_new(cli, events, &cursor);
	json_decref(events);
	return CLI_OK;
}
