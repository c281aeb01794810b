/*
 * See reload.h. One table of all keys is both what is compared and what is exchanged: a
 * key that is in struct node_config and not here would be a change that nobody hears of,
 * so reload_test.c counts them by the schema.
 */
#include "control/reload.h"

#include "control/confine.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum scope { SCOPE_NODE, SCOPE_ROUTING, SCOPE_FABRIC, SCOPE_NETWORK };

struct reload_key {
	enum scope scope;
	const char *name;
	size_t offset, size; /* of all that belongs to it, in the struct of its scope */
	size_t texts;	     /* that many char * at `at` are what counts; 0: the bytes */
	size_t at;
	enum reload_part part;
};

#define SIZE_OF(type, member) sizeof(((struct type *)NULL)->member)
#define VALUE(type, member)   offsetof(struct type, member), SIZE_OF(type, member), 0, 0
#define TEXT(type, member)                                                               \
	offsetof(struct type, member), SIZE_OF(type, member), 1,                         \
		offsetof(struct type, member)
/* Members that stand in a row. */
#define VALUES(type, first, last)                                                        \
	offsetof(struct type, first),                                                    \
		offsetof(struct type, last) + SIZE_OF(type, last) -                      \
			offsetof(struct type, first),                                    \
		0, 0
#define TEXTS(type, first, last)                                                         \
	offsetof(struct type, first),                                                    \
		offsetof(struct type, last) + SIZE_OF(type, last) -                      \
			offsetof(struct type, first),                                    \
		SIZE_OF(type, last) / sizeof(char *), offsetof(struct type, last)

/* clang-format off */
static const struct reload_key keys[] = {
	{SCOPE_NODE,    "name",                 TEXT(node_config, name),                               RELOAD_RESTART},
	{SCOPE_NODE,    "id",                   VALUE(node_config, id),                                RELOAD_RESTART},
	{SCOPE_NODE,    "cluster",              TEXT(node_config, cluster),                            RELOAD_RESTART},
	{SCOPE_NODE,    "runtime_dir",          TEXT(node_config, runtime_dir),                        RELOAD_RESTART},
	{SCOPE_NODE,    "netns",                TEXT(node_config, netns),                              RELOAD_RESTART},
	{SCOPE_NODE,    "dhcp_client",          TEXTS(node_config, dhcp_client, dhcp_client),          RELOAD_RESTART},
	{SCOPE_NODE,    "spin_us",              VALUE(node_config, spin_us),                           RELOAD_SPIN},
	{SCOPE_NODE,    "liveness.interval_ms", VALUE(node_config, liveness.interval_ms),              RELOAD_RESTART},
	{SCOPE_NODE,    "liveness.misses",      VALUE(node_config, liveness.misses),                   RELOAD_LIVENESS},

	{SCOPE_ROUTING, "area",                 VALUE(node_config, routing.area),                      RELOAD_RENDER},
	{SCOPE_ROUTING, "nic_cost",             VALUE(node_config, routing.nic_cost),                  RELOAD_RENDER},
	{SCOPE_ROUTING, "nics",                 TEXTS(node_config, routing.num_nics, routing.nics),    RELOAD_NICS},

	{SCOPE_FABRIC,  "name",                 TEXT(config_fabric, name),                             RELOAD_RESTART},
	{SCOPE_FABRIC,  "path",                 TEXT(config_fabric, path),                             RELOAD_RESTART},
	{SCOPE_FABRIC,  "uids",                 VALUES(config_fabric, num_uids, uids),                 RELOAD_UIDS},
	{SCOPE_FABRIC,  "device",               TEXT(config_fabric, device),                           RELOAD_RESTART},
	{SCOPE_FABRIC,  "listen",               VALUE(config_fabric, listen.text),                     RELOAD_RESTART},
	{SCOPE_FABRIC,  "seeds",                VALUES(config_fabric, num_seeds, seeds),               RELOAD_SEEDS},
	{SCOPE_FABRIC,  "security",             VALUE(config_fabric, security),                        RELOAD_RESTART},
	{SCOPE_FABRIC,  "ca",                   TEXT(config_fabric, ca),                               RELOAD_RESTART},
	{SCOPE_FABRIC,  "certificate",          TEXT(config_fabric, certificate),                      RELOAD_RESTART},
	{SCOPE_FABRIC,  "key",                  TEXT(config_fabric, key),                              RELOAD_RESTART},

	{SCOPE_NETWORK, "tap",                  TEXT(config_network, tap),                             RELOAD_RESTART},
	{SCOPE_NETWORK, "mtu",                  VALUE(config_network, mtu),                            RELOAD_RESTART},
	{SCOPE_NETWORK, "ring_size",            VALUE(config_network, ring_size),                      RELOAD_RESTART},
	{SCOPE_NETWORK, "multicast_rings",      VALUE(config_network, multicast_rings),                RELOAD_RESTART},
	{SCOPE_NETWORK, "cast_depth",           VALUE(config_network, cast_depth),                     RELOAD_RESTART},
	{SCOPE_NETWORK, "cast",                 VALUE(config_network, cast),                           RELOAD_RESTART},
	{SCOPE_NETWORK, "offloads",             VALUE(config_network, offloads),                       RELOAD_RESTART},
	{SCOPE_NETWORK, "addresses",            VALUES(config_network, dhcp, addresses),               RELOAD_ADDRESSES},
	{SCOPE_NETWORK, "cost",                 VALUE(config_network, cost),                           RELOAD_RENDER},
	{SCOPE_NETWORK, "members",              TEXTS(config_network, num_members, members),           RELOAD_RESTART},
	{SCOPE_NETWORK, "balance",              VALUE(config_network, balance),                        RELOAD_DISPATCH},
	{SCOPE_NETWORK, "weight",               VALUE(config_network, weight),                         RELOAD_DISPATCH},
	{SCOPE_NETWORK, "ephemeral",            VALUE(config_network, ephemeral),                      RELOAD_RESTART},
	{SCOPE_NETWORK, "announce",             TEXT(config_network, announce),                        RELOAD_ANNOUNCE},
	{SCOPE_NETWORK, "flows",                VALUE(config_network, flows),                          RELOAD_RESTART},
};
/* clang-format on */

/* ---- one key ---- */

static bool is_same_text(const char *one, const char *other)
{
	return one && other ? strcmp(one, other) == 0 : one == other;
}

static bool has_changed(const struct reload_key *key, const void *old, const void *fresh)
{
	const char *here = old, *there = fresh;

	if (!key->texts)
		return memcmp(here + key->offset, there + key->offset, key->size) != 0;
	for (size_t i = 0; i < key->texts; i++) {
		const size_t at = key->at + i * sizeof(char *);

		if (!is_same_text(*(char *const *)(const void *)(here + at),
				  *(char *const *)(const void *)(there + at)))
			return true;
	}
	return false;
}

/*
 * The addresses of a global network are those of all its members, and the packet filter
 * and the dispatcher are made for them. A DHCP client that comes or goes takes the other
 * IPv4 addresses of its interface with it. Other users' nodes are connected to with a
 * privilege that root gives up if there are none.
 */
static enum reload_part find_part(const struct reload_key *key, const void *old,
				  const void *fresh)
{
	const struct config_network *here = old, *there = fresh;

	if (key->part == RELOAD_UIDS && !confine_permits_uids())
		return RELOAD_RESTART;
	if (key->part == RELOAD_ADDRESSES &&
	    (here->kind == NETWORK_KIND_GLOBAL || here->dhcp != there->dhcp))
		return RELOAD_RESTART;
	return key->part;
}

/* ---- the list ---- */

static struct reload_change *add(struct reload *reload, enum reload_part part)
{
	struct reload_change *change = &reload->changes[reload->num++];

	_Static_assert(RELOAD_CHANGES_MAX >=
			       sizeof(keys) / sizeof(keys[0]) * (CONFIG_NETWORKS_MAX + 1),
		       "room for all keys of all");
	*change = (struct reload_change){.part = part};
	return change;
}

/* What is compared, and where it stands. */
struct pair {
	enum scope scope;
	const char *prefix; /* "networks.lan0." */
	const void *old, *fresh;
	unsigned old_index, fresh_index;
};

static void compare(struct reload *reload, const struct pair *pair)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct reload_key *key = &keys[i];
		struct reload_change *change;

		if (key->scope != pair->scope ||
		    !has_changed(key, pair->old, pair->fresh))
			continue;
		change = add(reload, find_part(key, pair->old, pair->fresh));
		snprintf(change->name, sizeof(change->name), "%s%s", pair->prefix,
			 key->name);
		change->key = key;
		change->old = pair->old_index;
		change->fresh = pair->fresh_index;
	}
}

/* ---- fabrics ---- */

static void note_fabric(struct reload *reload, const struct config_fabric *fabric)
{
	struct reload_change *change = add(reload, RELOAD_RESTART);

	snprintf(change->name, sizeof(change->name), "fabrics.%s", fabric->name);
}

static void compare_fabrics(const struct node_config *old,
			    const struct node_config *fresh, enum fabric_kind kind,
			    struct reload *reload)
{
	const struct config_fabric *here = config_find_fabric(old, kind);
	const struct config_fabric *there = config_find_fabric(fresh, kind);
	char prefix[RELOAD_KEY_MAX];
	struct pair pair = {SCOPE_FABRIC, prefix, here, there, 0, 0};

	if (here && there) {
		snprintf(prefix, sizeof(prefix), "fabrics.%s.", here->name);
		pair.old_index = (unsigned)(here - old->fabrics);
		pair.fresh_index = (unsigned)(there - fresh->fabrics);
		compare(reload, &pair);
	} else if (here || there) {
		note_fabric(reload, here ? here : there);
	}
}

/* ---- networks ---- */

static void note_network(struct reload *reload, enum reload_part part,
			 const struct config_network *network, unsigned index,
			 const char *key)
{
	struct reload_change *change = add(reload, part);

	snprintf(change->name, sizeof(change->name), "networks.%s%s", network->name, key);
	if (part == RELOAD_ADD)
		change->fresh = index;
	else
		change->old = index;
}

static void compare_network(const struct node_config *old,
			    const struct node_config *fresh, unsigned index,
			    struct reload *reload)
{
	const struct config_network *here = &old->networks[index];
	const struct config_network *there = config_find_network(fresh, here->name);
	char prefix[RELOAD_KEY_MAX];
	struct pair pair = {SCOPE_NETWORK, prefix, here, there, index, 0};

	if (!there) {
		note_network(reload, RELOAD_REMOVE, here, index, "");
		return;
	}
	if (here->kind != there->kind) { /* then most keys mean something else */
		note_network(reload, RELOAD_RESTART, here, index, ".kind");
		return;
	}
	snprintf(prefix, sizeof(prefix), "networks.%s.", here->name);
	pair.fresh_index = (unsigned)(there - fresh->networks);
	compare(reload, &pair);
}

void reload_diff(const struct node_config *old, const struct node_config *fresh,
		 struct reload *ret_reload)
{
	const struct pair node = {SCOPE_NODE, "node.", old, fresh, 0, 0};
	const struct pair routing = {SCOPE_ROUTING, "routing.", old, fresh, 0, 0};

	ret_reload->num = 0;
	compare(ret_reload, &node);
	compare(ret_reload, &routing);
	compare_fabrics(old, fresh, FABRIC_KIND_SHM, ret_reload);
	compare_fabrics(old, fresh, FABRIC_KIND_RDMA, ret_reload);
	for (unsigned i = 0; i < old->num_networks; i++) {
		if (config_has_network(old, i))
			compare_network(old, fresh, i, ret_reload);
	}
	for (unsigned i = 0; i < fresh->num_networks; i++) {
		if (!config_find_network(old, fresh->networks[i].name))
			note_network(ret_reload, RELOAD_ADD, &fresh->networks[i], i, "");
	}
}

/* ---- taking a value over ---- */

static char *place(struct node_config *config, enum scope scope, unsigned index)
{
	if (scope == SCOPE_FABRIC)
		return (char *)&config->fabrics[index];
	if (scope == SCOPE_NETWORK)
		return (char *)&config->networks[index];
	return (char *)config;
}

void reload_swap(struct node_config *old, struct node_config *fresh,
		 const struct reload_change *change)
{
	const struct reload_key *key = change->key;
	char *here = place(old, key->scope, change->old) + key->offset;
	char *there = place(fresh, key->scope, change->fresh) + key->offset;

	for (size_t i = 0; i < key->size; i++) {
		char byte = here[i];

		here[i] = there[i];
		there[i] = byte;
	}
}
