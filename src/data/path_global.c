/*
 * See path.h and path_internal.h: the way of a packet that came by the TAP of a global
 * network for one of its addresses, from a NIC or from a local program [46-49].
 *
 * From top to bottom: what is written for the receiver, where it goes, what waits, and
 * what control says.
 *
 * Such a packet has whatever Ethernet header it came with, and the receiver would believe
 * none of it: on delivery each gets a new one, as if we had sent it as on a local
 * network, or, in our own TAP, as if the node that does not exist had. VLAN tags are cut
 * off. An Ethernet broadcast with such a packet in it is none for us: each node that got
 * it would send it on.
 *
 * Long frames of a known flow are read straight into its owner's ring, as from a queue of
 * its own: see path.c for what is copied out and back. Which ring that is must be guessed
 * before the read, by the frames before. One that is not for it is copied out of it and
 * goes its way; the peer might have seen or changed it. So only rings are read into that
 * no peer can look into (rdma), or whose peer is of our uid and could do worse.
 *
 * Packets of a flow keep their order: those that wait leave in the order in which they
 * came, and before any that comes after the answer.
 */
#include "data/path_internal.h"

#include "base/clock.h"
#include "data/global.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

/* One packet on its way, in private memory that is written to. */
struct way {
	const struct plane_view *view;
	struct port *port;
	struct path_scratch *scratch;
	uint8_t *payload;
	size_t length;
	struct flow_packet packet;
};

static struct dispatch_counters *counters_of(const struct way *way)
{
	return &way->port->counters.dispatch;
}

static const uint8_t *frame_of(const struct way *way)
{
	return way->payload + SHMNET_VNET_HLEN;
}

static size_t head_length(const struct way *way)
{
	size_t length = way->length - SHMNET_VNET_HLEN;

	return length < FRAME_HEAD_MAX ? length : FRAME_HEAD_MAX;
}

/* ---- delivery ---- */

/* The IP header follows the Ethernet header then; what tags were before it is gone. */
static void cut_tags(struct way *way)
{
	size_t tags = way->packet.l3 - SHMNET_ETH_HLEN;
	struct frame_vnet vnet;

	if (tags == 0)
		return;
	memcpy(&vnet, way->payload, sizeof(vnet));
	if (vnet.csum_start >= tags)
		vnet.csum_start = (uint16_t)(vnet.csum_start - tags);
	if (vnet.header_length >= tags)
		vnet.header_length = (uint16_t)(vnet.header_length - tags);
	way->payload += tags;
	way->length -= tags;
	way->packet.l3 = SHMNET_ETH_HLEN;
	memcpy(way->payload, &vnet, sizeof(vnet));
}

static void set_macs(struct way *way, const uint8_t *to, const uint8_t *from)
{
	uint8_t *frame = way->payload + SHMNET_VNET_HLEN;

	memcpy(frame, to, SHMNET_ETH_ALEN);
	memcpy(frame + SHMNET_ETH_ALEN, from, SHMNET_ETH_ALEN);
}

/* A header that any receiver accepts; what it can't have is done to the packet. */
static enum drop_reason dress(struct way *way)
{
	cut_tags(way);
	return path_fit_vnet(way->port, way->payload, way->payload, way->length);
}

static enum drop_reason write_own(struct way *way)
{
	const struct port *port = way->port;

	set_macs(way, port->mac, port->global->mac);
	if (write(port->queues[0].fd, way->payload, way->length) >= 0)
		return DROP_NUM_;
	return errno == EIO ? DROP_TAP_DOWN : DROP_TAP_ERROR;
}

static enum drop_reason send_to(struct way *way, struct link *link)
{
	set_macs(way, link->peer_mac, way->port->mac);
	return path_send(link, way->scratch, way->payload, way->length);
}

static enum drop_reason deliver_own(struct way *way)
{
	enum drop_reason reason = dress(way);

	if (reason == DROP_NUM_)
		reason = write_own(way);
	if (reason == DROP_NUM_)
		counter_add(&counters_of(way)->local, 1);
	return reason;
}

static enum drop_reason deliver_peer(struct way *way, struct link *link)
{
	enum drop_reason reason = dress(way);

	if (reason == DROP_NUM_)
		reason = send_to(way, link);
	if (reason == DROP_NUM_)
		counter_add(&counters_of(way)->forwarded, 1);
	return reason;
}

/* Whoever asked for it: the kernels of the others know nothing of it. */
static enum drop_reason deliver_all(struct way *way)
{
	const struct port_view *links = &way->view->ports[way->port->index];
	enum drop_reason reason = dress(way);

	if (reason == DROP_NUM_)
		reason = write_own(way);
	if (reason != DROP_NUM_)
		return reason;
	for (unsigned i = 0; i < links->num_links; i++)
		send_to(way, links->links[i]);
	counter_add(&counters_of(way)->copied, 1);
	return DROP_NUM_;
}

static struct link *find_receiver(const struct way *way, uint16_t owner)
{
	struct link *link = view_find_link(way->view, way->port, owner);

	return link && !link_rests(link) ? link : NULL;
}

/* DROP_NO_PEER: the owner is none that can be reached. */
static enum drop_reason obey(struct way *way, const struct plane_verdict *verdict)
{
	struct link *link;

	if (!verdict->owner)
		return verdict->reason;
	if (verdict->owner == way->port->node_id)
		return deliver_own(way);
	link = find_receiver(way, verdict->owner);
	return link ? deliver_peer(way, link) : DROP_NO_PEER;
}

/* ---- what probably comes next ---- */

/* A frame of a known flow goes there; 0: nowhere. */
static void expect(const struct way *way, uint16_t owner)
{
	struct port_global *own = way->port->global;

	if (owner != own->expected)
		own->streak = 0;
	own->expected = owner;
	if (way->length >= GLOBAL_LONG && own->streak < GLOBAL_STREAK)
		own->streak++;
}

/* One whose ring is worth to be read into. What it may lack would have to be cut. */
static struct link *find_expected(const struct plane_view *view, const struct port *port)
{
	const struct port_global *own = port->global;
	struct link *link;

	if (own->streak < GLOBAL_STREAK)
		return NULL;
	link = view_find_link(view, port, own->expected);
	return link && !link_rests(link) && !link_is_paused(link) && !link->lacks ? link
										  : NULL;
}

/* There is no room. True if it is waited for, still or from now on. */
static bool wait_for_room(struct queue *queue, const struct link *link)
{
	struct port_global *own = queue->port->global;
	uint64_t now = clock_now_ns();

	if (!queue->waits_for && now >= own->impatient_ns) {
		queue->waits_for = link->peer_id;
		queue->wait_until_ns = now + GLOBAL_PATIENCE_NS;
		return true;
	}
	if (queue->waits_for && now < queue->wait_until_ns)
		return true;
	if (queue->waits_for)
		own->impatient_ns = now + GLOBAL_IMPATIENCE_NS;
	queue->waits_for = 0;
	return false;
}

bool path_global_place(const struct plane_view *view, struct queue *queue,
		       uint8_t **ret_place)
{
	struct link *link = find_expected(view, queue->port);
	uint8_t *place;
	int ret;

	if (!link) {
		queue->waits_for = 0;
		return true;
	}
	ret = shmnet_ring_reserve(&link->tx, link_room(link), 0, &place);
	if (ret == -ENOBUFS)
		return !wait_for_room(queue, link);
	queue->waits_for = 0;
	if (ret < 0)
		link_fail(link, ret);
	else if (link->is_trusted)
		*ret_place = place;
	return true;
}

/* ---- the cache, and what is not in it ---- */

static bool has_connections(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP;
}

/* By which the verdict is kept; `hash` is the key's. See global.h for generations. */
static uint64_t cache_hash(const struct flow_key *key, uint64_t hash, uint32_t generation)
{
	if (has_connections(key->protocol))
		return hash;
	return hash ^ generation * 0x9e3779b97f4a7c15ull;
}

static unsigned cache_use(const struct flow_packet *packet)
{
	switch (packet->kind) {
	case FLOW_OPENER:
		return FLOWCACHE_OPENS | FLOWCACHE_MAY_OPEN;
	case FLOW_DATAGRAM:
	case FLOW_PAIR:
		return FLOWCACHE_MAY_OPEN;
	case FLOW_SEGMENT:
		return packet->ends ? FLOWCACHE_ENDS : 0;
	default:
		return 0;
	}
}

/* Keeps the frame, for whoever asks for it by this key. */
static struct park_item *keep(struct way *way, const struct park_key *key, uint64_t hash)
{
	struct global_state *global = way->port->global->global;
	struct park_item *item = park_put(&global->park, key, hash, global->now_ns,
					  way->payload, way->length);

	item->l3 = way->packet.l3;
	counter_add(&counters_of(way)->parked, 1);
	counter_add(&counters_of(way)->waited, 1);
	return item;
}

static struct park_key flow_park_key(const struct port *port, const struct flow_key *flow)
{
	return (struct park_key){.flow = *flow, .port = (uint8_t)port->index};
}

static bool ask(struct way *way, uint64_t hash)
{
	const struct plane_miss miss = {
		.port = way->port->index,
		.packet = way->packet,
		.is_old = way->packet.kind == FLOW_OPENER &&
			  flowcache_has_flow(&way->port->global->cache, hash),
	};

	if (post_put(&way->port->global->global->misses, &miss, sizeof(miss)) < 0)
		return false;
	counter_add(&counters_of(way)->asked, 1);
	way->port->has_news = true;
	return true;
}

static enum park_rank rank_of(const struct flow_packet *packet)
{
	return packet->kind == FLOW_OPENER ? PARK_OPENER : PARK_SEGMENT;
}

static enum drop_reason miss(struct way *way, uint64_t hash)
{
	struct park_key key = flow_park_key(way->port, &way->packet.key);
	struct park *waiting = &way->port->global->global->park;
	bool asks;

	if (!park_has_room(waiting, way->length, rank_of(&way->packet)))
		return DROP_PARK_FULL;
	asks = !park_has_asked(waiting, &key, hash);
	if (asks && !ask(way, hash))
		return DROP_PARK_FULL;
	keep(way, &key, hash)->has_asked = asks;
	return DROP_NUM_;
}

/* Where its flow goes. */
static enum drop_reason dispatch_flow(struct way *way)
{
	struct port_global *own = way->port->global;
	const struct flow_key *key = &way->packet.key;
	uint64_t hash = flow_hash(key, &own->global->secret);
	uint32_t generation = __atomic_load_n(&own->generation, __ATOMIC_RELAXED);
	struct plane_verdict verdict;

	if (!flowcache_find(&own->cache, cache_hash(key, hash, generation),
			    cache_use(&way->packet), &verdict))
		return miss(way, hash);
	if (verdict.owner && verdict.owner != way->port->node_id &&
	    !find_receiver(way, verdict.owner))
		return miss(way, hash);
	counter_add(&counters_of(way)->hits, 1);
	expect(way, verdict.owner);
	return obey(way, &verdict);
}

/* ---- fragments ---- */

static struct park_key fragment_park_key(const struct way *way)
{
	const struct flow_key *key = &way->packet.key;
	struct park_key park_key = flow_park_key(way->port, key);

	park_key.flow.foreign_port = 0;
	park_key.flow.local_port = 0;
	if (!flow_address_is_ipv4(key->local))
		park_key.flow.protocol = 0; /* a later one of IPv6 need not know it */
	park_key.fragment_id = way->packet.fragment_id;
	park_key.is_fragment = true;
	return park_key;
}

/* Whoever chooses the ids must not choose the lists. */
static uint64_t fragment_hash(const struct way *way, const struct park_key *key)
{
	struct flow_key flow = key->flow;

	flow.foreign_port = (uint16_t)(key->fragment_id >> 16);
	flow.local_port = (uint16_t)key->fragment_id;
	return flow_hash(&flow, &way->port->global->global->secret);
}

static enum drop_reason wait_for_first(struct way *way)
{
	struct park_key key = fragment_park_key(way);

	if (!park_has_room(&way->port->global->global->park, way->length, PARK_FRAGMENT))
		return DROP_PARK_FULL;
	keep(way, &key, fragment_hash(way, &key));
	return DROP_NUM_;
}

/* ---- a packet's way ---- */

static enum drop_reason dispatch_kind(struct way *way)
{
	switch (way->packet.kind) {
	case FLOW_ECHO:
		return deliver_own(way);
	case FLOW_REPLY:
		return deliver_all(way);
	default:
		return dispatch_flow(way);
	}
}

static bool is_first(const struct flow_packet *packet)
{
	return packet->is_fragment && packet->fragment_offset == 0;
}

/* A later one goes as its first went. */
static enum drop_reason dispatch_fragment(struct way *way)
{
	struct global_state *global = way->port->global->global;
	const struct flow_packet *first;
	int ret;

	if (is_first(&way->packet)) {
		ret = fragments_place(&global->fragments, &way->packet, global->now_ns);
		return ret < 0 ? DROP_BAD_FRAGMENT : dispatch_kind(way);
	}
	ret = fragments_find(&global->fragments, &way->packet, global->now_ns, &first);
	if (ret < 0)
		return ret == -ENOENT ? wait_for_first(way) : DROP_BAD_FRAGMENT;
	way->packet.key = first->key;
	way->packet.kind = first->kind;
	way->packet.ends = first->ends;
	return dispatch_kind(way);
}

static enum drop_reason dispatch(struct way *way)
{
	enum drop_reason reason =
		flow_crack(frame_of(way), head_length(way),
			   way->length - SHMNET_VNET_HLEN, &way->packet);

	if (reason != DROP_NUM_)
		return reason;
	return way->packet.is_fragment ? dispatch_fragment(way) : dispatch_kind(way);
}

/* ---- those that waited ---- */

static void finish(struct way *way, enum drop_reason reason)
{
	if (reason == DROP_NUM_)
		return;
	counter_add(&counters_of(way)->dropped, 1);
	path_count_unrouted(way->port, reason);
}

/* It is taken out, and freed by the caller. */
static void resume(struct way *way, struct park_item *item)
{
	counter_add(&counters_of(way)->parked, (uint64_t)-1);
	way->payload = item->payload;
	way->length = item->length;
	way->packet.l3 = item->l3;
}

/* Those that came before the first one of their datagram: they may wait once more. */
static void resume_fragments(const struct way *first)
{
	struct park_key key = fragment_park_key(first);
	uint64_t hash = fragment_hash(first, &key);
	struct park *waiting = &first->port->global->global->park;
	struct way way = *first;
	struct park_item *item;

	while ((item = park_take(waiting, &key, hash)) != NULL) {
		resume(&way, item);
		finish(&way, dispatch(&way));
		park_free(waiting, item);
	}
}

/* ---- from the TAP ---- */

static bool is_global(const struct port_global *own, const struct way *way)
{
	uint8_t to[FLOW_ADDRESS_LEN];

	if (!flow_destination(frame_of(way), head_length(way), to))
		return false;
	for (unsigned i = 0; i < own->num_addresses; i++) {
		if (memcmp(own->addresses[i], to, sizeof(to)) == 0)
			return true;
	}
	return false;
}

/* Whose place an address is, all nodes would answer. */
static bool is_neighbour(const struct port_global *own, const struct way *way)
{
	for (unsigned i = 0; i < own->num_addresses; i++) {
		if (flow_is_neighbour(frame_of(way), head_length(way), own->addresses[i]))
			return true;
	}
	return false;
}

/* What no packet may be, whatever it came for. */
static bool is_no_packet(const struct way *way)
{
	const uint8_t *frame = frame_of(way);

	return way->length < SHMNET_VNET_HLEN + SHMNET_ETH_HLEN ||
	       shmnet_mac_is_command(frame) ||
	       shmnet_mac_is_command(frame + SHMNET_ETH_ALEN);
}

void path_global_begin(struct port *port)
{
	struct global_state *global = port->global->global;

	global->now_ns = clock_now_ns();
	flowcache_set_time(&port->global->cache, global->now_ns);
}

bool path_global(const struct plane_view *view, struct port *port,
		 struct path_scratch *scratch, size_t length)
{
	struct way way = {view, port, scratch, scratch->frame, length, {.l3 = 0}};

	if (is_no_packet(&way))
		return false;
	if (!is_global(port->global, &way)) {
		if (!is_neighbour(port->global, &way))
			return false;
		path_count_unrouted(port, DROP_GLOBAL_NEIGH);
		return true;
	}
	counter_add(&port->counters.dispatch.packets, 1);
	finish(&way,
	       shmnet_mac_is_cast(frame_of(&way)) ? DROP_BAD_PACKET : dispatch(&way));
	if (is_first(&way.packet))
		resume_fragments(&way);
	return true;
}

/* Of a flow that goes to the expected peer, with nothing to cut off. */
static bool is_expected(struct way *way)
{
	struct port_global *own = way->port->global;
	const struct flow_key *key = &way->packet.key;
	struct plane_verdict verdict;
	uint32_t generation;
	uint64_t hash;

	if (is_no_packet(way) || !is_global(own, way) ||
	    shmnet_mac_is_cast(frame_of(way)) ||
	    flow_crack(frame_of(way), head_length(way), way->length - SHMNET_VNET_HLEN,
		       &way->packet) != DROP_NUM_)
		return false;
	if (way->packet.is_fragment || way->packet.l3 != SHMNET_ETH_HLEN ||
	    way->packet.kind != FLOW_SEGMENT)
		return false;
	hash = flow_hash(key, &own->global->secret);
	generation = __atomic_load_n(&own->generation, __ATOMIC_RELAXED);
	return flowcache_find(&own->cache, cache_hash(key, hash, generation),
			      cache_use(&way->packet), &verdict) &&
	       verdict.owner == own->expected;
}

/* The head is private and decided on; what lies in the ring is no longer looked at. */
static enum drop_reason submit_direct(struct way *way, struct link *link, uint8_t *place,
				      size_t head_bytes)
{
	enum drop_reason reason;

	set_macs(way, link->peer_mac, way->port->mac);
	memcpy(place, way->payload, head_bytes);
	reason = path_fit_vnet(way->port, way->payload, place, way->length);
	if (reason != DROP_NUM_)
		return reason;
	count_sent(link, way->length);
	path_submit(link, way->length, 0);
	counter_add(&counters_of(way)->forwarded, 1);
	return DROP_NUM_;
}

bool path_global_direct(const struct plane_view *view, struct port *port,
			struct path_scratch *scratch, uint8_t *place, size_t length)
{
	struct way way = {view, port, scratch, scratch->head, length, {.l3 = 0}};
	struct link *link = find_expected(view, port);
	size_t head_bytes = length < PATH_HEAD_MAX ? length : PATH_HEAD_MAX;

	memcpy(scratch->head, place, head_bytes);
	if (!link || !is_expected(&way)) {
		memcpy(scratch->frame, scratch->head, head_bytes);
		memcpy(scratch->frame + head_bytes, place + head_bytes,
		       length - head_bytes);
		return false;
	}
	counter_add(&counters_of(&way)->packets, 1);
	counter_add(&counters_of(&way)->hits, 1);
	finish(&way, submit_direct(&way, link, place, head_bytes));
	return true;
}

/* ---- what control says, and doesn't ---- */

static void take_answer(const struct plane_view *view, struct path_scratch *scratch,
			const struct global_answer *answer)
{
	struct port *port = view->ports[answer->port].port;
	struct global_state *global = port->global->global;
	struct park_key key = flow_park_key(port, &answer->key);
	uint64_t hash = flow_hash(&answer->key, &global->secret);
	struct way way = {.view = view, .port = port, .scratch = scratch};
	struct park_item *item;

	counter_add(&port->counters.dispatch.answers, 1);
	flowcache_set_time(&port->global->cache, global->now_ns);
	flowcache_put(&port->global->cache,
		      cache_hash(&answer->key, hash, answer->generation),
		      &answer->verdict);
	while ((item = park_take(&global->park, &key, hash)) != NULL) {
		resume(&way, item);
		finish(&way, obey(&way, &answer->verdict));
		park_free(&global->park, item);
	}
}

static unsigned take_answers(const struct plane_view *view, struct global_state *global,
			     struct path_scratch *scratch)
{
	struct global_answer answer;
	unsigned taken = 0;

	while (post_take(&global->answers, &answer, sizeof(answer)) > 0) {
		take_answer(view, scratch, &answer);
		if (++taken < GLOBAL_BURST)
			continue;
		__atomic_store_n(&global->told, true, __ATOMIC_RELEASE);
		break;
	}
	return taken;
}

static void expire(const struct plane_view *view, struct global_state *global)
{
	struct park_item *item;

	while ((item = park_expire(&global->park, global->now_ns)) != NULL) {
		struct way way = {.view = view, .port = view->ports[item->key.port].port};

		counter_add(&counters_of(&way)->parked, (uint64_t)-1);
		finish(&way, item->key.is_fragment ? DROP_LOST_FIRST : DROP_PARK_LATE);
		park_free(&global->park, item);
	}
}

/* What the cache has counted, for control. */
void path_global_end(struct port *port)
{
	struct dispatch_counters *counters = &port->counters.dispatch;
	const struct flowcache *cache = &port->global->cache;

	counter_set(&counters->cached, cache->used);
	counter_set(&counters->evicted, cache->evicted);
	counter_set(&counters->evicted_confirmed, cache->evicted_confirmed);
}

static void publish_ports(const struct plane_view *view)
{
	for (unsigned i = 0; i < view->num_links; i++) {
		if (view->links[i]->port->global)
			path_publish(view->links[i]);
	}
	for (unsigned p = 0; p < view->num_ports; p++) {
		if (view->ports[p].port && view->ports[p].port->global)
			path_global_end(view->ports[p].port);
	}
}

unsigned path_global_turn(const struct plane_view *view, struct global_state *global,
			  struct path_scratch *scratch)
{
	bool told = __atomic_load_n(&global->told, __ATOMIC_RELAXED);
	unsigned taken = 0;

	if (!told && park_deadline(&global->park) == UINT64_MAX)
		return 0;
	global->now_ns = clock_now_ns();
	if (told && __atomic_exchange_n(&global->told, false, __ATOMIC_ACQ_REL)) {
		taken = take_answers(view, global, scratch);
		publish_ports(view);
	}
	expire(view, global);
	return taken;
}

void path_global_expire(const struct plane_view *view, struct global_state *global)
{
	global->now_ns = clock_now_ns();
	expire(view, global);
}

void path_global_rest(const struct global_state *global, int *timeout_ms)
{
	uint64_t deadline = park_deadline(&global->park);
	uint64_t now;
	int left;

	if (deadline == UINT64_MAX)
		return;
	now = clock_now_ns();
	left = now < deadline ? (int)((deadline - now) / NSEC_PER_MSEC) + 1 : 0;
	if (*timeout_ms < 0 || left < *timeout_ms)
		*timeout_ms = left;
}
