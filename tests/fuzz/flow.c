/*
 * A frame for a global address: two bytes of length behind what is there, the frame.
 *
 * What must hold: offsets lie where they may lie, kind and key agree with each other
 * and with flow_destination(), and the key is that of the flow however the packet
 * travels: with less in sight, with a VLAN tag, as the first of several fragments, or
 * quoted in an ICMP error.
 */
#include "base/flow.h"
#include "base/frame.h"

#include "fuzz.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX 2

/* Wrapped into an error: Ethernet, IPv6 and ICMP before it. */
#define ROOM (FRAME_HEAD_MAX + 14 + 40 + 8)

struct input {
	const uint8_t *frame;
	size_t head_length;
	size_t length;
};

static void must(bool condition)
{
	if (!condition)
		abort();
}

static uint16_t get_be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void put_be16(uint8_t *bytes, size_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

/* Of exactly that size, so that ASan sees a read behind the end. */
static enum drop_reason crack(const uint8_t *frame, size_t head_length, size_t length,
			      struct flow_packet *packet)
{
	uint8_t *copy = malloc(head_length ? head_length : 1);
	enum drop_reason reason;

	must(copy != NULL);
	memcpy(copy, frame, head_length);
	memset(packet, 0, sizeof(*packet));
	reason = flow_crack(copy, head_length, length, packet);
	free(copy);
	return reason;
}

static bool has_transport(const struct flow_packet *packet)
{
	return packet->kind == FLOW_OPENER || packet->kind == FLOW_DATAGRAM ||
	       packet->kind == FLOW_SEGMENT;
}

static void check_key(const struct flow_packet *packet)
{
	static const uint8_t zero[3];
	const struct flow_key *key = &packet->key;
	bool has_ports = flow_has_ports(key->protocol) && packet->kind != FLOW_FRAGMENT;
	char text[FLOW_TEXT_MAX];

	must(memcmp(key->zero, zero, sizeof(zero)) == 0);
	must(flow_address_is_ipv4(key->foreign) == flow_address_is_ipv4(key->local));
	must(key->foreign[0] != 0xff && key->protocol != 0);
	must(has_ports ? key->local_port != 0 : !key->local_port && !key->foreign_port);
	must(!has_transport(packet) || has_ports);
	must(packet->kind != FLOW_PAIR || !has_ports);
	must(strlen(flow_key_text(key, text)) < FLOW_TEXT_MAX - 1);
}

static void check_packet(const struct input *input, const struct flow_packet *packet)
{
	uint8_t address[FLOW_ADDRESS_LEN];

	must(packet->kind < FLOW_KIND_NUM_);
	must(packet->l3 >= 14 && packet->l3 <= 22 && packet->l3 < input->head_length);
	must((packet->kind == FLOW_FRAGMENT) == (packet->l4 == 0));
	must(!packet->l4 || packet->l4 >= packet->l3 + 20);
	must(packet->l4 <= input->head_length);
	must(!has_transport(packet) || packet->l4 + 8u <= input->head_length);
	must(packet->is_fragment == (packet->more || packet->fragment_offset));
	must((packet->kind == FLOW_FRAGMENT) == (packet->fragment_offset != 0));
	must(packet->is_fragment == (packet->fragment_length != 0));
	must(packet->fragment_offset + packet->fragment_length <= 65535);
	must(!packet->ends || packet->kind == FLOW_SEGMENT);
	must(flow_destination(input->frame, input->head_length, address));
	must(memcmp(address, packet->key.local, sizeof(address)) == 0);
	check_key(packet);
}

static bool is_same(const struct flow_packet *a, const struct flow_packet *b)
{
	return memcmp(&a->key, &b->key, sizeof(a->key)) == 0 && a->kind == b->kind &&
	       a->ends == b->ends && a->is_fragment == b->is_fragment &&
	       a->more == b->more && a->fragment_id == b->fragment_id &&
	       a->fragment_offset == b->fragment_offset &&
	       a->fragment_length == b->fragment_length && a->l3 == b->l3 &&
	       a->l4 == b->l4;
}

static void check_less_in_sight(const struct input *input,
				const struct flow_packet *packet)
{
	struct flow_packet less;

	for (size_t n = 0; n < input->head_length; n++) {
		if (crack(input->frame, n, input->length, &less) == DROP_NUM_)
			must(is_same(&less, packet));
	}
}

static void check_tagged(const struct input *input, const struct flow_packet *packet)
{
	uint8_t frame[FRAME_HEAD_MAX + 4];
	struct flow_packet tagged;

	if (packet->l3 > 18 || input->head_length + 4 > FRAME_HEAD_MAX)
		return;
	memcpy(frame, input->frame, 12);
	memcpy(frame + 12, (const uint8_t[]){0x81, 0, 0, 5}, 4);
	memcpy(frame + 16, input->frame + 12, input->head_length - 12);
	must(crack(frame, input->head_length + 4, input->length + 4, &tagged) ==
	     DROP_NUM_);
	must(tagged.l3 == packet->l3 + 4);
	must(tagged.l4 == (packet->l4 ? packet->l4 + 4 : 0));
	must(memcmp(&tagged.key, &packet->key, sizeof(tagged.key)) == 0);
	must(tagged.kind == packet->kind && tagged.ends == packet->ends);
}

/* The first 8, 16, ... bytes of the datagram, and more to come. */
static void check_first_fragment(const struct input *input,
				 const struct flow_packet *packet)
{
	uint8_t frame[FRAME_HEAD_MAX];
	struct flow_packet first;

	if (packet->is_fragment || !flow_address_is_ipv4(packet->key.local))
		return;
	memcpy(frame, input->frame, input->head_length);
	frame[packet->l3 + 6] |= 0x20;
	for (size_t n = 8; packet->l4 + n <= input->head_length; n += 8) {
		put_be16(frame + packet->l3 + 2, packet->l4 - packet->l3 + n);
		if (crack(frame, input->head_length, input->length, &first) != DROP_NUM_)
			continue;
		must(first.is_fragment && first.more && first.fragment_length == n);
		must(first.kind == packet->kind && first.kind != FLOW_ERROR);
		must(memcmp(&first.key, &packet->key, sizeof(first.key)) == 0);
	}
}

/* The packet that answers this one, without its Ethernet header. */
static void turn_round(uint8_t *ip, size_t l4, bool is_ipv4)
{
	size_t length = is_ipv4 ? 4 : 16, from = is_ipv4 ? 12 : 8;
	uint8_t address[16], port[2];

	memcpy(address, ip + from, length);
	memcpy(ip + from, ip + from + length, length);
	memcpy(ip + from + length, address, length);
	memcpy(port, ip + l4, 2);
	memcpy(ip + l4, ip + l4 + 2, 2);
	memcpy(ip + l4 + 2, port, 2);
}

/* An error about an answer to this packet is about the same flow. */
static void check_quoted(const struct input *input, const struct flow_packet *packet)
{
	static const uint8_t router4[4] = {192, 0, 2, 1};
	bool is_ipv4 = flow_address_is_ipv4(packet->key.local);
	size_t header = is_ipv4 ? 20 : 40, length = input->head_length - packet->l3;
	uint8_t frame[ROOM] = {0};
	struct flow_packet error;
	uint8_t *ip = frame + 14;

	if (!has_transport(packet) || packet->key.foreign_port == 0 ||
	    14 + header + 8 + packet->l4 - packet->l3 + 8 > FRAME_HEAD_MAX)
		return;
	memcpy(ip + header + 8, input->frame + packet->l3, length);
	turn_round(ip + header + 8, packet->l4 - packet->l3, is_ipv4);
	memcpy(ip, input->frame + packet->l3, header); /* right but for these */
	put_be16(frame + 12, is_ipv4 ? 0x0800 : 0x86dd);
	if (is_ipv4) {
		ip[0] = 0x45;
		put_be16(ip + 2, header + 8 + length);
		put_be16(ip + 6, 0);
		ip[9] = IPPROTO_ICMP;
		memcpy(ip + 12, router4, 4);
		ip[header] = 3;
	} else {
		put_be16(ip + 4, 8 + length);
		ip[6] = IPPROTO_ICMPV6;
		ip[header] = 2;
	}
	length += 14 + header + 8;
	must(crack(frame, length < FRAME_HEAD_MAX ? length : FRAME_HEAD_MAX, length,
		   &error) == DROP_NUM_);
	must(error.kind == FLOW_ERROR);
	must(memcmp(&error.key, &packet->key, sizeof(error.key)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct flow_packet packet;
	struct input input;
	enum drop_reason reason;

	if (size < PREFIX)
		return 0;
	input.frame = data + PREFIX;
	input.length = size - PREFIX + get_be16(data);
	input.head_length =
		size - PREFIX < FRAME_HEAD_MAX ? size - PREFIX : FRAME_HEAD_MAX;
	reason = crack(input.frame, input.head_length, input.length, &packet);
	flow_is_neighbour(input.frame, input.head_length, packet.key.local);
	if (reason != DROP_NUM_) {
		must(reason == DROP_BAD_PACKET || reason == DROP_BAD_FRAGMENT ||
		     reason == DROP_GLOBAL_NEIGH);
		return 0;
	}
	check_packet(&input, &packet);
	check_less_in_sight(&input, &packet);
	check_tagged(&input, &packet);
	check_first_fragment(&input, &packet);
	check_quoted(&input, &packet);
	return 0;
}
