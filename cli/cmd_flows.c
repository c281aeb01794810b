/* flows, listeners: what a global network remembers, and who would take more. See cli.h.
 */
#include "cli/cli.h"

#include "cli/table.h"
#include "cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct cli_option cli_flows_options[] = {
	CLI_OPTION_NETWORK,
	{"count", 'c', CLI_NUMBER, offsetof(struct cli, count), "COUNT", NULL,
	 "at most so many (1000)"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

const struct cli_option cli_listeners_options[] = {
	CLI_OPTION_NETWORK,
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

/* ---- flows ---- */

static void flows_print_list(const json_t *flows)
{
	struct table *table = table_new("NETWORK PROTO FOREIGN LOCAL NODE >AGE VIA");
	char age[TEXT_NUMBER_MAX];
	json_t *flow;
	size_t i;

	json_array_foreach(flows, i, flow)
	{
		text_duration(age, text_get_number(flow, "age_ms"));
		table_add(table, TEXT_PLAIN, "%s", text_get(flow, "network"));
		table_add(table, TEXT_PLAIN, "%s", text_get(flow, "protocol"));
		table_add(table, TEXT_PLAIN, "%s", text_get(flow, "foreign"));
		table_add(table, TEXT_PLAIN, "%s", text_get(flow, "local"));
		table_add(table, TEXT_PLAIN, "%s", text_get(flow, "owner"));
		table_add(table, TEXT_PLAIN, "%s", age);
		table_add(table, TEXT_PLAIN, "%s", text_get(flow, "via"));
	}
	table_print(table, stdout);
	table_free(table);
}

static uint64_t count_shown(const json_t *flows, const char *network)
{
	uint64_t count = 0;
	json_t *flow;
	size_t i;

	json_array_foreach(flows, i, flow) count +=
		strcmp(text_get(flow, "network"), network) == 0;
	return count;
}

static void flows_print(json_t *document)
{
	const json_t *flows = json_object_get(document, "flows");
	json_t *network;
	size_t i;

	text_clean_json(document);
	flows_print_list(flows);
	json_array_foreach(json_object_get(document, "tables"), i, network)
	{
		const char *name = text_get(network, "network");
		uint64_t all = text_get_number(network, "flows");
		uint64_t shown = count_shown(flows, name);

		printf("%s: %" PRIu64 " of at most %" PRIu64 " flows", name, all,
		       text_get_number(network, "room"));
		if (shown < all)
			printf(", %" PRIu64 " shown; -c shows more", shown);
		putchar('\n');
	}
}

/* A request with the network, if one is given; NULL if its name is no UTF-8. */
static json_t *network_request(const struct cli *cli)
{
	return cli->network ? json_pack("{s:s}", "network", cli->network) : json_object();
}

int cli_run_flows(struct cli *cli, const char *argument)
{
	json_t *request = network_request(cli);

	(void)argument;
	if (cli->count)
		json_object_set_new(request, "limit", json_integer(cli->count));
	return cli_ask_and_print(cli, "flows", request, flows_print);
}

/* ---- listeners ---- */

static void listeners_print(json_t *document)
{
	const json_t *listeners = json_object_get(document, "listeners");
	struct table *table = table_new("NETWORK PROTO LOCAL FOREIGN NODES");
	json_t *listener;
	size_t i;

	text_clean_json(document);
	if (json_array_size(listeners) == 0)
		puts("no listeners");
	json_array_foreach(listeners, i, listener)
	{
		char *nodes = text_join(json_object_get(listener, "nodes"));

		table_add(table, TEXT_PLAIN, "%s", text_get(listener, "network"));
		table_add(table, TEXT_PLAIN, "%s", text_get(listener, "protocol"));
		table_add(table, TEXT_PLAIN, "%s", text_get(listener, "local"));
		table_add(table, TEXT_PLAIN, "%s", text_get(listener, "foreign"));
		table_add(table, TEXT_PLAIN, "%s", nodes);
		free(nodes);
	}
	table_print(table, stdout);
	table_free(table);
}

int cli_run_listeners(struct cli *cli, const char *argument)
{
	(void)argument;
	return cli_ask_and_print(cli, "listeners", network_request(cli), listeners_print);
}
