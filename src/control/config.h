/*
 * The config file: YAML in, struct node_config out, or every error in it.
 *
 * The libcyaml schema in config.c is the one description of the file: it loads
 * the values, and config_check.c walks the same schema over libyaml's document
 * tree to find *all* errors with their positions in one run. Rules that span
 * several keys (duplicate TAP, ring below the minimum) follow the walk.
 *
 * Reads files, touches nothing else. Called by main before any thread starts, and by the
 * control thread when the config is loaded again.
 */
#ifndef CONTROL_CONFIG_H
#define CONTROL_CONFIG_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define CONFIG_NAME_MAX	     32 /* node, cluster, fabric, network names */
#define CONFIG_NETWORKS_MAX  16
#define CONFIG_ADDRESSES_MAX 16
#define CONFIG_DHCP_ARGS_MAX 16
#define CONFIG_UIDS_MAX	     16
#define CONFIG_SEEDS_MAX     16
#define CONFIG_MEMBERS_MAX   64
#define CONFIG_ENDPOINT_MAX  64	 /* text of one, with its terminating zero */
#define CONFIG_NETNS_MAX     108 /* name or path of a network namespace */
#define CONFIG_NICS_MAX	     16

/* Names of members, all networks together, with a byte behind each: peers are told. */
#define CONFIG_MEMBER_BYTES_MAX 2048

#define CONFIG_RING_SIZE_DEFAULT       (1u << 20)
#define CONFIG_RING_SIZE_MIN	       (256u << 10)
#define CONFIG_RING_SIZE_MAX	       (512u << 20)
#define CONFIG_MULTICAST_RINGS_DEFAULT 4
#define CONFIG_MULTICAST_RINGS_MAX     32
#define CONFIG_CAST_DEPTH_DEFAULT      256
#define CONFIG_SPIN_US_DEFAULT	       50
#define CONFIG_SPIN_US_MAX	       1000

#define CONFIG_WEIGHT_DEFAULT 1
#define CONFIG_WEIGHT_MAX     256
#define CONFIG_FLOWS_DEFAULT  65536
#define CONFIG_FLOWS_MIN      1024
#define CONFIG_FLOWS_MAX      4194304

#define CONFIG_AREA_DEFAULT	  1   /* 0.0.0.1 */
#define CONFIG_NIC_COST_DEFAULT	  100 /* the way to the outside begins inside */
#define CONFIG_COST_DEFAULT	  10
#define CONFIG_COST_LARGE_DEFAULT 20   /* of a network whose MTU is above the next one: */
#define CONFIG_COST_MTU		  1500 /* what goes outside takes one whose MTU fits */
#define CONFIG_COST_MAX		  65535

#define CONFIG_LIVENESS_INTERVAL_MS_DEFAULT 200
#define CONFIG_LIVENESS_INTERVAL_MS_MIN	    20
#define CONFIG_LIVENESS_INTERVAL_MS_MAX	    10000
#define CONFIG_LIVENESS_MISSES_DEFAULT	    3
#define CONFIG_LIVENESS_MISSES_MIN	    2
#define CONFIG_LIVENESS_MISSES_MAX	    20

enum fabric_kind { FABRIC_KIND_SHM, FABRIC_KIND_RDMA };
enum fabric_security { FABRIC_SECURITY_TLS, FABRIC_SECURITY_NONE };
enum network_kind { NETWORK_KIND_LOCAL, NETWORK_KIND_GLOBAL };

/* Who writes into one cast ring: all members, or its maker only. */
enum cast_mode { CAST_MODE_SHARED, CAST_MODE_LANES };

/* How a new connection finds its node if several could serve it. */
enum config_balance {
	CONFIG_BALANCE_ROUND_ROBIN,
	CONFIG_BALANCE_LEAST_CONNECTIONS,
	CONFIG_BALANCE_CONSISTENT_HASH,
};

/* The ports of connections from a global address: a slice per node, or all of them. */
enum config_ephemeral { CONFIG_EPHEMERAL_SLICE, CONFIG_EPHEMERAL_SHARED };

struct config_address {
	int family; /* AF_INET or AF_INET6 */
	uint8_t bytes[16];
	unsigned prefix;
};

#define CONFIG_ADDRESS_TEXT_MAX INET6_ADDRSTRLEN

/* The address without its prefix. */
void config_address_text(const struct config_address *address,
			 char text[CONFIG_ADDRESS_TEXT_MAX]);

/* An address and a port: "192.0.2.1:7471", "[fd77::1]:7471". */
struct config_endpoint {
	struct sockaddr_storage address;
	socklen_t length;
	char text[CONFIG_ENDPOINT_MAX]; /* the one way to write it */
};

/*
 * A concrete unicast address and a port that isn't 0. -EINVAL: `text` is none, and
 * *ret_why (may be NULL) is the end of a sentence about it, valid until the next call.
 */
int config_endpoint_parse(const char *text, struct config_endpoint *ret_endpoint,
			  const char **ret_why);

/*
 * All strings are owned by the config. What belongs to the other kind is empty; there is
 * at most one fabric of each kind.
 */
struct config_fabric {
	char *name;
	enum fabric_kind kind;

	/* shm */
	char *path; /* the rendezvous directory */
	unsigned num_uids;
	uint32_t uids[CONFIG_UIDS_MAX]; /* admitted besides root and our own */

	/* rdma */
	char *device; /* NULL: the first that will do */
	struct config_endpoint listen;
	unsigned num_seeds;
	struct config_endpoint seeds[CONFIG_SEEDS_MAX]; /* our own may be among them */
	enum fabric_security security;
	char *ca, *certificate, *key; /* paths; NULL if the security is none */
};

struct config_network {
	char *name;
	enum network_kind kind;
	char *tap;
	uint32_t mtu;
	uint32_t ring_size;	  /* bytes, a power of two */
	uint32_t multicast_rings; /* at most so many besides the broadcast ring */
	uint32_t cast_depth;	  /* slots of one that we make, a power of two */
	enum cast_mode cast;
	uint32_t offloads; /* SHMNET_OFFLOAD_*: at most these */
	bool dhcp;	   /* its IPv4 addresses are those of a DHCP client */
	unsigned num_addresses;
	struct config_address addresses[CONFIG_ADDRESSES_MAX];

	/* Of kind local. */
	uint32_t cost; /* as OSPF has it; 0: it does not speak there */

	/* Of kind global: one address each, without a subnet; empty in a local one. */
	unsigned num_members;		   /* 0: every node that has the network */
	char *members[CONFIG_MEMBERS_MAX]; /* names; the node's own is among them */
	enum config_balance balance;
	uint32_t weight; /* against that of the other members; 0: no new connections */
	enum config_ephemeral ephemeral;
	char *announce; /* see config_announce_nic(), config_is_routed(); NULL: nobody */
	uint32_t flows; /* at most so many are remembered one by one */
};

/* The interface whose LAN is told where the addresses are; NULL: none. */
const char *config_announce_nic(const struct config_network *network);

/* Its addresses are what border nodes tell a routing protocol. */
bool config_is_routed(const struct config_network *network);

/* What the file calls 1 << index of SHMNET_OFFLOAD_*: "tso4". */
#define CONFIG_OFFLOADS 3
const char *config_offload_name(unsigned index);

/* When a node that others hear nothing of is suspected. */
struct config_liveness {
	uint32_t interval_ms; /* of showing life, and of looking for that of others */
	uint32_t misses;      /* so many intervals */
};

/* OSPF, which another program speaks for the host. */
struct config_routing {
	uint32_t area; /* of the local networks, 0.0.0.1 is 1; 0: no routing */
	uint32_t nic_cost;
	unsigned num_nics; /* 0: not a border */
	char *nics[CONFIG_NICS_MAX];
};

#define CONFIG_AREA_TEXT_MAX INET_ADDRSTRLEN

/* Dotted, the one way to write it. */
void config_area_text(uint32_t area, char text[CONFIG_AREA_TEXT_MAX]);

/*
 * The control thread's, which changes it in place when it is told to (reload.h): nobody
 * keeps a copy of a value, and the strings of what is changed are gone then.
 */
struct node_config {
	char *file; /* that it was loaded from, as an absolute path */
	char *name;
	uint16_t id;
	char *cluster;
	char *runtime_dir;
	uint32_t spin_us; /* how long a worker looks before it sleeps; 0: never */
	/* The DHCP client and its arguments, "%i": the interface. [0] NULL: the host's.
	 */
	char *dhcp_client[CONFIG_DHCP_ARGS_MAX + 1];
	struct config_liveness liveness;
	char *netns; /* of the TAPs: a name of `ip netns`, or a path; NULL: our own */
	unsigned num_fabrics;
	struct config_fabric *fabrics;
	unsigned num_networks;
	struct config_network *networks; /* room for CONFIG_NETWORKS_MAX */
	struct config_routing routing;
};

/*
 * Prints every error to `errors` as "file:line:col: error: text" (without a
 * position where there is none) and returns -EINVAL; -EIO and friends, with a
 * line printed too, if the file can't be read. On success *ret_config is the
 * caller's, to be freed by config_free().
 */
int config_load(const char *path, FILE *errors, struct node_config **ret_config);

/* Can it be the name of an interface, whatever its length? */
bool config_is_interface(const char *text);

/* The network of this name; NULL: there is none. */
struct config_network *config_find_network(const struct node_config *config,
					   const char *name);

/* False: a place in the list that a network has left (its name is ""). */
bool config_has_network(const struct node_config *config, unsigned index);

/* A network of kind global, one at least. */
bool config_has_global(const struct node_config *config);

/*
 * A network of a config that was loaded takes a free place; -ENOSPC. On success `fresh`
 * is such a place.
 */
int config_take_network(struct node_config *config, struct config_network *fresh,
			unsigned *ret_index);

/* Its place is free. */
void config_leave_network(struct node_config *config, unsigned index);

/* Whatever its prefix. */
bool config_has_address(const struct config_network *network,
			const struct config_address *address);

/* The fabric of this kind; NULL if the node has none. */
const struct config_fabric *config_find_fabric(const struct node_config *config,
					       enum fabric_kind kind);

/* Accepts NULL. */
void config_free(struct node_config *config);

/* The effective values, defaults included, as YAML that config_load() takes. */
void config_print(const struct node_config *config, FILE *out);

#endif
