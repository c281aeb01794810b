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
#include "control/handover.h"
#include "control/kernel.h"
#include "data/tap.h"

#include <shmnet/wire.h>

#include <stdbool.h>
#include <stdint.h>

struct adapter {
	const struct node_config *config;
	const struct config_network *network; /* of it */
	struct kernel *kernel;
	const char *mark;
	const char *place; /* of the interface, as netns_place() */
	struct tap tap;
	int index;
	uint8_t mac[SHMNET_ETH_ALEN];
	bool is_open;
	bool adopted; /* was there before us: a failed start leaves it */
	bool gone;    /* removed under us */
	bool has_carrier;
	uint64_t off_ns;	   /* when it lost its carrier; 0: it never had one */
	uint64_t paused_ns;	   /* since when; 0: it isn't */
	unsigned num_kept;	   /* queues, by the service manager's store */
	struct handover_tap *left; /* its queues, if an earlier life left them open */
	struct events *events;	   /* where changes are kept; NULL: nowhere */
};

/*
 * Looks whether the network may have its TAP and addresses on this host, and changes
 * nothing; `mark` is what the TAP's alias says (KERNEL_MARK_PREFIX and the node's name).
 * Kernel and mark outlive the adapter. `left` outlives adapter_open(), which takes its
 * descriptors; NULL: there are none.
 */
int adapter_claim(struct adapter *adapter, struct kernel *kernel, const char *mark,
		  const struct node_config *config, const struct config_network *network,
		  struct handover_tap *left);

/*
 * Opens and configures the TAP that was claimed. Where queues were left it has the
 * carrier that it had. On failure a TAP that this call made is gone again.
 *
 * What is to stay after SIGKILL is either kept by the service manager or persistent, not
 * both: what is kept goes when the manager stops the service for good.
 */
int adapter_open(struct adapter *adapter, struct kernel *kernel, const char *mark);

enum adapter_end {
	ADAPTER_REMOVE,	 /* the interface goes */
	ADAPTER_RESTORE, /* it stays if it was there: for a start that does not fail */
	ADAPTER_LEAVE,	 /* it stays, for the next life */
};

/* How many queues a TAP of such a network has at most. */
unsigned adapter_queues_max(const struct config_network *network);

/* Accepts a zeroed struct. */
void adapter_close(struct adapter *adapter, enum adapter_end end);

/*
 * Gives the TAP those addresses that the network has now, and no others. On failure it
 * has some of them.
 */
int adapter_set_addresses(struct adapter *adapter, struct kernel *kernel);

/* Those that the network has again, after that failed. */
void adapter_restore_addresses(struct adapter *adapter, struct kernel *kernel);

/* One of them is to go, as far as the kernel has it. */
void adapter_drop_address(struct adapter *adapter, struct kernel *kernel,
			  const struct config_address *address);

/* No live peer, no carrier; for how long the last one is waited for is the caller's. */
void adapter_set_carrier(struct adapter *adapter, bool on);

/*
 * Paused, it loses its carrier at once, whatever adapter_set_carrier() says. After the
 * end of the pause that has to be told again.
 */
void adapter_pause(struct adapter *adapter);
void adapter_resume(struct adapter *adapter);

/*
 * The kernel says the interface changed. A MAC address that somebody else gave it
 * (udev's MACAddressPolicy) is set back: frames are routed by it.
 */
void adapter_check(struct adapter *adapter, struct kernel *kernel,
		   const struct kernel_link *link);

#endif
