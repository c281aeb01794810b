/*
 * The memory of rings: sealed memfds that are passed to others and mapped by them.
 *
 * A pair ring is made by its receiver and mapped by both sides with its data twice
 * back to back:
 *
 *     file:     | words | data |
 *     mapping:  | words | data | data again |
 *
 * A cast ring is mapped once, by all members, who all write to it. A lane has one
 * writer, its maker: nobody else can map it for writing (F_SEAL_FUTURE_WRITE).
 *
 * A foreign descriptor is mapped only after memfd_ring_check() or memfd_cast_check():
 * without the seals its owner could shrink the file and kill whoever reads it with
 * SIGBUS. Seals do not stop the owner from punching holes; that gives zeroes, never a
 * signal.
 *
 * Nothing here looks at what is in the memory, that is <shmnet/ring.h>'s and
 * <shmnet/cast.h>'s. Control calls these, from one thread; there is no state but the
 * caller's struct.
 */
#ifndef BASE_MEMFD_H
#define BASE_MEMFD_H

#include <shmnet/cast.h>
#include <shmnet/ring.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring_map {
	struct shmnet_ring_words *words;
	uint8_t *data; /* `size` bytes, and the same again behind them */
	uint64_t size; /* of the data, without words and second mapping */
	void *base;    /* of the whole reservation; NULL if there is none */
	size_t length;
};

/*
 * A file for a ring of `size` data bytes, all zero, sealed, close-on-exec. Not a byte
 * is taken before it is touched. -EINVAL for a size no ring has, else memfd_create(2)'s
 * and ftruncate(2)'s errors: -EMFILE, -ENFILE, -ENOMEM.
 */
int memfd_ring_create(uint64_t size, int *ret_fd);

/*
 * Is this foreign descriptor such a file? The descriptor stays the caller's. If not,
 * *ret_why says so in words ("is not a memfd"), as the end of a sentence about it:
 *
 *     -EBADF  no memfd, or one of  -EACCES  not open for reading and writing
 *             huge pages           -ENODATA shorter than a ring of `size`
 *     -EPERM  wrong seals          -EFBIG   longer
 */
int memfd_ring_check(int fd, uint64_t size, const char **ret_why);

/*
 * Maps a file that was made or checked by the above; the descriptor may be closed
 * afterwards. -ENOMEM if the address space (RLIMIT_AS), the number of mappings or the
 * memory is exhausted: nothing is left mapped then.
 */
int ring_map_open(int fd, uint64_t size, struct ring_map *ret_map);

/* Also takes NULL, a zeroed struct, and one that is closed already. */
void ring_map_close(struct ring_map *map);

struct cast_map {
	void *base; /* file_size() bytes; NULL if there is none */
	size_t length;
	bool writable;
};

/*
 * As memfd_ring_create(), for a cast ring that all members write to. -EINVAL for a
 * depth or an MTU that none has.
 */
int memfd_cast_create(uint32_t depth, uint32_t mtu, int *ret_fd);

/* The same for a lane. Only the maker's map, made before the seal, is writable. */
int memfd_cast_create_lane(uint32_t depth, uint32_t mtu, int *ret_fd,
			   struct cast_map *ret_map);

/* As memfd_ring_check(). A lane has to be open for reading only. */
int memfd_cast_check(int fd, uint32_t depth, uint32_t mtu, bool lane,
		     const char **ret_why);

/*
 * The kernel's number of the memory, of which there is no other memfd of the same on this
 * machine, nor was in a long time: whoever has a descriptor of it finds the same one.
 */
int memfd_get_id(int fd, uint64_t *ret_id);

/* As ring_map_open(). -EPERM or -EACCES for a lane that is to be writable. */
int cast_map_open(int fd, uint32_t depth, uint32_t mtu, bool writable,
		  struct cast_map *ret_map);

/* Also takes NULL, a zeroed struct, and one that is closed already. */
void cast_map_close(struct cast_map *map);

#endif
