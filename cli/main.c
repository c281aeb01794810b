/*
 * shmnetctl: asks a running node; keygen alone needs none. This file is the table of
 * commands; each family of verbs has a file of its own.
 */
#include "cli/cli.h"

#include <errno.h>
#include <locale.h>
#include <string.h>

static const struct cli_command commands[] = {
	{"status", "the node's state, its networks and the other nodes",
	 cli_status_options, NULL, cli_run_status, CLI_NAMES_NONE, NULL, CLI_NAMES_NONE},
	{"topology", "who is linked to whom, by network", cli_topology_options, NULL,
	 cli_run_topology, CLI_NAMES_NONE, NULL, CLI_NAMES_NONE},
	{"networks", "the node's networks, or one of them", NULL, "NAME",
	 cli_run_networks, CLI_NAMES_NETWORKS, NULL, CLI_NAMES_NONE},
	{"nodes", "the nodes that are known, or one of them", NULL, "NAME", cli_run_nodes,
	 CLI_NAMES_NODES, NULL, CLI_NAMES_NONE},
	{"rings", "size, fill and overruns of the rings of each link", NULL, NULL,
	 cli_run_rings, CLI_NAMES_NONE, NULL, CLI_NAMES_NONE},
	{"stats", "frames, bytes and drops of each link", cli_stats_options, NULL,
	 cli_run_stats, CLI_NAMES_NONE, NULL, CLI_NAMES_NONE},
	{"events", "what happened to networks and nodes, and why", cli_events_options,
	 NULL, cli_run_events, CLI_NAMES_NONE, NULL, CLI_NAMES_NONE},
	{"ping", "whether what is sent to a node arrives, and how fast", cli_ping_options,
	 "NODE", cli_run_ping, CLI_NAMES_NODES, "[NETWORK]", CLI_NAMES_NETWORKS},
	{"keygen", "certificates for nodes on several machines", cli_keygen_options,
	 "ca|node", cli_run_keygen, CLI_NAMES_KEYS, "[NAME]", CLI_NAMES_NONE},
	{"version", "the versions of shmnetctl and of the node", NULL, NULL,
	 cli_run_version, CLI_NAMES_NONE, NULL, CLI_NAMES_NONE},
	{"help", "this text, or that of one command", NULL, "COMMAND", cli_run_help,
	 CLI_NAMES_COMMANDS, NULL, CLI_NAMES_NONE},
	{NULL, NULL, NULL, NULL, NULL, CLI_NAMES_NONE, NULL, CLI_NAMES_NONE},
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
