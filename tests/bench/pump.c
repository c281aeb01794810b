/*
 * A bare pump between two TAPs in two namespaces: what read(2) and write(2) of
 * one process carry, with the vnet header and offloads of src/data/tap.c and
 * nothing else. The difference between this and shmnet is shmnet's own cost.
 *
 *     pump NETNS TAP NETNS TAP
 *
 * The TAPs exist already. Says "listening" when it pumps, and ends by signal.
 */
#include "net.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <shmnet/wire.h>

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define BURST 64

static int tap_open(const char *netns, const char *tap)
{
	const unsigned long offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	char path[PATH_MAX];
	int ns, fd;

	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWNET))
		err(1, "%s", path);
	close(ns);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", tap);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request))
		err(1, "%s in %s", tap, netns);
	if (ioctl(fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) &&
	    ioctl(fd, TUNSETOFFLOAD, offloads))
		err(1, "offloads of %s in %s", tap, netns);
	return fd;
}

static void pump_burst(int from, int to)
{
	static char frame[SHMNET_VNET_HLEN + SHMNET_FRAME_MAX];

	for (int i = 0; i < BURST; i++) {
		ssize_t size = read(from, frame, sizeof(frame));

		if (size < 0 && errno == EAGAIN)
			return;
		if (size < 0)
			err(1, "read");
		if (write(to, frame, (size_t)size) < 0 && errno != EIO)
			err(1, "write"); /* EIO: the TAP is down */
	}
}

int main(int argc, char **argv)
{
	struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};

	if (argc != 5)
		errx(2, "usage: pump NETNS TAP NETNS TAP");
	fds[0].fd = tap_open(argv[1], argv[2]);
	fds[1].fd = tap_open(argv[3], argv[4]);
	net_announce();
	while (poll(fds, 2, -1) >= 0) {
		if (fds[0].revents)
			pump_burst(fds[0].fd, fds[1].fd);
		if (fds[1].revents)
			pump_burst(fds[1].fd, fds[0].fd);
	}
	err(1, "poll");
}
