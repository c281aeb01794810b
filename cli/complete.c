/*
 * shmnetctl --complete: what bash may put where the cursor is. See cli.h.
 *
 *     complete -o default -C 'shmnetctl --complete' shmnetctl
 *
 * bash tells the line in COMP_LINE and the cursor in COMP_POINT, and takes a candidate
 * per line. It breaks words at '=', so behind one only the value is a candidate.
 * Quotes are not looked at: no word that is completed here needs one.
 *
 * Commands, options and their words come from the tables, names from the node, which
 * gets no more than half a second. Names come from other machines, and what is printed
 * here lands on somebody's command line: only plain ones are.
 */
#include "cli/cli.h"

#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 64
#define LIVE_MSEC 500
#define NAME_CHARACTERS                                                                  \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

/* The line up to the cursor, and what has been understood of it. */
struct completion {
	struct cli *cli;
	char *words[WORDS_MAX];
	unsigned num_words;
	const struct cli_command *command;
	const struct cli_option *awaiting; /* an option whose value comes next */
	unsigned num_arguments;
};

/* ---- candidates ---- */

static void offer(const char *prefix, const char *before, const char *word)
{
	char *candidate = text_format("%s%s", before, word);

	if (*word && word[strspn(word, NAME_CHARACTERS)] == '\0' &&
	    strncmp(candidate, prefix, strlen(prefix)) == 0)
		puts(candidate);
	free(candidate);
}

static void offer_commands(const struct cli *cli, const char *prefix)
{
	for (const struct cli_command *at = cli->commands; at->name; at++)
		offer(prefix, "", at->name);
}

static void offer_keys(const char *prefix)
{
	offer(prefix, "", "ca");
	offer(prefix, "", "node");
}

static void offer_protocols(const char *prefix)
{
	static const char *const names[] = {"tcp", "udp", "sctp", "icmp"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		offer(prefix, "", names[i]);
}

static void offer_options(const struct cli_option *option, const char *prefix)
{
	for (; option && option->name; option++)
		offer(prefix, "--", option->name);
}

static void offer_names(const json_t *list, const char *prefix)
{
	json_t *member;
	size_t i;

	json_array_foreach(list, i, member) offer(prefix, "", text_get(member, "name"));
}

/* Of the node that the line names; a node that doesn't answer has none. */
static void offer_live(const struct cli *cli, enum cli_names names, const char *prefix)
{
	struct cli_error error;
	json_t *status;

	if (cli_query(cli, "status", NULL, LIVE_MSEC, &status, &error))
		return;
	if (names == CLI_NAMES_NETWORKS) {
		offer_names(json_object_get(status, "networks"), prefix);
	} else {
		offer(prefix, "", text_get(status, "node"));
		offer_names(json_object_get(status, "nodes"), prefix);
	}
	json_decref(status);
}

static void offer_socket(const char *name, void *prefix)
{
	offer(prefix, "", name);
}

static void offer_values(const struct cli *cli, const struct cli_option *option,
			 char *prefix)
{
	for (const char *const *word = option->words; word && *word; word++)
		offer(prefix, "", *word);
	if (option->offset == offsetof(struct cli, node))
		cli_each_socket(offer_socket, prefix);
	if (option->offset == offsetof(struct cli, network))
		offer_live(cli, CLI_NAMES_NETWORKS, prefix);
}

/* ---- the words before the cursor ---- */

static const struct cli_option *list_find(const struct cli_option *option,
					  const char *name, size_t length, char letter)
{
	for (; option && option->name; option++) {
		if (letter ? option->letter == letter
			   : strlen(option->name) == length &&
				     strncmp(option->name, name, length) == 0)
			return option;
	}
	return NULL;
}

/* By a name of that length, or by a letter. */
static const struct cli_option *option_find(const struct completion *completion,
					    const char *name, size_t length, char letter)
{
	const struct cli_option *option =
		list_find(cli_common_options, name, length, letter);

	if (!option && completion->command)
		option = list_find(completion->command->options, name, length, letter);
	return option;
}

/* Only what says which node to ask. */
static void option_take(struct completion *completion, const struct cli_option *option,
			const char *value)
{
	if (option && option->offset == offsetof(struct cli, node))
		completion->cli->node = value;
	if (option && option->offset == offsetof(struct cli, socket))
		completion->cli->socket = value;
}

static void take_long(struct completion *completion, const char *word)
{
	size_t length = strcspn(word, "=");
	const struct cli_option *option = option_find(completion, word, length, 0);

	if (word[length] == '=')
		option_take(completion, option, word + length + 1);
	else if (option && option->type != CLI_FLAG)
		completion->awaiting = option;
}

/* "-jn" and "-nn1" are what getopt takes, too. */
static void take_letters(struct completion *completion, const char *word)
{
	for (; *word; word++) {
		const struct cli_option *option = option_find(completion, "", 0, *word);

		if (!option || option->type == CLI_FLAG)
			continue;
		if (word[1])
			option_take(completion, option, word + 1);
		else
			completion->awaiting = option;
		return;
	}
}

static void take_plain(struct completion *completion, const char *word)
{
	const struct cli_command *at = completion->cli->commands;

	if (completion->command) {
		completion->num_arguments++;
		return;
	}
	while (at->name && strcmp(at->name, word) != 0)
		at++;
	completion->command = at;
}

static void take_word(struct completion *completion, const char *word)
{
	if (completion->awaiting) {
		option_take(completion, completion->awaiting, word);
		completion->awaiting = NULL;
	} else if (strncmp(word, "--", 2) == 0) {
		take_long(completion, word + 2);
	} else if (word[0] == '-') {
		take_letters(completion, word + 1);
	} else {
		take_plain(completion, word);
	}
}

/* ---- the word at the cursor ---- */

static void complete_option(const struct completion *completion, char *word)
{
	size_t length = strcspn(word, "=");

	if (word[length] == '=') {
		const struct cli_option *option =
			length < 2 ? NULL
				   : option_find(completion, word + 2, length - 2, 0);

		if (option)
			offer_values(completion->cli, option, word + length + 1);
		return;
	}
	offer_options(cli_common_options, word);
	if (completion->command)
		offer_options(completion->command->options, word);
}

static void complete_argument(const struct completion *completion, const char *word)
{
	const struct cli_command *command = completion->command;
	enum cli_names names =
		completion->num_arguments ? command->second_names : command->names;

	if (completion->num_arguments > 1 || names == CLI_NAMES_NONE)
		return;
	if (names == CLI_NAMES_COMMANDS)
		offer_commands(completion->cli, word);
	else if (names == CLI_NAMES_KEYS)
		offer_keys(word);
	else if (names == CLI_NAMES_PROTOCOLS)
		offer_protocols(word);
	else
		offer_live(completion->cli, names, word);
}

static void complete_word(const struct completion *completion, char *word)
{
	if (completion->awaiting)
		offer_values(completion->cli, completion->awaiting, word);
	else if (word[0] == '-')
		complete_option(completion, word);
	else if (completion->command)
		complete_argument(completion, word);
	else
		offer_commands(completion->cli, word);
}

/* The last word is the one at the cursor; it may be empty. */
static void split(struct completion *completion, char *line)
{
	bool ends_blank = *line == '\0' || strchr(" \t", line[strlen(line) - 1]);
	char *rest = line + strlen(line);
	char *save;

	for (char *word = strtok_r(line, " \t", &save);
	     word && completion->num_words < WORDS_MAX - 1;
	     word = strtok_r(NULL, " \t", &save))
		completion->words[completion->num_words++] = word;
	if (ends_blank)
		completion->words[completion->num_words++] = rest;
}

int cli_complete(struct cli *cli)
{
	struct completion completion = {.cli = cli};
	const char *env = getenv("COMP_LINE");
	const char *point = getenv("COMP_POINT");
	size_t end;
	char *line;

	if (!env)
		return cli_usage(cli, "--complete is for bash: complete -o default -C "
				      "'shmnetctl --complete' shmnetctl");
	end = point ? strtoul(point, NULL, 10) : strlen(env);
	line = text_format("%.*s", end < strlen(env) ? (int)end : (int)strlen(env), env);
	split(&completion, line);
	for (unsigned i = 1; i + 1 < completion.num_words; i++)
		take_word(&completion, completion.words[i]);
	if (completion.num_words > 1)
		complete_word(&completion, completion.words[completion.num_words - 1]);
	free(line);
	return CLI_OK;
}
