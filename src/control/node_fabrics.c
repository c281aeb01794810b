/*
 * What the node tells of its fabrics: in which state they are, whom their seeds reach,
 * and why a peer is reached by which.
 */
#include "control/node_internal.h"

#include "base/clock.h"
#include "control/offer_rdma.h"
#include "control/remote.h"
#include "control/seeds.h"

#include <errno.h>
#include <string.h>

static const enum report_seed_state state_of_seed[] = {
	[SEED_DIALLING] = REPORT_SEED_CONNECTING,
	[SEED_UP] = REPORT_SEED_UP,
	[SEED_WAITING] = REPORT_SEED_WAITING,
	[SEED_OURSELVES] = REPORT_SEED_SELF,
};

/* NULL: there is no fabric of kind rdma. */
static const struct remote *find_remote(const struct node *node)
{
	return world_event_remote(node->world);
}

static void fill_rdma(const struct node *node, const struct config_fabric *fabric,
		      struct report_fabric *report)
{
	const struct offer_rdma *rdma = world_event_rdma(node->world);
	const char *down = offer_rdma_down(rdma);

	REPORT_SET(report->device, offer_rdma_device(rdma));
	REPORT_SET(report->listen, fabric->listen.text);
	report->security = fabric->security;
	if (!down)
		return;
	report->state = REPORT_STATE_DOWN;
	REPORT_SET(report->reason, down);
}

static void fill_fabric(const struct node *node, const struct config_fabric *fabric,
			struct report_fabric *report)
{
	REPORT_SET(report->name, fabric->name);
	report->kind = fabric->kind;
	report->state = REPORT_STATE_UP;
	if (fabric->kind == FABRIC_KIND_RDMA)
		fill_rdma(node, fabric, report);
	else
		REPORT_SET(report->path, fabric->path);
}

/* ---- seeds ---- */

static void count_seed(const struct seed_report *seed, void *arg)
{
	(void)seed;
	++*(unsigned *)arg;
}

static void add_seed(const struct seed_report *seed, void *arg)
{
	struct report_status *status = arg;
	struct report_seed *report = &status->seeds[status->num_seeds++];

	REPORT_SET(report->address, seed->address);
	REPORT_SET(report->node, seed->node);
	REPORT_SET(report->reason, seed->reason);
	report->state = state_of_seed[seed->state];
	report->since_ms = (clock_now_ns() - seed->since_ns) / NSEC_PER_MSEC;
}

static int fill_seeds(const struct node *node, struct report_status *report)
{
	const struct remote *remote = find_remote(node);
	unsigned room = 0;

	if (!remote)
		return 0;
	seeds_each(remote_seeds(remote), count_seed, &room);
	report->seeds = report_list_new(room, sizeof(*report->seeds));
	if (!report->seeds)
		return -ENOMEM;
	seeds_each(remote_seeds(remote), add_seed, report);
	return 0;
}

int node_fill_fabrics(const struct node *node, struct report_status *report)
{
	const struct node_config *config = node->config;

	report->fabrics = report_list_new(config->num_fabrics, sizeof(*report->fabrics));
	if (!report->fabrics)
		return -ENOMEM;
	report->num_fabrics = config->num_fabrics;
	for (unsigned i = 0; i < config->num_fabrics; i++)
		fill_fabric(node, &config->fabrics[i], &report->fabrics[i]);
	return fill_seeds(node, report);
}

const char *node_cluster_words(const struct node *node)
{
	const struct remote *remote = find_remote(node);

	return remote ? seeds_words(remote_seeds(remote)) : "";
}

/* ---- paths ---- */

/* That of the last connection; the one that would be taken if there was none. */
static const char *find_path(const struct node *node, const struct member_report *member)
{
	if (*member->fabric)
		return member->fabric;
	return !find_remote(node) || world_event_is_local(node->world, member->id)
		       ? "shm"
		       : "rdma";
}

void node_fill_path(const struct node *node, const struct member_report *member,
		    struct report_node *report)
{
	const char *path = find_path(node, member);

	REPORT_SET(report->fabric, path);
	if (strcmp(path, "shm") == 0)
		REPORT_SET(report->fabric_reason, "same rendezvous directory");
	else if (config_find_fabric(node->config, FABRIC_KIND_SHM))
		REPORT_SET(report->fabric_reason, "not in the rendezvous directory here");
	else
		REPORT_SET(report->fabric_reason, "no fabric of kind shm here");
}
