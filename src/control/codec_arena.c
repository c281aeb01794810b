/* See codec_arena.h. */
#include "control/codec_arena.h"

void *codec_arena_alloc(void *data, size_t size)
{
	struct codec_arena *arena = data;
	void *memory = arena->bytes + arena->used;
	size_t left = CODEC_ARENA_SIZE - arena->used;

	if (size > left)
		return NULL;
	size = (size + CODEC_ARENA_ALIGN - 1) & ~(size_t)(CODEC_ARENA_ALIGN - 1);
	arena->used += size < left ? size : left;
	return memory;
}

void codec_arena_free(void *data, void *memory)
{
	(void)data;
	(void)memory;
}
