/*
 * Rules that span several keys of a config file: what must be unique, what
 * excludes what, what depends on the defaults.
 *
 * Runs over libyaml's tree after the walk of config_check.c and, so that one run
 * shows everything, also if that found errors: a node that is missing or of the
 * wrong kind is passed over here, as the walk has named it. Looks at no more
 * entries of a list than the schema allows.
 */
#include "control/config_internal.h"

#include <string.h>

struct rules {
	yaml_document_t *document;
	struct config_errors *errors;
	yaml_node_t *node;
	yaml_node_t *fabrics[CONFIG_FABRICS_MAX];
	unsigned num_fabrics;
	yaml_node_t *networks[CONFIG_NETWORKS_MAX];
	unsigned num_networks;
	yaml_node_t *routing; /* NULL: there is none */
};

/* An entry of one of the two lists. */
struct item {
	const char *list; /* what the file calls it */
	unsigned index;
	yaml_node_t *node;
};

/* The entries of a list, up to `room`; none if `list` is no list. */
static unsigned list_entries(yaml_document_t *document, const yaml_node_t *list,
			     yaml_node_t **entries, unsigned room)
{
	yaml_node_item_t *item;
	unsigned count = 0;

	if (!list || list->type != YAML_SEQUENCE_NODE)
		return 0;
	for (item = list->data.sequence.items.start;
	     item < list->data.sequence.items.top && count < room; item++)
		entries[count++] = yaml_document_get_node(document, *item);
	return count;
}

static yaml_node_t *find(const struct rules *rules, yaml_node_t *mapping, const char *key)
{
	return config_node_find(rules->document, mapping, key);
}

static const char *find_text(const struct rules *rules, yaml_node_t *mapping,
			     const char *key)
{
	return config_node_text(find(rules, mapping, key));
}

/* ---- names ---- */

/* What stands for the TAP's name: `tap`, or by default the network's name. */
static yaml_node_t *find_tap(const struct rules *rules, yaml_node_t *network)
{
	yaml_node_t *tap = find(rules, network, "tap");

	return tap ? tap : find(rules, network, "name");
}

static yaml_node_t *find_name(const struct rules *rules, yaml_node_t *entry)
{
	return find(rules, entry, "name");
}

static void check_unique(const struct rules *rules, yaml_node_t *const *entries,
			 unsigned count, const char *what,
			 yaml_node_t *(*get)(const struct rules *, yaml_node_t *))
{
	struct config_quote quote;

	for (unsigned i = 1; i < count; i++) {
		yaml_node_t *node = get(rules, entries[i]);
		const char *text = config_node_text(node);

		for (unsigned j = 0; text && *text && j < i; j++) {
			yaml_node_t *other = get(rules, entries[j]);

			if (!config_node_text(other) ||
			    strcmp(config_node_text(other), text))
				continue;
			config_errors_add(rules->errors, node->start_mark,
					  "%s %s is used twice, first at line %zu", what,
					  config_quote(text, &quote),
					  other->start_mark.line + 1);
			break;
		}
	}
}

/* A network's name can be longer than an interface's and hold other bytes. */
static void check_default_tap(const struct rules *rules, yaml_node_t *network)
{
	yaml_node_t *name = find_name(rules, network);
	const char *text = config_node_text(name);
	struct config_quote quote;
	struct config_why why;

	if (!text || find(rules, network, "tap"))
		return;
	if (strlen(text) > CONFIG_TAP_MAX)
		config_errors_add(
			rules->errors, name->start_mark,
			"network name %s is longer than the %d bytes that an "
			"interface's name can have; give one with the key 'tap'",
			config_quote(text, &quote), CONFIG_TAP_MAX);
	else if (!config_check_name(text, &why) && config_check_tap(text, &why))
		config_errors_add(rules->errors, name->start_mark,
				  "network name %s %s; give one with the key 'tap'",
				  config_quote(text, &quote), why.text);
}

/* ---- fabrics and paths ---- */

/* `kind` is the word of the file; shm if there is none. */
static bool is_kind(const struct rules *rules, yaml_node_t *fabric, const char *kind)
{
	yaml_node_t *node = find(rules, fabric, "kind");

	if (!node)
		return fabric->type == YAML_MAPPING_NODE && !strcmp(kind, "shm");
	return config_node_text(node) && !strcmp(config_node_text(node), kind);
}

static bool is_shm(const struct rules *rules, yaml_node_t *fabric)
{
	return is_kind(rules, fabric, "shm");
}

static bool is_rdma(const struct rules *rules, yaml_node_t *fabric)
{
	return is_kind(rules, fabric, "rdma");
}

static void check_fabric_count(const struct rules *rules, const char *kind)
{
	yaml_node_t *first = NULL;

	for (unsigned i = 0; i < rules->num_fabrics; i++) {
		if (!is_kind(rules, rules->fabrics[i], kind))
			continue;
		if (first)
			config_errors_add(rules->errors, rules->fabrics[i]->start_mark,
					  "fabrics[%u]: a second fabric of kind %s (the "
					  "first is at line %zu) is not supported; "
					  "remove one",
					  i, kind, first->start_mark.line + 1);
		else
			first = rules->fabrics[i];
	}
}

static void refuse_keys(const struct rules *rules, const struct item *item,
			const char *const *keys, const char *why)
{
	for (; *keys; keys++) {
		yaml_node_t *value = find(rules, item->node, *keys);

		if (value)
			config_errors_add(rules->errors, value->start_mark,
					  "%s[%u].%s: %s; remove the key", item->list,
					  item->index, *keys, why);
	}
}

static void require_keys(const struct rules *rules, const struct item *item,
			 const char *const *keys, const char *why)
{
	char missing[64] = "";
	size_t used = 0;

	for (; *keys; keys++) {
		if (!find(rules, item->node, *keys))
			used += (size_t)snprintf(missing + used, sizeof(missing) - used,
						 "%s'%s'", used ? ", " : "", *keys);
	}
	if (used)
		config_errors_add(rules->errors, item->node->start_mark,
				  "%s[%u]: missing %s: %s", item->list, item->index,
				  missing, why);
}

static void check_security(const struct rules *rules, const struct item *fabric)
{
	static const char *const files[] = {"ca", "certificate", "key", NULL};
	yaml_node_t *node = find(rules, fabric->node, "security");
	const char *text = config_node_text(node);

	if (text && !strcmp(text, "none"))
		refuse_keys(rules, fabric, files, "not used with 'security: none'");
	else if (!node || (text && !strcmp(text, "tls")))
		require_keys(rules, fabric, files,
			     "TLS needs the paths of these files ('shmnetctl keygen' "
			     "makes them; 'security: none' goes without)");
}

/* A list that is the same on all nodes is fine: that it names ourselves is no error. */
static void check_seeds(const struct rules *rules, const struct item *fabric)
{
	yaml_node_t *list = find(rules, fabric->node, "seeds");
	struct config_endpoint seeds[CONFIG_SEEDS_MAX];
	yaml_node_t *entries[CONFIG_SEEDS_MAX];
	struct config_quote quote;
	struct config_why why;
	unsigned count = list_entries(rules->document, list, entries, CONFIG_SEEDS_MAX);

	for (unsigned i = 0; i < count; i++) {
		const char *text = config_node_text(entries[i]);

		seeds[i].text[0] = '\0';
		if (!text || config_parse_endpoint(text, &seeds[i], &why))
			continue;
		for (unsigned j = 0; j < i; j++) {
			if (!strcmp(seeds[i].text, seeds[j].text))
				config_errors_add(
					rules->errors, entries[i]->start_mark,
					"fabrics[%u].seeds[%u]: %s is there already, at "
					"line %zu",
					fabric->index, i, config_quote(text, &quote),
					entries[j]->start_mark.line + 1);
		}
	}
}

static void check_fabric_keys(const struct rules *rules, unsigned index)
{
	static const char *const of_shm[] = {"path", "uids", NULL};
	static const char *const of_rdma[] = {"device",	  "listen", "seeds",
					      "security", "ca",	    "certificate",
					      "key",	  NULL};
	static const char *const needed[] = {"listen", NULL};
	const struct item fabric = {"fabrics", index, rules->fabrics[index]};

	if (is_shm(rules, fabric.node)) {
		refuse_keys(rules, &fabric, of_rdma,
			    "belongs to kind rdma, this fabric is of kind shm");
	} else if (is_rdma(rules, fabric.node)) {
		refuse_keys(rules, &fabric, of_shm,
			    "belongs to kind shm, this fabric is of kind rdma");
		require_keys(rules, &fabric, needed,
			     "kind rdma needs the address and port of this host that "
			     "others reach it at");
		check_security(rules, &fabric);
		check_seeds(rules, &fabric);
	}
}

/* The runtime directory if it is good for more checks, otherwise NULL. */
static const char *runtime_dir(const struct rules *rules)
{
	yaml_node_t *node = find(rules, rules->node, "runtime_dir");
	const char *text = config_node_text(node);
	struct config_why why;

	if (!node)
		return CONFIG_RUNTIME_DIR_DEFAULT;
	if (!text || strlen(text) > CONFIG_PATH_MAX || config_check_path(text, &why))
		return NULL;
	return text;
}

/* <runtime_dir>/<name>.sock has to fit a socket's address. */
static void check_control_socket(const struct rules *rules)
{
	yaml_node_t *at = find(rules, rules->node, "runtime_dir");
	const char *name = find_text(rules, rules->node, "name");
	const char *dir = runtime_dir(rules);
	size_t len;

	if (!at || !name || !dir)
		return;
	len = strlen(dir) + strlen("/") + strlen(name) + strlen(".sock");
	if (len > CONFIG_PATH_MAX)
		config_errors_add(
			rules->errors, at->start_mark,
			"node.runtime_dir: the control socket <runtime_dir>/<name>"
			".sock would have a path of %zu bytes, %d is the most; "
			"choose a shorter directory",
			len, CONFIG_PATH_MAX);
}

/* A fabric without `path` is below runtime_dir, which then has to be shorter. */
static void check_default_fabric_dir(const struct rules *rules)
{
	yaml_node_t *at = find(rules, rules->node, "runtime_dir");
	const char *dir = runtime_dir(rules);
	char path[CONFIG_PATH_MAX + sizeof(CONFIG_FABRIC_DIR_DEFAULT)];
	struct config_why why;

	if (!at || !dir)
		return;
	snprintf(path, sizeof(path), "%s%s", dir, CONFIG_FABRIC_DIR_DEFAULT);
	for (unsigned i = 0; i < rules->num_fabrics; i++) {
		if (!is_shm(rules, rules->fabrics[i]) ||
		    find(rules, rules->fabrics[i], "path") ||
		    !config_check_fabric_dir(path, &why))
			continue;
		config_errors_add(
			rules->errors, at->start_mark,
			"node.runtime_dir: fabrics[%u] has no path, and its default "
			"<runtime_dir>%s %s",
			i, CONFIG_FABRIC_DIR_DEFAULT, why.text);
	}
}

/* ---- addresses ---- */

/* All addresses of networks that parse, to find those that stand there twice. */
struct address_list {
	unsigned count;
	struct seen_address {
		struct config_address address;
		enum network_kind kind;
		const yaml_node_t *node;
	} list[CONFIG_NETWORKS_MAX * (CONFIG_ADDRESSES_MAX + 1)];
};

/* Neither this nor that if `kind` is an unknown word: the walk has named it. */
static bool is_global(const struct rules *rules, yaml_node_t *network)
{
	const char *text = find_text(rules, network, "kind");

	return text && !strcmp(text, "global");
}

static bool is_local(const struct rules *rules, yaml_node_t *network)
{
	yaml_node_t *kind = find(rules, network, "kind");
	const char *text = config_node_text(kind);

	return !kind || (text && !strcmp(text, "local"));
}

static enum network_kind network_kind(const struct rules *rules, yaml_node_t *network)
{
	return is_global(rules, network) ? NETWORK_KIND_GLOBAL : NETWORK_KIND_LOCAL;
}

static const struct seen_address *find_address(const struct address_list *seen,
					       const struct config_address *address)
{
	for (unsigned i = 0; i < seen->count; i++) {
		if (seen->list[i].address.family == address->family &&
		    !memcmp(seen->list[i].address.bytes, address->bytes, 16))
			return &seen->list[i];
	}
	return NULL;
}

static void add_address(const struct rules *rules, struct address_list *seen,
			enum network_kind kind, const yaml_node_t *node)
{
	const char *text = config_node_text(node);
	const struct seen_address *first;
	struct config_address address;
	struct config_quote quote;
	struct config_why why;

	if (!node || !text || config_parse_address(text, kind, &address, &why))
		return;
	first = find_address(seen, &address);
	if (first)
		config_errors_add(rules->errors, node->start_mark,
				  "address %s is used twice, first at line %zu",
				  config_quote(text, &quote),
				  first->node->start_mark.line + 1);
	else
		seen->list[seen->count++] = (struct seen_address){address, kind, node};
}

/* `place` is the key, or with its index the entry of a list. */
static void check_address(const struct rules *rules, unsigned index, const char *place,
			  bool is_entry, const yaml_node_t *node)
{
	yaml_node_t *network = rules->networks[index];
	const char *text = config_node_text(node);
	struct config_quote quote;
	struct config_why why;

	if (!node || !text || !*text || config_node_is_null(node) ||
	    strlen(text) > CONFIG_ADDRESS_LONGEST)
		return;
	if (!is_local(rules, network) && !is_global(rules, network))
		return;
	if (config_check_address(text, network_kind(rules, network), is_entry, &why))
		config_errors_add(rules->errors, node->start_mark,
				  "networks[%u].%s: %s %s", index, place,
				  config_quote(text, &quote), why.text);
}

static bool is_dhcp(const yaml_node_t *node)
{
	const char *text = config_node_text(node);

	return text && !strcmp(text, "dhcp");
}

static bool is_ipv4(const yaml_node_t *node)
{
	const char *text = config_node_text(node);
	struct config_address address;
	struct config_why why;

	return text && !config_parse_address(text, NETWORK_KIND_LOCAL, &address, &why) &&
	       address.family == AF_INET;
}

/* A client flushes what IPv4 addresses it finds: those of the config would go, too. */
static void check_dhcp(const struct rules *rules, yaml_node_t *const *entries,
		       unsigned count)
{
	const yaml_node_t *dhcp = NULL;
	struct config_quote quote;

	for (unsigned i = 0; i < count; i++) {
		if (is_dhcp(entries[i]) && dhcp)
			config_errors_add(rules->errors, entries[i]->start_mark,
					  "'dhcp' stands here twice; remove one");
		else if (is_dhcp(entries[i]))
			dhcp = entries[i];
	}
	for (unsigned i = 0; dhcp && i < count; i++) {
		if (is_ipv4(entries[i]))
			config_errors_add(
				rules->errors, entries[i]->start_mark,
				"address %s beside 'dhcp': DHCP clients remove the other "
				"IPv4 addresses of their interface; remove one of the "
				"two (IPv6 addresses may stay)",
				config_quote(config_node_text(entries[i]), &quote));
	}
}

static void check_address_list(const struct rules *rules, unsigned index,
			       struct address_list *seen, const yaml_node_t *list)
{
	enum network_kind kind = network_kind(rules, rules->networks[index]);
	yaml_node_t *entries[CONFIG_ADDRESSES_MAX];
	char place[32];
	unsigned count =
		list_entries(rules->document, list, entries, CONFIG_ADDRESSES_MAX);

	for (unsigned i = 0; i < count; i++) {
		snprintf(place, sizeof(place), "addresses[%u]", i);
		check_address(rules, index, place, true, entries[i]);
		add_address(rules, seen, kind, entries[i]);
	}
	if (kind == NETWORK_KIND_LOCAL)
		check_dhcp(rules, entries, count);
	else if (list && list->type == YAML_SEQUENCE_NODE && !count)
		config_errors_add(rules->errors, list->start_mark,
				  "networks[%u].addresses: a global network needs an "
				  "address",
				  index);
}

static void check_addresses(const struct rules *rules, unsigned index,
			    struct address_list *seen)
{
	enum network_kind kind = network_kind(rules, rules->networks[index]);
	yaml_node_t *one = find(rules, rules->networks[index], "address");
	yaml_node_t *many = find(rules, rules->networks[index], "addresses");
	yaml_node_t *later;

	if (one && many) {
		later = one->start_mark.index > many->start_mark.index ? one : many;
		config_errors_add(
			rules->errors, later->start_mark,
			"'address' and 'addresses' exclude each other; put all into "
			"'addresses'");
	}
	check_address(rules, index, "address", false, one);
	add_address(rules, seen, kind, one);
	check_address_list(rules, index, seen, many);
	if (kind == NETWORK_KIND_GLOBAL && !one && !many)
		config_errors_add(rules->errors, rules->networks[index]->start_mark,
				  "networks[%u]: missing 'address': a global network "
				  "needs the address that all its members have",
				  index);
}

/* ---- global networks ---- */

/* What a member sends to a seed, or others to us, would be dispatched. */
static void check_endpoint_address(const struct rules *rules,
				   const struct address_list *seen, const char *place,
				   const yaml_node_t *node)
{
	const char *text = config_node_text(node);
	const struct seen_address *first;
	struct config_endpoint endpoint;
	struct config_address address;
	struct config_quote quote;
	struct config_why why;

	if (!node || !text || config_parse_endpoint(text, &endpoint, &why))
		return;
	address = config_endpoint_address(&endpoint);
	first = find_address(seen, &address);
	if (first && first->kind == NETWORK_KIND_GLOBAL)
		config_errors_add(rules->errors, node->start_mark,
				  "%s: %s is at the global address of line %zu, which is "
				  "no single host's; give the host's own address",
				  place, config_quote(text, &quote),
				  first->node->start_mark.line + 1);
}

static void check_fabric_addresses(const struct rules *rules, unsigned index,
				   const struct address_list *seen)
{
	yaml_node_t *fabric = rules->fabrics[index];
	yaml_node_t *entries[CONFIG_SEEDS_MAX];
	char place[64];
	unsigned count = list_entries(rules->document, find(rules, fabric, "seeds"),
				      entries, CONFIG_SEEDS_MAX);

	snprintf(place, sizeof(place), "fabrics[%u].listen", index);
	check_endpoint_address(rules, seen, place, find(rules, fabric, "listen"));
	for (unsigned i = 0; i < count; i++) {
		snprintf(place, sizeof(place), "fabrics[%u].seeds[%u]", index, i);
		check_endpoint_address(rules, seen, place, entries[i]);
	}
}

static void check_members_twice(const struct rules *rules, unsigned index,
				yaml_node_t *const *entries, unsigned count)
{
	struct config_quote quote;

	for (unsigned i = 1; i < count; i++) {
		const char *text = config_node_text(entries[i]);

		for (unsigned j = 0; text && j < i; j++) {
			if (!config_node_text(entries[j]) ||
			    strcmp(config_node_text(entries[j]), text))
				continue;
			config_errors_add(rules->errors, entries[i]->start_mark,
					  "networks[%u].members[%u]: %s is there "
					  "already, at line %zu",
					  index, i, config_quote(text, &quote),
					  entries[j]->start_mark.line + 1);
			break;
		}
	}
}

/* What the walk has refused needs no room. */
static size_t member_bytes(const struct rules *rules, yaml_node_t *list)
{
	yaml_node_t *entries[CONFIG_MEMBERS_MAX];
	unsigned count = list_entries(rules->document, list, entries, CONFIG_MEMBERS_MAX);
	size_t bytes = 0;

	for (unsigned i = 0; i < count; i++) {
		const char *text = config_node_text(entries[i]);
		size_t length = text ? strlen(text) : 0;

		bytes += length < CONFIG_NAME_MAX ? length + 1 : 0;
	}
	return bytes;
}

static void check_member_bytes(const struct rules *rules)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < rules->num_networks; i++) {
		yaml_node_t *list = find(rules, rules->networks[i], "members");

		bytes += list ? member_bytes(rules, list) : 0;
		if (bytes <= CONFIG_MEMBER_BYTES_MAX)
			continue;
		config_errors_add(rules->errors, list->start_mark,
				  "networks[%u].members: up to here the lists of members "
				  "take %zu bytes, a byte per name added; %d is the most",
				  i, bytes, CONFIG_MEMBER_BYTES_MAX);
		return;
	}
}

static void check_members(const struct rules *rules, unsigned index)
{
	yaml_node_t *list = find(rules, rules->networks[index], "members");
	const char *self = find_text(rules, rules->node, "name");
	yaml_node_t *entries[CONFIG_MEMBERS_MAX];
	struct config_quote quote;
	bool is_member = false;
	unsigned count = list_entries(rules->document, list, entries, CONFIG_MEMBERS_MAX);

	check_members_twice(rules, index, entries, count);
	for (unsigned i = 0; self && i < count; i++) {
		const char *text = config_node_text(entries[i]);

		is_member |= text && !strcmp(text, self);
	}
	if (count && self && !is_member)
		config_errors_add(rules->errors, list->start_mark,
				  "networks[%u].members: this node, %s, is not among "
				  "them; add it, or remove the network here",
				  index, config_quote(self, &quote));
}

/* Who has the addresses knows by the section that others announce them. */
static void check_announce_routing(const struct rules *rules, unsigned index,
				   const yaml_node_t *node)
{
	if (!rules->routing)
		config_errors_add(rules->errors, node->start_mark,
				  "networks[%u].announce: 'routing' needs the section "
				  "'routing', which is not there; add 'routing: {nics: "
				  "[eth0]}' with the interfaces to the outside, or "
				  "'routing: {}' if this node has none",
				  index);
}

/* What gives a TAP this name; NULL: nothing, or only a local network where a global one
 * is wanted. */
static const yaml_node_t *find_tap_named(const struct rules *rules, const char *text,
					 bool wants_global)
{
	for (unsigned i = 0; i < rules->num_networks; i++) {
		yaml_node_t *tap = find_tap(rules, rules->networks[i]);
		const char *name = config_node_text(tap);

		if (name && !strcmp(name, text) &&
		    (!wants_global || is_global(rules, rules->networks[i])))
			return tap;
	}
	return NULL;
}

/* The port of a global network has no LAN behind it. */
static void check_announce(const struct rules *rules, unsigned index)
{
	yaml_node_t *node = find(rules, rules->networks[index], "announce");
	const char *text = config_node_text(node);
	const yaml_node_t *tap = text ? find_tap_named(rules, text, true) : NULL;
	struct config_quote quote;

	if (text && !strcmp(text, CONFIG_ANNOUNCE_ROUTING)) {
		check_announce_routing(rules, index, node);
	} else if (tap) {
		config_errors_add(rules->errors, node->start_mark,
				  "networks[%u].announce: %s is the TAP of a global "
				  "network (line %zu); give the interface whose LAN "
				  "the address is for",
				  index, config_quote(text, &quote),
				  tap->start_mark.line + 1);
	}
}

static void check_network_keys(const struct rules *rules, unsigned index)
{
	static const char *const of_global[] = {
		"members", "balance", "weight", "ephemeral", "announce", "flows", NULL};
	static const char *const of_local[] = {"cost", NULL};
	const struct item network = {"networks", index, rules->networks[index]};

	if (is_global(rules, network.node)) {
		refuse_keys(rules, &network, of_local,
			    "belongs to kind local, this network is of kind global, "
			    "where no routing protocol is spoken");
		check_members(rules, index);
		check_announce(rules, index);
	} else if (is_local(rules, network.node)) {
		refuse_keys(rules, &network, of_global,
			    "belongs to kind global, this network is of kind local");
	}
}

/* ---- routing ---- */

static void check_nic_twice(const struct rules *rules, yaml_node_t *const *entries,
			    unsigned index)
{
	const char *text = config_node_text(entries[index]);
	struct config_quote quote;

	for (unsigned j = 0; j < index; j++) {
		if (!config_node_text(entries[j]) ||
		    strcmp(config_node_text(entries[j]), text))
			continue;
		config_errors_add(rules->errors, entries[index]->start_mark,
				  "routing.nics[%u]: %s is there already, at line %zu; "
				  "remove one",
				  index, config_quote(text, &quote),
				  entries[j]->start_mark.line + 1);
		return;
	}
}

static void check_nic_tap(const struct rules *rules, const yaml_node_t *nic,
			  unsigned index)
{
	const char *text = config_node_text(nic);
	const yaml_node_t *tap = find_tap_named(rules, text, false);
	struct config_quote quote;

	if (tap)
		config_errors_add(rules->errors, nic->start_mark,
				  "routing.nics[%u]: %s is the TAP of a network of this "
				  "file (line %zu); give an interface to the outside",
				  index, config_quote(text, &quote),
				  tap->start_mark.line + 1);
}

static void check_nics(const struct rules *rules)
{
	yaml_node_t *list = find(rules, rules->routing, "nics");
	yaml_node_t *entries[CONFIG_NICS_MAX];
	unsigned count = list_entries(rules->document, list, entries, CONFIG_NICS_MAX);

	for (unsigned i = 0; i < count; i++) {
		if (!config_node_text(entries[i]))
			continue;
		check_nic_twice(rules, entries, i);
		check_nic_tap(rules, entries[i], i);
	}
}

/* ---- the DHCP client ---- */

static void check_dhcp_client(const struct rules *rules)
{
	yaml_node_t *list = find(rules, rules->node, "dhcp_client");
	yaml_node_t *entries[CONFIG_DHCP_ARGS_MAX];
	struct config_quote quote;
	bool has_interface = false;
	unsigned count =
		list_entries(rules->document, list, entries, CONFIG_DHCP_ARGS_MAX);
	const char *text = count ? config_node_text(entries[0]) : NULL;

	if (!text)
		return;
	if (*text != '/')
		config_errors_add(rules->errors, entries[0]->start_mark,
				  "node.dhcp_client[0]: %s is not an absolute path: it "
				  "has to start with '/'",
				  config_quote(text, &quote));
	for (unsigned i = 1; i < count; i++) {
		text = config_node_text(entries[i]);
		has_interface |= text && !strcmp(text, "%i");
	}
	if (!has_interface)
		config_errors_add(rules->errors, list->start_mark,
				  "node.dhcp_client: no argument is \"%%i\", which "
				  "stands for the interface; add it");
}

void config_check_rules(yaml_document_t *document, struct config_errors *errors)
{
	yaml_node_t *root = yaml_document_get_root_node(document);
	struct rules rules = {.document = document, .errors = errors};
	struct address_list seen = {0};

	rules.node = find(&rules, root, "node");
	rules.num_fabrics = list_entries(document, find(&rules, root, "fabrics"),
					 rules.fabrics, CONFIG_FABRICS_MAX);
	rules.num_networks = list_entries(document, find(&rules, root, "networks"),
					  rules.networks, CONFIG_NETWORKS_MAX);
	rules.routing = find(&rules, root, "routing");
	check_control_socket(&rules);
	check_dhcp_client(&rules);
	check_default_fabric_dir(&rules);
	check_fabric_count(&rules, "shm");
	check_fabric_count(&rules, "rdma");
	for (unsigned i = 0; i < rules.num_fabrics; i++)
		check_fabric_keys(&rules, i);
	check_unique(&rules, rules.fabrics, rules.num_fabrics, "fabric name", find_name);
	check_unique(&rules, rules.networks, rules.num_networks, "network name",
		     find_name);
	check_unique(&rules, rules.networks, rules.num_networks, "TAP name", find_tap);
	for (unsigned i = 0; i < rules.num_networks; i++) {
		check_default_tap(&rules, rules.networks[i]);
		check_addresses(&rules, i, &seen);
		check_network_keys(&rules, i);
	}
	check_member_bytes(&rules);
	check_nics(&rules);
	for (unsigned i = 0; i < rules.num_fabrics; i++)
		check_fabric_addresses(&rules, i, &seen);
}
