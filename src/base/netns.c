/* See netns.h. */
#include "base/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE_BEFORE " in namespace "

struct netns {
	int there;
	int home;
	char path[PATH_MAX];
	char place[sizeof(PLACE_BEFORE) + PATH_MAX];
};

static bool is_path(const char *name)
{
	return *name == '/';
}

static void tell_missing(const char *name, char *error, size_t size)
{
	if (is_path(name))
		snprintf(error, size,
			 "there is no %s: has its process ended? Name a namespace that "
			 "is there, or make one with 'ip netns add NAME'",
			 name);
	else
		snprintf(error, size,
			 "there is no network namespace %s: make it with 'ip netns add "
			 "%s'",
			 name, name);
}

/* Also a file of `ip netns` whose mount is in another mount namespace. */
static void tell_not_one(const struct netns *netns, const char *name, char *error,
			 size_t size)
{
	if (is_path(name))
		snprintf(error, size,
			 "%s is no network namespace: name one that is, or make one with "
			 "'ip netns add NAME'",
			 name);
	else
		snprintf(error, size,
			 "%s is no network namespace, or was made in another mount "
			 "namespace: make it here with 'ip netns delete %s' and 'ip "
			 "netns add %s'",
			 netns->path, name, name);
}

static int tell(const struct netns *netns, const char *name, int err, char *error,
		size_t size)
{
	if (err == -ENOENT || err == -ENOTDIR)
		tell_missing(name, error, size);
	else if (err == -EINVAL)
		tell_not_one(netns, name, error, size);
	else if (err == -EPERM || err == -EACCES)
		snprintf(error, size,
			 "may not enter network namespace %s from this one: run as root, "
			 "or with CAP_SYS_ADMIN in both",
			 name);
	else
		snprintf(error, size, "can't enter network namespace %s: %s", name,
			 strerror(-err));
	return err == -ENOTDIR ? -ENOENT : err;
}

static int open_file(const char *path, int *ret_fd)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int go(int fd)
{
	return setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

/* The way back is tried first, from where it makes no difference. */
static int open_both(struct netns *netns)
{
	int ret = open_file(netns->path, &netns->there);

	if (ret == 0)
		ret = open_file("/proc/thread-self/ns/net", &netns->home);
	if (ret == 0)
		ret = go(netns->home);
	if (ret == 0)
		ret = netns_enter(netns);
	if (ret == 0)
		netns_leave(netns);
	return ret;
}

int netns_open(const char *name, struct netns **ret_netns, char *ret_error,
	       size_t error_size)
{
	struct netns *netns = calloc(1, sizeof(*netns));
	int ret;

	if (!netns) {
		snprintf(ret_error, error_size, "out of memory");
		return -ENOMEM;
	}
	netns->there = netns->home = -1;
	snprintf(netns->path, sizeof(netns->path), "%s%s",
		 is_path(name) ? "" : NETNS_DIR "/", name);
	snprintf(netns->place, sizeof(netns->place), PLACE_BEFORE "%s", name);
	ret = open_both(netns);
	if (ret < 0) {
		ret = tell(netns, name, ret, ret_error, error_size);
		netns_close(netns);
		return ret;
	}
	*ret_netns = netns;
	return 0;
}

void netns_close(struct netns *netns)
{
	if (!netns)
		return;
	if (netns->there >= 0)
		close(netns->there);
	if (netns->home >= 0)
		close(netns->home);
	free(netns);
}

int netns_enter(const struct netns *netns)
{
	return netns ? go(netns->there) : 0;
}

void netns_leave(const struct netns *netns)
{
	if (netns && go(netns->home) < 0)
		abort();
}

/* A new description of the file each time: locks belong to those. */
int netns_lock(const struct netns *netns)
{
	int fd = -1, ret = netns_enter(netns);

	if (ret < 0)
		return ret;
	ret = open_file("/proc/thread-self/ns/net", &fd);
	netns_leave(netns);
	if (ret < 0)
		return ret;
	do {
		ret = flock(fd, LOCK_EX) < 0 ? -errno : 0;
	} while (ret == -EINTR);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	return fd;
}

bool netns_is_current(const struct netns *netns)
{
	struct stat named, held;

	if (!netns)
		return true;
	return stat(netns->path, &named) == 0 && fstat(netns->there, &held) == 0 &&
	       named.st_dev == held.st_dev && named.st_ino == held.st_ino;
}

const char *netns_place(const struct netns *netns)
{
	return netns ? netns->place : "";
}
