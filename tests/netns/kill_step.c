/*
 * Preloaded into a shmnet-node, kills it (SIGKILL) right after its Nth change of the
 * kernel: a netlink message that changes something, a setting below /proc/sys, and the
 * note of what a setting was.
 *
 *	SHMNET_KILL_STEP=N	which one
 *	SHMNET_KILL_AFTER=FILE	counts from when that file exists; by default at once
 */
#include <dlfcn.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC visibility push(default)

static void count_step(void)
{
	static int steps;
	const char *step = getenv("SHMNET_KILL_STEP"),
		   *after = getenv("SHMNET_KILL_AFTER");

	if (!step || (after && access(after, F_OK) < 0))
		return;
	if (++steps == atoi(step))
		kill(getpid(), SIGKILL);
}

static bool is_change(int fd, const void *message, size_t size)
{
	const struct nlmsghdr *header = message;
	int domain = 0, protocol = 0;
	socklen_t length = sizeof(int);

	if (size < sizeof(*header) ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) < 0 ||
	    domain != AF_NETLINK)
		return false;
	if (protocol == NETLINK_NETFILTER)
		return header->nlmsg_type == NFNL_MSG_BATCH_BEGIN;
	return protocol == NETLINK_ROUTE && (header->nlmsg_type & 3) != (RTM_GETLINK & 3);
}

/* libc declares them with names of its own. */
/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

ssize_t sendto(int fd, const void *bytes, size_t size, int flags, __CONST_SOCKADDR_ARG to,
	       socklen_t length)
{
	ssize_t (*real)(int, const void *, size_t, int, __CONST_SOCKADDR_ARG, socklen_t);
	ssize_t sent;

	*(void **)&real = dlsym(RTLD_NEXT, "sendto");
	sent = real(fd, bytes, size, flags, to, length);
	if (sent > 0 && is_change(fd, bytes, size))
		count_step();
	return sent;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t (*real)(int, const struct msghdr *, int);
	ssize_t sent;

	*(void **)&real = dlsym(RTLD_NEXT, "sendmsg");
	sent = real(fd, message, flags);
	if (sent > 0 && message->msg_iovlen &&
	    is_change(fd, message->msg_iov->iov_base, message->msg_iov->iov_len))
		count_step();
	return sent;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	ssize_t (*real)(int, const void *, size_t);
	char entry[32], target[10] = "";
	ssize_t written;

	*(void **)&real = dlsym(RTLD_NEXT, "write");
	written = real(fd, bytes, size);
	snprintf(entry, sizeof(entry), "/proc/self/fd/%d", fd);
	if (written > 0 && readlink(entry, target, sizeof(target)) == sizeof(target) &&
	    memcmp(target, "/proc/sys/", sizeof(target)) == 0)
		count_step();
	return written;
}

int rename(const char *from, const char *to)
{
	int (*real)(const char *, const char *);
	int error;

	*(void **)&real = dlsym(RTLD_NEXT, "rename");
	error = real(from, to);
	count_step();
	return error;
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
