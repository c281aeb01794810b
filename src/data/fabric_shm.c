/*
 * The shm fabric [33]: rings in shared memory, and two SEQPACKET sockets per pair
 * of nodes as doorbells. Everything but the bells is in shmnet/ring.h.
 *
 * Why a socket and not an eventfd: an eventfd that two processes share can be
 * made blocking, or filled, by either of them; every call here carries
 * MSG_DONTWAIT. A bell that finds the socket full needs no repetition: what fills
 * it wakes the peer.
 *
 * Why two: the kernel copies a message to its receiver under a lock of the
 * receiving end, and who receives into memory that never gets ready holds that lock
 * for ever. So each side makes a socketpair, keeps the end that it receives from to
 * itself, and gives away the other one. What the maker does with its end, or with a
 * copy of the one it gave away, is nothing that send(2) waits for
 * (tests/probe/bell_block.c).
 *
 * Files that came with a message are closed in recv(2), and closing may take as long
 * as their sender likes (SO_LINGER). Since Linux 6.16 a socket can decline them;
 * before it, a peer can hold up its neighbours' worker by this.
 *
 * One byte, content unread. drain() takes one message: the socket stays
 * readable while there are more, and a peer that floods it costs one recv(2) a
 * turn. An empty one is the end, as is a shutdown(2): it has no bell any more.
 *
 * A flood keeps our worker from sleeping all the same. An honest peer rings after it
 * has published, cast or credited, and for each of our sleeps once, so that a bell with
 * nothing behind it is a late one, and there are few of those. With FABRIC_IDLE_BELLS_MAX
 * of them in a row it has broken the rules (-EPROTO).
 *
 * A bell for which the kernel has no memory is owed: the peer sleeps, and the ring
 * remembers that this sleep was rung for. It is rung with the next one, at the
 * latest before we sleep ourselves, and we don't as long as it can't be.
 */
#include "data/fabric.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

struct shm_fabric {
	struct fabric fabric; /* first; wait_fd is ours alone */
	int ring_fd;	      /* the peer's, who may hold a copy */
	bool is_owed;
};

static struct shm_fabric *shm_of(struct fabric *fabric)
{
	return (struct shm_fabric *)(void *)fabric;
}

static int bell_ring(struct shm_fabric *shm)
{
	static const uint8_t bell = 1;
	ssize_t n = send(shm->ring_fd, &bell, sizeof(bell), MSG_DONTWAIT | MSG_NOSIGNAL);

	shm->is_owed = n < 0 && (errno == ENOBUFS || errno == ENOMEM);
	if (shm->is_owed)
		return 0;
	/* Full: it will wake up. Gone: the control plane learns it from its own socket.
	 */
	if (n < 0 && errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
		return -errno;
	__atomic_store_n(&shm->fabric.bells_rung, shm->fabric.bells_rung + 1,
			 __ATOMIC_RELAXED);
	return 0;
}

static int bell_ring_if(struct shm_fabric *shm, bool must_ring)
{
	return must_ring || shm->is_owed ? bell_ring(shm) : 0;
}

static int shm_wake(struct fabric *fabric, struct shmnet_ring_tx *tx)
{
	return bell_ring_if(shm_of(fabric), shmnet_ring_tx_must_ring(tx));
}

static int shm_publish(struct fabric *fabric, struct shmnet_ring_tx *tx)
{
	shmnet_ring_publish(tx);
	return shm_wake(fabric, tx);
}

static bool rings_for_nothing(const struct fabric *fabric)
{
	return __atomic_load_n(&fabric->idle_bells, __ATOMIC_RELAXED) >
	       FABRIC_IDLE_BELLS_MAX;
}

static int shm_poll(struct fabric *fabric, struct shmnet_ring_rx *rx,
		    struct shmnet_ring_tx *tx)
{
	(void)tx;
	return rings_for_nothing(fabric) ? -EPROTO : shmnet_ring_poll(rx);
}

static int shm_credit(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	shmnet_ring_credit(rx);
	return bell_ring_if(shm_of(fabric), shmnet_ring_rx_must_ring(rx));
}

static int shm_wait_room(struct fabric *fabric, struct shmnet_ring_tx *tx,
			 uint32_t number, uint32_t length)
{
	(void)fabric;
	return shmnet_ring_tx_wait(tx, number, length);
}

static int shm_arm(struct fabric *fabric, struct shmnet_ring_rx *rx, uint32_t number)
{
	struct shm_fabric *shm = shm_of(fabric);
	int ret = bell_ring_if(shm, false);

	if (ret < 0)
		return ret;
	return shm->is_owed ? 1 : shmnet_ring_rx_sleep(rx, number);
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

	if (n > 0)
		__atomic_store_n(&fabric->idle_bells, fabric->idle_bells + 1,
				 __ATOMIC_RELAXED);
	return n > 0 ? !rings_for_nothing(fabric)
		     : n < 0 && (errno == EAGAIN || errno == EINTR);
}

static int shm_salvage(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	int ret = shmnet_ring_poll(rx);

	(void)fabric;
	if (ret < 0)
		return ret;
	shmnet_ring_salvage(rx);
	return 0;
}

static const char *shm_why(const struct fabric *fabric)
{
	return rings_for_nothing(fabric) ? "its doorbell rings for nothing" : "";
}

static void shm_close(struct fabric *fabric)
{
	close(fabric->wait_fd);
	close(shm_of(fabric)->ring_fd);
	free(shm_of(fabric));
}

static const struct fabric_ops shm_ops = {
	.name = "shm",
	.publish = shm_publish,
	.wake = shm_wake,
	.poll = shm_poll,
	.credit = shm_credit,
	.wait_room = shm_wait_room,
	.arm = shm_arm,
	.disarm = shm_disarm,
	.drain = shm_drain,
	.salvage = shm_salvage,
	.why = shm_why,
	.close = shm_close,
};

int fabric_shm_new(int receive_fd, int send_fd, struct fabric **ret_fabric)
{
	struct shm_fabric *shm = calloc(1, sizeof(*shm));

	if (!shm) {
		close(receive_fd);
		close(send_fd);
		return -ENOMEM;
	}
	shm->fabric.ops = &shm_ops;
	shm->fabric.wait_fd = receive_fd;
	shm->ring_fd = send_fd;
	*ret_fabric = &shm->fabric;
	return 0;
}

int fabric_shm_bell(int *ret_receive_fd, int *ret_send_fd)
{
	static const int no = 0;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	/* One way: nothing can be left in the end that the peer holds. */
	shutdown(ends[0], SHUT_WR);
	setsockopt(ends[0], SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no)); /* 6.16 */
	*ret_receive_fd = ends[0];
	*ret_send_fd = ends[1];
	return 0;
}
