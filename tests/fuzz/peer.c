/*
 * Fuzz target: a message of a pair's channel. What is accepted must come back the
 * same after it was written and read again, in as many bytes.
 */
#include "control/codec_peer.h"
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

/* Of another version only the version is taken over. */
static bool is_foreign(const struct peer_message *message)
{
	if (message->type == PEER_MESSAGE_LOOK)
		return message->look.wire_version != SHMNET_WIRE_VERSION;
	return message->type == PEER_MESSAGE_HELLO &&
	       message->hello.wire_version != SHMNET_WIRE_VERSION;
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
