/* See rdma_device.h. */
#include "control/rdma_device.h"

#include <infiniband/verbs.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define GIDS_MAX 256

/* What a search found, or why it found nothing: the words of who came furthest. */
struct search {
	char text[INET6_ADDRSTRLEN]; /* the address */
	char netdev[IF_NAMESIZE];    /* that has it; "" if none */
	uint8_t gid[16];
	int rank; /* of `why` */
	char *why;
};

enum { RANK_NONE, RANK_KIND, RANK_OPEN, RANK_GID, RANK_PORT };

static int __attribute__((format(printf, 3, 4)))
search_fail(struct search *search, int rank, const char *format, ...)
{
	va_list args;

	if (rank <= search->rank)
		return -ENODEV;
	search->rank = rank;
	va_start(args, format);
	vsnprintf(search->why, RDMA_DEVICE_WHY_MAX, format, args);
	va_end(args);
	return -ENODEV;
}

/* ---- addresses ---- */

void rdma_gid_of(const struct sockaddr *address, uint8_t ret_gid[16])
{
	const struct sockaddr_in *in = (const void *)address;
	const struct sockaddr_in6 *in6 = (const void *)address;

	if (address->sa_family == AF_INET6) {
		memcpy(ret_gid, &in6->sin6_addr, 16);
		return;
	}
	memset(ret_gid, 0, 10);
	memset(ret_gid + 10, 0xff, 2);
	memcpy(ret_gid + 12, &in->sin_addr, 4);
}

static bool has_gid(const struct sockaddr *address, const uint8_t gid[16])
{
	uint8_t its[16];

	if (!address || (address->sa_family != AF_INET && address->sa_family != AF_INET6))
		return false;
	rdma_gid_of(address, its);
	return memcmp(its, gid, sizeof(its)) == 0;
}

static void find_netdev(const uint8_t gid[16], char ret_name[IF_NAMESIZE])
{
	struct ifaddrs *all;

	ret_name[0] = '\0';
	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
		if (has_gid(at->ifa_addr, gid))
			snprintf(ret_name, IF_NAMESIZE, "%s", at->ifa_name);
	}
	freeifaddrs(all);
}

static void print_gid(const uint8_t gid[16], char *text, size_t size)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (memcmp(gid, mapped, sizeof(mapped)) == 0)
		inet_ntop(AF_INET, gid + sizeof(mapped), text, (socklen_t)size);
	else
		inet_ntop(AF_INET6, gid, text, (socklen_t)size);
}

static void search_begin(struct search *search, const uint8_t gid[16], char *why)
{
	*search = (struct search){.why = why};
	memcpy(search->gid, gid, sizeof(search->gid));
	print_gid(gid, search->text, sizeof(search->text));
	find_netdev(gid, search->netdev);
}

/* ---- what is wrong with one device ---- */

/* What the kernel says to who opens it; 0 if it lets us. */
static int try_node(const char *node)
{
	int fd = open(node, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

void rdma_device_explain(const char *node, int error, char *ret_words, size_t size)
{
	int err = try_node(node);
	struct stat info = {.st_mode = 0};

	stat(node, &info);
	if (err == -ENOENT)
		snprintf(ret_words, size,
			 "%s is missing (modprobe ib_uverbs rdma_ucm; a container needs "
			 "the files of /dev/infiniband passed)",
			 node);
	else if (err == -EACCES)
		snprintf(ret_words, size,
			 "%s has mode %04o and owner %u:%u, and this is user %u (give it "
			 "the mode 0666 or a group by a udev rule)",
			 node, info.st_mode & 07777, info.st_uid, info.st_gid, geteuid());
	else if (err == -EPERM)
		snprintf(ret_words, size,
			 "%s is refused by the control group (a container needs the "
			 "device allowed)",
			 node);
	else if (err == 0 && error == -EACCES)
		snprintf(ret_words, size,
			 "the process changed its credentials after it was opened");
	else
		snprintf(ret_words, size, "%s: %s", node, strerror(err ? -err : -error));
}

static int fail_open(struct search *search, const struct ibv_device *device, int error)
{
	char node[sizeof(device->dev_name) + 32], words[RDMA_DEVICE_WHY_MAX - 128];

	snprintf(node, sizeof(node), "/dev/infiniband/%s", device->dev_name);
	rdma_device_explain(node, error, words, sizeof(words));
	return search_fail(search, RANK_OPEN, "can't open %s: %s", device->name, words);
}

/* The addresses that the device has RoCEv2 GIDs for. */
static void list_gids(const struct ibv_gid_entry *entries, ssize_t num, char *text,
		      size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (ssize_t i = 0; i < num && used + INET6_ADDRSTRLEN + 2 < size; i++) {
		if (entries[i].gid_type != IBV_GID_TYPE_ROCE_V2)
			continue;
		if (used) {
			memcpy(text + used, ", ", 3);
			used += 2;
		}
		print_gid(entries[i].gid.raw, text + used, size - used);
		used += strlen(text + used);
	}
}

static int fail_gid(struct search *search, const char *device,
		    const struct ibv_gid_entry *entries, ssize_t num)
{
	char list[256];

	if (!search->netdev[0])
		return search_fail(
			search, RANK_GID,
			"%s is not an address of this host: listen on one that "
			"the device's network interface has",
			search->text);
	list_gids(entries, num, list, sizeof(list));
	if (!list[0])
		return search_fail(search, RANK_GID, "%s has no RoCEv2 GID", device);
	return search_fail(search, RANK_GID,
			   "%s has no RoCEv2 GID for %s, which is an address of %s; it "
			   "has some for: %s",
			   device, search->text, search->netdev, list);
}

static int fail_port(struct search *search, const char *device, unsigned port,
		     enum ibv_port_state state)
{
	return search_fail(search, RANK_PORT, "port %u of %s is %s: ip link set %s up",
			   port, device, ibv_port_state_str(state),
			   search->netdev[0] ? search->netdev : "NETDEV");
}

/* ---- finding it ---- */

/* The port whose GID table has the address. */
static int find_port(struct search *search, struct rdma_device *device)
{
	struct ibv_gid_entry entries[GIDS_MAX];
	ssize_t num = ibv_query_gid_table(device->context, entries, GIDS_MAX, 0);
	struct ibv_port_attr port;

	for (ssize_t i = 0; i < num; i++) {
		if (entries[i].gid_type != IBV_GID_TYPE_ROCE_V2 ||
		    memcmp(entries[i].gid.raw, search->gid, sizeof(search->gid)) != 0)
			continue;
		device->port = entries[i].port_num;
		if (ibv_query_port(device->context, (uint8_t)device->port, &port) != 0)
			return search_fail(search, RANK_PORT, "can't query port %u of %s",
					   device->port, device->name);
		if (port.state != IBV_PORT_ACTIVE)
			return fail_port(search, device->name, device->port, port.state);
		device->max_message = port.max_msg_sz;
		memcpy(device->gid, search->gid, sizeof(device->gid));
		return 0;
	}
	return fail_gid(search, device->name, entries, num);
}

static int try_device(struct search *search, struct ibv_device *ibv,
		      struct rdma_device *ret_device)
{
	struct rdma_device device = {.context = NULL};
	struct ibv_device_attr attr;
	int ret;

	if (ibv->transport_type == IBV_TRANSPORT_IWARP)
		return search_fail(search, RANK_KIND,
				   "%s is an iWARP device, which can't write with "
				   "immediate data: RoCEv2 is needed",
				   ibv->name);
	device.context = ibv_open_device(ibv);
	if (!device.context)
		return fail_open(search, ibv, -errno);
	snprintf(device.name, sizeof(device.name), "%s", ibv->name);
	snprintf(device.path, sizeof(device.path), "%s", ibv->dev_path);
	ret = ibv_query_device(device.context, &attr);
	ret = ret ? fail_open(search, ibv, -ret) : find_port(search, &device);
	if (ret < 0) {
		ibv_close_device(device.context);
		return ret;
	}
	*ret_device = device;
	return 0;
}

static void list_names(struct ibv_device **list, char *text, size_t size)
{
	size_t used = 0;

	for (; *list && used < size; list++)
		used += (size_t)snprintf(text + used, size - used, "%s%s",
					 used ? ", " : "", (*list)->name);
}

static int try_all(struct search *search, struct ibv_device **list, const char *name,
		   struct rdma_device *ret_device)
{
	char names[256];
	bool is_there = false;

	for (struct ibv_device **at = list; *at; at++) {
		if (name && strcmp((*at)->name, name) != 0)
			continue;
		is_there = true;
		if (try_device(search, *at, ret_device) == 0)
			return 0;
	}
	if (is_there)
		return -ENODEV;
	list_names(list, names, sizeof(names));
	return search_fail(search, RANK_OPEN, "no RDMA device %s; there are: %s", name,
			   names);
}

/* The first that the kernel has, whether programs may use it or not; "" if none. */
static void find_in_kernel(char *ret_name, size_t size)
{
	DIR *dir = opendir("/sys/class/infiniband");
	const struct dirent *entry;

	ret_name[0] = '\0';
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			snprintf(ret_name, size, "%.63s", entry->d_name);
	}
	if (dir)
		closedir(dir);
}

static int fail_none(struct search *search)
{
	char name[RDMA_DEVICE_NAME_MAX];

	find_in_kernel(name, sizeof(name));
	if (name[0])
		return search_fail(search, RANK_OPEN,
				   "%s is there, but has no file in /dev/infiniband "
				   "(modprobe ib_uverbs; a container needs the files of "
				   "/dev/infiniband passed)",
				   name);
	return search_fail(search, RANK_OPEN,
			   "this host has no RDMA device; one in software: modprobe "
			   "rdma_rxe; rdma link add rxe0 type rxe netdev %s",
			   search->netdev[0] ? search->netdev : "eth0");
}

int rdma_device_open(const char *name, const struct sockaddr *address,
		     struct rdma_device *ret_device, char *why)
{
	struct ibv_device **list;
	struct search search;
	uint8_t gid[16];
	int ret;

	rdma_gid_of(address, gid);
	search_begin(&search, gid, why);
	/* A no-op where the kernel copies pinned pages at fork(2), since 5.12. */
	ibv_fork_init();
	list = ibv_get_device_list(NULL);
	if (!list || !list[0])
		ret = fail_none(&search);
	else
		ret = try_all(&search, list, name, ret_device);
	if (list)
		ibv_free_device_list(list);
	return ret;
}

void rdma_device_close(struct rdma_device *device)
{
	if (device->context)
		ibv_close_device(device->context);
	device->context = NULL;
}

/*
 * A device whose driver can't be parted from its users sends no event when it is removed:
 * the removal waits for them. Its node in sysfs is gone by then.
 */
bool rdma_device_is_there(const struct rdma_device *device)
{
	return access(device->path, F_OK) == 0;
}

int rdma_device_check(const struct rdma_device *device, char *why)
{
	struct rdma_device copy = *device;
	struct search search;

	if (!rdma_device_is_there(device)) {
		snprintf(why, RDMA_DEVICE_WHY_MAX, "%s was removed", device->name);
		return -ENODEV;
	}
	search_begin(&search, device->gid, why);
	return find_port(&search, &copy);
}

/* ---- locked memory ---- */

/* A number of /proc/self/status; 0 if it isn't there. */
static uint64_t read_status(const char *key, int base)
{
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t value = 0;
	size_t length = strlen(key);
	char line[256];

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, length) == 0)
			value = strtoull(line + length, NULL, base);
	}
	fclose(file);
	return value;
}

static bool may_lock_all(void)
{
	return read_status("CapEff:", 16) >> CAP_IPC_LOCK & 1;
}

int rdma_memlock_check(uint64_t bytes, char *why, size_t size)
{
	uint64_t used = read_status("VmPin:", 10) << 10;
	struct rlimit limit;

	if (may_lock_all() || getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return 0;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &limit);
	}
	if (limit.rlim_cur == RLIM_INFINITY || used + bytes <= limit.rlim_cur)
		return 0;
	snprintf(why, size,
		 "needs %.1f MiB of locked memory, %.1f MiB are left of RLIMIT_MEMLOCK, "
		 "which is %.1f MiB (LimitMEMLOCK=infinity in the unit, or ulimit -l)",
		 (double)bytes / (1 << 20),
		 used < limit.rlim_cur ? (double)(limit.rlim_cur - used) / (1 << 20)
				       : 0.0,
		 (double)limit.rlim_cur / (1 << 20));
	return -ENOMEM;
}
