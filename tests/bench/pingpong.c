/*
 * TCP ping-pong: one message of 64 bytes out, the same back, one at a time.
 *
 *     pingpong server PORT              serves one client, then ends
 *     pingpong client ADDRESS PORT SECONDS
 *
 * The client checks every byte that comes back and prints one JSON line with
 * the percentiles of the round trip. Each side blocks in read(2): what is
 * measured is the wire and the wake-ups, not a spinning application.
 */
#include "net.h"

#include "base/clock.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_SIZE 64
#define TRIPS_MAX    (8u << 20)
#define WARM_UP	     200

static void server_run(uint16_t port)
{
	uint8_t message[MESSAGE_SIZE];
	int listener = net_tcp_listen(port);
	int fd;

	net_announce();
	fd = net_tcp_accept(listener);
	while (net_read_all(fd, message, sizeof(message)))
		net_write_all(fd, message, sizeof(message));
	close(fd);
	close(listener);
}

static uint32_t trip_run(int fd, uint32_t number)
{
	uint8_t out[MESSAGE_SIZE], in[MESSAGE_SIZE];
	uint64_t start;

	memset(out, (int)(number & 0xff), sizeof(out));
	memcpy(out, &number, sizeof(number));
	start = clock_now_ns();
	net_write_all(fd, out, sizeof(out));
	if (!net_read_all(fd, in, sizeof(in)))
		errx(1, "the server left after %u round trips", number);
	if (memcmp(out, in, sizeof(out)) != 0)
		errx(1, "round trip %u came back changed", number);
	return (uint32_t)(clock_now_ns() - start);
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double percentile_us(const uint32_t *sorted, size_t count, double part)
{
	return sorted[(size_t)(part * (double)(count - 1))] / 1e3;
}

static void client_run(const char *address, uint16_t port, double seconds)
{
	uint32_t *trips = malloc(TRIPS_MAX * sizeof(*trips));
	int fd = net_tcp_connect(address, port);
	uint64_t end;
	size_t count = 0;

	if (!trips)
		err(1, "%u round trips", TRIPS_MAX);
	for (uint32_t i = 0; i < WARM_UP; i++)
		trip_run(fd, i);
	end = clock_now_ns() + (uint64_t)(seconds * 1e9);
	do
		trips[count] = trip_run(fd, (uint32_t)count);
	while (++count < TRIPS_MAX && clock_now_ns() < end);
	qsort(trips, count, sizeof(*trips), compare_u32);
	printf("{\"trips\": %zu, \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f}\n",
	       count, percentile_us(trips, count, 0.5), percentile_us(trips, count, 0.99),
	       percentile_us(trips, count, 1.0));
	close(fd);
	free(trips);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "server") == 0)
		server_run(net_parse_port(argv[2]));
	else if (argc == 5 && strcmp(argv[1], "client") == 0)
		client_run(argv[2], net_parse_port(argv[3]), atof(argv[4]));
	else
		errx(2, "usage: pingpong server PORT | client ADDRESS PORT SECONDS");
	return 0;
}
