/* See fabric_loop.h. */
#include "fabric_loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What one side tells the other of one ring: positions that only grow. */
struct channel {
	uint64_t flight[FABRIC_LOOP_CREDITS_MAX];
	unsigned num_flight;
	uint64_t last; /* the newest position that was given to us */
	bool backlog;  /* `last` waits for a credit */
	uint64_t *landing;
	const uint32_t *number; /* of the other side's sleep or wait */
	uint32_t rung;
	unsigned to;
};

struct ring {
	uint64_t salt;
	struct channel head; /* with the frames */
	struct channel tail; /* against them */
};

struct end {
	struct fabric fabric; /* first */
	struct fabric_loop *loop;
	int fail[FABRIC_LOOP_OP_NUM_];
};

struct fabric_loop {
	struct end ends[2];
	pthread_mutex_t lock;
	uint64_t random;
	unsigned credits;
	unsigned num_rings;
	struct ring rings[FABRIC_LOOP_RINGS_MAX];
};

static uint64_t next_random(struct fabric_loop *loop)
{
	loop->random ^= loop->random << 13;
	loop->random ^= loop->random >> 7;
	loop->random ^= loop->random << 17;
	return loop->random;
}

static struct end *end_of(struct fabric *fabric)
{
	return (struct end *)(void *)fabric;
}

static int failure(struct fabric *fabric, enum fabric_loop_op op)
{
	return __atomic_load_n(&end_of(fabric)->fail[op], __ATOMIC_RELAXED);
}

/* ---- channels, with the lock held ---- */

static struct ring *find_ring(struct fabric_loop *loop, uint64_t salt)
{
	for (unsigned i = 0; i < loop->num_rings; i++) {
		if (loop->rings[i].salt == salt)
			return &loop->rings[i];
	}
	abort(); /* the test forgot fabric_loop_add_ring() */
}

static void channel_send(struct fabric_loop *loop, struct channel *channel,
			 uint64_t position)
{
	channel->last = position;
	channel->backlog = channel->num_flight == loop->credits;
	if (!channel->backlog)
		channel->flight[channel->num_flight++] = position;
}

static void ring_bell(struct fabric_loop *loop, unsigned side)
{
	struct fabric *fabric = &loop->ends[side].fabric;
	uint64_t one = 1;

	__atomic_store_n(&fabric->bells_rung, fabric->bells_rung + 1, __ATOMIC_RELAXED);
	if (write(fabric->wait_fd, &one, sizeof(one)) < 0)
		abort();
}

/* Lands the oldest message, or with a whim the newest in place of all. */
static void channel_deliver(struct fabric_loop *loop, struct channel *channel)
{
	unsigned taken = next_random(loop) % 4 ? 1 : channel->num_flight;
	uint64_t position = channel->flight[taken - 1];
	uint32_t number;

	channel->num_flight -= taken;
	for (unsigned i = 0; i < channel->num_flight; i++)
		channel->flight[i] = channel->flight[i + taken];
	if (channel->backlog)
		channel_send(loop, channel, channel->last);
	__atomic_store_n(channel->landing, position, __ATOMIC_SEQ_CST);
	number = __atomic_load_n(channel->number, __ATOMIC_SEQ_CST);
	if (number != 0 && number != channel->rung) {
		channel->rung = number;
		ring_bell(loop, channel->to);
	}
}

/* ---- the operations ---- */

static int loop_publish(struct fabric *fabric, struct shmnet_ring_tx *tx)
{
	struct fabric_loop *loop = end_of(fabric)->loop;
	int error = failure(fabric, FABRIC_LOOP_PUBLISH);

	if (error)
		return error;
	shmnet_ring_publish(tx);
	pthread_mutex_lock(&loop->lock);
	channel_send(loop, &find_ring(loop, tx->salt)->head, tx->head);
	pthread_mutex_unlock(&loop->lock);
	return 0;
}

/* Spurious bells are allowed. */
static int loop_wake(struct fabric *fabric, struct shmnet_ring_tx *tx)
{
	struct fabric_loop *loop = end_of(fabric)->loop;

	(void)tx;
	pthread_mutex_lock(&loop->lock);
	ring_bell(loop, end_of(fabric) == &loop->ends[0]);
	pthread_mutex_unlock(&loop->lock);
	return 0;
}

static int loop_poll(struct fabric *fabric, struct shmnet_ring_rx *rx,
		     struct shmnet_ring_tx *tx)
{
	int error = failure(fabric, FABRIC_LOOP_POLL);

	(void)tx;
	return error ? error : shmnet_ring_poll(rx);
}

static int loop_credit(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	struct fabric_loop *loop = end_of(fabric)->loop;
	int error = failure(fabric, FABRIC_LOOP_CREDIT);

	if (error)
		return error;
	shmnet_ring_credit(rx);
	pthread_mutex_lock(&loop->lock);
	channel_send(loop, &find_ring(loop, rx->salt)->tail, rx->tail);
	pthread_mutex_unlock(&loop->lock);
	return 0;
}

static int loop_wait_room(struct fabric *fabric, struct shmnet_ring_tx *tx,
			  uint32_t number, uint32_t length)
{
	int error = failure(fabric, FABRIC_LOOP_WAIT_ROOM);

	return error ? error : shmnet_ring_tx_wait(tx, number, length);
}

static int loop_arm(struct fabric *fabric, struct shmnet_ring_rx *rx, uint32_t number)
{
	int error = failure(fabric, FABRIC_LOOP_ARM);

	return error ? error : shmnet_ring_rx_sleep(rx, number);
}

static void loop_disarm(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	(void)fabric;
	shmnet_ring_rx_wake(rx);
}

static bool loop_drain(struct fabric *fabric)
{
	uint64_t count;

	return read(fabric->wait_fd, &count, sizeof(count)) > 0 || errno == EAGAIN;
}

static int loop_salvage(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	int ret = shmnet_ring_poll(rx);

	(void)fabric;
	return ret < 0 ? ret : 0;
}

static void loop_close(struct fabric *fabric)
{
	close(fabric->wait_fd);
	fabric->wait_fd = -1;
}

static const struct fabric_ops loop_ops = {
	.name = "loop",
	.publish = loop_publish,
	.wake = loop_wake,
	.poll = loop_poll,
	.credit = loop_credit,
	.wait_room = loop_wait_room,
	.arm = loop_arm,
	.disarm = loop_disarm,
	.drain = loop_drain,
	.salvage = loop_salvage,
	.close = loop_close,
};

/* ---- the test's side ---- */

int fabric_loop_new(uint64_t seed, unsigned credits, struct fabric_loop **ret_loop)
{
	struct fabric_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	pthread_mutex_init(&loop->lock, NULL);
	loop->random = seed | 1;
	loop->credits = credits;
	for (unsigned side = 0; side < 2; side++) {
		struct end *end = &loop->ends[side];

		end->loop = loop;
		end->fabric.ops = &loop_ops;
		end->fabric.wait_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (end->fabric.wait_fd < 0) {
			int error = -errno;

			fabric_loop_free(loop);
			return error;
		}
	}
	*ret_loop = loop;
	return 0;
}

struct fabric *fabric_loop_end(struct fabric_loop *loop, unsigned side)
{
	return &loop->ends[side].fabric;
}

void fabric_loop_free(struct fabric_loop *loop)
{
	if (!loop)
		return;
	for (unsigned side = 0; side < 2; side++) {
		if (loop->ends[side].fabric.wait_fd > 0)
			close(loop->ends[side].fabric.wait_fd);
	}
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

int fabric_loop_add_ring(struct fabric_loop *loop, unsigned from, uint64_t salt,
			 struct shmnet_ring_words *tx, struct shmnet_ring_words *rx)
{
	if (loop->num_rings == FABRIC_LOOP_RINGS_MAX)
		return -ENOSPC;
	pthread_mutex_lock(&loop->lock);
	loop->rings[loop->num_rings++] = (struct ring){
		.salt = salt,
		.head = {.landing = &rx->head, .number = &rx->asleep, .to = !from},
		.tail = {.landing = &tx->tail, .number = &tx->waiting, .to = from},
	};
	pthread_mutex_unlock(&loop->lock);
	return 0;
}

void fabric_loop_fail(struct fabric_loop *loop, unsigned side, enum fabric_loop_op op,
		      int error)
{
	__atomic_store_n(&loop->ends[side].fail[op], error, __ATOMIC_RELAXED);
}

static bool step_locked(struct fabric_loop *loop)
{
	struct channel *waiting[2 * FABRIC_LOOP_RINGS_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < loop->num_rings; i++) {
		if (loop->rings[i].head.num_flight)
			waiting[count++] = &loop->rings[i].head;
		if (loop->rings[i].tail.num_flight)
			waiting[count++] = &loop->rings[i].tail;
	}
	if (next_random(loop) % 16 == 0)
		ring_bell(loop, next_random(loop) % 2);
	if (count && next_random(loop) % 4)
		channel_deliver(loop, waiting[next_random(loop) % count]);
	return count > 0;
}

bool fabric_loop_step(struct fabric_loop *loop)
{
	bool moving;

	pthread_mutex_lock(&loop->lock);
	moving = step_locked(loop);
	pthread_mutex_unlock(&loop->lock);
	return moving;
}

void fabric_loop_settle(struct fabric_loop *loop)
{
	while (fabric_loop_step(loop))
		;
}
