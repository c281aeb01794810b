/*
 * topology: who is linked to whom, seen from the node that answers. See cli.h.
 *
 * The tree has a branch per network and a leaf per node that the answering node
 * is linked to; a link is two directions, shown as one if they agree.
 */
#include "cli/cli.h"

#include "cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const formats[] = {"tree", "dot", "json", NULL};

const struct cli_option cli_topology_options[] = {
	{"format", 0, CLI_WORD, offsetof(struct cli, format), "FORMAT", formats,
	 "tree, which is the default, dot for graphviz, or json"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

/* What stands before a member of a list, and before what is below it. */
struct branch {
	const char *mark;
	const char *below;
};

static struct branch branch_of(size_t i, size_t count)
{
	bool last = i + 1 == count;

	if (text_is_utf8())
		return last ? (struct branch){"└─ ", "   "}
			    : (struct branch){"├─ ", "│  "};
	return last ? (struct branch){"`- ", "   "} : (struct branch){"|- ", "|  "};
}

static bool link_joins(const json_t *link, const json_t *network, const char *from,
		       const char *to)
{
	return strcmp(text_get(link, "network"), text_get(network, "name")) == 0 &&
	       strcmp(text_get(link, "from"), from) == 0 &&
	       strcmp(text_get(link, "to"), to) == 0;
}

static const json_t *link_find(const json_t *topology, const json_t *network,
			       const char *from, const char *to)
{
	json_t *link;
	size_t i;

	json_array_foreach(json_object_get(topology, "links"), i, link)
	{
		if (link_joins(link, network, from, to))
			return link;
	}
	return NULL;
}

/* A node and the links with it on one network; both NULL: none. */
struct leaf {
	const json_t *node;
	const json_t *to;
	const json_t *from;
};

/* The nodes linked on a network, in the node list's order, malloc'ed. */
static struct leaf *leaves_of_network(const json_t *topology, const json_t *network,
				      size_t *ret_count)
{
	const json_t *nodes = json_object_get(topology, "nodes");
	struct leaf *leaves = calloc(json_array_size(nodes) + 1, sizeof(*leaves));
	const char *self = text_get(topology, "node");
	json_t *node;
	size_t i;

	*ret_count = 0;
	json_array_foreach(nodes, i, node)
	{
		struct leaf leaf = {.node = node};

		leaf.to = link_find(topology, network, self, text_get(node, "name"));
		leaf.from = link_find(topology, network, text_get(node, "name"), self);
		if (leaves && (leaf.to || leaf.from))
			leaves[(*ret_count)++] = leaf;
	}
	return leaves;
}

/* Pads by hand: printf counts bytes. */
static void print_padded(const char *text, size_t width)
{
	size_t used = text_width(text);

	printf("%s%*s", text, used < width ? (int)(width - used) : 0, "");
}

static void print_state(const char *label, const char *state)
{
	enum text_style style = text_state_style(state);

	printf("%s%s%s%s", label, text_on(style), text_state(state), text_off(style));
}

/* A link's state in words; a node's own is added if it says more. */
static void leaf_print(const struct leaf *leaf, size_t name_width, size_t fabric_width)
{
	const json_t *link = leaf->to ? leaf->to : leaf->from;
	const char *to = text_get(link, "state");
	const char *from = text_get(leaf->from ? leaf->from : link, "state");

	print_padded(text_get(leaf->node, "name"), name_width);
	fputs("  ", stdout);
	print_padded(text_get(link, "fabric"), fabric_width);
	if (strcmp(to, from) == 0) {
		print_state("  ", to);
	} else {
		print_state("  to ", to);
		print_state(", from ", from);
	}
	if (strcmp(text_get(leaf->node, "state"), "suspect") == 0)
		print_state("  node ", "suspect");
	putchar('\n');
}

static size_t widest(size_t width, const char *text)
{
	return text_width(text) > width ? text_width(text) : width;
}

static void leaves_print(const struct leaf *leaves, size_t count, const char *indent)
{
	size_t name = 0, fabric = 0;

	for (size_t i = 0; i < count; i++) {
		const json_t *link = leaves[i].to ? leaves[i].to : leaves[i].from;

		name = widest(name, text_get(leaves[i].node, "name"));
		fabric = widest(fabric, text_get(link, "fabric"));
	}
	for (size_t i = 0; i < count; i++) {
		printf("%s%s", indent, branch_of(i, count).mark);
		leaf_print(&leaves[i], name, fabric);
	}
	if (count == 0)
		printf("%s%s(no links)\n", indent, branch_of(0, 1).mark);
}

static void network_print(const json_t *network)
{
	char *addresses = text_join(json_object_get(network, "addresses"));

	printf("%s%s%s  %s  ", text_on(TEXT_BOLD), text_get(network, "name"),
	       text_off(TEXT_BOLD), text_get(network, "kind"));
	print_state("", text_get(network, "state"));
	printf("  mtu %" PRIu64 "  tap %s%s%s\n", text_get_number(network, "mtu"),
	       text_get(network, "tap"), *addresses ? "  " : "", addresses);
	free(addresses);
}

static bool is_linked(const json_t *topology, const char *name)
{
	json_t *link;
	size_t i;

	json_array_foreach(json_object_get(topology, "links"), i, link)
	{
		if (strcmp(text_get(link, "from"), name) == 0 ||
		    strcmp(text_get(link, "to"), name) == 0)
			return true;
	}
	return false;
}

/* Nodes that are known and stand in no link would be missed in the tree. */
static void print_unlinked(const json_t *topology)
{
	const char *self = text_get(topology, "node");
	json_t *node;
	size_t i;

	json_array_foreach(json_object_get(topology, "nodes"), i, node)
	{
		const char *name = text_get(node, "name");

		if (strcmp(name, self) == 0 || is_linked(topology, name))
			continue;
		printf("%s  ", name);
		print_state("", text_get(node, "state"));
		printf("  without links\n");
	}
}

static void print_announced(const json_t *announces)
{
	const char *before = "; announces ";
	json_t *announced;
	size_t i;

	if (json_array_size(announces) == 0)
		fputs("; announces nothing", stdout);
	json_array_foreach(announces, i, announced)
	{
		char *addresses = text_join(json_object_get(announced, "addresses"));

		printf("%s%s%s%s", before, text_get(announced, "network"),
		       *addresses ? " " : "", addresses);
		before = ", ";
		free(addresses);
	}
}

/* "border n1: nic0 up; announces web 10.99.0.1" */
static void print_borders(const json_t *borders)
{
	json_t *border, *nic;
	size_t i, j;

	json_array_foreach(borders, i, border)
	{
		printf("border %s:", text_get(border, "node"));
		json_array_foreach(json_object_get(border, "nics"), j, nic)
		{
			bool is_up = json_is_true(json_object_get(nic, "up"));

			printf("%s %s", j ? "," : "", text_get(nic, "name"));
			print_state(" ", is_up ? "up" : "down");
			if (text_get_number(nic, "mtu"))
				printf(" mtu %" PRIu64, text_get_number(nic, "mtu"));
		}
		print_announced(json_object_get(border, "announces"));
		putchar('\n');
	}
}

static void topology_print(json_t *topology)
{
	const json_t *networks = json_object_get(topology, "networks");
	json_t *network;
	size_t i;

	text_clean_json(topology);
	printf("%s%s%s\n", text_on(TEXT_BOLD), text_get(topology, "node"),
	       text_off(TEXT_BOLD));
	json_array_foreach(networks, i, network)
	{
		struct branch branch = branch_of(i, json_array_size(networks));
		struct leaf *leaves;
		size_t count;

		fputs(branch.mark, stdout);
		network_print(network);
		leaves = leaves_of_network(topology, network, &count);
		leaves_print(leaves, count, branch.below);
		free(leaves);
	}
	print_unlinked(topology);
	print_borders(json_object_get(topology, "borders"));
}

int cli_run_topology(struct cli *cli, const char *argument)
{
	json_t *topology;
	int rc;

	(void)argument;
	if (cli->format && strcmp(cli->format, "json") == 0)
		cli->json = true;
	rc = cli_ask(cli, "topology", &topology);
	if (rc)
		return rc;
	if (cli->json)
		cli_print_json(topology);
	else if (cli->format && strcmp(cli->format, "dot") == 0)
		cli_print_topology_dot(topology);
	else
		topology_print(topology);
	json_decref(topology);
	return CLI_OK;
}
