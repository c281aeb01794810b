/* See net.h. */
#include "net.h"

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UDP_BUFFER (4 << 20)
#define CONGESTION "cubic"

static struct sockaddr_in address_make(const char *address, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (address && inet_pton(AF_INET, address, &sa.sin_addr) != 1)
		errx(2, "%s: not an IPv4 address", address);
	return sa;
}

static int socket_open(int type)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	return fd;
}

static void option_set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		err(1, "setsockopt %d/%d", level, option);
}

static void socket_bind(int fd, uint16_t port)
{
	struct sockaddr_in sa = address_make(NULL, port);

	option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)))
		err(1, "bind to port %u", port);
}

static void socket_connect(int fd, const char *address, uint16_t port)
{
	struct sockaddr_in sa = address_make(address, port);

	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		err(1, "connect to %s port %u", address, port);
}

/*
 * What the kernel defaults to may pace (bbr), which hides the wire. Asked for per
 * socket because a namespace can't always have it as its default.
 */
static void tcp_prepare(int fd)
{
	option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, CONGESTION, strlen(CONGESTION)))
		err(1, "congestion control " CONGESTION);
}

int net_tcp_listen(uint16_t port)
{
	int fd = socket_open(SOCK_STREAM);

	socket_bind(fd, port);
	if (listen(fd, 1))
		err(1, "listen on port %u", port);
	return fd;
}

int net_tcp_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		err(1, "accept");
	tcp_prepare(fd);
	return fd;
}

int net_tcp_connect(const char *address, uint16_t port)
{
	int fd = socket_open(SOCK_STREAM);

	tcp_prepare(fd);
	socket_connect(fd, address, port);
	return fd;
}

int net_udp_bind(uint16_t port)
{
	int fd = socket_open(SOCK_DGRAM);

	option_set(fd, SOL_SOCKET, SO_RCVBUF, UDP_BUFFER);
	socket_bind(fd, port);
	return fd;
}

int net_udp_connect(const char *address, uint16_t port)
{
	int fd = socket_open(SOCK_DGRAM);

	socket_connect(fd, address, port);
	return fd;
}

void net_announce(void)
{
	puts("listening");
	fflush(stdout);
}

void net_write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0)
			err(1, "write");
		at += n;
		size -= (size_t)n;
	}
}

size_t net_read_all(int fd, void *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, (char *)data + done, size - done);

		if (n < 0)
			err(1, "read");
		if (n == 0 && done == 0)
			return 0;
		if (n == 0)
			errx(1, "connection closed inside a message");
		done += (size_t)n;
	}
	return done;
}

uint16_t net_parse_port(const char *text)
{
	char *end;
	long port = strtol(text, &end, 10);

	if (*end || port < 1 || port > 65535)
		errx(2, "%s: not a port", text);
	return (uint16_t)port;
}
