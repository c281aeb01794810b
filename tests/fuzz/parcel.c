/*
 * Fuzz target: what a stranger sends to the rendezvous socket of a node: messages of any
 * length with any number of descriptors, and an end in between.
 *
 * The input is a program, a message per two bytes: how many descriptors, how long. Beside
 * crashes and leaks of memory it looks for messages that come otherwise than they were
 * sent, descriptors that are counted wrong, and such as stay open.
 */
#include "control/channel.h"
#include "control/channel_shm.h"
#include "fuzz.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX	     40
#define MESSAGES_MAX 64
#define UNIT	     700 /* bytes: some messages are above the limit */

struct state {
	unsigned num_fds; /* of the message that was sent last */
	size_t length;
	bool came, closed;
	bool takes; /* the descriptor is the owner's from then on */
};

static struct event_base *base;
static uint8_t bytes[256 * UNIT];

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "parcel fuzz: %s\n", what);
	abort();
}

/* The lowest one that is free: a leak shifts it. */
static int next_fd(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

	close(fd);
	return fd;
}

static void on_message(void *arg, const uint8_t *data, size_t length,
		       struct world_parcel *parcel)
{
	struct state *s = arg;

	need(!s->came && !s->closed, "comes twice, or after the end");
	need(length == s->length && memcmp(data, bytes, length) == 0, "another message");
	need((parcel->fd >= 0) == (s->num_fds > 0), "a descriptor too few or too many");
	need((parcel->surplus > 0) == (s->num_fds > 1), "not told of more descriptors");
	need(parcel->fd < 0 || fcntl(parcel->fd, F_GETFD) == FD_CLOEXEC, "not cloexec");
	s->came = true;
	if (s->takes && parcel->fd >= 0) {
		close(parcel->fd);
		parcel->fd = -1;
	}
}

static void on_closed(void *arg, int error)
{
	struct state *s = arg;

	need(!s->closed, "ends twice");
	need(error <= 0, "no error");
	s->closed = true;
}

static const struct world_channel_handler handler = {
	.message = on_message,
	.closed = on_closed,
};

static bool send_parcel(int fd, const struct state *s)
{
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = bytes, .iov_len = s->length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *header;

	if (s->num_fds > 0) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(s->num_fds * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(s->num_fds * sizeof(int));
		for (unsigned i = 0; i < s->num_fds; i++)
			memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(int));
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL) >= 0;
}

static void say(struct state *s, int fd, const uint8_t *two)
{
	s->num_fds = (two[0] & 0x7f) % (FDS_MAX + 1);
	s->takes = two[0] >> 7;
	s->length = (size_t)two[1] * UNIT;
	s->came = false;
	if (two[1] == 0) {
		shutdown(fd, SHUT_WR);
		s->length = 0;
	} else if (!send_parcel(fd, s)) {
		return;
	}
	for (unsigned i = 0; i < 3 && !s->came && !s->closed; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	need(s->came || s->closed, "neither comes nor ends");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world_channel *channel;
	struct state s = {0};
	int fds[2], before;

	if (!base)
		base = event_base_new();
	before = next_fd();
	need(base && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
				fds) == 0,
	     "no sockets");
	need(channel_shm_new(base, fds[0], &channel) == 0, "no channel");
	world_channel_set_handler(channel, &handler, &s);
	for (size_t i = 0; i + 1 < size && i < 2 * MESSAGES_MAX && !s.closed; i += 2)
		say(&s, fds[1], data + i);
	world_channel_close(channel);
	close(fds[1]);
	event_base_loop(base, EVLOOP_NONBLOCK);
	need(next_fd() == before, "a descriptor stays open");
	return 0;
}
