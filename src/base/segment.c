/* See segment.h. */
#include "base/segment.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define IPV4_LENGTH 2
#define IPV4_ID	    4
#define IPV4_CSUM   10
#define IPV6_LENGTH 4
#define IPV6_HLEN   40
#define UDP_LENGTH  4
#define UDP_CSUM    6
#define TCP_SEQ	    4
#define TCP_FLAGS   13
#define TCP_CSUM    16

#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

static uint16_t read_be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void write_be16(uint8_t *bytes, size_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

static void add_be16(uint8_t *bytes, size_t value)
{
	write_be16(bytes, read_be16(bytes) + value);
}

static void add_be32(uint8_t *bytes, size_t value)
{
	size_t low = read_be16(bytes + 2) + value;

	write_be16(bytes + 2, low);
	add_be16(bytes, low >> 16);
}

/* As numbers that are carried round: the sum of a checksum. */
static uint16_t add_sums(uint16_t a, uint16_t b)
{
	uint32_t sum = (uint32_t)a + b;

	return (uint16_t)(sum + (sum >> 16));
}

static bool is_tcp(const struct segment *segment)
{
	return segment->layout.protocol == IPPROTO_TCP;
}

static uint8_t *network_header(struct segment *segment)
{
	return segment->head + SHMNET_VNET_HLEN + segment->layout.l3;
}

static uint8_t *transport_header(struct segment *segment)
{
	return segment->head + SHMNET_VNET_HLEN + segment->layout.l4;
}

/*
 * The sum in a super-frame's checksum is that of a pseudo-header with its length. So
 * headers that name another length belong to a frame whose pieces nobody would
 * take.
 */
static bool lengths_agree(const struct frame_layout *layout, const uint8_t *frame,
			  size_t frame_length)
{
	const uint8_t *ip = frame + layout->l3;
	size_t ip_length = frame_length - layout->l3;

	if (layout->ip_version == 4 && read_be16(ip + IPV4_LENGTH) != ip_length)
		return false;
	if (layout->ip_version == 6 &&
	    (size_t)read_be16(ip + IPV6_LENGTH) + IPV6_HLEN != ip_length)
		return false;
	return layout->protocol == IPPROTO_TCP ||
	       read_be16(frame + layout->l4 + UDP_LENGTH) == frame_length - layout->l4;
}

static uint16_t sum_without_length(const struct frame_layout *layout,
				   const uint8_t *frame, size_t frame_length)
{
	size_t at = layout->protocol == IPPROTO_TCP ? TCP_CSUM : UDP_CSUM;

	return add_sums(read_be16(frame + layout->l4 + at),
			(uint16_t) ~(frame_length - layout->l4));
}

bool segment_is_super(const uint8_t *payload)
{
	struct frame_vnet vnet;

	memcpy(&vnet, payload, sizeof(vnet));
	return vnet.gso_type != FRAME_GSO_NONE;
}

/* Is it one of those that frame.h lets pass? */
static bool check_super(const uint8_t *payload, size_t length,
			struct frame_layout *ret_layout, struct frame_vnet *ret_vnet)
{
	const uint8_t *frame = payload + SHMNET_VNET_HLEN;
	size_t frame_length = length - SHMNET_VNET_HLEN;
	size_t head_length =
		frame_length < FRAME_HEAD_MAX ? frame_length : FRAME_HEAD_MAX;
	struct frame_vnet vnet;

	memcpy(&vnet, payload, sizeof(vnet));
	frame_parse(frame, head_length, ret_layout);
	if (frame_fit_vnet(ret_layout, &vnet, frame_length, UINT32_MAX, ret_vnet) !=
	    DROP_NUM_)
		return false;
	return ret_vnet->gso_type != FRAME_GSO_NONE &&
	       lengths_agree(ret_layout, frame, frame_length);
}

int segment_begin(struct segment *segment, const uint8_t *payload, size_t length)
{
	const uint8_t *frame = payload + SHMNET_VNET_HLEN;
	struct frame_layout layout;
	struct frame_vnet vnet;

	if (length < SHMNET_VNET_HLEN + SHMNET_ETH_HLEN ||
	    !check_super(payload, length, &layout, &vnet))
		return -EINVAL;
	segment->layout = layout;
	segment->size = vnet.gso_size;
	segment->head_length = SHMNET_VNET_HLEN + (size_t)layout.payload;
	segment->data = payload + segment->head_length;
	segment->left = length - segment->head_length;
	segment->sum = sum_without_length(&layout, frame, length - SHMNET_VNET_HLEN);
	segment->flags = is_tcp(segment) ? frame[layout.l4 + TCP_FLAGS] : 0;
	vnet.gso_type = FRAME_GSO_NONE;
	vnet.gso_size = 0;
	vnet.header_length = 0;
	memcpy(segment->head, &vnet, sizeof(vnet));
	memcpy(segment->head + SHMNET_VNET_HLEN, frame, layout.payload);
	return 0;
}

/* How much of the data the next piece takes. */
static size_t next_data(const struct segment *segment)
{
	return segment->left < segment->size ? segment->left : segment->size;
}

size_t segment_length(const struct segment *segment)
{
	if (segment->head_length == 0)
		return 0;
	return segment->head_length + next_data(segment);
}

static void finish_network(struct segment *segment, size_t l4_length)
{
	uint8_t *ip = network_header(segment);
	size_t header_length = (size_t)(segment->layout.l4 - segment->layout.l3);

	if (segment->layout.ip_version == 6) {
		write_be16(ip + IPV6_LENGTH, header_length + l4_length - IPV6_HLEN);
		return;
	}
	write_be16(ip + IPV4_LENGTH, header_length + l4_length);
	write_be16(ip + IPV4_CSUM, 0);
	write_be16(ip + IPV4_CSUM, frame_checksum(ip, header_length));
}

static void finish_transport(struct segment *segment, size_t l4_length, bool is_last)
{
	uint16_t sum = add_sums(segment->sum, (uint16_t)l4_length);
	uint8_t *header = transport_header(segment);

	if (is_tcp(segment)) {
		write_be16(header + TCP_CSUM, sum);
		header[TCP_FLAGS] = segment->flags;
		if (!is_last)
			header[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	} else {
		write_be16(header + UDP_CSUM, sum);
		write_be16(header + UDP_LENGTH, l4_length);
	}
}

/* From the piece just written to the one behind it. */
static void advance(struct segment *segment, size_t length)
{
	segment->data += length;
	segment->left -= length;
	if (segment->left == 0) {
		segment->head_length = 0;
		return;
	}
	if (segment->layout.ip_version == 4)
		add_be16(network_header(segment) + IPV4_ID, 1);
	if (is_tcp(segment))
		add_be32(transport_header(segment) + TCP_SEQ, length);
	segment->flags &= (uint8_t)~TCP_CWR;
}

size_t segment_next(struct segment *segment, uint8_t *place)
{
	size_t total = segment_length(segment);
	size_t length = next_data(segment);
	size_t l4_length =
		(size_t)(segment->layout.payload - segment->layout.l4) + length;

	if (total == 0)
		return 0;
	finish_network(segment, l4_length);
	finish_transport(segment, l4_length, length == segment->left);
	memcpy(place, segment->head, segment->head_length);
	memcpy(place + segment->head_length, segment->data, length);
	advance(segment, length);
	return total;
}
