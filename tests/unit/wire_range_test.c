/* Who can speak with whom, and what is read of those who can't. */
#include "control/wire_range.h"

#include "control/codec_peer.h"
#include "shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t meet(uint32_t min, uint32_t max, uint32_t other_min, uint32_t other_max)
{
	const struct wire_range a = {min, max}, b = {other_min, other_max};
	uint32_t version = wire_range_meet(&a, &b);

	CHECK_INT(wire_range_meet(&b, &a), version);
	return version;
}

TEST_CASE(wire_range, the_highest_that_both_speak)
{
	CHECK_INT(meet(5, 5, 5, 5), 5);
	CHECK_INT(meet(5, 6, 5, 5), 5);
	CHECK_INT(meet(5, 6, 6, 8), 6);
	CHECK_INT(meet(5, 9, 6, 8), 8);
	CHECK_INT(meet(5, 5, 6, 7), 0);
	CHECK_INT(meet(6, 5, 5, 5), 0); /* no range at all */
	CHECK_INT(meet(9, 5, 5, 9), 0);
}

TEST_CASE(wire_range, words)
{
	const struct wire_range one = wire_range_of(4, 0), two = wire_range_of(6, 5);
	struct wire_range_text text;

	CHECK_STR(wire_range_print(&one, &text), "4");
	CHECK_STR(wire_range_print(&two, &text), "5 to 6");
}

static struct peer_message hello_of(uint32_t version, uint32_t min)
{
	struct peer_message message = {.type = PEER_MESSAGE_HELLO};

	message.hello.wire_version = version;
	message.hello.wire_min = min;
	strcpy(message.hello.cluster, "c");
	strcpy(message.hello.name, "n");
	message.hello.id = 7;
	return message;
}

/* As the other side reads it, with `more` behind it in the body. */
static int pass(const struct peer_message *message, const char *more,
		struct peer_message *ret_message)
{
	uint8_t bytes[PEER_BYTES_MAX];
	const char *why = NULL;
	size_t length, size = strlen(more);

	CHECK(codec_peer_encode(message, bytes, sizeof(bytes), &length) == 0);
	CHECK(bytes[1] + size < 128); /* the body's length is one byte */
	bytes[1] += (uint8_t)size;
	memcpy(bytes + length, more, size);
	memset(ret_message, 0, sizeof(*ret_message));
	return codec_peer_decode(bytes, length + size, ret_message, &why);
}

#define FIELD_99 "\x98\x06\x01"

TEST_CASE(wire_range, a_newer_hello_is_read_if_it_goes_down_to_ours)
{
	struct peer_message message = hello_of(wire_spoken.max + 2, wire_spoken.max), got;

	CHECK_INT(pass(&message, "", &got), 0);
	CHECK_INT(got.hello.id, 7);
	CHECK_INT(got.hello.wire_version, wire_spoken.max + 2);
	CHECK_INT(got.hello.wire_min, wire_spoken.max);
	CHECK_INT(pass(&message, FIELD_99, &got), 0);
	CHECK_STR(got.hello.name, "n");
}

TEST_CASE(wire_range, of_our_own_version_nothing_is_passed_over)
{
	struct peer_message message = hello_of(wire_spoken.max, wire_spoken.min), got;

	CHECK_INT(pass(&message, "", &got), 0);
	CHECK_INT(pass(&message, FIELD_99, &got), -EBADMSG);
	message.hello.wire_min = wire_spoken.max + 1;
	CHECK_INT(pass(&message, "", &got), 0); /* a range of nothing: refused later */
	CHECK_INT(got.hello.id, 0);
}

TEST_CASE(wire_range, of_one_without_a_common_version_the_range_is_read)
{
	struct peer_message message = hello_of(wire_spoken.max + 4, wire_spoken.max + 2);
	struct peer_message got;

	CHECK_INT(pass(&message, FIELD_99, &got), 0);
	CHECK_INT(got.hello.wire_version, wire_spoken.max + 4);
	CHECK_INT(got.hello.wire_min, wire_spoken.max + 2);
	CHECK_INT(got.hello.id, 0);
	message.hello.wire_min = 0;
	CHECK_INT(pass(&message, FIELD_99, &got), 0);
	CHECK_INT(got.hello.wire_min, 0);
}
