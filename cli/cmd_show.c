/* status, stats, version: what a node says of itself. See cli.h. */
#include "cli/cli.h"

#include "base/clock.h"
#include "cli/table.h"
#include "cli/text.h"

#include <shmnet/wire.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MSEC     100
#define STEP_MIN_MSEC 1000

static const char *const wait_words[] = {"ready", NULL};

const struct cli_option cli_status_options[] = {
	{"wait", 0, CLI_WORD, offsetof(struct cli, wait), "ready", wait_words,
	 "wait until the node is ready, or for -T seconds"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

const struct cli_option cli_stats_options[] = {
	{"drops", 0, CLI_FLAG, offsetof(struct cli, drops), NULL, NULL,
	 "what was not delivered, where and why"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

/* ---- status ---- */

static unsigned count_up(const json_t *list)
{
	unsigned count = 0;
	json_t *member;
	size_t i;

	json_array_foreach(list, i, member) count +=
		strcmp(text_get(member, "state"), "up") == 0;
	return count;
}

static void status_print_pauses(const json_t *networks)
{
	char since[TEXT_NUMBER_MAX];
	json_t *network;
	size_t i;

	json_array_foreach(networks, i, network)
	{
		if (!json_is_true(json_object_get(network, "paused")))
			continue;
		text_duration(since, text_get_number(network, "paused_ms"));
		printf("  network %s is paused, for %s\n", text_get(network, "name"),
		       since);
	}
}

static void status_print_head(const json_t *status)
{
	const json_t *networks = json_object_get(status, "networks");
	const char *state = text_get(status, "state");
	char drops[TEXT_NUMBER_MAX], uptime[TEXT_NUMBER_MAX], word[TEXT_NUMBER_MAX];
	enum text_style style = text_state_style(state);
	json_t *reason;
	size_t i;

	for (i = 0; state[i] && i < sizeof(word) - 1; i++)
		word[i] = (char)(state[i] >= 'a' && state[i] <= 'z' ? state[i] - 'a' + 'A'
								    : state[i]);
	word[i] = '\0';
	printf("%s %s%s%s  %u/%zu networks up, %" PRIu64 "/%" PRIu64
	       " nodes up, %s drops, up %s\n",
	       text_get(status, "node"), text_on(style), word, text_off(style),
	       count_up(networks), json_array_size(networks),
	       text_get_number(status, "nodes_up"),
	       text_get_number(status, "nodes_known"),
	       text_count(drops, text_get_number(status, "drops")),
	       text_duration(uptime, text_get_number(status, "uptime_ms")));
	if (*text_get(status, "netns"))
		printf("  TAPs are in network namespace %s\n", text_get(status, "netns"));
	json_array_foreach(json_object_get(status, "reasons"), i, reason)
		printf("  %s!%s %s\n", text_on(style), text_off(style),
		       json_string_value(reason));
	status_print_pauses(networks);
}

static void status_print(json_t *status)
{
	static const struct {
		const char *key;
		void (*print)(const json_t *list);
	} lists[] = {
		{"networks", cli_print_networks},
		{"nodes", cli_print_nodes},
		{"fabrics", cli_print_fabrics},
		{"seeds", cli_print_seeds},
	};

	text_clean_json(status);
	status_print_head(status);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		const json_t *list = json_object_get(status, lists[i].key);

		if (json_array_size(list) == 0)
			continue;
		putchar('\n');
		lists[i].print(list);
	}
}

static bool status_is(const json_t *status, const char *state)
{
	return strcmp(text_get(status, "state"), state) == 0;
}

/* What's left, but enough for an answer: a late one beats none. */
static unsigned step_timeout(uint64_t now, uint64_t deadline)
{
	uint64_t left = now < deadline ? (deadline - now) / NSEC_PER_MSEC : 0;

	if (left < STEP_MIN_MSEC)
		return STEP_MIN_MSEC;
	return left < CLI_TIMEOUT_MS ? (unsigned)left : CLI_TIMEOUT_MS;
}

/*
 * Asks again and again: a daemon that isn't there yet is what one waits for, too.
 * *ret_status is the last answer; without one, the last error is the result.
 */
static int status_wait(const struct cli *cli, json_t **ret_status,
		       struct cli_error *ret_error)
{
	unsigned patience_ms = cli->timeout_ms ? cli->timeout_ms : CLI_WAIT_TIMEOUT_MS;
	uint64_t deadline = clock_now_ns() + patience_ms * NSEC_PER_MSEC;
	const struct timespec pause = {0, POLL_MSEC * (long)NSEC_PER_MSEC};

	for (;;) {
		unsigned step = step_timeout(clock_now_ns(), deadline);
		int rc = cli_query(cli, "status", NULL, step, ret_status, ret_error);
		bool ready = !rc && status_is(*ret_status, "ready");

		if (ready || rc == CLI_USAGE ||
		    clock_now_ns() + POLL_MSEC * NSEC_PER_MSEC >= deadline)
			return rc;
		if (rc && strcmp(ret_error->code, "permission") == 0)
			return rc;
		if (!rc)
			json_decref(*ret_status);
		nanosleep(&pause, NULL);
	}
}

int cli_run_status(struct cli *cli, const char *argument)
{
	struct cli_error error;
	json_t *status;
	int rc;

	(void)argument;
	if (!cli->wait) {
		rc = cli_ask(cli, "status", &status);
	} else {
		rc = status_wait(cli, &status, &error);
		if (rc)
			cli_report(cli, &error);
	}
	if (rc)
		return rc;
	rc = status_is(status, "ready") || (status_is(status, "paused") && !cli->wait)
		     ? CLI_OK
		     : CLI_DEGRADED;
	if (cli->json)
		cli_print_json(status);
	else
		status_print(status);
	json_decref(status);
	return rc;
}

/* ---- stats ---- */

static uint64_t drops_sum(const json_t *object, const char *key)
{
	uint64_t sum = 0;
	json_t *drop;
	size_t i;

	json_array_foreach(json_object_get(object, key), i, drop) sum +=
		text_get_number(drop, "frames");
	return sum;
}

static void add_count(struct table *table, enum text_style style, uint64_t number)
{
	char buffer[TEXT_NUMBER_MAX];

	table_add(table, style, "%s", text_count(buffer, number));
}

static void add_drops(struct table *table, uint64_t number)
{
	add_count(table, number ? TEXT_WARN : TEXT_PLAIN, number);
}

static void add_bytes(struct table *table, const json_t *object, const char *key)
{
	char buffer[TEXT_NUMBER_MAX];

	table_add(table, TEXT_PLAIN, "%s",
		  text_bytes(buffer, text_get_number(object, key)));
}

static void stats_print_links(const json_t *links)
{
	struct table *table = table_new(
		"NETWORK PEER >TX >TX-BYTES >TX-DROPS >RX >RX-BYTES >RX-DROPS >RING");
	json_t *link;
	size_t i;

	json_array_foreach(links, i, link)
	{
		uint64_t size = text_get_number(link, "ring_size");
		uint64_t used = text_get_number(link, "ring_used");

		table_add(table, TEXT_PLAIN, "%s", text_get(link, "network"));
		table_add(table, TEXT_PLAIN, "%s", text_get(link, "peer"));
		add_count(table, TEXT_PLAIN, text_get_number(link, "sent_frames"));
		add_bytes(table, link, "sent_bytes");
		add_drops(table, drops_sum(link, "sent_drops"));
		add_count(table, TEXT_PLAIN, text_get_number(link, "delivered_frames"));
		add_bytes(table, link, "delivered_bytes");
		add_drops(table, drops_sum(link, "received_drops"));
		if (size)
			table_add(table, TEXT_PLAIN, "%.0f%%",
				  100.0 * (double)used / (double)size);
		else
			table_add(table, TEXT_PLAIN, "%s", "");
	}
	table_print(table, stdout);
	table_free(table);
}

/* Of its cast rings; no line if they lost nothing. */
static void stats_print_casts(const char *network, const json_t *casts)
{
	char lapped[TEXT_NUMBER_MAX], holes[TEXT_NUMBER_MAX], corrupt[TEXT_NUMBER_MAX];
	uint64_t lost = text_get_number(casts, "lapped") +
			text_get_number(casts, "holes") +
			text_get_number(casts, "corrupt");

	if (!lost)
		return;
	printf("%s: %sof the cast rings' slots %s were overwritten before they were "
	       "read, %s never filled, %s corrupt%s\n",
	       network, text_on(TEXT_WARN),
	       text_count(lapped, text_get_number(casts, "lapped")),
	       text_count(holes, text_get_number(casts, "holes")),
	       text_count(corrupt, text_get_number(casts, "corrupt")),
	       text_off(TEXT_WARN));
}

/* Packets for addresses of global networks, as they came to this node. */
static void stats_print_dispatch(const json_t *networks)
{
	static const char *const keys[] = {"packets", "local",	"forwarded", "copied",
					   "dropped", "parked", "asked",     "cached"};
	struct table *table = table_new("GLOBAL >PACKETS >LOCAL >FORWARDED >COPIED "
					">DROPPED >WAITING >ASKED >CACHED");
	json_t *network;
	bool any = false;
	size_t i;

	json_array_foreach(networks, i, network)
	{
		const json_t *dispatch = json_object_get(network, "dispatch");

		if (!dispatch)
			continue;
		table_add(table, TEXT_PLAIN, "%s", text_get(network, "network"));
		for (size_t j = 0; j < sizeof(keys) / sizeof(keys[0]); j++) {
			uint64_t number = text_get_number(dispatch, keys[j]);
			bool is_loss = strcmp(keys[j], "dropped") == 0 && number;

			add_count(table, is_loss ? TEXT_WARN : TEXT_PLAIN, number);
		}
		any = true;
	}
	if (any)
		putchar('\n');
	table_print(table, stdout);
	table_free(table);
}

/* What a network itself lost; no line if it lost nothing. */
static void stats_print_networks(const json_t *networks)
{
	json_t *network;
	size_t i;

	json_array_foreach(networks, i, network)
	{
		uint64_t unrouted = drops_sum(network, "drops");
		uint64_t kernel = text_get_number(network, "kernel_tx_dropped") +
				  text_get_number(network, "kernel_rx_dropped");
		char ours[TEXT_NUMBER_MAX], theirs[TEXT_NUMBER_MAX];

		stats_print_casts(text_get(network, "network"),
				  json_object_get(network, "casts"));
		if (!unrouted && !kernel)
			continue;
		printf("%s: %s%s frames dropped before a link was chosen, %s by the "
		       "kernel%s\n",
		       text_get(network, "network"), text_on(TEXT_WARN),
		       text_count(ours, unrouted), text_count(theirs, kernel),
		       text_off(TEXT_WARN));
	}
}

/* One row of the drops' table: where is "port", "sent", "received" or "kernel". */
static void drops_add(json_t *rows, const json_t *place, const char *where,
		      const char *reason, uint64_t frames)
{
	json_t *row;

	if (!frames)
		return;
	row = json_pack("{s:s, s:O?, s:s, s:s, s:I}", "network",
			text_get(place, "network"), "peer",
			json_object_get(place, "peer"), "where", where, "reason", reason,
			"frames", (json_int_t)frames);
	json_array_append_new(rows, row);
}

static void drops_add_list(json_t *rows, const json_t *place, const char *where,
			   const char *key)
{
	json_t *drop;
	size_t i;

	json_array_foreach(json_object_get(place, key), i, drop)
		drops_add(rows, place, where, text_get(drop, "reason"),
			  text_get_number(drop, "frames"));
}

static json_t *drops_of_stats(const json_t *stats)
{
	json_t *rows = json_array();
	json_t *place;
	size_t i;

	json_array_foreach(json_object_get(stats, "networks"), i, place)
	{
		drops_add_list(rows, place, "port", "drops");
		drops_add(rows, place, "kernel", "tx-dropped",
			  text_get_number(place, "kernel_tx_dropped"));
		drops_add(rows, place, "kernel", "rx-dropped",
			  text_get_number(place, "kernel_rx_dropped"));
	}
	json_array_foreach(json_object_get(stats, "links"), i, place)
	{
		drops_add_list(rows, place, "sent", "sent_drops");
		drops_add_list(rows, place, "received", "received_drops");
	}
	return json_pack("{s:O, s:O, s:o}", "schema", json_object_get(stats, "schema"),
			 "node", json_object_get(stats, "node"), "drops", rows);
}

static void drops_print(const json_t *rows)
{
	struct table *table = table_new("NETWORK PEER WHERE REASON >FRAMES");
	json_t *row;
	size_t i;

	if (json_array_size(rows) == 0)
		puts("no drops");
	json_array_foreach(rows, i, row)
	{
		table_add(table, TEXT_PLAIN, "%s", text_get(row, "network"));
		table_add(table, TEXT_PLAIN, "%s", text_get(row, "peer"));
		table_add(table, TEXT_PLAIN, "%s", text_get(row, "where"));
		table_add(table, TEXT_PLAIN, "%s", text_get(row, "reason"));
		table_add(table, TEXT_PLAIN, "%" PRIu64, text_get_number(row, "frames"));
	}
	table_print(table, stdout);
	table_free(table);
}

static void stats_print(const struct cli *cli, json_t *stats)
{
	const json_t *links = json_object_get(stats, "links");

	text_clean_json(stats);
	if (cli->drops) {
		drops_print(json_object_get(stats, "drops"));
		return;
	}
	if (json_array_size(links) == 0)
		puts("no links");
	stats_print_links(links);
	stats_print_networks(json_object_get(stats, "networks"));
	stats_print_dispatch(json_object_get(stats, "networks"));
}

int cli_run_stats(struct cli *cli, const char *argument)
{
	json_t *stats, *drops;
	int rc = cli_ask(cli, "stats", &stats);

	(void)argument;
	if (rc)
		return rc;
	if (cli->drops) {
		drops = drops_of_stats(stats);
		json_decref(stats);
		stats = drops;
	}
	if (cli->json)
		cli_print_json(stats);
	else
		stats_print(cli, stats);
	json_decref(stats);
	return CLI_OK;
}

/* ---- version ---- */

/* `why_no_node` is NULL, or has words. */
static void version_print(json_t *document, const char *why_no_node)
{
	const json_t *node = json_object_get(document, "node");

	text_clean_json(document);
	printf("shmnetctl %s", text_get(document, "version"));
	if (json_is_object(node))
		printf(" (node %s %s, wire %" PRIu64 ")", text_get(node, "name"),
		       text_get(node, "version"), text_get_number(node, "wire_version"));
	else if (why_no_node)
		printf(" (%s)", why_no_node);
	putchar('\n');
}

/* The node's part of the document. Takes the reply, which may be NULL. */
static json_t *version_of_node(json_t *reply)
{
	json_t *node;

	if (!reply)
		return json_null();
	node = json_pack("{s:O, s:O, s:O}", "name", json_object_get(reply, "node"),
			 "version", json_object_get(reply, "version"), "wire_version",
			 json_object_get(reply, "wire_version"));
	json_decref(reply);
	return node;
}

/* A node that wasn't asked for by name may as well be absent; several are a question. */
int cli_run_version(struct cli *cli, const char *argument)
{
	unsigned timeout_ms = cli->timeout_ms ? cli->timeout_ms : CLI_TIMEOUT_MS;
	struct cli_error error;
	json_t *reply = NULL;
	json_t *document;
	const char *why_no_node = NULL;

	(void)argument;
	error.exit = CLI_OK;
	if (!cli->version &&
	    cli_query(cli, "version", NULL, timeout_ms, &reply, &error) &&
	    (cli->node || cli->socket))
		return cli_report(cli, &error);
	if (error.exit == CLI_USAGE) {
		text_clean(error.message);
		why_no_node = error.message;
	}
	document = json_pack("{s:i, s:s, s:i, s:o}", "schema", 1, "version",
			     SHMNET_VERSION, "wire_version", SHMNET_WIRE_VERSION, "node",
			     version_of_node(reply));
	if (cli->json)
		cli_print_json(document);
	else
		version_print(document, why_no_node);
	json_decref(document);
	return CLI_OK;
}
