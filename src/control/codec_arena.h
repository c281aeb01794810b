/*
 * Memory on the stack for what a message is unpacked to: whatever a peer writes, it
 * makes nobody allocate. The functions are those of a ProtobufCAllocator; `used` is 0
 * at first. Control's thread.
 */
#ifndef CONTROL_CODEC_ARENA_H
#define CONTROL_CODEC_ARENA_H

#include <stddef.h>
#include <stdint.h>

#define CODEC_ARENA_SIZE  16384 /* twice what the largest message takes */
#define CODEC_ARENA_ALIGN 16

struct codec_arena {
	_Alignas(CODEC_ARENA_ALIGN) uint8_t bytes[CODEC_ARENA_SIZE];
	size_t used;
};

/* `data` is a struct codec_arena. NULL if it is full. */
void *codec_arena_alloc(void *data, size_t size);

/* Nothing: it is gone with its function. */
void codec_arena_free(void *data, void *memory);

#endif
