/*
 * Frames for the tests of the cast ring: each says who wrote it and which of that
 * writer's it is, and the rest follows from these, so that a frame of two halves is
 * found. Any thread.
 */
#ifndef TESTS_CAST_FRAMES_H
#define TESTS_CAST_FRAMES_H

#include <shmnet/cast.h>

#include <sched.h>
#include <string.h>

#define MTU	   1500u
#define LENGTH_MIN 24u

static inline uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ull;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44dull;
	return x ^ x >> 33;
}

static inline uint32_t frame_length(uint64_t seed)
{
	return LENGTH_MIN + (uint32_t)(seed >> 40) % (MTU - LENGTH_MIN) / 8 * 8;
}

/* Writer, number, then words that count up from their hash. */
static inline uint32_t frame_fill(uint8_t *payload, uint64_t writer, uint64_t number)
{
	uint64_t seed = mix(writer << 56 ^ number), word = seed;
	uint32_t length = frame_length(seed);

	memcpy(payload, &writer, 8);
	memcpy(payload + 8, &number, 8);
	for (uint32_t i = 16; i < length; i += 8, word++) {
		/* A pause here and there: that is where stops and kills should hit. */
		if (i == 160 && seed % 64 == 0)
			sched_yield();
		memcpy(payload + i, &word, 8);
	}
	return length;
}

static inline bool frame_right(const uint64_t *frame,
			       const struct shmnet_cast_record *record)
{
	uint64_t seed = mix(frame[0] << 56 ^ frame[1]), word = seed, wrong = 0;

	if (frame[0] != record->writer || record->length != frame_length(seed))
		return false;
	for (uint32_t i = 2; i < record->length / 8; i++, word++)
		wrong |= frame[i] ^ word;
	return wrong == 0;
}

#endif
