/* See takeover.h. */
#include "control/takeover.h"

#include "control/codec_ctl.h"

#include <shmnet/ctl.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define FRAME_HEADER 4

static const struct timeval patience = {.tv_sec = 10};

struct takeover {
	int fd;
	pid_t pid;
	struct report_takeover report;
};

/* ---- bytes ---- */

static int fail(int error, char *words, size_t size, const char *what)
{
	snprintf(words, size, "%s: %s", what,
		 error == -EAGAIN ? "it does not answer" : strerror(-error));
	return error;
}

static int send_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		bytes += sent;
		size -= (size_t)sent;
	}
	return 0;
}

static int receive_all(int fd, uint8_t *bytes, size_t size)
{
	while (size > 0) {
		ssize_t got = recv(fd, bytes, size, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ECONNRESET;
		bytes += got;
		size -= (size_t)got;
	}
	return 0;
}

static int send_request(const struct takeover *takeover, bool commit)
{
	uint8_t header[FRAME_HEADER], *data;
	size_t size;
	int ret = codec_ctl_encode_takeover_request(commit, &data, &size);

	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < FRAME_HEADER; i++)
		header[i] = (uint8_t)(size >> 8 * i);
	ret = send_all(takeover->fd, header, sizeof(header));
	if (ret == 0)
		ret = send_all(takeover->fd, data, size);
	free(data);
	return ret;
}

/* *ret_data is NULL for a frame without a byte. */
static int receive_frame(int fd, uint8_t **ret_data, size_t *ret_size)
{
	uint8_t header[FRAME_HEADER], *data;
	size_t size = 0;
	int ret = receive_all(fd, header, sizeof(header));

	for (unsigned i = 0; i < FRAME_HEADER; i++)
		size |= (size_t)header[i] << 8 * i;
	if (ret == 0 && size > SHMNET_CTL_REPLY_MAX)
		ret = -EBADMSG;
	*ret_data = NULL;
	if (ret < 0 || size == 0)
		return ret;
	data = malloc(size);
	if (!data)
		return -ENOMEM;
	ret = receive_all(fd, data, size);
	if (ret < 0) {
		free(data);
		return ret;
	}
	*ret_data = data;
	*ret_size = size;
	return 0;
}

/* ---- the older process ---- */

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int ret = 0, fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		ret = errno == ECONNREFUSED ? -ENOENT : -errno;
	if (ret < 0) {
		close(fd);
		return ret;
	}
	return fd;
}

/* Exactly that many, and what is more is closed. */
static int add_queues(struct handover *handover, const struct report_takeover_tap *tap,
		      const int *fds, unsigned num)
{
	int ret = num == tap->num_queues ? 0 : -EBADMSG;

	for (unsigned i = 0; i < num; i++) {
		if (ret < 0)
			close(fds[i]);
		else
			ret = handover_add(handover, tap->name, i, fds[i]);
	}
	return ret;
}

static int receive_queues(int fd, struct handover *handover,
			  const struct report_takeover_tap *tap)
{
	union {
		char bytes[CMSG_SPACE(TAP_QUEUES_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	uint8_t byte;
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
	int fds[TAP_QUEUES_MAX];
	size_t size;

	if (got <= 0)
		return got < 0 ? -errno : -ECONNRESET;
	if (!header || header->cmsg_level != SOL_SOCKET ||
	    header->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	size = header->cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(header), size);
	return add_queues(handover, tap, fds, (unsigned)(size / sizeof(int)));
}

static void say_refusal(int error, const struct report_refusal *refusal, char *words,
			size_t size)
{
	if (error == -EREMOTEIO)
		snprintf(words, size, "it refuses: %s", refusal->message);
	else
		fail(error, words, size, "can't make sense of its answer");
}

static int receive_taps(struct takeover *takeover, struct handover *handover, char *error,
			size_t size)
{
	struct report_takeover *report = &takeover->report;
	struct report_refusal refusal = {0};
	uint8_t *data;
	size_t length;
	int ret = receive_frame(takeover->fd, &data, &length);

	if (ret == 0 && !data)
		ret = -EBADMSG;
	if (ret < 0)
		return fail(ret, error, size, "can't read its answer");
	ret = codec_ctl_decode_takeover(data, length, report, &refusal);
	free(data);
	if (ret < 0)
		say_refusal(ret, &refusal, error, size);
	for (unsigned i = 0; i < report->num_taps && ret == 0; i++) {
		ret = receive_queues(takeover->fd, handover, &report->taps[i]);
		if (ret < 0)
			fail(ret, error, size, "can't receive its TAPs");
	}
	return ret;
}

int takeover_begin(const char *path, struct handover *handover,
		   struct takeover **ret_takeover, char *error, size_t size)
{
	struct takeover *takeover = calloc(1, sizeof(*takeover));
	struct ucred peer = {0};
	socklen_t length = sizeof(peer);
	int ret;

	if (!takeover)
		return fail(-ENOMEM, error, size, "can't ask it");
	ret = takeover->fd = connect_to(path);
	if (ret >= 0 &&
	    getsockopt(takeover->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0)
		takeover->pid = peer.pid;
	ret = ret < 0 ? ret : send_request(takeover, false);
	if (ret < 0)
		fail(ret, error, size, "can't ask it");
	else
		ret = receive_taps(takeover, handover, error, size);
	if (ret < 0) {
		handover_close(handover);
		takeover_end(takeover);
		return ret;
	}
	*ret_takeover = takeover;
	return 0;
}

int takeover_commit(struct takeover *takeover, char *error, size_t size)
{
	struct report_takeover report = {0};
	struct report_refusal refusal = {0};
	uint8_t *data = NULL;
	size_t length = 0;
	int ret = send_request(takeover, true);

	if (ret == 0)
		ret = receive_frame(takeover->fd, &data, &length);
	if (ret < 0)
		return fail(ret, error, size, "it does not end as it should");
	if (!data)
		return 0;
	ret = codec_ctl_decode_takeover(data, length, &report, &refusal);
	free(data);
	ret = ret == 0 ? -EBADMSG : ret; /* that was asked for before */
	say_refusal(ret, &refusal, error, size);
	return ret;
}

const struct report_takeover *takeover_report(const struct takeover *takeover)
{
	return &takeover->report;
}

pid_t takeover_pid(const struct takeover *takeover)
{
	return takeover->pid;
}

void takeover_end(struct takeover *takeover)
{
	if (!takeover)
		return;
	if (takeover->fd >= 0)
		close(takeover->fd);
	free(takeover);
}
