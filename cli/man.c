/*
 * shmnetctl --man: its manual page, as scdoc wants it, from the same tables as parser and
 * help text. The build runs it. See cli.h.
 *
 * scdoc indents by tabs, and takes * and _ for marks of bold and underlined text.
 */
#include "cli/cli.h"

#include <string.h>

static const char head[] =
	"shmnetctl(1) \"shmnet " SHMNET_VERSION "\" \"shmnet\"\n\n"
	"# NAME\n\n"
	"shmnetctl - asks and tells a running shmnet-node\n\n"
	"# SYNOPSIS\n\n"
	"*shmnetctl* [*-n* _NODE_ | *-s* _SOCKET_] [*-j*] [*-T* _SECONDS_] _COMMAND_ "
	"[_OPTIONS_]\n\n"
	"# DESCRIPTION\n\n"
	"*shmnetctl* talks to a *shmnet-node*(8) over its control socket; *keygen* and "
	"*check --pre* need no node. Without *-n* and *-s* it takes the socket in "
	"_SHMNET_SOCKET_, "
	"else the only one in _SHMNET_RUNTIME_DIR_, which is _" CLI_RUNTIME_DIR
	"_ if not set. Root, the user of the node and the members of its group may use "
	"the socket.\n\n"
	"With *--json* each command prints one document, which has \"schema\": 1; lists "
	"are always arrays, and errors are such a document, too. JSON is the stable "
	"interface: text may change.\n";

static const char tail[] =
	"# EXIT STATUS\n\n"
	"*0*\n\tDone.\n\n"
	"*1*\n\tFailed.\n\n"
	"*2*\n\tWrong use, or a config file with errors.\n\n"
	"*3*\n\tNo node answers.\n\n"
	"*4*\n\tDegraded: done, but not all is as configured.\n\n"
	"# ENVIRONMENT\n\n"
	"*SHMNET_SOCKET*\n\tSocket to use without *-n* and *-s*.\n\n"
	"*SHMNET_RUNTIME_DIR*\n\tWhere sockets are looked for; " CLI_RUNTIME_DIR
	" by default.\n\n"
	"*NO_COLOR*\n\tNo colours, whatever it is set to.\n\n"
	"# FILES\n\n"
	"_" CLI_RUNTIME_DIR "/NODE.sock_\n\tControl socket of a node.\n\n"
	"# SEE ALSO\n\n"
	"*shmnet*(7), *shmnet-node*(8), *shmnet.conf*(5)\n";

static void print_indent(unsigned depth, FILE *out)
{
	while (depth--)
		fputc('\t', out);
}

/* Escaped, each line with its indent. */
static void print_text(const char *text, unsigned depth, FILE *out)
{
	print_indent(depth, out);
	for (; *text; text++) {
		if (strchr("\\*_<>#[]|", *text))
			fputc('\\', out);
		fputc(*text, out);
		if (*text == '\n' && text[1])
			print_indent(depth, out);
	}
}

/* With the brackets of one that may be left out. */
static void print_argument(const char *argument, FILE *out)
{
	if (!argument)
		return;
	fputs(" _", out);
	print_text(argument, 0, out);
	fputc('_', out);
}

static void print_options(const struct cli_option *option, unsigned depth, FILE *out)
{
	for (; option && option->name; option++) {
		print_indent(depth, out);
		if (option->letter)
			fprintf(out, "*-%c*, ", option->letter);
		fprintf(out, "*--%s*", option->name);
		print_argument(option->argument, out);
		fputc('\n', out);
		print_text(option->help, depth + 1, out);
		fputs("\n\n", out);
	}
}

static void print_command(const struct cli_command *command, FILE *out)
{
	fprintf(out, "*%s*%s", command->name, command->options ? " [_OPTIONS_]" : "");
	print_argument(command->argument, out);
	print_argument(command->second, out);
	print_argument(command->third, out);
	fputc('\n', out);
	print_text(command->summary, 1, out);
	fputs("\n\n", out);
	if (command->details) {
		print_text(command->details, 1, out);
		fputc('\n', out);
	}
	print_options(command->options, 1, out);
}

void cli_man_print(const struct cli *cli, FILE *out)
{
	fputs(head, out);
	fputs("\n# OPTIONS\n\nThese go before or after the command.\n\n", out);
	print_options(cli_common_options, 0, out);
	fputs("# COMMANDS\n\n", out);
	for (const struct cli_command *at = cli->commands; at->name; at++)
		print_command(at, out);
	fputs(tail, out);
}
