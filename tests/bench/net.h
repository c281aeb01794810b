/*
 * Sockets for the benchmark's own programs, by IPv4 address and port. Whatever
 * fails ends the program with a message that names it.
 */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <stddef.h>
#include <stdint.h>

/* One connection at a time is enough for every load here. */
int net_tcp_listen(uint16_t port);
int net_tcp_accept(int listener);
int net_tcp_connect(const char *address, uint16_t port);

int net_udp_bind(uint16_t port);
int net_udp_connect(const char *address, uint16_t port);

/* Tells the script that starts this program that clients may come. */
void net_announce(void);

/* All of `size` bytes, or the end of the program. */
void net_write_all(int fd, const void *data, size_t size);

/* The same; returns 0 if the other side closed before the first byte. */
size_t net_read_all(int fd, void *data, size_t size);

uint16_t net_parse_port(const char *text);

#endif
