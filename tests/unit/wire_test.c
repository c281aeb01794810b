/* The constants and the MAC scheme of shmnet/wire.h. */
#include <shmnet/wire.h>

#include "shim.h"

TEST_CASE(wire, mac_is_prefix_tag_and_id_in_network_order)
{
	static const uint8_t expected[] = {0x02, 0x53, 0xab, 0xcd, 0x12, 0x34};
	uint8_t mac[SHMNET_ETH_ALEN];

	shmnet_mac_make(mac, 0xabcd, 0x1234);
	CHECK_MEM(mac, expected, sizeof(mac));
}

TEST_CASE(wire, mac_returns_every_id)
{
	uint8_t mac[SHMNET_ETH_ALEN];

	for (unsigned id = SHMNET_NODE_ID_MIN; id <= SHMNET_NODE_ID_MAX; id++) {
		shmnet_mac_make(mac, 0x5aa5, (uint16_t)id);
		REQUIRE(shmnet_mac_node_id(mac) == id);
	}
}

TEST_CASE(wire, mac_of_a_node_is_local_and_unicast)
{
	uint8_t mac[SHMNET_ETH_ALEN];

	shmnet_mac_make(mac, 0xffff, SHMNET_NODE_ID_MAX);
	CHECK_INT(mac[0] & 0x02, 0x02);
	CHECK(!shmnet_mac_is_cast(mac));
	CHECK(!shmnet_mac_is_command(mac));
}

TEST_CASE(wire, mac_belongs_to_its_network_only)
{
	uint8_t mac[SHMNET_ETH_ALEN];

	shmnet_mac_make(mac, 0xabcd, 1);
	CHECK(shmnet_mac_is_node(mac, 0xabcd));
	CHECK(!shmnet_mac_is_node(mac, 0xabcc));
	CHECK(!shmnet_mac_is_node(mac, 0xaacd));
}

TEST_CASE(wire, mac_of_another_vendor_is_no_node)
{
	uint8_t mac[SHMNET_ETH_ALEN];

	for (int byte = 0; byte < 2; byte++) {
		for (int bit = 0; bit < 8; bit++) {
			shmnet_mac_make(mac, 0xabcd, 1);
			mac[byte] ^= (uint8_t)(1 << bit);
			CHECK(!shmnet_mac_is_node(mac, 0xabcd));
		}
	}
}

TEST_CASE(wire, command_bit_is_told_from_other_bits)
{
	uint8_t mac[SHMNET_ETH_ALEN];

	shmnet_mac_make(mac, 0xabcd, 1);
	mac[0] |= SHMNET_MAC_COMMAND;
	CHECK(shmnet_mac_is_command(mac));
	CHECK(!shmnet_mac_is_node(mac, 0xabcd));
	mac[1] ^= 1;
	CHECK(!shmnet_mac_is_command(mac));
}

TEST_CASE(wire, casts_are_broadcast_and_multicast)
{
	static const uint8_t broadcast[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t all_nodes[] = {0x33, 0x33, 0x00, 0x00, 0x00, 0x01};

	CHECK(shmnet_mac_is_cast(broadcast));
	CHECK(shmnet_mac_is_cast(all_nodes));
	CHECK(!shmnet_mac_is_command(broadcast));
}

/*
 * The tag is on the wire: two nodes of different builds must agree on it. The
 * 32-bit hashes are FNV-1a's published test vectors.
 */
TEST_CASE(wire, tag_is_folded_fnv1a)
{
	CHECK_INT(shmnet_network_tag(""), 0x811c ^ 0x9dc5);
	CHECK_INT(shmnet_network_tag("a"), 0xe40c ^ 0x292c);
	CHECK_INT(shmnet_network_tag("foobar"), 0xbf9c ^ 0xf968);
}

TEST_CASE(wire, tag_takes_bytes_above_127_as_unsigned)
{
	uint32_t hash = (2166136261u ^ 0xff) * 16777619u;

	CHECK_INT(shmnet_network_tag("\xff"), (uint16_t)(hash >> 16 ^ hash));
}

TEST_CASE(wire, longest_frame_has_room_for_vlan_and_more)
{
	CHECK(SHMNET_FRAME_MAX > SHMNET_MTU_MAX + SHMNET_ETH_HLEN + SHMNET_VLAN_HLEN);
}
