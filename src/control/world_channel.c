/* See world_channel.h. */
#include "control/world_channel.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Room for more descriptors than any message may carry, so that a peer that sends
 * too many can be told so. What is beyond that the kernel closes (MSG_CTRUNC).
 */
#define CHANNEL_FDS_MAX 64

struct world_channel {
	int fd;
	struct event *event;
	const struct world_channel_handler *handler;
	void *arg;
	bool at_end;	 /* `closed` was called */
	bool calling;	 /* its handler is being called: */
	bool close_next; /* and closed it meanwhile */
};

union fd_control {
	struct cmsghdr header; /* for its alignment */
	uint8_t bytes[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
};

static void channel_destroy(struct world_channel *channel)
{
	event_free(channel->event);
	close(channel->fd);
	free(channel);
}

/* ---- receiving ---- */

static void take_descriptor(struct world_parcel *parcel, int fd)
{
	if (parcel->fd < 0) {
		parcel->fd = fd;
		return;
	}
	parcel->surplus++;
	close(fd);
}

static void take_descriptors(struct msghdr *message, struct world_parcel *parcel)
{
	struct cmsghdr *header;

	for (header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR(message, header)) {
		size_t count;
		int fd;

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(fd);
		for (size_t i = 0; i < count; i++) {
			memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd));
			take_descriptor(parcel, fd);
		}
	}
}

/*
 * Who closes with a message of ours unread leaves an error that is reported before
 * what it said last, once: a refusal comes this way.
 */
static ssize_t receive_next(int fd, struct msghdr *message)
{
	ssize_t n = recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	return n;
}

/* Bytes of the next message and what came with it; 0 at the end, or -errno. */
static ssize_t receive(struct world_channel *channel, uint8_t *bytes, size_t size,
		       struct world_parcel *parcel)
{
	union fd_control control;
	struct iovec iov = {bytes, size};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = receive_next(channel->fd, &message);

	if (n < 0)
		return -errno;
	take_descriptors(&message, parcel);
	if (message.msg_flags & MSG_CTRUNC) {
		/* Fewer than there is room for: the limit of this process. */
		if (parcel->surplus + 1 < CHANNEL_FDS_MAX)
			return -EMFILE;
		parcel->surplus++;
	}
	return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

static void deliver_end(struct world_channel *channel, int error)
{
	event_del(channel->event);
	channel->at_end = true;
	if (channel->handler)
		channel->handler->closed(channel->arg, error);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct world_channel *channel = arg;
	static uint8_t bytes[WORLD_MESSAGE_MAX];
	struct world_parcel parcel = {.fd = -1};
	ssize_t n = receive(channel, bytes, sizeof(bytes), &parcel);

	(void)fd;
	(void)what;
	/* An empty message looks like the end, which would have the peer taken for dead.
	 */
	if (n == 0 && !world_channel_at_end(channel))
		n = -EBADMSG;
	channel->calling = true;
	if (n > 0 && channel->handler)
		channel->handler->message(channel->arg, bytes, (size_t)n, &parcel);
	else if (n <= 0 && n != -EAGAIN && n != -EINTR)
		deliver_end(channel, (int)n);
	channel->calling = false;
	if (parcel.fd >= 0)
		close(parcel.fd);
	if (channel->close_next)
		channel_destroy(channel);
}

/* ---- the rest ---- */

int world_channel_new(struct event_base *base, int fd, struct world_channel **ret_channel)
{
	struct world_channel *channel = calloc(1, sizeof(*channel));

	if (!channel)
		goto err_fd;
	channel->fd = fd;
	channel->event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, channel);
	if (!channel->event)
		goto err_channel;
	if (event_add(channel->event, NULL) < 0)
		goto err_event;
	*ret_channel = channel;
	return 0;

err_event:
	event_free(channel->event);
err_channel:
	free(channel);
err_fd:
	close(fd);
	return -ENOMEM;
}

int world_channel_dial(struct event_base *base, const struct sockaddr_un *address,
		       struct world_channel **ret_channel)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return world_channel_new(base, fd, ret_channel);
}

void world_channel_set_handler(struct world_channel *channel,
			       const struct world_channel_handler *handler, void *arg)
{
	channel->handler = handler;
	channel->arg = arg;
}

void world_channel_credentials(struct world_channel *channel,
			       struct world_credentials *ret)
{
	struct ucred credentials = {.uid = (uid_t)-1, .gid = (gid_t)-1};
	socklen_t length = sizeof(credentials);

	/* It can't fail on a connected Unix socket; nobody is who it would be then. */
	getsockopt(channel->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length);
	ret->pid = credentials.pid;
	ret->uid = credentials.uid;
	ret->gid = credentials.gid;
}

int world_channel_send(struct world_channel *channel, const uint8_t *bytes, size_t length,
		       int fd)
{
	union fd_control control;
	struct iovec iov = {(void *)(uintptr_t)bytes, length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(fd));
	}
	if (sendmsg(channel->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

bool world_channel_at_end(struct world_channel *channel)
{
	struct pollfd poll_fd = {.fd = channel->fd, .events = POLLRDHUP};

	if (channel->at_end)
		return true;
	return poll(&poll_fd, 1, 0) > 0 &&
	       poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

void world_channel_close(struct world_channel *channel)
{
	channel->handler = NULL;
	if (channel->calling) {
		event_del(channel->event);
		channel->close_next = true;
	} else {
		channel_destroy(channel);
	}
}
