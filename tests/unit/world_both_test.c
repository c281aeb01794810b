/*
 * Worlds with a rendezvous, with seeds, or with both, in one process: by which of them a
 * node appears, is dialled, and disappears. Plain TCP on the loopback of a namespace.
 */
#include "base/log.h"
#include "control/offer_rdma.h"
#include "control/world_event.h"
#include "data/plane.h"

#include "loop.h"
#include "netns.h"
#include "shim.h"

#include <errno.h>
#include <stdarg.h>

#define NODES 3

struct node {
	struct plane *plane;
	struct world *world;
	unsigned ports[1];
	struct config_fabric shm, rdma;
	char name[CONFIG_NAME_MAX];
	unsigned appeared[NODES + 1]; /* by id */
	unsigned disappeared[NODES + 1];
	unsigned accepted;
	bool was_remote;
	unsigned heard;	 /* messages */
	uint8_t last[8]; /* bytes of the last one */
	struct world_channel *channel;
};

struct rig {
	struct loop loop;
	char error[WORLD_EVENT_ERROR_MAX];
	struct node nodes[NODES];
};

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...);

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	(void)level;
	(void)subject;
	(void)format;
}

/* ---- no device is needed for what is tested here ---- */

int __wrap_offer_rdma_new(struct offer *offer, struct event_base *base,
			  const struct config_fabric *config,
			  struct offer_rdma **ret_rdma, char *ret_error,
			  size_t error_size);
void __wrap_offer_rdma_free(struct offer_rdma *rdma);

int __wrap_offer_rdma_new(struct offer *offer, struct event_base *base,
			  const struct config_fabric *config,
			  struct offer_rdma **ret_rdma, char *ret_error,
			  size_t error_size)
{
	(void)offer;
	(void)base;
	(void)config;
	(void)ret_error;
	(void)error_size;
	*ret_rdma = NULL;
	return 0;
}

void __wrap_offer_rdma_free(struct offer_rdma *rdma)
{
	CHECK(!rdma);
}

/* ---- what a node hears ---- */

static void on_message(void *arg, const uint8_t *bytes, size_t length,
		       struct world_parcel *parcel)
{
	struct node *node = arg;

	CHECK_INT(parcel->fd, -1);
	node->heard++;
	memset(node->last, 0, sizeof(node->last));
	memcpy(node->last, bytes, length < sizeof(node->last) ? length : 7);
}

static void on_closed(void *arg, int error)
{
	(void)arg;
	(void)error;
}

static const struct world_channel_handler channel_handler = {on_message, on_closed};

static void hang_up(struct node *node)
{
	if (node->channel)
		node->world->ops->channel_close(node->channel);
	node->channel = NULL;
}

static void on_accepted(void *arg, struct world_channel *channel)
{
	struct node *node = arg;

	hang_up(node);
	node->accepted++;
	node->was_remote = node->world->ops->channel_is_remote(channel);
	node->channel = channel;
	node->world->ops->channel_set_handler(channel, &channel_handler, node);
}

static void on_appeared(void *arg, uint16_t node_id)
{
	((struct node *)arg)->appeared[node_id]++;
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	((struct node *)arg)->disappeared[node_id]++;
}

static const struct world_handler handler = {
	.accepted = on_accepted,
	.appeared = on_appeared,
	.disappeared = on_disappeared,
};

/* ---- nodes ---- */

/* Node `id` at 127.0.0.<id>, with node 1 as its seed. */
static void start(struct rig *rig, uint16_t id, bool has_shm, bool has_rdma)
{
	const struct plane_options plane_options = {0};
	struct node *node = &rig->nodes[id - 1];
	struct world_event_options options = {
		.shm = has_shm ? &node->shm : NULL,
		.rdma = has_rdma ? &node->rdma : NULL,
		.cluster = "demo",
		.name = node->name,
		.node_id = id,
		.ports = node->ports,
		.arg = node,
	};
	char address[CONFIG_ENDPOINT_MAX];

	snprintf(node->name, sizeof(node->name), "n%u", id);
	snprintf(address, sizeof(address), "127.0.0.%u:7471", id);
	node->shm =
		(struct config_fabric){.name = (char *)"local", .path = rig->loop.dir};
	node->rdma = (struct config_fabric){.name = (char *)"roce",
					    .kind = FABRIC_KIND_RDMA,
					    .security = FABRIC_SECURITY_NONE,
					    .num_seeds = 1};
	if (config_endpoint_parse(address, &node->rdma.listen, NULL) < 0 ||
	    config_endpoint_parse("127.0.0.1:7471", &node->rdma.seeds[0], NULL) < 0 ||
	    plane_new(&plane_options, &node->plane) < 0)
		abort();
	options.plane = node->plane;
	if (!CHECK_INT(world_event_new(rig->loop.base, &options, &node->world, rig->error,
				       sizeof(rig->error)),
		       0))
		abort();
	node->world->handler = &handler;
	node->world->handler_arg = node;
	CHECK_INT(world_event_start(node->world, rig->error, sizeof(rig->error)), 0);
}

static void stop(struct node *node)
{
	hang_up(node);
	world_event_free(node->world);
	plane_free(node->plane);
	memset(node, 0, sizeof(*node));
}

/* NULL, or why there can be none. */
static const char *rig_open(struct rig *rig)
{
	struct ifreq ifr = {.ifr_flags = IFF_UP};
	const char *why = netns_enter();

	memset(rig, 0, sizeof(*rig));
	if (why)
		return why;
	if (change_interface("lo", SIOCSIFFLAGS, &ifr) < 0 || !loop_open(&rig->loop))
		abort();
	return NULL;
}

static void rig_close(struct rig *rig)
{
	for (unsigned i = 0; i < NODES; i++) {
		if (rig->nodes[i].world)
			stop(&rig->nodes[i]);
	}
	loop_close(&rig->loop);
}

/* It is reached the one way or the other, and what is said first arrives once. */
static void check_dial(struct rig *rig, uint16_t from, uint16_t to, bool is_remote)
{
	struct node *dialler = &rig->nodes[from - 1], *other = &rig->nodes[to - 1];
	const struct world_ops *ops = dialler->world->ops;
	struct world_channel *channel;
	unsigned heard = other->heard;

	if (!CHECK_INT(ops->dial(dialler->world, to, &channel), 0))
		return;
	CHECK_INT(ops->channel_is_remote(channel), is_remote);
	CHECK_INT(ops->channel_send(channel, (const uint8_t *)"hello", 5, -1), 0);
	LOOP_WAIT(&rig->loop, other->heard > heard);
	CHECK_INT(other->heard, heard + 1);
	CHECK_STR((const char *)other->last, "hello");
	CHECK_INT(other->was_remote, is_remote);
	ops->channel_close(channel);
}

TEST_CASE(world_both, who_is_in_the_rendezvous_is_reached_by_it)
{
	struct rig rig;
	struct node *first = &rig.nodes[0];
	const char *why = rig_open(&rig);

	if (why)
		TEST_SKIP(why);
	start(&rig, 1, true, true);
	start(&rig, 2, true, true);
	start(&rig, 3, false, true);
	LOOP_WAIT(&rig.loop,
		  first->appeared[2] && first->appeared[3] && rig.nodes[2].appeared[2]);
	CHECK(world_event_is_local(first->world, 2));
	CHECK(!world_event_is_local(first->world, 3));
	check_dial(&rig, 1, 2, false);
	check_dial(&rig, 1, 3, true);
	check_dial(&rig, 3, 2, true); /* which has both */
	check_dial(&rig, 2, 1, false);
	CHECK_INT(first->appeared[1], 0);
	rig_close(&rig);
}

/* It is not gone as long as anybody knows it elsewhere. */
TEST_CASE(world_both, who_leaves_the_rendezvous_may_be_on_another_machine)
{
	struct world_channel *channel;
	struct rig rig;
	struct node *first = &rig.nodes[0];
	const char *why = rig_open(&rig);

	if (why)
		TEST_SKIP(why);
	start(&rig, 1, true, true);
	start(&rig, 2, true, true);
	start(&rig, 3, false, true);
	LOOP_WAIT(&rig.loop, rig.nodes[2].appeared[2] && first->appeared[2]);
	stop(&rig.nodes[1]);
	LOOP_WAIT(&rig.loop, !world_event_is_local(first->world, 2));
	CHECK_INT(first->disappeared[2], 0);
	start(&rig, 2, false, true);
	LOOP_WAIT(&rig.loop, first->appeared[2] > 1);
	check_dial(&rig, 1, 2, true);
	CHECK_INT(first->world->ops->dial(first->world, 9, &channel), -ENOENT);
	rig_close(&rig);
}

/* Without a fabric of kind shm there is nobody to share a ring with. */
TEST_CASE(world_both, a_node_without_a_rendezvous)
{
	struct world_channel *channel;
	struct rig rig;
	struct world *world;
	const char *why = rig_open(&rig);
	uint64_t epoch = 7;

	if (why)
		TEST_SKIP(why);
	start(&rig, 1, false, true);
	world = rig.nodes[0].world;
	CHECK_INT(world->ops->dial(world, 2, &channel), -ENOENT);
	CHECK_INT(world->ops->claim_epoch(world, 0, 0, true, 100, &epoch), -EOPNOTSUPP);
	CHECK_U64(epoch, 7);
	start(&rig, 2, false, true);
	LOOP_WAIT(&rig.loop, rig.nodes[0].appeared[2] && rig.nodes[1].appeared[1]);
	check_dial(&rig, 1, 2, true);
	CHECK_INT(loop_count_files(&rig.loop), 0);
	rig_close(&rig);
}

TEST_CASE(world_both, a_node_without_seeds)
{
	struct rig rig;
	const char *why = rig_open(&rig);

	if (why)
		TEST_SKIP(why);
	start(&rig, 1, true, false);
	CHECK(!world_event_remote(rig.nodes[0].world));
	start(&rig, 2, true, true);
	LOOP_WAIT(&rig.loop, rig.nodes[0].appeared[2] && rig.nodes[1].appeared[1]);
	check_dial(&rig, 1, 2, false);
	stop(&rig.nodes[1]);
	LOOP_WAIT(&rig.loop, rig.nodes[0].disappeared[2] == 1);
	rig_close(&rig);
}
