/* networks, nodes, rings: one list each, made of what other verbs tell. See cli.h. */
#include "cli/cli.h"

#include "cli/table.h"
#include "cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables that status shows, too ---- */

/* The words for a network's addresses; the caller frees them. */
static char *join_addresses(const json_t *network)
{
	bool dhcp = json_is_true(json_object_get(network, "dhcp"));
	json_t *words = json_array(), *address;
	bool leased = false;
	char *joined;
	size_t i;

	json_array_foreach(json_object_get(network, "addresses"), i, address)
	{
		const char *text = json_string_value(address);
		bool by_dhcp = dhcp && !strchr(text, ':');

		leased |= by_dhcp;
		json_array_append_new(
			words, json_sprintf("%s%s", text, by_dhcp ? " (dhcp)" : ""));
	}
	if (dhcp && !leased)
		json_array_append_new(words, json_string("dhcp: none yet"));
	joined = text_join(words);
	json_decref(words);
	return joined;
}

static void add_member(struct table *table, const char *network, const json_t *member)
{
	bool is_paused = json_is_true(json_object_get(member, "paused"));
	const char *state = is_paused ? "paused" : text_get(member, "state");
	bool is_known = json_object_get(member, "weight") != NULL;
	bool announces = json_is_true(json_object_get(member, "announces"));
	char buffer[TEXT_NUMBER_MAX];

	table_add(table, TEXT_PLAIN, "%s", network);
	table_add(table, TEXT_PLAIN, "%s", text_get(member, "name"));
	table_add(table, text_state_style(state), "%s", text_state(state));
	text_count(buffer, text_get_number(member, "weight"));
	table_add(table, TEXT_PLAIN, "%s", is_known ? buffer : "");
	text_count(buffer, text_get_number(member, "connections"));
	table_add(table, TEXT_PLAIN, "%s", is_known ? buffer : "");
	table_add(table, TEXT_WARN, "%s",
		  json_is_true(json_object_get(member, "drained")) ? "drained" : "");
	table_add(table, TEXT_PLAIN, "%s", announces ? "announces" : "");
}

/* Of the global ones; nothing if there is none. */
static void members_print(const json_t *networks)
{
	struct table *table =
		table_new("GLOBAL MEMBER STATE >WEIGHT >CONNECTIONS DRAINED ANNOUNCES");
	json_t *network, *member;
	bool any = false;
	size_t i, j;

	json_array_foreach(networks, i, network)
	{
		json_array_foreach(json_object_get(network, "members"), j, member)
		{
			add_member(table, text_get(network, "name"), member);
			any = true;
		}
	}
	if (any)
		putchar('\n');
	table_print(table, stdout);
	table_free(table);
}

void cli_print_networks(const json_t *list)
{
	struct table *table =
		table_new("NETWORK KIND TAP >MTU STATE >LINKS >QUEUES ADDRESSES");
	json_t *network;
	size_t i;

	json_array_foreach(list, i, network)
	{
		const char *state = text_get(network, "state");
		char *addresses = join_addresses(network);

		table_add(table, TEXT_PLAIN, "%s", text_get(network, "name"));
		table_add(table, TEXT_PLAIN, "%s", text_get(network, "kind"));
		table_add(table, TEXT_PLAIN, "%s", text_get(network, "tap"));
		table_add(table, TEXT_PLAIN, "%" PRIu64, text_get_number(network, "mtu"));
		table_add(table, text_state_style(state), "%s", text_state(state));
		table_add(table, TEXT_PLAIN, "%" PRIu64,
			  text_get_number(network, "links_up"));
		table_add(table, TEXT_PLAIN, "%" PRIu64,
			  text_get_number(network, "queues"));
		table_add(table, TEXT_PLAIN, "%s", addresses);
		free(addresses);
	}
	table_print(table, stdout);
	table_free(table);
	members_print(list);
}

/* A number that is left out if 0: not known. */
static void add_if_known(struct table *table, const json_t *object, const char *key)
{
	uint64_t number = text_get_number(object, key);

	if (number)
		table_add(table, TEXT_PLAIN, "%" PRIu64, number);
	else
		table_add(table, TEXT_PLAIN, "%s", "");
}

/* Why it is not up; if it is, what it has paused, and why it is reached that way. */
static void add_reason(struct table *table, const json_t *node)
{
	bool is_up = strcmp(text_get(node, "state"), "up") == 0;
	const char *reason = text_get(node, is_up ? "fabric_reason" : "reason");
	char *paused = text_join(json_object_get(node, "paused"));

	if (*paused)
		table_add(table, TEXT_WARN, "%s%spaused: %s", reason, *reason ? "; " : "",
			  paused);
	else
		table_add(table, TEXT_PLAIN, "%s", reason);
	free(paused);
}

void cli_print_nodes(const json_t *list)
{
	struct table *table = table_new("NODE >ID STATE FABRIC >INCARNATION >PID REASON");
	json_t *node;
	size_t i;

	json_array_foreach(list, i, node)
	{
		const char *state = text_get(node, "state");

		table_add(table, TEXT_PLAIN, "%s", text_get(node, "name"));
		table_add(table, TEXT_PLAIN, "%" PRIu64, text_get_number(node, "id"));
		table_add(table, text_state_style(state), "%s", text_state(state));
		table_add(table, TEXT_PLAIN, "%s", text_get(node, "fabric"));
		add_if_known(table, node, "incarnation");
		add_if_known(table, node, "pid");
		add_reason(table, node);
	}
	table_print(table, stdout);
	table_free(table);
}

void cli_print_fabrics(const json_t *list)
{
	struct table *table =
		table_new("FABRIC KIND STATE DEVICE ADDRESS SECURITY REASON");
	json_t *fabric;
	size_t i;

	json_array_foreach(list, i, fabric)
	{
		const char *state = text_get(fabric, "state");
		const char *path = text_get(fabric, "path");
		const char *security = text_get(fabric, "security");
		bool is_open = strcmp(security, "none") == 0;

		table_add(table, TEXT_PLAIN, "%s", text_get(fabric, "name"));
		table_add(table, TEXT_PLAIN, "%s", text_get(fabric, "kind"));
		table_add(table, text_state_style(state), "%s", text_state(state));
		table_add(table, TEXT_PLAIN, "%s", text_get(fabric, "device"));
		table_add(table, TEXT_PLAIN, "%s",
			  *path ? path : text_get(fabric, "listen"));
		table_add(table, is_open ? TEXT_WARN : TEXT_PLAIN, "%s", security);
		table_add(table, TEXT_PLAIN, "%s", text_get(fabric, "reason"));
	}
	table_print(table, stdout);
	table_free(table);
}

void cli_print_seeds(const json_t *list)
{
	struct table *table = table_new("SEED STATE NODE >SINCE REASON");
	json_t *seed;
	size_t i;

	json_array_foreach(list, i, seed)
	{
		const char *state = text_get(seed, "state");
		bool is_self = strcmp(state, "self") == 0;
		char since[TEXT_NUMBER_MAX];

		text_duration(since, text_get_number(seed, "since_ms"));
		table_add(table, TEXT_PLAIN, "%s", text_get(seed, "address"));
		table_add(table, is_self ? TEXT_PLAIN : text_state_style(state), "%s",
			  state);
		table_add(table, TEXT_PLAIN, "%s", text_get(seed, "node"));
		table_add(table, TEXT_PLAIN, "%s", since);
		table_add(table, TEXT_PLAIN, "%s", text_get(seed, "reason"));
	}
	table_print(table, stdout);
	table_free(table);
}

/* ---- a member of a list by its name ---- */

static json_t *member_find(const json_t *list, const char *name)
{
	json_t *member;
	size_t i;

	json_array_foreach(list, i, member)
	{
		if (strcmp(text_get(member, "name"), name) == 0)
			return member;
	}
	return NULL;
}

/* What is listed: its key in the document, its name in an error, its table. */
struct list {
	const char *key;
	const char *what;
	void (*print)(const json_t *list);
};

static const struct list network_list = {"networks", "network", cli_print_networks};
static const struct list node_list = {"nodes", "node", cli_print_nodes};

static int report_unknown(const struct cli *cli, const struct list *list,
			  const json_t *members, const char *name)
{
	struct cli_error error;
	json_t *member, *names = json_array();
	char *known;
	size_t i;

	json_array_foreach(members, i, member)
		json_array_append(names, json_object_get(member, "name"));
	known = text_join(names);
	cli_error_set(&error, CLI_FAILED, "unknown-name", "no %s '%s' here; there %s%s",
		      list->what, name, *known ? "are: " : "is none", known);
	free(known);
	json_decref(names);
	return cli_report(cli, &error);
}

/* Shows what of the members has that name; all without a name. */
static int list_show(const struct cli *cli, const struct list *list, const json_t *status,
		     json_t *members, const char *name)
{
	const json_t *member = name ? member_find(members, name) : NULL;
	json_t *document;

	if (name && !member)
		return report_unknown(cli, list, members, name);
	document = json_pack("{s:O, s:O}", "schema", json_object_get(status, "schema"),
			     "node", json_object_get(status, "node"));
	json_object_set_new(document, list->key,
			    member ? json_pack("[O]", member) : json_incref(members));
	if (cli->json) {
		cli_print_json(document);
	} else {
		text_clean_json(document);
		if (json_array_size(members) == 0)
			printf("no %s\n", list->key);
		list->print(json_object_get(document, list->key));
	}
	json_decref(document);
	return CLI_OK;
}

/* ---- networks ---- */

int cli_run_networks(struct cli *cli, const char *argument)
{
	json_t *status;
	int rc = cli_ask(cli, "status", &status);

	if (rc)
		return rc;
	rc = list_show(cli, &network_list, status, json_object_get(status, "networks"),
		       argument);
	json_decref(status);
	return rc;
}

/* ---- nodes ---- */

/* Those that the node has paused itself. */
static json_t *pauses_of_status(const json_t *status)
{
	json_t *network, *names = json_array();
	size_t i;

	json_array_foreach(json_object_get(status, "networks"), i, network)
	{
		if (json_is_true(json_object_get(network, "paused")))
			json_array_append(names, json_object_get(network, "name"));
	}
	return names;
}

/* The node that answers first, then those that it knows. */
static json_t *nodes_of_status(const json_t *status)
{
	json_t *list = json_pack(
		"[{s:O, s:O, s:s, s:s, s:O, s:O, s:o}]", "name",
		json_object_get(status, "node"), "id", json_object_get(status, "id"),
		"state", "up", "fabric", "self", "incarnation",
		json_object_get(status, "incarnation"), "pid",
		json_object_get(status, "pid"), "paused", pauses_of_status(status));

	json_array_extend(list, json_object_get(status, "nodes"));
	return list;
}

int cli_run_nodes(struct cli *cli, const char *argument)
{
	json_t *status, *members;
	int rc = cli_ask(cli, "status", &status);

	if (rc)
		return rc;
	members = nodes_of_status(status);
	rc = list_show(cli, &node_list, status, members, argument);
	json_decref(members);
	json_decref(status);
	return rc;
}

/* ---- rings ---- */

static const char *fabric_find(const json_t *others, const char *name)
{
	const json_t *node = member_find(others, name);

	return node ? text_get(node, "fabric") : "";
}

static uint64_t drops_find(const json_t *drops, const char *reason)
{
	json_t *drop;
	size_t i;

	json_array_foreach(drops, i, drop)
	{
		if (strcmp(text_get(drop, "reason"), reason) == 0)
			return text_get_number(drop, "frames");
	}
	return 0;
}

/* The two rings that a link has on a network; `self` writes the one, `peer` the other. */
static void rings_add_link(json_t *rings, const json_t *link, json_t *self,
			   const char *fabric)
{
	json_int_t full =
		(json_int_t)drops_find(json_object_get(link, "sent_drops"), "ring-full");
	json_t *network = json_object_get(link, "network");
	json_t *peer = json_object_get(link, "peer");

	json_array_append_new(
		rings, json_pack("{s:O, s:O, s:O, s:s, s:O, s:O, s:I, s:O}", "network",
				 network, "from", self, "to", peer, "fabric", fabric,
				 "size", json_object_get(link, "ring_size"), "used",
				 json_object_get(link, "ring_used"), "full", full,
				 "doorbells", json_object_get(link, "doorbells_rung")));
	if (json_object_get(link, "received_ring_size")) /* an older node has none */
		json_array_append_new(
			rings,
			json_pack("{s:O, s:O, s:O, s:s, s:O, s:O}", "network", network,
				  "from", peer, "to", self, "fabric", fabric, "size",
				  json_object_get(link, "received_ring_size"), "used",
				  json_object_get(link, "received_ring_used")));
}

static json_t *rings_of_stats(const json_t *stats, const json_t *status)
{
	const json_t *others = json_object_get(status, "nodes");
	json_t *self = json_object_get(stats, "node");
	json_t *rings = json_array();
	json_t *link, *casts;
	size_t i;

	json_array_foreach(json_object_get(stats, "links"), i, link) rings_add_link(
		rings, link, self, fabric_find(others, text_get(link, "peer")));
	casts = json_object_get(stats, "casts"); /* an older node has none */
	return json_pack("{s:O, s:O, s:o, s:o}", "schema",
			 json_object_get(stats, "schema"), "node", self, "rings", rings,
			 "casts", casts ? json_incref(casts) : json_array());
}

/* Sizes are powers of two: 256K, 1M. */
static void add_ring_size(struct table *table, uint64_t size)
{
	static const char *const units[] = {"", "K", "M", "G"};
	unsigned i = 0;

	for (; size && size % 1024 == 0 && i + 1 < sizeof(units) / sizeof(units[0]); i++)
		size /= 1024;
	table_add(table, TEXT_PLAIN, "%" PRIu64 "%s", size, units[i]);
}

/* What only the writer of a ring knows is left out of the other's. */
static void add_writers(struct table *table, const json_t *ring, const char *key,
			enum text_style style)
{
	uint64_t number = text_get_number(ring, key);
	char buffer[TEXT_NUMBER_MAX];

	table_add(table, number ? style : TEXT_PLAIN, "%s",
		  json_object_get(ring, key) ? text_count(buffer, number) : "");
}

static void ring_add(struct table *table, const json_t *ring)
{
	uint64_t size = text_get_number(ring, "size");

	table_add(table, TEXT_PLAIN, "%s", text_get(ring, "network"));
	table_add(table, TEXT_PLAIN, "%s", text_get(ring, "from"));
	table_add(table, TEXT_PLAIN, "%s", text_get(ring, "to"));
	table_add(table, TEXT_PLAIN, "%s", text_get(ring, "fabric"));
	if (size) {
		add_ring_size(table, size);
		table_add(table, TEXT_PLAIN, "%.0f%%",
			  100.0 * (double)text_get_number(ring, "used") / (double)size);
	} else { /* the link is down */
		table_add(table, TEXT_PLAIN, "%s", "");
		table_add(table, TEXT_PLAIN, "%s", "");
	}
	add_writers(table, ring, "full", TEXT_WARN);
	add_writers(table, ring, "doorbells", TEXT_PLAIN);
}

static void cast_add(struct table *table, const json_t *cast)
{
	static const char *const keys[] = {"received", "lapped", "holes", "corrupt"};
	const json_t *counts = json_object_get(cast, "counts");
	const char *state = text_get(cast, "state");
	char buffer[TEXT_NUMBER_MAX];

	table_add(table, TEXT_PLAIN, "%s", text_get(cast, "network"));
	table_add(table, TEXT_PLAIN, "%s%s", text_get(cast, "label"),
		  json_is_true(json_object_get(cast, "lane")) ? " (lane)" : "");
	add_if_known(table, cast, "epoch");
	table_add(table, TEXT_PLAIN, "%" PRIu64, text_get_number(cast, "maker"));
	table_add(table, TEXT_PLAIN, "%" PRIu64, text_get_number(cast, "depth"));
	table_add(table, TEXT_PLAIN, "%" PRIu64, text_get_number(cast, "readers"));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		uint64_t number = text_get_number(counts, keys[i]);

		table_add(table, i && number ? TEXT_WARN : TEXT_PLAIN, "%s",
			  text_count(buffer, number));
	}
	table_add(table, text_state_style(state), "%s", text_state(state));
}

static void casts_print(const json_t *casts)
{
	struct table *table =
		table_new("NETWORK LABEL >EPOCH >MAKER >DEPTH >READERS >RECEIVED "
			  ">LAPPED >HOLES >CORRUPT STATE");
	json_t *cast;
	size_t i;

	if (json_array_size(casts))
		putchar('\n');
	json_array_foreach(casts, i, cast) cast_add(table, cast);
	table_print(table, stdout);
	table_free(table);
}

static void rings_print(json_t *document)
{
	const json_t *rings = json_object_get(document, "rings");
	struct table *table =
		table_new("NETWORK FROM TO FABRIC >SIZE >USED >FULL >DOORBELLS");
	json_t *ring;
	size_t i;

	text_clean_json(document);
	if (json_array_size(rings) == 0)
		puts("no rings");
	json_array_foreach(rings, i, ring) ring_add(table, ring);
	table_print(table, stdout);
	table_free(table);
	casts_print(json_object_get(document, "casts"));
}

int cli_run_rings(struct cli *cli, const char *argument)
{
	json_t *stats, *status, *rings;
	int rc = cli_ask(cli, "status", &status);

	(void)argument;
	if (rc)
		return rc;
	rc = cli_ask(cli, "stats", &stats);
	if (!rc) {
		rings = rings_of_stats(stats, status);
		json_decref(stats);
		if (cli->json)
			cli_print_json(rings);
		else
			rings_print(rings);
		json_decref(rings);
	}
	json_decref(status);
	return rc;
}
