/*
 * The rendezvous directory of the shm fabric: who is on this machine.
 *
 *     node-<id>.sock   where the node listens: a SEQPACKET socket
 *     node-<id>.lock   held with flock(2) by the node as long as it lives; its pid
 *     cast-<network>.<uid>.epoch
 *                      the last epoch of that network's shared cast rings, until the
 *                      last node leaves
 *
 * The lock is the node's id on this machine: it goes with the process however that
 * ends, so a stale socket is told from a live one without asking anybody. A socket
 * is bound and listened on under another name and then renamed into place: one
 * that can be seen accepts.
 *
 * News come by inotify and, in case there is none to be had (its instances are
 * limited per user), by a look around every second.
 *
 * Knows nothing of what is said over the sockets. Control thread.
 */
#ifndef CONTROL_RENDEZVOUS_H
#define CONTROL_RENDEZVOUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

struct event_base;
struct rendezvous;

struct rendezvous_handler {
	/* Somebody connected; the fd is the callee's. */
	void (*connected)(void *arg, int fd);
	/* See struct world_handler. */
	void (*appeared)(void *arg, uint16_t node_id);
	void (*disappeared)(void *arg, uint16_t node_id);
};

/*
 * Makes the directory if only it is missing, checks whose it is, and takes the
 * node's lock. On failure `ret_error` has a line for the user. -EADDRINUSE: another
 * instance is alive.
 */
int rendezvous_new(struct event_base *base, const char *directory, uint16_t node_id,
		   const struct rendezvous_handler *handler, void *arg,
		   struct rendezvous **ret_rendezvous, char *ret_error,
		   size_t error_size);

/* Would rendezvous_new() fail, but for who has the id? The directory is made. */
int rendezvous_check(const char *directory, char *ret_error, size_t error_size);

/* Others see us from now on; who is there already appears in the loop's next turn. */
int rendezvous_start(struct rendezvous *rendezvous, char *ret_error, size_t error_size);

/* Somebody may be there whom we missed: looks around in the loop's next turn. */
void rendezvous_look(struct rendezvous *rendezvous);

/* Removes its own two files, and the last one the epochs. Accepts NULL. */
void rendezvous_free(struct rendezvous *rendezvous);

/*
 * Holds the id of a dead node, so that no new life of it begins. -EBUSY if one lives, or
 * if that can't be found out. Hold it for a moment only: who starts tries for a while.
 */
struct rendezvous_hold {
	uint16_t node_id;
	int fd;
	bool is_spare; /* nobody has lived by the file: it goes again */
};
int rendezvous_hold_id(const struct rendezvous *rendezvous, uint16_t node_id,
		       struct rendezvous_hold *ret_hold);
void rendezvous_release_id(const struct rendezvous *rendezvous,
			   struct rendezvous_hold *hold);

/*
 * See claim_epoch of struct world_ops; and -EBUSY if another one claims for too long,
 * -EPERM if the file that holds the number is not this user's alone.
 */
int rendezvous_claim_epoch(const struct rendezvous *rendezvous, const char *network,
			   uint64_t known, bool anyway, uint64_t limit,
			   uint64_t *ret_epoch);

/* The address of a node's socket, there or not. */
void rendezvous_address(const struct rendezvous *rendezvous, uint16_t node_id,
			struct sockaddr_un *ret_address);

#endif
