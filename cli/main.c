/*
 * shmnetctl: asks a running node; keygen alone needs none. This file is the table of
 * commands; each family of verbs has a file of its own.
 */
#include "cli/cli.h"

#include <errno.h>
#include <locale.h>
#include <string.h>

static const struct cli_command commands[] = {
	{.name = "status",
	 .summary = "the node's state, its networks and the other nodes",
	 .options = cli_status_options,
	 .run = cli_run_status},
	{.name = "topology",
	 .summary = "who is linked to whom, by network",
	 .options = cli_topology_options,
	 .run = cli_run_topology},
	{.name = "networks",
	 .summary = "the node's networks, or one of them",
	 .argument = "NAME",
	 .run = cli_run_networks,
	 .names = CLI_NAMES_NETWORKS},
	{.name = "nodes",
	 .summary = "the nodes that are known, or one of them",
	 .argument = "NAME",
	 .run = cli_run_nodes,
	 .names = CLI_NAMES_NODES},
	{.name = "rings",
	 .summary = "size, fill and overruns of the rings of each link",
	 .run = cli_run_rings},
	{.name = "stats",
	 .summary = "frames, bytes and drops of each link",
	 .options = cli_stats_options,
	 .run = cli_run_stats},
	{.name = "events",
	 .summary = "what happened to networks and nodes, and why",
	 .options = cli_events_options,
	 .run = cli_run_events},
	{.name = "ping",
	 .summary = "whether what is sent to a node arrives, and how fast",
	 .options = cli_ping_options,
	 .argument = "NODE",
	 .run = cli_run_ping,
	 .names = CLI_NAMES_NODES,
	 .second = "[NETWORK]",
	 .second_names = CLI_NAMES_NETWORKS},
	{.name = "flows",
	 .summary = "connections to global addresses, and the nodes that have them",
	 .options = cli_flows_options,
	 .run = cli_run_flows},
	{.name = "listeners",
	 .summary = "who takes new connections to global addresses",
	 .options = cli_listeners_options,
	 .run = cli_run_listeners},
	{.name = "explain",
	 .summary = "which node gets a packet for a global address, and why",
	 .options = cli_explain_options,
	 .argument = "PROTOCOL",
	 .run = cli_run_explain,
	 .names = CLI_NAMES_PROTOCOLS,
	 .second = "SOURCE:PORT",
	 .third = "DESTINATION:PORT"},
	{.name = "drain",
	 .summary = "no new connections to global addresses for a node",
	 .options = cli_drain_options,
	 .argument = "[NODE]",
	 .run = cli_run_drain,
	 .names = CLI_NAMES_NODES},
	{.name = "undrain",
	 .summary = "new connections for it again",
	 .options = cli_drain_options,
	 .argument = "[NODE]",
	 .run = cli_run_undrain,
	 .names = CLI_NAMES_NODES},
	{.name = "keygen",
	 .summary = "certificates for nodes on several machines",
	 .options = cli_keygen_options,
	 .argument = "ca|node",
	 .run = cli_run_keygen,
	 .names = CLI_NAMES_KEYS,
	 .second = "[NAME]"},
	{.name = "version",
	 .summary = "the versions of shmnetctl and of the node",
	 .run = cli_run_version},
	{.name = "help",
	 .summary = "this text, or that of one command",
	 .argument = "COMMAND",
	 .run = cli_run_help,
	 .names = CLI_NAMES_COMMANDS},
	{.name = NULL},
};

/* A full disk or a closed pipe must not pass for success. */
static int output_close(const struct cli *cli, int exit_status)
{
	struct cli_error error;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit_status;
	cli_error_set(&error, CLI_FAILED, "output", "can't write the output: %s",
		      strerror(errno));
	return cli_report(cli, &error);
}

int main(int argc, char **argv)
{
	struct cli cli = {.commands = commands};
	const struct cli_command *command;
	const char *argument;
	int rc;

	setlocale(LC_CTYPE, "");
	if (argc > 1 && strcmp(argv[1], "--complete") == 0)
		return output_close(&cli, cli_complete(&cli));
	rc = cli_parse(&cli, argc, argv, &command, &argument);
	if (!rc)
		rc = command->run(&cli, argument);
	return output_close(&cli, rc);
}
