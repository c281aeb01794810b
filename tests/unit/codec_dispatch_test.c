/* Messages between members: what goes through, and what is refused for what. */
#include "control/codec_dispatch.h"

#include "control/config.h"
#include "shim.h"

#include <shmnet/wire.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void set_ipv4(uint8_t address[16], uint8_t last)
{
	const uint8_t bytes[4] = {198, 51, 100, last};

	flow_address_map_ipv4(address, bytes);
}

static void set_ipv6(uint8_t address[16], uint8_t last)
{
	memset(address, 0xfd, 15);
	address[15] = last;
}

/* The longest that there are, but every other one. */
static struct flow_key make_key(unsigned i)
{
	struct flow_key key = {
		.foreign_port = 65535, .local_port = 65535, .protocol = IPPROTO_UDPLITE};

	if (i % 2 == 0) {
		set_ipv6(key.foreign, (uint8_t)i);
		set_ipv6(key.local, 1);
		return key;
	}
	set_ipv4(key.foreign, (uint8_t)i);
	set_ipv4(key.local, 1);
	key.foreign_port = 0;
	return key;
}

static struct listener make_listener(unsigned i)
{
	struct listener listener = {.local_port = 65535,
				    .protocol = IPPROTO_UDPLITE,
				    .families = LISTENER_IPV6};

	if (i % 2)
		return listener;
	set_ipv6(listener.local, 1);
	set_ipv6(listener.foreign, (uint8_t)i);
	listener.foreign_port = 65535;
	return listener;
}

static struct dispatch_message make(enum dispatch_message_type type)
{
	struct dispatch_message message;

	memset(&message, 0, sizeof(message));
	message.type = type;
	switch (type) {
	case DISPATCH_MESSAGE_QUERY:
		message.num = DISPATCH_QUERIES_MAX;
		for (unsigned i = 0; i < message.num; i++)
			message.queries[i] =
				(struct dispatch_query){UINT64_MAX - i, make_key(i)};
		break;
	case DISPATCH_MESSAGE_ANSWER:
		message.num = DISPATCH_ANSWERS_MAX;
		for (unsigned i = 0; i < message.num; i++)
			message.answers[i] = (struct dispatch_answer){
				UINT64_MAX - i,
				(enum dispatch_have)(i % DISPATCH_HAVE_NUM_)};
		break;
	case DISPATCH_MESSAGE_PIN:
		message.num = DISPATCH_PINS_MAX;
		for (unsigned i = 0; i < message.num; i++) {
			message.pins[i].key = make_key(i);
			message.pins[i].owner = SHMNET_NODE_ID_MAX;
		}
		break;
	case DISPATCH_MESSAGE_LISTENERS:
		message.part.generation = UINT64_MAX;
		message.part.total = DISPATCH_LISTENERS_MAX;
		message.part.first = DISPATCH_LISTENERS_MAX - DISPATCH_PART_MAX;
		message.part.num = DISPATCH_PART_MAX;
		for (unsigned i = 0; i < message.part.num; i++)
			message.part.items[i] = make_listener(i);
		break;
	case DISPATCH_MESSAGE_STATE:
		message.state = (struct dispatch_state){
			UINT64_MAX, true, CONFIG_WEIGHT_MAX, true, true, UINT64_MAX};
		break;
	case DISPATCH_MESSAGE_HEARD:
		message.heard = (struct dispatch_heard){
			UINT64_MAX, DISPATCH_LISTENERS_MAX, UINT64_MAX, UINT64_MAX};
		break;
	default:
		message.drain = (struct dispatch_drain){UINT64_MAX, true};
		break;
	}
	return message;
}

static size_t encode(const struct dispatch_message *message,
		     uint8_t bytes[DISPATCH_BYTES_MAX])
{
	size_t length = 0;

	CHECK_INT(codec_dispatch_encode(message, bytes, DISPATCH_BYTES_MAX, &length), 0);
	return length;
}

static void check_refused(const void *bytes, size_t length, const char *words)
{
	struct dispatch_message message;
	const char *why = NULL;

	CHECK_INT(codec_dispatch_decode(bytes, length, &message, &why), -EBADMSG);
	CHECK_STR(why, words);
}

/* What encode() takes without looking, decode() refuses. */
static void check_message_refused(const struct dispatch_message *message,
				  const char *words)
{
	uint8_t bytes[DISPATCH_BYTES_MAX];

	check_refused(bytes, encode(message, bytes), words);
}

TEST_CASE(codec_dispatch, the_longest_of_each_type_fits_and_comes_back)
{
	for (unsigned type = 0; type < DISPATCH_MESSAGE_NUM_; type++) {
		const struct dispatch_message sent =
			make((enum dispatch_message_type)type);
		struct dispatch_message message;
		uint8_t bytes[DISPATCH_BYTES_MAX];
		const char *why = "";
		size_t length = encode(&sent, bytes);

		memset(&message, 0, sizeof(message));
		CHECK_INT(codec_dispatch_decode(bytes, length, &message, &why), 0);
		CHECK_STR(why, "");
		CHECK_MEM(&message, &sent, sizeof(sent));
		CHECK_INT(codec_dispatch_encode(&sent, bytes, length - 1, &length),
			  -EMSGSIZE);
	}
}

TEST_CASE(codec_dispatch, every_cut_is_refused)
{
	for (unsigned type = 0; type < DISPATCH_MESSAGE_NUM_; type++) {
		const struct dispatch_message sent =
			make((enum dispatch_message_type)type);
		struct dispatch_message message;
		uint8_t bytes[DISPATCH_BYTES_MAX];
		const char *why;
		size_t length = encode(&sent, bytes);

		for (size_t cut = 0; cut < length; cut++)
			CHECK_INT(codec_dispatch_decode(bytes, cut, &message, &why),
				  -EBADMSG);
	}
}

TEST_CASE(codec_dispatch, an_empty_list_is_one_message)
{
	struct dispatch_message message = {.type = DISPATCH_MESSAGE_LISTENERS,
					   .part = {.generation = 1}},
				read;
	uint8_t bytes[DISPATCH_BYTES_MAX];
	const char *why;

	CHECK_INT(codec_dispatch_decode(bytes, encode(&message, bytes), &read, &why), 0);
	CHECK_INT(read.part.num, 0);
	message.part.total = 1;
	check_message_refused(&message, "has too many or too few listeners");
}

TEST_CASE(codec_dispatch, numbers_of_items)
{
	struct dispatch_message message = make(DISPATCH_MESSAGE_QUERY);

	message.num = 0;
	check_message_refused(&message, "has too many or too few items");
	message.type = DISPATCH_MESSAGE_ANSWER;
	check_message_refused(&message, "has too many or too few items");
	message.type = DISPATCH_MESSAGE_PIN;
	check_message_refused(&message, "has too many or too few items");
}

TEST_CASE(codec_dispatch, parts_of_no_list)
{
	struct dispatch_message message = make(DISPATCH_MESSAGE_LISTENERS);

	message.part.total++;
	check_message_refused(&message, "is a part of no list");
	message = make(DISPATCH_MESSAGE_LISTENERS);
	message.part.first++;
	check_message_refused(&message, "is a part of no list");
	message.part.first = UINT32_MAX;
	check_message_refused(&message, "is a part of no list");
	message = make(DISPATCH_MESSAGE_LISTENERS);
	message.part.generation = 0;
	check_message_refused(&message, "has a generation of 0");
}

TEST_CASE(codec_dispatch, values_out_of_range)
{
	struct dispatch_message message = make(DISPATCH_MESSAGE_STATE);

	message.state.weight++;
	check_message_refused(&message, "has a weight out of range");
	message.state.generation = 0;
	check_message_refused(&message, "has a generation of 0");
	message = make(DISPATCH_MESSAGE_HEARD);
	message.heard.count++;
	check_message_refused(&message, "has heard more listeners than there can be");
	message = make(DISPATCH_MESSAGE_DRAIN);
	message.drain.serial = 0;
	check_message_refused(&message, "has a serial of 0");
	message = make(DISPATCH_MESSAGE_PIN);
	message.pins[3].owner = 0;
	check_message_refused(&message, "has a node id out of range (1 to 65534)");
	message.pins[3].owner = 65535;
	check_message_refused(&message, "has a node id out of range (1 to 65534)");
	message = make(DISPATCH_MESSAGE_ANSWER);
	message.answers[31].have = DISPATCH_HAVE_NUM_;
	/* protobuf-c writes it, and reads it as it is */
	check_message_refused(&message, "has an unknown answer");
}

TEST_CASE(codec_dispatch, flows_that_are_none)
{
	struct dispatch_message message = make(DISPATCH_MESSAGE_QUERY);

	set_ipv4(message.queries[0].key.foreign, 1); /* to an address of IPv6 */
	check_message_refused(&message, "has a flow that is none");
	message = make(DISPATCH_MESSAGE_QUERY);
	message.queries[15].key.protocol = 0;
	check_message_refused(&message, "has a flow that is none");
	message = make(DISPATCH_MESSAGE_PIN);
	memset(message.pins[0].key.local, 0, 16);
	check_message_refused(&message, "has a flow that is none");
}

TEST_CASE(codec_dispatch, listeners_that_are_none)
{
	struct dispatch_message message = make(DISPATCH_MESSAGE_LISTENERS);

	message.part.items[1].local_port = 0;
	check_message_refused(&message, "has a listener that is none");
	message = make(DISPATCH_MESSAGE_LISTENERS);
	message.part.items[1].families = 0;
	check_message_refused(&message, "has a listener that is none");
	message.part.items[1].families = 4;
	check_message_refused(&message, "has a listener that is none");
	message = make(DISPATCH_MESSAGE_LISTENERS);
	message.part.items[1].protocol = 0;
	check_message_refused(&message, "has a listener that is none");
	message = make(DISPATCH_MESSAGE_LISTENERS);
	message.part.items[1].foreign_port = 7; /* of any address */
	check_message_refused(&message, "has a listener that is none");
}

/* By hand, with what no encoder writes. */
TEST_CASE(codec_dispatch, other_spellings)
{
	static const uint8_t empty[] = {0x3a, 0x00};
	static const uint8_t twice[] = {0x3a, 0x0b, 0x09, 1, 0,	   0,	 0,    0, 0,
					0,    0,    0x10, 1, 0x3a, 0x0b, 0x09, 1, 0,
					0,    0,    0,	  0, 0,	   0,	 0x10, 1};
	static const uint8_t unknown[] = {0x3a, 0x0d, 0x09, 1,	  0, 0,	   0, 0,
					  0,	0,    0,    0x10, 1, 0x18, 1};
	static const uint8_t outside[] = {0x3a, 0x0b, 0x09, 1,	  0, 0,	   0, 0,
					  0,	0,    0,    0x10, 1, 0x40, 1};
	static const uint8_t padded[] = {0x3a, 0x0c, 0x09, 1, 0,    0,	  0,
					 0,    0,    0,	   0, 0x10, 0x81, 0};
	static const uint8_t later[] = {0x42, 0x00};
	static const uint8_t right[] = {0x3a, 0x0b, 0x09, 1, 0,	   0, 0,
					0,    0,    0,	  0, 0x10, 1};
	struct dispatch_message message;
	const char *why;

	CHECK_INT(codec_dispatch_decode(right, sizeof(right), &message, &why), 0);
	CHECK_INT(message.type, DISPATCH_MESSAGE_DRAIN);
	check_refused("", 0, "is of an unknown type");
	check_refused(empty, sizeof(empty), "is malformed");
	check_refused(twice, sizeof(twice), "has fields that don't belong there");
	check_refused(unknown, sizeof(unknown), "has fields that don't belong there");
	check_refused(outside, sizeof(outside), "has fields that don't belong there");
	check_refused(padded, sizeof(padded), "has fields that don't belong there");
	check_refused(later, sizeof(later), "is of an unknown type");
}

/* A mapped address has 4 bytes, and no other spelling. */
TEST_CASE(codec_dispatch, addresses_have_one_length)
{
	struct dispatch_message message = make(DISPATCH_MESSAGE_QUERY);
	uint8_t bytes[DISPATCH_BYTES_MAX];
	size_t length;

	message.num = 1;
	length = encode(&message, bytes);
	for (size_t i = 0; i + 16 <= length; i++) {
		if (bytes[i] == 0xfd && bytes[i + 15] == 1)
			set_ipv4(bytes + i, 1);
	}
	check_refused(bytes, length, "has a flow that is none");
}
