/*
 * A super-frame that is cut: ten bytes of virtio-net header, the frame.
 *
 * What must hold: the pieces' data is the frame's, in its order; each fits, and is a
 * frame that a receiver accepts and that asks for nothing but its checksum.
 */
#include "base/segment.h"

#include "fuzz.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition)
{
	if (!condition)
		abort();
}

/* What a piece is measured against. */
struct original {
	struct frame_layout layout;
	uint16_t gso_size;
	const uint8_t *data;
	size_t left;
};

static void check_piece(struct original *original, const uint8_t *piece, size_t length)
{
	const uint8_t *frame = piece + SHMNET_VNET_HLEN;
	size_t frame_length = length - SHMNET_VNET_HLEN;
	size_t head_length =
		frame_length < FRAME_HEAD_MAX ? frame_length : FRAME_HEAD_MAX;
	size_t data_length = frame_length - original->layout.payload;
	struct frame_layout layout;
	struct frame_vnet vnet, own;

	must(frame_length >= original->layout.payload);
	must(data_length <= original->gso_size && data_length <= original->left);
	must(data_length == original->gso_size || data_length == original->left);
	must(memcmp(frame + original->layout.payload, original->data, data_length) == 0);
	original->data += data_length;
	original->left -= data_length;

	frame_parse(frame, head_length, &layout);
	must(memcmp(&layout, &original->layout, sizeof(layout)) == 0);
	memcpy(&vnet, piece, sizeof(vnet));
	must(vnet.flags == FRAME_NEEDS_CSUM && vnet.gso_type == FRAME_GSO_NONE);
	must(frame_fit_vnet(&layout, &vnet, frame_length, UINT32_MAX, &own) == DROP_NUM_);
	must(memcmp(&vnet, &own, sizeof(own)) == 0);
	if (layout.ip_version == 4)
		must(frame_checksum(frame + layout.l3, (size_t)(layout.l4 - layout.l3)) ==
		     0);
}

/* Into memory of exactly its length. */
static void next_piece(struct segment *segment, struct original *original)
{
	size_t length = segment_length(segment);
	uint8_t *piece = malloc(length);

	must(piece != NULL);
	must(segment_next(segment, piece) == length);
	check_piece(original, piece, length);
	free(piece);
}

static void cut(const uint8_t *payload, size_t size)
{
	struct segment segment;
	struct original original;
	struct frame_vnet vnet;

	if (segment_begin(&segment, payload, size) < 0)
		return;
	must(segment_is_super(payload));
	memcpy(&vnet, payload, sizeof(vnet));
	original.layout = segment.layout;
	original.gso_size = vnet.gso_size;
	original.data = payload + SHMNET_VNET_HLEN + segment.layout.payload;
	original.left = size - SHMNET_VNET_HLEN - segment.layout.payload;
	do {
		next_piece(&segment, &original);
	} while (original.left > 0);
	must(segment_length(&segment) == 0);
	must(segment_next(&segment, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *payload = malloc(size ? size : 1);

	must(payload != NULL);
	memcpy(payload, data, size);
	cut(payload, size);
	free(payload);
	return 0;
}
