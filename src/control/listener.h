/*
 * What the dispatcher knows of a node's sockets: shapes only, made by listeners.c and
 * sockets.c from the kernel's own tables, or by another node and told by message.
 *
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; sixteen zeroes stand for any address.
 * Ports are in host byte order.
 */
#ifndef CONTROL_LISTENER_H
#define CONTROL_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#define LISTENER_IPV4 1
#define LISTENER_IPV6 2

/*
 * A socket that takes what it has not seen before: TCP and SCTP that listen, UDP and
 * UDP-Lite that are bound. No padding: lists are compared with memcmp().
 */
struct listener {
	uint8_t local[16];
	uint8_t foreign[16]; /* any, but of a datagram socket that took a peer while its
				local address is any */
	uint16_t local_port;
	uint16_t foreign_port; /* 0 if foreign is any */
	uint8_t protocol;      /* IPPROTO_* */
	uint8_t families;      /* LISTENER_IPV*: whose packets reach it */
};

_Static_assert(sizeof(struct listener) == 38, "padding");

/* A connection that the kernel has. */
struct socket_match {
	bool is_over; /* TIME_WAIT: only remembered */
	/* An opener was answered, and nothing came yet: another node may have got one,
	 * too, and the client have taken its answer. */
	bool is_half;
};

#endif
