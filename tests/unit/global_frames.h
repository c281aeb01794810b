/*
 * Packets as the TAP of a global network gives them, from a client to 10.99.0.1 or
 * fd99::1: with the MACs of a NIC, perhaps VLAN tags, offloads, cut into fragments.
 */
#ifndef TESTS_UNIT_GLOBAL_FRAMES_H
#define TESTS_UNIT_GLOBAL_FRAMES_H

#include "base/flow.h"
#include "base/frame.h"

#include "rig.h"

#include <netinet/in.h>
#include <string.h>

#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define TCP_RST 0x04
#define TCP_FIN 0x01

struct global_frame {
	bool is_ipv6;
	uint8_t protocol; /* 0: TCP */
	uint8_t flags;	  /* of TCP, or the type of ICMP */
	uint16_t client;  /* port; 0: 40000 */
	uint16_t port;	  /* of the address; 0: 80 */
	unsigned tags;	  /* VLAN */
	size_t data;	  /* bytes behind the transport header */
	uint8_t number;	  /* the data begins with it */
	uint16_t gso_size;
	bool wants_checksum; /* of the TAP's kernel; with gso_size always */
};

static const uint8_t global_addresses[2][FLOW_ADDRESS_LEN] = {
	{[10] = 0xff, [11] = 0xff, 10, 99, 0, 1},
	{0xfd, 0x99, [15] = 1},
};

static inline void put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline size_t global_ip_length(const struct global_frame *spec)
{
	return spec->is_ipv6 ? 40 : 20;
}

static inline size_t global_l4_length(const struct global_frame *spec)
{
	return spec->protocol == 0 || spec->protocol == IPPROTO_TCP ? 20 : 8;
}

static inline size_t global_eth_length(const struct global_frame *spec)
{
	return SHMNET_ETH_HLEN + spec->tags * SHMNET_VLAN_HLEN;
}

static inline void put_eth(uint8_t *frame, const struct global_frame *spec)
{
	static const uint8_t macs[12] = {0, 0x16, 0x3e, 1, 2, 3, 0, 0x16, 0x3e, 4, 5, 6};

	memcpy(frame, macs, sizeof(macs));
	for (unsigned i = 0; i < spec->tags; i++) {
		put16(frame + 12 + i * 4, i + 1 < spec->tags ? 0x88a8 : 0x8100);
		put16(frame + 14 + i * 4, 100 + i);
	}
	put16(frame + 12 + spec->tags * 4, spec->is_ipv6 ? 0x86dd : 0x0800);
}

static inline void put_ip(uint8_t *ip, const struct global_frame *spec, size_t length)
{
	static const uint8_t client6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
	static const uint8_t client4[4] = {198, 51, 100, 7};
	uint8_t protocol = spec->protocol ? spec->protocol : IPPROTO_TCP;

	memset(ip, 0, global_ip_length(spec));
	if (spec->is_ipv6) {
		ip[0] = 0x60;
		put16(ip + 4, length);
		ip[6] = protocol;
		ip[7] = 64;
		memcpy(ip + 8, client6, 16);
		memcpy(ip + 24, global_addresses[1], 16);
		return;
	}
	ip[0] = 0x45;
	put16(ip + 2, 20 + length);
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, client4, 4);
	memcpy(ip + 16, global_addresses[0] + 12, 4);
}

static inline void put_l4(uint8_t *l4, const struct global_frame *spec, size_t length)
{
	memset(l4, 0, global_l4_length(spec));
	if (spec->protocol == IPPROTO_ICMP || spec->protocol == IPPROTO_ICMPV6) {
		l4[0] = spec->flags;
		return;
	}
	put16(l4, spec->client ? spec->client : 40000);
	put16(l4 + 2, spec->port ? spec->port : 80);
	if (global_l4_length(spec) == 20) {
		l4[12] = 5 << 4;
		l4[13] = spec->flags;
	} else {
		put16(l4 + 4, length);
	}
}

static inline void put_global_vnet(uint8_t *buffer, const struct global_frame *spec)
{
	size_t l4 = global_eth_length(spec) + global_ip_length(spec);
	bool is_udp = spec->protocol == IPPROTO_UDP;
	struct frame_vnet vnet = {0};

	if (spec->gso_size || spec->wants_checksum) {
		vnet.flags = FRAME_NEEDS_CSUM;
		vnet.csum_start = (uint16_t)l4;
		vnet.csum_offset = is_udp ? 6 : 16;
	}
	if (spec->gso_size) {
		vnet.gso_type = is_udp		? FRAME_GSO_UDP_L4
				: spec->is_ipv6 ? FRAME_GSO_TCPV6
						: FRAME_GSO_TCPV4;
		vnet.gso_size = spec->gso_size;
		vnet.header_length = (uint16_t)(l4 + global_l4_length(spec));
	}
	memcpy(buffer, &vnet, sizeof(vnet));
}

/* The whole, with its virtio-net header. */
static inline size_t global_frame_make(uint8_t *buffer, const struct global_frame *spec)
{
	uint8_t *frame = buffer + SHMNET_VNET_HLEN;
	uint8_t *ip = frame + global_eth_length(spec);
	uint8_t *l4 = ip + global_ip_length(spec);
	uint8_t *data = l4 + global_l4_length(spec);
	size_t length = global_l4_length(spec) + spec->data;

	put_global_vnet(buffer, spec);
	put_eth(frame, spec);
	put_ip(ip, spec, length);
	put_l4(l4, spec, length);
	for (size_t i = 0; i < spec->data; i++)
		data[i] = (uint8_t)(spec->number + i * 7 + (i >> 8));
	return (size_t)(data - buffer) + spec->data;
}

/*
 * The fragment of it (IPv4, without tags) that begins at byte `from` of what follows the
 * IP header and has `length` bytes of it.
 */
static inline size_t global_fragment_make(uint8_t *buffer,
					  const struct global_frame *spec, uint16_t id,
					  size_t from, size_t length)
{
	size_t whole = global_l4_length(spec) + spec->data;
	uint8_t *ip = buffer + SHMNET_VNET_HLEN + SHMNET_ETH_HLEN;

	global_frame_make(buffer, spec);
	memmove(ip + 20, ip + 20 + from, length);
	put16(ip + 2, 20 + length);
	put16(ip + 4, id);
	put16(ip + 6, from / 8 | (from + length < whole ? 0x2000 : 0));
	return SHMNET_VNET_HLEN + SHMNET_ETH_HLEN + 20 + length;
}

static inline void global_key_make(struct flow_key *key, const struct global_frame *spec)
{
	static const uint8_t client6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
	static const uint8_t client4[4] = {198, 51, 100, 7};

	memset(key, 0, sizeof(*key));
	if (spec->is_ipv6)
		memcpy(key->foreign, client6, 16);
	else
		flow_address_map_ipv4(key->foreign, client4);
	memcpy(key->local, global_addresses[spec->is_ipv6], 16);
	key->foreign_port = spec->client ? spec->client : 40000;
	key->local_port = spec->port ? spec->port : 80;
	key->protocol = spec->protocol ? spec->protocol : IPPROTO_TCP;
}

#endif
