/*
 * Can memory that is mapped twice, back to back, be registered as one region whose
 * addresses begin at 0, and does one WRITE across the seam arrive at the end and the
 * beginning? May it also be the source of one?
 *
 *     verbs_wrap [DEVICE ADDRESS]
 *
 * Seen on rxe of 6.1: yes, both.
 */
#include "verbs.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE   65536
#define LENGTH 10000
#define SEAM   3000 /* so much of it lies before the seam */

static int failures;

static uint8_t *map_twice(void)
{
	uint8_t *at = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("ring", MFD_CLOEXEC);

	if (at == MAP_FAILED || fd < 0 || ftruncate(fd, SIZE))
		verbs_die("memory");
	for (int i = 0; i < 2; i++)
		if (mmap(at + (size_t)i * SIZE, SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			verbs_die("mmap");
	close(fd);
	return at;
}

static bool is_pattern(const uint8_t *at, size_t from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (at[i] != (uint8_t)((from + i) * 7 + 1))
			return false;
	return true;
}

static void is_done(struct verbs_end *end, const char *what)
{
	struct ibv_wc wc;

	verbs_check(verbs_poll(end, 5, &wc) && wc.status == IBV_WC_SUCCESS, what,
		    &failures);
}

int main(int argc, char **argv)
{
	struct ibv_context *context = TRY(verbs_open(argc > 1 ? argv[1] : "rxe0"));
	struct verbs_write write = {
		.length = LENGTH,
		.to = SIZE - SEAM,
		.opcode = IBV_WR_RDMA_WRITE,
		.flags = IBV_SEND_SIGNALED,
	};
	uint8_t *source = map_twice(), *ring = map_twice();
	struct verbs_end here, there;
	struct ibv_mr *from, *to;

	verbs_end_new(context, NULL, &here);
	verbs_end_new(context, NULL, &there);
	verbs_join(&here, &there, verbs_gid(context, argc > 2 ? argv[2] : "192.0.2.1"));
	from = TRY(ibv_reg_mr(here.pd, source, (size_t)2 * SIZE, 0));
	to = TRY(ibv_reg_mr_iova(there.pd, ring, (size_t)2 * SIZE, 0,
				 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
	for (size_t i = 0; i < LENGTH; i++)
		source[SIZE - SEAM + i] = (uint8_t)(i * 7 + 1);
	write.from = source + SIZE - SEAM;
	write.lkey = from->lkey;
	write.rkey = to->rkey;
	verbs_post(&here, &write);
	is_done(&here, "a WRITE from a seam across a seam succeeds");
	verbs_check(is_pattern(ring + SIZE - SEAM, 0, SEAM), "its head is at the end",
		    &failures);
	verbs_check(is_pattern(ring, SEAM, LENGTH - SEAM), "its tail is at the beginning",
		    &failures);
	verbs_check(!ring[LENGTH - SEAM] && !ring[SIZE - SEAM - 1],
		    "and nothing elsewhere", &failures);
	write.to = 2 * SIZE - LENGTH + 1;
	memset(ring, 0, SIZE);
	verbs_post(&here, &write);
	verbs_check(verbs_poll(&here, 5, &(struct ibv_wc){0}) && !ring[SIZE - 1],
		    "one that goes a byte beyond changes nothing", &failures);
	return failures > 0;
}
