/* See wire.h. */
#include "wire.h"

#include "rig.h"

bool wire_open(struct wire *wire, uint64_t seed)
{
	const struct qp_loop_options options = {
		.seed = seed,
		.send_depth = 64,
		.receive_depth = fabric_rdma_receive_depth(1),
		.max_inline = 220,
		.spurious_bells = true,
		.busy_wire = true,
	};

	if (qp_loop_new(&options, &wire->loop) < 0)
		return false;
	for (unsigned side = 0; side < 2; side++) {
		if (fabric_rdma_new(qp_loop_end(wire->loop, side), "wire",
				    &wire->fabric[side]) < 0)
			return false;
	}
	return true;
}

void wire_close(struct wire *wire)
{
	qp_loop_free(wire->loop);
}

/* A map of memory that nobody else has. */
static bool map_alone(struct ring_map *ret_map)
{
	struct ring_map other;

	if (!rig_ring_open(RIG_RING_SIZE, ret_map, &other))
		return false;
	ring_map_close(&other);
	return true;
}

bool wire_add_ring(struct wire *wire, unsigned from, struct ring_map *ret_tx,
		   struct ring_map *ret_rx)
{
	struct fabric_rdma_tx tx = {.size = RIG_RING_SIZE};

	if (!map_alone(ret_tx) || !map_alone(ret_rx))
		return false;
	tx.words = ret_tx->words;
	tx.staging = ret_tx->data;
	tx.lkey = qp_loop_register(wire->loop, from, ret_tx->data, 2 * RIG_RING_SIZE);
	tx.rkey = qp_loop_register(wire->loop, !from, ret_rx->data, 2 * RIG_RING_SIZE);
	return fabric_rdma_set_rx(wire->fabric[!from], 0, ret_rx->words, RIG_RING_SIZE) ==
		       0 &&
	       fabric_rdma_set_tx(wire->fabric[from], &tx) == 0;
}

/* ---- failures ---- */

static int broken_error;

static int broken_publish(struct fabric *fabric, struct shmnet_ring_tx *tx)
{
	(void)fabric;
	(void)tx;
	return broken_error;
}

static int broken_poll(struct fabric *fabric, struct shmnet_ring_rx *rx,
		       struct shmnet_ring_tx *tx)
{
	(void)fabric;
	(void)rx;
	(void)tx;
	return broken_error;
}

static int broken_credit(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	(void)fabric;
	(void)rx;
	return broken_error;
}

static int broken_wait_room(struct fabric *fabric, struct shmnet_ring_tx *tx,
			    uint32_t number, uint32_t length)
{
	(void)fabric;
	(void)tx;
	(void)number;
	(void)length;
	return broken_error;
}

static int broken_arm(struct fabric *fabric, struct shmnet_ring_rx *rx, uint32_t number)
{
	(void)fabric;
	(void)rx;
	(void)number;
	return broken_error;
}

void wire_break(struct fabric *fabric, enum wire_op op, int error)
{
	static struct fabric_ops ops;

	ops = *fabric->ops;
	broken_error = error;
	if (op == WIRE_PUBLISH)
		ops.publish = broken_publish;
	else if (op == WIRE_POLL)
		ops.poll = broken_poll;
	else if (op == WIRE_CREDIT)
		ops.credit = broken_credit;
	else if (op == WIRE_WAIT_ROOM)
		ops.wait_room = broken_wait_room;
	else if (op == WIRE_ARM)
		ops.arm = broken_arm;
	fabric->ops = &ops;
}
