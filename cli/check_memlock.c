/*
 * Memory that the rings of a fabric of kind rdma lock, and the limit of who is, or will
 * be, the node: its process, its unit, or this one. See check.h.
 */
#include "cli/check.h"

#include "cli/text.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>

/* Those on other machines: as many as are known, or as there are seeds. */
static unsigned count_peers(const struct check *check)
{
	const char *listen = check->rdma->listen.text;
	unsigned seeds = 0, known = 0;
	json_t *node;
	size_t i;

	for (unsigned j = 0; j < check->rdma->num_seeds; j++)
		seeds += strcmp(check->rdma->seeds[j].text, listen) != 0;
	json_array_foreach(json_object_get(check->status, "nodes"), i, node) known +=
		strncmp(text_get(node, "fabric"), "rdma/", 5) == 0;
	if (known > seeds)
		seeds = known;
	return seeds ? seeds : 1;
}

/* Two rings per peer and network, each counted twice because it is mapped twice. */
static uint64_t count_bytes(const struct check *check)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < check->config->num_networks; i++)
		bytes += 4ull * check->config->networks[i].ring_size;
	return bytes * count_peers(check);
}

/* Of the unit that the node will be, if there is one; 0: there is none. */
static uint64_t read_unit_limit(const struct check *check)
{
	char limit[CHECK_LINE_SIZE];

	if (!check_read_unit(check, "LimitMEMLOCK", limit))
		return 0;
	return strcmp(limit, "infinity") == 0 ? UINT64_MAX : strtoull(limit, NULL, 10);
}

static char *mend_memlock(const struct check *check, bool is_unit)
{
	if (check->pid)
		return text_format("prlimit --pid %d --memlock=unlimited:unlimited",
				   (int)check->pid);
	if (is_unit)
		return text_format("systemctl edit shmnet-node@%s  # [Service] "
				   "LimitMEMLOCK=infinity",
				   check->config->name);
	return text_format("ulimit -l unlimited");
}

/* Of who is, or will be, the node: UINT64_MAX is no limit. False: it can't be read. */
static bool read_limit(const struct check *check, bool *ret_is_unit, uint64_t *ret_limit)
{
	char line[CHECK_LINE_SIZE];

	*ret_limit = check->pid ? 0 : read_unit_limit(check);
	*ret_is_unit = *ret_limit > 0;
	if (*ret_is_unit)
		return true;
	*ret_limit = UINT64_MAX;
	if (check_read_process(check, "status", "CapEff:", line) &&
	    strtoull(line + 7, NULL, 16) >> CAP_IPC_LOCK & 1)
		return true;
	if (!check_read_process(check, "limits", "Max locked memory", line))
		return false;
	/* "Max locked memory  SOFT  HARD  bytes": the node takes the hard one. */
	if (sscanf(line + strlen("Max locked memory"), "%*s %" SCNu64, ret_limit) != 1)
		*ret_limit = UINT64_MAX;
	return true;
}

void check_memlock(struct check *check)
{
	const uint64_t needed = count_bytes(check);
	const unsigned number = count_peers(check);
	char has[TEXT_NUMBER_MAX], needs[TEXT_NUMBER_MAX], peers[32];
	const char *whose = check->pid ? "the node" : "this process";
	uint64_t limit;
	bool is_unit;

	if (!read_limit(check, &is_unit, &limit)) {
		check_warn(check, text_format("the limits of %s can't be read", whose),
			   check_as_root(check));
		return;
	}
	if (is_unit)
		whose = "the unit";
	text_bytes(needs, needed);
	text_bytes(has, limit);
	snprintf(peers, sizeof(peers), number == 1 ? "%u peer" : "%u peers", number);
	if (limit >= needed)
		check_pass(check,
			   text_format("%s may lock %s, rings for %s need %s", whose,
				       limit == UINT64_MAX ? "any memory" : has, peers,
				       needs));
	else
		check_fail(check,
			   text_format("%s may lock %s (RLIMIT_MEMLOCK), rings for %s "
				       "need %s",
				       whose, has, peers, needs),
			   mend_memlock(check, is_unit));
}
