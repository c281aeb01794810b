/* See memfd.h. */
#include "base/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux 6.3; older kernels answer EINVAL. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SEALS_NEEDED  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SEALS_REFUSED (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

static int create_unsealed(void)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd;

	fd = memfd_create("shmnet-ring", flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("shmnet-ring", flags);
	return fd < 0 ? -errno : fd;
}

int memfd_ring_create(uint64_t size, int *ret_fd)
{
	int fd, ret;

	if (!shmnet_ring_size_valid(size))
		return -EINVAL;
	fd = create_unsealed();
	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)(SHMNET_RING_WORDS_LEN + size)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, SEALS_NEEDED) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	*ret_fd = fd;
	return 0;
}

static int refuse(int error, const char *why, const char **ret_why)
{
	*ret_why = why;
	return -error;
}

/*
 * A file on tmpfs has seals too (only F_SEAL_SEAL, so it is refused as unsealed); a
 * memfd of huge pages is refused by its length, which is a multiple of the huge page.
 */
int memfd_ring_check(int fd, uint64_t size, const char **ret_why)
{
	int seals = fcntl(fd, F_GET_SEALS);
	int flags = fcntl(fd, F_GETFL);
	uint64_t expected = SHMNET_RING_WORDS_LEN + size;
	struct stat st;

	if (seals < 0 || flags < 0 || fstat(fd, &st) < 0)
		return refuse(EBADF, "is not a memfd", ret_why);
	if ((flags & O_ACCMODE) != O_RDWR)
		return refuse(EACCES, "is not open for reading and writing", ret_why);
	if ((seals & SEALS_NEEDED) != SEALS_NEEDED)
		return refuse(EPERM, "is not sealed against a change of its size",
			      ret_why);
	if (seals & SEALS_REFUSED)
		return refuse(EPERM, "is sealed against writing", ret_why);
	if ((uint64_t)st.st_size < expected)
		return refuse(ENODATA, "is shorter than the ring it is for", ret_why);
	if ((uint64_t)st.st_size > expected)
		return refuse(EFBIG, "is longer than the ring it is for", ret_why);
	return 0;
}

/* Puts `length` bytes of the file from `offset` on over a part of the reservation. */
static bool map_over(uint8_t *address, uint64_t length, int fd, uint64_t offset)
{
	return mmap(address, (size_t)length, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, fd, (off_t)offset) != MAP_FAILED;
}

int ring_map_open(int fd, uint64_t size, struct ring_map *ret_map)
{
	size_t length = (size_t)(SHMNET_RING_WORDS_LEN + 2 * size);
	uint8_t *base, *data;
	int ret;

	if (!shmnet_ring_size_valid(size))
		return -EINVAL;
	base = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	data = base + SHMNET_RING_WORDS_LEN;
	if (!map_over(base, SHMNET_RING_WORDS_LEN + size, fd, 0) ||
	    !map_over(data + size, size, fd, SHMNET_RING_WORDS_LEN)) {
		ret = -errno;
		munmap(base, length);
		return ret;
	}
	*ret_map = (struct ring_map){
		.words = (struct shmnet_ring_words *)(void *)base,
		.data = data,
		.size = size,
		.base = base,
		.length = length,
	};
	return 0;
}

void ring_map_close(struct ring_map *map)
{
	if (!map || !map->base)
		return;
	munmap(map->base, map->length);
	memset(map, 0, sizeof(*map));
}
