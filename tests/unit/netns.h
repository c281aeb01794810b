/*
 * Tests that configure interfaces: each in a network namespace of its own, which
 * vanishes with what is in it when the next one is entered or the program ends.
 * What changes the process for good (capabilities, a user namespace, mounts) runs
 * in a child.
 */
#ifndef NETNS_H
#define NETNS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Ends the test if there is a reason why it can't run, or a check before has failed. */
#define START_OR_SKIP(why)                                                               \
	do {                                                                             \
		const char *why_not = (why);                                             \
                                                                                         \
		if (why_not)                                                             \
			TEST_SKIP(why_not);                                              \
		REQUIRE(!test_failed());                                                 \
	} while (0)

static inline bool netns_write(const char *path, const char *format, unsigned id)
{
	char text[32];
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int size = snprintf(text, sizeof(text), format, id);
	bool ok = fd >= 0 && write(fd, text, (size_t)size) == size;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Root of a user namespace that knows nobody else. Not with several threads. */
static inline bool netns_enter_user(void)
{
	unsigned uid = getuid(), gid = getgid();

	return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 &&
	       netns_write("/proc/self/setgroups", "deny", 0) &&
	       netns_write("/proc/self/uid_map", "0 %u 1", uid) &&
	       netns_write("/proc/self/gid_map", "0 %u 1", gid);
}

/* NULL, or why there is none. */
static inline const char *netns_enter(void)
{
	if (unshare(CLONE_NEWNET) < 0 && !netns_enter_user())
		return "neither a network nor a user namespace may be made here";
	return NULL;
}

/* The same, for tests that need TAPs. */
static inline const char *netns_enter_for_tap(void)
{
	const char *why = netns_enter();
	int fd;

	if (why)
		return why;
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return "/dev/net/tun can't be opened";
	close(fd);
	return NULL;
}

/* What `run` returned, in a child; -1 if that died. */
static inline int run_in_child(int (*run)(void *arg), void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run(arg));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static inline bool set_capabilities(uint64_t set)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	memset(data, 0, sizeof(data));
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted = (uint32_t)(set >> (32 * i));
	return syscall(SYS_capset, &header, data) == 0;
}

static inline bool drop_capabilities(void)
{
	return set_capabilities(0);
}

/* And no other one. */
static inline bool keep_capability(unsigned capability)
{
	return set_capabilities(1ull << capability);
}

/* An interface changed by somebody else: without our netlink code. */
static inline int change_interface(const char *name, unsigned long request,
				   struct ifreq *ifr)
{
	int error = 0, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strncpy(ifr->ifr_name, name, IF_NAMESIZE - 1);
	if (ioctl(fd, request, ifr) < 0)
		error = -errno;
	close(fd);
	return error;
}

static inline bool wait_readable(int fd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, timeout_ms) == 1;
}

#endif
