/* See frame.h. */
#include "base/frame.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8

#define VLAN_TAGS_MAX	    2
#define IPV6_HLEN	    40
#define IPV6_EXTENSIONS_MAX 8

#define TCP_CSUM_OFFSET 16
#define UDP_CSUM_OFFSET 6
#define TCP_HLEN_MIN	20
#define UDP_HLEN	8

/*
 * The kernel never cuts TCP below its minimal MSS (48 with options) and never
 * makes more than 128 datagrams of one send; a peer that asks for more work
 * than that per frame is refused.
 */
#define TCP_SEGMENT_MIN	 8
#define UDP_SEGMENTS_MAX 128

_Static_assert(sizeof(struct frame_vnet) == SHMNET_VNET_HLEN, "struct virtio_net_hdr");

static uint16_t read_be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void parse_l4(const uint8_t *head, size_t head_length, size_t l4, uint8_t protocol,
		     struct frame_layout *layout)
{
	size_t length;

	if (protocol == IPPROTO_TCP && l4 + TCP_HLEN_MIN <= head_length)
		length = (size_t)(head[l4 + 12] >> 4) * 4;
	else if (protocol == IPPROTO_UDP && l4 + UDP_HLEN <= head_length)
		length = UDP_HLEN;
	else
		return;
	if (protocol == IPPROTO_TCP && length < TCP_HLEN_MIN)
		return;
	layout->l4 = (uint16_t)l4;
	layout->payload = (uint16_t)(l4 + length);
	layout->protocol = protocol;
}

static void parse_ipv4(const uint8_t *head, size_t head_length,
		       struct frame_layout *layout)
{
	const uint8_t *ip = head + layout->l3;
	size_t length;

	if (head_length < layout->l3 + 20u || ip[0] >> 4 != 4)
		return;
	length = (size_t)(ip[0] & 0xf) * 4;
	if (length < 20)
		return;
	layout->ip_version = 4;
	if (read_be16(ip + 6) & 0x3fff) /* more fragments, or not the first */
		return;
	parse_l4(head, head_length, layout->l3 + length, ip[9], layout);
}

static bool is_ipv6_extension(uint8_t header)
{
	return header == IPPROTO_HOPOPTS || header == IPPROTO_ROUTING ||
	       header == IPPROTO_DSTOPTS;
}

static void parse_ipv6(const uint8_t *head, size_t head_length,
		       struct frame_layout *layout)
{
	size_t at = layout->l3 + (size_t)IPV6_HLEN;
	uint8_t header;

	if (head_length < at || head[layout->l3] >> 4 != 6)
		return;
	layout->ip_version = 6;
	header = head[layout->l3 + 6];
	for (int i = 0; i < IPV6_EXTENSIONS_MAX && is_ipv6_extension(header); i++) {
		if (at + 8 > head_length)
			return;
		header = head[at];
		at += 8 + (size_t)head[at + 1] * 8;
	}
	parse_l4(head, head_length, at, header, layout);
}

void frame_parse(const uint8_t *head, size_t head_length, struct frame_layout *ret_layout)
{
	struct frame_layout layout = {.l3 = SHMNET_ETH_HLEN};
	uint16_t type = read_be16(head + SHMNET_ETH_HLEN - 2);

	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ)
			break;
		if (layout.l3 + (size_t)SHMNET_VLAN_HLEN > head_length)
			break;
		layout.l3 = (uint16_t)(layout.l3 + SHMNET_VLAN_HLEN);
		type = read_be16(head + layout.l3 - 2);
	}
	if (type == ETHERTYPE_IPV4)
		parse_ipv4(head, head_length, &layout);
	else if (type == ETHERTYPE_IPV6)
		parse_ipv6(head, head_length, &layout);
	*ret_layout = layout;
}

static uint16_t csum_offset(const struct frame_layout *layout)
{
	return layout->protocol == IPPROTO_TCP ? TCP_CSUM_OFFSET : UDP_CSUM_OFFSET;
}

/* Is this the super-frame that its header says it is? */
static bool gso_matches(const struct frame_layout *layout,
			const struct frame_vnet *foreign, size_t frame_length)
{
	size_t data = frame_length - layout->payload;

	switch (foreign->gso_type) {
	case FRAME_GSO_TCPV4:
	case FRAME_GSO_TCPV4 | FRAME_GSO_ECN:
		return layout->protocol == IPPROTO_TCP && layout->ip_version == 4 &&
		       foreign->gso_size >= TCP_SEGMENT_MIN;
	case FRAME_GSO_TCPV6:
	case FRAME_GSO_TCPV6 | FRAME_GSO_ECN:
		return layout->protocol == IPPROTO_TCP && layout->ip_version == 6 &&
		       foreign->gso_size >= TCP_SEGMENT_MIN;
	case FRAME_GSO_UDP_L4:
		return layout->protocol == IPPROTO_UDP && foreign->gso_size > 0 &&
		       data <= (size_t)foreign->gso_size * UDP_SEGMENTS_MAX;
	default:
		return false;
	}
}

uint32_t frame_offload(const struct frame_vnet *vnet)
{
	switch (vnet->gso_type & ~FRAME_GSO_ECN) {
	case FRAME_GSO_TCPV4:
		return SHMNET_OFFLOAD_TSO4;
	case FRAME_GSO_TCPV6:
		return SHMNET_OFFLOAD_TSO6;
	case FRAME_GSO_UDP_L4:
		return SHMNET_OFFLOAD_USO;
	default:
		return 0;
	}
}

enum drop_reason frame_fit_vnet(const struct frame_layout *layout,
				const struct frame_vnet *foreign, size_t frame_length,
				uint32_t mtu, struct frame_vnet *ret_vnet)
{
	struct frame_vnet own = {0};
	bool wants_csum = foreign->flags & FRAME_NEEDS_CSUM;

	if (wants_csum) {
		if (!layout->l4 || layout->payload > frame_length ||
		    foreign->csum_start != layout->l4 ||
		    foreign->csum_offset != csum_offset(layout))
			return DROP_BAD_HEADER;
		own.flags = FRAME_NEEDS_CSUM;
		own.csum_start = layout->l4;
		own.csum_offset = csum_offset(layout);
	}
	if (foreign->gso_type != FRAME_GSO_NONE) {
		if (!wants_csum || !gso_matches(layout, foreign, frame_length))
			return DROP_BAD_HEADER;
		if (layout->payload - layout->l3 + (uint32_t)foreign->gso_size > mtu)
			return DROP_OVERSIZE;
		own.gso_type = foreign->gso_type;
		own.gso_size = foreign->gso_size;
		own.header_length = layout->payload;
	} else if (frame_length - layout->l3 > mtu) {
		return DROP_OVERSIZE;
	}
	*ret_vnet = own;
	return DROP_NUM_;
}

uint16_t frame_checksum(const uint8_t *bytes, size_t length)
{
	uint64_t sum = 0;

	for (; length > 1; bytes += 2, length -= 2)
		sum += read_be16(bytes);
	if (length)
		sum += (uint64_t)bytes[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

int frame_finish_checksum(uint8_t *frame, size_t frame_length,
			  const struct frame_vnet *vnet)
{
	size_t at = (size_t)vnet->csum_start + vnet->csum_offset;
	uint16_t sum;

	if (!(vnet->flags & FRAME_NEEDS_CSUM) || vnet->gso_type != FRAME_GSO_NONE ||
	    vnet->csum_start < SHMNET_ETH_HLEN || at + 2 > frame_length)
		return -EINVAL;
	sum = frame_checksum(frame + vnet->csum_start, frame_length - vnet->csum_start);
	if (sum == 0)
		sum = 0xffff; /* the same number, and not UDP's "no checksum" */
	frame[at] = (uint8_t)(sum >> 8);
	frame[at + 1] = (uint8_t)sum;
	return 0;
}
