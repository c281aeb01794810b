/*
 * Fuzz target: the config file. Beside crashes and leaks it looks for:
 *   - a file that fails without an error, or gives errors without failing;
 *   - an error that isn't one line of printable ASCII with a position;
 *   - a file that the checks pass and libcyaml refuses (that error has no position);
 *   - a config that, printed, does not load again or prints differently.
 */
#include "control/config_internal.h"
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct result {
	int err;
	char *errors;
	char *printed; /* NULL on failure */
};

static void need(bool ok, const char *what, const char *text)
{
	if (ok)
		return;
	fprintf(stderr, "config fuzz: %s: %s\n", what, text);
	abort();
}

static void load(const void *data, size_t size, struct result *result)
{
	struct node_config *config = NULL;
	size_t len;
	FILE *out;

	out = open_memstream(&result->errors, &len);
	result->err = config_load_data("f", data, size, out, &config);
	fclose(out);
	result->printed = NULL;
	if (!config)
		return;
	out = open_memstream(&result->printed, &len);
	config_print(config, out);
	fclose(out);
	config_free(config);
}

static void done(struct result *result)
{
	free(result->errors);
	free(result->printed);
}

/* "f:LINE:COLUMN: error: text", any number of them. */
static void check_errors(const char *errors)
{
	unsigned long line, column;
	const char *end;
	int used;

	for (; *errors; errors = end + 1) {
		used = 0;
		end = strchr(errors, '\n');
		need(end, "an error without an end", errors);
		sscanf(errors, "f:%lu:%lu: error: %n", &line, &column, &used);
		need(used && line && column, "an error without a position", errors);
		for (const char *at = errors; at < end; at++)
			need(*at >= ' ' && *at <= '~', "unprintable error", errors);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result first, again;

	load(data, size, &first);
	check_errors(first.errors);
	need(!first.err == !*first.errors, "errors and result disagree", first.errors);
	need(!first.err == (first.printed != NULL), "config and result disagree", "");
	need(!first.err || first.err == -EINVAL, "unexpected result", first.errors);
	if (first.printed) {
		load(first.printed, strlen(first.printed), &again);
		need(!again.err, "printed config does not load", again.errors);
		need(again.printed && !strcmp(first.printed, again.printed),
		     "prints differently", again.printed);
		done(&again);
	}
	done(&first);
	return 0;
}
