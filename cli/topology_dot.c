/*
 * topology --format dot: nodes, and an arrow per link and direction. See cli.h.
 *
 * What is down is red and dashed, for those who print in black.
 */
#include "cli/cli.h"

#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

/* A quoted string of the language: names come from other machines. */
static void print_quoted(const char *string)
{
	putchar('"');
	for (; *string; string++) {
		if (*string == '"' || *string == '\\')
			putchar('\\');
		putchar(*string);
	}
	putchar('"');
}

static const char *attributes_of(const char *state)
{
	if (strcmp(state, "up") == 0)
		return "";
	if (strcmp(state, "down") == 0)
		return ", color=red, fontcolor=red, style=dashed";
	return ", color=orange, style=dashed";
}

static void print_node(const json_t *node)
{
	char *label = text_format("%s (%s)", text_get(node, "name"),
				  text_state(text_get(node, "state")));

	putchar('\t');
	print_quoted(text_get(node, "name"));
	fputs(" [label=", stdout);
	print_quoted(label);
	printf("%s];\n", attributes_of(text_get(node, "state")));
	free(label);
}

static void print_link(const json_t *link)
{
	const char *state = text_get(link, "state");
	char *label = text_format("%s %s %s", text_get(link, "network"),
				  text_get(link, "fabric"), text_state(state));

	putchar('\t');
	print_quoted(text_get(link, "from"));
	fputs(" -> ", stdout);
	print_quoted(text_get(link, "to"));
	fputs(" [label=", stdout);
	print_quoted(label);
	printf("%s];\n", attributes_of(state));
	free(label);
}

void cli_print_topology_dot(json_t *topology)
{
	json_t *member;
	size_t i;

	text_clean_json(topology);
	fputs("digraph ", stdout);
	print_quoted(text_get(topology, "node"));
	puts(" {\n\tnode [shape=box];");
	json_array_foreach(json_object_get(topology, "nodes"), i, member)
		print_node(member);
	json_array_foreach(json_object_get(topology, "links"), i, member)
		print_link(member);
	puts("}");
}
