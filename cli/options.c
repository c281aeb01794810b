/* The command line, and the help text: both from the tables. See cli.h. */
#include "cli/cli.h"

#include "cli/text.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 24
#define LONG_BASE   256 /* getopt's value of an option without a letter */
#define SECONDS_MAX 86400
#define NUMBER_MAX  1000000

const struct cli_option cli_common_options[] = {
	{"node", 'n', CLI_WORD, offsetof(struct cli, node), "NODE", NULL,
	 "the node: its socket is " CLI_RUNTIME_DIR "/NODE.sock"},
	{"socket", 's', CLI_WORD, offsetof(struct cli, socket), "SOCKET", NULL,
	 "the node's control socket"},
	{"json", 'j', CLI_FLAG, offsetof(struct cli, json), NULL, NULL,
	 "one JSON document instead of text"},
	{"timeout", 'T', CLI_SECONDS, offsetof(struct cli, timeout_ms), "SECONDS", NULL,
	 "how long to wait for the node (5; ping 1; --wait 30)"},
	{"help", 'h', CLI_FLAG, offsetof(struct cli, help), NULL, NULL, "this text"},
	{"version", 'V', CLI_FLAG, offsetof(struct cli, version), NULL, NULL,
	 "the version of shmnetctl"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

/* The two lists of options that hold at a place of the command line, for getopt. */
struct parser {
	struct cli *cli;
	const struct cli_option *options[OPTIONS_MAX];
	struct option longs[OPTIONS_MAX + 1];
	char letters[2 * OPTIONS_MAX + 3];
	unsigned count;
};

static void parser_add(struct parser *parser, const struct cli_option *options)
{
	for (; options && options->name && parser->count < OPTIONS_MAX; options++) {
		unsigned i = parser->count++;
		char *end = parser->letters + strlen(parser->letters);

		parser->options[i] = options;
		parser->longs[i] = (struct option){
			.name = options->name,
			.has_arg = options->type == CLI_FLAG ? no_argument
							     : required_argument,
			.val = LONG_BASE + (int)i,
		};
		if (!options->letter)
			continue;
		*end++ = options->letter;
		if (options->type != CLI_FLAG)
			*end = ':';
	}
}

static const struct cli_option *parser_find(const struct parser *parser, int value)
{
	for (unsigned i = 0; i < parser->count; i++) {
		if (value == LONG_BASE + (int)i || value == parser->options[i]->letter)
			return parser->options[i];
	}
	return NULL;
}

static int set_seconds(const struct cli *cli, const struct cli_option *option,
		       const char *value, unsigned *seconds_ms)
{
	char *end;
	double seconds = strtod(value, &end);

	if (end == value || *end || !(seconds > 0) || seconds > SECONDS_MAX)
		return cli_usage(cli, "--%s wants seconds above 0 and up to %d, not '%s'",
				 option->name, SECONDS_MAX, value);
	*seconds_ms = (unsigned)(seconds * 1000 + 0.999);
	return CLI_OK;
}

static int set_number(const struct cli *cli, const struct cli_option *option,
		      const char *value, unsigned *number)
{
	char *end;
	long parsed = strtol(value, &end, 10);

	if (end == value || *end || parsed < 1 || parsed > NUMBER_MAX)
		return cli_usage(cli, "--%s wants a number from 1 to %d, not '%s'",
				 option->name, NUMBER_MAX, value);
	*number = (unsigned)parsed;
	return CLI_OK;
}

static int set_word(const struct cli *cli, const struct cli_option *option,
		    const char *value, const char **word)
{
	const char *const *words = option->words;
	char list[128] = "";

	*word = value;
	if (!words)
		return CLI_OK;
	for (; *words; words++) {
		if (strcmp(*words, value) == 0)
			return CLI_OK;
		if (*list)
			strncat(list, " or ", sizeof(list) - strlen(list) - 1);
		strncat(list, *words, sizeof(list) - strlen(list) - 1);
	}
	return cli_usage(cli, "--%s wants %s, not '%s'", option->name, list, value);
}

static int option_set(struct cli *cli, const struct cli_option *option, const char *value)
{
	void *field = (char *)cli + option->offset;

	switch (option->type) {
	case CLI_FLAG:
		*(bool *)field = true;
		return CLI_OK;
	case CLI_WORD:
		return set_word(cli, option, value, field);
	case CLI_SECONDS:
		return set_seconds(cli, option, value, field);
	case CLI_NUMBER:
		return set_number(cli, option, value, field);
	}
	return CLI_USAGE;
}

static int option_unknown(const struct parser *parser, const char *word)
{
	const char *names[OPTIONS_MAX + 1] = {NULL};
	const char *nearest = NULL;
	char name[64];

	if (optopt && optopt < LONG_BASE)
		return cli_usage(parser->cli, "unknown option '-%c'; see shmnetctl help",
				 optopt);
	if (optopt) /* a known one that was given a value */
		return cli_usage(parser->cli, "option '--%s' takes no value",
				 parser_find(parser, optopt)->name);
	for (unsigned i = 0; i < parser->count; i++)
		names[i] = parser->options[i]->name;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
	nearest = cli_nearest(name, names);
	if (nearest)
		return cli_usage(parser->cli, "unknown option '%s'; did you mean '--%s'?",
				 word, nearest);
	return cli_usage(parser->cli, "unknown option '%s'; see shmnetctl help", word);
}

/* Reads options up to the first word that is none. */
static int parser_run(struct parser *parser, int argc, char **argv)
{
	int value, rc = CLI_OK;

	opterr = 0;
	while (!rc && (value = getopt_long(argc, argv, parser->letters, parser->longs,
					   NULL)) != -1) {
		if (value == '?')
			rc = option_unknown(parser, argv[optind - 1]);
		else if (value == ':')
			rc = cli_usage(parser->cli, "option '%s' wants a value",
				       argv[optind - 1]);
		else
			rc = option_set(parser->cli, parser_find(parser, value), optarg);
	}
	return rc;
}

static const struct cli_command *command_find(const struct cli *cli, const char *name)
{
	const struct cli_command *command = cli->commands;

	while (command->name && strcmp(command->name, name) != 0)
		command++;
	return command->name ? command : NULL;
}

static int command_unknown(const struct cli *cli, const char *name)
{
	const char *names[OPTIONS_MAX + 1] = {NULL};
	const char *nearest;

	for (unsigned i = 0; i < OPTIONS_MAX && cli->commands[i].name; i++)
		names[i] = cli->commands[i].name;
	nearest = cli_nearest(name, names);
	if (nearest)
		return cli_usage(cli, "unknown command '%s'; did you mean '%s'?", name,
				 nearest);
	return cli_usage(cli, "unknown command '%s'; see shmnetctl help", name);
}

/* Errors of the command line itself come as JSON, too, if JSON was asked for. */
static bool json_is_wanted(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "-j") == 0 || strcmp(argv[i], "--json") == 0 ||
		    strcmp(argv[i], "--format=json") == 0)
			return true;
	}
	return false;
}

static int parse_common(struct cli *cli, int argc, char **argv,
			const struct cli_command **ret_command)
{
	struct parser parser = {.cli = cli, .letters = "+:"};
	int rc;

	parser_add(&parser, cli_common_options);
	rc = parser_run(&parser, argc, argv);
	if (rc)
		return rc;
	if (optind < argc && !cli->help && !cli->version) {
		*ret_command = command_find(cli, argv[optind]);
		return *ret_command ? CLI_OK : command_unknown(cli, argv[optind]);
	}
	*ret_command = command_find(cli, cli->version ? "version" : "help");
	if (cli->help || cli->version)
		return CLI_OK;
	if (cli->json)
		return cli_usage(cli, "no command; see shmnetctl help");
	cli_help_print(cli, NULL, stderr);
	return CLI_USAGE;
}

/* What follows the command: options, common ones too, and its argument. */
static int parse_command(struct cli *cli, int argc, char **argv,
			 const struct cli_command *command, const char **ret_argument)
{
	struct parser parser = {.cli = cli, .letters = ":"};
	int rc;

	parser_add(&parser, cli_common_options);
	parser_add(&parser, command->options);
	optind = 0;
	rc = parser_run(&parser, argc, argv);
	if (rc)
		return rc;
	if (optind < argc && command->argument)
		*ret_argument = argv[optind++];
	if (optind < argc && command->second)
		cli->second = argv[optind++];
	if (optind < argc && command->third)
		cli->third = argv[optind++];
	if (optind < argc)
		return cli_usage(cli, "unexpected argument '%s' after %s", argv[optind],
				 command->name);
	if (cli->node && cli->socket)
		return cli_usage(cli, "give -n or -s, not both");
	return CLI_OK;
}

int cli_parse(struct cli *cli, int argc, char **argv,
	      const struct cli_command **ret_command, const char **ret_argument)
{
	const struct cli_command *command;
	int rc;

	*ret_argument = NULL;
	cli->json = json_is_wanted(argc, argv);
	rc = parse_common(cli, argc, argv, &command);
	if (rc)
		return rc;
	*ret_command = command;
	if (cli->help || cli->version)
		return CLI_OK;
	rc = parse_command(cli, argc - optind, argv + optind, command, ret_argument);
	if (rc || !cli->help)
		return rc;
	*ret_argument = command->name;
	*ret_command = command_find(cli, "help");
	return CLI_OK;
}

static void options_print(const struct cli_option *option, FILE *out)
{
	char text[64];

	for (; option && option->name; option++) {
		int n = snprintf(text, sizeof(text), option->letter ? "-%c, " : "    ",
				 option->letter);

		snprintf(text + n, sizeof(text) - (size_t)n, "--%s%s%s", option->name,
			 option->argument ? " " : "",
			 option->argument ? option->argument : "");
		fprintf(out, "  %-22s  %s\n", text, option->help);
	}
}

static void argument_print(const char *argument, FILE *out)
{
	if (argument)
		fprintf(out, " %s", argument);
}

void cli_help_print(const struct cli *cli, const struct cli_command *command, FILE *out)
{
	if (command) {
		fprintf(out, "usage: shmnetctl %s%s", command->name,
			command->options ? " [OPTIONS]" : "");
		argument_print(command->argument, out);
		argument_print(command->second, out);
		argument_print(command->third, out);
		fprintf(out, "\n\n%s\n", command->summary);
		if (command->details)
			fprintf(out, "\n%s", command->details);
		if (command->options)
			fputs("\noptions:\n", out);
		options_print(command->options, out);
		fputs("\nCommon options: shmnetctl help\n", out);
		return;
	}
	fputs("usage: shmnetctl [-n NODE | -s SOCKET] [-j] [-T SECONDS] COMMAND "
	      "[OPTIONS]\n\nAsks a running shmnet-node.\n\ncommands:\n",
	      out);
	for (command = cli->commands; command->name; command++)
		fprintf(out, "  %-10s  %s\n", command->name, command->summary);
	fputs("\noptions, before or after the command:\n", out);
	options_print(cli_common_options, out);
	fputs("\nWithout -n and -s: the socket in SHMNET_SOCKET, else the only one in\n"
	      "SHMNET_RUNTIME_DIR, which is " CLI_RUNTIME_DIR " if not set.\n"
	      "\nexit status: 0 ok, 1 failed, 2 usage or config, 3 no daemon, "
	      "4 degraded\n",
	      out);
}

int cli_run_help(struct cli *cli, const char *argument)
{
	const struct cli_command *command = NULL;

	if (argument) {
		command = command_find(cli, argument);
		if (!command)
			return command_unknown(cli, argument);
	}
	cli_help_print(cli, command, stdout);
	return CLI_OK;
}
