/*
 * Can the peer hold up send(2) on a socket end that it also has, or recv(2) on one
 * that it does not have? (AF_UNIX SEQPACKET, MSG_DONTWAIT)
 *
 *     cc -pthread -o bell_block bell_block.c && ./bell_block
 *
 * A receiver that stops in the middle of its copy is played by userfaultfd, where the
 * process may have one (root or vm.unprivileged_userfaultfd).
 *
 * Seen on 6.18:
 *   send, nobody receives                    never waits; 278 messages, then EAGAIN
 *   send, the maker's recv stopped           never waits
 *   send, recv on our end's copy stopped     never waits
 *   recv, recv on a copy of that end stopped WAITS: never give it away
 *   recv of a message with a lingering file  WAITS for the file's linger time
 *   the same with SO_PASSRIGHTS 0 (6.16)     the sender gets EPERM
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define PAGE	 4096
#define LINGER_S 2

static int uffd = -1;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* A page that is never there: who stores into it sleeps until let_go(). */
static void *stop_page(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	reg.range.start = (unsigned long)page;
	reg.range.len = PAGE;
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0 ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg) < 0)
		return NULL;
	return page;
}

static void let_go(void *page)
{
	struct uffdio_zeropage zero = {.range = {(unsigned long)page, PAGE}};

	ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
	close(uffd);
	munmap(page, PAGE);
}

struct stopped {
	int fd;
	void *page;
};

static void *stopped_main(void *arg)
{
	struct stopped *s = arg;

	return (void *)recv(s->fd, s->page, 1, 0);
}

struct timed {
	int fd;
	int is_send;
	volatile int is_done;
};

static void *timed_main(void *arg)
{
	struct timed *t = arg;
	char byte = 1;

	if (t->is_send)
		send(t->fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		recv(t->fd, &byte, 1, MSG_DONTWAIT);
	t->is_done = 1;
	return NULL;
}

/* `stop` receives into a page that is not there while `fd` is sent to or read. */
static void probe_stopped(const char *name, int stop, int feed, int fd, int is_send)
{
	struct stopped s = {.fd = stop, .page = stop_page()};
	struct timed t = {.fd = fd, .is_send = is_send};
	struct uffd_msg fault;
	pthread_t receiver, timed;

	if (!s.page) {
		printf("%-40s unknown: userfaultfd: %s\n", name, strerror(errno));
		return;
	}
	send(feed, "x", 1, 0);
	pthread_create(&receiver, NULL, stopped_main, &s);
	if (read(uffd, &fault, sizeof(fault)) < 0) /* it is in the middle of it */
		perror("userfaultfd");
	pthread_create(&timed, NULL, timed_main, &t);
	usleep(500000);
	printf("%-40s %s\n", name, t.is_done ? "never waits" : "WAITS");
	let_go(s.page);
	pthread_join(receiver, NULL);
	pthread_join(timed, NULL);
}

static void probe_full(void)
{
	int ends[2], count = 0;

	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends);
	while (send(ends[1], "x", 1, MSG_DONTWAIT) == 1)
		count++;
	printf("%-40s never waits; %d messages, then %s\n", "send, nobody receives",
	       count, strerrorname_np(errno));
	close(ends[0]);
	close(ends[1]);
}

static void probe_receivers(void)
{
	int ends[2]; /* 0 is the maker's, 1 it gave away */

	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends);
	probe_stopped("send, the maker's recv stopped", ends[0], ends[1], ends[1], 1);
	probe_stopped("send, recv on our end's copy stopped", ends[1], ends[0], ends[1],
		      1);
	probe_stopped("recv, recv on a copy of that end stopped", ends[1], ends[0],
		      ends[1], 0);
	close(ends[0]);
	close(ends[1]);
}

/* A TCP connection whose close(2) waits: what was sent is never read. */
static int lingering_file(int *ret_other)
{
	struct linger linger = {1, LINGER_S};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	static char much[65536];

	ioctl(fd, SIOCSIFFLAGS, &lo);
	bind(listener, (struct sockaddr *)&address, length);
	listen(listener, 1);
	getsockname(listener, (struct sockaddr *)&address, &length);
	connect(fd, (struct sockaddr *)&address, length);
	*ret_other = accept(listener, NULL, NULL);
	close(listener);
	while (send(fd, much, sizeof(much), MSG_DONTWAIT) > 0)
		;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return fd;
}

static int send_file(int end, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {"x", 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(int));
	return sendmsg(end, &msg, MSG_DONTWAIT) < 0 ? -errno : 0;
}

static void probe_file(void)
{
	int ends[2], other, no = 0, fd = lingering_file(&other);
	double before;
	char byte;

	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends);
	send_file(ends[1], fd);
	close(fd);
	before = now();
	recv(ends[0], &byte, 1, MSG_DONTWAIT);
	printf("%-40s %.1f s of %d\n", "recv of a message with a lingering file",
	       now() - before, LINGER_S);
	close(other);
	if (setsockopt(ends[0], SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no)) < 0)
		perror("SO_PASSRIGHTS");
	else
		printf("%-40s %s\n", "the same with SO_PASSRIGHTS 0 (6.16)",
		       strerror(-send_file(ends[1], 1)));
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	probe_full();
	probe_receivers();
	if (unshare(CLONE_NEWNET) == 0)
		probe_file();
	return 0;
}
