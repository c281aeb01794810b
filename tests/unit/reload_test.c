/*
 * What a new config changes in the one in use: pairs of files and the changes between
 * them, each with the part that is to do something about it.
 */
#include "control/config_internal.h"
#include "control/reload.h"
#include "shim.h"

#include <stdlib.h>
#include <string.h>

#define NODE	"node: {name: n1, id: 1, spin_us: 7}\n"
#define FABRICS "fabrics: [{name: local, kind: shm}]\n"
#define LAN0	"{name: lan0, mtu: 1500, addresses: [10.0.0.1/24]}"
#define WEB	"{name: web, kind: global, address: 10.9.0.1, members: [n1, n2]}"
#define BASE	NODE FABRICS "networks: [" LAN0 ", " WEB "]\n"

/* What the process has kept; the linker puts this in place of confine.c's. */
static bool permits_uids = true;

bool __wrap_confine_permits_uids(void);

bool __wrap_confine_permits_uids(void)
{
	return permits_uids;
}

static struct node_config *load(const char *text)
{
	struct node_config *config = NULL;

	if (config_load_data("test", text, strlen(text), stderr, &config) < 0)
		abort();
	return config;
}

static const char *const part_names[] = {
	[RELOAD_RESTART] = "restart",	  [RELOAD_SPIN] = "spin",
	[RELOAD_LIVENESS] = "liveness",	  [RELOAD_UIDS] = "uids",
	[RELOAD_SEEDS] = "seeds",	  [RELOAD_REMOVE] = "remove",
	[RELOAD_ADDRESSES] = "addresses", [RELOAD_DISPATCH] = "dispatch",
	[RELOAD_ANNOUNCE] = "announce",	  [RELOAD_ADD] = "add",
	[RELOAD_NICS] = "nics",		  [RELOAD_RENDER] = "render",
};
_Static_assert(sizeof(part_names) / sizeof(part_names[0]) == RELOAD_PART_NUM_,
	       "a name each");

/* "spin node.spin_us, restart networks.lan0.mtu" */
static const char *diff(const char *old, const char *fresh)
{
	static char text[4096];
	struct node_config *here = load(old), *there = load(fresh);
	struct reload *reload = calloc(1, sizeof(*reload));
	size_t used = 0;

	if (!reload)
		abort();
	reload_diff(here, there, reload);
	text[0] = '\0';
	for (unsigned i = 0; i < reload->num; i++)
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "%s%s %s", i ? ", " : "",
			part_names[reload->changes[i].part], reload->changes[i].name);
	free(reload);
	config_free(here);
	config_free(there);
	return text;
}

TEST_CASE(reload, the_same_is_no_change)
{
	CHECK_STR(diff(BASE, BASE), "");
}

TEST_CASE(reload, defaults_that_are_written_out_are_no_change)
{
	CHECK_STR(diff(BASE,
		       "node: {name: n1, id: 1, spin_us: 7, cluster: default, "
		       "runtime_dir: /run/shmnet, "
		       "liveness: {interval_ms: 200, misses: 3}}\n"
		       "fabrics: [{name: local, kind: shm, uids: [], "
		       "path: /run/shmnet/fabric}]\n"
		       "networks: [{name: lan0, kind: local, tap: lan0, mtu: 1500, "
		       "address: 10.0.0.1/24, ring_size: 1M, cast: shared}, " WEB "]\n"),
		  "");
}

TEST_CASE(reload, the_order_of_networks_says_nothing)
{
	CHECK_STR(diff(BASE, NODE FABRICS "networks: [" WEB ", " LAN0 "]\n"), "");
}

TEST_CASE(reload, keys_of_the_node)
{
	CHECK_STR(diff(BASE, "node: {name: n1, id: 1, spin_us: 8, "
			     "liveness: {interval_ms: 100, misses: 4}}\n" FABRICS
			     "networks: [" LAN0 ", " WEB "]\n"),
		  "spin node.spin_us, restart node.liveness.interval_ms, "
		  "liveness node.liveness.misses");
	CHECK_STR(diff(BASE, "node: {name: n2, id: 2, spin_us: 7, cluster: c, netns: x, "
			     "runtime_dir: /run/s, dhcp_client: [/bin/x, \"%i\"]}\n"
			     "fabrics: [{name: local, kind: shm, path: "
			     "/run/shmnet/fabric}]\n"
			     "networks: [" LAN0 ", " WEB "]\n"),
		  "restart node.name, restart node.id, restart node.cluster, "
		  "restart node.runtime_dir, restart node.netns, "
		  "restart node.dhcp_client");
	CHECK_STR(diff("node: {name: n1, id: 1, spin_us: 7, netns: x}\n" FABRICS
		       "networks: [" LAN0 ", " WEB "]\n",
		       BASE),
		  "restart node.netns");
}

#define RDMA                                                                             \
	"{name: roce, kind: rdma, device: rxe0, listen: \"192.0.2.1:7471\", "            \
	"seeds: [\"192.0.2.2:7471\"], ca: /a, certificate: /b, key: /c}"

TEST_CASE(reload, keys_of_fabrics)
{
	CHECK_STR(diff(BASE, NODE "fabrics: [{name: here, kind: shm, uids: [5], "
				  "path: /run/f}]\nnetworks: [" LAN0 ", " WEB "]\n"),
		  "restart fabrics.local.name, restart fabrics.local.path, "
		  "uids fabrics.local.uids");
	CHECK_STR(diff(NODE "fabrics: [" RDMA "]\nnetworks: [" LAN0 "]\n",
		       NODE "fabrics: [{name: roce, kind: rdma, listen: "
			    "\"192.0.2.1:7472\", seeds: [\"192.0.2.3:7471\"], "
			    "security: none}]\nnetworks: [" LAN0 "]\n"),
		  "restart fabrics.roce.device, restart fabrics.roce.listen, "
		  "seeds fabrics.roce.seeds, restart fabrics.roce.security, "
		  "restart fabrics.roce.ca, restart fabrics.roce.certificate, "
		  "restart fabrics.roce.key");
}

TEST_CASE(reload, a_fabric_that_comes_or_goes)
{
	static const char both[] =
		NODE "fabrics: [" RDMA ", {name: local, kind: shm}]\nnetworks: [" LAN0
		     ", " WEB "]\n";

	CHECK_STR(diff(BASE, both), "restart fabrics.roce");
	CHECK_STR(diff(both, BASE), "restart fabrics.roce");
}

TEST_CASE(reload, keys_of_a_local_network)
{
	CHECK_STR(
		diff(BASE, NODE FABRICS
		     "networks: [{name: lan0, mtu: 1500, addresses: [10.0.0.2/24]}, " WEB
		     "]\n"),
		"addresses networks.lan0.addresses");
	CHECK_STR(diff(BASE, NODE FABRICS
		       "networks: [{name: lan0, tap: x, mtu: 9000, ring_size: 2M, "
		       "multicast_rings: 1, cast_depth: 64, cast: lanes, offloads: "
		       "[tso4], addresses: [10.0.0.1/24]}, " WEB "]\n"),
		  "restart networks.lan0.tap, restart networks.lan0.mtu, "
		  "restart networks.lan0.ring_size, "
		  "restart networks.lan0.multicast_rings, "
		  "restart networks.lan0.cast_depth, restart networks.lan0.cast, "
		  "restart networks.lan0.offloads, "
		  "render networks.lan0.cost"); /* its default follows the MTU */
}

TEST_CASE(reload, a_dhcp_client_needs_a_restart)
{
	CHECK_STR(diff(BASE, NODE FABRICS
		       "networks: [{name: lan0, mtu: 1500, address: dhcp}, " WEB "]\n"),
		  "restart networks.lan0.addresses");
}

static const char *diff_confined(bool uids)
{
	const char *changes;

	permits_uids = uids;
	changes = diff(BASE, NODE "fabrics: [{name: local, kind: shm, uids: [7]}]\n"
				  "networks: [" LAN0 ", " WEB
				  ", {name: lan1, address: dhcp}]\n");
	permits_uids = true;
	return changes;
}

TEST_CASE(reload, what_was_given_up_needs_a_restart)
{
	CHECK_STR(diff_confined(true), "uids fabrics.local.uids, add networks.lan1");
	CHECK_STR(diff_confined(false), "restart fabrics.local.uids, add networks.lan1");
}

TEST_CASE(reload, keys_of_a_global_network)
{
	CHECK_STR(diff(BASE, NODE FABRICS
		       "networks: [" LAN0
		       ", {name: web, kind: global, address: 10.9.0.1, "
		       "members: [n1, n2], balance: least-connections, weight: 0, "
		       "announce: eth0}]\n"),
		  "dispatch networks.web.balance, dispatch networks.web.weight, "
		  "announce networks.web.announce");
	CHECK_STR(diff(BASE, NODE FABRICS
		       "networks: [" LAN0
		       ", {name: web, kind: global, address: 10.9.0.2, "
		       "members: [n1, n3], ephemeral: shared, flows: 2048}]\n"),
		  "restart networks.web.addresses, restart networks.web.members, "
		  "restart networks.web.ephemeral, restart networks.web.flows");
}

#define ROUTING(values)                                                                  \
	NODE FABRICS "networks: [" LAN0 ", " WEB "]\nrouting: {" values "}\n"

TEST_CASE(reload, keys_of_routing)
{
	CHECK_STR(diff(BASE, ROUTING("")),
		  "render routing.area, render routing.nic_cost");
	CHECK_STR(diff(ROUTING("nic_cost: 5, nics: [eth0]"), BASE),
		  "render routing.area, render routing.nic_cost, nics routing.nics");
	CHECK_STR(diff(ROUTING("area: 1, nics: [eth0, eth1]"),
		       ROUTING("area: 0.0.0.1, nic_cost: 100, nics: [eth0, eth1]")),
		  "");
	CHECK_STR(diff(ROUTING("nics: [eth0, eth1]"), ROUTING("nics: [eth1, eth0]")),
		  "nics routing.nics");
	CHECK_STR(diff(BASE, NODE FABRICS
		       "networks: [{name: lan0, mtu: 1500, addresses: [10.0.0.1/24], "
		       "cost: 7}, " WEB "]\n"),
		  "render networks.lan0.cost");
}

TEST_CASE(reload, another_kind_is_one_change)
{
	CHECK_STR(
		diff(BASE, NODE FABRICS "networks: [" LAN0 ", {name: web, mtu: 9000}]\n"),
		"restart networks.web.kind");
}

TEST_CASE(reload, networks_that_come_and_go)
{
	CHECK_STR(diff(BASE, NODE FABRICS
		       "networks: [{name: lan1, mtu: 9000}, {name: lan2}, " LAN0 "]\n"),
		  "remove networks.web, add networks.lan1, add networks.lan2");
}

TEST_CASE(reload, a_place_that_a_network_has_left_is_none)
{
	struct node_config *here = load(BASE), *there = load(BASE);
	struct reload *reload = calloc(1, sizeof(*reload));

	REQUIRE(reload != NULL);
	here->networks[0].name[0] = '\0';
	reload_diff(here, there, reload);
	REQUIRE(reload->num == 1);
	CHECK_INT(reload->changes[0].part, RELOAD_ADD);
	CHECK_STR(reload->changes[0].name, "networks.lan0");
	CHECK_INT(reload->changes[0].fresh, 0);
	free(reload);
	config_free(here);
	config_free(there);
}

#define OTHERS                                                                           \
	"node: {name: n1, id: 1, spin_us: 9, netns: y}\n"                                \
	"fabrics: [{name: x, kind: shm, uids: [1, 2]}]\n"                                \
	"routing: {area: 7, nics: [eth0], nic_cost: 3}\n"                                \
	"networks: [{name: web, kind: global, address: 10.9.0.1, announce: eth1, "       \
	"members: [n3, n2, n1], weight: 5}, {name: lan0, tap: t, "                       \
	"cost: 7, addresses: [10.1.0.1/16, \"fd00::1/64\"]}]\n"

/* Each key that is taken over is no difference any more; taken back it is one again. */
TEST_CASE(reload, values_are_exchanged)
{
	struct node_config *here = load(BASE), *there = load(OTHERS);
	struct node_config *wanted = load(OTHERS);
	struct reload *reload = calloc(2, sizeof(*reload));

	REQUIRE(reload != NULL);
	reload_diff(here, there, &reload[0]);
	CHECK_INT(reload[0].num, 13);
	for (unsigned i = 0; i < reload[0].num; i++) {
		reload_swap(here, there, &reload[0].changes[i]);
		reload_diff(here, wanted, &reload[1]);
		CHECK_INT(reload[1].num, reload[0].num - 1);
		reload_swap(here, there, &reload[0].changes[i]);
		reload_diff(here, wanted, &reload[1]);
		CHECK_INT(reload[1].num, reload[0].num);
	}
	for (unsigned i = 0; i < reload[0].num; i++)
		reload_swap(here, there, &reload[0].changes[i]);
	reload_diff(here, wanted, &reload[1]);
	CHECK_INT(reload[1].num, 0);
	CHECK_INT(here->networks[1].num_members, 3);
	CHECK_STR(here->routing.nics[0], "eth0");
	CHECK(there->netns == NULL);
	free(reload);
	config_free(here);
	config_free(there);
	config_free(wanted);
}
