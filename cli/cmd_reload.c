/* reload: the node loads its config file again. See cli.h. */
#include "cli/cli.h"

#include "cli/text.h"

#include <string.h>

/* Setting up interfaces takes a while. */
#define RELOAD_TIMEOUT_MS 30000

static void change_print(const json_t *change)
{
	const char *key = text_get(change, "key"), *state = text_get(change, "state");

	if (strcmp(state, "done") == 0)
		printf("%s: done\n", key);
	else if (strcmp(state, "needs-restart") == 0)
		printf("%s: needs a restart\n", key);
	else
		printf("%s: failed: %s\n", key, text_get(change, "reason"));
}

static bool has_state(const json_t *changes, const char *state)
{
	json_t *change;
	size_t i;

	json_array_foreach(changes, i, change)
	{
		if (strcmp(text_get(change, "state"), state) == 0)
			return true;
	}
	return false;
}

static void changes_print(const json_t *document)
{
	const json_t *changes = json_object_get(document, "changes");
	json_t *change;
	size_t i;

	json_array_foreach(changes, i, change) change_print(change);
	if (json_array_size(changes) == 0)
		printf("nothing has changed in %s\n", text_get(document, "file"));
	if (has_state(changes, "needs-restart"))
		fprintf(stderr, "shmnetctl: what needs a restart is as it was until "
				"then\n");
}

/* As shmnet-node --check prints them. */
static void errors_print(const json_t *errors)
{
	json_t *line;
	size_t i;

	json_array_foreach(errors, i, line)
		fprintf(stderr, "%s\n", json_string_value(line));
	fprintf(stderr, "shmnetctl: nothing was changed\n");
}

static int exit_status(const json_t *document)
{
	const json_t *changes = json_object_get(document, "changes");

	if (json_array_size(json_object_get(document, "errors")) > 0)
		return CLI_USAGE;
	if (has_state(changes, "failed"))
		return CLI_FAILED;
	return has_state(changes, "needs-restart") ? CLI_DEGRADED : CLI_OK;
}

int cli_run_reload(struct cli *cli, const char *argument)
{
	struct cli_error error;
	json_t *document;
	int rc = cli_query(cli, "reload", NULL,
			   cli->timeout_ms ? cli->timeout_ms : RELOAD_TIMEOUT_MS,
			   &document, &error);

	(void)argument;
	if (rc)
		return cli_report(cli, &error);
	rc = exit_status(document);
	if (cli->json) {
		cli_print_json(document);
	} else {
		text_clean_json(document);
		if (rc == CLI_USAGE)
			errors_print(json_object_get(document, "errors"));
		else
			changes_print(document);
	}
	json_decref(document);
	return rc;
}
