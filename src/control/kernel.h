/*
 * The host's side of a port, by rtnetlink (libmnl): MAC, MTU, addresses,
 * marker, state, the kernel's own counters; rules, routes and neighbours.
 *
 * kernel*.c are the only files that speak rtnetlink. Synchronous: a request waits for its
 * acknowledgement, which the kernel gives at once. Called by main and the
 * control thread, never by a worker. Errors are -errno; where the kernel says
 * more (extended ack), kernel_last_error() has its words.
 *
 * One handle belongs to one thread. Callbacks run when the kernel has been
 * listened to, so they may call anything here. The handle lives in the network
 * namespace that it was opened for.
 */
#ifndef CONTROL_KERNEL_H
#define CONTROL_KERNEL_H

#include "control/config.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Marks an interface as ours: "shmnet:" and the node's name, in its ifalias. */
#define KERNEL_MARK_PREFIX "shmnet:"

struct kernel;
struct netns;

struct kernel_link {
	int index;
	char name[IF_NAMESIZE];
	char alias[256]; /* empty if it has none */
	uint16_t type;	 /* ARPHRD_* */
	uint8_t mac[6];
	uint32_t mtu;
	bool is_up;	 /* administratively */
	bool running;	 /* carrier, and not dormant */
	bool is_dormant; /* see kernel_set_dormant() */
	bool has_carrier;
	bool gone; /* only kernel_read_watch(): it was removed or moved away */
	bool is_tap;
	/*
	 * Queues that processes hold, ours included; 0 says that nobody does. The
	 * kernel counts them for multi-queue TAPs only (0 for others), which is
	 * enough: it refuses a second holder of a single-queue one by itself.
	 */
	unsigned tap_queues;
};

/* What the kernel itself lost on the port, beside our own counters. */
struct kernel_drops {
	uint64_t tx_dropped; /* frames of the host that nobody read */
	uint64_t rx_dropped; /* frames of ours that the host refused */
};

struct kernel_owner {
	char ifname[IF_NAMESIZE];
	char alias[256];
};

/* Which table says where a packet goes. */
struct kernel_rule {
	int family;
	uint32_t priority; /* the lowest is asked first */
	uint32_t table;
	uint8_t protocol;	   /* who made it, RTPROT_*; 0: not said */
	struct config_address to;  /* family 0: to any address */
	char iifname[IF_NAMESIZE]; /* "lo": what this host sends; "": from anywhere */
	bool has_more;		   /* when read: it says more than fits in here */
};

/* To one address, straight out of an interface. */
struct kernel_route {
	struct config_address to;
	struct config_address source; /* family 0: the kernel chooses one */
	int index;
	uint32_t table;
	uint8_t protocol;
};

struct kernel_neighbour {
	struct config_address address;
	int index;
	uint8_t mac[6];
	uint8_t protocol; /* 0: not said */
};

/*
 * Subscribed to changes from here on. `netns` outlives the handle; NULL: the thread's
 * own namespace.
 */
int kernel_open(const struct netns *netns, struct kernel **ret_kernel);
void kernel_close(struct kernel *kernel); /* accepts NULL */

/* The one that it was opened for, may be NULL. TAPs have to be opened in it. */
const struct netns *kernel_netns(const struct kernel *kernel);

/* The kernel's words for the last failure, or strerror of it. Never NULL. */
const char *kernel_last_error(const struct kernel *kernel);

/* -ENODEV if there is no such interface. */
int kernel_get_link(struct kernel *kernel, const char *name,
		    struct kernel_link *ret_link);

/* Every interface whose alias starts with `alias_prefix` ("": all), in index order. */
int kernel_each_link(struct kernel *kernel, const char *alias_prefix,
		     void (*each)(const struct kernel_link *link, void *arg), void *arg);

/*
 * May the node have `name` for a port? 0: no such interface, create it. 1: a TAP
 * with this very mark that nobody holds, adopt it; only then *ret_link is set.
 * -EBUSY: it has our mark and a process holds it. -EEXIST: not ours; the words
 * say what it is. See data/tap.h for what follows.
 */
int kernel_claim_port(struct kernel *kernel, const char *name, const char *mark,
		      struct kernel_link *ret_link);

/*
 * Removes it, whoever holds it, so a process that comes late to let go of its queues is
 * not waited for. 0 if there is none; -EEXIST: not a TAP with this mark.
 */
int kernel_remove_port(struct kernel *kernel, const char *name, const char *mark);

/* Link must be down for the MAC to change on some kernels: see kernel_setup_port(). */
int kernel_set_mac(struct kernel *kernel, int index, const uint8_t mac[6]);
int kernel_set_mtu(struct kernel *kernel, int index, uint32_t mtu);
int kernel_set_alias(struct kernel *kernel, int index, const char *alias);
int kernel_set_up(struct kernel *kernel, int index, bool up);

/*
 * A dormant interface (RFC 2863) works as before, but is not said to be running, for as
 * long as that is so: programs that lead packets to it stop doing that.
 */
int kernel_set_dormant(struct kernel *kernel, int index, bool dormant);
int kernel_delete_link(struct kernel *kernel, int index);

/* -EEXIST if the interface has it, -EADDRNOTAVAIL if there is none to remove. */
int kernel_add_address(struct kernel *kernel, int index,
		       const struct config_address *address);
int kernel_remove_address(struct kernel *kernel, int index,
			  const struct config_address *address);

/*
 * 1 and the interface that holds `address` in any prefix, 0 if none does, or
 * -errno. If several hold it, one without a mark of ours is named.
 */
int kernel_find_address(struct kernel *kernel, const struct config_address *address,
			struct kernel_owner *ret_owner);

/* How many, at most `room`, the interface has of the family; -ENODEV if it is gone. */
int kernel_get_addresses(struct kernel *kernel, const char *name, int family,
			 struct config_address *ret_addresses, unsigned room);

/*
 * Brings the interface to the state that `network` asks for and leaves alone
 * what already is: marks it, sets MAC (down first if it must change) and MTU,
 * adds addresses that are missing, removes those that are not in the config,
 * sets it up. Idempotent: the second call changes nothing, and an adopted TAP
 * keeps its connections.
 *
 * An address that is in the config is never removed to be added again, with one
 * exception: IPv6 allows an address once per interface, so a new prefix length
 * takes a removal. IPv6 link-local addresses and those that expire (router
 * advertisements, DHCP) belong to others and stay, and so does every IPv4 address where
 * the config says dhcp. A down link loses its IPv6
 * addresses, so a new MAC costs those; they are added again.
 *
 * -EINVAL if it isn't a TAP, -EEXIST if it bears somebody else's alias.
 */
int kernel_setup_port(struct kernel *kernel, const char *mark,
		      const struct config_network *network, const uint8_t mac[6]);

/* The same for the addresses alone, of a port that is set up. */
int kernel_set_addresses(struct kernel *kernel, const struct config_network *network);

/* One of them goes, and no other with it. 0 also if the port has not got it. */
int kernel_drop_address(struct kernel *kernel, const char *name,
			const struct config_address *address);

int kernel_get_drops(struct kernel *kernel, const char *name,
		     struct kernel_drops *ret_drops);

/*
 * ---- kernel_rule.c ----
 *
 * What is read is the caller's to free() (NULL if there is none).
 */

/* Behind those of its priority, also if there is one like it already. */
int kernel_add_rule(struct kernel *kernel, const struct kernel_rule *rule);

/* The first that has all that `rule` says; -ENOENT. */
int kernel_remove_rule(struct kernel *kernel, const struct kernel_rule *rule);

/* In the order in which they are asked. */
int kernel_dump_rules(struct kernel *kernel, int family, struct kernel_rule **ret_rules,
		      size_t *ret_num);

/* In place of one to the same address in the same table, which is never absent. */
int kernel_set_route(struct kernel *kernel, const struct kernel_route *route);

/* -EEXIST: the table has one to that address, whose ever it is. */
int kernel_add_route(struct kernel *kernel, const struct kernel_route *route);

/* -ESRCH */
int kernel_remove_route(struct kernel *kernel, const struct kernel_route *route);

/*
 * Routes of all kinds: of some the interface or the source is left out. `protocol` 0:
 * whoever made them.
 */
int kernel_dump_routes(struct kernel *kernel, int family, uint32_t table,
		       uint8_t protocol, struct kernel_route **ret_routes,
		       size_t *ret_num);

/* For good, in place of what the kernel knows of it. */
int kernel_set_neighbour(struct kernel *kernel, const struct kernel_neighbour *neighbour);

/* -ENOENT */
int kernel_remove_neighbour(struct kernel *kernel,
			    const struct kernel_neighbour *neighbour);

/*
 * Watching: the fd turns readable when an interface or its addresses changed.
 * kernel_read_watch() drains it and calls `changed` once per interface that was named,
 * with its latest state. Spurious calls are normal; our own changes come back too. It
 * returns 1 if the kernel had to drop news: then every interface that exists has
 * been named, and one that has not is gone.
 */
int kernel_watch_fd(struct kernel *kernel);
int kernel_read_watch(struct kernel *kernel,
		      void (*changed)(const struct kernel_link *link, void *arg),
		      void *arg);

#endif
