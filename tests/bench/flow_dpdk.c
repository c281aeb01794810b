/* See flow_bench.h. */
#include "flow_bench.h"

#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_memory.h>

#include <stdio.h>
#include <sys/mman.h>

static struct rte_hash *table;
static bool has_huge_pages;

/* What EAL gives out is 4 KiB pages then; ours asks for large ones, so this does, too. */
static int ask_for_large_pages(const struct rte_memseg_list *list,
			       const struct rte_memseg *segment, void *arg)
{
	(void)list;
	(void)arg;
	madvise(segment->addr, segment->len, MADV_HUGEPAGE);
	return 0;
}

static bool start(bool huge)
{
	static char words[][20] = {"flow_bench",    "--no-pci", "--no-telemetry",
				   "--log-level=1", "-m",	"512"};
	static char with_huge[] = "--in-memory", without[] = "--no-huge";
	static char alone[] = "--no-shconf";
	char *args[9] = {NULL};

	for (int i = 0; i < 6; i++)
		args[i] = words[i];
	args[6] = huge ? with_huge : without;
	args[7] = alone;
	return rte_eal_init(huge ? 7 : 8, args) >= 0;
}

static unsigned free_huge_pages(void)
{
	FILE *file =
		fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
	unsigned pages = 0;

	if (file) {
		if (fscanf(file, "%u", &pages) != 1)
			pages = 0;
		fclose(file);
	}
	return pages;
}

bool peer_open(unsigned flows, unsigned key_length)
{
	const struct rte_hash_parameters parameters = {
		.name = "flows",
		/* It warns of failing beyond 80 % or so. */
		.entries = flows + flows / 4,
		.key_len = key_length,
		.hash_func = rte_hash_crc,
		.hash_func_init_val = 0x5bd1e995,
	};

	has_huge_pages = free_huge_pages() >= 256;
	if (!start(has_huge_pages))
		return false;
	if (!has_huge_pages)
		rte_memseg_walk(ask_for_large_pages, NULL);
	table = rte_hash_create(&parameters);
	return table != NULL;
}

bool peer_add(const struct flow_key *key, uint16_t owner)
{
	return rte_hash_add_key_data(table, key, (void *)(uintptr_t)owner) == 0;
}

unsigned peer_find(const struct flow_key *const keys[FLOW_BURST], const uint16_t *owners)
{
	const void *wanted[FLOW_BURST];
	void *data[FLOW_BURST];
	uint64_t found = 0;
	unsigned right = 0;

	for (unsigned i = 0; i < FLOW_BURST; i++)
		wanted[i] = keys[i];
	rte_hash_lookup_bulk_data(table, wanted, FLOW_BURST, &found, data);
	for (unsigned i = 0; i < FLOW_BURST; i++)
		right += (found >> i & 1) && (uintptr_t)data[i] == owners[i];
	return right;
}

const char *peer_memory(void)
{
	return has_huge_pages ? "huge pages" : "no huge pages";
}
