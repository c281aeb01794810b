/*
 * topology --format dot: nodes, and an arrow per link and direction. See cli.h.
 *
 * What is down is red and dashed, for those who print in black; what is paused or
 * suspect is orange. A border has a double frame, and its NICs and what it announces in
 * its label.
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

/* NULL: it is none. */
static const json_t *find_border(const json_t *topology, const char *node)
{
	json_t *border;
	size_t i;

	json_array_foreach(json_object_get(topology, "borders"), i, border)
	{
		if (strcmp(text_get(border, "node"), node) == 0)
			return border;
	}
	return NULL;
}

/* "; border: nic0 up, nic1 down, announces web" */
static char *border_text(const json_t *border)
{
	char *text = text_format("%s", border ? "; border:" : "");
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(border, "nics"), i, entry)
	{
		char *more = text_format(
			"%s%s %s %s", text, i ? "," : "", text_get(entry, "name"),
			text_state(json_is_true(json_object_get(entry, "up")) ? "up"
									      : "down"));

		free(text);
		text = more;
	}
	json_array_foreach(json_object_get(border, "announces"), i, entry)
	{
		char *more =
			text_format("%s, announces %s", text, text_get(entry, "network"));

		free(text);
		text = more;
	}
	return text;
}

static void print_node(const json_t *topology, const json_t *node)
{
	const json_t *border = find_border(topology, text_get(node, "name"));
	char *paused = text_join(json_object_get(node, "paused"));
	char *outside = border_text(border);
	char *label = text_format("%s (%s%s%s%s)", text_get(node, "name"),
				  text_state(text_get(node, "state")),
				  *paused ? "; paused: " : "", paused, outside);

	putchar('\t');
	print_quoted(text_get(node, "name"));
	fputs(" [label=", stdout);
	print_quoted(label);
	printf("%s%s];\n", attributes_of(text_get(node, "state")),
	       border ? ", peripheries=2" : "");
	free(label);
	free(outside);
	free(paused);
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
		print_node(topology, member);
	json_array_foreach(json_object_get(topology, "links"), i, member)
		print_link(member);
	puts("}");
}
