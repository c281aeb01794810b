/*
 * neighbors: whom this host speaks OSPF with, and where that leads, as FRRouting says.
 * See cli.h.
 *
 * FRRouting knows addresses and interfaces. Networks and names are the node's, if it
 * runs: an interface is a network's TAP, and who has an address there shows in its MAC
 * address, of which the kernel knows.
 */
#include "cli/cli.h"

#include "cli/table.h"
#include "cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ARP_FILE	"/proc/net/arp"
#define NODE_TIMEOUT_MS 1000

const struct cli_option cli_neighbors_options[] = {
	{"frr", 0, CLI_WORD, offsetof(struct cli, frr), "DIR", NULL,
	 "FRRouting's sockets; $SHMNET_FRR_DIR if that is set, else /run/frr"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

/* What FRRouting and the node have said; each is NULL if it has not. */
struct view {
	json_t *ospf;
	json_t *neighbors;
	json_t *routes;
	json_t *status;
};

/* ---- names ---- */

/* The network whose TAP that is, or NULL. */
static const char *network_of(const struct view *view, const char *interface)
{
	json_t *network;
	size_t i;

	json_array_foreach(json_object_get(view->status, "networks"), i, network)
	{
		if (*interface && strcmp(text_get(network, "tap"), interface) == 0)
			return text_get(network, "name");
	}
	return NULL;
}

/* The MAC address of a node ends in its id. 0: not known. */
static unsigned id_of(const char *address, const char *interface)
{
	char line[256], ip[64], dev[32];
	unsigned high, low, id = 0;
	FILE *arp = fopen(ARP_FILE, "re");

	while (arp && !id && fgets(line, sizeof(line), arp)) {
		if (sscanf(line, "%63s %*s %*s 02:53:%*2x:%*2x:%2x:%2x %*s %31s", ip,
			   &high, &low, dev) == 4 &&
		    strcmp(ip, address) == 0 && strcmp(dev, interface) == 0)
			id = high << 8 | low;
	}
	if (arp)
		fclose(arp);
	return id;
}

static const char *node_at(const struct view *view, const json_t *told)
{
	const char *interface = text_get(told, "ifaceName");
	unsigned id = network_of(view, interface)
			      ? id_of(text_get(told, "ifaceAddress"), interface)
			      : 0;
	json_t *node;
	size_t i;

	json_array_foreach(json_object_get(view->status, "nodes"), i, node)
	{
		if (id && text_get_number(node, "id") == id)
			return text_get(node, "name");
	}
	return NULL;
}

/* On any of the interfaces that a router is met on. */
static const char *node_of(const struct view *view, const json_t *all)
{
	const char *node = NULL;
	json_t *told;
	size_t i;

	json_array_foreach(all, i, told)
	{
		if (!node)
			node = node_at(view, told);
	}
	return node;
}

/* ---- the model ---- */

/* Routers that lead elsewhere are listed among the routes, with their ids. */
static bool is_border(const struct view *view, const char *router)
{
	const json_t *route = json_object_get(view->routes, router);

	return strstr(text_get(route, "routerType"), "abr") != NULL;
}

static json_t *string_or_null(const char *string)
{
	return string ? json_string(string) : json_null();
}

/* Up to a character; "0.0.0.1 [Stub]", "Full/DR". */
static json_t *string_until(const char *string, const char *ends)
{
	return json_stringn(string, strcspn(string, ends));
}

static json_t *neighbor_new(const struct view *view, const char *router, const char *node,
			    const json_t *told)
{
	const char *interface = text_get(told, "ifaceName");
	const char *address = text_get(told, "ifaceAddress");
	const char *state = text_get(told, "nbrState");
	const char *role = strchr(state, '/');

	return json_pack("{s:s, s:o, s:s, s:o, s:s, s:s, s:o, s:o, s:b}", "router",
			 router, "node", string_or_null(node), "address", address,
			 "state", string_until(state, "/"), "role", role ? role + 1 : "",
			 "interface", interface, "network",
			 string_or_null(network_of(view, interface)), "area",
			 string_until(text_get(told, "areaId"), " "), "border",
			 is_border(view, router));
}

/* A router that is met on several interfaces is there several times. */
static json_t *neighbors_new(const struct view *view)
{
	json_t *list = json_array(), *all, *told;
	const char *router;
	size_t i;

	json_object_foreach(json_object_get(view->neighbors, "neighbors"), router, all)
	{
		json_array_foreach(all, i, told) json_array_append_new(
			list, neighbor_new(view, router, node_of(view, all), told));
	}
	return list;
}

static json_t *ways_new(const json_t *route)
{
	json_t *list = json_array(), *hop;
	size_t i;

	json_array_foreach(json_object_get(route, "nexthops"), i, hop)
	{
		const char *direct = text_get(hop, "directlyAttachedTo");

		if (*direct)
			json_array_append_new(list, json_pack("{s:n, s:s}", "address",
							      "interface", direct));
		else
			json_array_append_new(list,
					      json_pack("{s:s, s:s}", "address",
							text_get(hop, "ip"), "interface",
							text_get(hop, "via")));
	}
	return list;
}

/* Without those to routers. */
static json_t *routes_new(const struct view *view)
{
	json_t *list = json_array(), *route;
	const char *to;

	json_object_foreach(view->routes, to, route)
	{
		if (text_get(route, "routeType")[0] == 'R')
			continue;
		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:I, s:s, s:o}", "to", to, "type",
				  text_get(route, "routeType"), "cost",
				  (json_int_t)text_get_number(route, "cost"), "area",
				  text_get(route, "area"), "via", ways_new(route)));
	}
	return list;
}

static json_t *document_new(const struct view *view)
{
	return json_pack("{s:i, s:s, s:b, s:o, s:o}", "schema", 1, "router",
			 text_get(view->ospf, "routerId"), "border",
			 json_object_get(view->ospf, "abrType") != NULL, "neighbors",
			 neighbors_new(view), "routes", routes_new(view));
}

/* ---- text ---- */

static const char *text_or_none(const json_t *object, const char *key)
{
	return *text_get(object, key) ? text_get(object, key) : "-";
}

static void neighbors_print(const json_t *neighbors)
{
	struct table *table =
		table_new("NODE ROUTER STATE ROLE ADDRESS INTERFACE NETWORK AREA BORDER");
	json_t *neighbor;
	size_t i;

	json_array_foreach(neighbors, i, neighbor)
	{
		bool is_full = strcmp(text_get(neighbor, "state"), "Full") == 0;
		bool border = json_is_true(json_object_get(neighbor, "border"));

		table_add(table, TEXT_PLAIN, "%s", text_or_none(neighbor, "node"));
		table_add(table, TEXT_PLAIN, "%s", text_get(neighbor, "router"));
		table_add(table, is_full ? TEXT_GOOD : TEXT_PLAIN, "%s",
			  text_get(neighbor, "state"));
		table_add(table, TEXT_PLAIN, "%s", text_get(neighbor, "role"));
		table_add(table, TEXT_PLAIN, "%s", text_get(neighbor, "address"));
		table_add(table, TEXT_PLAIN, "%s", text_get(neighbor, "interface"));
		table_add(table, TEXT_PLAIN, "%s", text_or_none(neighbor, "network"));
		table_add(table, TEXT_PLAIN, "%s", text_get(neighbor, "area"));
		table_add(table, TEXT_PLAIN, "%s", border ? "yes" : "no");
	}
	table_print(table, stdout);
	table_free(table);
	if (i == 0)
		puts("no neighbors");
}

/* The exchange of what each knows does not begin between interfaces of different MTUs. */
static void stuck_print(const json_t *neighbors)
{
	json_t *neighbor;
	size_t i;

	json_array_foreach(neighbors, i, neighbor)
	{
		const char *state = text_get(neighbor, "state");

		if (strcmp(state, "ExStart") == 0 || strcmp(state, "Exchange") == 0)
			printf("%s at %s is in %s: if it stays so, its MTU is another "
			       "one\n",
			       text_get(neighbor, "router"),
			       text_get(neighbor, "interface"), state);
	}
}

static void routes_print(const json_t *routes)
{
	struct table *table = table_new("TO >COST AREA VIA INTERFACE");
	json_t *route, *way;
	size_t i, j;

	json_array_foreach(routes, i, route)
	{
		json_array_foreach(json_object_get(route, "via"), j, way)
		{
			table_add(table, TEXT_PLAIN, "%s", text_get(route, "to"));
			table_add(table, TEXT_PLAIN, "%" PRIu64,
				  text_get_number(route, "cost"));
			table_add(table, TEXT_PLAIN, "%s", text_or_none(route, "area"));
			table_add(table, TEXT_PLAIN, "%s", text_or_none(way, "address"));
			table_add(table, TEXT_PLAIN, "%s", text_get(way, "interface"));
		}
	}
	table_print(table, stdout);
	table_free(table);
}

static void document_print(json_t *document)
{
	const json_t *neighbors = json_object_get(document, "neighbors");

	text_clean_json(document);
	printf("%s%s%s%s\n", text_on(TEXT_BOLD), text_get(document, "router"),
	       text_off(TEXT_BOLD),
	       json_is_true(json_object_get(document, "border")) ? "  area border router"
								 : "");
	neighbors_print(neighbors);
	stuck_print(neighbors);
	routes_print(json_object_get(document, "routes"));
}

/* ---- the command ---- */

static int ask(const struct cli *cli, struct view *view, struct cli_error *error)
{
	struct cli_error none;
	int rc = cli_ask_vtysh(cli, "show ip ospf json", &view->ospf, error);

	if (!rc && !*text_get(view->ospf, "routerId")) {
		cli_error_set(
			error, CLI_FAILED, "no-ospf",
			"ospfd runs, and has no 'router ospf' in its configuration; "
			"make that by deploy/frr/render of the node's file");
		rc = CLI_FAILED;
	}
	if (!rc)
		rc = cli_ask_vtysh(cli, "show ip ospf neighbor detail json",
				   &view->neighbors, error);
	if (!rc)
		rc = cli_ask_vtysh(cli, "show ip ospf route json", &view->routes, error);
	if (!rc && cli_query(cli, "status", NULL, NODE_TIMEOUT_MS, &view->status, &none))
		view->status = NULL;
	return rc;
}

int cli_run_neighbors(struct cli *cli, const char *argument)
{
	struct view view = {NULL, NULL, NULL, NULL};
	struct cli_error error;
	json_t *document;
	int rc = ask(cli, &view, &error);

	(void)argument;
	if (rc) {
		rc = cli_report(cli, &error);
	} else {
		document = document_new(&view);
		if (cli->json)
			cli_print_json(document);
		else
			document_print(document);
		json_decref(document);
	}
	json_decref(view.ospf);
	json_decref(view.neighbors);
	json_decref(view.routes);
	json_decref(view.status);
	return rc;
}
