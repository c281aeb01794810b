/* explain: which node gets a packet for a global address, and why. See cli.h. */
#include "cli/cli.h"

#include "cli/table.h"
#include "cli/text.h"

#include <string.h>

const struct cli_option cli_explain_options[] = {
	{"established", 0, CLI_FLAG, offsetof(struct cli, established), NULL, NULL,
	 "not a packet that opens a connection"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

static void steps_print(const json_t *steps)
{
	struct table *table = table_new("STEP RESULT");
	json_t *step;
	size_t i;

	json_array_foreach(steps, i, step)
	{
		table_add(table, TEXT_PLAIN, "%s", text_get(step, "step"));
		table_add(table, TEXT_PLAIN, "%s", text_get(step, "result"));
	}
	table_print(table, stdout);
	table_free(table);
}

static void verdict_print(const json_t *document)
{
	const char *verdict = text_get(document, "verdict");

	if (strcmp(verdict, "drop") == 0)
		printf("%sdropped: %s%s\n", text_on(TEXT_BAD),
		       text_get(document, "reason"), text_off(TEXT_BAD));
	else if (strcmp(verdict, "forward") == 0)
		printf("%s gets it, by %s\n", text_get(document, "owner"),
		       text_get(document, "fabric"));
	else
		printf("%s gets it: this node\n", text_get(document, "owner"));
}

static void explain_print(json_t *document)
{
	text_clean_json(document);
	printf("%s: %s\n", text_get(document, "network"), text_get(document, "flow"));
	steps_print(json_object_get(document, "steps"));
	verdict_print(document);
}

int cli_run_explain(struct cli *cli, const char *argument)
{
	json_t *request;

	if (!argument || !cli->second || !cli->third)
		return cli_usage(cli, "explain wants a protocol, a source and a "
				      "destination: explain tcp 198.51.100.7:40112 "
				      "10.99.0.1:80");
	request = json_pack("{s:s, s:s, s:s}", "protocol", argument, "source",
			    cli->second, "destination", cli->third);
	if (cli->established)
		json_object_set_new(request, "established", json_true());
	return cli_ask_and_print(cli, "explain", request, explain_print);
}
