/*
 * Super-frames for the tests of base/segment: from a shape of frame_shapes.h, with
 * lengths, sums and data filled in as a kernel hands them over.
 */
#ifndef TESTS_UNIT_SUPER_FRAME_H
#define TESTS_UNIT_SUPER_FRAME_H

#include "base/frame.h"

#include "frame_shapes.h"

#include <string.h>

#define SUPER_ROOM (SHMNET_VNET_HLEN + SHMNET_FRAME_MAX)

/* What may be sent of them. */
struct super_frame {
	const char *shape;
	uint8_t gso_type;
	uint16_t gso_size;
	uint8_t tcp_flags;
	size_t data_length;
};

static inline void super_put_be16(uint8_t *bytes, size_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

static inline uint32_t super_get_be16(const uint8_t *bytes)
{
	return (uint32_t)(bytes[0] << 8 | bytes[1]);
}

/* RFC 1071, the straightforward way. */
static inline uint32_t super_sum(uint32_t sum, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

/* Of addresses, protocol and length. */
static inline uint32_t super_pseudo_sum(const struct frame_layout *layout,
					const uint8_t *frame, size_t length)
{
	const uint8_t *ip = frame + layout->l3;
	const uint8_t words[4] = {0, layout->protocol,
				  (uint8_t)((length - layout->l4) >> 8),
				  (uint8_t)(length - layout->l4)};
	uint32_t sum = super_sum(0, words, sizeof(words));

	return layout->ip_version == 4 ? super_sum(sum, ip + 12, 8)
				       : super_sum(sum, ip + 8, 32);
}

static inline void super_fill_ip(uint8_t *ip, const struct frame_layout *layout,
				 size_t length)
{
	size_t header_length = (size_t)(layout->l4 - layout->l3);

	if (layout->ip_version == 6) {
		super_put_be16(ip + 4, length - layout->l3 - 40);
		return;
	}
	super_put_be16(ip + 2, length - layout->l3);
	super_put_be16(ip + 4, 0xfffd); /* soon wraps */
	super_put_be16(ip + 10, 0);
	super_put_be16(ip + 10, ~super_sum(0, ip, header_length));
}

static inline void super_fill_l4(uint8_t *frame, const struct frame_layout *layout,
				 const struct super_frame *super, size_t length)
{
	uint32_t sum = super_pseudo_sum(layout, frame, length);
	uint8_t *header = frame + layout->l4;

	if (layout->protocol == 6) {
		super_put_be16(header + 4, 0xffff); /* the sequence number, likewise */
		super_put_be16(header + 6, 0xfff0);
		header[13] = super->tcp_flags;
		super_put_be16(header + 16, sum);
	} else {
		super_put_be16(header + 4, length - layout->l4);
		super_put_be16(header + 6, sum);
	}
}

/* Writes virtio-net header and frame to SUPER_ROOM bytes; their number. */
static inline size_t super_make(const struct super_frame *super, uint8_t *payload)
{
	uint8_t *frame = payload + SHMNET_VNET_HLEN;
	size_t length = shape_decode(super->shape, frame);
	struct frame_layout layout;
	struct frame_vnet vnet;

	frame_parse(frame, length, &layout);
	for (size_t i = 0; i < super->data_length; i++)
		frame[length + i] = (uint8_t)(i * 7 + i / 256);
	length += super->data_length;
	super_fill_ip(frame + layout.l3, &layout, length);
	super_fill_l4(frame, &layout, super, length);
	vnet = (struct frame_vnet){
		.flags = FRAME_NEEDS_CSUM,
		.gso_type = super->gso_type,
		.header_length = layout.payload,
		.gso_size = super->gso_size,
		.csum_start = layout.l4,
		.csum_offset = layout.protocol == 6 ? 16 : 6,
	};
	memcpy(payload, &vnet, sizeof(vnet));
	return SHMNET_VNET_HLEN + length;
}

#endif
