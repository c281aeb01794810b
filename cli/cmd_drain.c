/* drain, undrain: whether a node gets new connections. See cli.h. */
#include "cli/cli.h"

#include "cli/text.h"

#include <inttypes.h>

const struct cli_option cli_drain_options[] = {
	CLI_OPTION_NETWORK,
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

static void drain_print(json_t *document)
{
	json_t *network;
	size_t i;

	text_clean_json(document);
	json_array_foreach(json_object_get(document, "networks"), i, network)
	{
		bool drained = json_is_true(json_object_get(network, "drained"));
		char count[TEXT_NUMBER_MAX];

		text_count(count, text_get_number(network, "connections"));
		printf(drained ? "%s: %s gets no new connections; %s are left\n"
			       : "%s: %s gets new connections; it has %s\n",
		       text_get(network, "network"), text_get(network, "member"), count);
	}
}

static int drain(struct cli *cli, const char *node, bool undo)
{
	json_t *request = json_object();

	if (node)
		json_object_set_new(request, "node", json_string(node));
	if (cli->network)
		json_object_set_new(request, "network", json_string(cli->network));
	if (undo)
		json_object_set_new(request, "undo", json_true());
	if ((node && !json_object_get(request, "node")) ||
	    (cli->network && !json_object_get(request, "network"))) {
		json_decref(request);
		request = NULL;
	}
	return cli_ask_and_print(cli, "drain", request, drain_print);
}

int cli_run_drain(struct cli *cli, const char *argument)
{
	return drain(cli, argument, false);
}

int cli_run_undrain(struct cli *cli, const char *argument)
{
	return drain(cli, argument, true);
}
