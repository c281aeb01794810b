/*
 * What a fabric of kind rdma needs: modules, a device with an active port, a GID for the
 * address that the node listens on. See check.h.
 *
 * All is read in sysfs, which takes no privilege and opens no device.
 */
#include "cli/check.h"

#include "cli/text.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYS		"/sys/class/infiniband"
#define RDMA_CM		"/dev/infiniband/rdma_cm"
#define NAME_MAX_LENGTH 64
#define PORTS_MAX	8
#define GIDS_MAX	256
#define LINE_SIZE	128

/* Of what a RoCE packet carries besides its payload: as the kernel's Soft-RoCE has it. */
#define ROCE_HEADERS 80
#define PATH_MTU_MIN 1024

/* One line of a file in sysfs, without its end; false: there is none. */
static bool __attribute__((format(printf, 2, 3)))
read_line(char line[LINE_SIZE], const char *format, ...)
{
	char path[512];
	va_list args;
	FILE *file;
	bool is_read;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	file = fopen(path, "re");
	if (!file)
		return false;
	is_read = fgets(line, LINE_SIZE, file) != NULL;
	fclose(file);
	if (is_read)
		line[strcspn(line, "\n")] = '\0';
	return is_read;
}

/* ---- devices ---- */

/* Calls `each` for every one until it returns true; that is the result. */
static bool each_device(bool (*each)(const char *name, void *arg), void *arg)
{
	DIR *dir = opendir(SYS);
	const struct dirent *entry;
	bool done = false;

	while (dir && !done && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && strlen(entry->d_name) < NAME_MAX_LENGTH)
			done = each(entry->d_name, arg);
	}
	if (dir)
		closedir(dir);
	return done;
}

static bool list_device(const char *name, void *arg)
{
	char **names = arg;
	char *longer =
		*names ? text_format("%s, %s", *names, name) : text_format("%s", name);

	free(*names);
	*names = longer;
	return false;
}

struct gid_search {
	const char *wanted; /* device; NULL: any */
	char text[64];	    /* the GID, as sysfs writes it */
	char device[NAME_MAX_LENGTH];
	unsigned port;
	unsigned index;
};

static void print_gid(const struct sockaddr_storage *address, char text[64])
{
	const struct sockaddr_in *in = (const void *)address;
	const struct sockaddr_in6 *in6 = (const void *)address;
	uint8_t gid[16] = {[10] = 0xff, [11] = 0xff};
	int n = 0;

	if (address->ss_family == AF_INET6)
		memcpy(gid, &in6->sin6_addr, sizeof(gid));
	else
		memcpy(gid + 12, &in->sin_addr, 4);
	for (unsigned i = 0; i < sizeof(gid); i += 2)
		n += snprintf(text + n, 64 - (size_t)n, "%s%02x%02x", i ? ":" : "",
			      gid[i], gid[i + 1]);
}

static bool port_has_gid(struct gid_search *search, const char *device, unsigned port)
{
	char line[LINE_SIZE];

	for (unsigned i = 0; i < GIDS_MAX; i++) {
		if (!read_line(line, SYS "/%s/ports/%u/gids/%u", device, port, i))
			return false;
		if (strcmp(line, search->text) != 0 ||
		    !read_line(line, SYS "/%s/ports/%u/gid_attrs/types/%u", device, port,
			       i) ||
		    strcmp(line, "RoCE v2") != 0)
			continue;
		snprintf(search->device, sizeof(search->device), "%s", device);
		search->port = port;
		search->index = i;
		return true;
	}
	return false;
}

static bool device_has_gid(const char *name, void *arg)
{
	struct gid_search *search = arg;

	if (search->wanted && strcmp(search->wanted, name) != 0)
		return false;
	for (unsigned port = 1; port <= PORTS_MAX; port++) {
		if (port_has_gid(search, name, port))
			return true;
	}
	return false;
}

static bool find_gid(const struct check *check, struct gid_search *search)
{
	*search = (struct gid_search){.wanted = check->rdma->device};
	print_gid(&check->rdma->listen.address, search->text);
	return each_device(device_has_gid, search);
}

/* Of the device's first GID: the interface that it belongs to; "" if it has none. */
static void find_device_netdev(const char *device, char ret_name[IF_NAMESIZE])
{
	char line[LINE_SIZE];

	ret_name[0] = '\0';
	if (read_line(line, SYS "/%s/ports/1/gid_attrs/ndevs/0", device))
		snprintf(ret_name, IF_NAMESIZE, "%.15s", line);
}

/* ---- modules ---- */

void check_modules(struct check *check)
{
	if (access("/sys/class/infiniband_verbs", F_OK) < 0)
		check_fail(check,
			   text_format("no program can use RDMA devices: ib_uverbs is "
				       "not there"),
			   text_format("modprobe ib_uverbs"));
	else if (access(RDMA_CM, F_OK) < 0)
		check_fail(check,
			   text_format(RDMA_CM " is missing, by which connections are "
					       "made"),
			   text_format("modprobe rdma_ucm"));
	else if (access(RDMA_CM, R_OK | W_OK) < 0)
		check_fail(check,
			   text_format("user %u may not use " RDMA_CM ": %s", geteuid(),
				       strerror(errno)),
			   text_format("chmod 0666 " RDMA_CM));
	else
		check_pass(check, text_format("ib_uverbs and rdma_ucm are there"));
}

/* ---- the device ---- */

static void fail_absent(struct check *check, const char *name)
{
	char netdev[IF_NAMESIZE];
	char *names = NULL;

	check_find_netdev(&check->rdma->listen, netdev);
	each_device(list_device, &names);
	if (names && strncmp(name, "rxe", 3) != 0)
		check_fail(check,
			   text_format("no RDMA device %s; there are: %s", name, names),
			   text_format("editor %s  # device: one of these", check->file));
	else
		check_fail(check,
			   text_format(names ? "no RDMA device %s; there are: %s"
					     : "no RDMA device %s, nor any other%s",
				       name, names ? names : ""),
			   text_format("modprobe rdma_rxe && %srdma link add %s type rxe "
				       "netdev %s",
				       check_at_node(check),
				       strncmp(name, "rxe", 3) == 0 ? name : "rxe0",
				       netdev[0] ? netdev : "NETDEV"));
	free(names);
}

static void check_port(struct check *check, const char *device, unsigned port)
{
	char line[LINE_SIZE], netdev[IF_NAMESIZE];

	if (read_line(line, SYS "/%s/node_type", device) && line[0] == '4') {
		check_fail(
			check,
			text_format("%s is an iWARP device, which can't write with "
				    "immediate data",
				    device),
			text_format("editor %s  # device: one of RoCEv2", check->file));
		return;
	}
	if (!read_line(line, SYS "/%s/ports/%u/state", device, port))
		snprintf(line, sizeof(line), "not there");
	if (strstr(line, "ACTIVE")) {
		check_pass(check, text_format("port %u of %s is active", port, device));
		return;
	}
	find_device_netdev(device, netdev);
	check_fail(check, text_format("port %u of %s is %s", port, device, line),
		   text_format("%sip link set %s up", check_at_node(check),
			       netdev[0] ? netdev : "NETDEV"));
}

/* Without its port and brackets; malloc'ed. */
static char *address_of(const struct config_endpoint *endpoint)
{
	const char *text = endpoint->text;
	const char *end = strrchr(text, ':');

	if (*text == '[')
		return text_format("%.*s", (int)strcspn(text + 1, "]"), text + 1);
	return text_format("%.*s", end ? (int)(end - text) : (int)strlen(text), text);
}

static bool take_device(const char *name, void *arg)
{
	char *device = arg;

	snprintf(device, NAME_MAX_LENGTH, "%s", name);
	return true;
}

/* The one of the config, or that of the GID, or the first; "" if there is none. */
static void choose_device(const struct check *check, char ret_name[NAME_MAX_LENGTH],
			  unsigned *ret_port)
{
	struct gid_search search;

	ret_name[0] = '\0';
	*ret_port = 1;
	if (find_gid(check, &search)) {
		*ret_port = search.port;
		memcpy(ret_name, search.device, NAME_MAX_LENGTH);
	} else if (check->rdma->device) {
		snprintf(ret_name, NAME_MAX_LENGTH, "%s", check->rdma->device);
	} else {
		each_device(take_device, ret_name);
	}
}

void check_device(struct check *check)
{
	char name[NAME_MAX_LENGTH], line[LINE_SIZE];
	unsigned port;

	choose_device(check, name, &port);
	if (!name[0])
		fail_absent(check, "rxe0");
	else if (strchr(name, '/') || !read_line(line, SYS "/%s/node_type", name))
		fail_absent(check, name);
	else
		check_port(check, name, port);
}

static void fail_address(struct check *check)
{
	char *address = address_of(&check->rdma->listen);
	char device[NAME_MAX_LENGTH], netdev[IF_NAMESIZE];
	unsigned port;

	choose_device(check, device, &port);
	find_device_netdev(device, netdev);
	check_fail(check,
		   text_format("%s, where the node is to listen, is no address of this "
			       "host",
			       address),
		   text_format("%sip address add %s dev %s", check_at_node(check),
			       address, netdev[0] ? netdev : "NETDEV"));
	free(address);
}

static void fail_gid(struct check *check, const char *netdev)
{
	char *address = address_of(&check->rdma->listen);
	char device[NAME_MAX_LENGTH];
	unsigned port;

	choose_device(check, device, &port);
	check_fail(check,
		   text_format("%s has %s RoCEv2 GID for %s, which is an address of %s",
			       device[0] ? device : "no RDMA device",
			       device[0] ? "no" : "a", address, netdev),
		   text_format("%srdma link add rxe-%s type rxe netdev %s",
			       check_at_node(check), netdev, netdev));
	free(address);
}

/* A frame may be longer than the path's MTU, which only cuts the device's writes. */
static void check_path(struct check *check, const struct gid_search *search,
		       const char *netdev)
{
	const unsigned mtu = check_get_mtu(netdev);
	unsigned path = 256;

	while (path < 4096 && path * 2 + ROCE_HEADERS <= mtu)
		path *= 2;
	if (path < PATH_MTU_MIN)
		check_warn(check,
			   text_format("%s has MTU %u: each packet of %s carries only %u "
				       "bytes",
				       netdev, mtu, search->device, path),
			   text_format("%sip link set %s mtu 1500", check_at_node(check),
				       netdev));
	else
		check_pass(check,
			   text_format("GID %u of port %u of %s is that of %s; %s has "
				       "MTU %u",
				       search->index, search->port, search->device,
				       check->rdma->listen.text, netdev, mtu));
}

void check_gid(struct check *check)
{
	struct gid_search search;
	char netdev[IF_NAMESIZE];

	check_find_netdev(&check->rdma->listen, netdev);
	if (!netdev[0])
		fail_address(check);
	else if (find_gid(check, &search))
		check_path(check, &search, netdev);
	else
		fail_gid(check, netdev);
}
