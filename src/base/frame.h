/*
 * Looking at a frame: where its headers are, and which virtio-net header fits
 * it.
 *
 * Works on the first bytes of a frame in private memory, never on shared
 * memory, and reads nothing beyond the length it is given. No policy, no state,
 * any thread.
 *
 * A virtio-net header tells a kernel where to write checksums and how to cut a
 * frame, so one that contradicts its frame is dangerous. frame_fit_vnet()
 * takes from a foreign header only the intention (checksum wanted, segments of
 * which size) and writes a new one from our own parse. The sender runs its
 * kernel's header through it, the receiver the sender's: both ways the kernel
 * gets a header that this file made.
 */
#ifndef BASE_FRAME_H
#define BASE_FRAME_H

#include <shmnet/wire.h>

#include "base/drop.h"

#include <stddef.h>
#include <stdint.h>

/* How much of a frame is looked at. Nothing after it is decided on. */
#define FRAME_HEAD_MAX 256

/* As in <linux/virtio_net.h>. */
#define FRAME_NEEDS_CSUM 1
#define FRAME_GSO_NONE	 0
#define FRAME_GSO_TCPV4	 1
#define FRAME_GSO_TCPV6	 4
#define FRAME_GSO_UDP_L4 5
#define FRAME_GSO_ECN	 0x80

/* Likewise, host byte order. */
struct frame_vnet {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t header_length;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

struct frame_layout {
	uint16_t l3;	    /* offset of what follows Ethernet header and VLAN tags */
	uint16_t l4;	    /* offset of the TCP or UDP header; 0: none in sight */
	uint16_t payload;   /* offset of what follows it */
	uint8_t ip_version; /* 4, 6, or 0 */
	uint8_t protocol;   /* IPPROTO_TCP or IPPROTO_UDP if l4 is set */
};

/*
 * `head` are the first `head_length` bytes of the frame, at least an Ethernet
 * header. Fragments, truncated and unknown headers leave l4 at 0.
 */
void frame_parse(const uint8_t *head, size_t head_length,
		 struct frame_layout *ret_layout);

/* SHMNET_OFFLOAD_*: what a host needs to take a frame with this header; 0: nothing. */
uint32_t frame_offload(const struct frame_vnet *vnet);

/*
 * The header that our kernel may be given for this frame. DROP_NUM_ if there is
 * one; DROP_BAD_HEADER or DROP_OVERSIZE if the foreign header does not fit.
 */
enum drop_reason frame_fit_vnet(const struct frame_layout *layout,
				const struct frame_vnet *foreign, size_t frame_length,
				uint32_t mtu, struct frame_vnet *ret_vnet);

/*
 * Does in software what `vnet` asks for, for protocols that frame_fit_vnet() does
 * not know: -EINVAL if it wants more than a checksum or points outside the frame.
 */
int frame_finish_checksum(uint8_t *frame, size_t frame_length,
			  const struct frame_vnet *vnet);

/* The Internet checksum of these bytes, as a header holds it in network byte order. */
uint16_t frame_checksum(const uint8_t *bytes, size_t length);

#endif
