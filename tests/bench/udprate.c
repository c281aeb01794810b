/*
 * UDP datagrams of one size, sent as fast as they go, counted where they arrive.
 *
 *     udprate server PORT SIZE          serves one client, then ends
 *     udprate client ADDRESS PORT SIZE SECONDS
 *
 * Prints one JSON line at the client. A TCP connection beside the datagrams
 * tells the server when to stop and brings its count back. The rate is what
 * arrived, whole and unchanged, over the time of sending; the receiver's socket
 * buffer bounds what can arrive after that (4 MiB).
 */
#include "net.h"

#include "base/clock.h"

#include <err.h>
#include <errno.h>
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
#define FILL	     0x5a

struct count {
	uint64_t good;
	uint64_t bad; /* wrong size or content */
};

/* A batch of datagrams, each with its number in front and FILL behind. */
struct batch {
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	uint8_t data[BATCH][DATAGRAM_MAX + 1];
};

static struct batch *batch_new(size_t size)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		err(1, "a batch of datagrams");
	memset(batch->data, FILL, sizeof(batch->data));
	for (size_t i = 0; i < BATCH; i++) {
		batch->parts[i] = (struct iovec){batch->data[i], size};
		batch->messages[i].msg_hdr.msg_iov = &batch->parts[i];
		batch->messages[i].msg_hdr.msg_iovlen = 1;
	}
	return batch;
}

static void batch_check(struct batch *batch, int received, size_t size,
			const uint8_t *expected, struct count *count)
{
	const size_t head = sizeof(uint64_t);

	for (int i = 0; i < received; i++) {
		if (batch->messages[i].msg_len == size &&
		    memcmp(batch->data[i] + head, expected, size - head) == 0)
			count->good++;
		else
			count->bad++;
	}
}

/* Takes what is there; false if there was nothing. */
static bool server_drain(int fd, struct batch *batch, size_t size,
			 const uint8_t *expected, struct count *count)
{
	int n = recvmmsg(fd, batch->messages, BATCH, MSG_DONTWAIT, NULL);

	if (n < 0 && errno != EAGAIN)
		err(1, "recvmmsg");
	if (n <= 0)
		return false;
	batch_check(batch, n, size, expected, count);
	return true;
}

static void server_run(uint16_t port, size_t size)
{
	struct batch *batch = batch_new(size + 1);
	struct count count = {0, 0};
	uint8_t expected[DATAGRAM_MAX];
	int udp = net_udp_bind(port);
	int listener = net_tcp_listen(port);
	struct pollfd fds[2] = {{.fd = udp, .events = POLLIN}, {.events = POLLIN}};

	memset(expected, FILL, sizeof(expected));
	net_announce();
	fds[1].fd = net_tcp_accept(listener);
	while (!(fds[1].revents & (POLLIN | POLLHUP))) {
		if (poll(fds, 2, -1) < 0)
			err(1, "poll");
		server_drain(udp, batch, size, expected, &count);
	}
	while (server_drain(udp, batch, size, expected, &count))
		;
	net_write_all(fds[1].fd, &count, sizeof(count));
	close(fds[1].fd);
	close(listener);
	close(udp);
	free(batch);
}

static uint64_t client_send_batch(int fd, struct batch *batch, uint64_t number)
{
	int n;

	for (size_t i = 0; i < BATCH; i++) {
		uint64_t own = number + i;

		memcpy(batch->data[i], &own, sizeof(own));
	}
	n = sendmmsg(fd, batch->messages, BATCH, 0);
	if (n < 0 && errno != ENOBUFS)
		err(1, "sendmmsg");
	return n < 0 ? 0 : (uint64_t)n;
}

static void client_run(const char *address, uint16_t port, size_t size, double seconds)
{
	struct batch *batch = batch_new(size);
	int control = net_tcp_connect(address, port);
	int udp = net_udp_connect(address, port);
	uint64_t sent = 0, start = clock_now_ns();
	uint64_t end = start + (uint64_t)(seconds * 1e9);
	struct count count;
	double elapsed;

	while (clock_now_ns() < end)
		sent += client_send_batch(udp, batch, sent);
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

static size_t parse_size(const char *text)
{
	long size = atol(text);

	if (size < DATAGRAM_MIN || size > DATAGRAM_MAX)
		errx(2, "%s: a datagram has %d to %d bytes", text, DATAGRAM_MIN,
		     DATAGRAM_MAX);
	return (size_t)size;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "server") == 0)
		server_run(net_parse_port(argv[2]), parse_size(argv[3]));
	else if (argc == 6 && strcmp(argv[1], "client") == 0)
		client_run(argv[2], net_parse_port(argv[3]), parse_size(argv[4]),
			   atof(argv[5]));
	else
		errx(2, "usage: udprate server PORT SIZE | "
			"client ADDRESS PORT SIZE SECONDS");
	return 0;
}
