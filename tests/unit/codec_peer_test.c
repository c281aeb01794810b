/* Messages of a pair's channel: what goes through, and what is refused for what. */
#include "control/codec_peer.h"

#include "shim.h"

#include <shmnet/ring.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BYTES_MAX PEER_BYTES_MAX

static void set_name(char name[CONFIG_NAME_MAX], const char *text)
{
	snprintf(name, CONFIG_NAME_MAX, "%s", text);
}

static struct peer_message make_hello(unsigned num_networks)
{
	struct peer_message message;
	struct peer_hello *hello = &message.hello;

	memset(&message, 0, sizeof(message));
	message.type = PEER_MESSAGE_HELLO;
	hello->wire_version = SHMNET_WIRE_VERSION;
	hello->id = 513;
	hello->nonce = 0x0123456789abcdef;
	set_name(hello->cluster, "demo");
	set_name(hello->name, "n1");
	hello->num_networks = num_networks;
	for (unsigned i = 0; i < num_networks; i++) {
		snprintf(hello->networks[i].name, CONFIG_NAME_MAX,
			 "a-network-of-the-longest-na-%03u", i);
		hello->networks[i].kind =
			i % 2 ? NETWORK_KIND_GLOBAL : NETWORK_KIND_LOCAL;
		hello->networks[i].mtu = SHMNET_MTU_MIN + i;
		hello->networks[i].cast = i % 3 ? CAST_MODE_SHARED : CAST_MODE_LANES;
		hello->networks[i].offloads = i & SHMNET_OFFLOADS;
	}
	return message;
}

static void set_life(struct peer_life *life, uint16_t id, const char *address)
{
	life->id = id;
	snprintf(life->name, sizeof(life->name), "n%u", id);
	CHECK_INT(config_endpoint_parse(address, &life->address, NULL), 0);
	life->nonce = UINT64_MAX - id;
	life->age_ms = id * 1000u;
}

static struct peer_message make_look(unsigned num_others)
{
	struct peer_message message;
	struct peer_look *look = &message.look;

	memset(&message, 0, sizeof(message));
	message.type = PEER_MESSAGE_LOOK;
	look->wire_version = SHMNET_WIRE_VERSION;
	set_name(look->cluster, "demo");
	set_life(&look->self, 1, "192.0.2.1:7471");
	look->num_others = num_others;
	for (unsigned i = 0; i < num_others; i++)
		set_life(&look->others[i], (uint16_t)(i + 2),
			 i % 2 ? "[fd77::1]:65535" : "10.0.0.1:1");
	return message;
}

static struct peer_message make_networks(unsigned num_networks)
{
	struct peer_message hello = make_hello(num_networks), message;

	memset(&message, 0, sizeof(message));
	message.type = PEER_MESSAGE_NETWORKS;
	message.hello.num_networks = hello.hello.num_networks;
	memcpy(message.hello.networks, hello.hello.networks,
	       sizeof(hello.hello.networks));
	message.hello.members_used = hello.hello.members_used;
	memcpy(message.hello.members, hello.hello.members, sizeof(hello.hello.members));
	return message;
}

static struct peer_message make_border(unsigned num_nics, unsigned num_networks)
{
	struct peer_message message;
	struct peer_border *border = &message.border;

	memset(&message, 0, sizeof(message));
	message.type = PEER_MESSAGE_BORDER;
	border->num_nics = num_nics;
	for (unsigned i = 0; i < num_nics; i++) {
		snprintf(border->nics[i].name, PEER_NIC_MAX, "abcdefghijkl.%02u", i);
		border->nics[i].mtu = i % 2 ? UINT32_MAX : 0;
		border->nics[i].is_up = i % 2;
	}
	border->num_announces = num_networks;
	for (unsigned i = 0; i < num_networks; i++)
		snprintf(border->announces[i], CONFIG_NAME_MAX,
			 "a-network-of-the-longest-na-%03u", i);
	return message;
}

static struct peer_message make(enum peer_message_type type)
{
	struct peer_message message;

	if (type == PEER_MESSAGE_HELLO)
		return make_hello(2);
	if (type == PEER_MESSAGE_LOOK)
		return make_look(2);
	if (type == PEER_MESSAGE_NETWORKS)
		return make_networks(2);
	if (type == PEER_MESSAGE_BORDER)
		return make_border(2, 2);
	memset(&message, 0, sizeof(message));
	message.type = type;
	switch (type) {
	case PEER_MESSAGE_READY:
		message.ready =
			(struct peer_ready){.floor = 7, .incarnation = 8, .beat_ms = 200};
		break;
	case PEER_MESSAGE_RING:
		set_name(message.ring.network, "lan0");
		message.ring.size = SHMNET_RING_SIZE_MIN;
		message.ring.salt = UINT64_MAX;
		message.ring.epoch = 3;
		message.ring.heard = 2;
		message.ring.wire = (struct peer_wire){.length = 2, .bytes = {0, 255}};
		break;
	case PEER_MESSAGE_BELL:
		message.bell.wire = (struct peer_wire){.length = 1};
		break;
	case PEER_MESSAGE_INCARNATION:
		message.incarnation.value = UINT32_MAX;
		break;
	case PEER_MESSAGE_REFUSE:
		message.refuse.code = PEER_REFUSAL_RESOURCE;
		snprintf(message.refuse.words, PEER_WORDS_MAX, "a and b differ");
		break;
	case PEER_MESSAGE_PROBE:
		message.probe.node = SHMNET_NODE_ID_MAX;
		break;
	case PEER_MESSAGE_PROBED:
		message.probed.node = 1;
		message.probed.heard = true;
		break;
	case PEER_MESSAGE_CAST:
		message.cast = (struct peer_cast){
			.network = "lan0",
			.id = UINT64_MAX,
			.depth = 65536,
			.label = {0x33, 0x33, 0, 0, 0, 0xfb},
			.epoch = PEER_EPOCH_MAX,
			.maker = 65534,
		};
		break;
	case PEER_MESSAGE_READS:
		message.reads = (struct peer_cast_name){.network = "lan0", .id = 1};
		break;
	case PEER_MESSAGE_WANT:
		message.want = (struct peer_cast_name){.network = "lan0", .id = 1};
		break;
	case PEER_MESSAGE_PAUSE:
		message.pause = (struct peer_pause){.network = "lan0", .paused = true};
		break;
	default:
		break;
	}
	return message;
}

static size_t encode(const struct peer_message *message, uint8_t bytes[BYTES_MAX])
{
	size_t length = 0;

	CHECK_INT(codec_peer_encode(message, bytes, BYTES_MAX, &length), 0);
	return length;
}

static void check_refused(const void *bytes, size_t length, const char *words)
{
	struct peer_message message;
	const char *why = NULL;

	CHECK_INT(codec_peer_decode(bytes, length, &message, &why), -EBADMSG);
	CHECK_STR(why, words);
}

/* What encode() takes without looking, decode() refuses. */
static void check_message_refused(const struct peer_message *message, const char *words)
{
	uint8_t bytes[BYTES_MAX];

	check_refused(bytes, encode(message, bytes), words);
}

static void check_same(const struct peer_message *message)
{
	uint8_t bytes[BYTES_MAX];
	size_t length = encode(message, bytes);
	struct peer_message decoded;
	const char *why = "";

	CHECK_INT(codec_peer_decode(bytes, length, &decoded, &why), 0);
	CHECK_STR(why, "");
	CHECK_INT(decoded.type, message->type);
	CHECK_MEM(&decoded, message, sizeof(decoded));
}

/* As many as fit: `num_ipv4`, the others IPv6. */
static void fill_addresses(struct peer_network *network, unsigned num_ipv4)
{
	network->num_addresses = CONFIG_ADDRESSES_MAX;
	for (unsigned i = 0; i < CONFIG_ADDRESSES_MAX; i++) {
		struct config_address *address = &network->addresses[i];

		address->family = i < num_ipv4 ? AF_INET : AF_INET6;
		memset(address->bytes, (int)i + 1, i < num_ipv4 ? 4 : 16);
	}
}

TEST_CASE(codec_peer, every_type_goes_through)
{
	for (unsigned type = 0; type < PEER_MESSAGE_NUM_; type++) {
		struct peer_message message = make((enum peer_message_type)type);

		check_same(&message);
	}
}

TEST_CASE(codec_peer, what_a_fabric_says_may_be_nothing_but_not_empty)
{
	static const uint8_t empty[] = {0x22, 0x02, 0x0a, 0x00};
	static const char *words = "has too many or too few bytes for a fabric (1 to "
				   "192)";
	struct peer_message message = {.type = PEER_MESSAGE_BELL};
	uint8_t bytes[4 + 2 + PEER_WIRE_MAX + 1] = {0x22, 0xc4, 0x01, 0x0a, 0xc1, 0x01};

	check_same(&message);
	message.bell.wire.length = PEER_WIRE_MAX;
	memset(message.bell.wire.bytes, 0xff, PEER_WIRE_MAX);
	check_same(&message);
	check_refused(empty, sizeof(empty), words);
	check_refused(bytes, sizeof(bytes), words);
	message = make(PEER_MESSAGE_RING);
	message.ring.wire.length = 0;
	memset(message.ring.wire.bytes, 0, PEER_WIRE_MAX);
	check_same(&message);
}

/* As many as there is room for, in one network. */
static void fill_members(struct peer_hello *hello)
{
	char text[CONFIG_MEMBER_BYTES_MAX];
	size_t used = 0;

	for (unsigned i = 0; i < CONFIG_MEMBERS_MAX; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%sm%030u",
					 i ? "," : "", i);
	CHECK_INT(used, CONFIG_MEMBER_BYTES_MAX - 1);
	CHECK_INT(peer_hello_set_members(hello, &hello->networks[1], text), 0);
	CHECK_INT(peer_hello_set_members(hello, &hello->networks[3], "n1"), -EMSGSIZE);
}

TEST_CASE(codec_peer, the_largest_hello_goes_through)
{
	struct peer_message message = make_hello(CONFIG_NETWORKS_MAX);
	uint8_t bytes[BYTES_MAX];

	memset(message.hello.name, 'n', CONFIG_NAME_MAX - 1);
	memset(message.hello.cluster, 'c', CONFIG_NAME_MAX - 1);
	message.hello.id = SHMNET_NODE_ID_MAX;
	for (unsigned i = 0; i < CONFIG_NETWORKS_MAX; i++)
		fill_addresses(&message.hello.networks[i], i);
	check_same(&message);
	for (unsigned i = 0; i < CONFIG_NETWORKS_MAX; i++) {
		struct peer_network *network = &message.hello.networks[i];

		memset(network->name, 'a' + (int)i, CONFIG_NAME_MAX - 1);
		network->mtu = SHMNET_MTU_MAX;
		fill_addresses(network, 0);
	}
	check_same(&message);
	fill_members(&message.hello);
	check_same(&message);
	CHECK(encode(&message, bytes) < 7100);
}

TEST_CASE(codec_peer, members_of_global_networks_go_through)
{
	struct peer_message decoded, message = make_hello(4);
	struct peer_network *networks = message.hello.networks;
	uint8_t bytes[BYTES_MAX];
	const char *why = NULL;
	size_t length;

	CHECK_INT(peer_hello_set_members(&message.hello, &networks[3], "n1"), 0);
	CHECK_INT(peer_hello_set_members(&message.hello, &networks[1], "n-2,n1,n3"), 0);
	length = encode(&message, bytes);
	REQUIRE(!codec_peer_decode(bytes, length, &decoded, &why));
	networks = decoded.hello.networks;
	CHECK_STR(peer_hello_members(&decoded.hello, &networks[0]), "");
	CHECK_STR(peer_hello_members(&decoded.hello, &networks[1]), "n-2,n1,n3");
	CHECK_STR(peer_hello_members(&decoded.hello, &networks[2]), "");
	CHECK_STR(peer_hello_members(&decoded.hello, &networks[3]), "n1");
}

static void check_members_refused(unsigned network, const char *text, const char *words)
{
	struct peer_message message = make_hello(2);

	CHECK_INT(peer_hello_set_members(&message.hello, &message.hello.networks[network],
					 text),
		  0);
	check_message_refused(&message, words);
}

TEST_CASE(codec_peer, members_of_networks_are_checked)
{
	const char *const none = "has a network whose members are none";
	char text[400] = "";

	check_members_refused(0, "n1", "has a local network with members");
	check_members_refused(1, ",", none);
	check_members_refused(1, "n1,", none);
	check_members_refused(1, ",n1", none);
	check_members_refused(1, "n1,,n2", none);
	check_members_refused(1, "n2,n1", none);
	check_members_refused(1, "n1,n1", none);
	check_members_refused(1, "n 1", none);
	check_members_refused(1, "abcdefghijklmnopqrstuvwxyz123456", none);
	for (unsigned i = 0; i <= CONFIG_MEMBERS_MAX; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%sm%02u",
			 i ? "," : "", i);
	check_members_refused(1, text, none);
}

/* One network, "a", with field 4 or 5 of these bytes. */
static void check_addresses_refused(uint8_t field, const void *addresses, uint8_t size)
{
	static const uint8_t network[] = {0x32, 0, 0x0a, 1,    'a',
					  0x10, 0, 0x18, 0xdc, 0x0b};
	static const uint8_t rest[] = {0x30, 0, 0x38, 0};
	struct peer_message message = make_hello(0);
	uint8_t bytes[BYTES_MAX];
	size_t length;

	length = encode(&message, bytes);
	bytes[1] = (uint8_t)(bytes[1] + 16 + size); /* of the HELLO */
	REQUIRE(bytes[1] < 0x80);
	memcpy(bytes + length, network, sizeof(network));
	bytes[length + 1] = (uint8_t)(size + 14);
	bytes[length + 10] = (uint8_t)(field << 3 | 2);
	bytes[length + 11] = size;
	memcpy(bytes + length + 12, addresses, size);
	memcpy(bytes + length + 12 + size, rest, sizeof(rest));
	check_refused(bytes, length + 16 + size,
		      "has a network whose addresses are none");
}

TEST_CASE(codec_peer, addresses_are_whole_and_not_too_many)
{
	static const uint8_t bytes[17 * 4] = {10, 77, 0, 1};

	check_addresses_refused(4, bytes, 0);
	check_addresses_refused(4, bytes, 3);
	check_addresses_refused(4, bytes, 7);
	check_addresses_refused(4, bytes, 17 * 4);
	check_addresses_refused(5, bytes, 0);
	check_addresses_refused(5, bytes, 4);
	check_addresses_refused(5, bytes, 17);
}

TEST_CASE(codec_peer, names_and_descriptors_of_types)
{
	CHECK_STR(peer_message_name(PEER_MESSAGE_INCARNATION), "INCARNATION");
	CHECK_STR(peer_message_name(PEER_MESSAGE_NUM_), "unknown message");
	CHECK_INT(peer_message_fds(PEER_MESSAGE_RING, false), 1);
	CHECK_INT(peer_message_fds(PEER_MESSAGE_BELL, false), 1);
	CHECK_INT(peer_message_fds(PEER_MESSAGE_HELLO, false), 0);
	CHECK_INT(peer_message_fds(PEER_MESSAGE_REFUSE, false), 0);
	for (unsigned type = 0; type < PEER_MESSAGE_NUM_; type++)
		CHECK_INT(peer_message_fds((enum peer_message_type)type, true), 0);
}

TEST_CASE(codec_peer, what_does_not_fit_is_not_written)
{
	struct peer_message message = make_hello(CONFIG_NETWORKS_MAX);
	uint8_t bytes[BYTES_MAX];
	size_t length = encode(&message, bytes), unchanged = 77;

	CHECK_INT(codec_peer_encode(&message, bytes, length - 1, &unchanged), -EMSGSIZE);
	CHECK_INT(unchanged, 77);
}

TEST_CASE(codec_peer, hello_is_checked)
{
	struct peer_message message = make_hello(2);

	message.hello.id = 0;
	check_message_refused(&message, "has a node id out of range (1 to 65534)");
	message.hello.id = 0xffff;
	check_message_refused(&message, "has a node id out of range (1 to 65534)");
	message = make_hello(2);
	set_name(message.hello.name, "");
	check_message_refused(&message, "has a node name that is none");
	set_name(message.hello.name, "n\033[31m");
	check_message_refused(&message, "has a node name that is none");
	message = make_hello(2);
	set_name(message.hello.cluster, "a b");
	check_message_refused(&message, "has a cluster name that is none");
}

TEST_CASE(codec_peer, networks_of_a_hello_are_checked)
{
	struct peer_message message = make_hello(2);

	message.hello.networks[1].mtu = SHMNET_MTU_MIN - 1;
	check_message_refused(&message, "has a network whose MTU is out of range");
	message.hello.networks[1].mtu = SHMNET_MTU_MAX + 1;
	check_message_refused(&message, "has a network whose MTU is out of range");
	message = make_hello(2);
	message.hello.networks[0].kind = (enum network_kind)2;
	check_message_refused(&message, "has a network of an unknown kind");
	message = make_hello(2);
	set_name(message.hello.networks[1].name, message.hello.networks[0].name);
	check_message_refused(&message, "names a network twice");
	message = make_hello(2);
	message.hello.networks[0].cast = (enum cast_mode)2;
	check_message_refused(&message, "has a network of an unknown cast mode");
	message = make_hello(2);
	message.hello.networks[1].offloads = SHMNET_OFFLOADS + 1;
	check_message_refused(&message, "has a network of unknown offloads");
	message = make_hello(2);
	set_name(message.hello.networks[1].name, "a/b");
	check_message_refused(&message, "has a network name that is none");
}

TEST_CASE(codec_peer, the_others_are_checked)
{
	struct peer_message message = make(PEER_MESSAGE_READY);

	message.ready.floor = UINT32_MAX;
	check_message_refused(&message, "has a floor that nothing is above");
	message.ready = (struct peer_ready){.floor = 0, .incarnation = 0};
	check_message_refused(&message, "has an incarnation of 0");
	message = make(PEER_MESSAGE_READY);
	message.ready.beat_ms = 19;
	check_message_refused(
		&message, "has an interval of liveness out of range (20 to 10000 ms)");
	message.ready.beat_ms = 10001;
	check_message_refused(
		&message, "has an interval of liveness out of range (20 to 10000 ms)");
	message = make(PEER_MESSAGE_PROBE);
	message.probe.node = 0;
	check_message_refused(&message, "has a node id out of range (1 to 65534)");
	message = make(PEER_MESSAGE_PROBED);
	message.probed.node = 0xffff;
	check_message_refused(&message, "has a node id out of range (1 to 65534)");
	message = make(PEER_MESSAGE_INCARNATION);
	message.incarnation.value = 0;
	check_message_refused(&message, "has an incarnation of 0");
	message = make(PEER_MESSAGE_RING);
	message.ring.size = 3 * SHMNET_RING_SIZE_MIN;
	check_message_refused(&message, "has a ring size that no ring has");
	message.ring.size = 2ull * SHMNET_RING_SIZE_MAX;
	check_message_refused(&message, "has a ring size that no ring has");
	message = make(PEER_MESSAGE_REFUSE);
	message.refuse.code = PEER_REFUSAL_NUM_;
	check_message_refused(&message, "has an unknown code");
	message = make(PEER_MESSAGE_REFUSE);
	message.refuse.words[0] = '\n';
	check_message_refused(&message, "has words that can't be shown");
	message.refuse.words[0] = '\0';
	check_message_refused(&message, "has words that can't be shown");
}

TEST_CASE(codec_peer, a_cast_is_checked)
{
	struct peer_message message = make(PEER_MESSAGE_CAST);

	message.cast.lane = true;
	check_message_refused(&message, "has an epoch out of range");
	message.cast.epoch = 0;
	check_same(&message);
	message.cast.lane = false;
	check_message_refused(&message, "has an epoch out of range");
	message.cast.epoch = PEER_EPOCH_MAX + 1;
	check_message_refused(&message, "has an epoch out of range");
	message.cast.epoch = UINT64_MAX;
	check_message_refused(&message, "has an epoch out of range");
	message = make(PEER_MESSAGE_CAST);
	message.cast.id = 0;
	check_message_refused(&message, "has a ring id of 0");
	message = make(PEER_MESSAGE_CAST);
	message.cast.depth = 300;
	check_message_refused(&message, "has a depth that no cast ring has");
	message.cast.depth = 0;
	check_message_refused(&message, "has a depth that no cast ring has");
	message = make(PEER_MESSAGE_CAST);
	message.cast.label[0] = 0x02;
	check_message_refused(&message, "has a label that is no group's address");
	message = make(PEER_MESSAGE_CAST);
	message.cast.maker = 0;
	check_message_refused(&message,
			      "has a maker whose id is out of range (1 to 65534)");
	message = make(PEER_MESSAGE_CAST);
	set_name(message.cast.network, "");
	check_message_refused(&message, "has a network name that is none");
	message = make(PEER_MESSAGE_READS);
	message.reads.id = 0;
	check_message_refused(&message, "has a ring id of 0");
	message = make(PEER_MESSAGE_WANT);
	set_name(message.want.network, "a b");
	check_message_refused(&message, "has a network name that is none");
}

TEST_CASE(codec_peer, a_pause_is_checked)
{
	struct peer_message message = make(PEER_MESSAGE_PAUSE);

	message.pause.paused = false;
	check_same(&message);
	set_name(message.pause.network, "");
	check_message_refused(&message, "has a network name that is none");
}

TEST_CASE(codec_peer, the_largest_border_goes_through_and_the_smallest)
{
	struct peer_message message = make_border(CONFIG_NICS_MAX, CONFIG_NETWORKS_MAX);

	check_same(&message);
	message = make_border(0, 0);
	check_same(&message);
	CHECK_INT(peer_message_version(PEER_MESSAGE_BORDER), 6);
	CHECK_INT(peer_message_version(PEER_MESSAGE_PAUSE), 0);
}

static void check_nic_refused(const char *name, const char *words)
{
	struct peer_message message = make_border(2, 1);

	memcpy(message.border.nics[1].name, name, strlen(name) + 1);
	check_message_refused(&message, words);
}

TEST_CASE(codec_peer, a_border_is_checked)
{
	const char *no_name = "has an interface name that is none";
	struct peer_message message = make_border(2, 2);

	check_nic_refused("", no_name);
	check_nic_refused("..", no_name);
	check_nic_refused("a b", no_name);
	check_nic_refused("a\033[m", no_name);
	check_nic_refused("eth0:1", no_name);
	check_nic_refused("abcdefghijkl.00", "names an interface twice");
	message.border.nics[0].is_up = true;
	check_message_refused(&message, "has an interface that is up and not there");
	message = make_border(2, 2);
	memcpy(message.border.announces[1], message.border.announces[0], CONFIG_NAME_MAX);
	check_message_refused(&message, "names a network twice");
	set_name(message.border.announces[1], "a/b");
	check_message_refused(&message, "has a network name that is none");
	set_name(message.border.announces[0], "");
	check_message_refused(&message, "has a network name that is none");
}

/* One more than there may be: the last entry again, under a length of its own. */
static void check_one_more_refused(unsigned num_nics, unsigned num_networks,
				   const char *words)
{
	struct peer_message message = make_border(num_nics, num_networks);
	uint8_t bytes[2 * BYTES_MAX];
	size_t length = encode(&message, bytes), body = length - 3, more;

	more = num_networks ? CONFIG_NAME_MAX - 1 + 2 : 2 + 2 + 15 + 2 + 2 + 4;
	REQUIRE(bytes[1] & 0x80 && !(bytes[2] & 0x80));
	memcpy(bytes + length, bytes + length - more, more);
	body += more;
	bytes[1] = (uint8_t)(0x80 | (body & 0x7f));
	bytes[2] = (uint8_t)(body >> 7);
	check_refused(bytes, length + more, words);
}

TEST_CASE(codec_peer, a_border_of_too_much_is_refused)
{
	check_one_more_refused(0, CONFIG_NETWORKS_MAX, "has too many networks");
	check_one_more_refused(CONFIG_NICS_MAX, 0, "has too many interfaces");
}

TEST_CASE(codec_peer, an_interface_name_that_is_too_long_is_refused)
{
	static const uint8_t bytes[] = {0x7a, 24,  0x0a, 22,  0x0a, 16,	 'a',  'b', 'c',
					'd',  'e', 'f',	 'g', 'h',  'i', 'j',  'k', 'l',
					'm',  'n', 'o',	 'p', 0x10, 0,	 0x18, 0};

	check_refused(bytes, sizeof(bytes), "has an interface name that is none");
}

TEST_CASE(codec_peer, an_unknown_field_of_an_interface_is_refused)
{
	static const uint8_t bytes[] = {0x7a, 11, 0x0a, 9, 0x0a, 1, 'a',
					0x10, 0,  0x18, 0, 0x20, 1};

	check_refused(bytes, sizeof(bytes), "has fields that don't belong there");
}

TEST_CASE(codec_peer, words_of_a_border)
{
	struct peer_message message = make_border(2, 0), other = make_border(2, 1);
	char text[PEER_BORDER_TEXT_MAX];

	peer_border_text(&message.border, text);
	CHECK_STR(text, "abcdefghijkl.00 down, abcdefghijkl.01 up; announces nothing");
	CHECK(peer_border_is_same(&message.border, &message.border));
	CHECK(!peer_border_is_same(&message.border, &other.border));
	message = make_border(0, 1);
	peer_border_text(&message.border, text);
	CHECK_STR(text, "announces a-network-of-the-longest-na-000");
}

TEST_CASE(codec_peer, the_largest_look_goes_through)
{
	struct peer_message message = make_look(PEER_LIVES_MAX);
	uint8_t bytes[BYTES_MAX];

	memset(message.look.cluster, 'c', CONFIG_NAME_MAX - 1);
	for (unsigned i = 0; i < PEER_LIVES_MAX; i++) {
		struct peer_life *life = &message.look.others[i];

		set_life(life, SHMNET_NODE_ID_MAX,
			 "[fd77:7777:7777:7777:7777:7777:7777:7777]:65535");
		memset(life->name, 'n', CONFIG_NAME_MAX - 1);
		life->age_ms = UINT32_MAX;
	}
	check_same(&message);
	CHECK(encode(&message, bytes) < 4096);
}

/* A text that isn't the one way to write an address that can be dialled. */
static void check_endpoint_refused(const char *text)
{
	struct peer_message message = make_look(1);
	struct config_endpoint *address = &message.look.others[0].address;

	snprintf(address->text, sizeof(address->text), "%s", text);
	check_message_refused(&message, "has an address that can't be dialled");
}

TEST_CASE(codec_peer, the_nodes_of_a_look_are_checked)
{
	struct peer_message message = make_look(2);

	message.look.self.id = 0;
	check_message_refused(&message, "has a node id out of range (1 to 65534)");
	message = make_look(2);
	message.look.others[1].id = 0xffff;
	check_message_refused(&message, "has a node id out of range (1 to 65534)");
	message = make_look(2);
	set_name(message.look.others[1].name, "n 3");
	check_message_refused(&message, "has a node name that is none");
	message = make_look(0);
	set_name(message.look.cluster, "");
	check_message_refused(&message, "has a cluster name that is none");
	check_endpoint_refused("");
	check_endpoint_refused("n1:7471");
	check_endpoint_refused("192.0.2.1:0");
	check_endpoint_refused("192.0.2.1:7471 ");
	check_endpoint_refused("0.0.0.0:7471");
	check_endpoint_refused("[FD77::1]:7471");
	check_endpoint_refused("[fd77:0::1]:7471");
	check_endpoint_refused("[fe80::1]:7471");
	check_endpoint_refused("[::ffff:192.0.2.1]:7471");
}

/* 33 others: each as the one that encode() wrote, which is the end of the message. */
TEST_CASE(codec_peer, a_look_with_too_many_nodes_is_refused)
{
	struct peer_message none = make_look(0), message = make_look(1);
	uint8_t bytes[BYTES_MAX];
	size_t without = encode(&none, bytes);
	size_t length = encode(&message, bytes), one = length - without;
	size_t body;

	REQUIRE(length < 126); /* its length is one byte, and will be two */
	memmove(bytes + 3, bytes + 2, length - 2);
	for (unsigned i = 0; i < PEER_LIVES_MAX; i++)
		memcpy(bytes + 1 + length + i * one, bytes + 1 + length - one, one);
	length += 1 + PEER_LIVES_MAX * one;
	body = length - 3;
	bytes[1] = (uint8_t)(0x80 | (body & 0x7f));
	bytes[2] = (uint8_t)(body >> 7);
	check_refused(bytes, length, "has too many nodes");
}

TEST_CASE(codec_peer, nothing_may_be_missing)
{
	for (unsigned type = 0; type < PEER_MESSAGE_NUM_; type++) {
		struct peer_message message = make((enum peer_message_type)type);
		uint8_t bytes[BYTES_MAX];
		size_t length = encode(&message, bytes);
		const char *why;

		for (size_t shorter = 0; shorter < length; shorter++)
			CHECK_INT(codec_peer_decode(bytes, shorter, &message, &why),
				  -EBADMSG);
	}
}

/* A field that we don't know, a second body, a longer number, a zero in a string. */
TEST_CASE(codec_peer, nothing_may_be_added)
{
	static const uint8_t unknown_type[] = {0x82, 0x01, 0x00};
	static const uint8_t unknown_field_of_bell[] = {0x22, 0x02, 0x18, 0x01};
	static const uint8_t two_bodies[] = {0x22, 0x00, 0x2a, 0x02, 0x08, 0x05};
	static const uint8_t padded[] = {0x2a, 0x03, 0x08, 0x85, 0x00};
	static const uint8_t twice[] = {0x2a, 0x04, 0x08, 0x04, 0x08, 0x05};
	static const uint8_t zero_inside[] = {0x32, 0x07, 0x08, 0x00, 0x12,
					      0x03, 'a',  0x00, 'b'};
	const char *words = "has fields that don't belong there";

	check_refused("", 0, "is of an unknown type");
	check_refused(unknown_type, sizeof(unknown_type), "is of an unknown type");
	check_refused(unknown_field_of_bell, sizeof(unknown_field_of_bell), words);
	check_refused(two_bodies, sizeof(two_bodies), words);
	check_refused(padded, sizeof(padded), words);
	check_refused(twice, sizeof(twice), words);
	check_refused(zero_inside, sizeof(zero_inside), words);
}

TEST_CASE(codec_peer, an_unknown_field_of_a_network_is_refused)
{
	struct peer_message message = make_hello(1);
	uint8_t bytes[BYTES_MAX];
	size_t length = encode(&message, bytes);
	size_t network = strlen(message.hello.networks[0].name) + 2 + 2 + 3 + 2 + 2;

	REQUIRE(length < 126); /* every length is one byte */
	CHECK_INT(bytes[length - network - 1], network);
	bytes[1] += 2;
	bytes[length - network - 1] += 2;
	bytes[length] = 9 << 3;
	bytes[length + 1] = 1;
	check_refused(bytes, length + 2, "has fields that don't belong there");
}

TEST_CASE(codec_peer, too_many_networks_or_too_much_of_anything_is_refused)
{
	uint8_t bytes[65536];
	size_t size = sizeof(bytes) - 4; /* of the HELLO */

	memset(bytes, 0, sizeof(bytes));
	bytes[0] = 0x0a; /* HELLO with networks that have nothing in them */
	bytes[1] = (uint8_t)(0x80 | (size & 0x7f));
	bytes[2] = (uint8_t)(0x80 | (size >> 7 & 0x7f));
	bytes[3] = (uint8_t)(size >> 14);
	for (size_t i = 4; i < sizeof(bytes); i += 2)
		bytes[i] = 0x32;
	check_refused(bytes, sizeof(bytes), "is malformed");
}

TEST_CASE(codec_peer, of_another_version_only_the_version_is_read)
{
	/* Version 77, then a field whose type ours would not take. */
	static const uint8_t bytes[] = {0x0a, 0x04, 0x08, 0x4d, 0x10, 0x05};
	struct peer_message message;
	const char *why;

	CHECK_INT(codec_peer_decode(bytes, sizeof(bytes), &message, &why), 0);
	CHECK_INT(message.type, PEER_MESSAGE_HELLO);
	CHECK_INT(message.hello.wire_version, 77);
	CHECK_STR(message.hello.name, "");
}

TEST_CASE(codec_peer, a_look_of_another_version_is_known_for_that)
{
	static const uint8_t bytes[] = {0x62, 0x04, 0x08, 0x4d, 0x10, 0x05};
	struct peer_message message;
	const char *why;

	CHECK_INT(codec_peer_decode(bytes, sizeof(bytes), &message, &why), 0);
	CHECK_INT(message.type, PEER_MESSAGE_LOOK);
	CHECK_INT(message.look.wire_version, 77);
	CHECK_STR(message.look.cluster, "");
}
