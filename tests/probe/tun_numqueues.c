/*
 * Does rtnetlink tell whether a process holds a TAP? (IFLA_TUN_NUM_QUEUES)
 *
 *     cc -o tun_numqueues tun_numqueues.c -lmnl && ./tun_numqueues
 *
 * Seen on 6.18: a multi-queue device says 2 while two queues are open and 0 once
 * it only persists; a single-queue device has no such attribute (-1), but a
 * second TUNSETIFF on it is refused with EBUSY, which a multi-queue one grants.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int find(const struct nlattr *nest, int type, int path)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		if (mnl_attr_get_type(attr) == type)
			return path ? find(attr, path, 0) : (int)mnl_attr_get_u32(attr);
	}
	return -1;
}

static int num_queues(const char *name)
{
	char buf[32768];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct mnl_socket *nl = mnl_socket_open(NETLINK_ROUTE);
	const struct nlattr *attr;
	int queues = -2;

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID);
	mnl_socket_sendto(nl, nlh, nlh->nlmsg_len);
	mnl_socket_recvfrom(nl, buf, sizeof(buf));
	mnl_attr_for_each(attr, nlh, sizeof(struct ifinfomsg))
	{
		if (mnl_attr_get_type(attr) == IFLA_LINKINFO)
			queues = find(attr, IFLA_INFO_DATA, IFLA_TUN_NUM_QUEUES);
	}
	mnl_socket_close(nl);
	return queues;
}

static int attach(const char *name, short flags)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | flags};
	int fd = open("/dev/net/tun", O_RDWR);

	strcpy(ifr.ifr_name, name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		return printf("%s: attach: %s\n", name, strerror(errno)), close(fd), -1;
	return fd;
}

int main(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		return perror("unshare"), 77;
	int a = attach("multi", IFF_MULTI_QUEUE), b = attach("multi", IFF_MULTI_QUEUE);
	printf("multi: %d while two are open\n", num_queues("multi"));
	close(a), close(b);
	printf("multi: %d when it only persists\n", num_queues("multi"));
	a = attach("single", 0), b = attach("single", 0);
	printf("single: %d while one is open\n", num_queues("single"));
	attach("multi", 0), attach("lo", 0), attach("x%d", 0);
	return 0;
}
