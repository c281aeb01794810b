/*
 * A fabric connection: how one pair of nodes shows each other what is in their
 * rings, and wakes each other up. One per pair of nodes; it carries the rings
 * of all their networks [19, 23, 33].
 *
 * The operations are called per burst, never per frame, by the worker that
 * serves the pair; create and close by the control thread while no worker
 * knows the connection; those of the last paragraph by the control thread at any time
 * between. Nothing here blocks. Errors are -errno and mean that the connection is of
 * no use any more; -EPROTO that the peer broke the ring's rules.
 */
#ifndef DATA_FABRIC_H
#define DATA_FABRIC_H

#include <shmnet/ring.h>

struct fabric;

struct fabric_ops {
	const char *name; /* "shm" */

	/* Shows the peer what was submitted to `tx` and wakes it if it sleeps. */
	int (*publish)(struct fabric *fabric, struct shmnet_ring_tx *tx);

	/*
	 * Wakes the peer if it sleeps: something came to it by a cast ring. NULL: no
	 * peer of this fabric reads cast rings.
	 */
	int (*wake)(struct fabric *fabric, struct shmnet_ring_tx *tx);

	/*
	 * Learns how far `rx` may be read: 1 if there is something, 0 if not. `tx` is
	 * the same link's: what was published to it and held back may go now.
	 */
	int (*poll)(struct fabric *fabric, struct shmnet_ring_rx *rx,
		    struct shmnet_ring_tx *tx);

	/* Gives back what was released, and wakes a peer that waits for room. */
	int (*credit)(struct fabric *fabric, struct shmnet_ring_rx *rx);

	/*
	 * Asks to be woken when there is room for a frame of `length`; `number` is
	 * new for each call. 1 if there is room already, 0 if the bell will ring.
	 */
	int (*wait_room)(struct fabric *fabric, struct shmnet_ring_tx *tx,
			 uint32_t number, uint32_t length);

	/*
	 * The worker is about to sleep: from now on the peer rings. `number` is new
	 * for each sleep. 1 if something came meanwhile, 0 if sleeping is safe.
	 */
	int (*arm)(struct fabric *fabric, struct shmnet_ring_rx *rx, uint32_t number);
	void (*disarm)(struct fabric *fabric, struct shmnet_ring_rx *rx);

	/*
	 * The wait fd is readable: takes the bell away. False if nothing can come
	 * through it any more and it need not be watched.
	 */
	bool (*drain)(struct fabric *fabric);

	/*
	 * Control's. For a peer that is dead and stores nothing any more: shows all of
	 * `rx` that it had finished. 0 or -errno; no poll() after it, only peek().
	 */
	int (*salvage)(struct fabric *fabric, struct shmnet_ring_rx *rx);

	/*
	 * Control's; NULL: nothing need be known of it. No worker knows the rings any
	 * more and their memory goes away after this. The tail of `tx` says what the
	 * peer had taken.
	 */
	void (*detach)(struct fabric *fabric, struct shmnet_ring_tx *tx,
		       const struct shmnet_ring_rx *rx);

	/* Control's; see the functions below. NULL: by the rings' words, or nothing. */
	int (*beat)(struct fabric *fabric);
	uint64_t (*pulse)(struct fabric *fabric);
	const char *(*why)(const struct fabric *fabric);

	void (*close)(struct fabric *fabric);
};

/* A peer rings when it has done something. So often it may ring for nothing, in a row. */
#define FABRIC_IDLE_BELLS_MAX 256

struct fabric {
	const struct fabric_ops *ops;
	int wait_fd; /* readable when the peer rang; -1 if there is none */
	uint64_t bells_rung;
	unsigned idle_bells; /* taken since the peer did anything; the worker's, atomic */
};

/*
 * Shared memory on one machine. `receive_fd` is of a bell that was made here, and
 * nobody else has it; `send_fd` is of the one that the peer made. The connection
 * owns both from now on, also on failure.
 */
int fabric_shm_new(int receive_fd, int send_fd, struct fabric **ret_fabric);

/* Both ends of a bell, close-on-exec: one to keep, one to give to the peer. */
int fabric_shm_bell(int *ret_receive_fd, int *ret_send_fd);

/*
 * Shows the peer life without its rings, where that can be done. -errno: the connection
 * has ended, and perhaps nothing woke the worker, which has yet to find that.
 */
static inline int fabric_beat(struct fabric *fabric)
{
	return fabric->ops->beat ? fabric->ops->beat(fabric) : 0;
}

/* Another number than before if the peer showed life, other than in its rings' words. */
static inline uint64_t fabric_pulse(struct fabric *fabric)
{
	return fabric->ops->pulse ? fabric->ops->pulse(fabric) : 0;
}

/* In words, why the connection is of no use any more; "" if an operation's -errno says
 * it all. Valid until it is closed. */
static inline const char *fabric_why(const struct fabric *fabric)
{
	return fabric->ops->why ? fabric->ops->why(fabric) : "";
}

static inline void fabric_close(struct fabric *fabric)
{
	if (fabric)
		fabric->ops->close(fabric);
}

#endif
