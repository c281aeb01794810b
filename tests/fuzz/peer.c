/*
 * Fuzz target: a message of a pair's channel. What is accepted must come back the
 * same after it was written and read again, in as many bytes.
 */
#include "control/codec_peer.h"
#include "control/wire_range.h"
#include "fuzz.h"

#include <shmnet/wire.h>

#include <stdlib.h>
#include <string.h>

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "peer fuzz: %s\n", what);
	abort();
}

static bool is_other(uint32_t version, uint32_t min)
{
	struct wire_range theirs = wire_range_of(version, min);

	return version > wire_spoken.max || wire_range_meet(&wire_spoken, &theirs) == 0;
}

/* Of one that we don't speak only the versions are taken over, and a newer one may say
 * more. */
static bool is_foreign(const struct peer_message *message)
{
	if (message->type == PEER_MESSAGE_LOOK)
		return is_other(message->look.wire_version, message->look.wire_min);
	return message->type == PEER_MESSAGE_HELLO &&
	       is_other(message->hello.wire_version, message->hello.wire_min);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer_message message, again;
	uint8_t bytes[65536];
	const char *why = NULL;
	size_t length;

	if (codec_peer_decode(data, size, &message, &why) < 0) {
		need(why && *why, "refused without a word");
		return 0;
	}
	if (is_foreign(&message))
		return 0;
	need(codec_peer_encode(&message, bytes, sizeof(bytes), &length) == 0,
	     "can't be written");
	need(length == size, "is written in another length");
	need(codec_peer_decode(bytes, length, &again, &why) == 0, "can't be read again");
	/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): both start as zeroes */
	need(memcmp(&message, &again, sizeof(message)) == 0, "reads differently");
	return 0;
}
