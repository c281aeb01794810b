/* Errors, for people and for programs, and the JSON document. See cli.h. */
#include "cli/cli.h"

#include "cli/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_ENOUGH 2
#define WORD_MAX    32

void cli_error_set(struct cli_error *error, enum cli_exit exit, const char *code,
		   const char *format, ...)
{
	va_list args;

	error->exit = exit;
	snprintf(error->code, sizeof(error->code), "%s", code);
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
}

int cli_print_json(const json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2));
	fputc('\n', stdout);
	return CLI_OK;
}

int cli_report(const struct cli *cli, const struct cli_error *error)
{
	json_t *document;
	char text[sizeof(error->message)];

	snprintf(text, sizeof(text), "%s", error->message);
	text_clean(text);
	if (!cli->json) {
		fprintf(stderr, "shmnetctl: %s\n", text);
		return error->exit;
	}
	document = json_pack("{s:i, s:{s:s, s:o}}", "schema", 1, "error", "code",
			     error->code, "message", text_to_json(text));
	cli_print_json(document);
	json_decref(document);
	return error->exit;
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
	struct cli_error error = {.exit = CLI_USAGE, .code = "usage"};
	va_list args;

	va_start(args, format);
	vsnprintf(error.message, sizeof(error.message), format, args);
	va_end(args);
	return cli_report(cli, &error);
}

static unsigned min(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Insertions, deletions, changes and swaps of neighbours between two words. */
static unsigned word_distance(const char *a, const char *b)
{
	unsigned cost[WORD_MAX + 1][WORD_MAX + 1];
	size_t rows = strlen(a), columns = strlen(b);

	if (rows > WORD_MAX || columns > WORD_MAX)
		return WORD_MAX;
	for (unsigned i = 0; i <= rows; i++) {
		for (unsigned j = 0; j <= columns; j++) {
			unsigned *here = &cost[i][j];

			*here = i + j;
			if (i == 0 || j == 0)
				continue;
			*here = min(cost[i - 1][j], cost[i][j - 1]) + 1;
			*here = min(*here, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				*here = min(*here, cost[i - 2][j - 2] + 1);
		}
	}
	return cost[rows][columns];
}

const char *cli_nearest(const char *word, const char *const *words)
{
	unsigned best = NEAR_ENOUGH + 1;
	const char *nearest = NULL;

	for (; *words; words++) {
		unsigned distance = strncmp(word, *words, strlen(word)) == 0
					    ? 1 /* cut short */
					    : word_distance(word, *words);

		if (*word && distance < best) {
			best = distance;
			nearest = *words;
		}
	}
	return nearest;
}
