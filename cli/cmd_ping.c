/*
 * ping: does what a node sends through its rings arrive, and how fast? See cli.h.
 *
 * The node's worker sends and takes the time; here is when, how often, and the sum
 * of it. All that is shown is first put into one document, so that text and JSON are
 * made of the same.
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "cli/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT	    3
#define INTERVAL_MS 1000
#define TIMEOUT_MS  1000
#define TIMEOUT_MAX 60 /* s: the node's limit */

const struct cli_option cli_ping_options[] = {
	{"count", 'c', CLI_NUMBER, offsetof(struct cli, count), "COUNT", NULL,
	 "how many (3)"},
	{"interval", 'i', CLI_SECONDS, offsetof(struct cli, interval_ms), "SECONDS", NULL,
	 "from one to the next (1)"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

struct ping {
	struct cli *cli;
	const char *peer;
	const char *network; /* NULL: all */
	unsigned timeout_ms;
	json_t *node; /* the name of the one that answers */
	json_t *answers;
	json_t *networks; /* those that were seen, with what became of their pings */
	bool lost;
};

/* ---- text ---- */

static const char *time_text(char buffer[TEXT_NUMBER_MAX], uint64_t time_ns)
{
	if (time_ns < NSEC_PER_MSEC)
		snprintf(buffer, TEXT_NUMBER_MAX, "%.1f us", (double)time_ns / 1e3);
	else if (time_ns < NSEC_PER_SEC)
		snprintf(buffer, TEXT_NUMBER_MAX, "%.2f ms", (double)time_ns / 1e6);
	else
		snprintf(buffer, TEXT_NUMBER_MAX, "%.2f s", (double)time_ns / 1e9);
	return buffer;
}

static void print_lost(const struct ping *ping, const char *reason)
{
	fputs(text_on(TEXT_BAD), stdout);
	if (strcmp(reason, "node-down") == 0)
		fputs("lost: the node is down", stdout);
	else if (strcmp(reason, "no-link") == 0)
		fputs("lost: there is no link", stdout);
	else if (strcmp(reason, "link-ended") == 0)
		fputs("lost: the link ended", stdout);
	else
		printf("lost: no answer within %g s", ping->timeout_ms / 1000.0);
	puts(text_off(TEXT_BAD));
}

static void print_answer(const struct ping *ping, const json_t *answer)
{
	char *peer = text_format("%s", ping->peer);
	char *network = text_format("%s", text_get(answer, "network"));
	char *fabric = text_format("%s", text_get(answer, "fabric"));
	char buffer[TEXT_NUMBER_MAX];

	text_clean(peer);
	text_clean(network);
	text_clean(fabric);
	printf("%s on %s by %s: seq %" PRIu64 ", ", peer, network, fabric,
	       text_get_number(answer, "sequence"));
	if (json_object_get(answer, "time_ns"))
		puts(time_text(buffer, text_get_number(answer, "time_ns")));
	else
		print_lost(ping, text_get(answer, "reason"));
	fflush(stdout);
	free(peer);
	free(network);
	free(fabric);
}

static void print_network(const char *peer, const json_t *network)
{
	char buffer[TEXT_NUMBER_MAX];

	printf("%s on %s: %" PRIu64 " sent, %" PRIu64 " lost", peer,
	       text_get(network, "network"), text_get_number(network, "sent"),
	       text_get_number(network, "lost"));
	if (text_get_number(network, "answered")) {
		printf(", min %s", time_text(buffer, text_get_number(network, "min_ns")));
		printf(", median %s",
		       time_text(buffer, text_get_number(network, "median_ns")));
		printf(", max %s", time_text(buffer, text_get_number(network, "max_ns")));
	}
	putchar('\n');
}

static void print_summary(json_t *document)
{
	json_t *network;
	size_t i;

	text_clean_json(document);
	json_array_foreach(json_object_get(document, "networks"), i, network)
		print_network(text_get(document, "peer"), network);
}

/* ---- what came back ---- */

/* The network's entry; made if this is the first that is heard of it. */
static json_t *network_get(struct ping *ping, const json_t *answer)
{
	const char *name = text_get(answer, "network");
	json_t *network;
	size_t i;

	json_array_foreach(ping->networks, i, network)
	{
		if (strcmp(text_get(network, "network"), name) == 0)
			return network;
	}
	network = json_pack("{s:O, s:O, s:i, s:i, s:i}", "network",
			    json_object_get(answer, "network"), "fabric",
			    json_object_get(answer, "fabric"), "sent", 0, "answered", 0,
			    "lost", 0);
	json_array_append_new(ping->networks, network);
	return network;
}

static void increment(json_t *object, const char *key)
{
	json_object_set_new(object, key,
			    json_integer((json_int_t)text_get_number(object, key) + 1));
}

/* One ping's end: with a time, or else with a reason. */
static void take_answer(struct ping *ping, unsigned sequence, const json_t *from,
			const char *reason)
{
	json_t *time = json_object_get(from, "time_ns");
	json_t *network = network_get(ping, from);
	json_t *answer = json_pack("{s:i, s:O, s:O}", "sequence", (int)sequence,
				   "network", json_object_get(from, "network"), "fabric",
				   json_object_get(from, "fabric"));

	if (time)
		json_object_set(answer, "time_ns", time);
	else
		json_object_set_new(answer, "reason", json_string(reason));
	increment(network, "sent");
	increment(network, time ? "answered" : "lost");
	ping->lost |= !time;
	if (!ping->cli->json)
		print_answer(ping, answer);
	json_array_append_new(ping->answers, answer);
}

static void take_reply(struct ping *ping, unsigned sequence, const json_t *reply)
{
	json_t *answer;
	size_t i;

	json_array_foreach(json_object_get(reply, "answers"), i, answer) take_answer(
		ping, sequence, answer,
		json_is_true(json_object_get(answer, "link_ended")) ? "link-ended"
								    : "timeout");
}

/* What was there before is gone: lost on every network that was. */
static void take_refusal(struct ping *ping, unsigned sequence, const char *code)
{
	json_t *network;
	size_t i;

	json_array_foreach(ping->networks, i, network)
		take_answer(ping, sequence, network, code);
}

static bool peer_went(const struct cli_error *error)
{
	return strcmp(error->code, "node-down") == 0 ||
	       strcmp(error->code, "no-link") == 0;
}

/* ---- asking ---- */

static int ask_once(struct ping *ping, unsigned sequence)
{
	struct cli_error error;
	json_t *request = json_pack("{s:s, s:i}", "node", ping->peer, "timeout_ms",
				    (int)ping->timeout_ms);
	json_t *reply;
	int rc;

	if (!request)
		return cli_usage(ping->cli, "ping wants names in UTF-8");
	if (ping->network)
		json_object_set_new(request, "network", json_string(ping->network));
	rc = cli_query(ping->cli, "ping", request, ping->timeout_ms + CLI_TIMEOUT_MS,
		       &reply, &error);
	json_decref(request);
	if (rc && (sequence == 1 || !peer_went(&error)))
		return cli_report(ping->cli, &error);
	if (rc) {
		take_refusal(ping, sequence, error.code);
		return CLI_OK;
	}
	if (sequence == 1)
		ping->node = json_incref(json_object_get(reply, "node"));
	take_reply(ping, sequence, reply);
	json_decref(reply);
	return CLI_OK;
}

/* An interval counts from the beginning of a ping, however long it takes. */
static void wait_until(uint64_t time_ns)
{
	const struct timespec time = {(time_t)(time_ns / NSEC_PER_SEC),
				      (long)(time_ns % NSEC_PER_SEC)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
		;
}

static int ask_all(struct ping *ping)
{
	const struct cli *cli = ping->cli;
	unsigned count = cli->count ? cli->count : COUNT;
	uint64_t interval_ns =
		(cli->interval_ms ? cli->interval_ms : INTERVAL_MS) * NSEC_PER_MSEC;
	int rc = CLI_OK;

	for (unsigned sequence = 1; sequence <= count && !rc; sequence++) {
		uint64_t next_ns = clock_now_ns() + interval_ns;

		rc = ask_once(ping, sequence);
		if (!rc && sequence < count)
			wait_until(next_ns);
	}
	return rc;
}

/* ---- the sum of it ---- */

static int compare_times(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

/* Of those in the middle the lower one. */
static void add_times(const struct ping *ping, json_t *network)
{
	uint64_t *times = calloc(json_array_size(ping->answers), sizeof(*times));
	const char *name = text_get(network, "network");
	size_t count = 0, i;
	json_t *answer;

	if (!times)
		return;
	json_array_foreach(ping->answers, i, answer)
	{
		if (json_object_get(answer, "time_ns") &&
		    strcmp(text_get(answer, "network"), name) == 0)
			times[count++] = text_get_number(answer, "time_ns");
	}
	qsort(times, count, sizeof(*times), compare_times);
	if (count) {
		json_object_set_new(network, "min_ns",
				    json_integer((json_int_t)times[0]));
		json_object_set_new(network, "median_ns",
				    json_integer((json_int_t)times[(count - 1) / 2]));
		json_object_set_new(network, "max_ns",
				    json_integer((json_int_t)times[count - 1]));
	}
	free(times);
}

static int show(const struct ping *ping)
{
	json_t *document, *network;
	size_t i;

	json_array_foreach(ping->networks, i, network) add_times(ping, network);
	document = json_pack("{s:i, s:O, s:s, s:O, s:O}", "schema", 1, "node", ping->node,
			     "peer", ping->peer, "answers", ping->answers, "networks",
			     ping->networks);
	if (ping->cli->json)
		cli_print_json(document);
	else
		print_summary(document);
	json_decref(document);
	return ping->lost ? CLI_FAILED : CLI_OK;
}

int cli_run_ping(struct cli *cli, const char *argument)
{
	struct ping ping = {
		.cli = cli,
		.peer = argument,
		.network = cli->second,
		.timeout_ms = cli->timeout_ms ? cli->timeout_ms : TIMEOUT_MS,
	};
	int rc;

	if (!argument)
		return cli_usage(
			cli, "ping wants the name of a node; see shmnetctl help ping");
	if (ping.timeout_ms > TIMEOUT_MAX * 1000)
		return cli_usage(cli, "ping waits for no longer than %d seconds",
				 TIMEOUT_MAX);
	ping.answers = json_array();
	ping.networks = json_array();
	rc = ask_all(&ping);
	if (!rc)
		rc = show(&ping);
	json_decref(ping.answers);
	json_decref(ping.networks);
	json_decref(ping.node);
	return rc;
}
