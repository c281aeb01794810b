/*
 * The memory of a pair ring: a sealed memfd, made by the receiver, passed to the
 * transmitter, and mapped by both with its data twice back to back.
 *
 *     file:     | words | data |
 *     mapping:  | words | data | data again |
 *
 * A foreign descriptor is mapped only after memfd_ring_check(): without the seals
 * its owner could shrink the file and kill whoever reads it with SIGBUS. Seals do
 * not stop the owner from punching holes; that gives zeroes, never a signal.
 *
 * Nothing here looks at what is in the memory, that is <shmnet/ring.h>'s. Control
 * calls these, from one thread; there is no state but the caller's struct.
 */
#ifndef BASE_MEMFD_H
#define BASE_MEMFD_H

#include <shmnet/ring.h>

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
 *     -EBADF  not a memfd          -EACCES  not open for reading and writing
 *     -EPERM  wrong seals          -ENODATA shorter than a ring of `size`
 *                                  -EFBIG   longer
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

#endif
