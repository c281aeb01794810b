/* See post.h. */
#include "data/post.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define POST_ALIGN    8u
#define POST_SIZE_MIN 64u
#define POST_SIZE_MAX (1u << 30)

/* What the item takes with its length in front. */
static uint64_t item_size(size_t length)
{
	return (sizeof(uint32_t) + length + POST_ALIGN - 1) & ~(uint64_t)(POST_ALIGN - 1);
}

int post_init(struct post *post, size_t bytes)
{
	uint64_t size = POST_SIZE_MIN;

	memset(post, 0, sizeof(*post));
	if (bytes > POST_SIZE_MAX)
		return -ENOMEM;
	while (size < bytes)
		size *= 2;
	post->bytes = malloc(size);
	if (!post->bytes)
		return -ENOMEM;
	post->mask = size - 1;
	return 0;
}

void post_close(struct post *post)
{
	free(post->bytes);
	memset(post, 0, sizeof(*post));
}

/* Up to the end of the memory; the rest is at its beginning. */
static size_t first_part(const struct post *post, uint64_t position, size_t length)
{
	uint64_t left = post->mask + 1 - (position & post->mask);

	return length < left ? length : left;
}

static void copy_in(struct post *post, uint64_t position, const uint8_t *from,
		    size_t length)
{
	size_t first = first_part(post, position, length);

	memcpy(post->bytes + (position & post->mask), from, first);
	memcpy(post->bytes, from + first, length - first);
}

static void copy_out(const struct post *post, uint64_t position, uint8_t *to,
		     size_t length)
{
	size_t first = first_part(post, position, length);

	memcpy(to, post->bytes + (position & post->mask), first);
	memcpy(to + first, post->bytes, length - first);
}

static bool has_room(const struct post *post, uint64_t size)
{
	return post->mask + 1 - (post->head - post->seen_tail) >= size;
}

int post_put(struct post *post, const void *item, size_t length)
{
	uint32_t prefix = (uint32_t)length;
	uint64_t size;

	if (length == 0 || length > post->mask + 1 - sizeof(prefix))
		return -EMSGSIZE;
	size = item_size(length);
	if (!has_room(post, size)) {
		post->seen_tail = __atomic_load_n(&post->tail, __ATOMIC_ACQUIRE); /* D */
		if (!has_room(post, size))
			return -EAGAIN;
	}
	copy_in(post, post->head, (const uint8_t *)&prefix, sizeof(prefix));
	copy_in(post, post->head + sizeof(prefix), item, length);
	__atomic_store_n(&post->head, post->head + size, __ATOMIC_RELEASE); /* A */
	return 0;
}

ssize_t post_take(struct post *post, void *item, size_t room)
{
	uint32_t length;

	if (post->seen_head == post->tail) {
		post->seen_head = __atomic_load_n(&post->head, __ATOMIC_ACQUIRE); /* B */
		if (post->seen_head == post->tail)
			return 0;
	}
	copy_out(post, post->tail, (uint8_t *)&length, sizeof(length));
	if (length > room)
		return -EMSGSIZE;
	copy_out(post, post->tail + sizeof(length), item, length);
	__atomic_store_n(&post->tail, post->tail + item_size(length),
			 __ATOMIC_RELEASE); /* C */
	return length;
}
