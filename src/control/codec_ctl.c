/*
 * See codec_ctl.h.
 *
 * A reply is built in scratch memory: the messages and their pointer lists are
 * allocated, strings point into the report. A failed allocation leaves that
 * list empty and is remembered; it's checked once, before packing.
 */
#include "control/codec_ctl_internal.h"

#include <shmnet/ctl.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SAME_REASON(name)                                                                \
	_Static_assert((int)DROP_##name == (int)SHMNET__CTL__DROP_REASON__DROP_##name,   \
		       "drop.h and ctl.proto differ: " #name)
SAME_REASON(RUNT);
SAME_REASON(FOREIGN_SOURCE);
SAME_REASON(TAP_COMMAND);
SAME_REASON(UNKNOWN_UNICAST);
SAME_REASON(NO_PEER);
SAME_REASON(BAD_OFFLOAD);
SAME_REASON(RING_FULL);
SAME_REASON(PEER_DOWN);
SAME_REASON(MISROUTED);
SAME_REASON(BAD_LENGTH);
SAME_REASON(BAD_SOURCE);
SAME_REASON(BAD_DESTINATION);
SAME_REASON(BAD_HEADER);
SAME_REASON(OVERSIZE);
SAME_REASON(TAP_DOWN);
SAME_REASON(TAP_ERROR);
SAME_REASON(CAST_LOST);
SAME_REASON(GLOBAL_NEIGH);
SAME_REASON(BAD_PACKET);
SAME_REASON(BAD_FRAGMENT);
SAME_REASON(NO_LISTENER);
SAME_REASON(NO_OWNER);
SAME_REASON(PARK_FULL);
SAME_REASON(PARK_LATE);
SAME_REASON(LOST_FIRST);
SAME_REASON(PAUSED);
_Static_assert(DROP_NUM_ == SHMNET__CTL__DROP_REASON__DROP_PAUSED + 1,
	       "a new reason goes into drop.h, ctl.proto and the list above");

#define SAME_STATE(name)                                                                 \
	_Static_assert((int)REPORT_STATE_##name ==                                       \
			       (int)SHMNET__CTL__STATE__STATE_##name,                    \
		       "report.h and ctl.proto differ: " #name)
SAME_STATE(DOWN);
SAME_STATE(UP);
SAME_STATE(SUSPECT);
SAME_STATE(PAUSED);
_Static_assert(REPORT_STATE_NUM_ == 4, "a new state goes into ctl.proto, too");

#define SAME_HEALTH(name)                                                                \
	_Static_assert((int)REPORT_HEALTH_##name ==                                      \
			       (int)SHMNET__CTL__HEALTH__HEALTH_##name,                  \
		       "report.h and ctl.proto differ: " #name)
SAME_HEALTH(STARTING);
SAME_HEALTH(READY);
SAME_HEALTH(DEGRADED);
SAME_HEALTH(PAUSED);
_Static_assert(REPORT_HEALTH_NUM_ == 4, "a new health goes into ctl.proto, too");

_Static_assert((int)NETWORK_KIND_LOCAL == (int)SHMNET__CTL__NETWORK_KIND__KIND_LOCAL &&
		       (int)NETWORK_KIND_GLOBAL ==
			       (int)SHMNET__CTL__NETWORK_KIND__KIND_GLOBAL,
	       "config.h and ctl.proto differ");

_Static_assert((int)FABRIC_KIND_SHM == (int)SHMNET__CTL__FABRIC_KIND__KIND_SHM &&
		       (int)FABRIC_KIND_RDMA ==
			       (int)SHMNET__CTL__FABRIC_KIND__KIND_RDMA &&
		       (int)FABRIC_SECURITY_NONE ==
			       (int)SHMNET__CTL__SECURITY__SECURITY_NONE,
	       "config.h and ctl.proto differ");

#define SAME_SEED(name)                                                                  \
	_Static_assert((int)REPORT_SEED_##name ==                                        \
			       (int)SHMNET__CTL__SEED_STATE__SEED_##name,                \
		       "report.h and ctl.proto differ: " #name)
SAME_SEED(CONNECTING);
SAME_SEED(UP);
SAME_SEED(WAITING);
SAME_SEED(SELF);
_Static_assert(REPORT_SEED_NUM_ == 4, "a new state goes into ctl.proto, too");

#define SAME_EVENT(name)                                                                 \
	_Static_assert((int)EVENTS_##name ==                                             \
			       (int)SHMNET__CTL__EVENT_STATE__EVENT_##name,              \
		       "events.h and ctl.proto differ: " #name)
SAME_EVENT(STARTING);
SAME_EVENT(READY);
SAME_EVENT(DOWN);
SAME_EVENT(UP);
SAME_EVENT(REFUSED);
SAME_EVENT(OFF);
SAME_EVENT(ON);
SAME_EVENT(REMOVED);
SAME_EVENT(SUSPECT);
SAME_EVENT(MADE);
SAME_EVENT(TAKEN_OVER);
SAME_EVENT(REMADE);
SAME_EVENT(PAUSED);
SAME_EVENT(RESUMED);
SAME_EVENT(QUARANTINED);
SAME_EVENT(RELOADED);
SAME_EVENT(TAKEN);
SAME_EVENT(ANNOUNCING);
SAME_EVENT(WITHDRAWN);
_Static_assert(EVENTS_STATE_NUM_ == 19, "a new state goes into ctl.proto, too");

_Static_assert((int)EVENTS_NODE == (int)SHMNET__CTL__EVENT_SUBJECT__SUBJECT_NODE &&
		       (int)EVENTS_NETWORK ==
			       (int)SHMNET__CTL__EVENT_SUBJECT__SUBJECT_NETWORK &&
		       (int)EVENTS_RING ==
			       (int)SHMNET__CTL__EVENT_SUBJECT__SUBJECT_RING &&
		       EVENTS_KIND_NUM_ == 3,
	       "events.h and ctl.proto differ");

void *ctl_scratch_new(struct ctl_scratch *scratch, size_t count, size_t size)
{
	void **block = calloc(1, sizeof(*block) * 2 + count * size);

	if (!block) {
		scratch->failed = true;
		return NULL;
	}
	*block = scratch->blocks;
	scratch->blocks = block;
	return block + 2; /* keeps malloc's alignment */
}

static void scratch_done(struct ctl_scratch *scratch)
{
	while (scratch->blocks) {
		void **block = scratch->blocks;

		scratch->blocks = *block;
		free(block);
	}
}

void *ctl_scratch_messages(struct ctl_scratch *scratch,
			   const ProtobufCMessageDescriptor *type, size_t count,
			   size_t *ret_count)
{
	void **list = ctl_scratch_new(scratch, count, sizeof(*list));
	char *messages = ctl_scratch_new(scratch, count, type->sizeof_message);

	*ret_count = 0;
	if (!list || !messages)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		list[i] = messages + i * type->sizeof_message;
		protobuf_c_message_init(type, list[i]);
	}
	*ret_count = count;
	return list;
}

char **ctl_scratch_strings(struct ctl_scratch *scratch, const char *strings, size_t width,
			   size_t count, size_t *ret_count)
{
	char **list = ctl_scratch_new(scratch, count, sizeof(*list));

	*ret_count = list ? count : 0;
	for (size_t i = 0; i < *ret_count; i++)
		list[i] = (char *)strings + i * width;
	return list;
}

int ctl_reply_pack(struct ctl_scratch *scratch, Shmnet__Ctl__Reply *reply,
		   Shmnet__Ctl__Reply__BodyCase body, uint8_t **ret_data,
		   size_t *ret_size)
{
	uint8_t *data = NULL;
	size_t size = 0;

	reply->schema = SHMNET_CTL_SCHEMA;
	reply->body_case = body;
	if (!scratch->failed) {
		size = shmnet__ctl__reply__get_packed_size(reply);
		data = malloc(size);
		if (data)
			shmnet__ctl__reply__pack(reply, data);
	}
	scratch_done(scratch);
	if (!data)
		return -ENOMEM;
	*ret_data = data;
	*ret_size = size;
	return 0;
}

static Shmnet__Ctl__Drop **drops_encode(struct ctl_scratch *scratch,
					const struct report_drops *drops,
					size_t *ret_count)
{
	Shmnet__Ctl__Drop **list;
	size_t room, used = 0;

	list = ctl_scratch_messages(scratch, &shmnet__ctl__drop__descriptor, DROP_NUM_,
				    &room);
	for (size_t i = 0; i < room; i++) {
		if (!drops->frames[i])
			continue;
		list[used]->reason = (Shmnet__Ctl__DropReason)i;
		list[used]->frames = drops->frames[i];
		used++;
	}
	*ret_count = used;
	return list;
}

static void network_encode(struct ctl_scratch *scratch, Shmnet__Ctl__Network *to,
			   const struct report_network *from)
{
	to->name = (char *)from->name;
	to->kind = (Shmnet__Ctl__NetworkKind)from->kind;
	to->mtu = from->mtu;
	to->tap = (char *)from->tap;
	to->addresses =
		ctl_scratch_strings(scratch, from->addresses[0], REPORT_ADDRESS_MAX,
				    from->num_addresses, &to->n_addresses);
	to->state = (Shmnet__Ctl__State)from->state;
	to->members = ctl_scratch_strings(
		scratch, from->members ? from->members[0].name : NULL,
		sizeof(from->members[0]), from->num_members, &to->n_members);
}

static void member_encode(Shmnet__Ctl__MemberStatus *to, const struct report_member *from)
{
	to->name = (char *)from->name;
	to->state = (Shmnet__Ctl__State)from->state;
	to->has_drained = to->has_weight = from->is_known;
	to->has_announces = to->has_connections = from->is_known;
	to->has_paused = from->state != REPORT_STATE_DOWN;
	to->paused = from->is_paused;
	to->drained = from->drained;
	to->weight = from->weight;
	to->announces = from->announces;
	to->connections = from->connections;
}

static void network_status_encode(struct ctl_scratch *scratch,
				  Shmnet__Ctl__NetworkStatus *to,
				  const struct report_network *from)
{
	to->name = (char *)from->name;
	to->kind = (Shmnet__Ctl__NetworkKind)from->kind;
	to->state = (Shmnet__Ctl__State)from->state;
	to->tap = (char *)from->tap;
	to->mtu = from->mtu;
	to->queues = from->queues;
	to->links_up = from->links_up;
	to->dhcp = from->dhcp;
	to->has_paused = true;
	to->paused = from->is_paused;
	to->has_paused_ms = from->is_paused;
	to->paused_ms = from->paused_ms;
	to->addresses =
		ctl_scratch_strings(scratch, from->addresses[0], REPORT_ADDRESS_MAX,
				    from->num_addresses, &to->n_addresses);
	to->offloads = ctl_scratch_strings(scratch, from->offloads[0], REPORT_OFFLOAD_MAX,
					   from->num_offloads, &to->n_offloads);
	to->members =
		ctl_scratch_messages(scratch, &shmnet__ctl__member_status__descriptor,
				     from->num_members, &to->n_members);
	for (size_t i = 0; i < to->n_members; i++)
		member_encode(to->members[i], &from->members[i]);
}

/* NULL, which leaves the field out, if it is empty. */
static char *optional(const char *text)
{
	return *text ? (char *)text : NULL;
}

static void fabric_encode(Shmnet__Ctl__FabricStatus *to, const struct report_fabric *from)
{
	to->name = (char *)from->name;
	to->kind = (Shmnet__Ctl__FabricKind)from->kind;
	to->state = (Shmnet__Ctl__State)from->state;
	to->reason = optional(from->reason);
	to->path = optional(from->path);
	to->device = optional(from->device);
	to->listen = optional(from->listen);
	to->has_security = from->kind == FABRIC_KIND_RDMA;
	to->security = (Shmnet__Ctl__Security)from->security;
}

static void seed_encode(Shmnet__Ctl__SeedStatus *to, const struct report_seed *from)
{
	to->address = (char *)from->address;
	to->state = (Shmnet__Ctl__SeedState)from->state;
	to->node = optional(from->node);
	to->reason = optional(from->reason);
	to->since_ms = from->since_ms;
}

static void node_encode(struct ctl_scratch *scratch, Shmnet__Ctl__Node *to,
			const struct report_node *from)
{
	to->name = (char *)from->name;
	to->id = from->id;
	to->state = (Shmnet__Ctl__State)from->state;
	to->fabric = (char *)from->fabric;
	to->incarnation = from->incarnation;
	to->fabric_reason = optional(from->fabric_reason);
	to->paused = ctl_scratch_strings(scratch, from->paused[0], REPORT_NAME_MAX,
					 from->num_paused, &to->n_paused);
}

static void node_status_encode(struct ctl_scratch *scratch, Shmnet__Ctl__NodeStatus *to,
			       const struct report_node *from)
{
	to->name = (char *)from->name;
	to->id = from->id;
	to->state = (Shmnet__Ctl__State)from->state;
	to->fabric = (char *)from->fabric;
	to->incarnation = from->incarnation;
	to->fabric_reason = optional(from->fabric_reason);
	to->reason = optional(from->reason);
	to->has_pid = from->pid != 0;
	to->pid = from->pid;
	to->has_wire_version = from->wire_version != 0;
	to->wire_version = from->wire_version;
	to->paused = ctl_scratch_strings(scratch, from->paused[0], REPORT_NAME_MAX,
					 from->num_paused, &to->n_paused);
}

static void link_encode(Shmnet__Ctl__Link *to, const struct report_link *from)
{
	to->network = (char *)from->network;
	to->from = (char *)from->from;
	to->to = (char *)from->to;
	to->fabric = (char *)from->fabric;
	to->state = (Shmnet__Ctl__State)from->state;
}

static Shmnet__Ctl__CastStats *cast_stats_encode(struct ctl_scratch *scratch,
						 const struct report_cast_stats *from)
{
	Shmnet__Ctl__CastStats *to = ctl_scratch_new(scratch, 1, sizeof(*to));

	if (!to)
		return NULL;
	shmnet__ctl__cast_stats__init(to);
	to->written = from->written;
	to->skipped = from->skipped;
	to->received = from->received;
	to->own = from->own;
	to->passed = from->passed;
	to->lapped = from->lapped;
	to->holes = from->holes;
	to->corrupt = from->corrupt;
	return to;
}

/* NULL if none has ever been used. */
static Shmnet__Ctl__CastStats *casts_encode(struct ctl_scratch *scratch,
					    const struct report_cast_stats *from)
{
	static const struct report_cast_stats none;

	if (memcmp(from, &none, sizeof(none)) == 0)
		return NULL;
	return cast_stats_encode(scratch, from);
}

static void cast_ring_encode(struct ctl_scratch *scratch, Shmnet__Ctl__CastRing *to,
			     const struct report_cast *from)
{
	to->network = (char *)from->network;
	to->label = (char *)from->label;
	to->lane = from->lane;
	to->has_epoch = !from->lane;
	to->epoch = from->epoch;
	to->maker = from->maker;
	to->depth = from->depth;
	to->readers = from->readers;
	to->state = from->is_draining ? SHMNET__CTL__CAST_STATE__CAST_DRAINING
				      : SHMNET__CTL__CAST_STATE__CAST_UP;
	to->counts = cast_stats_encode(scratch, &from->counts);
}

static Shmnet__Ctl__DispatchStats *
dispatch_encode(struct ctl_scratch *scratch, const struct report_dispatch_stats *from)
{
	Shmnet__Ctl__DispatchStats *to = ctl_scratch_new(scratch, 1, sizeof(*to));

	if (!to)
		return NULL;
	shmnet__ctl__dispatch_stats__init(to);
	to->packets = from->packets;
	to->local = from->local;
	to->forwarded = from->forwarded;
	to->copied = from->copied;
	to->dropped = from->dropped;
	to->parked = from->parked;
	to->hits = from->hits;
	to->waited = from->waited;
	to->asked = from->asked;
	to->answers = from->answers;
	to->cached = from->cached;
	to->evicted = from->evicted;
	return to;
}

static Shmnet__Ctl__Decisions *decisions_encode(struct ctl_scratch *scratch,
						const struct report_decisions *from)
{
	Shmnet__Ctl__Decisions *to = ctl_scratch_new(scratch, 1, sizeof(*to));

	if (!to)
		return NULL;
	shmnet__ctl__decisions__init(to);
	to->misses = from->misses;
	to->by_table = from->by_table;
	to->by_kernel = from->by_kernel;
	to->by_answer = from->by_answer;
	to->by_wildcard = from->by_wildcard;
	to->by_listener = from->by_listener;
	to->by_flood = from->by_flood;
	to->by_pair = from->by_pair;
	to->reset = from->reset;
	to->no_listener = from->no_listener;
	to->no_owner = from->no_owner;
	to->joined = from->joined;
	to->hashed = from->hashed;
	to->asked = from->asked;
	to->asked_again = from->asked_again;
	to->silent = from->silent;
	to->busy = from->busy;
	to->queries = from->queries;
	to->pins_sent = from->pins_sent;
	to->pins_received = from->pins_received;
	to->pins_refused = from->pins_refused;
	to->bad_messages = from->bad_messages;
	to->odd_messages = from->odd_messages;
	to->not_sent = from->not_sent;
	to->not_answered = from->not_answered;
	to->full = from->full;
	to->late = from->late;
	to->has_late = true;
	return to;
}

static void network_stats_encode(struct ctl_scratch *scratch,
				 Shmnet__Ctl__NetworkStats *to,
				 const struct report_network_stats *from)
{
	to->network = (char *)from->network;
	to->unrouted_frames = from->unrouted_frames;
	to->drops = drops_encode(scratch, &from->drops, &to->n_drops);
	to->kernel_tx_dropped = from->kernel_tx_dropped;
	to->kernel_rx_dropped = from->kernel_rx_dropped;
	to->casts = casts_encode(scratch, &from->casts);
	if (from->kind != NETWORK_KIND_GLOBAL)
		return;
	to->dispatch = dispatch_encode(scratch, &from->dispatch);
	to->decisions = decisions_encode(scratch, &from->decisions);
}

static void link_stats_encode(struct ctl_scratch *scratch, Shmnet__Ctl__LinkStats *to,
			      const struct report_link_stats *from)
{
	to->network = (char *)from->network;
	to->peer = (char *)from->peer;
	to->sent_frames = from->sent_frames;
	to->sent_bytes = from->sent_bytes;
	to->sent_drops = drops_encode(scratch, &from->sent_drops, &to->n_sent_drops);
	to->received_frames = from->received_frames;
	to->delivered_frames = from->delivered_frames;
	to->delivered_bytes = from->delivered_bytes;
	to->received_drops =
		drops_encode(scratch, &from->received_drops, &to->n_received_drops);
	to->doorbells_rung = from->doorbells_rung;
	to->ring_used = from->ring_used;
	to->ring_size = from->ring_size;
	to->has_received_ring_used = to->has_received_ring_size = true;
	to->received_ring_used = from->received_ring_used;
	to->received_ring_size = from->received_ring_size;
	to->has_pings_answered = true;
	to->pings_answered = from->pings_answered;
	to->has_pings_unanswered = true;
	to->pings_unanswered = from->pings_unanswered;
	to->has_pongs_ignored = true;
	to->pongs_ignored = from->pongs_ignored;
	to->has_messages_sent = true;
	to->messages_sent = from->messages_sent;
	to->has_messages_received = true;
	to->messages_received = from->messages_received;
	to->has_messages_lost = true;
	to->messages_lost = from->messages_lost;
}

static void fabrics_encode(struct ctl_scratch *scratch, Shmnet__Ctl__Status *body,
			   const struct report_status *report)
{
	body->fabrics =
		ctl_scratch_messages(scratch, &shmnet__ctl__fabric_status__descriptor,
				     report->num_fabrics, &body->n_fabrics);
	for (size_t i = 0; i < body->n_fabrics; i++)
		fabric_encode(body->fabrics[i], &report->fabrics[i]);
	body->seeds = ctl_scratch_messages(scratch, &shmnet__ctl__seed_status__descriptor,
					   report->num_seeds, &body->n_seeds);
	for (size_t i = 0; i < body->n_seeds; i++)
		seed_encode(body->seeds[i], &report->seeds[i]);
}

int codec_ctl_encode_status(const struct report_status *report, uint8_t **ret_data,
			    size_t *ret_size)
{
	Shmnet__Ctl__Status body = SHMNET__CTL__STATUS__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.id = report->id;
	body.cluster = (char *)report->cluster;
	body.pid = report->pid;
	body.state = (Shmnet__Ctl__Health)report->state;
	body.reasons =
		ctl_scratch_strings(&scratch, report->reasons[0], REPORT_REASON_MAX,
				    report->num_reasons, &body.n_reasons);
	body.uptime_ms = report->uptime_ms;
	body.incarnation = report->incarnation;
	body.nodes_up = report->nodes_up;
	body.nodes_known = report->nodes_known;
	if (report->netns[0])
		body.netns = (char *)report->netns;
	body.drops = report->drops;
	body.networks =
		ctl_scratch_messages(&scratch, &shmnet__ctl__network_status__descriptor,
				     report->num_networks, &body.n_networks);
	for (size_t i = 0; i < body.n_networks; i++)
		network_status_encode(&scratch, body.networks[i], &report->networks[i]);
	body.nodes = ctl_scratch_messages(&scratch, &shmnet__ctl__node_status__descriptor,
					  report->num_nodes, &body.n_nodes);
	for (size_t i = 0; i < body.n_nodes; i++)
		node_status_encode(&scratch, body.nodes[i], &report->nodes[i]);
	fabrics_encode(&scratch, &body, report);
	reply.status = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_STATUS, ret_data,
			      ret_size);
}

static void announced_encode(struct ctl_scratch *scratch, Shmnet__Ctl__Announced *to,
			     const struct report_announced *from)
{
	to->network = (char *)from->network;
	to->addresses =
		ctl_scratch_strings(scratch, from->addresses[0], REPORT_ADDRESS_MAX,
				    from->num_addresses, &to->n_addresses);
}

static void border_encode(struct ctl_scratch *scratch, Shmnet__Ctl__Border *to,
			  const struct report_border *from)
{
	to->node = (char *)from->node;
	to->nics = ctl_scratch_messages(scratch, &shmnet__ctl__nic__descriptor,
					from->num_nics, &to->n_nics);
	for (size_t i = 0; i < to->n_nics; i++) {
		to->nics[i]->name = (char *)from->nics[i].name;
		to->nics[i]->mtu = from->nics[i].mtu;
		to->nics[i]->up = from->nics[i].is_up;
	}
	to->announces = ctl_scratch_messages(scratch, &shmnet__ctl__announced__descriptor,
					     from->num_announces, &to->n_announces);
	for (size_t i = 0; i < to->n_announces; i++)
		announced_encode(scratch, to->announces[i], &from->announces[i]);
}

int codec_ctl_encode_topology(const struct report_topology *report, uint8_t **ret_data,
			      size_t *ret_size)
{
	Shmnet__Ctl__Topology body = SHMNET__CTL__TOPOLOGY__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.networks = ctl_scratch_messages(&scratch, &shmnet__ctl__network__descriptor,
					     report->num_networks, &body.n_networks);
	for (size_t i = 0; i < body.n_networks; i++)
		network_encode(&scratch, body.networks[i], &report->networks[i]);
	body.nodes = ctl_scratch_messages(&scratch, &shmnet__ctl__node__descriptor,
					  report->num_nodes, &body.n_nodes);
	for (size_t i = 0; i < body.n_nodes; i++)
		node_encode(&scratch, body.nodes[i], &report->nodes[i]);
	body.links = ctl_scratch_messages(&scratch, &shmnet__ctl__link__descriptor,
					  report->num_links, &body.n_links);
	for (size_t i = 0; i < body.n_links; i++)
		link_encode(body.links[i], &report->links[i]);
	body.borders = ctl_scratch_messages(&scratch, &shmnet__ctl__border__descriptor,
					    report->num_borders, &body.n_borders);
	for (size_t i = 0; i < body.n_borders; i++)
		border_encode(&scratch, body.borders[i], &report->borders[i]);
	reply.topology = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_TOPOLOGY,
			      ret_data, ret_size);
}

int codec_ctl_encode_stats(const struct report_stats *report, uint8_t **ret_data,
			   size_t *ret_size)
{
	Shmnet__Ctl__Stats body = SHMNET__CTL__STATS__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.networks =
		ctl_scratch_messages(&scratch, &shmnet__ctl__network_stats__descriptor,
				     report->num_networks, &body.n_networks);
	for (size_t i = 0; i < body.n_networks; i++)
		network_stats_encode(&scratch, body.networks[i], &report->networks[i]);
	body.links = ctl_scratch_messages(&scratch, &shmnet__ctl__link_stats__descriptor,
					  report->num_links, &body.n_links);
	for (size_t i = 0; i < body.n_links; i++)
		link_stats_encode(&scratch, body.links[i], &report->links[i]);
	body.casts = ctl_scratch_messages(&scratch, &shmnet__ctl__cast_ring__descriptor,
					  report->num_casts, &body.n_casts);
	for (size_t i = 0; i < body.n_casts; i++)
		cast_ring_encode(&scratch, body.casts[i], &report->casts[i]);
	reply.stats = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_STATS, ret_data,
			      ret_size);
}

int codec_ctl_encode_version(const struct report_version *report, uint8_t **ret_data,
			     size_t *ret_size)
{
	Shmnet__Ctl__Version body = SHMNET__CTL__VERSION__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.version = (char *)report->version;
	body.wire_version = report->wire_version;
	reply.version = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_VERSION,
			      ret_data, ret_size);
}

static void event_encode(Shmnet__Ctl__Event *to, const struct report_event *from)
{
	to->sequence = from->sequence;
	to->monotonic_ms = from->monotonic_ms;
	to->wall_ms = from->wall_ms;
	to->subject = (Shmnet__Ctl__EventSubject)from->kind;
	to->name = (char *)from->name;
	to->old = (Shmnet__Ctl__EventState)from->old;
	to->state = (Shmnet__Ctl__EventState)from->state;
	to->cause = (char *)from->cause;
	to->has_gap_ms = from->has_gap;
	to->gap_ms = from->gap_ms;
}

int codec_ctl_encode_events(const struct report_events *report, uint8_t **ret_data,
			    size_t *ret_size)
{
	Shmnet__Ctl__Events body = SHMNET__CTL__EVENTS__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.pid = report->pid;
	body.events = ctl_scratch_messages(&scratch, &shmnet__ctl__event__descriptor,
					   report->num_events, &body.n_events);
	for (size_t i = 0; i < body.n_events; i++)
		event_encode(body.events[i], &report->events[i]);
	reply.events = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_EVENTS, ret_data,
			      ret_size);
}

static void ping_answer_encode(Shmnet__Ctl__PingAnswer *to,
			       const struct report_ping_answer *from)
{
	to->network = (char *)from->network;
	to->fabric = (char *)from->fabric;
	to->has_time_ns = from->time_ns != 0;
	to->time_ns = from->time_ns;
	to->has_link_ended = from->link_ended;
	to->link_ended = from->link_ended;
}

int codec_ctl_encode_ping(const struct report_ping *report, uint8_t **ret_data,
			  size_t *ret_size)
{
	Shmnet__Ctl__Ping body = SHMNET__CTL__PING__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.peer = (char *)report->peer;
	body.answers =
		ctl_scratch_messages(&scratch, &shmnet__ctl__ping_answer__descriptor,
				     report->num_answers, &body.n_answers);
	for (size_t i = 0; i < body.n_answers; i++)
		ping_answer_encode(body.answers[i], &report->answers[i]);
	reply.ping = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_PING, ret_data,
			      ret_size);
}

int codec_ctl_encode_error(const char *code, const char *message, uint8_t **ret_data,
			   size_t *ret_size)
{
	Shmnet__Ctl__Error body = SHMNET__CTL__ERROR__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.code = (char *)code;
	body.message = (char *)message;
	reply.error = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_ERROR, ret_data,
			      ret_size);
}

/* CTL_VERB_NUM_ if it's none. */
static enum ctl_verb verb_of_body(Shmnet__Ctl__Request__BodyCase body)
{
	switch (body) {
	case SHMNET__CTL__REQUEST__BODY_STATUS:
		return CTL_VERB_STATUS;
	case SHMNET__CTL__REQUEST__BODY_TOPOLOGY:
		return CTL_VERB_TOPOLOGY;
	case SHMNET__CTL__REQUEST__BODY_STATS:
		return CTL_VERB_STATS;
	case SHMNET__CTL__REQUEST__BODY_VERSION:
		return CTL_VERB_VERSION;
	case SHMNET__CTL__REQUEST__BODY_EVENTS:
		return CTL_VERB_EVENTS;
	case SHMNET__CTL__REQUEST__BODY_PING:
		return CTL_VERB_PING;
	case SHMNET__CTL__REQUEST__BODY_FLOWS:
		return CTL_VERB_FLOWS;
	case SHMNET__CTL__REQUEST__BODY_LISTENERS:
		return CTL_VERB_LISTENERS;
	case SHMNET__CTL__REQUEST__BODY_EXPLAIN:
		return CTL_VERB_EXPLAIN;
	case SHMNET__CTL__REQUEST__BODY_DRAIN:
		return CTL_VERB_DRAIN;
	case SHMNET__CTL__REQUEST__BODY_RELOAD:
		return CTL_VERB_RELOAD;
	case SHMNET__CTL__REQUEST__BODY_PAUSE:
		return CTL_VERB_PAUSE;
	case SHMNET__CTL__REQUEST__BODY_RESUME:
		return CTL_VERB_RESUME;
	case SHMNET__CTL__REQUEST__BODY_TAKEOVER:
		return CTL_VERB_TAKEOVER;
	default:
		return CTL_VERB_NUM_;
	}
}

static int ping_decode(const Shmnet__Ctl__PingRequest *from, struct ctl_request *ret)
{
	unsigned timeout_ms =
		from->has_timeout_ms ? from->timeout_ms : CTL_PING_TIMEOUT_MS;

	if (timeout_ms == 0 || timeout_ms > CTL_PING_TIMEOUT_MS_MAX)
		return -ERANGE;
	ret->verb = CTL_VERB_PING;
	REPORT_SET(ret->ping.node, from->node);
	REPORT_SET(ret->ping.network, from->network);
	ret->ping.timeout_ms = timeout_ms;
	return 0;
}

static void explain_decode(const Shmnet__Ctl__ExplainRequest *from,
			   struct ctl_explain_request *ret)
{
	REPORT_SET(ret->protocol, from->protocol);
	REPORT_SET(ret->source, from->source);
	REPORT_SET(ret->destination, from->destination);
	ret->established = from->has_established && from->established;
}

static void drain_decode(const Shmnet__Ctl__DrainRequest *from,
			 struct ctl_drain_request *ret)
{
	REPORT_SET(ret->node, from->node);
	REPORT_SET(ret->network, from->network);
	ret->undo = from->has_undo && from->undo;
}

static int body_decode(const Shmnet__Ctl__Request *from, struct ctl_request *ret)
{
	const enum ctl_verb verb = verb_of_body(from->body_case);

	if (from->schema != SHMNET_CTL_SCHEMA)
		return -EPROTONOSUPPORT;
	switch (verb) {
	case CTL_VERB_NUM_:
		return -ENOSYS;
	case CTL_VERB_PING:
		return ping_decode(from->ping, ret);
	case CTL_VERB_FLOWS:
		REPORT_SET(ret->flows.network, from->flows->network);
		ret->flows.limit =
			from->flows->has_limit ? from->flows->limit : CTL_FLOWS_LIMIT;
		if (ret->flows.limit > CTL_FLOWS_LIMIT_MAX)
			ret->flows.limit = CTL_FLOWS_LIMIT_MAX;
		break;
	case CTL_VERB_LISTENERS:
		REPORT_SET(ret->listeners.network, from->listeners->network);
		break;
	case CTL_VERB_EXPLAIN:
		explain_decode(from->explain, &ret->explain);
		break;
	case CTL_VERB_DRAIN:
		drain_decode(from->drain, &ret->drain);
		break;
	case CTL_VERB_PAUSE:
		REPORT_SET(ret->pause.network, from->pause->network);
		ret->pause.is_resume = false;
		break;
	case CTL_VERB_RESUME:
		REPORT_SET(ret->pause.network, from->resume->network);
		ret->pause.is_resume = true;
		break;
	case CTL_VERB_TAKEOVER:
		ret->takeover.commit = from->takeover->commit;
		break;
	default: /* without parameters */
		break;
	}
	ret->verb = verb;
	return 0;
}

int codec_ctl_decode_request(const uint8_t *data, size_t size,
			     struct ctl_request *ret_request)
{
	Shmnet__Ctl__Request *request;
	int rc;

	request = shmnet__ctl__request__unpack(NULL, size, data);
	if (!request)
		return -EBADMSG;
	rc = body_decode(request, ret_request);
	shmnet__ctl__request__free_unpacked(request, NULL);
	return rc;
}
