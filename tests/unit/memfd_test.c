/* The memory of a pair ring: what is made, what is refused, what a hole does. */
#include "base/memfd.h"

#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE  SHMNET_RING_SIZE_MIN
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* A foreign memfd of `length` bytes with `seals`. */
static int foreign(uint64_t length, int seals)
{
	int fd = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)length) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Takes the descriptor over. */
static void check_refused(int fd, int error, const char *words)
{
	const char *why = NULL;

	REQUIRE(fd >= 0);
	CHECK_INT(memfd_ring_check(fd, SIZE, &why), -error);
	CHECK_STR(why, words);
	close(fd);
}

TEST_CASE(memfd, made_sealed_exact_and_closed_on_exec)
{
	const char *why = NULL;
	struct stat st;
	int fd;

	REQUIRE(memfd_ring_create(SIZE, &fd) == 0);
	CHECK_INT(fcntl(fd, F_GET_SEALS) & SEALS, SEALS);
	CHECK_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	CHECK_INT(memfd_ring_check(fd, SIZE, &why), 0);
	CHECK_STR(why, NULL);
	CHECK_INT(fstat(fd, &st), 0);
	CHECK_INT(st.st_size, SHMNET_RING_WORDS_LEN + SIZE);
	CHECK_INT(ftruncate(fd, 0), -1);
	CHECK_INT(errno, EPERM);
	close(fd);
}

TEST_CASE(memfd, no_ring_has_such_a_size)
{
	static const uint64_t sizes[] = {0,
					 1,
					 4096,
					 SHMNET_RING_SIZE_MIN / 2,
					 SHMNET_RING_SIZE_MIN - 1,
					 SHMNET_RING_SIZE_MIN + 4096,
					 SHMNET_RING_SIZE_MAX * 2ull,
					 UINT64_MAX,
					 1ull << 63};
	struct ring_map map;
	int fd = -1;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CHECK_INT(memfd_ring_create(sizes[i], &fd), -EINVAL);
		CHECK_INT(ring_map_open(0, sizes[i], &map), -EINVAL);
	}
	CHECK_INT(fd, -1);
}

TEST_CASE(memfd, refuses_what_is_no_memfd)
{
	int ends[2];

	check_refused(open("/dev/zero", O_RDWR | O_CLOEXEC), EBADF, "is not a memfd");
	check_refused(open("/", O_RDONLY | O_CLOEXEC), EBADF, "is not a memfd");
	REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
	check_refused(ends[0], EBADF, "is not a memfd");
	check_refused(ends[1], EBADF, "is not a memfd");
}

TEST_CASE(memfd, refuses_a_closed_descriptor)
{
	const char *why = NULL;

	CHECK_INT(memfd_ring_check(-1, SIZE, &why), -EBADF);
	CHECK_STR(why, "is not a memfd");
}

TEST_CASE(memfd, refuses_a_file_that_can_shrink)
{
	static const int seals[] = {0, F_SEAL_SHRINK | F_SEAL_SEAL,
				    F_SEAL_GROW | F_SEAL_SEAL,
				    F_SEAL_SHRINK | F_SEAL_GROW};

	for (size_t i = 0; i < sizeof(seals) / sizeof(seals[0]); i++)
		check_refused(foreign(SHMNET_RING_WORDS_LEN + SIZE, seals[i]), EPERM,
			      "is not sealed against a change of its size");
}

TEST_CASE(memfd, refuses_a_file_that_cannot_be_written)
{
	char path[64];
	int fd;

	check_refused(foreign(SHMNET_RING_WORDS_LEN + SIZE, SEALS | F_SEAL_WRITE), EPERM,
		      "is sealed against writing");
	check_refused(foreign(SHMNET_RING_WORDS_LEN + SIZE, SEALS | F_SEAL_FUTURE_WRITE),
		      EPERM, "is sealed against writing");

	REQUIRE(memfd_ring_create(SIZE, &fd) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	check_refused(open(path, O_RDONLY | O_CLOEXEC), EACCES,
		      "is not open for reading and writing");
	close(fd);
}

TEST_CASE(memfd, refuses_another_length)
{
	static const uint64_t shorter[] = {0, SIZE, SHMNET_RING_WORDS_LEN + SIZE - 1};
	static const uint64_t longer[] = {SHMNET_RING_WORDS_LEN + SIZE + 1,
					  SHMNET_RING_WORDS_LEN + 2 * SIZE, 1ull << 40};

	for (size_t i = 0; i < sizeof(shorter) / sizeof(shorter[0]); i++)
		check_refused(foreign(shorter[i], SEALS), ENODATA,
			      "is shorter than the ring it is for");
	for (size_t i = 0; i < sizeof(longer) / sizeof(longer[0]); i++)
		check_refused(foreign(longer[i], SEALS), EFBIG,
			      "is longer than the ring it is for");
}

/* Volatile: a compiler takes for granted that data[0] and data[SIZE] are apart. */
TEST_CASE(memfd, data_is_mapped_twice)
{
	volatile uint8_t *data;
	struct ring_map map;
	int fd;

	REQUIRE(memfd_ring_create(SIZE, &fd) == 0);
	REQUIRE(ring_map_open(fd, SIZE, &map) == 0);
	close(fd);
	CHECK_U64(map.size, SIZE);
	data = map.data;
	CHECK(map.data == (uint8_t *)map.words + SHMNET_RING_WORDS_LEN);
	for (uint64_t i = 0; i < SIZE; i += 4093) {
		data[i] = (uint8_t)(i | 1);
		CHECK_INT(data[SIZE + i], (uint8_t)(i | 1));
		data[SIZE + i] = 0;
		CHECK_INT(data[i], 0);
	}
	data[SIZE - 1] = 1;
	data[SIZE] = 2;
	CHECK_INT(data[2 * SIZE - 1], 1);
	CHECK_INT(data[0], 2);
	CHECK_U64(map.words->head, 0);
	ring_map_close(&map);
}

TEST_CASE(memfd, two_mappings_share_memory)
{
	struct ring_map ours, theirs;
	int fd;

	REQUIRE(memfd_ring_create(SIZE, &fd) == 0);
	REQUIRE(ring_map_open(fd, SIZE, &ours) == 0);
	REQUIRE(ring_map_open(fd, SIZE, &theirs) == 0);
	close(fd);
	ours.words->head = 64;
	ours.data[SIZE + 5] = 9;
	CHECK_U64(theirs.words->head, 64);
	CHECK_INT(theirs.data[5], 9);
	ring_map_close(&ours);
	ring_map_close(&theirs);
}

TEST_CASE(memfd, close_takes_anything)
{
	struct ring_map map = {0};

	ring_map_close(NULL);
	ring_map_close(&map);
	CHECK(map.base == NULL);
}

/* The seals don't forbid it; it must cost zeroes and nothing worse. */
TEST_CASE(memfd, hole_punched_by_the_peer_gives_zeroes)
{
	static uint8_t zeroes[2 * SIZE];
	struct ring_map map;
	int fd;

	REQUIRE(memfd_ring_create(SIZE, &fd) == 0);
	REQUIRE(ring_map_open(fd, SIZE, &map) == 0);
	memset(map.data, 0xaa, SIZE);
	map.words->head = 640;
	REQUIRE(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  (off_t)(SHMNET_RING_WORDS_LEN + SIZE)) == 0);
	CHECK_U64(map.words->head, 0);
	CHECK_MEM(map.data, zeroes, 2 * SIZE);
	map.data[3] = 1;
	CHECK_INT(map.data[SIZE + 3], 1);
	ring_map_close(&map);
	close(fd);
}

/* In a child, since the limit can't be raised again. Its status is the error. */
static int open_with_address_space(int fd, rlim_t limit)
{
	struct ring_map map = {0};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct rlimit rlimit = {limit, limit};

		if (setrlimit(RLIMIT_AS, &rlimit) < 0)
			_exit(125);
		_exit(-ring_map_open(fd, SIZE, &map));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

TEST_CASE(memfd, address_space_exhausted)
{
	int fd;

	REQUIRE(memfd_ring_create(SIZE, &fd) == 0);
	CHECK_INT(open_with_address_space(fd, 1 << 16), ENOMEM);
	CHECK_INT(open_with_address_space(fd, RLIM_INFINITY), 0);
	close(fd);
}

/* A file that can't be mapped as told leaves no reservation behind. */
TEST_CASE(memfd, failed_mapping_leaves_nothing)
{
	struct ring_map map = {0};
	int fd = foreign(SHMNET_RING_WORDS_LEN + SIZE, SEALS | F_SEAL_WRITE);

	REQUIRE(fd >= 0);
	for (int i = 0; i < 100000; i++) { /* 50 GiB of address space, 65530 mappings */
		if (ring_map_open(fd, SIZE, &map) != -EPERM) {
			CHECK(!"-EPERM each time");
			break;
		}
	}
	CHECK(map.base == NULL);
	close(fd);
}

/* ---- cast rings ---- */

#define DEPTH	 64u
#define MTU	 1500u
#define CAST_LEN shmnet_cast_file_size(DEPTH, MTU)

static void check_cast_refused(int fd, bool lane, int error, const char *words)
{
	const char *why = NULL;

	REQUIRE(fd >= 0);
	CHECK_INT(memfd_cast_check(fd, DEPTH, MTU, lane, &why), -error);
	CHECK_STR(why, words);
	close(fd);
}

TEST_CASE(memfd, cast_made_sealed_and_exact)
{
	struct cast_map ours, theirs;
	const char *why = NULL;
	int fd;

	REQUIRE(memfd_cast_create(DEPTH, MTU, &fd) == 0);
	CHECK_INT(memfd_cast_check(fd, DEPTH, MTU, false, &why), 0);
	CHECK_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	REQUIRE(cast_map_open(fd, DEPTH, MTU, true, &ours) == 0);
	REQUIRE(cast_map_open(fd, DEPTH, MTU, false, &theirs) == 0);
	CHECK_U64(ours.length, CAST_LEN);
	((uint8_t *)ours.base)[CAST_LEN - 1] = 9;
	CHECK_INT(((const volatile uint8_t *)theirs.base)[CAST_LEN - 1], 9);
	cast_map_close(&ours);
	cast_map_close(&ours);
	cast_map_close(&theirs);
	cast_map_close(NULL);
	check_cast_refused(fd, true, EPERM, "is not sealed against others' writing");
}

TEST_CASE(memfd, cast_of_no_such_shape)
{
	static const struct {
		uint32_t depth, mtu;
	} shapes[] = {{0, MTU},
		      {DEPTH - 1, MTU},
		      {SHMNET_CAST_DEPTH_MIN / 2, MTU},
		      {SHMNET_CAST_DEPTH_MAX * 2, MTU},
		      {DEPTH, SHMNET_MTU_MIN - 1},
		      {DEPTH, SHMNET_MTU_MAX + 1},
		      {DEPTH, UINT32_MAX}};
	struct cast_map map = {0};
	int fd = -1;

	for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		CHECK_INT(memfd_cast_create(shapes[i].depth, shapes[i].mtu, &fd),
			  -EINVAL);
		CHECK_INT(
			memfd_cast_create_lane(shapes[i].depth, shapes[i].mtu, &fd, &map),
			-EINVAL);
		CHECK_INT(cast_map_open(0, shapes[i].depth, shapes[i].mtu, true, &map),
			  -EINVAL);
	}
	CHECK_INT(fd, -1);
	CHECK(map.base == NULL);
}

TEST_CASE(memfd, cast_refused)
{
	check_cast_refused(open("/dev/zero", O_RDWR | O_CLOEXEC), false, EBADF,
			   "is not a memfd");
	check_cast_refused(foreign(CAST_LEN, F_SEAL_SHRINK | F_SEAL_SEAL), false, EPERM,
			   "is not sealed against a change of its size");
	check_cast_refused(foreign(CAST_LEN, SEALS | F_SEAL_FUTURE_WRITE), false, EPERM,
			   "is sealed against writing");
	check_cast_refused(foreign(CAST_LEN - 1, SEALS), false, ENODATA,
			   "is shorter than the ring it is for");
	check_cast_refused(foreign(CAST_LEN + 1, SEALS), false, EFBIG,
			   "is longer than the ring it is for");
	check_cast_refused(foreign(CAST_LEN, SEALS), true, EPERM,
			   "is not sealed against others' writing");
}

/* Its length is right, but a hole in it kills who reads it as soon as pages are short. */
TEST_CASE(memfd, cast_of_huge_pages)
{
	const uint32_t depth = 64, mtu = 32600;
	const uint64_t length = shmnet_cast_file_size(depth, mtu);
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB |
					      MFD_HUGE_2MB);
	const char *why = NULL;

	if (fd < 0)
		TEST_SKIP("no huge pages of 2 MiB here");
	CHECK_U64(length, 2 << 20);
	if (ftruncate(fd, (off_t)length) == 0) {
		CHECK_INT(fcntl(fd, F_ADD_SEALS, SEALS), 0);
		CHECK_INT(memfd_cast_check(fd, depth, mtu, false, &why), -EBADF);
		CHECK_STR(why, "is a memfd of huge pages");
	}
	close(fd);
}

/* Nobody else can write to it in any way, nor take its memory away. */
TEST_CASE(memfd, lane_has_one_writer)
{
	struct cast_map map, theirs;
	const char *why = NULL;
	char path[64];
	int fd, read_only;

	REQUIRE(memfd_cast_create_lane(DEPTH, MTU, &fd, &map) == 0);
	CHECK(map.writable);
	CHECK_INT(memfd_cast_check(fd, DEPTH, MTU, true, &why), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	CHECK_INT(memfd_cast_check(read_only, DEPTH, MTU, true, &why), 0);
	CHECK_INT(cast_map_open(fd, DEPTH, MTU, true, &theirs), -EPERM);
	CHECK_INT(cast_map_open(read_only, DEPTH, MTU, true, &theirs), -EACCES);
	REQUIRE(cast_map_open(fd, DEPTH, MTU, false, &theirs) == 0);
	CHECK_INT(mprotect(theirs.base, theirs.length, PROT_READ | PROT_WRITE), -1);
	CHECK_INT(pwrite(fd, "x", 1, 0), -1);
	CHECK_INT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	((uint8_t *)map.base)[5] = 7;
	CHECK_INT(((const volatile uint8_t *)theirs.base)[5], 7);
	cast_map_close(&theirs);
	cast_map_close(&map);
	close(read_only);
	close(fd);
}
