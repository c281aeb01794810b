/*
 * A network's adapter on the host [35]: the TAP with its name, MAC, MTU,
 * addresses and mark, from claiming it to leaving nothing behind.
 *
 * Owns the struct tap; moves no frame. The TAP is in the namespace that the kernel's
 * handle was opened for. Says what is wrong in the log, with the
 * remedy, and returns -errno. Control thread.
 */
#ifndef CONTROL_ADAPTER_H
#define CONTROL_ADAPTER_H

#include "control/config.h"
#include "control/events.h"
#include "control/kernel.h"
#include "data/tap.h"

#include <shmnet/wire.h>

#include <stdbool.h>
#include <stdint.h>

struct adapter {
	const struct config_network *network;
	const char *place; /* of the interface, as netns_place() */
	struct tap tap;
	uint8_t mac[SHMNET_ETH_ALEN];
	bool is_open;
	bool adopted; /* was there before us: a failed start leaves it */
	bool gone;    /* removed under us */
	bool has_carrier;
	struct events *events; /* where changes are kept; NULL: nowhere */
};

/*
 * Looks whether the network may have its TAP and addresses on this host, and changes
 * nothing; `mark` is what the TAP's alias says (KERNEL_MARK_PREFIX and the node's name).
 */
int adapter_claim(struct adapter *adapter, struct kernel *kernel, const char *mark,
		  const struct config_network *network, uint16_t node_id);

/*
 * Opens and configures the TAP that was claimed. On failure a TAP that this call made is
 * gone again.
 */
int adapter_open(struct adapter *adapter, struct kernel *kernel, const char *mark);

/*
 * Ends it. The interface goes with it, unless it was adopted and `keep_adopted`: what a
 * start that failed found is left for one that does not. Accepts a zeroed struct.
 */
void adapter_close(struct adapter *adapter, bool keep_adopted);

/* No live peer, no carrier; for how long the last one is waited for is the caller's. */
void adapter_set_carrier(struct adapter *adapter, bool on);

/*
 * The kernel says the interface changed. A MAC address that somebody else gave it
 * (udev's MACAddressPolicy) is set back: frames are routed by it.
 */
void adapter_check(struct adapter *adapter, struct kernel *kernel,
		   const struct kernel_link *link);

#endif
