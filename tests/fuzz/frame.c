/*
 * A frame and the virtio-net header that came with it: ten bytes of header, two of
 * MTU, the frame.
 *
 * What must hold: offsets lie where they may lie, an accepted header asks for
 * nothing outside the frame, and a receiver accepts what a sender made.
 */
#include "base/frame.h"

#include "fuzz.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX (SHMNET_VNET_HLEN + 2)

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_layout(const struct frame_layout *layout, size_t head_length)
{
	must(layout->l3 >= SHMNET_ETH_HLEN && layout->l3 <= head_length);
	must(layout->ip_version == 0 || layout->ip_version == 4 ||
	     layout->ip_version == 6);
	if (!layout->l4)
		return;
	must(layout->ip_version != 0);
	must(layout->protocol == IPPROTO_TCP || layout->protocol == IPPROTO_UDP);
	must(layout->l4 >= layout->l3 + 20);
	must(layout->l4 + (layout->protocol == IPPROTO_TCP ? 20u : 8u) <= head_length);
	must(layout->payload >= layout->l4 + 8 && layout->payload <= layout->l4 + 60);
}

static void check_vnet(const struct frame_layout *layout, const struct frame_vnet *vnet,
		       size_t frame_length, uint32_t mtu)
{
	static const struct frame_vnet none;

	must(vnet->header_length <= frame_length);
	if (!vnet->flags) {
		must(memcmp(vnet, &none, sizeof(none)) == 0);
		must(frame_length - layout->l3 <= mtu);
		return;
	}
	must(vnet->flags == 1 && vnet->csum_start == layout->l4);
	must(vnet->csum_start + vnet->csum_offset + 2u <= frame_length);
	if (vnet->gso_type) {
		must(vnet->gso_size > 0 && vnet->header_length == layout->payload);
		must(vnet->header_length - layout->l3 + vnet->gso_size <= (int)mtu);
	}
}

static void check_checksum(const uint8_t *frame, size_t length,
			   const struct frame_vnet *vnet)
{
	size_t at = (size_t)vnet->csum_start + vnet->csum_offset;
	uint8_t *copy = malloc(length);

	must(copy != NULL);
	memcpy(copy, frame, length);
	if (frame_finish_checksum(copy, length, vnet) == 0) {
		must(at + 2 <= length && memcmp(copy, frame, at) == 0);
		must(memcmp(copy + at + 2, frame + at + 2, length - at - 2) == 0);
		must(copy[at] || copy[at + 1]);
	} else {
		must(memcmp(copy, frame, length) == 0);
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame_vnet foreign, own, again;
	struct frame_layout layout;
	size_t length, head_length;
	uint32_t mtu;

	if (size < PREFIX + SHMNET_ETH_HLEN)
		return 0;
	memcpy(&foreign, data, sizeof(foreign));
	mtu = (uint32_t)(data[SHMNET_VNET_HLEN] << 8 | data[SHMNET_VNET_HLEN + 1]);
	data += PREFIX;
	length = size - PREFIX;
	head_length = length < FRAME_HEAD_MAX ? length : FRAME_HEAD_MAX;

	frame_parse(data, head_length, &layout);
	check_layout(&layout, head_length);
	check_checksum(data, length, &foreign);
	if (frame_fit_vnet(&layout, &foreign, length, mtu, &own) != DROP_NUM_)
		return 0;
	check_vnet(&layout, &own, length, mtu);
	must(frame_fit_vnet(&layout, &own, length, mtu, &again) == DROP_NUM_);
	must(memcmp(&own, &again, sizeof(own)) == 0);
	return 0;
}
