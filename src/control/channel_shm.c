/* See channel_shm.h. */
#include "control/channel_shm.h"

#include "control/channel.h"

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

#define MESSAGES_PER_TURN 32 /* of one channel, then others have theirs */

struct shm_channel {
	struct world_channel channel; /* first */
	int fd;
	struct event *event;
};

union fd_control {
	struct cmsghdr header; /* for its alignment */
	uint8_t bytes[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
};

static struct shm_channel *shm_of(struct world_channel *channel)
{
	return (struct shm_channel *)channel;
}

static int fd_of(const struct world_channel *channel)
{
	return ((const struct shm_channel *)channel)->fd;
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
static ssize_t receive(int fd, uint8_t *bytes, size_t size, struct world_parcel *parcel)
{
	union fd_control control;
	struct iovec iov = {bytes, size};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = receive_next(fd, &message);

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

/* False: there is no more now, or the channel is gone. */
static bool read_message(struct shm_channel *shm)
{
	static uint8_t bytes[WORLD_MESSAGE_MAX];
	struct world_parcel parcel = {.fd = -1};
	ssize_t n = receive(shm->fd, bytes, sizeof(bytes), &parcel);

	/* An empty message looks like the end, which would have the peer taken for dead.
	 */
	if (n == 0 && !world_channel_at_end(&shm->channel))
		n = -EBADMSG;
	if (n > 0)
		return channel_deliver(&shm->channel, bytes, (size_t)n, &parcel);
	if (parcel.fd >= 0)
		close(parcel.fd);
	if (n == -EAGAIN || n == -EINTR)
		return false;
	event_del(shm->event);
	channel_deliver_end(&shm->channel, (int)n);
	return false;
}

/* What is left is readable still in the next turn. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct shm_channel *shm = arg;

	(void)fd;
	(void)what;
	for (unsigned i = 0; i < MESSAGES_PER_TURN && read_message(shm); i++)
		;
}

/* ---- the operations ---- */

static void shm_credentials(const struct world_channel *channel,
			    struct world_credentials *ret)
{
	struct ucred credentials = {.uid = (uid_t)-1, .gid = (gid_t)-1};
	socklen_t length = sizeof(credentials);

	/* It can't fail on a connected Unix socket; nobody is who it would be then. */
	getsockopt(fd_of(channel), SOL_SOCKET, SO_PEERCRED, &credentials, &length);
	*ret = (struct world_credentials){
		.pid = credentials.pid,
		.uid = credentials.uid,
		.gid = credentials.gid,
	};
}

static int shm_send(struct world_channel *channel, const uint8_t *bytes, size_t length,
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
	if (sendmsg(fd_of(channel), &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

static bool shm_at_end(const struct world_channel *channel)
{
	struct pollfd poll_fd = {.fd = fd_of(channel), .events = POLLRDHUP};

	return poll(&poll_fd, 1, 0) > 0 &&
	       poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

static void shm_close(struct world_channel *channel)
{
	struct shm_channel *shm = shm_of(channel);

	event_free(shm->event);
	close(shm->fd);
	free(shm);
}

static const struct channel_ops shm_ops = {
	.credentials = shm_credentials,
	.send = shm_send,
	.at_end = shm_at_end,
	.close = shm_close,
};

/* ---- to get one ---- */

int channel_shm_new(struct event_base *base, int fd, struct world_channel **ret_channel)
{
	struct shm_channel *shm = calloc(1, sizeof(*shm));

	if (!shm)
		goto err_fd;
	shm->channel.ops = &shm_ops;
	shm->fd = fd;
	shm->event = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, shm);
	if (!shm->event)
		goto err_channel;
	if (event_add(shm->event, NULL) < 0)
		goto err_event;
	*ret_channel = &shm->channel;
	return 0;

err_event:
	event_free(shm->event);
err_channel:
	free(shm);
err_fd:
	close(fd);
	return -ENOMEM;
}

int channel_shm_dial(struct event_base *base, const struct sockaddr_un *address,
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
	return channel_shm_new(base, fd, ret_channel);
}
