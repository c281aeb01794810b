/*
 * See confine.h.
 *
 * Theory of operation. Who runs a foreign instruction in this process has what the
 * process has. What it keeps follows from its config, in a fixed order:
 *
 * 1. Core dumps and tracing by others of its user, as memory holds the key of the
 *    certificate and those of the queue pairs.
 * 2. New privileges: no program that it starts gains any, whatever its file says.
 * 3. Capabilities. What is kept is kept for good, as networks come and go in a running
 *    node. Also in the bounding set, if there is the capability to change that; without
 *    it, the second step has made that set meaningless. A DHCP client of a node that is
 *    not root's gets its part as ambient capabilities; with root it has them anyway.
 * 4. System calls (confine_calls.c).
 *
 * All of it happens before a second thread is there, for capabilities belong to a thread,
 * and before a file of /dev/infiniband is opened, for the kernel refuses those to who has
 * changed its credentials since. Nothing later may change them: the filter of the fourth
 * step has no call that could.
 *
 * Root without capabilities still owns the files of root. What it may write to is for
 * the unit file to say, or for another user: see deploy/systemd.
 *
 * A sanitizer's run-time library makes calls of its own, and looks for leaks by tracing
 * the process: with one the first and the fourth step are left out.
 */
#include "control/confine.h"

#include "base/log.h"
#include "control/confine_calls.h"

#include <cap-ng.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                     \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||           \
	__has_feature(memory_sanitizer)
#define HAS_SANITIZER true
#else
#define HAS_SANITIZER false
#endif

struct need {
	unsigned capability;
	bool (*is_needed)(const struct node_config *config);
	bool of_programs; /* of a DHCP client, too */
};

/* ---- what a config asks for ---- */

static bool always(const struct node_config *config)
{
	(void)config;
	return true;
}

static bool has_dhcp(const struct node_config *config)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		if (config->networks[i].dhcp)
			return true;
	}
	return false;
}

static bool has_netns(const struct node_config *config)
{
	return config->netns;
}

/* "/proc/1234/ns/net": the kernel asks as for tracing it. */
static bool has_netns_of_process(const struct node_config *config)
{
	return has_netns(config) && strncmp(config->netns, "/proc/", 6) == 0;
}

static bool has_rdma(const struct node_config *config)
{
	return config_find_fabric(config, FABRIC_KIND_RDMA);
}

/* Of the client, and of a `listen` below 1024. */
static bool has_low_port(const struct node_config *config)
{
	return has_dhcp(config) || has_rdma(config);
}

static bool has_uids(const struct node_config *config)
{
	const struct config_fabric *shm = config_find_fabric(config, FABRIC_KIND_SHM);

	return shm && shm->num_uids;
}

static const struct need needs[] = {
	/* TAPs, netlink, nftables, settings below /proc/sys/net */
	{CAP_NET_ADMIN, always, true},
	/* packets for the LAN that a global network is announced on */
	{CAP_NET_RAW, always, true},
	/* steering of TAP queues; before Linux 5.8 there is one queue without it */
	{CAP_BPF, always, false},
	{CAP_NET_BIND_SERVICE, has_low_port, true},
	/* rings above RLIMIT_MEMLOCK */
	{CAP_IPC_LOCK, has_rdma, false},
	/* setns(2) */
	{CAP_SYS_ADMIN, has_netns, false},
	{CAP_SYS_PTRACE, has_netns_of_process, false},
	/* sockets of nodes of another user, if we are root */
	{CAP_DAC_OVERRIDE, has_uids, false},
};

#define NUM_NEEDS (sizeof(needs) / sizeof(needs[0]))

/* ---- giving up ---- */

/* What a config that is loaded later can't have any more. */
static bool gave_up_override;

bool confine_permits_uids(void)
{
	return !gave_up_override;
}

/* What it lacks, it goes on lacking: those who miss it say so. */
static uint64_t choose(const struct node_config *config)
{
	uint64_t kept = 0;

	for (size_t i = 0; i < NUM_NEEDS; i++) {
		if (needs[i].is_needed(config) &&
		    capng_have_capability(CAPNG_PERMITTED, needs[i].capability))
			kept |= 1ull << i;
	}
	return kept;
}

static int keep_capabilities(const struct node_config *config, uint64_t *ret_kept)
{
	const bool has_programs = has_dhcp(config);
	capng_select_t sets = CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT;
	uint64_t kept;

	if (capng_get_caps_process() < 0)
		return -EIO;
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		sets |= CAPNG_SELECT_BOUNDS;
	kept = choose(config);
	gave_up_override = !has_uids(config) &&
			   capng_have_capability(CAPNG_PERMITTED, CAP_DAC_OVERRIDE);
	capng_clear(CAPNG_SELECT_ALL);
	for (size_t i = 0; i < NUM_NEEDS; i++) {
		capng_type_t into =
			CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET;

		if (has_programs && needs[i].of_programs)
			into |= CAPNG_INHERITABLE | CAPNG_AMBIENT;
		if (kept >> i & 1)
			capng_update(CAPNG_ADD, into, needs[i].capability);
	}
	*ret_kept = kept;
	return capng_apply(sets) < 0 ? -EPERM : 0;
}

static int keep_calls(const struct node_config *config)
{
	const struct confine_calls calls = {
		.programs = has_dhcp(config),
		.netns = has_netns(config),
	};
	int ret = HAS_SANITIZER ? 0 : confine_calls(&calls);

	/* Without seccomp in the kernel the rest is worth having. */
	if (ret != -EINVAL && ret != -ENOSYS)
		return ret;
	log_warn(NULL, "this kernel can't filter system calls (CONFIG_SECCOMP_FILTER)");
	return 0;
}

static void tell(uint64_t kept)
{
	char names[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < NUM_NEEDS && used < sizeof(names); i++) {
		if (kept >> i & 1)
			used += (size_t)snprintf(
				names + used, sizeof(names) - used, " %s",
				capng_capability_to_name(needs[i].capability));
	}
	log_info(NULL, "keeps of all privileges:%s", kept ? names : " none");
}

int confine_to_owner(const struct node_config *config)
{
	struct stat info;

	if (geteuid() != 0 || stat(config->runtime_dir, &info) < 0 || info.st_uid == 0)
		return 0;
	log_info(NULL, "cleans up as uid %u, which %s belongs to", info.st_uid,
		 config->runtime_dir);
	if (capng_get_caps_process() == 0 &&
	    capng_change_id((int)info.st_uid, (int)info.st_gid, CAPNG_DROP_SUPP_GRP) == 0)
		return 0;
	log_err(NULL, "can't become uid %u", info.st_uid);
	return -EPERM;
}

int confine(const struct node_config *config)
{
	const char *what = "privileges to come";
	uint64_t kept = 0;
	int ret = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    (!HAS_SANITIZER && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0))
		ret = -errno;
	if (ret == 0) {
		what = "capabilities";
		ret = keep_capabilities(config, &kept);
	}
	if (ret == 0) {
		what = "system calls";
		ret = keep_calls(config);
	}
	if (ret < 0) {
		log_err(NULL, "can't give up %s: %s", what, strerror(-ret));
		return ret;
	}
	tell(kept);
	return 0;
}
