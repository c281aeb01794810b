/*
 * The shm fabric [33]: rings in shared memory, and a SEQPACKET socket per pair
 * of nodes as doorbell. Everything but the bell is in shmnet/ring.h.
 *
 * Why a socket and not an eventfd: an eventfd that two processes share can be
 * made blocking, or filled, by either of them; every call here carries
 * MSG_DONTWAIT. A bell that finds the socket full needs no repetition: what fills
 * it wakes the peer.
 *
 * One hole is left. The dialler makes both ends, and may keep a copy of the one it
 * gives away; the kernel copies a message under a lock of the socket's end, so who
 * receives from that copy into memory that never gets ready holds up our recv(2).
 *
 * One byte, content unread. drain() takes one message: the socket stays
 * readable while there are more, and a peer that floods it costs one recv(2) a
 * turn.
 */
#include "data/fabric.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int bell_ring(struct fabric *fabric)
{
	static const uint8_t bell = 1;

	__atomic_store_n(&fabric->bells_rung, fabric->bells_rung + 1, __ATOMIC_RELAXED);
	if (send(fabric->wait_fd, &bell, sizeof(bell), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	/* Full: it will wake up. Gone: the control plane learns it from its own socket.
	 */
	return errno == EAGAIN || errno == EPIPE || errno == ECONNRESET ? 0 : -errno;
}

static int shm_publish(struct fabric *fabric, struct shmnet_ring_tx *tx)
{
	shmnet_ring_publish(tx);
	return shmnet_ring_tx_must_ring(tx) ? bell_ring(fabric) : 0;
}

static int shm_poll(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	(void)fabric;
	return shmnet_ring_poll(rx);
}

static int shm_credit(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	shmnet_ring_credit(rx);
	return shmnet_ring_rx_must_ring(rx) ? bell_ring(fabric) : 0;
}

static int shm_wait_room(struct fabric *fabric, struct shmnet_ring_tx *tx,
			 uint32_t number, uint32_t length)
{
	(void)fabric;
	return shmnet_ring_tx_wait(tx, number, length);
}

static int shm_arm(struct fabric *fabric, struct shmnet_ring_rx *rx, uint32_t number)
{
	(void)fabric;
	return shmnet_ring_rx_sleep(rx, number);
}

static void shm_disarm(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	(void)fabric;
	shmnet_ring_rx_wake(rx);
}

static bool shm_drain(struct fabric *fabric)
{
	uint8_t bell;
	ssize_t n = recv(fabric->wait_fd, &bell, sizeof(bell), MSG_DONTWAIT);

	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void shm_close(struct fabric *fabric)
{
	close(fabric->wait_fd);
	free(fabric);
}

static const struct fabric_ops shm_ops = {
	.name = "shm",
	.publish = shm_publish,
	.poll = shm_poll,
	.credit = shm_credit,
	.wait_room = shm_wait_room,
	.arm = shm_arm,
	.disarm = shm_disarm,
	.drain = shm_drain,
	.close = shm_close,
};

int fabric_shm_new(int bell, struct fabric **ret_fabric)
{
	struct fabric *fabric = calloc(1, sizeof(*fabric));

	if (!fabric) {
		close(bell);
		return -ENOMEM;
	}
	fabric->ops = &shm_ops;
	fabric->wait_fd = bell;
	*ret_fabric = fabric;
	return 0;
}

int fabric_shm_bell(int ret_bells[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_bells) < 0)
		return -errno;
	return 0;
}
