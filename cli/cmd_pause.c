/* pause, resume: whether frames come and go on a network, or on all. See cli.h. */
#include "cli/cli.h"

#include "cli/text.h"

static void pause_print(json_t *document)
{
	json_t *network;
	size_t i;

	text_clean_json(document);
	json_array_foreach(json_object_get(document, "networks"), i, network)
	{
		bool is_paused = json_is_true(json_object_get(network, "paused"));
		bool has_changed = json_is_true(json_object_get(network, "changed"));
		const char *name = text_get(network, "network");
		char since[TEXT_NUMBER_MAX];

		text_duration(since, text_get_number(network, "paused_ms"));
		if (is_paused && has_changed)
			printf("%s: paused\n", name);
		else if (is_paused)
			printf("%s: paused already, for %s\n", name, since);
		else if (has_changed)
			printf("%s: resumed after %s\n", name, since);
		else
			printf("%s: was not paused\n", name);
	}
}

static int ask(struct cli *cli, const char *verb, const char *network)
{
	json_t *request =
		network ? json_pack("{s:s}", "network", network) : json_object();

	return cli_ask_and_print(cli, verb, request, pause_print);
}

int cli_run_pause(struct cli *cli, const char *argument)
{
	return ask(cli, "pause", argument);
}

int cli_run_resume(struct cli *cli, const char *argument)
{
	return ask(cli, "resume", argument);
}
