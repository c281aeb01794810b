/*
 * A frame's way with nobody else around: three nodes in one thread, views made by
 * hand, each burst called for. Every drop reason, conservation to the frame, and
 * what a failing fabric and a lying peer do.
 */
#include "data/path.h"

#include "base/segment.h"

#include "rig.h"
#include "shim.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NODES  3
#define QUEUES 3 /* shared, and one for each of two peers */

struct node {
	struct rig_tap tap;
	struct port port;
	struct plane_view view;
	struct link *by_id[256];
	struct link *list[NODES];
	struct link links[NODES]; /* by the peer's place */
	struct path_scratch scratch;
	uint64_t written; /* by the host, once per receiver */
	uint64_t read;	  /* by the host */
};

struct net {
	struct node nodes[NODES];
	struct wire wires[NODES][NODES]; /* [a][b] with a < b; without a loop: shm */
	struct ring_map maps[NODES][NODES]
			    [2]; /* from, to: the sender's, the receiver's */
	bool direct;
};

static unsigned node_id(unsigned place)
{
	return place + 1;
}

/* ---- making it ---- */

static bool node_open(struct node *node, unsigned place)
{
	struct port *port = &node->port;

	if (!rig_tap_open(&node->tap, QUEUES))
		return false;
	port->node_id = (uint16_t)node_id(place);
	port->tag = RIG_TAG;
	port->mtu = RIG_MTU;
	port->offloads = SHMNET_OFFLOADS;
	port->tap = &node->tap.tap;
	port->num_queues = QUEUES;
	shmnet_mac_make(port->mac, RIG_TAG, port->node_id);
	for (unsigned q = 0; q < QUEUES; q++)
		port->queues[q] = (struct queue){
			.port = port, .fd = node->tap.tap.queues[q], .index = q};
	node->view.ports[0].links = node->list;
	node->view.ports[0].by_id[0] = node->by_id;
	return true;
}

static void node_add_link(struct node *node, unsigned peer, bool direct,
			  struct fabric *fabric)
{
	struct link *link = &node->links[peer];
	struct port_view *view = &node->view.ports[0];

	link->port = &node->port;
	link->fabric = fabric;
	link->peer_id = (uint16_t)node_id(peer);
	shmnet_mac_make(link->peer_mac, RIG_TAG, link->peer_id);
	view->links[view->num_links++] = link;
	view->by_id[0][link->peer_id] = link;
	if (direct) {
		link->queue = view->num_links;
		view->by_queue[link->queue] = link;
	}
}

static uint64_t salt_of(unsigned from, unsigned to)
{
	return RIG_SALT + from * NODES + to;
}

/* The ring of that way, which is mapped. */
static bool start_ring(struct net *net, unsigned from, unsigned to)
{
	struct ring_map *tx = &net->maps[from][to][0], *rx = &net->maps[from][to][1];

	shmnet_ring_tx_init(&net->nodes[from].links[to].tx, tx->words, tx->data,
			    RIG_RING_SIZE, salt_of(from, to));
	shmnet_ring_rx_init(&net->nodes[to].links[from].rx, rx->words, rx->data,
			    RIG_RING_SIZE, salt_of(from, to));
	return true;
}

static bool open_ring(struct net *net, unsigned from, unsigned to)
{
	struct ring_map *maps = net->maps[from][to];

	return rig_ring_open(RIG_RING_SIZE, &maps[0], &maps[1]) &&
	       start_ring(net, from, to);
}

static bool open_pair_shm(struct net *net, unsigned a, unsigned b)
{
	struct fabric *fabrics[2];
	int hear[2], ring[2];

	if (fabric_shm_bell(&hear[0], &ring[1]) < 0 ||
	    fabric_shm_bell(&hear[1], &ring[0]) < 0)
		return false;
	if (fabric_shm_new(hear[0], ring[0], &fabrics[0]) < 0 ||
	    fabric_shm_new(hear[1], ring[1], &fabrics[1]) < 0)
		return false;
	node_add_link(&net->nodes[a], b, net->direct, fabrics[0]);
	node_add_link(&net->nodes[b], a, net->direct, fabrics[1]);
	return open_ring(net, a, b) && open_ring(net, b, a);
}

static bool open_wire_ring(struct net *net, struct wire *wire, unsigned from, unsigned to)
{
	struct ring_map *maps = net->maps[from][to];

	return wire_add_ring(wire, from > to, &maps[0], &maps[1]) &&
	       start_ring(net, from, to);
}

static bool open_pair_wire(struct net *net, unsigned a, unsigned b, uint64_t seed)
{
	struct wire *wire = &net->wires[a][b];

	if (!wire_open(wire, seed + a * NODES + b))
		return false;
	node_add_link(&net->nodes[a], b, net->direct, wire->fabric[0]);
	node_add_link(&net->nodes[b], a, net->direct, wire->fabric[1]);
	return open_wire_ring(net, wire, a, b) && open_wire_ring(net, wire, b, a);
}

/* Seed 0: over the shm fabric, else over the rdma fabric. */
static struct net *net_open(bool direct, uint64_t seed)
{
	struct net *net = calloc(1, sizeof(*net));
	bool ok = net != NULL;

	for (unsigned i = 0; ok && i < NODES; i++)
		ok = node_open(&net->nodes[i], i);
	if (ok)
		net->direct = direct;
	for (unsigned a = 0; ok && a < NODES; a++) {
		for (unsigned b = a + 1; ok && b < NODES; b++)
			ok = seed ? open_pair_wire(net, a, b, seed)
				  : open_pair_shm(net, a, b);
	}
	if (!ok)
		abort(); /* out of memory or fds: no test could say more */
	return net;
}

static void net_close(struct net *net)
{
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned j = 0; j < NODES; j++) {
			if (i != j)
				fabric_close(net->nodes[i].links[j].fabric);
			ring_map_close(&net->maps[i][j][0]);
			ring_map_close(&net->maps[i][j][1]);
		}
		rig_tap_close(&net->nodes[i].tap);
	}
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned j = i + 1; j < NODES; j++)
			wire_close(&net->wires[i][j]);
	}
	free(net);
}

/* ---- moving ---- */

/* `receivers`: how many links a frame that is routed goes to. */
static bool host_write(struct node *node, unsigned queue, const uint8_t *buffer,
		       size_t length, unsigned receivers)
{
	if (send(node->tap.host[queue], buffer, length, MSG_DONTWAIT) < 0)
		return false;
	node->written += receivers;
	return true;
}

static size_t host_read(struct node *node, unsigned queue, uint8_t *buffer)
{
	ssize_t n = recv(node->tap.host[queue], buffer, RIG_FRAME_MAX, MSG_DONTWAIT);

	if (n < 0)
		return 0;
	node->read++;
	return (size_t)n;
}

/* On any queue. */
static size_t host_read_any(struct node *node, uint8_t *buffer)
{
	size_t n = 0;

	for (unsigned q = 0; !n && q < QUEUES; q++)
		n = host_read(node, q, buffer);
	return n;
}

static enum path_tx_result node_send(struct node *node, unsigned queue)
{
	unsigned frames;

	return path_tx(&node->view, &node->port.queues[queue], &node->scratch, &frames);
}

static unsigned node_receive(struct node *node)
{
	unsigned taken = 0;

	for (unsigned peer = 0; peer < NODES; peer++) {
		if (node->links[peer].fabric)
			taken += path_rx(&node->links[peer], &node->scratch);
	}
	return taken;
}

static bool net_step_wires(struct net *net)
{
	bool moving = false;

	for (unsigned a = 0; a < NODES; a++) {
		for (unsigned b = a + 1; b < NODES; b++) {
			if (net->wires[a][b].loop)
				moving |= qp_loop_step(net->wires[a][b].loop);
		}
	}
	return moving;
}

/* One turn of everything. False if nothing happened. */
static bool net_turn(struct net *net)
{
	uint8_t buffer[RIG_FRAME_MAX];
	bool busy = net_step_wires(net);

	for (unsigned i = 0; i < NODES; i++) {
		struct node *node = &net->nodes[i];
		unsigned frames;

		for (unsigned q = 0; q < QUEUES; q++) {
			path_tx(&node->view, &node->port.queues[q], &node->scratch,
				&frames);
			busy |= frames > 0;
		}
		busy |= node_receive(node) > 0;
		while (host_read_any(node, buffer))
			busy = true;
	}
	return busy;
}

static void net_settle(struct net *net)
{
	while (net_turn(net))
		;
}

/* ---- counting ---- */

static uint64_t sum_drops(const uint64_t *drops)
{
	uint64_t sum = 0;

	for (unsigned reason = 0; reason < DROP_NUM_; reason++)
		sum += drops[reason];
	return sum;
}

static uint64_t sum_sender_drops(const struct link *link)
{
	uint64_t sum = 0;

	for (unsigned reason = 0; reason < DROP_NUM_; reason++)
		sum += drop_reason_is_sent(reason) ? link->counters.drops[reason] : 0;
	return sum;
}

static uint64_t sum_receiver_drops(const struct link *link)
{
	return sum_drops(link->counters.drops) - sum_sender_drops(link) +
	       link->counters.received_paused;
}

/* Of a net at rest: sent = delivered + drops on every link, and both ends agree. */
static void check_pair(const struct node *sender, unsigned from,
		       const struct node *receiver, unsigned to)
{
	const struct link *out = &sender->links[to];
	const struct link *in = &receiver->links[from];

	CHECK_U64(out->counters.sent_frames, in->counters.delivered_frames +
						     sum_sender_drops(out) +
						     sum_receiver_drops(in));
	CHECK_U64(in->counters.received_frames,
		  in->counters.delivered_frames + sum_receiver_drops(in));
}

static void check_conservation(const struct net *net)
{
	for (unsigned i = 0; i < NODES; i++) {
		const struct node *node = &net->nodes[i];
		uint64_t sent = 0, delivered = 0;

		for (unsigned j = 0; j < NODES; j++) {
			if (i == j)
				continue;
			check_pair(node, i, &net->nodes[j], j);
			sent += node->links[j].counters.sent_frames;
			delivered += node->links[j].counters.delivered_frames;
		}
		CHECK_U64(node->written, sent + node->port.counters.unrouted_frames);
		CHECK_U64(sum_drops(node->port.counters.drops),
			  node->port.counters.unrouted_frames);
		CHECK_U64(node->read, delivered);
	}
}

/* ---- plain delivery ---- */

static void check_arrives(struct net *net, unsigned to, const uint8_t *expected,
			  size_t length)
{
	uint8_t buffer[RIG_FRAME_MAX];
	size_t n = host_read_any(&net->nodes[to], buffer);

	CHECK_INT(n, length);
	if (n == length)
		CHECK_MEM(buffer, expected, length);
}

static void check_unicast(bool direct)
{
	static const size_t lengths[] = {RIG_FRAME_MIN,		  PATH_HEAD_MAX - 1,
					 PATH_HEAD_MAX,		  PATH_HEAD_MAX + 1,
					 1514 + SHMNET_VNET_HLEN, RIG_MTU + 24};
	struct net *net = net_open(direct, 0);
	uint8_t frame[RIG_FRAME_MAX];

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		rig_frame(frame, 1, 2, i, lengths[i]);
		CHECK(host_write(&net->nodes[0], direct ? 1 : 0, frame, lengths[i], 1));
		CHECK_INT(node_send(&net->nodes[0], direct ? 1 : 0), PATH_TX_EMPTY);
		CHECK_INT(node_receive(&net->nodes[1]), 1);
		CHECK_INT(node_receive(&net->nodes[2]), 0);
		check_arrives(net, 1, frame, lengths[i]);
	}
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, unicast_by_the_shared_queue)
{
	check_unicast(false);
}

TEST_CASE(path, unicast_by_the_peers_own_queue)
{
	check_unicast(true);
}

TEST_CASE(path, cast_reaches_every_peer)
{
	struct net *net = net_open(true, 0);
	uint8_t frame[RIG_FRAME_MAX];
	size_t length = rig_frame(frame, 1, RIG_TO_ALL, 7, 100);

	CHECK(host_write(&net->nodes[0], 0, frame, length, NODES - 1));
	node_send(&net->nodes[0], 0);
	for (unsigned i = 1; i < NODES; i++) {
		CHECK_INT(node_receive(&net->nodes[i]), 1);
		check_arrives(net, i, frame, length);
	}
	check_conservation(net);
	net_close(net);
}

/* The frames that need more than a copy: what comes out must not depend on the way. */
static size_t make_special(unsigned which, uint8_t *frame)
{
	switch (which) {
	case 0:
		return rig_frame_tcp(frame, 1, 2, 100, 0);
	case 1:
		return rig_frame_tcp(frame, 1, 2, 60000, 1448);
	case 2:
		return rig_frame_odd_checksum(frame, 1, 2, 50);
	case 3:
		return rig_frame_odd_checksum(frame, 1, 2, 3001); /* beyond the head */
	case 4:
		return rig_frame(frame, 1, 2, 4, 5000);
	}
	return 0;
}

static size_t send_special(struct net *net, unsigned which, uint8_t *ret_frame)
{
	unsigned queue = net->direct ? 1 : 0;
	size_t length = make_special(which, ret_frame);

	if (!length)
		return 0;
	CHECK(host_write(&net->nodes[0], queue, ret_frame, length, 1));
	node_send(&net->nodes[0], queue);
	CHECK_INT(node_receive(&net->nodes[1]), 1);
	return host_read_any(&net->nodes[1], ret_frame);
}

TEST_CASE(path, both_ways_give_the_same_bytes)
{
	struct net *shared = net_open(false, 0), *direct = net_open(true, 0);
	static uint8_t a[RIG_FRAME_MAX], b[RIG_FRAME_MAX];
	size_t length;

	for (unsigned i = 0; (length = send_special(shared, i, a)); i++) {
		CHECK_INT(send_special(direct, i, b), length);
		CHECK_MEM(a, b, length);
	}
	CHECK_U64(shared->nodes[1].read, 5);
	check_conservation(shared);
	check_conservation(direct);
	net_close(shared);
	net_close(direct);
}

TEST_CASE(path, odd_checksum_is_finished_by_the_sender)
{
	struct net *net = net_open(false, 0);
	static uint8_t frame[RIG_FRAME_MAX];
	static const uint8_t no_vnet[SHMNET_VNET_HLEN];
	size_t length = send_special(net, 2, frame);
	uint32_t sum = 0;

	REQUIRE(length == SHMNET_VNET_HLEN + 34 + 50);
	CHECK_MEM(frame, no_vnet, sizeof(no_vnet));
	for (size_t i = SHMNET_VNET_HLEN + 34; i < length; i += 2)
		sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	CHECK_INT(sum, 0xffff);
	net_close(net);
}

/* ---- what a sender drops ---- */

struct sender_case {
	const char *name;
	size_t (*make)(uint8_t *frame);
	enum drop_reason shared; /* by the shared queue */
	enum drop_reason direct; /* by a peer's own */
};

static size_t make_runt(uint8_t *frame)
{
	rig_frame(frame, 1, 2, 0, 100);
	return SHMNET_VNET_HLEN + SHMNET_ETH_HLEN - 1;
}

static size_t make_tiny(uint8_t *frame)
{
	memset(frame, 0, 1);
	return 1;
}

static size_t make_foreign_source(uint8_t *frame)
{
	return rig_frame(frame, 3, 2, 0, 100);
}

static size_t make_command_source(uint8_t *frame)
{
	size_t length = rig_frame(frame, 1, 2, 0, 100);

	frame[SHMNET_VNET_HLEN + SHMNET_ETH_ALEN] |= SHMNET_MAC_COMMAND;
	return length;
}

static size_t make_command_destination(uint8_t *frame)
{
	size_t length = rig_frame(frame, 1, 2, 0, 100);

	frame[SHMNET_VNET_HLEN] |= SHMNET_MAC_COMMAND;
	return length;
}

static size_t make_unknown(uint8_t *frame)
{
	return rig_frame(frame, 1, RIG_TO_FOREIGN, 0, 100);
}

static size_t make_no_peer(uint8_t *frame)
{
	return rig_frame(frame, 1, 0x0777, 0, 100);
}

static size_t make_to_self(uint8_t *frame)
{
	return rig_frame(frame, 1, 1, 0, 100);
}

static size_t make_other_peer(uint8_t *frame)
{
	return rig_frame(frame, 1, 3, 0, 100);
}

static size_t make_bad_offload(uint8_t *frame)
{
	size_t length = rig_frame_tcp(frame, 1, 2, 3000, 1448);

	frame[1] = 3; /* UFO, which nobody was offered */
	return length;
}

static size_t make_oversize(uint8_t *frame)
{
	return rig_frame(frame, 1, 2, 0,
			 SHMNET_VNET_HLEN + SHMNET_ETH_HLEN + RIG_MTU + 1);
}

/* One that would be fit for its checksum to be finished, were it not too long. */
static size_t make_oversize_checksum(uint8_t *frame)
{
	return rig_frame_tcp(frame, 1, 2, RIG_MTU - 20 - 20 + 1, 0);
}

#define DELIVERED DROP_NUM_

static const struct sender_case sender_cases[] = {
	{"runt", make_runt, DROP_RUNT, DROP_RUNT},
	{"tiny", make_tiny, DROP_RUNT, DROP_RUNT},
	{"foreign", make_foreign_source, DROP_FOREIGN_SOURCE, DROP_FOREIGN_SOURCE},
	{"command from", make_command_source, DROP_TAP_COMMAND, DROP_TAP_COMMAND},
	{"command to", make_command_destination, DROP_TAP_COMMAND, DROP_TAP_COMMAND},
	{"unknown", make_unknown, DROP_UNKNOWN_UNICAST, DROP_MISROUTED},
	{"no peer", make_no_peer, DROP_NO_PEER, DROP_MISROUTED},
	{"self", make_to_self, DROP_NO_PEER, DROP_MISROUTED},
	{"other peer", make_other_peer, DELIVERED, DROP_MISROUTED},
	{"bad offload", make_bad_offload, DROP_BAD_OFFLOAD, DROP_BAD_OFFLOAD},
	{"oversize", make_oversize, DROP_BAD_OFFLOAD, DROP_BAD_OFFLOAD},
	{"oversize sum", make_oversize_checksum, DROP_BAD_OFFLOAD, DROP_BAD_OFFLOAD},
};

static void check_sender_case(const struct sender_case *test, bool direct)
{
	struct net *net = net_open(direct, 0);
	enum drop_reason reason = direct ? test->direct : test->shared;
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length = test->make(frame);

	CHECK(host_write(&net->nodes[0], direct ? 1 : 0, frame, length, 1));
	net_settle(net);
	if (reason == DELIVERED)
		CHECK_U64(net->nodes[2].read, 1);
	else if (!CHECK_U64(net->nodes[0].port.counters.drops[reason], 1))
		CHECK_STR(test->name, drop_reason_name(reason));
	CHECK_U64(net->nodes[0].port.counters.unrouted_frames, reason != DELIVERED);
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, sender_drops)
{
	for (unsigned i = 0; i < sizeof(sender_cases) / sizeof(sender_cases[0]); i++) {
		check_sender_case(&sender_cases[i], false);
		check_sender_case(&sender_cases[i], true);
	}
}

TEST_CASE(path, cast_without_a_peer)
{
	struct net *net = net_open(false, 0);
	uint8_t frame[RIG_FRAME_MAX];
	size_t length = rig_frame(frame, 1, RIG_TO_ALL, 0, 100);

	net->nodes[0].view.ports[0].num_links = 0;
	CHECK(host_write(&net->nodes[0], 0, frame, length, 1));
	net_settle(net);
	CHECK_U64(net->nodes[0].port.counters.drops[DROP_NO_PEER], 1);
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, cast_in_a_peers_own_queue)
{
	struct net *net = net_open(true, 0);
	uint8_t frame[RIG_FRAME_MAX];
	size_t length = rig_frame(frame, 1, RIG_TO_ALL, 0, 100);

	CHECK(host_write(&net->nodes[0], 1, frame, length, 1));
	net_settle(net);
	CHECK_U64(net->nodes[0].port.counters.drops[DROP_MISROUTED], 1);
	check_conservation(net);
	net_close(net);
}

/* By the shared queue a full ring costs the frame; the other peer gets all of his. */
TEST_CASE(path, full_ring_by_the_shared_queue)
{
	struct net *net = net_open(false, 0);
	struct node *node = &net->nodes[0];
	static uint8_t frame[RIG_FRAME_MAX];
	unsigned sent = 0;

	while (node->links[1].counters.drops[DROP_RING_FULL] < 3 && sent < 1000) {
		size_t length = rig_frame(frame, 1, RIG_TO_ALL, sent++, 5000);

		CHECK(host_write(node, 0, frame, length, 2));
		node_send(node, 0);
		node_receive(&net->nodes[2]);
		check_arrives(net, 2, frame, length);
	}
	CHECK_U64(node->links[2].counters.drops[DROP_RING_FULL], 0);
	CHECK_U64(net->nodes[2].read, sent);
	net_settle(net);
	CHECK_U64(net->nodes[1].read, sent - 3);
	check_conservation(net);
	net_close(net);
}

/* By its own queue it costs nothing: the frames stay where they are. */
TEST_CASE(path, full_ring_by_the_peers_own_queue)
{
	struct net *net = net_open(true, 0);
	struct node *node = &net->nodes[0];
	static uint8_t frame[RIG_FRAME_MAX];
	uint64_t sent = 0, expected = 0;

	while (sent < 1000 && node_send(node, 1) != PATH_TX_BLOCKED) {
		size_t length = rig_frame(frame, 1, 2, sent++, 5000);

		CHECK(host_write(node, 1, frame, length, 1));
	}
	CHECK(host_write(node, 1, frame, rig_frame(frame, 1, 2, sent++, 5000), 1));
	CHECK_INT(node_send(node, 1), PATH_TX_BLOCKED);
	CHECK_U64(node->links[1].counters.sent_frames, sent - 1);

	while (expected < sent) {
		size_t length;

		if (node_receive(&net->nodes[1]) + (unsigned)node_send(node, 1) == 0)
			node_receive(&net->nodes[1]);
		while ((length = host_read_any(&net->nodes[1], frame)))
			CHECK(rig_frame_is(frame, length, 1, 2, expected++));
		REQUIRE(!test_failed());
	}
	check_conservation(net);
	net_close(net);
}

/* A connection at rest takes no frame and loses count of none. */
static void check_rest(bool direct)
{
	struct net *net = net_open(direct, 0);
	struct node *node = &net->nodes[0];
	uint8_t frame[RIG_FRAME_MAX];
	size_t length = rig_frame(frame, 1, 2, 0, 100);

	node->links[1].error = -EIO;
	CHECK(host_write(node, direct ? 1 : 0, frame, length, 1));
	net_settle(net);
	CHECK_U64(node->links[1].counters.drops[DROP_PEER_DOWN], 1);
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, link_at_rest)
{
	check_rest(false);
	check_rest(true);
}

/* ---- pauses ---- */

static void send_numbered(struct node *node, unsigned queue, uint64_t number)
{
	uint8_t frame[RIG_FRAME_MAX];

	CHECK(host_write(node, queue, frame, rig_frame(frame, 1, 2, number, 100), 1));
}

/* Nothing goes out, and what was under way is not delivered; then both go on. */
static void check_pause_here(bool direct)
{
	struct net *net = net_open(direct, 0);
	struct node *a = &net->nodes[0], *b = &net->nodes[1];
	uint8_t frame[RIG_FRAME_MAX];

	send_numbered(a, direct, 0);
	node_send(a, direct);
	b->port.is_paused = true;
	CHECK_INT(node_receive(b), 1);
	CHECK_U64(b->links[0].counters.received_paused, 1);
	CHECK_INT(host_read_any(b, frame), 0);

	a->port.is_paused = true;
	send_numbered(a, direct, 1);
	CHECK_INT(node_send(a, direct), PATH_TX_EMPTY);
	CHECK_U64(a->port.counters.drops[DROP_PAUSED], 1);

	a->port.is_paused = b->port.is_paused = false;
	send_numbered(a, direct, 2);
	node_send(a, direct);
	CHECK_INT(node_receive(b), 1);
	CHECK(rig_frame_is(frame, host_read_any(b, frame), 1, 2, 2));
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, pause_of_the_network)
{
	check_pause_here(false);
	check_pause_here(true);
}

/* The others are served on, and casts reach them. */
static void check_pause_there(bool direct)
{
	struct net *net = net_open(direct, 0);
	struct node *node = &net->nodes[0];
	uint8_t frame[RIG_FRAME_MAX];
	size_t length;

	node->links[1].is_paused = true;
	send_numbered(node, direct, 0);
	CHECK_INT(node_send(node, direct), PATH_TX_EMPTY);
	CHECK_U64(node->links[1].counters.drops[DROP_PAUSED], 1);
	length = rig_frame(frame, 1, RIG_TO_ALL, 1, 100);
	CHECK(host_write(node, 0, frame, length, 2));
	node_send(node, 0);
	CHECK_U64(node->links[1].counters.drops[DROP_PAUSED], 2);
	CHECK_INT(node_receive(&net->nodes[1]), 0);
	CHECK_INT(node_receive(&net->nodes[2]), 1);
	check_arrives(net, 2, frame, length);

	node->links[1].is_paused = false;
	send_numbered(node, direct, 2);
	node_send(node, direct);
	CHECK_INT(node_receive(&net->nodes[1]), 1);
	CHECK(rig_frame_is(frame, host_read_any(&net->nodes[1], frame), 1, 2, 2));
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, pause_at_the_peer)
{
	check_pause_there(false);
	check_pause_there(true);
}

/* ---- what a peer does not take ---- */

#define SUPER_DATA   60000
#define SUPER_SIZE   500
#define SUPER_PIECES ((SUPER_DATA + SUPER_SIZE - 1) / SUPER_SIZE)

static uint8_t super[RIG_FRAME_MAX];
static struct segment pieces;

static size_t begin_super(unsigned to)
{
	size_t length = rig_frame_tcp(super, 1, to, SUPER_DATA, SUPER_SIZE);

	CHECK_INT(segment_begin(&pieces, super, length), 0);
	return length;
}

static void check_piece_arrives(struct net *net)
{
	static uint8_t piece[RIG_FRAME_MAX];
	size_t length = segment_next(&pieces, piece);

	check_arrives(net, 1, piece, length);
}

/* The second node lacks what the third one has. */
static void check_cut(bool direct)
{
	struct net *net = net_open(direct, 0);
	struct node *node = &net->nodes[0];
	size_t length = begin_super(2);

	node->links[1].lacks = SHMNET_OFFLOAD_TSO4;
	CHECK(host_write(node, direct ? 1 : 0, super, length, SUPER_PIECES));
	node_send(node, direct ? 1 : 0);
	while (node_receive(&net->nodes[1]))
		;
	for (unsigned i = 0; i < SUPER_PIECES; i++)
		check_piece_arrives(net);
	CHECK_INT(segment_length(&pieces), 0);
	CHECK_U64(node->links[1].counters.sent_bytes,
		  SUPER_DATA + SUPER_PIECES * (SHMNET_ETH_HLEN + 40));

	length = begin_super(3);
	CHECK(host_write(node, direct ? 2 : 0, super, length, 1));
	node_send(node, direct ? 2 : 0);
	CHECK_INT(node_receive(&net->nodes[2]), 1);
	check_arrives(net, 2, super, length);
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, super_frame_is_cut_for_who_lacks_it)
{
	check_cut(false);
	check_cut(true);
}

static void check_whole(bool direct)
{
	struct net *net = net_open(direct, 0);
	struct node *node = &net->nodes[0];
	size_t length = begin_super(2);

	node->links[1].lacks = SHMNET_OFFLOADS & ~SHMNET_OFFLOAD_TSO4;
	CHECK(host_write(node, direct ? 1 : 0, super, length, 1));
	node_send(node, direct ? 1 : 0);
	CHECK_INT(node_receive(&net->nodes[1]), 1);
	check_arrives(net, 1, super, length);
	node->links[1].lacks = SHMNET_OFFLOADS;
	length = rig_frame_tcp(super, 1, 2, 5000, 0);
	memset(super + 2, 0, 2); /* only a super-frame keeps the headers' length */
	CHECK(host_write(node, direct ? 1 : 0, super, length, 1));
	node_send(node, direct ? 1 : 0);
	CHECK_INT(node_receive(&net->nodes[1]), 1);
	check_arrives(net, 1, super, length);
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, what_it_takes_stays_whole)
{
	check_whole(false);
	check_whole(true);
}

/* Sent whole it would be the peer's to refuse; nothing can be made of it here. */
static void check_cannot_cut(bool direct)
{
	struct net *net = net_open(direct, 0);
	struct node *node = &net->nodes[0];
	size_t length = begin_super(2);

	node->links[1].lacks = SHMNET_OFFLOADS;
	super[SHMNET_VNET_HLEN + SHMNET_ETH_HLEN + 2] ^= 1; /* of the IP length */
	CHECK(host_write(node, direct ? 1 : 0, super, length, 1));
	node_send(node, direct ? 1 : 0);
	CHECK_INT(node_receive(&net->nodes[1]), 0);
	CHECK_U64(node->port.counters.drops[DROP_BAD_OFFLOAD], 1);
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, super_frame_that_cannot_be_cut)
{
	check_cannot_cut(false);
	check_cannot_cut(true);
}

static unsigned count_room(const struct link *link)
{
	uint64_t used = shmnet_ring_tx_used(&link->tx) + SHMNET_RING_COMMAND_ROOM;
	size_t length = SHMNET_VNET_HLEN + SHMNET_ETH_HLEN + 40 + SUPER_SIZE;

	return (unsigned)((link->tx.mask + 1 - used) / shmnet_record_size(length));
}

/* By the shared queue the pieces that find no room are lost, and the others arrive. */
TEST_CASE(path, ring_that_is_full_between_two_pieces)
{
	struct net *net = net_open(false, 0);
	struct node *node = &net->nodes[0];
	struct link *link = &node->links[1];
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length;
	unsigned room;

	link->lacks = SHMNET_OFFLOAD_TSO4;
	while (count_room(link) > SUPER_PIECES / 2) {
		length = rig_frame(frame, 1, 2, 0, 5000);
		CHECK(host_write(node, 0, frame, length, 1));
		node_send(node, 0);
	}
	room = count_room(link);
	CHECK(room > 0);
	length = begin_super(2);
	CHECK(host_write(node, 0, super, length, SUPER_PIECES));
	node_send(node, 0);
	net_settle(net);
	CHECK(link->counters.drops[DROP_RING_FULL] >= SUPER_PIECES - room - 1);
	CHECK(link->counters.drops[DROP_RING_FULL] <= SUPER_PIECES - room);
	check_conservation(net);
	net_close(net);
}

static void check_no_piece_lost(unsigned others)
{
	struct net *net = net_open(true, 0);
	struct node *node = &net->nodes[0];
	static uint8_t frame[RIG_FRAME_MAX];
	bool blocked = false;

	node->links[1].lacks = SHMNET_OFFLOAD_TSO4;
	for (unsigned i = 0; i < others; i++)
		CHECK(host_write(node, 1, frame, rig_frame(frame, 1, 2, i, 5000), 1));
	for (unsigned i = 0; i < 4; i++) {
		size_t length = begin_super(2);

		CHECK(host_write(node, 1, super, length, SUPER_PIECES));
		blocked |= node_send(node, 1) == PATH_TX_BLOCKED;
	}
	CHECK(blocked);
	net_settle(net);
	CHECK_U64(net->nodes[1].read, 4 * SUPER_PIECES + others);
	CHECK_U64(node->links[1].counters.drops[DROP_RING_FULL], 0);
	check_conservation(net);
	net_close(net);
}

/* By its own queue they all find room: it is not read before there is enough. */
TEST_CASE(path, no_piece_is_lost_by_the_peers_own_queue)
{
	for (unsigned others = 0; others < 16; others++)
		check_no_piece_lost(others);
}

/* 19 long frames are most of a ring: the reader is told before the last is written. */
TEST_CASE(path, a_long_burst_is_shown_by_the_quarter_ring)
{
	struct net *net = net_open(true, 3);
	struct node *node = &net->nodes[0];
	static uint8_t frame[RIG_FRAME_MAX];

	for (unsigned i = 0; i < 19; i++)
		CHECK(host_write(node, 1, frame, rig_frame(frame, 1, 2, i, 9000), 1));
	CHECK_INT(node_send(node, 1), PATH_TX_EMPTY);
	CHECK_U64(node->links[1].fabric->bells_rung, 2);
	net_settle(net);
	CHECK_U64(net->nodes[1].read, 19);
	check_conservation(net);
	net_close(net);
}

/* ---- what a receiver drops ---- */

/* A record that the sender's own checks would never have let out. */
static void forge(struct net *net, const uint8_t *payload, size_t length, uint32_t flags)
{
	struct link *link = &net->nodes[0].links[1];
	uint8_t *place = NULL;

	REQUIRE(shmnet_ring_reserve(&link->tx, (uint32_t)length, flags, &place) == 0);
	memcpy(place, payload, length);
	shmnet_ring_submit(&link->tx, (uint32_t)length, flags);
	counter_add(&link->counters.sent_frames, 1);
	net->nodes[0].written++;
	CHECK_INT(link->fabric->ops->publish(link->fabric, &link->tx), 0);
}

static void check_receiver_drop(size_t length, const uint8_t *frame, uint32_t flags,
				enum drop_reason reason)
{
	struct net *net = net_open(false, 0);

	forge(net, frame, length, flags);
	CHECK_INT(node_receive(&net->nodes[1]), 1);
	if (!CHECK_U64(net->nodes[1].links[0].counters.drops[reason], 1))
		CHECK_STR("drop", drop_reason_name(reason));
	CHECK_INT(net->nodes[1].links[0].error, 0);
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, receiver_drops_by_addresses)
{
	static uint8_t frame[RIG_FRAME_MAX];

	rig_frame(frame, 1, 2, 0, 100);
	check_receiver_drop(SHMNET_VNET_HLEN + SHMNET_ETH_HLEN - 1, frame, 0,
			    DROP_BAD_LENGTH);
	check_receiver_drop(1, frame, 0, DROP_BAD_LENGTH);
	check_receiver_drop(100, frame, SHMNET_RECORD_CAST, DROP_BAD_DESTINATION);
	rig_frame(frame, 3, 2, 0, 100);
	check_receiver_drop(100, frame, 0, DROP_BAD_SOURCE);
	rig_frame(frame, 1, 3, 0, 100);
	check_receiver_drop(100, frame, 0, DROP_BAD_DESTINATION);
	rig_frame(frame, 1, RIG_TO_ALL, 0, 100);
	check_receiver_drop(100, frame, 0, DROP_BAD_DESTINATION);
}

TEST_CASE(path, receiver_drops_by_headers)
{
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length;

	length = rig_frame_tcp(frame, 1, 2, 3000, 1448);
	frame[1] = 4; /* TCPv6, says the header */
	check_receiver_drop(length, frame, 0, DROP_BAD_HEADER);
	length = rig_frame_odd_checksum(frame, 1, 2, 50);
	check_receiver_drop(length, frame, 0, DROP_BAD_HEADER);
	length = make_oversize(frame);
	check_receiver_drop(length, frame, 0, DROP_OVERSIZE);
	length = rig_frame_tcp(frame, 1, 2, 60000, RIG_MTU - 40 + 1);
	check_receiver_drop(length, frame, 0, DROP_OVERSIZE);
}

TEST_CASE(path, receiver_drops_what_it_said_it_lacks)
{
	struct net *net = net_open(false, 0);
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length = rig_frame_tcp(frame, 1, 2, 3000, 1448);

	net->nodes[1].port.offloads = SHMNET_OFFLOADS & ~SHMNET_OFFLOAD_TSO4;
	forge(net, frame, length, 0);
	CHECK_INT(node_receive(&net->nodes[1]), 1);
	CHECK_U64(net->nodes[1].links[0].counters.drops[DROP_BAD_HEADER], 1);
	CHECK_INT(net->nodes[1].links[0].error, 0);
	net->nodes[1].port.offloads = SHMNET_OFFLOAD_TSO4;
	forge(net, frame, length, 0);
	CHECK_INT(node_receive(&net->nodes[1]), 1);
	check_arrives(net, 1, frame, length);
	check_conservation(net);
	net_close(net);
}

static void check_tap_refuses(const char *path, int flags, enum drop_reason reason)
{
	struct net *net = net_open(false, 0);
	int fd = open(path, flags | O_CLOEXEC), own = net->nodes[1].port.queues[0].fd;
	uint8_t frame[RIG_FRAME_MAX];

	REQUIRE(fd >= 0);
	net->nodes[1].port.queues[0].fd = fd;
	forge(net, frame, rig_frame(frame, 1, 2, 0, 100), 0);
	node_receive(&net->nodes[1]);
	net->nodes[1].port.queues[0].fd = own;
	CHECK_U64(net->nodes[1].links[0].counters.drops[reason], 1);
	check_conservation(net);
	close(fd);
	net_close(net);
}

TEST_CASE(path, tap_refuses_a_frame)
{
	check_tap_refuses("/proc/self/mem", O_RDWR, DROP_TAP_DOWN); /* EIO at 0 */
	check_tap_refuses("/dev/full", O_WRONLY, DROP_TAP_ERROR);
}

TEST_CASE(path, command_record_is_a_fault)
{
	struct net *net = net_open(false, 0);
	uint8_t frame[100] = {0};

	forge(net, frame, sizeof(frame), SHMNET_RECORD_COMMAND);
	CHECK_INT(node_receive(&net->nodes[1]), 0);
	CHECK_INT(net->nodes[1].links[0].error, -EPROTO);
	CHECK_INT(node_receive(&net->nodes[1]), 0);
	net_close(net);
}

/* ---- a TAP that ends ---- */

/* The host's end is closed: nothing can be read, and a turn must not go on for ever. */
TEST_CASE(path, queue_that_ends_is_gone)
{
	struct net *net = net_open(true, 0);
	struct node *node = &net->nodes[0];

	for (unsigned q = 0; q < 2; q++) {
		close(node->tap.host[q]);
		node->tap.host[q] = -1;
		CHECK_INT(node_send(node, q), PATH_TX_GONE);
	}
	CHECK_U64(node->port.counters.unrouted_frames, 0);
	net_close(net);
}

/* A frame that the kernel loses is counted, and the port lives on. */
static void check_lost_frames(bool direct)
{
	struct net *net = net_open(direct, 0);
	struct node *node = &net->nodes[0];
	struct queue *queue = &node->port.queues[direct ? 1 : 0];
	int own = queue->fd;

	queue->fd = epoll_create1(EPOLL_CLOEXEC); /* read(2) of it is EINVAL */
	CHECK_INT(node_send(node, queue->index), PATH_TX_MORE);
	close(queue->fd);
	queue->fd = own;
	CHECK_U64(node->port.counters.drops[DROP_BAD_OFFLOAD], PATH_BURST);
	node->written += PATH_BURST;
	check_conservation(net);
	net_close(net);
}

TEST_CASE(path, frames_that_the_kernel_loses)
{
	check_lost_frames(false);
	check_lost_frames(true);
}

/* ---- a fabric that fails ---- */

static void check_fabric_failure(enum wire_op op, unsigned side, int error, int expected)
{
	struct net *net = net_open(false, 77);
	struct link *link = side ? &net->nodes[1].links[0] : &net->nodes[0].links[1];
	uint8_t frame[RIG_FRAME_MAX];
	size_t length = rig_frame(frame, 1, 2, 0, 100);

	wire_break(link->fabric, op, error);
	CHECK(host_write(&net->nodes[0], 0, frame, length, 1));
	net_settle(net);
	CHECK_INT(link->error, expected);
	CHECK_INT(net->nodes[0].links[2].error, 0);
	net_close(net);
}

TEST_CASE(path, failing_fabric_puts_the_link_to_rest)
{
	check_fabric_failure(WIRE_PUBLISH, 0, -EIO, -EIO);
	check_fabric_failure(WIRE_PUBLISH, 0, -EPROTO, -EPROTO);
	check_fabric_failure(WIRE_POLL, 1, -EIO, -EIO);
	check_fabric_failure(WIRE_POLL, 1, -EPROTO, -EPROTO);
	check_fabric_failure(WIRE_CREDIT, 1, -EIO, -EIO);
	check_fabric_failure(WIRE_CREDIT, 1, -EPROTO, -EPROTO);
}

/* The peer's words are nonsense: the link rests, and nobody else notices. */
TEST_CASE(path, peer_that_lies_about_its_positions)
{
	struct net *net = net_open(true, 0);
	struct node *node = &net->nodes[0];
	static uint8_t frame[RIG_FRAME_MAX];

	node->links[1].rx.words->head = 1;
	node->links[2].tx.words->tail = 1;
	CHECK_INT(node_receive(node), 0);
	CHECK_INT(node->links[1].error, -EPROTO);
	CHECK_INT(node->links[2].error, 0);
	for (unsigned i = 0; i < 100 && !node->links[2].error; i++) {
		CHECK(host_write(node, 2, frame, rig_frame(frame, 1, 3, i, 9000), 1));
		node_send(node, 2);
	}
	CHECK_INT(node->links[2].error, -EPROTO);
	net_close(net);
}

/* ---- salvage ---- */

TEST_CASE(path, salvage_delivers_what_was_finished)
{
	struct net *net = net_open(false, 0);
	struct link *link = &net->nodes[0].links[1];
	uint8_t frame[RIG_FRAME_MAX];
	uint8_t *place = NULL;
	size_t length;

	for (unsigned i = 0; i < 5; i++) {
		length = rig_frame(frame, 1, 2, i, 100 + i);
		REQUIRE(shmnet_ring_reserve(&link->tx, (uint32_t)length, 0, &place) == 0);
		memcpy(place, frame, length);
		shmnet_ring_submit(&link->tx, (uint32_t)length, 0);
		if (i == 1)
			shmnet_ring_publish(&link->tx);
	}
	/* The sixth: filled, its header not written. */
	REQUIRE(shmnet_ring_reserve(&link->tx, 100, 0, &place) == 0);
	memcpy(place, frame, 100);

	path_rx_salvage(&net->nodes[1].links[0], &net->nodes[1].scratch);
	for (unsigned i = 0; i < 5; i++) {
		length = host_read_any(&net->nodes[1], frame);
		CHECK_INT(length, 100 + i);
		CHECK(rig_frame_is(frame, length, 1, 2, i));
	}
	CHECK_INT(host_read_any(&net->nodes[1], frame), 0);
	CHECK_U64(net->nodes[1].links[0].counters.delivered_frames, 5);
	net_close(net);
}

/* ---- everything at once ---- */

/* In all but the addresses and the ethertype, so that it comes further. */
static size_t random_garbage(uint64_t *random, unsigned from, unsigned to, uint8_t *frame,
			     size_t length)
{
	size_t ethertype = SHMNET_VNET_HLEN + SHMNET_ETH_HLEN - 2;

	rig_frame(frame, from, to, 0, length);
	for (size_t i = 0; i < SHMNET_VNET_HLEN; i++)
		frame[i] = (uint8_t)(rig_random(random) % 8);
	frame[ethertype] = 0x08;
	frame[ethertype + 1] = 0x00;
	for (size_t i = ethertype + 2; i < length; i++)
		frame[i] = (uint8_t)rig_random(random);
	frame[ethertype + 2] = 0x45;
	return length;
}

static size_t random_frame(uint64_t *random, unsigned from, uint8_t *frame,
			   unsigned *ret_receivers)
{
	unsigned to = node_id((from + rig_random(random) % (NODES - 1)) % NODES);
	uint64_t kind = rig_random(random) % 16;
	size_t length = RIG_FRAME_MIN + rig_random(random) % 2000;

	*ret_receivers = 1;
	if (kind < 6)
		return rig_frame(frame, from, to, kind, length);
	if (kind < 8) {
		*ret_receivers = NODES - 1;
		return rig_frame(frame, from, RIG_TO_ALL, kind, length);
	}
	if (kind < 10)
		return rig_frame_tcp(frame, from, to, rig_random(random) % 60000, 1448);
	if (kind < 11)
		return rig_frame_odd_checksum(frame, from, to, 6 + length % 1400);
	if (kind < 13)
		return sender_cases[rig_random(random) % 12].make(frame);
	if (kind < 15)
		return random_garbage(random, from, to, frame, length);
	for (size_t i = 0; i < length; i++)
		frame[i] = (uint8_t)rig_random(random);
	return length;
}

/* A burst of the host's, then a turn of something. */
static void soak_step(struct net *net, uint64_t *random)
{
	static uint8_t frame[RIG_FRAME_MAX];
	unsigned place = rig_random(random) % NODES, receivers;
	struct node *node = &net->nodes[place];
	unsigned queue = rig_random(random) % QUEUES;
	size_t length = random_frame(random, node_id(place), frame, &receivers);

	if (net->direct && queue != 0)
		receivers = 1;
	host_write(node, queue, frame, length, receivers);
	switch (rig_random(random) % 4) {
	case 0:
		node_send(node, rig_random(random) % QUEUES);
		break;
	case 1:
		node_receive(&net->nodes[rig_random(random) % NODES]);
		break;
	case 2:
		net_step_wires(net);
		break;
	case 3:
		for (unsigned i = 0; i < 4; i++)
			host_read_any(node, frame);
		break;
	}
}

static void soak(bool direct, uint64_t seed, bool wired)
{
	struct net *net = net_open(direct, wired ? seed : 0);
	uint64_t random = seed;

	for (unsigned i = 0; i < 20000; i++)
		soak_step(net, &random);
	net_settle(net);
	check_conservation(net);
	for (unsigned i = 0; i < NODES; i++) {
		for (unsigned j = 0; j < NODES; j++)
			CHECK_INT(net->nodes[i].links[j].error, 0);
		CHECK(net->nodes[i].read > 0);
	}
	net_close(net);
}

TEST_CASE(path, soak_shared)
{
	soak(false, 0x1234567, false);
}

TEST_CASE(path, soak_direct)
{
	soak(true, 0x7654321, false);
}

TEST_CASE(path, soak_over_a_spiteful_fabric)
{
	for (uint64_t seed = 1; seed <= 4; seed++)
		soak(seed & 1, seed * 0x9e3779b97f4a7c15ull, true);
}
