/*
 * The sockets of the node's namespace, as the kernel lists them (sock_diag): which
 * connections have a global address for their own, and what listens for one.
 *
 * TCP and UDP always; UDP-Lite and SCTP where the kernel has them. Synchronous: the
 * kernel answers within the call. A look-up costs a few us, a read of all connections
 * about one for each that is ours and a third of that for each other.
 *
 * Control thread. Never logs. Needs no privilege.
 */
#ifndef CONTROL_SOCKETS_H
#define CONTROL_SOCKETS_H

#include "base/flow.h"
#include "control/listener.h"

#include <stdint.h>

struct netns;
struct sockets;

/* SOCKETS_ADDRESSES_MAX: what a filter has room for. */
#define SOCKETS_ADDRESSES_MAX 16

/* Whose sockets are meant: those of a global network. */
struct sockets_scope {
	const uint8_t (*addresses)[FLOW_ADDRESS_LEN]; /* 1..SOCKETS_ADDRESSES_MAX */
	unsigned num_addresses;
	/* Of the port, where all packets for them come in. A socket that is bound to
	 * another device does not see them, so it is none of these. */
	unsigned ifindex;
};

/*
 * `netns` is needed for this call only; NULL: the thread's own namespace.
 * -EPROTONOSUPPORT: the kernel can't list its sockets (CONFIG_INET_DIAG,
 * CONFIG_INET_UDP_DIAG).
 */
int sockets_open(const struct netns *netns, struct sockets **ret_sockets);
void sockets_close(struct sockets *sockets); /* accepts NULL */

/*
 * Is there a connection of exactly these addresses and ports? 1 if so: TCP in any
 * state but LISTEN, UDP with this peer, an association of SCTP. 0 if not, also of a
 * protocol that has none; or -errno.
 */
int sockets_find(struct sockets *sockets, const struct sockets_scope *scope,
		 const struct flow_key *key, struct socket_match *ret_match);

/*
 * All connections whose local address is one of the scope's, but those in TIME_WAIT and
 * those of which only the opener came; in no order. *ret_keys is for free(), NULL if
 * there are none.
 */
int sockets_read_connections(struct sockets *sockets, const struct sockets_scope *scope,
			     struct flow_key **ret_keys, unsigned *ret_num);

/* What listens for any of the addresses: as found, see listeners.h for the list. */
int sockets_read_listeners(struct sockets *sockets, const struct sockets_scope *scope,
			   struct listener **ret_listeners, unsigned *ret_num);

#endif
