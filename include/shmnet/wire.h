/*
 * What two nodes must agree on outside protobuf: version, node ids, MAC
 * addresses, sizes [31, 34, 42].
 *
 * Plain C and C++; no dependency but libc. Safe from any thread.
 */
#ifndef SHMNET_WIRE_H
#define SHMNET_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a record, a ring or a message changes so that old peers misread it. */
#define SHMNET_WIRE_VERSION 6

/* Node ids are 16 bits; both ends of the range are reserved. */
#define SHMNET_NODE_ID_MIN 1
#define SHMNET_NODE_ID_MAX 0xfffe

/* The document's range [31], cut at what a TAP takes (its header is 14 bytes). */
#define SHMNET_MTU_MIN 1490
#define SHMNET_MTU_MAX 65521

#define SHMNET_ETH_HLEN	 14
#define SHMNET_VLAN_HLEN 4
#define SHMNET_ETH_ALEN	 6

/*
 * struct virtio_net_hdr as a TAP gives and takes it, without num_buffers. Ten
 * bytes after a record's 16-byte header put the IP header on an 8-byte boundary.
 */
#define SHMNET_VNET_HLEN 10

/*
 * Super-frames that a TAP takes, and so a node, beside partial checksums, which
 * every one takes. TSO is with and without ECN; USO came with Linux 6.2.
 */
#define SHMNET_OFFLOAD_TSO4 0x1u /* TCP over IPv4 */
#define SHMNET_OFFLOAD_TSO6 0x2u /* TCP over IPv6 */
#define SHMNET_OFFLOAD_USO  0x4u /* UDP over either */
#define SHMNET_OFFLOADS	    0x7u

/*
 * The longest frame a TAP read can return is 65,539 bytes (MTU 65,521, Ethernet
 * and VLAN header). More room is offered than that because a short buffer
 * truncates silently.
 */
#define SHMNET_FRAME_MAX 65552

/*
 * A node's MAC address on a network [34]:
 *
 *     byte 0      1        2    3     4    5
 *     0x02        0x53     tag        node id
 *
 * Locally administered, unicast; tag and id are big-endian. The tag is a hash
 * of the network's name, which makes fe80::/64 addresses unique per network and
 * node. Bit 0x04 of byte 0 is the document's command bit [42]: no frame of a
 * host may carry it.
 */
#define SHMNET_MAC_PREFIX0   0x02
#define SHMNET_MAC_PREFIX1   0x53
#define SHMNET_MAC_COMMAND   0x04
#define SHMNET_MAC_MULTICAST 0x01

static inline void shmnet_mac_make(uint8_t mac[SHMNET_ETH_ALEN], uint16_t tag,
				   uint16_t node_id)
{
	mac[0] = SHMNET_MAC_PREFIX0;
	mac[1] = SHMNET_MAC_PREFIX1;
	mac[2] = (uint8_t)(tag >> 8);
	mac[3] = (uint8_t)tag;
	mac[4] = (uint8_t)(node_id >> 8);
	mac[5] = (uint8_t)node_id;
}

static inline bool shmnet_mac_is_cast(const uint8_t *mac)
{
	return mac[0] & SHMNET_MAC_MULTICAST;
}

/* Ours, but for the command bit. */
static inline bool shmnet_mac_is_command(const uint8_t *mac)
{
	return mac[0] == (SHMNET_MAC_PREFIX0 | SHMNET_MAC_COMMAND) &&
	       mac[1] == SHMNET_MAC_PREFIX1;
}

static inline bool shmnet_mac_is_node(const uint8_t *mac, uint16_t tag)
{
	return mac[0] == SHMNET_MAC_PREFIX0 && mac[1] == SHMNET_MAC_PREFIX1 &&
	       mac[2] == (uint8_t)(tag >> 8) && mac[3] == (uint8_t)tag;
}

/* The last two bytes route a unicast frame: no table, no learning [34]. */
static inline uint16_t shmnet_mac_node_id(const uint8_t *mac)
{
	return (uint16_t)(mac[4] << 8 | mac[5]);
}

/* The tag of a network: FNV-1a of its name, folded to 16 bits. */
static inline uint16_t shmnet_network_tag(const char *name)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619u;
	return (uint16_t)(hash >> 16 ^ hash);
}

#ifdef __cplusplus
}
#endif

#endif
