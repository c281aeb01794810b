/*
 * UDP datagrams of one size, sent as fast as they go, counted where they arrive.
 *
 *     udprate server PORT SIZE [PER_CALL]          serves one client, then ends
 *     udprate client ADDRESS PORT SIZE SECONDS [PER_CALL]
 *
 * Prints one JSON line at the client. A TCP connection beside the datagrams
 * tells the server when to stop and brings its count back. The rate is what
 * arrived, whole and unchanged, over the time of sending; the receiver's socket
 * buffer bounds what can arrive after that (4 MiB).
 *
 * With PER_CALL that many datagrams are one message to the kernel (UDP_SEGMENT), and
 * the server takes as many of them in one as the kernel has together (UDP_GRO).
 */
#include "net.h"

#include "base/clock.h"

#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH	     64
#define DATAGRAM_MIN 16
#define DATAGRAM_MAX 1472
#define PER_CALL_MAX 64 /* the kernel's limit before Linux 6.9 */
#define PAYLOAD_MAX  65507
#define MESSAGE_MAX  65536
#define FILL	     0x5a

struct shape {
	size_t size; /* of a datagram */
	size_t per_call;
};

struct count {
	uint64_t good;
	uint64_t bad; /* wrong size or content */
};

/* Messages, each of datagrams with their number in front and FILL behind. */
struct batch {
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	uint8_t control[BATCH][CMSG_SPACE(sizeof(int))];
	size_t room; /* of each in `data` */
	uint8_t data[];
};

static uint8_t *batch_message(struct batch *batch, size_t i)
{
	return batch->data + i * batch->room;
}

static struct batch *batch_new(size_t room)
{
	struct batch *batch = calloc(1, sizeof(*batch) + BATCH * room);

	if (!batch)
		err(1, "a batch of datagrams");
	batch->room = room;
	memset(batch->data, FILL, BATCH * room);
	for (size_t i = 0; i < BATCH; i++) {
		batch->parts[i] = (struct iovec){batch_message(batch, i), room};
		batch->messages[i].msg_hdr.msg_iov = &batch->parts[i];
		batch->messages[i].msg_hdr.msg_iovlen = 1;
	}
	return batch;
}

/* Receiving shortens it to what was there. */
static void batch_prepare_control(struct batch *batch)
{
	for (size_t i = 0; i < BATCH; i++) {
		batch->messages[i].msg_hdr.msg_control = batch->control[i];
		batch->messages[i].msg_hdr.msg_controllen = sizeof(batch->control[i]);
	}
}

/* The size of the datagrams in a message: its own, or what the kernel says beside it. */
static size_t message_step(struct mmsghdr *message)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(&message->msg_hdr);
	int step;

	if (!control || control->cmsg_level != SOL_UDP || control->cmsg_type != UDP_GRO)
		return message->msg_len;
	memcpy(&step, CMSG_DATA(control), sizeof(step));
	return (size_t)step;
}

static void message_check(struct mmsghdr *message, size_t size, const uint8_t *expected,
			  struct count *count)
{
	const size_t head = sizeof(uint64_t), step = message_step(message);
	const uint8_t *data = message->msg_hdr.msg_iov->iov_base;

	for (size_t at = 0; at < message->msg_len; at += step) {
		if (step == size && message->msg_len - at >= size &&
		    memcmp(data + at + head, expected, size - head) == 0)
			count->good++;
		else
			count->bad++;
	}
}

/* Takes what is there; false if there was nothing. */
static bool server_drain(int fd, struct batch *batch, size_t size,
			 const uint8_t *expected, struct count *count)
{
	int n;

	batch_prepare_control(batch);
	n = recvmmsg(fd, batch->messages, BATCH, MSG_DONTWAIT, NULL);
	if (n < 0 && errno != EAGAIN)
		err(1, "recvmmsg");
	if (n <= 0)
		return false;
	for (int i = 0; i < n; i++)
		message_check(&batch->messages[i], size, expected, count);
	return true;
}

static void set_udp_option(int fd, int option, int value)
{
	if (setsockopt(fd, SOL_UDP, option, &value, sizeof(value)))
		err(1, "UDP option %d", option);
}

/* A byte more than a datagram has, so that a longer one is seen. */
static struct batch *server_batch(int fd, const struct shape *shape)
{
	if (shape->per_call == 1)
		return batch_new(shape->size + 1);
	set_udp_option(fd, UDP_GRO, 1);
	return batch_new(MESSAGE_MAX);
}

static void server_run(uint16_t port, const struct shape *shape)
{
	struct count count = {0, 0};
	uint8_t expected[DATAGRAM_MAX];
	int udp = net_udp_bind(port);
	int listener = net_tcp_listen(port);
	struct batch *batch = server_batch(udp, shape);
	struct pollfd fds[2] = {{.fd = udp, .events = POLLIN}, {.events = POLLIN}};

	memset(expected, FILL, sizeof(expected));
	net_announce();
	fds[1].fd = net_tcp_accept(listener);
	while (!(fds[1].revents & (POLLIN | POLLHUP))) {
		if (poll(fds, 2, -1) < 0)
			err(1, "poll");
		server_drain(udp, batch, shape->size, expected, &count);
	}
	while (server_drain(udp, batch, shape->size, expected, &count))
		;
	net_write_all(fds[1].fd, &count, sizeof(count));
	close(fds[1].fd);
	close(listener);
	close(udp);
	free(batch);
}

static uint64_t client_send_batch(int fd, struct batch *batch, const struct shape *shape,
				  uint64_t number)
{
	size_t calls = BATCH / shape->per_call; /* the same work as without */
	int n;

	for (size_t i = 0; i < calls * shape->per_call; i++) {
		uint8_t *message = batch_message(batch, i / shape->per_call);
		uint64_t own = number + i;

		memcpy(message + i % shape->per_call * shape->size, &own, sizeof(own));
	}
	n = sendmmsg(fd, batch->messages, (unsigned)calls, 0);
	if (n < 0 && errno != ENOBUFS)
		err(1, "sendmmsg");
	return n < 0 ? 0 : (uint64_t)n * shape->per_call;
}

static void client_run(const char *address, uint16_t port, const struct shape *shape,
		       double seconds)
{
	struct batch *batch = batch_new(shape->size * shape->per_call);
	int control = net_tcp_connect(address, port);
	int udp = net_udp_connect(address, port);
	uint64_t sent = 0, start, end;
	struct count count;
	double elapsed;

	if (shape->per_call > 1)
		set_udp_option(udp, UDP_SEGMENT, (int)shape->size);
	start = clock_now_ns();
	end = start + (uint64_t)(seconds * 1e9);
	while (clock_now_ns() < end)
		sent += client_send_batch(udp, batch, shape, sent);
	elapsed = (double)(clock_now_ns() - start) / 1e9;
	net_write_all(control, "e", 1);
	if (!net_read_all(control, &count, sizeof(count)))
		errx(1, "the server left without a count");
	if (count.bad || count.good > sent)
		errx(1, "of %zu sent, %zu arrived and %zu more were changed",
		     (size_t)sent, (size_t)count.good, (size_t)count.bad);
	printf("{\"sent\": %zu, \"delivered\": %zu, \"seconds\": %.4f, \"pps\": %.0f}\n",
	       (size_t)sent, (size_t)count.good, elapsed, (double)count.good / elapsed);
	close(udp);
	close(control);
	free(batch);
}

static size_t parse_number(const char *text, size_t least, size_t most, const char *what)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || value < (long)least || value > (long)most)
		errx(2, "%s: %s: %zu to %zu", text, what, least, most);
	return (size_t)value;
}

static struct shape parse_shape(const char *size, const char *per_call)
{
	struct shape shape = {.per_call = 1};
	size_t most;

	shape.size = parse_number(size, DATAGRAM_MIN, DATAGRAM_MAX, "bytes");
	most = PAYLOAD_MAX / shape.size;
	if (per_call)
		shape.per_call = parse_number(per_call, 1,
					      most < PER_CALL_MAX ? most : PER_CALL_MAX,
					      "datagrams per call");
	return shape;
}

int main(int argc, char **argv)
{
	struct shape shape;

	if ((argc == 4 || argc == 5) && strcmp(argv[1], "server") == 0) {
		shape = parse_shape(argv[3], argv[4]);
		server_run(net_parse_port(argv[2]), &shape);
	} else if ((argc == 6 || argc == 7) && strcmp(argv[1], "client") == 0) {
		shape = parse_shape(argv[4], argv[6]);
		client_run(argv[2], net_parse_port(argv[3]), &shape, atof(argv[5]));
	} else {
		errx(2, "usage: udprate server PORT SIZE [PER_CALL] | "
			"client ADDRESS PORT SIZE SECONDS [PER_CALL]");
	}
	return 0;
}
