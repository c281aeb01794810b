/*
 * See config.h. The schema and the rules beside it, loading, conversion to the
 * defaults' side.
 *
 * What a file holds (struct file_*, filled by libcyaml: absent keys are NULL) and
 * what the program works with (struct node_config: defaults filled in, texts
 * parsed) are two sets of structs; config_build() leads from one to the other.
 */
#include "control/config_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <shmnet/cast.h>
#include <shmnet/wire.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the schema ---- */

struct file_liveness {
	uint32_t *interval_ms;
	uint32_t *misses;
};

struct file_node {
	char *name;
	uint16_t id;
	char *cluster;
	char *runtime_dir;
	uint32_t *spin_us;
	char **dhcp_client;
	unsigned dhcp_client_count;
	struct file_liveness *liveness;
	char *netns;
};

struct file_fabric {
	char *name;
	enum fabric_kind kind;
	char *path;
	uint32_t *uids;
	unsigned uids_count;
	char *device;
	char *listen;
	char **seeds;
	unsigned seeds_count;
	enum fabric_security security;
	char *ca, *certificate, *key;
};

struct file_network {
	char *name;
	enum network_kind kind;
	char *tap;
	uint32_t *mtu;
	char *ring_size;
	uint32_t *multicast_rings;
	uint32_t *cast_depth;
	enum cast_mode cast;
	uint32_t *offloads;
	char *address;
	char **addresses;
	unsigned addresses_count;
	uint32_t *cost;
	char **members;
	unsigned members_count;
	enum config_balance balance;
	uint32_t *weight;
	enum config_ephemeral ephemeral;
	char *announce;
	uint32_t *flows;
};

struct file_routing {
	char *area;
	char **nics;
	unsigned nics_count;
	uint32_t *nic_cost;
};

struct file_config {
	struct file_node node;
	struct file_fabric *fabrics;
	unsigned fabrics_count;
	struct file_network *networks;
	unsigned networks_count;
	struct file_routing *routing;
};

#define OPTIONAL CYAML_FLAG_OPTIONAL
#define REQUIRED CYAML_FLAG_DEFAULT
#define NAME_LEN (CONFIG_NAME_MAX - 1)

static const cyaml_schema_value_t argument_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, 255),
};

static const cyaml_schema_field_t liveness_fields[] = {
	CYAML_FIELD_UINT_PTR("interval_ms", OPTIONAL, struct file_liveness, interval_ms),
	CYAML_FIELD_UINT_PTR("misses", OPTIONAL, struct file_liveness, misses),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t node_fields[] = {
	CYAML_FIELD_STRING_PTR("name", REQUIRED, struct file_node, name, 1, NAME_LEN),
	CYAML_FIELD_UINT("id", REQUIRED, struct file_node, id),
	CYAML_FIELD_STRING_PTR("cluster", OPTIONAL, struct file_node, cluster, 1,
			       NAME_LEN),
	CYAML_FIELD_STRING_PTR("runtime_dir", OPTIONAL, struct file_node, runtime_dir, 1,
			       CONFIG_PATH_MAX),
	CYAML_FIELD_UINT_PTR("spin_us", OPTIONAL, struct file_node, spin_us),
	CYAML_FIELD_SEQUENCE("dhcp_client", OPTIONAL | CYAML_FLAG_POINTER,
			     struct file_node, dhcp_client, &argument_entry, 1,
			     CONFIG_DHCP_ARGS_MAX),
	CYAML_FIELD_MAPPING_PTR("liveness", OPTIONAL, struct file_node, liveness,
				liveness_fields),
	CYAML_FIELD_STRING_PTR("netns", OPTIONAL, struct file_node, netns, 1,
			       CONFIG_NETNS_MAX - 1),
	CYAML_FIELD_END,
};

const cyaml_strval_t config_fabric_kinds[] = {
	{"shm", FABRIC_KIND_SHM},
	{"rdma", FABRIC_KIND_RDMA},
};

static const cyaml_schema_value_t uid_entry = {
	CYAML_VALUE_UINT(CYAML_FLAG_DEFAULT, uint32_t),
};

const cyaml_strval_t config_securities[] = {
	{"tls", FABRIC_SECURITY_TLS},
	{"none", FABRIC_SECURITY_NONE},
};

static const cyaml_schema_value_t seed_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, CONFIG_ENDPOINT_MAX - 1),
};

/* Which key belongs to which kind, and which is needed, is up to the rules. */
static const cyaml_schema_field_t fabric_fields[] = {
	CYAML_FIELD_STRING_PTR("name", REQUIRED, struct file_fabric, name, 1, NAME_LEN),
	CYAML_FIELD_ENUM("kind", OPTIONAL | CYAML_FLAG_STRICT, struct file_fabric, kind,
			 config_fabric_kinds, CYAML_ARRAY_LEN(config_fabric_kinds)),
	CYAML_FIELD_STRING_PTR("path", OPTIONAL, struct file_fabric, path, 1,
			       CONFIG_PATH_MAX),
	CYAML_FIELD_SEQUENCE("uids", OPTIONAL | CYAML_FLAG_POINTER, struct file_fabric,
			     uids, &uid_entry, 0, CONFIG_UIDS_MAX),
	CYAML_FIELD_STRING_PTR("device", OPTIONAL, struct file_fabric, device, 1,
			       CONFIG_DEVICE_MAX),
	CYAML_FIELD_STRING_PTR("listen", OPTIONAL, struct file_fabric, listen, 1,
			       CONFIG_ENDPOINT_MAX - 1),
	CYAML_FIELD_SEQUENCE("seeds", OPTIONAL | CYAML_FLAG_POINTER, struct file_fabric,
			     seeds, &seed_entry, 0, CONFIG_SEEDS_MAX),
	CYAML_FIELD_ENUM("security", OPTIONAL | CYAML_FLAG_STRICT, struct file_fabric,
			 security, config_securities, CYAML_ARRAY_LEN(config_securities)),
	CYAML_FIELD_STRING_PTR("ca", OPTIONAL, struct file_fabric, ca, 1,
			       CONFIG_FILE_PATH_MAX),
	CYAML_FIELD_STRING_PTR("certificate", OPTIONAL, struct file_fabric, certificate,
			       1, CONFIG_FILE_PATH_MAX),
	CYAML_FIELD_STRING_PTR("key", OPTIONAL, struct file_fabric, key, 1,
			       CONFIG_FILE_PATH_MAX),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t fabric_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct file_fabric, fabric_fields),
};

const cyaml_strval_t config_network_kinds[] = {
	{"local", NETWORK_KIND_LOCAL},
	{"global", NETWORK_KIND_GLOBAL},
};

const cyaml_strval_t config_cast_modes[] = {
	{"shared", CAST_MODE_SHARED},
	{"lanes", CAST_MODE_LANES},
};

const cyaml_strval_t config_offload_names[] = {
	{"tso4", SHMNET_OFFLOAD_TSO4},
	{"tso6", SHMNET_OFFLOAD_TSO6},
	{"uso", SHMNET_OFFLOAD_USO},
};
_Static_assert(CYAML_ARRAY_LEN(config_offload_names) == CONFIG_OFFLOADS &&
		       SHMNET_OFFLOADS == (1u << CONFIG_OFFLOADS) - 1,
	       "a name per bit");

static const cyaml_schema_value_t address_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, CONFIG_ADDRESS_LONGEST),
};

static const cyaml_schema_value_t member_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, NAME_LEN),
};

const cyaml_strval_t config_balances[] = {
	{"round-robin", CONFIG_BALANCE_ROUND_ROBIN},
	{"least-connections", CONFIG_BALANCE_LEAST_CONNECTIONS},
	{"consistent-hash", CONFIG_BALANCE_CONSISTENT_HASH},
};

const cyaml_strval_t config_ephemerals[] = {
	{"slice", CONFIG_EPHEMERAL_SLICE},
	{"shared", CONFIG_EPHEMERAL_SHARED},
};

/* As with fabrics: which key belongs to which kind is up to the rules. */
static const cyaml_schema_field_t network_fields[] = {
	CYAML_FIELD_STRING_PTR("name", REQUIRED, struct file_network, name, 1, NAME_LEN),
	CYAML_FIELD_ENUM("kind", OPTIONAL | CYAML_FLAG_STRICT, struct file_network, kind,
			 config_network_kinds, CYAML_ARRAY_LEN(config_network_kinds)),
	CYAML_FIELD_STRING_PTR("tap", OPTIONAL, struct file_network, tap, 1,
			       CONFIG_TAP_MAX),
	CYAML_FIELD_UINT_PTR("mtu", OPTIONAL, struct file_network, mtu),
	CYAML_FIELD_STRING_PTR("ring_size", OPTIONAL, struct file_network, ring_size, 1,
			       32),
	CYAML_FIELD_UINT_PTR("multicast_rings", OPTIONAL, struct file_network,
			     multicast_rings),
	CYAML_FIELD_UINT_PTR("cast_depth", OPTIONAL, struct file_network, cast_depth),
	CYAML_FIELD_ENUM("cast", OPTIONAL | CYAML_FLAG_STRICT, struct file_network, cast,
			 config_cast_modes, CYAML_ARRAY_LEN(config_cast_modes)),
	CYAML_FIELD_FLAGS_PTR("offloads", OPTIONAL | CYAML_FLAG_STRICT,
			      struct file_network, offloads, config_offload_names,
			      CYAML_ARRAY_LEN(config_offload_names)),
	CYAML_FIELD_STRING_PTR("address", OPTIONAL, struct file_network, address, 1,
			       CONFIG_ADDRESS_LONGEST),
	CYAML_FIELD_SEQUENCE("addresses", OPTIONAL | CYAML_FLAG_POINTER,
			     struct file_network, addresses, &address_entry, 0,
			     CONFIG_ADDRESSES_MAX),
	CYAML_FIELD_UINT_PTR("cost", OPTIONAL, struct file_network, cost),
	CYAML_FIELD_SEQUENCE("members", OPTIONAL | CYAML_FLAG_POINTER,
			     struct file_network, members, &member_entry, 1,
			     CONFIG_MEMBERS_MAX),
	CYAML_FIELD_ENUM("balance", OPTIONAL | CYAML_FLAG_STRICT, struct file_network,
			 balance, config_balances, CYAML_ARRAY_LEN(config_balances)),
	CYAML_FIELD_UINT_PTR("weight", OPTIONAL, struct file_network, weight),
	CYAML_FIELD_ENUM("ephemeral", OPTIONAL | CYAML_FLAG_STRICT, struct file_network,
			 ephemeral, config_ephemerals,
			 CYAML_ARRAY_LEN(config_ephemerals)),
	CYAML_FIELD_STRING_PTR("announce", OPTIONAL, struct file_network, announce, 1,
			       CONFIG_TAP_MAX),
	CYAML_FIELD_UINT_PTR("flows", OPTIONAL, struct file_network, flows),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t network_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct file_network, network_fields),
};

static const cyaml_schema_value_t nic_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, CONFIG_TAP_MAX),
};

static const cyaml_schema_field_t routing_fields[] = {
	CYAML_FIELD_STRING_PTR("area", OPTIONAL, struct file_routing, area, 1, 32),
	CYAML_FIELD_SEQUENCE("nics", OPTIONAL | CYAML_FLAG_POINTER, struct file_routing,
			     nics, &nic_entry, 0, CONFIG_NICS_MAX),
	CYAML_FIELD_UINT_PTR("nic_cost", OPTIONAL, struct file_routing, nic_cost),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t file_fields[] = {
	CYAML_FIELD_MAPPING("node", REQUIRED, struct file_config, node, node_fields),
	CYAML_FIELD_SEQUENCE("fabrics", CYAML_FLAG_POINTER, struct file_config, fabrics,
			     &fabric_entry, 1, CONFIG_FABRICS_MAX),
	CYAML_FIELD_SEQUENCE("networks", CYAML_FLAG_POINTER, struct file_config, networks,
			     &network_entry, 1, CONFIG_NETWORKS_MAX),
	CYAML_FIELD_MAPPING_PTR("routing", OPTIONAL, struct file_config, routing,
				routing_fields),
	CYAML_FIELD_END,
};

const cyaml_schema_value_t config_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct file_config, file_fields),
};

#define ASSERT_FIELDS(fields)                                                            \
	_Static_assert(CYAML_ARRAY_LEN(fields) <= CONFIG_FIELDS_MAX + 1,                 \
		       "the end included")
ASSERT_FIELDS(liveness_fields);
ASSERT_FIELDS(node_fields);
ASSERT_FIELDS(fabric_fields);
ASSERT_FIELDS(network_fields);
ASSERT_FIELDS(routing_fields);
ASSERT_FIELDS(file_fields);

static const struct config_rule rules[] = {
	{node_fields, "name", .check = config_check_name},
	{node_fields, "id", .min = SHMNET_NODE_ID_MIN, .max = SHMNET_NODE_ID_MAX,
	 .note = " (0 and 65535 are reserved)"},
	{node_fields, "cluster", .check = config_check_name},
	{node_fields, "runtime_dir", .check = config_check_path},
	{node_fields, "spin_us", .min = 0, .max = CONFIG_SPIN_US_MAX},
	{node_fields, "dhcp_client", .check = config_check_argument,
	 .note = "; write it like [/path/of/client, argument, \"%i\"]"},
	{node_fields, "netns", .check = config_check_netns},
	{liveness_fields, "interval_ms", .min = CONFIG_LIVENESS_INTERVAL_MS_MIN,
	 .max = CONFIG_LIVENESS_INTERVAL_MS_MAX, .note = " (milliseconds)"},
	{liveness_fields, "misses", .min = CONFIG_LIVENESS_MISSES_MIN,
	 .max = CONFIG_LIVENESS_MISSES_MAX,
	 .note = " (intervals without a sign of life)"},
	{fabric_fields, "name", .check = config_check_name},
	{fabric_fields, "path", .check = config_check_fabric_dir},
	{fabric_fields, "uids", .min = 0, .max = UINT32_MAX - 1},
	{fabric_fields, "device", .check = config_check_name},
	{fabric_fields, "listen", .check = config_check_endpoint},
	{fabric_fields, "seeds", .check = config_check_endpoint},
	{fabric_fields, "ca", .check = config_check_path},
	{fabric_fields, "certificate", .check = config_check_path},
	{fabric_fields, "key", .check = config_check_path},
	{network_fields, "name", .check = config_check_name},
	{network_fields, "tap", .check = config_check_tap},
	{network_fields, "mtu", .min = SHMNET_MTU_MIN, .max = SHMNET_MTU_MAX},
	{network_fields, "ring_size", .check = config_check_ring_size},
	{network_fields, "multicast_rings", .min = 0, .max = CONFIG_MULTICAST_RINGS_MAX},
	{network_fields, "cast_depth", .min = SHMNET_CAST_DEPTH_MIN,
	 .max = SHMNET_CAST_DEPTH_MAX, .check = config_check_cast_depth},
	{network_fields, "offloads",
	 .note = "; write it like [tso4, tso6], or [] for none"},
	{network_fields, "addresses",
	 .note = "; for a single one, or none, use the key 'address'"},
	{network_fields, "cost", .min = 0, .max = CONFIG_COST_MAX,
	 .note = " (of OSPF; 0: it is not spoken there)"},
	{network_fields, "members", .check = config_check_name,
	 .note = "; write it like [n1, n3], names of nodes"},
	{network_fields, "weight", .min = 0, .max = CONFIG_WEIGHT_MAX,
	 .note = " (0: no new connections)"},
	{network_fields, "announce", .check = config_check_tap},
	{network_fields, "flows", .min = CONFIG_FLOWS_MIN, .max = CONFIG_FLOWS_MAX},
	{routing_fields, "area", .check = config_check_area},
	{routing_fields, "nics", .check = config_check_tap,
	 .note = "; write it like [eth0], interfaces to the outside"},
	{routing_fields, "nic_cost", .min = 1, .max = CONFIG_COST_MAX,
	 .note = " (of OSPF)"},
};

const struct config_rule *config_rule_find(const struct cyaml_schema_field *fields,
					   const char *key)
{
	for (size_t i = 0; i < CYAML_ARRAY_LEN(rules); i++) {
		if (rules[i].fields == fields && !strcmp(rules[i].key, key))
			return &rules[i];
	}
	return NULL;
}

/* ---- from the file's structs to the program's ---- */

const struct config_fabric *config_find_fabric(const struct node_config *config,
					       enum fabric_kind kind)
{
	for (unsigned i = 0; i < config->num_fabrics; i++) {
		if (config->fabrics[i].kind == kind)
			return &config->fabrics[i];
	}
	return NULL;
}

struct config_network *config_find_network(const struct node_config *config,
					   const char *name)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		if (strcmp(config->networks[i].name, name) == 0)
			return &config->networks[i];
	}
	return NULL;
}

bool config_has_network(const struct node_config *config, unsigned index)
{
	return index < config->num_networks && *config->networks[index].name;
}

bool config_has_address(const struct config_network *network,
			const struct config_address *address)
{
	for (unsigned i = 0; i < network->num_addresses; i++) {
		if (network->addresses[i].family == address->family &&
		    memcmp(network->addresses[i].bytes, address->bytes,
			   sizeof(address->bytes)) == 0)
			return true;
	}
	return false;
}

bool config_has_global(const struct node_config *config)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		if (config->networks[i].kind == NETWORK_KIND_GLOBAL)
			return true;
	}
	return false;
}

bool config_is_routed(const struct config_network *network)
{
	return network->announce &&
	       strcmp(network->announce, CONFIG_ANNOUNCE_ROUTING) == 0;
}

const char *config_announce_nic(const struct config_network *network)
{
	return config_is_routed(network) ? NULL : network->announce;
}

static void free_fabric(struct config_fabric *fabric)
{
	free(fabric->name);
	free(fabric->path);
	free(fabric->device);
	free(fabric->ca);
	free(fabric->certificate);
	free(fabric->key);
}

static void free_network(struct config_network *network)
{
	free(network->name);
	free(network->tap);
	free(network->announce);
	for (unsigned i = 0; i < network->num_members; i++)
		free(network->members[i]);
}

/* Who looks for it by its name or TAP finds nothing, and needs no special case. */
void config_leave_network(struct node_config *config, unsigned index)
{
	struct config_network *network = &config->networks[index];
	struct config_network left = {.name = network->name, .tap = network->tap};

	left.name[0] = '\0';
	left.tap[0] = '\0';
	network->name = NULL;
	network->tap = NULL;
	free_network(network);
	*network = left;
}

static int make_place(struct node_config *config, unsigned *ret_index)
{
	unsigned index = 0;
	struct config_network *network;

	while (config_has_network(config, index))
		index++;
	if (index == CONFIG_NETWORKS_MAX)
		return -ENOSPC;
	*ret_index = index;
	if (index < config->num_networks)
		return 0;
	network = &config->networks[index];
	network->name = strdup("");
	network->tap = strdup("");
	if (!network->name || !network->tap) {
		free_network(network);
		network->name = network->tap = NULL;
		return -ENOMEM;
	}
	config->num_networks++;
	return 0;
}

int config_take_network(struct node_config *config, struct config_network *fresh,
			unsigned *ret_index)
{
	struct config_network place;
	int err = make_place(config, ret_index);

	if (err)
		return err;
	place = config->networks[*ret_index];
	config->networks[*ret_index] = *fresh;
	*fresh = place;
	return 0;
}

void config_free(struct node_config *config)
{
	if (!config)
		return;
	for (unsigned i = 0; config->fabrics && i < config->num_fabrics; i++)
		free_fabric(&config->fabrics[i]);
	for (unsigned i = 0; config->networks && i < config->num_networks; i++)
		free_network(&config->networks[i]);
	free(config->fabrics);
	free(config->networks);
	free(config->file);
	free(config->name);
	free(config->cluster);
	free(config->runtime_dir);
	free(config->netns);
	for (unsigned i = 0; i < config->routing.num_nics; i++)
		free(config->routing.nics[i]);
	for (unsigned i = 0; i < CONFIG_DHCP_ARGS_MAX; i++)
		free(config->dhcp_client[i]);
	free(config);
}

/* A copy of the value, or of its default. */
static int copy_text(const char *text, const char *fallback, char **ret_copy)
{
	char *copy;

	assert(text || fallback);
	copy = strdup(text ? text : fallback);
	if (!copy)
		return -ENOMEM;
	*ret_copy = copy;
	return 0;
}

/* NULL if there is none. */
static int copy_optional(const char *text, char **ret_copy)
{
	return text ? copy_text(text, NULL, ret_copy) : 0;
}

static int build_rdma(struct config_fabric *fabric, const struct file_fabric *file)
{
	struct config_why why;
	int err;

	fabric->security = file->security;
	err = config_parse_endpoint(file->listen, &fabric->listen, &why);
	for (unsigned i = 0; i < file->seeds_count && !err; i++)
		err = config_parse_endpoint(file->seeds[i],
					    &fabric->seeds[fabric->num_seeds++], &why);
	if (!err)
		err = copy_optional(file->device, &fabric->device);
	if (!err)
		err = copy_optional(file->ca, &fabric->ca);
	if (!err)
		err = copy_optional(file->certificate, &fabric->certificate);
	if (!err)
		err = copy_optional(file->key, &fabric->key);
	return err;
}

static int build_shm(struct config_fabric *fabric, const struct file_fabric *file,
		     const char *runtime_dir)
{
	fabric->num_uids = file->uids_count;
	for (unsigned i = 0; i < file->uids_count; i++)
		fabric->uids[i] = file->uids[i];
	if (file->path)
		return copy_text(file->path, NULL, &fabric->path);
	if (asprintf(&fabric->path, "%s%s", runtime_dir, CONFIG_FABRIC_DIR_DEFAULT) < 0) {
		fabric->path = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int build_fabric(struct config_fabric *fabric, const struct file_fabric *file,
			const char *runtime_dir)
{
	int err = copy_text(file->name, NULL, &fabric->name);

	fabric->kind = file->kind;
	if (err)
		return err;
	if (file->kind == FABRIC_KIND_RDMA)
		return build_rdma(fabric, file);
	return build_shm(fabric, file, runtime_dir);
}

/* The checks have parsed each of them before: a failure here is theirs. */
static int build_address(struct config_network *network, const char *text)
{
	struct config_address *address = &network->addresses[network->num_addresses];
	struct config_why why;
	int err;

	if (!strcmp(text, "dhcp")) {
		network->dhcp = true;
		return 0;
	}
	err = config_parse_address(text, network->kind, address, &why);
	if (!err)
		network->num_addresses++;
	return err;
}

static int build_addresses(struct config_network *network,
			   const struct file_network *file)
{
	int err = 0;

	if (file->address && strcmp(file->address, "none"))
		return build_address(network, file->address);
	for (unsigned i = 0; i < file->addresses_count && !err; i++)
		err = build_address(network, file->addresses[i]);
	return err;
}

static uint32_t number_or(const uint32_t *number, uint32_t fallback)
{
	return number ? *number : fallback;
}

static int build_global(struct config_network *network, const struct file_network *file)
{
	int err = 0;

	network->balance = file->balance;
	network->weight = number_or(file->weight, CONFIG_WEIGHT_DEFAULT);
	network->ephemeral = file->ephemeral;
	network->flows = number_or(file->flows, CONFIG_FLOWS_DEFAULT);
	for (unsigned i = 0; i < file->members_count && !err; i++) {
		err = copy_text(file->members[i], NULL, &network->members[i]);
		network->num_members += !err;
	}
	return err ? err : copy_optional(file->announce, &network->announce);
}

static uint32_t cost_or_default(const uint32_t *cost, uint32_t mtu)
{
	return number_or(cost, mtu > CONFIG_COST_MTU ? CONFIG_COST_LARGE_DEFAULT
						     : CONFIG_COST_DEFAULT);
}

static int build_network(struct config_network *network, const struct file_network *file)
{
	const bool is_global = file->kind == NETWORK_KIND_GLOBAL;
	struct config_why why;
	int err;

	network->kind = file->kind;
	network->mtu = number_or(file->mtu, is_global ? CONFIG_GLOBAL_MTU_DEFAULT
						      : CONFIG_MTU_DEFAULT);
	network->multicast_rings =
		number_or(file->multicast_rings, CONFIG_MULTICAST_RINGS_DEFAULT);
	network->cast_depth = number_or(file->cast_depth, CONFIG_CAST_DEPTH_DEFAULT);
	network->cast = file->cast;
	network->offloads = number_or(file->offloads, SHMNET_OFFLOADS);
	network->ring_size = CONFIG_RING_SIZE_DEFAULT;
	if (file->ring_size) {
		err = config_parse_ring_size(file->ring_size, &network->ring_size, &why);
		if (err)
			return err;
	}
	err = copy_text(file->name, NULL, &network->name);
	if (err)
		return err;
	err = copy_text(file->tap, file->name, &network->tap);
	if (!err)
		err = build_addresses(network, file);
	if (!err && is_global)
		err = build_global(network, file);
	else if (!err)
		network->cost = cost_or_default(file->cost, network->mtu);
	return err;
}

static int build_routing(struct config_routing *routing, const struct file_routing *file)
{
	struct config_why why;
	int err = 0;

	if (!file)
		return 0;
	routing->area = CONFIG_AREA_DEFAULT;
	routing->nic_cost = number_or(file->nic_cost, CONFIG_NIC_COST_DEFAULT);
	if (file->area)
		err = config_parse_area(file->area, &routing->area, &why);
	for (unsigned i = 0; i < file->nics_count && !err; i++) {
		err = copy_text(file->nics[i], NULL, &routing->nics[i]);
		routing->num_nics += !err;
	}
	return err;
}

static struct config_liveness build_liveness(const struct file_liveness *file)
{
	struct config_liveness liveness = {
		.interval_ms = CONFIG_LIVENESS_INTERVAL_MS_DEFAULT,
		.misses = CONFIG_LIVENESS_MISSES_DEFAULT,
	};

	if (file && file->interval_ms)
		liveness.interval_ms = *file->interval_ms;
	if (file && file->misses)
		liveness.misses = *file->misses;
	return liveness;
}

static int build_node(struct node_config *config, const struct file_node *file)
{
	int err;

	config->id = file->id;
	config->spin_us = file->spin_us ? *file->spin_us : CONFIG_SPIN_US_DEFAULT;
	config->liveness = build_liveness(file->liveness);
	err = copy_text(file->name, NULL, &config->name);
	if (err)
		return err;
	err = copy_text(file->cluster, CONFIG_CLUSTER_DEFAULT, &config->cluster);
	if (err)
		return err;
	err = copy_text(file->runtime_dir, CONFIG_RUNTIME_DIR_DEFAULT,
			&config->runtime_dir);
	if (file->netns && !err)
		err = copy_text(file->netns, NULL, &config->netns);
	for (unsigned i = 0; i < file->dhcp_client_count && !err; i++)
		err = copy_text(file->dhcp_client[i], NULL, &config->dhcp_client[i]);
	return err;
}

static int build_lists(struct node_config *config, const struct file_config *file)
{
	int err = 0;

	config->fabrics = calloc(file->fabrics_count, sizeof(*config->fabrics));
	config->networks = calloc(CONFIG_NETWORKS_MAX, sizeof(*config->networks));
	if (!config->fabrics || !config->networks)
		return -ENOMEM;
	config->num_fabrics = file->fabrics_count;
	config->num_networks = file->networks_count;
	for (unsigned i = 0; i < file->fabrics_count && !err; i++)
		err = build_fabric(&config->fabrics[i], &file->fabrics[i],
				   config->runtime_dir);
	for (unsigned i = 0; i < file->networks_count && !err; i++)
		err = build_network(&config->networks[i], &file->networks[i]);
	return err;
}

static int config_build(const struct file_config *file, struct node_config **ret_config)
{
	struct node_config *config = calloc(1, sizeof(*config));
	int err;

	if (!config)
		return -ENOMEM;
	err = build_node(config, &file->node);
	if (!err)
		err = build_lists(config, file);
	if (!err)
		err = build_routing(&config->routing, file->routing);
	if (err) {
		config_free(config);
		return err;
	}
	*ret_config = config;
	return 0;
}

/* ---- loading ---- */

static int load_values(const char *file, const void *data, size_t size, FILE *errors,
		       struct file_config **ret_values)
{
	static const cyaml_config_t cyaml = {
		.mem_fn = cyaml_mem,
		.flags = CYAML_CFG_NO_ALIAS,
	};
	cyaml_data_t *values = NULL;
	cyaml_err_t result;

	result = cyaml_load_data(data, size, &cyaml, &config_schema, &values, NULL);
	switch (result) {
	case CYAML_OK:
		*ret_values = values;
		return 0;
	case CYAML_ERR_OOM:
	case CYAML_ERR_LIBYAML_PARSER_INIT:
	case CYAML_ERR_LIBYAML_PARSER: /* it has parsed before: only memory is left */
		fprintf(errors, "%s: error: out of memory while loading\n", file);
		return -ENOMEM;
	default:
		fprintf(errors,
			"%s: error: libcyaml refuses what the checks passed: %s\n", file,
			cyaml_strerror(result));
		return -EINVAL;
	}
}

static void free_values(struct file_config *values)
{
	static const cyaml_config_t cyaml = {.mem_fn = cyaml_mem};

	cyaml_free(&cyaml, &config_schema, values, 0);
}

int config_load_data(const char *file, const void *data, size_t size, FILE *errors,
		     struct node_config **ret_config)
{
	const size_t bom = size >= 3 && !memcmp(data, "\xef\xbb\xbf", 3) ? 3 : 0;
	struct file_config *values;
	int err;

	/* libyaml skips a byte order mark only where it guesses the encoding. */
	data = (const char *)data + bom;
	size -= bom;
	err = config_check(file, data, size, errors);
	if (err)
		return err;
	err = load_values(file, data, size, errors, &values);
	if (err)
		return err;
	err = config_build(values, ret_config);
	if (err)
		fprintf(errors, "%s: error: %s\n", file, strerror(-err));
	free_values(values);
	return err;
}

/* Fills `data` from `fd`; -EFBIG if there is more than CONFIG_FILE_MAX. */
static int read_all(int fd, char *data, size_t *ret_size)
{
	size_t size = 0;
	ssize_t n;

	do {
		n = read(fd, data + size, CONFIG_FILE_MAX + 1 - size);
		if (n < 0 && errno != EINTR)
			return -errno;
		size += n > 0 ? (size_t)n : 0;
	} while (n && size <= CONFIG_FILE_MAX);
	if (size > CONFIG_FILE_MAX)
		return -EFBIG;
	*ret_size = size;
	return 0;
}

static int read_file(const char *path, char *data, size_t *ret_size)
{
	int fd, err;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	err = read_all(fd, data, ret_size);
	close(fd);
	return err;
}

static void print_read_error(const char *path, int err, FILE *errors)
{
	switch (err) {
	case -EISDIR:
		fprintf(errors, "%s: error: a directory, not a config file\n", path);
		break;
	case -EFBIG:
		fprintf(errors,
			"%s: error: larger than 1 MiB, too large for a config file\n",
			path);
		break;
	default:
		fprintf(errors, "%s: error: cannot read the config file: %s\n", path,
			strerror(-err));
		break;
	}
}

/* Its links stay: what they lead to may be another file next time. */
static int find_file(const char *path, char **ret_file)
{
	char *directory = *path == '/' ? NULL : getcwd(NULL, 0);

	if (*path == '/')
		*ret_file = strdup(path);
	else if (!directory)
		return -errno;
	else if (asprintf(ret_file, "%s/%s", directory, path) < 0)
		*ret_file = NULL;
	free(directory);
	return *ret_file ? 0 : -ENOMEM;
}

int config_load(const char *path, FILE *errors, struct node_config **ret_config)
{
	struct node_config *config;
	char *data = malloc(CONFIG_FILE_MAX + 1);
	size_t size = 0;
	int err;

	err = data ? read_file(path, data, &size) : -ENOMEM;
	if (err)
		print_read_error(path, err, errors);
	else
		err = config_load_data(path, data, size, errors, &config);
	free(data);
	if (err)
		return err;
	err = find_file(path, &config->file);
	if (err) {
		print_read_error(path, err, errors);
		config_free(config);
		return err;
	}
	*ret_config = config;
	return 0;
}
