/*
 * shmnetctl: asks a running node; keygen and check --pre need none. This file is the
 * table of commands; each family of verbs has a file of its own.
 */
#include "cli/cli.h"

#include <errno.h>
#include <locale.h>
#include <string.h>

static const struct cli_command commands[] = {
	{.name = "status",
	 .summary = "the node's state, its networks and the other nodes",
	 .options = cli_status_options,
	 .run = cli_run_status,
	 .details = "Exits with 4 if something is not as configured, and says what;\n"
		    "with 0 if networks are only paused.\n"},
	{.name = "topology",
	 .summary = "who is linked to whom, by network",
	 .options = cli_topology_options,
	 .run = cli_run_topology,
	 .details = "All networks, nodes and links as this node sees them. --format\n"
		    "dot is for graphviz.\n"},
	{.name = "networks",
	 .summary = "the node's networks, or one of them",
	 .argument = "[NAME]",
	 .run = cli_run_networks,
	 .names = CLI_NAMES_NETWORKS},
	{.name = "nodes",
	 .summary = "the nodes that are known, or one of them",
	 .argument = "[NAME]",
	 .run = cli_run_nodes,
	 .names = CLI_NAMES_NODES,
	 .details = "With the reason why one is not up, and what carries its\n"
		    "frames.\n"},
	{.name = "rings",
	 .summary = "size, fill and overruns of the rings of each link",
	 .run = cli_run_rings,
	 .details = "By network, peer and direction; also doorbells, frames dropped\n"
		    "because a ring was full, and the cast rings of each network.\n"},
	{.name = "stats",
	 .summary = "frames, bytes and drops of each link",
	 .options = cli_stats_options,
	 .run = cli_run_stats},
	{.name = "events",
	 .summary = "what happened to networks and nodes, and why",
	 .options = cli_events_options,
	 .run = cli_run_events,
	 .details = "The last 256 changes, with their causes, and for how long a\n"
		    "node was silent or away.\n"},
	{.name = "ping",
	 .summary = "whether what is sent to a node arrives, and how fast",
	 .options = cli_ping_options,
	 .argument = "NODE",
	 .run = cli_run_ping,
	 .names = CLI_NAMES_NODES,
	 .second = "[NETWORK]",
	 .second_names = CLI_NAMES_NETWORKS,
	 .details = "Through the rings, not the host's IP stack: the other node's\n"
		    "worker answers. Without NETWORK on each network that both\n"
		    "have. Exits with 1 if one was lost.\n"},
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
	 .third = "DESTINATION:PORT",
	 .details = "Of a packet that opens a connection, step by step. Other nodes\n"
		    "are asked, nothing is changed.\n"},
	{.name = "drain",
	 .summary = "no new connections to global addresses for a node",
	 .options = cli_drain_options,
	 .argument = "[NODE]",
	 .run = cli_run_drain,
	 .names = CLI_NAMES_NODES,
	 .details = "Without NODE: this one. Connections that it has stay. A node\n"
		    "that starts anew is not drained.\n"},
	{.name = "undrain",
	 .summary = "new connections for it again",
	 .options = cli_drain_options,
	 .argument = "[NODE]",
	 .run = cli_run_undrain,
	 .names = CLI_NAMES_NODES},
	{.name = "pause",
	 .summary = "no frames to and from a network, or any, until it is resumed",
	 .argument = "[NETWORK]",
	 .run = cli_run_pause,
	 .names = CLI_NAMES_NETWORKS,
	 .details =
		 "The interface loses its carrier. The other nodes keep their links,\n"
		 "send nothing there, and give this node no new connections to the\n"
		 "addresses of a global network; if it announced them on a LAN another\n"
		 "one does. Connections stay where they are and wait: what is sent on\n"
		 "them is dropped as 'paused'. Without NETWORK all are paused. A pause\n"
		 "ends by resume, or with the node.\n"},
	{.name = "resume",
	 .summary = "ends a pause",
	 .argument = "[NETWORK]",
	 .run = cli_run_resume,
	 .names = CLI_NAMES_NETWORKS},
	{.name = "reload",
	 .summary = "the node loads its config file again",
	 .run = cli_run_reload,
	 .details = "A file with an error changes nothing, and its errors are\n"
		    "printed (exit status 2). Of a good one each key that differs\n"
		    "from what the node has is done or named; what waits for a\n"
		    "restart is listed (exit status 4), and what failed has its\n"
		    "reason (exit status 1).\n"},
	{.name = "neighbors",
	 .summary = "whom this host speaks OSPF with, and where that leads",
	 .options = cli_neighbors_options,
	 .run = cli_run_neighbors,
	 .details = "FRRouting is asked, by its vtysh. Names and networks are the\n"
		    "node's, if it runs.\n"},
	{.name = "keygen",
	 .summary = "certificates for nodes on several machines",
	 .options = cli_keygen_options,
	 .argument = "ca|node",
	 .run = cli_run_keygen,
	 .names = CLI_NAMES_KEYS,
	 .second = "[NAME]",
	 .details = "'ca' makes the CA of a cluster, 'node NAME' the key and\n"
		    "certificate of a node, signed by the CA in the same directory.\n"
		    "Nothing is overwritten. The CA's key stays where it is: who\n"
		    "has it can make nodes.\n"},
	{.name = "check",
	 .summary = "whether all that a node needs is there, and what mends it",
	 .options = cli_check_options,
	 .argument = "[CONFIG]",
	 .run = cli_run_check,
	 .details =
		 "Kernel, modules, RDMA device, memory, MTUs, reverse path filters,\n"
		 "firewall, certificates, clock, and what the node that runs says\n"
		 "of itself and of the others; with --pre before there is one. It\n"
		 "changes nothing. Below what is wrong stands the command that mends\n"
		 "it. Without CONFIG: that of the node that runs, or\n"
		 "/etc/shmnet/NODE.yaml. Exits with 4 if anything is not as it should\n"
		 "be, with 2 if the config has errors, with 3 if no node answers.\n"},
	{.name = "version",
	 .summary = "the versions of shmnetctl and of the node",
	 .run = cli_run_version},
	{.name = "help",
	 .summary = "this text, or that of one command",
	 .argument = "[COMMAND]",
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
	if (argc > 1 && strcmp(argv[1], "--man") == 0) {
		cli_man_print(&cli, stdout);
		return output_close(&cli, CLI_OK);
	}
	rc = cli_parse(&cli, argc, argv, &command, &argument);
	if (!rc)
		rc = command->run(&cli, argument);
	return output_close(&cli, rc);
}
