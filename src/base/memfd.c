/* See memfd.h. */
#include "base/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Linux 6.3; older kernels answer EINVAL. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SEALS_NEEDED  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SEALS_REFUSED (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

/* What a file must be. */
struct shape {
	uint64_t length;
	int seals;
	int refused; /* seals */
	bool read_only;
};

static int open_memfd(void)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd;

	fd = memfd_create("shmnet-ring", flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("shmnet-ring", flags);
	return fd < 0 ? -errno : fd;
}

static int create(uint64_t length, int seals, int *ret_fd)
{
	int fd = open_memfd(), ret;

	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)length) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	*ret_fd = fd;
	return 0;
}

int memfd_ring_create(uint64_t size, int *ret_fd)
{
	if (!shmnet_ring_size_valid(size))
		return -EINVAL;
	return create(SHMNET_RING_WORDS_LEN + size, SEALS_NEEDED, ret_fd);
}

static int refuse(int error, const char *why, const char **ret_why)
{
	*ret_why = why;
	return -error;
}

/* Their owner can take pages away, and who touches one that is not there dies. */
static bool is_huge(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 || fs.f_type == HUGETLBFS_MAGIC;
}

/*
 * A file on tmpfs has seals too (only F_SEAL_SEAL, so it is refused as unsealed), and
 * so has a memfd of huge pages; some cast ring's length is a multiple of theirs.
 */
static int check(int fd, const struct shape *shape, const char **ret_why)
{
	int seals = fcntl(fd, F_GET_SEALS);
	int flags = fcntl(fd, F_GETFL);
	int mode = flags & O_ACCMODE;
	struct stat st;

	if (seals < 0 || flags < 0 || fstat(fd, &st) < 0)
		return refuse(EBADF, "is not a memfd", ret_why);
	if (is_huge(fd))
		return refuse(EBADF, "is a memfd of huge pages", ret_why);
	if (mode != O_RDWR && !(shape->read_only && mode == O_RDONLY))
		return refuse(EACCES,
			      shape->read_only ? "is not open for reading"
					       : "is not open for reading and writing",
			      ret_why);
	if ((seals & SEALS_NEEDED) != SEALS_NEEDED)
		return refuse(EPERM, "is not sealed against a change of its size",
			      ret_why);
	if (seals & shape->refused)
		return refuse(EPERM, "is sealed against writing", ret_why);
	if ((seals & shape->seals) != shape->seals)
		return refuse(EPERM, "is not sealed against others' writing", ret_why);
	if ((uint64_t)st.st_size < shape->length)
		return refuse(ENODATA, "is shorter than the ring it is for", ret_why);
	if ((uint64_t)st.st_size > shape->length)
		return refuse(EFBIG, "is longer than the ring it is for", ret_why);
	return 0;
}

int memfd_ring_check(int fd, uint64_t size, const char **ret_why)
{
	const struct shape shape = {SHMNET_RING_WORDS_LEN + size, SEALS_NEEDED,
				    SEALS_REFUSED, false};

	return check(fd, &shape, ret_why);
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

/* ---- cast rings ---- */

static bool cast_shape_valid(uint32_t depth, uint32_t mtu)
{
	return shmnet_cast_depth_valid(depth) && mtu >= SHMNET_MTU_MIN &&
	       mtu <= SHMNET_MTU_MAX;
}

int memfd_cast_create(uint32_t depth, uint32_t mtu, int *ret_fd)
{
	if (!cast_shape_valid(depth, mtu))
		return -EINVAL;
	return create(shmnet_cast_file_size(depth, mtu), SEALS_NEEDED, ret_fd);
}

int memfd_cast_create_lane(uint32_t depth, uint32_t mtu, int *ret_fd,
			   struct cast_map *ret_map)
{
	struct cast_map map = {0};
	int fd = -1, ret;

	if (!cast_shape_valid(depth, mtu))
		return -EINVAL;
	ret = create(shmnet_cast_file_size(depth, mtu), F_SEAL_SHRINK | F_SEAL_GROW, &fd);
	if (ret < 0)
		return ret;
	ret = cast_map_open(fd, depth, mtu, true, &map);
	if (ret < 0)
		goto err_fd;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0) {
		ret = -errno;
		goto err_map;
	}
	*ret_fd = fd;
	*ret_map = map;
	return 0;

err_map:
	cast_map_close(&map);
err_fd:
	close(fd);
	return ret;
}

int memfd_cast_check(int fd, uint32_t depth, uint32_t mtu, bool lane,
		     const char **ret_why)
{
	const struct shape shape = {
		.length = shmnet_cast_file_size(depth, mtu),
		.seals = SEALS_NEEDED | (lane ? F_SEAL_FUTURE_WRITE : 0),
		.refused = lane ? 0 : SEALS_REFUSED,
		.read_only = lane,
	};

	return check(fd, &shape, ret_why);
}

int memfd_get_id(int fd, uint64_t *ret_id)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_id = st.st_ino;
	return 0;
}

int cast_map_open(int fd, uint32_t depth, uint32_t mtu, bool writable,
		  struct cast_map *ret_map)
{
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);
	size_t length;
	void *base;

	if (!cast_shape_valid(depth, mtu))
		return -EINVAL;
	length = (size_t)shmnet_cast_file_size(depth, mtu);
	base = mmap(NULL, length, protection, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	*ret_map = (struct cast_map){base, length, writable};
	return 0;
}

void cast_map_close(struct cast_map *map)
{
	if (!map || !map->base)
		return;
	munmap(map->base, map->length);
	memset(map, 0, sizeof(*map));
}
